//! Hooks that move bytes between a descriptor and the program's memory, and the file offset.

use crate::guard::{ask, cancellation_point, concerns, fail, readable, tell};
use crate::hook::hooks;
use crate::real::raw;
use ::engine::engine::{self, Answer, Touch};
use libc::{c_int, c_void, iovec, off_t, size_t, ssize_t};

/// The answer as the call's result.
#[inline(always)]
pub fn settle(answer: Answer, real: impl FnOnce() -> ssize_t) -> ssize_t {
    match answer {
        Answer::Kernel => real(),
        Answer::Done(n) => n as ssize_t,
        Answer::Fail(e) => fail(e) as ssize_t,
    }
}

/// read(2) round `real`.
#[inline(always)]
pub fn reading(fd: c_int, buf: *mut c_void, len: size_t, real: impl FnOnce() -> ssize_t) -> ssize_t {
    if !concerns(fd) || engine::is_quiet() {
        return real();
    }
    cancellation_point();
    // SAFETY: the program promised read(2) that the buffer is writable.
    settle(ask(|| unsafe { engine::read(fd, buf.cast(), len) }), real)
}

/// write(2) round `real`.
#[inline(always)]
pub fn writing(fd: c_int, buf: *const c_void, len: size_t, real: impl FnOnce() -> ssize_t) -> ssize_t {
    if !concerns(fd) {
        return real();
    }
    cancellation_point();
    // SAFETY: the program promised write(2) that the buffer is readable.
    settle(ask(|| unsafe { engine::write(fd, buf.cast(), len) }), real)
}

#[inline(always)]
fn reading_at(fd: c_int, buf: *mut c_void, len: size_t, at: off_t, real: impl Fn() -> ssize_t) -> ssize_t {
    loop {
        let entries = engine::entries();
        if concerns(fd) && at >= 0 {
            if engine::is_quiet() {
                return real();
            }
            cancellation_point();
            // SAFETY: as in `reading`.
            match ask(|| unsafe { engine::pread(fd, buf.cast(), len, at) }) {
                Answer::Kernel => {}
                answer => return settle(answer, real),
            }
        }
        let result = real();
        // Another thread may have opened the number meanwhile: then what the kernel read lacks what is staged. It may
        // even have closed it again, and the file has it all by now.
        if result < 0 || engine::entries() == entries || !readable(buf.cast()) {
            return result;
        }
    }
}

#[inline(always)]
fn scattering(
    fd: c_int,
    iov: *const iovec,
    count: c_int,
    at: off_t,
    flags: c_int,
    real: impl FnOnce() -> ssize_t,
) -> ssize_t {
    if !concerns(fd) || !readable(iov.cast()) {
        return real();
    }
    cancellation_point();
    // SAFETY: the program promised readv(2) `count` vectors, each writable.
    settle(ask(|| unsafe { engine::readv(fd, iov, count, at, flags) }), real)
}

#[inline(always)]
fn gathering(
    fd: c_int,
    iov: *const iovec,
    count: c_int,
    at: off_t,
    flags: c_int,
    real: impl FnOnce() -> ssize_t,
) -> ssize_t {
    if !concerns(fd) || !readable(iov.cast()) {
        return real();
    }
    cancellation_point();
    // SAFETY: the program promised writev(2) `count` vectors, each readable.
    settle(ask(|| unsafe { engine::writev(fd, iov, count, at, flags) }), real)
}

hooks! {
    fn read | __read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t, real = raw::read => {
        reading(fd, buf, len, || real(fd, buf, len))
    }

    // When `len` exceeds `room` the real function ends the program.
    fn __read_chk(fd: c_int, buf: *mut c_void, len: size_t, room: size_t) -> ssize_t, real => {
        if len > room { return real(fd, buf, len, room); }
        reading(fd, buf, len, || real(fd, buf, len, room))
    }

    fn pread | pread64 | __pread64(fd: c_int, buf: *mut c_void, len: size_t, at: off_t) -> ssize_t,
        real = raw::pread => { reading_at(fd, buf, len, at, || real(fd, buf, len, at)) }

    fn __pread_chk | __pread64_chk(fd: c_int, buf: *mut c_void, len: size_t, at: off_t, room: size_t) -> ssize_t,
        real => {
        if len > room { return real(fd, buf, len, at, room); }
        reading_at(fd, buf, len, at, || real(fd, buf, len, at, room))
    }

    fn readv(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t, real => {
        scattering(fd, iov, count, -1, 0, || real(fd, iov, count))
    }

    // preadv refuses a negative offset, preadv2 takes −1 for the file offset.
    fn preadv | preadv64(fd: c_int, iov: *const iovec, count: c_int, at: off_t) -> ssize_t, real => {
        if at < 0 { return real(fd, iov, count, at); }
        scattering(fd, iov, count, at, 0, || real(fd, iov, count, at))
    }

    fn preadv2 | preadv64v2(fd: c_int, iov: *const iovec, count: c_int, at: off_t, flags: c_int) -> ssize_t,
        real => {
        if at < -1 { return real(fd, iov, count, at, flags); }
        scattering(fd, iov, count, at, flags, || real(fd, iov, count, at, flags))
    }

    fn write | __write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t, real = raw::write => {
        writing(fd, buf, len, || real(fd, buf, len))
    }

    fn pwrite | pwrite64 | __pwrite64(fd: c_int, buf: *const c_void, len: size_t, at: off_t) -> ssize_t, real => {
        if !concerns(fd) || at < 0 { return real(fd, buf, len, at); }
        cancellation_point();
        // SAFETY: the program promised pwrite(2) that the buffer is readable.
        settle(ask(|| unsafe { engine::pwrite(fd, buf.cast(), len, at) }), || real(fd, buf, len, at))
    }

    fn writev(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t, real => {
        gathering(fd, iov, count, -1, 0, || real(fd, iov, count))
    }

    fn pwritev | pwritev64(fd: c_int, iov: *const iovec, count: c_int, at: off_t) -> ssize_t, real => {
        if at < 0 { return real(fd, iov, count, at); }
        gathering(fd, iov, count, at, 0, || real(fd, iov, count, at))
    }

    fn pwritev2 | pwritev64v2(fd: c_int, iov: *const iovec, count: c_int, at: off_t, flags: c_int) -> ssize_t,
        real => {
        if at < -1 { return real(fd, iov, count, at, flags); }
        gathering(fd, iov, count, at, flags, || real(fd, iov, count, at, flags))
    }

    fn lseek | lseek64 | llseek | __lseek(fd: c_int, offset: off_t, whence: c_int) -> off_t, real = raw::lseek => {
        seeking(fd, offset, whence, || real(fd, offset, whence))
    }
}

/// lseek(2) round `real`. Holes and data are the kernel's to find, once staged bytes are in the file.
#[inline(always)]
pub fn seeking(fd: c_int, offset: off_t, whence: c_int, real: impl FnOnce() -> off_t) -> off_t {
    if !concerns(fd) || engine::is_quiet() {
        return real();
    }
    if (whence == libc::SEEK_DATA || whence == libc::SEEK_HOLE)
        && let Err(e) = tell(|| engine::touch(fd, Touch::Look))
    {
        return fail(e);
    }
    settle(ask(|| engine::lseek(fd, offset, whence)), || real() as ssize_t) as off_t
}
