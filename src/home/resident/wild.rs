//! Files that the kernel writes where no hook sees it (mapped, or handed on to another program): which of their granules
//! have changed since they were sent, and when nobody writes so any more. Owns sums of what was sent; the times of such a
//! file tell nothing, because some file systems do not move them when a mapping is written to.

use super::{Resident, sending::Round};
use crate::errno::Errno;
use crate::home::control::{GRANULE, LOOSE, WILD};
use crate::sys;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use twox_hash::XxHash3_128;

/// Granules of a file that sums are kept of: 16 GiB of it. Those beyond are sent each time.
const MOST: usize = 1 << 18;

/// What this process has sent of a file.
#[derive(Default)]
pub(super) struct Sums {
    /// [`Head::settled`](crate::home::control::Head::settled) when it had.
    of: u64,
    granules: BTreeMap<u64, u128>,
}

impl Sums {
    /// What was cut off the store is no longer there.
    pub(super) fn cut(&mut self, len: u64) {
        drop(self.granules.split_off(&(len / GRANULE)));
    }

    /// The runs of granules of `bytes`, which begin with granule `from`, that are not as they were sent.
    pub(super) fn changed(&mut self, from: u64, bytes: &[u8]) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (g, granule) in (from..).zip(bytes.chunks(GRANULE as usize)) {
            let sum = XxHash3_128::oneshot(granule);
            if self.granules.get(&g) == Some(&sum) {
                continue;
            }
            if self.granules.len() < MOST || self.granules.contains_key(&g) {
                self.granules.insert(g, sum);
            }
            match runs.last_mut() {
                Some((_, end)) if *end == g => *end += 1,
                _ => runs.push((g, g + 1)),
            }
        }
        runs
    }
}

impl Resident {
    /// What this process knows to be in the store of a wild file. Nothing, where somebody else has sent it since, or a
    /// sender has died or failed.
    pub(super) fn sums(&self, doubtful: bool) -> Sums {
        let known = self.sums.lock().map(|mut s| std::mem::take(&mut *s)).unwrap_or_default();
        let settled = self.control.head().settled.load(Ordering::Acquire);
        if doubtful || known.of != settled { Sums::default() } else { known }
    }

    /// Keeps what a round that went well has sent, the `settled`th.
    pub(super) fn keep_sums(&self, round: Round, settled: u64) {
        if let (Some(sums), Some(mut kept)) = (round.sums, self.sums.lock()) {
            *kept = Sums { of: settled, ..sums };
        }
    }

    /// Whether somebody alive moves the file's bytes where no hook sees it; `None` where Tier 0 does not know.
    pub(in crate::home) fn is_passed(&self, fd: i32) -> Result<Option<bool>, Errno> {
        let st = sys::fstat(fd)?;
        let slot = self.pool.find(st.st_dev, st.st_ino);
        Ok(slot.map(|number| self.pool.wants_pass(&self.pool.slots()[number as usize])))
    }

    /// Nobody did so when a round began that has sent all of the file: from now on only what hooks see changes it.
    pub(super) fn tame(&self, fd: i32) -> Result<(), Errno> {
        let flags = &self.control.head().flags;
        self.locked(|| {
            flags.fetch_and(!(WILD | LOOSE), Ordering::AcqRel);
            // Whoever began meanwhile has asked Tier 0 for it before he set them.
            if self.is_passed(fd)? != Some(false) {
                flags.fetch_or(WILD | LOOSE, Ordering::AcqRel);
            }
            Ok(())
        })?
    }
}
