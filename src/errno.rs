//! The kernel's error numbers as a type. Owns nothing but the number; the hook is the one place that stores it
//! in the program's `errno`.

use std::fmt;

/// An error number as the kernel and libc define it (always positive).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The calling thread's current `errno`.
    pub fn last() -> Errno {
        // SAFETY: glibc's __errno_location returns this thread's own, always valid, errno.
        Errno(unsafe { *libc::__errno_location() })
    }

    /// Stores the number in the calling thread's `errno`.
    pub fn set(self) {
        // SAFETY: as in `last`; the location is valid and owned by this thread.
        unsafe { *libc::__errno_location() = self.0 }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {})", self.0, std::io::Error::from_raw_os_error(self.0))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for std::io::Error {
    fn from(e: Errno) -> Self {
        std::io::Error::from_raw_os_error(e.0)
    }
}
