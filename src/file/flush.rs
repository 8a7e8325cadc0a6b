//! Flushing: the overlay goes home, in the order of the file, in large writes.
//!
//! One flush of a file runs at a time on the node (`Slot::flush_lock`). It seals the journal, writes what was
//! sealed, and retires it. A flush that dies in the middle has retired nothing, and the next one writes the same
//! bytes again; that is harmless because everything else that writes to the base of a staged file flushes first.

use super::gather::{self, Extents};
use super::index::merge;
use super::sealed::Sealed;
use super::spill::{self, Spilled};
use super::writer::{Scatters, Writer};
use super::{At, File, Staged, UNKNOWN};
use crate::aside;
use crate::errno::Errno;
use crate::home::{self, resident::Anchor};
use crate::journal::{Extent, Journal, Position};
use crate::report::{self, Bypass, Count};
use crate::sys;
use crate::tier0::layout::{APPENDED, DAMAGED, REMOVED, Slot};
use crate::tier0::lock;
use crate::tier0::pool::Pool;
use crate::tier0::process;
use iris_store::{Kind, StoreError};
use rustix::fs::OFlags;
use std::ffi::CString;
use std::io::IoSlice;
use std::sync::atomic::Ordering;

/// Bytes from which a flush tells how fast the base is.
const MEASURED: u64 = 256 << 10;
/// Writes that pass through when Tier 0 is full of other files, before room is looked for again.
const FULL_PAUSE: u32 = 32;

impl File {
    /// Flushes, and runs `f` on a descriptor of the file before anybody can stage or flush again: for what must
    /// not be overtaken (truncation, a large O_APPEND write).
    pub fn alone<T>(&self, f: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        loop {
            self.flush()?;
            let Some(locked) = self.locked_or_new() else { return f() };
            if !locked.journal().is_empty() {
                continue;
            }
            // Nothing is staged, so no flush is under way, and none can begin while the slot is locked.
            let result = f();
            locked.slot().base_size.store(UNKNOWN, Ordering::Relaxed);
            drop(locked);
            self.wrote_base();
            return result;
        }
    }

    /// Flushes, and lets `f` write the base at an offset of its own, so that newest wins.
    pub fn write_through<T>(&self, f: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        if self.has_appenders() {
            // It may make the file longer, and nobody may append at an end that moves meanwhile.
            return self.alone(f);
        }
        self.flush()?;
        let result = f();
        self.base_changed();
        result
    }

    /// Whether somebody stages appends to the file.
    fn has_appenders(&self) -> bool {
        let inserted = || self.pool.superblock().inserted.load(Ordering::Acquire);
        if self.slot.load(Ordering::Acquire) == 0 && self.looked_at.load(Ordering::Relaxed) == inserted() {
            return false;
        }
        // Who begins to append after this look might as well have begun after one under the lock.
        let flags =
            self.flags_now().or_else(|| self.locked().map(|l| l.slot().flags.load(Ordering::Relaxed)));
        flags.is_some_and(|flags| flags & APPENDED != 0)
    }

    /// The base changed other than by a flush: its size must be asked for again.
    pub fn base_changed(&self) {
        self.wrote_base();
        if self.pool.superblock().staged_files.load(Ordering::Acquire) != 0
            && let Some(locked) = self.locked()
        {
            locked.slot().base_size.store(UNKNOWN, Ordering::Relaxed);
        }
    }

    /// Writes everything home that is staged at this moment, whoever staged it.
    pub fn flush(&self) -> Result<(), Errno> {
        self.flush_when(false)
    }

    /// As [`File::flush`], just before the program closes the file: whoever watches it (inotify) may see it closed after
    /// writing a moment too early, since all is there by then.
    pub fn flush_closing(&self) -> Result<(), Errno> {
        let (bytes, begun) = (self.staged_bytes(), self.choice.map(|_| sys::monotonic_ns()));
        let result = self.flush_when(true);
        if let (Some(choice), Some(begun)) = (self.choice, begun) {
            choice.closed(bytes, sys::monotonic_ns().saturating_sub(begun));
        }
        result
    }

    fn flush_when(&self, closing: bool) -> Result<(), Errno> {
        if !self.is_staged() {
            return Ok(());
        }
        if self.flushes_through_own() {
            return aside::with_file(|| self.flush_here(false));
        }
        self.flush_here(closing)
    }

    /// Whether no descriptor of the program's is fit for a flush.
    fn flushes_through_own(&self) -> bool {
        let fit = |fd| sys::status_flags(fd).is_ok_and(|flags| flags & libc::O_DIRECT == 0);
        !self.fds.lock().is_some_and(|fds| fds.iter().any(|d| d.writable && fit(d.fd)))
    }

    /// Flushes on this thread.
    fn flush_here(&self, closing: bool) -> Result<(), Errno> {
        let _here = self.flushing.lock().ok_or(Errno(libc::EDEADLK))?;
        let Some(me) = self.pool.me() else { return Err(Errno(libc::EAGAIN)) };
        let Some(number) = self.slot.load(Ordering::Acquire).checked_sub(1) else { return Ok(()) };
        let slot = &self.pool.slots()[number as usize];
        self.pool.lock(&slot.flush_lock, me).map_err(|_| Errno(libc::EDEADLK))?;
        let result = self.flush_locked(number, closing);
        lock::unlock(&slot.flush_lock, me);
        self.gain.judge(result?);
        Ok(())
    }

    /// With the flush lock held: seals, writes, retires. Returns the number of base writes.
    fn flush_locked(&self, number: u32, closing: bool) -> Result<u64, Errno> {
        let (end, spilled) = match self.locked() {
            Some(l) if l.number == number => (l.journal().seal(), spill::state(l.slot())),
            _ => return Ok(0),
        };
        let slot = &self.pool.slots()[number as usize];
        let journal = Journal::new(self.pool, number);
        // SAFETY: sealed above; the flush lock is held until this function returns.
        let sealed = end.map(|end| unsafe { Sealed::new(journal, end) }).transpose();
        let (Ok(sealed), Ok(spilled)) = (sealed, spilled) else {
            slot.flags.fetch_or(DAMAGED, Ordering::AcqRel);
            return Err(Errno(libc::EIO));
        };
        if sealed.is_none() && spilled.is_none() {
            return Ok(0);
        }
        let mut writer = self.writer()?;
        // What kind of file system it is is asked last: on a remote one that is a request.
        let scattered = sealed.as_ref().is_some_and(|s| s.survey().is_worth_gathering());
        if (scattered || spilled.is_some())
            && writer.own.is_none()
            && writer.resident.is_none()
            && self.gain.is_local(writer.fd)
        {
            writer.scatters = Scatters::May { reopens: closing && !aside::program_may_hold_locks() };
        }
        let times = Times::before(slot, writer.fd);
        let mut written = match &spilled {
            Some(spilled) => spill::take_home(self.pool, number, spilled, &mut writer)?,
            None => 0,
        };
        let bytes = sealed.as_ref().map_or(0, |s| s.survey().bytes);
        let begun = sys::monotonic_ns();
        if let Some(sealed) = &sealed {
            written += write_home(sealed, &mut writer)?;
        }
        let ns = (sys::monotonic_ns() - begun).max(1);
        times.after(writer.fd);
        if bytes >= MEASURED {
            self.gain.speed.store(bytes.saturating_mul(1_000_000_000) / ns, Ordering::Relaxed);
        }
        self.went_home(scattered, bytes, ns);
        report::add(Count::FlushWrites, written);
        report::add(Count::FlushBytes, bytes);
        if let Some(me) = self.pool.me() {
            retire(self.pool, number, me, spilled.as_ref(), end)?;
        }
        Ok(written)
    }

    /// Sends home what is staged for a file that this process has closed.
    pub fn settle_closed(&self) -> Result<(), Errno> {
        let Some(number) = self.slot.load(Ordering::Acquire).checked_sub(1) else { return Ok(()) };
        let key = &self.pool.keys()[number as usize];
        if (key.dev.load(Ordering::Acquire), key.ino.load(Ordering::Acquire))
            != (self.dev.wrapping_add(1), self.ino)
        {
            return Ok(());
        }
        match settle_by_name(self.pool, number, &|_| None).1 {
            ByName::Failed(e) => Err(e),
            ByName::Damaged => Err(Errno(libc::EIO)),
            ByName::Empty | ByName::Settled(_) | ByName::Removed(_) | ByName::Gone | ByName::Newer => Ok(()),
        }
    }

    /// A descriptor to flush through: one of the program's own, or a new one for a process that only reads.
    fn writer(&self) -> Result<Writer, Errno> {
        let candidates = self.fds.lock().ok_or(Errno(libc::EDEADLK))?.clone();
        // A descriptor number may have been closed and reused behind the hooks' back.
        let ours = |fd: i32| sys::fstat(fd).is_ok_and(|s| (s.st_dev, s.st_ino) == (self.dev, self.ino));
        for d in candidates.iter().filter(|d| d.writable && ours(d.fd)) {
            // Asked each time: another process that shares the description may have changed its flags.
            let flags = sys::status_flags(d.fd)?;
            if flags & libc::O_DIRECT == 0 {
                return Ok(Writer {
                    fd: d.fd,
                    flags,
                    own: None,
                    resident: self.resident().cloned(),
                    scatters: Scatters::No,
                    past_limit: false,
                });
            }
        }
        // By /proc: this may be a thread whose own table of descriptors is another.
        for d in &candidates {
            let mut link = [0u8; 32];
            let own = sys::open(sys::fd_link(d.fd, &mut link), OFlags::WRONLY, 0);
            if own.as_ref().is_ok_and(|own| ours(own.raw())) {
                return own.map(|own| Writer {
                    fd: own.raw(),
                    flags: 0,
                    own: Some(own),
                    resident: self.resident().cloned(),
                    scatters: Scatters::No,
                    past_limit: false,
                });
            }
            if let Err(e) = own
                && e.0 != libc::ENOENT
            {
                return Err(e);
            }
        }
        Err(Errno(libc::EBADF))
    }

    /// Stages, making room once if Tier 0 is full of this very file.
    ///
    /// # Safety
    /// `src` is readable for `len` bytes.
    #[inline]
    pub unsafe fn stage_or_flush(
        &self,
        fd: i32,
        at: At,
        src: *const u8,
        len: usize,
    ) -> Result<Staged, Errno> {
        // SAFETY: by this function's contract.
        let staged = unsafe { self.stage(fd, at, src, len)? };
        if staged == Staged::Pass(Bypass::Tier0Full) {
            // SAFETY: as above.
            return unsafe { self.stage_in_full(fd, at, src, len) };
        }
        Ok(staged)
    }

    /// As [`File::stage_or_flush`], when there was no room.
    ///
    /// # Safety
    /// As there.
    #[cold]
    unsafe fn stage_in_full(&self, fd: i32, at: At, src: *const u8, len: usize) -> Result<Staged, Errno> {
        let mut staged = Staged::Pass(Bypass::Tier0Full);
        if self.staged_bytes() > 0 {
            self.make_room()?;
            // SAFETY: by this function's contract.
            staged = unsafe { self.stage(fd, at, src, len)? };
        }
        if staged == Staged::Pass(Bypass::Tier0Full) {
            // Looking for room costs more than a write, and others may hold it for long.
            self.gain.stop(FULL_PAUSE, Bypass::Tier0Full);
        }
        Ok(staged)
    }
}

/// Keeps a file's time of modification that of the last write by the program, not of the flush.
struct Times {
    /// The time to set, in nanoseconds since 1970; `None` when the flush's own is the same tick.
    mtime_ns: Option<u64>,
}

impl Times {
    /// Looks before the flush: a write that went straight to the file may be newer than the last staged one.
    fn before(slot: &Slot, fd: i32) -> Times {
        let written = slot.written_ns.load(Ordering::Acquire);
        if written == 0 || sys::coarse_ns() <= written {
            return Times { mtime_ns: None };
        }
        Times { mtime_ns: sys::mtime_ns(fd).ok().map(|base| base.max(written)) }
    }

    /// Sets it after the flush. Only the owner may; for others the time of the flush stays.
    fn after(&self, fd: i32) {
        if let Some(ns) = self.mtime_ns {
            let _ = sys::set_mtime(fd, ns);
        }
    }
}

/// Writes what is sealed home: the newest bytes, in the order of the file. Returns the number of writes.
fn write_home(sealed: &Sealed<'_>, to: &mut Writer) -> Result<u64, Errno> {
    to.raise_limit(sealed.survey().end);
    if sealed.survey().is_worth_gathering() {
        return sealed.parts().map(|part| gather::gather(&part, |window| to.write_window(window))).sum();
    }
    write_list(&merge(sealed.list()), |e| sealed.bytes(e), to)
}

/// Writes fetched containers home.
pub(super) fn write_fetched(fetched: &spill::Fetched, to: &mut Writer) -> Result<u64, Errno> {
    let survey = fetched.survey();
    to.raise_limit(survey.end);
    if survey.is_worth_gathering() {
        return gather::gather(fetched, |window| to.write_window(window));
    }
    write_list(&merge(fetched.list()), |e| fetched.payload(e), to)
}

/// Writes disjoint extents, in the order of the file. Returns the number of writes.
fn write_list<'b>(
    extents: &[Extent],
    bytes: impl Fn(&Extent) -> &'b [u8],
    to: &mut Writer,
) -> Result<u64, Errno> {
    let mut calls = 0;
    let mut rest = extents;
    while let Some(first) = rest.first() {
        let mut end = first.offset;
        let neighbours = rest.iter().take_while(|e| {
            let next = e.offset == end;
            end += u64::from(e.len);
            next
        });
        let (run, after) = rest.split_at(neighbours.count());
        rest = after;
        let mut slices: Vec<IoSlice<'_>> = run.iter().map(|e| IoSlice::new(bytes(e))).collect();
        calls += to.write_all(&mut slices, run[0].offset)?;
    }
    Ok(calls)
}

/// All is home: the journal forgets what was sealed up to `end`, and slot and store what was spilled. The flush lock is
/// held.
fn retire(
    pool: &Pool,
    number: u32,
    me: lock::Owner,
    spilled: Option<&Spilled>,
    end: Option<Position>,
) -> Result<(), Errno> {
    if let Some(spilled) = spilled {
        return spill::forget(pool, number, me, spilled, end);
    }
    if let Some(end) = end
        && lock_repaired(pool, number, me)
    {
        Journal::new(pool, number).retire(end);
        lock::unlock(&pool.slots()[number as usize].lock, me);
    }
    Ok(())
}

/// What became of a slot that was to be settled without any program's descriptor.
#[derive(Debug, PartialEq, Eq)]
pub enum ByName {
    /// Nothing was staged.
    Empty,
    /// This many bytes went home.
    Settled(u64),
    /// The file was removed, by a program under Iris, and nobody has it open any more: its bytes went with it.
    Removed(u64),
    /// The file that the bytes belong to is gone from its name.
    Gone,
    /// The flush failed.
    Failed(Errno),
    /// The journal, or what was spilled, is damaged.
    Damaged,
    /// The file was written after what was spilled, which must not be put over it.
    Newer,
}

impl ByName {
    /// A store's failure.
    pub(super) fn of(e: &StoreError) -> ByName {
        let errno = spill::place::told(e);
        if e.kind == Kind::Corrupt { ByName::Damaged } else { ByName::Failed(errno) }
    }
}

/// Another name of a file, if somebody knows one.
pub type Elsewhere<'a> = &'a (dyn Fn((u64, u64)) -> Option<CString> + Sync);

/// Settles slot `number` by opening the file under the name it was staged by, or, when that does not lead to it any
/// more, under the one that `elsewhere` knows. For recovery: the file's processes may all be dead. Returns the name
/// with the outcome.
pub fn settle_by_name(pool: &'static Pool, number: u32, elsewhere: Elsewhere<'_>) -> (Vec<u8>, ByName) {
    aside::with_file(|| settle_here(pool, number, elsewhere))
}

/// As [`settle_by_name`], on this thread.
fn settle_here(pool: &'static Pool, number: u32, elsewhere: Elsewhere<'_>) -> (Vec<u8>, ByName) {
    let Some(me) = pool.me() else { return (Vec::new(), ByName::Failed(Errno(libc::EAGAIN))) };
    let (slot, key) = (&pool.slots()[number as usize], &pool.keys()[number as usize]);
    if pool.lock(&slot.flush_lock, me).is_err() {
        return (Vec::new(), ByName::Failed(Errno(libc::EDEADLK)));
    }
    let journal = Journal::new(pool, number);
    let mut name = Vec::new();
    let outcome = (|| -> Result<ByName, ByName> {
        let (id, born);
        let (end, spilled) = {
            if !lock_repaired(pool, number, me) {
                return Err(ByName::Failed(Errno(libc::EDEADLK)));
            }
            born = slot.born.load(Ordering::Acquire);
            name = pool.name(number);
            id = (key.dev.load(Ordering::Acquire).wrapping_sub(1), key.ino.load(Ordering::Acquire));
            let damaged = slot.flags.load(Ordering::Acquire) & DAMAGED != 0;
            let spilled = spill::state(slot);
            let end = if damaged || spilled.is_err() { None } else { journal.seal() };
            lock::unlock(&slot.lock, me);
            match spilled {
                Ok(spilled) if !damaged => (end, spilled),
                _ => return Err(ByName::Damaged),
            }
        };
        if end.is_none() && spilled.is_none() {
            // What a death has left in a store.
            return Err(spill::sweep(pool, slot).map_or_else(ByName::Failed, |()| ByName::Empty));
        }
        if slot.flags.load(Ordering::Acquire) & REMOVED != 0 {
            let writer = slot.writer.load(Ordering::Acquire).checked_sub(1);
            if writer.is_some_and(|entry| process::alive(pool.processes(), entry)) {
                return Err(ByName::Gone);
            }
            let sealed = end.map_or(0, |end| drop_sealed(pool, number, me, end));
            return Ok(ByName::Removed(sealed + spill::give_up(pool, number, me)));
        }
        // SAFETY: sealed above; the flush lock is held until this closure has returned.
        let sealed = end.map(|end| unsafe { Sealed::new(journal, end) }).transpose().map_err(|_| {
            slot.flags.fetch_or(DAMAGED, Ordering::AcqRel);
            ByName::Damaged
        })?;
        let is_it = |fd: &sys::OwnFd| {
            sys::fstat(fd.raw()).is_ok_and(|st| (st.st_dev, st.st_ino) == id)
                && (born == 0 || sys::birth(fd.raw(), id.1) == born)
        };
        let open = |path: CString| match open_for_settling(&path) {
            Ok(fd) => Ok(Some(fd).filter(is_it)),
            Err(Errno(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
            Err(e) => Err(ByName::Failed(e)),
        };
        let named = CString::new(name.clone()).map_or(Ok(None), open)?;
        let fd = match named {
            Some(fd) => fd,
            None => elsewhere(id).map_or(Ok(None), open)?.ok_or(ByName::Gone)?,
        };
        let resident = match home::of(&name) {
            Some(home) => match home.resident(fd.raw(), pool, false) {
                Err(Errno(libc::EXDEV)) => None,
                other => Some(other.map_err(ByName::Failed)?),
            },
            None => None,
        };
        let mut writer =
            Writer { fd: fd.raw(), flags: 0, own: None, resident, scatters: Scatters::No, past_limit: false };
        let times = Times::before(slot, fd.raw());
        let mut bytes = sealed.as_ref().map_or(0, |s| s.survey().bytes);
        if let Some(spilled) = &spilled {
            bytes += slot.spill_bytes.load(Ordering::Acquire);
            spill::take_home(pool, number, spilled, &mut writer).map_err(ByName::Failed)?;
        }
        if let Some(sealed) = &sealed {
            write_home(sealed, &mut writer).map_err(ByName::Failed)?;
        }
        times.after(fd.raw());
        retire(pool, number, me, spilled.as_ref(), end).map_err(ByName::Failed)?;
        slot.error.store(0, Ordering::Release);
        if let Some(resident) = &writer.resident {
            resident.settle(Anchor::here(fd.raw())).map_err(ByName::Failed)?;
        }
        Ok(ByName::Settled(bytes))
    })();
    lock::unlock(&slot.flush_lock, me);
    (name, outcome.unwrap_or_else(|e| e))
}

/// Retires what is sealed without writing it. The flush lock is held. Returns the bytes given up.
fn drop_sealed(pool: &Pool, number: u32, me: lock::Owner, end: Position) -> u64 {
    let slot = &pool.slots()[number as usize];
    let bytes = slot.staged_bytes.load(Ordering::Acquire);
    if lock_repaired(pool, number, me) {
        Journal::new(pool, number).retire(end);
        slot.error.store(0, Ordering::Release);
        lock::unlock(&slot.lock, me);
    }
    bytes
}

/// Gives up what is staged in slot `number`, if it is still the slot of file `id`. Returns the bytes given up.
pub fn discard(pool: &Pool, number: u32, id: (u64, u64)) -> u64 {
    let Some(me) = pool.me() else { return 0 };
    let (slot, key) = (&pool.slots()[number as usize], &pool.keys()[number as usize]);
    if pool.lock(&slot.flush_lock, me).is_err() {
        return 0;
    }
    let mut bytes = 0;
    if lock_repaired(pool, number, me) {
        let same = (key.dev.load(Ordering::Relaxed), key.ino.load(Ordering::Relaxed))
            == (id.0.wrapping_add(1), id.1);
        let end = if same { Journal::new(pool, number).seal() } else { None };
        if same {
            slot.flags.fetch_and(!DAMAGED, Ordering::AcqRel);
        }
        lock::unlock(&slot.lock, me);
        bytes = end.map_or(0, |end| drop_sealed(pool, number, me, end));
        if same {
            bytes += spill::give_up(pool, number, me);
        }
    }
    lock::unlock(&slot.flush_lock, me);
    bytes
}

/// Takes a slot's lock, and puts right what an owner left half done that died with it.
pub(super) fn lock_repaired(pool: &Pool, number: u32, me: lock::Owner) -> bool {
    let slot = &pool.slots()[number as usize];
    match pool.lock(&slot.lock, me) {
        Err(_) => false,
        Ok(lock::Taken::Free) => true,
        Ok(lock::Taken::Over(_)) => {
            if Journal::new(pool, number).repair().is_err() {
                slot.flags.fetch_or(DAMAGED, Ordering::AcqRel);
            }
            true
        }
    }
}

/// Notes that a slot's file has lost its last name, if the slot is still that file's.
///
/// Without anybody alive to read it, what is staged is given up.
pub fn mark_removed(pool: &Pool, number: u32, id: (u64, u64), open_here: bool) {
    let Some(me) = pool.me() else { return };
    let (slot, key) = (&pool.slots()[number as usize], &pool.keys()[number as usize]);
    let mut nobody = false;
    if pool.lock(&slot.lock, me).is_ok() {
        if (key.dev.load(Ordering::Relaxed), key.ino.load(Ordering::Relaxed)) == (id.0.wrapping_add(1), id.1)
        {
            slot.flags.fetch_or(REMOVED, Ordering::AcqRel);
            let writer = slot.writer.load(Ordering::Acquire).checked_sub(1);
            let elsewhere =
                writer.is_some_and(|entry| entry != me.process() && process::alive(pool.processes(), entry));
            nobody = !open_here && !elsewhere;
        }
        lock::unlock(&slot.lock, me);
    }
    if nobody && !Journal::new(pool, number).is_empty() {
        discard(pool, number, id);
    }
}

/// Notes that a slot's file, which had no name, has got one, if the slot is still that file's.
pub fn mark_named(pool: &Pool, number: u32, id: (u64, u64), name: &[u8]) {
    let Some(me) = pool.me() else { return };
    let (slot, key) = (&pool.slots()[number as usize], &pool.keys()[number as usize]);
    if lock_repaired(pool, number, me) {
        if (key.dev.load(Ordering::Relaxed), key.ino.load(Ordering::Relaxed)) == (id.0.wrapping_add(1), id.1)
        {
            slot.flags.fetch_and(!REMOVED, Ordering::AcqRel);
            pool.set_name(number, name);
        }
        lock::unlock(&slot.lock, me);
    }
}

/// Opens for writing; an owner may have taken the write permission away after opening the file for writing
/// himself, and gets it back for a moment.
pub(super) fn open_for_settling(path: &CString) -> Result<sys::OwnFd, Errno> {
    match sys::open(path, OFlags::WRONLY, 0) {
        Err(Errno(libc::EACCES)) => {
            let reader = sys::open(path, OFlags::RDONLY, 0)?;
            sys::with_write_permission(reader.raw(), || sys::open(path, OFlags::WRONLY, 0))
        }
        other => other,
    }
}
