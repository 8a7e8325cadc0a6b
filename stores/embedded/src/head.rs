//! The head: a mapped file that tells what the store is, and holds for each shard a lock, a commit word and how much
//! of it a loss of power can no longer take. Owns these words; everything else is read by it.

use crate::atomic::{AtomicU64, Ordering};
use crate::options::Durability;
use crate::sys;
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::path::Path;

/// First bytes of a head, with the version of the format.
const MAGIC: [u8; 8] = *b"IRISKV01";
/// Bytes before the shards' words.
const FIXED: usize = 4096;
/// Bytes of a shard's words.
const WORDS: usize = 128;
/// Where the boot id lies.
const BOOT: usize = 64;
/// Where the check of the fixed part lies.
const CHECK: usize = 24;
/// The most shards that this version makes or reads.
pub const MOST_SHARDS: u32 = 256;

/// What a head says of its store, fixed when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Number of the mapper.
    pub mapper: u32,
    /// How many shards there are.
    pub shards: u32,
    /// See [`Durability`].
    pub durability: Durability,
}

/// How far a shard's index is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Which log.
    pub generation: u16,
    /// Its valid bytes; a multiple of 8.
    pub end: u64,
}

impl Commit {
    /// 12 bits of generation, 36 of length in units of 8 bytes, 16 of check.
    fn pack(self, shard: u32) -> u64 {
        let body = u64::from(self.generation & 0xfff) << 36 | ((self.end / 8) & ((1 << 36) - 1));
        body << 16 | u64::from(check(body, shard))
    }

    fn unpack(word: u64, shard: u32) -> Option<Commit> {
        let body = word >> 16;
        let commit = Commit { generation: (body >> 36) as u16, end: (body & ((1 << 36) - 1)) * 8 };
        (word as u16 == check(body, shard)).then_some(commit)
    }

    /// The log after this one.
    pub fn next_generation(self) -> u16 {
        (self.generation + 1) & 0xfff
    }
}

fn check(body: u64, shard: u32) -> u16 {
    let sum = crc32fast::hash(&[&body.to_le_bytes()[..], &shard.to_le_bytes()].concat());
    (sum ^ (sum >> 16)) as u16
}

/// Why a head is not usable.
#[derive(Debug)]
pub enum Bad {
    /// The system says so.
    System(Errno),
    /// It is not a head, or a damaged one.
    Damaged(&'static str),
}

impl From<Errno> for Bad {
    fn from(e: Errno) -> Bad {
        Bad::System(e)
    }
}

/// A mapped head.
pub struct Head {
    address: *mut u8,
    len: usize,
    facts: Facts,
}

// SAFETY: the mapping is only read and written through atomics, but for the fixed part, which nobody writes after it is
// made, and the boot id, which is written under the folder's lock only.
unsafe impl Send for Head {}
// SAFETY: as above.
unsafe impl Sync for Head {}

impl Drop for Head {
    fn drop(&mut self) {
        // SAFETY: no reference into the mapping outlives the head.
        unsafe { sys::unmap(self.address, self.len) };
    }
}

impl Head {
    /// Makes a head file, under a name that it will not keep: whoever sees `head` sees it whole.
    pub fn make(path: &Path, facts: Facts, boot: [u8; 16], first: Commit) -> sys::Result<()> {
        let mut bytes = vec![0; FIXED + facts.shards as usize * WORDS];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&facts.mapper.to_le_bytes());
        bytes[12..16].copy_from_slice(&facts.shards.to_le_bytes());
        bytes[16] = facts.durability as u8;
        let sum = crc32fast::hash(&bytes[..CHECK]);
        bytes[CHECK..CHECK + 4].copy_from_slice(&sum.to_le_bytes());
        bytes[BOOT..BOOT + 16].copy_from_slice(&boot);
        for shard in 0..facts.shards {
            let at = FIXED + shard as usize * WORDS + 64;
            bytes[at..at + 8].copy_from_slice(&first.pack(shard).to_le_bytes());
        }
        let new = path.with_extension("new");
        let fd = sys::create(&new)?;
        sys::write_at(fd.as_fd(), &bytes, 0)?;
        sys::sync_data(fd.as_fd())?;
        sys::rename(&new, path)
    }

    /// Maps the head file.
    pub fn open(path: &Path) -> Result<Head, Bad> {
        let fd = rustix::fs::open(path, rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC, 0.into())?;
        let mut fixed = [0; 32];
        let read = sys::read_at(fd.as_fd(), &mut fixed, 0)?;
        if read < fixed.len() || fixed[..8] != MAGIC {
            return Err(Bad::Damaged(
                "does not begin as the head of an embedded store of this version (IRISKV01)",
            ));
        }
        let number = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let durability = match fixed[16] {
            0 => Some(Durability::None),
            1 => Some(Durability::Sync),
            2 => Some(Durability::Always),
            _ => None,
        };
        let shards = number(12);
        let (true, true, Some(durability)) = (
            number(CHECK) == crc32fast::hash(&fixed[..CHECK]),
            (1..=MOST_SHARDS).contains(&shards),
            durability,
        ) else {
            return Err(Bad::Damaged("its checksum is wrong"));
        };
        let len = FIXED + shards as usize * WORDS;
        if sys::len(fd.as_fd())? < len as u64 {
            return Err(Bad::Damaged("it was cut"));
        }
        let address = sys::map(fd.as_fd(), len)?;
        Ok(Head { address, len, facts: Facts { mapper: number(8), shards, durability } })
    }

    /// What it says of its store.
    pub fn facts(&self) -> Facts {
        self.facts
    }

    fn word(&self, shard: u32, offset: usize) -> &AtomicU64 {
        assert!(shard < self.facts.shards);
        // SAFETY: within the mapping by the assertion and the length checked at open; aligned, as the mapping begins
        // at a page; every process uses it as an atomic.
        unsafe { &*self.address.add(FIXED + shard as usize * WORDS + offset).cast::<AtomicU64>() }
    }

    /// A shard's lock word.
    pub fn lock(&self, shard: u32) -> &AtomicU64 {
        self.word(shard, 0)
    }

    /// A shard's commit; `None` if the word is damaged.
    #[inline]
    pub fn commit(&self, shard: u32) -> Option<Commit> {
        Commit::unpack(self.commit_word(shard), shard)
    }

    /// The same as it is stored: equal words are equal commits.
    #[inline]
    pub fn commit_word(&self, shard: u32) -> u64 {
        self.word(shard, 64).load(Ordering::Acquire)
    }

    /// Publishes a commit. The shard's lock is held.
    pub fn publish(&self, shard: u32, commit: Commit) {
        self.word(shard, 64).store(commit.pack(shard), Ordering::Release);
    }

    /// Events of a shard that a loss of power can no longer take.
    pub fn settled(&self, shard: u32) -> u64 {
        self.word(shard, 72).load(Ordering::Acquire)
    }

    /// Raises [`settled`](Self::settled).
    pub fn settle(&self, shard: u32, count: u64) {
        self.word(shard, 72).fetch_max(count, Ordering::AcqRel);
    }

    /// Sets it to what a recovery has found, after which counting begins anew.
    pub fn settle_exactly(&self, shard: u32, count: u64) {
        self.word(shard, 72).store(count, Ordering::Release);
    }

    /// The boot in which the store was last used.
    pub fn boot(&self) -> [u8; 16] {
        let mut boot = [0; 16];
        // SAFETY: within the mapping; written under the folder's lock only, which callers hold.
        unsafe { std::ptr::copy_nonoverlapping(self.address.add(BOOT), boot.as_mut_ptr(), 16) };
        boot
    }

    /// Sets it. The folder's lock is held.
    pub fn set_boot(&self, boot: [u8; 16]) {
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(boot.as_ptr(), self.address.add(BOOT), 16) };
    }
}

/// This boot of the machine.
pub fn this_boot() -> [u8; 16] {
    let text = sys::read_small("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut boot = [0; 16];
    let digits = text.iter().filter_map(|b| (*b as char).to_digit(16));
    for (i, digit) in digits.take(32).enumerate() {
        boot[i / 2] = boot[i / 2] << 4 | digit as u8;
    }
    boot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_word_tells_flipped_bits() {
        let commit = Commit { generation: 0xabc, end: 123_456_789_000 };
        let word = commit.pack(7);
        assert_eq!(Commit::unpack(word, 7), Some(commit));
        assert_eq!(Commit::unpack(word, 8), None, "a word of another shard");
        for bit in 0..64 {
            assert_eq!(Commit::unpack(word ^ 1 << bit, 7), None, "bit {bit}");
        }
    }
}
