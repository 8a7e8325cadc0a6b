//! Spilled extents: the part of a file's overlay that has left Tier 0 for the store of its mount, because there was no
//! room or it was old. Owns when that happens, what a slot says of it, and the way from there home; the order of a read is
//! base, then spilled extents, then Tier 0.
//!
//! What a death leaves, at every instruction:
//! - A slot says how many objects the store may have (`spill_tried`) before the first is put, and how many count
//!   (`spilled`) after they were, by one store; what does not count is put again, or deleted.
//! - The blocks are retired after their containers count, and what counts is forgotten before newer blocks are retired:
//!   in between the same bytes are there twice, in their order.
//! - A set has a head, which tells whose it is. It is put first, and deleted once all is home, before the slot forgets the
//!   set. So containers without a head mean nothing, and those with one are still needed, if Tier 0 was lost too.

mod container;
mod head;
pub mod place;
mod recover;

pub use container::{FAR, Fetched};
pub use recover::recover;

use super::File;
use super::flush::{lock_repaired, write_fetched};
use super::index::merge;
use super::sealed::Sealed;
use super::writer::Writer;
use crate::config::Spill;
use crate::errno::Errno;
use crate::journal::{Damaged, Extent, Journal, Position};
use crate::report::{self, Count};
use crate::sys;
use crate::tier0::layout::{DAMAGED, Slot, record_check};
use crate::tier0::lock::{self, Owner};
use crate::tier0::pool::Pool;
use container::Packer;
use iris_store::{Kind, StoreError};
use place::{FETCH, PUT, Piece, Place, told, told_of};
use std::sync::atomic::Ordering;

/// Bytes of a set's head at most.
const HEAD: usize = 16 << 10;

/// What is spilled of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spilled {
    /// The set of its containers.
    pub set: u64,
    /// The store, as [`Place::name`].
    pub store: u64,
    /// Containers that count.
    pub count: u32,
}

impl Spilled {
    fn word(self) -> u64 {
        let check = record_check(self.set, self.store as u32, self.count, (self.store >> 32) as u32);
        u64::from(check) << 32 | u64::from(self.count)
    }
}

/// What a slot says to be spilled. The slot's lock or its flush lock is held.
///
/// # Errors
/// It does not pass its check.
pub fn state(slot: &Slot) -> Result<Option<Spilled>, Damaged> {
    let word = slot.spilled.load(Ordering::Acquire);
    if word == 0 {
        return Ok(None);
    }
    let set = slot.spill_set.load(Ordering::Relaxed);
    let spilled = Spilled { set, store: slot.spill_store.load(Ordering::Relaxed), count: word as u32 };
    if spilled.word() == word { Ok(Some(spilled)) } else { Err(Damaged) }
}

/// As [`state`]; damage is noted in the slot.
fn sound_state(slot: &Slot) -> Result<Option<Spilled>, Errno> {
    state(slot).map_err(|Damaged| {
        slot.flags.fetch_or(DAMAGED, Ordering::AcqRel);
        Errno(libc::EIO)
    })
}

/// What the containers of a set hold, in the order of writing, as far as this process knows.
#[derive(Default)]
pub struct Directory {
    set: u64,
    count: u32,
    extents: Vec<Extent>,
}

impl Directory {
    /// The extents of all that is spilled; `None` where they are to be asked for.
    pub fn of(&self, spilled: &Spilled) -> Option<&[Extent]> {
        (self.set == spilled.set && self.count == spilled.count).then_some(&self.extents)
    }
}

impl File {
    /// Frees what the file takes of Tier 0: to its mount's store, where there is one and that is the better way, else home.
    pub fn make_room(&self) -> Result<(), Errno> {
        let Some(place) = self.spills_to() else { return self.flush() };
        match self.spill(place) {
            Ok(()) => Ok(()),
            // The directory takes them as well; the log says what is wrong.
            Err(_) => self.flush(),
        }
    }

    /// The store for what is staged now.
    fn spills_to(&self) -> Option<&'static Place> {
        let place = place::of(self.mount.store?).ok()?;
        let wanted = match self.mount.spill {
            Spill::Always => true,
            Spill::Auto => self.is_scattered() && place.is_cheaper(self.mount.settle),
        };
        (wanted && self.resident().is_none() && place.is_up()).then_some(place)
    }

    /// Whether bytes of it lie in a store. Not locked: what is read may be over.
    pub fn is_spilled(&self) -> bool {
        let number = self.slot.load(Ordering::Acquire).checked_sub(1);
        number.is_some_and(|n| self.pool.slots()[n as usize].spilled.load(Ordering::Acquire) != 0)
    }

    /// The store that has bytes of it, if any has. As [`File::is_spilled`].
    pub fn spilled_to(&self) -> Option<&'static Place> {
        let number = self.slot.load(Ordering::Acquire).checked_sub(1).filter(|_| self.is_spilled())?;
        place::by_name(self.pool, self.pool.slots()[number as usize].spill_store.load(Ordering::Acquire)).ok()
    }

    /// Notes what a flush has cost, for the choice between store and directory.
    pub(super) fn went_home(&self, scattered: bool, bytes: u64, ns: u64) {
        if scattered
            && let Some(home) = self.mount.store
            && let Ok(place) = place::of(home)
        {
            place.went_home(bytes, ns);
        }
    }

    /// Sends what is staged to the store.
    fn spill(&self, place: &'static Place) -> Result<(), Errno> {
        let _here = self.flushing.lock().ok_or(Errno(libc::EDEADLK))?;
        let me = self.pool.me().ok_or(Errno(libc::EAGAIN))?;
        let Some(number) = self.slot.load(Ordering::Acquire).checked_sub(1) else { return Ok(()) };
        let slot = &self.pool.slots()[number as usize];
        self.pool.lock(&slot.flush_lock, me).map_err(|_| Errno(libc::EDEADLK))?;
        let result = self.spill_locked(number, place);
        lock::unlock(&slot.flush_lock, me);
        result
    }

    /// With the flush lock held: seals, puts, retires.
    fn spill_locked(&self, number: u32, place: &'static Place) -> Result<(), Errno> {
        let slot = &self.pool.slots()[number as usize];
        let (end, before) = match self.locked() {
            Some(l) if l.number == number => (l.journal().seal(), sound_state(slot)?),
            _ => return Ok(()),
        };
        let Some(end) = end else { return Ok(()) };
        if before.is_some_and(|s| s.store != place.name) {
            // What another mount, or another configuration, has spilled elsewhere goes home first.
            return Err(Errno(libc::EXDEV));
        }
        if before.is_none() {
            sweep(self.pool, slot)?;
        }
        // SAFETY: sealed above; the flush lock is held until this function returns.
        let sealed = unsafe { Sealed::new(Journal::new(self.pool, number), end) }.map_err(|Damaged| {
            slot.flags.fetch_or(DAMAGED, Ordering::AcqRel);
            Errno(libc::EIO)
        })?;
        let begun = sys::monotonic_ns();
        let new = self.put_sealed(&sealed, before, slot, place).map_err(|e| {
            place.failed(&e);
            if before.is_none() && e.kind == Kind::Full {
                // What did fit is of no use. A failure of this is told too, and a drain tries again.
                let _ = sweep(self.pool, slot);
            }
            told(&e)
        })?;
        place.spilled(sealed.survey().bytes, sys::monotonic_ns() - begun);
        report::add(Count::SpilledBytes, sealed.survey().bytes);
        self.count_spilled(number, before, new, end)
    }

    /// Puts what is sealed. The containers that count now, and what the new ones hold.
    fn put_sealed(
        &self,
        sealed: &Sealed<'_>,
        before: Option<Spilled>,
        slot: &Slot,
        place: &Place,
    ) -> Result<(Spilled, Vec<Extent>), StoreError> {
        let mut spilled = before.unwrap_or(Spilled { set: sys::random(), store: place.name, count: 0 });
        if before.is_none() {
            let failed = |e: Errno| {
                StoreError::new(Kind::Closed, "Tier 0", None, format!("noting the store's address: {e}"))
            };
            place.remember(self.pool).map_err(failed)?;
            slot.spill_set.store(spilled.set, Ordering::Relaxed);
            slot.spill_store.store(place.name, Ordering::Relaxed);
            slot.spill_tried.store(1, Ordering::Release);
            let name = self.name.lock().map_or_else(Vec::new, |n| n.clone());
            place.put_head(spilled.set, &head::of(self.pool, self.id(), self.born(), &name))?;
        }
        let written_ns = slot.written_ns.load(Ordering::Relaxed);
        let mut packer = Packer::new(spilled.set, spilled.count, written_ns, merge(sealed.list()));
        let mut new = Vec::new();
        loop {
            let mut some: Vec<_> =
                std::iter::from_fn(|| packer.next(|e| sealed.bytes(e))).take(PUT).collect();
            if some.is_empty() {
                return Ok((spilled, new));
            }
            spilled.count += some.len() as u32;
            slot.spill_tried.store(u64::from(spilled.count), Ordering::Release);
            place.put(spilled.set, &some)?;
            some.iter_mut().for_each(|c| new.append(&mut c.extents));
        }
    }

    /// What was put counts from here on, and its blocks are free.
    fn count_spilled(
        &self,
        number: u32,
        before: Option<Spilled>,
        (spilled, mut new): (Spilled, Vec<Extent>),
        end: Position,
    ) -> Result<(), Errno> {
        let mut overlay = self.index.lock().ok_or(Errno(libc::EDEADLK))?;
        let Some(locked) = self.locked().filter(|l| l.number == number) else { return Err(Errno(libc::EIO)) };
        let slot = locked.slot();
        if before.is_none() {
            self.pool.superblock().staged_files.fetch_add(1, Ordering::AcqRel);
            slot.spill_end.store(0, Ordering::Relaxed);
            slot.spill_bytes.store(0, Ordering::Relaxed);
        }
        slot.spill_end.fetch_max(slot.staged_end.load(Ordering::Relaxed), Ordering::Relaxed);
        slot.spill_bytes.fetch_add(new.iter().map(|e| u64::from(e.len)).sum(), Ordering::Relaxed);
        slot.spilled.store(spilled.word(), Ordering::Release);
        locked.journal().retire(end);
        let directory = &mut overlay.directory;
        if before.is_none() {
            *directory = Directory { set: spilled.set, count: spilled.count, extents: new };
        } else if before.is_some_and(|b| directory.of(&b).is_some()) {
            directory.extents.append(&mut new);
            directory.count = spilled.count;
        }
        Ok(())
    }

    /// Asks the store what is spilled. Not under the slot's lock.
    pub(super) fn learn(&self, spilled: &Spilled) -> Result<(), Errno> {
        let (mut extents, known) = {
            let mut overlay = self.index.lock().ok_or(Errno(libc::EDEADLK))?;
            let directory = std::mem::take(&mut overlay.directory);
            if directory.set == spilled.set && directory.count <= spilled.count {
                (directory.extents, directory.count)
            } else {
                (Vec::new(), 0)
            }
        };
        let place = place::by_name(self.pool, spilled.store)?;
        match place.extents(spilled.set, known..spilled.count) {
            Ok(mut new) => extents.append(&mut new),
            Err(e) if e.kind == Kind::NotFound => return self.after_a_miss(spilled, &e),
            Err(e) => return Err(told(&e)),
        }
        let mut overlay = self.index.lock().ok_or(Errno(libc::EDEADLK))?;
        overlay.directory = Directory { set: spilled.set, count: spilled.count, extents };
        Ok(())
    }

    /// Copies spilled extents, cut to what is wanted, to where they belong: the byte at offset `start` of the file to `to`.
    ///
    /// # Safety
    /// `to` is writable for as far as the extents reach.
    pub(super) unsafe fn read_far(
        &self,
        spilled: &Spilled,
        far: &[Extent],
        start: u64,
        to: *mut u8,
    ) -> Result<bool, Errno> {
        let place = place::by_name(self.pool, spilled.store)?;
        let mut pieces: Vec<Piece<'_>> = far
            .iter()
            .map(|e| {
                // SAFETY: by contract; the extents of an index do not overlap, so neither do the slices.
                let into = unsafe {
                    std::slice::from_raw_parts_mut(to.add((e.offset - start) as usize), e.len as usize)
                };
                Piece { number: e.block & !FAR, at: e.at, into }
            })
            .collect();
        report::add(Count::FarReads, pieces.len() as u64);
        match place.read(spilled.set, &mut pieces) {
            Ok(()) => Ok(true),
            Err(e) if e.kind == Kind::NotFound => self.after_a_miss(spilled, &e).map(|()| false),
            Err(e) => Err(told(&e)),
        }
    }

    /// A container was not found: unless it went home meanwhile, it is lost.
    fn after_a_miss(&self, spilled: &Spilled, e: &StoreError) -> Result<(), Errno> {
        let now = match self.locked() {
            Some(l) => sound_state(l.slot())?,
            None => None,
        };
        if now.is_none_or(|s| s.set != spilled.set) {
            return Ok(());
        }
        let place = place::by_name(self.pool, spilled.store)?;
        match place.head(spilled.set) {
            // Whoever took it home died before the slot forgot it: a flush completes that.
            Ok(None) => self.flush(),
            Ok(Some(_)) => Err(told(e)),
            Err(e) => Err(told(&e)),
        }
    }
}

/// Writes what is spilled of the file in slot `number` home. The flush lock is held. Returns the number of writes.
pub(super) fn take_home(pool: &Pool, number: u32, spilled: &Spilled, to: &mut Writer) -> Result<u64, Errno> {
    let place = place::by_name(pool, spilled.store)?;
    let told = |e: &StoreError| told_of(&pool.name(number), e);
    place.put_home(spilled.set).map_err(|e| told(&e))?;
    let mut calls = 0;
    for from in (0..spilled.count).step_by(FETCH as usize) {
        let fetched = match place.fetch(spilled.set, from..spilled.count.min(from + FETCH)) {
            Ok(fetched) => fetched,
            // All of it is home if its head is gone.
            Err(e) if e.kind == Kind::NotFound && matches!(place.head(spilled.set), Ok(None)) => {
                return Ok(calls);
            }
            Err(e) => return Err(told(&e)),
        };
        calls += write_fetched(&fetched, to)?;
    }
    Ok(calls)
}

/// After all that is spilled, and what is sealed up to `end`, is home: the store and the slot forget it. The flush lock is
/// held.
///
/// # Errors
/// The store cannot be told. Nothing is forgotten then: a head that outlived its slot could put old bytes over newer ones
/// once Tier 0 is lost. The next flush writes the same bytes again, which nothing has gone round meanwhile.
pub(super) fn forget(
    pool: &Pool,
    number: u32,
    me: Owner,
    spilled: &Spilled,
    end: Option<Position>,
) -> Result<(), Errno> {
    let place = place::by_name(pool, spilled.store)?;
    place.delete_head(spilled.set).map_err(|e| told_of(&pool.name(number), &e))?;
    forget_here(pool, number, me, end);
    Ok(())
}

/// The slot forgets what is spilled, and what is sealed up to `end`; the store what it can be told of. The flush lock is
/// held.
fn forget_here(pool: &Pool, number: u32, me: Owner, end: Option<Position>) {
    let slot = &pool.slots()[number as usize];
    if !lock_repaired(pool, number, me) {
        return;
    }
    slot.epoch.fetch_add(1, Ordering::AcqRel);
    // Before the blocks, which may be newer.
    if slot.spilled.swap(0, Ordering::AcqRel) != 0 {
        pool.superblock().staged_files.fetch_sub(1, Ordering::AcqRel);
    }
    pool.superblock().retirements.fetch_add(1, Ordering::AcqRel);
    if let Some(end) = end {
        Journal::new(pool, number).retire(end);
    }
    lock::unlock(&slot.lock, me);
    // A failure is told, and what is left is swept before the next spill, or by a drain.
    let _ = sweep(pool, slot);
}

/// Deletes what the store may still have of a set that does not count. The flush lock is held.
pub(super) fn sweep(pool: &Pool, slot: &Slot) -> Result<(), Errno> {
    let tried = slot.spill_tried.load(Ordering::Acquire);
    if tried == 0 || slot.spilled.load(Ordering::Acquire) != 0 {
        return Ok(());
    }
    let (set, store) = (slot.spill_set.load(Ordering::Acquire), slot.spill_store.load(Ordering::Acquire));
    if store == 0 {
        // A word that damage has made: nothing was ever spilled from here.
        slot.spill_tried.store(0, Ordering::Release);
        return Ok(());
    }
    let place = place::by_name(pool, store)?;
    let count = u32::try_from(tried).map_err(|_| Errno(libc::EIO))?;
    place.delete_head(set).and_then(|()| place.delete(set, count)).map_err(|e| told(&e))?;
    slot.spill_tried.store(0, Ordering::Release);
    Ok(())
}

/// Gives up what is spilled of a file. The flush lock is held. Returns the bytes given up.
pub(super) fn give_up(pool: &Pool, number: u32, me: Owner) -> u64 {
    let slot = &pool.slots()[number as usize];
    match state(slot) {
        Ok(None) => {
            // A failure is told; the objects stay until the next one who looks.
            let _ = sweep(pool, slot);
            0
        }
        Ok(Some(_)) => {
            let bytes = slot.spill_bytes.load(Ordering::Acquire);
            forget_here(pool, number, me, None);
            bytes
        }
        Err(Damaged) => {
            // Which set it was cannot be told: `iris drain` finds the objects that nobody needs.
            if lock_repaired(pool, number, me) {
                slot.epoch.fetch_add(1, Ordering::AcqRel);
                slot.spilled.store(0, Ordering::Release);
                slot.spill_tried.store(0, Ordering::Release);
                pool.superblock().staged_files.fetch_sub(1, Ordering::AcqRel);
                lock::unlock(&slot.lock, me);
            }
            0
        }
    }
}
