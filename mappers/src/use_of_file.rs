//! How a file is used, and which layout that calls for. Owns the thresholds and the slowness to change; plans
//! nothing.
//!
//! Each process counts its own requests and appends a record when a window of them is full; the choice is made
//! from the records alone, so that all processes make the same one, though one may only write and another only
//! read.

use crate::{LayoutKind, Op, Record};

/// A share of writes above which an object a write pays, in percent; below the second, it no longer does.
const WRITES: (u64, u64) = (80, 70);
/// The same for reads and replicas.
const READS: (u64, u64) = (90, 80);
/// Sizes of buckets that are chosen, as binary logarithms: 64 KiB to 64 MiB.
const SHIFTS: (u8, u8) = (16, 26);
/// A bucket size is left for one that differs by this factor or more, as a binary logarithm.
const FAR: u8 = 2;
/// Records that must call for the same change, one after the other. After each change it is twice as many, up to
/// [`PATIENCE_MAX`]: a file whose use swings is left in peace.
const PATIENCE: u32 = 3;
const PATIENCE_MAX: u32 = 192;
/// Binary logarithms of lengths.
const CLASSES: usize = 64;

/// The requests of one process since its last record.
pub(crate) struct Local {
    reads: u32,
    writes: u32,
    classes: [u32; CLASSES],
}

impl Default for Local {
    fn default() -> Self {
        Local { reads: 0, writes: 0, classes: [0; CLASSES] }
    }
}

/// Binary logarithm of a length, rounded up.
fn class_of(len: u64) -> u8 {
    (u64::BITS - len.saturating_sub(1).leading_zeros()).min(CLASSES as u32 - 1) as u8
}

/// The class that nine tenths of a count do not exceed.
fn ninth_tenth(classes: &[u32; CLASSES]) -> u8 {
    let all: u64 = classes.iter().map(|n| u64::from(*n)).sum();
    let mut below = 0;
    let found = classes.iter().position(|n| {
        below += u64::from(*n);
        below * 10 >= all * 9
    });
    found.unwrap_or(0) as u8
}

impl Local {
    /// Counts a request; gives a record when there are `window` of them.
    #[inline]
    pub fn see(&mut self, op: Op, len: u64, window: u32) -> Option<Record> {
        match op {
            Op::Read => self.reads += 1,
            Op::Write => self.writes += 1,
        }
        self.classes[class_of(len) as usize] += 1;
        if self.reads + self.writes < window {
            return None;
        }
        let Local { reads, writes, classes } = std::mem::take(self);
        Some(Record::Seen { reads, writes, class: ninth_tenth(&classes) })
    }
}

/// What all processes have told, older records counting less.
pub(crate) struct Use {
    reads: u64,
    writes: u64,
    classes: [u32; CLASSES],
    /// What the last records called for, and how many of them in a row.
    called: Option<(LayoutKind, u8)>,
    times: u32,
    patience: u32,
    /// The least bucket, as a binary logarithm.
    least: u8,
}

impl Use {
    /// Of a file that begins with buckets of `1 << shift` bytes.
    pub fn new(shift: u8) -> Use {
        let least = shift.min(SHIFTS.0);
        Use { reads: 0, writes: 0, classes: [0; CLASSES], called: None, times: 0, patience: PATIENCE, least }
    }

    /// Takes in a record.
    pub fn add(&mut self, reads: u32, writes: u32, class: u8) {
        let part = |n: u64| n - n / 4;
        self.reads = part(self.reads) + u64::from(reads);
        self.writes = part(self.writes) + u64::from(writes);
        self.classes.iter_mut().for_each(|n| *n -= n.div_ceil(4));
        let n = &mut self.classes[usize::from(class) % CLASSES];
        *n = n.saturating_add(reads.saturating_add(writes) / 8).saturating_add(1);
    }

    /// Makes up its mind, given the layout that the file has. Called once for each record.
    pub fn choose(&mut self, kind: LayoutKind, shift: u8) {
        let call = self.call(kind, shift);
        self.times = if call == self.called { self.times.saturating_add(1) } else { 1 };
        self.called = call;
    }

    /// The layout to change to, if the file should.
    pub fn wanted(&self) -> Option<(LayoutKind, u8)> {
        self.called.filter(|_| self.times >= self.patience)
    }

    /// The file has been changed to another layout.
    pub fn changed(&mut self) {
        (self.called, self.times) = (None, 0);
        self.patience = (self.patience * 2).min(PATIENCE_MAX);
    }

    /// Another layout than the file has, if its use calls for one.
    fn call(&self, kind: LayoutKind, shift: u8) -> Option<(LayoutKind, u8)> {
        let all = self.reads + self.writes;
        if all == 0 {
            return None;
        }
        let above = |n: u64, (enter, leave): (u64, u64), stays: bool| {
            n * 100 > all * if stays { leave } else { enter }
        };
        let new = if above(self.writes, WRITES, kind == LayoutKind::Write) {
            LayoutKind::Write
        } else if above(self.reads, READS, kind == LayoutKind::Read) {
            LayoutKind::Read
        } else {
            LayoutKind::Balanced
        };
        let fitting = ninth_tenth(&self.classes).clamp(self.least, SHIFTS.1);
        // Only a layout with buckets minds their size, and the same one only if they are far off.
        if new == kind && (new == LayoutKind::Write || fitting.abs_diff(shift) < FAR) {
            return None;
        }
        let buckets = new != LayoutKind::Write && fitting.abs_diff(shift) >= FAR;
        Some((new, if buckets { fitting } else { shift }))
    }

    /// What a snapshot keeps: the shares and the usual size.
    pub fn record(&self) -> Option<Record> {
        let small = |n: u64| n.min(u32::MAX.into()) as u32;
        let class = ninth_tenth(&self.classes);
        (self.reads + self.writes > 0).then(|| Record::Seen {
            reads: small(self.reads),
            writes: small(self.writes),
            class,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LayoutKind::{Balanced, Read, Write};

    /// The layouts that a file comes to whose records are these, from `balanced` with buckets of 1 MiB.
    fn walk(records: impl IntoIterator<Item = (u32, u32, u8)>) -> Vec<(LayoutKind, u8)> {
        let (mut seen, mut now, mut way) = (Use::new(20), (Balanced, 20), Vec::new());
        for (reads, writes, class) in records {
            seen.add(reads, writes, class);
            seen.choose(now.0, now.1);
            if let Some(next) = seen.wanted() {
                now = next;
                way.push(next);
                seen.changed();
            }
        }
        way
    }

    #[test]
    fn shares_choose_the_layout() {
        assert_eq!(walk([(0, 100, 20); 10]), [(Write, 20)]);
        assert_eq!(walk([(100, 0, 20); 10]), [(Read, 20)]);
        assert_eq!(walk([(50, 50, 20); 10]), []);
        // The thresholds themselves are not above them.
        assert_eq!(walk([(20, 80, 20); 30]), []);
        assert_eq!(walk([(19, 81, 20); 30]), [(Write, 20)]);
        assert_eq!(walk([(90, 10, 20); 30]), []);
        assert_eq!(walk([(91, 9, 20); 30]), [(Read, 20)]);
    }

    #[test]
    fn sizes_choose_the_bucket() {
        assert_eq!(walk([(50, 50, 12); 10]), [(Balanced, 16)]);
        assert_eq!(walk([(50, 50, 23); 10]), [(Balanced, 23)]);
        assert_eq!(walk([(50, 50, 40); 10]), [(Balanced, 26)]);
        assert_eq!(walk([(50, 50, 21); 10]), []);
        assert_eq!(walk([(99, 1, 17); 10]), [(Read, 17)]);
        assert_eq!(walk([(99, 1, 19); 10]), [(Read, 20)]);
    }

    #[test]
    fn a_little_is_not_enough() {
        assert_eq!(walk([(0, 100, 20); 2]), []);
        // Between the thresholds of entering and of leaving nothing changes, in either direction.
        let near = |i: u32| if i.is_multiple_of(2) { (16, 84, 20) } else { (27, 73, 20) };
        assert!(walk((0..1000).map(near)).len() <= 1);
    }

    #[test]
    fn a_use_that_swings_is_left_in_peace() {
        let swing = |i: u32| if (i / 8).is_multiple_of(2) { (0, 100, 20) } else { (100, 0, 20) };
        let way = walk((0..2000).map(swing));
        assert!(way.len() <= 4, "{way:?}");
    }

    #[test]
    fn a_window_makes_one_record() {
        let mut local = Local::default();
        for i in 0..99 {
            assert_eq!(local.see(if i < 30 { Op::Read } else { Op::Write }, 4096, 100), None);
        }
        let record = Record::Seen { reads: 30, writes: 70, class: 12 };
        assert_eq!(local.see(Op::Write, 1 << 40, 100), Some(record));
        assert_eq!(local.see(Op::Write, 0, 1), Some(Record::Seen { reads: 0, writes: 1, class: 0 }));
        assert_eq!(
            [class_of(0), class_of(1), class_of(2), class_of(4096), class_of(4097)],
            [0, 0, 1, 12, 13]
        );
    }
}
