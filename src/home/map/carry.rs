//! Carrying plans out: pieces become requests to a store. Owns that translation, and nothing else: what is planned is
//! the mapper's business, and what a plan's records say is the log's.

use super::error::MapError;
use crate::home::layout::Keys;
use iris_mappers::{Guard, How, Object, Objects, Piece};
use iris_store::{Capabilities, Condition, Kind, Outcome, Request, Store, StoreError};

/// Deletions, or changes behind a fence, sent together.
const TOGETHER: usize = 1024;
/// Bytes of changes behind a fence sent together.
const MOST: usize = 4 << 20;
/// How often an object that others keep changing is got, changed and put.
const ATTEMPTS: u32 = 20;

/// What placement may ask of a store.
pub fn abilities(c: &Capabilities) -> iris_mappers::Store {
    iris_mappers::Store {
        range_read: c.range_read,
        range_write: c.range_write,
        // Where parts are written in place, nothing is put over what was read.
        conditional_put: c.put_if_absent && (c.range_write || c.put_if_match),
        max_object: c.max_put,
    }
}

fn lost(store: &dyn Store, key: &[u8]) -> MapError {
    MapError::Lost { place: store.place().into(), key: key.escape_ascii().to_string() }
}

/// Reads `pieces`, which lie in the order of the file and without gaps, into `into`.
pub fn read(store: &dyn Store, keys: &Keys, pieces: &[Piece], into: &mut [u8]) -> Result<(), MapError> {
    let names: Vec<Vec<u8>> = pieces.iter().map(|p| keys.object(p.object)).collect();
    let mut requests = Vec::with_capacity(pieces.len());
    let mut asked = Vec::with_capacity(pieces.len());
    let mut rest = into;
    for (piece, key) in pieces.iter().zip(&names) {
        let (part, behind) = rest.split_at_mut((piece.len as usize).min(rest.len()));
        rest = behind;
        match piece.how {
            How::Zeros => part.fill(0),
            How::ReadWhole => read_of_whole(store, key, piece.at, part)?,
            _ if !store.capabilities().range_read => {
                if read_of_whole_len(store, key, piece.at, part)? < part.len() {
                    return Err(lost(store, key));
                }
            }
            _ => {
                requests.push(Request::Get { key, offset: piece.at, into: part });
                asked.push(piece.how);
            }
        }
    }
    rest.fill(0);
    let mut outcomes = Vec::new();
    if !requests.is_empty() {
        store.submit(&mut requests, &mut outcomes);
    }
    for ((request, how), outcome) in requests.iter_mut().zip(asked).zip(outcomes) {
        let Request::Get { key, into, .. } = request else { continue };
        let got = match outcome {
            Ok(Outcome::Read(n)) => n.min(into.len()),
            Err(e) if e.kind == Kind::NotFound => 0,
            Err(e) => return Err(e.into()),
            Ok(_) => return Err(answer(store, key).into()),
        };
        if how == How::ReadWritten && got < into.len() {
            return Err(lost(store, key));
        }
        into[got..].fill(0);
    }
    Ok(())
}

fn read_of_whole(store: &dyn Store, key: &[u8], at: u64, into: &mut [u8]) -> Result<(), MapError> {
    let n = read_of_whole_len(store, key, at, into)?;
    into[n..].fill(0);
    Ok(())
}

/// As [`read_of_whole`]; how many bytes the object had to give.
fn read_of_whole_len(store: &dyn Store, key: &[u8], at: u64, into: &mut [u8]) -> Result<usize, MapError> {
    let (bytes, _) = whole(store, key)?;
    let from = bytes.get(at as usize..).unwrap_or_default();
    let n = from.len().min(into.len());
    into[..n].copy_from_slice(&from[..n]);
    Ok(n)
}

/// All of an object, and its tag; nothing where there is none.
pub fn whole(store: &dyn Store, key: &[u8]) -> Result<(Vec<u8>, Option<Option<String>>), StoreError> {
    let facts = match store.one(Request::Head { key }) {
        Ok(Outcome::Facts(facts)) => facts,
        Ok(_) => return Err(answer(store, key)),
        Err(e) if e.kind == Kind::NotFound => return Ok((Vec::new(), None)),
        Err(e) => return Err(e),
    };
    let mut bytes = vec![0; facts.len as usize];
    match store.one(Request::Get { key, offset: 0, into: &mut bytes }) {
        Ok(Outcome::Read(n)) => bytes.truncate(n),
        Ok(_) => return Err(answer(store, key)),
        Err(e) if e.kind == Kind::NotFound => return Ok((Vec::new(), None)),
        Err(e) => return Err(e),
    }
    Ok((bytes, Some(facts.tag)))
}

/// How long objects are; `None` where there is none of a key.
pub fn lens(store: &dyn Store, keys: &[Vec<u8>]) -> Result<Vec<Option<u64>>, StoreError> {
    let (mut lens, mut outcomes) = (Vec::with_capacity(keys.len()), Vec::new());
    for some in keys.chunks(TOGETHER) {
        let mut requests: Vec<_> = some.iter().map(|key| Request::Head { key }).collect();
        store.submit(&mut requests, &mut outcomes);
        for (key, outcome) in some.iter().zip(outcomes.drain(..)) {
            lens.push(match outcome {
                Ok(Outcome::Facts(facts)) => Some(facts.len),
                Err(e) if e.kind == Kind::NotFound => None,
                Err(e) => return Err(e),
                Ok(_) => return Err(answer(store, key)),
            });
        }
    }
    Ok(lens)
}

fn answer(store: &dyn Store, key: &[u8]) -> StoreError {
    StoreError::new(Kind::Corrupt, store.place(), Some(key), "an answer to another request")
}

/// Writes `pieces` of `bytes`, which begin at `offset` of the file, and deletes `deletions` then. With fences, objects
/// that others may have changed since are left alone unless there is an object of the first key and none of the second,
/// where the store can do that: false then.
pub fn write(
    store: &dyn Store,
    keys: &Keys,
    pieces: &[Piece],
    deletions: &[Objects],
    (offset, bytes): (u64, &[u8]),
    fences: Option<(&[u8], &[u8])>,
) -> Result<bool, MapError> {
    let names: Vec<Vec<u8>> = pieces.iter().map(|p| keys.object(p.object)).collect();
    let mut requests = Vec::with_capacity(pieces.len());
    for (piece, key) in pieces.iter().zip(&names) {
        let from = piece.offset.saturating_sub(offset) as usize;
        let part = if piece.len == 0 { &[][..] } else { &bytes[from..from + piece.len as usize] };
        let absent = piece.guard == Guard::Absent;
        match piece.how {
            How::Put => requests.push(Request::Put {
                key,
                bytes: part,
                condition: if absent { Condition::Absent } else { Condition::Always },
                meta: &[],
            }),
            How::Update => requests.push(Request::Update { key, offset: piece.at, bytes: part }),
            How::Cut if store.capabilities().range_write => {
                // An object that is shorter grows by zeros, which read as what is missing does.
                requests.push(Request::Resize { key, len: piece.at });
            }
            How::Cut => modify(store, key, piece.guard, |old| old.truncate(piece.at as usize))?,
            _ => modify(store, key, piece.guard, |old| {
                let end = piece.at as usize + part.len();
                if old.len() < end {
                    old.resize(end, 0);
                }
                old[piece.at as usize..end].copy_from_slice(part);
            })?,
        }
    }
    if let (Some((behind, before)), Some(fenced)) = (fences, store.fenced()) {
        let gone: Vec<Vec<u8>> = objects(deletions).map(|o| keys.object(o)).collect();
        let (mut new, mut held): (Vec<_>, Vec<_>) = requests
            .into_iter()
            .partition(|r| matches!(r, Request::Put { condition: Condition::Absent, .. }));
        held.extend(gone.iter().map(|key| Request::Delete { key }));
        submit(store, &mut new)?;
        let mut rest = &held[..];
        while !rest.is_empty() {
            let (some, others) = rest.split_at(together(rest));
            if !fenced.change_between(behind, before, some)? {
                return Ok(false);
            }
            rest = others;
        }
        return Ok(true);
    }
    submit(store, &mut requests)?;
    delete(store, keys, deletions)?;
    Ok(true)
}

/// How many of the requests go into one script: a server does nothing else meanwhile.
fn together(requests: &[Request<'_>]) -> usize {
    let mut bytes = 0;
    let fit = requests.iter().take_while(|r| {
        bytes += match r {
            Request::Put { bytes, .. } | Request::Update { bytes, .. } => bytes.len(),
            _ => 0,
        };
        bytes <= MOST
    });
    fit.take(TOGETHER).count().max(1)
}

fn submit(store: &dyn Store, requests: &mut [Request<'_>]) -> Result<(), MapError> {
    let mut outcomes = Vec::new();
    if !requests.is_empty() {
        store.submit(requests, &mut outcomes);
    }
    for (request, outcome) in requests.iter().zip(outcomes) {
        match outcome {
            Err(e) if matches!(request, Request::Resize { .. }) && e.kind == Kind::NotFound => {}
            other => drop(other?),
        }
    }
    Ok(())
}

/// Gets an object, changes it, and puts it back.
fn modify(
    store: &dyn Store,
    key: &[u8],
    guard: Guard,
    mut change: impl FnMut(&mut Vec<u8>),
) -> Result<(), MapError> {
    let mut attempt = 0;
    loop {
        let (mut bytes, tag) = whole(store, key)?;
        let before = bytes.len();
        change(&mut bytes);
        if tag.is_none() && bytes.len() == before {
            return Ok(());
        }
        let condition = match (guard, tag) {
            (Guard::Unchanged, None) => Condition::Absent,
            (Guard::Unchanged, Some(Some(tag))) => Condition::Tag(tag),
            _ => Condition::Always,
        };
        attempt += 1;
        match store.one(Request::Put { key, bytes: &bytes, condition, meta: &[] }) {
            Err(e) if e.kind == Kind::Precondition && attempt < ATTEMPTS => {}
            other => return other.map(drop).map_err(MapError::from),
        }
    }
}

/// Deletes runs of objects.
pub fn delete(store: &dyn Store, keys: &Keys, runs: &[Objects]) -> Result<(), MapError> {
    delete_keys(store, objects(runs).map(|o| keys.object(o)))
}

fn objects(runs: &[Objects]) -> impl Iterator<Item = Object> {
    runs.iter()
        .flat_map(|run| (run.first..run.first + run.count).map(|number| Object { level: run.level, number }))
}

/// Deletes objects by their keys, in their order.
pub fn delete_keys(store: &dyn Store, mut keys: impl Iterator<Item = Vec<u8>>) -> Result<(), MapError> {
    let mut outcomes = Vec::new();
    loop {
        let some: Vec<Vec<u8>> = keys.by_ref().take(TOGETHER).collect();
        if some.is_empty() {
            return Ok(());
        }
        let mut requests: Vec<_> = some.iter().map(|key| Request::Delete { key }).collect();
        store.submit(&mut requests, &mut outcomes);
        for outcome in outcomes.drain(..) {
            match outcome {
                Err(e) if e.kind != Kind::NotFound => return Err(e.into()),
                _ => {}
            }
        }
    }
}
