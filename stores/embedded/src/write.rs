//! Writing: bytes first, then the event that makes them count, in one turn. Long objects are written before the turn,
//! into containers of their own.

use crate::files::File;
use crate::options::Durability;
use crate::owner;
use crate::read::{fill, part};
use crate::shard::Turn;
use crate::store::{Embedded, MAX_LEN, tag_text};
use crate::sys;
use iris_mappers::containers::{Event, MAX_SLICES, PIECE, Purpose, Slice, Use};
use iris_store::{Condition, Kind, Result};
use rustix::fd::AsFd;

/// Bytes that are placed together, and the longest object that is written during its turn.
const RUN: usize = 1 << 20;

impl Embedded {
    /// Makes or replaces an object; on a full disk once more when others have given back what they can.
    pub(crate) fn put(
        &self,
        key: &[u8],
        bytes: &[u8],
        condition: &Condition,
        meta: &[(String, String)],
    ) -> Result<String> {
        match self.put_once(key, bytes, condition, meta) {
            Err(e) if e.kind == Kind::Full && self.make_room()? => self.put_once(key, bytes, condition, meta),
            other => other,
        }
    }

    /// Writes a part of an object, in the same way.
    pub(crate) fn update(&self, key: &[u8], offset: u64, bytes: &[u8]) -> Result<()> {
        match self.update_once(key, offset, bytes) {
            Err(e) if e.kind == Kind::Full && self.make_room()? => self.update_once(key, offset, bytes),
            other => other,
        }
    }

    fn make_room(&self) -> Result<bool> {
        let mut made = false;
        for shard in &self.shards {
            made |= shard.turn(&self.context)?.make_room()?;
        }
        Ok(made)
    }

    fn put_once(
        &self,
        key: &[u8],
        bytes: &[u8],
        condition: &Condition,
        meta: &[(String, String)],
    ) -> Result<String> {
        let shard = self.shard(key);
        let mut turn = shard.turn(&self.context)?;
        let there = turn.view()?.catalogue().get(key).map(|o| o.tag);
        self.condition(key, condition, there)?;
        let long = bytes.len() > RUN && turn.view()?.catalogue().mapper().private();
        let (mut events, slices, applied);
        if long {
            let containers = turn.own_containers(bytes.len() as u64)?;
            drop(turn);
            let written = self.write_own(shard.number, &containers, bytes);
            turn = shard.turn(&self.context)?;
            let there = turn.view()?.catalogue().get(key).map(|o| o.tag);
            let checked = written.and_then(|slices| self.condition(key, condition, there).map(|()| slices));
            slices = match checked {
                Ok(slices) => slices,
                Err(e) => {
                    turn.close(&containers)?;
                    return Err(e);
                }
            };
            (events, applied) = (Vec::new(), 0);
        } else {
            let purpose = if there.is_some() { Purpose::Update } else { Purpose::New };
            (events, slices) = turn.write_out(key, 0, bytes, purpose)?;
            applied = events.len();
        }
        let tag = turn.view()?.catalogue().tag() + 1;
        let meta = bytes_of(meta);
        let len = bytes.len() as u64;
        events.push(Event::Put { key, tag, modified: sys::now_ns(), meta: &meta, len, slices: &slices });
        turn.commit(&events, applied)?;
        turn.tidy(len)?;
        Ok(tag_text(tag))
    }

    /// Writes a long object into containers of its own, without the turn.
    fn write_own(&self, shard: u32, containers: &[u32], bytes: &[u8]) -> Result<Vec<Slice>> {
        let each = bytes.len().div_ceil(containers.len()).next_multiple_of(PIECE as usize);
        let mut slices = Vec::with_capacity(bytes.len() / PIECE as usize + 1);
        for (i, run) in bytes.chunks(each).enumerate() {
            self.context.write_container(shard, containers[i], 0, run)?;
            cut((i * each) as u64, run, containers[i], 0, &mut slices);
        }
        Ok(slices)
    }

    fn update_once(&self, key: &[u8], offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= MAX_LEN).ok_or_else(|| {
            self.context.error(Kind::TooLarge, Some(key), format!("an object ends before {MAX_LEN} bytes"))
        })?;
        if bytes.is_empty() {
            return Ok(());
        }
        let mut turn = self.shard(key).turn(&self.context)?;
        let (old, slices, rewrites) = {
            let view = turn.view()?;
            let object = view.catalogue().get(key);
            let rewrites = view.catalogue().mapper().rewrites();
            (object.map(|o| o.len), object.map_or(Vec::new(), |o| o.slices().to_vec()), rewrites)
        };
        let len = old.unwrap_or(0).max(end);
        let (lo, hi) = if rewrites { (0, len) } else { widened(&slices, offset, end, len) };
        let mut room;
        let whole = if (lo, hi) == (offset, end) {
            bytes
        } else {
            // With what lies round it, so that an object does not fall to pieces.
            let (have, touched) = part(old.unwrap_or(0), &slices, lo, (hi - lo) as usize);
            room = vec![0; (hi - lo) as usize];
            fill(&self.context.files, turn.shard(), &touched, lo, &mut room[..have])
                .map_err(|missing| self.context.missing(turn.shard(), key, &missing))?;
            room[(offset - lo) as usize..(end - lo) as usize].copy_from_slice(bytes);
            &room[..]
        };
        let purpose = if old.is_some() { Purpose::Update } else { Purpose::New };
        let (mut events, new) = turn.write_out(key, lo, whole, purpose)?;
        let (applied, tag) = (events.len(), turn.view()?.catalogue().tag() + 1);
        events.push(Event::Patch { key, tag, modified: sys::now_ns(), len, slices: &new });
        turn.commit(&events, applied)?;
        turn.tidy(hi - lo)
    }

    /// Sets an object's length.
    pub(crate) fn resize(&self, key: &[u8], len: u64) -> Result<()> {
        if len > MAX_LEN {
            let what = format!("an object ends before {MAX_LEN} bytes");
            return Err(self.context.error(Kind::TooLarge, Some(key), what));
        }
        let mut turn = self.shard(key).turn(&self.context)?;
        let tag = {
            let view = turn.view()?;
            view.catalogue().get(key).ok_or_else(|| self.none(key))?;
            view.catalogue().tag() + 1
        };
        turn.commit(&[Event::Patch { key, tag, modified: sys::now_ns(), len, slices: &[] }], 0)?;
        turn.tidy(0)
    }

    /// Removes an object.
    pub(crate) fn delete(&self, key: &[u8]) -> Result<()> {
        let mut turn = self.shard(key).turn(&self.context)?;
        if turn.view()?.catalogue().get(key).is_none() {
            return Ok(());
        }
        turn.commit(&[Event::Delete { key }], 0)?;
        turn.tidy(0)
    }
}

impl crate::store::Context {
    /// Writes into a container.
    pub fn write_container(&self, shard: u32, container: u32, at: u64, bytes: &[u8]) -> Result<()> {
        let file = File::Container(container);
        let written = self.files.open(shard, file, true).and_then(|fd| {
            sys::write_at(fd.as_fd(), bytes, at)?;
            if self.durability == Durability::Always {
                sys::sync_data(fd.as_fd())?;
                if at == 0 {
                    sys::sync_folder(&self.files.shard(shard))?;
                }
            }
            Ok(())
        });
        written.map_err(|e| self.system(e, None, &self.files.path(shard, file), "writing an object"))
    }
}

impl Turn<'_> {
    /// Places bytes that belong at `offset` of an object and writes them. Gives what has to be committed before them,
    /// applied already, and where they lie.
    pub fn write_out(
        &mut self,
        key: &[u8],
        offset: u64,
        bytes: &[u8],
        purpose: Purpose,
    ) -> Result<(Vec<Event<'static>>, Vec<Slice>)> {
        let (mut events, mut slices) = (Vec::with_capacity(2), Vec::new());
        let mut done = 0;
        while done < bytes.len() {
            let room = self.decide(|c| {
                let most =
                    if c.mapper().rewrites() { bytes.len() } else { RUN.min(c.mapper().capacity() as usize) };
                c.place(key, most.min(bytes.len() - done) as u64, purpose, &mut events)
            })?;
            let run = &bytes[done..done + room.len as usize];
            if let Err(e) = self.context().write_container(self.shard(), room.container, room.at, run) {
                // A container that was opened for it will not be committed: it goes, with what it has of the bytes. Room
                // inside an old one is garbage until that is emptied; nobody was told of it.
                for event in &events {
                    if let Event::Open { container, .. } = event {
                        let file = File::Container(*container);
                        // If that fails as well it is a stray, which the next new log removes.
                        let _ = self.context().files.remove(self.shard(), file);
                    }
                }
                if !events.is_empty() {
                    self.forget();
                }
                return Err(e);
            }
            cut(offset + done as u64, run, room.container, room.at, &mut slices);
            done += run.len();
        }
        Ok((events, slices))
    }

    /// Containers for one long object, which nobody else writes to.
    fn own_containers(&mut self, len: u64) -> Result<Vec<u32>> {
        self.close_unborn()?;
        let (next, capacity) = {
            let view = self.view()?;
            (view.catalogue().space().next(), view.catalogue().mapper().capacity())
        };
        let containers: Vec<u32> = (0..len.div_ceil(capacity) as u32).map(|i| next + i).collect();
        let purpose = Use::Private { owner: owner::me() };
        let events: Vec<Event<'_>> =
            containers.iter().map(|&container| Event::Open { container, purpose }).collect();
        self.commit(&events, 0)?;
        Ok(containers)
    }
}

/// The checksummed pieces of bytes that were written at `at`.
fn cut(mut offset: u64, mut bytes: &[u8], container: u32, mut at: u64, slices: &mut Vec<Slice>) {
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min((PIECE - offset % PIECE) as usize));
        let (len, sum) = (piece.len() as u32, crc32fast::hash(piece));
        slices.push(Slice { offset, at, container, len, skip: 0, stored: len, sum });
        (offset, at, bytes) = (offset + u64::from(len), at + u64::from(len), rest);
    }
}

/// What is written for a change of `lo..hi`: more where the first or last multiple of [`PIECE`] has many slices already.
fn widened(slices: &[Slice], lo: u64, hi: u64, len: u64) -> (u64, u64) {
    let crowded = |window: u64| {
        let first = slices.partition_point(|s| s.offset < window * PIECE);
        slices[first..].iter().take_while(|s| s.offset / PIECE == window).count() >= MAX_SLICES
    };
    let (first, last) = (lo / PIECE, (hi - 1) / PIECE);
    let lo = if crowded(first) { first * PIECE } else { lo };
    let hi = if crowded(last) { ((last + 1) * PIECE).min(len) } else { hi };
    (lo, hi)
}

/// Meta as one string of bytes: each text with its length before it.
fn bytes_of(meta: &[(String, String)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in meta.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// The reverse.
pub fn meta_of(mut bytes: &[u8]) -> Vec<(String, String)> {
    let mut text = || {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        bytes = rest;
        Some(String::from_utf8_lossy(text).into_owned())
    };
    std::iter::from_fn(|| Some((text()?, text()?))).collect()
}
