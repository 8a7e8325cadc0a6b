//! A lock in shared memory that outlives its owner. Owns the lock word; what it guards is its user's business, who must
//! leave it valid at every instruction (single publishing stores).
//!
//! The word is 0 when free, else the owner, a number that no other thread of the machine has. A waiter that has waited
//! for a while asks whether the owner still lives, and takes the lock over if not. Unlike the lock of Tier 0
//! (`src/tier0/lock.rs`) it needs no table of processes, and a waiter may give up.

use super::atomic::{AtomicU64, Ordering};

/// What a lock asks of its surroundings while it waits.
pub trait Surroundings {
    /// Whether the owner of a lock is still alive.
    fn alive(&self, owner: u64) -> bool;
    /// Lets time pass; `round` counts the calls from 0. False: there is no more time.
    fn wait(&self, round: u32) -> bool;
    /// Rounds of waiting after which the owner's life is looked into, and then again after as many more.
    const PATIENCE: u32 = 64;
}

/// Takes the lock, waiting as long as its owner lives and there is time. The error is the owner.
pub fn lock<S: Surroundings>(word: &AtomicU64, me: u64, around: &S) -> Result<(), u64> {
    let mut round = 0;
    loop {
        let held = match word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return Ok(()),
            Err(held) => held,
        };
        if !around.wait(round) {
            return Err(held);
        }
        round += 1;
        if round.is_multiple_of(S::PATIENCE)
            && word.load(Ordering::Relaxed) == held
            && !around.alive(held)
            // Acquire: what the dead owner stored before dying happened before this.
            && word.compare_exchange(held, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
        {
            return Ok(());
        }
    }
}

/// Gives the lock back; does nothing if somebody else has it.
pub fn unlock(word: &AtomicU64, me: u64) {
    // A word that is not ours was put right by somebody who thought us dead: then it is theirs.
    let _ = word.compare_exchange(me, 0, Ordering::Release, Ordering::Relaxed);
}
