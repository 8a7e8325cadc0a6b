//! The ways out of a process. Everything staged goes home; what is written after that (stdio's last flush, late
//! destructors) goes through. Nothing is torn down.

use crate::guard::{inside, live};
use crate::hook::hooks;
use ::engine::engine;
use libc::{c_int, c_void};
use std::ptr::null_mut;

extern "C" fn leaving(_: *mut c_void) {
    if live() {
        inside(engine::at_exit);
    }
}

unsafe extern "C" {
    fn __cxa_atexit(f: extern "C" fn(*mut c_void), argument: *mut c_void, dso: *mut c_void) -> c_int;
    fn __cxa_at_quick_exit(f: extern "C" fn(*mut c_void), dso: *mut c_void) -> c_int;
}

/// Registers for exit and quick_exit, before any of the program's own handlers and so to run after them. Without
/// a library's handle: with one the handler would run when that library's destructors do.
pub fn register() {
    // SAFETY: the handler is a function of a library that is never unloaded.
    unsafe {
        __cxa_atexit(leaving, null_mut(), null_mut());
        __cxa_at_quick_exit(leaving, null_mut());
    }
}

hooks! {
    fn _exit | _Exit(status: c_int) -> (), real => {
        leaving(null_mut());
        real(status)
    }
}
