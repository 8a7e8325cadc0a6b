//! Keeping the shadow tree in step with a catalog of names that other nodes change too. Owns that direction of truth:
//! the catalog is right, the tree follows. Before the kernel looks a name up, [`Shadow::look`] makes the anchors on its way
//! what the catalog says. A name is removed or moved in the catalog first, where that is atomic for everybody, and in the
//! tree by the kernel afterwards; a name is made by the kernel first, which knows all that may be wrong with it, and then
//! entered ([`Shadow::adopt`]), unless another node was first.
//!
//! Names come relative to the mount. Everything here runs on the service's threads; whatever changes the tree has the
//! node's turn ([`super::turn`]).

use super::catalog::{Gone, Inode, Names, Over, Retagged, Type, objects};
use super::control::{CHANGED, Control, Found};
use super::moves::Move;
use super::{Home, gate, id_text, mirror, xattrs};
use crate::errno::Errno;
use crate::sys;
use crate::tier0::pool::Pool;
use std::ffi::CString;
use std::sync::atomic::Ordering;

/// Symbolic links that are followed on the way of one name, and `..` on it: more than the kernel's own limit of 40 links.
const MOST_STEPS: u32 = 100;

/// The tree is not as the catalog says, and may not be changed now. No system call gives this number.
pub const STALE: Errno = Errno(i32::MAX);

/// The tree of one home and its catalog.
pub struct Shadow<'a> {
    pub(super) home: &'static Home,
    catalog: &'a dyn Names,
    pub(super) pool: &'static Pool,
    /// The prefix under which programs know the home, for links that name it.
    root: &'a [u8],
    may_change: bool,
}

/// A name to be made.
#[derive(Clone, Copy, Debug)]
pub struct New<'n> {
    /// The name.
    pub name: &'n [u8],
    /// What it becomes.
    pub kind: Type,
    /// Permissions.
    pub mode: u32,
    /// What a link says.
    pub target: &'n [u8],
    /// Whether a link of that name is followed.
    pub follow: bool,
}

/// A directory's identity, and a name in it.
type Place = (Vec<u8>, Vec<u8>);

/// Where a name leads.
struct Way {
    path: Vec<Vec<u8>>,
    inodes: Vec<Inode>,
}

impl Way {
    fn names(&self) -> Vec<&[u8]> {
        self.path.iter().map(Vec::as_slice).collect()
    }

    /// What the name leads to.
    fn end(&self) -> Option<&Inode> {
        self.inodes.get(self.path.len())
    }

    /// The directory in which the last part of the name lies, and that part; `None` for the root itself.
    fn place(&self) -> Result<Option<Place>, Errno> {
        let Some(last) = self.path.last() else { return Ok(None) };
        match (self.parent(), self.inodes.last()) {
            (Some(dir), _) => Ok(Some((dir.id.clone(), last.clone()))),
            (None, Some(end)) if end.kind == Type::Dir => Err(Errno(libc::ENOENT)),
            _ => Err(Errno(libc::ENOTDIR)),
        }
    }

    /// The directory in which the last part of the name lies.
    fn parent(&self) -> Option<&Inode> {
        self.inodes.get(self.path.len().checked_sub(1)?).filter(|i| i.kind == Type::Dir)
    }
}

/// The parts of a name; "." is none.
pub(super) fn parts(name: &[u8]) -> Vec<&[u8]> {
    name.split(|&b| b == b'/').filter(|p| !p.is_empty() && *p != b".").collect()
}

impl<'a> Shadow<'a> {
    /// The tree of `home`, which programs know as `root`.
    pub fn new(
        home: &'static Home,
        catalog: &'a dyn Names,
        pool: &'static Pool,
        root: &'a [u8],
    ) -> Shadow<'a> {
        Shadow { home, catalog, pool, root, may_change: true }
    }

    /// The same without the turn: where the tree would have to change, calls fail with [`STALE`].
    pub fn only_checking(self) -> Shadow<'a> {
        Shadow { may_change: false, ..self }
    }

    /// The tree is about to be changed.
    pub(super) fn change(&self) -> Result<(), Errno> {
        if self.may_change { Ok(()) } else { Err(STALE) }
    }

    /// Makes the anchors on the way of a name what the catalog says, links on the way followed. What the catalog has
    /// not, the tree has not either afterwards.
    pub fn look(&self, name: &[u8]) -> Result<(), Errno> {
        self.follow(name, true, true).map(drop)
    }

    /// The way that a name leads, links followed (in its last part only with `last`), and the inodes on it. `None` where
    /// it leads out of the home, or too far, or where the kernel says what is wrong with it. With `mirrored` as
    /// [`Shadow::look`]; without, the tree stays as it is.
    fn follow(&self, name: &[u8], last: bool, mirrored: bool) -> Result<Option<Way>, Errno> {
        let path = parts(name).iter().map(|p| p.to_vec()).collect();
        self.follow_parts(path, last, mirrored, &mut 0)
    }

    /// `steps` counts links and climbs together, as far as one name may lead.
    fn follow_parts(
        &self,
        mut path: Vec<Vec<u8>>,
        last: bool,
        mirrored: bool,
        steps: &mut u32,
    ) -> Result<Option<Way>, Errno> {
        while *steps < MOST_STEPS {
            *steps += 1;
            if let Some(at) = path.iter().position(|p| p == b"..") {
                // What stands in front may be a link, whose directory is another.
                let front = self.follow_parts(path[..at].to_vec(), true, mirrored, steps)?;
                let Some(mut front) = front.filter(|w| w.end().is_some_and(|i| i.kind == Type::Dir)) else {
                    return Ok(None);
                };
                if front.path.pop().is_none() {
                    return Ok(None);
                }
                front.path.extend_from_slice(&path[at + 1..]);
                path = front.path;
                continue;
            }
            let names: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
            let way = self.catalog.walk(&names)?;
            if mirrored {
                self.mirror_way(&names, &way)?;
            }
            let whole = way.len() == names.len() + 1;
            let Some(link) = way.last().filter(|i| i.kind == Type::Link && (last || !whole)) else {
                return Ok(Some(Way { path, inodes: way }));
            };
            match self.beyond(&names[..way.len() - 1], &link.target, &names[way.len() - 1..]) {
                Some(next) => path = next,
                None => return Ok(None),
            }
        }
        // The kernel answers ELOOP.
        Ok(None)
    }

    /// Brings the anchors on a way up to the catalog; what follows its end is gone.
    fn mirror_way(&self, names: &[&[u8]], way: &[Inode]) -> Result<(), Errno> {
        for (depth, inode) in way.iter().enumerate().skip(1) {
            mirror::bring(self, &names[..depth], inode)?;
        }
        if way.len() <= names.len() && way.last().is_some_and(|i| i.kind == Type::Dir) {
            mirror::vanish(self, &names[..way.len()])?;
        }
        Ok(())
    }

    /// Where a link at `at` leads, with the rest of the name behind it; `None` out of the home.
    fn beyond(&self, at: &[&[u8]], target: &[u8], rest: &[&[u8]]) -> Option<Vec<Vec<u8>>> {
        let (start, inside) = if target.first() == Some(&b'/') {
            let below = target.strip_prefix(self.root);
            (0, below.filter(|r| r.is_empty() || r.first() == Some(&b'/'))?)
        } else {
            (at.len().saturating_sub(1), target)
        };
        let all = at[..start].iter().copied().chain(parts(inside)).chain(rest.iter().copied());
        Some(all.map(<[u8]>::to_vec).collect())
    }

    /// Makes a directory's entries in the tree those of the catalog; with `deep` those of all below it as well.
    pub fn look_into(&self, name: &[u8], deep: bool) -> Result<(), Errno> {
        let Some(way) = self.follow(name, true, true)? else { return Ok(()) };
        match way.end() {
            Some(dir) if dir.kind == Type::Dir => self.entries(&way.names(), &dir.id, deep),
            _ => Ok(()),
        }
    }

    fn entries(&self, names: &[&[u8]], id: &[u8], deep: bool) -> Result<(), Errno> {
        let mut entries = match self.catalog.list(id) {
            // Removed, or made something else, since: the kernel says so.
            Err(Errno(libc::ENOTDIR)) => return Ok(()),
            other => other?,
        };
        let mut unknown: Vec<&mut Inode> = Vec::new();
        for (entry, inode) in entries.iter_mut().filter(|(_, i)| i.bare && i.kind != Type::Dir) {
            let path: Vec<&[u8]> = names.iter().copied().chain([entry.as_slice()]).collect();
            if !mirror::is_version(self, &path, inode)? {
                unknown.push(inode);
            }
        }
        self.catalog.complete(&mut unknown)?;
        let mut known = std::collections::BTreeSet::new();
        for (entry, inode) in &entries {
            let path: Vec<&[u8]> = names.iter().copied().chain([entry.as_slice()]).collect();
            mirror::bring(self, &path, inode)?;
            if deep && inode.kind == Type::Dir {
                self.entries(&path, &inode.id, deep)?;
            }
            known.insert(entry.as_slice());
        }
        for entry in sys::entries(&self.anchor(names)?)? {
            if !known.contains(entry.as_slice()) {
                let path: Vec<&[u8]> = names.iter().copied().chain([entry.as_slice()]).collect();
                mirror::vanish(self, &path)?;
            }
        }
        Ok(())
    }

    /// Claims a name in the catalog before the kernel makes it in the tree; `follow` tells about a link in its last part
    /// (open without O_EXCL makes what a link names). The identity to give it, or `None` if there is nothing to make: the
    /// name is there, in the tree as well by now, or the kernel says what is wrong with the way.
    pub fn claim(&self, new: &New<'_>) -> Result<Option<[u64; 2]>, Errno> {
        let Some(way) = self.follow(new.name, new.follow, true)? else { return Ok(None) };
        let names = way.names();
        let (Some(last), Some(dir), None) = (names.last(), way.parent(), way.end()) else { return Ok(None) };
        let id = self.home.fresh_id();
        let inode = Inode {
            id: id_text(id),
            kind: new.kind,
            mode: new.mode & 0o7777,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            links: 1,
            len: 0,
            mtime_ns: sys::coarse_ns(),
            version: 0,
            target: new.target.to_vec(),
            xattrs: Vec::new(),
            tag: None,
            bare: false,
        };
        let (made, inode) = self.catalog.make(&dir.id, last, &inode)?;
        if made {
            // What the tree has of that name, another node has removed.
            mirror::vanish(self, &names)?;
            return Ok(Some(id));
        }
        mirror::bring(self, &names, &inode)?;
        Ok(None)
    }

    /// The kernel has made a name in the tree: the catalog gets it. `false` where another node has made one of that name:
    /// that one is in the tree now.
    ///
    /// # Errors
    /// ENOENT where another node has removed the directory meanwhile; the name is gone again, as after every error.
    pub fn adopt(&self, name: &[u8]) -> Result<bool, Errno> {
        let result = self.enter(name);
        if result.is_err() {
            mirror::vanish(self, &parts(name))?;
        }
        result
    }

    fn enter(&self, name: &[u8]) -> Result<bool, Errno> {
        let names = parts(name);
        let path = self.anchor(&names)?;
        let st = sys::statat(libc::AT_FDCWD, &path, false)?;
        let Some((last, above)) = names.split_last() else { return Err(Errno(libc::EEXIST)) };
        let above = self.follow_parts(above.iter().map(|p| p.to_vec()).collect(), true, false, &mut 0)?;
        let dir = above.as_ref().and_then(Way::end).filter(|d| d.kind == Type::Dir);
        let dir = dir.ok_or(Errno(libc::ENOENT))?;
        let mut inode = mirror::inode_of(self.home, &path, &st)?;
        let mut control = None;
        if inode.kind == Type::File {
            let born = sys::birth_at(libc::AT_FDCWD, &path, st.st_ino);
            let place = self.home.control_path(st.st_ino)?;
            let (known, found) = Control::open(&place, st.st_ino, born, self.home.fresh_id())?;
            inode.id = id_text(known.id());
            // A file without a name (O_TMPFILE) may get one too, which the catalog has not heard of.
            if st.st_nlink > 1 {
                match self.catalog.link(&dir.id, last, &inode.id) {
                    Ok(()) => return Ok(true),
                    Err(Errno(libc::EEXIST)) => return self.theirs(name, &names),
                    Err(Errno(libc::ENOENT)) => {}
                    Err(e) => return Err(e),
                }
            }
            control = Some((known, found));
        }
        let (made, theirs) = self.catalog.make(&dir.id, last, &inode)?;
        if !made {
            mirror::vanish(self, &names)?;
            mirror::bring(self, &names, &theirs)?;
            return Ok(false);
        }
        if let Some((control, found)) = control {
            if theirs.tag.is_some() {
                control.set_tag(theirs.tag.as_deref());
                control.head().version.store(theirs.version, Ordering::Release);
            }
            if found == Found::Fresh && st.st_size > 0 {
                control.head().flags.fetch_or(CHANGED, Ordering::AcqRel);
            }
        }
        Ok(true)
    }

    fn theirs(&self, name: &[u8], names: &[&[u8]]) -> Result<bool, Errno> {
        mirror::vanish(self, names)?;
        self.look(name).map(|()| false)
    }

    /// Takes a claim back: the kernel refused the name.
    pub fn unclaim(&self, name: &[u8], kind: Type) -> Result<(), Errno> {
        match kind {
            Type::Dir => self.rmdir(name),
            _ => self.unlink(name).map(drop),
        }
    }

    /// Removes a file's name. The file, if that was its last name.
    pub fn unlink(&self, name: &[u8]) -> Result<Option<Gone>, Errno> {
        let (dir, last) = self.place(name)?.ok_or(Errno(libc::EISDIR))?;
        self.catalog.unlink(&dir, &last)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, name: &[u8]) -> Result<(), Errno> {
        let (dir, last) = self.place(name)?.ok_or(Errno(libc::EBUSY))?;
        self.catalog.rmdir(&dir, &last)
    }

    /// Renames, as rename(2) and renameat2(2) do. The file that has lost its last name by it.
    pub fn rename(&self, from: &[u8], to: &[u8], over: Over) -> Result<Option<Gone>, Errno> {
        let way = self.follow(from, false, true)?.ok_or(Errno(libc::EXDEV))?;
        let (dir, last) = way.place()?.ok_or(Errno(libc::EBUSY))?;
        let (dir2, last2) = self.place(to)?.ok_or(Errno(libc::EBUSY))?;
        if let Some(source) = way.end().filter(|_| self.home.layout().is_whole()) {
            let to = objects::below(&dir2, &last2);
            self.home.move_begins(&Move { from: source.id.clone(), to, tag: source.tag.clone() })?;
        }
        let done = self.catalog.rename((&dir, &last), (&dir2, &last2), over).inspect_err(|_| {
            self.home.move_ends();
        })?;
        for moved in &done.retagged {
            self.retag(moved)?;
        }
        Ok(done.gone)
    }

    /// The anchor of a file whose object has another tag for the same bytes is of that version.
    fn retag(&self, moved: &Retagged) -> Result<(), Errno> {
        let anchor = self.anchor(&parts(&moved.name))?;
        gate::retag(self.home, &anchor, moved.was.as_deref(), moved.tag.as_deref())
    }

    /// What a name leads to now, links not followed.
    pub(super) fn now(&self, names: &[&[u8]]) -> Result<Option<Inode>, Errno> {
        let mut way = self.catalog.walk(names)?;
        Ok(if way.len() == names.len() + 1 { way.pop() } else { None })
    }

    /// Another name for a file, or for a symbolic link.
    pub fn link(&self, from: &[u8], to: &[u8]) -> Result<(), Errno> {
        let way = self.follow(from, false, true)?.ok_or(Errno(libc::EXDEV))?;
        let file = way.end().ok_or(Errno(libc::ENOENT))?;
        let (dir, last) = self.place(to)?.ok_or(Errno(libc::EEXIST))?;
        self.catalog.link(&dir, &last, &file.id)
    }

    /// The kernel has changed the mode, owner or time of a name in the tree (and its extended attributes, with
    /// `attributes`), links followed with `follow`: so does the catalog.
    pub fn publish(&self, name: &[u8], follow: bool, attributes: bool) -> Result<(), Errno> {
        // What the tree has stays as it is: it is newer than the catalog.
        let way = self.follow(name, follow, false)?.ok_or(Errno(libc::EXDEV))?;
        let inode = way.end().ok_or(Errno(libc::ENOENT))?;
        let path = self.anchor(&way.names())?;
        let st = sys::statat(libc::AT_FDCWD, &path, false)?;
        let time = mirror::mtime_of(&st);
        let dressed = self.catalog.set(&inode.id, st.st_mode & 0o7777, st.st_uid, st.st_gid, time)?;
        let others = if attributes { self.catalog.set_xattrs(&inode.id, &xattrs::of(&path)?)? } else { None };
        dressed.iter().chain(&others).try_for_each(|moved| self.retag(moved))
    }

    /// The directory in which a name lies, links on the way followed, and its last part; `None` for the root itself.
    fn place(&self, name: &[u8]) -> Result<Option<Place>, Errno> {
        self.follow(name, false, true)?.ok_or(Errno(libc::EXDEV))?.place()
    }

    /// The anchor of a name.
    pub(super) fn anchor(&self, names: &[&[u8]]) -> Result<CString, Errno> {
        let mut path = self.home.tree.clone();
        for name in names {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        CString::new(path).map_err(|_| Errno(libc::EINVAL))
    }
}
