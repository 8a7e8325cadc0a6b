//! Hooks over stdio: those that make, remake and end streams, and the few whose cookie form in glibc is poorer
//! than that of its own streams. All others work on a stream of ours as they are.

mod layout;
mod mode;
mod print;
mod stream;
mod wide;

use crate::guard::{fail, inside, int, live, mounted, tell};
use crate::hook::hooks;
use crate::open::name;
use crate::paths::{HERE, found, named, program_name};
use crate::{process, rings, shared, transfer};
use ::engine::engine::{self, Touch};
use ::engine::namespace::names::{self, Room};
use ::engine::report::Bypass;
use layout::File;
use libc::{AT_FDCWD, O_TRUNC, c_char, c_int, c_long, c_void, size_t};
use mode::Mode;
use std::ffi::CStr;
use std::ptr::null_mut;
use stream::{adopt, beside, buffer_for, is_ours, release, served};

/// The engine hears of a truncating open before it happens.
fn before_open(path: *const c_char, mode: Mode) -> bool {
    if mode.flags & O_TRUNC == 0 {
        return true;
    }
    let Some(name) = name(path) else { return true };
    match tell(|| engine::before_path(AT_FDCWD, name, mode.flags, true)) {
        Ok(()) => true,
        Err(e) => {
            fail(e);
            false
        }
    }
}

/// The engine hears of what has been opened, and serves the stream if the file is mounted.
///
/// # Safety
/// `stream` has just been opened on `path`.
unsafe fn after_open(stream: *mut File, path: *const c_char, mode: Mode, adoptable: bool) {
    // SAFETY: as the caller says.
    unsafe {
        let fd = (*stream).fileno;
        rings::opened(fd, name(path), mode.flags);
        let Some(buffer) = buffer_for(fd) else { return };
        if adoptable && !mode.wide && (*stream).mode <= 0 {
            if mode.at_end {
                transfer::lseek(fd, 0, libc::SEEK_END);
            }
            adopt(stream, buffer);
        } else {
            let why = if adoptable { Bypass::WideStdio } else { Bypass::Inherited };
            // An error of this flush is latched in the file.
            let _ = tell(|| engine::touch(fd, Touch::Leave(why)));
        }
    }
}

/// fopen round `real`.
fn opening(path: *const c_char, mode: *const c_char, real: impl Fn() -> *mut File) -> *mut File {
    if !mounted() {
        return real();
    }
    let Some(mode) = mode::parse(mode) else { return real() };
    if !live() {
        process::fork::opened_in_vfork_child(AT_FDCWD, path, mode.flags);
        return real();
    }
    if !before_open(path, mode) {
        return null_mut();
    }
    let undo = |stream| {
        // SAFETY: a stream that was just opened, and is given to nobody.
        unsafe { fclose(stream) };
    };
    let stream = shared::opening(AT_FDCWD, path, mode.flags, real, undo);
    if !stream.is_null() {
        // SAFETY: just opened.
        unsafe { after_open(stream, path, mode, true) };
    }
    stream
}

/// fdopen round `real`.
fn opening_on(fd: c_int, mode: *const c_char, real: impl FnOnce() -> *mut File) -> *mut File {
    let Some(buffer) = live().then(|| buffer_for(fd)).flatten() else { return real() };
    let Some(mode) = mode::parse(mode) else { return real() };
    let flags = || {
        // SAFETY: F_GETFL takes no argument; the raw call leaves the engine out.
        unsafe { crate::real::raw::fcntl(fd, libc::F_GETFL, 0) }
    };
    let appends = mode.flags & libc::O_APPEND != 0;
    let appended = appends && flags() & libc::O_APPEND != 0;
    let stream = real();
    if stream.is_null() {
        return stream;
    }
    if appends && !appended {
        // glibc has set O_APPEND inside, and has moved to the end.
        let flags = flags();
        inside(|| engine::flags_changed(fd, flags));
        if mode.at_end {
            // SAFETY: a seek on a descriptor of the program's.
            unsafe { transfer::lseek(fd, 0, libc::SEEK_END) };
        }
    }
    // SAFETY: just made.
    unsafe {
        if mode.wide || (*stream).mode > 0 {
            let _ = tell(|| engine::touch(fd, Touch::Leave(Bypass::WideStdio)));
        } else {
            adopt(stream, buffer);
        }
    }
    stream
}

/// freopen round `real`: the stream stays where it is, on another file.
unsafe fn reopening(
    path: *const c_char,
    mode: *const c_char,
    stream: *mut File,
    real: impl Fn() -> *mut File,
) -> *mut File {
    if stream.is_null() || !live() {
        return real();
    }
    let Some(mode) = mode::parse(mode) else { return real() };
    if !path.is_null() && !before_open(path, mode) {
        return null_mut();
    }
    // SAFETY: the program's stream, which no other thread may use meanwhile.
    unsafe {
        let old = (*stream).fileno;
        if is_ours(stream) {
            fflush(stream);
            release(stream);
        }
        if old >= 0 {
            // freopen ignores the errors of closing the old file.
            let _ = tell(|| engine::before_close(old));
        }
        let result = shared::opening(AT_FDCWD, path, mode.flags, real, |_| {});
        if !result.is_null() {
            let own = is_ours(result) || layout::pristine(result);
            after_open(result, path, mode, own && (*result).fileno > 2);
        }
        result
    }
}

unsafe extern "C-unwind" {
    fn fflush(stream: *mut File) -> c_int;
    fn _IO_flockfile(stream: *mut File);
    fn _IO_funlockfile(stream: *mut File);
}

/// A stream's lock, given back also when the thread is cancelled inside.
struct Locked(*mut File);

/// The program does its own locking on this stream.
const USER_LOCK: c_int = 0x8000;

impl Locked {
    /// # Safety
    /// `stream` is a stream.
    unsafe fn new(stream: *mut File) -> Option<Locked> {
        // SAFETY: as the caller says.
        unsafe {
            ((*stream).flags & USER_LOCK == 0).then(|| {
                _IO_flockfile(stream);
                Locked(stream)
            })
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: locked by this thread in `new`.
        unsafe { _IO_funlockfile(self.0) };
    }
}

/// A read of at least the buffer's size into a stream of ours: straight into the program's memory, which is what
/// glibc does with its own streams and not with cookie streams.
#[inline(always)]
unsafe fn reading_large(
    buf: *mut c_void,
    size: size_t,
    count: size_t,
    stream: *mut File,
    lock: bool,
    real: impl FnOnce() -> size_t,
) -> size_t {
    // SAFETY: the program's stream and buffer.
    unsafe {
        let bytes = size.wrapping_mul(count);
        if !is_ours(stream) || bytes == 0 || bytes < (*stream).buf_end.addr() - (*stream).buf_base.addr() {
            return real();
        }
        let Some(glibc) = served(stream) else { return real() };
        let _locked = if lock { Locked::new(stream) } else { None };
        let got = (glibc.read_large)(stream, buf, bytes);
        if got == bytes { count } else { got / size }
    }
}

/// A write of several buffers' size into a stream of ours whose buffer is empty. glibc would fill the buffer first and
/// write that out by itself: a small request and a large one, where a large one alone is served better.
#[inline(always)]
unsafe fn writing_large(
    size: size_t,
    count: size_t,
    stream: *mut File,
    lock: bool,
    real: impl FnOnce() -> size_t,
) -> size_t {
    // SAFETY: the program's stream.
    unsafe {
        if size.wrapping_mul(count) < LARGE || !is_ours(stream) || served(stream).is_none() {
            return real();
        }
        let _locked = if lock { Locked::new(stream) } else { None };
        if (*stream).flags & PUTTING != 0 && (*stream).write_ptr == (*stream).write_base {
            // No room left: glibc writes whole blocks past the buffer, and then sets this anew.
            (*stream).write_end = (*stream).write_ptr;
        }
        real()
    }
}

/// Two buffers.
const LARGE: usize = 8192;
/// The stream's last operation was a write (_IO_CURRENTLY_PUTTING).
const PUTTING: c_int = 0x800;

/// A seek in a stream of ours. glibc forgets the offset of a cookie stream, and with it the buffer, at each.
#[inline(always)]
unsafe fn seeking(
    stream: *mut File,
    offset: i64,
    whence: c_int,
    how: c_int,
    real: impl FnOnce() -> i64,
) -> i64 {
    // SAFETY: the program's stream.
    unsafe {
        // With push-back pending, and in every odd case, glibc's own way.
        if !is_ours(stream) || !(0..=2).contains(&whence) {
            return real();
        }
        let Some(glibc) = served(stream) else { return real() };
        let _locked = Locked::new(stream);
        if !(*stream).save_base.is_null() || (*stream).mode > 0 {
            return real();
        }
        (glibc.seek)(stream, offset, whence, how)
    }
}

/// Seek for reading and for writing.
const BOTH: c_int = 3;

hooks! {
    fn fopen | fopen64 | _IO_fopen(path: *const c_char, mode: *const c_char) -> *mut File, real => {
        named(HERE, path, mode::how(mode), |_, path| opening(path, mode, || real(path, mode)))
    }

    fn fdopen | _IO_fdopen(fd: c_int, mode: *const c_char) -> *mut File, real => {
        opening_on(fd, mode, || real(fd, mode))
    }

    fn freopen | freopen64(path: *const c_char, mode: *const c_char, stream: *mut File) -> *mut File, real => {
        let mut room = Room::new();
        let known = if names::in_force() {
            program_name(path).and_then(|name| found(HERE, name, mode::how(mode), &mut room))
        } else {
            None
        };
        let path = known.map_or(path, CStr::as_ptr);
        // SAFETY: the program's stream.
        unsafe { reopening(path, mode, stream, || real(path, mode, stream)) }
    }

    fn fclose | _IO_fclose(stream: *mut File) -> c_int, real => {
        if stream.is_null() { return real(stream); }
        // SAFETY: the program's stream, gone after the call; what stood beside it is ours to free then.
        unsafe {
            let side = beside(stream);
            let mut flushed = Ok(());
            // A served stream closes its descriptor through the hook; any other closes it inside glibc.
            if served(stream).is_none() && live() && (*stream).fileno >= 0 {
                let fd = (*stream).fileno;
                flushed = tell(|| engine::before_close(fd));
            }
            let result = real(stream);
            libc::free(side);
            match flushed {
                Err(e) if result == 0 => int(fail(e)),
                _ => result,
            }
        }
    }

    fn fread | _IO_fread(buf: *mut c_void, size: size_t, count: size_t, stream: *mut File) -> size_t, real => {
        // SAFETY: the program's stream and buffer.
        unsafe { reading_large(buf, size, count, stream, true, || real(buf, size, count, stream)) }
    }

    fn fread_unlocked(buf: *mut c_void, size: size_t, count: size_t, stream: *mut File) -> size_t, real => {
        // SAFETY: as above.
        unsafe { reading_large(buf, size, count, stream, false, || real(buf, size, count, stream)) }
    }

    fn __fread_chk(buf: *mut c_void, room: size_t, size: size_t, count: size_t, stream: *mut File) -> size_t,
        real => {
        if size.checked_mul(count).is_none_or(|bytes| bytes > room) {
            return real(buf, room, size, count, stream);
        }
        // SAFETY: as above.
        unsafe { reading_large(buf, size, count, stream, true, || real(buf, room, size, count, stream)) }
    }

    fn __fread_unlocked_chk(buf: *mut c_void, room: size_t, size: size_t, count: size_t, stream: *mut File)
        -> size_t, real => {
        if size.checked_mul(count).is_none_or(|bytes| bytes > room) {
            return real(buf, room, size, count, stream);
        }
        // SAFETY: as above.
        unsafe { reading_large(buf, size, count, stream, false, || real(buf, room, size, count, stream)) }
    }

    fn _IO_sgetn(stream: *mut File, buf: *mut c_void, len: size_t) -> size_t, real => {
        // SAFETY: as above.
        unsafe { reading_large(buf, 1, len, stream, false, || real(stream, buf, len)) }
    }

    fn fwrite | _IO_fwrite(buf: *const c_void, size: size_t, count: size_t, stream: *mut File) -> size_t, real => {
        // SAFETY: as above.
        unsafe { writing_large(size, count, stream, true, || real(buf, size, count, stream)) }
    }

    fn fwrite_unlocked(buf: *const c_void, size: size_t, count: size_t, stream: *mut File) -> size_t, real => {
        // SAFETY: as above.
        unsafe { writing_large(size, count, stream, false, || real(buf, size, count, stream)) }
    }

    fn fseek | fseeko | fseeko64(stream: *mut File, offset: c_long, whence: c_int) -> c_int, real => {
        // SAFETY: as above.
        unsafe {
            let at = seeking(stream, offset, whence, BOTH, || i64::from(real(stream, offset, whence)));
            if at == -1 { -1 } else { 0 }
        }
    }

    fn ftell | ftello | ftello64 | _IO_ftell(stream: *mut File) -> c_long, real => {
        // SAFETY: as above.
        unsafe { seeking(stream, 0, libc::SEEK_CUR, 0, || real(stream)) }
    }
}
