//! Reading and writing through a descriptor. Owns the way of one request: which route it takes, and what that
//! does to the offset. What the bytes are is the file's business.

use super::Answer;
use super::ahead;
use super::attach::{self, Standing};
use super::background;
use super::description::{self, Found, Mode, State, Using, get};
use super::state::{EXITING, Engine, engine};
use crate::errno::Errno;
use crate::file::{At, FARTHEST, File, Staged};
use crate::home::resident::Anchor;
use crate::prefetch;
use crate::report::{self, Bypass, Count};
use crate::spin::Guard;
use crate::sys;
use crate::tier0::pool::Pool;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The process has a limit on file sizes, which the kernel must enforce.
pub static LIMITED: AtomicBool = AtomicBool::new(false);

/// Addresses outside these are never a program's buffer; the kernel answers EFAULT. Within them, a buffer that is
/// not mapped is met as by any library function: with SIGSEGV.
const LOWEST: usize = 65_536;
const HIGHEST: usize = 0x7fff_ffff_f000;

/// Bytes of a write that are asked for ahead: behind them the processor foresees what comes. The next buffers are asked
/// for before writes no longer than this: a step to a page whose address is not known yet costs 0.1 us, which longer
/// writes gain nothing from.
const SHORT: usize = 1024;

/// A description, locked.
type Held = Guard<'static, State>;

type Result<T> = std::result::Result<T, Errno>;

fn answer(r: Result<usize>) -> Answer {
    match r {
        Ok(n) => Answer::Done(n as i64),
        Err(e) => Answer::Fail(e),
    }
}

#[inline]
fn plain(buf: *const u8, len: usize) -> bool {
    (LOWEST..HIGHEST).contains(&(buf as usize)) && len <= 0x7fff_f000
}

/// write, and pwrite when `at` is given.
///
/// # Safety
/// `buf` is readable for `len` bytes.
#[inline]
pub unsafe fn write(fd: i32, buf: *const u8, len: usize, at: Option<u64>) -> Answer {
    prefetch::lines(buf, len.min(SHORT));
    let state = match get(fd) {
        Found::No => return Answer::Kernel,
        Found::Busy => return Answer::Fail(Errno(libc::EDEADLK)),
        Found::Yes(s) => s,
    };
    if !state.writable()
        || len == 0
        || !plain(buf, len)
        || at.is_some_and(|o| o + len as u64 > i64::MAX as u64)
    {
        return Answer::Kernel;
    }
    if state.mode == Mode::Private {
        // SAFETY: by this function's contract.
        return unsafe { write_private(state, fd, buf, len, at) };
    }
    // SAFETY: as above.
    unsafe { write_cold(state, fd, buf, len, at) }
}

/// # Safety
/// As [`write`].
#[inline]
unsafe fn write_private(mut state: Held, fd: i32, buf: *const u8, len: usize, at: Option<u64>) -> Answer {
    if len <= SHORT {
        state.walk.comes_by(buf, len);
    }
    let Some(shared) = &state.file else { return Answer::Kernel };
    // SAFETY: the description keeps its file as long as its lock is held, which is longer than this borrow.
    let file: &File = unsafe { &*Arc::as_ptr(shared) };
    let place = if state.appends() { At::End } else { At::Offset(at.unwrap_or(state.offset)) };
    let small = file.stages(len as u64);
    let clock = file.clock(len as u64);
    if small && !LIMITED.load(Ordering::Relaxed) {
        // SAFETY: by this function's contract.
        match unsafe { file.stage_or_flush(fd, place, buf, len) } {
            Ok(Staged::Done(offset)) => {
                file.wrote(len as u64, true, clock);
                if at.is_none() {
                    state.offset = offset + len as u64;
                }
                if let Some(shared) = &state.file {
                    background::staged(shared, len as u64);
                }
                return Answer::Done(len as i64);
            }
            Ok(Staged::Pass(why)) => report::bypassed(why),
            Err(e) => return Answer::Fail(e),
        }
    } else {
        report::bypassed(if small { Bypass::Limit } else { Bypass::Large });
    }
    if at.is_some() {
        // Threads that write at offsets of their own must not wait for each other.
        let _using = Using::new(&state, fd);
        let file = shared_file(&state);
        drop(state);
        // SAFETY: by this function's contract.
        return answer(
            file.map_or(Err(Errno(libc::EBADF)), |f| unsafe { write_base(&f, fd, buf, len, place, clock) }),
        );
    }
    // SAFETY: by this function's contract.
    let written = unsafe { write_base(file, fd, buf, len, place, clock) };
    if let Ok(n) = written {
        match place {
            At::Offset(o) => state.offset = o + n as u64,
            // The kernel has moved its own offset to the end of what it appended.
            At::End => state.offset = sys::tell(fd).unwrap_or(state.offset + n as u64),
        }
    }
    answer(written)
}

fn shared_file(state: &State) -> Option<Arc<File>> {
    state.file.clone()
}

/// Writes to the base of a file that may have an overlay: that goes home first, so that newest wins. The write began at
/// `clock`.
///
/// # Safety
/// `buf` is readable for `len` bytes.
unsafe fn write_base(
    file: &File,
    fd: i32,
    buf: *const u8,
    len: usize,
    place: At,
    clock: Option<u64>,
) -> Result<usize> {
    let written = match place {
        At::Offset(offset) => {
            // SAFETY: by this function's contract.
            let write = || unsafe { sys::pwrite(fd, buf, len, offset) };
            file.write_through(|| file.base_write(fd, offset..offset + len as u64, write))
        }
        // Where an append lands must not change between the flush and the write.
        // SAFETY: by this function's contract.
        At::End => file.alone(|| file.base_append(fd, len, || unsafe { sys::write(fd, buf, len) })),
    }?;
    file.wrote(len as u64, false, clock);
    report::add(Count::BaseWrites, 1);
    report::add(Count::BaseBytes, written as u64);
    Ok(written)
}

/// A write through a description whose offset is the kernel's.
///
/// # Safety
/// As [`write`].
#[cold]
unsafe fn write_cold(mut state: Held, fd: i32, buf: *const u8, len: usize, at: Option<u64>) -> Answer {
    let Some(engine) = engine() else { return Answer::Kernel };
    let file = match attach::standing(engine, &mut state, fd) {
        Standing::File(f) => f,
        Standing::Outside | Standing::Unserved => return Answer::Kernel,
        Standing::Broken(e) => return Answer::Fail(e),
    };
    // The description may be shared with a process that has changed its flags. To ask costs as much as half a small
    // write, which goes as an append does, and is right either way.
    let small = file.stages(len as u64);
    let clock = file.clock(len as u64);
    let unknown = state.mode == Mode::Kernel && small && file.resident().is_none();
    if state.mode == Mode::Kernel
        && !unknown
        && let Ok(flags) = sys::status_flags(fd)
    {
        state.flags = flags;
    }
    let appends = unknown || state.appends();
    if state.mode == Mode::Fresh && !EXITING.load(Ordering::Relaxed) && small {
        state.small_writes += 1;
        if state.small_writes > engine.config.tier0.warm_up || appends {
            match attach::unstageable(engine, &state) {
                None if attach::take_offset(&mut state, fd) => {
                    // SAFETY: by this function's contract.
                    return unsafe { write_private(state, fd, buf, len, at) };
                }
                None => {}
                Some(why) => {
                    report::bypassed(why);
                    // Asked again after as many writes: limits and Tier 0 may come back.
                    state.small_writes = 0;
                }
            }
        }
    }
    // SAFETY: by this function's contract.
    let write = || unsafe {
        match at {
            Some(offset) => sys::pwrite(fd, buf, len, offset),
            None => sys::write(fd, buf, len),
        }
    };
    let written = if appends {
        file.alone(|| file.base_append(fd, len, write))
    } else {
        file.write_through(|| file.base_write_at(fd, at, len, write))
    };
    if let Ok(n) = written {
        file.wrote(len as u64, false, clock);
        report::add(Count::BaseWrites, 1);
        report::add(Count::BaseBytes, n as u64);
    }
    answer(written.and_then(|n| durable(&state, &file, fd).map(|()| n)))
}

/// After a write to the base: where each must be durable by itself (O_SYNC), a store has to have it too.
fn durable(state: &State, file: &File, fd: i32) -> Result<()> {
    if state.flags & libc::O_DSYNC == 0 { Ok(()) } else { file.settle(fd) }
}

/// read, and pread when `at` is given.
///
/// # Safety
/// `buf` is writable for `len` bytes.
#[inline]
pub unsafe fn read(fd: i32, buf: *mut u8, len: usize, at: Option<u64>) -> Answer {
    if is_the_kernels() {
        return Answer::Kernel;
    }
    let mut state = match get(fd) {
        Found::No => return Answer::Kernel,
        Found::Busy => return Answer::Fail(Errno(libc::EDEADLK)),
        Found::Yes(s) => s,
    };
    if !state.readable() || len == 0 || at.is_some_and(|o| o + len as u64 > i64::MAX as u64) {
        return Answer::Kernel;
    }
    if !plain(buf, len) {
        // The kernel answers EFAULT, unless this is the end of the file: which it must know.
        if state.mode == Mode::Private && at.is_none() {
            let _ = sys::seek_to(fd, state.offset);
        }
        return match merged(&mut state, fd) {
            Some(file) => file.flush().map_or_else(Answer::Fail, |()| Answer::Kernel),
            None => Answer::Kernel,
        };
    }
    if state.mode == Mode::Private {
        // SAFETY: by this function's contract.
        return unsafe { read_private(state, fd, buf, len, at) };
    }
    // SAFETY: by this function's contract.
    unsafe { read_cold(state, fd, buf, len, at) }
}

/// Whether the kernel knows every offset of this process and every byte: nothing to look up then.
#[inline]
pub fn is_the_kernels() -> bool {
    description::all_offsets_are_the_kernels()
        && engine().is_some_and(|engine| {
            // Without a pool in this process no descriptor of its is served.
            let nothing_staged = |p: &Pool| p.superblock().staged_files.load(Ordering::Acquire) == 0;
            !engine.reads_ahead && !engine.stores && engine.open_pool().is_none_or(nothing_staged)
        })
}

/// # Safety
/// As [`read`].
#[inline]
unsafe fn read_private(mut state: Held, fd: i32, buf: *mut u8, len: usize, at: Option<u64>) -> Answer {
    let Some(shared) = &state.file else { return Answer::Kernel };
    // SAFETY: the description keeps its file as long as its lock is held, which is longer than this borrow.
    let file: &File = unsafe { &*Arc::as_ptr(shared) };
    let offset = at.unwrap_or(state.offset);
    if len <= ahead::LARGEST && file.may_read_ahead() {
        let version = file.version();
        // SAFETY: by this function's contract; a reference for the copy only.
        let to = unsafe { std::slice::from_raw_parts_mut(buf, len) };
        if let Some(n) = state.ahead.take(offset, to, version) {
            if at.is_none() {
                state.offset += n as u64;
            }
            return Answer::Done(n as i64);
        }
        if state.ahead.is_sequential(offset, len) {
            let window = state.ahead.room();
            let (p, size) = (window.as_mut_ptr(), window.len());
            // SAFETY: the window is that long.
            match unsafe { read_file(file, fd, offset, p, size) } {
                Ok(n) => state.ahead.filled(offset, n, version),
                Err(e) => return Answer::Fail(e),
            }
            report::add(Count::AheadReads, 1);
            if let Some(n) = state.ahead.take(offset, to, version) {
                if at.is_none() {
                    state.offset += n as u64;
                }
                return Answer::Done(n as i64);
            }
        }
    }
    if at.is_some() {
        // Threads that read at offsets of their own must not wait for each other.
        let _using = Using::new(&state, fd);
        let file = shared_file(&state);
        drop(state);
        // SAFETY: by this function's contract.
        return answer(
            file.map_or(Err(Errno(libc::EBADF)), |f| unsafe { read_file(&f, fd, offset, buf, len) }),
        );
    }
    // SAFETY: by this function's contract.
    let read = unsafe { read_file(file, fd, offset, buf, len) };
    if let Ok(n) = read {
        state.offset = offset + n as u64;
    }
    answer(read)
}

/// Reads the overlay over the base, or the base alone.
///
/// # Safety
/// `buf` is writable for `len` bytes.
#[inline]
unsafe fn read_file(file: &File, fd: i32, offset: u64, buf: *mut u8, len: usize) -> Result<usize> {
    // SAFETY: by this function's contract.
    unsafe {
        match file.read(fd, offset, buf, len)? {
            Some(n) => {
                report::add(Count::MergedReads, 1);
                Ok(n)
            }
            None => file.base_read(fd, offset, buf, len),
        }
    }
}

/// A read through a description whose offset is the kernel's.
///
/// # Safety
/// As [`read`].
unsafe fn read_cold(mut state: Held, fd: i32, buf: *mut u8, len: usize, at: Option<u64>) -> Answer {
    let Some(engine) = engine() else { return Answer::Kernel };
    let caching = engine.reads_ahead;
    if !(engine.anything_staged() || caching && state.mode == Mode::Fresh || engine.stores) {
        return Answer::Kernel;
    }
    let file = match attach::standing(engine, &mut state, fd) {
        Standing::File(f) => f,
        Standing::Outside | Standing::Unserved => return Answer::Kernel,
        Standing::Broken(e) => return Answer::Fail(e),
    };
    let far = file.resident().is_some();
    let wants = far || file.is_staged() || caching && file.may_read_ahead();
    if !wants {
        return Answer::Kernel;
    }
    let direct = state.flags & libc::O_DIRECT != 0;
    if direct {
        // Alignment is the kernel's to judge, and the file's bytes must be on the device's side.
        if let Err(e) = file.flush() {
            return Answer::Fail(e);
        }
        if !far {
            return Answer::Kernel;
        }
    }
    let staging = state.mode == Mode::Fresh && state.flags & libc::O_DSYNC == 0 && !direct;
    if staging && !EXITING.load(Ordering::Relaxed) && attach::take_offset(&mut state, fd) {
        // SAFETY: by this function's contract.
        return unsafe { read_private(state, fd, buf, len, at) };
    }
    // The offset stays the kernel's.
    let offset = match at {
        Some(o) => o,
        None => match sys::tell(fd) {
            Ok(o) => o,
            Err(_) => return Answer::Kernel,
        },
    };
    // SAFETY: by this function's contract.
    let read = match unsafe { file.read(fd, offset, buf, len) } {
        Ok(Some(n)) => Ok(n),
        // SAFETY: by this function's contract.
        Ok(None) if far => unsafe { file.base_read(fd, offset, buf, len) },
        Ok(None) => return Answer::Kernel,
        Err(e) => Err(e),
    };
    if let (Ok(n), None) = (read, at) {
        let _ = sys::seek_to(fd, offset + n as u64);
    }
    answer(read)
}

/// lseek.
pub fn lseek(fd: i32, offset: i64, whence: i32) -> Answer {
    if is_the_kernels() {
        return Answer::Kernel;
    }
    let mut state = match get(fd) {
        Found::No => return Answer::Kernel,
        Found::Busy => return Answer::Fail(Errno(libc::EDEADLK)),
        Found::Yes(s) => s,
    };
    match whence {
        libc::SEEK_SET | libc::SEEK_CUR if state.mode == Mode::Private => {
            let base = if whence == libc::SEEK_CUR { state.offset as i64 } else { 0 };
            move_to(&mut state, fd, base.checked_add(offset))
        }
        libc::SEEK_END => {
            let file = match merged(&mut state, fd) {
                Some(f) => f,
                None => return Answer::Kernel,
            };
            let size = match file.size(fd) {
                Ok(Some(size)) => size,
                Ok(None) => match sys::fstat(fd) {
                    Ok(st) => st.st_size as u64,
                    Err(e) => return Answer::Fail(e),
                },
                Err(e) => return Answer::Fail(e),
            };
            move_to(&mut state, fd, (size as i64).checked_add(offset))
        }
        libc::SEEK_DATA | libc::SEEK_HOLE => {
            let Some(file) = merged(&mut state, fd) else { return Answer::Kernel };
            if let Err(e) = file.flush() {
                return Answer::Fail(e);
            }
            if offset < 0 {
                return Answer::Fail(Errno(libc::ENXIO));
            }
            if let Some(resident) = file.resident() {
                return match resident.seek(fd, offset as u64, whence) {
                    Ok(at) => move_to(&mut state, fd, Some(at as i64)),
                    Err(e) => Answer::Fail(e),
                };
            }
            match sys::seek_sparse(fd, offset as u64, whence) {
                Ok(at) => {
                    state.offset = at;
                    Answer::Done(at as i64)
                }
                Err(e) => Answer::Fail(e),
            }
        }
        _ => Answer::Kernel,
    }
}

/// The file, if its overlay or private offset makes the kernel's answer wrong.
fn merged(state: &mut State, fd: i32) -> Option<Arc<File>> {
    if state.mode == Mode::Private {
        return state.file.clone();
    }
    let engine: &'static Engine = engine()?;
    if !(engine.anything_staged() || engine.stores) {
        return None;
    }
    match attach::standing(engine, state, fd) {
        Standing::File(f) if f.is_staged() || f.resident().is_some() => Some(f),
        _ => None,
    }
}

fn move_to(state: &mut State, fd: i32, to: Option<i64>) -> Answer {
    let to = match to {
        Some(t) if t >= 0 => t,
        _ => return Answer::Fail(Errno(libc::EINVAL)),
    };
    if state.mode != Mode::Private || to as u64 > FARTHEST {
        // Whether such an offset is allowed, only the kernel knows.
        match sys::seek_to(fd, to as u64) {
            Ok(_) => {}
            Err(e) => return Answer::Fail(e),
        }
    }
    state.offset = to as u64;
    Answer::Done(to)
}

/// ftruncate: after a flush, and before anybody can stage again.
pub fn ftruncate(fd: i32, len: i64) -> Answer {
    let mut state = match get(fd) {
        Found::No => return Answer::Kernel,
        Found::Busy => return Answer::Fail(Errno(libc::EDEADLK)),
        Found::Yes(s) => s,
    };
    let Some(engine) = engine() else { return Answer::Kernel };
    if len < 0 || !state.writable() {
        return Answer::Kernel;
    }
    match attach::standing(engine, &mut state, fd) {
        Standing::File(file) => {
            state.ahead.forget();
            answer(file.alone(|| file.base_cut(fd, len as u64)).map(|()| 0))
        }
        Standing::Broken(e) => Answer::Fail(e),
        _ => Answer::Kernel,
    }
}

/// fallocate in a mode that changes bytes: where they live in a store too, they are sent there. `real` makes the call.
pub fn fallocate(fd: i32, mode: i32, at: i64, len: i64, real: impl FnOnce() -> Result<()>) -> Answer {
    const MOVES: i32 = libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE;
    let (Ok(from), Ok(count)) = (u64::try_from(at), u64::try_from(len)) else { return Answer::Kernel };
    if mode & !libc::FALLOC_FL_KEEP_SIZE == 0 || !engine().is_some_and(|e| e.stores) {
        return Answer::Kernel;
    }
    let (Found::Yes(mut state), Some(engine)) = (get(fd), engine()) else { return Answer::Kernel };
    let Standing::File(file) = attach::standing(engine, &mut state, fd) else { return Answer::Kernel };
    let Some(resident) = file.resident() else { return Answer::Kernel };
    state.ahead.forget();
    answer(file.alone(|| {
        let size = sys::fstat(fd)?.st_size as u64;
        let end = match mode {
            // What lies behind moves, and must be there to do so.
            m if m & libc::FALLOC_FL_COLLAPSE_RANGE != 0 => size,
            m if m & libc::FALLOC_FL_INSERT_RANGE != 0 => size.saturating_add(count),
            m if m & libc::FALLOC_FL_KEEP_SIZE != 0 => size.min(from.saturating_add(count)),
            _ => from.saturating_add(count),
        };
        let range = from..end.max(from);
        if mode & MOVES != 0 {
            resident.ensure(Anchor::here(fd), from..size.max(from))?;
        }
        let bytes = (range.end - range.start) as usize;
        file.base_write(fd, range, || real().map(|()| bytes)).map(|_| 0)
    }))
}

/// readv and preadv: as many reads as there are pieces, stopping at a short one.
///
/// # Safety
/// The entries of `iov` are valid for writes.
pub unsafe fn readv(fd: i32, iov: &[libc::iovec], at: Option<u64>) -> Answer {
    if is_refused(iov, at) {
        return Answer::Kernel;
    }
    let one = |buf: *mut u8, len: usize, at: Option<u64>, first: bool| {
        // SAFETY: by this function's contract.
        match unsafe { read(fd, buf, len, at) } {
            // What others had staged when the first piece was read may be home by now.
            Answer::Kernel if !first => {
                // SAFETY: as above.
                answer(unsafe {
                    at.map_or_else(|| sys::read(fd, buf, len), |at| sys::pread(fd, buf, len, at))
                })
            }
            answer => answer,
        }
    };
    // SAFETY: by this function's contract.
    unsafe { pieces(iov, at, one) }
}

/// Whether the kernel refuses the whole call, whatever its pieces do one by one: a length that is none, or an end
/// beyond what an offset can say.
fn is_refused(iov: &[libc::iovec], at: Option<u64>) -> bool {
    const MOST: u64 = i64::MAX as u64;
    let total = iov.iter().fold(0u64, |n, v| n.saturating_add(v.iov_len as u64));
    iov.iter().any(|v| v.iov_len as u64 > MOST) || at.is_some_and(|at| at.saturating_add(total) > MOST)
}

/// writev and pwritev. Several pieces are one write: gathered first when they are to be staged, and handed on as
/// they are when not.
///
/// # Safety
/// The entries of `iov` are valid for reads.
pub unsafe fn writev(fd: i32, iov: &[libc::iovec], at: Option<u64>) -> Answer {
    let total: usize = iov.iter().fold(0usize, |n, v| n.saturating_add(v.iov_len));
    if let [one] = iov {
        // SAFETY: by this function's contract.
        return unsafe { write(fd, one.iov_base.cast(), one.iov_len, at) };
    }
    let mut state = match get(fd) {
        Found::No => return Answer::Kernel,
        Found::Busy => return Answer::Fail(Errno(libc::EDEADLK)),
        Found::Yes(s) => s,
    };
    if total == 0 || total > 0x7fff_f000 || !state.writable() || is_refused(iov, at) {
        return Answer::Kernel;
    }
    // As the kernel does: what comes before the first bad piece is written.
    let good = iov.iter().position(|v| v.iov_len > 0 && !plain(v.iov_base.cast(), v.iov_len));
    let iov = &iov[..good.unwrap_or(iov.len())];
    if iov.iter().all(|v| v.iov_len == 0) {
        return Answer::Kernel;
    }
    let Some(engine) = engine() else { return Answer::Kernel };
    let file = match attach::standing(engine, &mut state, fd) {
        Standing::File(file) => file,
        Standing::Broken(e) => return Answer::Fail(e),
        Standing::Outside | Standing::Unserved => return Answer::Kernel,
    };
    if file.stages(total as u64) && state.flags & libc::O_DIRECT == 0 {
        drop(state);
        let mut whole = Vec::with_capacity(total);
        for v in iov.iter().filter(|v| v.iov_len > 0) {
            // SAFETY: by this function's contract.
            whole
                .extend_from_slice(unsafe { std::slice::from_raw_parts(v.iov_base.cast::<u8>(), v.iov_len) });
        }
        // SAFETY: the vector is that long.
        return unsafe { write(fd, whole.as_ptr(), whole.len(), at) };
    }
    // SAFETY: IoSlice is iovec by its documentation, and the entries are valid for reads.
    let slices = unsafe { std::slice::from_raw_parts(iov.as_ptr().cast::<IoSlice<'_>>(), iov.len()) };
    let own = state.mode == Mode::Private;
    let offset = at.or(own.then_some(state.offset));
    let write = || match offset {
        Some(o) if !state.appends() => sys::pwritev(fd, slices, o),
        _ => sys::writev(fd, slices),
    };
    let written = if state.appends() {
        // pwritev appends as well when O_APPEND is set, and leaves the offset alone.
        let append = || if at.is_some() { sys::pwritev(fd, slices, at.unwrap_or(0)) } else { write() };
        file.alone(|| file.base_append(fd, total, append))
    } else {
        file.write_through(|| file.base_write_at(fd, offset, total, write))
    };
    if let (Ok(n), None, true) = (written, at, own) {
        state.offset = if state.appends() { sys::tell(fd).unwrap_or(0) } else { state.offset + n as u64 };
    }
    if let Ok(n) = written {
        report::add(Count::BaseWrites, 1);
        report::add(Count::BaseBytes, n as u64);
    }
    answer(written.and_then(|n| durable(&state, &file, fd).map(|()| n)))
}

/// # Safety
/// `one` is safe to call with each entry of `iov`.
unsafe fn pieces(
    iov: &[libc::iovec],
    at: Option<u64>,
    one: impl Fn(*mut u8, usize, Option<u64>, bool) -> Answer,
) -> Answer {
    let mut done = 0usize;
    for v in iov.iter().filter(|v| v.iov_len > 0) {
        match one(v.iov_base.cast(), v.iov_len, at.map(|a| a + done as u64), done == 0) {
            Answer::Done(n) => {
                done += n as usize;
                if (n as usize) < v.iov_len {
                    break;
                }
            }
            other if done == 0 => return other,
            // What was read so far is a short read, as natively.
            _ => break,
        }
    }
    if done == 0 && iov.iter().all(|v| v.iov_len == 0) {
        return Answer::Kernel;
    }
    Answer::Done(done as i64)
}
