//! Hooks on names. Those here are calls after which the engine's own idea of a name would be wrong. All others are the
//! kernel's, and right, because every file is a real one; under a virtual mount they get the name that the kernel
//! knows (`paths`), and what they give back is translated: those are in the modules below.

mod ask;
mod links;
mod make;
mod sockets;
mod trees;
mod walks;
mod whereabouts;

pub use ask::*;
pub use links::*;
pub use make::*;
pub use sockets::*;
pub use whereabouts::*;

use crate::guard::{fail, inside, int, live};
use crate::hook::hooks;
use crate::open::name;
use crate::paths::{HERE, MAKES, named, not_a_root};
use crate::shared;
use ::engine::engine;
use ::engine::engine::shared::Removes;
use ::engine::errno::Errno;
use libc::{c_char, c_int, c_uint};

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

/// A call that gives a file one more name.
fn linking(
    (from_dir, from, follow): (c_int, *const c_char, bool),
    (to_dir, to): (c_int, *const c_char),
    real: impl FnOnce() -> c_int,
) -> c_int {
    if !live() {
        return real();
    }
    if let Some(from) = name(from)
        && let Err(e) =
            inside(|| engine::before_link(from_dir, from, follow)).unwrap_or(Err(Errno(libc::EIO)))
    {
        return int(fail(e));
    }
    let result = real();
    if result == 0
        && let Some(to) = name(to)
    {
        inside(|| engine::linked(to_dir, to));
    }
    result
}

/// RENAME_EXCHANGE renames both.
const EXCHANGE: c_uint = 2;

/// rename(2) of any form round `real`.
fn moving(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
    flags: c_uint,
    real: impl Fn(c_int, *const c_char, c_int, *const c_char) -> c_int,
) -> c_int {
    named(from_dir, from, false, |from_dir, from| {
        named(to_dir, to, MAKES, |to_dir, to| {
            let real = || {
                let real = || real(from_dir, from, to_dir, to);
                not_a_root(from, || {
                    not_a_root(to, || shared::moving((from_dir, from), (to_dir, to), flags, real))
                })
            };
            renaming(from_dir, from, || match flags & EXCHANGE {
                0 => removing(to_dir, to, real),
                _ => renaming(to_dir, to, real),
            })
        })
    })
}

hooks! {
    fn rename(from: *const c_char, to: *const c_char) -> c_int, real => {
        moving(HERE, from, HERE, to, 0, |_, from, _, to| real(from, to))
    }

    fn renameat(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char) -> c_int, real => {
        moving(from_dir, from, to_dir, to, 0, real)
    }

    fn renameat2(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_uint) -> c_int,
        real => {
        moving(from_dir, from, to_dir, to, flags, |from_dir, from, to_dir, to| {
            real(from_dir, from, to_dir, to, flags)
        })
    }

    fn link(from: *const c_char, to: *const c_char) -> c_int, real => {
        named(HERE, from, false, |from_dir, from| {
            named(HERE, to, MAKES, |to_dir, to| {
                linking((from_dir, from, false), (to_dir, to), || {
                    shared::linking((from_dir, from), false, (to_dir, to), || real(from, to))
                })
            })
        })
    }

    fn linkat(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char, flags: c_int) -> c_int,
        real => {
        let follow = flags & libc::AT_SYMLINK_FOLLOW != 0;
        named(from_dir, from, follow, |from_dir, from| {
            named(to_dir, to, MAKES, |to_dir, to| {
                let real = || real(from_dir, from, to_dir, to, flags);
                linking((from_dir, from, follow), (to_dir, to), || {
                    shared::linking((from_dir, from), follow, (to_dir, to), real)
                })
            })
        })
    }

    fn unlink(path: *const c_char) -> c_int, real => {
        named(HERE, path, false, |dir, path| {
            removing(dir, path, || shared::removing(dir, path, Removes::File, || real(path)))
        })
    }

    fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int, real => {
        named(dir, path, false, |dir, path| match flags & libc::AT_REMOVEDIR {
            0 => removing(dir, path, || {
                shared::removing(dir, path, Removes::File, || real(dir, path, flags))
            }),
            _ => not_a_root(path, || {
                shared::removing(dir, path, Removes::Directory, || real(dir, path, flags))
            }),
        })
    }

    fn remove(path: *const c_char) -> c_int, real => {
        named(HERE, path, false, |dir, path| {
            not_a_root(path, || {
                removing(dir, path, || shared::removing(dir, path, Removes::Either, || real(path)))
            })
        })
    }

    fn rmdir(path: *const c_char) -> c_int, real => {
        named(HERE, path, false, |dir, path| {
            not_a_root(path, || shared::removing(dir, path, Removes::Directory, || real(path)))
        })
    }
}
