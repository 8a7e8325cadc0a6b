//! Asynchronous I/O by libaio and io_uring. libaio's requests name their descriptors. A ring is read by the kernel
//! without any call that does: once the process has one, no mounted file of its stays in the overlay.

use crate::guard::{inside, live, tell};
use crate::real;
use ::engine::engine::{self, Touch};
use ::engine::errno::Errno;
use ::engine::report::Bypass;
use libc::{c_char, c_int, c_long, c_uint, c_void};
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};

static RING: AtomicBool = AtomicBool::new(false);

/// Every open of whatever kind ends here: the engine hears of the descriptor.
pub fn opened(fd: c_int, name: Option<&CStr>, flags: c_int) {
    inside(|| engine::opened(fd, name, flags));
    if RING.load(Ordering::Relaxed) {
        leave(fd);
    }
}

fn leave(fd: c_int) {
    // An error of this flush is latched in the file; its next write, sync or close tells the program.
    let _ = tell(|| engine::touch(fd, Touch::Leave(Bypass::InKernel)));
}

/// The process is about to have a ring.
pub fn ring_comes() {
    if !live() || RING.swap(true, Ordering::Relaxed) {
        return;
    }
    for fd in 0..engine::above_all() {
        if inside(|| engine::is_mounted(fd)).unwrap_or(false) {
            leave(fd);
        }
    }
}

/// Where the descriptor lies in a request of libaio's (struct iocb).
const DESCRIPTOR: usize = 20;

/// The files of `count` requests leave the overlay.
///
/// # Safety
/// `requests` is null or an array of `count` requests, any of them null.
pub unsafe fn submitting(requests: *const *const u8, count: c_long) -> Result<(), Errno> {
    if requests.is_null() {
        return Ok(());
    }
    for i in 0..count.max(0) as usize {
        // SAFETY: as the caller says; the descriptor is a 32-bit field of each request.
        let fd = unsafe {
            let request = *requests.add(i);
            if request.is_null() {
                continue;
            }
            request.add(DESCRIPTOR).cast::<c_int>().read_unaligned()
        };
        tell(|| engine::touch(fd, Touch::Leave(Bypass::InKernel)))?;
    }
    Ok(())
}

/// libaio's io_submit, which makes its system call by itself. Errors are returned, negative.
///
/// # Safety
/// As for io_submit(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn io_submit(
    context: *mut c_void,
    count: c_long,
    requests: *const *const u8,
) -> c_int {
    // SAFETY: the program's requests, and the system call that the library would have made.
    unsafe {
        if live()
            && let Err(e) = submitting(requests, count)
        {
            return -e.0;
        }
        let errno = Errno::last();
        let result =
            real::raw::direct(libc::SYS_io_submit, [context as c_long, count, requests as c_long, 0, 0, 0]);
        if result >= 0 {
            return result as c_int;
        }
        let failed = -Errno::last().0;
        errno.set();
        failed
    }
}

/// A function of liburing's, which may have been loaded long after us and out of our sight.
fn liburing(name: &CStr) -> *const c_void {
    let mut found = real::next_symbol(name);
    for library in [c"liburing.so.2", c"liburing.so.1"] {
        if found.is_null() {
            // SAFETY: only a library that is loaded already is looked at.
            unsafe {
                let handle = libc::dlopen(library.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_NOW);
                if !handle.is_null() {
                    found = libc::dlsym(handle, name.as_ptr());
                }
            }
        }
    }
    found
}

macro_rules! rings {
    ($($name:ident($($a:ident: $t:ty),*);)*) => {$(
        /// liburing's function of this name: a ring comes.
        ///
        /// # Safety
        /// As for liburing's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name($($a: $t),*) -> c_int {
            const NAME: *const c_char = concat!(stringify!($name), "\0").as_ptr().cast();
            ring_comes();
            // SAFETY: the name ends in NUL; the function found is the one of this name and signature.
            unsafe {
                let next = liburing(CStr::from_ptr(NAME));
                if next.is_null() {
                    return -libc::ENOSYS;
                }
                let f: unsafe extern "C-unwind" fn($($t),*) -> c_int = std::mem::transmute(next);
                f($($a),*)
            }
        }
    )*};
}

rings! {
    io_uring_setup(entries: c_uint, parameters: *mut c_void);
    io_uring_queue_init(entries: c_uint, ring: *mut c_void, flags: c_uint);
    io_uring_queue_init_params(entries: c_uint, ring: *mut c_void, parameters: *mut c_void);
    io_uring_queue_init_mem(entries: c_uint, ring: *mut c_void, parameters: *mut c_void, buf: *mut c_void,
        size: usize);
}
