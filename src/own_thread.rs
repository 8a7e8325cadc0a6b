//! Threads of Iris's own inside a program. Owns how they start: with all signals blocked, so that the program's
//! handlers never run on them, and known to the hooks, which serve none of their calls.

use crate::aside;
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
    aside::with_signals_blocked(|| {
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
