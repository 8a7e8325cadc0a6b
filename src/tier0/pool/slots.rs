//! The slots of a pool: which file has which, who wants it in passthrough, and under what name it is recovered. Owns
//! the keys, the slots' handing out and the names; what a slot says of its journal is the journal's.

use super::super::layout::*;
use super::super::lock::{self, Owner};
use super::super::process::Identity;
use super::Pool;
use crate::sys;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};

impl Pool {
    /// The slot of a file, if it has one.
    pub fn find(&self, dev: u64, ino: u64) -> Option<u32> {
        let keys = self.keys();
        let start = hash(dev, ino);
        (0..WINDOW).map(|i| (start + i) % SLOTS).find_map(|at| {
            let key = &keys[at];
            (key.dev.load(Ordering::Acquire) == dev.wrapping_add(1) && key.ino.load(Ordering::Acquire) == ino)
                .then_some(at as u32)
        })
    }

    /// The slot of a file, taking a free one if it has none. `born` tells it from a later file of the same
    /// number. `None` when no slot is to be had.
    pub fn find_or_insert(&self, me: Owner, dev: u64, ino: u64, born: u64) -> Option<u32> {
        if let Some(at) = self.find(dev, ino) {
            return Some(at);
        }
        let sb = self.superblock();
        self.lock(&sb.table_lock, me).ok()?;
        let found = self.find(dev, ino).or_else(|| {
            let at = self.free_slot(me, hash(dev, ino))?;
            let (key, slot) = (&self.keys()[at], &self.slots()[at]);
            slot.born.store(born, Ordering::Relaxed);
            slot.flags.store(0, Ordering::Relaxed);
            slot.error.store(0, Ordering::Relaxed);
            slot.holders.iter().for_each(|h| h.store(0, Ordering::Relaxed));
            slot.epoch.fetch_add(1, Ordering::Relaxed);
            key.ino.store(ino, Ordering::Relaxed);
            key.dev.store(dev.wrapping_add(1), Ordering::Release);
            sb.inserted.fetch_add(1, Ordering::AcqRel);
            Some(at as u32)
        });
        lock::unlock(&sb.table_lock, me);
        found
    }

    /// A free slot of the window, emptying an idle one if need be. The table lock is held.
    fn free_slot(&self, me: Owner, start: usize) -> Option<usize> {
        let keys = self.keys();
        let window = || (0..WINDOW).map(|i| (start + i) % SLOTS);
        if let Some(at) = window().find(|&at| keys[at].dev.load(Ordering::Acquire) == 0) {
            return Some(at);
        }
        window().find(|&at| {
            let slot = &self.slots()[at];
            if !is_empty(slot) || !lock::try_lock(&slot.lock, me) {
                return false;
            }
            let idle = is_empty(slot) && slot.error.load(Ordering::Relaxed) == 0 && !self.wants_pass(slot);
            if idle {
                // Whoever comes for the old file sees under the slot's lock that the key has changed.
                keys[at].dev.store(0, Ordering::Release);
            }
            lock::unlock(&slot.lock, me);
            idle
        })
    }

    /// Whether somebody alive wants this file in passthrough. Forgets holders that died.
    pub fn wants_pass(&self, slot: &Slot) -> bool {
        let flags = slot.flags.load(Ordering::Acquire);
        if flags & (PASS_FOREVER | DAMAGED) != 0 {
            return true;
        }
        if flags & PASS == 0 {
            return false;
        }
        let mut wanted = false;
        for holder in &slot.holders {
            let value = holder.load(Ordering::Acquire);
            if value == 0 {
                continue;
            }
            if holder_identity(value).alive() {
                wanted = true;
            } else {
                let _ = holder.compare_exchange(value, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
        wanted
    }

    /// Asks for passthrough in the name of process `pid` (which may be a child that does not run Iris). The
    /// slot's lock is held.
    pub fn want_pass(&self, slot: &Slot, pid: u32) {
        let value = u64::from(pid) << 32 | u64::from((sys::boot_ms() / 100 + 1) as u32);
        let same = |h: &&AtomicU64| (h.load(Ordering::Acquire) >> 32) as u32 == pid;
        let dead = |h: &&AtomicU64| {
            let v = h.load(Ordering::Acquire);
            v == 0 || !holder_identity(v).alive()
        };
        let place = slot.holders.iter().find(same).or_else(|| slot.holders.iter().find(dead));
        match place {
            Some(h) => h.store(value, Ordering::Release),
            None => {
                slot.flags.fetch_or(PASS_FOREVER, Ordering::AcqRel);
            }
        }
        slot.flags.fetch_or(PASS, Ordering::AcqRel);
    }

    /// Remembers under which name a slot's file was opened. The slot's lock is held.
    pub fn set_name(&self, slot: u32, name: &[u8]) {
        let at = self.geometry.names_at() + slot as usize * NAME;
        if !self.reserve_name(slot, at) {
            return;
        }
        // A name that does not fit is no name; that of an earlier file would be a wrong one.
        let name = if name.len() < NAME { name } else { b"" };
        // SAFETY: the slot's NAME bytes lie inside the mapping, are reserved (no SIGBUS) and are only touched
        // under the slot's lock.
        unsafe {
            let to = self.base.add(at);
            std::ptr::copy_nonoverlapping(name.as_ptr(), to, name.len());
            to.add(name.len()).write(0);
        }
    }

    /// The name given by [`Pool::set_name`]; empty if none. The slot's lock is held.
    pub fn name(&self, slot: u32) -> Vec<u8> {
        let at = self.geometry.names_at() + slot as usize * NAME;
        if !self.reserve_name(slot, at) {
            return Vec::new();
        }
        // SAFETY: as in `set_name`; the bytes are read up to the first zero within NAME.
        let bytes = unsafe { std::slice::from_raw_parts(self.base.add(at), NAME) };
        CStr::from_bytes_until_nul(bytes).map_or_else(|_| Vec::new(), |c| c.to_bytes().to_vec())
    }

    /// Reserves the space of a slot's name, once for each process.
    fn reserve_name(&self, slot: u32, at: usize) -> bool {
        let Some(file) = &self.memory_file else { return false };
        let known = &self.names_reserved[slot as usize];
        if known.load(Ordering::Relaxed) == 0 {
            if file.reserve(at, NAME).is_err() {
                return false;
            }
            known.store(1, Ordering::Relaxed);
        }
        true
    }
}

/// Whether a slot holds nothing of its file, in the blocks or in a store.
fn is_empty(slot: &Slot) -> bool {
    slot.commit.load(Ordering::Acquire) == 0 && slot.spill_tried.load(Ordering::Acquire) == 0
}

fn holder_identity(value: u64) -> Identity {
    Identity { pid: (value >> 32) as u32, since_ms: u64::from(value as u32) * 100 }
}

#[inline]
fn hash(dev: u64, ino: u64) -> usize {
    let x = (ino ^ dev.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 40) as usize % SLOTS
}
