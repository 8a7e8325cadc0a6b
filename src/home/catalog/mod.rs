//! The names of a home that several nodes share: directories, modes, times, links, and which inode has which bytes. Owns
//! the calls on them ([`Names`]), and one place where they are kept: beside the bytes, as records that scripts change
//! (names.lua, version 1), each call one script, atomic for everybody. The other is [`objects`]. Knows no anchors.

pub mod objects;

use super::failed;
use crate::errno::Errno;
use crate::log;
use iris_store::{Reply, Script, Store};
use std::sync::Arc;

/// Questions, which may be asked twice.
static ASK: Script = Script { name: "names", source: include_str!("names.lua"), repeatable: true };
/// Changes, which may not.
static CHANGE: Script = Script { name: "names", source: include_str!("names.lua"), repeatable: false };

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A fifo. What is written to it stays on its node.
    Fifo,
    /// A socket of the node that made it.
    Socket,
    /// A character device; [`Inode::target`] holds its number.
    Char,
    /// A block device, likewise.
    Block,
}

impl Type {
    fn letter(self) -> &'static [u8] {
        match self {
            Type::File => b"f",
            Type::Dir => b"d",
            Type::Link => b"l",
            Type::Fifo => b"p",
            Type::Socket => b"s",
            Type::Char => b"c",
            Type::Block => b"b",
        }
    }

    /// Whether files of this type have bytes in the store.
    pub fn has_bytes(self) -> bool {
        self == Type::File
    }
}

/// What the catalog knows of a file, a directory or a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its identity, in the home for ever.
    pub id: Vec<u8>,
    /// What it is.
    pub kind: Type,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names that lead to it.
    pub links: u32,
    /// Length in bytes.
    pub len: u64,
    /// Time of modification in nanoseconds since 1970.
    pub mtime_ns: u64,
    /// Raised whenever its bytes are settled.
    pub version: u64,
    /// What a symbolic link says; a device's number in decimal.
    pub target: Vec<u8>,
    /// Extended attributes, as [`super::xattrs`] writes them.
    pub xattrs: Vec<u8>,
    /// The store's tag of the object that the file is, where it is one.
    pub tag: Option<String>,
    /// Only its type, length and version are known; the rest is what such names have by default.
    pub bare: bool,
}

/// A file that has lost its last name, whose objects may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its identity.
    pub id: Vec<u8>,
    /// Its length in bytes when it was last settled.
    pub len: u64,
}

/// The root's identity.
pub const ROOT: &[u8] = b"0";

/// How a rename treats what has the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// It is replaced.
    Replace,
    /// There must be none.
    Never,
    /// It gets the old name.
    Exchange,
}

/// What a rename did beside moving a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renamed {
    /// The file that has lost its last name by it.
    pub gone: Option<Gone>,
    /// Files that have other tags by it.
    pub retagged: Vec<Retagged>,
}

/// A file whose object has another tag, without its bytes being others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retagged {
    /// Its name below the home's root, as it was.
    pub name: Vec<u8>,
    /// The tag that it had.
    pub was: Option<String>,
    /// The tag that it has.
    pub tag: Option<String>,
}

/// The names of one home, wherever they are kept. All calls are on service threads.
///
/// # Errors
/// Those of the system call in question, and what a store fails with.
pub trait Names: Send + Sync {
    /// The inodes on the way along `names` from the root, which comes first: fewer than names + 1 where the way ends at
    /// a name that is not there, or at something that is no directory.
    fn walk(&self, names: &[&[u8]]) -> Result<Vec<Inode>, Errno>;

    /// The entries of a directory, in no order; they may be bare.
    fn list(&self, dir: &[u8]) -> Result<Vec<(Vec<u8>, Inode)>, Errno>;

    /// Finds out the type of bare inodes, as far as a listing does not tell it, and what else there is to tell of them.
    fn complete(&self, _bare: &mut [&mut Inode]) -> Result<(), Errno> {
        Ok(())
    }

    /// Makes a name for `new` in `dir`, unless there is one. Whether it was made, and what the name leads to.
    fn make(&self, dir: &[u8], name: &[u8], new: &Inode) -> Result<(bool, Inode), Errno>;

    /// Another name for a file.
    fn link(&self, dir: &[u8], name: &[u8], id: &[u8]) -> Result<(), Errno>;

    /// Removes a name of a file. The file, if it was its last.
    fn unlink(&self, dir: &[u8], name: &[u8]) -> Result<Option<Gone>, Errno>;

    /// Removes an empty directory.
    fn rmdir(&self, dir: &[u8], name: &[u8]) -> Result<(), Errno>;

    /// Renames.
    fn rename(&self, from: (&[u8], &[u8]), to: (&[u8], &[u8]), over: Over) -> Result<Renamed, Errno>;

    /// Sets an inode's mode, owner, group and time. Its tag, if it has another by that.
    fn set(&self, id: &[u8], mode: u32, uid: u32, gid: u32, mtime_ns: u64)
    -> Result<Option<Retagged>, Errno>;

    /// Sets an inode's extended attributes, as [`super::xattrs`] writes them. Its tag, if it has another by that.
    fn set_xattrs(&self, id: &[u8], xattrs: &[u8]) -> Result<Option<Retagged>, Errno>;

    /// Whether a file still has a name.
    fn exists(&self, id: &[u8]) -> Result<bool, Errno>;

    /// A file's bytes are in their objects: its new length and time. Gives its new version, where versions are counted.
    fn settled(&self, id: &[u8], len: u64, mtime_ns: u64) -> Result<Option<u64>, Errno>;
}

/// The names of one home as records beside the bytes.
pub struct Catalog {
    store: Arc<dyn Store>,
    tag: Vec<u8>,
}

impl Catalog {
    /// The names kept in `store` under the home's `name`; `None` where the store runs no scripts.
    pub fn new(store: Arc<dyn Store>, name: &str) -> Option<Catalog> {
        store.scripts()?;
        Some(Catalog { store, tag: format!("{{iris:1:{name}}}").into_bytes() })
    }

    fn run(&self, script: &Script, command: &[u8], args: &[&[u8]]) -> Result<Reply, Errno> {
        let mut all = Vec::with_capacity(args.len() + 1);
        all.push(command);
        all.extend_from_slice(args);
        let scripts = self.store.scripts().ok_or(Errno(libc::EOPNOTSUPP))?;
        match scripts.run(script, &[&self.tag], &all).map_err(|e| failed(&e))? {
            Reply::Bytes(b) if b.first() == Some(&b'!') => Err(refusal(&b[1..])),
            reply => Ok(reply),
        }
    }
}

impl Names for Catalog {
    fn walk(&self, names: &[&[u8]]) -> Result<Vec<Inode>, Errno> {
        match self.run(&ASK, b"walk", names)? {
            Reply::List(way) => way.iter().map(inode).collect(),
            _ => Err(malformed()),
        }
    }

    fn list(&self, dir: &[u8]) -> Result<Vec<(Vec<u8>, Inode)>, Errno> {
        let Reply::List(entries) = self.run(&ASK, b"list", &[dir])? else { return Err(malformed()) };
        entries
            .iter()
            .map(|e| match e {
                Reply::List(two) => match &two[..] {
                    [Reply::Bytes(name), of] => Ok((name.clone(), inode(of)?)),
                    _ => Err(malformed()),
                },
                _ => Err(malformed()),
            })
            .collect()
    }

    fn make(&self, dir: &[u8], name: &[u8], new: &Inode) -> Result<(bool, Inode), Errno> {
        let numbers =
            [new.mode.into(), new.uid.into(), new.gid.into(), new.mtime_ns].map(|n: u64| n.to_string());
        let now = now();
        let args: [&[u8]; 10] = [
            dir,
            name,
            &new.id,
            new.kind.letter(),
            numbers[0].as_bytes(),
            numbers[1].as_bytes(),
            numbers[2].as_bytes(),
            numbers[3].as_bytes(),
            &new.target,
            &now,
        ];
        match self.run(&CHANGE, b"make", &args)? {
            Reply::List(two) => match &two[..] {
                [Reply::Int(made), of] => Ok((*made == 1, inode(of)?)),
                _ => Err(malformed()),
            },
            _ => Err(malformed()),
        }
    }

    fn link(&self, dir: &[u8], name: &[u8], id: &[u8]) -> Result<(), Errno> {
        self.run(&CHANGE, b"link", &[dir, name, id, &now()]).map(drop)
    }

    fn unlink(&self, dir: &[u8], name: &[u8]) -> Result<Option<Gone>, Errno> {
        gone(self.run(&CHANGE, b"unlink", &[dir, name, &now()])?)
    }

    fn rmdir(&self, dir: &[u8], name: &[u8]) -> Result<(), Errno> {
        self.run(&CHANGE, b"rmdir", &[dir, name, &now()]).map(drop)
    }

    fn rename(&self, from: (&[u8], &[u8]), to: (&[u8], &[u8]), over: Over) -> Result<Renamed, Errno> {
        let how: &[u8] = match over {
            Over::Replace => b"",
            Over::Never => b"n",
            Over::Exchange => b"x",
        };
        let gone = gone(self.run(&CHANGE, b"rename", &[from.0, from.1, to.0, to.1, how, &now()])?)?;
        Ok(Renamed { gone, retagged: Vec::new() })
    }

    fn set(
        &self,
        id: &[u8],
        mode: u32,
        uid: u32,
        gid: u32,
        mtime_ns: u64,
    ) -> Result<Option<Retagged>, Errno> {
        let n = [mode.into(), uid.into(), gid.into(), mtime_ns].map(|n: u64| n.to_string());
        let args: [&[u8]; 9] =
            [id, b"m", n[0].as_bytes(), b"u", n[1].as_bytes(), b"g", n[2].as_bytes(), b"mt", n[3].as_bytes()];
        self.run(&ASK, b"set", &args).map(|_| None)
    }

    fn set_xattrs(&self, id: &[u8], xattrs: &[u8]) -> Result<Option<Retagged>, Errno> {
        self.run(&ASK, b"set", &[id, b"x", xattrs]).map(|_| None)
    }

    fn exists(&self, id: &[u8]) -> Result<bool, Errno> {
        match self.run(&ASK, b"exists", &[id])? {
            Reply::Int(n) => Ok(n == 1),
            _ => Err(malformed()),
        }
    }

    fn settled(&self, id: &[u8], len: u64, mtime_ns: u64) -> Result<Option<u64>, Errno> {
        let (len, mtime) = (len.to_string(), mtime_ns.to_string());
        // Counted twice, a version is only looked at once too often.
        match self.run(&ASK, b"settled", &[id, len.as_bytes(), mtime.as_bytes()])? {
            Reply::Int(version) => Ok(Some(version as u64)),
            _ => Err(malformed()),
        }
    }
}

fn refusal(name: &[u8]) -> Errno {
    Errno(match name {
        b"ENOENT" => libc::ENOENT,
        b"EEXIST" => libc::EEXIST,
        b"EISDIR" => libc::EISDIR,
        b"ENOTDIR" => libc::ENOTDIR,
        b"ENOTEMPTY" => libc::ENOTEMPTY,
        b"EINVAL" => libc::EINVAL,
        _ => libc::EIO,
    })
}

/// The store's answer is none of those that the script gives: another layout, or a foreign key.
fn malformed() -> Errno {
    log::say(1, || "the names of a home in its store are not as this version of Iris writes them".into());
    Errno(libc::EIO)
}

fn gone(reply: Reply) -> Result<Option<Gone>, Errno> {
    match &reply {
        Reply::Bytes(none) if none.is_empty() => Ok(None),
        Reply::List(two) => match &two[..] {
            [Reply::Bytes(id), Reply::Bytes(len)] => {
                let len = std::str::from_utf8(len).ok().and_then(|t| t.parse().ok()).ok_or_else(malformed)?;
                Ok(Some(Gone { id: id.clone(), len }))
            }
            _ => Err(malformed()),
        },
        _ => Err(malformed()),
    }
}

/// The time that a change of a directory's entries is noted with.
fn now() -> Vec<u8> {
    crate::sys::coarse_ns().to_string().into_bytes()
}

/// An inode as names.lua tells it.
fn inode(reply: &Reply) -> Result<Inode, Errno> {
    let Reply::List(fields) = reply else { return Err(malformed()) };
    let bytes = |i: usize| match fields.get(i) {
        Some(Reply::Bytes(b)) => Ok(b.as_slice()),
        _ => Err(malformed()),
    };
    let number = |i: usize| -> Result<u64, Errno> {
        let text = std::str::from_utf8(bytes(i)?).map_err(|_| malformed())?;
        if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| malformed()) }
    };
    Ok(Inode {
        id: bytes(0)?.to_vec(),
        kind: match bytes(1)? {
            b"f" => Type::File,
            b"d" => Type::Dir,
            b"l" => Type::Link,
            b"p" => Type::Fifo,
            b"s" => Type::Socket,
            b"c" => Type::Char,
            b"b" => Type::Block,
            _ => return Err(malformed()),
        },
        mode: number(2)? as u32,
        uid: number(3)? as u32,
        gid: number(4)? as u32,
        links: number(5)? as u32,
        len: number(6)?,
        mtime_ns: number(7)?,
        version: number(8)?,
        target: bytes(9)?.to_vec(),
        xattrs: bytes(10)?.to_vec(),
        tag: None,
        bare: false,
    })
}
