//! Many short runs into few pages, without a system call for each: through a mapping of the file that lasts for one
//! window. Owns the mapping; what goes where is its caller's to say.
//!
//! Stores into a mapping change the bytes that are stored and no others, as pwrite does, so nothing is written that
//! nobody wrote. But a store into a page that the file system cannot give (it is full, or the file was cut meanwhile)
//! is SIGBUS. So the kernel stores: the bytes are packed, and one process_vm_readv of this process's own memory brings a
//! thousand runs into the mapping; where that faults, it is the call that fails, and the runs are written one by one. A
//! pipe would do as well, but takes two numbers of the program's, and a copy more.

use crate::errno::Errno;
use crate::sys::{self, OwnFd};
use rustix::fs::OFlags;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::io::IoSliceMut;

const PAGE: u64 = 4096;
/// Runs in a window from which this is worth its system calls.
const MANY: usize = 64;
/// Bytes that are packed for one call: they stay in a second-level cache.
const PACK: usize = 64 * 1024;
/// Most slices of one call (IOV_MAX).
const MOST_SLICES: usize = 1024;

/// Runs in each page touched from which storing them through pages costs less than a write for each. A page costs 3 to
/// 4 us so, a run 0.05 us, and a write of one 0.9 us.
const RUNS_A_PAGE: u64 = 4;

/// Whether so many runs lie so close together.
pub fn is_worth_it(runs: &[(u64, &[u8])]) -> bool {
    if runs.len() < MANY {
        return false;
    }
    let (mut pages, mut next) = (0, 0);
    for (offset, bytes) in runs {
        let (first, end) = (offset / PAGE, (offset + bytes.len() as u64).div_ceil(PAGE));
        pages += end - first.max(next).min(end);
        next = end;
    }
    runs.len() as u64 >= pages * RUNS_A_PAGE
}

/// The way into a file's pages.
pub struct Scatter {
    fd: i32,
    #[allow(dead_code, reason = "keeps `fd` open when it is not the program's")]
    own: Option<OwnFd>,
    packed: Vec<u8>,
}

impl Scatter {
    /// Through `fd`, if that is open for reading and writing, or else, where `reopens`, through a descriptor of its own.
    pub fn new(fd: i32, flags: i32, reopens: bool) -> Result<Scatter, Errno> {
        let own = if flags & libc::O_ACCMODE == libc::O_RDWR {
            None
        } else if reopens {
            let mut link = [0u8; 32];
            Some(sys::out_of_the_way(sys::open(sys::fd_link(fd, &mut link), OFlags::RDWR, 0)?))
        } else {
            return Err(Errno(libc::EBADF));
        };
        let fd = own.as_ref().map_or(fd, OwnFd::raw);
        Ok(Scatter { fd, own, packed: Vec::with_capacity(PACK) })
    }

    /// Stores `runs`, which are in order and below the end of the file. On failure some of them may have been stored,
    /// and nothing else has changed.
    pub fn store(&mut self, runs: &[(u64, &[u8])]) -> Result<(), Errno> {
        let (Some((first, _)), Some((last, bytes))) = (runs.first(), runs.last()) else { return Ok(()) };
        let start = first / PAGE * PAGE;
        let mut pages = Mapping::new(self.fd, start, (last + bytes.len() as u64 - start) as usize)?;
        let mut rest = pages.bytes_mut();
        let mut at = start;
        let mut targets: Vec<IoSliceMut<'_>> = Vec::with_capacity(MOST_SLICES);
        for &(offset, mut bytes) in runs {
            (rest, at) = (&mut std::mem::take(&mut rest)[(offset - at) as usize..], offset);
            while !bytes.is_empty() {
                let n = bytes.len().min(PACK - self.packed.len());
                self.packed.extend_from_slice(&bytes[..n]);
                let (target, after) = std::mem::take(&mut rest).split_at_mut(n);
                targets.push(IoSliceMut::new(target));
                (rest, at, bytes) = (after, at + n as u64, &bytes[n..]);
                if self.packed.len() == PACK || targets.len() == MOST_SLICES {
                    self.push(&mut targets)?;
                    targets.clear();
                }
            }
        }
        self.push(&mut targets)
    }

    /// Moves what is packed to where it belongs.
    fn push(&mut self, targets: &mut [IoSliceMut<'_>]) -> Result<(), Errno> {
        let moved = sys::copy_by_kernel(&self.packed, targets);
        let len = self.packed.len();
        self.packed.clear();
        // A page that could not be had ends the call early.
        if moved? == len { Ok(()) } else { Err(Errno(libc::EFAULT)) }
    }
}

/// Some pages of a file, mapped.
struct Mapping {
    address: *mut u8,
    len: usize,
}

impl Mapping {
    fn new(fd: i32, offset: u64, len: usize) -> Result<Mapping, Errno> {
        // SAFETY: the descriptor is open for as long as this call lasts; a new mapping at an address of the kernel's
        // choice replaces nothing.
        let address = unsafe {
            let fd = rustix::fd::BorrowedFd::borrow_raw(fd);
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            rustix::mm::mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, fd, offset)
        }?;
        let mapping = Mapping { address: address.cast(), len };
        // A child that another thread forks has no use for it. Without, it would only have more mapped.
        // SAFETY: the mapping is this object's alone, and this advice changes no byte of it.
        let _ = unsafe { rustix::mm::madvise(address, len, Advice::LinuxDontFork) };
        Ok(mapping)
    }

    /// For the kernel to store into: whoever else has the file open may change the bytes at any time, or make touching
    /// them a fault.
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping has this length and is this object's alone. Its bytes are neither read nor written by any
        // Rust code, only named to the kernel.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nobody else has the mapping.
        unsafe { sys::unmap(self.address, self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;

    const LEN: usize = 300_000;

    /// `count` runs of one to 30 bytes with gaps between them, from byte 5 on.
    fn runs(bytes: &[u8], count: usize) -> Vec<(u64, &[u8])> {
        let mut at = 5;
        (0..count)
            .map(|i| {
                let len = 1 + i * 7 % 30;
                let run = (at as u64, &bytes[at..at + len]);
                at += len + 1 + i * 11 % 40;
                run
            })
            .collect()
    }

    fn file(len: usize) -> std::fs::File {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&vec![b'.'; len], 0).expect("written");
        file
    }

    #[test]
    #[cfg_attr(miri, ignore = "maps a file")]
    fn stores_the_runs_and_nothing_else() {
        let bytes: Vec<u8> = (0..LEN).map(|i| (i % 251) as u8).collect();
        let mut runs = runs(&bytes, 5000);
        // One that does not fit the pipe at once.
        runs.push((200_000, &bytes[200_000..LEN]));
        let file = file(LEN);
        let mut scatter = Scatter::new(file.as_raw_fd(), libc::O_RDWR, false).expect("a way");
        scatter.store(&runs).expect("stored");
        let mut expected = vec![b'.'; LEN];
        for (offset, run) in &runs {
            expected[*offset as usize..*offset as usize + run.len()].copy_from_slice(run);
        }
        let mut found = vec![0; LEN];
        file.read_exact_at(&mut found, 0).expect("read");
        assert!(found == expected);
        assert_eq!(file.metadata().expect("there").len(), LEN as u64);
    }

    #[test]
    #[cfg_attr(miri, ignore = "maps a file")]
    fn a_file_that_was_cut_is_an_error_and_no_signal() {
        let bytes = vec![b'x'; LEN];
        let runs = runs(&bytes, 3000);
        let file = file(9000);
        let mut scatter = Scatter::new(file.as_raw_fd(), libc::O_RDWR, false).expect("a way");
        assert_eq!(scatter.store(&runs), Err(Errno(libc::EFAULT)));
        assert_eq!(file.metadata().expect("there").len(), 9000);
    }

    #[test]
    #[cfg_attr(miri, ignore = "opens a file")]
    fn a_file_open_for_writing_only_is_opened_again_or_not_at_all() {
        let named = tempfile::NamedTempFile::new().expect("a file");
        named.as_file().set_len(LEN as u64).expect("as long");
        let writer = std::fs::OpenOptions::new().write(true).open(named.path()).expect("open");
        assert!(Scatter::new(writer.as_raw_fd(), libc::O_WRONLY, false).is_err());
        let bytes = vec![b'x'; LEN];
        let runs = runs(&bytes, 3000);
        let mut scatter = Scatter::new(writer.as_raw_fd(), libc::O_WRONLY, true).expect("a way");
        scatter.store(&runs).expect("stored");
        let found = std::fs::read(named.path()).expect("read");
        assert_eq!(
            found.iter().filter(|b| **b == b'x').count(),
            runs.iter().map(|r| r.1.len()).sum::<usize>()
        );
    }

    #[test]
    fn few_runs_and_runs_far_apart_are_not_worth_it() {
        let bytes = vec![0u8; LEN];
        assert!(is_worth_it(&runs(&bytes, 64)));
        assert!(!is_worth_it(&runs(&bytes, 63)));
        assert!(!is_worth_it(&runs(&bytes, 5000).into_iter().step_by(30).collect::<Vec<_>>()));
        let apart: Vec<_> = (0..1000).map(|i| (i * PAGE + 4000, &bytes[..200])).collect();
        assert!(!is_worth_it(&apart));
    }
}
