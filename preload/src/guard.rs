//! When a hook may ask the engine, and how: the state of the library, the depth of each thread, and the one
//! place where a panic becomes EIO. Owns those; may not call any real function.

use ::engine::engine::Answer;
use ::engine::errno::Errno;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering, compiler_fence};

/// Nothing is initialised yet: hooks make raw system calls or the real call.
const UNREADY: u8 = 0;
/// Initialised, and nothing is mounted.
const PASSIVE: u8 = 1;
/// Initialised, and something is mounted.
const LIVE: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNREADY);

/// Bit of the depth that marks a vfork child: it runs in its parent's memory, so no hook of its may touch the
/// engine until it has called exec or _exit.
const VFORK_CHILD: u32 = 1 << 31;

/// Makes the hooks ask the engine (`live`) or never (`!live`).
pub fn set_ready(live: bool) {
    STATE.store(if live { LIVE } else { PASSIVE }, Ordering::Release);
}

/// Whether something is mounted, whoever asks.
#[inline(always)]
pub fn mounted() -> bool {
    STATE.load(Ordering::Relaxed) == LIVE
}

/// Whether this call may ask the engine: something is mounted, and this thread is not inside Iris already.
#[inline(always)]
pub fn live() -> bool {
    // SAFETY: the address is this thread's own depth, valid as long as the thread runs.
    mounted() && unsafe { *depth() } == 0
}

/// Whether this call on a descriptor may ask the engine: as [`live`], and the engine has heard of the descriptor.
#[inline(always)]
pub fn concerns(fd: c_int) -> bool {
    mounted() && ::engine::engine::knows(fd) && live()
}

/// Marks this thread as Iris's own, so that hooks that it reaches go to the kernel, or as one of the program's again.
pub fn adopt(ours: bool) {
    // SAFETY: this thread's own depth, which was raised before it is lowered.
    unsafe { depth().write_volatile(if ours { *depth() + 1 } else { *depth() - 1 }) };
}

/// Whether a name comes from the program, be it in a vfork child, and not from inside Iris.
#[inline(always)]
pub fn of_program() -> bool {
    // SAFETY: this thread's own depth.
    mounted() && unsafe { *depth() } & !VFORK_CHILD == 0
}

/// The address of this thread's depth.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn depth() -> *mut u32 {
    let address: *mut u32;
    // SAFETY: reads the thread pointer and the variable's offset from it, which the loader has filled in
    // (initial-exec model, defined in variadic.c); nothing else is touched.
    unsafe {
        std::arch::asm!(
            "mov {a}, qword ptr fs:[0]",
            "add {a}, qword ptr [rip + iris_depth@GOTTPOFF]",
            a = out(reg) address,
            options(pure, nomem, nostack)
        );
    }
    address
}

/// The address of this thread's depth.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn depth() -> *mut u32 {
    // SAFETY: the function has no preconditions.
    unsafe { iris_depth_address() }
}

unsafe extern "C" {
    /// Keeps variadic.c's object in the link on every architecture.
    fn iris_depth_address() -> *mut u32;
}

/// Names the C object so that the linker takes it in even where the assembly above is the only user.
#[used]
static KEEP: unsafe extern "C" fn() -> *mut u32 = iris_depth_address;

/// Runs `f` inside Iris: hooks that it reaches go to the kernel, a panic is caught (`None`), and the thread's
/// `errno` is what it was.
#[inline(always)]
pub fn inside<R>(f: impl FnOnce() -> R) -> Option<R> {
    let depth = depth();
    let errno = errno_place();
    // SAFETY: this thread's errno.
    let before = unsafe { *errno };
    // SAFETY: this thread's own depth; a signal handler that interrupts leaves it as it found it.
    unsafe { depth.write_volatile(*depth + 1) };
    let result = catch_unwind(AssertUnwindSafe(f)).ok();
    // SAFETY: as above.
    unsafe { depth.write_volatile(*depth - 1) };
    // SAFETY: as above.
    unsafe { *errno = before };
    // A signal that came before the line above has been put off and counted; one that comes after it runs at once.
    // SAFETY: the count lies behind the depth.
    if unsafe { depth.add(1).read_volatile() } != 0 {
        come_out(depth);
    }
    result
}

/// Where this thread's errno lies. (The address, unlike the value, may be asked for once and kept.)
#[inline(always)]
fn errno_place() -> *mut c_int {
    // SAFETY: no preconditions.
    unsafe { libc::__errno_location() }
}

#[cold]
fn come_out(depth: *mut u32) {
    // SAFETY: this thread's own depth and count.
    unsafe {
        if *depth & !VFORK_CHILD == 0 {
            crate::signals::deliver(depth.add(1));
        }
    }
}

/// How many signals wait for this thread to come out of Iris; `None` when it is not inside, or is a vfork child.
pub fn held() -> Option<*mut u32> {
    let depth = depth();
    // SAFETY: as in `inside`; the count lies behind the depth.
    unsafe {
        compiler_fence(Ordering::SeqCst);
        (depth.read_volatile() != 0 && !in_vfork_child()).then(|| depth.add(1))
    }
}

/// Asks the engine about a call.
#[inline(always)]
pub fn ask(f: impl FnOnce() -> Answer) -> Answer {
    inside(f).unwrap_or(Answer::Fail(Errno(libc::EIO)))
}

/// Tells the engine what is about to happen; `Err` must become the call's result.
#[inline(always)]
pub fn tell<T>(f: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    inside(f).unwrap_or(Err(Errno(libc::EIO)))
}

/// Marks this thread as running in a vfork child.
pub fn enter_vfork_child() {
    // SAFETY: as in `inside`; the child runs on its parent's thread variables until it calls exec.
    unsafe { *depth() |= VFORK_CHILD };
}

/// The parent of a vfork child runs again.
pub fn leave_vfork_child() {
    // SAFETY: as in `inside`.
    unsafe { *depth() &= !VFORK_CHILD };
}

/// Whether this thread is a vfork child.
pub fn in_vfork_child() -> bool {
    // SAFETY: as in `inside`.
    unsafe { *depth() & VFORK_CHILD != 0 }
}

/// Fails a call: stores the error and gives −1.
#[cold]
pub fn fail(error: Errno) -> i64 {
    error.set();
    -1
}

/// glibc's own note of whether the process has ever had a second thread; null where glibc is too old to have it.
static SINGLE_THREADED: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

/// Remembers where glibc keeps that note.
pub fn set_single_threaded(note: *mut u8) {
    SINGLE_THREADED.store(note, Ordering::Release);
}

/// A pending cancellation acts here, as it would in the system call that the engine is about to make needless.
#[inline(always)]
pub fn cancellation_point() {
    unsafe extern "C-unwind" {
        fn pthread_testcancel();
    }
    let note = SINGLE_THREADED.load(Ordering::Relaxed);
    // SAFETY: the note is glibc's variable, never unloaded. pthread_testcancel may unwind; no destructor waits
    // in the frames between it and the program.
    unsafe {
        if note.is_null() || *note == 0 {
            pthread_testcancel();
        }
    }
}

/// Whether a path pointer can be read without a fault that the kernel would have answered with EFAULT.
#[inline(always)]
pub fn readable(path: *const std::ffi::c_char) -> bool {
    (path as isize) > 0xffff
}

/// The result of a hook that returns `int`.
#[inline(always)]
pub fn int(value: i64) -> c_int {
    value as c_int
}
