//! Reading a staged file: the overlay over the base.
//!
//! Under the slot's lock the overlay's bytes are copied and the gaps noted; the gaps are read from the base after
//! the lock is given back. That order is right whatever a flush does meanwhile: bytes only move from the overlay
//! to the base, so what was no overlay under the lock is in the base afterwards, and never older.

use super::{File, Locked, Overlay};
use crate::errno::Errno;
use crate::journal::{Damaged, Extent};
use crate::tier0::layout::DAMAGED;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Gaps beyond which one read of the base and copying beat a read for each.
const FEW_GAPS: usize = 1;
/// Extents whose bytes are asked for before the first is copied.
const ASKED: usize = 8;
const NOTHING: Extent = Extent { offset: 0, len: 0, block: 0, at: 0 };

impl File {
    /// Reads up to `len` bytes at `offset`. `Ok(None)`: nothing is staged, the kernel's read is right.
    ///
    /// # Safety
    /// `buf` is writable for `len` bytes.
    pub unsafe fn read(
        &self,
        fd: i32,
        offset: u64,
        buf: *mut u8,
        len: usize,
    ) -> Result<Option<usize>, Errno> {
        if self.pool.superblock().staged_files.load(Ordering::Acquire) == 0 {
            return Ok(None);
        }
        let mut gaps: Vec<Range<u64>> = Vec::new();
        let n;
        {
            let Some(mut overlay) = self.index.lock() else { return Err(Errno(libc::EDEADLK)) };
            let Some(locked) = self.locked() else { return Ok(None) };
            if locked.journal().is_empty() {
                return Ok(None);
            }
            if overlay.follow(&locked).is_err() {
                locked.slot().flags.fetch_or(DAMAGED, Ordering::AcqRel);
                return Err(Errno(libc::EIO));
            }
            let size = self.end_of_file(&locked, fd)?;
            n = size.saturating_sub(offset).min(len as u64);
            let mut at = offset;
            let mut copy = |e: Extent| {
                if e.offset > at {
                    gaps.push(at..e.offset);
                }
                // SAFETY: the extent is cut to offset..offset+n, so the target lies within `len` bytes of
                // `buf`; the index follows the journal under its lock.
                unsafe {
                    let to = buf.add((e.offset - offset) as usize);
                    locked.journal().copy_out(e, 0, to, e.len as usize);
                }
                at = e.offset + u64::from(e.len);
            };
            // Their bytes lie all over Tier 0: each is asked for some extents before it is copied.
            let (mut asked, mut count) = ([NOTHING; ASKED], 0);
            overlay.index.overlapping(offset, offset + n, |e| {
                locked.journal().expect_bytes(e);
                if count >= ASKED {
                    copy(asked[count % ASKED]);
                }
                asked[count % ASKED] = e;
                count += 1;
            });
            (count.saturating_sub(ASKED)..count).for_each(|i| copy(asked[i % ASKED]));
            if count > 0 {
                self.gain.merged();
            }
            if at < offset + n {
                gaps.push(at..offset + n);
            }
        }
        if gaps.len() <= FEW_GAPS {
            for gap in &gaps {
                let size = (gap.end - gap.start) as usize;
                // SAFETY: a gap lies within offset..offset+n.
                unsafe { self.fill_gap(fd, gap.start, buf.add((gap.start - offset) as usize), size)? };
            }
        } else {
            let (start, end) = (gaps[0].start, gaps[gaps.len() - 1].end);
            let size = (end - start) as usize;
            let mut span: Vec<u8> = Vec::with_capacity(size);
            // SAFETY: the vector has room for that much, which is filled before it counts.
            unsafe {
                self.fill_gap(fd, start, span.as_mut_ptr(), size)?;
                span.set_len(size);
            }
            for gap in &gaps {
                let from = &span[(gap.start - start) as usize..(gap.end - start) as usize];
                // SAFETY: a gap lies within offset..offset+n.
                unsafe {
                    let to = buf.add((gap.start - offset) as usize);
                    std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
                }
            }
        }
        Ok(Some(n as usize))
    }
}

impl File {
    /// Reads from the base; what lies beyond its end is a hole below the overlay's end, and reads as zeros.
    ///
    /// # Safety
    /// `buf` is writable for `len` bytes.
    unsafe fn fill_gap(&self, fd: i32, offset: u64, buf: *mut u8, len: usize) -> Result<(), Errno> {
        let mut done = 0;
        while done < len {
            // SAFETY: the caller vouches for `len` bytes, of which `done` are filled.
            match unsafe { self.base_read(fd, offset + done as u64, buf.add(done), len - done) } {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(Errno(libc::EINTR)) => {}
                Err(e) => return Err(e),
            }
        }
        // SAFETY: as above.
        unsafe { std::ptr::write_bytes(buf.add(done), 0, len - done) };
        Ok(())
    }
}

impl Overlay {
    /// Brings the index up to the journal's end. The slot is locked.
    fn follow(&mut self, locked: &Locked<'_>) -> Result<(), Damaged> {
        let (journal, slot) = (locked.journal(), locked.slot());
        let epoch = slot.epoch.load(Ordering::Acquire);
        if self.epoch != epoch || self.slot != locked.number + 1 {
            self.index.clear();
            (self.epoch, self.slot, self.applied, self.last_len) = (epoch, locked.number + 1, None, 0);
        }
        let Some(end) = journal.end() else { return Ok(()) };
        if let Some(p) = self.applied {
            let last = journal.extent(p.block, p.records - 1)?;
            if last.len > self.last_len {
                self.index.insert(Extent {
                    offset: last.offset + u64::from(self.last_len),
                    len: last.len - self.last_len,
                    block: last.block,
                    at: last.at + self.last_len,
                });
                self.last_len = last.len;
            }
        }
        if self.applied == Some(end) {
            return Ok(());
        }
        let mut last_len = self.last_len;
        journal.extents(self.applied, end, |e| {
            last_len = e.len;
            self.index.insert(e);
        })?;
        self.last_len = last_len;
        self.applied = Some(end);
        Ok(())
    }
}
