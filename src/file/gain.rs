//! Whether staging pays for one file, by what was measured of it. Owns the counts and the pauses; neither stages nor
//! flushes.

use crate::report::Bypass;
use crate::sys;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Base writes over which the gain of staging is judged.
const JUDGED: u64 = 64;
/// Staged writes after which the gain is looked at without a flush.
pub const LOOK: u64 = 64;
/// Writes of this many bytes and more that lie scattered over a file gain nothing from Tier 0 where the base is
/// local and has the blocks already: copying them twice costs as much as the system calls saved. Measured on ext4 at
/// random offsets over an old file, staged against native: 2 KiB 1.04 times as fast, 4 KiB 0.70, 8 KiB 0.54.
const SCATTERED_LARGE: u64 = 2049;
/// The same where the base has yet to find most of the blocks, which costs less for a long write than for many short
/// ones: each block once, 4 KiB are 1.80 times as fast, 8 KiB 1.34, 16 KiB 0.88; with repetition 4 KiB 0.93. In a file
/// longer than Tier 0, whose pieces go home before they lie together, 4 KiB 0.86.
const SCATTERED_LARGE_AND_NEW: u64 = 8193;
/// Writes that pass through then, before staging is tried again.
const SCATTERED_PAUSE: u32 = 8192;
/// Staged writes, a multiple of [`LOOK`], after which the gain is judged by the reads between them. Where most of what
/// is written is read again while it is staged, putting the two together costs more than the writes saved: streams that
/// seek, read and write by turns took 1.6 times as long as natively.
const READ_OFTEN: u64 = 256;
/// Writes of the first pause where a write of the base took too few staged ones along.
const LEAST_PAUSE: u32 = 1024;
/// Writes of the first pause where what is staged is read.
const LEAST_PAUSE_FOR_READS: u32 = 4096;

/// Whether staging pays: how many staged writes one base write took along.
pub struct Gain {
    /// Staged writes since the gain was judged.
    pub staged: AtomicU64,
    /// Writes of the base since then.
    base_writes: AtomicU64,
    /// Writes still to be passed through before staging is tried again.
    pause: AtomicU32,
    /// Why there is a pause.
    why: AtomicU8,
    /// Length of the next pause.
    next_pause: AtomicU32,
    /// Length of the next pause for reads.
    next_pause_for_reads: AtomicU32,
    /// Bytes a second of the last large flush; as fast as can be before there was one.
    pub speed: AtomicU64,
    /// What kind of file system the base is: [`LOCAL`], [`REMOTE`], or not known yet.
    base: AtomicU8,
    /// Reads that found something staged, since the gain was judged by them.
    merged_reads: AtomicU32,
}

/// The base is a file system of this machine.
const LOCAL: u8 = 1;
/// The base is none.
const REMOTE: u8 = 2;

/// Whether the file system has found blocks already for at least half of the file up to `end`.
fn has_blocks(fd: i32, end: u64) -> bool {
    // Blocks of 512 bytes, whatever the file system's own are (stat(2)).
    sys::fstat(fd).is_ok_and(|st| st.st_blocks as u64 * 512 >= end / 2)
}

impl Gain {
    /// Nothing known yet.
    pub fn new() -> Gain {
        Gain {
            staged: AtomicU64::new(0),
            base_writes: AtomicU64::new(0),
            pause: AtomicU32::new(0),
            why: AtomicU8::new(0),
            next_pause: AtomicU32::new(0),
            next_pause_for_reads: AtomicU32::new(0),
            speed: AtomicU64::new(u64::MAX),
            base: AtomicU8::new(0),
            merged_reads: AtomicU32::new(0),
        }
    }

    /// Whether the base is a file system of this machine; `fd` is a descriptor of the file.
    pub fn is_local(&self, fd: i32) -> bool {
        match self.base.load(Ordering::Relaxed) {
            0 => {
                let local = sys::is_local(fd);
                self.base.store(if local { LOCAL } else { REMOTE }, Ordering::Relaxed);
                local
            }
            known => known == LOCAL,
        }
    }

    /// Counts a read that found something staged.
    #[inline]
    pub fn merged(&self) {
        self.merged_reads.store(self.merged_reads.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// After each [`LOOK`] staged writes of a file, the last of them of `len` bytes: pauses staging where the base is
    /// local and there is nothing to gain from it. `scattered`: what is staged lies in many short extents; `end`: the
    /// highest end of one, if Tier 0 holds all before it.
    #[cold]
    pub fn look(&self, fd: i32, writes: u64, len: u64, scattered: bool, end: Option<u64>) {
        let large = len >= SCATTERED_LARGE && scattered && self.is_local(fd);
        if large && (len >= SCATTERED_LARGE_AND_NEW || end.is_none_or(|end| has_blocks(fd, end))) {
            self.stop(SCATTERED_PAUSE, Bypass::NoGain);
        }
        if writes.is_multiple_of(READ_OFTEN) {
            let merged = self.merged_reads.swap(0, Ordering::Relaxed);
            if u64::from(merged) >= READ_OFTEN / 2 && self.is_local(fd) {
                self.pause_longer(&self.next_pause_for_reads, LEAST_PAUSE_FOR_READS);
            }
        }
    }

    /// After a flush: pauses staging where it took along nearly as few staged writes as it made writes of the base.
    pub fn judge(&self, base_writes: u64) {
        let base = self.base_writes.fetch_add(base_writes, Ordering::Relaxed) + base_writes;
        if base < JUDGED {
            return;
        }
        let staged = self.staged.swap(0, Ordering::Relaxed);
        self.base_writes.store(0, Ordering::Relaxed);
        if staged < base * 2 {
            self.pause_longer(&self.next_pause, LEAST_PAUSE);
        } else {
            self.next_pause.store(0, Ordering::Relaxed);
        }
    }

    /// Stops staging for longer than the last time, and for `least` writes at least.
    fn pause_longer(&self, next: &AtomicU32, least: u32) {
        let pause = next.load(Ordering::Relaxed).max(least);
        self.stop(pause, Bypass::NoGain);
        next.store((pause * 2).min(1 << 16), Ordering::Relaxed);
    }

    /// Passes the next `writes` through.
    pub fn stop(&self, writes: u32, why: Bypass) {
        self.why.store(why as u8, Ordering::Relaxed);
        self.pause.store(writes, Ordering::Relaxed);
    }

    /// Counts a write of a pause, if there is one, and says why there is.
    #[inline]
    pub fn paused(&self) -> Option<Bypass> {
        let left = self.pause.load(Ordering::Relaxed);
        if left == 0 {
            return None;
        }
        // Of two threads at once one may not count, but none counts below 0.
        let _ = self.pause.compare_exchange(left, left - 1, Ordering::Relaxed, Ordering::Relaxed);
        let why = self.why.load(Ordering::Relaxed);
        let known = [Bypass::Mapped, Bypass::Tier0Full].into_iter().find(|b| *b as u8 == why);
        Some(known.unwrap_or(Bypass::NoGain))
    }
}
