//! Pools for tests: in memory that a forked child shares, and copies of them. Under Miri, which has no shared
//! mappings, in plain memory.

use super::*;
use std::sync::atomic::AtomicU32;

impl Pool {
    /// A pool without files.
    pub(crate) fn in_memory(memory_blocks: u32) -> Pool {
        let geometry = Geometry { memory_blocks, blocks: memory_blocks };
        let base = memory(geometry.file_len());
        let pool = Pool {
            populated: (0..memory_blocks).map(|_| AtomicU8::new(u8::MAX)).collect(),
            base,
            // SAFETY: the memory is that long.
            memory: unsafe { base.add(geometry.blocks_at()) },
            storage: std::ptr::null_mut(),
            geometry,
            memory_file: None,
            storage_file: None,
            names_reserved: Vec::new(),
            place: process::Place::default(),
            path: PathBuf::new(),
        };
        pool.superblock().blocks.store(memory_blocks, Ordering::Relaxed);
        for b in 0..memory_blocks {
            pool.reserved(b).store(1, Ordering::Relaxed);
        }
        pool
    }

    /// Start and length of what is mapped, in the two parts that a test touches: what lies before the names, and
    /// the blocks.
    fn parts(&self) -> [(*mut u8, usize); 2] {
        let blocks = self.geometry.memory_blocks as usize * BLOCK;
        [(self.base, self.geometry.names_at()), (self.block_ptr(0), blocks)]
    }

    /// Becomes what `other`, of the same size, is now.
    pub(crate) fn copy_from(&self, other: &Pool) {
        for ((to, len), (from, n)) in self.parts().into_iter().zip(other.parts()) {
            assert_eq!(len, n);
            // SAFETY: both ranges are mapped and of different pools; the test sees to it that nobody writes.
            unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
        }
    }

    /// The owner table's word for a block, to spoil it.
    pub(crate) fn owner_word(&self, block: u32) -> &AtomicU32 {
        &self.owners()[block as usize]
    }

    /// The `NAME` bytes of a slot's name, to spoil them.
    #[cfg(test)]
    pub(crate) fn name_ptr(&self, slot: u32) -> *mut u8 {
        // SAFETY: the slot's name lies inside the mapping.
        unsafe { self.base.add(self.geometry.names_at() + slot as usize * NAME) }
    }
}

/// Zeroed memory, leaked with the test.
#[cfg(miri)]
fn memory(len: usize) -> *mut u8 {
    let layout = std::alloc::Layout::from_size_align(len, 4096).expect("layout");
    // SAFETY: the layout has a size.
    unsafe { std::alloc::alloc_zeroed(layout) }
}

/// Zeroed memory, shared with children, leaked with the test.
#[cfg(not(miri))]
fn memory(len: usize) -> *mut u8 {
    use rustix::mm::{MapFlags, ProtFlags};
    // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
    unsafe {
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags)
            .expect("memory")
            .cast()
    }
}
