//! The interval index against a byte array and against a plain B-tree map; its own shape after every step.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

impl Extents {
    /// Checks everything that the functions above rely on.
    fn check(&self) {
        if self.root == NONE {
            assert_eq!(self.len, 0);
            return;
        }
        let (mut leaves, mut inners) = (Vec::new(), 0);
        self.check_node(self.root, self.height, 0, u64::MAX, &mut leaves, &mut inners);
        assert_eq!(leaves.iter().map(|l| self.leaf(*l).n as usize).sum::<usize>(), self.len);
        let made: usize = self.leaves.iter().map(Vec::len).sum();
        assert_eq!(leaves.len() + self.free_leaves.len(), made, "a leaf is lost");
        assert_eq!(inners + self.free_inners.len(), self.inners.len(), "an inner node is lost");
        let (mut prev, mut end) = (NONE, 0);
        for (i, id) in leaves.iter().enumerate() {
            let leaf = self.leaf(*id);
            assert_eq!(leaf.prev, prev);
            assert_eq!(leaf.next, leaves.get(i + 1).copied().unwrap_or(NONE));
            assert!(leaf.n > 0 || self.height == 0);
            for s in 0..leaf.n as usize {
                assert!(leaf.keys[s] >= end && leaf.values[s].len > 0, "overlap or disorder");
                end = leaf.end(s);
            }
            assert!(leaf.keys[leaf.n as usize..].iter().all(|k| *k == FREE));
            prev = *id;
        }
    }

    fn check_node(
        &self,
        id: u32,
        height: usize,
        low: u64,
        high: u64,
        leaves: &mut Vec<u32>,
        inners: &mut usize,
    ) {
        if height == 0 {
            let leaf = self.leaf(id);
            assert!(leaf.keys[..leaf.n as usize].iter().all(|k| (low..high).contains(k)));
            assert_eq!((leaf.low, leaf.high), (low, high));
            leaves.push(id);
            return;
        }
        *inners += 1;
        let node = &self.inners[id as usize];
        let n = node.n as usize;
        assert!(n > 0 && node.keys[0] == 0 && node.keys[..n].is_sorted());
        assert!(node.keys[n..].iter().all(|k| *k == FREE));
        for i in 0..n {
            let from = if i == 0 { low } else { node.keys[i] };
            let to = if i + 1 < n { node.keys[i + 1] } else { high };
            self.check_node(node.children[i], height - 1, from, to, leaves, inners);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u32),
    Remove(u64, u64),
}

fn steps(space: u64, longest: u32, count: usize) -> impl Strategy<Value = Vec<Step>> {
    let insert = (0..space, 1..=longest).prop_map(|(o, l)| Step::Insert(o, l));
    let remove = (0..space, 0..=u64::from(longest) * 4).prop_map(|(o, l)| Step::Remove(o, l));
    prop::collection::vec(prop_oneof![12 => insert, 1 => remove], 0..count)
}

proptest! {
    /// Byte `i` of the file holds (object, byte of the object), so a byte tells where it came from.
    #[test]
    fn newest_wins_as_in_a_byte_array(
        base in prop_oneof![Just(0), Just(crate::MAX_FILE - 3000)],
        steps in steps(2000, 40, 400),
        looks in prop::collection::vec((0..2100u64, 0..300u64), 1..5),
    ) {
        let mut file = vec![None; 3000];
        let mut index = Extents::new();
        for (object, step) in steps.into_iter().enumerate() {
            let mut covered = BTreeMap::new();
            let mut tell = |object, len: u32| *covered.entry(object).or_insert(0u64) += u64::from(len);
            let (offset, len) = match step {
                Step::Insert(offset, len) => {
                    let new = Extent { offset: base + offset, len, at: 7, object: object as u64 };
                    index.insert(new, &mut tell);
                    (offset, u64::from(len))
                }
                Step::Remove(offset, len) => {
                    index.remove(base + offset, base + offset + len, &mut tell);
                    (offset, len)
                }
            };
            let mut gone = BTreeMap::new();
            for (i, byte) in file[offset as usize..(offset + len) as usize].iter_mut().enumerate() {
                if let Some((old, _)) = *byte {
                    *gone.entry(old).or_insert(0u64) += 1;
                }
                *byte = matches!(step, Step::Insert(..)).then_some((object as u64, 7 + i as u32));
            }
            prop_assert_eq!(covered, gone);
            index.check();
        }
        let mut seen = vec![None; 3000];
        let paint = |seen: &mut Vec<_>, e: Extent| {
            for i in 0..e.len {
                seen[(e.offset - base) as usize + i as usize] = Some((e.object, e.at + i));
            }
        };
        index.overlapping(0, u64::MAX, |e| paint(&mut seen, e));
        prop_assert_eq!(&seen, &file);
        for (start, len) in looks {
            let mut part = vec![None; 3000];
            index.overlapping(base + start, base + start + len, |e| paint(&mut part, e));
            for i in 0..3000 {
                let inside = (start..start + len).contains(&(i as u64));
                prop_assert_eq!(part[i], if inside { file[i] } else { None });
            }
        }
    }
}

/// Many extents, so that the tree is deep, with everything that makes it grow and shrink.
#[test]
fn a_deep_tree_keeps_its_shape() {
    let mut index = Extents::new();
    let mut model: BTreeMap<u64, u64> = BTreeMap::new();
    let mut seed = 1u64;
    let mut random = move |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let blocks = 60_000;
    for i in 0..blocks * 3 {
        let block = random(blocks);
        index.insert(Extent { offset: block * 8, len: 8, at: 0, object: i }, |_, _| ());
        model.insert(block, i);
        if i % 5000 == 4999 {
            let (from, len) = (random(blocks), random(blocks / 4));
            index.remove(from * 8, (from + len) * 8, |_, _| ());
            model.retain(|b, _| !(from..from + len).contains(b));
            index.check();
        }
    }
    assert!(index.height >= 2, "the test must see inner nodes split");
    let mut found = Vec::new();
    index.overlapping(0, u64::MAX, |e| found.push((e.offset / 8, e.object)));
    assert_eq!(found, model.iter().map(|(b, o)| (*b, *o)).collect::<Vec<_>>());
    // Out again in small pieces from the middle: leaves are joined, and memory does not stay.
    let made = |i: &Extents| i.leaves.iter().map(Vec::len).sum::<usize>();
    let (most, full) = (made(&index), index.len());
    for block in 0..blocks {
        if block % 16 != 0 {
            index.remove(block * 8, block * 8 + 8, |_, _| ());
        }
    }
    index.check();
    let used = made(&index) - index.free_leaves.len();
    assert!(index.len() < full / 10 && used < most / 4, "{used} of {most} leaves for {}", index.len());
    index.remove(0, u64::MAX, |_, _| ());
    index.check();
    assert!(index.is_empty());
}

#[test]
fn front_to_back_leaves_full_leaves() {
    let mut index = Extents::new();
    for i in 0..100_000 {
        index.insert(Extent { offset: i * 512, len: 512, at: 0, object: i }, |_, _| ());
    }
    index.check();
    let bytes = index.memory() as f64 / 1e5;
    assert!(bytes < 28.0, "{bytes:.1} bytes an extent");
}
