//! The lock on real threads; every interleaving is tests/interleavings.rs's.

use super::lock::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    let dead = Owner::new(3, 1, 77);
    assert_eq!(lock(&word, dead, &world), Ok(Taken::Free));
    assert_eq!(lock(&word, Owner::new(4, 1, 78), &world), Ok(Taken::Over(dead)));
}

#[test]
fn a_thread_that_interrupted_itself_is_told() {
    let word = AtomicU64::new(0);
    let world = World { alive: AtomicBool::new(true) };
    let me = Owner::new(0, 1, 9);
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
                    let me = Owner::new(0, 1, t + 1);
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

#[test]
fn a_successor_of_the_same_number_is_another() {
    let word = AtomicU64::new(0);
    let world = World { alive: AtomicBool::new(false) };
    let (before, after) = (Owner::new(7, 1, 300), Owner::new(7, 2, 300));
    assert_eq!(lock(&word, before, &world), Ok(Taken::Free));
    assert_eq!(lock(&word, after, &world), Ok(Taken::Over(before)));
    assert_eq!((after.process(), after.incarnation(), after.tid()), (7, 2, 300));
}
