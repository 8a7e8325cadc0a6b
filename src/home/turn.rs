//! Whose turn it is to change the names of a home in this node's tree. Owns the one lock for that, in a file that all
//! processes of the node map; like every lock of Tier 0's kind it outlives its owner. Whoever has the turn makes the
//! catalog and the tree say the same again before he gives it up; whoever only looks, and finds that they do, needs none.

use super::holders::{Held, Holders};
use crate::errno::Errno;
use crate::sys;
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
        let map = sys::map_own(path, LEN)?;
        // SAFETY: the mapping is a page long, aligned, backed by reserved storage, all zeros at first, and never taken away.
        Ok(Turn { word: unsafe { &*map.cast::<AtomicU64>() } })
    }

    /// Takes the turn, waiting for whoever has it.
    ///
    /// # Errors
    /// EAGAIN where no entry is left for this process; EDEADLK where this thread has it already.
    pub fn take(&self, holders: &Holders) -> Result<Held<'static>, Errno> {
        // Whoever died with it left a tree that the next look puts right.
        holders.lock(self.word)
    }
}
