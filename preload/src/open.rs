//! Hooks that make a descriptor from a name. The kernel opens; the engine hears of it, and before it if the
//! open would truncate.

use crate::guard::{fail, int, live, mounted, readable, tell};
use crate::hook::hooks;
use crate::mpi;
use crate::paths::{HERE, how_to_open, named, templated};
use crate::process;
use crate::real::raw;
use crate::rings;
use crate::shared;
use ::engine::engine;
use libc::{O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR, O_TMPFILE, O_TRUNC, O_WRONLY, c_char, c_int, mode_t};
use std::ffi::CStr;

/// The path as the engine wants it; `None` when the pointer is one that the kernel would answer with EFAULT.
pub fn name<'a>(path: *const c_char) -> Option<&'a CStr> {
    // SAFETY: the program passed the pointer as a C string; values that cannot be one are refused first.
    readable(path).then(|| unsafe { CStr::from_ptr(path) })
}

/// An open of any kind round `real`, which makes the descriptor.
#[inline]
pub fn opening(dirfd: c_int, path: *const c_char, flags: c_int, real: impl Fn() -> c_int) -> c_int {
    if !live() {
        if mounted() {
            process::fork::opened_in_vfork_child(dirfd, path, flags);
        }
        return real();
    }
    let Some(name) = name(path) else { return real() };
    if flags & O_TRUNC != 0 {
        let follow = flags & O_NOFOLLOW == 0;
        if let Err(e) = tell(|| engine::before_path(dirfd, name, flags, follow)) {
            return int(fail(e));
        }
    }
    let fd = shared::opening(dirfd, path, flags, real, close);
    if fd >= 0 {
        shared::opened(fd);
        let known = if flags & O_TMPFILE == O_TMPFILE { None } else { Some(name) };
        rings::opened(fd, known, flags);
    }
    fd
}

/// Takes an open back that no hook has heard of.
fn close(fd: c_int) {
    // SAFETY: a descriptor that nobody else has heard of.
    unsafe { raw::close(fd) };
}

/// As [`opening`] for the functions that make up a name: `path` holds it afterwards.
fn opening_fresh(path: *mut c_char, flags: c_int, real: impl Fn() -> c_int) -> c_int {
    // To be opened again by its name is what it must not be: it is new.
    opening(HERE, path, flags & !(O_CREAT | O_TRUNC), || shared::making_fresh(path, &real, close))
}

/// The length of a suffix; a negative one is refused by the real function.
fn length(suffix: c_int) -> usize {
    usize::try_from(suffix).unwrap_or(0)
}

const CREAT: c_int = O_CREAT | O_WRONLY | O_TRUNC;
const FRESH: c_int = O_RDWR | O_CREAT | O_EXCL;

hooks! {
    fn open | open64 | __open | __open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int,
        real = raw::open => {
        let fd = named(HERE, path, how_to_open(flags), |dir, path| {
            opening(dir, path, flags, || real(path, flags, mode))
        });
        if fd >= 0 && live() {
            mpi::opened(path, fd, flags);
        }
        fd
    }

    fn openat | openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int,
        real = raw::openat => {
        named(dir, path, how_to_open(flags), |dir, path| opening(dir, path, flags, || real(dir, path, flags, mode)))
    }

    // The fortified forms abort the program when flags that need a mode come without one; so do the real ones.
    fn __open_2 | __open64_2(path: *const c_char, flags: c_int) -> c_int, real => {
        named(HERE, path, how_to_open(flags), |dir, path| opening(dir, path, flags, || real(path, flags)))
    }

    fn __openat_2 | __openat64_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int, real => {
        named(dir, path, how_to_open(flags), |dir, path| opening(dir, path, flags, || real(dir, path, flags)))
    }

    fn creat | creat64(path: *const c_char, mode: mode_t) -> c_int, real => {
        named(HERE, path, how_to_open(CREAT), |dir, path| opening(dir, path, CREAT, || real(path, mode)))
    }

    // The template holds the name only after the call.
    fn mkstemp | mkstemp64(template: *mut c_char) -> c_int, real => {
        templated(template, 0, |t| opening_fresh(t, FRESH, || real(t)), |fd| fd)
    }

    fn mkostemp | mkostemp64(template: *mut c_char, flags: c_int) -> c_int, real => {
        templated(template, 0, |t| opening_fresh(t, FRESH | (flags & !O_TRUNC), || real(t, flags)), |fd| fd)
    }

    fn mkstemps | mkstemps64(template: *mut c_char, suffix: c_int) -> c_int, real => {
        templated(template, length(suffix), |t| opening_fresh(t, FRESH, || real(t, suffix)), |fd| fd)
    }

    fn mkostemps | mkostemps64(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int, real => {
        let flags_of_open = FRESH | (flags & !O_TRUNC);
        templated(template, length(suffix), |t| opening_fresh(t, flags_of_open, || real(t, suffix, flags)), |fd| fd)
    }

    fn open_by_handle_at(mount: c_int, handle: *mut std::ffi::c_void, flags: c_int) -> c_int, real => {
        let fd = real(mount, handle, flags);
        if fd >= 0 && live() {
            rings::opened(fd, None, flags);
        }
        fd
    }
}
