//! What the fuzz targets (`fuzz/`) drive: a pool in memory that was sound is spoiled as the input says, and everything
//! that recovery does runs over it. Compiled for them only. Owns the pool and the verdict: nothing may panic, hang,
//! or look outside the pool, and no byte may come out that no record of that file says.

use crate::journal::Journal;
use crate::tier0::layout::*;
use crate::tier0::pool::Pool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

const BLOCKS: u32 = 4;
const SLOTS_USED: u32 = 2;

struct Bed {
    sound: Pool,
    spoiled: Pool,
}

/// Two files, one with a chain of two blocks and one whose last block is sealed; payload bytes tell their file.
fn bed() -> Bed {
    let sound = Pool::in_memory(BLOCKS);
    for slot in 0..SLOTS_USED {
        let journal = Journal::new(&sound, slot);
        let bytes = vec![slot as u8 + 1; BLOCK];
        for (i, (offset, len)) in [(0u64, 100usize), (5000, 200), (5200, 50), (40, 7)].into_iter().enumerate()
        {
            // SAFETY: readable, and nobody else uses the pool.
            let _ = unsafe { journal.append(offset, bytes.as_ptr(), len) };
            if slot == 1 && i == 2 {
                journal.seal();
            }
        }
    }
    // SAFETY: as above.
    let _ = unsafe { Journal::new(&sound, 0).append(9000, vec![1; BLOCK].as_ptr(), BLOCK - 2000) };
    Bed { spoiled: Pool::in_memory(BLOCKS), sound }
}

/// Word `i` of a structure, if it has so many.
fn word<T>(of: &T, i: usize) -> Option<&AtomicU32> {
    // SAFETY: the structures are all atomics in memory of ours, and the word lies inside this one.
    ((i + 1) * 4 <= size_of::<T>()).then(|| unsafe { &*(&raw const *of).cast::<AtomicU32>().add(i) })
}

/// One patch: what is meant, which one of these, which word of it, how it changes, by which value.
fn spoil(pool: &Pool, patch: &[u8; 8]) {
    let [what, which, at, how, a, b, c, d] = *patch;
    let (which, at) = (u32::from(which), usize::from(at));
    let slot = which % SLOTS_USED;
    let block = which % BLOCKS;
    let target = match what % 5 {
        // Not the locks: nobody lives who could give them back.
        0 => word(&pool.slots()[slot as usize], 2 + at % 22),
        1 => word(pool.block(block), at % 3),
        2 => word(pool.record(block, (at / 6) as u32), at % 6),
        3 => Some(pool.owner_word(block)),
        _ => word(pool.superblock(), 12 + at % 12),
    };
    let (Some(target), value) = (target, u32::from_le_bytes([a, b, c, d])) else { return };
    match how % 3 {
        0 => target.store(value, Relaxed),
        1 => drop(target.fetch_xor(1 << (value % 32), Relaxed)),
        _ => drop(target.fetch_add(u32::from(a), Relaxed)),
    }
}

/// Spoils the pool as `data` says and recovers it.
pub fn recover(data: &[u8]) {
    thread_local! {
        static BED: Bed = bed();
    }
    BED.with(|bed| {
        let pool = &bed.spoiled;
        pool.copy_from(&bed.sound);
        data.as_chunks::<8>().0.iter().take(16).for_each(|patch| spoil(pool, patch));
        for slot in 0..SLOTS_USED {
            judge(pool, slot);
        }
    });
}

fn judge(pool: &Pool, slot: u32) {
    let journal = Journal::new(pool, slot);
    let look = || {
        let Some(end) = journal.end() else { return true };
        let mut extents = Vec::new();
        let sound = journal.extents(None, end, |e| extents.push(e)).is_ok();
        assert!(extents.len() <= BLOCKS as usize * (BLOCK / RECORD), "an extent is shown more than once");
        for e in extents {
            let mut bytes = vec![0; e.len as usize];
            // SAFETY: the vector is that long; the extent was just read, and nobody retires it.
            unsafe { journal.copy_out(e, 0, bytes.as_mut_ptr(), bytes.len()) };
        }
        sound
    };
    look();
    if journal.repair().is_err() {
        // As the engine has it: such a journal is only ever given up.
        if let Some(end) = journal.seal() {
            journal.retire(end);
        }
        return;
    }
    assert!(look(), "repaired, and still damaged");
    let bytes = [slot as u8 + 1; 300];
    // SAFETY: readable; nobody else uses the pool.
    let appended = unsafe { journal.append(1 << 20, bytes.as_ptr(), bytes.len()) };
    assert!(look() || appended.is_err(), "an append to a sound journal damages it");
    if let Some(end) = journal.seal() {
        journal.retire(end);
    }
    assert!(journal.is_empty(), "what was retired whole is still there");
}
