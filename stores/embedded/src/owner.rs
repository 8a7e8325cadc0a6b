//! Who holds a lock: a thread, told from any later one with its number by the time at which it started.

use crate::lock::Surroundings;
use crate::sys;
use std::cell::Cell;
use std::time::Duration;

thread_local! {
    /// Thread id and owner word; the id is compared, because after a fork the thread is another.
    static ME: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
}

/// The calling thread: its id in the upper 24 bits, its start time in ticks (modulo 2^40) in the lower.
pub fn me() -> u64 {
    let tid = sys::tid();
    let (known, word) = ME.get();
    if known == tid {
        return word;
    }
    let start = started(tid).unwrap_or(0);
    let word = u64::from(tid) << 40 | start & ((1 << 40) - 1);
    ME.set((tid, word));
    word
}

/// Whether an owner's thread still runs. Where that cannot be found out it is taken to.
pub fn alive(owner: u64) -> bool {
    let tid = (owner >> 40) as u32;
    match started(tid) {
        Some(start) => start & ((1 << 40) - 1) == owner & ((1 << 40) - 1),
        // Without /proc everybody would seem dead.
        None => started(sys::tid()).is_none(),
    }
}

/// When a thread started, in ticks since boot (proc_pid_stat(5), field 22); `None` where there is none, or it is dead
/// and only waited for.
fn started(tid: u32) -> Option<u64> {
    let text = sys::read_small(&format!("/proc/{tid}/stat"))?;
    let end = text.iter().rposition(|b| *b == b')')?;
    let mut fields = text[end + 1..].split(|b| *b == b' ').filter(|f| !f.is_empty());
    let state = fields.next()?;
    if matches!(state, b"X" | b"x" | b"Z") {
        return None;
    }
    std::str::from_utf8(fields.nth(18)?).ok()?.parse().ok()
}

/// Waits for a lock up to a deadline.
pub struct Waiting {
    until: u64,
}

impl Waiting {
    /// From now on.
    pub fn new(deadline: Duration) -> Waiting {
        Waiting { until: sys::monotonic_ns() + deadline.as_nanos() as u64 }
    }
}

impl Surroundings for Waiting {
    fn alive(&self, owner: u64) -> bool {
        alive(owner)
    }

    fn wait(&self, round: u32) -> bool {
        match round {
            0..16 => std::hint::spin_loop(),
            16..48 => sys::yield_now(),
            _ => sys::nap(20 << (round - 48).min(5)),
        }
        round < 48 || sys::monotonic_ns() < self.until
    }
}
