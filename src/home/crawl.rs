//! Loading the names of a home that is shared into this node's tree ahead of their use, for `iris crawl`. Owns the order in
//! which directories are gone through, and the count of what has changed; each is brought up as a program's own readdir
//! has it brought up ([`super::shadow`]), in turns that keep programs from waiting for longer than that takes.

use super::control::Peek;
use super::shadow::STALE;
use super::{Home, catalog::Type, mirror};
use crate::errno::Errno;
use crate::sys;
use crate::tier0::pool::Pool;
use std::collections::BTreeMap;
use std::ffi::CString;

/// What a crawl has come by so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crawled {
    /// Directories that were gone through.
    pub directories: u64,
    /// Directories that are known and were not gone through yet.
    pub waiting: u64,
    /// Names in them.
    pub names: u64,
    /// Names that the tree did not have.
    pub new: u64,
    /// Names that lead to something else than before, or to another version of it.
    pub changed: u64,
    /// Names that are no more; a directory counts once, with all that was below it.
    pub gone: u64,
}

/// What a name leads to, as far as that tells one version from another.
#[derive(PartialEq, Eq)]
struct Facts {
    kind: Option<Type>,
    mode: u32,
    /// Inode number, length, time and version; of a directory none, which its entries change.
    state: Option<(u64, i64, u64, u64)>,
}

type Entries = BTreeMap<Vec<u8>, Facts>;

impl Home {
    /// Brings what lies at `name`, and all below it, into the tree; programs know the home as `root`. After each directory
    /// `told` gets what there is to tell.
    ///
    /// # Errors
    /// ENOENT where there is nothing of that name; what the store fails with. What was brought by then stays.
    pub fn crawl(
        &'static self,
        pool: &'static Pool,
        root: &[u8],
        name: &[u8],
        told: &mut dyn FnMut(&Crawled),
    ) -> Result<Crawled, Errno> {
        let mut crawled = Crawled::default();
        self.look_up(pool, root, name)?;
        let st = sys::statat(libc::AT_FDCWD, &self.in_tree(name)?, false)?;
        if mirror::kind_of(st.st_mode) != Some(Type::Dir) {
            crawled.names = 1;
            return Ok(crawled);
        }
        let mut folders = vec![name.to_vec()];
        while let Some(folder) = folders.pop() {
            let before = self.entries(&folder)?;
            let changes = self.look_into(pool, root, &folder, before.is_empty())?;
            let after = if changes { self.entries(&folder)? } else { BTreeMap::new() };
            let after = if changes { &after } else { &before };
            crawled.directories += 1;
            crawled.names += after.len() as u64;
            for (entry, facts) in after {
                match before.get(entry) {
                    None => crawled.new += 1,
                    Some(then) if then != facts => crawled.changed += 1,
                    Some(_) => {}
                }
                if facts.kind == Some(Type::Dir) {
                    folders.push(if folder.is_empty() {
                        entry.clone()
                    } else {
                        [&folder[..], entry].join(&b'/')
                    });
                }
            }
            crawled.gone += before.keys().filter(|entry| !after.contains_key(*entry)).count() as u64;
            crawled.waiting = folders.len() as u64;
            told(&crawled);
        }
        Ok(crawled)
    }

    /// Brings the way of a name up.
    fn look_up(&'static self, pool: &'static Pool, root: &[u8], name: &[u8]) -> Result<(), Errno> {
        let _turn = self.turn()?.take(self.holders()?)?;
        self.finish_moves()?;
        self.with_shadow(pool, root, true, |s| s.look(name))
    }

    /// Brings the entries of a directory up: whether that has changed the tree. Where it seems new, nothing is compared
    /// first.
    fn look_into(
        &'static self,
        pool: &'static Pool,
        root: &[u8],
        name: &[u8],
        is_new: bool,
    ) -> Result<bool, Errno> {
        if !is_new {
            match self.with_shadow(pool, root, false, |s| s.look_into(name, false)) {
                Err(STALE) => {}
                other => return other.map(|()| false),
            }
        }
        let _turn = self.turn()?.take(self.holders()?)?;
        self.finish_moves()?;
        self.with_shadow(pool, root, true, |s| s.look_into(name, false)).map(|()| true)
    }

    fn in_tree(&self, name: &[u8]) -> Result<CString, Errno> {
        let slash: &[u8] = if name.is_empty() { b"" } else { b"/" };
        CString::new([&self.tree[..], slash, name].concat()).map_err(|_| Errno(libc::EINVAL))
    }

    /// The entries of a directory of the tree; none where it is no directory (any more).
    fn entries(&self, name: &[u8]) -> Result<Entries, Errno> {
        let folder = self.in_tree(name)?;
        let names = match sys::entries(&folder) {
            Err(Errno(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => Vec::new(),
            other => other?,
        };
        let mut entries = Entries::new();
        for entry in names {
            let path =
                CString::new([folder.as_bytes(), &entry].join(&b'/')).map_err(|_| Errno(libc::EINVAL))?;
            // Gone since.
            let Ok(st) = sys::statat(libc::AT_FDCWD, &path, false) else { continue };
            let kind = mirror::kind_of(st.st_mode);
            let version = match kind {
                Some(Type::File) => {
                    let born = sys::birth_at(libc::AT_FDCWD, &path, st.st_ino);
                    Peek::at(&self.control_path(st.st_ino)?, st.st_ino, born).map_or(0, |p| p.version)
                }
                _ => 0,
            };
            let state = (st.st_ino, st.st_size, mirror::mtime_of(&st), version);
            let state = (kind != Some(Type::Dir)).then_some(state);
            entries.insert(entry, Facts { kind, mode: st.st_mode & 0o7777, state });
        }
        Ok(entries)
    }
}
