//! A shard's log: the events that its catalogue is the sum of. A log begins with a snapshot, so that old events can be
//! left behind; a new one is written whole and then takes the old one's place by one commit.

use crate::files::{File, Files};
use crate::head::{Commit, Head};
use crate::record::{self, Salt};
use crate::sys;
use iris_mappers::containers::{Catalogue, Event, Named};
use rustix::fd::AsFd;
use rustix::io::Errno;

/// First bytes of a log, with the version of the format.
const MAGIC: [u8; 8] = *b"IRISLG01";
/// Bytes before the first record.
pub const HEADER: u64 = 64;

/// A log has room for one to two times as many bytes behind its end, which are for events that give space back: without
/// them nothing could be removed from a full disk.
pub const RESERVE: u64 = 16 * 1024;

/// Why a log cannot be used.
#[derive(Debug)]
pub enum Bad {
    /// The system says so.
    System(Errno),
    /// It is damaged at this offset.
    Damaged { at: u64, why: &'static str },
}

impl From<Errno> for Bad {
    fn from(e: Errno) -> Bad {
        Bad::System(e)
    }
}

/// What stands before the records.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    shard: u32,
    generation: u16,
    /// Events before this log.
    count: u64,
    tag: u64,
    /// Number of the next container.
    next: u32,
    /// Where the snapshot ends.
    snapshot: u64,
}

impl Header {
    fn bytes(&self) -> [u8; HEADER as usize] {
        let mut bytes = [0; HEADER as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.shard.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.count.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.tag.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.snapshot.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.next.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER as usize] = bytes.get(..HEADER as usize)?.try_into().ok()?;
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        let header = Header {
            shard: number(8) as u32,
            generation: number(12) as u16,
            count: number(16),
            tag: number(24),
            snapshot: number(32),
            next: number(40) as u32,
        };
        (header.bytes() == *bytes).then_some(header)
    }
}

/// A catalogue and how far along which log it is.
pub struct Replica {
    /// The catalogue.
    pub catalogue: Catalogue,
    /// The log and how much of it is applied.
    pub at: Commit,
    /// Where the snapshot of the log ends.
    pub snapshot: u64,
}

/// Writes a log, durably, that holds nothing but a snapshot, and gives the commit that makes it the shard's. It replaces whatever
/// is left of an older one of its name.
pub fn write(files: &Files, shard: u32, generation: u16, catalogue: &Catalogue) -> sys::Result<Commit> {
    let salt = Salt { shard, generation };
    let mut bytes = vec![0; HEADER as usize];
    catalogue.snapshot(|event| {
        let at = bytes.len() as u64;
        record::write(&mut bytes, salt, at, event);
    });
    let (count, tag, next) = (catalogue.count(), catalogue.tag(), catalogue.space().next());
    let snapshot = bytes.len() as u64;
    let header = Header { shard, generation, count, tag, next, snapshot };
    bytes[..HEADER as usize].copy_from_slice(&header.bytes());
    let path = files.path(shard, File::Log(generation));
    let new = path.with_extension("new");
    let fd = sys::create(&new)?;
    let room = (snapshot / RESERVE + 2) * RESERVE;
    if let Err(e) = sys::write_at(fd.as_fd(), &bytes, 0).and_then(|()| sys::reserve(fd.as_fd(), room)) {
        // Its room is wanted by others.
        sys::remove(&new)?;
        return Err(e);
    }
    sys::sync_data(fd.as_fd())?;
    files.forget(shard, File::Log(generation));
    sys::rename(&new, &path)?;
    sys::sync_folder(&files.shard(shard))?;
    Ok(Commit { generation, end: snapshot })
}

/// Reads a log up to `end`, or, if that is not known, as far as its records are valid. `keep` says whether an event
/// behind the snapshot took place.
pub fn load(
    files: &Files,
    named: &Named,
    head: &Head,
    shard: u32,
    generation: u16,
    end: Option<u64>,
    mut keep: impl FnMut(&Event<'_>, u64) -> bool,
) -> Result<Replica, Bad> {
    let fd = files.open(shard, File::Log(generation), false)?;
    let len = sys::len(fd.as_fd())?;
    if end.is_some_and(|end| len < end) {
        return Err(Bad::Damaged { at: len, why: "it was cut" });
    }
    let mut bytes = vec![0; end.unwrap_or(len) as usize];
    if sys::read_at(fd.as_fd(), &mut bytes, 0)? < bytes.len() {
        return Err(Bad::Damaged { at: 0, why: "it was cut while it was read" });
    }
    let header = Header::read(&bytes)
        .filter(|h| h.shard == shard && h.generation == generation && h.snapshot <= bytes.len() as u64)
        .ok_or(Bad::Damaged { at: 0, why: "its header is not that of this log" })?;
    let mut catalogue = Catalogue::new((named.make)(shard, head.facts().shards));
    let salt = Salt { shard, generation };
    let mut at = HEADER;
    while at < header.snapshot {
        let step =
            record::read(&bytes[at as usize..header.snapshot as usize], salt, at, |e| catalogue.apply(e));
        let Some((step, ())) = step else {
            return Err(Bad::Damaged { at, why: "a record's checksum is wrong" });
        };
        at += step as u64;
    }
    catalogue.resume(header.count, header.tag, header.next);
    while (at as usize) < bytes.len() {
        let step = record::read(&bytes[at as usize..], salt, at, |event| {
            if keep(event, catalogue.count() + 1) {
                catalogue.apply(event);
            }
        });
        match step {
            Some((step, ())) => at += step as u64,
            None if end.is_none() => break,
            None => return Err(Bad::Damaged { at, why: "a record's checksum is wrong" }),
        }
    }
    Ok(Replica { catalogue, at: Commit { generation, end: at }, snapshot: header.snapshot })
}

/// Applies what was committed to the same log since. `closed` hears of containers that are gone.
pub fn follow(
    files: &Files,
    shard: u32,
    replica: &mut Replica,
    end: u64,
    mut closed: impl FnMut(u32),
) -> Result<(), Bad> {
    let generation = replica.at.generation;
    let salt = Salt { shard, generation };
    let fd = files.open(shard, File::Log(generation), false)?;
    let from = replica.at.end;
    let mut bytes = vec![0; end.saturating_sub(from) as usize];
    if sys::read_at(fd.as_fd(), &mut bytes, from)? < bytes.len() {
        return Err(Bad::Damaged { at: from, why: "it was cut" });
    }
    let mut at = 0;
    while at < bytes.len() {
        let Replica { catalogue, .. } = &mut *replica;
        let step = record::read(&bytes[at..], salt, from + at as u64, |event| {
            catalogue.apply(event);
            if let Event::Close { container } = event {
                closed(*container);
            }
        });
        let Some((step, ())) = step else {
            return Err(Bad::Damaged { at: from + at as u64, why: "a record's checksum is wrong" });
        };
        at += step;
        replica.at.end = from + at as u64;
    }
    Ok(())
}
