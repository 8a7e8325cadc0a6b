//! The engine as the hooks see it: one function for each thing that can happen to a descriptor, a path or the
//! process. Owns the table of descriptors; may not be called by anything below it.
//!
//! Every function may be called at any time, from any thread, before [`init`], after a fork and in a signal
//! handler, and none panics or changes `errno`. When nothing is mounted each costs one load.

use crate::errno::Errno;
use crate::report::Bypass;
use std::ffi::{CStr, c_int};

/// The engine's answer to a hook about one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The engine did it; this is the call's return value.
    Done(i64),
    /// The kernel must do it: make the real call with the program's own arguments.
    Kernel,
    /// The call fails with this error.
    Fail(Errno),
}

/// What a call that the kernel is about to make will do to an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Asks for durability (fsync, fdatasync, sync_file_range): staged bytes go home first, and a latched error
    /// of a background flush is returned.
    Sync,
    /// Reads size, times or blocks (fstat, statx with AT_EMPTY_PATH, SEEK_DATA).
    Look,
    /// Changes size, times, mode, extended attributes or the layout of blocks (ftruncate, fallocate, futimens,
    /// fchmod, ioctl, F_UNLCK …).
    Change,
    /// Lets the kernel or somebody else move bytes where the hooks cannot see (mmap, sendfile, splice, aio,
    /// a descriptor passed over a socket, a descriptor put on 0, 1 or 2): the file is flushed, the offset is
    /// stored in the kernel, and the file is served in passthrough from then on.
    Leave(Bypass),
}

/// Reads the configuration from the environment and makes the engine ready. Idempotent and cheap when already
/// done. Returns whether anything is mounted. Must not be called from a signal handler the first time.
pub fn init() -> bool {
    false
}

/// Whether anything is mounted: one load, for the hooks' first test.
#[inline]
pub fn active() -> bool {
    false
}

/// Before the kernel opens, truncates or otherwise changes by name: if the open would truncate (`flags` with
/// O_TRUNC) or `flags` is 0 (truncate, utimensat, chmod, setxattr … by path), bytes staged for that file go
/// home first. Costs one load while nothing is staged on the node.
pub fn before_path(_dirfd: c_int, _path: &CStr, _flags: c_int, _follow: bool) -> Result<(), Errno> {
    Ok(())
}

/// After a successful open, openat, creat, mkostemp … of `path`; `flags` as given to open. `path` may be `None`
/// when unknown (tmpfile, O_TMPFILE).
pub fn opened(_fd: c_int, _dirfd: c_int, _path: Option<&CStr>, _flags: c_int) {}

/// Whether this descriptor is a regular file under a mount and worth a cookie stream (stdio).
pub fn is_mounted(_fd: c_int) -> bool {
    false
}

/// Before the kernel closes `fd` or puts another file on it (dup2's target): stages go home as the mount says,
/// and the descriptor is forgotten. A latched or fresh flush error is returned: the hook closes all the same
/// and then fails with it.
pub fn before_close(_fd: c_int) -> Result<(), Errno> {
    Ok(())
}

/// After a successful dup, dup2, dup3 or F_DUPFD: `new` is another name of `old`'s open file description.
/// A duplicate on 0, 1 or 2 leaves the overlay ([`Touch::Leave`]).
pub fn duped(_old: c_int, _new: c_int) {}

/// read(2). The buffer is the program's: `buf` must be valid for writes of `len` bytes unless the kernel would
/// have answered EFAULT.
///
/// # Safety
/// `buf` is writable for `len` bytes, as the program promised to read(2).
pub unsafe fn read(_fd: c_int, _buf: *mut u8, _len: usize) -> Answer {
    Answer::Kernel
}

/// pread(2).
///
/// # Safety
/// As [`read`].
pub unsafe fn pread(_fd: c_int, _buf: *mut u8, _len: usize, _offset: i64) -> Answer {
    Answer::Kernel
}

/// write(2).
///
/// # Safety
/// `buf` is readable for `len` bytes, as the program promised to write(2).
pub unsafe fn write(_fd: c_int, _buf: *const u8, _len: usize) -> Answer {
    Answer::Kernel
}

/// pwrite(2).
///
/// # Safety
/// As [`write`].
pub unsafe fn pwrite(_fd: c_int, _buf: *const u8, _len: usize, _offset: i64) -> Answer {
    Answer::Kernel
}

/// readv(2), preadv(2) and preadv2(2); `offset` −1 uses and moves the file offset. `flags` are RWF_ flags.
///
/// # Safety
/// `iov` is valid for `count` entries and each entry as in [`read`].
pub unsafe fn readv(
    _fd: c_int,
    _iov: *const libc::iovec,
    _count: c_int,
    _offset: i64,
    _flags: c_int,
) -> Answer {
    Answer::Kernel
}

/// writev(2), pwritev(2) and pwritev2(2).
///
/// # Safety
/// `iov` is valid for `count` entries and each entry as in [`write`].
pub unsafe fn writev(
    _fd: c_int,
    _iov: *const libc::iovec,
    _count: c_int,
    _offset: i64,
    _flags: c_int,
) -> Answer {
    Answer::Kernel
}

/// lseek(2).
pub fn lseek(_fd: c_int, _offset: i64, _whence: c_int) -> Answer {
    Answer::Kernel
}

/// Before the kernel does something else to an open file; see [`Touch`]. An error is the call's result.
pub fn touch(_fd: c_int, _what: Touch) -> Result<(), Errno> {
    Ok(())
}

/// After fcntl(F_SETFL): the description's status flags (O_APPEND, O_DIRECT …) are now `flags`.
pub fn flags_changed(_fd: c_int, _flags: c_int) {}

/// After a successful stat of any kind by path or descriptor: corrects size and times for bytes that are staged
/// by other processes. `dev` and `ino` name the file; returns the size to show, or `None` when the kernel's is
/// right. Costs one load while nothing is staged on the node.
pub fn staged_size(_dev: u64, _ino: u64, _kernel_size: i64) -> Option<i64> {
    None
}

/// Before rename(2): `from` may be a directory. Keeps the names under which staged bytes would be recovered true.
pub fn before_rename(_olddir: c_int, _from: &CStr) -> Result<(), Errno> {
    Ok(())
}

/// After chdir or fchdir succeeded.
pub fn directory_changed() {}

/// Before fork(2): offsets are stored in the kernel, and the engine's own locks are taken.
pub fn before_fork() {}

/// In the parent after fork(2), also when it failed: releases what [`before_fork`] took.
pub fn after_fork_in_parent() {}

/// In the child after fork(2): a clean start (no threads, descriptors shared with the parent).
pub fn after_fork_in_child() {}

/// Before exec or spawn: every descriptor that another program is about to inherit (no FD_CLOEXEC) is flushed
/// and left to the kernel. `exec` tells that this process image is about to be replaced: all else is flushed too.
pub fn before_exec(_exec: bool) {}

/// At exit, `_exit`, `quick_exit` and MPI_Finalize: everything staged goes home; from then on writes go through.
/// May be called several times.
pub fn at_exit() {}

/// Descriptors of the engine's own that close_range, closefrom and close loops must leave alone.
pub fn is_own_descriptor(_fd: c_int) -> bool {
    false
}
