//! Which datatypes are plain bytes in a row: the predefined ones without gaps. Owns what has been learnt of them.
//!
//! A predefined datatype has the same handle as long as the program runs, so what is learnt of one stays true; of a
//! handle of the program's own nothing is kept, since it may be freed and stand for another type. A handle is asked
//! about only after MPI has taken it in a call that succeeded: a wrong one would end the program.

use super::library::{self, SUCCESS};
use libc::c_int;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// How many are remembered; programs use few.
const MOST: usize = 64;

struct Known {
    /// 0 while free. Another value of the register for the same handle is another entry.
    handle: AtomicUsize,
    /// Size in bytes; 0 for one that is not plain, or not written yet.
    size: AtomicU32,
}

static KNOWN: [Known; MOST] =
    [const { Known { handle: AtomicUsize::new(0), size: AtomicU32::new(0) } }; MOST];

/// Where a handle is looked for first. MPICH's differ in their low bytes, pointers above their alignment.
#[inline]
fn place(handle: usize) -> usize {
    (handle ^ handle >> 6 ^ handle >> 12) % MOST
}

/// The size of a datatype that is known to be plain.
#[inline]
pub fn size_of(datatype: usize) -> Option<u32> {
    let known = &KNOWN[place(datatype)];
    if known.handle.load(Ordering::Acquire) != datatype {
        return None;
    }
    match known.size.load(Ordering::Relaxed) {
        0 => None,
        size => Some(size),
    }
}

/// Learns about a datatype that MPI has just taken; the size, if it is plain. Where two share a place, the first
/// stays and the other is asked about each time.
pub fn learn(datatype: usize) -> Option<u32> {
    if let Some(size) = size_of(datatype) {
        return Some(size);
    }
    let known = &KNOWN[place(datatype)];
    let taken = known.handle.load(Ordering::Acquire);
    if taken != 0 {
        return (taken != datatype).then(|| plain(datatype)).flatten();
    }
    let size = plain(datatype)?;
    // The size is there before the handle is.
    if known.size.compare_exchange(0, size, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        known.handle.store(datatype, Ordering::Release);
    }
    Some(size)
}

/// The size of a predefined datatype whose bytes lie in a row; `None` for any other.
fn plain(datatype: usize) -> Option<u32> {
    let (mut integers, mut addresses, mut types, mut constructor): (c_int, c_int, c_int, c_int) =
        (1, 1, 1, 0);
    let (mut low, mut extent, mut size): (isize, isize, c_int) = (1, 0, 0);
    // SAFETY: a handle that MPI has taken, and places for the answers. Only a predefined type was made of nothing.
    unsafe {
        let made = library::type_get_envelope(
            datatype,
            &raw mut integers,
            &raw mut addresses,
            &raw mut types,
            &raw mut constructor,
        );
        if made != Some(SUCCESS)
            || (integers, addresses, types) != (0, 0, 0)
            || library::type_size(datatype, &raw mut size) != Some(SUCCESS)
            || library::type_get_extent(datatype, &raw mut low, &raw mut extent) != Some(SUCCESS)
        {
            return None;
        }
    }
    (low == 0 && size > 0 && extent == size as isize).then_some(size as u32)
}
