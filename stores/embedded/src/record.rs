//! Events as bytes: the records of a log. Owns their form; see docs/containers.md.

use iris_mappers::containers::{Event, Slice, Use};

/// Bytes before a record's body: its length and its check.
pub const HEADER: usize = 8;
/// Bytes of a slice.
const SLICE: usize = 36;

/// What a record's check is salted with: bytes of another place, log or shard do not pass.
#[derive(Clone, Copy, Debug)]
pub struct Salt {
    /// The shard.
    pub shard: u32,
    /// The log.
    pub generation: u16,
}

fn check(salt: Salt, at: u64, len: u32, body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&salt.shard.to_le_bytes());
    sum.update(&salt.generation.to_le_bytes());
    sum.update(&at.to_le_bytes());
    sum.update(&len.to_le_bytes());
    sum.update(body);
    sum.finalize()
}

/// Appends the record of an event, which will lie at `at` of its log, padded to a multiple of 8.
pub fn write(into: &mut Vec<u8>, salt: Salt, at: u64, event: &Event<'_>) {
    let start = into.len();
    into.extend_from_slice(&[0; HEADER]);
    body(into, event);
    let len = (into.len() - start - HEADER) as u32;
    let sum = check(salt, at, len, &into[start + HEADER..]);
    into[start..start + 4].copy_from_slice(&len.to_le_bytes());
    into[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    into.resize(start + (HEADER + len as usize).next_multiple_of(8), 0);
}

fn body(into: &mut Vec<u8>, event: &Event<'_>) {
    let number = |into: &mut Vec<u8>, n: u64| into.extend_from_slice(&n.to_le_bytes());
    let short = |into: &mut Vec<u8>, n: usize| into.extend_from_slice(&(n as u32).to_le_bytes());
    let places = |into: &mut Vec<u8>, slices: &[Slice]| {
        for s in slices {
            number(into, s.offset);
            number(into, s.at);
            for n in [s.container, s.len, s.skip, s.stored, s.sum] {
                into.extend_from_slice(&n.to_le_bytes());
            }
        }
    };
    match *event {
        Event::Open { container, purpose } => {
            let (kind, a, b) = match purpose {
                Use::Range { lo, hi } => (0, lo, hi),
                Use::Data => (1, 0, 0),
                Use::Updates => (2, 0, 0),
                Use::Private { owner } => (3, owner, 0),
            };
            into.extend_from_slice(&[1, kind, 0, 0]);
            short(into, container as usize);
            number(into, a);
            number(into, b);
        }
        Event::Split { at } => {
            into.extend_from_slice(&[2, 0, 0, 0]);
            number(into, at);
        }
        Event::Merge { at } => {
            into.extend_from_slice(&[3, 0, 0, 0]);
            number(into, at);
        }
        Event::Put { key, tag, modified, meta, len, slices } => {
            into.extend_from_slice(&[4, 0, 0, 0]);
            short(into, key.len());
            short(into, meta.len());
            short(into, slices.len());
            for n in [tag, modified, len] {
                number(into, n);
            }
            places(into, slices);
            into.extend_from_slice(key);
            into.extend_from_slice(meta);
        }
        Event::Patch { key, tag, modified, len, slices } => {
            into.extend_from_slice(&[5, 0, 0, 0]);
            short(into, key.len());
            short(into, 0);
            short(into, slices.len());
            for n in [tag, modified, len] {
                number(into, n);
            }
            places(into, slices);
            into.extend_from_slice(key);
        }
        Event::Delete { key } => {
            into.extend_from_slice(&[6, 0, 0, 0]);
            short(into, key.len());
            into.extend_from_slice(key);
        }
        Event::Drain { container } => {
            into.extend_from_slice(&[7, 0, 0, 0]);
            short(into, container as usize);
        }
        Event::Close { container } => {
            into.extend_from_slice(&[8, 0, 0, 0]);
            short(into, container as usize);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(bytes)
    }

    fn short(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }
}

/// Reads the record at `at` of a log, of which `bytes` is the rest from there. `None`: there is no valid one. Else how
/// many bytes it takes; `f` gets the event.
pub fn read<T>(bytes: &[u8], salt: Salt, at: u64, f: impl FnOnce(&Event<'_>) -> T) -> Option<(usize, T)> {
    let mut header = Reader(bytes);
    let (len, sum) = (header.short()?, header.short()?);
    let body = header.0.get(..len as usize)?;
    if check(salt, at, len, body) != sum {
        return None;
    }
    let mut slices = Vec::new();
    let event = event(body, &mut slices)?;
    Some(((HEADER + len as usize).next_multiple_of(8), f(&event)))
}

fn event<'a>(body: &'a [u8], slices: &'a mut Vec<Slice>) -> Option<Event<'a>> {
    let mut r = Reader(body);
    let kind = r.bytes(4)?;
    Some(match kind[0] {
        1 => {
            let (container, a, b) = (r.short()?, r.number()?, r.number()?);
            let purpose = match kind[1] {
                0 => Use::Range { lo: a, hi: b },
                1 => Use::Data,
                2 => Use::Updates,
                3 => Use::Private { owner: a },
                _ => return None,
            };
            Event::Open { container, purpose }
        }
        2 => Event::Split { at: r.number()? },
        3 => Event::Merge { at: r.number()? },
        put @ (4 | 5) => {
            let (key, meta, count) = (r.short()? as usize, r.short()? as usize, r.short()? as usize);
            let (tag, modified, len) = (r.number()?, r.number()?, r.number()?);
            let mut places = Reader(r.bytes(count.checked_mul(SLICE)?)?);
            slices.reserve(count);
            for _ in 0..count {
                let (offset, at) = (places.number()?, places.number()?);
                let (container, len, skip) = (places.short()?, places.short()?, places.short()?);
                let (stored, sum) = (places.short()?, places.short()?);
                slices.push(Slice { offset, at, container, len, skip, stored, sum });
            }
            let (key, meta) = (r.bytes(key)?, r.bytes(meta)?);
            match put {
                4 => Event::Put { key, tag, modified, meta, len, slices },
                _ => Event::Patch { key, tag, modified, len, slices },
            }
        }
        6 => {
            let key = r.short()? as usize;
            Event::Delete { key: r.bytes(key)? }
        }
        7 => Event::Drain { container: r.short()? },
        8 => Event::Close { container: r.short()? },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_comes_back_and_no_damaged_one_does() {
        let slice =
            Slice { offset: 1 << 40, at: 77, container: 3, len: 10, skip: 5, stored: 20, sum: 0xdead_beef };
        let slices = [slice, Slice { offset: (1 << 40) + 10, ..slice }];
        let range = Use::Range { lo: 5, hi: u64::MAX };
        let events = [
            Event::Open { container: 9, purpose: range },
            Event::Open { container: 10, purpose: Use::Private { owner: 1 << 50 } },
            Event::Split { at: 3 },
            Event::Merge { at: 4 },
            Event::Put { key: b"k\0/", tag: 1, modified: 2, meta: b"m", len: 3, slices: &slices },
            Event::Patch { key: b"k", tag: 4, modified: 5, len: 6, slices: &[] },
            Event::Delete { key: b"gone" },
            Event::Drain { container: 1 },
            Event::Close { container: 2 },
        ];
        let salt = Salt { shard: 3, generation: 9 };
        for event in events {
            let mut bytes = Vec::new();
            write(&mut bytes, salt, 640, &event);
            assert!(bytes.len().is_multiple_of(8));
            assert_eq!(read(&bytes, salt, 640, |e| *e == event), Some((bytes.len(), true)), "{event:?}");
            assert_eq!(read(&bytes, salt, 648, |_| ()), None, "another place");
            assert_eq!(read(&bytes, Salt { generation: 8, ..salt }, 640, |_| ()), None, "another log");
            let used = HEADER + u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
            for bit in 0..used * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(read(&bytes, salt, 640, |_| ()), None, "bit {bit} of {event:?}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            for cut in 0..used {
                assert_eq!(read(&bytes[..cut], salt, 640, |_| ()), None, "{cut} bytes of {event:?}");
            }
        }
    }
}
