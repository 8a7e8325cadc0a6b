//! Locks in the files beside a shadow tree, and the table of the processes that may hold them. Owns the table; what a lock
//! guards is its user's business.
//!
//! The table of a pool would not do: two processes that have pools of their own (`tier0.path`, another user's) can share a
//! tree, and an owner that the one's table does not know is not dead.

use crate::errno::Errno;
use crate::sys;
use crate::tier0::layout::{PROCESSES, Process};
use crate::tier0::lock::{self, Owner, Surroundings};
use crate::tier0::process::{self, Place};
use std::ffi::CStr;
use std::sync::atomic::AtomicU64;

const LEN: usize = PROCESSES * size_of::<Process>();

/// The processes of a node that use one shadow tree.
pub struct Holders {
    table: &'static [Process],
    /// This process among them.
    place: Place,
}

impl Holders {
    /// Maps the table at `path`, made where there is none, for as long as the process lives.
    ///
    /// # Errors
    /// Those of opening and mapping it.
    pub fn open(path: &CStr) -> Result<Holders, Errno> {
        let map = sys::map_own(path, LEN)?;
        // SAFETY: the mapping has this length, is aligned to a page, backed by reserved storage, all zeros at first (free
        // entries), and never taken away.
        let table = unsafe { std::slice::from_raw_parts(map.cast::<Process>(), PROCESSES) };
        Ok(Holders { table, place: Place::default() })
    }

    /// Takes a lock, waiting for whoever holds it and lives. Whoever died with it left what it guards valid.
    ///
    /// # Errors
    /// EAGAIN where the table is full of living processes; EDEADLK where this thread has the lock already.
    pub fn lock<'w>(&self, word: &'w AtomicU64) -> Result<Held<'w>, Errno> {
        let me = self.me()?;
        lock::lock(word, me, self).map_err(|_| Errno(libc::EDEADLK))?;
        Ok(Held { word, me })
    }

    /// Takes a lock if nobody has it.
    ///
    /// # Errors
    /// EAGAIN, as [`Holders::lock`].
    pub fn try_lock<'w>(&self, word: &'w AtomicU64) -> Result<Option<Held<'w>>, Errno> {
        let me = self.me()?;
        Ok(lock::try_lock(word, me).then(|| Held { word, me }))
    }

    fn me(&self) -> Result<Owner, Errno> {
        self.place.owner().or_else(|| process::enter(&self.place, self.table)).ok_or(Errno(libc::EAGAIN))
    }
}

impl Surroundings for Holders {
    fn alive(&self, owner: Owner) -> bool {
        process::owner_alive(self.table, owner)
    }

    fn wait(&self, round: u32) {
        sys::pause(round);
    }
}

/// A lock; given up when dropped, by the thread that took it.
pub struct Held<'w> {
    word: &'w AtomicU64,
    me: Owner,
}

impl Held<'_> {
    /// Leaves the lock taken: the word's address is about to change hands. Undone by [`Held::of`].
    pub fn into_owner(self) -> Owner {
        let me = self.me;
        std::mem::forget(self);
        me
    }

    /// What [`Held::into_owner`] has left.
    pub fn of(word: &AtomicU64, me: Owner) -> Held<'_> {
        Held { word, me }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        lock::unlock(self.word, self.me);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// Long enough for a waiter to look several times whether the owner lives.
    const LONG: Duration = Duration::from_millis(200);

    #[test]
    #[cfg_attr(miri, ignore = "maps a file")]
    fn who_lives_is_waited_for_and_who_died_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = std::ffi::CString::new(folder.path().join("processes").as_os_str().as_bytes()).unwrap();
        let open = || Holders::open(&path).unwrap();
        // As two processes have it mapped, whatever pools they have.
        let (mine, theirs) = (open(), open());
        let (word, given_back) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|s| {
            let held = mine.lock(&word).unwrap();
            assert!(matches!(mine.lock(&word), Err(Errno(libc::EDEADLK))));
            let waiter = s.spawn(|| {
                assert!(theirs.try_lock(&word).unwrap().is_none());
                let _held = theirs.lock(&word).unwrap();
                assert!(given_back.load(Ordering::Acquire), "taken from who lives");
            });
            std::thread::sleep(LONG);
            given_back.store(true, Ordering::Release);
            drop(held);
            waiter.join().unwrap();
        });
        // A thread that ends with the lock.
        std::thread::scope(|s| {
            s.spawn(|| theirs.lock(&word).unwrap().into_owner()).join().unwrap();
        });
        drop(mine.lock(&word).unwrap());
        assert_eq!(word.load(Ordering::Acquire), 0);
    }
}
