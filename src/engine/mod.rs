//! The engine as the hooks see it: one function for each thing that can happen to a descriptor, a path or the
//! process. Owns the table of descriptors; may not be called by anything below it.
//!
//! Every function may be called at any time, from any thread, before [`init`], after a fork and in a signal
//! handler, and none panics or changes `errno`. When nothing is mounted each costs one load.

mod ahead;
mod attach;
mod background;
mod description;
mod holds;
pub(crate) mod homes;
mod io;
mod names;
mod numbers;
mod process;
pub mod shared;
pub(crate) mod state;

use crate::aside;
use crate::errno::Errno;
use crate::report::Bypass;
use crate::sys;
use crate::tier0::layout::REMOVED;
use crate::{namespace, report};
use description::{Found, Mode};
use names::rights_are_the_kernels;
use std::ffi::{CStr, c_int};
use std::sync::atomic::Ordering;

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

pub use names::{
    Renamed, before_link, before_path, before_rename, linked, removed, removing, renamed, settle_everything,
    truncate,
};
pub use numbers::{before_close, closing, duped, replacing};
pub use process::{
    after_fork_in_child, after_fork_in_parent, at_exit, before_exec, before_fork, inherited, settle_open,
    spawned,
};

/// Reads the configuration from the environment and makes the engine ready. Idempotent and cheap when already
/// done. Returns whether anything is mounted. Must not be called from a signal handler the first time.
pub fn init() -> bool {
    state::start()
}

/// Tells what marks the calling thread as one of Iris's own, which no hook serves, or not any more. Before [`init`].
pub fn set_adopt(mark: fn(bool)) {
    crate::own_thread::set_adopt(mark);
}

/// Whether anything is mounted: one load, for the hooks' first test.
#[inline]
pub fn active() -> bool {
    state::engine().is_some()
}

/// Whether the engine has an entry for this descriptor: one load. Where it has none, every call on the descriptor
/// is the kernel's.
#[inline]
pub fn knows(fd: c_int) -> bool {
    description::known(fd)
}

/// No descriptor that the engine knows has this number or a higher one.
pub fn above_all() -> c_int {
    description::above_all()
}

/// After a successful open, openat, creat, mkostemp … of `path`; `flags` as given to open. `path` may be `None`
/// when unknown (tmpfile, O_TMPFILE).
pub fn opened(fd: c_int, path: Option<&CStr>, flags: c_int) {
    let Some(engine) = state::engine() else { return };
    if fd < 0 || flags & libc::O_PATH != 0 || flags & libc::O_TMPFILE == libc::O_DIRECTORY {
        return;
    }
    if path.is_some_and(|p| namespace::is_excluded(p.to_bytes(), &engine.config.mounts)) {
        return;
    }
    if engine.pool().is_none() {
        return;
    }
    if description::known(fd) {
        // Closed by something no hook saw.
        numbers::forget(fd);
    }
    description::enter(fd, |d| d.flags = flags);
    if engine.stores {
        attach_at_once(engine, fd, flags & libc::O_TRUNC != 0);
    }
    if flags & libc::O_TRUNC != 0 && engine.anything_staged() {
        truncated_by_open(engine, fd);
    }
}

/// A file whose bytes live in a store is known from its open on: what the kernel would read are the anchor's holes.
fn attach_at_once(engine: &'static state::Engine, fd: c_int, emptied: bool) {
    let Found::Yes(mut d) = description::get(fd) else { return };
    if let attach::Standing::File(file) = attach::standing(engine, &mut d, fd)
        && let Some(resident) = file.resident()
        && emptied
        && d.writable()
        && let Err(e) = resident.emptied(fd)
    {
        file.keep_error(e);
    }
}

/// Somebody may have staged again between [`before_path`] and the kernel's truncation; that counts as before it.
fn truncated_by_open(engine: &'static state::Engine, fd: c_int) {
    let Found::Yes(mut d) = description::get(fd) else { return };
    if let attach::Standing::File(file) = attach::standing(engine, &mut d, fd)
        && file.is_staged()
        && d.writable()
    {
        // An error here leaves what the kernel's own race between two writers could have left.
        let _ = file.alone(|| sys::ftruncate(fd, 0));
    }
}

/// After a descriptor came from another process (pidfd_getfd): its offset is shared, so the kernel serves it.
pub fn received(fd: c_int) -> Result<(), Errno> {
    if let Ok(flags) = sys::status_flags(fd) {
        opened(fd, None, flags);
    }
    touch(fd, Touch::Leave(Bypass::Inherited))
}

/// Whether this descriptor is a regular file under a mount and worth a cookie stream (stdio).
pub fn is_mounted(fd: c_int) -> bool {
    let Some(engine) = state::engine() else { return false };
    match description::get(fd) {
        Found::Yes(mut d) => matches!(attach::standing(engine, &mut d, fd), attach::Standing::File(_)),
        _ => false,
    }
}

/// Bytes of the largest buffer that a stream gets by itself, as of glibc's BUFSIZ.
pub const LARGEST_BUFFER: usize = 8192;

/// Bytes of the buffer of a stream on this descriptor, if it should go through the engine: on a regular file that is under
/// a mount, or may be. They are those that glibc would take: a block of the file, where that is less than BUFSIZ.
///
/// Where a file lies is told by its name, and to ask for that costs as much as all the rest of opening a stream. So on
/// the file system of a mount's directory nobody asks before it matters, as with a descriptor: through the engine a
/// stream on any file is right.
pub fn buffer_of_stream(fd: c_int) -> Option<usize> {
    let engine = state::engine()?;
    if !description::known(fd) {
        return None;
    }
    let st = sys::fstat(fd).ok().filter(|st| st.st_mode & libc::S_IFMT == libc::S_IFREG)?;
    let block = usize::try_from(st.st_blksize).unwrap_or(0);
    let size = if (1..LARGEST_BUFFER).contains(&block) { block } else { LARGEST_BUFFER };
    (engine.is_device_of_mount(st.st_dev) || is_mounted(fd)).then_some(size)
}

/// Whether the kernel knows every byte of every file and every offset of this process: then reads and seeks are its.
/// A few loads, which may be made anywhere.
#[inline]
pub fn is_quiet() -> bool {
    io::is_the_kernels()
}

/// read(2). The buffer is the program's: `buf` must be valid for writes of `len` bytes unless the kernel would
/// have answered EFAULT.
///
/// # Safety
/// `buf` is writable for `len` bytes, as the program promised to read(2).
#[inline]
pub unsafe fn read(fd: c_int, buf: *mut u8, len: usize) -> Answer {
    // SAFETY: by contract.
    unsafe { io::read(fd, buf, len, None) }
}

/// pread(2).
///
/// # Safety
/// As [`read`].
#[inline]
pub unsafe fn pread(fd: c_int, buf: *mut u8, len: usize, offset: i64) -> Answer {
    if offset < 0 {
        return Answer::Kernel;
    }
    // SAFETY: by contract.
    unsafe { io::read(fd, buf, len, Some(offset as u64)) }
}

/// write(2).
///
/// # Safety
/// `buf` is readable for `len` bytes, as the program promised to write(2).
#[inline]
pub unsafe fn write(fd: c_int, buf: *const u8, len: usize) -> Answer {
    // SAFETY: by contract.
    unsafe { io::write(fd, buf, len, None) }
}

/// pwrite(2).
///
/// # Safety
/// As [`write`].
#[inline]
pub unsafe fn pwrite(fd: c_int, buf: *const u8, len: usize, offset: i64) -> Answer {
    if offset < 0 {
        return Answer::Kernel;
    }
    // SAFETY: by contract.
    unsafe { io::write(fd, buf, len, Some(offset as u64)) }
}

/// What a vectored call's arguments mean: the entries, and the offset if it has one.
///
/// # Safety
/// `iov` is valid for `count` entries.
unsafe fn vector<'a>(
    fd: c_int,
    iov: *const libc::iovec,
    count: c_int,
    offset: i64,
    flags: c_int,
) -> Option<(&'a [libc::iovec], Option<u64>)> {
    if !description::known(fd) || (iov as usize) < 65_536 || !(1..=1024).contains(&count) || offset < -1 {
        return None;
    }
    if flags != 0 {
        // RWF_DSYNC, RWF_APPEND, RWF_NOWAIT …: per-call orders that only the kernel carries out.
        let _ = touch(fd, Touch::Leave(Bypass::InKernel));
        return None;
    }
    // SAFETY: by contract, and the count was checked.
    let entries = unsafe { std::slice::from_raw_parts(iov, count as usize) };
    Some((entries, u64::try_from(offset).ok()))
}

/// readv(2), preadv(2) and preadv2(2); `offset` −1 uses and moves the file offset. `flags` are RWF_ flags.
///
/// # Safety
/// `iov` is valid for `count` entries and each entry as in [`read`].
pub unsafe fn readv(fd: c_int, iov: *const libc::iovec, count: c_int, offset: i64, flags: c_int) -> Answer {
    // SAFETY: by contract.
    unsafe {
        match vector(fd, iov, count, offset, flags) {
            Some((entries, at)) => io::readv(fd, entries, at),
            None => Answer::Kernel,
        }
    }
}

/// writev(2), pwritev(2) and pwritev2(2).
///
/// # Safety
/// `iov` is valid for `count` entries and each entry as in [`write`].
pub unsafe fn writev(fd: c_int, iov: *const libc::iovec, count: c_int, offset: i64, flags: c_int) -> Answer {
    // SAFETY: by contract.
    unsafe {
        match vector(fd, iov, count, offset, flags) {
            Some((entries, at)) => io::writev(fd, entries, at),
            None => Answer::Kernel,
        }
    }
}

/// lseek(2).
#[inline]
pub fn lseek(fd: c_int, offset: i64, whence: c_int) -> Answer {
    io::lseek(fd, offset, whence)
}

/// ftruncate(2): not a [`Touch`], because nobody may stage between the flush and the truncation.
pub fn ftruncate(fd: c_int, len: i64) -> Answer {
    io::ftruncate(fd, len)
}

/// fallocate(2) in a mode that changes bytes (punches, zeroes, moves): [`Answer::Kernel`] when it is like any other
/// [`Touch::Change`]. `real` makes the call.
pub fn fallocate(
    fd: c_int,
    mode: c_int,
    at: i64,
    len: i64,
    real: impl FnOnce() -> Result<(), Errno>,
) -> Answer {
    io::fallocate(fd, mode, at, len, real)
}

/// How often a descriptor number got a file of ours. Who found a number unknown, and finds that this has changed since,
/// may have been answered by the kernel about a file of ours.
#[inline]
pub fn entries() -> u64 {
    description::entries()
}

/// Whether the bytes of an open file live in a store, so that its anchor may lack them.
pub fn is_stored(fd: c_int) -> bool {
    let Some(engine) = state::engine().filter(|e| e.stores) else { return false };
    match description::get(fd) {
        Found::Yes(mut d) => {
            matches!(attach::standing(engine, &mut d, fd), attach::Standing::File(f) if f.resident().is_some())
        }
        _ => false,
    }
}

/// Before the kernel does something else to an open file; see [`Touch`]. An error is the call's result.
pub fn touch(fd: c_int, what: Touch) -> Result<(), Errno> {
    let mut d = match description::get(fd) {
        Found::Yes(d) => d,
        Found::No => return Ok(()),
        Found::Busy => return Err(Errno(libc::EDEADLK)),
    };
    let Some(engine) = state::engine() else { return Ok(()) };
    let leaves = matches!(what, Touch::Leave(_));
    if !leaves && d.file.is_none() && !engine.anything_staged() {
        return Ok(());
    }
    let attach::Standing::File(file) = attach::standing(engine, &mut d, fd) else { return Ok(()) };
    match what {
        Touch::Sync => {
            file.flush()?;
            file.settle(fd)?;
            d.ahead.forget();
            file.take_error().map_or(Ok(()), Err)
        }
        Touch::Look => {
            // Where the flush fails, the size is corrected by `staged_size`, and the error waits for the next
            // write, fsync or close.
            if let Err(e) = file.flush() {
                file.keep_error(e);
            }
            Ok(())
        }
        Touch::Change => {
            d.ahead.forget();
            let flushed = file.flush();
            file.base_changed();
            // What a reader may change (modes, times) is no business of the store's objects.
            if let Some(resident) = file.resident().filter(|_| d.writable()) {
                resident.changed();
            }
            rights_are_the_kernels(flushed)
        }
        Touch::Leave(why) => {
            report::bypassed(why);
            attach::give_offset(&mut d, fd);
            holds::leave(&file)
        }
    }
}

/// After fcntl(F_SETFL): the description's status flags (O_APPEND, O_DIRECT …) are now `flags`.
pub fn flags_changed(fd: c_int, flags: c_int) {
    let Found::Yes(mut d) = description::get(fd) else { return };
    d.flags = d.flags & libc::O_ACCMODE | flags & !libc::O_ACCMODE;
    if d.flags & (libc::O_DIRECT | libc::O_DSYNC) != 0 && d.mode == Mode::Private {
        attach::give_offset(&mut d, fd);
    }
}

/// After a successful stat of any kind by path or descriptor: corrects size and times for bytes that are staged
/// by other processes. `dev` and `ino` name the file; returns the size to show, or `None` when the kernel's is
/// right. Costs one load while nothing is staged on the node.
pub fn staged_size(dev: u64, ino: u64, kernel_size: i64) -> Option<i64> {
    let engine = state::engine()?;
    if !engine.anything_staged() {
        return None;
    }
    let pool = engine.pool()?;
    let slot = &pool.slots()[pool.find(dev, ino)? as usize];
    if slot.flags.load(Ordering::Acquire) & REMOVED != 0 {
        // Whoever has that file open asks by descriptor, and flushes. A name leads to another file.
        return None;
    }
    let staged_end = slot.end() as i64;
    (staged_end > kernel_size).then_some(staged_end)
}

/// Counts flushes on the node; 0 while nothing is mounted. A size that the kernel gave before the count changed
/// may lack bytes that [`staged_size`] no longer finds staged: ask again.
pub fn flushes() -> u64 {
    state::engine().and_then(|e| e.pool()).map_or(0, |p| p.superblock().retirements.load(Ordering::Acquire))
}

/// Before the program takes a record lock (fcntl, lockf): Iris may not close a file of its from now on.
pub fn before_record_lock() {
    aside::program_locks();
}

/// Before the process gets a limit on file sizes (RLIMIT_FSIZE): what is staged goes home while it still may,
/// and from then on the kernel enforces the limit on each write.
pub fn before_size_limit() {
    io::LIMITED.store(true, Ordering::Release);
    if let Some(engine) = state::engine() {
        for file in engine.files() {
            if let Err(e) = file.flush() {
                file.keep_error(e);
            }
        }
    }
}
