//! Hooks on the working directory and the root. The kernel's working directory is the real one; what it is called is
//! translated.

use crate::guard::{fail, in_vfork_child, inside, of_program};
use crate::hook::hooks;
use crate::open::name;
use crate::paths::{HERE, allocated, named};
use ::engine::errno::Errno;
use ::engine::namespace::names::{self, Room};
use libc::{c_char, c_int, size_t};
use std::ptr::null_mut;

/// After a call that changed the working directory, if it did.
fn moved(result: c_int) -> c_int {
    // A vfork child has a directory of its own, but not a memory.
    if result == 0 && names::in_force() && !in_vfork_child() {
        names::moved();
    }
    result
}

/// The name of the working directory, if it lies in a virtual mount.
fn virtual_one(room: &mut Room) -> Option<&[u8]> {
    if !names::in_force() || !of_program() {
        return None;
    }
    let keep = !in_vfork_child();
    inside(|| names::working_directory(keep, room)).flatten()
}

/// getcwd(3) of a directory that has this name.
fn tell(name: &[u8], buf: *mut c_char, size: size_t) -> *mut c_char {
    let needed = name.len() + 1;
    let error = if size == 0 && !buf.is_null() {
        libc::EINVAL
    } else if size < needed && (size != 0 || !buf.is_null()) {
        libc::ERANGE
    } else {
        0
    };
    if error != 0 {
        fail(Errno(error));
        return null_mut();
    }
    // SAFETY: `buf` holds `size` bytes by the program's word, and fresh memory as many as are asked for.
    unsafe {
        let to = if buf.is_null() { libc::malloc(size.max(needed)).cast() } else { buf };
        if !to.is_null() {
            std::ptr::copy_nonoverlapping(name.as_ptr(), to.cast(), name.len());
            *to.add(name.len()) = 0;
        }
        to
    }
}

/// Whether two names lead to one directory.
fn same(a: *const c_char, b: *const c_char) -> bool {
    // SAFETY: C strings, and structures that are looked at once they are filled in.
    unsafe {
        let (mut x, mut y): (libc::stat, libc::stat) = (std::mem::zeroed(), std::mem::zeroed());
        crate::attributes::stat(a, &mut x) == 0
            && crate::attributes::stat(b, &mut y) == 0
            && (x.st_dev, x.st_ino) == (y.st_dev, y.st_ino)
    }
}

hooks! {
    fn chdir(path: *const c_char) -> c_int, real => { named(HERE, path, true, |_, path| moved(real(path))) }

    fn fchdir(fd: c_int) -> c_int, real => { moved(real(fd)) }

    // In another root the names are others; children there have no libiris.so unless it lies there too.
    fn chroot(path: *const c_char) -> c_int, real => {
        let result = named(HERE, path, true, |_, path| real(path));
        if result == 0 && names::in_force() && !in_vfork_child() { names::remove(); }
        result
    }

    fn unshare(flags: c_int) -> c_int, real => {
        let result = real(flags);
        if result == 0 && flags & libc::CLONE_FS != 0 && names::in_force() { names::moves_unseen(); }
        result
    }

    fn getcwd(buf: *mut c_char, size: size_t) -> *mut c_char, real => {
        let mut room = Room::new();
        match virtual_one(&mut room) {
            Some(name) => tell(name, buf, size),
            None => real(buf, size),
        }
    }

    fn __getcwd_chk(buf: *mut c_char, size: size_t, holds: size_t) -> *mut c_char, real => {
        let mut room = Room::new();
        match virtual_one(&mut room) {
            Some(name) if size <= holds => tell(name, buf, size),
            _ => real(buf, size, holds),
        }
    }

    fn getwd(buf: *mut c_char) -> *mut c_char, real => {
        let mut room = Room::new();
        match virtual_one(&mut room) {
            Some(name) if !buf.is_null() => tell(name, buf, libc::PATH_MAX as size_t),
            _ => real(buf),
        }
    }

    fn __getwd_chk(buf: *mut c_char, holds: size_t) -> *mut c_char, real => {
        let mut room = Room::new();
        match virtual_one(&mut room) {
            Some(name) if !buf.is_null() && name.len() < holds => tell(name, buf, libc::PATH_MAX as size_t),
            _ => real(buf, holds),
        }
    }

    // PWD, if it is true; glibc would look whether it is by calls of its own.
    fn get_current_dir_name() -> *mut c_char, real => {
        let mut room = Room::new();
        let Some(here) = virtual_one(&mut room) else { return real() };
        // SAFETY: the environment's string, if there is one.
        let variable = name(unsafe { libc::getenv(c"PWD".as_ptr()) });
        match variable.filter(|v| v.to_bytes().starts_with(b"/") && same(v.as_ptr(), c".".as_ptr())) {
            Some(variable) => allocated(variable),
            None => tell(here, null_mut(), 0),
        }
    }
}
