//! The head of a set: whose bytes its containers hold, for whoever finds them without the Tier 0 that knew. Owns its form;
//! asks the node who it is.
//!
//! Fields that each end with a zero byte: "iris-spill", version, node, its boot, the pool's identity and file, device,
//! inode number, time of birth; then the file's name to the end. Numbers are hexadecimal.

use crate::home::service;
use crate::sys;
use crate::tier0::layout::Superblock;
use crate::tier0::pool::Pool;
use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;

const KIND: &[u8] = b"iris-spill";
const VERSION: &[u8] = b"1";

/// A head, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The node's name.
    pub node: Vec<u8>,
    /// Its boot.
    pub boot: Vec<u8>,
    /// The pool that knew the set.
    pub pool: u64,
    /// Its file.
    pub pool_file: Vec<u8>,
    /// Device and inode number of the file.
    pub id: (u64, u64),
    /// Its time of birth, 0 where unknown.
    pub born: u64,
    /// The name by which it was opened.
    pub name: Vec<u8>,
}

/// The head of a set that a file of this node begins.
pub fn of(pool: &Pool, id: (u64, u64), born: u64, name: &[u8]) -> Vec<u8> {
    let identity = pool.superblock().identity.load(Ordering::Relaxed);
    let mut head = Vec::new();
    let hex = |n: u64| format!("{n:x}").into_bytes();
    for field in [
        KIND.to_vec(),
        VERSION.to_vec(),
        node(),
        boot(),
        hex(identity),
        pool.path().as_os_str().as_bytes().to_vec(),
        hex(id.0),
        hex(id.1),
        hex(born),
    ] {
        head.extend_from_slice(&field);
        head.push(0);
    }
    head.extend_from_slice(name);
    head
}

/// Reads a head; `None` where it is none of this version.
pub fn read(bytes: &[u8]) -> Option<Head> {
    let mut fields = bytes.splitn(10, |b| *b == 0);
    let mut next = || fields.next();
    if next()? != KIND || next()? != VERSION {
        return None;
    }
    let hex = |text: &[u8]| u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok();
    Some(Head {
        node: next()?.to_vec(),
        boot: next()?.to_vec(),
        pool: hex(next()?)?,
        pool_file: next()?.to_vec(),
        id: (hex(next()?)?, hex(next()?)?),
        born: hex(next()?)?,
        name: next()?.to_vec(),
    })
}

impl Head {
    /// Whether the set was begun on this node.
    pub fn is_of_this_node(&self) -> bool {
        self.node == node()
    }

    /// Whether the pool that knew the set is no more. Only its own node can tell.
    pub fn has_lost_its_pool(&self) -> bool {
        self.boot != boot() || identity_of(&self.pool_file) != Some(self.pool)
    }
}

/// The identity of the pool in a file, if there is one.
fn identity_of(file: &[u8]) -> Option<u64> {
    let path = std::ffi::CString::new(file).ok()?;
    let read = || {
        let fd = sys::open(&path, rustix::fs::OFlags::RDONLY, 0).ok()?;
        let mut word = [0u8; 8];
        let at = std::mem::offset_of!(Superblock, identity) as u64;
        (rustix::io::pread(fd.borrow(), &mut word, at) == Ok(8)).then(|| u64::from_le_bytes(word))
    };
    service::with_number(read).ok()?
}

fn node() -> Vec<u8> {
    line(c"/proc/sys/kernel/hostname")
}

fn boot() -> Vec<u8> {
    line(c"/proc/sys/kernel/random/boot_id")
}

fn line(path: &CStr) -> Vec<u8> {
    let read = || {
        let mut buf = [0u8; 256];
        sys::read_small(path, &mut buf).map(|text| text.trim_ascii().to_vec())
    };
    service::with_number(read).and_then(|r| r).unwrap_or_else(|_| b"unknown".to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heads lie in stores until somebody comes for them.
    #[test]
    fn the_form_is_fixed() {
        let bytes = b"iris-spill\x001\x00n1\x00b-2\x00ff\x00/dev/shm/p\x0010\x002a\x000\x00/pfs/a\x00b";
        let head = read(bytes).expect("a head");
        assert_eq!((head.node.as_slice(), head.boot.as_slice(), head.pool), (&b"n1"[..], &b"b-2"[..], 255));
        assert_eq!((head.id, head.born, head.name.as_slice()), ((16, 42), 0, &b"/pfs/a\x00b"[..]));
        assert_eq!(read(b"iris-spill\x002\x00"), None);
        assert!(!head.is_of_this_node() && head.has_lost_its_pool());
    }
}
