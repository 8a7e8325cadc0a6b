//! Every interleaving of a few threads (loom), and what weak memory lets each of them see: the lock with its
//! take-over, and appending against flushing. Lock and journal are the library's own source, compiled here against
//! loom's atomics; the pool around them is a small one of this file, whose payload knows who touches it.
//!
//! Covered: mutual exclusion, one successor for a dead owner, no lost write, a reader under the lock sees whole
//! records, a sealed block is not written while a flush reads it.

#![allow(clippy::unwrap_used, dead_code, missing_docs, reason = "a test, and the library's modules in part")]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

// What `super::atomic` is in the library's modules.
use loom::sync::atomic;

#[path = "../src/tier0/lock.rs"]
mod lock;
#[path = "../src/prefetch.rs"]
mod prefetch;

mod tier0 {
    /// The pool file's structures as far as the journal knows them, in loom's atomics.
    pub mod layout {
        pub use super::model::*;
    }
    pub mod pool {
        pub use super::model::Pool;
    }

    mod model {
        use loom::cell::UnsafeCell;
        use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

        pub const BLOCK: usize = 64 + 3 * RECORD;
        pub const BLOCK_HEADER: usize = 8;
        pub const RECORD: usize = 24;

        #[derive(Default)]
        pub struct Superblock {
            pub staged_files: AtomicU64,
            pub retirements: AtomicU64,
        }
        #[derive(Default)]
        pub struct Slot {
            pub lock: AtomicU64,
            pub flush_lock: AtomicU64,
            pub commit: AtomicU64,
            pub first: AtomicU32,
            pub sealed: AtomicU32,
            pub epoch: AtomicU64,
            pub staged_end: AtomicU64,
            pub staged_bytes: AtomicU64,
            pub base_size: AtomicU64,
            pub since_ms: AtomicU64,
            pub records: AtomicU64,
            pub spilled: AtomicU64,
        }
        #[derive(Default)]
        pub struct Block {
            pub next: AtomicU32,
            pub records: AtomicU32,
            pub used: AtomicU32,
        }
        #[derive(Default)]
        pub struct Record {
            pub offset: AtomicU64,
            pub len_check: AtomicU64,
            pub at: AtomicU32,
        }
        pub struct Geometry {
            pub blocks: u32,
        }
        pub struct Whole {
            head: Block,
            records: [Record; 3],
            /// The one word of the owners' table.
            owner: AtomicU32,
            payload: UnsafeCell<[u8; BLOCK]>,
        }
        pub struct Pool {
            slots: Vec<Slot>,
            blocks: Vec<Whole>,
            superblock: Superblock,
        }

        #[derive(Clone, Copy)]
        pub struct WholeBlock<'p>(&'p Whole);

        impl<'p> WholeBlock<'p> {
            pub fn start(self) -> *mut u8 {
                self.0.payload.with_mut(|p| p.cast())
            }
            pub fn head(self) -> &'p Block {
                &self.0.head
            }
            pub fn record(self, i: u32) -> &'p Record {
                &self.0.records[i as usize]
            }
        }

        pub fn record_check(offset: u64, at: u32, len: u32, salt: u32) -> u32 {
            (offset as u32).wrapping_mul(31) ^ at << 8 ^ len << 16 ^ salt ^ 0x1515
        }

        impl Pool {
            pub fn new(blocks: u32) -> Pool {
                let block = |_| Whole {
                    head: Block::default(),
                    records: Default::default(),
                    owner: AtomicU32::new(0),
                    payload: UnsafeCell::new([0; BLOCK]),
                };
                Pool {
                    slots: vec![Slot::default()],
                    blocks: (0..blocks).map(block).collect(),
                    superblock: Superblock::default(),
                }
            }
            pub fn slots(&self) -> &[Slot] {
                &self.slots
            }
            pub fn superblock(&self) -> &Superblock {
                &self.superblock
            }
            pub fn geometry(&self) -> Geometry {
                Geometry { blocks: self.blocks.len() as u32 }
            }
            pub fn block(&self, block: u32) -> &Block {
                &self.blocks[block as usize].head
            }
            pub fn record(&self, block: u32, i: u32) -> &Record {
                &self.blocks[block as usize].records[i as usize]
            }
            pub fn whole_block(&self, block: u32) -> WholeBlock<'_> {
                WholeBlock(&self.blocks[block as usize])
            }
            /// The journal asks for it when it touches payload, and loom complains where two threads do so
            /// without one happening before the other.
            pub fn block_ptr(&self, block: u32) -> *mut u8 {
                self.blocks[block as usize].payload.with_mut(|p| p.cast())
            }
            pub fn populate(&self, _: u32, _: usize) {}
            pub fn populate_both(&self, _: u32, _: usize, _record: usize) {}
            pub fn is_owner(&self, slot: u32, block: u32) -> bool {
                self.blocks.get(block as usize).is_some_and(|b| b.owner.load(Acquire) == slot + 1)
            }
            pub fn take_block(&self, slot: u32) -> Option<u32> {
                let free = |b: &Whole| b.owner.compare_exchange(0, slot + 1, AcqRel, Relaxed).is_ok();
                let block = self.blocks.iter().position(free)?;
                let head = &self.blocks[block].head;
                head.next.store(0, Relaxed);
                head.records.store(0, Relaxed);
                head.used.store(BLOCK_HEADER as u32, Relaxed);
                Some(block as u32)
            }
            pub fn give_block(&self, block: u32) {
                self.blocks[block as usize].owner.store(0, Release);
            }
            pub fn sweep(&self, slot: u32) {
                self.sweep_except(slot, &[]);
            }
            pub fn sweep_except(&self, slot: u32, keep: &[u32]) {
                for b in 0..self.blocks.len() as u32 {
                    if self.is_owner(slot, b) && !keep.contains(&b) {
                        self.give_block(b);
                    }
                }
            }
        }
    }
}

mod sys {
    pub fn boot_ms() -> u64 {
        7
    }
}

#[path = "../src/journal.rs"]
mod journal;

use journal::{Extent, Journal};
use lock::{Owner, Surroundings, Taken};
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use tier0::pool::Pool;

/// Explores with at most so many switches away from a thread that could go on.
fn explore(switches: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.max_branches = 20_000;
    builder.check(f);
}

fn me(thread: u32) -> Owner {
    Owner::new(thread, 1, 100 + thread)
}

/// The only thread that may be dead is [`DEAD`].
struct World {
    dead: AtomicBool,
}
const DEAD: u32 = 9;

impl Surroundings for World {
    const PATIENCE: u32 = 1;
    fn alive(&self, owner: Owner) -> bool {
        // The kernel has stored everything of a thread before it says that it is gone.
        owner != me(DEAD) || !self.dead.load(Acquire)
    }
    fn wait(&self, _: u32) {
        thread::yield_now();
    }
}

struct Counter {
    word: AtomicU64,
    world: World,
    count: UnsafeCell<u32>,
}

impl Counter {
    fn new() -> Arc<Counter> {
        let world = World { dead: AtomicBool::new(false) };
        Arc::new(Counter { word: AtomicU64::new(0), world, count: UnsafeCell::new(0) })
    }
    /// Adds one under the lock; loom complains if two are in.
    fn add(&self) {
        // SAFETY: the lock is held by the callers.
        self.count.with_mut(|c| unsafe { *c += 1 });
    }
    fn lock_and_add(&self, thread: u32) -> Taken {
        let taken = lock::lock(&self.word, me(thread), &self.world).unwrap();
        self.add();
        lock::unlock(&self.word, me(thread));
        taken
    }
}

#[test]
fn the_lock_excludes() {
    explore(3, || {
        let counter = Counter::new();
        let threads: Vec<_> = (0..2)
            .map(|t| {
                let counter = counter.clone();
                thread::spawn(move || {
                    assert_eq!(counter.lock_and_add(t), Taken::Free);
                    assert_eq!(counter.lock_and_add(t), Taken::Free);
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        // SAFETY: all others have ended.
        assert_eq!(counter.count.with(|c| unsafe { *c }), 4);
    });
}

#[test]
fn a_dead_owner_has_one_successor() {
    explore(3, || {
        let counter = Counter::new();
        assert_eq!(lock::lock(&counter.word, me(DEAD), &counter.world), Ok(Taken::Free));
        counter.add();
        counter.world.dead.store(true, Release);
        let heir = counter.clone();
        let first = thread::spawn(move || heir.lock_and_add(1));
        let second = counter.lock_and_add(2);
        let both = [first.join().unwrap(), second];
        assert!(both.contains(&Taken::Over(me(DEAD))) && both.contains(&Taken::Free), "{both:?}");
        // SAFETY: all others have ended.
        assert_eq!(counter.count.with(|c| unsafe { *c }), 3);
    });
}

/// One file: its pool, its lock's surroundings, and what is home.
struct Node {
    pool: Pool,
    world: World,
    home: UnsafeCell<[u8; FILE]>,
}
const FILE: usize = 32;

impl Node {
    fn new(blocks: u32) -> Arc<Node> {
        let world = World { dead: AtomicBool::new(false) };
        Arc::new(Node { pool: Pool::new(blocks), world, home: UnsafeCell::new([0; FILE]) })
    }

    fn locked<T>(&self, thread: u32, f: impl FnOnce(Journal<'_>) -> T) -> T {
        let word = &self.pool.slots()[0].lock;
        let taken = lock::lock(word, me(thread), &self.world).unwrap();
        let journal = Journal::new(&self.pool, 0);
        if let Taken::Over(_) = taken {
            journal.repair().unwrap();
        }
        let result = f(journal);
        lock::unlock(word, me(thread));
        result
    }

    fn append(&self, thread: u32, offset: u64, bytes: &[u8]) {
        // SAFETY: the slice is readable and the slot locked.
        self.locked(thread, |j| unsafe { j.append(offset, bytes.as_ptr(), bytes.len()) }).unwrap();
    }

    /// As `File::flush`: seals under the lock, writes home without it, retires under it.
    fn flush(&self, thread: u32) {
        let flush_lock = &self.pool.slots()[0].flush_lock;
        lock::lock(flush_lock, me(thread), &self.world).unwrap();
        if let Some(end) = self.locked(thread, |j| j.seal()) {
            let journal = Journal::new(&self.pool, 0);
            let mut extents: Vec<Extent> = Vec::new();
            journal.extents(None, end, |e| extents.push(e)).unwrap();
            for e in extents {
                // SAFETY: sealed, and the flush lock is held, which guards the home too.
                self.home.with_mut(|h| unsafe {
                    (&mut (*h))[e.offset as usize..][..e.len as usize]
                        .copy_from_slice(journal.sealed_bytes(e));
                });
            }
            self.locked(thread, |j| j.retire(end));
        }
        lock::unlock(flush_lock, me(thread));
    }

    /// What is staged, over `base`.
    fn read(&self, thread: u32, mut base: [u8; FILE]) -> [u8; FILE] {
        self.locked(thread, |j| {
            if let Some(end) = j.end() {
                j.extents(None, end, |e| {
                    let to = &mut base[e.offset as usize..][..e.len as usize];
                    // SAFETY: read under the lock this moment.
                    unsafe { j.copy_out(e, 0, to.as_mut_ptr(), to.len()) };
                })
                .unwrap();
            }
        });
        base
    }

    /// The whole file, when all others have ended.
    fn file(&self) -> [u8; FILE] {
        // SAFETY: nobody else is there.
        self.read(8, self.home.with(|h| unsafe { *h }))
    }
}

#[test]
fn a_flush_takes_what_it_sealed_and_nothing_is_lost() {
    explore(3, || {
        let node = Node::new(3);
        node.append(0, 0, &[1; 4]);
        let flusher = node.clone();
        let flush = thread::spawn(move || flusher.flush(1));
        // Continues the record, overwrites, takes a new record.
        node.append(0, 4, &[2; 4]);
        node.append(0, 2, &[3; 4]);
        flush.join().unwrap();
        assert_eq!(node.file()[..8], [1, 1, 3, 3, 3, 3, 2, 2]);
        node.flush(0);
        assert!(Journal::new(&node.pool, 0).is_empty());
        assert_eq!(node.file()[..8], [1, 1, 3, 3, 3, 3, 2, 2]);
        assert!((0..3).all(|b| !node.pool.is_owner(0, b)), "a block leaks");
    });
}

#[test]
fn two_flushers_and_a_writer() {
    explore(3, || {
        let node = Node::new(3);
        node.append(0, 0, &[1; 4]);
        let other = node.clone();
        let flush = thread::spawn(move || other.flush(1));
        node.append(0, 4, &[2; 4]);
        node.flush(0);
        flush.join().unwrap();
        assert_eq!(node.file()[..8], [1, 1, 1, 1, 2, 2, 2, 2]);
        assert!(Journal::new(&node.pool, 0).is_empty());
    });
}

#[test]
fn a_reader_sees_whole_writes_in_their_order() {
    explore(3, || {
        let node = Node::new(3);
        let writer = node.clone();
        let write = thread::spawn(move || {
            writer.append(1, 0, &[1; 4]);
            writer.append(1, 4, &[2; 4]);
            writer.append(1, 2, &[3; 4]);
        });
        let seen = node.read(0, [0; FILE]);
        let after = [[0; 8], [1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 2, 2, 2, 2], [1, 1, 3, 3, 3, 3, 2, 2]];
        assert!(after.contains(seen[..8].try_into().unwrap()), "{seen:?}");
        write.join().unwrap();
        assert_eq!(node.file()[..8], after[3]);
    });
}

#[test]
fn a_dead_writer_is_succeeded() {
    explore(3, || {
        let node = Node::new(3);
        let dying = node.clone();
        let write = thread::spawn(move || {
            lock::lock(&dying.pool.slots()[0].lock, me(DEAD), &dying.world).unwrap();
            let journal = Journal::new(&dying.pool, 0);
            let bytes = [1u8; 4];
            // SAFETY: readable, and locked.
            unsafe { journal.append(0, bytes.as_ptr(), 4) }.unwrap();
            dying.world.dead.store(true, Release);
        });
        node.append(0, 4, &[3; 4]);
        write.join().unwrap();
        // Its write was whole before it died; the other's is not lost.
        assert_eq!(node.file()[..8], [1, 1, 1, 1, 3, 3, 3, 3]);
    });
}
