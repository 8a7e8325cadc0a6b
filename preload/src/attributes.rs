//! Hooks that look at or change what a file is rather than what it holds: stat, times, mode, owner, extended
//! attributes, length, blocks, durability.

use crate::guard::{ask, concerns, fail, inside, int, live, tell};
use crate::hook::hooks;
use crate::open::name;
use crate::paths::{HERE, named};
use crate::real::raw;
use crate::shared;
use ::engine::engine::{self, Answer, Touch};
use libc::{
    c_char, c_int, c_uint, c_void, gid_t, mode_t, off_t, size_t, stat as Stat, timespec, timeval, uid_t,
};

/// Any stat: `real`, and then the size that the file has once its staged bytes are home. Bytes that went home
/// between the two are in neither, so the kernel is asked again.
fn corrected(st: *mut Stat, real: impl Fn() -> c_int) -> c_int {
    if !live() {
        return real();
    }
    loop {
        let flushes = inside(engine::flushes);
        let result = real();
        if result != 0 {
            return result;
        }
        // SAFETY: the call succeeded, so the structure is the program's and filled in.
        let st = unsafe { &mut *st };
        if st.st_mode & libc::S_IFMT != libc::S_IFREG {
            return result;
        }
        if let Some(Some(size)) = inside(|| engine::staged_size(st.st_dev, st.st_ino, st.st_size)) {
            st.st_size = size;
        } else if inside(engine::flushes) != flushes {
            continue;
        }
        return result;
    }
}

/// fstat(2) round `real`.
fn looking(fd: c_int, st: *mut Stat, real: impl Fn() -> c_int) -> c_int {
    if concerns(fd)
        && let Err(e) = tell(|| engine::touch(fd, Touch::Look))
    {
        return int(fail(e));
    }
    corrected(st, real)
}

/// fstatat(2) round `real`: with an empty path it is fstat.
fn looking_at(
    dir: c_int,
    path: *const c_char,
    st: *mut Stat,
    flags: c_int,
    real: impl Fn() -> c_int,
) -> c_int {
    if live() && names_descriptor(path, flags) {
        return looking(dir, st, real);
    }
    corrected(st, real)
}

/// statx(2) round `real`.
fn looking_closely(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    stx: *mut libc::statx,
    real: impl Fn() -> c_int,
) -> c_int {
    if !live() {
        return real();
    }
    if names_descriptor(path, flags)
        && let Err(e) = tell(|| engine::touch(dir, Touch::Look))
    {
        return int(fail(e));
    }
    loop {
        let flushes = inside(engine::flushes);
        let result = real();
        if result != 0 {
            return result;
        }
        // SAFETY: the call succeeded, so the structure is the program's and filled in.
        let stx = unsafe { &mut *stx };
        let device = libc::makedev(stx.stx_dev_major, stx.stx_dev_minor);
        let size = stx.stx_size as i64;
        if let Some(Some(size)) = inside(|| engine::staged_size(device, stx.stx_ino, size)) {
            stx.stx_size = size as u64;
        } else if inside(engine::flushes) != flushes {
            continue;
        }
        return result;
    }
}

/// Whether a call with these AT_ flags follows a link in the last part of its name.
pub fn follows(flags: c_int) -> bool {
    flags & libc::AT_SYMLINK_NOFOLLOW == 0
}

fn names_descriptor(path: *const c_char, flags: c_int) -> bool {
    flags & libc::AT_EMPTY_PATH != 0 && name(path).is_none_or(|n| n.is_empty())
}

/// A call that changes an open file.
fn changing(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    touching(fd, Touch::Change, real)
}

/// As `changing`, of what other nodes see too: modes, owners, times, with `attributes` extended attributes.
fn changing_attributes(fd: c_int, attributes: bool, real: impl Fn() -> c_int) -> c_int {
    changing(fd, || shared::changing_open(fd, attributes, real))
}

fn touching(fd: c_int, what: Touch, real: impl FnOnce() -> c_int) -> c_int {
    if concerns(fd)
        && let Err(e) = tell(|| engine::touch(fd, what))
    {
        return int(fail(e));
    }
    real()
}

/// As `changing`, for the functions that return the error instead of setting `errno`.
fn changing_returned(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    if concerns(fd)
        && let Err(e) = tell(|| engine::touch(fd, Touch::Change))
    {
        return e.0;
    }
    real()
}

/// A call that changes a file by name; `real` gets the name that the kernel knows.
fn changing_path(
    dir: c_int,
    path: *const c_char,
    follow: bool,
    real: impl Fn(c_int, *const c_char) -> c_int,
) -> c_int {
    named(dir, path, follow, |dir, path| {
        if live()
            && let Some(name) = name(path)
            && let Err(e) = tell(|| engine::before_path(dir, name, 0, follow))
        {
            return int(fail(e));
        }
        real(dir, path)
    })
}

/// As `changing_path`, of what other nodes see too.
fn changing_path_attributes(
    dir: c_int,
    path: *const c_char,
    follow: bool,
    attributes: bool,
    real: impl Fn(c_int, *const c_char) -> c_int,
) -> c_int {
    changing_path(dir, path, follow, |dir, path| {
        shared::changing(dir, path, follow, attributes, || real(dir, path))
    })
}

/// The `*at` calls: with AT_EMPTY_PATH (or, for utimensat, without a path) they change the descriptor.
fn changing_at(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    real: impl Fn(c_int, *const c_char) -> c_int,
) -> c_int {
    if live() && (path.is_null() || names_descriptor(path, flags)) {
        return changing_attributes(dir, false, || real(dir, path));
    }
    changing_path_attributes(dir, path, follows(flags), false, real)
}

/// sync(2) and syncfs(2) mean every file that this process has open.
fn sync_all() -> Result<(), ::engine::errno::Errno> {
    let mut result = Ok(());
    for fd in 0..engine::above_all() {
        if inside(|| engine::is_mounted(fd)).unwrap_or(false) {
            result = result.and(tell(|| engine::touch(fd, Touch::Sync)));
        }
    }
    result
}

fn limiting(what: c_uint) {
    if what == libc::RLIMIT_FSIZE && live() {
        inside(engine::before_size_limit);
    }
}

hooks! {
    fn fstat | fstat64(fd: c_int, st: *mut Stat) -> c_int, real = raw::fstat => {
        looking(fd, st, || real(fd, st))
    }

    fn __fxstat | __fxstat64(version: c_int, fd: c_int, st: *mut Stat) -> c_int, real => {
        looking(fd, st, || real(version, fd, st))
    }

    fn stat | stat64(path: *const c_char, st: *mut Stat) -> c_int, real => {
        named(HERE, path, true, |_, path| corrected(st, || real(path, st)))
    }

    fn lstat | lstat64(path: *const c_char, st: *mut Stat) -> c_int, real => {
        named(HERE, path, false, |_, path| corrected(st, || real(path, st)))
    }

    fn __xstat | __xstat64(version: c_int, path: *const c_char, st: *mut Stat) -> c_int, real => {
        named(HERE, path, true, |_, path| corrected(st, || real(version, path, st)))
    }

    fn __lxstat | __lxstat64(version: c_int, path: *const c_char, st: *mut Stat) -> c_int, real => {
        named(HERE, path, false, |_, path| corrected(st, || real(version, path, st)))
    }

    fn fstatat | fstatat64(dir: c_int, path: *const c_char, st: *mut Stat, flags: c_int) -> c_int, real => {
        named(dir, path, follows(flags), |dir, path| {
            looking_at(dir, path, st, flags, || real(dir, path, st, flags))
        })
    }

    fn __fxstatat | __fxstatat64(version: c_int, dir: c_int, path: *const c_char, st: *mut Stat, flags: c_int)
        -> c_int, real => {
        named(dir, path, follows(flags), |dir, path| {
            looking_at(dir, path, st, flags, || real(version, dir, path, st, flags))
        })
    }

    fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: c_uint, stx: *mut libc::statx) -> c_int,
        real => {
        named(dir, path, follows(flags), |dir, path| {
            looking_closely(dir, path, flags, stx, || real(dir, path, flags, mask, stx))
        })
    }

    fn fsync | fdatasync(fd: c_int) -> c_int, real => { touching(fd, Touch::Sync, || real(fd)) }

    fn sync_file_range(fd: c_int, at: off_t, len: off_t, flags: c_uint) -> c_int, real => {
        touching(fd, Touch::Sync, || real(fd, at, len, flags))
    }

    fn syncfs(fd: c_int) -> c_int, real => {
        if live()
            && let Err(e) = sync_all() { return int(fail(e)); }
        real(fd)
    }

    // sync cannot fail; an error stays latched for the file's next fsync or close.
    fn sync() -> (), real => {
        if live() { let _ = sync_all(); }
        real()
    }

    fn ftruncate | ftruncate64(fd: c_int, len: off_t) -> c_int, real => {
        if live() {
            match ask(|| engine::ftruncate(fd, len)) {
                Answer::Done(n) => return int(n),
                Answer::Fail(e) => return int(fail(e)),
                Answer::Kernel => {}
            }
        }
        real(fd, len)
    }

    // A limit on file sizes is the kernel's to enforce: nothing is staged any more.
    fn setrlimit | setrlimit64(what: c_uint, limit: *const c_void) -> c_int, real => {
        limiting(what);
        real(what, limit)
    }

    fn prlimit | prlimit64(pid: libc::pid_t, what: c_uint, new: *const c_void, old: *mut c_void) -> c_int, real => {
        if !new.is_null() { limiting(what); }
        real(pid, what, new, old)
    }

    fn truncate | truncate64(path: *const c_char, len: off_t) -> c_int, real => {
        changing_path(HERE, path, true, |_, path| {
            if live()
                && let Some(name) = name(path)
            {
                match tell(|| engine::truncate(name, len)) {
                    Ok(true) => return 0,
                    Ok(false) => {}
                    Err(e) => return int(fail(e)),
                }
            }
            real(path, len)
        })
    }

    fn fallocate | fallocate64(fd: c_int, mode: c_int, at: off_t, len: off_t) -> c_int, real => {
        let within = || match real(fd, mode, at, len) {
            0 => Ok(()),
            _ => Err(::engine::errno::Errno::last()),
        };
        if !concerns(fd) {
            return real(fd, mode, at, len);
        }
        match ask(|| engine::fallocate(fd, mode, at, len, within)) {
            Answer::Done(_) => 0,
            Answer::Fail(e) => int(fail(e)),
            Answer::Kernel => changing(fd, || real(fd, mode, at, len)),
        }
    }

    fn posix_fallocate | posix_fallocate64(fd: c_int, at: off_t, len: off_t) -> c_int, real => {
        changing_returned(fd, || real(fd, at, len))
    }

    fn futimens(fd: c_int, times: *const timespec) -> c_int, real => { changing_attributes(fd, false, || real(fd, times)) }

    fn futimes(fd: c_int, times: *const timeval) -> c_int, real => { changing_attributes(fd, false, || real(fd, times)) }

    fn utimensat(dir: c_int, path: *const c_char, times: *const timespec, flags: c_int) -> c_int, real => {
        changing_at(dir, path, flags, |dir, path| real(dir, path, times, flags))
    }

    fn futimesat(dir: c_int, path: *const c_char, times: *const timeval) -> c_int, real => {
        changing_at(dir, path, 0, |dir, path| real(dir, path, times))
    }

    fn utimes(path: *const c_char, times: *const timeval) -> c_int, real => {
        changing_path_attributes(HERE, path, true, false, |_, path| real(path, times))
    }

    fn lutimes(path: *const c_char, times: *const timeval) -> c_int, real => {
        changing_path_attributes(HERE, path, false, false, |_, path| real(path, times))
    }

    fn utime(path: *const c_char, times: *const libc::utimbuf) -> c_int, real => {
        changing_path_attributes(HERE, path, true, false, |_, path| real(path, times))
    }

    fn fchmod(fd: c_int, mode: mode_t) -> c_int, real => { changing_attributes(fd, false, || real(fd, mode)) }

    fn chmod(path: *const c_char, mode: mode_t) -> c_int, real => {
        changing_path_attributes(HERE, path, true, false, |_, path| real(path, mode))
    }

    fn lchmod(path: *const c_char, mode: mode_t) -> c_int, real => {
        changing_path_attributes(HERE, path, false, false, |_, path| real(path, mode))
    }

    fn fchmodat(dir: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int, real => {
        changing_at(dir, path, flags, |dir, path| real(dir, path, mode, flags))
    }

    fn fchown(fd: c_int, user: uid_t, group: gid_t) -> c_int, real => { changing_attributes(fd, false, || real(fd, user, group)) }

    fn chown(path: *const c_char, user: uid_t, group: gid_t) -> c_int, real => {
        changing_path_attributes(HERE, path, true, false, |_, path| real(path, user, group))
    }

    fn lchown(path: *const c_char, user: uid_t, group: gid_t) -> c_int, real => {
        changing_path_attributes(HERE, path, false, false, |_, path| real(path, user, group))
    }

    fn fchownat(dir: c_int, path: *const c_char, user: uid_t, group: gid_t, flags: c_int) -> c_int, real => {
        changing_at(dir, path, flags, |dir, path| real(dir, path, user, group, flags))
    }

    fn fsetxattr(fd: c_int, key: *const c_char, value: *const c_void, len: size_t, flags: c_int) -> c_int,
        real => { changing_attributes(fd, true, || real(fd, key, value, len, flags)) }

    fn setxattr(path: *const c_char, key: *const c_char, value: *const c_void, len: size_t, flags: c_int) -> c_int,
        real => { changing_path_attributes(HERE, path, true, true, |_, path| real(path, key, value, len, flags)) }

    fn lsetxattr(path: *const c_char, key: *const c_char, value: *const c_void, len: size_t, flags: c_int) -> c_int,
        real => { changing_path_attributes(HERE, path, false, true, |_, path| real(path, key, value, len, flags)) }

    fn fremovexattr(fd: c_int, key: *const c_char) -> c_int, real => { changing_attributes(fd, true, || real(fd, key)) }

    fn removexattr(path: *const c_char, key: *const c_char) -> c_int, real => {
        changing_path_attributes(HERE, path, true, true, |_, path| real(path, key))
    }

    fn lremovexattr(path: *const c_char, key: *const c_char) -> c_int, real => {
        changing_path_attributes(HERE, path, false, true, |_, path| real(path, key))
    }
}
