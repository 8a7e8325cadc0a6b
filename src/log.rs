//! What Iris says when it is asked to (`IRIS_LOG`), and the one thing it says unasked. Owns the level; writes to
//! standard error by a direct system call.

use crate::sys;
use std::cell::Cell;
use std::ffi::CString;
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

thread_local! {
    /// Whether the thread has a table of descriptors that is not the program's.
    static APART: Cell<bool> = const { Cell::new(false) };
}

/// From now on the calling thread has a table of descriptors that is not the program's: its 2 is no standard error.
pub fn apart() {
    APART.with(|a| a.set(true));
}

/// Writes to standard error.
pub fn complain(text: &str) {
    if APART.with(Cell::get) {
        // The main thread has the program's table. Without it, or with a socket there, nobody can be told.
        let pid = sys::pid();
        if let Ok(name) = CString::new(format!("/proc/{pid}/task/{pid}/fd/2"))
            && let Ok(fd) = sys::open(&name, rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::APPEND, 0)
        {
            // SAFETY: the string is readable for its length.
            let _ = unsafe { sys::write(fd.raw(), text.as_ptr(), text.len()) };
        }
        return;
    }
    // SAFETY: the string is readable for its length. If standard error is closed, nobody can be told.
    let _ = unsafe { sys::write(2, text.as_ptr(), text.len()) };
}
