//! Whether a flush is the only one that can be writing to the base, and what the base has between the runs that it
//! writes. Owns the proof; writes nothing.
//!
//! A flush may then write short gaps with their neighbours, as the file has them (see `gather`), which without proof
//! could undo what somebody else has written there a moment ago. The proof is the kernel's: a write lease (fcntl(2),
//! F_SETLEASE) is given for the only open description of a file, and whoever opens it afterwards waits until the lease
//! is given back, which this flush notices from stretch to stretch. Through that one description, only this process
//! and children that share it can write. The children flush first, and so wait for this flush; so do this process's
//! own writes to the base, unless they had begun before: those are counted.

use super::File;
use super::flush::Writer;
use crate::errno::Errno;
use crate::sys;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// Gaps are filled inside blocks of this many bytes, which are written in any case.
pub const GRAIN: u64 = 4096;

/// Bytes of the file after which the kernel is asked again whether the lease stands, and that are read at once.
const STRETCH: u64 = 1 << 17;
/// Runs of a window (1 MiB) from which reading what lies between them beats a write for each: 128 KiB are read in the
/// time of some ten writes.
const WORTH_READING: usize = 256;

/// The proof, as far as it has been asked for.
pub struct Sole<'a> {
    file: &'a File,
    fd: i32,
    state: State,
}

enum State {
    Untried,
    Refused,
    Held(Base),
}

/// The base, which nobody else changes.
struct Base {
    /// Its end: from there on it reads as zeros.
    end: u64,
    /// The description may also read.
    readable: bool,
    /// Offset for which the kernel was last asked whether the lease stands.
    asked_at: u64,
    /// A stretch that was read, and its offset.
    stretch: Vec<u8>,
    stretch_at: u64,
}

impl<'a> Sole<'a> {
    /// Nothing is asked yet. What is staged is sealed, and the flush lock is held.
    pub fn new(file: &'a File, writer: &Writer) -> Sole<'a> {
        let asks =
            writer.own.is_none() && writer.resident.is_none() && file.gain.local.load(Ordering::Relaxed);
        Sole { file, fd: writer.fd, state: if asks { State::Untried } else { State::Refused } }
    }

    /// Fills a gap with what the base has there, if nobody else can be writing to it. `runs` is the number of runs in
    /// the window: where they are few, a write for each costs less than reading. Gaps come in the order of the file.
    pub fn fill(&mut self, gap: Range<u64>, place: &mut [u8], runs: usize) -> bool {
        if let State::Untried = self.state {
            self.state = self.prove(gap.start).map_or(State::Refused, State::Held);
        }
        let State::Held(base) = &mut self.state else { return false };
        if gap.start - base.asked_at >= STRETCH {
            base.asked_at = gap.start;
            if !sys::lease_stands(self.fd) {
                sys::give_lease_back(self.fd);
                self.state = State::Refused;
                return false;
            }
        }
        if gap.start >= base.end {
            place.fill(0);
            return true;
        }
        runs >= WORTH_READING && base.readable && base.copy(self.fd, gap, place)
    }

    /// The base as it is and stays, if so.
    fn prove(&self, asked_at: u64) -> Option<Base> {
        if self.file.changed_unseen.load(Ordering::Acquire) || !sys::take_lease(self.fd) {
            return None;
        }
        // With `BaseWrite::begin`: either that one's look finds something staged, and waits for this flush, or it is
        // counted here.
        fence(Ordering::SeqCst);
        let alone = self.file.base_writers.load(Ordering::SeqCst) == 0;
        let st = sys::fstat(self.fd).ok().filter(|st| alone && st.st_blksize as u64 >= GRAIN);
        if st.is_none() {
            sys::give_lease_back(self.fd);
        }
        st.map(|st| Base {
            end: st.st_size as u64,
            readable: sys::status_flags(self.fd).is_ok_and(|flags| flags & libc::O_ACCMODE == libc::O_RDWR),
            asked_at,
            stretch: Vec::new(),
            stretch_at: 0,
        })
    }
}

impl Base {
    /// Copies a gap out of the stretch in which it begins.
    fn copy(&mut self, fd: i32, gap: Range<u64>, place: &mut [u8]) -> bool {
        let at = gap.start / STRETCH * STRETCH;
        if self.stretch.is_empty() || self.stretch_at != at {
            // Two blocks more: a gap may reach into the next stretch. What lies behind the end stays zero.
            self.stretch.clear();
            self.stretch.resize((STRETCH + 2 * GRAIN) as usize, 0);
            self.stretch_at = at;
            let mut done = 0;
            while done < self.stretch.len() {
                let rest = &mut self.stretch[done..];
                // SAFETY: the slice is writable for its length.
                match unsafe { sys::pread(fd, rest.as_mut_ptr(), rest.len(), at + done as u64) } {
                    Ok(0) => break,
                    Ok(n) => done += n,
                    Err(Errno(libc::EINTR)) => {}
                    Err(_) => {
                        self.readable = false;
                        return false;
                    }
                }
            }
        }
        let from = (gap.start - at) as usize;
        let Some(bytes) = self.stretch.get(from..from + place.len()) else { return false };
        place.copy_from_slice(bytes);
        true
    }
}

impl Drop for Sole<'_> {
    fn drop(&mut self) {
        if let State::Held(_) = self.state {
            sys::give_lease_back(self.fd);
        }
    }
}

/// A write of this process to the base, from before it looks for staged bytes until it is done.
pub struct BaseWrite<'a>(&'a AtomicU32);

impl<'a> BaseWrite<'a> {
    /// It begins.
    pub fn begin(under_way: &'a AtomicU32) -> BaseWrite<'a> {
        under_way.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        BaseWrite(under_way)
    }
}

impl Drop for BaseWrite<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
