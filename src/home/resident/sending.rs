//! Sending a file home: what was written, and what was cut, becomes what its store holds. Owns the order in which that
//! is done and what a death in the midst of it leaves; which objects the bytes are is the map's business.

use super::{Anchor, BATCH, Resident, all_is_new, read_all};
use crate::errno::Errno;
use crate::home::control::{Bit, CHANGED, GRANULE, NO_CUT, SENDING, UNLINKED, WILD};
use crate::home::map::{At, Map};
use crate::home::{ServiceFd, service, told};
use crate::log;
use crate::sys;
use iris_store::Store;
use std::sync::atomic::Ordering;

/// Steps of upkeep after a file was sent, of [`BATCH`] bytes each.
const UPKEEP: u32 = 4;

/// One sending of a file.
pub(super) struct Round {
    /// Its length.
    pub(super) len: u64,
    /// Whether the store's version of it is another one afterwards.
    changed: bool,
    /// Of one that the kernel writes where no hook sees it: what the store is known to have.
    pub(super) sums: Option<super::wild::Sums>,
}

impl Resident {
    /// Whether the store lacks something of the file.
    pub fn is_unsettled(&self) -> bool {
        self.control.head().flags.load(Ordering::Acquire) & (CHANGED | WILD | SENDING) != 0
    }

    /// Sends everything home that the store lacks. The overlay has been flushed.
    pub fn settle(&self, anchor: Anchor) -> Result<(), Errno> {
        if !self.is_unsettled() {
            return Ok(());
        }
        service::call(|| {
            let own = self.own_anchor(anchor)?;
            self.settle_here(&own)
        })?
    }

    /// As [`Resident::settle`], on a service thread.
    pub fn settle_here(&self, own: &ServiceFd) -> Result<(), Errno> {
        let head = self.control.head();
        let store = self.home.store()?;
        let _alone = self.home.holders()?.lock(&head.settle_lock)?;
        // Whoever dies in this leaves the mark, by which the next one knows that there is something to do.
        let before = head.flags.fetch_or(SENDING, Ordering::AcqRel);
        let flags = head.flags.fetch_and(!CHANGED, Ordering::AcqRel);
        let mut result = Ok(());
        if flags & UNLINKED == 0 && (flags & (CHANGED | WILD) != 0 || before & SENDING != 0) {
            result = self.send_marked(&*store, own, flags, before & SENDING != 0);
            if result.is_err() {
                head.flags.fetch_or(CHANGED, Ordering::AcqRel);
            }
        }
        // After a failure the mark stays too: what was sent behind the end is cut off first.
        if result.is_ok() {
            head.flags.fetch_and(!SENDING, Ordering::AcqRel);
        }
        result
    }

    /// Somebody died, or failed, while sending. What it wrote behind the end that is known to all must not show when the
    /// file grows over it: it is cut off, and what is here of it is sent again.
    fn send_again_behind_end(&self) -> Result<(), Errno> {
        let head = self.control.head();
        self.locked(|| {
            let known = head.home_len.load(Ordering::Acquire);
            let (mut g, end) = (known / GRANULE, head.high.load(Ordering::Acquire));
            while let Some((from, to)) = self.control.run(Bit::Present, true, g, end) {
                self.control.set(Bit::Dirty, from, to);
                g = to;
            }
            head.cutting.fetch_min(known, Ordering::AcqRel);
        })
    }

    /// With `again`, somebody has died, or failed, in sending it.
    fn send_marked(&self, store: &dyn Store, own: &ServiceFd, flags: u32, again: bool) -> Result<(), Errno> {
        let head = self.control.head();
        let wild = flags & WILD != 0;
        // Before anything is read: who is no more when the round begins has written all that he will.
        let passed = wild && self.is_passed(own.raw())? != Some(false);
        if again {
            self.send_again_behind_end()?;
        }
        let mut round =
            Round { changed: again || flags & CHANGED != 0, sums: wild.then(|| self.sums(again)), len: 0 };
        self.send(store, own, &mut round)?;
        let settled = head.settled.fetch_add(1, Ordering::AcqRel) + 1;
        self.keep_sums(round, settled);
        if wild && !passed { self.tame(own.raw()) } else { Ok(()) }
    }

    fn send(&self, store: &dyn Store, own: &ServiceFd, round: &mut Round) -> Result<(), Errno> {
        let head = self.control.head();
        self.begin(own, round)?;
        let len = round.len;
        if self.home.layout().is_whole() {
            if !self.send_whole(store, own, len)? {
                return Ok(());
            }
            round.changed = true;
        } else {
            self.send_mapped(store, own, round)?;
        }
        // Where nothing is new, nobody has to look.
        let overtaken = if round.changed { self.home.settled(self, own, len)? } else { false };
        self.locked(|| {
            // What was cut meanwhile still lies in the store, until the next time.
            let cut = head.cut_at.load(Ordering::Acquire);
            let end = len.min(cut);
            if !overtaken {
                self.keep_holes(end)?;
            }
            head.home_len.store(end, Ordering::Release);
            if cut == NO_CUT {
                head.stored_len.store(len, Ordering::Release);
            } else {
                head.stored_len.fetch_max(len, Ordering::AcqRel);
            }
            Ok(())
        })?
    }

    /// Begins a round, which sends the file as it is at this instant, all of a wild one and else what is dirty, and carries
    /// out what was cut until now. What is written from here on stays dirty, and what is cut is the next round's. All that
    /// is taken at once: a write between the length and the bits would count as sent although it lies behind that length,
    /// and one after a cut that is taken later would go with it.
    fn begin(&self, own: &ServiceFd, round: &mut Round) -> Result<(), Errno> {
        let head = self.control.head();
        self.locked(|| {
            self.notice_cut(own.raw())?;
            round.len = sys::fstat(own.raw())?.st_size as u64;
            round.changed |= round.len != head.home_len.load(Ordering::Acquire);
            if round.sums.is_some() {
                all_is_new(&self.control, own.raw(), round.len)?;
            }
            // First noted, then taken: whoever dies between leaves both.
            let cut = head.cut_at.load(Ordering::Acquire);
            let cutting = head.cutting.fetch_min(cut, Ordering::AcqRel).min(cut);
            head.cut_at.store(NO_CUT, Ordering::Release);
            if let Some(sums) = &mut round.sums {
                sums.cut(cutting);
            }
            self.control.clear(Bit::Again, 0, head.high.load(Ordering::Acquire));
            Ok(())
        })?
    }

    fn send_mapped(&self, store: &dyn Store, own: &ServiceFd, round: &mut Round) -> Result<(), Errno> {
        let (head, at, map, len) = (self.control.head(), self.at(store), self.map()?, round.len);
        self.cut_objects(at, &map)?;
        let end = len.div_ceil(GRANULE);
        let next = |g| self.control.run(Bit::Dirty, true, g, end);
        let mut found = next(0);
        while let Some((from, to)) = found {
            let to = to.min(from + BATCH / GRANULE);
            let range = from * GRANULE..(to * GRANULE).min(len);
            // What was written to whole granules since the round began goes with it all the same, unless a cut came before.
            self.locked(|| {
                if head.cut_at.load(Ordering::Acquire) == NO_CUT {
                    self.control.clear(Bit::Again, from, to.min(len / GRANULE));
                }
            })?;
            let mut bytes = vec![0u8; (range.end - range.start) as usize];
            read_all(own.raw(), &mut bytes, range.start)?;
            // Before it is: whoever dies leaves no object that is not known of.
            let size = head.stored_len.fetch_max(range.end, Ordering::AcqRel).max(range.end);
            found = next(to);
            let runs = round.sums.as_mut().map_or_else(|| vec![(from, to)], |s| s.changed(from, &bytes));
            for (a, b) in runs {
                let part = a * GRANULE..(b * GRANULE).min(len);
                let more = found.is_some() || part.end < range.end;
                let part_bytes =
                    &bytes[(part.start - range.start) as usize..(part.end - range.start) as usize];
                map.write(at, size, part.start, part_bytes, more).map_err(|e| told(&e))?;
                round.changed = true;
            }
            self.locked(|| self.control.settle_bits(from, to))?;
        }
        if round.changed {
            Self::upkeep(at, &map, len);
        }
        Ok(())
    }

    /// The file was cut and may have grown again: what the store held beyond must not come back.
    fn cut_objects(&self, at: At<'_>, map: &Map) -> Result<(), Errno> {
        let head = self.control.head();
        let cut = head.cutting.load(Ordering::Acquire);
        let stored = head.stored_len.load(Ordering::Acquire);
        if cut < stored {
            map.truncate(at, stored, cut).map_err(|e| told(&e))?;
            head.stored_len.store(cut, Ordering::Release);
        }
        head.cutting.store(NO_CUT, Ordering::Release);
        Ok(())
    }

    /// Some of what the mapper would like to tidy up, once everything is sent. The bytes are safe without it.
    fn upkeep(at: At<'_>, map: &Map, len: u64) {
        for _ in 0..UPKEEP {
            match map.upkeep(at, len, BATCH) {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) => {
                    log::say(2, || format!("tidying the objects of a file up: {e}; it is tried again"));
                    break;
                }
            }
        }
    }
}
