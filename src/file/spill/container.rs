//! A container: extents of one file, packed into one object with the list of where they belong. Owns its form, byte for
//! byte; talks to no store. Any change of the form is a new [`VERSION`] and a new prefix of the keys.
//!
//! ```text
//!  0  "IRISPILL"            32  time of the last write in it, ns since 1970
//!  8  version, u32          40  length of the object
//! 12  number of records     48  check over the first 48 bytes and the records
//! 16  set                   56  check over the payload
//! 24  number in the set     64  records: offset in the file u64, length u32, offset in the object u32
//! 28  0                      …  payload
//! ```
//! All numbers are little endian, the checks XXH3.

use super::super::gather::{Extents, Survey};
use crate::journal::{Damaged, Extent};
use crate::tier0::layout::BLOCK;
use iris_mappers::containers::hash;

const MAGIC: u64 = u64::from_le_bytes(*b"IRISPILL");
const VERSION: u32 = 1;
/// Bytes before the records.
pub const HEADER: usize = 64;
/// Bytes of a record.
pub const RECORD: usize = 16;
/// Bytes of a container at most: a put that stores take at full speed.
pub const LARGEST: usize = 1 << 20;
/// In an index the extents of container N have the block FAR | N; no pool has such a block.
pub const FAR: u32 = 1 << 31;

/// A container that is to be put.
pub struct Container {
    /// Its number in the set.
    pub number: u32,
    /// All of the object.
    pub bytes: Vec<u8>,
    /// What it holds, as an index has it.
    pub extents: Vec<Extent>,
}

/// Packs disjoint extents, in the order of the file, into containers.
pub struct Packer {
    set: u64,
    number: u32,
    written_ns: u64,
    extents: std::vec::IntoIter<Extent>,
    rest: Option<Extent>,
}

impl Packer {
    /// Containers of `set` from `number` on.
    pub fn new(set: u64, number: u32, written_ns: u64, extents: Vec<Extent>) -> Packer {
        Packer { set, number, written_ns, extents: extents.into_iter(), rest: None }
    }

    /// The next one; `payload` gives the bytes of an extent.
    pub fn next<'p>(&mut self, payload: impl Fn(&Extent) -> &'p [u8]) -> Option<Container> {
        let (mut pieces, mut records): (Vec<Extent>, Vec<(u64, u32)>) = (Vec::new(), Vec::new());
        let mut size = HEADER;
        while let Some(mut e) = self.rest.take().or_else(|| self.extents.next()) {
            let room = LARGEST.saturating_sub(size + RECORD);
            if room == 0 {
                self.rest = Some(e);
                break;
            }
            if e.len as usize > room {
                let piece = room as u32;
                self.rest = Some(Extent {
                    offset: e.offset + u64::from(piece),
                    len: e.len - piece,
                    block: e.block,
                    at: e.at + piece,
                });
                e.len = piece;
            }
            match records.last_mut() {
                Some((offset, len)) if *offset + u64::from(*len) == e.offset => *len += e.len,
                _ => {
                    records.push((e.offset, e.len));
                    size += RECORD;
                }
            }
            size += e.len as usize;
            pieces.push(e);
        }
        if pieces.is_empty() {
            return None;
        }
        let number = self.number;
        self.number += 1;
        let start = HEADER + records.len() * RECORD;
        let mut bytes = Vec::with_capacity(size);
        bytes.resize(start, 0);
        pieces.iter().for_each(|e| bytes.extend_from_slice(payload(e)));
        let (mut at, mut extents) = (start as u32, Vec::with_capacity(records.len()));
        for (i, &(offset, len)) in records.iter().enumerate() {
            let record = &mut bytes[HEADER + i * RECORD..][..RECORD];
            record[..8].copy_from_slice(&offset.to_le_bytes());
            record[8..12].copy_from_slice(&len.to_le_bytes());
            record[12..].copy_from_slice(&at.to_le_bytes());
            extents.push(Extent { offset, len, block: FAR | number, at });
            at += len;
        }
        let total = bytes.len() as u64;
        let words: [(usize, &[u8]); 7] = [
            (0, &MAGIC.to_le_bytes()),
            (8, &VERSION.to_le_bytes()),
            (12, &(records.len() as u32).to_le_bytes()),
            (16, &self.set.to_le_bytes()),
            (24, &number.to_le_bytes()),
            (32, &self.written_ns.to_le_bytes()),
            (40, &total.to_le_bytes()),
        ];
        words.iter().for_each(|(at, word)| bytes[*at..at + word.len()].copy_from_slice(word));
        let checks = [check(&bytes, start), hash(&bytes[start..])];
        bytes[48..56].copy_from_slice(&checks[0].to_le_bytes());
        bytes[56..64].copy_from_slice(&checks[1].to_le_bytes());
        Some(Container { number, bytes, extents })
    }
}

/// Over the head and the records, which end at `start`.
fn check(bytes: &[u8], start: usize) -> u64 {
    hash(&bytes[..48]) ^ hash(&bytes[HEADER..start]).rotate_left(17)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn half(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |n, b| n << 8 | u32::from(*b))
}

/// How many bytes of a container are its head and records, from its first [`HEADER`] bytes.
///
/// # Errors
/// It is no container of that set and number.
pub fn head_len(bytes: &[u8], set: u64, number: u32) -> Result<usize, Damaged> {
    if bytes.len() < HEADER || word(bytes, 0) != MAGIC || half(bytes, 8) != VERSION {
        return Err(Damaged);
    }
    let len = HEADER as u64 + u64::from(half(bytes, 12)) * RECORD as u64;
    let fits = len < word(bytes, 40) && word(bytes, 40) <= LARGEST as u64;
    if !fits || word(bytes, 16) != set || half(bytes, 24) != number {
        return Err(Damaged);
    }
    Ok(len as usize)
}

/// What a container holds, as an index has it, from its head and records.
///
/// # Errors
/// They do not pass their checks.
pub fn extents(bytes: &[u8], set: u64, number: u32) -> Result<Vec<Extent>, Damaged> {
    let len = head_len(bytes, set, number)?;
    if bytes.len() < len || check(bytes, len) != word(bytes, 48) {
        return Err(Damaged);
    }
    let total = word(bytes, 40);
    (HEADER..len)
        .step_by(RECORD)
        .map(|i| {
            let (offset, size, at) = (word(bytes, i), half(bytes, i + 8), half(bytes, i + 12));
            let inside = at as usize >= len && u64::from(at) + u64::from(size) <= total;
            let sound =
                inside && offset.checked_add(u64::from(size)).is_some_and(|end| end <= i64::MAX as u64);
            sound.then_some(Extent { offset, len: size, block: FAR | number, at }).ok_or(Damaged)
        })
        .collect()
}

/// Some consecutive containers of a set, in memory, to be taken home.
pub struct Fetched {
    bytes: Vec<u8>,
    /// Their blocks are pieces of `bytes` of [`BLOCK`] bytes, so that none reaches into the next.
    extents: Vec<Extent>,
    survey: Survey,
    written_ns: u64,
}

impl Fetched {
    /// Room for `count` containers: one after the other, [`LARGEST`] bytes each.
    pub fn room(count: usize) -> Vec<u8> {
        vec![0; count * LARGEST]
    }

    /// The containers from `first` on that lie in `bytes`, of the given lengths.
    ///
    /// # Errors
    /// One of them does not pass its checks; its number.
    pub fn new(bytes: Vec<u8>, set: u64, first: u32, lens: &[usize]) -> Result<Fetched, u32> {
        let (mut list, mut survey, mut written_ns) = (Vec::new(), Survey::NOTHING, 0);
        for (i, &len) in lens.iter().enumerate() {
            let number = first + i as u32;
            let object = &bytes[i * LARGEST..i * LARGEST + len];
            let found = extents(object, set, number).map_err(|Damaged| number)?;
            let start = head_len(object, set, number).map_err(|Damaged| number)?;
            if word(object, 40) != len as u64 || hash(&object[start..]) != word(object, 56) {
                return Err(number);
            }
            written_ns = written_ns.max(word(object, 32));
            for e in found {
                survey.add(&e);
                let (mut at, mut offset) = (i * LARGEST + e.at as usize, e.offset);
                let end = at + e.len as usize;
                while at < end {
                    let len = (BLOCK - at % BLOCK).min(end - at);
                    let (block, inside) = ((at / BLOCK) as u32, (at % BLOCK) as u32);
                    list.push(Extent { offset, len: len as u32, block, at: inside });
                    (at, offset) = (at + len, offset + len as u64);
                }
            }
        }
        Ok(Fetched { bytes, extents: list, survey, written_ns })
    }

    /// Time of the last write that is in any of them, in nanoseconds since 1970.
    pub fn written_ns(&self) -> u64 {
        self.written_ns
    }

    /// Bytes of the extents.
    pub fn len(&self) -> u64 {
        self.survey.bytes
    }

    /// The extents in the order of writing.
    pub fn list(&self) -> Vec<Extent> {
        self.extents.clone()
    }

    /// What lies in an extent of [`Fetched::list`], or in a part of one.
    pub fn payload(&self, e: &Extent) -> &[u8] {
        self.bytes(e.block, e.at, e.len)
    }
}

impl Extents for Fetched {
    fn each(&self, f: impl FnMut(Extent)) {
        self.extents.iter().copied().for_each(f);
    }

    fn bytes(&self, block: u32, at: u32, len: u32) -> &[u8] {
        &self.bytes[block as usize * BLOCK + at as usize..][..len as usize]
    }

    fn survey(&self) -> Survey {
        self.survey
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pack(extents: &[(u64, u32)], payload: &[u8]) -> Vec<Container> {
        let mut at = 0;
        let listed: Vec<Extent> = extents
            .iter()
            .map(|&(offset, len)| {
                at += len;
                Extent { offset, len, block: 0, at: at - len }
            })
            .collect();
        let mut packer = Packer::new(77, 5, 9, listed);
        std::iter::from_fn(|| packer.next(|e| &payload[e.at as usize..][..e.len as usize])).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn what_was_packed_is_found_again(gaps in prop::collection::vec((0u64..3, 1u32..200_000), 1..40)) {
            let mut offset = 0;
            let extents: Vec<(u64, u32)> = gaps
                .iter()
                .map(|&(gap, len)| {
                    let at = offset + gap;
                    offset = at + u64::from(len);
                    (at, len)
                })
                .collect();
            let payload: Vec<u8> = (0..extents.iter().map(|e| e.1 as usize).sum()).map(|i: usize| (i * 7 % 251) as u8).collect();
            let containers = pack(&extents, &payload);
            let (mut file, mut at) = (vec![0u8; offset as usize], 0);
            for &(from, len) in &extents {
                file[from as usize..][..len as usize].copy_from_slice(&payload[at..][..len as usize]);
                at += len as usize;
            }
            let (mut near, mut far) = (vec![0u8; offset as usize], vec![0u8; offset as usize]);
            let (mut room, mut lens) = (Fetched::room(containers.len()), Vec::new());
            for (i, c) in containers.iter().enumerate() {
                prop_assert_eq!(c.number, 5 + i as u32);
                prop_assert!(c.bytes.len() <= LARGEST);
                prop_assert_eq!(&c.extents, &super::extents(&c.bytes, 77, c.number).expect("sound"));
                for e in &c.extents {
                    let bytes = &c.bytes[e.at as usize..][..e.len as usize];
                    near[e.offset as usize..][..e.len as usize].copy_from_slice(bytes);
                }
                room[i * LARGEST..][..c.bytes.len()].copy_from_slice(&c.bytes);
                lens.push(c.bytes.len());
            }
            let fetched = Fetched::new(room, 77, 5, &lens).expect("sound");
            fetched.each(|e| {
                assert!(e.at as usize + e.len as usize <= BLOCK);
                far[e.offset as usize..][..e.len as usize].copy_from_slice(fetched.payload(&e));
            });
            prop_assert!(near == file && far == file);
        }
    }

    #[test]
    fn a_container_with_any_flipped_bit_is_refused() {
        let payload: Vec<u8> = (0..300).map(|i| i as u8).collect();
        let bytes = pack(&[(10, 100), (500, 200)], &payload).remove(0).bytes;
        let sound = |bytes: &[u8]| {
            let mut room = Fetched::room(1);
            room[..bytes.len()].copy_from_slice(bytes);
            Fetched::new(room, 77, 5, &[bytes.len()]).is_ok()
        };
        assert!(sound(&bytes));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!sound(&bad), "bit {bit}");
        }
        assert!(!sound(&bytes[..bytes.len() - 1]));
        assert!(extents(&bytes, 78, 5).is_err() && extents(&bytes, 77, 6).is_err());
    }
}
