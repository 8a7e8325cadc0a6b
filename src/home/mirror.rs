//! One name of the shadow tree, made what the catalog says it is: the anchor of a file, a directory, a link, a special
//! file, with its mode, owner, time and attributes. Owns that comparison and that change; which names are looked at, and
//! when, is [`super::shadow`]'s business.

use super::catalog::{Inode, ROOT, Type};
use super::control::{CHANGED, Control, LOOSE, NAMELESS, NO_CUT, Peek, SENDING, UNLINKED, WILD};
use super::resident::Anchor;
use super::shadow::Shadow;
use super::{Home, gate, id_text, xattrs};
use crate::errno::Errno;
use crate::sys;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid};
use std::ffi::{CStr, CString};
use std::sync::atomic::Ordering;

/// A directory's time of change counts as another one from this difference on, in nanoseconds: the kernel's and the
/// catalog's own notes of one change are not one.
const DIR_TIME: u64 = 100_000_000;

/// Makes one anchor what the catalog says.
pub fn bring(shadow: &Shadow<'_>, names: &[&[u8]], inode: &Inode) -> Result<(), Errno> {
    let path = shadow.anchor(names)?;
    let there = sys::statat(libc::AT_FDCWD, &path, false).ok();
    let kind = there.as_ref().and_then(|st| kind_of(st.st_mode));
    let same = there.as_ref().filter(|_| kind == Some(inode.kind));
    match inode.kind {
        Type::File => bring_file(shadow, names, &path, same, inode),
        Type::Dir => {
            if same.is_none() {
                shadow.change()?;
                vanish(shadow, names)?;
                made_by_anyone(rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)))?;
            }
            dress(shadow, &path, same, inode)
        }
        Type::Link => {
            let says = rustix::fs::readlink(&path, Vec::new()).ok();
            if says.as_ref().is_none_or(|s| s.as_bytes() != inode.target) {
                shadow.change()?;
                vanish(shadow, names)?;
                let target = CString::new(inode.target.clone()).map_err(|_| Errno(libc::EINVAL))?;
                made_by_anyone(rustix::fs::symlink(&target, &path))?;
                return dress(shadow, &path, None, inode);
            }
            dress(shadow, &path, same, inode)
        }
        Type::Fifo | Type::Socket | Type::Char | Type::Block => {
            let same = same.filter(|st| st.st_rdev == device(inode));
            if same.is_none() {
                shadow.change()?;
                vanish(shadow, names)?;
                let kind = FileType::from_raw_mode(raw_kind(inode.kind));
                made_by_anyone(rustix::fs::mknodat(
                    CWD,
                    &path,
                    kind,
                    Mode::from_raw_mode(0o600),
                    device(inode),
                ))?;
            }
            dress(shadow, &path, same, inode)
        }
    }
}

fn bring_file(
    shadow: &Shadow<'_>,
    names: &[&[u8]],
    path: &CString,
    there: Option<&Stat>,
    inode: &Inode,
) -> Result<(), Errno> {
    let home = shadow.home;
    if let Some(st) = there {
        let born = sys::birth_at(libc::AT_FDCWD, path, st.st_ino);
        let place = home.control_path(st.st_ino)?;
        match Peek::at(&place, st.st_ino, born) {
            Some(peek) if home.layout().is_whole() => {
                return bring_up_whole(shadow, names, (path, st), (&place, born), peek, inode);
            }
            Some(peek) if id_text(peek.id) == inode.id => {
                return bring_up(shadow, (path, st), (&place, born), peek, inode);
            }
            _ => {}
        }
    }
    shadow.change()?;
    // Another file has the name now. Whoever has the old one open keeps it.
    vanish(shadow, names)?;
    // Made beside the tree: whoever looks without the turn finds all of it, or nothing.
    let half = home.fresh_id();
    let fresh = home.control_file(&format!("new-{:016x}", half[0] ^ half[1]))?;
    let fd = sys::open(&fresh, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, 0o600)?;
    let made = || -> Result<(), Errno> {
        let st = sys::fstat(fd.raw())?;
        let born = sys::birth(fd.raw(), st.st_ino);
        // Where a file is one object, its name is all that others know it by.
        let whole = home.layout().is_whole().then(|| home.fresh_id());
        let id = whole.or_else(|| id_from(&inode.id)).ok_or(Errno(libc::EIO))?;
        let (control, _) = Control::open(&home.control_path(st.st_ino)?, st.st_ino, born, id)?;
        let head = control.head();
        sys::set_len(fd.raw(), inode.len)?;
        head.home_len.store(inode.len, Ordering::Release);
        head.stored_len.store(inode.len, Ordering::Release);
        head.cut_at.store(NO_CUT, Ordering::Release);
        head.version.store(inode.version, Ordering::Release);
        control.set_tag(inode.tag.as_deref());
        head.flags.store(0, Ordering::Release);
        dress(shadow, &fresh, None, inode)?;
        Ok(rustix::fs::rename(&fresh, path)?)
    };
    made().inspect_err(|_| {
        // Nobody else knows of it.
        let _ = sys::remove(&fresh);
    })
}

/// Whether the tree has a file of that name that is of the version which the catalog has.
pub fn is_version(shadow: &Shadow<'_>, names: &[&[u8]], inode: &Inode) -> Result<bool, Errno> {
    let path = shadow.anchor(names)?;
    let Ok(st) = sys::statat(libc::AT_FDCWD, &path, false) else { return Ok(false) };
    if kind_of(st.st_mode) != Some(Type::File) {
        return Ok(false);
    }
    let born = sys::birth_at(libc::AT_FDCWD, &path, st.st_ino);
    let peek = Peek::at(&shadow.home.control_path(st.st_ino)?, st.st_ino, born);
    Ok(peek.is_some_and(|p| p.version == inode.version))
}

/// An anchor of the right file: it is emptied where the catalog has a newer version, unless it has bytes that the
/// store has not.
fn bring_up(
    shadow: &Shadow<'_>,
    (path, st): (&CString, &Stat),
    (place, born): (&CStr, u64),
    peek: Peek,
    inode: &Inode,
) -> Result<(), Errno> {
    if peek.flags & (CHANGED | WILD | UNLINKED | SENDING) != 0 {
        return Ok(());
    }
    if peek.version == inode.version {
        return dress(shadow, path, Some(st), inode);
    }
    if peek.version > inode.version {
        // A process of this node has sent it home since the catalog was asked.
        return Ok(());
    }
    let (control, _) = Control::open(place, st.st_ino, born, [0, 0])?;
    let head = control.head();
    if peek.flags & LOOSE != 0 && control.is_open() {
        // The kernel reads it by itself (it is mapped, or was handed on): it stays the version that it is.
        return Ok(());
    }
    shadow.change()?;
    head.flags.fetch_and(!LOOSE, Ordering::AcqRel);
    let open = || sys::open(path, OFlags::RDWR, 0);
    let fd = match open() {
        Err(Errno(libc::EACCES)) => sys::with_write_permission_at(path, open)?,
        other => other?,
    };
    let resident = super::resident::Resident::new(shadow.home, control, shadow.pool, false);
    if resident.replaced_by(fd.raw(), inode.len, inode.version)? {
        dress(shadow, path, None, inode)?;
    }
    Ok(())
}

/// The same where the file is one object: another version is another tag, and none is later than another.
fn bring_up_whole(
    shadow: &Shadow<'_>,
    names: &[&[u8]],
    (path, st): (&CString, &Stat),
    (place, born): (&CStr, u64),
    peek: Peek,
    inode: &Inode,
) -> Result<(), Errno> {
    let busy = peek.flags & (CHANGED | WILD | UNLINKED | SENDING) != 0;
    if peek.version == inode.version {
        return if busy { Ok(()) } else { dress(shadow, path, Some(st), inode) };
    }
    let (control, _) = Control::open(place, st.st_ino, born, [0, 0])?;
    if busy {
        // It is sent over the version that it was made from, or over this one if nothing of that is left in it.
        control.set_seen(inode.tag.as_deref());
        return Ok(());
    }
    if peek.flags & LOOSE != 0 && control.is_open() {
        return Ok(());
    }
    shadow.change()?;
    let known = Control::open(place, st.st_ino, born, [0, 0])?.0;
    let brought = gate::unless_sent(&known, shadow.home.holders()?, || {
        // Asked once more: what was asked before may be older than what a process of this node has sent since.
        let Some(now) = shadow.now(names)?.filter(|i| i.kind == Type::File) else { return Ok(()) };
        if now.version == control.head().version.load(Ordering::Acquire) {
            return Ok(());
        }
        control.head().flags.fetch_and(!LOOSE, Ordering::AcqRel);
        let open = || sys::open(path, OFlags::RDWR, 0);
        let fd = match open() {
            Err(Errno(libc::EACCES)) => sys::with_write_permission_at(path, open)?,
            other => other?,
        };
        let resident = super::resident::Resident::new(shadow.home, control, shadow.pool, false);
        if resident.replaced_by_version(fd.raw(), now.len, now.tag.as_deref())? {
            dress(shadow, path, None, &now)?;
        }
        Ok(())
    });
    // Where it is being sent, it is busy.
    brought.map(drop)
}

/// Gives an anchor its mode, owner, time and attributes, where they differ from what it is known to have.
fn dress(shadow: &Shadow<'_>, path: &CStr, has: Option<&Stat>, inode: &Inode) -> Result<(), Errno> {
    if inode.bare && has.is_some() {
        // The next look at the name itself tells.
        return Ok(());
    }
    // Only root may give files away; for others they are their own.
    if rustix::process::geteuid().is_root()
        && has.is_none_or(|st| (st.st_uid, st.st_gid) != (inode.uid, inode.gid))
    {
        shadow.change()?;
        let owner = (Some(Uid::from_raw(inode.uid)), Some(Gid::from_raw(inode.gid)));
        rustix::fs::chownat(CWD, path, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if inode.kind != Type::Link {
        if has.is_none_or(|st| st.st_mode & 0o7777 != inode.mode) {
            shadow.change()?;
            rustix::fs::chmod(path, Mode::from_raw_mode(inode.mode))?;
        }
        if matches!(inode.kind, Type::File | Type::Dir)
            && !(has.is_none() && inode.xattrs.is_empty())
            && xattrs::bring(path, &inode.xattrs, false)?
        {
            shadow.change()?;
            xattrs::bring(path, &inode.xattrs, true)?;
        }
    }
    let other_time = |st: &Stat| match inode.kind {
        Type::Dir => inode.mtime_ns > mtime_of(st).saturating_add(DIR_TIME),
        _ => mtime_of(st) != inode.mtime_ns,
    };
    // Of a directory that is there by its entries only, no time is known.
    let known = inode.kind != Type::Dir || inode.mtime_ns != 0;
    if known && has.is_none_or(other_time) {
        shadow.change()?;
        sys::set_mtime_at(path, inode.mtime_ns)?;
    }
    Ok(())
}

/// Takes a name out of the tree that the catalog has not. A folder goes with all it holds.
pub fn vanish(shadow: &Shadow<'_>, names: &[&[u8]]) -> Result<(), Errno> {
    let path = shadow.anchor(names)?;
    let Ok(st) = sys::statat(libc::AT_FDCWD, &path, false) else { return Ok(()) };
    shadow.change()?;
    match kind_of(st.st_mode) {
        Some(Type::Dir) => {
            for entry in sys::entries(&path)? {
                let below: Vec<&[u8]> = names.iter().copied().chain([entry.as_slice()]).collect();
                vanish(shadow, &below)?;
            }
            gone_by_anyone(rustix::fs::rmdir(&path))
        }
        Some(Type::File) if st.st_nlink == 1 => {
            // As long as it is open no other file gets its inode number, and with it the name of its control file.
            let pin = sys::pin(libc::AT_FDCWD, &path)?;
            if sys::fstat(pin.raw())?.st_ino != st.st_ino {
                return vanish(shadow, names);
            }
            let born = sys::birth_at(libc::AT_FDCWD, &path, st.st_ino);
            let place = shadow.home.control_path(st.st_ino)?;
            let control = Control::open(&place, st.st_ino, born, [0, 0]).ok().map(|(control, _)| control);
            if let Some(control) = &control {
                send_left(shadow, &path, control)?;
            }
            gone_by_anyone(rustix::fs::unlink(&path))?;
            let Some(control) = control else { return Ok(()) };
            // Whoever has it open goes on with it: elsewhere it may have another name.
            control.head().flags.fetch_or(NAMELESS, Ordering::AcqRel);
            if control.is_open() { Ok(()) } else { control.remove() }
        }
        _ => gone_by_anyone(rustix::fs::unlink(&path)),
    }
}

/// A file is about to lose its name here that has another elsewhere, as far as the catalog knows: what a process left of
/// it that was killed goes to the store, where whoever has that name finds it.
fn send_left(shadow: &Shadow<'_>, path: &CStr, control: &Control) -> Result<(), Errno> {
    let flags = control.head().flags.load(Ordering::Acquire);
    if flags & (CHANGED | WILD | SENDING) == 0 || flags & UNLINKED != 0 || control.is_open() {
        return Ok(());
    }
    if shadow.home.layout().is_whole() {
        // It has no other name.
        return Ok(());
    }
    match shadow.home.still_named(control.id()) {
        Err(Errno(libc::ESTALE)) => return Ok(()),
        other => other?,
    }
    let fd = sys::open(path, OFlags::RDONLY, 0)?;
    shadow.home.resident(fd.raw(), shadow.pool, false)?.settle(Anchor::here(fd.raw()))
}

/// What the tree has at a name, as the catalog would tell it, with an identity of its own.
pub fn inode_of(home: &Home, path: &CStr, st: &Stat) -> Result<Inode, Errno> {
    let kind = kind_of(st.st_mode).ok_or(Errno(libc::EIO))?;
    let target = match kind {
        Type::Link => rustix::fs::readlink(path, Vec::new())?.into_bytes(),
        Type::Char | Type::Block => st.st_rdev.to_string().into_bytes(),
        _ => Vec::new(),
    };
    Ok(Inode {
        id: id_text(home.fresh_id()),
        kind,
        mode: st.st_mode & 0o7777,
        uid: st.st_uid,
        gid: st.st_gid,
        links: 1,
        len: 0,
        mtime_ns: mtime_of(st),
        version: 0,
        target,
        xattrs: Vec::new(),
        tag: None,
        bare: false,
    })
}

fn device(inode: &Inode) -> u64 {
    std::str::from_utf8(&inode.target).ok().and_then(|t| t.parse().ok()).unwrap_or(0)
}

const KINDS: [(Type, u32); 7] = [
    (Type::File, libc::S_IFREG),
    (Type::Dir, libc::S_IFDIR),
    (Type::Link, libc::S_IFLNK),
    (Type::Fifo, libc::S_IFIFO),
    (Type::Socket, libc::S_IFSOCK),
    (Type::Char, libc::S_IFCHR),
    (Type::Block, libc::S_IFBLK),
];

/// What a mode tells that something is.
pub fn kind_of(mode: u32) -> Option<Type> {
    KINDS.iter().find(|(_, raw)| *raw == mode & libc::S_IFMT).map(|(kind, _)| *kind)
}

/// What a mode tells it by.
pub fn raw_kind(kind: Type) -> u32 {
    KINDS.iter().find(|(k, _)| *k == kind).map_or(libc::S_IFREG, |(_, raw)| *raw)
}

fn made_by_anyone(made: rustix::io::Result<()>) -> Result<(), Errno> {
    match made {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

fn gone_by_anyone(gone: rustix::io::Result<()>) -> Result<(), Errno> {
    match gone {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        other => Ok(other?),
    }
}

/// A time of modification in nanoseconds since 1970.
#[allow(
    clippy::unnecessary_cast,
    reason = "the fields' types differ between rustix's two ways to the kernel"
)]
pub fn mtime_of(st: &Stat) -> u64 {
    (st.st_mtime as u64).wrapping_mul(1_000_000_000).wrapping_add(st.st_mtime_nsec as u64)
}

/// An identity from the catalog's text.
pub fn id_from(text: &[u8]) -> Option<[u64; 2]> {
    let text = std::str::from_utf8(text).ok().filter(|t| t.len() == 32 && t.as_bytes() != ROOT)?;
    Some([u64::from_str_radix(&text[..16], 16).ok()?, u64::from_str_radix(&text[16..], 16).ok()?])
}
