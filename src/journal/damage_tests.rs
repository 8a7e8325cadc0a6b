//! Damage: a pool on real files, with staged bytes, is spoiled at random (flipped bits, wild words and numbers, rings,
//! swapped chains), and everything that recovery does runs over it: opening, reading the extents, repairing,
//! draining, giving up. None of it may panic, hang, or write a byte that no record of that file says. Payload has no
//! check of its own and is left alone.
//!
//! `IRIS_DAMAGE_CASES` sets the number of pools.

use crate::admin;
use crate::config::Config;
use crate::engine::state::settings;
use crate::journal::*;
use crate::sys;
use crate::tier0::layout::*;
use crate::tier0::pool::{Pool, PoolError};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const FILES: usize = 3;
const BLOCKS: u32 = 10;
const BASE: u8 = b'.';
const BASE_LEN: usize = 3000;

/// A word of the pool that is spoiled, by what it is part of; the numbers choose among those there are.
#[derive(Clone, Copy, Debug)]
enum Where {
    Slot(u8, u8),
    Key(u8, u8),
    Head(u8, u8),
    Record(u8, u8),
    Owner(u8),
    Name(u8, u8),
    Process(u8),
    Superblock(u8),
}

#[derive(Clone, Copy, Debug)]
enum How {
    Flip(u8),
    Set(u32),
    Wild(u64),
}

impl How {
    fn spoil(self, word: &AtomicU32, seldom: &AtomicU32) {
        match self {
            How::Flip(bit) => drop(word.fetch_xor(1 << (bit % 32), Relaxed)),
            How::Set(small) => word.store(small, Relaxed),
            How::Wild(w) => {
                word.store(w as u32, Relaxed);
                seldom.store((w >> 32) as u32, Relaxed);
            }
        }
    }
}

fn any_damage() -> impl Strategy<Value = (Where, How)> {
    let place = prop_oneof![
        4 => (any::<u8>(), 0..64u8).prop_map(|(s, w)| Where::Slot(s, w)),
        1 => (any::<u8>(), 0..4u8).prop_map(|(s, w)| Where::Key(s, w)),
        4 => (any::<u8>(), 0..3u8).prop_map(|(b, w)| Where::Head(b, w)),
        3 => (any::<u8>(), 0..6u8).prop_map(|(r, w)| Where::Record(r, w)),
        2 => any::<u8>().prop_map(Where::Owner),
        1 => any::<(u8, u8)>().prop_map(|(s, w)| Where::Name(s, w)),
        1 => any::<u8>().prop_map(Where::Process),
        1 => (0..32u8).prop_map(Where::Superblock),
    ];
    let how = prop_oneof![
        any::<u8>().prop_map(How::Flip),
        (0..BLOCKS + 3).prop_map(How::Set),
        any::<u64>().prop_map(How::Wild),
    ];
    (place, how)
}

/// Word `i` of a structure.
fn word<T>(of: &T, i: usize) -> &AtomicU32 {
    assert!((i + 1) * 4 <= size_of::<T>());
    // SAFETY: the structures are all atomics in a shared mapping, and the word lies inside this one.
    unsafe { &*(&raw const *of).cast::<AtomicU32>().add(i) }
}

fn spoil(pool: &Pool, slots: &[u32], records: &[(u32, u32)], (place, how): (Where, How)) {
    let slot = |s: u8| slots[s as usize % slots.len()];
    let block = |b: u8| u32::from(b) % BLOCKS;
    let none = AtomicU32::new(0);
    match place {
        Where::Slot(s, w) => {
            // The lock words name living threads only by a chance that a test cannot wait for.
            let it = &pool.slots()[slot(s) as usize];
            how.spoil(word(it, w as usize), if w < 63 { word(it, w as usize + 1) } else { &none });
        }
        Where::Key(s, w) => how.spoil(word(&pool.keys()[slot(s) as usize], w as usize), &none),
        Where::Head(b, w) => how.spoil(word(pool.block(block(b)), w as usize), &none),
        Where::Record(r, w) => {
            let (block, i) = records[r as usize % records.len()];
            how.spoil(word(pool.record(block, i), w as usize), &none);
        }
        Where::Owner(b) => how.spoil(pool.owner_word(block(b)), &none),
        Where::Name(s, at) => {
            // SAFETY: inside the slot's name; whole words of it are aligned.
            how.spoil(unsafe { &*pool.name_ptr(slot(s)).add(at as usize * 4).cast::<AtomicU32>() }, &none);
        }
        Where::Process(w) => {
            how.spoil(word(&pool.processes()[sys::pid() as usize % PROCESSES], w as usize % 8), &none)
        }
        Where::Superblock(w) => {
            how.spoil(word(pool.superblock(), w as usize % (size_of::<Superblock>() / 4)), &none)
        }
    }
}

/// A staged file and, for each of its bytes, what may be there.
struct Staged {
    path: PathBuf,
    slot: u32,
    allowed: Vec<Vec<u8>>,
}

fn stage(pool: &Pool, folder: &std::path::Path, n: usize, writes: &[(u32, u32)]) -> Staged {
    let path = folder.join(format!("file{n}"));
    std::fs::write(&path, [BASE; BASE_LEN]).expect("file");
    let st = std::fs::metadata(&path).expect("file");
    let file = std::fs::File::open(&path).expect("file");
    let ino = std::os::unix::fs::MetadataExt::ino(&file.metadata().expect("metadata"));
    let born = sys::birth(std::os::fd::AsRawFd::as_raw_fd(&file), ino);
    let me = pool.me().expect("an entry");
    let slot = pool.find_or_insert(me, st.dev(), st.ino(), born).expect("a slot");
    pool.set_name(slot, path.as_os_str().as_bytes());
    let mut allowed = vec![vec![BASE]; BASE_LEN];
    for (i, &(offset, len)) in writes.iter().enumerate() {
        // No two files have a byte in common.
        let byte = (n * 64 + i % 64 + 1) as u8;
        let bytes = vec![byte; len as usize];
        // SAFETY: readable, and this is the slot's only user.
        let done = unsafe { Journal::new(pool, slot).append(u64::from(offset), bytes.as_ptr(), bytes.len()) };
        if done.is_ok() {
            let end = (offset + len) as usize;
            if allowed.len() < end {
                allowed.resize(end, vec![0]);
            }
            allowed[offset as usize..end].iter_mut().for_each(|a| a.push(byte));
        }
        if i == 2 {
            Journal::new(pool, slot).seal();
        }
    }
    Staged { path, slot, allowed }
}

fn survives(writes: &[Vec<(u32, u32)>], damage: &[(Where, How)], reader: bool) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().expect("folder");
    let mut config = Config::default();
    config.tier0.path = Some(folder.path().to_owned());
    config.tier0.memory = u64::from(BLOCKS) * BLOCK as u64;
    let pool = Pool::open_or_make(&settings(&config)).expect("pool");
    let files: Vec<Staged> =
        writes.iter().enumerate().map(|(n, w)| stage(&pool, folder.path(), n, w)).collect();
    let slots: Vec<u32> = files.iter().map(|f| f.slot).collect();
    let mut records = Vec::new();
    for &slot in &slots {
        let journal = Journal::new(&pool, slot);
        let end = journal.end().expect("staged");
        journal
            .extents(None, end, |e| {
                let i = records.iter().filter(|&&(block, _)| block == e.block).count() as u32;
                records.push((e.block, i));
            })
            .expect("sound");
    }
    damage.iter().for_each(|&d| spoil(&pool, &slots, &records, d));
    if reader {
        // What a process does that has the pool mapped already.
        for &slot in &slots {
            let journal = Journal::new(&pool, slot);
            if let Some(end) = journal.end() {
                let mut n = 0u64;
                let read = journal.extents(None, end, |_| n += 1);
                prop_assert!(read.is_err() || n <= 4 * u64::from(BLOCKS) * (BLOCK / RECORD) as u64);
            }
            if journal.repair().is_err() {
                // As the engine: nothing is staged in a damaged journal.
                pool.slots()[slot as usize].flags.fetch_or(DAMAGED, Relaxed);
                continue;
            }
            let bytes = [0xfe; 100];
            // SAFETY: readable; nobody else uses the slot. What is appended here is allowed below.
            let _ = unsafe { journal.append(1 << 20, bytes.as_ptr(), bytes.len()) };
        }
    }
    drop(pool);
    for discard in [false, true] {
        match admin::drain(&config, &[], true, discard) {
            Ok(_) | Err(PoolError::Damaged { .. }) => {}
            Err(e) => prop_assert!(false, "{e}"),
        }
        let _ = admin::status(&config);
    }
    for (n, f) in files.iter().enumerate() {
        let now = std::fs::read(&f.path).expect("file");
        for (at, byte) in now.iter().enumerate() {
            let mut allowed = f.allowed.get(at).is_some_and(|a| a.contains(byte));
            // Beyond what was written, only what was appended after the damage, and the hole before it.
            allowed |= at >= f.allowed.len() && (*byte == 0 || at >= 1 << 20 && *byte == 0xfe);
            prop_assert!(allowed, "file {} has {:#x} at {}", n, byte, at);
        }
    }
    Ok(())
}

fn cases() -> u32 {
    std::env::var("IRIS_DAMAGE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(100)
}

#[test]
fn a_sound_pool_drains_whole() {
    let writes = vec![vec![(0, 100), (50, 200), (5000, 300), (100, 7)]; FILES];
    survives(&writes, &[], false).expect("sound");
    survives(&writes, &[], true).expect("sound");
}

#[test]
fn no_damage_panics_hangs_or_writes_what_nobody_wrote() {
    let config = ProptestConfig {
        cases: cases(),
        rng_seed: RngSeed::Fixed(0x1415),
        failure_persistence: None,
        max_shrink_iters: 60,
        ..ProptestConfig::default()
    };
    let length = prop_oneof![3 => 1..400u32, 1 => 100_000..300_000u32];
    let file = prop::collection::vec((0..6000u32, length), 1..8);
    let input =
        (prop::collection::vec(file, FILES), prop::collection::vec(any_damage(), 1..6), any::<bool>());
    let result =
        TestRunner::new(config).run(&input, |(writes, damage, reader)| survives(&writes, &damage, reader));
    if let Err(e) = result {
        panic!("{e}");
    }
}

#[test]
fn a_chain_bent_into_a_ring_is_damage_at_every_length() {
    for from in 0..4u32 {
        for to in 0..=from {
            let pool = Pool::in_memory(6);
            let journal = Journal::new(&pool, 0);
            let big = vec![1; 5 * BLOCK];
            // SAFETY: readable; nobody else uses the pool.
            unsafe { journal.append(0, big.as_ptr(), big.len()) }.expect("room");
            let end = journal.end().expect("staged");
            pool.block(from).next.store(to + 1, Relaxed);
            assert_eq!(journal.extents(None, end, |_| ()), Err(Damaged), "{from} to {to}");
            assert_eq!(journal.repair(), Err(Damaged));
            // It can be given up, and leaves nothing.
            journal.retire(end);
            assert_eq!(pool.blocks_used(), (0, 0));
        }
    }
}

#[test]
fn another_files_block_is_damage() {
    let pool = Pool::in_memory(4);
    for slot in [0, 1] {
        // SAFETY: readable; nobody else uses the pool.
        unsafe { Journal::new(&pool, slot).append(0, [slot as u8; 100].as_ptr(), 100) }.expect("room");
    }
    let (mine, theirs) = (&pool.slots()[0], &pool.slots()[1]);
    mine.first.store(theirs.first.load(Relaxed), Relaxed);
    mine.commit.store(theirs.commit.load(Relaxed), Relaxed);
    let journal = Journal::new(&pool, 0);
    assert_eq!(journal.extents(None, journal.end().expect("staged"), |_| ()), Err(Damaged));
    // Even where the owner's table says the same: the records are the other's.
    pool.owner_word(1).store(1, Relaxed);
    assert_eq!(journal.extents(None, journal.end().expect("staged"), |_| ()), Err(Damaged));
}
