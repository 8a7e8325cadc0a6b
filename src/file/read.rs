//! Reading a staged file: the overlay over the base, and in it what is in Tier 0 over what was spilled.
//!
//! Under the slot's lock the overlay's bytes are copied and the gaps noted; the gaps are read from the base after
//! the lock is given back. That order is right whatever a flush does meanwhile: bytes only move from the overlay
//! to the base, so what was no overlay under the lock is in the base afterwards, and never older.

use super::spill::{self, FAR, Spilled};
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
        loop {
            // SAFETY: by this function's contract.
            if let Looked::Read(n) = unsafe { self.read_once(fd, offset, buf, len)? } {
                return Ok(n);
            }
        }
    }

    /// As [`File::read`], unless what is spilled has to be learnt first.
    ///
    /// # Safety
    /// As there.
    #[inline]
    unsafe fn read_once(&self, fd: i32, offset: u64, buf: *mut u8, len: usize) -> Result<Looked, Errno> {
        let (mut gaps, mut far): (Vec<Range<u64>>, Vec<Extent>) = (Vec::new(), Vec::new());
        let n;
        let spilled;
        {
            let Some(mut overlay) = self.index.lock() else { return Err(Errno(libc::EDEADLK)) };
            let Some(locked) = self.locked() else { return Ok(Looked::Read(None)) };
            if locked.journal().is_empty() {
                return Ok(Looked::Read(None));
            }
            match overlay.follow(&locked) {
                Ok(Followed::Whole(state)) => spilled = state,
                Ok(Followed::Unknown(spilled)) => {
                    drop(locked);
                    drop(overlay);
                    self.learn(&spilled)?;
                    return Ok(Looked::Again);
                }
                Err(Damaged) => {
                    locked.slot().flags.fetch_or(DAMAGED, Ordering::AcqRel);
                    return Err(Errno(libc::EIO));
                }
            }
            let size = self.end_of_file(&locked, fd)?;
            n = size.saturating_sub(offset).min(len as u64);
            let mut at = offset;
            let mut copy = |e: Extent| {
                if e.offset > at {
                    gaps.push(at..e.offset);
                }
                if e.block & FAR != 0 {
                    far.push(e);
                } else {
                    // SAFETY: the extent is cut to offset..offset+n, so the target lies within `len` bytes of
                    // `buf`; the index follows the journal under its lock.
                    unsafe {
                        let to = buf.add((e.offset - offset) as usize);
                        locked.journal().copy_out(e, 0, to, e.len as usize);
                    }
                }
                at = e.offset + u64::from(e.len);
            };
            // Their bytes lie all over Tier 0: each is asked for some extents before it is copied.
            let (mut asked, mut count) = ([NOTHING; ASKED], 0);
            overlay.index.overlapping(offset, offset + n, |e| {
                if e.block & FAR == 0 {
                    locked.journal().expect_bytes(e);
                }
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
        if let Some(spilled) = spilled.filter(|_| !far.is_empty()) {
            // SAFETY: the extents are cut to offset..offset+n.
            if !unsafe { self.read_far(&spilled, &far, offset, buf)? } {
                // It has gone home meanwhile.
                return Ok(Looked::Again);
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
        Ok(Looked::Read(Some(n as usize)))
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

/// What came of one look at a file.
enum Looked {
    /// What [`File::read`] answers.
    Read(Option<usize>),
    /// The index has to be looked at anew.
    Again,
}

/// Whether an index is whole.
enum Followed {
    /// It is, and holds what is spilled.
    Whole(Option<Spilled>),
    /// This process does not know what is spilled yet.
    Unknown(Spilled),
}

impl Overlay {
    /// Brings the index up to the journal's end. The slot is locked.
    fn follow(&mut self, locked: &Locked<'_>) -> Result<Followed, Damaged> {
        let (journal, slot) = (locked.journal(), locked.slot());
        let epoch = slot.epoch.load(Ordering::Acquire);
        let spilled = spill::state(slot)?;
        if self.epoch != epoch || self.slot != locked.number + 1 {
            self.index.clear();
            match spilled {
                None => self.directory = spill::Directory::default(),
                Some(spilled) => match self.directory.of(&spilled) {
                    Some(extents) => extents.iter().for_each(|e| self.index.insert(*e)),
                    None => {
                        self.slot = 0;
                        return Ok(Followed::Unknown(spilled));
                    }
                },
            }
            (self.epoch, self.slot, self.applied, self.last_len) = (epoch, locked.number + 1, None, 0);
        }
        let Some(end) = journal.end() else { return Ok(Followed::Whole(spilled)) };
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
            return Ok(Followed::Whole(spilled));
        }
        let mut last_len = self.last_len;
        journal.extents(self.applied, end, |e| {
            last_len = e.len;
            self.index.insert(e);
        })?;
        self.last_len = last_len;
        self.applied = Some(end);
        Ok(Followed::Whole(spilled))
    }
}
