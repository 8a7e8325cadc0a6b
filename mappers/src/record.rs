//! Records: the changes of a file's map as they lie in a journal. Owns their meaning and their 32 bytes.
//!
//! The bytes, little-endian: 0 holds the version (high half) and the kind; 1..4 a check of all the others; 4..32
//! the kind's own fields. Unused bytes are zeros. A journal may be read by another machine and a later version:
//! a kind, once given out, keeps its number and its fields.

use crate::{MAX_FILE, MAX_NUMBER};

/// Version of the encoding.
const VERSION: u8 = 1;

/// Longest extent, in bytes: an object's length needs 31 bits.
pub(crate) const MAX_EXTENT: u64 = 1 << 30;

/// The layouts that a file under `auto` can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LayoutKind {
    /// Fixed buckets.
    Balanced = 1,
    /// An object a request.
    Write = 2,
    /// Replicas at several granularities.
    Read = 3,
}

/// How far a step of a migration has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// It is about to copy the bytes up to the offset: what lies there in the new layout is not to be trusted.
    Begun = 1,
    /// The bytes before the offset are in the new layout.
    Copied = 2,
    /// So is the whole file, whose size the offset is: the migration is complete.
    Done = 3,
}

/// One change of a file's map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A write: `len` bytes at `offset` are now the bytes of a new object from `at` on. Newest wins.
    Extent {
        /// In the file, in bytes.
        offset: u64,
        /// In bytes.
        len: u32,
        /// In the object, in bytes.
        at: u32,
        /// The object's number.
        object: u64,
    },
    /// A compaction: as an extent, but only for those of the bytes that are still those of the object `from`.
    Compact {
        /// In the file, in bytes.
        offset: u64,
        /// In bytes.
        len: u32,
        /// In the object, in bytes.
        at: u32,
        /// The new object's number.
        object: u64,
        /// The number of the object that held them.
        from: u64,
    },
    /// The file was cut to `size` bytes.
    Truncate {
        /// In bytes.
        size: u64,
    },
    /// Garbage was deleted.
    Collected {
        /// Level of the objects.
        level: u32,
        /// The first number.
        first: u64,
        /// How many.
        count: u64,
    },
    /// Of a snapshot: there is an object of `len` bytes. [`Record::Part`] tells which of them are read.
    Object {
        /// Its number.
        object: u64,
        /// In bytes.
        len: u32,
    },
    /// Of a snapshot: `len` bytes at `offset` are those of the object from `at` on; of the whole object, if there
    /// was no [`Record::Object`] for it.
    Part {
        /// In the file, in bytes.
        offset: u64,
        /// In bytes.
        len: u32,
        /// In the object, in bytes.
        at: u32,
        /// The object's number.
        object: u64,
    },
    /// Replicas of this range are about to change, and must not be read.
    Dirty {
        /// In the file, in bytes.
        offset: u64,
        /// In bytes.
        len: u64,
    },
    /// All replicas of this range have been written.
    Clean {
        /// In the file, in bytes.
        offset: u64,
        /// In bytes.
        len: u64,
    },
    /// All replicas of this range have been made anew from the first, while nobody wrote.
    Repaired {
        /// In the file, in bytes.
        offset: u64,
        /// In bytes.
        len: u64,
    },
    /// Of a snapshot: replicas of this range may differ until they are repaired.
    Contested {
        /// In the file, in bytes.
        offset: u64,
        /// In bytes.
        len: u64,
    },
    /// A step of the migration of the file to the layout of era `era`.
    Layout {
        /// Number of the layout, one more than that of the one before.
        era: u32,
        /// Which it is.
        kind: LayoutKind,
        /// Binary logarithm of its bucket size.
        shift: u8,
        /// How far it has come.
        stage: Stage,
        /// In the file, in bytes.
        offset: u64,
    },
    /// Of a snapshot: the layout that the file has.
    Settled {
        /// Number of the layout.
        era: u32,
        /// Which it is.
        kind: LayoutKind,
        /// Binary logarithm of its bucket size.
        shift: u8,
    },
    /// Of a snapshot: objects of an earlier layout that wait for deletion.
    Retired {
        /// Level of the objects.
        level: u32,
        /// The first number.
        first: u64,
        /// How many.
        count: u64,
    },
    /// A process has seen this many requests since the last such record of its own.
    Seen {
        /// Reads among them.
        reads: u32,
        /// Writes among them.
        writes: u32,
        /// Binary logarithm, rounded up, of the size in bytes that 9 of 10 requests do not exceed.
        class: u8,
    },
    /// A record of a third party's mapper: its own bytes.
    Own([u8; 28]),
}

/// Why a record is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes are of no version that this program knows.
    #[error(
        "a map record of version {0}: this program knows version 1; use the version of Iris that wrote it"
    )]
    Version(u8),
    /// The check does not fit: torn, overwritten, or of something else.
    #[error(
        "a map record whose check is wrong: the journal is damaged here; `iris fsck` tells of which file"
    )]
    Check,
    /// No such kind, or a field out of its range.
    #[error("a map record that means nothing ({0}): the journal is damaged here, or of a later version")]
    Meaning(&'static str),
    /// A kind that this mapper does not have.
    #[error(
        "mapper {mapper}: a record of the kind {kind} is not one of its own: the file has another mapper"
    )]
    NotMine {
        /// The mapper.
        mapper: &'static str,
        /// The kind.
        kind: &'static str,
    },
    /// It contradicts what came before.
    #[error("a map record that does not fit the ones before: {0}")]
    Contradiction(&'static str),
    /// A third party's mapper refuses it.
    #[error("mapper {mapper}: {why}")]
    Foreign {
        /// Its name.
        mapper: String,
        /// What it says.
        why: String,
    },
}

impl Record {
    /// Bytes of an encoded record.
    pub const SIZE: usize = 32;

    /// The number of the object that the record gives bytes of the file to.
    pub fn object(&self) -> Option<u64> {
        match *self {
            Record::Extent { object, .. } | Record::Compact { object, .. } | Record::Part { object, .. } => {
                Some(object)
            }
            _ => None,
        }
    }

    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Record::Extent { .. } => "extent",
            Record::Compact { .. } => "compact",
            Record::Truncate { .. } => "truncate",
            Record::Collected { .. } => "collected",
            Record::Object { .. } => "object",
            Record::Part { .. } => "part",
            Record::Dirty { .. } => "dirty",
            Record::Clean { .. } => "clean",
            Record::Repaired { .. } => "repaired",
            Record::Contested { .. } => "contested",
            Record::Layout { .. } => "layout",
            Record::Settled { .. } => "settled",
            Record::Retired { .. } => "retired",
            Record::Seen { .. } => "seen",
            Record::Own(_) => "own",
        }
    }

    /// The record as it lies in a journal.
    #[inline]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let of_layout = |kind: LayoutKind, shift: u8, stage: u8| {
            u64::from(kind as u8) | u64::from(shift) << 8 | u64::from(stage) << 16
        };
        let mut words = match *self {
            Record::Extent { offset, len, at, object } => extent(1, offset, len, at, object, 0),
            Record::Compact { offset, len, at, object, from } => extent(2, offset, len, at, object, from),
            Record::Truncate { size } => range(3, size, 0),
            Record::Collected { level, first, count } => run(4, level, first, count),
            Record::Object { object, len } => extent(5, 0, len, 0, object, 0),
            Record::Part { offset, len, at, object } => extent(6, offset, len, at, object, 0),
            Record::Dirty { offset, len } => range(7, offset, len),
            Record::Clean { offset, len } => range(8, offset, len),
            Record::Repaired { offset, len } => range(9, offset, len),
            Record::Contested { offset, len } => range(10, offset, len),
            Record::Layout { era, kind, shift, stage, offset } => {
                run(11, era, offset, of_layout(kind, shift, stage as u8))
            }
            Record::Settled { era, kind, shift } => run(12, era, 0, of_layout(kind, shift, 0)),
            Record::Retired { level, first, count } => run(13, level, first, count),
            Record::Seen { reads, writes, class } => run(14, reads, writes.into(), class.into()),
            Record::Own(own) => {
                let mut b = [0; Self::SIZE];
                b[4..].copy_from_slice(&own);
                let mut words = words_of(&b);
                words[0] |= 15;
                words
            }
        };
        words[0] |= u64::from(VERSION << 4);
        words[0] |= check(&words) << 8;
        let mut b = [0; Self::SIZE];
        for (bytes, word) in b.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        b
    }

    /// The record that lies in these bytes, if they are one.
    #[inline]
    pub fn decode(b: &[u8; Self::SIZE]) -> Result<Record, RecordError> {
        let words = words_of(b);
        let head = words[0] as u32;
        if check(&words) != u64::from(head >> 8) {
            return Err(RecordError::Check);
        }
        let version = head as u8 >> 4;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let offset = words[0] >> 32 | words[1] << 32;
        let (len, at) = ((words[1] >> 32) as u32, words[2] as u32);
        let (object, from) = (words[2] >> 32 | (words[3] & 0xFFFF) << 32, words[3] >> 16);
        let (wide, level) = (words[1] >> 32 | words[2] << 32, (words[2] >> 32) as u32);
        let (low, shift) = (len as u8, (len >> 8) as u8);
        let record = match head & 15 {
            1 => Record::Extent { offset, len, at, object },
            2 => Record::Compact { offset, len, at, object, from },
            3 => Record::Truncate { size: offset },
            4 => Record::Collected { level, first: offset, count: wide },
            5 => Record::Object { object, len },
            6 => Record::Part { offset, len, at, object },
            7 => Record::Dirty { offset, len: wide },
            8 => Record::Clean { offset, len: wide },
            9 => Record::Repaired { offset, len: wide },
            10 => Record::Contested { offset, len: wide },
            11 => {
                let stage = match (len >> 16) as u8 {
                    1 => Stage::Begun,
                    2 => Stage::Copied,
                    3 => Stage::Done,
                    _ => return Err(RecordError::Meaning("an unknown stage of a migration")),
                };
                Record::Layout { era: level, kind: layout_kind(low)?, shift, stage, offset }
            }
            12 => Record::Settled { era: level, kind: layout_kind(low)?, shift },
            13 => Record::Retired { level, first: offset, count: wide },
            14 => Record::Seen { reads: level, writes: offset as u32, class: low },
            15 => {
                let mut own = [0; 28];
                own.copy_from_slice(&b[4..]);
                Record::Own(own)
            }
            _ => return Err(RecordError::Meaning("an unknown kind")),
        };
        record.validate()?;
        Ok(record)
    }

    /// Whether every field is in its range.
    #[inline]
    pub fn validate(&self) -> Result<(), RecordError> {
        let bytes = |offset: u64, len: u64| {
            let fits = len > 0 && offset.checked_add(len).is_some_and(|end| end <= MAX_FILE);
            if fits { Ok(()) } else { Err(RecordError::Meaning("a range outside every file")) }
        };
        match *self {
            Record::Extent { offset, len, at, object }
            | Record::Part { offset, len, at, object }
            | Record::Compact { offset, len, at, object, .. } => {
                bytes(offset, u64::from(len))?;
                if u64::from(at) + u64::from(len) > MAX_EXTENT || object > MAX_NUMBER {
                    return Err(RecordError::Meaning("an extent that no object can have"));
                }
            }
            Record::Object { object, len } => {
                if len == 0 || u64::from(len) > MAX_EXTENT || object > MAX_NUMBER {
                    return Err(RecordError::Meaning("an object of an impossible length"));
                }
            }
            Record::Truncate { size: end } | Record::Layout { offset: end, .. } => {
                if end > MAX_FILE {
                    return Err(RecordError::Meaning("a size that no file can have"));
                }
            }
            Record::Dirty { offset, len }
            | Record::Clean { offset, len }
            | Record::Repaired { offset, len }
            | Record::Contested { offset, len } => bytes(offset, len)?,
            Record::Collected { first, count, .. } | Record::Retired { first, count, .. } => {
                let fits = count > 0 && first.checked_add(count).is_some_and(|end| end <= MAX_NUMBER + 1);
                if !fits {
                    return Err(RecordError::Meaning("object numbers out of range"));
                }
            }
            Record::Seen { class, .. } => {
                if class > 63 {
                    return Err(RecordError::Meaning("a size that no request can have"));
                }
            }
            Record::Settled { .. } | Record::Own(_) => {}
        }
        match *self {
            Record::Layout { shift, .. } | Record::Settled { shift, .. } if shift > 40 => {
                Err(RecordError::Meaning("an impossible bucket size"))
            }
            _ => Ok(()),
        }
    }
}

fn layout_kind(byte: u8) -> Result<LayoutKind, RecordError> {
    match byte {
        1 => Ok(LayoutKind::Balanced),
        2 => Ok(LayoutKind::Write),
        3 => Ok(LayoutKind::Read),
        _ => Err(RecordError::Meaning("an unknown layout")),
    }
}

/// The four words of a record, without version and check: a kind in byte 0, then fields of 8, 4, 4, 6 and 6 bytes
/// from byte 4 on. In words, because bytes that were just written one by one are slow to read as words.
#[inline]
fn extent(kind: u8, offset: u64, len: u32, at: u32, object: u64, from: u64) -> [u64; 4] {
    debug_assert!(object <= MAX_NUMBER && from <= MAX_NUMBER);
    [
        u64::from(kind) | offset << 32,
        offset >> 32 | u64::from(len) << 32,
        u64::from(at) | object << 32,
        object >> 32 | from << 16,
    ]
}

/// As [`extent`], with fields of 8 and 8 bytes.
#[inline]
fn range(kind: u8, offset: u64, len: u64) -> [u64; 4] {
    run(kind, 0, offset, len)
}

/// As [`extent`], with fields of 8, 8 and 4 bytes: `first`, `count`, `level`.
#[inline]
fn run(kind: u8, level: u32, first: u64, count: u64) -> [u64; 4] {
    extent(kind, first, count as u32, (count >> 32) as u32, level.into(), 0)
}

#[inline]
fn words_of(b: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(b.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// A check of 24 bits over all but its own: each word is multiplied into the sum, so that every bit of a word
/// moves the upper bits, of which some are kept.
#[inline]
fn check(words: &[u64; 4]) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut sum = ODD;
    for word in [words[0] & !0xFFFF_FF00, words[1], words[2], words[3]] {
        sum = (sum ^ word).wrapping_mul(ODD);
        sum ^= sum >> 29;
    }
    sum.wrapping_mul(ODD) >> 40
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let offset = prop_oneof![0..10_000u64, MAX_FILE - 20_000..MAX_FILE - 10_000];
        let number = prop_oneof![0..1000u64, MAX_NUMBER - 1000..=MAX_NUMBER];
        let layout = prop_oneof![Just(LayoutKind::Balanced), Just(LayoutKind::Write), Just(LayoutKind::Read)];
        (
            0..15u8,
            offset,
            1..10_000u32,
            0..10_000u32,
            number.clone(),
            number,
            any::<u32>(),
            layout,
            any::<[u8; 28]>(),
        )
            .prop_map(|(kind, offset, len, at, object, from, level, layout, own)| {
                let (wide, count) = (u64::from(len), (MAX_NUMBER + 1 - object).min(u64::from(len)));
                match kind {
                    0 => Record::Extent { offset, len, at, object },
                    1 => Record::Compact { offset, len, at, object, from },
                    2 => Record::Truncate { size: offset },
                    3 => Record::Collected { level, first: object, count },
                    4 => Record::Object { object, len },
                    5 => Record::Part { offset, len, at, object },
                    6 => Record::Dirty { offset, len: wide },
                    7 => Record::Clean { offset, len: wide },
                    8 => Record::Repaired { offset, len: wide },
                    9 => Record::Contested { offset, len: wide },
                    10 => Record::Layout {
                        era: level,
                        kind: layout,
                        shift: at as u8 % 41,
                        stage: [Stage::Begun, Stage::Copied, Stage::Done][len as usize % 3],
                        offset,
                    },
                    11 => Record::Settled { era: level, kind: layout, shift: at as u8 % 41 },
                    12 => Record::Retired { level, first: object, count },
                    13 => Record::Seen { reads: level, writes: len, class: at as u8 % 64 },
                    _ => Record::Own(own),
                }
            })
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(record in any_record()) {
            prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn a_flipped_bit_is_found(record in any_record(), bit in 0..256usize) {
            let mut bytes = record.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Record::decode(&bytes), Err(RecordError::Check));
        }

        #[test]
        fn no_bytes_panic(mut bytes in any::<[u8; 32]>()) {
            // Almost all of them fail at the check, so that is also mended.
            let _ = Record::decode(&bytes);
            bytes[0] = VERSION << 4 | bytes[0] & 15;
            let right = check(&words_of(&bytes)).to_le_bytes();
            bytes[1..4].copy_from_slice(&right[..3]);
            let _ = Record::decode(&bytes);
        }
    }

    /// Journals outlive programs: these bytes must be read for ever.
    #[test]
    fn the_encoding_is_fixed() {
        let record = Record::Compact {
            offset: 0x0102_0304_0506_0708,
            len: 0x1112_1314,
            at: 0x2122_2324,
            object: 0x3132_3334_3536,
            from: 0x4142_4344_4546,
        };
        let hex: String = record.encode().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "1271c92108070605040302011413121124232221363534333231464544434241");
        assert_eq!(Record::decode(&[0; 32]), Err(RecordError::Check));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = Record::Truncate { size: 1 }.encode();
        bytes[0] = 2 << 4 | 3;
        let right = check(&words_of(&bytes)).to_le_bytes();
        bytes[1..4].copy_from_slice(&right[..3]);
        assert_eq!(Record::decode(&bytes), Err(RecordError::Version(2)));
    }
}
