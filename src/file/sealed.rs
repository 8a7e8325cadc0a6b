//! What a flush has sealed of a journal: checked once, then looked at as often as need be. Owns nothing but the list
//! of blocks; the bytes are the journal's, and stay as they are until the flush retires them.

use super::gather::{Extents, Survey};
use crate::journal::{Damaged, Extent, Journal, Position};
use crate::prefetch;
use crate::tier0::layout::{BLOCK, RECORD};

/// Bits of an extent's number that say which record of its block it is.
const RECORD_BITS: u32 = 14;
const _: () = assert!(BLOCK / RECORD < 1 << RECORD_BITS);

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

    /// Whether gathering is the way for these extents.
    pub fn is_worth_gathering(&self) -> bool {
        self.survey.is_worth_gathering() && self.blocks.len() < 1 << (u32::BITS - RECORD_BITS)
    }

    /// All extents, in the order of writing.
    pub fn list(&self) -> Vec<Extent> {
        let mut list = Vec::with_capacity(self.survey.count as usize);
        self.each(|_, e| list.push(e));
        list
    }

    fn place(&self, number: u32) -> (u32, u32) {
        let block = self.blocks[(number >> RECORD_BITS) as usize].0;
        (block, number & ((1 << RECORD_BITS) - 1))
    }
}

impl Extents for Sealed<'_> {
    fn each(&self, mut f: impl FnMut(u32, Extent)) {
        for (n, &(block, records)) in self.blocks.iter().enumerate() {
            for i in 0..records {
                f((n as u32) << RECORD_BITS | i, self.journal.checked_extent(block, i));
            }
        }
    }

    #[inline]
    fn get(&self, number: u32) -> Extent {
        let (block, i) = self.place(number);
        self.journal.checked_extent(block, i)
    }

    #[inline]
    fn expect(&self, number: u32) {
        let (block, i) = self.place(number);
        prefetch::line_at(self.journal.record_address(block, i));
    }

    #[inline]
    fn bytes(&self, extent: &Extent) -> &[u8] {
        // SAFETY: sealed, and not retired while `self` lives, by the contract of `new`.
        unsafe { self.journal.sealed_bytes(*extent) }
    }

    fn survey(&self) -> Survey {
        self.survey
    }
}
