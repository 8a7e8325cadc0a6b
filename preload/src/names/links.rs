//! Hooks that read links and give canonical names. Links that programs made hold what they were given; those that the
//! kernel makes, in /proc, hold names of the kernel's.

use crate::guard::{fail, inside};
use crate::hook::hooks;
use crate::paths::{HERE, allocated, named, program_name, seen};
use ::engine::errno::Errno;
use ::engine::namespace::names::{self, Room};
use libc::{c_char, c_int, size_t, ssize_t};
use std::ffi::CStr;
use std::ptr::null_mut;

/// readlink(2) round `real`.
fn reading(
    dir: c_int,
    path: *const c_char,
    buf: *mut c_char,
    room: size_t,
    real: impl Fn(c_int, *const c_char, *mut c_char, size_t) -> ssize_t,
) -> ssize_t {
    named(dir, path, false, |dir, path| {
        let len = real(dir, path, buf, room);
        if len <= 0 || !names::in_force() {
            return len;
        }
        // SAFETY: the call wrote that many bytes.
        let text = unsafe { std::slice::from_raw_parts(buf.cast::<u8>(), len as usize) };
        match program_name(path) {
            Some(path) if names::may_go_back(text) => of_the_kernel(dir, path, buf, room, len, &real),
            _ => len,
        }
    })
}

/// The text of a link that begins like a name of the kernel's, as programs see it.
#[cold]
fn of_the_kernel(
    dir: c_int,
    path: &CStr,
    buf: *mut c_char,
    room: size_t,
    len: ssize_t,
    real: impl Fn(c_int, *const c_char, *mut c_char, size_t) -> ssize_t,
) -> ssize_t {
    let mut whole = Room::new();
    if !inside(|| names::is_link_of_proc(dir, path)).unwrap_or(false) {
        return len;
    }
    let filled = whole.fill_with(|all| {
        let len = real(dir, path.as_ptr(), all.as_mut_ptr().cast(), all.len());
        usize::try_from(len).map_err(|_| Errno::last())
    });
    let mut name = Room::new();
    let Some(name) = filled.ok().and_then(|()| seen(whole.text(), &mut name)) else { return len };
    let name = name.to_bytes();
    let copied = name.len().min(room);
    // SAFETY: the program's buffer holds `room` bytes.
    unsafe { std::ptr::copy_nonoverlapping(name.as_ptr(), buf.cast(), copied) };
    copied as ssize_t
}

/// Gives a name to the program: in its own memory, where it has passed some, else in fresh memory.
fn give(name: &[u8], into: *mut c_char) -> *mut c_char {
    let mut room = Room::new();
    let Ok(name) = room.push(name).and_then(|()| room.c_str()) else { return null_mut() };
    if into.is_null() {
        return allocated(name);
    }
    // SAFETY: the program's memory has room for PATH_MAX bytes, which the name is shorter than.
    unsafe { libc::strcpy(into, name.as_ptr()) }
}

/// realpath(3) round `real`.
fn canonical(path: *const c_char, into: *mut c_char, real: impl Fn() -> *mut c_char) -> *mut c_char {
    if !names::in_force() {
        return real();
    }
    let Some(name) = program_name(path) else { return real() };
    let mut room = Room::new();
    // SAFETY: a C string.
    let far = unsafe { names::is_far(name.as_ptr().cast()) };
    if far {
        let result = real();
        if !result.is_null() {
            // SAFETY: glibc's answer, a C string.
            return match seen(unsafe { CStr::from_ptr(result) }.to_bytes(), &mut room) {
                None => result,
                Some(other) => {
                    if into.is_null() {
                        crate::paths::freed(result);
                    }
                    give(other.to_bytes(), into)
                }
            };
        }
        if Errno::last().0 != libc::ENOENT {
            return result;
        }
    }
    if let Err(error) = crate::paths::looked_up(name) {
        fail(error);
        return null_mut();
    }
    match inside(|| names::canonical(name, &mut room)) {
        Some(Ok(canonical)) => give(canonical, into),
        Some(Err(error)) => {
            fail(error);
            null_mut()
        }
        None => real(),
    }
}

hooks! {
    fn readlink(path: *const c_char, buf: *mut c_char, room: size_t) -> ssize_t, real => {
        reading(HERE, path, buf, room, |_, path, buf, room| real(path, buf, room))
    }

    fn readlinkat(dir: c_int, path: *const c_char, buf: *mut c_char, room: size_t) -> ssize_t, real => {
        reading(dir, path, buf, room, real)
    }

    fn __readlink_chk(path: *const c_char, buf: *mut c_char, room: size_t, size: size_t) -> ssize_t, real => {
        if room > size { return real(path, buf, room, size); }
        reading(HERE, path, buf, room, |_, path, buf, room| real(path, buf, room, room))
    }

    fn __readlinkat_chk(dir: c_int, path: *const c_char, buf: *mut c_char, room: size_t, size: size_t) -> ssize_t,
        real => {
        if room > size { return real(dir, path, buf, room, size); }
        reading(dir, path, buf, room, |dir, path, buf, room| real(dir, path, buf, room, room))
    }

    fn realpath(path: *const c_char, into: *mut c_char) -> *mut c_char, real => {
        canonical(path, into, || real(path, into))
    }

    fn __realpath_chk(path: *const c_char, into: *mut c_char, size: size_t) -> *mut c_char, real => {
        if size < libc::PATH_MAX as size_t { return real(path, into, size); }
        canonical(path, into, || real(path, into, size))
    }

    fn canonicalize_file_name(path: *const c_char) -> *mut c_char, real => {
        canonical(path, null_mut(), || real(path))
    }
}
