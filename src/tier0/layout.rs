//! The pool file, byte for byte. Owns the structures that processes share and their invariants; has no behaviour
//! beyond reading and checking them. Any change here is a new [`VERSION`].

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// "IRISPOOL", little endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"IRISPOOL");
/// Version of this layout. Part of the pool's file name, so that versions never meet in one file.
pub const VERSION: u32 = 4;
/// Bytes of a block. 256 KiB is the size from which a write to ext4 runs at full speed (large folios), and four
/// of them stay inside a second-level cache.
pub const BLOCK: usize = 256 * 1024;
/// Bytes of a block's header.
pub const BLOCK_HEADER: usize = 64;
/// Bytes of a journal record.
pub const RECORD: usize = 24;
/// Entries of the table of processes.
pub const PROCESSES: usize = 4096;
/// Entries of the table of staged files. Beyond it, files are served in passthrough.
pub const SLOTS: usize = 4096;
/// Bytes of a recorded file name.
pub const NAME: usize = 4096;
/// Where a slot may lie, counted from its hash.
pub const WINDOW: usize = 64;

/// The first page of a pool.
#[repr(C, align(64))]
pub struct Superblock {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// Number of blocks.
    pub blocks: AtomicU32,
    /// Of these, the ones that lie in the pool file itself (memory); the others lie in the storage file.
    pub memory_blocks: AtomicU32,
    /// Owner (effective user id).
    pub uid: AtomicU32,
    /// Check over the fields above.
    pub check: AtomicU64,
    /// Lock over inserting and removing slots, and over the table of processes.
    pub table_lock: AtomicU64,
    /// Where the search for a free block starts: the last freed block is the warmest.
    pub hint: AtomicU32,
    pad: [u32; 3],
    /// Slots with staged bytes. May be too high after a crash, never too low.
    pub staged_files: AtomicU64,
    /// Counts retirements of any slot: a size asked of the kernel before one may be too small after it.
    pub retirements: AtomicU64,
    /// Counts renames by programs under Iris: a name known from before may be stale.
    pub renames: AtomicU64,
    /// Counts insertions of slots: a process that found no slot need not look again while this stands.
    pub inserted: AtomicU64,
    /// Part of the storage file's name: a pool made anew must not share the blocks of one that processes still map.
    pub storage_tag: AtomicU64,
    /// Tells this pool from any other, on any node.
    pub identity: AtomicU64,
}

/// A process that has staged bytes or holds locks.
#[derive(Default)]
#[repr(C, align(32))]
pub struct Process {
    /// Process id; 0 is a free entry.
    pub pid: AtomicU32,
    /// See `lock::Owner`: who holds a lock under another incarnation is dead.
    pub incarnation: AtomicU32,
    /// Milliseconds since boot when the entry was taken. A process that started later is not its owner.
    pub since_ms: AtomicU64,
    pad2: [u64; 2],
}

/// Which file a slot is about; kept apart from the slots so that a search touches few cache lines.
#[repr(C, align(16))]
pub struct Key {
    /// Device number + 1; 0 is a free entry. Stored last when inserting, first when removing.
    pub dev: AtomicU64,
    /// Inode number.
    pub ino: AtomicU64,
}

/// Control block of one staged file.
#[repr(C, align(256))]
pub struct Slot {
    /// Short lock over everything below and over appending to the slot's blocks. Never held across file I/O
    /// except by an O_APPEND write, whose place depends on it.
    pub lock: AtomicU64,
    /// Last committed journal position: block number + 1 in the upper half, records in that block in the lower.
    /// 0: nothing is staged. The single store here is what makes an append happen.
    pub commit: AtomicU64,
    /// First block of the chain + 1, or 0.
    pub first: AtomicU32,
    /// Block number + 1 that a flush has sealed: it takes no more records. 0: none.
    pub sealed: AtomicU32,
    /// Counts retirements: an index built at another count is void.
    pub epoch: AtomicU64,
    /// Largest end of any staged extent, in bytes from the file's start. Meaningful while `commit` is not 0.
    pub staged_end: AtomicU64,
    /// Payload bytes appended since the slot was last empty.
    pub staged_bytes: AtomicU64,
    /// Size of the base when staging began; `u64::MAX`: to be asked for. Meaningful while `commit` is not 0.
    pub base_size: AtomicU64,
    /// Milliseconds since boot of the oldest staged byte.
    pub since_ms: AtomicU64,
    /// [`PASS`] and further bits.
    pub flags: AtomicU32,
    /// Errno of a background flush that nobody has been told of yet; 0: none.
    pub error: AtomicU32,
    /// Time of birth of the file (see `sys::birth`), 0 where unknown.
    pub born: AtomicU64,
    /// Long lock over flushing: held across file I/O.
    pub flush_lock: AtomicU64,
    /// Process entry + 1 of the last process that staged here.
    pub writer: AtomicU32,
    pad: u32,
    /// Who asked for passthrough: pid in the upper half, start check in the lower; see `pool::Holder`.
    pub holders: [AtomicU64; 4],
    /// Time of the last staged write, in nanoseconds since 1970.
    pub written_ns: AtomicU64,
    /// Records appended since the slot was last empty.
    pub records: AtomicU64,
    /// Containers in a store that hold extents of the file, older than what is in the blocks: their number in the lower,
    /// a check in the upper half. 0: none. See `spill::state`.
    pub spilled: AtomicU64,
    /// Names the set of these containers. Stays while [`Slot::spill_tried`] is not 0.
    pub spill_set: AtomicU64,
    /// Names the store.
    pub spill_store: AtomicU64,
    /// Containers that the store may have, whether they count or not; 0: nothing of the set is left there.
    pub spill_tried: AtomicU64,
    /// Largest end of any spilled extent. Meaningful while `spilled` is not 0.
    pub spill_end: AtomicU64,
    /// Bytes of the spilled extents. Meaningful while `spilled` is not 0.
    pub spill_bytes: AtomicU64,
    pad2: [u64; 1],
}

impl Slot {
    /// Whether bytes of the file are staged, in the blocks or in a store.
    #[inline]
    pub fn is_staged(&self) -> bool {
        self.commit.load(Ordering::Acquire) != 0 || self.spilled.load(Ordering::Acquire) != 0
    }

    /// Largest end of anything staged; 0 where nothing is.
    #[inline]
    pub fn end(&self) -> u64 {
        let of = |there: &AtomicU64, end: &AtomicU64| match there.load(Ordering::Acquire) {
            0 => 0,
            _ => end.load(Ordering::Acquire),
        };
        of(&self.commit, &self.staged_end).max(of(&self.spilled, &self.spill_end))
    }
}

/// Slot flag: small writes must not be staged (the file is mapped, or open where hooks do not see it).
pub const PASS: u32 = 1;
/// Slot flag: more holders asked for passthrough than the slot can name; it stays for good.
pub const PASS_FOREVER: u32 = 2;
/// Slot flag: the file has no name any more; its bytes go with the last process that has it open.
pub const REMOVED: u32 = 8;
/// Slot flag: somebody has staged an append, whose place depends on where the file ends.
pub const APPENDED: u32 = 16;
/// Slot flag: the journal failed its checks; nothing may be served from it.
pub const DAMAGED: u32 = 4;

/// Head of a block.
#[repr(C, align(64))]
pub struct Block {
    /// Next block of the chain + 1, or 0.
    pub next: AtomicU32,
    /// Records in the block, once the chain has gone on to the next one.
    pub records: AtomicU32,
    /// End of the payload, in bytes from the block's start.
    pub used: AtomicU32,
    pad: [u32; 13],
}

/// One journal record: an extent of the file whose bytes lie in this block.
#[repr(C)]
pub struct Record {
    /// Offset in the file.
    pub offset: AtomicU64,
    /// Length in the lower, check in the upper half: one store extends an extent and keeps it checked.
    pub len_check: AtomicU64,
    /// Offset of the payload in the block.
    pub at: AtomicU32,
    pad: u32,
}

/// The upper half of [`Record::len_check`]. `salt` stands for block and slot, so that the records of one do not
/// pass for another's. Mixing as in splitmix64 (Steele, Lea, Flood 2014).
#[inline]
pub fn record_check(offset: u64, at: u32, len: u32, salt: u32) -> u32 {
    let mut x = offset ^ (u64::from(at) << 32 | u64::from(len)) ^ (u64::from(salt) << 17 | 0x1515);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)) as u32
}

/// Check over the superblock's constant fields.
pub fn superblock_check(version: u32, blocks: u32, memory_blocks: u32, uid: u32) -> u64 {
    let a = u64::from(record_check(u64::from(version), blocks, memory_blocks, uid));
    a << 32 | u64::from(record_check(u64::from(uid), memory_blocks, blocks, !version))
}

/// Byte offsets of the pool's parts for a number of blocks.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Number of blocks in memory.
    pub memory_blocks: u32,
    /// Number of blocks in all.
    pub blocks: u32,
}

const PAGE: usize = 4096;
const fn page_up(n: usize) -> usize {
    n.div_ceil(PAGE) * PAGE
}

impl Geometry {
    /// Start of the table of processes.
    pub const PROCESSES_AT: usize = PAGE;
    /// Start of the keys.
    pub const KEYS_AT: usize = Self::PROCESSES_AT + page_up(PROCESSES * size_of::<Process>());
    /// Start of the slots.
    pub const SLOTS_AT: usize = Self::KEYS_AT + page_up(SLOTS * size_of::<Key>());
    /// Start of the block owners, one `u32` each: slot number + 1, or 0.
    pub const OWNERS_AT: usize = Self::SLOTS_AT + page_up(SLOTS * size_of::<Slot>());

    /// Start of the names. What lies before is reserved when the pool is made.
    pub fn names_at(self) -> usize {
        // One word more per block: whether its space has been reserved.
        Self::OWNERS_AT + page_up(self.blocks as usize * 8)
    }

    /// Start of the blocks.
    pub fn blocks_at(self) -> usize {
        (self.names_at() + SLOTS * NAME).div_ceil(BLOCK) * BLOCK
    }

    /// Length of the pool file.
    pub fn file_len(self) -> usize {
        self.blocks_at() + self.memory_blocks as usize * BLOCK
    }
}

const _: () =
    assert!(size_of::<Slot>() == 256 && size_of::<Process>() == 32 && size_of::<Record>() == RECORD);
const _: () = assert!(size_of::<Block>() == BLOCK_HEADER && size_of::<Superblock>() <= PAGE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap() {
        let g = Geometry { memory_blocks: 7, blocks: 9 };
        assert!(Geometry::PROCESSES_AT >= size_of::<Superblock>());
        assert!(g.names_at() >= Geometry::OWNERS_AT + 9 * 8);
        assert!(g.blocks_at() >= g.names_at() + SLOTS * NAME);
        assert_eq!(g.blocks_at() % BLOCK, 0);
        assert_eq!(g.file_len(), g.blocks_at() + 7 * BLOCK);
    }

    #[test]
    fn a_check_depends_on_every_field() {
        let c = record_check(4096, 64, 512, 3);
        for other in [
            record_check(4097, 64, 512, 3),
            record_check(4096, 65, 512, 3),
            record_check(4096, 64, 513, 3),
            record_check(4096, 64, 512, 4),
        ] {
            assert_ne!(c, other);
        }
    }
}
