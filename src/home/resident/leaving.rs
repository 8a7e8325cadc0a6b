//! Bytes that leave the anchor: clean granules that give way to others, and what another node has replaced. Owns which may
//! go; what is fetched again is the rest of the file's business.

use super::{Anchor, Resident, found, granules};
use crate::errno::Errno;
use crate::home::control::{Bit, CHANGED, GRANULE, Head, LOOSE, NO_CUT, SENDING, UNLINKED, WILD};
use crate::home::{ServiceFd, service};
use crate::sys;
use std::ops::Range;
use std::sync::atomic::Ordering;

impl Resident {
    /// Takes clean granules out of the anchor, from the one behind `hand` on, until `want` bytes are gone. Returns how
    /// many went. On a service thread.
    pub fn evict(&self, own: &ServiceFd, keep: Range<u64>, want: u64) -> Result<u64, Errno> {
        let head = self.control.head();
        if head.flags.load(Ordering::Acquire) & (LOOSE | UNLINKED) != 0 {
            return Ok(0);
        }
        // While an object is put together, all that is here of it must stay.
        let bound = if self.home.layout().is_whole() { LOOSE | SENDING } else { LOOSE };
        let home = self.evictable(own)?;
        let keep = granules(&keep);
        let mut gone = 0;
        for (first, last) in [(keep.1, home), (0, keep.0.min(home))] {
            let mut g = first;
            while gone < want
                && let Some((from, to)) = self.control.run(Bit::Present, true, g, last)
            {
                // Holes take no room, and are worth keeping.
                let Some(data) = found(sys::seek_sparse(own.raw(), from * GRANULE, libc::SEEK_DATA))? else {
                    break;
                };
                let hole = found(sys::seek_sparse(own.raw(), data, libc::SEEK_HOLE))?.unwrap_or(u64::MAX);
                let from = from.max(data / GRANULE);
                if from >= to {
                    g = to;
                    continue;
                }
                let to = to.min(hole.div_ceil(GRANULE)).min(from + (want - gone).div_ceil(GRANULE));
                let mut at = from;
                while let Some((a, b)) = self.control.run(Bit::Dirty, false, at, to) {
                    let done = self.locked(|| -> Result<bool, Errno> {
                        // Somebody may have written, or left for the kernel, since.
                        if self.control.run(Bit::Dirty, true, a, b).is_some()
                            || head.flags.load(Ordering::Acquire) & bound != 0
                            || b > self.evictable(own)?
                        {
                            return Ok(false);
                        }
                        head.generation.fetch_add(1, Ordering::AcqRel);
                        self.control.clear(Bit::Present, a, b);
                        let times = sys::mtime_ns(own.raw())?;
                        // No farther than the file: its last granule may reach behind the longest that there can be.
                        let end =
                            head.home_len.load(Ordering::Acquire).next_multiple_of(4096).min(b * GRANULE);
                        sys::punch(own.raw(), a * GRANULE, end.saturating_sub(a * GRANULE).max(1))?;
                        sys::set_mtime(own.raw(), times)?;
                        Ok(true)
                    })??;
                    if done {
                        gone += (b - a) * GRANULE;
                    }
                    at = b;
                }
                g = to;
            }
        }
        Ok(gone)
    }

    /// Granules from here on must stay. One that holds the end of the store's bytes goes only where the file ends there
    /// too: what lies behind in it would not be fetched again.
    fn evictable(&self, own: &ServiceFd) -> Result<u64, Errno> {
        let known = self.control.head().home_len.load(Ordering::Acquire);
        let ends = known >= sys::fstat(own.raw())?.st_size as u64;
        Ok(if ends { known.div_ceil(GRANULE) } else { known / GRANULE })
    }

    /// Takes everything out that may go. Returns how many bytes that were.
    pub fn release_all(&self, anchor: Anchor) -> Result<u64, Errno> {
        service::call(|| {
            let own = self.own_anchor(anchor)?;
            self.evict(&own, 0..0, u64::MAX)
        })?
    }

    /// The store's version is not the one that follows the anchor's: another node has sent bytes too. What is here and was
    /// not written here may be older than those, and goes. On a service thread.
    pub(in crate::home) fn overtaken(&self, own: &ServiceFd) -> Result<(), Errno> {
        let head = self.control.head();
        self.locked(|| {
            if head.flags.load(Ordering::Acquire) & LOOSE != 0 {
                // The kernel reads it by itself: it stays the version that it is.
                return Ok(());
            }
            let end = self.evictable(own)?;
            let times = sys::mtime_ns(own.raw())?;
            head.generation.fetch_add(1, Ordering::AcqRel);
            head.turn.fetch_add(1, Ordering::AcqRel);
            let mut g = 0;
            while let Some((a, b)) = self.control.run(Bit::Dirty, false, g, end) {
                self.control.clear(Bit::Present, a, b);
                let last = head.home_len.load(Ordering::Acquire).next_multiple_of(4096).min(b * GRANULE);
                sys::punch(own.raw(), a * GRANULE, last.saturating_sub(a * GRANULE).max(1))?;
                g = b;
            }
            sys::set_mtime(own.raw(), times)
        })?
    }

    /// Forgets what the anchor holds: the store has another version of the file, `len` bytes long.
    pub fn replaced(&self, own: i32, len: u64, tag: Option<&str>) -> Result<(), Errno> {
        self.replaced_if(own, len, tag, None, |_| true).map(drop)
    }

    /// As [`Resident::replaced`], if the store's version is later than the anchor's and nothing here is still to be sent.
    /// (What the store said may be older than what a process of this node has sent since.) Whether it was.
    pub fn replaced_by(&self, own: i32, len: u64, version: u64) -> Result<bool, Errno> {
        self.replaced_if(own, len, None, Some(version), |head| {
            let idle = head.flags.load(Ordering::Acquire) & (CHANGED | WILD | UNLINKED | SENDING) == 0;
            idle && head.version.load(Ordering::Acquire) < version
        })
    }

    /// Whoever dies in this leaves an anchor of the old version, with nothing in it: the next look does it again.
    pub(super) fn replaced_if(
        &self,
        own: i32,
        len: u64,
        tag: Option<&str>,
        version: Option<u64>,
        wanted: impl FnOnce(&Head) -> bool,
    ) -> Result<bool, Errno> {
        let head = self.control.head();
        self.locked(|| {
            if !wanted(head) {
                return Ok(false);
            }
            head.generation.fetch_add(1, Ordering::AcqRel);
            let size = sys::fstat(own)?.st_size as u64;
            let end = head.home_len.load(Ordering::Acquire).max(len).max(size);
            self.control.clear(Bit::Present, 0, end.div_ceil(GRANULE));
            // Before the anchor is that short: one that is shorter than what the store has counts as cut here.
            head.home_len.fetch_min(len, Ordering::AcqRel);
            if size > 0 {
                sys::punch(own, 0, size)?;
            }
            sys::set_len(own, len)?;
            head.home_len.store(len, Ordering::Release);
            head.stored_len.store(len, Ordering::Release);
            head.cut_at.store(NO_CUT, Ordering::Release);
            head.cutting.store(NO_CUT, Ordering::Release);
            head.turn.fetch_add(1, Ordering::AcqRel);
            self.control.set_tag(tag);
            if let Some(version) = version {
                head.version.store(version, Ordering::Release);
            }
            head.flags.fetch_and(!(CHANGED | SENDING), Ordering::AcqRel);
            Ok(true)
        })?
    }
}
