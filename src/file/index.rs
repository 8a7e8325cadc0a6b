//! The interval index of a file's staged extents: which bytes are newest where. Owns the rule "newest wins,
//! partly covered extents are split"; knows nothing of journals, blocks' contents or files.
//!
//! A B-tree of disjoint extents by offset. An insertion costs O(log n) plus the extents it covers, each of which
//! was inserted once; a look-up costs O(log n) plus what it finds.

use crate::journal::Extent;
use std::collections::BTreeMap;

/// Disjoint extents, ordered by offset.
#[derive(Default, Debug)]
pub struct Index {
    tree: BTreeMap<u64, Piece>,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    len: u32,
    block: u32,
    at: u32,
}

impl Piece {
    fn extent(self, offset: u64) -> Extent {
        Extent { offset, len: self.len, block: self.block, at: self.at }
    }
}

impl Index {
    /// Number of extents.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.tree.clear();
    }

    /// Adds the newest extent: whatever it covers is cut away.
    pub fn insert(&mut self, new: Extent) {
        if new.len == 0 {
            return;
        }
        let (start, end) = (new.offset, new.offset + u64::from(new.len));
        // An extent that begins before the new one may reach into it, or past its end.
        if let Some((&at, &old)) = self.tree.range(..start).next_back() {
            let old_end = at + u64::from(old.len);
            if old_end > start {
                if let Some(p) = self.tree.get_mut(&at) {
                    p.len = (start - at) as u32;
                }
                if old_end > end {
                    self.tree.insert(end, cut_front(old, end - at));
                }
            }
        }
        // Extents that begin inside the new one: all go, and the last may leave a tail.
        while let Some((&at, &old)) = self.tree.range(start..end).next() {
            self.tree.remove(&at);
            let old_end = at + u64::from(old.len);
            if old_end > end {
                self.tree.insert(end, cut_front(old, end - at));
            }
        }
        self.tree.insert(start, Piece { len: new.len, block: new.block, at: new.at });
    }

    /// Calls `f` with each extent, cut to `start..end`, in order.
    pub fn overlapping(&self, start: u64, end: u64, mut f: impl FnMut(Extent)) {
        let from = match self.tree.range(..=start).next_back() {
            Some((&at, p)) if at + u64::from(p.len) > start => at,
            _ => start,
        };
        for (&at, &piece) in self.tree.range(from..end.max(from)) {
            let mut offset = at;
            let mut piece = piece;
            if offset < start {
                piece = cut_front(piece, start - offset);
                offset = start;
            }
            piece.len = u64::from(piece.len).min(end - offset) as u32;
            f(piece.extent(offset));
        }
    }

    /// All extents in order.
    pub fn iter(&self) -> impl Iterator<Item = Extent> {
        self.tree.iter().map(|(&offset, p)| p.extent(offset))
    }
}

fn cut_front(p: Piece, by: u64) -> Piece {
    // `by` is less than the piece's own length, a u32.
    let by = by as u32;
    Piece { len: p.len - by, block: p.block, at: p.at + by }
}

/// Turns extents in the order of writing into disjoint ones in the order of the file, newest bytes winning.
///
/// Sorting beats the tree by far when, as usual, extents do not overlap or only repeat each other; anything else
/// goes through the tree.
pub fn merge(mut written: Vec<Extent>) -> Vec<Extent> {
    let disjoint = |v: &[Extent]| v.windows(2).all(|w| w[0].offset + u64::from(w[0].len) <= w[1].offset);
    if disjoint(&written) {
        return written;
    }
    let mut order: Vec<(u64, u32)> = written.iter().enumerate().map(|(i, e)| (e.offset, i as u32)).collect();
    order.sort_unstable();
    let mut out: Vec<Extent> = Vec::with_capacity(written.len());
    for (_, i) in order {
        let e = written[i as usize];
        match out.last_mut() {
            // The later of two with the same start and no less length replaces the earlier.
            Some(last) if last.offset == e.offset && e.len >= last.len => *last = e,
            _ => out.push(e),
        }
    }
    if disjoint(&out) {
        return out;
    }
    let mut index = Index::default();
    for e in written.drain(..) {
        index.insert(e);
    }
    index.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extent(offset: u64, len: u32, at: u32) -> Extent {
        Extent { offset, len, block: 0, at }
    }

    /// Payload byte `at` of the only block is `at` itself, so that a byte tells where it came from.
    fn paint(file: &mut [u32], e: Extent) {
        for i in 0..e.len {
            file[(e.offset + u64::from(i)) as usize] = e.at + i + 1;
        }
    }

    proptest! {
        #[test]
        fn newest_wins_as_in_a_byte_array(writes in prop::collection::vec((0u64..200, 0u32..60), 0..60), look in (0u64..260, 0u64..100)) {
            let (mut file, mut index, mut at, mut all) = (vec![0u32; 300], Index::default(), 0, Vec::new());
            for (offset, len) in writes {
                let e = extent(offset, len, at);
                at += len;
                paint(&mut file, e);
                index.insert(e);
                all.push(e);
            }
            let mut seen = vec![0u32; 300];
            index.iter().for_each(|e| paint(&mut seen, e));
            prop_assert_eq!(&seen, &file);
            let mut merged = vec![0u32; 300];
            merge(all).into_iter().filter(|e| e.len > 0).for_each(|e| paint(&mut merged, e));
            prop_assert_eq!(&merged, &file);
            let (start, end) = (look.0, (look.0 + look.1).min(300));
            let mut part = vec![0u32; 300];
            index.overlapping(start, end, |e| {
                assert!(e.offset >= start && e.offset + u64::from(e.len) <= end);
                paint(&mut part, e);
            });
            for i in 0..300 {
                let inside = (start..end).contains(&(i as u64));
                prop_assert_eq!(part[i], if inside { file[i] } else { 0 });
            }
        }
    }

    #[test]
    fn repeated_writes_leave_one_extent() {
        let mut index = Index::default();
        for i in 0..1000 {
            index.insert(extent(4096, 512, i * 512));
        }
        assert_eq!(index.len(), 1);
    }
}
