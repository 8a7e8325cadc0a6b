//! The catalogue: which objects there are and where they lie, as the sum of its events; and what is decided by it.

use super::event::{Event, Use};
use super::object::{Gone, Object, Slice, Slices};
use super::space::Space;
use super::{Choice, Containers, PIECE, Purpose, hash};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// Slices that one multiple of [`PIECE`] of an object may have; a change that would make more writes it anew.
pub const MAX_SLICES: usize = 8;

/// An object with its key.
#[derive(Debug)]
pub struct Entry {
    /// The key.
    pub key: Arc<[u8]>,
    /// The object.
    pub object: Object,
    /// Of the key: comparing it first, and growing the table by it, touches no key.
    hash: u64,
}

impl Entry {
    #[inline]
    fn is(&self, hash: u64, key: &[u8]) -> bool {
        self.hash == hash && *self.key == *key
    }
}

/// Room for bytes that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The container.
    pub container: u32,
    /// Where in it, in bytes.
    pub at: u64,
    /// How many bytes.
    pub len: u64,
}

/// Objects, containers and mapper.
#[derive(Debug)]
pub struct Catalogue {
    mapper: Box<dyn Containers>,
    space: Space,
    objects: HashTable<Entry>,
    /// The keys in order, from the first listing on.
    order: Option<BTreeSet<Arc<[u8]>>>,
    /// Events applied.
    count: u64,
    /// Events that can no longer be undone; `u64::MAX` where it does not matter.
    settled: u64,
    /// The greatest tag.
    tag: u64,
    /// Bytes of objects with the zeros between their slices.
    bytes: u64,
}

impl Catalogue {
    /// Nothing, placed by `mapper`.
    pub fn new(mapper: Box<dyn Containers>) -> Catalogue {
        Catalogue {
            mapper,
            space: Space::default(),
            objects: HashTable::new(),
            order: None,
            count: 0,
            settled: u64::MAX,
            tag: 0,
            bytes: 0,
        }
    }

    /// The containers.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The mapper.
    pub fn mapper(&self) -> &dyn Containers {
        &*self.mapper
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Events applied so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The greatest tag so far.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Goes on behind a snapshot: what its events do not tell.
    pub fn resume(&mut self, count: u64, tag: u64, next: u32) {
        self.count = self.count.max(count);
        self.tag = self.tag.max(tag);
        self.space.skip_to(next);
        self.space.find_free(self.objects.iter().flat_map(|e| e.object.slices()));
    }

    /// From now on what an event makes free is used again only once the event is among the first `settled` ones:
    /// until then a loss of power may bring the old bytes back.
    pub fn settle(&mut self, settled: u64) {
        self.settled = settled;
        self.space.settle(settled);
    }

    /// An object.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<&Object> {
        let hash = hash(key);
        self.objects.find(hash, |e| e.is(hash, key)).map(|e| &e.object)
    }

    /// All objects, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.objects.iter()
    }

    /// Sorts the keys, once; afterwards they are kept sorted.
    pub fn sort(&mut self) {
        if self.order.is_none() {
            self.order = Some(self.objects.iter().map(|e| e.key.clone()).collect());
        }
    }

    /// Whether [`sort`](Self::sort) was called.
    pub fn is_sorted(&self) -> bool {
        self.order.is_some()
    }

    /// Keys from `from` on, in the order of their bytes. Empty unless sorted.
    pub fn keys(&self, from: Bound<&[u8]>) -> impl Iterator<Item = &Arc<[u8]>> {
        self.order.iter().flat_map(move |o| o.range::<[u8], _>((from, Bound::Unbounded)))
    }

    /// Finds room for `len` bytes of the object with this key, and takes it. `events` gets what has to be recorded
    /// before them; it is applied already.
    pub fn place(
        &mut self,
        key: &[u8],
        len: u64,
        purpose: Purpose,
        events: &mut Vec<Event<'static>>,
    ) -> Room {
        let hash = hash(key);
        loop {
            match self.mapper.choose(&self.space, hash, len, purpose) {
                Choice::At { container, at } => {
                    self.space.reserve(container, at, len);
                    return Room { container, at, len };
                }
                Choice::Open(purpose) => {
                    self.happens(Event::Open { container: self.space.next(), purpose }, events)
                }
                Choice::Split { at } => self.happens(Event::Split { at }, events),
                Choice::Merge { at } => self.happens(Event::Merge { at }, events),
            }
        }
    }

    fn happens(&mut self, event: Event<'static>, events: &mut Vec<Event<'static>>) {
        self.apply(&event);
        events.push(event);
    }

    /// Applies an event.
    pub fn apply(&mut self, event: &Event<'_>) {
        self.count += 1;
        match *event {
            Event::Open { container, purpose } => {
                self.space.open(container, purpose, self.count);
                self.mapper.opened(container, purpose);
            }
            Event::Split { .. } | Event::Merge { .. } => self.mapper.ranged(event),
            Event::Put { key, tag, modified, meta, len, slices } => {
                let object = Object {
                    len,
                    tag,
                    modified,
                    born: self.count,
                    meta: meta.into(),
                    slices: Slices::of(slices),
                };
                self.tag = self.tag.max(tag);
                self.bytes += len;
                self.put(key, object);
                self.occupy(hash(key), slices);
            }
            Event::Patch { key, tag, modified, len, slices } => {
                self.tag = self.tag.max(tag);
                self.patch(key, tag, modified, len, slices);
            }
            Event::Delete { key } => self.delete(key),
            Event::Drain { container } => {
                self.space.drain(container);
                self.mapper.closed(container);
            }
            Event::Close { container } => {
                self.space.close(container);
                self.mapper.closed(container);
            }
        }
    }

    fn occupy(&mut self, hash: u64, slices: &[Slice]) {
        for slice in slices {
            self.space.occupy(slice, self.count);
            self.mapper.weighed(hash, i64::from(slice.len));
        }
    }

    fn put(&mut self, key: &[u8], object: Object) {
        let hash = hash(key);
        match self.objects.entry(hash, |e| e.is(hash, key), |e| e.hash) {
            TableEntry::Occupied(mut entry) => {
                let old = std::mem::replace(&mut entry.get_mut().object, object);
                self.forget(hash, old);
            }
            TableEntry::Vacant(entry) => {
                let key: Arc<[u8]> = key.into();
                if let Some(order) = &mut self.order {
                    order.insert(key.clone());
                }
                entry.insert(Entry { key, object, hash });
            }
        }
    }

    fn forget(&mut self, hash: u64, old: Object) {
        let Catalogue { space, mapper, .. } = self;
        let waits = (old.born <= self.settled && self.count > self.settled).then_some(self.count);
        self.bytes -= old.len;
        old.slices.drop_all(|gone| leave(space, &mut **mapper, hash, waits, gone));
    }

    fn patch(&mut self, key: &[u8], tag: u64, modified: u64, len: u64, new: &[Slice]) {
        let hash = hash(key);
        let (settled, count) = (self.settled, self.count);
        let Some(entry) = self.objects.find_mut(hash, |e| e.is(hash, key)) else {
            let slices = Slices::of(new);
            let object = Object { len, tag, modified, born: count, meta: Box::default(), slices };
            self.bytes += len;
            self.put(key, object);
            return self.occupy(hash, new);
        };
        let Catalogue { space, mapper, .. } = self;
        let object = &mut entry.object;
        let waits = (object.born <= settled && count > settled).then_some(count);
        self.bytes = self.bytes - object.len + len;
        object.slices.lay(len, new, |gone| leave(space, &mut **mapper, hash, waits, gone));
        (object.len, object.tag, object.modified) = (len, tag, modified);
        self.occupy(hash, new);
    }

    fn delete(&mut self, key: &[u8]) {
        let hash = hash(key);
        if let Ok(entry) = self.objects.find_entry(hash, |e| e.is(hash, key)) {
            let (old, _) = entry.remove();
            if let Some(order) = &mut self.order {
                order.remove(&old.key);
            }
            self.forget(hash, old.object);
        }
    }

    /// The most bytes that containers may take when no call is under way: half more than the objects, and a
    /// container.
    pub fn bound(&self) -> u64 {
        let live = self.space.live();
        let one = match self.mapper.capacity() {
            // All objects lie in the one that there is.
            u64::MAX => live.max(1 << 20),
            capacity => capacity,
        };
        live + live / 2 + one
    }

    /// What should be emptied next, if anything; long before the bound is reached. One that is being emptied comes
    /// first, then that of which the smallest part counts.
    pub fn victim(&self) -> Option<u32> {
        if let Some(container) = self.space.draining() {
            return Some(container);
        }
        let (live, total) = (self.space.live(), self.space.total());
        if total <= live + live / 4 + (1 << 20) {
            return None;
        }
        let share = |live: u64, end: u64| (u128::from(live) << 32) / u128::from(end.max(1));
        self.space
            .iter()
            .filter(|(_, c)| c.end > c.live && !(c.live == 0 && matches!(c.purpose, Use::Private { .. })))
            .min_by_key(|(n, c)| (share(c.live, c.end), *n))
            .map(|(n, _)| n)
    }

    /// A container that holds nothing and will not be used again.
    pub fn dead(&mut self) -> Option<u32> {
        let reuses = self.mapper.reuses();
        self.space.emptied(|c| c.draining || !reuses && c.end > 0 || matches!(c.purpose, Use::Private { .. }))
    }

    /// Containers that somebody has made for a long object, and not told of since: whose, and which.
    pub fn unborn(&self) -> impl Iterator<Item = (u64, u32)> {
        self.space.iter().filter(|(_, c)| c.end == 0 && c.live == 0).filter_map(|(n, c)| match c.purpose {
            Use::Private { owner } => Some((owner, n)),
            _ => None,
        })
    }

    /// Whether the bound is passed, so that space must be given back before anything else is done.
    pub fn is_over(&self) -> bool {
        self.space.total() > self.bound()
    }

    /// The keys of objects of which bytes lie in a container. Looks at every object.
    pub fn residents(&self, container: u32) -> Vec<Arc<[u8]>> {
        let lies = |e: &&Entry| e.object.slices().iter().any(|s| s.container == container);
        self.objects.iter().filter(lies).map(|e| e.key.clone()).collect()
    }

    /// The runs of an object's bytes that have to be written elsewhere so that `container` holds none of it: offset
    /// and length, each within a multiple of [`PIECE`], with whatever else lies next to it there.
    pub fn moves(&self, key: &[u8], container: u32) -> Vec<(u64, u64)> {
        let Some(object) = self.get(key) else { return Vec::new() };
        let slices = object.slices();
        let mut runs = Vec::new();
        let mut i = 0;
        while i < slices.len() {
            let window = slices[i].offset / PIECE;
            let (start, mut end, mut hit) = (slices[i].offset, slices[i].offset, false);
            while let Some(s) = slices.get(i).filter(|s| s.offset == end && s.offset / PIECE == window) {
                hit |= s.container == container;
                end += u64::from(s.len);
                i += 1;
            }
            if hit {
                runs.push((start, end - start));
            }
        }
        runs
    }

    /// Events that make an empty catalogue with such a mapper what this one is; [`resume`](Self::resume) does the rest.
    pub fn snapshot(&self, mut tell: impl FnMut(&Event<'_>)) {
        for at in self.mapper.ranges() {
            tell(&Event::Split { at });
        }
        let mut containers: Vec<_> = self.space.iter().collect();
        containers.sort_unstable_by_key(|(n, _)| *n);
        for (container, c) in containers {
            tell(&Event::Open { container, purpose: c.purpose });
        }
        for Entry { key, object, .. } in self.iter() {
            tell(&Event::Put {
                key,
                tag: object.tag,
                modified: object.modified,
                meta: &object.meta,
                len: object.len,
                slices: object.slices(),
            });
        }
        for (container, _) in self.space.iter().filter(|(_, c)| c.draining) {
            tell(&Event::Drain { container });
        }
    }
}

fn leave(space: &mut Space, mapper: &mut dyn Containers, hash: u64, waits: Option<u64>, gone: Gone) {
    match gone {
        Gone::Bytes(container, bytes) => {
            space.lighten(container, u64::from(bytes));
            mapper.weighed(hash, -i64::from(bytes));
        }
        Gone::Piece { container, at, len } => {
            space.release(container, at, u64::from(len), waits);
            mapper.released(hash, container);
        }
    }
}
