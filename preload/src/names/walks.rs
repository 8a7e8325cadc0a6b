//! Walks through trees and patterns, which glibc makes by its own calls that no hook sees: sizes must be in the files,
//! and under a virtual mount glibc walks by the kernel's names and the program is shown its own.

use crate::attributes;
use crate::guard::{live, tell};
use crate::hook::hooks;
use crate::paths::{HERE, How, found, program_name};
use ::engine::engine;
use ::engine::namespace::names::{self, Room};
use libc::{c_char, c_int, c_void, size_t};
use std::ffi::{CStr, CString};
use std::ptr::null_mut;

/// Before a walk through a tree. A file that cannot be completed shows the size that it has.
fn walking() {
    if live() {
        let _ = tell(engine::settle_everything);
    }
}

/// struct FTW.
#[repr(C)]
#[derive(Clone, Copy)]
struct Position {
    base: c_int,
    level: c_int,
}

type Each = unsafe extern "C-unwind" fn(*const c_char, *const c_void, c_int, *mut Position) -> c_int;

/// One walk of ftw or nftw that is under way in this thread.
struct Walk<'w> {
    each: Each,
    /// What the program named.
    given: &'w [u8],
    /// The length of what glibc walks instead.
    other: usize,
    /// The walk in whose function this one was begun.
    around: *mut c_void,
}

unsafe extern "C" {
    /// This thread's innermost walk; in variadic.c.
    fn iris_walk_address() -> *mut *mut c_void;
}

fn without_slashes(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|b| *b != b'/').map_or(1.min(path.len()), |at| at + 1)]
}

/// Shows the program one file of a walk.
unsafe extern "C-unwind" fn shown(
    path: *const c_char,
    st: *const c_void,
    kind: c_int,
    at: *mut Position,
) -> c_int {
    // SAFETY: called by glibc inside `walk`, in its thread: the walk is alive, the path is a C string, and a position
    // comes with every call of nftw's (ftw's function takes the first three arguments and looks at no more).
    unsafe {
        let place = iris_walk_address();
        let walk = &*(*place).cast::<Walk>();
        // With FTW_CHDIR glibc has moved.
        names::moved();
        let path = CStr::from_ptr(path).to_bytes();
        let mut text = Vec::with_capacity(walk.given.len() + path.len() + 1);
        text.extend_from_slice(walk.given);
        text.extend_from_slice(path.get(walk.other..).unwrap_or_default());
        let len = text.len();
        text.push(0);
        let mut position;
        let mut at = at;
        if !at.is_null() {
            let base = text[..len].iter().rposition(|b| *b == b'/');
            position = Position { base: base.map_or(0, |at| at as c_int + 1), ..*at };
            at = &raw mut position;
        }
        let inner = *place;
        let result = (walk.each)(text.as_ptr().cast(), st, kind, at);
        *place = inner;
        result
    }
}

/// As `shown`, for ftw, whose function has no position.
unsafe extern "C-unwind" fn shown_plainly(path: *const c_char, st: *const c_void, kind: c_int) -> c_int {
    // SAFETY: as for `shown`.
    unsafe { shown(path, st, kind, null_mut()) }
}

/// ftw and nftw round `real`, which takes the path and the function.
fn walk(
    path: *const c_char,
    each: *const c_void,
    follow: bool,
    instead: *const c_void,
    real: impl Fn(*const c_char, *const c_void) -> c_int,
) -> c_int {
    walking();
    if !names::in_force() || each.is_null() {
        return real(path, each);
    }
    let Some(name) = program_name(path) else { return real(path, each) };
    let given = without_slashes(name.to_bytes());
    let mut room = Room::new();
    let known = found(HERE, name, How::from(follow).with_all_below(), &mut room);
    // Without its slashes, which glibc takes away as well.
    let other = CString::new(without_slashes(known.unwrap_or(name).to_bytes())).unwrap_or_default();
    // SAFETY: the thread's own variable; the walk stays where it is until glibc is done with it. The program's
    // function takes at least these arguments.
    unsafe {
        let place = iris_walk_address();
        let mut walk = Walk {
            each: std::mem::transmute::<*const c_void, Each>(each),
            given,
            other: other.as_bytes().len(),
            around: *place,
        };
        *place = (&raw mut walk).cast();
        let result = real(other.as_ptr(), instead);
        *place = walk.around;
        names::moved();
        result
    }
}

/// FTW_PHYS.
const PHYSICAL: c_int = 1;

/// glob_t, whose functions the program may give.
#[repr(C)]
struct Glob {
    count: size_t,
    paths: *mut *mut c_char,
    offset: size_t,
    flags: c_int,
    close: *const c_void,
    read: *const c_void,
    open: *const c_void,
    lstat: *const c_void,
    stat: *const c_void,
}

/// The functions in the structure are used.
const GLOB_ALTDIRFUNC: c_int = 1 << 9;

/// glob round `real`: it looks at files by the functions that it gets, and those are hooks.
fn globbing(flags: c_int, found: *mut Glob, real: impl Fn(c_int) -> c_int) -> c_int {
    if !names::in_force() || !crate::guard::of_program() || found.is_null() || flags & GLOB_ALTDIRFUNC != 0 {
        return real(flags);
    }
    // SAFETY: the program's structure.
    unsafe {
        (*found).close = libc::closedir as *const c_void;
        (*found).read = libc::readdir as *const c_void;
        (*found).open = super::ask::opendir as *const c_void;
        (*found).lstat = attributes::lstat as *const c_void;
        (*found).stat = attributes::stat as *const c_void;
        let result = real(flags | GLOB_ALTDIRFUNC);
        (*found).flags &= !GLOB_ALTDIRFUNC;
        result
    }
}

hooks! {
    fn ftw | ftw64(path: *const c_char, each: *const c_void, depth: c_int) -> c_int, real => {
        walk(path, each, true, shown_plainly as *const c_void, |path, each| real(path, each, depth))
    }

    fn nftw | nftw64(path: *const c_char, each: *const c_void, depth: c_int, flags: c_int) -> c_int, real => {
        walk(path, each, flags & PHYSICAL == 0, shown as *const c_void, |path, each| real(path, each, depth, flags))
    }

    fn fts_open | fts64_open(paths: *const *mut c_char, options: c_int, order: *const c_void) -> *mut c_void,
        real => {
        walking();
        super::trees::opening(paths, options, |paths| real(paths, options, order))
    }

    fn fts_read | fts64_read(tree: *mut c_void) -> *mut c_void, real => {
        super::trees::going_on(tree, || real(tree))
    }

    fn fts_children | fts64_children(tree: *mut c_void, options: c_int) -> *mut c_void, real => {
        super::trees::looking(tree, || real(tree, options))
    }

    fn fts_close | fts64_close(tree: *mut c_void) -> c_int, real => { super::trees::closing(tree, || real(tree)) }

    fn glob | glob64(pattern: *const c_char, flags: c_int, failed: *const c_void, found: *mut c_void) -> c_int,
        real => { globbing(flags, found.cast(), |flags| real(pattern, flags, failed, found)) }
}
