//! Hooks on names: only those after which the engine's own idea of a name would be wrong. All other calls on
//! names (unlink, link, mkdir, access, opendir …) are the kernel's, and right, because every file is a real one.

use crate::guard::{fail, inside, int, live, tell};
use crate::hook::hooks;
use crate::open::name;
use ::engine::engine;
use libc::{AT_FDCWD, c_char, c_int, c_uint};

fn renaming(dir: c_int, from: *const c_char, real: impl FnOnce() -> c_int) -> c_int {
    if live() {
        if let Some(name) = name(from) {
            if let Err(e) = tell(|| engine::before_rename(dir, name)) {
                return int(fail(e));
            }
        }
    }
    real()
}

/// After a change of the working directory.
fn moved(result: c_int) -> c_int {
    if result == 0 && live() {
        inside(engine::directory_changed);
    }
    result
}

/// RENAME_EXCHANGE renames both.
const EXCHANGE: c_uint = 2;

hooks! {
    fn rename(from: *const c_char, to: *const c_char) -> c_int, real => {
        renaming(AT_FDCWD, from, || real(from, to))
    }

    fn renameat(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char) -> c_int, real => {
        renaming(from_dir, from, || real(from_dir, from, to_dir, to))
    }

    fn renameat2(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_uint) -> c_int,
        real => {
        renaming(from_dir, from, || {
            if flags & EXCHANGE != 0 {
                renaming(to_dir, to, || real(from_dir, from, to_dir, to, flags))
            } else {
                real(from_dir, from, to_dir, to, flags)
            }
        })
    }

    fn chdir(path: *const c_char) -> c_int, real => { moved(real(path)) }

    fn fchdir(fd: c_int) -> c_int, real => { moved(real(fd)) }

    fn chroot(path: *const c_char) -> c_int, real => { moved(real(path)) }
}
