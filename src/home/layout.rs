//! How the files of a home lie in its store, and what their objects are called. Owns the keys; which objects a range of
//! a file is, is a mapper's decision ([`super::map`]).

use super::mirror;
use iris_mappers::{Object, key, parse_key};

/// The mapper of a file that has no log of its own. Part of the format: files were written by it.
pub const PLAIN: &str = "balanced:bucket=1MiB";

/// How the files of a home are laid out in its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Objects of their own for each file, as a mapper says.
    Mapped {
        /// What every key begins with.
        prefix: Vec<u8>,
        /// The mapper of files that are made from now on, as its registry writes it.
        mapper: String,
    },
    /// One object of the file's own name below `prefix`, which other tools read and write.
    Whole {
        /// What every key begins with.
        prefix: Vec<u8>,
    },
}

impl Layout {
    /// Files mapped as [`PLAIN`] says, with keys that begin with `prefix`.
    pub fn plain(prefix: &[u8]) -> Layout {
        Layout::Mapped { prefix: prefix.to_vec(), mapper: PLAIN.to_owned() }
    }

    /// Whether each file is one object of its own name.
    pub fn is_whole(&self) -> bool {
        matches!(self, Layout::Whole { .. })
    }

    fn prefix(&self) -> &[u8] {
        let (Layout::Mapped { prefix, .. } | Layout::Whole { prefix }) = self;
        prefix
    }

    /// The identity of a new file, from 128 random bits. The lowest bit tells whether the file has a log: one with the
    /// mapper [`PLAIN`] needs none, so that millions of small files cost no object beside their bytes.
    pub fn identity(&self, random: [u64; 2]) -> [u64; 2] {
        let logged = matches!(self, Layout::Mapped { mapper, .. } if mapper != PLAIN);
        [random[0] | 1, random[1] & !1 | u64::from(logged)]
    }

    /// The mapper of new files.
    pub fn mapper(&self) -> &str {
        match self {
            Layout::Mapped { mapper, .. } => mapper,
            Layout::Whole { .. } => "naive",
        }
    }

    /// The keys of one file.
    pub fn keys(&self, id: [u64; 2]) -> Keys {
        Keys {
            prefix: self.prefix().to_vec(),
            file: format!("{:016x}{:016x}", id[0], id[1]).into_bytes(),
            logged: id[1] & 1 == 1,
        }
    }

    /// The file that a key of a mapped home belongs to, and what it is to it; `None` where no file has such a key.
    pub fn parse(&self, key: &[u8]) -> Option<([u64; 2], Part)> {
        let text = std::str::from_utf8(key.strip_prefix(self.prefix())?).ok()?;
        let (id, part) = match parse_key(text) {
            Ok((file, object)) => (mirror::id_from(&file)?, Part::Bytes(object)),
            Err(_) => {
                let (file, number) = text.strip_prefix('{')?.split_once("}1:log")?;
                let part = match number.strip_prefix(':') {
                    None => Part::Head,
                    Some(number) => Part::Commit(u64::from_str_radix(number, 16).ok()?),
                };
                (mirror::id_from(file.as_bytes())?, part)
            }
        };
        // Only what is written here: numbers can be written in several ways.
        (self.keys(id).of(part) == key).then_some((id, part))
    }

    /// The key of the object that the file of a name below the mount is.
    pub fn whole_key(&self, name: &[u8]) -> Vec<u8> {
        [self.prefix(), name].concat()
    }
}

/// What an object of a mapped file is to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Some of its bytes.
    Bytes(Object),
    /// The head of its log.
    Head,
    /// A commit of its log.
    Commit(u64),
}

/// The keys of one file's objects: `PREFIX{ID}1:LEVEL:NUMBER`, and of its log: `PREFIX{ID}1:log` and
/// `PREFIX{ID}1:log:NUMBER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    prefix: Vec<u8>,
    file: Vec<u8>,
    /// Whether the file has a log.
    pub logged: bool,
}

impl Keys {
    /// Of an object.
    pub fn object(&self, object: Object) -> Vec<u8> {
        [&self.prefix, key(&self.file, object).as_bytes()].concat()
    }

    /// Of any part.
    pub fn of(&self, part: Part) -> Vec<u8> {
        match part {
            Part::Bytes(object) => self.object(object),
            Part::Head => self.head(),
            Part::Commit(number) => self.commit(number),
        }
    }

    /// What all of them begin with, and those of no other file.
    pub fn start(&self) -> Vec<u8> {
        [&self.prefix, iris_mappers::prefix(&self.file).as_bytes()].concat()
    }

    /// Of the log's head.
    pub fn head(&self) -> Vec<u8> {
        [&self.prefix, iris_mappers::prefix(&self.file).as_bytes(), b"1:log"].concat()
    }

    /// Of a commit.
    pub fn commit(&self, number: u64) -> Vec<u8> {
        [&self.head()[..], format!(":{number:016x}").as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys lie in stores for years.
    #[test]
    fn the_form_of_keys_is_fixed() {
        let layout = Layout::plain(b"iris:");
        let keys = layout.keys([1, 2]);
        assert_eq!(
            keys.object(Object { level: 0, number: 3 }),
            b"iris:{00000000000000010000000000000002}1:0:000000000003"
        );
        assert_eq!(keys.head(), b"iris:{00000000000000010000000000000002}1:log");
        assert_eq!(keys.commit(17), b"iris:{00000000000000010000000000000002}1:log:0000000000000011");
    }

    #[test]
    fn keys_are_read_back_and_others_are_nobodys() {
        let layout = Layout::plain(b"iris:1:h:");
        let keys = layout.keys([1, u64::MAX]);
        for part in [Part::Bytes(Object { level: 0x102, number: 42 }), Part::Head, Part::Commit(17)] {
            assert_eq!(layout.parse(&keys.of(part)), Some(([1, u64::MAX], part)));
            assert!(keys.of(part).starts_with(&keys.start()));
            assert_eq!(Layout::plain(b"iris:1:g:").parse(&keys.of(part)), None);
        }
        let id = "00000000000000010000000000000002";
        for rest in [
            "{ID}1:lo",
            "{ID}1:log:",
            "{ID}1:log:11",
            "{ID}1:logs",
            "{ID}1:0:3",
            "{ID}2:0:000000000003",
            "{1}1:log",
            "ID",
        ] {
            let key = format!("iris:1:h:{}", rest.replace("ID", id));
            assert_eq!(layout.parse(key.as_bytes()), None, "{key}");
        }
    }

    #[test]
    fn an_identity_tells_whether_there_is_a_log() {
        let layout = Layout::plain(b"");
        assert!(!layout.keys(layout.identity([7, 7])).logged);
        let layout = Layout::Mapped { prefix: Vec::new(), mapper: "naive".into() };
        assert!(layout.keys(layout.identity([6, 6])).logged);
        assert_ne!(layout.identity([0, 0]), [0, 0]);
    }

    #[test]
    fn the_plain_mapper_is_written_as_the_registry_writes_it() {
        assert_eq!(iris_mappers::Registry::own().make(PLAIN).unwrap().spec(), PLAIN);
    }
}
