//! Which descriptor stands behind an MPI file: the one that the library opened on the file's name, in this thread,
//! within its own MPI_File_open. Owns the note of what was opened; what is not certain is not told.

use libc::{c_char, c_int, c_void};
use std::ffi::CStr;
use std::marker::PhantomPinned;

/// One call of MPI_File_open, as long as it runs. Lives on the stack of its thread.
pub struct Opening {
    /// The name as the library will use it, without a leading "ufs:" or the like.
    name: *const c_char,
    seen: [(c_int, c_int); MOST],
    count: usize,
    before: *mut c_void,
    _pinned: PhantomPinned,
}

/// Libraries open a file twice at most; with more there is no telling.
const MOST: usize = 4;

unsafe extern "C" {
    /// This thread's variable in variadic.c: the innermost opening, or null.
    fn iris_opening_place() -> *mut *mut c_void;
}

/// The opening that this thread is in.
#[inline]
fn current<'a>() -> Option<&'a mut Opening> {
    // SAFETY: the variable is this thread's own, and points to an opening further up its stack, which takes itself out
    // before it goes (`watched`). Nobody else holds a reference meanwhile: the library's code runs between.
    unsafe { (*iris_opening_place()).cast::<Opening>().as_mut() }
}

/// Runs `open`, and tells the descriptor and the flags by which it opened the file of that name, if one was.
///
/// # Safety
/// `name` is null or a C string.
pub unsafe fn watched(name: *const c_char, open: impl FnOnce() -> c_int) -> (c_int, Option<(c_int, c_int)>) {
    if name.is_null() {
        return (open(), None);
    }
    // SAFETY: as the caller says.
    let name = unsafe { without_prefix(name) };
    // SAFETY: this thread's variable.
    let place = unsafe { iris_opening_place() };
    // SAFETY: as above.
    let before = unsafe { *place };
    let mut opening = Opening { name, seen: [(-1, 0); MOST], count: 0, before, _pinned: PhantomPinned };
    // SAFETY: the opening outlives the call, and is taken out behind it.
    unsafe { *place = (&raw mut opening).cast() };
    let result = open();
    // SAFETY: as above. An unwinding through `open` ends the program: MPI is C.
    unsafe { *place = opening.before };
    let found = (opening.count > 0 && opening.count <= MOST).then(|| opening.seen[0]).filter(|s| s.0 >= 0);
    (result, found)
}

/// "ufs:/name" names the driver for ROMIO; a colon behind a slash is part of the name.
///
/// # Safety
/// `name` is a C string.
unsafe fn without_prefix(name: *const c_char) -> *const c_char {
    // SAFETY: as the caller says.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    match bytes.iter().position(|&b| b == b':' || b == b'/') {
        // SAFETY: the place behind the colon lies within the string or is its end.
        Some(at) if bytes[at] == b':' && at >= 2 => unsafe { name.add(at + 1) },
        _ => name,
    }
}

/// After an open by name that succeeded.
#[inline]
pub fn opened(path: *const c_char, fd: c_int, flags: c_int) {
    let Some(opening) = current() else { return };
    // SAFETY: the kernel has taken the path, and the name is the program's.
    if unsafe { libc::strcmp(path, opening.name) } != 0 {
        return;
    }
    if let Some(place) = opening.seen.get_mut(opening.count) {
        *place = (fd, flags);
    }
    opening.count += 1;
}

/// Before a descriptor is closed: rank 0 may create the file, close it and open it again like everybody else.
#[inline]
pub fn closed(fd: c_int) {
    let Some(opening) = current() else { return };
    if opening.count > MOST {
        return;
    }
    let kept = opening.seen[..opening.count].iter().copied().filter(|s| s.0 != fd);
    let mut seen = [(-1, 0); MOST];
    let mut count = 0;
    for one in kept {
        seen[count] = one;
        count += 1;
    }
    (opening.seen, opening.count) = (seen, count);
}
