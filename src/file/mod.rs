//! One file as this process sees it: its slot in Tier 0, its index, its descriptors. Owns consistency: what a
//! read returns and what a write changes is decided here and nowhere else. May not know about descriptors'
//! offsets or flags (the engine's), nor how blocks are handed out (Tier 0's).
//!
//! Order of locks: `flushing` (this process) → `Slot::flush_lock` → index → `Slot::lock`.

mod base;
pub mod choice;
mod find;
mod flush;
mod gain;
mod gather;
pub mod index;
mod read;
mod scatter;
mod scratch;
mod sealed;
pub mod spill;
mod writer;

use crate::config::{AUTO, Consistency, Mount};
use crate::errno::Errno;
use crate::journal::{Full, Journal};
use crate::report::{self, Bypass, Count};
use crate::spin::Spin;
use crate::sys;
use crate::tier0::layout::{APPENDED, BLOCK, DAMAGED, PASS, REMOVED, Slot};
use crate::tier0::lock::{self, Owner, Taken};
use crate::tier0::pool::Pool;
use gain::Gain;
use index::Index;
use iris_mappers::{Place, Router};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

pub use find::by_number;
pub use flush::{ByName, Elsewhere, discard, mark_named, mark_removed, settle_by_name};

/// `Slot::base_size` before anybody asked.
const UNKNOWN: u64 = u64::MAX;

/// Offsets beyond this are left to the kernel, which knows the largest of each file system.
pub const FARTHEST: u64 = 1 << 42;

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// At this offset.
    Offset(u64),
    /// At the end of the file, wherever that is when the write happens.
    End,
}

/// What became of a write that wanted to be staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staged {
    /// It lies in the overlay; the offset it got.
    Done(u64),
    /// It must go to the base, for this reason.
    Pass(Bypass),
}

/// A regular file under a mount.
pub struct File {
    dev: u64,
    ino: u64,
    mount: &'static Mount,
    pool: &'static Pool,
    /// Slot number + 1; 0 when not known to have one.
    slot: AtomicU32,
    /// `Superblock::inserted` when no slot was found.
    looked_at: AtomicU64,
    index: Spin<Overlay>,
    flushing: Spin<()>,
    /// Descriptors of this process on the file.
    fds: Spin<Vec<Descriptor>>,
    /// Name under which it was opened, for recovery.
    name: Spin<Vec<u8>>,
    /// `Superblock::renames` when the name was right.
    named_at: AtomicU64,
    /// Whether the background flusher has it on its list.
    pub(crate) queued: AtomicBool,
    /// Changes with every write of this process: session read buffers compare it.
    version: AtomicU64,
    /// This process moves the file's bytes where no hook sees it, so that nothing may be read ahead.
    unseen: AtomicBool,
    /// For the report; written under the slot's lock.
    staged_writes: AtomicU64,
    staged_total: AtomicU64,
    gain: Gain,
    /// Where the threshold is `auto`.
    choice: Option<&'static choice::Choice>,
    /// Where its bytes are, when its home is a store.
    resident: std::sync::OnceLock<std::sync::Arc<crate::home::resident::Resident>>,
}

/// A descriptor through which a file can be flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The number.
    pub fd: i32,
    /// Opened for writing.
    pub writable: bool,
}

/// The index and how far it follows the journal.
#[derive(Default)]
struct Overlay {
    index: Index,
    epoch: u64,
    slot: u32,
    applied: Option<crate::journal::Position>,
    /// Length of the last applied extent when it was applied: it may have grown.
    last_len: u32,
    /// What lies in a store.
    directory: spill::Directory,
}

/// A slot with its lock held.
struct Locked<'a> {
    pool: &'a Pool,
    number: u32,
    me: Owner,
}

impl Locked<'_> {
    fn journal(&self) -> Journal<'_> {
        Journal::new(self.pool, self.number)
    }
    fn slot(&self) -> &Slot {
        &self.pool.slots()[self.number as usize]
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        lock::unlock(&self.slot().lock, self.me);
    }
}

/// What a file needs from its surroundings.
#[derive(Clone, Copy)]
pub struct Resources {
    /// Where it stages.
    pub pool: &'static Pool,
    /// The mount it lies under.
    pub mount: &'static Mount,
}

impl Drop for File {
    fn drop(&mut self) {
        self.report();
    }
}

impl File {
    /// A file of this process's table; `id` is device and inode number.
    pub fn new(id: (u64, u64), resources: Resources) -> File {
        if let Some(store) = resources.mount.store {
            // Another process may spill to it, and the note in Tier 0 may be one that only he can read. What is wrong
            // with it is told.
            let _ = spill::place::of(store);
        }
        File {
            dev: id.0,
            ino: id.1,
            mount: resources.mount,
            pool: resources.pool,
            staged_writes: AtomicU64::new(0),
            staged_total: AtomicU64::new(0),
            slot: AtomicU32::new(0),
            looked_at: AtomicU64::new(UNKNOWN),
            index: Spin::new(Overlay::default()),
            flushing: Spin::new(()),
            fds: Spin::new(Vec::new()),
            name: Spin::new(Vec::new()),
            named_at: AtomicU64::new(UNKNOWN),
            queued: AtomicBool::new(false),
            version: AtomicU64::new(0),
            unseen: AtomicBool::new(false),
            gain: Gain::new(),
            choice: if resources.mount.threshold == AUTO { choice::of(resources.mount) } else { None },
            resident: std::sync::OnceLock::new(),
        }
    }

    /// Adds this file's counts to the process's report.
    pub fn report(&self) {
        report::add(Count::StagedWrites, self.staged_writes.swap(0, Ordering::Relaxed));
        report::add(Count::StagedBytes, self.staged_total.swap(0, Ordering::Relaxed));
    }

    /// The mount it belongs to.
    pub fn mount(&self) -> &'static Mount {
        self.mount
    }

    /// Whether a write of `len` bytes is to be staged.
    #[inline]
    pub fn stages(&self, len: u64) -> bool {
        match self.choice {
            None => Router { threshold: self.mount.threshold }.place(len) == Place::Overlay,
            Some(choice) => choice.stages(len) && len <= self.tier0_bytes() / 4,
        }
    }

    /// The time, where what a write of `len` bytes costs is of interest.
    #[inline]
    pub fn clock(&self, len: u64) -> Option<u64> {
        self.choice.filter(|_| len >= choice::LEAST).map(|_| sys::monotonic_ns())
    }

    /// Notes what a write cost that began at `clock`.
    #[inline]
    pub fn wrote(&self, len: u64, staged: bool, clock: Option<u64>) {
        if let (Some(begun), Some(choice)) = (clock, self.choice) {
            choice.wrote(len, staged, sys::monotonic_ns().saturating_sub(begun));
        }
    }

    /// Whether bytes may stay staged after the last close: the mount says so, and recovery knows the name.
    pub fn mount_can_wait(&self) -> bool {
        self.name.lock().is_some_and(|n| !n.is_empty())
    }

    /// Device and inode number.
    pub fn id(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    /// Changes with each write through this process.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Notes a write that went to the base.
    pub fn wrote_base(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Remembers the name for recovery.
    pub fn set_name(&self, name: &[u8], renames: u64) {
        if let Some(mut n) = self.name.lock() {
            n.clear();
            n.extend_from_slice(name);
            self.named_at.store(renames, Ordering::Release);
        }
    }

    /// Adds a descriptor.
    pub fn add_descriptor(&self, d: Descriptor) {
        if let Some(mut fds) = self.fds.lock() {
            fds.retain(|x| x.fd != d.fd);
            fds.push(d);
        }
    }

    /// Removes a descriptor that is about to be closed, waiting for a flush that may be using it.
    pub fn remove_descriptor(&self, fd: i32) {
        let _flushing = self.flushing.lock();
        if let Some(mut fds) = self.fds.lock() {
            fds.retain(|x| x.fd != fd);
        }
    }

    /// Time of birth, 0 when it cannot be told.
    fn born(&self) -> u64 {
        let fds = self.fds.lock().map_or_else(Vec::new, |f| f.clone());
        fds.iter().map(|d| sys::birth(d.fd, self.ino)).find(|&b| b != 0).unwrap_or(0)
    }

    /// Some descriptor of this process on the file.
    pub fn any_descriptor(&self) -> Option<i32> {
        self.fds.lock()?.first().map(|d| d.fd)
    }

    /// The slot, locked, if the file has one.
    #[inline]
    fn locked(&self) -> Option<Locked<'_>> {
        let me = self.pool.me()?;
        loop {
            let number = self.slot.load(Ordering::Acquire);
            if number == 0 {
                let inserted = self.pool.superblock().inserted.load(Ordering::Acquire);
                if self.looked_at.load(Ordering::Relaxed) == inserted {
                    return None;
                }
                match self.pool.find(self.dev, self.ino) {
                    Some(n) => self.adopt(me, n)?,
                    None => {
                        self.looked_at.store(inserted, Ordering::Relaxed);
                        return None;
                    }
                }
                continue;
            }
            if let Some(locked) = self.lock_slot(me, number - 1)? {
                return Some(locked);
            }
        }
    }

    /// Locks slot `number`; `Some(None)` if it is another file's by now.
    #[inline(always)]
    fn lock_slot(&self, me: Owner, number: u32) -> Option<Option<Locked<'_>>> {
        let slot = &self.pool.slots()[number as usize];
        let taken = self.pool.lock(&slot.lock, me).ok()?;
        let locked = Locked { pool: self.pool, number, me };
        if let Taken::Over(_) = taken
            && locked.journal().repair().is_err()
        {
            slot.flags.fetch_or(DAMAGED, Ordering::AcqRel);
        }
        let key = &self.pool.keys()[number as usize];
        if key.dev.load(Ordering::Relaxed) != self.dev.wrapping_add(1)
            || key.ino.load(Ordering::Relaxed) != self.ino
        {
            self.slot.store(0, Ordering::Release);
            self.looked_at.store(UNKNOWN, Ordering::Relaxed);
            return Some(None);
        }
        Some(Some(locked))
    }

    /// Takes up a slot found in the table. Bytes staged for an earlier file of the same inode number, deleted
    /// while nobody under Iris had it open, are dropped.
    fn adopt(&self, me: Owner, number: u32) -> Option<()> {
        let born = self.born();
        let Some(locked) = self.lock_slot(me, number)? else { return Some(()) };
        let slot = locked.slot();
        let theirs = slot.born.load(Ordering::Relaxed);
        // Times of birth are some milliseconds coarse; a file known to have lost its last name is another one.
        let removed = slot.flags.load(Ordering::Relaxed) & REMOVED != 0
            && self.any_descriptor().is_some_and(|fd| {
                sys::fstat(fd).is_ok_and(|s| s.st_nlink > 0 && (s.st_dev, s.st_ino) == self.id())
            });
        let another = born != 0 && theirs != 0 && theirs != born || removed;
        if another && !locked.journal().is_empty() {
            // Under the flush lock, which comes before this one; the caller looks again afterwards.
            drop(locked);
            flush::discard(self.pool, number, self.id());
            return Some(());
        }
        if removed {
            slot.flags.fetch_and(!REMOVED, Ordering::AcqRel);
        }
        if born != 0 && theirs != born || removed {
            slot.born.store(born, Ordering::Relaxed);
            slot.error.store(0, Ordering::Relaxed);
        }
        self.slot.store(number + 1, Ordering::Release);
        Some(())
    }

    /// The flags of the slot, if the file is known to have one. Not locked: what is read may be over.
    #[inline]
    fn flags_now(&self) -> Option<u32> {
        let number = self.slot.load(Ordering::Acquire).checked_sub(1)?;
        let (key, slot) = (&self.pool.keys()[number as usize], &self.pool.slots()[number as usize]);
        let ours = key.dev.load(Ordering::Acquire) == self.dev.wrapping_add(1)
            && key.ino.load(Ordering::Acquire) == self.ino;
        ours.then(|| slot.flags.load(Ordering::Acquire))
    }

    /// The slot, locked, taking a free one if needed.
    #[inline(always)]
    fn locked_or_new(&self) -> Option<Locked<'_>> {
        // The slot of the write before is the usual case, and short.
        if let (Some(me), Some(number)) = (self.pool.me(), self.slot.load(Ordering::Acquire).checked_sub(1))
            && let Some(Some(locked)) = self.lock_slot(me, number)
        {
            return Some(locked);
        }
        self.found_or_new()
    }

    #[cold]
    fn found_or_new(&self) -> Option<Locked<'_>> {
        if let Some(locked) = self.locked() {
            return Some(locked);
        }
        let me = self.pool.me()?;
        for _ in 0..8 {
            let born = self.born();
            let number = self.pool.find_or_insert(me, self.dev, self.ino, born)?;
            if let Some(locked) = self.lock_slot(me, number)? {
                self.slot.store(number + 1, Ordering::Release);
                return Some(locked);
            }
        }
        None
    }

    /// Whether bytes of this file are staged by anybody on the node.
    #[inline]
    pub fn is_staged(&self) -> bool {
        if self.pool.superblock().staged_files.load(Ordering::Acquire) == 0 {
            return false;
        }
        self.locked().is_some_and(|l| !l.journal().is_empty())
    }

    /// Stages a write, if the file allows it. `fd` is a descriptor of the file.
    ///
    /// # Safety
    /// `src` is readable for `len` bytes.
    #[inline]
    pub unsafe fn stage(&self, fd: i32, at: At, src: *const u8, len: usize) -> Result<Staged, Errno> {
        if let Some(why) = self.gain.paused() {
            return Ok(Staged::Pass(why));
        }
        let Some(locked) = self.locked_or_new() else { return Ok(Staged::Pass(Bypass::Tier0Full)) };
        let (journal, slot) = (locked.journal(), locked.slot());
        if slot.flags.load(Ordering::Relaxed) & (PASS | DAMAGED) != 0 {
            if slot.flags.load(Ordering::Relaxed) & DAMAGED != 0 {
                return Err(Errno(libc::EIO));
            }
            if self.pool.wants_pass(slot) {
                // Asking whether the holders live costs file reads: not on each write.
                self.gain.stop(64, Bypass::Mapped);
                return Ok(Staged::Pass(Bypass::Mapped));
            }
            slot.flags.fetch_and(!PASS, Ordering::AcqRel);
        }
        if slot.error.load(Ordering::Relaxed) != 0 {
            return Err(Errno(slot.error.swap(0, Ordering::AcqRel) as i32));
        }
        if at == At::End && slot.flags.load(Ordering::Relaxed) & APPENDED == 0 {
            slot.flags.fetch_or(APPENDED, Ordering::AcqRel);
        }
        let fresh = journal.is_empty();
        if journal.end().is_none() {
            slot.writer.store(locked.me.process() + 1, Ordering::Relaxed);
        }
        let mut base = 0;
        if fresh {
            let st = sys::fstat(fd)?;
            // Asked again after the commit: whoever extends the base from then on sees that something is staged,
            // and says so (`base_changed`).
            slot.base_size.store(UNKNOWN, Ordering::Relaxed);
            base = st.st_size as u64;
            if st.st_nlink == 0 {
                slot.flags.fetch_or(REMOVED, Ordering::AcqRel);
            } else {
                slot.flags.fetch_and(!REMOVED, Ordering::AcqRel);
            }
            self.record_name(&locked, fd);
        }
        let offset = match at {
            At::Offset(o) => o,
            At::End if fresh => base,
            At::End => self.end_of_file(&locked, fd)?,
        };
        if offset.saturating_add(len as u64) > FARTHEST {
            return Ok(Staged::Pass(Bypass::Limit));
        }
        // SAFETY: the slot is locked and the caller vouches for the memory.
        match unsafe { journal.append(offset, src, len) } {
            Ok(()) => {
                slot.written_ns.store(sys::coarse_ns(), Ordering::Relaxed);
                // Under the slot's lock: plain stores count exactly.
                self.version.store(self.version.load(Ordering::Relaxed) + 1, Ordering::Release);
                let plus = |c: &AtomicU64, n: u64| c.store(c.load(Ordering::Relaxed) + n, Ordering::Relaxed);
                plus(&self.gain.staged, 1);
                plus(&self.staged_writes, 1);
                let writes = self.staged_writes.load(Ordering::Relaxed);
                if writes.is_multiple_of(gain::LOOK) {
                    let end = slot.staged_end.load(Ordering::Relaxed);
                    // Else it will go home before its pieces lie together.
                    let fits = end <= self.tier0_bytes() / 8 * 5;
                    self.gain.look(fd, writes, len as u64, self.is_scattered(), fits.then_some(end));
                }
                plus(&self.staged_total, len as u64);
                Ok(Staged::Done(offset))
            }
            Err(Full) => Ok(Staged::Pass(Bypass::Tier0Full)),
        }
    }

    /// Writes the file's name into its slot, for recovery. The slot is locked.
    fn record_name(&self, locked: &Locked<'_>, fd: i32) {
        let Some(mut name) = self.name.lock() else { return };
        let renames = self.pool.superblock().renames.load(Ordering::Acquire);
        if self.named_at.swap(renames, Ordering::AcqRel) != renames || name.is_empty() {
            // Where it cannot be told, the old one stays.
            let _ = sys::with_name_of(fd, |now| {
                name.clear();
                // A name that was taken away is still the best one: what is left of the file lies near it.
                name.extend_from_slice(now.strip_suffix(b" (deleted)").unwrap_or(now));
            });
        }
        self.pool.set_name(locked.number, &name);
    }

    /// Size of the file with everything staged. The slot is locked.
    fn end_of_file(&self, locked: &Locked<'_>, fd: i32) -> Result<u64, Errno> {
        let slot = locked.slot();
        let mut base = slot.base_size.load(Ordering::Relaxed);
        if base == UNKNOWN {
            base = sys::fstat(fd)?.st_size as u64;
            slot.base_size.store(base, Ordering::Relaxed);
        }
        Ok(base.max(slot.end()))
    }

    /// Size of the file with everything staged; `None` if nothing is, and the kernel knows best.
    pub fn size(&self, fd: i32) -> Result<Option<u64>, Errno> {
        if self.pool.superblock().staged_files.load(Ordering::Acquire) == 0 {
            return Ok(None);
        }
        match self.locked() {
            Some(l) if !l.journal().is_empty() => self.end_of_file(&l, fd).map(Some),
            _ => Ok(None),
        }
    }

    /// Bytes staged now.
    #[inline]
    pub fn staged_bytes(&self) -> u64 {
        match self.slot.load(Ordering::Acquire) {
            0 => 0,
            n => {
                let slot = &self.pool.slots()[n as usize - 1];
                if slot.commit.load(Ordering::Relaxed) == 0 {
                    0
                } else {
                    slot.staged_bytes.load(Ordering::Relaxed)
                }
            }
        }
    }

    /// Whether what is staged lies in many short extents.
    pub fn is_scattered(&self) -> bool {
        const MANY: u64 = 64;
        const SHORT: u64 = 16 * 1024;
        match self.slot.load(Ordering::Acquire) {
            0 => false,
            n => {
                let slot = &self.pool.slots()[n as usize - 1];
                let records = slot.records.load(Ordering::Relaxed);
                records >= MANY && slot.staged_bytes.load(Ordering::Relaxed) / records < SHORT
            }
        }
    }

    /// Bytes that Tier 0 can hold in memory.
    pub fn tier0_bytes(&self) -> u64 {
        u64::from(self.pool.geometry().memory_blocks) * BLOCK as u64
    }

    /// Bytes a second at which the last large flush went home; as fast as can be before there was one.
    pub fn flush_speed(&self) -> u64 {
        self.gain.speed.load(Ordering::Relaxed)
    }

    /// Age in milliseconds of the oldest staged byte.
    pub fn staged_ms(&self) -> u64 {
        match self.slot.load(Ordering::Acquire) {
            0 => 0,
            n => sys::boot_ms()
                .saturating_sub(self.pool.slots()[n as usize - 1].since_ms.load(Ordering::Relaxed)),
        }
    }

    /// Whether this process has it open.
    pub fn has_descriptors(&self) -> bool {
        self.any_descriptor().is_some()
    }

    /// Notes that from now on this process may change the file where no hook sees it.
    pub fn set_unseen(&self) {
        self.unseen.store(true, Ordering::Release);
    }

    /// Whether bytes read ahead stay right until a hook tells otherwise.
    #[inline]
    pub fn may_read_ahead(&self) -> bool {
        self.mount.consistency != Consistency::Posix && !self.unseen.load(Ordering::Acquire)
    }

    /// Keeps the file in passthrough as long as process `pid` lives: flushes it, and nobody stages again.
    pub fn leave(&self, pid: u32) -> Result<(), Errno> {
        self.set_unseen();
        match self.locked_or_new() {
            Some(l) => self.pool.want_pass(l.slot(), pid),
            None if self.resident().is_none() => return Ok(()),
            None => {}
        }
        self.flush()?;
        let Some(r) = self.resident() else { return Ok(()) };
        let fds = self.fds.lock().map_or_else(Vec::new, |f| f.clone());
        match fds.first() {
            Some(d) => r.leave(crate::home::resident::Anchor::here(d.fd), fds.iter().any(|d| d.writable)),
            None => Ok(()),
        }
    }

    /// The error of a background flush, once.
    pub fn take_error(&self) -> Option<Errno> {
        let n = self.slot.load(Ordering::Acquire).checked_sub(1)?;
        let slot = &self.pool.slots()[n as usize];
        if slot.error.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let l = self.locked()?;
        match l.slot().error.swap(0, Ordering::AcqRel) {
            0 => None,
            e => Some(Errno(e as i32)),
        }
    }

    /// Keeps an error of a background flush for the next write, fsync or close.
    pub fn keep_error(&self, e: Errno) {
        // These tell of the flusher's troubles, not of the file's: somebody else may flush it yet.
        if matches!(
            e.0,
            libc::EBADF | libc::EAGAIN | libc::EMFILE | libc::ENFILE | libc::EDEADLK | libc::ENOMEM
        ) {
            return;
        }
        if let Some(l) = self.locked() {
            l.slot().error.store(e.0 as u32, Ordering::Release);
        }
    }
}
