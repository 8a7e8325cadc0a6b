//! Every interleaving of a few threads (loom) over the lock that processes share: it excludes, a dead owner has one
//! successor, and what the dead had stored is seen by whoever comes after. The lock is the store's own source, compiled
//! here against loom's atomics.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test, and the store's module")]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

// What `super::atomic` is in the store's module.
use loom::sync::atomic;

#[path = "../src/lock.rs"]
mod lock;

use atomic::{AtomicU64, Ordering};
use lock::Surroundings;

/// Everybody lives but the owner with this number.
struct Around {
    dead: u64,
}

impl Surroundings for Around {
    fn alive(&self, owner: u64) -> bool {
        owner != self.dead
    }

    fn wait(&self, _round: u32) -> bool {
        thread::yield_now();
        true
    }

    const PATIENCE: u32 = 1;
}

struct Shared {
    word: AtomicU64,
    /// What the lock guards: loom fails the test if two threads touch it at once.
    guarded: UnsafeCell<u64>,
}

fn add(shared: &Shared, me: u64, dead: u64) {
    lock::lock(&shared.word, me, &Around { dead }).unwrap();
    shared.guarded.with_mut(|n| {
        // SAFETY: the lock is held; that this suffices is what the test shows.
        unsafe { *n += 1 }
    });
    lock::unlock(&shared.word, me);
}

#[test]
fn the_lock_excludes() {
    loom::model(|| {
        let shared = Arc::new(Shared { word: AtomicU64::new(0), guarded: UnsafeCell::new(0) });
        let other = shared.clone();
        let thread = thread::spawn(move || add(&other, 1, 0));
        add(&shared, 2, 0);
        thread.join().unwrap();
        // SAFETY: the other thread has ended.
        assert_eq!(shared.guarded.with(|n| unsafe { *n }), 2);
        assert_eq!(shared.word.load(Ordering::Relaxed), 0, "the lock is free");
    });
}

#[test]
fn a_dead_owner_has_one_successor_at_a_time() {
    loom::model(|| {
        let shared = Arc::new(Shared { word: AtomicU64::new(0), guarded: UnsafeCell::new(0) });
        // Takes the lock, changes what it guards, and dies.
        let dying = shared.clone();
        let dead = thread::spawn(move || {
            lock::lock(&dying.word, 9, &Around { dead: 0 }).unwrap();
            // SAFETY: the lock is held.
            dying.guarded.with_mut(|n| unsafe { *n += 1 });
        });
        dead.join().unwrap();
        let other = shared.clone();
        let thread = thread::spawn(move || add(&other, 1, 9));
        add(&shared, 2, 9);
        thread.join().unwrap();
        // SAFETY: the other threads have ended.
        assert_eq!(shared.guarded.with(|n| unsafe { *n }), 3);
    });
}

/// A waiter without time gives up and changes nothing.
#[test]
fn a_waiter_may_give_up() {
    struct Hurried;
    impl Surroundings for Hurried {
        fn alive(&self, _owner: u64) -> bool {
            true
        }
        fn wait(&self, round: u32) -> bool {
            round < 2
        }
    }
    loom::model(|| {
        let word = AtomicU64::new(7);
        assert_eq!(lock::lock(&word, 1, &Hurried), Err(7));
        lock::unlock(&word, 1);
        assert_eq!(word.load(Ordering::Relaxed), 7, "who has the lock keeps it");
    });
}
