//! Threads of Iris's own inside a program. Owns how they start: with all signals blocked, so that the program's
//! handlers never run on them, and known to the hooks, which serve none of their calls.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What marks a thread as Iris's own for the hooks (a `fn()`); 0 outside of the preload library.
static ADOPT: AtomicUsize = AtomicUsize::new(0);

/// Tells what marks the calling thread as Iris's own, so that no hook serves its calls.
pub fn set_adopt(mark: fn()) {
    ADOPT.store(mark as usize, Ordering::Release);
}

/// Marks the calling thread as Iris's own.
pub fn adopt() {
    let mark = ADOPT.load(Ordering::Acquire);
    if mark != 0 {
        // SAFETY: only `set_adopt` stores here, and it stores a fn().
        let mark: fn() = unsafe { std::mem::transmute::<usize, fn()>(mark) };
        mark();
    }
}

/// Starts a thread. Returns whether that worked.
pub fn spawn(name: &str, stack: usize, body: impl FnOnce() + Send + 'static) -> bool {
    with_signals_blocked(|| {
        std::thread::Builder::new()
            .name(name.into())
            .stack_size(stack)
            .spawn(move || {
                adopt();
                body();
            })
            .is_ok()
    })
}

/// Runs `f` with all signals blocked on this thread; threads that it starts inherit that.
fn with_signals_blocked<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: sigset_t is plain data, filled by sigfillset before use; the masks live on this stack frame.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut old: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
    }
    let result = f();
    // SAFETY: restores what was read above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut()) };
    result
}

/// Gives the calling thread an empty descriptor table of its own, which the threads it starts share. Whether that
/// worked: it takes a kernel from 5.9.
pub fn own_descriptors() -> bool {
    const CLOSE_RANGE_UNSHARE: libc::c_uint = 2;
    // SAFETY: the table that this thread goes on with is its own copy, in which nothing is in use by anybody. The
    // call is not served by a hook, since the thread is adopted.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, CLOSE_RANGE_UNSHARE) } == 0;
    if done {
        // A library that prints to 0, 1 or 2 must not print into a socket.
        for _ in 0..3 {
            let _ = crate::sys::open(c"/dev/null", rustix::fs::OFlags::RDWR, 0).map(std::mem::forget);
        }
    }
    done
}
