//! Calls on names that several nodes share, each round the kernel's own call. Owns the passage from a hook to the engine and
//! back: the kernel's call is made inside Iris, so that no signal handler of the program runs while the node's turn is
//! held. Without such names each costs one load.

use crate::guard::{inside, live};
use crate::open::name;
use crate::paths::Answered;
use ::engine::engine::shared::{self, Call, Outcome, Removes};
use ::engine::errno::Errno;
use libc::{O_CREAT, O_TMPFILE, c_char, c_int, c_uint};
use std::cell::Cell;
use std::ffi::CStr;

/// Makes `real`'s call as the engine wants it made. `undo` takes a result of it back.
fn within<R: Answered + Copy>(
    real: impl Fn() -> R,
    undo: impl Fn(R),
    done: Option<R>,
    ask: impl FnOnce(&mut Call<'_>) -> Result<Outcome, Errno>,
) -> R {
    let kept: Cell<Option<(R, Errno)>> = Cell::new(None);
    let mut run = || {
        let result = real();
        kept.set(Some((result, Errno::last())));
        !result.failed()
    };
    let mut back = || {
        if let Some((result, _)) = kept.take().filter(|(r, _)| !r.failed()) {
            undo(result);
        }
    };
    let answer = inside(|| ask(&mut Call { run: &mut run, undo: &mut back }));
    match (answer.unwrap_or(Err(Errno(libc::EIO))), kept.get(), done) {
        (Err(error), ..) => R::failure(error),
        (Ok(Outcome::Done), _, Some(result)) => result,
        (Ok(_), Some((result, error)), _) => {
            if result.failed() {
                error.set();
            }
            result
        }
        (Ok(_), None, _) => real(),
    }
}

/// The name, if the engine has to be asked.
fn asked<'a>(path: *const c_char) -> Option<&'a CStr> {
    if shared::any() && live() { name(path) } else { None }
}

/// A call that makes a name; `real` is the kernel's.
pub fn making(dir: c_int, path: *const c_char, real: impl Fn() -> c_int) -> c_int {
    match asked(path) {
        None => real(),
        Some(name) => within(real, |_| {}, None, |call| shared::making(dir, name, false, call)),
    }
}

/// A call that makes the name that a template becomes.
pub fn making_fresh<R: Answered + Copy>(
    template: *const c_char,
    real: impl Fn() -> R,
    undo: impl Fn(R),
) -> R {
    match asked(template) {
        None => real(),
        // The engine reads the name again when the call has filled it in.
        Some(name) => within(real, undo, None, |call| shared::making(libc::AT_FDCWD, name, true, call)),
    }
}

/// An open that may make a name.
pub fn opening<R: Answered + Copy>(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    real: impl Fn() -> R,
    undo: impl Fn(R),
) -> R {
    if flags & O_CREAT == 0 || flags & O_TMPFILE == O_TMPFILE {
        return real();
    }
    match asked(path) {
        None => real(),
        Some(name) => within(real, undo, None, |call| shared::making(dir, name, false, call)),
    }
}

/// After any open.
pub fn opened(fd: c_int) {
    if shared::any() {
        inside(|| shared::opened(fd));
    }
}

/// A call that removes a name.
pub fn removing(dir: c_int, path: *const c_char, what: Removes, real: impl Fn() -> c_int) -> c_int {
    match asked(path) {
        None => real(),
        Some(name) => within(real, |_| {}, Some(0), |call| shared::removing(dir, name, what, call)),
    }
}

/// A call that renames.
pub fn moving(
    from: (c_int, *const c_char),
    to: (c_int, *const c_char),
    flags: c_uint,
    real: impl Fn() -> c_int,
) -> c_int {
    match (asked(from.1), asked(to.1)) {
        (Some(a), Some(b)) => {
            within(real, |_| {}, Some(0), |call| shared::moving((from.0, a), (to.0, b), flags, call))
        }
        _ => real(),
    }
}

/// A call that makes another name for a file; with `follow` for what a link leads to.
pub fn linking(
    from: (c_int, *const c_char),
    follow: bool,
    to: (c_int, *const c_char),
    real: impl Fn() -> c_int,
) -> c_int {
    match (asked(from.1), asked(to.1)) {
        (Some(a), Some(b)) => {
            within(real, |_| {}, None, |call| shared::linking((from.0, a, follow), (to.0, b), call))
        }
        _ => real(),
    }
}

/// A call that changes modes, owners or times by name; with `attributes`, extended attributes.
pub fn changing(
    dir: c_int,
    path: *const c_char,
    follow: bool,
    attributes: bool,
    real: impl Fn() -> c_int,
) -> c_int {
    match asked(path) {
        None => real(),
        Some(name) => {
            within(real, |_| {}, None, |call| shared::changing(dir, name, follow, attributes, call))
        }
    }
}

/// The same by descriptor.
pub fn changing_open(fd: c_int, attributes: bool, real: impl Fn() -> c_int) -> c_int {
    if !shared::any() || !live() {
        return real();
    }
    within(real, |_| {}, None, |call| shared::changing_open(fd, attributes, call))
}
