//! The one place where a name that a program gives becomes the name that the kernel gets. Every hook that takes a
//! path calls [`named`] round everything it does; without a virtual mount that is one load. Owns no rule about names:
//! those are the engine's (`namespace::names`).

use crate::guard::{fail, inside};
use ::engine::engine::shared::{self, Depth};
use ::engine::errno::Errno;
use ::engine::namespace::names::{self, Asked, Given, Room};
use libc::{AT_FDCWD, c_char, c_int, c_long, c_void};
use std::ffi::CStr;

/// The directory that a call without one means.
pub const HERE: c_int = AT_FDCWD;

/// A result that says by itself whether the call failed.
pub trait Answered: Sized {
    /// Whether it failed; then `errno` says why.
    fn failed(&self) -> bool;
    /// The result of a call that failed, with `errno` set.
    fn failure(error: Errno) -> Self;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Answered for $number {
            fn failed(&self) -> bool {
                *self == -1
            }
            fn failure(error: Errno) -> $number {
                fail(error) as $number
            }
        }
    )*};
}
numbers!(c_int, c_long, isize);

impl<T> Answered for *mut T {
    fn failed(&self) -> bool {
        self.is_null()
    }
    fn failure(error: Errno) -> *mut T {
        fail(error);
        std::ptr::null_mut()
    }
}

/// What a call does with the last part of a name.
#[derive(Clone, Copy)]
pub struct How {
    follow: bool,
    makes: bool,
    depth: Depth,
}

impl From<bool> for How {
    /// Whether a link is followed.
    fn from(follow: bool) -> How {
        How { follow, makes: false, depth: Depth::Way }
    }
}

/// Makes the name.
pub const MAKES: How = How { follow: false, makes: true, depth: Depth::Way };

/// Reads the entries of the directory that the name leads to.
pub const LISTS: How = How { follow: true, makes: false, depth: Depth::Entries };

impl How {
    /// Whether the call makes the name.
    pub fn makes(self) -> bool {
        self.makes
    }

    /// All that lies below the name is looked at.
    pub fn with_all_below(self) -> How {
        How { depth: Depth::Below, ..self }
    }
}

/// How an open with these flags means its name.
pub fn how_to_open(flags: c_int) -> How {
    let exclusive = libc::O_CREAT | libc::O_EXCL;
    let follow = flags & libc::O_NOFOLLOW == 0 && flags & exclusive != exclusive;
    How { follow, makes: flags & libc::O_CREAT != 0, depth: Depth::Way }
}

/// Runs `real` with the name that the kernel knows `path` by. `real` may run a second time after ENOENT.
#[inline(always)]
pub fn named<R: Answered>(
    dir: c_int,
    path: *const c_char,
    how: impl Into<How>,
    real: impl Fn(c_int, *const c_char) -> R,
) -> R {
    if !names::in_force() {
        return real(dir, path);
    }
    virtually(dir, path, how.into(), real)
}

#[inline(never)]
fn virtually<R: Answered>(
    dir: c_int,
    path: *const c_char,
    how: How,
    real: impl Fn(c_int, *const c_char) -> R,
) -> R {
    let Some(path) = program_name(path) else { return real(dir, path) };
    let errno = Errno::last();
    // SAFETY: a C string.
    if how.makes || !unsafe { names::is_far(path.as_ptr().cast()) } {
        return translated(dir, path, how, errno, real);
    }
    let result = real(dir, path.as_ptr());
    if missing(&result) {
        once_more(asked(dir, path, how), how.depth, &mut Room::new(), errno, result, real)
    } else {
        result
    }
}

#[inline(never)]
fn translated<R: Answered>(
    dir: c_int,
    path: &CStr,
    how: How,
    errno: Errno,
    real: impl Fn(c_int, *const c_char) -> R,
) -> R {
    if shared::any() {
        return translated_and_shared(dir, path, how, errno, real);
    }
    let mut room = Room::new();
    match given(dir, path, how, &mut room) {
        Given::Other(name) => return real(HERE, name.as_ptr()),
        Given::Fails(error) => return R::failure(error),
        Given::Own => {}
    }
    as_given(dir, path, how, errno, &mut room, real)
}

/// As [`translated`], where names are shared. Apart from it, since it needs more of a handler's small stack.
#[inline(never)]
fn translated_and_shared<R: Answered>(
    dir: c_int,
    path: &CStr,
    how: How,
    errno: Errno,
    real: impl Fn(c_int, *const c_char) -> R,
) -> R {
    let mut room = Room::new();
    let seen = match looked(asked(dir, path, how), how.depth) {
        Ok(seen) => seen,
        Err(error) => return R::failure(error),
    };
    match given(dir, path, how, &mut room) {
        Given::Other(name) => {
            if let Err(error) = looked_again(name, seen, how.depth) {
                return R::failure(error);
            }
            return real(HERE, name.as_ptr());
        }
        Given::Fails(error) => return R::failure(error),
        Given::Own => {}
    }
    as_given(dir, path, how, errno, &mut room, real)
}

/// Makes the call with the program's own name; where there is no such file, once more with the one that Iris knows.
#[inline(always)]
fn as_given<R: Answered>(
    dir: c_int,
    path: &CStr,
    how: How,
    errno: Errno,
    room: &mut Room,
    real: impl Fn(c_int, *const c_char) -> R,
) -> R {
    let result = real(dir, path.as_ptr());
    if missing(&result) {
        once_more(asked(dir, path, how), how.depth, room, errno, result, real)
    } else {
        result
    }
}

/// Where names are shared with other nodes: what they have made of the way of this one. Gives what was looked at.
fn looked(asked: Asked<'_>, depth: Depth) -> Result<Option<Room>, Errno> {
    if !shared::any() || !crate::guard::live() {
        return Ok(None);
    }
    let mut room = Room::new();
    let found = inside(|| shared::look(asked, depth, &mut room)).unwrap_or(Err(Errno(libc::EIO)))?;
    Ok(found.then_some(room))
}

/// The same for the name that the kernel is to get, where that is another one.
fn looked_again(name: &CStr, seen: Option<Room>, depth: Depth) -> Result<(), Errno> {
    if !shared::any() || !crate::guard::live() || seen.is_some_and(|s| s.text() == name.to_bytes()) {
        return Ok(());
    }
    inside(|| shared::look_at(HERE, name, depth)).unwrap_or(Err(Errno(libc::EIO)))
}

/// As [`named`] for a call that refuses links: the prefix is replaced, and nothing looked at.
pub fn literal<R: Answered>(dir: c_int, path: *const c_char, real: impl Fn(c_int, *const c_char) -> R) -> R {
    let mut room = Room::new();
    match program_name(path)
        .and_then(|path| inside(|| names::literal(path, &mut room).then_some(())).flatten())
    {
        Some(()) => room.c_str().map_or_else(R::failure, |name| real(HERE, name.as_ptr())),
        None => real(dir, path),
    }
}

fn missing<R: Answered>(result: &R) -> bool {
    result.failed() && Errno::last().0 == libc::ENOENT
}

/// The kernel did not find a name: perhaps it leads into a virtual mount all the same. `errno` is what it was before.
#[inline(never)]
fn once_more<R: Answered>(
    asked: Asked<'_>,
    depth: Depth,
    room: &mut Room,
    errno: Errno,
    result: R,
    real: impl Fn(c_int, *const c_char) -> R,
) -> R {
    match inside(|| names::again(asked, room)) {
        Some(Given::Other(name)) => {
            errno.set();
            if let Err(error) = looked_again(name, None, depth) {
                return R::failure(error);
            }
            real(HERE, name.as_ptr())
        }
        Some(Given::Fails(error)) => R::failure(error),
        Some(Given::Own) | None => result,
    }
}

/// The name, if it is the program's (and not Iris's own) and can be looked at.
pub fn program_name<'a>(path: *const c_char) -> Option<&'a CStr> {
    if crate::guard::of_program() { crate::open::name(path) } else { None }
}

fn asked(dir: c_int, path: &CStr, how: How) -> Asked<'_> {
    Asked { dir, path, follow: how.follow, makes: how.makes, keep: !crate::guard::in_vfork_child() }
}

/// What the kernel is to get for a name, for hooks that cannot simply call again.
fn given<'r>(dir: c_int, path: &CStr, how: How, room: &'r mut Room) -> Given<'r> {
    let asked = asked(dir, path, how);
    inside(|| names::give(asked, room)).unwrap_or(Given::Fails(Errno(libc::EIO)))
}

/// The name that the kernel knows `path` by, looked for also where it would not find it; `None`: the same.
pub fn found<'r>(dir: c_int, path: &CStr, how: impl Into<How>, room: &'r mut Room) -> Option<&'r CStr> {
    let how = how.into();
    let asked = asked(dir, path, how);
    // What cannot be asked now, the call itself tells.
    let seen = looked(asked, how.depth).ok().flatten();
    if inside(|| matches!(names::give(asked, room), Given::Other(_)))? {
        let _ = looked_again(room.c_str().ok()?, seen, how.depth);
        return room.c_str().ok();
    }
    match inside(|| names::again(asked, room))? {
        Given::Other(name) => {
            let _ = looked_again(name, None, how.depth);
            Some(name)
        }
        _ => None,
    }
}

/// Before a name is made canonical: its way is looked at.
pub fn looked_up(path: &CStr) -> Result<(), Errno> {
    looked(asked(HERE, path, true.into()), Depth::Way).map(drop)
}

/// Fails a call that would rename or remove the root of a virtual mount, as the kernel does for any mount. `path` is
/// what the kernel is about to get.
pub fn not_a_root<R: Answered>(path: *const c_char, real: impl FnOnce() -> R) -> R {
    if names::in_force()
        && let Some(name) = program_name(path)
        && inside(|| names::is_root(name.to_bytes())).unwrap_or(false)
    {
        return R::failure(Errno(libc::EBUSY));
    }
    real()
}

/// The letters that a template ends in.
const BLANK: usize = 6;

/// A call that fills in a template, which lies in the program's memory and keeps the program's name: `real` gets a
/// copy of it in a buffer, and gives whether that was filled in.
pub fn templated<R: Answered>(
    template: *mut c_char,
    suffix: usize,
    real: impl Fn(*mut c_char) -> R,
    given_back: impl Fn(R) -> R,
) -> R {
    if !names::in_force() {
        return real(template);
    }
    let Some(name) = program_name(template) else { return real(template) };
    let len = name.to_bytes().len();
    let tail = (BLANK + suffix).min(len);
    let mut original = Room::new();
    if original.push(name.to_bytes()).is_err() || len >= libc::PATH_MAX as usize {
        return real(template);
    }
    let Ok(before) = original.c_str() else { return real(template) };
    named(HERE, before.as_ptr(), MAKES, |_, path| {
        if std::ptr::eq(path, before.as_ptr()) {
            // SAFETY: the program's template, as long as it was; a failed attempt may have filled it in.
            unsafe { std::ptr::copy_nonoverlapping(before.as_ptr(), template, len) };
            return real(template);
        }
        // SAFETY: `path` is a C string of ours. Its end is as long as that of the template, which it is copied back to.
        unsafe {
            let mut filled = CStr::from_ptr(path).to_bytes_with_nul().to_vec();
            let length = filled.len() - 1;
            let result = real(filled.as_mut_ptr().cast());
            if filled[0] == 0 {
                *template = 0;
            } else {
                let end = filled.as_ptr().add(length - tail).cast();
                std::ptr::copy_nonoverlapping(end, template.add(len - tail), tail);
            }
            if result.failed() { result } else { given_back(result) }
        }
    })
}

/// Puts a name that the kernel gave, as programs see it, into `room`. `None`: it is the same.
pub fn seen<'r>(name: &[u8], room: &'r mut Room) -> Option<&'r CStr> {
    inside(|| {
        let (prefix, rest) = names::back(name)?;
        room.set(prefix).and_then(|()| room.push(rest)).ok()?;
        Some(())
    })
    .flatten()?;
    room.c_str().ok()
}

/// A copy of a name in memory that the program frees.
pub fn allocated(name: &CStr) -> *mut c_char {
    // SAFETY: `name` is a C string; without memory the result is null and `errno` set.
    unsafe { libc::strdup(name.as_ptr()) }
}

/// Frees what glibc allocated for a result that was replaced.
pub fn freed(memory: *mut c_char) {
    // SAFETY: the memory came from glibc's allocator, and nobody else has it.
    unsafe { libc::free(memory.cast::<c_void>()) }
}
