//! Hooks that make a name: directories, special files, symbolic links, temporary names. The kernel makes them.

use crate::hook::hooks;
use crate::open::name;
use crate::paths::{HERE, MAKES, allocated, found, named, program_name, templated};
use crate::shared::{making, making_fresh};
use ::engine::namespace::names::{self, Room};
use libc::{c_char, c_int, dev_t, mode_t};
use std::ffi::CStr;
use std::ptr::null_mut;

/// Whether a call made what its template says.
fn made(template: *mut c_char) -> impl Fn(*mut c_char) -> *mut c_char {
    move |copy| if copy.is_null() { copy } else { template }
}

unsafe extern "C" {
    fn secure_getenv(name: *const c_char) -> *mut c_char;
}

/// As many letters of the prefix as tempnam(3) uses.
const PREFIX: usize = 5;

/// The directory in which tempnam(3) makes a name, if it is one that only Iris finds.
fn directory_of_temporary(given: *const c_char) -> Option<&'static CStr> {
    // SAFETY: the environment's string and the program's are C strings; the program changes neither meanwhile. The
    // structure is filled in before it is looked at.
    unsafe {
        let exists = |dir: *const c_char| {
            let mut st: libc::stat = std::mem::zeroed();
            crate::attributes::stat(dir, &mut st) == 0 && st.st_mode & libc::S_IFMT == libc::S_IFDIR
        };
        let variable = secure_getenv(c"TMPDIR".as_ptr());
        let chosen =
            [variable.cast_const(), given].into_iter().filter_map(name).find(|d| exists(d.as_ptr()))?;
        let mut room = Room::new();
        found(HERE, chosen, true, &mut room).is_some().then(|| CStr::from_ptr(chosen.as_ptr()))
    }
}

hooks! {
    fn mkdir(path: *const c_char, mode: mode_t) -> c_int, real => {
        named(HERE, path, MAKES, |dir, path| making(dir, path, || real(path, mode)))
    }

    fn mkdirat(dir: c_int, path: *const c_char, mode: mode_t) -> c_int, real => {
        named(dir, path, MAKES, |dir, path| making(dir, path, || real(dir, path, mode)))
    }

    fn mkfifo(path: *const c_char, mode: mode_t) -> c_int, real => {
        named(HERE, path, MAKES, |dir, path| making(dir, path, || real(path, mode)))
    }

    fn mkfifoat(dir: c_int, path: *const c_char, mode: mode_t) -> c_int, real => {
        named(dir, path, MAKES, |dir, path| making(dir, path, || real(dir, path, mode)))
    }

    fn mknod(path: *const c_char, mode: mode_t, device: dev_t) -> c_int, real => {
        named(HERE, path, MAKES, |dir, path| making(dir, path, || real(path, mode, device)))
    }

    fn mknodat(dir: c_int, path: *const c_char, mode: mode_t, device: dev_t) -> c_int, real => {
        named(dir, path, MAKES, |dir, path| making(dir, path, || real(dir, path, mode, device)))
    }

    fn __xmknod(version: c_int, path: *const c_char, mode: mode_t, device: *mut dev_t) -> c_int, real => {
        named(HERE, path, MAKES, |dir, path| making(dir, path, || real(version, path, mode, device)))
    }

    fn __xmknodat(version: c_int, dir: c_int, path: *const c_char, mode: mode_t, device: *mut dev_t) -> c_int,
        real => { named(dir, path, MAKES, |dir, path| making(dir, path, || real(version, dir, path, mode, device))) }

    // The text of a link is the program's: it is read back, and walked, as it was given.
    fn symlink(text: *const c_char, path: *const c_char) -> c_int, real => {
        named(HERE, path, MAKES, |dir, path| making(dir, path, || real(text, path)))
    }

    fn symlinkat(text: *const c_char, dir: c_int, path: *const c_char) -> c_int, real => {
        named(dir, path, MAKES, |dir, path| making(dir, path, || real(text, dir, path)))
    }

    fn mktemp(template: *mut c_char) -> *mut c_char, real => {
        templated(template, 0, real, made(template))
    }

    fn mkdtemp(template: *mut c_char) -> *mut c_char, real => {
        templated(template, 0, |t| making_fresh(t, || real(t), |_| {}), made(template))
    }

    fn tempnam(dir: *const c_char, prefix: *const c_char) -> *mut c_char, real => {
        if !names::in_force() { return real(dir, prefix); }
        let Some(chosen) = directory_of_temporary(dir) else { return real(dir, prefix) };
        let chosen = chosen.to_bytes();
        let end = chosen.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
        let prefix = match program_name(prefix).map(CStr::to_bytes) {
            Some(prefix) if !prefix.is_empty() => &prefix[..prefix.len().min(PREFIX)],
            _ => b"file",
        };
        let mut room = Room::new();
        let parts: [&[u8]; 4] = [&chosen[..end], b"/", prefix, b"XXXXXX"];
        if parts.iter().any(|part| room.push(part).is_err()) {
            crate::guard::fail(::engine::errno::Errno(libc::ENAMETOOLONG));
            return null_mut();
        }
        let Ok(template) = room.c_str() else { return null_mut() };
        let template = allocated(template);
        // SAFETY: fresh memory that holds the template.
        unsafe {
            if template.is_null() || *mktemp(template) != 0 { return template; }
            crate::paths::freed(template);
            null_mut()
        }
    }
}
