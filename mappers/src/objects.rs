//! The objects of a file that has an index: how long each is and how much of it is read. Owns the two sums that
//! compaction goes by, and the list of what is garbage.
//!
//! Eight bytes an object, in pages of consecutive numbers; numbers are given out in runs, so pages are full.

use crate::{Objects, RecordError};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Objects in a page.
const PAGE: u64 = 1024;
/// Set in `Entry::len` while the object is on the list of garbage. Lengths need 31 bits.
const LISTED: u32 = 1 << 31;

/// What is known of one object. `len` 0: there is none.
#[derive(Clone, Copy, Default)]
struct Entry {
    len: u32,
    live: u32,
}

impl Entry {
    fn len(self) -> u32 {
        self.len & !LISTED
    }
}

struct Page {
    entries: [Entry; PAGE as usize],
    used: u32,
}

/// Page numbers are small and well spread by one multiplication; nobody outside chooses them.
#[derive(Default)]
struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_u64(u64::from(*b));
        }
    }

    fn write_u64(&mut self, n: u64) {
        // The table takes its index from the low bits and its tag from the high ones.
        self.0 = (self.0 ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

/// Pages by their number. Numbers are given out from 0 on, so most pages are found by one step.
#[derive(Default)]
struct Pages {
    near: Vec<Option<Box<Page>>>,
    far: HashMap<u64, Box<Page>, BuildHasherDefault<PageHasher>>,
    /// How many there are.
    count: usize,
}

/// Pages with lower numbers are near ones: 2^26 objects, and half a MiB of pointers at most.
const NEAR: u64 = 1 << 16;

impl Pages {
    #[inline]
    fn get(&self, number: u64) -> Option<&Page> {
        if number < NEAR {
            self.near.get(number as usize)?.as_deref()
        } else {
            self.far.get(&number).map(Box::as_ref)
        }
    }

    #[inline]
    fn get_mut(&mut self, number: u64) -> Option<&mut Page> {
        if number < NEAR {
            self.near.get_mut(number as usize)?.as_deref_mut()
        } else {
            self.far.get_mut(&number).map(Box::as_mut)
        }
    }

    #[inline]
    fn get_or_make(&mut self, number: u64) -> &mut Page {
        let (count, near) = (&mut self.count, &mut self.near);
        let mut new = || {
            *count += 1;
            Box::new(Page { entries: [Entry::default(); PAGE as usize], used: 0 })
        };
        if number >= NEAR {
            return self.far.entry(number).or_insert_with(new);
        }
        if near.len() as u64 <= number {
            near.resize_with(number as usize + 1, || None);
        }
        near[number as usize].get_or_insert_with(&mut new)
    }

    fn remove(&mut self, number: u64) {
        let page = if number < NEAR {
            self.near.get_mut(number as usize).and_then(Option::take)
        } else {
            self.far.remove(&number)
        };
        self.count -= usize::from(page.is_some());
    }

    /// All of them, by number, in no order.
    fn iter(&self) -> impl Iterator<Item = (u64, &Page)> {
        let near = self.near.iter().enumerate().filter_map(|(n, p)| Some((n as u64, p.as_deref()?)));
        near.chain(self.far.iter().map(|(n, p)| (*n, p.as_ref())))
    }

    fn memory(&self) -> usize {
        self.count * size_of::<Page>()
            + self.near.capacity() * size_of::<Option<Box<Page>>>()
            + self.far.capacity() * size_of::<(u64, Box<Page>)>()
    }
}

/// The objects of one file.
#[derive(Default)]
pub(crate) struct Table {
    pages: Pages,
    /// Numbers of objects of which nothing is read, in the order in which they came to that; also of some that
    /// have been collected since, or are read again.
    dead: Vec<u64>,
    stale: usize,
    stored: u64,
    live: u64,
}

impl Table {
    fn entry(&self, object: u64) -> Entry {
        self.pages.get(object / PAGE).map_or(Entry::default(), |p| p.entries[(object % PAGE) as usize])
    }

    fn entry_mut(&mut self, object: u64) -> &mut Entry {
        let page = self.pages.get_or_make(object / PAGE);
        &mut page.entries[(object % PAGE) as usize]
    }

    /// The entry of an object that is about to get bytes, which may be new. Apart from [`Table::entry_mut`]
    /// because the count of a page is far from most of its entries.
    fn entry_to_fill(&mut self, object: u64) -> &mut Entry {
        if self.entry_mut(object).len == 0
            && let Some(page) = self.pages.get_mut(object / PAGE)
        {
            page.used += 1;
        }
        self.entry_mut(object)
    }

    /// Length of an object in bytes; 0 if there is none.
    pub fn len_of(&self, object: u64) -> u32 {
        self.entry(object).len()
    }

    /// How many of an object's bytes are read.
    pub fn live_of(&self, object: u64) -> u32 {
        self.entry(object).live
    }

    /// Bytes that are read, and bytes of the objects that hold them.
    pub fn sums(&self) -> (u64, u64) {
        (self.live, self.stored)
    }

    /// Adds `len` bytes to an object, all of them read, and makes it if need be.
    pub fn grow(&mut self, object: u64, len: u32) {
        let entry = self.entry_to_fill(object);
        let revived = if entry.live == 0 { entry.len() } else { 0 };
        entry.len += len;
        entry.live += len;
        self.stored += u64::from(len) + u64::from(revived);
        self.live += u64::from(len);
    }

    /// Makes an object of which nothing is read yet.
    pub fn declare(&mut self, object: u64, len: u32) {
        self.entry_to_fill(object).len = len | LISTED;
        self.dead.push(object);
    }

    /// `len` more bytes of an object are read.
    pub fn revive(&mut self, object: u64, len: u32) {
        let entry = self.entry_mut(object);
        let whole = if entry.live == 0 { entry.len() } else { 0 };
        entry.live += len;
        self.stored += u64::from(whole);
        self.live += u64::from(len);
    }

    /// `len` bytes of an object are read no more. An object of which nothing is read becomes garbage.
    pub fn release(&mut self, object: u64, len: u32) {
        self.live -= u64::from(len);
        let entry = self.entry_mut(object);
        entry.live -= len;
        if entry.live == 0 {
            let (whole, listed) = (entry.len(), entry.len & LISTED != 0);
            entry.len |= LISTED;
            self.stored -= u64::from(whole);
            if !listed {
                self.dead.push(object);
            }
        }
    }

    /// Adds at most `limit` runs of garbage.
    pub fn garbage(&self, level: u32, limit: usize, out: &mut Vec<Objects>) {
        let from = out.len();
        for &n in &self.dead {
            let entry = self.entry(n);
            if entry.len == 0 || entry.live > 0 {
                continue;
            }
            let found = out.len() - from;
            match out.last_mut() {
                Some(last) if found > 0 && last.first + last.count == n => last.count += 1,
                _ if found == limit => return,
                _ => out.push(Objects { level, first: n, count: 1 }),
            }
        }
    }

    /// Forgets garbage that was deleted. Numbers of which nothing is known may be among it.
    pub fn collected(&mut self, first: u64, count: u64) -> Result<(), RecordError> {
        let end = first + count;
        let range = first / PAGE..=(end - 1) / PAGE;
        let pages: Vec<u64> = if count / PAGE > self.pages.count as u64 {
            self.pages.iter().map(|(n, _)| n).filter(|n| range.contains(n)).collect()
        } else {
            range.filter(|n| self.pages.get(*n).is_some()).collect()
        };
        let inside = |page: u64| {
            let base = page * PAGE;
            (first.max(base) - base) as usize..(end.min(base + PAGE) - base) as usize
        };
        let live =
            |n: &u64| self.pages.get(*n).is_some_and(|p| p.entries[inside(*n)].iter().any(|e| e.live > 0));
        if pages.iter().any(live) {
            return Err(RecordError::Contradiction("an object was collected that is still read"));
        }
        for number in pages {
            let Some(page) = self.pages.get_mut(number) else { continue };
            for entry in &mut page.entries[inside(number)] {
                if entry.len > 0 {
                    self.stale += usize::from(entry.len & LISTED != 0);
                    page.used -= 1;
                    *entry = Entry::default();
                }
            }
            if page.used == 0 {
                self.pages.remove(number);
            }
        }
        if self.stale * 2 > self.dead.len() {
            self.sweep();
        }
        Ok(())
    }

    /// Takes what is no longer garbage off the list.
    fn sweep(&mut self) {
        let mut dead = std::mem::take(&mut self.dead);
        dead.retain(|n| {
            let entry = self.entry(*n);
            if entry.len > 0 && entry.live > 0 {
                self.entry_mut(*n).len &= !LISTED;
            }
            entry.len > 0 && entry.live == 0
        });
        dead.shrink_to_fit();
        self.dead = dead;
        self.stale = 0;
    }

    /// Calls `f` with the number, length and live bytes of each object, in no order.
    pub fn each(&self, mut f: impl FnMut(u64, u32, u32)) {
        for (number, page) in self.pages.iter() {
            for (i, e) in page.entries.iter().enumerate().filter(|(_, e)| e.len > 0) {
                f(number * PAGE + i as u64, e.len(), e.live);
            }
        }
    }

    /// Memory in bytes.
    pub fn memory(&self) -> usize {
        self.pages.memory() + self.dead.capacity() * size_of::<u64>()
    }
}
