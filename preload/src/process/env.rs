//! The environment that a program hands to its children: Iris's own variables are put back when the program
//! passes one of its own making. Runs in forked and vforked children: no heap, no lock, nothing left behind.
//! A program that passes `IRIS_DISABLE=1` has its way.

use crate::real::raw;
use libc::{c_char, c_long, c_void};
use std::ffi::CStr;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Room for the variables of Iris that were set when the process started.
const MAX_KEPT: usize = 64;
const BYTES: usize = 16 * 1024;
/// Room for LD_PRELOAD.
const PRELOAD_BYTES: usize = 4096;

struct Kept(std::cell::UnsafeCell<[u8; BYTES]>);
// SAFETY: written once by the constructor before any other thread can exist in the hooks, then only read.
unsafe impl Sync for Kept {}

/// `LD_PRELOAD=…` first, then each `IRIS_…=…`, all ending in NUL: copies, because the program may change its own.
static KEPT: Kept = Kept(std::cell::UnsafeCell::new([0; BYTES]));
static STARTS: [AtomicUsize; MAX_KEPT] = [const { AtomicUsize::new(0) }; MAX_KEPT];
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Where libiris.so lies, a string inside KEPT.
static LIBRARY: AtomicPtr<c_char> = AtomicPtr::new(null_mut());

const PRELOAD: &[u8] = b"LD_PRELOAD=";
const PREFIX: &[u8] = b"IRIS_";
const DISABLE: &[u8] = b"IRIS_DISABLE=";

/// The variables of `array`, one by one.
///
/// # Safety
/// `array` is null or a null-terminated array of strings that outlive the iterator.
unsafe fn each<'a>(array: *const *const c_char) -> impl Iterator<Item = &'a [u8]> {
    let mut next = array;
    std::iter::from_fn(move || {
        // SAFETY: as the caller promised; the null ends the walk.
        unsafe {
            if next.is_null() || (*next).is_null() {
                return None;
            }
            let variable = CStr::from_ptr(*next).to_bytes();
            next = next.add(1);
            Some(variable)
        }
    })
}

fn same_name(a: &[u8], b: &[u8]) -> bool {
    let name = |v: &[u8]| v.iter().position(|&c| c == b'=').map(|at| at + 1);
    match (name(a), name(b)) {
        (Some(x), Some(y)) => a[..x] == b[..y],
        _ => false,
    }
}

unsafe extern "C" {
    // glibc's.
    static mut environ: *const *const c_char;
}

/// Gives libc its `environ` when it has none yet: with `-z initfirst` our constructor runs before libc's own, and
/// the engine reads its configuration from there. libc stores the same pointer a moment later.
pub fn provide(array: *const *const c_char) {
    // SAFETY: a constructor runs alone; `array` is the block that the kernel gave the process.
    unsafe {
        if environ.is_null() {
            environ = array;
        }
    }
}

/// Whether this environment asks Iris to keep out.
pub fn disabled(array: *const *const c_char) -> bool {
    // SAFETY: an environment.
    unsafe { each(array) }
        .any(|v| v.strip_prefix(DISABLE).is_some_and(|value| !value.is_empty() && value != b"0"))
}

/// The process's own environment as it is now.
pub fn current() -> *const *const c_char {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: the variable is the program's or libc's, whichever the loader has settled on.
    unsafe { environ }
}

/// Copies what must reach every child. Called once, by the constructor, when something is mounted.
pub fn remember(environment: *const *const c_char) {
    let mut used = 0;
    let mut count = 0;
    let mut keep = |parts: &[&[u8]]| {
        let len: usize = parts.iter().map(|p| p.len()).sum();
        if count == MAX_KEPT || used + len + 1 > BYTES {
            return null_mut();
        }
        let start = used;
        // SAFETY: the constructor is the only writer, and the bounds were checked.
        let base = unsafe { (*KEPT.0.get()).as_mut_ptr() };
        for part in parts {
            // SAFETY: as above; the parts come from elsewhere.
            unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), base.add(used), part.len()) };
            used += part.len();
        }
        used += 1;
        STARTS[count].store(start, Ordering::Relaxed);
        count += 1;
        // SAFETY: inside KEPT.
        unsafe { base.add(start).cast::<c_char>() }
    };
    let mut directory = [0u8; libc::PATH_MAX as usize];
    let (here, slash, path) = library(&mut directory);
    let library = keep(&[PRELOAD, here, slash, path]);
    // SAFETY: an environment; its strings are copied.
    for variable in unsafe { each(environment) } {
        if variable.starts_with(PREFIX) && !variable.starts_with(DISABLE) {
            keep(&[variable]);
        }
    }
    if !library.is_null() {
        // SAFETY: skips the name of the variable inside the string just made.
        LIBRARY.store(unsafe { library.add(PRELOAD.len()) }, Ordering::Relaxed);
        COUNT.store(count, Ordering::Release);
    }
}

/// The path of this library in up to three pieces: absolute, since children may start elsewhere.
fn library(directory: &mut [u8]) -> (&[u8], &'static [u8], &'static [u8]) {
    // SAFETY: `info` is filled in by dladdr; the name it gives lives as long as the library, which is for ever.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(remember as *const c_void, &mut info) == 0 || info.dli_fname.is_null() {
            return (b"", b"", b"libiris.so");
        }
        let path = CStr::from_ptr(info.dli_fname).to_bytes();
        if path.starts_with(b"/") || !path.contains(&b'/') {
            return (b"", b"", path);
        }
        let len = raw::direct(
            libc::SYS_getcwd,
            [directory.as_mut_ptr() as c_long, directory.len() as c_long, 0, 0, 0, 0],
        );
        if len <= 1 { (b"", b"", path) } else { (&directory[..len as usize - 1], b"/", path) }
    }
}

fn kept(index: usize) -> *const c_char {
    // SAFETY: STARTS holds offsets of strings inside KEPT.
    unsafe { (*KEPT.0.get()).as_ptr().add(STARTS[index].load(Ordering::Relaxed)).cast() }
}

/// Whether a value of LD_PRELOAD already has this library.
fn has_library(value: &[u8]) -> bool {
    // SAFETY: LIBRARY points into KEPT.
    let ours = unsafe { CStr::from_ptr(LIBRARY.load(Ordering::Relaxed)) }.to_bytes();
    value
        .split(|&c| c == b':' || c == b' ')
        .any(|entry| entry == ours || entry == b"libiris.so" || entry.ends_with(b"/libiris.so"))
}

/// What is missing from `array`.
fn missing(array: *const *const c_char) -> (bool, usize) {
    let mut preload = true;
    // SAFETY: an environment.
    for variable in unsafe { each(array) } {
        if let Some(value) = variable.strip_prefix(PRELOAD) {
            preload = !has_library(value);
            break;
        }
    }
    let others = (1..COUNT.load(Ordering::Acquire)).filter(|&i| lacks(array, i)).count();
    (preload, others)
}

fn lacks(array: *const *const c_char, index: usize) -> bool {
    // SAFETY: `kept` gives a string; `array` is an environment.
    unsafe {
        let wanted = CStr::from_ptr(kept(index)).to_bytes();
        !each(array).any(|v| same_name(v, wanted))
    }
}

/// Calls `run` with an environment that is `array` plus what Iris's children need. When nothing is missing
/// (by far the most common case) that is `array` itself.
pub fn with<R>(array: *const *const c_char, run: impl FnOnce(*const *const c_char) -> R) -> R {
    if COUNT.load(Ordering::Acquire) == 0 || disabled(array) {
        return run(array);
    }
    let (preload, others) = missing(array);
    if !preload && others == 0 {
        return run(array);
    }
    // SAFETY: an environment.
    let count = unsafe { each(array) }.count();
    let mut small = [null::<c_char>(); 1024];
    let needed = count + others + 2;
    if needed <= small.len() {
        return fill(array, &mut small, preload, run);
    }
    let bytes = needed * size_of::<*const c_char>();
    // SAFETY: fresh memory of our own, given back below unless exec has replaced the process.
    unsafe {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as c_long;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as c_long;
        let memory = raw::direct(libc::SYS_mmap, [0, bytes as c_long, protection, flags, -1, 0]);
        if memory == -1 {
            return run(array);
        }
        let large = std::slice::from_raw_parts_mut(memory as *mut *const c_char, needed);
        let result = fill(array, large, preload, run);
        raw::direct(libc::SYS_munmap, [memory, bytes as c_long, 0, 0, 0, 0]);
        result
    }
}

/// Builds the environment in `room` and runs `run` with it.
fn fill<R>(
    array: *const *const c_char,
    room: &mut [*const c_char],
    preload: bool,
    run: impl FnOnce(*const *const c_char) -> R,
) -> R {
    let mut joined = [0u8; PRELOAD_BYTES];
    let mut used = 0;
    let mut replaced = false;
    // SAFETY: an environment.
    for variable in unsafe { each(array) } {
        room[used] = variable.as_ptr().cast();
        if preload && !replaced && variable.starts_with(PRELOAD) {
            // The program's own libraries come first, as it wanted; ours joins them.
            // SAFETY: LIBRARY points into KEPT.
            let ours = unsafe { CStr::from_ptr(LIBRARY.load(Ordering::Relaxed)) }.to_bytes();
            let colon: &[u8] = if variable.len() > PRELOAD.len() { b":" } else { b"" };
            let mut end = 0;
            if variable.len() + colon.len() + ours.len() < PRELOAD_BYTES {
                for part in [variable, colon, ours] {
                    joined[end..end + part.len()].copy_from_slice(part);
                    end += part.len();
                }
                room[used] = joined.as_ptr().cast();
            }
            replaced = true;
        }
        used += 1;
    }
    if preload && !replaced {
        room[used] = kept(0);
        used += 1;
    }
    for index in 1..COUNT.load(Ordering::Acquire) {
        if lacks(array, index) {
            room[used] = kept(index);
            used += 1;
        }
    }
    room[used] = null();
    run(room.as_ptr())
}

/// For system, popen and wordexp, which take the environment from `environ` inside glibc: puts what is missing
/// back into it.
pub fn restore() {
    with(current(), |wanted| {
        if std::ptr::eq(wanted, current()) {
            return;
        }
        // SAFETY: the strings end in NUL, and setenv copies both halves.
        for variable in unsafe { each(wanted) } {
            let ours = variable.starts_with(PREFIX) || variable.starts_with(PRELOAD);
            let Some(at) = variable.iter().position(|&c| c == b'=').filter(|&at| ours && at < 256) else {
                continue;
            };
            let mut name = [0u8; 257];
            name[..at].copy_from_slice(&variable[..at]);
            // SAFETY: `name` ends in NUL, and so does the variable after its last byte.
            unsafe { libc::setenv(name.as_ptr().cast(), variable.as_ptr().add(at + 1).cast(), 1) };
        }
    });
}
