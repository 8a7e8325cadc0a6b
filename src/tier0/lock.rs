//! Locks in shared memory that outlive their owners. Owns the lock word and the take-over; what the lock guards
//! is its user's business, who must leave it valid at every instruction (single publishing stores).
//!
//! The word is 0 when free, else the owner's process entry + 1 in the upper half and thread id in the lower. A
//! waiter that has waited for long asks whether that thread still lives; if not, it takes the lock over.
//! Robust futexes (glibc's robust mutexes) were the alternative: they cost two list operations more on each
//! uncontended lock, and their kernel list belongs to glibc's threads only.

use std::sync::atomic::{AtomicU64, Ordering};

/// Who holds, or wants, a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(u64);

impl Owner {
    /// A thread `tid` of the process with entry number `process` in the pool's table.
    pub fn new(process: u32, tid: u32) -> Owner {
        Owner(u64::from(process + 1) << 32 | u64::from(tid))
    }

    /// The process entry.
    pub fn process(self) -> u32 {
        (self.0 >> 32) as u32 - 1
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

/// Rounds of waiting after which the owner's life is looked into, and then again after as many more.
const ROUNDS: u32 = 200;

/// Tries once.
#[inline]
pub fn try_lock(word: &AtomicU64, me: Owner) -> bool {
    word.compare_exchange(0, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Takes the lock, waiting as long as its owner lives.
#[inline]
pub fn lock(word: &AtomicU64, me: Owner, around: &impl Surroundings) -> Result<Taken, Refused> {
    if try_lock(word, me) {
        return Ok(Taken::Free);
    }
    lock_slow(word, me, around)
}

#[cold]
fn lock_slow(word: &AtomicU64, me: Owner, around: &impl Surroundings) -> Result<Taken, Refused> {
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
        if round.is_multiple_of(ROUNDS) && word.load(Ordering::Relaxed) == held && !around.alive(Owner(held))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    struct World {
        alive: AtomicBool,
    }

    impl Surroundings for World {
        fn alive(&self, _: Owner) -> bool {
            self.alive.load(Ordering::Relaxed)
        }
        fn wait(&self, _: u32) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_dead_owner_is_succeeded() {
        let word = AtomicU64::new(0);
        let world = World { alive: AtomicBool::new(false) };
        let dead = Owner::new(3, 77);
        assert_eq!(lock(&word, dead, &world), Ok(Taken::Free));
        assert_eq!(lock(&word, Owner::new(4, 78), &world), Ok(Taken::Over(dead)));
    }

    #[test]
    fn a_thread_that_interrupted_itself_is_told() {
        let word = AtomicU64::new(0);
        let world = World { alive: AtomicBool::new(true) };
        let me = Owner::new(0, 9);
        assert_eq!(lock(&word, me, &world), Ok(Taken::Free));
        assert_eq!(lock(&word, me, &world), Err(Refused::Mine));
    }

    #[test]
    fn threads_exclude_each_other() {
        let word = AtomicU64::new(0);
        let world = World { alive: AtomicBool::new(true) };
        let count = AtomicU64::new(0);
        std::thread::scope(|s| {
            for t in 0..4 {
                let (word, world, count) = (&word, &world, &count);
                s.spawn(move || {
                    for _ in 0..if cfg!(miri) { 20 } else { 2000 } {
                        let me = Owner::new(0, t + 1);
                        assert_eq!(lock(word, me, world), Ok(Taken::Free));
                        let seen = count.load(Ordering::Relaxed);
                        std::thread::yield_now();
                        count.store(seen + 1, Ordering::Relaxed);
                        unlock(word, me);
                    }
                });
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), if cfg!(miri) { 80 } else { 8000 });
    }
}
