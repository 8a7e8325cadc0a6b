//! The descriptor that a flush writes to, and in which ways. Owns no bytes.

use super::base::write_base;
use super::gather::Window;
use super::scatter::{self, Scatter};
use crate::errno::Errno;
use crate::home::resident::Resident;
use crate::sys;
use std::io::IoSlice;
use std::sync::Arc;

/// Most slices of one vectored write (IOV_MAX).
const MOST_SLICES: usize = 1024;

/// Where a flush writes to.
pub struct Writer {
    /// The descriptor.
    pub fd: i32,
    /// Its status flags, where they matter.
    pub flags: i32,
    /// Keeps `fd` open when it is not the program's.
    pub own: Option<sys::OwnFd>,
    /// Where its bytes are, when its home is a store.
    pub resident: Option<Arc<Resident>>,
    /// Whether short runs go home through pages.
    pub scatters: Scatters,
    /// Whether something goes behind the process's limit on sizes.
    pub past_limit: bool,
}

/// Whether short runs go home through pages.
pub enum Scatters {
    /// They do not.
    No,
    /// Not needed yet.
    May {
        /// By a descriptor of its own, where the program's is not open for reading.
        reopens: bool,
    },
    /// The way.
    Yes(Scatter),
}

impl Writer {
    /// Says that bytes up to `end` will be written: what another process staged, or this one before it got a limit on
    /// sizes, is not subject to it.
    pub fn raise_limit(&mut self, end: u64) {
        self.past_limit = sys::file_size_limit().is_some_and(|limit| limit < end);
    }

    fn write(&self, slices: &[IoSlice<'_>], offset: u64) -> Result<usize, Errno> {
        let len: u64 = slices.iter().map(|s| s.len() as u64).sum();
        let write = || {
            if self.flags & libc::O_APPEND != 0 {
                sys::pwritev_no_append(self.fd, slices, offset)
            } else {
                sys::pwritev(self.fd, slices, offset)
            }
        };
        let range = offset..offset + len;
        if self.past_limit {
            let write = || sys::beyond_file_size(range.end, write);
            return write_base(self.resident.as_ref(), self.fd, range.clone(), write);
        }
        write_base(self.resident.as_ref(), self.fd, range, write)
    }

    /// Writes all of `slices`, which are consumed. Returns the number of writes.
    pub fn write_all(&self, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> Result<u64, Errno> {
        let mut calls = 0;
        while !slices.is_empty() {
            let n = slices.len().min(MOST_SLICES);
            match self.write(&slices[..n], offset) {
                Ok(0) => return Err(Errno(libc::EIO)),
                Ok(written) => {
                    calls += 1;
                    offset += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(Errno(libc::EINTR)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(calls)
    }

    /// Writes a window home. Returns the number of writes.
    pub fn write_window(&mut self, window: &Window<'_>) -> Result<u64, Errno> {
        if matches!(self.scatters, Scatters::No) {
            return self.write_runs(window.runs());
        }
        let runs: Vec<(u64, &[u8])> = window.runs().collect();
        if !scatter::is_worth_it(&runs) {
            return self.write_runs(runs.into_iter());
        }
        // The last one first: it makes the file as long as the others need it.
        let (short, last) = runs.split_at(runs.len() - 1);
        let mut calls = self.write_runs(last.iter().copied())?;
        if let Scatters::May { reopens } = self.scatters {
            self.scatters = Scatter::new(self.fd, self.flags, reopens).map_or(Scatters::No, Scatters::Yes);
        }
        let stored = match &mut self.scatters {
            Scatters::Yes(scatter) => scatter.store(short),
            Scatters::No | Scatters::May { .. } => Err(Errno(libc::EBADF)),
        };
        match stored {
            Ok(()) => calls += 1,
            Err(_) => {
                // One by one they go home all the same, or tell what is wrong.
                self.scatters = Scatters::No;
                calls += self.write_runs(short.iter().copied())?;
            }
        }
        Ok(calls)
    }

    /// Writes runs of bytes, each at its offset.
    fn write_runs<'a>(&self, runs: impl Iterator<Item = (u64, &'a [u8])>) -> Result<u64, Errno> {
        runs.map(|(offset, bytes)| self.write_all(&mut [IoSlice::new(bytes)], offset)).sum()
    }
}
