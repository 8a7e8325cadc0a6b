//! The names of a home whose files are plain objects of the same key, which any tool of the store reads and writes. Owns
//! what objects are to names; nothing is kept beside them, so that what others put, replace or delete is so at once.
//!
//! - An object `a/b` is a file; its text (metadata) tells of mode, owner, time, and whether it is a symbolic link or a
//!   special file ([`crate::home::attributes`]).
//! - A directory is there when a key below it is, or its marker, the object `a/`, which tells of its mode. Iris makes
//!   markers, and before it takes the last key below a directory that has none.
//! - Where there is an object `a` and one below `a/`, the name is the file's.
//!
//! A file's name is made by a put where there is none, and is replaced by a copy that the store makes: both are atomic to
//! everybody. What takes several requests is not; see docs/stores.md.

use super::{Gone, Inode, Names, Over, Renamed, Retagged, Type};
use crate::errno::Errno;
use crate::home::attributes::{Attributes, MOST_XATTRS};
use crate::home::moves::Move;
use crate::home::{failed, mirror};
use iris_store::{
    Condition, Kind, ListRequest, Listed, ObjectFacts, Outcome, Part, Request, Store, StoreError,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the names of objects of Iris's own begin with, at the root. They are no files.
pub(in crate::home) const HIDDEN: &[u8] = b".iris-";
/// Bytes of the longest name in a directory.
const MOST_NAME: usize = 255;
/// Bytes of the longest object that may be a link: what a link says is a path.
const LINK: u64 = 4096;
/// Entries of a listing, and requests, at a time.
const PAGE: usize = 1000;
/// How often something is looked at again that others change meanwhile.
const TRIES: u32 = 5;

/// See the module.
pub struct Objects {
    store: Arc<dyn Store>,
}

/// What there is of a name: the object of that key, and the marker of a directory.
type Both = (Option<ObjectFacts>, Option<ObjectFacts>);

impl Objects {
    /// The names of the objects of `store`; `None` where it cannot list, copy and tell versions apart.
    pub fn new(store: Arc<dyn Store>) -> Option<Objects> {
        (store.capabilities().list && store.versions().is_some() && store.compose().is_some())
            .then_some(Objects { store })
    }

    fn submit(&self, requests: &mut [Request<'_>]) -> Vec<Result<Outcome, StoreError>> {
        let mut outcomes = Vec::new();
        self.store.submit(requests, &mut outcomes);
        outcomes
    }

    /// What objects there are of these keys.
    fn heads(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<ObjectFacts>>, Errno> {
        let mut requests: Vec<Request<'_>> = keys.iter().map(|key| Request::Head { key }).collect();
        let outcomes = self.submit(&mut requests);
        outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Ok(Outcome::Facts(facts)) => Ok(Some(facts)),
                Ok(_) => Err(Errno(libc::EIO)),
                Err(e) if e.kind == Kind::NotFound => Ok(None),
                Err(e) => Err(failed(&e)),
            })
            .collect()
    }

    fn both(&self, key: &[u8]) -> Result<Both, Errno> {
        let mut found = self.heads(&[key.to_vec(), marker(key)])?.into_iter();
        Ok((found.next().flatten(), found.next().flatten()))
    }

    /// Whether there is a key below a directory, its marker among them.
    fn any_below(&self, key: &[u8]) -> Result<bool, Errno> {
        Ok(!self.page(&marker(key), b"", 1)?.entries.is_empty())
    }

    fn page(&self, prefix: &[u8], after: &[u8], limit: usize) -> Result<iris_store::Page, Errno> {
        self.store.list(&ListRequest { prefix, after, delimiter: None, limit }).map_err(|e| failed(&e))
    }

    /// Whether the store takes a key; a name that it does not take is not there.
    fn takes(&self, key: &[u8]) -> bool {
        let text = std::str::from_utf8(key).is_ok_and(|t| !t.chars().any(char::is_control));
        text && key.len() < self.store.capabilities().max_key
    }

    /// The key of a name that is to be made.
    fn key(&self, dir: &[u8], name: &[u8]) -> Result<Vec<u8>, Errno> {
        let key = below(dir, name);
        if self.takes(&key) && !(dir.is_empty() && name.starts_with(HIDDEN)) {
            Ok(key)
        } else if key.len() >= self.store.capabilities().max_key {
            Err(Errno(libc::ENAMETOOLONG))
        } else {
            Err(Errno(libc::EINVAL))
        }
    }

    /// What a name leads to.
    fn find(&self, key: &[u8]) -> Result<Option<Inode>, Errno> {
        match self.both(key)? {
            (Some(facts), _) => self.inode(key, &facts).map(Some),
            (None, Some(facts)) => Ok(Some(directory(key, Some(&facts)))),
            (None, None) if self.any_below(key)? => Ok(Some(directory(key, None))),
            (None, None) => Ok(None),
        }
    }

    /// What an object is.
    fn inode(&self, key: &[u8], facts: &ObjectFacts) -> Result<Inode, Errno> {
        let says = Attributes::from_meta(&facts.meta);
        let kind = says.mode.and_then(mirror::kind_of).unwrap_or(Type::File);
        let mut inode = Inode { len: 0, ..inode_by(key, kind, 0o644, &says, facts) };
        match kind {
            Type::File => inode.len = facts.len,
            Type::Link | Type::Char | Type::Block if facts.len <= LINK => {
                let mut text = vec![0; facts.len as usize];
                match self.store.one(Request::Get { key, offset: 0, into: &mut text }) {
                    Ok(Outcome::Read(n)) => text.truncate(n),
                    Ok(_) => return Err(Errno(libc::EIO)),
                    Err(e) => return Err(failed(&e)),
                }
                inode.target = text;
            }
            _ => {}
        }
        Ok(inode)
    }

    /// Puts an object where there is none: its tag, or `None` if there is one.
    fn put_new(&self, key: &[u8], bytes: &[u8], says: &Attributes) -> Result<Option<Option<String>>, Errno> {
        let meta = says.to_meta();
        let mut condition = Condition::Absent;
        if !self.store.capabilities().put_if_absent {
            // Not atomic; nothing on such a server is.
            if self.heads(&[key.to_vec()])?.first().is_some_and(Option::is_some) {
                return Ok(None);
            }
            condition = Condition::Always;
        }
        match self.store.one(Request::Put { key, bytes, condition, meta: &meta }) {
            Ok(Outcome::Put(tag)) => Ok(Some(tag)),
            Ok(_) => Ok(Some(None)),
            Err(e) if e.kind == Kind::Precondition => Ok(None),
            Err(e) => Err(failed(&e)),
        }
    }

    fn delete(&self, keys: &[Vec<u8>]) -> Result<(), Errno> {
        for some in keys.chunks(PAGE) {
            let mut requests: Vec<Request<'_>> = some.iter().map(|key| Request::Delete { key }).collect();
            for outcome in self.submit(&mut requests) {
                outcome.map_err(|e| failed(&e))?;
            }
        }
        Ok(())
    }

    /// Before a key below it goes: a directory that is there by its keys only gets a marker.
    fn keep(&self, dir: &[u8]) -> Result<(), Errno> {
        if !dir.is_empty() && self.heads(&[marker(dir)])?.first().is_some_and(Option::is_none) {
            let says = Attributes { mode: Some(libc::S_IFDIR | 0o755), ..Attributes::default() };
            self.put_new(&marker(dir), b"", &says)?;
        }
        Ok(())
    }

    /// All objects below a directory, and its marker.
    fn all_below(&self, key: &[u8]) -> Result<Vec<(Vec<u8>, ObjectFacts)>, Errno> {
        let (prefix, mut after, mut all) = (marker(key), Vec::new(), Vec::new());
        loop {
            let page = self.page(&prefix, &after, PAGE)?;
            all.extend(page.entries.into_iter().filter_map(|e| match e {
                Listed::Object(key, facts) => Some((key, facts)),
                Listed::Prefix(_) => None,
            }));
            match page.next {
                Some(next) => after = next,
                None => return Ok(all),
            }
        }
    }

    fn copy(&self, from: &[u8], to: &[u8], tag: Option<&str>) -> Result<ObjectFacts, StoreError> {
        let versions = self.store.versions().ok_or_else(|| self.unable())?;
        versions.copy(from, to, tag, None)
    }

    fn unable(&self) -> StoreError {
        StoreError::new(Kind::Unsupported, self.store.place(), None, "this store cannot copy objects")
    }

    /// Moves a file's object over whatever file has the new name.
    fn move_file(&self, from: &[u8], to: &[u8], over: Over) -> Result<Retagged, Errno> {
        for _ in 0..TRIES {
            let Some(facts) = self.both(from)?.0 else { return Err(Errno(libc::ENOENT)) };
            let tag = facts.tag.as_deref();
            let copied = match (over, self.store.compose()) {
                (Over::Never, Some(compose)) if self.store.capabilities().put_if_absent => {
                    let part = Part::Existing { key: from, offset: 0, len: facts.len, tag };
                    let put = compose.compose(to, &[part], Condition::Absent, &facts.meta);
                    if put.as_ref().is_err_and(|e| e.kind == Kind::Precondition) && self.both(to)?.0.is_some()
                    {
                        return Err(Errno(libc::EEXIST));
                    }
                    put
                }
                _ => self.copy(from, to, tag),
            };
            match copied {
                Ok(copy) => {
                    self.delete(&[from.to_vec()])?;
                    return Ok(Retagged { name: from.to_vec(), was: facts.tag, tag: copy.tag });
                }
                // Replaced meanwhile: what is there now is moved.
                Err(e) if matches!(e.kind, Kind::Precondition | Kind::NotFound) => {}
                Err(e) => return Err(failed(&e)),
            }
        }
        Err(Errno(libc::EBUSY))
    }

    /// Moves all that is below a directory: first all is copied, then the old objects go.
    fn move_directory(&self, from: &[u8], to: &[u8]) -> Result<Vec<Retagged>, Errno> {
        let (old, new) = (marker(from), marker(to));
        let objects = self.all_below(from)?;
        let (mut copies, mut retagged) = (Vec::with_capacity(objects.len()), Vec::new());
        for (key, facts) in &objects {
            let target = [&new[..], &key[old.len()..]].concat();
            if !self.takes(&target) {
                self.delete(&copies)?;
                return Err(Errno(libc::ENAMETOOLONG));
            }
            match self.copy(key, &target, None) {
                Ok(copy) if copy.tag != facts.tag => {
                    retagged.push(Retagged { name: key.clone(), was: facts.tag.clone(), tag: copy.tag });
                }
                Ok(_) => {}
                // Deleted since it was listed.
                Err(e) if e.kind == Kind::NotFound => continue,
                Err(e) => {
                    let error = failed(&e);
                    // What cannot be taken back either shows as files under both names.
                    let _ = self.delete(&copies);
                    return Err(error);
                }
            }
            copies.push(target);
        }
        let keys: Vec<Vec<u8>> = objects.into_iter().map(|(key, _)| key).collect();
        self.delete(&keys)?;
        Ok(retagged)
    }

    /// Changes what is said of an inode that is still there.
    fn redress(&self, id: &[u8], change: impl Fn(&mut Attributes)) -> Result<Option<Retagged>, Errno> {
        for _ in 0..TRIES {
            let (facts, directory) = match self.both(id)? {
                (Some(facts), _) => (facts, false),
                (None, Some(facts)) => (facts, true),
                // What the root's object would be called is no key.
                (None, None) if id.is_empty() => return Ok(None),
                (None, None) if self.any_below(id)? => (ObjectFacts::default(), true),
                (None, None) => return Err(Errno(libc::ENOENT)),
            };
            let before = Attributes::from_meta(&facts.meta);
            let mut says = before.clone();
            let kind = if directory { libc::S_IFDIR } else { libc::S_IFREG };
            let kind = before.mode.map(|m| m & libc::S_IFMT).filter(|k| *k != 0).unwrap_or(kind);
            change(&mut says);
            says.mode = says.mode.map(|m| m & 0o7777 | kind);
            if says == before {
                return Ok(None);
            }
            let meta = says.over(&facts.meta);
            if directory {
                let key = &marker(id)[..];
                let put = Request::Put { key, bytes: b"", condition: Condition::Always, meta: &meta };
                return self.store.one(put).map(|_| None).map_err(|e| failed(&e));
            }
            let versions = self.store.versions().ok_or(Errno(libc::EOPNOTSUPP))?;
            match versions.copy(id, id, facts.tag.as_deref(), Some(&meta)) {
                Ok(copy) => {
                    return Ok(Some(Retagged { name: id.to_vec(), was: facts.tag, tag: copy.tag }));
                }
                Err(e) if matches!(e.kind, Kind::Precondition | Kind::NotFound) => {}
                Err(e) => return Err(failed(&e)),
            }
        }
        Err(Errno(libc::EBUSY))
    }
}

impl Names for Objects {
    fn walk(&self, names: &[&[u8]]) -> Result<Vec<Inode>, Errno> {
        let keys: Vec<Vec<u8>> = (1..=names.len()).map(|n| names[..n].join(&b'/')).collect();
        let hidden = names.first().is_some_and(|n| n.starts_with(HIDDEN));
        let keys: Vec<Vec<u8>> = keys.into_iter().take_while(|k| !hidden && self.takes(k)).collect();
        let asked: Vec<Vec<u8>> = keys.iter().flat_map(|k| [k.clone(), marker(k)]).collect();
        let found = self.heads(&asked)?;
        let mut way = vec![directory(b"", None)];
        for (depth, key) in keys.iter().enumerate() {
            let (file, mark) = (&found[2 * depth], &found[2 * depth + 1]);
            if let Some(facts) = file {
                way.push(self.inode(key, facts)?);
                break;
            }
            let deeper = found[2 * depth + 2..].iter().any(Option::is_some);
            if mark.is_none() && !deeper && !self.any_below(key)? {
                break;
            }
            way.push(directory(key, mark.as_ref()));
        }
        Ok(way)
    }

    fn list(&self, dir: &[u8]) -> Result<Vec<(Vec<u8>, Inode)>, Errno> {
        let prefix = if dir.is_empty() { Vec::new() } else { marker(dir) };
        let mut entries: BTreeMap<Vec<u8>, Inode> = BTreeMap::new();
        let mut after = Vec::new();
        loop {
            let ask = ListRequest { prefix: &prefix, after: &after, delimiter: Some(b'/'), limit: PAGE };
            let page = self.store.list(&ask).map_err(|e| failed(&e))?;
            for entry in page.entries {
                match entry {
                    Listed::Object(key, facts) => {
                        if let Some(name) = name_of(&key[prefix.len()..], dir) {
                            let bare = Attributes::default();
                            let inode = inode_by(&key, Type::File, 0o644, &bare, &facts);
                            // It hides a directory of its name.
                            entries.insert(name, Inode { bare: true, ..inode });
                        }
                    }
                    Listed::Prefix(key) => {
                        let key = &key[..key.len() - 1];
                        if key.len() > prefix.len()
                            && let Some(name) = name_of(&key[prefix.len()..], dir)
                        {
                            entries.entry(name).or_insert_with(|| directory(key, None));
                        }
                    }
                }
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok(entries.into_iter().collect()),
            }
        }
    }

    fn complete(&self, bare: &mut [&mut Inode]) -> Result<(), Errno> {
        // Longer ones are files.
        let mut short: Vec<&mut &mut Inode> =
            bare.iter_mut().filter(|i| i.bare && i.kind == Type::File && i.len <= LINK).collect();
        for some in short.chunks_mut(PAGE) {
            let keys: Vec<Vec<u8>> = some.iter().map(|i| i.id.clone()).collect();
            for (inode, facts) in some.iter_mut().zip(self.heads(&keys)?) {
                if let Some(facts) = facts {
                    ***inode = self.inode(&inode.id.clone(), &facts)?;
                }
            }
        }
        Ok(())
    }

    fn make(&self, dir: &[u8], name: &[u8], new: &Inode) -> Result<(bool, Inode), Errno> {
        let key = self.key(dir, name)?;
        let says = Attributes {
            mode: Some(mirror::raw_kind(new.kind) | new.mode & 0o7777),
            uid: Some(new.uid),
            gid: Some(new.gid),
            mtime_ns: Some(new.mtime_ns),
            xattrs: new.xattrs.clone(),
            by: None,
        };
        let object = if new.kind == Type::Dir { marker(&key) } else { key.clone() };
        for _ in 0..TRIES {
            if let Some(tag) = self.put_new(&object, &new.target, &says)? {
                if new.kind == Type::Dir
                    && self.heads(std::slice::from_ref(&key))?.first().is_some_and(Option::is_some)
                {
                    // A file was made of that name meanwhile, which hides the directory.
                    self.delete(std::slice::from_ref(&object))?;
                    continue;
                }
                let tag = tag.filter(|_| new.kind == Type::File);
                let version = version_of(tag.as_deref());
                return Ok((true, Inode { id: key, tag, version, ..new.clone() }));
            }
            if let Some(theirs) = self.find(&key)? {
                return Ok((false, theirs));
            }
        }
        Err(Errno(libc::EBUSY))
    }

    fn link(&self, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), Errno> {
        // An object has one key.
        Err(Errno(libc::EPERM))
    }

    fn unlink(&self, dir: &[u8], name: &[u8]) -> Result<Option<Gone>, Errno> {
        let key = below(dir, name);
        self.keep(dir)?;
        self.delete(std::slice::from_ref(&key))?;
        Ok(Some(Gone { id: key, len: 0 }))
    }

    fn rmdir(&self, dir: &[u8], name: &[u8]) -> Result<(), Errno> {
        let key = below(dir, name);
        if self.holds(&key)? {
            return Err(Errno(libc::ENOTEMPTY));
        }
        self.keep(dir)?;
        self.delete(&[marker(&key)])
    }

    fn rename(&self, from: (&[u8], &[u8]), to: (&[u8], &[u8]), over: Over) -> Result<Renamed, Errno> {
        let (a, b) = (below(from.0, from.1), self.key(to.0, to.1)?);
        if over == Over::Exchange {
            // It cannot be done without one of the two being nowhere for a while.
            return Err(Errno(libc::EINVAL));
        }
        let source = self.find(&a)?.ok_or(Errno(libc::ENOENT))?;
        let target = self.find(&b)?;
        // In the kernel's order: what exists, then what would bite its own tail, then what is of the wrong type.
        if target.is_some() && over == Over::Never {
            return Err(Errno(libc::EEXIST));
        }
        if a == b {
            return Ok(Renamed::default());
        }
        if source.kind == Type::Dir && b.starts_with(&marker(&a)) {
            return Err(Errno(libc::EINVAL));
        }
        if target.is_some() && a.starts_with(&marker(&b)) {
            return Err(Errno(libc::ENOTEMPTY));
        }
        match (source.kind == Type::Dir, target.as_ref().map(|t| t.kind == Type::Dir)) {
            (false, Some(true)) => return Err(Errno(libc::EISDIR)),
            (true, Some(false)) => return Err(Errno(libc::ENOTDIR)),
            (true, Some(true)) if self.holds(&b)? => return Err(Errno(libc::ENOTEMPTY)),
            _ => {}
        }
        self.keep(from.0)?;
        if source.kind == Type::Dir {
            return Ok(Renamed { gone: None, retagged: self.move_directory(&a, &b)? });
        }
        let retagged = vec![self.move_file(&a, &b, over)?];
        Ok(Renamed { gone: target.map(|t| Gone { id: b, len: t.len }), retagged })
    }

    fn set(
        &self,
        id: &[u8],
        mode: u32,
        uid: u32,
        gid: u32,
        mtime_ns: u64,
    ) -> Result<Option<Retagged>, Errno> {
        self.redress(id, |says| {
            says.mode = Some(mode);
            (says.uid, says.gid, says.mtime_ns) = (Some(uid), Some(gid), Some(mtime_ns));
        })
    }

    fn set_xattrs(&self, id: &[u8], xattrs: &[u8]) -> Result<Option<Retagged>, Errno> {
        if xattrs.len() > MOST_XATTRS {
            return Err(Errno(libc::ENOSPC));
        }
        self.redress(id, |says| says.xattrs = xattrs.to_vec())
    }

    fn exists(&self, id: &[u8]) -> Result<bool, Errno> {
        Ok(self.find(id)?.is_some())
    }

    fn settled(&self, _: &[u8], _: u64, _: u64) -> Result<Option<u64>, Errno> {
        // The put of the object has said all that.
        Ok(None)
    }
}

impl Objects {
    /// Does what is left of a rename that was begun. The files that have other tags by it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn finish(&self, what: &Move) -> Result<Vec<Retagged>, Errno> {
        match (self.both(&what.from)?.0, &what.tag) {
            // Another one has its name by now.
            (Some(facts), Some(_)) if facts.tag != what.tag => Ok(Vec::new()),
            (Some(_), Some(_)) => Ok(vec![self.move_file(&what.from, &what.to, Over::Replace)?]),
            (None, None) => self.move_directory(&what.from, &what.to),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether a directory holds anything but its marker.
    fn holds(&self, key: &[u8]) -> Result<bool, Errno> {
        let mark = marker(key);
        let page = self.page(&mark, b"", 2)?;
        Ok(page.entries.iter().any(|e| !matches!(e, Listed::Object(k, _) if *k == mark)))
    }
}

/// The key of a name in a directory.
pub fn below(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, name].join(&b'/') }
}

/// The key of a directory's marker, with which all keys below it begin.
fn marker(dir: &[u8]) -> Vec<u8> {
    [dir, b"/"].concat()
}

/// The name that an entry of a listing is in a directory; `None` where no name is like that.
fn name_of(rest: &[u8], dir: &[u8]) -> Option<Vec<u8>> {
    let ours = dir.is_empty() && rest.starts_with(HIDDEN);
    (!ours && is_name(rest)).then(|| rest.to_vec())
}

/// Whether a part of a key can be a name in a directory.
pub(in crate::home) fn is_name(part: &[u8]) -> bool {
    !matches!(part, b"" | b"." | b"..")
        && part.len() <= MOST_NAME
        && !part.iter().any(|b| matches!(b, 0 | b'/'))
}

/// What an object is, by its attributes.
fn inode_by(key: &[u8], kind: Type, mode: u32, says: &Attributes, facts: &ObjectFacts) -> Inode {
    Inode {
        id: key.to_vec(),
        kind,
        mode: says.mode.unwrap_or(mode) & 0o7777,
        uid: says.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw()),
        gid: says.gid.unwrap_or_else(|| rustix::process::getegid().as_raw()),
        links: 1,
        len: facts.len,
        mtime_ns: says.mtime_ns.or(facts.modified.map(since_1970)).unwrap_or(0),
        version: version_of(facts.tag.as_deref()),
        target: Vec::new(),
        xattrs: says.xattrs.clone(),
        tag: facts.tag.clone(),
        bare: false,
    }
}

/// A directory, with its marker if it has one.
fn directory(key: &[u8], mark: Option<&ObjectFacts>) -> Inode {
    let says = mark.map(|facts| Attributes::from_meta(&facts.meta)).unwrap_or_default();
    // The time of a marker that says none is when it was put, and a directory's time moves on with its entries.
    let inode = inode_by(key, Type::Dir, 0o755, &says, &ObjectFacts::default());
    Inode { bare: mark.is_none_or(|facts| facts.meta.is_empty()), ..inode }
}

fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

/// The number that tells versions of an object apart, of its tag; never 0.
pub fn version_of(tag: Option<&str>) -> u64 {
    tag.map_or(1, |t| iris_mappers::containers::hash(t.as_bytes()).max(1))
}
