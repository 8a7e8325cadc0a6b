//! Hooks for calls after which bytes move where no hook sees them: maps, transfers inside the kernel,
//! asynchronous I/O, descriptors sent over a socket. The file leaves the overlay first.

use crate::guard::{concerns, fail, int, live, tell};
use crate::hook::hooks;
use crate::real::raw;
use ::engine::engine::{self, Touch};
use ::engine::errno::Errno;
use ::engine::report::Bypass;
use libc::{aiocb, c_int, c_uint, c_void, msghdr, off_t, size_t, ssize_t};

/// The file leaves the overlay for `reason`.
pub fn leaving(fd: c_int, reason: Bypass) -> Result<(), Errno> {
    if !concerns(fd) {
        return Ok(());
    }
    tell(|| engine::touch(fd, Touch::Leave(reason)))
}

/// A transfer between two descriptors round `real`.
fn moving(from: c_int, to: c_int, real: impl FnOnce() -> ssize_t) -> ssize_t {
    if live()
        && let Err(e) = leaving(from, Bypass::InKernel).and_then(|()| leaving(to, Bypass::InKernel))
    {
        return fail(e) as ssize_t;
    }
    real()
}

/// An asynchronous request round `real`.
///
/// # Safety
/// `request` is null or valid.
unsafe fn deferring(request: *const aiocb, real: impl FnOnce() -> c_int) -> c_int {
    if live() && !request.is_null() {
        // SAFETY: the caller vouches for the request.
        if let Err(e) = leaving(unsafe { (*request).aio_fildes }, Bypass::InKernel) {
            return int(fail(e));
        }
    }
    real()
}

/// Every descriptor that a message carries is about to belong to somebody else as well.
///
/// # Safety
/// `message` is valid, as sendmsg(2) demands.
unsafe fn sending(message: *const msghdr) -> Result<(), Errno> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: the header and its control buffer are the program's, valid for sendmsg(2); CMSG_NXTHDR stays
    // inside that buffer.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(message);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_SOCKET && (*control).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*control).cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
                let fds = libc::CMSG_DATA(control).cast::<c_int>();
                for i in 0..bytes / size_of::<c_int>() {
                    leaving(fds.add(i).read_unaligned(), Bypass::Inherited)?;
                }
            }
            control = libc::CMSG_NXTHDR(message, control);
        }
    }
    Ok(())
}

hooks! {
    // Allocators call this first of all, some before anything is initialised: memory without a file passes at once.
    fn mmap | mmap64(at: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t)
        -> *mut c_void, real = raw::mmap => {
        if flags & libc::MAP_ANONYMOUS == 0 && live()
            && let Err(e) = leaving(fd, Bypass::Mapped) {
                e.set();
                return libc::MAP_FAILED;
            }
        real(at, len, prot, flags, fd, offset)
    }

    fn sendfile | sendfile64(to: c_int, from: c_int, at: *mut off_t, len: size_t) -> ssize_t, real => {
        moving(from, to, || real(to, from, at, len))
    }

    fn copy_file_range(from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, len: size_t, flags: c_uint)
        -> ssize_t, real => { moving(from, to, || real(from, from_at, to, to_at, len, flags)) }

    fn splice(from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, len: size_t, flags: c_uint)
        -> ssize_t, real => { moving(from, to, || real(from, from_at, to, to_at, len, flags)) }

    fn aio_read | aio_read64 | aio_write | aio_write64(request: *mut aiocb) -> c_int, real => {
        // SAFETY: the program passed a request.
        unsafe { deferring(request, || real(request)) }
    }

    fn aio_fsync | aio_fsync64(operation: c_int, request: *mut aiocb) -> c_int, real => {
        // SAFETY: as above.
        unsafe { deferring(request, || real(operation, request)) }
    }

    fn lio_listio | lio_listio64(mode: c_int, list: *const *mut aiocb, count: c_int, event: *mut c_void) -> c_int,
        real => {
        if live() && !list.is_null() {
            for i in 0..count.max(0) as usize {
                // SAFETY: the program passed `count` pointers to requests, any of them null.
                let left = unsafe {
                    let request = *list.add(i);
                    if request.is_null() { Ok(()) } else { leaving((*request).aio_fildes, Bypass::InKernel) }
                };
                if let Err(e) = left { return int(fail(e)); }
            }
        }
        real(mode, list, count, event)
    }

    fn sendmsg(socket: c_int, message: *const msghdr, flags: c_int) -> ssize_t, real => {
        if live() {
            // SAFETY: the program passed a message.
            if let Err(e) = unsafe { sending(message) } { return fail(e) as ssize_t; }
        }
        real(socket, message, flags)
    }

    fn sendmmsg(socket: c_int, messages: *mut libc::mmsghdr, count: c_uint, flags: c_int) -> c_int, real => {
        if live() && !messages.is_null() {
            for i in 0..count as usize {
                // SAFETY: the program passed `count` messages.
                if let Err(e) = unsafe { sending(&(*messages.add(i)).msg_hdr) } { return int(fail(e)); }
            }
        }
        real(socket, messages, count, flags)
    }
}
