//! One commit of a file's log, as it lies in the store. Owns the bytes; when commits are made, and what they mean for
//! the mapper, is [`super`]'s and [`super::log`]'s business. Pure.
//!
//! Little-endian: 0 "IRISMAP" and the version; 8 a hash (XXH3) of all that follows; 16 the commit's number; 24 the first
//! object number that was never given out; 32 flags (1: the log up to here is not needed to read on from here);
//! 36, 40 and 44 how many bytes the mapper's text has, and how many runs of numbers are opened and closed; then these:
//! the text, the runs (level 4, none 4, first 8, count 8), and to the end the mapper's records, 32 bytes each.

use iris_mappers::containers::hash;
use iris_mappers::{Objects, Record, RecordError};

const MAGIC: [u8; 8] = *b"IRISMAP\x01";
const FIXED: usize = 48;
const RUN: usize = 24;
const SNAPSHOT: u32 = 1;

/// A commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Its place in the log, from 1 on.
    pub number: u64,
    /// The first object number that was never given out when it was made.
    pub fresh: u64,
    /// Whether it holds all that came before, too.
    pub snapshot: bool,
    /// The mapper and its options, in a snapshot; the first commit is one.
    pub mapper: String,
    /// Object numbers that are given to a writer: objects may have them that no record names.
    pub opened: Vec<Objects>,
    /// Of those, what the writer has come to an end with.
    pub closed: Vec<Objects>,
    /// What the mapper learns.
    pub records: Vec<Record>,
}

/// Why bytes are no commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Not the beginning of one, or one of a later version.
    #[error("it does not begin as a commit of this version does")]
    Form,
    /// The hash differs.
    #[error("its hash is wrong")]
    Hash,
    /// Its parts do not fit into it.
    #[error("its parts do not fit into it")]
    Parts,
    /// A record in it is wrong.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Commit {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(FIXED + self.mapper.len() + self.records.len() * Record::SIZE);
        b.extend_from_slice(&MAGIC);
        b.extend_from_slice(&[0; 8]);
        b.extend_from_slice(&self.number.to_le_bytes());
        b.extend_from_slice(&self.fresh.to_le_bytes());
        let flags = if self.snapshot { SNAPSHOT } else { 0 };
        for n in [flags, self.mapper.len() as u32, self.opened.len() as u32, self.closed.len() as u32] {
            b.extend_from_slice(&n.to_le_bytes());
        }
        b.extend_from_slice(self.mapper.as_bytes());
        for run in self.opened.iter().chain(&self.closed) {
            b.extend_from_slice(&run.level.to_le_bytes());
            b.extend_from_slice(&[0; 4]);
            b.extend_from_slice(&run.first.to_le_bytes());
            b.extend_from_slice(&run.count.to_le_bytes());
        }
        for record in &self.records {
            b.extend_from_slice(&record.encode());
        }
        let sum = hash(&b[16..]);
        b[8..16].copy_from_slice(&sum.to_le_bytes());
        b
    }

    /// The commit in these bytes.
    ///
    /// # Errors
    /// Where they are not all of one.
    pub fn decode(b: &[u8]) -> Result<Commit, Damage> {
        if b.len() < FIXED || b[..8] != MAGIC {
            return Err(Damage::Form);
        }
        if hash(&b[16..]) != u64_at(b, 8) {
            return Err(Damage::Hash);
        }
        let u32_at = |at: usize| u64_at(b, at) as u32;
        let (text, opened, closed) = (u32_at(36) as usize, u32_at(40) as usize, u32_at_end(b) as usize);
        let runs = FIXED.checked_add(text).ok_or(Damage::Parts)?;
        let all = opened.checked_add(closed).and_then(|n| n.checked_mul(RUN)).ok_or(Damage::Parts)?;
        let records = runs.checked_add(all).filter(|at| *at <= b.len()).ok_or(Damage::Parts)?;
        let (some, rest) = b[records..].as_chunks::<{ Record::SIZE }>();
        if !rest.is_empty() {
            return Err(Damage::Parts);
        }
        let mut runs = b[runs..records].chunks_exact(RUN).map(|r| Objects {
            level: u64_at(r, 0) as u32,
            first: u64_at(r, 8),
            count: u64_at(r, 16),
        });
        Ok(Commit {
            number: u64_at(b, 16),
            fresh: u64_at(b, 24),
            snapshot: u32_at(32) & SNAPSHOT != 0,
            mapper: std::str::from_utf8(&b[FIXED..FIXED + text]).map_err(|_| Damage::Parts)?.to_owned(),
            opened: runs.by_ref().take(opened).collect(),
            closed: runs.collect(),
            records: some.iter().map(Record::decode).collect::<Result<_, _>>()?,
        })
    }
}

/// Eight bytes of `b`, which has that many from `at` on.
fn u64_at(b: &[u8], at: usize) -> u64 {
    b[at..at + 8].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// The last four of the fixed bytes.
fn u32_at_end(b: &[u8]) -> u32 {
    (u64_at(b, FIXED - 8) >> 32) as u32
}

/// What the head of a log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last commit that is a snapshot and was made known: reading begins there.
    pub snapshot: u64,
    /// No commit before this one is there any more.
    pub lowest: u64,
}

impl Head {
    /// Bytes of a head.
    pub const SIZE: usize = 32;

    /// Of a log without one.
    pub const FIRST: Head = Head { snapshot: 1, lowest: 1 };

    /// Its bytes.
    pub fn encode(self) -> [u8; Head::SIZE] {
        let mut b = [0; Head::SIZE];
        b[..8].copy_from_slice(&MAGIC);
        b[16..24].copy_from_slice(&self.snapshot.to_le_bytes());
        b[24..].copy_from_slice(&self.lowest.to_le_bytes());
        let sum = hash(&b[16..]);
        b[8..16].copy_from_slice(&sum.to_le_bytes());
        b
    }

    /// The head in these bytes.
    ///
    /// # Errors
    /// Where they are none.
    pub fn decode(b: &[u8]) -> Result<Head, Damage> {
        if b.len() != Head::SIZE || b[..8] != MAGIC {
            return Err(Damage::Form);
        }
        if hash(&b[16..]) != u64_at(b, 8) {
            return Err(Damage::Hash);
        }
        Ok(Head { snapshot: u64_at(b, 16), lowest: u64_at(b, 24) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn commit() -> Commit {
        Commit {
            number: 7,
            fresh: 99,
            snapshot: true,
            mapper: "write-optimized:max=16MiB,live=50".into(),
            opened: vec![Objects { level: 3, first: 5, count: 8 }],
            closed: vec![Objects { level: 0, first: 1, count: 2 }, Objects { level: 0, first: 9, count: 1 }],
            records: vec![
                Record::Truncate { size: 12 },
                Record::Extent { offset: 3, len: 4, at: 0, object: 5 },
            ],
        }
    }

    #[test]
    fn a_commit_reads_back() {
        for c in [commit(), Commit { number: 1, ..Commit::default() }] {
            assert_eq!(Commit::decode(&c.encode()), Ok(c));
        }
        let head = Head { snapshot: 33, lowest: 1 };
        assert_eq!(Head::decode(&head.encode()), Ok(head));
    }

    #[test]
    fn every_torn_or_changed_byte_is_found() {
        let whole = commit().encode();
        for n in 0..whole.len() {
            assert!(Commit::decode(&whole[..n]).is_err(), "{n} bytes");
            let mut wrong = whole.clone();
            wrong[n] ^= 4;
            assert!(Commit::decode(&wrong).is_err(), "byte {n}");
        }
        let mut head = Head::FIRST.encode();
        head[20] ^= 1;
        assert_eq!(Head::decode(&head), Err(Damage::Hash));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut b in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Commit::decode(&b), Head::decode(&b));
            if b.len() >= 48 {
                b[..8].copy_from_slice(&MAGIC);
                let sum = hash(&b[16..]);
                b[8..16].copy_from_slice(&sum.to_le_bytes());
                let _ = Commit::decode(&b);
            }
        }
    }
}
