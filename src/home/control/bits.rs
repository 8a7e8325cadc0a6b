//! The bits of a control file: what of the file lies in the anchor, and what of that is newer than the store. Owns the
//! words that they are packed in, and when those get room; knows nothing of the head's other fields.

use super::{BITS, Control, GRANULE, GROUP, GROUP_BYTES, NEAR, PAGE, PAGE_GRANULES, RESERVED_WORDS};
use crate::errno::Errno;
use crate::home::service;
use crate::sys;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which of a granule's bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bit {
    /// The anchor holds the granule.
    Present,
    /// The anchor's bytes are newer than the store's.
    Dirty,
    /// Written again since an upload of it began.
    Again,
}

impl Control {
    /// Whether bits of the page of granule `g` were ever set.
    #[inline]
    fn is_reserved(&self, g: u64) -> bool {
        is_set(&self.head().reserved, g / PAGE_GRANULES)
    }

    /// What the words of an absent page would be.
    #[inline]
    fn absent(&self, bit: Bit, g: u64) -> u64 {
        if bit == Bit::Present && is_set(&self.head().holes, g / PAGE_GRANULES) { u64::MAX } else { 0 }
    }

    /// Marks the granules `from..to` as present, of which the anchor holds all that there is: where it has only holes,
    /// that takes no room.
    ///
    /// # Errors
    /// As [`Control::reserve`].
    pub fn keep(&self, from: u64, to: u64) -> Result<(), Errno> {
        let mut g = from;
        while g < to {
            let next = (g / PAGE_GRANULES + 1) * PAGE_GRANULES;
            let end = next.min(to);
            if self.is_reserved(g) || end - g < PAGE_GRANULES {
                self.reserve(g, end)?;
                self.set(Bit::Present, g, end);
            } else if let Some(word) = self.head().holes.get((g / PAGE_GRANULES / 64) as usize) {
                word.fetch_or(1 << (g / PAGE_GRANULES % 64), Ordering::AcqRel);
                self.head().high.fetch_max(end, Ordering::AcqRel);
            }
            g = end;
        }
        Ok(())
    }

    /// Sets `Dirty` for all granules of `from..to` that have bits.
    pub fn soil(&self, from: u64, to: u64) {
        self.set(Bit::Dirty, from, to);
    }

    /// The words of the group that holds granule `g`: present, dirty, again. `None` where no bit was ever set.
    #[inline]
    fn words(&self, g: u64) -> Option<&[AtomicU64; 3]> {
        if !self.is_reserved(g) {
            return None;
        }
        let at = BITS + (g / GROUP) as usize * GROUP_BYTES;
        let map = if at < NEAR { self.map } else { self.far() };
        // SAFETY: within the mapping (`reserved` has a bit for each of its pages), and backed by reserved storage.
        Some(unsafe { &*map.add(at).cast::<[AtomicU64; 3]>() })
    }

    #[inline]
    fn far(&self) -> *mut u8 {
        let all = self.all.load(Ordering::Acquire);
        if !all.is_null() {
            return all;
        }
        match service::with_number(|| self.map_all().map(|_| ())).and_then(|mapped| mapped) {
            Ok(()) => self.all.load(Ordering::Acquire),
            // Taken for absent, bits would lose bytes. The hook catches this, and answers EIO.
            Err(e) => panic!("the control file of a long file cannot be mapped: {e}"),
        }
    }

    /// Makes the bits of the granules `from..to` usable.
    ///
    /// # Errors
    /// EFBIG behind the longest file; what the file system says of the room for them.
    pub fn reserve(&self, from: u64, to: u64) -> Result<(), Errno> {
        for page in from / PAGE_GRANULES..=(to.max(from + 1) - 1) / PAGE_GRANULES {
            if page as usize / 64 >= RESERVED_WORDS {
                return Err(Errno(libc::EFBIG));
            }
            if !self.is_reserved(page * PAGE_GRANULES) {
                match service::with_number(|| self.add_page(page))? {
                    Err(Errno(libc::EMFILE)) => service::call_urgent(|| self.add_page(page))?,
                    other => other,
                }?;
            }
        }
        Ok(())
    }

    /// Makes the bits of one page usable.
    fn add_page(&self, page: u64) -> Result<(), Errno> {
        let at = BITS + page as usize * PAGE;
        let fd = self.reopened()?;
        let _alone = sys::lock_exclusive(fd.raw())?;
        if self.is_reserved(page * PAGE_GRANULES) {
            return Ok(());
        }
        sys::reserve(fd.raw(), at as u64, PAGE as u64)?;
        if at >= NEAR && self.all.load(Ordering::Acquire).is_null() {
            self.map_all()?;
        }
        self.fill(page);
        if let Some(word) = self.head().reserved.get(page as usize / 64) {
            word.fetch_or(1 << (page % 64), Ordering::AcqRel);
        }
        Ok(())
    }

    /// Gives the words of a page, reserved a moment ago, what they counted as.
    fn fill(&self, page: u64) {
        let present = self.absent(Bit::Present, page * PAGE_GRANULES);
        for group in 0..PAGE / GROUP_BYTES {
            let at = BITS + page as usize * PAGE + group * GROUP_BYTES;
            let map = if at < NEAR { self.map } else { self.far() };
            // SAFETY: within the mapping, and backed by storage since the caller reserved the page.
            let words = unsafe { &*map.add(at).cast::<[AtomicU64; 3]>() };
            words[Bit::Present as usize].store(present, Ordering::Release);
        }
    }

    /// Whether a bit is set.
    #[inline]
    pub fn has(&self, bit: Bit, g: u64) -> bool {
        let word =
            self.words(g).map_or_else(|| self.absent(bit, g), |w| w[bit as usize].load(Ordering::Acquire));
        word >> (g % GROUP) & 1 == 1
    }

    /// Sets a bit for the granules `from..to`, whose words are reserved.
    pub fn set(&self, bit: Bit, from: u64, to: u64) {
        self.head().high.fetch_max(to, Ordering::AcqRel);
        self.each_mask(from, to, |words, mask| {
            words[bit as usize].fetch_or(mask, Ordering::AcqRel);
        });
    }

    /// Clears a bit for the granules `from..to`.
    pub fn clear(&self, bit: Bit, from: u64, to: u64) {
        if bit == Bit::Present && from < to {
            // Of a page without bits all granules become absent: what is fetched without need does no harm.
            for page in from / PAGE_GRANULES..=(to - 1) / PAGE_GRANULES {
                if let Some(word) = self.head().holes.get((page / 64) as usize) {
                    word.fetch_and(!(1 << (page % 64)), Ordering::AcqRel);
                }
            }
        }
        self.each_mask(from, to, |words, mask| {
            words[bit as usize].fetch_and(!mask, Ordering::AcqRel);
        });
    }

    /// Clears all bits of the granules from `from` on.
    pub fn clear_from(&self, from: u64) {
        let high = self.head().high.load(Ordering::Acquire);
        for bit in [Bit::Present, Bit::Dirty, Bit::Again] {
            self.clear(bit, from, high);
        }
    }

    /// Clears `Dirty` of those granules of `from..to` that were not written again.
    pub fn settle_bits(&self, from: u64, to: u64) {
        self.each_mask(from, to, |words, mask| {
            let again = words[Bit::Again as usize].load(Ordering::Acquire);
            words[Bit::Dirty as usize].fetch_and(!(mask & !again), Ordering::AcqRel);
        });
    }

    /// Bytes of a file of `len` bytes that lie in dirty granules.
    pub fn dirty_bytes(&self, len: u64) -> u64 {
        let (mut bytes, mut g) = (0, 0);
        while let Some((from, to)) = self.run(Bit::Dirty, true, g, len.div_ceil(GRANULE)) {
            bytes += (to * GRANULE).min(len) - from * GRANULE;
            g = to;
        }
        bytes
    }

    fn each_mask(&self, from: u64, to: u64, mut f: impl FnMut(&[AtomicU64; 3], u64)) {
        let mut g = from;
        while g < to {
            if !self.is_reserved(g) {
                g = (g / PAGE_GRANULES + 1) * PAGE_GRANULES;
                continue;
            }
            let end = to.min((g / GROUP + 1) * GROUP);
            let mask = (u64::MAX >> (63 - (end - 1) % GROUP)) & (u64::MAX << (g % GROUP));
            if let Some(words) = self.words(g) {
                f(words, mask);
            }
            g = end;
        }
    }

    /// The first run of granules in `from..to` whose bit is `wanted`.
    pub fn run(&self, bit: Bit, wanted: bool, from: u64, to: u64) -> Option<(u64, u64)> {
        let start = self.seek(bit, wanted, from, to)?;
        // From the next one on: the bit may have changed since it was found, and a run has at least one granule.
        Some((start, self.seek(bit, !wanted, start + 1, to).unwrap_or(to)))
    }

    fn seek(&self, bit: Bit, wanted: bool, from: u64, to: u64) -> Option<u64> {
        let mut g = from;
        while g < to {
            if !self.is_reserved(g) && (self.absent(bit, g) == 0) == wanted {
                g = (g / PAGE_GRANULES + 1) * PAGE_GRANULES;
                continue;
            }
            let word = self
                .words(g)
                .map_or_else(|| self.absent(bit, g), |w| w[bit as usize].load(Ordering::Acquire));
            let word = if wanted { word } else { !word } & (u64::MAX << (g % GROUP));
            if word != 0 {
                let found = g / GROUP * GROUP + u64::from(word.trailing_zeros());
                return (found < to).then_some(found);
            }
            g = (g / GROUP + 1) * GROUP;
        }
        None
    }
}

#[inline]
fn is_set(words: &[AtomicU64], page: u64) -> bool {
    words.get((page / 64) as usize).is_some_and(|w| w.load(Ordering::Acquire) >> (page % 64) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    fn control(dir: &tempfile::TempDir) -> Control {
        let path = CString::new(dir.path().join("c").as_os_str().as_bytes()).unwrap();
        Control::open(&path, 7, 9, [1, 2]).unwrap().0
    }

    #[test]
    fn bits_keep_to_their_granules() {
        let dir = tempfile::tempdir().unwrap();
        let c = control(&dir);
        assert!(!c.has(Bit::Present, 5));
        c.reserve(3, 200).unwrap();
        c.set(Bit::Present, 3, 130);
        assert_eq!(c.run(Bit::Present, true, 0, 1000), Some((3, 130)));
        assert_eq!(c.run(Bit::Present, false, 3, 1000), Some((130, 1000)));
        assert_eq!(c.run(Bit::Dirty, true, 0, 1000), None);
        c.clear(Bit::Present, 64, 128);
        assert_eq!(c.run(Bit::Present, false, 3, 1000), Some((64, 128)));
        assert_eq!(c.run(Bit::Present, true, 64, 1000), Some((128, 130)));
    }

    #[test]
    fn a_run_has_a_granule_whatever_others_do() {
        let dir = tempfile::tempdir().unwrap();
        let c = control(&dir);
        c.reserve(0, 64).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                for _ in 0..20_000 {
                    c.set(Bit::Dirty, 5, 6);
                    c.clear(Bit::Dirty, 5, 6);
                }
                stop.store(true, Ordering::Relaxed);
            });
            while !stop.load(Ordering::Relaxed) {
                for wanted in [true, false] {
                    if let Some((from, to)) = c.run(Bit::Dirty, wanted, 5, 8) {
                        assert!(from < to);
                    }
                }
            }
        });
    }

    #[test]
    fn granules_far_out_are_reserved_alone() {
        let dir = tempfile::tempdir().unwrap();
        let c = control(&dir);
        let far = super::super::LONGEST / GRANULE - 1;
        c.reserve(far, far + 1).unwrap();
        c.set(Bit::Dirty, far, far + 1);
        assert_eq!(c.run(Bit::Dirty, true, 0, far + 1), Some((far, far + 1)));
        assert_eq!(c.reserve(far + 1, far + 2), Err(Errno(libc::EFBIG)));
    }

    #[test]
    fn holes_need_no_bits_and_get_them_when_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let c = control(&dir);
        let end = 5 * PAGE_GRANULES + 7;
        c.keep(3, end).unwrap();
        assert_eq!(c.run(Bit::Present, true, 0, 2 * end), Some((3, end)));
        assert_eq!(c.run(Bit::Present, false, 3, end), None);
        assert!(!c.is_reserved(PAGE_GRANULES) && c.is_reserved(0) && c.is_reserved(end));
        assert_eq!(c.run(Bit::Dirty, true, 0, end), None);
        let there = 2 * PAGE_GRANULES + 5;
        c.reserve(there, there + 1).unwrap();
        c.clear(Bit::Present, there, there + 1);
        assert_eq!(c.run(Bit::Present, false, 3, end), Some((there, there + 1)));
        c.clear(Bit::Present, 3 * PAGE_GRANULES, 3 * PAGE_GRANULES + 1);
        assert!(!c.has(Bit::Present, 3 * PAGE_GRANULES));
    }

    #[test]
    fn what_was_written_again_stays_dirty() {
        let dir = tempfile::tempdir().unwrap();
        let c = control(&dir);
        c.reserve(0, 64).unwrap();
        c.set(Bit::Dirty, 0, 10);
        c.set(Bit::Again, 4, 5);
        c.settle_bits(0, 10);
        assert_eq!(c.run(Bit::Dirty, true, 0, 64), Some((4, 5)));
    }
}
