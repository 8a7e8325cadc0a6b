//! Reading: what a catalogue says lies where, checked. A reader takes no lock; bytes that were moved, or whose place was
//! used again, while it read are told by their checksum, and then it looks again. In the end it reads with the turn,
//! in which nothing moves.

use crate::files::{File, Files};
use crate::store::{Context, Embedded};
use crate::sys;
use iris_mappers::containers::{Event, Slice};
use iris_store::{Kind, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::sync::Arc;

/// Looks without the turn before it is taken.
const LOOKS: u32 = 3;

/// Why bytes could not be had.
#[derive(Debug)]
pub enum Missing {
    /// What lies there has another checksum, or the file ends before.
    Damaged(Slice),
    /// The system says so.
    System(Slice, Errno),
}

impl Embedded {
    /// Reads a part of an object.
    pub(crate) fn get(&self, key: &[u8], offset: u64, into: &mut [u8]) -> Result<usize> {
        let shard = self.shard(key);
        for _ in 0..LOOKS {
            let (len, slices) = {
                let view = shard.view(&self.context)?;
                let object = view.catalogue().get(key).ok_or_else(|| self.none(key))?;
                part(object.len, object.slices(), offset, into.len())
            };
            if fill(&self.context.files, shard.number, &slices, offset, &mut into[..len]).is_ok() {
                return Ok(len);
            }
        }
        let turn = shard.turn(&self.context)?;
        let view = turn.view()?;
        let object = view.catalogue().get(key).ok_or_else(|| self.none(key))?;
        let (len, slices) = part(object.len, object.slices(), offset, into.len());
        drop(view);
        fill(&self.context.files, shard.number, &slices, offset, &mut into[..len])
            .map_err(|missing| self.context.missing(shard.number, key, &missing))?;
        Ok(len)
    }
}

impl Context {
    /// What is told of bytes that could not be had.
    pub fn missing(&self, shard: u32, key: &[u8], missing: &Missing) -> iris_store::StoreError {
        match missing {
            Missing::Damaged(s) => {
                let name = self.files.path(shard, File::Container(s.container));
                let what = format!(
                    "{}: the {} bytes at {} are not those that were put (wrong checksum, or the file was cut); put \
                     the object again",
                    name.display(),
                    s.stored,
                    s.at
                );
                self.error(Kind::Corrupt, Some(key), what)
            }
            Missing::System(s, e) => {
                let name = self.files.path(shard, File::Container(s.container));
                self.system(*e, Some(key), &name, "reading an object")
            }
        }
    }
}

/// The slices that `want` bytes from `offset` lie in, and how many bytes there are.
pub fn part(len: u64, slices: &[Slice], offset: u64, want: usize) -> (usize, Vec<Slice>) {
    let n = len.saturating_sub(offset).min(want as u64);
    let first = slices.partition_point(|s| s.offset + u64::from(s.len) <= offset);
    let touched = slices[first..].iter().take_while(|s| s.offset < offset + n);
    (n as usize, if n == 0 { Vec::new() } else { touched.copied().collect() })
}

/// Fills `into` with the bytes from `offset` on, all of which lie before the object's end. Every piece that is touched
/// is read as a whole and checked.
pub fn fill(
    files: &Files,
    shard: u32,
    slices: &[Slice],
    offset: u64,
    into: &mut [u8],
) -> std::result::Result<(), Missing> {
    let end = offset + into.len() as u64;
    let mut scratch = Vec::new();
    let mut opened: Option<(u32, Arc<OwnedFd>)> = None;
    let mut done = offset;
    let mut i = 0;
    while i < slices.len() {
        let slice = slices[i];
        let fd = match &opened {
            Some((container, fd)) if *container == slice.container => fd.clone(),
            _ => {
                let fd = files.open(shard, File::Container(slice.container), false).map_err(|e| {
                    if e == Errno::NOENT { Missing::Damaged(slice) } else { Missing::System(slice, e) }
                })?;
                opened = Some((slice.container, fd.clone()));
                fd
            }
        };
        let from = slice.offset.max(offset);
        into[(done - offset) as usize..(from - offset) as usize].fill(0);
        let whole = |s: &Slice| {
            s.skip == 0 && s.len == s.stored && s.offset >= offset && s.offset + u64::from(s.len) <= end
        };
        if whole(&slice) {
            // Pieces that follow each other in object and container are read at once.
            let mut last = slice;
            let mut n = 1;
            while let Some(next) = slices.get(i + n).filter(|s| {
                whole(s)
                    && s.container == last.container
                    && s.offset == last.offset + u64::from(last.len)
                    && s.at == last.at + u64::from(last.len)
            }) {
                (last, n) = (*next, n + 1);
            }
            done = last.offset + u64::from(last.len);
            let bytes = &mut into[(from - offset) as usize..(done - offset) as usize];
            let read = sys::read_at(fd.as_fd(), bytes, slice.at).map_err(|e| Missing::System(slice, e))?;
            let mut rest = &bytes[..read];
            for s in &slices[i..i + n] {
                let (piece, behind) = rest.split_at_checked(s.len as usize).ok_or(Missing::Damaged(*s))?;
                if crc32fast::hash(piece) != s.sum {
                    return Err(Missing::Damaged(*s));
                }
                rest = behind;
            }
            i += n;
            continue;
        }
        done = (slice.offset + u64::from(slice.len)).min(end);
        scratch.resize(slice.stored as usize, 0);
        let read = sys::read_at(fd.as_fd(), &mut scratch, slice.at).map_err(|e| Missing::System(slice, e))?;
        if read < scratch.len() || crc32fast::hash(&scratch) != slice.sum {
            return Err(Missing::Damaged(slice));
        }
        let skip = slice.skip as usize + (from - slice.offset) as usize;
        into[(from - offset) as usize..(done - offset) as usize]
            .copy_from_slice(&scratch[skip..skip + (done - from) as usize]);
        i += 1;
    }
    into[(done - offset) as usize..].fill(0);
    Ok(())
}

/// Whether the bytes that an event tells of are there.
pub fn arrived(files: &Files, shard: u32, event: &Event<'_>) -> bool {
    let (Event::Put { slices, .. } | Event::Patch { slices, .. }) = event else { return true };
    let mut bytes = Vec::new();
    slices.iter().all(|s| {
        bytes.resize(s.stored as usize, 0);
        files
            .open(shard, File::Container(s.container), false)
            .and_then(|fd| sys::read_at(fd.as_fd(), &mut bytes, s.at))
            .is_ok_and(|n| n == bytes.len() && crc32fast::hash(&bytes) == s.sum)
    })
}
