//! A rename that is under way where names are keys: it takes several requests, and whoever makes it may be killed between
//! them. Owns the note of it, in the folder of control files, and bringing it to its end: whoever next has the node's turn
//! does what is left of it.

use super::catalog::Retagged;
use super::catalog::objects::Objects;
use super::{Home, gate, service};
use crate::errno::Errno;
use crate::log;
use crate::sys;
use std::ffi::{CString, OsStr};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The note's name.
const NOTE: &str = "moving";

/// A rename.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The old key.
    pub from: Vec<u8>,
    /// The new key.
    pub to: Vec<u8>,
    /// The version of a file; none of a directory.
    pub tag: Option<String>,
}

impl Move {
    fn text(&self) -> Vec<u8> {
        let tag = self.tag.as_deref().unwrap_or_default();
        [b"1", &self.from[..], &self.to[..], tag.as_bytes(), b"end"].join(&0)
    }

    fn parse(text: &[u8]) -> Option<Move> {
        match text.split(|b| *b == 0).collect::<Vec<_>>()[..] {
            [b"1", from, to, tag, b"end"] => {
                let tag = std::str::from_utf8(tag).ok()?;
                let tag = Some(tag.to_owned()).filter(|t| !t.is_empty());
                Some(Move { from: from.to_vec(), to: to.to_vec(), tag })
            }
            _ => None,
        }
    }
}

impl Home {
    /// Where the note of a rename lies.
    pub(super) fn note(&self) -> PathBuf {
        Path::new(OsStr::from_bytes(&self.controls)).join(NOTE)
    }

    /// Notes that a rename begins. In the node's turn.
    ///
    /// # Errors
    /// Those of writing the note.
    pub fn move_begins(&self, what: &Move) -> Result<(), Errno> {
        let (note, fresh) = (self.note(), self.note().with_extension("new"));
        sys::write_small(&sys::c_path(&fresh)?, &what.text())?;
        Ok(rustix::fs::rename(&fresh, &note)?)
    }

    /// It has come to its end, and so has the tree.
    pub fn move_ends(&self) {
        if !self.layout.is_whole() {
            return;
        }
        match self.control_file(NOTE).and_then(|note| sys::remove(&note)) {
            Ok(()) | Err(Errno(libc::ENOENT)) => {}
            Err(e) => log::say(1, || format!("{}: {e}", self.note().display())),
        }
    }

    /// Brings a rename to its end whose maker was killed. In the node's turn.
    ///
    /// # Errors
    /// Those of the store; it is tried again by the next.
    pub fn finish_moves(&'static self) -> Result<(), Errno> {
        if !self.layout.is_whole() || sys::statat(libc::AT_FDCWD, &self.control_file(NOTE)?, false).is_err() {
            return Ok(());
        }
        service::call_urgent(|| {
            let text = match std::fs::read(self.note()) {
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
                other => other.map_err(errno)?,
            };
            if let Some(what) = Move::parse(&text) {
                self.finish(&what)?;
            }
            self.move_ends();
            Ok(())
        })?
    }

    fn finish(&self, what: &Move) -> Result<(), Errno> {
        let names = Objects::new(self.store()?).ok_or(Errno(libc::EOPNOTSUPP))?;
        for Retagged { name, was, tag } in names.finish(what)? {
            gate::retag(self, &self.anchor_of(&name)?, was.as_deref(), tag.as_deref())?;
        }
        let (old, new) = (self.anchor_of(&what.from)?, self.anchor_of(&what.to)?);
        let there = sys::statat(libc::AT_FDCWD, &new, false).ok();
        let born = there.as_ref().map_or(0, |st| sys::birth_at(libc::AT_FDCWD, &new, st.st_ino));
        match rustix::fs::rename(&old, &new) {
            Ok(()) => {
                if let Some(st) = there.filter(|st| st.st_mode & libc::S_IFMT == libc::S_IFREG) {
                    self.unlinked(st.st_ino, born, false);
                }
                Ok(())
            }
            // The next look brings the tree up.
            Err(_) => Ok(()),
        }
    }

    /// The anchor of a key.
    fn anchor_of(&self, key: &[u8]) -> Result<CString, Errno> {
        CString::new([&self.tree[..], b"/", key].concat()).map_err(|_| Errno(libc::EINVAL))
    }
}

fn errno(e: std::io::Error) -> Errno {
    Errno(e.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_back_whole_or_not_at_all() {
        for tag in [None, Some("abc-2".to_owned())] {
            let what = Move { from: b"a/b".to_vec(), to: "d/ä".into(), tag };
            let text = what.text();
            assert_eq!(Move::parse(&text), Some(what));
            assert_eq!(Move::parse(&text[..text.len() - 1]), None);
        }
        assert_eq!(Move::parse(b""), None);
    }
}
