//! Keeping the shadow tree in step with a catalog of names that other nodes change too. Owns that direction of truth:
//! the catalog is right, the tree follows. Before the kernel looks a name up, [`Shadow::look`] makes the anchors on its way
//! what the catalog says; a change of names is made in the catalog first, where it is atomic for everybody, and in the
//! tree by the kernel afterwards.
//!
//! Names come relative to the mount, without "." and "..". Everything here runs on the service's threads.

use super::Home;
use super::catalog::{Catalog, Inode, Over, ROOT, Type};
use super::control::{CHANGED, Control, NO_CUT, SENDING, UNLINKED, WILD};
use crate::errno::Errno;
use crate::sys;
use crate::tier0::pool::Pool;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use std::ffi::CString;
use std::sync::atomic::Ordering;

/// Symbolic links that are followed on the way of one name, as the kernel's own limit.
const MOST_LINKS: u32 = 40;

/// The tree of one home and its catalog.
pub struct Shadow<'a> {
    home: &'static Home,
    catalog: &'a Catalog,
    pool: &'static Pool,
    /// The prefix under which programs know the home, for links that name it.
    root: &'a [u8],
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

fn parts(name: &[u8]) -> Vec<&[u8]> {
    name.split(|&b| b == b'/').filter(|p| !p.is_empty()).collect()
}

impl<'a> Shadow<'a> {
    /// The tree of `home`, which programs know as `root`.
    pub fn new(home: &'static Home, catalog: &'a Catalog, pool: &'static Pool, root: &'a [u8]) -> Shadow<'a> {
        Shadow { home, catalog, pool, root }
    }

    /// Makes the anchors on the way of a name what the catalog says, links on the way followed. What the catalog has
    /// not, the tree has not either afterwards.
    pub fn look(&self, name: &[u8]) -> Result<(), Errno> {
        self.follow(name, true).map(drop)
    }

    /// As [`Shadow::look`]; gives the way that the name leads, links followed (in its last part only with `last`), and
    /// the inodes on it. `None` where it leads out of the home, or too far.
    fn follow(&self, name: &[u8], last: bool) -> Result<Option<Way>, Errno> {
        let mut path: Vec<Vec<u8>> = parts(name).iter().map(|p| p.to_vec()).collect();
        for _ in 0..MOST_LINKS {
            let names: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
            let way = self.catalog.walk(&names)?;
            for (depth, inode) in way.iter().enumerate().skip(1) {
                self.mirror(&names[..depth], inode)?;
            }
            let ends = way.last().map(|i| i.kind);
            if way.len() <= names.len() && ends == Some(Type::Dir) {
                self.vanish(&names[..way.len()])?;
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

    /// Makes a directory's entries in the tree those of the catalog.
    pub fn look_into(&self, name: &[u8]) -> Result<(), Errno> {
        let names = parts(name);
        let way = self.catalog.walk(&names)?;
        for (depth, inode) in way.iter().enumerate().skip(1) {
            self.mirror(&names[..depth], inode)?;
        }
        let Some(dir) = way.get(names.len()).filter(|i| i.kind == Type::Dir) else { return self.look(name) };
        let entries = self.catalog.list(&dir.id)?;
        let mut known = std::collections::BTreeSet::new();
        for (entry, inode) in &entries {
            let path: Vec<&[u8]> = names.iter().copied().chain([entry.as_slice()]).collect();
            self.mirror(&path, inode)?;
            known.insert(entry.clone());
        }
        for entry in sys::entries(&self.anchor(&names)?)? {
            if !known.contains(&entry) {
                let path: Vec<&[u8]> = names.iter().copied().chain([entry.as_slice()]).collect();
                self.vanish(&path)?;
            }
        }
        Ok(())
    }

    /// Claims a name in the catalog before the kernel makes it in the tree; `follow` tells about a link in its last part
    /// (open without O_EXCL makes what a link names). The identity to give it, or `None` if there is nothing to make: the
    /// name is there, in the tree as well by now, or the kernel says what is wrong with the way.
    pub fn claim(&self, new: &New<'_>) -> Result<Option<[u64; 2]>, Errno> {
        let Some(way) = self.follow(new.name, new.follow)? else { return Ok(None) };
        let names: Vec<&[u8]> = way.path.iter().map(Vec::as_slice).collect();
        let Some(last) = names.last() else { return Ok(None) };
        let Some(dir) = way.inodes.get(names.len() - 1).filter(|i| i.kind == Type::Dir) else {
            return Ok(None);
        };
        if way.inodes.len() > names.len() {
            return Ok(None);
        }
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
        };
        let (made, inode) = self.catalog.make(&dir.id, last, &inode)?;
        if made {
            // What the tree has of that name, another node has removed.
            self.vanish(&names)?;
            return Ok(Some(id));
        }
        self.mirror(&names, &inode)?;
        Ok(None)
    }

    /// Takes a claim back: the kernel refused the name.
    pub fn unclaim(&self, name: &[u8], kind: Type) -> Result<(), Errno> {
        match kind {
            Type::Dir => self.rmdir(name),
            _ => self.unlink(name).map(drop),
        }
    }

    /// Removes a file's name. The identity of the file, if that was its last name.
    pub fn unlink(&self, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let (dir, last) = self.place(name)?.ok_or(Errno(libc::EISDIR))?;
        self.catalog.unlink(&dir, &last)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, name: &[u8]) -> Result<(), Errno> {
        let (dir, last) = self.place(name)?.ok_or(Errno(libc::EBUSY))?;
        self.catalog.rmdir(&dir, &last)
    }

    /// Renames, as rename(2) and renameat2(2) do.
    pub fn rename(&self, from: &[u8], to: &[u8], over: Over) -> Result<Option<Vec<u8>>, Errno> {
        let (dir, last) = self.place(from)?.ok_or(Errno(libc::EBUSY))?;
        let (dir2, last2) = self.place(to)?.ok_or(Errno(libc::EBUSY))?;
        self.catalog.rename((&dir, &last), (&dir2, &last2), over)
    }

    /// Another name for a file, or for a symbolic link.
    pub fn link(&self, from: &[u8], to: &[u8]) -> Result<(), Errno> {
        let way = self.follow(from, false)?.ok_or(Errno(libc::EXDEV))?;
        let file = way.inodes.get(way.path.len()).ok_or(Errno(libc::ENOENT))?;
        let (dir, last) = self.place(to)?.ok_or(Errno(libc::EEXIST))?;
        self.catalog.link(&dir, &last, &file.id)
    }

    /// The kernel has changed the mode, owner or time of a name in the tree, links followed with `follow`: so does the
    /// catalog.
    pub fn publish(&self, name: &[u8], follow: bool) -> Result<(), Errno> {
        let way = self.catalog_way(name, follow)?;
        let names: Vec<&[u8]> = way.path.iter().map(Vec::as_slice).collect();
        let inode = way.inodes.get(names.len()).ok_or(Errno(libc::ENOENT))?;
        let st = sys::statat(libc::AT_FDCWD, &self.anchor(&names)?, false)?;
        self.catalog.set(&inode.id, st.st_mode & 0o7777, st.st_uid, st.st_gid, mtime_of(&st))
    }

    /// The directory in which a name lies, links on the way followed, and its last part; `None` for the root itself.
    fn place(&self, name: &[u8]) -> Result<Option<Place>, Errno> {
        let way = self.follow(name, false)?.ok_or(Errno(libc::EXDEV))?;
        let Some(last) = way.path.last() else { return Ok(None) };
        match (way.inodes.get(way.path.len() - 1), way.inodes.last()) {
            (Some(dir), _) if dir.kind == Type::Dir => Ok(Some((dir.id.clone(), last.clone()))),
            (None, Some(end)) if end.kind == Type::Dir => Err(Errno(libc::ENOENT)),
            _ => Err(Errno(libc::ENOTDIR)),
        }
    }

    /// As [`Shadow::follow`], but what the tree has stays as it is: it is newer than the catalog.
    fn catalog_way(&self, name: &[u8], last: bool) -> Result<Way, Errno> {
        let mut path: Vec<Vec<u8>> = parts(name).iter().map(|p| p.to_vec()).collect();
        for _ in 0..MOST_LINKS {
            let names: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
            let inodes = self.catalog.walk(&names)?;
            let whole = inodes.len() == names.len() + 1;
            let Some(link) = inodes.last().filter(|i| i.kind == Type::Link && (last || !whole)) else {
                return Ok(Way { path, inodes });
            };
            path = self
                .beyond(&names[..inodes.len() - 1], &link.target, &names[inodes.len() - 1..])
                .ok_or(Errno(libc::EXDEV))?;
        }
        Err(Errno(libc::ELOOP))
    }

    fn anchor(&self, names: &[&[u8]]) -> Result<CString, Errno> {
        let mut path = self.home.tree.clone();
        for name in names {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        CString::new(path).map_err(|_| Errno(libc::EINVAL))
    }

    /// Where a link at `at` leads, with the rest of the name behind it; `None` out of the home.
    fn beyond(&self, at: &[&[u8]], target: &[u8], rest: &[&[u8]]) -> Option<Vec<Vec<u8>>> {
        let mut path: Vec<Vec<u8>>;
        let inside = if target.first() == Some(&b'/') {
            path = Vec::new();
            target.strip_prefix(self.root).filter(|r| r.is_empty() || r.first() == Some(&b'/'))?
        } else {
            path = at.iter().take(at.len().saturating_sub(1)).map(|p| p.to_vec()).collect();
            target
        };
        for part in parts(inside).into_iter().chain(rest.iter().copied()) {
            match part {
                b"." => {}
                b".." => {
                    path.pop()?;
                }
                part => path.push(part.to_vec()),
            }
        }
        Some(path)
    }

    /// Makes one anchor what the catalog says.
    fn mirror(&self, names: &[&[u8]], inode: &Inode) -> Result<(), Errno> {
        let path = self.anchor(names)?;
        let there = sys::statat(libc::AT_FDCWD, &path, false).ok();
        let kind = there.as_ref().map(|st| FileType::from_raw_mode(st.st_mode));
        match inode.kind {
            Type::Dir => {
                if kind != Some(FileType::Directory) {
                    self.vanish(names)?;
                    made_by_anyone(rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)))?;
                }
                self.dress(&path, there.as_ref().filter(|_| kind == Some(FileType::Directory)), inode)
            }
            Type::Link => {
                let says = rustix::fs::readlink(&path, Vec::new()).ok();
                if says.as_ref().is_none_or(|s| s.as_bytes() != inode.target) {
                    self.vanish(names)?;
                    let target = CString::new(inode.target.clone()).map_err(|_| Errno(libc::EINVAL))?;
                    made_by_anyone(rustix::fs::symlink(&target, &path))?;
                }
                Ok(())
            }
            Type::File => {
                self.mirror_file(names, &path, there.filter(|_| kind == Some(FileType::RegularFile)), inode)
            }
        }
    }

    fn mirror_file(
        &self,
        names: &[&[u8]],
        path: &CString,
        there: Option<rustix::fs::Stat>,
        inode: &Inode,
    ) -> Result<(), Errno> {
        if let Some(st) = &there {
            let born = sys::birth_at(libc::AT_FDCWD, path, st.st_ino);
            match Control::open(&self.home.control_path(st.st_ino)?, st.st_ino, born, [0, 0]) {
                Ok((control, _)) if id_text(control.id()) == inode.id => {
                    return self.bring_up(path, st, control, inode);
                }
                _ => {}
            }
        }
        // Another file has the name now. Whoever has the old one open keeps it.
        self.vanish(names)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let fd = match sys::open(path, flags, 0o600) {
            // Another process of the node did the same.
            Err(Errno(libc::EEXIST)) => return Ok(()),
            other => other?,
        };
        let st = sys::fstat(fd.raw())?;
        let born = sys::birth(fd.raw(), st.st_ino);
        let id = id_from(&inode.id).ok_or(Errno(libc::EIO))?;
        let (control, _) = Control::open(&self.home.control_path(st.st_ino)?, st.st_ino, born, id)?;
        let head = control.head();
        sys::ftruncate(fd.raw(), inode.len)?;
        head.home_len.store(inode.len, Ordering::Release);
        head.stored_len.store(inode.len, Ordering::Release);
        head.cut_at.store(NO_CUT, Ordering::Release);
        head.version.store(inode.version, Ordering::Release);
        head.flags.store(0, Ordering::Release);
        self.dress(path, None, inode)
    }

    /// An anchor of the right file: it is emptied where the catalog has a newer version, unless it has bytes that the
    /// store has not.
    fn bring_up(
        &self,
        path: &CString,
        st: &rustix::fs::Stat,
        control: Control,
        inode: &Inode,
    ) -> Result<(), Errno> {
        let head = control.head();
        if head.flags.load(Ordering::Acquire) & (CHANGED | WILD | UNLINKED | SENDING) != 0 {
            return Ok(());
        }
        if head.version.load(Ordering::Acquire) != inode.version {
            let fd = sys::open(path, OFlags::RDWR, 0)?;
            let resident = super::resident::Resident::new(self.home, control, self.pool, false);
            resident.replaced(fd.raw(), inode.len, None)?;
            resident.control().head().version.store(inode.version, Ordering::Release);
            return self.dress(path, None, inode);
        }
        self.dress(path, Some(st), inode)
    }

    /// Gives an anchor its mode, owner and time, where they differ from what it is known to have.
    fn dress(&self, path: &CString, has: Option<&rustix::fs::Stat>, inode: &Inode) -> Result<(), Errno> {
        if has.is_none_or(|st| (st.st_uid, st.st_gid) != (inode.uid, inode.gid)) {
            let owner = (Some(Uid::from_raw(inode.uid)), Some(Gid::from_raw(inode.gid)));
            // Only root may give files away; for others they are their own.
            let _ = rustix::fs::chownat(CWD, path, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW);
        }
        if has.is_none_or(|st| st.st_mode & 0o7777 != inode.mode) {
            rustix::fs::chmod(path, Mode::from_raw_mode(inode.mode))?;
        }
        if has.is_none_or(|st| mtime_of(st) != inode.mtime_ns) {
            sys::set_mtime_at(path, inode.mtime_ns)?;
        }
        Ok(())
    }

    /// Takes a name out of the tree that the catalog has not. A folder goes with all it holds.
    fn vanish(&self, names: &[&[u8]]) -> Result<(), Errno> {
        let path = self.anchor(names)?;
        let Ok(st) = sys::statat(libc::AT_FDCWD, &path, false) else { return Ok(()) };
        if FileType::from_raw_mode(st.st_mode) == FileType::Directory {
            for entry in sys::entries(&path)? {
                let below: Vec<&[u8]> = names.iter().copied().chain([entry.as_slice()]).collect();
                self.vanish(&below)?;
            }
            return gone_by_anyone(rustix::fs::rmdir(&path));
        }
        gone_by_anyone(rustix::fs::unlink(&path))?;
        if st.st_nlink == 1 {
            // Whoever renamed or removed it elsewhere has seen to its objects. A process that has it open keeps its map.
            gone_by_anyone(rustix::fs::unlink(self.home.control_path(st.st_ino)?))?;
        }
        Ok(())
    }
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

#[allow(
    clippy::unnecessary_cast,
    reason = "the fields' types differ between rustix's two ways to the kernel"
)]
fn mtime_of(st: &rustix::fs::Stat) -> u64 {
    (st.st_mtime as u64).wrapping_mul(1_000_000_000).wrapping_add(st.st_mtime_nsec as u64)
}

/// An identity as the catalog writes it.
pub fn id_text(id: [u64; 2]) -> Vec<u8> {
    format!("{:016x}{:016x}", id[0], id[1]).into_bytes()
}

fn id_from(text: &[u8]) -> Option<[u64; 2]> {
    let text = std::str::from_utf8(text).ok().filter(|t| t.len() == 32 && t.as_bytes() != ROOT)?;
    Some([u64::from_str_radix(&text[..16], 16).ok()?, u64::from_str_radix(&text[16..], 16).ok()?])
}
