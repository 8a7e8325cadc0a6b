//! Death after every single store. A forked child performs one operation on a pool in shared memory, one machine
//! instruction at a time (ptrace). Whenever an instruction has changed the pool's control data, the pool as it is
//! at that moment is copied, and the copy is what a process that died there would have left: it is taken over as
//! the engine would, and checked.

use crate::journal::*;
use crate::tier0::layout::*;
use crate::tier0::lock::{self, Owner};
use crate::tier0::pool::Pool;
use std::sync::atomic::Ordering::Relaxed;

/// Blocks of a pool here.
const BLOCKS: u32 = 6;
/// The slot that everything happens in, and one that must not change.
const SLOT: u32 = 3;
const OTHER: u32 = 4;
/// More instructions than any operation here takes; beyond them it hangs.
const MOST_STEPS: u64 = 3_000_000;

type Extents = Vec<(u64, Vec<u8>)>;

/// Everything that is committed, in the order of writing.
fn contents(pool: &Pool, slot: u32) -> Extents {
    let journal = Journal::new(pool, slot);
    let mut all = Vec::new();
    if let Some(end) = journal.end() {
        journal
            .extents(None, end, |e| {
                // SAFETY: the extent was just read, and nobody else uses the pool.
                all.push((e.offset, unsafe { journal.sealed_bytes(e) }.to_vec()));
            })
            .expect("sound");
    }
    all
}

/// The file that the extents make.
fn file(extents: &Extents) -> Vec<u8> {
    let mut file = Vec::new();
    for (offset, bytes) in extents {
        let end = *offset as usize + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[*offset as usize..end].copy_from_slice(bytes);
    }
    file
}

fn append(pool: &Pool, slot: u32, offset: u64, bytes: &[u8]) -> Result<(), Full> {
    // SAFETY: the slice is readable, and this is the only user of the slot.
    unsafe { Journal::new(pool, slot).append(offset, bytes.as_ptr(), bytes.len()) }
}

/// The control data: all that an operation publishes by. Payload counts only once it is published.
fn control(pool: &Pool, seen: &mut Vec<u64>) {
    seen.clear();
    // SAFETY: all of these are words of mapped structures that consist of atomics.
    let mut words = |from: *const u8, bytes: usize| unsafe {
        seen.extend_from_slice(std::slice::from_raw_parts(from.cast::<u64>(), bytes / 8));
    };
    words((&raw const *pool.superblock()).cast(), size_of::<Superblock>());
    words((&raw const pool.slots()[SLOT as usize]).cast(), size_of::<Slot>());
    words((&raw const *pool.owner_word(0)).cast(), BLOCKS as usize * 4);
    for b in 0..BLOCKS {
        words(pool.block_ptr(b), BLOCK_HEADER);
        // The last records; no operation here leaves more than these in a block.
        // SAFETY: the range lies in the block.
        words(unsafe { pool.block_ptr(b).add(BLOCK - 16 * RECORD) }, 16 * RECORD);
    }
}

/// Keeps this thread and its children on one processor: a step is two switches between them.
fn on_one_cpu() {
    let mut one = rustix::thread::CpuSet::new();
    let here = rustix::thread::sched_getaffinity(None).expect("affinity");
    let cpu = (0..rustix::thread::CpuSet::MAX_CPU).find(|&c| here.is_set(c)).expect("a processor");
    one.set(cpu);
    rustix::thread::sched_setaffinity(None, &one).expect("affinity");
}

fn wait_for(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: waits for a child of this thread.
    let got = unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) };
    assert_eq!(got, child, "waitpid: {}", std::io::Error::last_os_error());
    status
}

/// A processor repeats `rep movsb` one byte a step. Where the child has come to one that copies into a block, all
/// but its last byte is copied here: nothing in a payload is published before the copy has ended.
#[cfg(target_arch = "x86_64")]
fn copy_at_once(child: i32, pool: &Pool) {
    // SAFETY: the child is stopped and traced by this thread. It has this process's text, and the pool and the
    // payload at the same addresses.
    unsafe {
        let mut regs: libc::user_regs_struct = std::mem::zeroed();
        assert_eq!(libc::ptrace(libc::PTRACE_GETREGS, child, 0, &raw mut regs), 0);
        let blocks = pool.block_ptr(0) as u64;
        let inside = (blocks..blocks + u64::from(BLOCKS) * BLOCK as u64).contains(&regs.rdi);
        if inside && *(regs.rip as *const [u8; 2]) == [0xf3, 0xa4] && regs.rcx > 1 {
            let n = regs.rcx - 1;
            std::ptr::copy_nonoverlapping(regs.rsi as *const u8, regs.rdi as *mut u8, n as usize);
            (regs.rdi, regs.rsi, regs.rcx) = (regs.rdi + n, regs.rsi + n, 1);
            assert_eq!(libc::ptrace(libc::PTRACE_SETREGS, child, 0, &raw const regs), 0);
        }
    }
}

/// Elsewhere copies are made of single instructions, and few.
#[cfg(not(target_arch = "x86_64"))]
fn copy_at_once(_: i32, _: &Pool) {}

/// Runs `operation` in a child, and `check` on a copy of the pool after each instruction that changed it. Returns
/// the number of moments checked.
fn at_every_moment(pool: &Pool, operation: impl Fn(&Pool), mut check: impl FnMut(&Pool)) -> usize {
    on_one_cpu();
    // SAFETY: the child uses nothing but the pool and the allocator, which fork leaves usable.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        let run = std::panic::AssertUnwindSafe(|| operation(pool));
        // SAFETY: asks to be traced by the parent and stops.
        let ready =
            unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) == 0 && libc::raise(libc::SIGSTOP) == 0 };
        let done = ready && std::panic::catch_unwind(run).is_ok();
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(i32::from(!done)) };
    }
    let mut status = wait_for(child);
    let copy = Pool::in_memory(BLOCKS);
    let (mut before, mut now) = (Vec::new(), Vec::new());
    control(pool, &mut before);
    let mut moments = 0;
    let mut steps = 0;
    while libc::WIFSTOPPED(status) {
        control(pool, &mut now);
        if now != before {
            std::mem::swap(&mut now, &mut before);
            copy.copy_from(pool);
            moments += 1;
            check(&copy);
        }
        steps += 1;
        assert!(steps < MOST_STEPS, "the operation does not end");
        copy_at_once(child, pool);
        // SAFETY: the child is stopped and traced by this thread.
        let stepped = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0, 0) };
        assert_eq!(stepped, 0, "ptrace: {}", std::io::Error::last_os_error());
        status = wait_for(child);
    }
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child ended with {status:#x}");
    moments
}

fn locked(pool: &Pool, operation: impl FnOnce(Journal<'_>)) {
    let (word, me) = (&pool.slots()[SLOT as usize].lock, Owner::new(1, 1, 2));
    assert!(lock::try_lock(word, me));
    operation(Journal::new(pool, SLOT));
    lock::unlock(word, me);
}

/// What must be true of any pool, whenever its last user died. The file at home ends at `home`.
fn recover_and_check(pool: &Pool, other: &Extents, home: u64) {
    let slot = &pool.slots()[SLOT as usize];
    let journal = Journal::new(pool, SLOT);
    if slot.lock.load(Relaxed) != 0 {
        journal.repair().expect("a death is no damage");
        slot.lock.store(0, Relaxed);
    }
    let extents = contents(pool, SLOT);
    let mut chain = Vec::new();
    if let Some(end) = journal.end() {
        journal.extents(None, end, |e| chain.push(e.block)).expect("sound");
        let last = extents.iter().map(|(o, b)| o + b.len() as u64).max().unwrap_or(0);
        // As `File::end_of_file` reckons.
        let base = Some(slot.base_size.load(Relaxed)).filter(|&b| b != u64::MAX).unwrap_or(home);
        assert_eq!(base.max(slot.staged_end.load(Relaxed)), last.max(home), "the end of the file");
        let bytes: usize = extents.iter().map(|(_, b)| b.len()).sum();
        assert_eq!(slot.staged_bytes.load(Relaxed), bytes as u64);
        assert_eq!(slot.records.load(Relaxed), extents.len() as u64);
    }
    chain.dedup();
    let owned = (0..BLOCKS).filter(|&b| pool.is_owner(SLOT, b)).count();
    assert_eq!(owned, chain.len(), "a block leaks");
    assert_eq!(&contents(pool, OTHER), other, "another file changed");
    let staged = 1 + u64::from(!journal.is_empty());
    assert!(pool.superblock().staged_files.load(Relaxed) >= staged, "staged bytes would be overlooked");
    // The pool goes on: what is written now is read back, what was there stays, and all of it can be retired.
    let mut want = extents.clone();
    for (offset, bytes) in [(5000u64, vec![0xd1; 700]), (9000, vec![0xd2; 80])] {
        append(pool, SLOT, offset, &bytes).expect("room");
        want.push((offset, bytes));
    }
    assert_eq!(file(&contents(pool, SLOT)), file(&want));
    let sealed = journal.seal().expect("staged");
    journal.retire(sealed);
    assert!(journal.is_empty());
    assert_eq!((0..BLOCKS).filter(|&b| pool.is_owner(SLOT, b)).count(), 0, "a block leaks");
    assert_eq!(&contents(pool, OTHER), other, "another file changed");
}

/// A pool in which another file has a block, and this one what `before` wrote.
fn pool_with(before: impl FnOnce(&Pool)) -> (Pool, Extents) {
    let pool = Pool::in_memory(BLOCKS);
    append(&pool, OTHER, 10, &[0xee; 300]).expect("room");
    before(&pool);
    let other = contents(&pool, OTHER);
    (pool, other)
}

/// An append is there whole or not at all, and what was there before stays.
fn append_dies(before: impl FnOnce(&Pool), offset: u64, len: usize) {
    let (pool, other) = pool_with(before);
    let old = contents(&pool, SLOT);
    let payload: Vec<u8> = (0..len).map(|i| (i % 250 + 1) as u8).collect();
    let mut new = file(&old);
    new.resize(new.len().max(offset as usize + len), 0);
    new[offset as usize..offset as usize + len].copy_from_slice(&payload);
    let old = file(&old);
    let (mut without, mut with) = (0, 0);
    let moments = at_every_moment(
        &pool,
        |pool| locked(pool, |_| append(pool, SLOT, offset, &payload).expect("room")),
        |died| {
            let now = file(&contents(died, SLOT));
            assert!(now == old || now == new, "neither before nor after");
            let shown = now == new;
            assert!(shown || with == 0, "a write that was there has gone");
            *(if shown { &mut with } else { &mut without }) += 1;
            recover_and_check(died, &other, 0);
        },
    );
    assert!(without >= 3 && with >= 1, "{moments} moments: {without} before, {with} after");
    assert_eq!(file(&contents(&pool, SLOT)), new);
}

#[test]
fn dying_in_the_first_append() {
    append_dies(|_| (), 100, 50);
}

#[test]
fn dying_in_an_append_that_takes_a_record() {
    append_dies(|pool| append(pool, SLOT, 0, &[7; 100]).expect("room"), 300, 90);
}

#[test]
fn dying_in_an_append_that_overwrites() {
    append_dies(|pool| append(pool, SLOT, 0, &[7; 100]).expect("room"), 20, 30);
}

#[test]
fn dying_in_an_append_that_lengthens_the_last_record() {
    append_dies(|pool| append(pool, SLOT, 0, &[7; 100]).expect("room"), 100, 90);
}

#[test]
fn dying_in_an_append_that_is_split_between_blocks() {
    // 200 bytes are left of the block, the record's own included.
    let fill = BLOCK - BLOCK_HEADER - RECORD - 200;
    append_dies(|pool| append(pool, SLOT, 0, &vec![7; fill]).expect("room"), 10, 300);
}

#[test]
fn dying_in_an_append_over_three_blocks() {
    let fill = BLOCK - BLOCK_HEADER - RECORD - 10;
    let len = BLOCK - BLOCK_HEADER + 500;
    append_dies(|pool| append(pool, SLOT, 0, &vec![7; fill]).expect("room"), 10, len);
}

#[test]
fn dying_in_an_append_after_a_seal() {
    append_dies(
        |pool| {
            append(pool, SLOT, 0, &[7; 100]).expect("room");
            Journal::new(pool, SLOT).seal().expect("staged");
        },
        100,
        90,
    );
}

#[test]
fn dying_in_an_append_that_finds_no_room() {
    let (pool, other) = pool_with(|pool| {
        append(pool, SLOT, 0, &vec![7; 3 * BLOCK]).expect("room");
    });
    let old = contents(&pool, SLOT);
    let big = vec![9; 3 * BLOCK];
    let moments = at_every_moment(
        &pool,
        |pool| locked(pool, |_| assert_eq!(append(pool, SLOT, 5, &big), Err(Full))),
        |died| {
            assert_eq!(file(&contents(died, SLOT)), file(&old));
            let slot = &died.slots()[SLOT as usize];
            if slot.lock.load(Relaxed) != 0 {
                Journal::new(died, SLOT).repair().expect("a death is no damage");
                slot.lock.store(0, Relaxed);
            }
            let sealed = Journal::new(died, SLOT).seal().expect("staged");
            Journal::new(died, SLOT).retire(sealed);
            recover_and_check(died, &other, 0);
        },
    );
    assert!(moments > 5, "{moments}");
}

/// Bytes that are home may stay staged or go, all of them; what came after the seal stays.
fn retire_dies(first: usize, later: bool) {
    let (pool, other) = pool_with(|pool| append(pool, SLOT, 0, &vec![7; first]).expect("room"));
    let journal = Journal::new(&pool, SLOT);
    let sealed = journal.seal().expect("staged");
    if later {
        append(&pool, SLOT, 50, &[8; 100]).expect("room");
        append(&pool, SLOT, 500, &[9; 100]).expect("room");
    }
    let all = contents(&pool, SLOT);
    // It was flushed when that was sealed.
    let home = first as u64;
    let rest: Extents = all.iter().skip(all.len() - if later { 2 } else { 0 }).cloned().collect();
    let epoch = journal.slot().epoch.load(Relaxed);
    let (mut full, mut retired) = (0, 0);
    at_every_moment(
        &pool,
        |pool| locked(pool, |j| j.retire(sealed)),
        |died| {
            let now = contents(died, SLOT);
            if now == all {
                assert_eq!(retired, 0, "retired extents are back");
                full += 1;
            } else {
                assert_eq!(now, rest);
                let seen = died.slots()[SLOT as usize].epoch.load(Relaxed);
                assert_ne!(seen, epoch, "an index of the retired extents would be believed");
                retired += 1;
            }
            recover_and_check(died, &other, home);
        },
    );
    assert!(full >= 1 && retired >= 2, "{full} {retired}");
    assert_eq!(contents(&pool, SLOT), rest);
    recover_and_check(&pool, &other, home);
}

#[test]
fn dying_in_a_retirement_of_everything() {
    retire_dies(2 * BLOCK, false);
}

#[test]
fn dying_in_a_retirement_with_bytes_after_it() {
    retire_dies(2 * BLOCK, true);
}

#[test]
fn dying_in_a_repair() {
    // What a dead appender left that had linked two blocks without committing them.
    let (pool, other) = pool_with(|pool| append(pool, SLOT, 0, &[7; 100]).expect("room"));
    let old = contents(&pool, SLOT);
    let (a, b) = (pool.take_block(SLOT).expect("room"), pool.take_block(SLOT).expect("room"));
    let chain = (0..BLOCKS).find(|&c| pool.is_owner(SLOT, c) && c != a && c != b).expect("the first block");
    pool.block(chain).next.store(a + 1, Relaxed);
    pool.block(a).next.store(b + 1, Relaxed);
    pool.slots()[SLOT as usize].staged_end.store(1 << 30, Relaxed);
    let moments = at_every_moment(
        &pool,
        |pool| locked(pool, |j| j.repair().expect("sound")),
        |died| {
            assert_eq!(contents(died, SLOT), old);
            recover_and_check(died, &other, 0);
        },
    );
    assert!(moments >= 4, "{moments}");
    recover_and_check(&pool, &other, 0);
}

#[test]
fn dying_in_a_repair_of_an_empty_journal() {
    let (pool, other) = pool_with(|_| ());
    let a = pool.take_block(SLOT).expect("room");
    pool.slots()[SLOT as usize].first.store(a + 1, Relaxed);
    at_every_moment(
        &pool,
        |pool| locked(pool, |j| j.repair().expect("sound")),
        |died| {
            assert_eq!(contents(died, SLOT), Extents::new());
            recover_and_check(died, &other, 0);
        },
    );
    recover_and_check(&pool, &other, 0);
}
