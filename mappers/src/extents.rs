//! The interval index: which object holds the newest bytes of which part of a file. Owns the rule "newest wins,
//! partly covered extents are split"; knows no objects' lengths, no records, no stores.
//!
//! A B+ tree of disjoint extents by offset, made for memory that is far away. Nodes are wide, so a tree of 10^7
//! extents has four levels above its leaves and all but the leaves stay in the cache. Offsets lie together, apart
//! from what they lead to: a search reads the first offset of each cache line of a node, all at once, and then
//! one line. So a look-up waits for memory twice: for a leaf's offsets, and for the extent found.

/// Extents in a leaf, and children of an inner node.
const WIDTH: usize = 64;
/// Offsets in a cache line.
const LINE: usize = 8;
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

#[derive(Clone, Copy, Default)]
struct Value {
    object: u64,
    at: u32,
    len: u32,
}

/// Offsets in `keys[..n]`, ascending; the rest is `u64::MAX`, which no offset is.
#[repr(align(64))]
struct Leaf {
    keys: [u64; WIDTH],
    values: [Value; WIDTH],
    n: u32,
    prev: u32,
    next: u32,
}

/// Child `i` holds the offsets from `keys[i]` up to `keys[i + 1]`. `keys[0]` is 0 in every node, so that the first
/// child answers for all that comes before the second, whichever children have been there.
#[repr(align(64))]
struct Inner {
    keys: [u64; WIDTH],
    children: [u32; WIDTH],
    n: u32,
}

/// The number of keys that are not greater than `x`.
#[inline]
fn rank(keys: &[u64; WIDTH], x: u64) -> usize {
    let lines = (0..WIDTH / LINE).filter(|i| keys[i * LINE] <= x).count();
    if lines == 0 {
        return 0;
    }
    let from = (lines - 1) * LINE;
    from + keys[from..from + LINE].iter().filter(|k| **k <= x).count()
}

impl Leaf {
    fn new() -> Self {
        Leaf { keys: [u64::MAX; WIDTH], values: [Value::default(); WIDTH], n: 0, prev: NONE, next: NONE }
    }

    #[inline]
    fn extent(&self, slot: usize) -> Extent {
        let v = self.values[slot];
        Extent { offset: self.keys[slot], len: v.len, at: v.at, object: v.object }
    }

    #[inline]
    fn end(&self, slot: usize) -> u64 {
        self.keys[slot] + u64::from(self.values[slot].len)
    }

    #[inline]
    fn set(&mut self, slot: usize, e: Extent) {
        self.keys[slot] = e.offset;
        self.values[slot] = Value { object: e.object, at: e.at, len: e.len };
    }

    fn insert(&mut self, slot: usize, e: Extent) {
        let n = self.n as usize;
        self.keys.copy_within(slot..n, slot + 1);
        self.values.copy_within(slot..n, slot + 1);
        self.n += 1;
        self.set(slot, e);
    }

    fn drain(&mut self, from: usize, to: usize) {
        let n = self.n as usize;
        self.keys.copy_within(to..n, from);
        self.values.copy_within(to..n, from);
        let left = n - (to - from);
        self.keys[left..n].fill(u64::MAX);
        self.n = left as u32;
    }

    /// Moves the extents from `slot` on to the end of `other`.
    fn move_to(&mut self, slot: usize, other: &mut Leaf) {
        let (n, m) = (self.n as usize, other.n as usize);
        other.keys[m..m + n - slot].copy_from_slice(&self.keys[slot..n]);
        other.values[m..m + n - slot].copy_from_slice(&self.values[slot..n]);
        other.n += (n - slot) as u32;
        self.keys[slot..n].fill(u64::MAX);
        self.n = slot as u32;
    }
}

impl Inner {
    fn new() -> Self {
        Inner { keys: [u64::MAX; WIDTH], children: [NONE; WIDTH], n: 0 }
    }

    fn insert(&mut self, slot: usize, key: u64, child: u32) {
        let n = self.n as usize;
        self.keys.copy_within(slot..n, slot + 1);
        self.children.copy_within(slot..n, slot + 1);
        (self.keys[slot], self.children[slot]) = (key, child);
        self.n += 1;
    }

    fn remove(&mut self, slot: usize) {
        let n = self.n as usize;
        self.keys.copy_within(slot + 1..n, slot);
        self.children.copy_within(slot + 1..n, slot);
        self.n -= 1;
        self.keys[n - 1] = u64::MAX;
        if self.n > 0 {
            self.keys[0] = 0;
        }
    }
}

/// The way from the root to a leaf: the nodes, and which child was taken.
struct Path {
    steps: [(u32, u32); DEPTH],
}

/// The index of one file.
pub struct Extents {
    #[expect(clippy::vec_box, reason = "nodes are large: they must not move when the list grows")]
    leaves: Vec<Box<Leaf>>,
    #[expect(clippy::vec_box, reason = "as above")]
    inners: Vec<Box<Inner>>,
    free_leaves: Vec<u32>,
    free_inners: Vec<u32>,
    /// A leaf if `height` is 0.
    root: u32,
    height: usize,
    len: usize,
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
        self.leaves.len() * size_of::<Leaf>()
            + self.inners.len() * size_of::<Inner>()
            + self.leaves.capacity() * size_of::<Box<Leaf>>()
            + self.inners.capacity() * size_of::<Box<Inner>>()
            + (self.free_leaves.capacity() + self.free_inners.capacity()) * size_of::<u32>()
    }

    #[inline]
    fn leaf(&self, id: u32) -> &Leaf {
        &self.leaves[id as usize]
    }

    #[inline]
    fn leaf_mut(&mut self, id: u32) -> &mut Leaf {
        &mut self.leaves[id as usize]
    }

    /// The leaf that answers for `x`.
    #[inline]
    fn find(&self, x: u64) -> u32 {
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = &self.inners[node as usize];
            node = inner.children[rank(&inner.keys, x) - 1];
        }
        node
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
        let slot = self.leaf(leaf).keys.partition_point(|k| *k < offset);
        self.before(leaf, slot).map(|(l, s)| self.leaf(l).extent(s))
    }

    /// Adds the newest extent. What it covers is cut away; `covered` is told of each part that was, by its object
    /// and length in bytes.
    pub fn insert(&mut self, new: Extent, mut covered: impl FnMut(u64, u32)) {
        if new.len == 0 {
            return;
        }
        if self.root == NONE {
            self.add(new);
            return;
        }
        let end = new.end();
        let leaf = self.find(new.offset);
        let slot = rank(&self.leaf(leaf).keys, new.offset);
        let clear_before = self.before(leaf, slot).is_none_or(|(l, s)| self.leaf(l).end(s) <= new.offset);
        if !clear_before && slot > 0 {
            let node = self.leaf_mut(leaf);
            // A block that is written again, as it was.
            if node.keys[slot - 1] == new.offset && node.values[slot - 1].len == new.len {
                covered(node.values[slot - 1].object, new.len);
                node.set(slot - 1, new);
                return;
            }
        }
        let clear_after = self.settle(leaf, slot).is_none_or(|(l, s)| self.leaf(l).keys[s] >= end);
        if clear_before && clear_after && (self.leaf(leaf).n as usize) < WIDTH {
            self.leaf_mut(leaf).insert(slot, new);
            self.len += 1;
            return;
        }
        if !(clear_before && clear_after) {
            self.remove(new.offset, end, covered);
        }
        self.add(new);
    }

    /// Cuts `start..end` out; `covered` is told of each part that was there, by its object and length in bytes.
    pub fn remove(&mut self, start: u64, end: u64, mut covered: impl FnMut(u64, u32)) {
        if self.len == 0 || start >= end {
            return;
        }
        // An extent that begins before may reach in, or past the end.
        let leaf = self.find(start);
        let slot = self.leaf(leaf).keys.partition_point(|k| *k < start);
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
            let first = node.keys.partition_point(|k| *k < start);
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
            let mut fresh = std::mem::replace(&mut self.leaves[right as usize], Box::new(Leaf::new()));
            self.leaf_mut(leaf).move_to(keep, &mut fresh);
            (fresh.prev, fresh.next) = (leaf, next);
            self.leaf_mut(leaf).next = right;
            if next != NONE {
                self.leaf_mut(next).prev = right;
            }
            let low = if keep == WIDTH { new.offset } else { fresh.keys[0] };
            self.leaves[right as usize] = fresh;
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
            node.keys[i] = u64::MAX;
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
        let mut right = std::mem::replace(&mut self.leaves[b as usize], Box::new(Leaf::new()));
        right.move_to(0, self.leaf_mut(a));
        self.leaves[b as usize] = right;
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
        let mut slot = slot;
        for level in (0..self.height).rev() {
            let (id, _) = path.steps[level];
            let node = &mut self.inners[id as usize];
            node.remove(slot);
            if node.n > 0 {
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
        match self.free_leaves.pop() {
            Some(id) => {
                *self.leaves[id as usize] = Leaf::new();
                id
            }
            None => {
                self.leaves.push(Box::new(Leaf::new()));
                (self.leaves.len() - 1) as u32
            }
        }
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
#[path = "extents_tests.rs"]
mod tests;
