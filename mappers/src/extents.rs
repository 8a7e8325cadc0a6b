//! The interval index: which object holds the newest bytes of which part of a file. Owns the rule "newest wins,
//! partly covered extents are split"; knows no objects' lengths, no records, no stores.
//!
//! A B+ tree of disjoint extents by offset, made for memory that is far away. Nodes are wide, so a tree of 10^7
//! extents has four levels above its leaves and all but the leaves stay in the cache. Offsets lie together, apart
//! from what they lead to: a search reads the first offset of each cache line of a node, all at once, and then
//! one line. A table of hints leads from an offset to the leaf that lately answered for it, past the inner nodes:
//! far apart, each of those would be waited for as long as a leaf. So a look-up waits for far memory twice: for a
//! leaf's offsets, and for the extent found.

mod nodes;

use nodes::{FREE, Inner, Leaf, WIDTH, rank, rank_below};
use std::sync::atomic::{AtomicU32, Ordering};

/// Leaves in a block of memory; the first block grows to that.
const BLOCK: usize = 32;
/// A leaf with fewer extents than this is joined with a neighbour, if there is room.
const SPARSE: usize = WIDTH / 4;
/// No node.
const NONE: u32 = u32::MAX;
/// Levels of inner nodes at most: each has at least two children when it is made, and there are less than 2^32.
const DEPTH: usize = 32;

/// A byte range of the file and where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// In the file, in bytes.
    pub offset: u64,
    /// In bytes.
    pub len: u32,
    /// In the object, in bytes.
    pub at: u32,
    /// The object's number.
    pub object: u64,
}

impl Extent {
    /// Where it ends in the file.
    #[inline]
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }

    /// The part of it that lies within `start..end`, which it must overlap.
    #[inline]
    fn cut(mut self, start: u64, end: u64) -> Extent {
        if self.offset < start {
            // Both fit: what is cut off is shorter than `len`.
            let by = (start - self.offset) as u32;
            (self.offset, self.len, self.at) = (start, self.len - by, self.at + by);
        }
        if self.end() > end {
            self.len = (end - self.offset) as u32;
        }
        self
    }
}

/// The way from the root to a leaf: the nodes, and which child was taken.
struct Path {
    steps: [(u32, u32); DEPTH],
}

/// The index of one file.
pub struct Extents {
    leaves: Vec<Vec<Leaf>>,
    #[expect(clippy::vec_box, reason = "nodes are large: they must not move when the list grows")]
    inners: Vec<Box<Inner>>,
    free_leaves: Vec<u32>,
    free_inners: Vec<u32>,
    /// A leaf if `height` is 0.
    root: u32,
    height: usize,
    len: usize,
    /// For each stretch of `1 << shift` bytes, modulo their number, a leaf that lately answered for some of it.
    /// Atomic because readers mend them; a wrong one costs a search from the root, and no more.
    hints: Vec<AtomicU32>,
    shift: u32,
    /// No extent ever ended behind this.
    end: u64,
}

impl Default for Extents {
    fn default() -> Self {
        Self::new()
    }
}

impl Extents {
    /// An empty index. It allocates with the first extent.
    pub fn new() -> Self {
        Extents {
            leaves: Vec::new(),
            inners: Vec::new(),
            free_leaves: Vec::new(),
            free_inners: Vec::new(),
            root: NONE,
            height: 0,
            len: 0,
            hints: Vec::new(),
            shift: 0,
            end: 0,
        }
    }

    /// Number of extents.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets everything, and gives its memory back.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Memory in bytes, spare nodes included.
    pub fn memory(&self) -> usize {
        self.leaves.iter().map(Vec::capacity).sum::<usize>() * size_of::<Leaf>()
            + self.inners.len() * size_of::<Inner>()
            + self.leaves.capacity() * size_of::<Vec<Leaf>>()
            + self.inners.capacity() * size_of::<Box<Inner>>()
            + (self.free_leaves.capacity() + self.free_inners.capacity()) * size_of::<u32>()
            + self.hints.capacity() * size_of::<AtomicU32>()
    }

    #[inline]
    fn leaf(&self, id: u32) -> &Leaf {
        &self.leaves[id as usize / BLOCK][id as usize % BLOCK]
    }

    #[inline]
    fn leaf_mut(&mut self, id: u32) -> &mut Leaf {
        &mut self.leaves[id as usize / BLOCK][id as usize % BLOCK]
    }

    /// The leaf that answers for `x`.
    #[inline]
    fn find(&self, x: u64) -> u32 {
        if self.height == 0 {
            return self.root;
        }
        let hint = self.hints.get((x >> self.shift) as usize & self.hints.len().wrapping_sub(1));
        if let Some(hint) = hint {
            let id = hint.load(Ordering::Relaxed);
            if id != NONE {
                let leaf = self.leaf(id);
                if (leaf.low..leaf.high).contains(&x) {
                    return id;
                }
                // Where two leaves meet, the next one is as likely.
                if leaf.next != NONE {
                    let next = self.leaf(leaf.next);
                    if (next.low..next.high).contains(&x) {
                        return leaf.next;
                    }
                }
            }
        }
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = &self.inners[node as usize];
            node = inner.children[rank(&inner.keys, x) - 1];
        }
        if let Some(hint) = hint {
            hint.store(node, Ordering::Relaxed);
        }
        node
    }

    /// Makes the table of hints fit the number of leaves: it has one or two for each.
    fn fit_hints(&mut self) {
        let leaves = self.leaves.len().saturating_sub(1) * BLOCK;
        if leaves < self.hints.len() {
            return;
        }
        let len = (leaves + 1).next_power_of_two().max(2 * BLOCK);
        self.hints = (0..len).map(|_| AtomicU32::new(NONE)).collect();
        self.shift = (self.end / len as u64).checked_ilog2().map_or(0, |l| l + 1);
    }

    /// As [`Extents::find`], with the way.
    fn find_way(&self, x: u64) -> (u32, Path) {
        let mut path = Path { steps: [(NONE, 0); DEPTH] };
        let mut node = self.root;
        for step in &mut path.steps[..self.height] {
            let inner = &self.inners[node as usize];
            let slot = rank(&inner.keys, x) - 1;
            *step = (node, slot as u32);
            node = inner.children[slot];
        }
        (node, path)
    }

    /// The last extent that begins before slot `slot` of `leaf`.
    #[inline]
    fn before(&self, leaf: u32, slot: usize) -> Option<(u32, usize)> {
        if slot > 0 {
            return Some((leaf, slot - 1));
        }
        // Only an empty tree has an empty leaf.
        let prev = self.leaf(leaf).prev;
        (prev != NONE).then(|| (prev, self.leaf(prev).n as usize - 1))
    }

    /// The first extent that begins at or after slot `slot` of `leaf`.
    #[inline]
    fn settle(&self, leaf: u32, slot: usize) -> Option<(u32, usize)> {
        let node = self.leaf(leaf);
        if slot < node.n as usize {
            return Some((leaf, slot));
        }
        (node.next != NONE).then_some((node.next, 0))
    }

    /// Calls `f` with each extent, cut to `start..end`, in order.
    #[inline]
    pub fn overlapping(&self, start: u64, end: u64, mut f: impl FnMut(Extent)) {
        self.walk(start, end, |e| {
            f(e);
            true
        });
    }

    /// As [`Extents::overlapping`], until `f` says false.
    #[inline]
    pub fn walk(&self, start: u64, end: u64, mut f: impl FnMut(Extent) -> bool) {
        if self.len == 0 || start >= end {
            return;
        }
        let mut leaf = self.find(start);
        let mut slot = rank(&self.leaf(leaf).keys, start);
        if let Some((l, s)) = self.before(leaf, slot)
            && self.leaf(l).end(s) > start
        {
            (leaf, slot) = (l, s);
        }
        while let Some((l, s)) = self.settle(leaf, slot) {
            let e = self.leaf(l).extent(s);
            if e.offset >= end || !f(e.cut(start, end)) {
                return;
            }
            (leaf, slot) = (l, s + 1);
        }
    }

    /// The last extent that begins before `offset`.
    pub fn last_before(&self, offset: u64) -> Option<Extent> {
        if self.len == 0 {
            return None;
        }
        let leaf = self.find(offset);
        let slot = rank_below(&self.leaf(leaf).keys, offset);
        self.before(leaf, slot).map(|(l, s)| self.leaf(l).extent(s))
    }

    /// Adds the newest extent. What it covers is cut away; `covered` is told of each part that was, by its object
    /// and length in bytes.
    pub fn insert(&mut self, new: Extent, mut covered: impl FnMut(u64, u32)) {
        if new.len == 0 {
            return;
        }
        self.end = self.end.max(new.end());
        if self.root == NONE {
            self.add(new);
            return;
        }
        let leaf = self.find(new.offset);
        let slot = rank(&self.leaf(leaf).keys, new.offset);
        if !self.splice(leaf, slot, new, &mut covered) {
            self.remove(new.offset, new.end(), covered);
            self.add(new);
        }
    }

    /// Adds the newest extent if all that it touches, and all that is left of that, is in one leaf and has room
    /// there: one search and one change of the leaf. `slot` is the first that begins behind its start. Otherwise
    /// nothing is done, and the answer is no.
    #[inline]
    fn splice(&mut self, leaf: u32, slot: usize, new: Extent, covered: &mut impl FnMut(u64, u32)) -> bool {
        let end = new.end();
        if slot == 0 && self.before(leaf, 0).is_some_and(|(l, s)| self.leaf(l).end(s) > new.offset) {
            return false;
        }
        let node = self.leaf(leaf);
        let n = node.n as usize;
        // Slots `from..to` are touched.
        let from = slot - usize::from(slot > 0 && node.end(slot - 1) > new.offset);
        let mut to = slot;
        while to < n && node.keys[to] < end {
            to += 1;
        }
        let tail = to > from && node.end(to - 1) > end;
        if to == n && (tail || node.next != NONE && self.leaf(node.next).keys[0] < end) {
            // What is left at the end may belong to the next leaf, or the next leaf is touched too.
            return false;
        }
        let head = to > from && node.keys[from] < new.offset;
        let more = 1 + usize::from(head) + usize::from(tail);
        if n - (to - from) + more > WIDTH {
            return false;
        }
        let node = self.leaf_mut(leaf);
        let (first, last) = (node.extent(from.min(WIDTH - 1)), node.extent(to.max(1) - 1));
        for s in from..to {
            let old = node.extent(s).cut(new.offset, end);
            covered(old.object, old.len);
        }
        if more != to - from {
            node.keys.copy_within(to..n, from + more);
            node.values.copy_within(to..n, from + more);
            let now = n - (to - from) + more;
            if now < n {
                node.keys[now..n].fill(FREE);
            }
            node.n = now as u32;
            self.len = self.len + more - (to - from);
        }
        let node = self.leaf_mut(leaf);
        if head {
            node.set(from, first.cut(first.offset, new.offset));
        }
        node.set(from + usize::from(head), new);
        if tail {
            node.set(from + more - 1, last.cut(end, last.end()));
        }
        true
    }

    /// Cuts `start..end` out; `covered` is told of each part that was there, by its object and length in bytes.
    pub fn remove(&mut self, start: u64, end: u64, mut covered: impl FnMut(u64, u32)) {
        if self.len == 0 || start >= end {
            return;
        }
        // An extent that begins before may reach in, or past the end.
        let leaf = self.find(start);
        let slot = rank_below(&self.leaf(leaf).keys, start);
        if let Some((l, s)) = self.before(leaf, slot) {
            let old = self.leaf(l).extent(s);
            if old.end() > start {
                self.leaf_mut(l).values[s].len = (start - old.offset) as u32;
                covered(old.object, (old.end().min(end) - start) as u32);
                if old.end() > end {
                    self.add(old.cut(end, old.end()));
                    return;
                }
            }
        }
        // Extents that begin inside go, leaf by leaf; the last may leave a tail.
        let mut from = start;
        loop {
            let (leaf, path) = self.find_way(from);
            let node = self.leaf_mut(leaf);
            let first = rank_below(&node.keys, start);
            if first == node.n as usize {
                // All of this leaf lies before; perhaps the next one does not.
                let next = node.next;
                if next == NONE || self.leaf(next).keys[0] >= end {
                    return;
                }
                from = self.leaf(next).keys[0];
                continue;
            }
            let mut last = first;
            let (mut over, mut tail) = (false, None);
            while last < node.n as usize && node.keys[last] < end {
                let old = node.extent(last);
                if old.end() > end {
                    covered(old.object, (end - old.offset) as u32);
                    over = true;
                    if last + 1 < node.n as usize {
                        node.set(last, old.cut(end, old.end()));
                    } else {
                        // It may now begin where the next leaf answers, if that has lost its first extents.
                        tail = Some(old.cut(end, old.end()));
                        last += 1;
                    }
                    break;
                }
                covered(old.object, old.len);
                last += 1;
            }
            over |= last < node.n as usize;
            node.drain(first, last);
            self.len -= last - first;
            let next = self.leaf(leaf).next;
            let goal = if next == NONE { None } else { Some(self.leaf(next).keys[0]) };
            self.thin(leaf, &path);
            if let Some(tail) = tail {
                self.add(tail);
            }
            match goal {
                Some(key) if !over && key < end => from = key,
                _ => return,
            }
        }
    }

    /// Adds an extent where none is.
    fn add(&mut self, new: Extent) {
        if self.root == NONE {
            self.root = self.new_leaf();
        }
        let (mut leaf, path) = self.find_way(new.offset);
        let mut slot = rank(&self.leaf(leaf).keys, new.offset);
        if self.leaf(leaf).n as usize == WIDTH {
            let right = self.new_leaf();
            let next = self.leaf(leaf).next;
            // A file that is written from front to back leaves full leaves behind.
            let keep = if next == NONE && slot == WIDTH { WIDTH } else { WIDTH / 2 };
            let mut fresh = Leaf::new();
            self.leaf_mut(leaf).move_to(keep, &mut fresh);
            (fresh.prev, fresh.next) = (leaf, next);
            self.leaf_mut(leaf).next = right;
            if next != NONE {
                self.leaf_mut(next).prev = right;
            }
            let low = if keep == WIDTH { new.offset } else { fresh.keys[0] };
            (fresh.low, fresh.high) = (low, self.leaf(leaf).high);
            self.leaf_mut(leaf).high = low;
            *self.leaf_mut(right) = fresh;
            self.add_child(&path, self.height, low, right);
            if slot > keep || keep == WIDTH {
                (leaf, slot) = (right, slot - keep);
            }
        }
        self.leaf_mut(leaf).insert(slot, new);
        self.len += 1;
    }

    /// Enters a new node right of the one to which `path` leads at `level` (0 is the root).
    fn add_child(&mut self, path: &Path, level: usize, low: u64, child: u32) {
        if level == 0 {
            let root = self.new_inner();
            let (old, node) = (self.root, &mut self.inners[root as usize]);
            node.insert(0, 0, old);
            node.insert(1, low, child);
            self.root = root;
            self.height += 1;
            return;
        }
        let (id, slot) = path.steps[level - 1];
        let slot = slot as usize + 1;
        if (self.inners[id as usize].n as usize) < WIDTH {
            self.inners[id as usize].insert(slot, low, child);
            return;
        }
        let right = self.new_inner();
        let keep = if slot == WIDTH { WIDTH } else { WIDTH / 2 };
        let mut fresh = Inner::new();
        let node = &mut self.inners[id as usize];
        for i in keep..WIDTH {
            fresh.insert(i - keep, node.keys[i], node.children[i]);
            node.keys[i] = FREE;
        }
        node.n = keep as u32;
        if slot > keep || keep == WIDTH {
            fresh.insert(slot - keep, low, child);
        } else {
            node.insert(slot, low, child);
        }
        let right_low = std::mem::replace(&mut fresh.keys[0], 0);
        *self.inners[right as usize] = fresh;
        self.add_child(path, level - 1, right_low, right);
    }

    /// Joins a leaf that has become sparse with a neighbour below the same node, and takes an empty one out.
    fn thin(&mut self, leaf: u32, path: &Path) {
        let n = self.leaf(leaf).n as usize;
        if n >= SPARSE || self.height == 0 {
            return;
        }
        let (parent, slot) = path.steps[self.height - 1];
        let (parent, slot) = (&self.inners[parent as usize], slot as usize);
        if n == 0 {
            self.drop_leaf(leaf, path, slot);
            return;
        }
        // With the one before, or else with the one after.
        let room = |i: &usize| {
            let (a, b) = (self.leaf(parent.children[*i]), self.leaf(parent.children[*i + 1]));
            (a.n + b.n) as usize <= WIDTH * 3 / 4
        };
        let Some(left) = (slot.saturating_sub(1)..(slot + 1).min(parent.n as usize - 1)).find(room) else {
            return;
        };
        let (a, b) = (parent.children[left], parent.children[left + 1]);
        let mut right = std::mem::replace(self.leaf_mut(b), Leaf::new());
        right.move_to(0, self.leaf_mut(a));
        *self.leaf_mut(b) = right;
        self.drop_leaf(b, path, left + 1);
    }

    /// Takes an empty leaf out of the chain and the tree; it is child `slot` of the last node of `path`.
    fn drop_leaf(&mut self, leaf: u32, path: &Path, slot: usize) {
        let (prev, next) = (self.leaf(leaf).prev, self.leaf(leaf).next);
        if prev != NONE {
            self.leaf_mut(prev).next = next;
        }
        if next != NONE {
            self.leaf_mut(next).prev = prev;
        }
        self.free_leaves.push(leaf);
        let (low, high) = (self.leaf(leaf).low, self.leaf(leaf).high);
        (self.leaf_mut(leaf).low, self.leaf_mut(leaf).high) = (1, 0);
        let mut slot = slot;
        for level in (0..self.height).rev() {
            let (id, _) = path.steps[level];
            let node = &mut self.inners[id as usize];
            node.remove(slot);
            if node.n > 0 {
                // The child before answers for it now, or the one after if it was the first.
                if slot > 0 {
                    self.leaf_mut(prev).high = high;
                } else {
                    self.leaf_mut(next).low = low;
                }
                break;
            }
            self.free_inners.push(id);
            if level == 0 {
                // That was the last leaf.
                self.clear();
                return;
            }
            slot = path.steps[level - 1].1 as usize;
        }
        while self.height > 0 && self.inners[self.root as usize].n == 1 {
            self.free_inners.push(self.root);
            self.root = self.inners[self.root as usize].children[0];
            self.height -= 1;
        }
    }

    fn new_leaf(&mut self) -> u32 {
        if let Some(id) = self.free_leaves.pop() {
            *self.leaf_mut(id) = Leaf::new();
            return id;
        }
        match self.leaves.last_mut() {
            Some(block) if block.len() < BLOCK => block.push(Leaf::new()),
            last => {
                let mut block = Vec::with_capacity(if last.is_some() { BLOCK } else { 1 });
                block.push(Leaf::new());
                self.leaves.push(block);
                self.fit_hints();
            }
        }
        let before = (self.leaves.len() - 1) * BLOCK;
        (before + self.leaves.last().map_or(0, Vec::len) - 1) as u32
    }

    fn new_inner(&mut self) -> u32 {
        match self.free_inners.pop() {
            Some(id) => {
                *self.inners[id as usize] = Inner::new();
                id
            }
            None => {
                self.inners.push(Box::new(Inner::new()));
                (self.inners.len() - 1) as u32
            }
        }
    }
}

impl std::fmt::Debug for Extents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut list = f.debug_list();
        self.overlapping(0, u64::MAX, |e| {
            list.entry(&e);
        });
        list.finish()
    }
}

#[cfg(test)]
mod tests;
