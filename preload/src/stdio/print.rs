//! dprintf: glibc prints to a stream of its own on the descriptor. For a mounted file the text is made first and
//! goes the way of write. The variable arguments are taken by the C half, which calls these.

use super::stream::concerns;
use crate::guard::live;
use crate::hook::hooks;
use crate::transfer;
use libc::{c_char, c_int, c_void};
use std::ptr::null_mut;

/// A va_list as it is passed to a function: a pointer on x86-64 and on AArch64.
pub type List = *mut c_void;

unsafe extern "C-unwind" {
    fn vasprintf(text: *mut *mut c_char, format: *const c_char, list: List) -> c_int;
    fn __vasprintf_chk(text: *mut *mut c_char, flag: c_int, format: *const c_char, list: List) -> c_int;
}

/// Prints through write.
unsafe fn printing(fd: c_int, make: impl FnOnce(*mut *mut c_char) -> c_int) -> c_int {
    let mut text = null_mut();
    let len = make(&mut text);
    if len < 0 {
        return -1;
    }
    let mut done = 0;
    // SAFETY: `text` holds `len` bytes, and is freed once.
    unsafe {
        while done < len as usize {
            let n = transfer::write(fd, text.add(done).cast(), len as usize - done);
            if n < 0 {
                let errno = ::engine::errno::Errno::last();
                libc::free(text.cast());
                errno.set();
                return -1;
            }
            done += n as usize;
        }
        libc::free(text.cast());
    }
    len
}

hooks! {
    fn vdprintf(fd: c_int, format: *const c_char, list: List) -> c_int, real => {
        if !live() || !concerns(fd) { return real(fd, format, list); }
        // SAFETY: the program's format and arguments.
        unsafe { printing(fd, |text| vasprintf(text, format, list)) }
    }

    fn __vdprintf_chk(fd: c_int, flag: c_int, format: *const c_char, list: List) -> c_int, real => {
        if !live() || !concerns(fd) { return real(fd, flag, format, list); }
        // SAFETY: as above.
        unsafe { printing(fd, |text| __vasprintf_chk(text, flag, format, list)) }
    }
}
