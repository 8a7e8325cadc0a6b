//! Threads of Iris's own inside a program. Owns how they start: with all signals blocked, so that the program's
//! handlers never run on them, and known to the hooks, which serve none of their calls.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What tells the hooks whether a thread is Iris's own (a `fn(bool)`); 0 outside of the preload library.
static ADOPT: AtomicUsize = AtomicUsize::new(0);

/// Tells what marks the calling thread as Iris's own, so that no hook serves its calls, or as the program's again.
pub fn set_adopt(mark: fn(bool)) {
    ADOPT.store(mark as usize, Ordering::Release);
}

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Bytes of the stack of a thread that does little at a time.
pub const STACK: usize = 256 * 1024;

/// Whether the calling thread is one of Iris's own, which runs beside the program's.
pub fn is_ours() -> bool {
    OURS.with(Cell::get)
}

/// Marks the calling thread as Iris's own.
pub fn adopt() {
    mark(true);
}

fn mark(ours: bool) {
    OURS.with(|o| o.set(ours));
    tell_hooks(ours);
}

/// Has no hook serve the calling thread any more, which does one piece of work and ends: what it opens and closes has
/// numbers of its own, which mean other files to the program.
pub fn hide() {
    tell_hooks(true);
}

fn tell_hooks(ours: bool) {
    let mark = ADOPT.load(Ordering::Acquire);
    if mark != 0 {
        // SAFETY: only `set_adopt` stores here, and it stores a fn(bool).
        let mark: fn(bool) = unsafe { std::mem::transmute::<usize, fn(bool)>(mark) };
        mark(ours);
    }
}

/// Starts a thread. Returns whether that worked.
pub fn spawn(name: &str, stack: usize, body: impl FnOnce() + Send + 'static) -> bool {
    with_signals_blocked(|| {
        std::thread::Builder::new()
            .name(name.into())
            .stack_size(stack)
            .spawn(move || {
                mark(true);
                body();
                // The last thread of a process runs the program's own work at exit.
                mark(false);
            })
            .is_ok()
    })
}

/// Runs `start`, which starts a thread, with all signals blocked, so that the program's handlers never run there.
pub fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
    // SAFETY: sigset_t is plain data, filled by sigfillset before use; the masks live on this stack frame.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut old: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
    }
    let started = start();
    // SAFETY: restores what was read above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut()) };
    started
}
