//! Hooks on names: only those after which the engine's own idea of a name would be wrong. All other calls on
//! names (link, mkdir, access, opendir …) are the kernel's, and right, because every file is a real one.

use crate::guard::{fail, inside, int, live, tell};
use crate::hook::hooks;
use crate::open::name;
use ::engine::engine;
use ::engine::errno::Errno;
use libc::{AT_FDCWD, c_char, c_int, c_uint, c_void};

/// A call that takes a file's name away, and perhaps its last.
fn removing(dir: c_int, path: *const c_char, real: impl FnOnce() -> c_int) -> c_int {
    if !live() {
        return real();
    }
    let file = name(path).and_then(|name| inside(|| engine::removing(dir, name)).flatten());
    let result = real();
    if let (0, Some(file)) = (result, file) {
        inside(|| engine::removed(file));
    }
    result
}

fn renaming(dir: c_int, from: *const c_char, real: impl FnOnce() -> c_int) -> c_int {
    let mut what = engine::Renamed::Nothing;
    if live()
        && let Some(name) = name(from)
    {
        match inside(|| engine::before_rename(dir, name)).unwrap_or(Err(Errno(libc::EIO))) {
            Ok(found) => what = found,
            Err(e) => return int(fail(e)),
        }
    }
    let result = real();
    if result == 0 && what != engine::Renamed::Nothing {
        inside(|| engine::renamed(what));
    }
    result
}

/// After a file got one more name.
fn linked(dir: c_int, path: *const c_char, result: c_int) -> c_int {
    if result == 0
        && live()
        && let Some(name) = name(path)
    {
        inside(|| engine::linked(dir, name));
    }
    result
}

/// Before a walk through a tree. A file that cannot be completed shows the size that it has.
fn walking() {
    if live() {
        let _ = tell(engine::settle_everything);
    }
}

/// RENAME_EXCHANGE renames both.
const EXCHANGE: c_uint = 2;

hooks! {
    fn rename(from: *const c_char, to: *const c_char) -> c_int, real => {
        renaming(AT_FDCWD, from, || removing(AT_FDCWD, to, || real(from, to)))
    }

    fn renameat(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char) -> c_int, real => {
        renaming(from_dir, from, || removing(to_dir, to, || real(from_dir, from, to_dir, to)))
    }

    fn renameat2(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_uint) -> c_int,
        real => {
        renaming(from_dir, from, || {
            if flags & EXCHANGE != 0 {
                renaming(to_dir, to, || real(from_dir, from, to_dir, to, flags))
            } else {
                removing(to_dir, to, || real(from_dir, from, to_dir, to, flags))
            }
        })
    }

    fn link(from: *const c_char, to: *const c_char) -> c_int, real => { linked(AT_FDCWD, to, real(from, to)) }

    fn linkat(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_int) -> c_int,
        real => { linked(to_dir, to, real(from_dir, from, to_dir, to, flags)) }

    fn unlink(path: *const c_char) -> c_int, real => { removing(AT_FDCWD, path, || real(path)) }

    fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int, real => {
        removing(dir, path, || real(dir, path, flags))
    }

    fn remove(path: *const c_char) -> c_int, real => { removing(AT_FDCWD, path, || real(path)) }

    // These look at many files by glibc's own calls, which no hook sees: their sizes must be in the files.
    fn ftw | ftw64(path: *const c_char, each: *const c_void, depth: c_int) -> c_int, real => {
        walking();
        real(path, each, depth)
    }

    fn nftw | nftw64(path: *const c_char, each: *const c_void, depth: c_int, flags: c_int) -> c_int, real => {
        walking();
        real(path, each, depth, flags)
    }

    fn fts_open | fts64_open(paths: *const *mut c_char, options: c_int, order: *const c_void) -> *mut c_void,
        real => {
        walking();
        real(paths, options, order)
    }
}
