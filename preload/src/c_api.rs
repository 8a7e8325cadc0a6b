//! The C surface of the library, for programs that are linked with it; see include/iris.h.

use crate::guard::{live, tell};
use crate::paths::{HERE, found};
use ::engine::engine;
use ::engine::errno::Errno;
use ::engine::namespace::names::{self, Room};
use libc::{c_char, c_int};
use std::ffi::CStr;

/// The version of the library, a constant string.
#[unsafe(no_mangle)]
pub extern "C" fn iris_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Brings the bytes of `path` that are staged on this node home. 0, or −1 with `errno`.
///
/// # Safety
/// `path` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iris_settle(path: *const c_char) -> c_int {
    if path.is_null() {
        Errno(libc::EINVAL).set();
        return -1;
    }
    if !live() {
        return 0;
    }
    // SAFETY: the caller passed a C string.
    let path = unsafe { CStr::from_ptr(path) };
    let mut room = Room::new();
    let path = if names::in_force() { found(HERE, path, true, &mut room).unwrap_or(path) } else { path };
    match tell(|| engine::before_path(HERE, path, 0, true)) {
        Ok(()) => 0,
        Err(e) => {
            e.set();
            -1
        }
    }
}
