//! Processes as the pool knows them: who may hold a lock, and whether they still live. Owns the reading of
//! /proc for that purpose; may not touch slots or blocks.

use super::layout::{PROCESSES, Process};
use super::lock::Owner;
use crate::aside;
use crate::sys;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A process of the table of processes and when it registered there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Process id.
    pub pid: u32,
    /// Milliseconds since boot at which it was known to live.
    pub since_ms: u64,
}

/// Start times in /proc count ticks of 10 ms (USER_HZ is 100 on every architecture Linux runs Rust on); one
/// tick more covers the rounding on both sides.
const TICK_MS: u64 = 10;

impl Identity {
    /// Whether that very process still runs. Where /proc does not tell, it is taken to live: waiting for a
    /// living owner loses time, robbing one loses data.
    pub fn alive(self) -> bool {
        match stat_of(self.pid, None) {
            Found::Gone => false,
            Found::Unknown => true,
            Found::Running { start_ms } => start_ms <= self.since_ms.saturating_add(2 * TICK_MS),
            // The leader of a process can be a zombie while other threads run on.
            Found::Zombie { start_ms } => {
                start_ms <= self.since_ms.saturating_add(2 * TICK_MS) && other_threads_of(self.pid)
            }
        }
    }

    /// Whether the thread `tid` of that process still runs.
    pub fn thread_alive(self, tid: u32) -> bool {
        match stat_of(self.pid, Some(tid)) {
            Found::Gone | Found::Zombie { .. } => false,
            Found::Unknown => true,
            Found::Running { .. } => self.alive(),
        }
    }
}

enum Found {
    Gone,
    Zombie { start_ms: u64 },
    Running { start_ms: u64 },
    Unknown,
}

fn stat_of(pid: u32, tid: Option<u32>) -> Found {
    use std::io::Write;
    let mut name = [0u8; 64];
    let mut cursor = std::io::Cursor::new(&mut name[..63]);
    // Two ten-digit numbers fit; a cut name would be Unknown below.
    let _ = match tid {
        None => write!(cursor, "/proc/{pid}/stat"),
        Some(tid) => write!(cursor, "/proc/{pid}/task/{tid}/stat"),
    };
    let Ok(path) = CStr::from_bytes_until_nul(&name) else { return Found::Unknown };
    let mut text = [0u8; 1024];
    let len = aside::with_number(|| sys::read_small(path, &mut text).map(<[u8]>::len));
    match len {
        Ok(len) => parse_stat(&text[..len]),
        Err(e) if e.0 == libc::ENOENT || e.0 == libc::ESRCH => {
            // Without /proc at all everybody would seem dead.
            if sys::statat(libc::AT_FDCWD, c"/proc/self/stat", true).is_ok() {
                Found::Gone
            } else {
                Found::Unknown
            }
        }
        Err(_) => Found::Unknown,
    }
}

/// Fields 3 (state) and 22 (start time in ticks) of proc_pid_stat(5); the name in field 2 may hold anything.
fn parse_stat(text: &[u8]) -> Found {
    let Some(end) = text.iter().rposition(|&b| b == b')') else { return Found::Unknown };
    let mut fields = text[end + 1..].split(|&b| b == b' ').filter(|f| !f.is_empty());
    let Some(state) = fields.next() else { return Found::Unknown };
    let start = fields.nth(18).and_then(|f| std::str::from_utf8(f).ok()).and_then(|f| f.parse::<u64>().ok());
    let Some(start) = start else { return Found::Unknown };
    let start_ms = start.saturating_mul(TICK_MS);
    match state {
        b"X" | b"x" => Found::Gone,
        b"Z" => Found::Zombie { start_ms },
        _ => Found::Running { start_ms },
    }
}

/// Whether a process whose leader is a zombie has another thread. The link count of its task folder is
/// threads + 2.
fn other_threads_of(pid: u32) -> bool {
    use std::io::Write;
    let mut name = [0u8; 64];
    let mut cursor = std::io::Cursor::new(&mut name[..63]);
    let _ = write!(cursor, "/proc/{pid}/task");
    let Ok(path) = CStr::from_bytes_until_nul(&name) else { return true };
    sys::statat(libc::AT_FDCWD, path, true).is_ok_and(|s| s.st_nlink > 3)
}

/// Forks between this process and the one that loaded the library.
static FORKS: AtomicU32 = AtomicU32::new(0);
/// This process's incarnation; 0 until somebody asks.
static INCARNATION: AtomicU32 = AtomicU32::new(0);

/// This process's place in one table of processes, for who has that table. Each pool has a table of its own.
#[derive(Default)]
pub struct Place {
    /// From the top: [`FORKS`] when it was taken, the incarnation, the number of the entry + 1. 0: none yet.
    word: AtomicU64,
}

impl Place {
    /// The calling thread as an owner of locks, if this process has an entry in the table.
    #[inline]
    pub fn owner(&self) -> Option<Owner> {
        let word = self.word.load(Ordering::Acquire);
        let current = word as u16 != 0 && (word >> 32) as u32 == FORKS.load(Ordering::Relaxed);
        current.then(|| Owner::of(word as u32, tid()))
    }

    #[cfg(test)]
    fn known(&self) -> Option<(u32, u16)> {
        self.owner().map(|owner| (owner.process(), owner.incarnation()))
    }

    fn set(&self, entry: u32, incarnation: u16) {
        let forks = u64::from(FORKS.load(Ordering::Relaxed));
        let word = forks << 32 | u64::from(incarnation) << 16 | u64::from(entry + 1);
        self.word.store(word, Ordering::Release);
    }
}

/// Forgets this process's entries: a forked child takes its own.
pub fn forget() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    INCARNATION.store(0, Ordering::Relaxed);
    known_tid::set(0);
}

/// This thread's id, from memory after the first call.
#[inline]
pub fn tid() -> u32 {
    match known_tid::get() {
        0 => ask_tid(),
        known => known,
    }
}

#[cold]
fn ask_tid() -> u32 {
    let tid = sys::tid();
    known_tid::set(tid);
    tid
}

/// A thread's id as it remembers it, 0 before. Every lock asks, and a thread-local variable of a shared library costs a call
/// (`__tls_get_addr`), so this one is of the initial-exec model, which stable Rust has no word for.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod known_tid {
    std::arch::global_asm!(
        ".pushsection .tbss.iris_tid,\"awT\",@nobits",
        ".balign 4",
        ".globl iris_tid",
        ".hidden iris_tid",
        ".type iris_tid,@object",
        ".size iris_tid,4",
        "iris_tid:",
        ".zero 4",
        ".popsection",
    );

    #[inline(always)]
    pub fn get() -> u32 {
        let known: u32;
        // SAFETY: loads the variable above by its offset from the thread pointer, which the loader has filled in.
        unsafe {
            std::arch::asm!(
                "mov {at}, qword ptr [rip + iris_tid@GOTTPOFF]",
                "mov {known:e}, dword ptr fs:[{at}]",
                at = out(reg) _,
                known = lateout(reg) known,
                options(nostack, preserves_flags, readonly)
            );
        }
        known
    }

    pub fn set(tid: u32) {
        // SAFETY: as in `get`; only this thread has this variable.
        unsafe {
            std::arch::asm!(
                "mov {at}, qword ptr [rip + iris_tid@GOTTPOFF]",
                "mov dword ptr fs:[{at}], {tid:e}",
                at = out(reg) _,
                tid = in(reg) tid,
                options(nostack, preserves_flags)
            );
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod known_tid {
    use std::cell::Cell;

    thread_local! {
        static TID: Cell<u32> = const { Cell::new(0) };
    }

    #[inline]
    pub fn get() -> u32 {
        TID.with(Cell::get)
    }

    pub fn set(tid: u32) {
        TID.with(|known| known.set(tid));
    }
}

/// A number that the processes that have the same process id one after the other (ids come round, and exec keeps
/// them) do not share: 16 mixed bits of the time at which the first thread asked. All threads get the same.
fn incarnation() -> u16 {
    let time = sys::monotonic_ns().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    let mine = time.max(1) as u32;
    match INCARNATION.compare_exchange(0, mine, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => mine as u16,
        Err(first) => first as u16,
    }
}

/// Takes an entry of the table for this process: the calling thread as an owner of locks then. `None` when the table is
/// full of living processes.
///
/// Entries are taken by a compare-exchange of the pid from 0 (or from a dead one's), so that no lock is needed
/// before locks can be owned.
#[cold]
pub fn enter(place: &Place, table: &[Process]) -> Option<Owner> {
    take_entry(place, table).map(|(entry, incarnation)| Owner::new(entry, incarnation, tid()))
}

#[cfg(test)]
fn entry(place: &Place, table: &[Process]) -> Option<(u32, u16)> {
    place.known().or_else(|| take_entry(place, table))
}

fn take_entry(place: &Place, table: &[Process]) -> Option<(u32, u16)> {
    let incarnation = incarnation();
    let pid = sys::pid();
    let start = pid as usize % PROCESSES;
    for pass in 0..2 {
        for i in 0..table.len() {
            let at = (start + i) % table.len();
            let entry = &table[at];
            let held = entry.pid.load(Ordering::Acquire);
            // An own pid in the table is this process before an exec.
            let free = held == 0
                || held == pid
                || pass == 1
                    && !Identity { pid: held, since_ms: entry.since_ms.load(Ordering::Acquire) }.alive();
            if !free {
                continue;
            }
            // The time is stored before and after: a reader between the two stores sees either an entry whose
            // time is too new for its old pid (dead: true) or a fresh one.
            let now = sys::boot_ms();
            if entry.pid.compare_exchange(held, pid, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                entry.since_ms.store(now, Ordering::Release);
                entry.incarnation.store(u32::from(incarnation), Ordering::Release);
                place.set(at as u32, incarnation);
                return Some((at as u32, incarnation));
            }
        }
    }
    None
}

/// Whether the process with this entry still lives.
pub fn alive(table: &[Process], entry: u32) -> bool {
    table.get(entry as usize).is_some_and(|e| {
        let pid = e.pid.load(Ordering::Acquire);
        pid != 0 && Identity { pid, since_ms: e.since_ms.load(Ordering::Acquire) }.alive()
    })
}

/// Whether a lock's owner still lives.
pub fn owner_alive(table: &[Process], owner: Owner) -> bool {
    let Some(entry) = table.get(owner.process() as usize) else { return false };
    let pid = entry.pid.load(Ordering::Acquire);
    // Whoever has the entry now had stored the incarnation before taking any lock.
    if pid == 0 || entry.incarnation.load(Ordering::Acquire) != u32::from(owner.incarnation()) {
        return false;
    }
    Identity { pid, since_ms: entry.since_ms.load(Ordering::Acquire) }.thread_alive(owner.tid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "reads /proc")]
    fn this_process_is_alive_and_a_reaped_child_is_not() {
        let me = Identity { pid: sys::pid(), since_ms: sys::boot_ms() };
        assert!(me.alive());
        assert!(me.thread_alive(sys::tid()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let it = Identity { pid: child.id(), since_ms: sys::boot_ms() };
        assert!(it.alive());
        child.kill().expect("kill");
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!it.alive(), "a zombie is dead");
        child.wait().expect("wait");
        assert!(!it.alive());
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads the time since boot and /proc")]
    fn each_table_has_an_entry_of_this_process() {
        for _ in 0..2 {
            let table: Vec<Process> = (0..PROCESSES).map(|_| Process::default()).collect();
            let place = Place::default();
            let (number, incarnation) = entry(&place, &table).expect("an entry");
            assert_eq!(entry(&place, &table), Some((number, incarnation)));
            assert!(owner_alive(&table, Owner::new(number, incarnation, sys::tid())));
        }
    }

    #[test]
    fn a_process_that_started_after_the_registration_is_another() {
        let text = b"42 (a b) c) S 1 1 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 5000 1 1";
        match parse_stat(text) {
            Found::Running { start_ms } => assert_eq!(start_ms, 50_000),
            _ => panic!("not parsed"),
        }
    }
}
