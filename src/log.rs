//! What Iris says when it is asked to (`IRIS_LOG`), and the one thing it says unasked. Owns the level; writes to
//! standard error by a direct system call.

use crate::sys;
use std::sync::atomic::{AtomicU8, Ordering};

static LEVEL: AtomicU8 = AtomicU8::new(0);

/// Sets the level: 0 nothing, 1 errors, 2 warnings, 3 information, 4 each decision.
pub fn set_level(level: u8) {
    LEVEL.store(level, Ordering::Relaxed);
}

/// Says something at a level.
pub fn say(level: u8, text: impl FnOnce() -> String) {
    if LEVEL.load(Ordering::Relaxed) >= level {
        complain(&format!("iris[{}]: {}\n", sys::pid(), text()));
    }
}

/// Writes to standard error.
pub fn complain(text: &str) {
    // SAFETY: the string is readable for its length. If standard error is closed, nobody can be told.
    let _ = unsafe { sys::write(2, text.as_ptr(), text.len()) };
}
