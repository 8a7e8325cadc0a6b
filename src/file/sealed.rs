//! What a flush has sealed of a journal: checked once, then looked at as often as need be. Owns nothing but the list
//! of blocks; the bytes are the journal's, and stay as they are until the flush retires them.

use super::gather::{Extents, MOST_BLOCKS, Survey};
use crate::journal::{Damaged, Extent, Journal, Position};

/// The sealed part of a journal.
pub struct Sealed<'p> {
    journal: Journal<'p>,
    /// Number and records of each block, in the order of writing.
    blocks: Vec<(u32, u32)>,
    survey: Survey,
}

impl<'p> Sealed<'p> {
    /// Checks every record up to `end`.
    ///
    /// # Safety
    /// `end` is sealed, and the caller holds the slot's flush lock for as long as this value lives: nobody retires
    /// what it covers.
    pub unsafe fn new(journal: Journal<'p>, end: Position) -> Result<Sealed<'p>, Damaged> {
        let (mut blocks, mut survey): (Vec<(u32, u32)>, _) = (Vec::new(), Survey::NOTHING);
        journal.extents(None, end, |e| {
            survey.add(&e);
            match blocks.last_mut() {
                Some((block, records)) if *block == e.block => *records += 1,
                _ => blocks.push((e.block, 1)),
            }
        })?;
        Ok(Sealed { journal, blocks, survey })
    }

    /// What all extents are together.
    pub fn survey(&self) -> Survey {
        self.survey
    }

    /// The extents in the order of writing, in as few parts as can each be gathered at once.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.blocks.chunks(MOST_BLOCKS).map(|blocks| {
            let starts = blocks.iter().map(|(block, _)| self.journal.block_start(*block)).collect();
            let mut part = Part { journal: self.journal, blocks, starts, survey: self.survey };
            if blocks.len() < self.blocks.len() {
                let mut survey = Survey::NOTHING;
                part.each(|e| survey.add(&e));
                part.survey = survey;
            }
            part
        })
    }

    /// All extents, in the order of writing.
    pub fn list(&self) -> Vec<Extent> {
        let mut list = Vec::with_capacity(self.survey.count as usize);
        for &(block, records) in &self.blocks {
            list.extend((0..records).map(|i| self.journal.checked_extent(block, i)));
        }
        list
    }

    /// What lies in an extent of [`Sealed::list`].
    pub fn bytes(&self, extent: &Extent) -> &[u8] {
        // SAFETY: sealed, and not retired while `self` lives, by the contract of `new`.
        unsafe { self.journal.sealed_bytes(*extent) }
    }
}

/// The extents in some of the sealed blocks.
pub struct Part<'s> {
    journal: Journal<'s>,
    blocks: &'s [(u32, u32)],
    /// Where each of them lies.
    starts: Vec<*const u8>,
    survey: Survey,
}

impl Extents for Part<'_> {
    #[inline]
    fn each(&self, mut f: impl FnMut(Extent)) {
        for (n, &(block, records)) in self.blocks.iter().enumerate() {
            for i in 0..records {
                f(Extent { block: n as u32, ..self.journal.checked_extent(block, i) });
            }
        }
    }

    #[inline]
    fn bytes(&self, block: u32, at: u32, len: u32) -> &[u8] {
        // SAFETY: as in `Sealed::bytes`: the part borrows what the flush has sealed. `at` and `len` come from `each`,
        // or are a part of that, and lie in the block.
        unsafe { std::slice::from_raw_parts(self.starts[block as usize].add(at as usize), len as usize) }
    }

    fn survey(&self) -> Survey {
        self.survey
    }
}
