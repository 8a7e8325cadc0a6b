//! Cuts: what a file has lost must not come back, whoever cut it. Owns noting them, those included that somebody made and
//! died before he could say so; what the store loses by them is the sender's business.

use super::{Resident, all_is_new};
use crate::errno::Errno;
use crate::home::control::{CHANGED, GRANULE};
use crate::sys;
use std::sync::atomic::Ordering;

impl Resident {
    /// Runs `cut`, which sets the length of the anchor, open as `fd`, to `len`.
    pub fn truncating<T>(
        &self,
        fd: i32,
        len: u64,
        cut: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.locked(|| {
            self.notice_cut(fd)?;
            let result = cut()?;
            self.cut(len);
            Ok(result)
        })?
    }

    /// The anchor was cut to `len`. With the lock held, or before anybody else knows of the file.
    fn cut(&self, len: u64) {
        let head = self.control.head();
        head.cut_at.fetch_min(len, Ordering::AcqRel);
        if head.home_len.fetch_min(len, Ordering::AcqRel) > len {
            head.generation.fetch_add(1, Ordering::AcqRel);
        }
        self.control.clear_from(len.div_ceil(GRANULE));
        head.flags.fetch_or(CHANGED, Ordering::AcqRel);
    }

    /// The kernel cut the anchor, open as `fd`, to nothing at an open.
    pub fn emptied(&self, fd: i32) -> Result<(), Errno> {
        self.locked(|| {
            self.cut(0);
            self.control.forget_version();
            // What others have written since is newer than the cut.
            match sys::fstat(fd)?.st_size as u64 {
                0 => Ok(()),
                len => all_is_new(&self.control, fd, len),
            }
        })?
    }

    /// Whether the anchor, `size` bytes long, has lost bytes that nobody spoke of.
    pub fn is_cut(&self, size: u64) -> bool {
        size < self.control.head().home_len.load(Ordering::Acquire)
    }

    /// Notes that the anchor, open as `fd`, is shorter than what the store has: whoever cut it died before he could say so
    /// (the kernel cuts at an open with O_TRUNC, and Iris hears of it afterwards). With the lock held.
    pub(super) fn notice_cut(&self, fd: i32) -> Result<(), Errno> {
        let size = sys::fstat(fd)?.st_size as u64;
        if self.is_cut(size) {
            self.cut(size);
        }
        Ok(())
    }

    /// As the above, without the lock, for whoever opens the file.
    pub(in crate::home) fn look_for_cut(&self, fd: i32) -> Result<(), Errno> {
        self.locked(|| self.notice_cut(fd))?
    }
}
