use crate::journal::*;
use crate::tier0::layout::*;
use crate::tier0::pool::Pool;
use std::sync::atomic::Ordering::Relaxed;

fn read_all(journal: &Journal<'_>, len: usize) -> Vec<u8> {
    let mut file = vec![0u8; len];
    let Some(end) = journal.end() else { return file };
    journal
        .extents(None, end, |e| {
            // SAFETY: the extent was just read and nothing is retired in this test.
            let bytes = unsafe { journal.sealed_bytes(e) };
            file[e.offset as usize..e.offset as usize + bytes.len()].copy_from_slice(bytes);
        })
        .expect("sound");
    file
}

fn append(journal: &Journal<'_>, offset: u64, bytes: &[u8]) -> Result<(), Full> {
    // SAFETY: the slice is readable; the test is the only user of the slot.
    unsafe { journal.append(offset, bytes.as_ptr(), bytes.len()) }
}

#[test]
fn sequential_writes_become_one_extent() {
    let pool = Pool::in_memory(4);
    let journal = Journal::new(&pool, 0);
    for i in 0..100u64 {
        append(&journal, i * 10, &[i as u8; 10]).expect("room");
    }
    assert_eq!(journal.end(), Some(Position { block: 0, records: 1 }));
    assert_eq!(journal.slot().staged_end.load(Relaxed), 1000);
    assert!(read_all(&journal, 1000).chunks(10).enumerate().all(|(i, c)| c == [i as u8; 10]));
}

#[test]
fn a_full_pool_takes_nothing_and_leaks_nothing() {
    let pool = Pool::in_memory(2);
    let journal = Journal::new(&pool, 5);
    append(&journal, 0, &[1; 100]).expect("room");
    let before = journal.end();
    assert_eq!(append(&journal, 500, &vec![2; 2 * BLOCK]), Err(Full));
    assert_eq!(journal.end(), before);
    assert_eq!(pool.blocks_used().0, 1);
    append(&journal, 100, &[3; 10]).expect("still usable");
    assert_eq!(&read_all(&journal, 110)[95..], [&[1u8; 5][..], &[3; 10]].concat());
}

#[test]
fn a_write_across_blocks_is_split_and_whole() {
    let pool = Pool::in_memory(4);
    let journal = Journal::new(&pool, 1);
    let big: Vec<u8> = (0..BLOCK + 1000).map(|i| (i % 251) as u8).collect();
    append(&journal, 7, &[9; 5]).expect("room");
    append(&journal, 100, &big).expect("room");
    let mut want = vec![0; 100 + big.len()];
    want[7..12].fill(9);
    want[100..].copy_from_slice(&big);
    assert_eq!(read_all(&journal, want.len()), want);
}

#[test]
fn retiring_gives_blocks_back_and_keeps_what_came_later() {
    let pool = Pool::in_memory(4);
    let journal = Journal::new(&pool, 1);
    append(&journal, 0, &[1; 100]).expect("room");
    let sealed = journal.seal().expect("staged");
    append(&journal, 50, &[2; 100]).expect("room");
    assert_ne!(journal.end().expect("staged").block, sealed.block);
    journal.retire(sealed);
    assert_eq!(pool.blocks_used().0, 1);
    assert_eq!(&read_all(&journal, 150)[50..], [2; 100]);
    let sealed = journal.seal().expect("staged");
    journal.retire(sealed);
    assert!(journal.is_empty());
    assert_eq!(pool.blocks_used().0, 0);
    assert_eq!(pool.superblock().staged_files.load(Relaxed), 0);
}

#[test]
fn a_flipped_bit_is_found() {
    let pool = Pool::in_memory(1);
    let journal = Journal::new(&pool, 0);
    append(&journal, 4096, &[1; 100]).expect("room");
    let end = journal.end().expect("staged");
    for bit in 0..64 {
        let record = pool.record(0, 0);
        record.len_check.fetch_xor(1 << bit, Relaxed);
        assert_eq!(journal.extents(None, end, |_| ()), Err(Damaged), "bit {bit}");
        record.len_check.fetch_xor(1 << bit, Relaxed);
        record.offset.fetch_xor(1 << bit, Relaxed);
        assert_eq!(journal.extents(None, end, |_| ()), Err(Damaged), "bit {bit} of the offset");
        record.offset.fetch_xor(1 << bit, Relaxed);
    }
    journal.extents(None, end, |_| ()).expect("sound again");
}

#[test]
fn what_a_killed_appender_left_is_repaired() {
    let pool = Pool::in_memory(4);
    let journal = Journal::new(&pool, 2);
    append(&journal, 0, &[1; 10]).expect("room");
    // Killed after taking and linking a block, before the commit.
    let block = pool.take_block(2).expect("room");
    pool.block(0).next.store(block + 1, Relaxed);
    journal.slot().staged_end.store(1 << 30, Relaxed);
    journal.repair().expect("sound");
    assert_eq!(pool.blocks_used().0, 1);
    assert_eq!(journal.slot().staged_end.load(Relaxed), 10);
}
