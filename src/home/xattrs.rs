//! Extended attributes of files whose names are kept in a store, as one text: NAME, a zero, the value's length (4 bytes,
//! little endian), the value, and so on in the order of names. Owns that form; only attributes of `user.` are kept, since
//! the others are the node's own affair (security labels, access lists of users that other nodes may not know).

use crate::errno::Errno;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

/// What the file of a name has, links not followed. Nothing where its file system keeps no such attributes.
pub fn of(path: &CStr) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    for (name, value) in read(path)? {
        text.extend_from_slice(name.as_bytes_with_nul());
        text.extend_from_slice(&(value.len() as u32).to_le_bytes());
        text.extend_from_slice(&value);
    }
    Ok(text)
}

/// Gives the file of a name these attributes, and takes others of `user.` away. With `change` false nothing is done.
/// Whether it has, or had, others.
pub fn bring(path: &CStr, text: &[u8], change: bool) -> Result<bool, Errno> {
    let has = read(path)?;
    let wanted = parse(text).ok_or(Errno(libc::EIO))?;
    if has == wanted || !change {
        return Ok(has != wanted);
    }
    for name in has.keys().filter(|n| !wanted.contains_key(*n)) {
        rustix::fs::lremovexattr(path, name)?;
    }
    for (name, value) in &wanted {
        rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty())?;
    }
    Ok(true)
}

fn parse(mut text: &[u8]) -> Option<BTreeMap<CString, Vec<u8>>> {
    let mut all = BTreeMap::new();
    while !text.is_empty() {
        let name = CStr::from_bytes_until_nul(text).ok()?;
        text = &text[name.to_bytes_with_nul().len()..];
        let (len, rest) = text.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        all.insert(name.to_owned(), value.to_vec());
        text = rest;
    }
    Some(all)
}

fn read(path: &CStr) -> Result<BTreeMap<CString, Vec<u8>>, Errno> {
    let mut all = BTreeMap::new();
    let list = match filled(|buf| rustix::fs::llistxattr(path, buf)) {
        Ok(list) => list,
        Err(Errno(libc::ENOTSUP)) => return Ok(all),
        Err(e) => return Err(e),
    };
    for name in list.split_inclusive(|b| *b == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(|_| Errno(libc::EIO))?;
        if !name.to_bytes().starts_with(b"user.") {
            continue;
        }
        match filled(|buf| rustix::fs::lgetxattr(path, name, buf)) {
            Ok(value) => {
                all.insert(name.to_owned(), value);
            }
            // Removed meanwhile.
            Err(Errno(libc::ENODATA)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(all)
}

/// Runs a call that fills a buffer, with one that is long enough.
fn filled(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> Result<Vec<u8>, Errno> {
    let mut buf = vec![0u8; 256];
    loop {
        match call(&mut buf) {
            Ok(len) => {
                buf.truncate(len);
                return Ok(buf);
            }
            // The longest list and the longest value have 64 KiB.
            Err(rustix::io::Errno::RANGE) if buf.len() < 1 << 17 => buf.resize(buf.len() * 8, 0),
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back() {
        let mut text = b"user.a\0\x03\0\0\0x\0yuser.b\0\0\0\0\0".to_vec();
        let all = parse(&text).unwrap();
        assert_eq!(all[c"user.a"], b"x\0y");
        assert_eq!(all[c"user.b"], b"");
        text.pop();
        assert_eq!(parse(&text), None);
        assert_eq!(parse(b"").map(|m| m.len()), Some(0));
    }
}
