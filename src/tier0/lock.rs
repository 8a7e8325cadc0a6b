//! Locks in shared memory that outlive their owners. Owns the lock word and the take-over; what the lock guards
//! is its user's business, who must leave it valid at every instruction (single publishing stores).
//!
//! The word is 0 when free, else the owner's process entry + 1 in the upper half and thread id in the lower. A
//! waiter that has waited for long asks whether that thread still lives; if not, it takes the lock over.
//! Robust futexes (glibc's robust mutexes) were the alternative: they cost two list operations more on each
//! uncontended lock, and their kernel list belongs to glibc's threads only.

// The standard ones, or those of a model checker (tests/interleavings.rs).
use super::atomic::{AtomicU64, Ordering};

/// Who holds, or wants, a lock: in the upper half the process, as its table of processes knows it; in the lower
/// the thread id. The process is the number of its entry + 1 and, in the upper 16 bits, its incarnation: process
/// ids come round, and exec keeps them, but a successor holds nothing of what its predecessor took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(u64);

impl Owner {
    /// A thread `tid` of the process with entry number `process` in the pool's table.
    pub fn new(process: u32, incarnation: u16, tid: u32) -> Owner {
        Owner(u64::from(incarnation) << 48 | u64::from(process + 1) << 32 | u64::from(tid))
    }

    /// The same from one word for the process: its incarnation in the upper half, the number of its entry + 1 in the lower.
    #[inline(always)]
    pub fn of(process: u32, tid: u32) -> Owner {
        Owner(u64::from(process) << 32 | u64::from(tid))
    }

    /// The process entry; of a damaged word, one that no table has.
    pub fn process(self) -> u32 {
        u32::from((self.0 >> 32) as u16).wrapping_sub(1)
    }

    /// Which of the processes that had the entry one after the other.
    pub fn incarnation(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The thread id.
    pub fn tid(self) -> u32 {
        self.0 as u32
    }
}

/// What a lock asks of its surroundings while it waits.
pub trait Surroundings {
    /// Whether the owner of a lock is still alive.
    fn alive(&self, owner: Owner) -> bool;
    /// Lets time pass; `round` counts the calls from 0.
    fn wait(&self, round: u32);
    /// Rounds of waiting after which the owner's life is looked into, and then again after as many more.
    const PATIENCE: u32 = 200;
}

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The calling thread holds it already: a signal handler interrupted itself.
    Mine,
}

/// How a lock was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// From nobody.
    Free,
    /// From an owner who died holding it.
    Over(Owner),
}

/// Tries once.
#[inline]
pub fn try_lock(word: &AtomicU64, me: Owner) -> bool {
    word.compare_exchange(0, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Takes the lock, waiting as long as its owner lives.
#[inline]
pub fn lock<S: Surroundings>(word: &AtomicU64, me: Owner, around: &S) -> Result<Taken, Refused> {
    if try_lock(word, me) {
        return Ok(Taken::Free);
    }
    lock_slow(word, me, around)
}

#[cold]
fn lock_slow<S: Surroundings>(word: &AtomicU64, me: Owner, around: &S) -> Result<Taken, Refused> {
    let mut round = 0;
    loop {
        let held = word.load(Ordering::Relaxed);
        if held == 0 {
            if try_lock(word, me) {
                return Ok(Taken::Free);
            }
            continue;
        }
        if held == me.0 {
            return Err(Refused::Mine);
        }
        around.wait(round);
        round += 1;
        if round.is_multiple_of(S::PATIENCE)
            && word.load(Ordering::Relaxed) == held
            && !around.alive(Owner(held))
        {
            // Acquire: what the dead owner stored before dying happened before this.
            if word.compare_exchange(held, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Ok(Taken::Over(Owner(held)));
            }
        }
    }
}

/// Gives the lock back. Does nothing if `me` does not hold it.
#[inline]
pub fn unlock(word: &AtomicU64, me: Owner) {
    debug_assert_eq!(word.load(Ordering::Relaxed), me.0, "unlocking a lock held by somebody else");
    word.store(0, Ordering::Release);
}
