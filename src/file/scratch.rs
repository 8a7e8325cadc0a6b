//! Memory that a flush needs for as long as it lasts. Owns where it comes from; what is in it is the flush's.
//!
//! Fresh pages cost a fault each, and so does finding them again: in an image that is written all over, a huge page saves a
//! quarter of the time of the copies (64 B each, on a virtual machine). Where little is used of it, it would cost the zeroing
//! of all.

use crate::errno::Errno;

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// Zeroed words.
pub struct Scratch {
    #[cfg(not(miri))]
    mapping: Mapping,
    #[cfg(miri)]
    words: Vec<u64>,
}

#[cfg(not(miri))]
struct Mapping {
    base: *mut std::ffi::c_void,
    len: usize,
    /// The first word that is used.
    start: *mut u64,
    words: usize,
}

#[cfg(not(miri))]
impl Scratch {
    /// So many words; `all`: most of them will be used.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new(words: usize, all: bool) -> Result<Scratch, Errno> {
        use rustix::mm::{Advice, MapFlags, ProtFlags};
        let map = |len| {
            let (access, kind) =
                (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
            // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
            unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, access, kind) }
        };
        let bytes = words * size_of::<u64>();
        let huge = bytes.next_multiple_of(HUGE);
        if all && let Ok(base) = map(huge + HUGE) {
            let start = base.wrapping_add(base.align_offset(HUGE));
            // Where the system has none, the pages are as they are.
            // SAFETY: the range lies in the mapping, which nobody else has, and the advice changes no byte of it.
            let _ = unsafe { rustix::mm::madvise(start, huge, Advice::LinuxHugepage) };
            return Ok(Scratch { mapping: Mapping { base, len: huge + HUGE, start: start.cast(), words } });
        }
        let base = map(bytes)?;
        Ok(Scratch { mapping: Mapping { base, len: bytes, start: base.cast(), words } })
    }

    /// The words.
    pub fn words(&mut self) -> &mut [u64] {
        // SAFETY: the mapping holds that many behind `start`, aligned and zeroed at first, and is this value's alone.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.start, self.mapping.words) }
    }
}

#[cfg(not(miri))]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing borrows from the mapping any more.
        let _ = unsafe { rustix::mm::munmap(self.base, self.len) };
    }
}

#[cfg(miri)]
impl Scratch {
    pub fn new(words: usize, _all: bool) -> Result<Scratch, Errno> {
        Ok(Scratch { words: vec![0; words] })
    }

    pub fn words(&mut self) -> &mut [u64] {
        &mut self.words
    }
}

/// Words as the bytes that they are.
pub fn bytes(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: a word is eight bytes, each of which may have any value.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}
