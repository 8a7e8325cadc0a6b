//! Requests, and what comes back.

use std::time::SystemTime;

/// When a put may take place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Whatever was there before.
    #[default]
    Always,
    /// Only where there is no object of that key.
    Absent,
    /// Only over an object that has this tag; where there is none the condition does not hold
    /// ([`Precondition`](crate::Kind::Precondition)).
    Tag(String),
}

/// One request to a store. Keys are any bytes but none of length 0.
#[derive(Debug)]
pub enum Request<'a> {
    /// Reads from `offset` into `into`: gives [`Outcome::Read`], short at the object's end, 0 behind it, or the
    /// error [`NotFound`](crate::Kind::NotFound). Without `range_read` only from offset 0.
    Get {
        /// The object.
        key: &'a [u8],
        /// Where in the object, in bytes.
        offset: u64,
        /// Where the bytes go, and how many are wanted.
        into: &'a mut [u8],
    },
    /// Makes or replaces an object as a whole: atomic, gives [`Outcome::Put`].
    Put {
        /// The object.
        key: &'a [u8],
        /// All its bytes.
        bytes: &'a [u8],
        /// When this may take place.
        condition: Condition,
        /// Small text kept with the object (S3's user metadata); a store that keeps none ignores it.
        meta: &'a [(String, String)],
    },
    /// Writes a part of an object in place, making it if there is none, with zeros between its end and `offset`:
    /// gives [`Outcome::Done`]. No bytes change nothing and make nothing. Needs `range_write`.
    Update {
        /// The object.
        key: &'a [u8],
        /// Where in the object, in bytes.
        offset: u64,
        /// What is written there.
        bytes: &'a [u8],
    },
    /// Sets an object's length in bytes, dropping its end or growing it by zeros: [`Outcome::Done`], or the error
    /// [`NotFound`](crate::Kind::NotFound). Needs `range_write`.
    Resize {
        /// The object.
        key: &'a [u8],
        /// Its new length in bytes.
        len: u64,
    },
    /// Removes an object; one that is not there is removed already: [`Outcome::Done`].
    Delete {
        /// The object.
        key: &'a [u8],
    },
    /// Asks about an object: [`Outcome::Facts`], or the error [`NotFound`](crate::Kind::NotFound).
    Head {
        /// The object.
        key: &'a [u8],
    },
}

impl Request<'_> {
    /// The object it is about.
    pub fn key(&self) -> &[u8] {
        match self {
            Request::Get { key, .. }
            | Request::Put { key, .. }
            | Request::Update { key, .. }
            | Request::Resize { key, .. }
            | Request::Delete { key }
            | Request::Head { key } => key,
        }
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is done, and there is nothing to tell.
    Done,
    /// So many bytes were read.
    Read(usize),
    /// It was put; the new object's tag, where the store has one.
    Put(Option<String>),
    /// What the store knows of the object.
    Facts(ObjectFacts),
}

/// What a store knows of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectFacts {
    /// Length in bytes.
    pub len: u64,
    /// Changes with the content (an ETag); only for comparing.
    pub tag: Option<String>,
    /// When it was put.
    pub modified: Option<SystemTime>,
    /// Small text kept with it.
    pub meta: Vec<(String, String)>,
}

/// Asks for a page of a listing, in the order of the keys' bytes.
#[derive(Clone, Debug, Default)]
pub struct ListRequest<'a> {
    /// Only keys that begin so.
    pub prefix: &'a [u8],
    /// Only entries behind this one, in the order of bytes; empty: from the start. Folded entries count as what they
    /// are folded to: a listing goes on behind its last entry, whichever kind that is.
    pub after: &'a [u8],
    /// Keys that hold this byte behind the prefix are folded into one entry up to and with it (S3's delimiter).
    pub delimiter: Option<u8>,
    /// How many entries at most; a page may hold fewer and still have a `next`. 0 is
    /// [`Invalid`](crate::Kind::Invalid).
    pub limit: usize,
}

/// An entry of a listing.
#[derive(Clone, Debug, PartialEq)]
pub enum Listed {
    /// An object, with what the listing tells of it (no meta).
    Object(Vec<u8>, ObjectFacts),
    /// Keys that begin so, folded by the delimiter.
    Prefix(Vec<u8>),
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The entries, in the order of their bytes.
    pub entries: Vec<Listed>,
    /// Where the next page begins (`after`), not before the last entry; `None` at the end.
    pub next: Option<Vec<u8>>,
}

/// Where the bytes of a long put come from: they are fetched part by part, and perhaps more than once.
pub trait Source: Sync {
    /// Fills `into` with the bytes from `offset`, all of them.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()>;
}

/// A part of an object that is composed.
pub enum Part<'a> {
    /// New bytes, from `offset` of the source on.
    Bytes {
        /// Where they come from.
        source: &'a dyn Source,
        /// Where in the source, in bytes.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// A range of an object that the store has.
    Existing {
        /// That object; may be the one that is composed.
        key: &'a [u8],
        /// Where in it, in bytes.
        offset: u64,
        /// How many bytes.
        len: u64,
        /// Only if its tag is still this one, else [`Precondition`](crate::Kind::Precondition).
        tag: Option<&'a str>,
    },
}
