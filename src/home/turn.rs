//! Whose turn it is to change the names of a home in this node's tree. Owns the one lock for that, in a file that all
//! processes of the node map; like every lock of Tier 0's kind it outlives its owner. Whoever has the turn makes the
//! catalog and the tree say the same again before he gives it up; whoever only looks, and finds that they do, needs none.

use crate::errno::Errno;
use crate::sys;
use crate::tier0::lock::{self, Owner};
use crate::tier0::pool::Pool;
use rustix::fs::OFlags;
use std::ffi::CStr;
use std::sync::atomic::AtomicU64;

const LEN: usize = 4096;

/// The lock of one home on this node.
pub struct Turn {
    word: &'static AtomicU64,
}

impl Turn {
    /// Maps the file at `path`, made where there is none, for as long as the process lives.
    ///
    /// # Errors
    /// Those of opening and mapping it.
    pub fn open(path: &CStr) -> Result<Turn, Errno> {
        let fd = sys::open(path, OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW, 0o600)?;
        if (sys::fstat(fd.raw())?.st_size as usize) < LEN {
            sys::reserve(fd.raw(), 0, LEN as u64)?;
        }
        let map = sys::map_shared(fd.raw(), LEN, 4096)?;
        // SAFETY: the mapping is a page long, aligned, backed by reserved storage, all zeros at first, and never taken away.
        Ok(Turn { word: unsafe { &*map.cast::<AtomicU64>() } })
    }

    /// Takes the turn, waiting for whoever has it.
    ///
    /// # Errors
    /// EAGAIN where Tier 0 does not know this process; EDEADLK where this thread has it already.
    pub fn take(&self, pool: &Pool) -> Result<Held, Errno> {
        let me = pool.me().ok_or(Errno(libc::EAGAIN))?;
        // Whoever died with it left a tree that the next look puts right.
        pool.lock(self.word, me).map_err(|_| Errno(libc::EDEADLK))?;
        Ok(Held { word: self.word, me })
    }
}

/// The turn; given up when dropped, by the thread that took it.
pub struct Held {
    word: &'static AtomicU64,
    me: Owner,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock::unlock(self.word, self.me);
    }
}
