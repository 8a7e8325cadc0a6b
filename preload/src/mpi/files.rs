//! The MPI files that are open, by their handle: the descriptor behind each, and where the bytes of a view lie in the
//! file, as long as they lie in a row. Owns that table; a file that is not in it is the library's alone.

use libc::c_int;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicUsize, Ordering};

/// A file may be read past the library.
pub const READS: u32 = 1;
/// A file may be written past the library.
pub const WRITES: u32 = 2;
/// Atomic mode: the library takes its locks, which must be asked for.
const ATOMIC: u32 = 4;
/// A view whose bytes do not lie in a row.
const SCATTERED: u32 = 8;
/// The descriptor has been closed under the library's feet.
const LOST: u32 = 16;

/// More files than this at once are the library's alone.
const MOST: usize = 256;
/// How far from its place a handle may lie.
const REACH: usize = 8;
/// An entry that is being filled; never a handle.
const RESERVED: usize = 1;

/// An open file.
pub struct File {
    handle: AtomicUsize,
    /// The descriptor that the library opened for it.
    fd: AtomicI32,
    state: AtomicU32,
    /// Where the view begins.
    start: AtomicI64,
    /// Bytes that an offset counts.
    unit: AtomicU32,
}

static FILES: [File; MOST] = [const {
    File {
        handle: AtomicUsize::new(0),
        fd: AtomicI32::new(-1),
        state: AtomicU32::new(0),
        start: AtomicI64::new(0),
        unit: AtomicU32::new(1),
    }
}; MOST];

/// Whether there has ever been an entry.
static USED: AtomicBool = AtomicBool::new(false);

fn places(handle: usize) -> impl Iterator<Item = &'static File> {
    let at = (handle >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (0..REACH).map(move |i| &FILES[(at + i) % MOST])
}

/// The file of a handle.
#[inline]
pub fn find(handle: usize) -> Option<&'static File> {
    if handle <= RESERVED {
        return None;
    }
    places(handle).find(|f| f.handle.load(Ordering::Acquire) == handle)
}

/// Enters a file that was opened, with the view that every file has at first. `may` is of [`READS`] and [`WRITES`].
pub fn enter(handle: usize, fd: c_int, may: u32) {
    remove(handle);
    USED.store(true, Ordering::Release);
    let free =
        |f: &&File| f.handle.compare_exchange(0, RESERVED, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let Some(file) = places(handle).find(free) else { return };
    file.fd.store(fd, Ordering::Relaxed);
    file.start.store(0, Ordering::Relaxed);
    file.unit.store(1, Ordering::Relaxed);
    file.state.store(may, Ordering::Relaxed);
    file.handle.store(handle, Ordering::Release);
}

/// Forgets a file that is about to be closed.
pub fn remove(handle: usize) {
    if let Some(file) = find(handle) {
        file.handle.store(0, Ordering::Release);
    }
}

/// Before a descriptor is closed: a file that still has it is the library's alone from now on.
#[inline]
pub fn descriptor_closed(fd: c_int) {
    if !USED.load(Ordering::Relaxed) {
        return;
    }
    for file in FILES.iter().filter(|f| f.handle.load(Ordering::Acquire) > RESERVED) {
        if file.fd.load(Ordering::Relaxed) == fd {
            file.state.fetch_or(LOST, Ordering::Relaxed);
        }
    }
}

impl File {
    /// The descriptor and the place in the file of `len` bytes at `offset` of the view, when whoever wants `way` may go
    /// past the library.
    #[inline]
    pub fn place(&self, way: u32, offset: i64, len: usize) -> Option<(c_int, i64)> {
        let state = self.state.load(Ordering::Relaxed);
        let unit = self.unit.load(Ordering::Relaxed);
        if state & (way | ATOMIC | SCATTERED | LOST) != way
            || offset < 0
            || !len.is_multiple_of(unit as usize)
        {
            return None;
        }
        let at = offset.checked_mul(i64::from(unit))?.checked_add(self.start.load(Ordering::Relaxed))?;
        at.checked_add(len as i64)?;
        Some((self.fd.load(Ordering::Relaxed), at))
    }

    /// After MPI_File_set_atomicity.
    pub fn set_atomic(&self, atomic: bool) {
        if atomic {
            self.state.fetch_or(ATOMIC, Ordering::Relaxed);
        } else {
            self.state.fetch_and(!ATOMIC, Ordering::Relaxed);
        }
    }

    /// After MPI_File_set_view: a view of elements of `unit` bytes in a row from `start` on, or any other.
    pub fn set_view(&self, in_a_row: Option<(i64, u32)>) {
        match in_a_row {
            Some((start, unit)) => {
                self.start.store(start, Ordering::Relaxed);
                self.unit.store(unit, Ordering::Relaxed);
                self.state.fetch_and(!SCATTERED, Ordering::Relaxed);
            }
            None => {
                self.state.fetch_or(SCATTERED, Ordering::Relaxed);
            }
        }
    }
}
