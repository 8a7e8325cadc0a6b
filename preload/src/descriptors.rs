//! Hooks that end, copy or lock a descriptor, and the two that do anything (fcntl, ioctl).

use crate::guard::{ask, cancellation_point, concerns, fail, inside, int, live, tell};
use crate::hook::hooks;
use crate::mpi;
use crate::real::raw;
use ::engine::engine::{self, Answer, Touch};
use ::engine::errno::Errno;
use libc::{c_int, c_uint, c_ulong, flock as Lock, off_t};

/// close(2) round `real`. The kernel's close happens whatever the engine says, as it does in Linux.
#[inline]
pub fn closing(fd: c_int, real: impl Fn() -> c_int) -> c_int {
    if !live() {
        return real();
    }
    mpi::closing(fd);
    if !engine::knows(fd) {
        return real();
    }
    cancellation_point();
    let mut made = None;
    let flushed = tell(|| {
        engine::closing(fd, || {
            let _whole = Uncancelled::new();
            made = Some((real(), Errno::last()));
        })
    });
    let (result, error) = made.unwrap_or_else(|| (real(), Errno::last()));
    match flushed {
        _ if result != 0 => int(fail(error)),
        Err(e) => int(fail(e)),
        Ok(()) => result,
    }
}

/// As long as this lives no cancellation of the thread acts: it would unwind what the engine holds.
struct Uncancelled(c_int);

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

impl Uncancelled {
    fn new() -> Uncancelled {
        const DISABLE: c_int = 1;
        let mut old = 0;
        // SAFETY: a plain call with a place for the answer; it acts on this thread only.
        unsafe { pthread_setcancelstate(DISABLE, &raw mut old) };
        Uncancelled(old)
    }
}

impl Drop for Uncancelled {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { pthread_setcancelstate(self.0, &raw mut self.0) };
    }
}

/// Forgets descriptors `first..=last` and calls `close` on them: on those that the engine knows one by one if that is
/// the same (`single`). Iris keeps none of its own open.
fn closing_range(
    first: c_uint,
    last: c_uint,
    single: bool,
    close: impl FnOnce(c_uint, c_uint) -> c_int,
) -> c_int {
    for fd in first..last.saturating_add(1).min(engine::above_all() as c_uint) {
        let fd = fd as c_int;
        if engine::knows(fd) {
            let kernels = || {
                if single {
                    // SAFETY: closing what the program asked to close.
                    unsafe { raw::close(fd) };
                }
            };
            // close_range reports no error of a single close, nor does this.
            let _ = tell(|| engine::closing(fd, kernels));
        }
    }
    close(first, last)
}

/// After a duplicate was made.
#[inline]
pub fn duplicated(old: c_int, new: c_int) -> c_int {
    if new >= 0 && live() {
        inside(|| engine::duped(old, new));
    }
    new
}

/// dup2 and dup3 round `real`: what was at `new` is closed, if `old` is a descriptor at all.
#[inline]
fn replacing(old: c_int, new: c_int, real: impl Fn() -> c_int) -> c_int {
    // SAFETY: F_GETFD takes no argument; the raw call leaves the engine out.
    if !live() || old == new || unsafe { raw::fcntl(old, libc::F_GETFD, 0) } < 0 {
        return real();
    }
    let mut made = None;
    inside(|| {
        engine::replacing(old, new, || {
            let result = real();
            made = Some((result, Errno::last()));
            result >= 0
        });
    });
    let (result, error) = made.unwrap_or_else(|| (real(), Errno::last()));
    if result < 0 { int(fail(error)) } else { result }
}

/// After a descriptor was taken out of another process, which goes on using it and its offset.
pub fn taken(fd: c_int) -> c_int {
    if fd >= 0 && live() {
        // The descriptor is there; an error of the flush shows at the file's next call.
        let _ = tell(|| engine::received(fd));
    }
    fd
}

/// An unlock publishes what was written under the lock.
fn before_unlock(fd: c_int, kind: c_int) -> Result<(), Errno> {
    if kind == libc::F_UNLCK { tell(|| engine::touch(fd, Touch::Change)) } else { Ok(()) }
}

/// The program's lock with an absolute start: the offset that SEEK_CUR means may be known to the engine only.
fn absolute(fd: c_int, lock: &Lock) -> Option<Lock> {
    if c_int::from(lock.l_whence) != libc::SEEK_CUR {
        return None;
    }
    match ask(|| engine::lseek(fd, 0, libc::SEEK_CUR)) {
        Answer::Done(at) => {
            let mut absolute = *lock;
            absolute.l_whence = libc::SEEK_SET as _;
            absolute.l_start += at;
            Some(absolute)
        }
        _ => None,
    }
}

/// fcntl(2) round `real`, which takes the argument.
pub fn controlling(fd: c_int, command: c_int, argument: usize, real: impl Fn(usize) -> c_int) -> c_int {
    if !concerns(fd) {
        return real(argument);
    }
    match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => duplicated(fd, real(argument)),
        libc::F_SETFL => {
            let result = real(argument);
            if result == 0 {
                inside(|| engine::flags_changed(fd, argument as c_int));
            }
            result
        }
        libc::F_SETLK
        | libc::F_SETLKW
        | libc::F_GETLK
        | libc::F_OFD_SETLK
        | libc::F_OFD_SETLKW
        | libc::F_OFD_GETLK
            if argument > 0xffff =>
        {
            // SAFETY: for these commands the argument is a pointer to the program's lock.
            let lock = unsafe { &mut *(argument as *mut Lock) };
            let asks = command == libc::F_GETLK || command == libc::F_OFD_GETLK;
            if matches!(command, libc::F_SETLK | libc::F_SETLKW) {
                engine::before_record_lock();
            }
            if !asks && let Err(e) = before_unlock(fd, c_int::from(lock.l_type)) {
                return int(fail(e));
            }
            match absolute(fd, lock) {
                None => real(argument),
                Some(mut absolute) => {
                    let result = real(&raw mut absolute as usize);
                    if asks && result == 0 {
                        *lock = absolute;
                    }
                    result
                }
            }
        }
        _ => real(argument),
    }
}

// Requests that neither read nor change a file's bytes, sizes or blocks; see ioctl_list(2).
const FIONREAD: c_ulong = 0x541b;
const FICLONE: c_ulong = 0x4004_9409;
const FICLONERANGE: c_ulong = 0x4020_940d;
const HARMLESS: &[c_ulong] = &[
    0x5401,      // TCGETS, which is isatty
    0x5413,      // TIOCGWINSZ
    0x5421,      // FIONBIO
    0x5450,      // FIONCLEX
    0x5451,      // FIOCLEX
    0x5452,      // FIOASYNC
    0x2,         // FIGETBSZ
    0x8008_6601, // FS_IOC_GETFLAGS
];

/// ioctl(2) round `real`.
pub fn requesting(fd: c_int, request: c_ulong, argument: usize, real: impl Fn() -> c_int) -> c_int {
    if !concerns(fd) && request != FICLONE && request != FICLONERANGE
        || !live()
        || HARMLESS.contains(&request)
    {
        return real();
    }
    if request == FIONREAD {
        if let Answer::Done(at) = ask(|| engine::lseek(fd, 0, libc::SEEK_CUR)) {
            return bytes_left(fd, at, argument);
        }
        return real();
    }
    // FICLONE and FICLONERANGE name a second file in the argument: its bytes must be in place too.
    let source = match request {
        FICLONE => Some(argument as c_int),
        // SAFETY: the argument points to a file_clone_range, whose first field is the descriptor (64 bits).
        FICLONERANGE if argument > 0xffff => Some(unsafe { *(argument as *const i64) } as c_int),
        _ => None,
    };
    if let Some(source) = source {
        // Extents that a store has are not the file system's to share: programs then copy.
        if [source, fd].into_iter().any(|fd| inside(|| engine::is_stored(fd)).unwrap_or(false)) {
            return int(fail(Errno(libc::EOPNOTSUPP)));
        }
        if let Err(e) = tell(|| engine::touch(source, Touch::Look)) {
            return int(fail(e));
        }
    }
    match tell(|| engine::touch(fd, Touch::Change)) {
        Ok(()) => real(),
        Err(e) => int(fail(e)),
    }
}

/// FIONREAD on a regular file: what lies between the offset and the end.
fn bytes_left(fd: c_int, at: i64, argument: usize) -> c_int {
    if argument <= 0xffff {
        return int(fail(Errno(libc::EFAULT)));
    }
    if let Err(e) = tell(|| engine::touch(fd, Touch::Look)) {
        return int(fail(e));
    }
    // SAFETY: a zeroed stat is valid, and a place for the answer; the argument points to the program's int.
    unsafe {
        let mut st: libc::stat = std::mem::zeroed();
        if raw::fstat(fd, &mut st) != 0 {
            return -1;
        }
        let size = inside(|| engine::staged_size(st.st_dev, st.st_ino, st.st_size)).flatten();
        *(argument as *mut c_int) = (size.unwrap_or(st.st_size) - at) as c_int;
    }
    0
}

hooks! {
    fn close | __close(fd: c_int) -> c_int, real = raw::close => { closing(fd, || real(fd)) }

    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int, real => {
        const CLOEXEC: c_int = 4;
        if !live() || first > last || flags & CLOEXEC != 0 { return real(first, last, flags); }
        closing_range(first, last, flags == 0, |a, b| real(a, b, flags))
    }

    fn closefrom(first: c_int) -> (), real => {
        if !live() { return real(first); }
        let first = first.max(0) as c_uint;
        closing_range(first, c_uint::MAX, true, |a, b| {
            if b == c_uint::MAX {
                real(a as c_int);
            } else {
                for fd in a..=b {
                    // SAFETY: closing what the program asked to close.
                    unsafe { raw::close(fd as c_int) };
                }
            }
            0
        });
    }

    fn pidfd_getfd(process: c_int, theirs: c_int, flags: c_uint) -> c_int, real => {
        taken(real(process, theirs, flags))
    }

    fn dup(old: c_int) -> c_int, real => { duplicated(old, real(old)) }

    fn dup2 | __dup2(old: c_int, new: c_int) -> c_int, real => { replacing(old, new, || real(old, new)) }

    fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int, real => {
        replacing(old, new, || real(old, new, flags))
    }

    fn fcntl | fcntl64 | __fcntl(fd: c_int, command: c_int, argument: usize) -> c_int, real = raw::fcntl => {
        controlling(fd, command, argument, |argument| real(fd, command, argument))
    }

    fn flock(fd: c_int, operation: c_int) -> c_int, real => {
        if live() && operation & libc::LOCK_UN != 0
            && let Err(e) = tell(|| engine::touch(fd, Touch::Change)) { return int(fail(e)); }
        real(fd, operation)
    }

    // The region starts at the file offset, and the real function asks the kernel for it.
    fn lockf | lockf64(fd: c_int, command: c_int, len: off_t) -> c_int, real => {
        if live() {
            engine::before_record_lock();
            if command == libc::F_ULOCK
                && let Err(e) = tell(|| engine::touch(fd, Touch::Change)) { return int(fail(e)); }
            if let Answer::Done(at) = ask(|| engine::lseek(fd, 0, libc::SEEK_CUR)) {
                // SAFETY: moves the kernel's offset of a descriptor whose offset the engine keeps.
                unsafe { raw::lseek(fd, at, libc::SEEK_SET) };
            }
        }
        real(fd, command, len)
    }

    fn ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int, real => {
        requesting(fd, request, argument, || real(fd, request, argument))
    }
}
