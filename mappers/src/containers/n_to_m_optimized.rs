//! Objects are hashed into a key space that is cut into ranges, and each range has containers of its own. What
//! replaces bytes goes first to where others of the range have left room, of the same length if there is one, so that
//! a store whose objects are replaced all the time neither grows nor is copied about. A range that has come to hold
//! several containers' worth is split, neighbours that hold little are joined.

use super::{Choice, Containers, Event, Purpose, Space, Use};

/// Most bytes of a container.
pub const CAPACITY: u64 = 8 << 20;
/// Bytes of objects from which on a range is split.
const SPLIT: i64 = 4 * CAPACITY as i64;
/// Bytes of objects of two neighbours up to which they are joined.
const MERGE: i64 = CAPACITY as i64 / 2;
/// Containers of a range, the newest, in which room is looked for before another is opened.
const LOOK: usize = 16;
/// Containers of a range, those in which room came free last, in which it is looked for first.
const ROOMY: usize = 4;

#[derive(Clone, Debug)]
struct Range {
    /// First hash.
    lo: u64,
    /// Bytes of its objects; after a split an estimate, which the objects' changes do not make exact, and need not.
    weight: i64,
    /// Containers that take its objects, the newest last.
    containers: Vec<u32>,
    /// Some of them in which room came free lately.
    roomy: [Option<u32>; ROOMY],
}

/// See [the module](self).
#[derive(Clone, Debug)]
pub struct NToMOptimized {
    /// In order; the first begins where the shard does.
    ranges: Vec<Range>,
    /// Last hash of the shard.
    hi: u64,
}

/// Makes one for a part of the hash space.
pub fn make(shard: u32, shards: u32) -> Box<dyn Containers> {
    let edge = |n: u32| ((u128::from(n) << 64).div_ceil(u128::from(shards))) as u64;
    let hi = if shard + 1 == shards { u64::MAX } else { edge(shard + 1) - 1 };
    let all = Range { lo: edge(shard), weight: 0, containers: Vec::new(), roomy: [None; ROOMY] };
    Box::new(NToMOptimized { ranges: vec![all], hi })
}

impl NToMOptimized {
    #[inline]
    fn at(&self, hash: u64) -> usize {
        self.ranges.partition_point(|r| r.lo <= hash).saturating_sub(1)
    }

    fn hi(&self, i: usize) -> u64 {
        self.ranges.get(i + 1).map_or(self.hi, |r| r.lo - 1)
    }
}

impl Containers for NToMOptimized {
    fn capacity(&self) -> u64 {
        CAPACITY
    }

    fn choose(&self, space: &Space, hash: u64, len: u64, _purpose: Purpose) -> Choice {
        let i = self.at(hash);
        let range = &self.ranges[i];
        let free = |container: u32| space.room_in(container, len, true, 0);
        if let Some(choice) = range.roomy.iter().flatten().find_map(|c| free(*c)) {
            return choice;
        }
        if let Some(choice) = range.containers.last().and_then(|c| space.room_in(*c, len, false, CAPACITY)) {
            return choice;
        }
        if let Some(choice) = range.containers.iter().rev().take(LOOK).find_map(|c| free(*c)) {
            return choice;
        }
        let (lo, hi) = (range.lo, self.hi(i));
        if range.weight > SPLIT && hi - lo > 1 {
            return Choice::Split { at: lo + (hi - lo) / 2 + 1 };
        }
        if let Some(next) = self.ranges.get(i + 1).filter(|r| r.weight + range.weight < MERGE) {
            return Choice::Merge { at: next.lo };
        }
        if i > 0 && self.ranges[i - 1].weight + range.weight < MERGE {
            return Choice::Merge { at: lo };
        }
        Choice::Open(Use::Range { lo, hi })
    }

    fn reuses(&self) -> bool {
        true
    }

    fn private(&self) -> bool {
        true
    }

    fn opened(&mut self, container: u32, purpose: Use) {
        let Use::Range { lo, hi } = purpose else { return };
        let first = self.at(lo);
        for range in self.ranges[first..].iter_mut().take_while(|r| r.lo <= hi) {
            range.containers.push(container);
        }
    }

    fn closed(&mut self, container: u32) {
        for range in &mut self.ranges {
            range.containers.retain(|c| *c != container);
            for roomy in &mut range.roomy {
                *roomy = roomy.filter(|c| *c != container);
            }
        }
    }

    fn ranged(&mut self, event: &Event<'_>) {
        match *event {
            Event::Split { at } => {
                let i = self.at(at);
                let range = &mut self.ranges[i];
                if range.lo != at {
                    range.weight /= 2;
                    let upper = Range { lo: at, ..range.clone() };
                    self.ranges.insert(i + 1, upper);
                }
            }
            Event::Merge { at } => {
                let i = self.at(at);
                if i > 0 && self.ranges[i].lo == at {
                    let upper = self.ranges.remove(i);
                    let lower = &mut self.ranges[i - 1];
                    lower.weight += upper.weight;
                    lower.containers.extend(upper.containers);
                    lower.containers.sort_unstable();
                    lower.containers.dedup();
                }
            }
            _ => (),
        }
    }

    #[inline]
    fn weighed(&mut self, hash: u64, bytes: i64) {
        let i = self.at(hash);
        self.ranges[i].weight += bytes;
    }

    #[inline]
    fn released(&mut self, hash: u64, container: u32) {
        let i = self.at(hash);
        let range = &mut self.ranges[i];
        // A container of another range, from before a split, would be handed to both; only own ones count.
        if range.roomy[0] != Some(container) && range.containers.contains(&container) {
            let known = range.roomy.iter().position(|c| *c == Some(container)).unwrap_or(ROOMY - 1);
            range.roomy[..=known].rotate_right(1);
            range.roomy[0] = Some(container);
        }
    }

    fn ranges(&self) -> Vec<u64> {
        self.ranges[1..].iter().map(|r| r.lo).collect()
    }
}
