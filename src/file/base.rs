//! The base below the overlay: the anchor alone, or the anchor and what a store holds of it. Owns the difference, so
//! that nobody else asks for it: whoever reads or changes a file's base does so through here.

use super::File;
use crate::errno::Errno;
use crate::home::resident::{Anchor, Resident};
use crate::sys;
use std::ops::Range;
use std::sync::Arc;

impl File {
    /// The file's residency, when its home is a store.
    #[inline]
    pub fn resident(&self) -> Option<&Arc<Resident>> {
        self.resident.get()
    }

    /// Makes the file one whose home is a store.
    pub fn set_resident(&self, resident: Arc<Resident>) {
        // Two threads may come here at once; both made the same.
        let _ = self.resident.set(resident);
    }

    /// pread of the base.
    ///
    /// # Safety
    /// `buf` is writable for `len` bytes.
    #[inline]
    pub unsafe fn base_read(&self, fd: i32, offset: u64, buf: *mut u8, len: usize) -> Result<usize, Errno> {
        // SAFETY: by this function's contract.
        let read = || unsafe { sys::pread(fd, buf, len, offset) };
        match self.resident() {
            None => read(),
            Some(r) => r.reading(Anchor::here(fd), offset..offset.saturating_add(len as u64), read),
        }
    }

    /// Runs `write`, which changes the base's bytes within `range` and gives how many, from its start.
    #[inline]
    pub fn base_write(
        &self,
        fd: i32,
        range: Range<u64>,
        write: impl FnOnce() -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        write_base(self.resident(), fd, range, write)
    }

    /// Runs `write`, which writes `len` bytes to the base at `at`, or else at the kernel's offset of `fd`.
    #[inline]
    pub fn base_write_at(
        &self,
        fd: i32,
        at: Option<u64>,
        len: usize,
        write: impl FnOnce() -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        if self.resident().is_none() {
            // Where it is matters to nobody else, and to ask costs a system call.
            return write();
        }
        let from = at.map_or_else(|| sys::tell(fd), Ok)?;
        self.base_write(fd, from..from + len as u64, write)
    }

    /// Runs `write`, which appends `len` bytes to the base. Nobody else may write to it meanwhile.
    pub fn base_append(
        &self,
        fd: i32,
        len: usize,
        write: impl FnOnce() -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        if self.resident().is_none() {
            return write();
        }
        let end = sys::fstat(fd)?.st_size as u64;
        self.base_write(fd, end..end + len as u64, write)
    }

    /// ftruncate of the base.
    pub fn base_cut(&self, fd: i32, len: u64) -> Result<(), Errno> {
        match self.resident() {
            None => sys::ftruncate(fd, len),
            Some(r) => r.truncating(fd, len, || sys::ftruncate(fd, len)),
        }
    }

    /// As [`File::settle`] at the end of the process, when all descriptors may be closed.
    pub fn settle_leaving(&self) -> Result<(), Errno> {
        self.resident().map_or(Ok(()), |r| r.settle_leaving(self.any_descriptor()))
    }

    /// Sends home what a store lacks of the file; nothing where the home is a file system. The overlay is flushed.
    pub fn settle(&self, fd: i32) -> Result<(), Errno> {
        match self.resident() {
            None => Ok(()),
            Some(r) => r.settle(Anchor::here(fd)),
        }
    }
}

/// As [`File::base_write`], for whoever has no [`File`].
#[inline]
pub(super) fn write_base(
    resident: Option<&Arc<Resident>>,
    fd: i32,
    range: Range<u64>,
    write: impl FnOnce() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    match resident {
        None => write(),
        Some(r) => r.writing(Anchor::here(fd), range, write),
    }
}
