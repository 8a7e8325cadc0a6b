//! Names as programs give them into names that the kernel knows, and back. Owns the decision how little must be done
//! for it; the long way is [`super::walk`].
//!
//! A name under a prefix becomes one under its shadow by putting one in the place of the other. That is exact as long
//! as the way meets no link and no `..`, of which the kernel is asked; else the name is walked. A name that only
//! turns out to lead into a virtual mount (by a link from outside, or `..`) is one that the kernel does not find:
//! [`again`] looks at it then. Nothing here allocates, takes a lock or changes `errno`.

use super::room::PATH_MAX;
use super::view::{self, Standing, View};
use super::walk::{Aim, Walked, climbs, walk};
use crate::errno::Errno;
use crate::sys;
use std::ffi::{CStr, c_int};

pub use super::room::Room;
pub use super::view::{install, moved, moves_unseen, remove};

/// A name as a call gives it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The directory that a relative name is told from.
    pub dir: c_int,
    /// The name.
    pub path: &'a CStr,
    /// Whether a link in its last part is followed.
    pub follow: bool,
    /// Whether the call may make what it does not find: then a name that the kernel does not find is no sign.
    pub makes: bool,
    /// Whether what is learnt about the working directory may be kept: not in a vfork child, which has its own.
    pub keep: bool,
}

/// What the kernel is to get.
#[derive(Debug, PartialEq, Eq)]
pub enum Given<'r> {
    /// The name as it is.
    Own,
    /// This absolute name.
    Other(&'r CStr),
    /// Nothing: the call fails.
    Fails(Errno),
}

/// Whether any virtual mount is in force: one load.
#[inline(always)]
pub fn in_force() -> bool {
    view::view().is_some()
}

/// Whether a name is surely none of ours, unless the kernel does not find it: absolute, and under no prefix.
///
/// # Safety
/// `path` is a C string.
#[inline(always)]
pub unsafe fn is_far(path: *const u8) -> bool {
    let Some(view) = view::view() else { return true };
    // SAFETY: the bytes are compared one by one, and none behind the first that differs is looked at.
    unsafe {
        *path == b'/'
            && !view.hides
            && !matches!(*path.add(1), b'/' | b'.')
            && view.mounts.iter().all(|m| m.prefix.iter().enumerate().any(|(i, b)| *path.add(i) != *b))
    }
}

/// What the kernel is to get for a name.
pub fn give<'r>(asked: Asked<'_>, room: &'r mut Room) -> Given<'r> {
    let Some(view) = view::view() else { return Given::Own };
    let path = asked.path.to_bytes();
    // The kernel answers ENOENT and ENAMETOOLONG itself.
    if path.is_empty() || path.len() >= PATH_MAX {
        return Given::Own;
    }
    if path[0] == b'/' {
        let path = plain_start(path);
        return match view.by_prefix(path) {
            Some((mount, rest)) => under(view, mount, rest, asked.follow, room),
            None => hidden(view, asked, room),
        };
    }
    if asked.dir == libc::AT_FDCWD {
        return match view.standing(asked.keep) {
            Standing::Outside => hidden(view, asked, room),
            Standing::Above => from_above(view, asked, room),
            Standing::Inside => from_inside(view, asked, room),
        };
    }
    from_descriptor(view, asked, room)
}

/// What a name is under the shadow of a virtual mount by its text alone, links and `..` as they stand, into `room`;
/// `false`: it is not under one.
pub fn by_text(asked: Asked<'_>, room: &mut Room) -> bool {
    let Some(view) = view::view() else { return false };
    let path = asked.path.to_bytes();
    if path.is_empty() || path.len() >= PATH_MAX {
        return false;
    }
    if path[0] == b'/' {
        let Some((mount, rest)) = view.by_prefix(plain_start(path)) else { return false };
        return room.set(&view.mounts[mount].shadow).and_then(|()| room.push(rest)).is_ok();
    }
    if asked.dir == libc::AT_FDCWD && view.standing(asked.keep) == Standing::Outside {
        return false;
    }
    if absolute(asked, room).is_err() {
        return false;
    }
    if view.by_shadow(room.text()).is_some() {
        return true;
    }
    let Some((mount, rest)) = view.by_prefix(room.text()) else { return false };
    let prefix = room.len() - rest.len();
    room.replace_start(prefix, &view.mounts[mount].shadow).is_ok()
}

/// A name that the kernel gets, from the root on, as it stands, into `room`.
///
/// # Errors
/// As asking where its directory is.
pub fn absolute(asked: Asked<'_>, room: &mut Room) -> Result<(), Errno> {
    let path = asked.path.to_bytes();
    if path.first() == Some(&b'/') {
        return room.set(path);
    }
    place(asked.dir, room)?;
    if room.text() != b"/" {
        room.push(b"/")?;
    }
    room.push(path)
}

/// Puts into `room` what the kernel is to get for a name that may meet no link; `false`: the name as it is.
pub fn literal(path: &CStr, room: &mut Room) -> bool {
    let Some(view) = view::view() else { return false };
    let Some((mount, rest)) = view.by_prefix(plain_start(path.to_bytes())) else { return false };
    room.set(&view.mounts[mount].shadow).and_then(|()| room.push(rest)).is_ok()
}

/// What the kernel is to get after it did not find the name that [`give`] left as it is. [`Given::Own`]: it is right.
pub fn again<'r>(asked: Asked<'_>, room: &'r mut Room) -> Given<'r> {
    let Some(view) = view::view() else { return Given::Own };
    let path = asked.path.to_bytes();
    if path.is_empty() || path.len() >= PATH_MAX || view.hides {
        return Given::Own;
    }
    if !climbs(path) && !sys::meets_link(asked.dir, asked.path, true) {
        // Only from a directory above a prefix does such a name lead into it.
        if path[0] == b'/' || asked.dir == libc::AT_FDCWD {
            return Given::Own;
        }
        return from_above(view, asked, room);
    }
    if_touching(view, asked, room)
}

/// Walks a name: what the kernel is to get if it leads through a virtual mount.
fn if_touching<'r>(view: &View, asked: Asked<'_>, room: &'r mut Room) -> Given<'r> {
    let path = asked.path.to_bytes();
    if path[0] != b'/' && place(asked.dir, room).is_err() {
        return Given::Own;
    }
    match walk(view, path, aim(asked.follow), room) {
        Ok(walked) if walked.touched => finish(room),
        Err(refused) if refused.touched => Given::Fails(refused.error),
        Ok(_) | Err(_) => Given::Own,
    }
}

/// The canonical name, as programs see it, of what `path` leads to, into `room`; it exists.
///
/// # Errors
/// As realpath(3).
pub fn canonical<'r>(path: &CStr, room: &'r mut Room) -> Result<&'r [u8], Errno> {
    let view = view::view().ok_or(Errno(libc::ENOSYS))?;
    let text = path.to_bytes();
    if text.is_empty() {
        return Err(Errno(libc::ENOENT));
    }
    if text[0] != b'/' {
        place(libc::AT_FDCWD, room)?;
    }
    let Walked { slash, mount, .. } = walk(view, text, Aim::Canonical, room).map_err(|r| r.error)?;
    let st = room.with_c_str(|name| sys::statat(libc::AT_FDCWD, name, false))??;
    if slash && st.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return Err(Errno(libc::ENOTDIR));
    }
    if let Some(mount) = mount {
        let mount = &view.mounts[mount];
        room.replace_start(mount.shadow.len(), &mount.prefix)?;
    }
    if room.len() >= PATH_MAX { Err(Errno(libc::ENAMETOOLONG)) } else { Ok(room.text()) }
}

/// A name that the kernel gave, as programs see it: the prefix, and what follows it. `None`: as it is.
pub fn back(name: &[u8]) -> Option<(&'static [u8], &[u8])> {
    let view = view::view()?;
    let (mount, rest) = view.by_shadow(name)?;
    Some((&view.mounts[mount].prefix, rest))
}

/// Whether the beginning of a name might be that of one that [`back`] changes.
pub fn may_go_back(start: &[u8]) -> bool {
    view::view().is_some_and(|v| {
        v.mounts.iter().any(|m| {
            let n = start.len().min(m.shadow.len());
            start[..n] == m.shadow[..n]
        })
    })
}

/// Whether this name of the kernel's is the root of a virtual mount, which like that of any mount cannot be renamed
/// or removed.
pub fn is_root(name: &[u8]) -> bool {
    let end = name.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    view::view().is_some_and(|v| v.mounts.iter().any(|m| m.shadow == name[..end]))
}

/// Whether the link that this name leads to, itself not followed, is one of /proc, whose text the kernel makes.
pub fn is_link_of_proc(dir: c_int, path: &CStr) -> bool {
    sys::is_on_proc(dir, path)
}

/// The working directory as programs see it, into `room`, if it lies in a virtual mount; `keep` as in [`Asked`].
pub fn working_directory(keep: bool, room: &mut Room) -> Option<&[u8]> {
    if view::view()?.standing(keep) != Standing::Inside {
        return None;
    }
    place(libc::AT_FDCWD, room).ok()?;
    let (prefix, rest) = back(room.text())?;
    let shadow = room.len() - rest.len();
    room.replace_start(shadow, prefix).ok()?;
    Some(room.text())
}

/// A name whose directory is told by a descriptor, for calls that have little room: the kernel's name for what
/// `path`, a name of its own, leads to.
///
/// # Errors
/// As opening the directory.
pub fn from_parent<'r>(path: &CStr, room: &'r mut Room) -> Result<&'r CStr, Errno> {
    room.set(path.to_bytes())?;
    room.from_parent()?;
    room.c_str()
}

fn aim(follow: bool) -> Aim {
    if follow { Aim::Follow } else { Aim::Keep }
}

/// Without what means nothing at the start of an absolute name.
fn plain_start(mut path: &[u8]) -> &[u8] {
    loop {
        path = match path {
            [b'/', b'/', ..] => &path[1..],
            [b'/', b'.', b'/', ..] => &path[2..],
            _ => return path,
        }
    }
}

/// The name, as the kernel has it, of the directory that a relative name is told from, into `room`.
fn place(dir: c_int, room: &mut Room) -> Result<(), Errno> {
    room.fill_with(|buf| {
        let name = if dir == libc::AT_FDCWD { sys::getcwd(buf) } else { sys::name_of(dir, buf) };
        name.map(<[u8]>::len)
    })
}

fn finish(room: &mut Room) -> Given<'_> {
    match room.c_str() {
        Ok(name) => Given::Other(name),
        Err(e) => Given::Fails(e),
    }
}

/// The long way, from the directory that `room` holds.
fn walked<'r>(view: &View, path: &[u8], follow: bool, room: &'r mut Room) -> Given<'r> {
    match walk(view, path, aim(follow), room) {
        Ok(_) => finish(room),
        Err(refused) => Given::Fails(refused.error),
    }
}

/// Whether the way of this name from a mount's root can meet a link at all.
fn may_meet_link(rest: &[u8], follow: bool) -> bool {
    let start = rest.iter().position(|b| *b != b'/').unwrap_or(rest.len());
    let rest = &rest[start..];
    if follow { !rest.is_empty() } else { rest.contains(&b'/') }
}

/// A name under a prefix, `rest` behind it.
fn under<'r>(view: &View, mount: usize, rest: &[u8], follow: bool, room: &'r mut Room) -> Given<'r> {
    let shadow = &view.mounts[mount].shadow;
    let walks = |room: &'r mut Room| {
        let from = match room.set(shadow) {
            Ok(()) => walk_below(view, rest, follow, room),
            Err(e) => Err(e),
        };
        match from {
            Ok(()) => finish(room),
            Err(e) => Given::Fails(e),
        }
    };
    if climbs(rest) || view.nested {
        return walks(room);
    }
    let put = room.set(shadow).and_then(|()| room.push(rest));
    if put.is_err() || room.len() >= PATH_MAX {
        return walks(room);
    }
    if may_meet_link(rest, follow) {
        match room.with_c_str(|name| sys::meets_link(libc::AT_FDCWD, name, follow)) {
            Ok(false) => {}
            Ok(true) | Err(_) => return walks(room),
        }
    }
    finish(room)
}

/// Walks what follows a prefix from the root of its mount, which `room` holds.
fn walk_below(view: &View, rest: &[u8], follow: bool, room: &mut Room) -> Result<(), Errno> {
    let below = &rest[rest.iter().take_while(|b| **b == b'/').count()..];
    if below.is_empty() {
        return room.push(if rest.is_empty() { b"" } else { b"/" });
    }
    walk(view, below, aim(follow), room).map(drop).map_err(|refused| refused.error)
}

/// A name that the text does not show to be ours, where what the kernel finds or makes there may not be meant.
fn hidden<'r>(view: &View, asked: Asked<'_>, room: &'r mut Room) -> Given<'r> {
    if !view.hides && !asked.makes {
        return Given::Own;
    }
    let path = asked.path.to_bytes();
    let last = |name: &[u8]| name.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
    let meets = || {
        let like_a_prefix = || view.mounts.iter().any(|m| m.prefix[last(&m.prefix)..] == path[last(path)..]);
        (view.hides || asked.follow || like_a_prefix())
            && sys::meets_link(asked.dir, asked.path, asked.follow)
    };
    if climbs(path) || meets() { if_touching(view, asked, room) } else { Given::Own }
}

/// A relative name, from a directory that a prefix may lie below.
fn from_above<'r>(view: &View, asked: Asked<'_>, room: &'r mut Room) -> Given<'r> {
    if place(asked.dir, room).is_err() {
        return Given::Own;
    }
    let mut path = asked.path.to_bytes();
    while let [b'.', b'/', after @ ..] = path {
        path = &after[after.iter().take_while(|b| **b == b'/').count()..];
    }
    let slash: &[u8] = if room.text() == b"/" { b"" } else { b"/" };
    let joined = room.push(slash).and_then(|()| room.push(path));
    match view.by_prefix(room.text()) {
        Some((mount, rest)) if joined.is_ok() => {
            // What follows the prefix stands at the end of the path.
            let at = path.len().saturating_sub(rest.len());
            under(view, mount, &path[at..], asked.follow, room)
        }
        _ => hidden(view, asked, room),
    }
}

/// A relative name from the working directory, which is in a virtual mount.
fn from_inside<'r>(view: &View, asked: Asked<'_>, room: &'r mut Room) -> Given<'r> {
    let path = asked.path.to_bytes();
    let meets = || may_meet_link(path, asked.follow) && sys::meets_link(asked.dir, asked.path, asked.follow);
    if !climbs(path) && !view.nested && !meets() {
        return Given::Own;
    }
    match place(asked.dir, room) {
        Ok(()) => from_within(view, asked, meets, room),
        // A directory without a name: what is told from it is the kernel's.
        Err(_) => Given::Own,
    }
}

/// A relative name from the directory that `room` holds.
fn from_within<'r>(view: &View, asked: Asked<'_>, meets: impl Fn() -> bool, room: &'r mut Room) -> Given<'r> {
    let path = asked.path.to_bytes();
    let Some((_, below)) = view.by_shadow(room.text()) else { return hidden(view, asked, room) };
    // Most often `..` stands in front, and stays in the mount: then the kernel is right.
    let parts = || path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
    let ups = parts().take_while(|part| *part == b"..").count();
    let climbs_later = parts().skip(ups).any(|part| part == b"..");
    let depth = below.iter().filter(|b| **b == b'/').count();
    if ups <= depth && !climbs_later && !view.nested && !meets() {
        return Given::Own;
    }
    walked(view, path, asked.follow, room)
}

/// A relative name from a descriptor.
fn from_descriptor<'r>(view: &View, asked: Asked<'_>, room: &'r mut Room) -> Given<'r> {
    let path = asked.path.to_bytes();
    let meets = || may_meet_link(path, asked.follow) && sys::meets_link(asked.dir, asked.path, asked.follow);
    if !climbs(path) && !view.nested && !meets() {
        return if view.hides { from_above(view, asked, room) } else { Given::Own };
    }
    match place(asked.dir, room) {
        Ok(()) => from_within(view, asked, meets, room),
        Err(_) => Given::Own,
    }
}
