//! The journal of one staged file: appending extents and their bytes, reading them back in order, retiring what
//! has been flushed. Owns the contents of a slot and of its blocks; may not touch the file itself.
//!
//! Invariants, at every instruction of every process:
//! - What counts is what `Slot::commit` covers. An append writes payload and record first and then publishes by
//!   one store: to `commit`, or to the last record's length when it only grows.
//! - A block that a flush has sealed takes no more bytes, so that a flush can read it without the lock.
//! - Everything here but reading sealed blocks needs the slot's lock.

use crate::prefetch;
use crate::tier0::layout::*;
use crate::tier0::pool::Pool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// The pool has no room for more.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// The journal does not pass its checks.
#[derive(Debug, PartialEq, Eq)]
pub struct Damaged;

/// A piece of the file that lies in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u32,
    /// Block.
    pub block: u32,
    /// Offset in the block.
    pub at: u32,
}

/// A committed position: `records` records of `block`, and all blocks before it. `None`: nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Block number.
    pub block: u32,
    /// Records in it.
    pub records: u32,
}

impl Position {
    fn pack(self) -> u64 {
        u64::from(self.block + 1) << 32 | u64::from(self.records)
    }

    fn unpack(word: u64) -> Option<Position> {
        (word != 0).then(|| Position { block: ((word >> 32) as u32).wrapping_sub(1), records: word as u32 })
    }
}

/// A journal: a slot of a pool.
#[derive(Clone, Copy)]
pub struct Journal<'p> {
    pool: &'p Pool,
    number: u32,
    slot: &'p Slot,
}

/// Records that fit a block at most.
const MOST_RECORDS: u32 = ((BLOCK - BLOCK_HEADER) / RECORD) as u32;
/// Rest of a block below which a new block is taken instead of splitting a write.
const LEAST_PIECE: usize = 64;

impl<'p> Journal<'p> {
    /// The journal in slot `number`.
    #[inline]
    pub fn new(pool: &'p Pool, number: u32) -> Journal<'p> {
        Journal { pool, number, slot: &pool.slots()[number as usize] }
    }

    /// The slot.
    #[cfg(test)]
    pub fn slot(&self) -> &'p Slot {
        self.slot
    }

    /// Whether a position can be one of this pool: a flipped bit must not lead outside it.
    #[inline]
    fn is_sound(&self, p: Position) -> bool {
        p.block < self.pool.geometry().blocks && p.records.wrapping_sub(1) < MOST_RECORDS
    }

    /// What a record's check is salted with: a record of another block, or of another file that had the block
    /// before, does not pass.
    #[inline]
    fn salt(&self, block: u32) -> u32 {
        block ^ (self.number + 1).rotate_left(20)
    }

    /// The committed end.
    #[inline]
    pub fn end(&self) -> Option<Position> {
        Position::unpack(self.slot.commit.load(Acquire))
    }

    /// Whether nothing is staged, in the blocks or in a store.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slot.commit.load(Acquire) == 0 && self.slot.spilled.load(Acquire) == 0
    }

    /// Appends `len` bytes that belong at `offset` of the file; all of them or none.
    ///
    /// # Safety
    /// `src` is readable for `len` bytes. The slot's lock is held.
    #[inline]
    pub unsafe fn append(&self, offset: u64, src: *const u8, len: usize) -> Result<(), Full> {
        let slot = self.slot;
        if let Some(end) = Position::unpack(slot.commit.load(Relaxed))
            && self.is_sound(end)
            && slot.sealed.load(Relaxed) != end.block + 1
        {
            let open = self.pool.whole_block(end.block);
            let head = open.head();
            let limit = BLOCK - end.records as usize * RECORD;
            let last = open.record(end.records - 1);
            let last_len = last.len_check.load(Relaxed) as u32;
            let (last_offset, last_at) = (last.offset.load(Relaxed), last.at.load(Relaxed));
            // Never before the last payload's end, whatever damage says: published bytes are not overwritten.
            let used = head.used.load(Relaxed).max(last_at.wrapping_add(last_len));
            if last_offset.wrapping_add(u64::from(last_len)) == offset
                && last_at.wrapping_add(last_len) == used
                && used as usize + len <= limit
            {
                self.pool.populate(end.block, used as usize + len);
                // SAFETY: used + len lies before the records; the caller vouches for `src`.
                unsafe { copy_in(open.start().add(used as usize), src, len) };
                // The end of the payload moves first: dying in between wastes bytes, the other order would
                // let the next append overwrite published ones.
                head.used.store(used + len as u32, Release);
                self.grow(offset, len);
                let total = last_len + len as u32;
                let check = record_check(last_offset, last_at, total, self.salt(end.block));
                last.len_check.store(u64::from(check) << 32 | u64::from(total), Release);
                return Ok(());
            }
            if used as usize + len + RECORD <= limit {
                let record = BLOCK - (end.records as usize + 1) * RECORD;
                self.pool.populate_both(end.block, used as usize + len, record);
                // SAFETY: as above, with room for one more record.
                unsafe { copy_in(open.start().add(used as usize), src, len) };
                head.used.store(used + len as u32, Release);
                self.put_record(end.block, open.record(end.records), offset, used, len as u32);
                self.grow(offset, len);
                expect(open.start(), used as usize + len, end.records + 1, len);
                slot.commit.store(Position { block: end.block, records: end.records + 1 }.pack(), Release);
                return Ok(());
            }
        }
        // SAFETY: by this function's contract.
        unsafe { self.append_slow(offset, src, len) }
    }

    /// As [`Journal::append`], when a new block is needed.
    #[cold]
    unsafe fn append_slow(&self, offset: u64, src: *const u8, len: usize) -> Result<(), Full> {
        let slot = self.slot;
        let start = self.end();
        if start.is_none() && slot.first.load(Relaxed) != 0 {
            // A process died while retiring.
            slot.first.store(0, Relaxed);
            self.pool.sweep(self.number);
        }
        if start.is_some_and(|p| !self.is_sound(p)) {
            // Damage. Nobody can add to it, and the flush that makes room tells.
            return Err(Full);
        }
        if start.is_none() {
            // These mean nothing before the commit below.
            slot.staged_end.store(0, Relaxed);
            slot.staged_bytes.store(0, Relaxed);
            slot.records.store(0, Relaxed);
        }
        let open = start.filter(|p| slot.sealed.load(Relaxed) != p.block + 1);
        let (mut done, mut taken) = (0, Vec::new());
        let mut end = start;
        // The rest of the current block, if it is worth a record.
        if let Some(p) = open {
            let head = self.pool.block(p.block);
            let last = self.pool.record(p.block, p.records - 1);
            let last_end = last.at.load(Relaxed).wrapping_add(last.len_check.load(Relaxed) as u32);
            let used = head.used.load(Relaxed).max(last_end);
            let room = (BLOCK - p.records as usize * RECORD).saturating_sub(used as usize + RECORD);
            if room >= LEAST_PIECE {
                let piece = room.min(len);
                // SAFETY: the piece fits before the new record; `src` is readable for `len` >= piece bytes.
                unsafe { copy_in(self.pool.block_ptr(p.block).add(used as usize), src, piece) };
                head.used.store(used + piece as u32, Release);
                self.put_record(p.block, self.pool.record(p.block, p.records), offset, used, piece as u32);
                end = Some(Position { block: p.block, records: p.records + 1 });
                done = piece;
            }
        }
        while done < len {
            let Some(block) = self.pool.take_block(self.number) else {
                // Nothing was committed: the blocks go back, and the current one is as it was but for unused
                // payload.
                for block in taken {
                    self.pool.give_block(block);
                }
                if let Some(p) = start {
                    self.pool.block(p.block).next.store(0, Relaxed);
                }
                return Err(Full);
            };
            taken.push(block);
            let piece = (BLOCK - BLOCK_HEADER - RECORD).min(len - done);
            self.pool.populate_both(block, BLOCK_HEADER + piece, BLOCK - RECORD);
            // SAFETY: a fresh block holds one record and this many bytes; `src` as above.
            unsafe { copy_in(self.pool.block_ptr(block).add(BLOCK_HEADER), src.add(done), piece) };
            let head = self.pool.block(block);
            head.used.store((BLOCK_HEADER + piece) as u32, Release);
            self.put_record(
                block,
                self.pool.record(block, 0),
                offset + done as u64,
                BLOCK_HEADER as u32,
                piece as u32,
            );
            match end {
                // `records` and `next` of the block that was current do not count before the commit below.
                Some(p) => {
                    let previous = self.pool.block(p.block);
                    previous.records.store(p.records, Relaxed);
                    previous.next.store(block + 1, Release);
                }
                None => slot.first.store(block + 1, Release),
            }
            end = Some(Position { block, records: 1 });
            done += piece;
        }
        if start.is_none() {
            slot.since_ms.store(crate::sys::boot_ms(), Relaxed);
            self.pool.superblock().staged_files.fetch_add(1, AcqRel);
        }
        self.grow(offset, len);
        slot.commit.store(end.map_or(0, Position::pack), Release);
        Ok(())
    }

    #[inline]
    fn put_record(&self, block: u32, record: &Record, offset: u64, at: u32, len: u32) {
        self.slot.records.store(self.slot.records.load(Relaxed).wrapping_add(1), Relaxed);
        record.offset.store(offset, Relaxed);
        record.at.store(at, Relaxed);
        let check = record_check(offset, at, len, self.salt(block));
        record.len_check.store(u64::from(check) << 32 | u64::from(len), Release);
    }

    #[inline]
    fn grow(&self, offset: u64, len: usize) {
        let slot = self.slot;
        let end = offset + len as u64;
        if end > slot.staged_end.load(Relaxed) {
            slot.staged_end.store(end, Release);
        }
        slot.staged_bytes.store(slot.staged_bytes.load(Relaxed).wrapping_add(len as u64), Relaxed);
    }

    /// Calls `f` for each extent from `from` (exclusive; `None`: from the start) to `to` (inclusive), in the
    /// order of writing. An extent that had grown since `from` was taken is not shown again.
    pub fn extents(
        &self,
        from: Option<Position>,
        to: Position,
        mut f: impl FnMut(Extent),
    ) -> Result<(), Damaged> {
        if !self.is_sound(to) {
            return Err(Damaged);
        }
        let (mut block, mut i) = match from {
            Some(p) => (p.block, p.records),
            None => (self.slot.first.load(Acquire).checked_sub(1).ok_or(Damaged)?, 0),
        };
        // A chain that damage has bent into a ring is told by its coming back to a block that is remembered, a
        // later one each time the walk has doubled (Brent 1980).
        let (mut remembered, mut walked, mut far) = (block, 0u32, 1u32);
        loop {
            if !self.pool.is_owner(self.number, block) {
                return Err(Damaged);
            }
            let head = self.pool.block(block);
            let n = if block == to.block { to.records } else { head.records.load(Acquire) };
            if n == 0 || n > MOST_RECORDS {
                return Err(Damaged);
            }
            while i < n {
                f(self.extent(block, i)?);
                i += 1;
            }
            if block == to.block {
                return Ok(());
            }
            block = head.next.load(Acquire).checked_sub(1).ok_or(Damaged)?;
            i = 0;
            if block == remembered {
                return Err(Damaged);
            }
            walked += 1;
            if walked == far {
                (remembered, walked, far) = (block, 0, far.saturating_mul(2));
            }
        }
    }

    /// Extent `i` of a block, checked.
    pub fn extent(&self, block: u32, i: u32) -> Result<Extent, Damaged> {
        let record = self.pool.record(block, i);
        let len_check = record.len_check.load(Acquire);
        let (len, check) = (len_check as u32, (len_check >> 32) as u32);
        let (offset, at) = (record.offset.load(Relaxed), record.at.load(Relaxed));
        let inside = (BLOCK_HEADER as u64..=BLOCK as u64).contains(&u64::from(at))
            && u64::from(at) + u64::from(len) <= BLOCK as u64
            && offset.checked_add(u64::from(len)).is_some_and(|end| end <= i64::MAX as u64);
        if !inside || check != record_check(offset, at, len, self.salt(block)) {
            return Err(Damaged);
        }
        Ok(Extent { offset, len, block, at })
    }

    /// As [`Journal::extent`], for a sealed record that has passed the check before. Whatever became of it since, the
    /// extent lies inside its block.
    #[inline]
    pub fn checked_extent(&self, block: u32, i: u32) -> Extent {
        let record = self.pool.record(block, i);
        let at = record.at.load(Relaxed).min(BLOCK as u32);
        let len = (record.len_check.load(Acquire) as u32).min(BLOCK as u32 - at);
        Extent { offset: record.offset.load(Relaxed), len, block, at }
    }

    /// Seals everything committed so far: later appends go to new blocks. Returns the end that was sealed.
    pub fn seal(&self) -> Option<Position> {
        let end = self.end()?;
        self.slot.sealed.store(end.block.wrapping_add(1), Release);
        Some(end)
    }

    /// Forgets everything up to a sealed position, whose bytes are in the file now, and gives the blocks back.
    /// Indexes built before are void ([`Slot::epoch`]).
    ///
    /// A position that is not in the chain is not retired: somebody else has done so. In a damaged journal the
    /// committed end stands for everything, so that it can be given up.
    pub fn retire(&self, upto: Position) {
        let slot = self.slot;
        let first = slot.first.load(Acquire);
        let Some(end) = self.end() else { return };
        let all = end.block == upto.block;
        let rest = self.after(first, upto.block);
        if !all && rest.is_none() {
            return;
        }
        slot.epoch.fetch_add(1, AcqRel);
        if all {
            slot.commit.store(0, Release);
            slot.first.store(0, Release);
            self.pool.superblock().staged_files.fetch_sub(1, AcqRel);
        } else {
            slot.first.store(rest.unwrap_or(0), Release);
            slot.since_ms.store(crate::sys::boot_ms(), Relaxed);
            let (mut bytes, mut records) = (0, 0);
            // Damage shows again, and is told, when somebody reads these extents.
            let _ = self.extents(None, end, |e| {
                bytes += u64::from(e.len);
                records += 1;
            });
            slot.staged_bytes.store(bytes, Relaxed);
            slot.records.store(records, Relaxed);
        }
        self.pool.superblock().retirements.fetch_add(1, AcqRel);
        slot.sealed.store(0, Release);
        if rest.is_none() {
            self.pool.sweep(self.number);
            return;
        }
        let mut block = first;
        while let Some(b) = block.checked_sub(1) {
            block = self.pool.block(b).next.load(Acquire);
            self.pool.give_block(b);
            if b == upto.block {
                break;
            }
        }
    }

    /// What follows block `last` in the chain from `first` (both as in [`Slot::first`]); `None` if it is not in it.
    fn after(&self, first: u32, last: u32) -> Option<u32> {
        let mut block = first;
        // Each block is in the chain once at most; a longer walk is a ring.
        for _ in 0..self.pool.geometry().blocks {
            let b = block.checked_sub(1).filter(|&b| self.pool.is_owner(self.number, b))?;
            block = self.pool.block(b).next.load(Acquire);
            if b == last {
                return Some(block);
            }
        }
        None
    }

    /// Puts right what an owner of the lock left half done when it died: the sums are recomputed from the
    /// committed records, and blocks outside the chain go back.
    pub fn repair(&self) -> Result<(), Damaged> {
        let slot = self.slot;
        let Some(end) = self.end() else {
            slot.first.store(0, Relaxed);
            slot.sealed.store(0, Relaxed);
            self.pool.sweep(self.number);
            return Ok(());
        };
        let (mut staged_end, mut staged_bytes, mut records, mut chain) = (0, 0, 0, Vec::new());
        self.extents(None, end, |e| {
            records += 1;
            staged_end = staged_end.max(e.offset + u64::from(e.len));
            staged_bytes += u64::from(e.len);
            if chain.last() != Some(&e.block) {
                chain.push(e.block);
            }
        })?;
        slot.staged_end.store(staged_end, Release);
        slot.staged_bytes.store(staged_bytes, Release);
        slot.records.store(records, Relaxed);
        // What had been flushed, and no longer counts in `staged_end`, may have made the base longer.
        slot.base_size.store(u64::MAX, Relaxed);
        self.pool.block(end.block).next.store(0, Relaxed);
        chain.sort_unstable();
        self.pool.sweep_except(self.number, &chain);
        Ok(())
    }

    /// Asks for the bytes of an extent, which are copied soon.
    #[inline]
    pub fn expect_bytes(&self, extent: Extent) {
        let from = self.pool.block_ptr(extent.block).wrapping_add(extent.at as usize);
        prefetch::lines(from, extent.len as usize);
    }

    /// Copies from a block into memory.
    ///
    /// # Safety
    /// `to` is writable for `len` bytes, and `extent` was read from this journal at a moment since which it has
    /// not been retired; `skip + len` lies within it.
    pub unsafe fn copy_out(&self, extent: Extent, skip: u32, to: *mut u8, len: usize) {
        // SAFETY: by contract the range lies in the extent, which lies in its block (checked by `extent`).
        unsafe {
            let from = self.pool.block_ptr(extent.block).add((extent.at + skip) as usize);
            std::ptr::copy_nonoverlapping(from, to, len);
        }
    }

    /// Where a block lies.
    pub fn block_start(&self, block: u32) -> *const u8 {
        self.pool.block_ptr(block)
    }

    /// The bytes of a sealed extent, for writing them home.
    ///
    /// # Safety
    /// The extent is sealed and is not retired while the slice lives (the caller holds the flush lock).
    pub unsafe fn sealed_bytes(&self, extent: Extent) -> &'p [u8] {
        // SAFETY: sealed bytes do not change, and the extent was checked to lie in its block.
        unsafe {
            let from = self.pool.block_ptr(extent.block).add(extent.at as usize);
            std::slice::from_raw_parts(from, extent.len as usize)
        }
    }
}

/// Asks for the memory that the next append like this one will write: payload from `at` on, record `i` of the block at `base`.
#[inline]
fn expect(base: *mut u8, at: usize, i: u32, len: usize) {
    prefetch::lines_to_write(base.wrapping_add(at + len), len);
    prefetch::line_to_write(base.wrapping_add(BLOCK.saturating_sub((i as usize + 4) * RECORD)));
}

/// Copies program memory into a block.
///
/// # Safety
/// Both ranges are valid for `len` bytes.
#[inline]
unsafe fn copy_in(to: *mut u8, src: *const u8, len: usize) {
    const HALF: usize = 32;
    if (HALF..=2 * HALF).contains(&len) {
        // The shortest writes that come in masses: two halves, which may overlap, cost less than a call.
        // SAFETY: both halves lie within `len` bytes, which are valid by contract; nothing is aligned.
        unsafe {
            let first = src.cast::<[u8; HALF]>().read_unaligned();
            let last = src.add(len - HALF).cast::<[u8; HALF]>().read_unaligned();
            to.cast::<[u8; HALF]>().write_unaligned(first);
            to.add(len - HALF).cast::<[u8; HALF]>().write_unaligned(last);
        }
        return;
    }
    // SAFETY: by contract. The ranges cannot overlap: one is the program's, the other the pool's.
    unsafe { std::ptr::copy_nonoverlapping(src, to, len) };
}
