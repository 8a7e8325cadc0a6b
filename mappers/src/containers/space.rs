//! Containers: how full they are, how much of that counts, and what can be used again.

use super::Choice;
use super::event::Use;
use super::object::Slice;
use hashbrown::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Free runs that a container remembers; smaller ones are forgotten first. Forgetting is safe: what is forgotten
/// stays garbage and comes back when the container is emptied.
const MOST_RUNS: usize = 256;

/// One container.
#[derive(Clone, Debug)]
pub struct Container {
    /// What it is for.
    pub purpose: Use,
    /// Its length: everything that was ever placed in it lies before this.
    pub end: u64,
    /// Bytes in it that objects consist of.
    pub live: u64,
    /// Whether it takes no more and is being emptied.
    pub draining: bool,
    /// Count of the event that opened it.
    pub opened: u64,
    /// Count of the last event that placed bytes in it.
    pub written: u64,
    /// Free runs by offset: (offset, length). None touches the next.
    free: Vec<(u64, u64)>,
    /// No free run is longer.
    longest: u64,
    /// What became free by an event that a loss of power may still undo: count of the event, offset, length.
    waiting: Vec<(u64, u64, u64)>,
}

impl Container {
    /// A free run that `len` bytes fit, as its place in `free`: one of just that length if there is one.
    fn fit(&self, len: u64) -> Option<usize> {
        if self.longest < len {
            return None;
        }
        let mut found = None;
        for (i, (_, room)) in self.free.iter().enumerate() {
            if *room == len {
                return Some(i);
            }
            if *room > len && found.is_none() {
                found = Some(i);
            }
        }
        found
    }

    fn release(&mut self, at: u64, len: u64) {
        if len == 0 {
            return;
        }
        let i = self.free.partition_point(|(a, _)| *a < at);
        let joins_last = i > 0 && self.free[i - 1].0 + self.free[i - 1].1 == at;
        let joins_next = self.free.get(i).is_some_and(|(a, _)| at + len == *a);
        match (joins_last, joins_next) {
            (true, true) => {
                self.free[i - 1].1 += len + self.free[i].1;
                self.free.remove(i);
            }
            (true, false) => self.free[i - 1].1 += len,
            (false, true) => self.free[i] = (at, len + self.free[i].1),
            (false, false) => self.free.insert(i, (at, len)),
        }
        self.longest = self.longest.max(self.free[if joins_last { i - 1 } else { i }].1);
        if self.free.len() > MOST_RUNS
            && let Some((least, _)) = self.free.iter().enumerate().min_by_key(|(_, run)| run.1)
        {
            self.free.remove(least);
        }
    }

    /// `at..at + len` waits no longer: somebody who knew it to be free already has used it. How many bytes did.
    fn unwait(&mut self, at: u64, len: u64) -> u64 {
        let (end, mut gone) = (at + len, 0);
        let mut kept = Vec::with_capacity(self.waiting.len());
        for &(event, from, room) in &self.waiting {
            let to = from + room;
            if to <= at || from >= end {
                kept.push((event, from, room));
                continue;
            }
            gone += room;
            for (a, b) in [(from, at), (end, to)] {
                if a < b {
                    kept.push((event, a, b - a));
                    gone -= b - a;
                }
            }
        }
        self.waiting = kept;
        gone
    }

    /// `at..at + len` is used from now on, whether it was free or lay behind the end.
    fn occupy(&mut self, at: u64, len: u64) {
        if at >= self.end {
            self.end = at + len;
            return;
        }
        self.end = self.end.max(at + len);
        if self.longest == 0 {
            return;
        }
        let mut i = self.free.partition_point(|(a, room)| a + room <= at);
        let mut longest_touched = 0;
        while let Some(&(a, room)) = self.free.get(i) {
            if a >= at + len {
                break;
            }
            longest_touched = longest_touched.max(room);
            let (left, right) = (at.saturating_sub(a), (a + room).saturating_sub(at + len));
            match (left > 0, right > 0) {
                (false, false) => {
                    self.free.remove(i);
                    continue;
                }
                (true, false) => self.free[i].1 = left,
                (false, true) => self.free[i] = (at + len, right),
                (true, true) => {
                    self.free[i].1 = left;
                    self.free.insert(i + 1, (at + len, right));
                }
            }
            i += 1;
        }
        if self.longest <= longest_touched {
            self.longest = self.free.iter().map(|run| run.1).max().unwrap_or(0);
        }
    }
}

/// Spreads numbers that follow one another (Fibonacci hashing: the upper bits of a product by 2^64 / φ).
#[derive(Clone, Copy, Debug, Default)]
struct Numbers(u64);

impl Hasher for Numbers {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u32(u32::from(*b)));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// All containers of a catalogue.
#[derive(Clone, Debug, Default)]
pub struct Space {
    containers: HashMap<u32, Container, BuildHasherDefault<Numbers>>,
    next: u32,
    total: u64,
    live: u64,
    /// Containers in which something waits to be free, and how many bytes that are.
    waiters: Vec<u32>,
    waiting: u64,
    /// Events that can no longer be undone.
    settled: u64,
    /// The container that is being emptied.
    draining: Option<u32>,
    /// Containers that came to hold nothing, since they were last asked for.
    emptied: Vec<u32>,
}

impl Space {
    /// Number of the next container.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Bytes that the containers take.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes that objects consist of.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// A container.
    pub fn get(&self, container: u32) -> Option<&Container> {
        self.containers.get(&container)
    }

    /// All containers, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Container)> {
        self.containers.iter().map(|(n, c)| (*n, c))
    }

    /// Where `len` bytes find room in what `container` has free, or behind its end if it stays within `capacity`.
    pub fn room_in(&self, container: u32, len: u64, reuse: bool, capacity: u64) -> Option<Choice> {
        let c = self.containers.get(&container).filter(|c| !c.draining)?;
        let at = match if reuse { c.fit(len) } else { None } {
            Some(i) => c.free[i].0,
            None if c.end.checked_add(len).is_some_and(|end| end <= capacity) => c.end,
            // Whatever is longer than any container has one to itself.
            None if c.end == 0 => 0,
            None => return None,
        };
        Some(Choice::At { container, at })
    }

    pub(super) fn open(&mut self, container: u32, purpose: Use, opened: u64) {
        self.next = self.next.max(container + 1);
        let fresh = Container {
            purpose,
            end: 0,
            live: 0,
            draining: false,
            opened,
            written: 0,
            free: Vec::new(),
            longest: 0,
            waiting: Vec::new(),
        };
        self.containers.insert(container, fresh);
    }

    pub(super) fn drain(&mut self, container: u32) {
        if let Some(c) = self.containers.get_mut(&container) {
            c.draining = true;
            self.waiting -= c.waiting.iter().map(|w| w.2).sum::<u64>();
            (c.free, c.longest, c.waiting) = (Vec::new(), 0, Vec::new());
            self.draining = Some(container);
            if c.live == 0 {
                self.emptied.push(container);
            }
        }
    }

    pub(super) fn close(&mut self, container: u32) {
        if let Some(c) = self.containers.remove(&container) {
            self.total -= c.end;
            self.live -= c.live;
            self.waiting -= c.waiting.iter().map(|w| w.2).sum::<u64>();
        }
        if self.draining == Some(container) {
            self.draining = self.containers.iter().find(|(_, c)| c.draining).map(|(n, _)| *n);
        }
    }

    /// The container that is being emptied.
    pub fn draining(&self) -> Option<u32> {
        self.draining
    }

    /// One that came to hold nothing, and still does, and of which this is true; each is told once.
    pub(super) fn emptied(&mut self, is_over: impl Fn(&Container) -> bool) -> Option<u32> {
        while let Some(container) = self.emptied.pop() {
            if self.containers.get(&container).is_some_and(|c| c.live == 0 && is_over(c)) {
                return Some(container);
            }
        }
        None
    }

    /// Numbers below `next` were used.
    pub(super) fn skip_to(&mut self, next: u32) {
        self.next = self.next.max(next);
    }

    /// Makes free whatever no slice lies in.
    pub(super) fn find_free<'a>(&mut self, slices: impl Iterator<Item = &'a Slice>) {
        let mut used: Vec<(u32, u64, u64)> =
            slices.map(|s| (s.container, s.at, s.at + u64::from(s.stored))).collect();
        used.sort_unstable();
        self.waiters.clear();
        self.waiting = 0;
        for c in self.containers.values_mut() {
            c.waiting.clear();
            c.free.clear();
            c.longest = 0;
        }
        let (mut container, mut end) = (None, 0);
        for (number, from, to) in used {
            if container != Some(number) {
                (container, end) = (Some(number), 0);
            }
            if from > end
                && let Some(c) = self.containers.get_mut(&number).filter(|c| !c.draining)
            {
                c.release(end, from - end);
            }
            end = end.max(to);
        }
        let empty = self.containers.iter().filter(|(_, c)| c.live == 0 && c.end > 0);
        self.emptied.extend(empty.map(|(n, _)| *n));
    }

    /// Takes room that was chosen, before anything is written there.
    pub(super) fn reserve(&mut self, container: u32, at: u64, len: u64) {
        if let Some(c) = self.containers.get_mut(&container) {
            let before = c.end;
            c.occupy(at, len);
            self.total += c.end - before;
            if !c.waiting.is_empty() {
                self.waiting -= c.unwait(at, len);
            }
        }
    }

    /// The bytes of a slice count from now on.
    pub(super) fn occupy(&mut self, slice: &Slice, count: u64) {
        self.reserve(slice.container, slice.at, u64::from(slice.stored));
        if let Some(c) = self.containers.get_mut(&slice.container) {
            c.live += u64::from(slice.len);
            c.written = count;
            self.live += u64::from(slice.len);
        }
    }

    /// Bytes no longer count; their place is not free yet.
    pub(super) fn lighten(&mut self, container: u32, bytes: u64) {
        if let Some(c) = self.containers.get_mut(&container) {
            c.live -= bytes;
            self.live -= bytes;
            if c.live == 0 {
                self.emptied.push(container);
            }
        }
    }

    /// A place is free: at once, or once event number `count` can no longer be undone.
    pub(super) fn release(&mut self, container: u32, at: u64, len: u64, waits: Option<u64>) {
        match waits {
            Some(count) => {
                if let Some(c) = self.containers.get_mut(&container).filter(|c| !c.draining) {
                    if c.waiting.is_empty() {
                        self.waiters.push(container);
                    }
                    c.waiting.push((count, at, len));
                    self.waiting += len;
                }
            }
            None => {
                if let Some(c) = self.containers.get_mut(&container).filter(|c| !c.draining) {
                    c.release(at, len);
                }
            }
        }
    }

    /// Bytes that are free once they can no longer be needed again.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    pub(super) fn settle(&mut self, count: u64) {
        if count == self.settled {
            return;
        }
        self.settled = count;
        let Space { containers, waiters, waiting, .. } = self;
        waiters.retain(|container| {
            let Some(c) = containers.get_mut(container) else { return false };
            let all = std::mem::take(&mut c.waiting);
            for (event, at, len) in all {
                if event <= count {
                    c.release(at, len);
                    *waiting -= len;
                } else {
                    c.waiting.push((event, at, len));
                }
            }
            !c.waiting.is_empty()
        });
    }
}
