//! The nodes of the interval index: leaves of extents, and inner nodes of offsets and children. Owns their layout in
//! memory and what is done inside one; the tree is [`super::Extents`]'s.

use super::{Extent, NONE};

/// Extents in a leaf, and children of an inner node.
pub(super) const WIDTH: usize = 80;
/// Offsets in a cache line.
const LINE: usize = 8;
/// A key that is none: no extent begins where the longest file ends.
pub(super) const FREE: u64 = crate::MAX_FILE;

#[derive(Clone, Copy, Default)]
pub(super) struct Value {
    pub(super) object: u64,
    pub(super) at: u32,
    pub(super) len: u32,
}

/// Offsets in `keys[..n]`, ascending; the rest is [`FREE`], which no offset is.
///
/// All of a leaf is in one page of memory, so that its values are not waited for twice.
#[repr(align(2048))]
pub(super) struct Leaf {
    pub(super) keys: [u64; WIDTH],
    pub(super) values: [Value; WIDTH],
    pub(super) n: u32,
    pub(super) prev: u32,
    pub(super) next: u32,
    /// It answers for the offsets `low..high`; for none while it is not used.
    pub(super) low: u64,
    pub(super) high: u64,
}

/// Child `i` holds the offsets from `keys[i]` up to `keys[i + 1]`. `keys[0]` is 0 in every node, so that the first
/// child answers for all that comes before the second, whichever children have been there.
#[repr(align(64))]
pub(super) struct Inner {
    pub(super) keys: [u64; WIDTH],
    pub(super) children: [u32; WIDTH],
    pub(super) n: u32,
}

const _: () = assert!(size_of::<Leaf>() == 2048 && WIDTH.is_multiple_of(LINE));

/// The number of keys that are not greater than `x`.
#[inline]
pub(super) fn rank(keys: &[u64; WIDTH], x: u64) -> usize {
    // One less than the first offset that is too large. Neither it nor a key has the top bit, so the difference
    // has it if the key is the lesser: a comparison that becomes a few vector instructions on any x86-64.
    let above = x.min(crate::MAX_FILE - 1) + 1;
    let not_above = |k: u64| k.wrapping_sub(above) >> 63;
    let lines: u64 = (0..WIDTH / LINE).map(|i| not_above(keys[i * LINE])).sum();
    let from = (lines as usize).saturating_sub(1) * LINE;
    let line = keys.as_chunks::<LINE>().0[(from / LINE).min(WIDTH / LINE - 1)];
    from + line.into_iter().map(not_above).sum::<u64>() as usize
}

/// The number of keys that are less than `x`.
#[inline]
pub(super) fn rank_below(keys: &[u64; WIDTH], x: u64) -> usize {
    if x == 0 { 0 } else { rank(keys, x - 1) }
}

impl Leaf {
    pub(super) fn new() -> Self {
        Leaf {
            keys: [FREE; WIDTH],
            values: [Value::default(); WIDTH],
            n: 0,
            prev: NONE,
            next: NONE,
            low: 0,
            high: u64::MAX,
        }
    }

    #[inline]
    pub(super) fn extent(&self, slot: usize) -> Extent {
        let v = self.values[slot];
        Extent { offset: self.keys[slot], len: v.len, at: v.at, object: v.object }
    }

    #[inline]
    pub(super) fn end(&self, slot: usize) -> u64 {
        self.keys[slot] + u64::from(self.values[slot].len)
    }

    #[inline]
    pub(super) fn set(&mut self, slot: usize, e: Extent) {
        self.keys[slot] = e.offset;
        self.values[slot] = Value { object: e.object, at: e.at, len: e.len };
    }

    pub(super) fn insert(&mut self, slot: usize, e: Extent) {
        let n = self.n as usize;
        self.keys.copy_within(slot..n, slot + 1);
        self.values.copy_within(slot..n, slot + 1);
        self.n += 1;
        self.set(slot, e);
    }

    pub(super) fn drain(&mut self, from: usize, to: usize) {
        let n = self.n as usize;
        self.keys.copy_within(to..n, from);
        self.values.copy_within(to..n, from);
        let left = n - (to - from);
        self.keys[left..n].fill(FREE);
        self.n = left as u32;
    }

    /// Moves the extents from `slot` on to the end of `other`.
    pub(super) fn move_to(&mut self, slot: usize, other: &mut Leaf) {
        let (n, m) = (self.n as usize, other.n as usize);
        other.keys[m..m + n - slot].copy_from_slice(&self.keys[slot..n]);
        other.values[m..m + n - slot].copy_from_slice(&self.values[slot..n]);
        other.n += (n - slot) as u32;
        self.keys[slot..n].fill(FREE);
        self.n = slot as u32;
    }
}

impl Inner {
    pub(super) fn new() -> Self {
        Inner { keys: [FREE; WIDTH], children: [NONE; WIDTH], n: 0 }
    }

    pub(super) fn insert(&mut self, slot: usize, key: u64, child: u32) {
        let n = self.n as usize;
        self.keys.copy_within(slot..n, slot + 1);
        self.children.copy_within(slot..n, slot + 1);
        (self.keys[slot], self.children[slot]) = (key, child);
        self.n += 1;
    }

    pub(super) fn remove(&mut self, slot: usize) {
        let n = self.n as usize;
        self.keys.copy_within(slot + 1..n, slot);
        self.children.copy_within(slot + 1..n, slot);
        self.n -= 1;
        self.keys[n - 1] = FREE;
        if self.n > 0 {
            self.keys[0] = 0;
        }
    }
}
