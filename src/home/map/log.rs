//! The log of a file's map in the store: commits, each an object that is put only where there is none, so that of two
//! writers who make the same commit one wins and the other looks again. Owns reading it, adding to it, and taking away
//! what a snapshot has made superfluous. Knows mappers by their records only.
//!
//! A head tells from which snapshot on to read, and is put after it. A head that says less than there is costs
//! reading; one that names a commit which is gone (its writer was stopped while others made two snapshots) is found
//! out, and the log is listed.
//!
//! A commit that is missing was never made, or was deleted. Snapshots are deleted before what they are followed by, so
//! whoever still finds the one that he began with knows that nothing behind it had been deleted before. The head says
//! nothing of the kind: one that was put late may name an old snapshot again.

use super::commit::{Commit, Damage, Head};
use super::error::MapError;
use crate::home::layout::Keys;
use iris_mappers::Objects;
use iris_store::{Condition, Kind, ListRequest, Listed, Outcome, Request, Store};

/// Commits asked for together.
const TOGETHER: u64 = 8;
/// Bytes of a commit that are asked for at first.
const GUESS: usize = 2048;
/// How often a reader begins again at least because the log was shortened under it.
const ATTEMPTS: u32 = 20;

/// How far a log has come, for one who has read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The last commit; 0 before the first.
    pub last: u64,
    /// The first object number that was never given out.
    pub fresh: u64,
    /// Numbers that writers were given and have not come to an end with.
    pub open: Vec<Objects>,
    /// Records since the snapshot, and in it.
    pub records: (usize, usize),
    /// The snapshots that were read, the first of which is where reading began.
    pub snapshots: Vec<u64>,
}

impl Position {
    /// Before the first commit.
    pub fn start() -> Position {
        Position { last: 0, fresh: 1, open: Vec::new(), records: (0, 0), snapshots: Vec::new() }
    }

    /// Takes a commit in.
    pub fn follow(&mut self, commit: &Commit) {
        self.last = commit.number;
        self.fresh = self.fresh.max(commit.fresh);
        if commit.snapshot {
            self.open.clear();
            self.records = (0, commit.records.len());
            self.snapshots.push(commit.number);
        } else {
            self.records.0 += commit.records.len();
        }
        self.open.extend(&commit.opened);
        for run in &commit.closed {
            if let Some(at) = self.open.iter().position(|o| o == run) {
                self.open.swap_remove(at);
            }
        }
    }

    /// The commits before this one are gone.
    pub fn shortened(&mut self, snapshot: u64) {
        self.snapshots.retain(|n| *n >= snapshot);
    }

    /// Whether the log should be shortened: when reading it costs several times what reading a snapshot would.
    pub fn is_long(&self) -> bool {
        let since = self.last - self.snapshots.last().map_or(0, |n| *n.min(&self.last));
        since >= 32 || self.records.0 > 256 + 2 * self.records.1
    }
}

/// Reads the log: its commits from the last snapshot on, and where it ends.
pub fn read(store: &dyn Store, keys: &Keys) -> Result<(Vec<Commit>, Position), MapError> {
    for () in super::attempts(store, ATTEMPTS) {
        let head = head(store, keys)?;
        let first = head.unwrap_or(Head::FIRST).snapshot;
        let mut commits = from(store, keys, first)?;
        if commits.is_empty() && head.is_some() && self::head(store, keys)? == head {
            // The head is old, and what it names is gone.
            match newest_snapshot(store, keys)? {
                Some(number) => commits = from(store, keys, number)?,
                None => {
                    return Err(MapError::Broken {
                        place: store.place().into(),
                        key: keys.commit(first).escape_ascii().to_string(),
                        why: "missing, although the log's head names it".into(),
                    });
                }
            }
        }
        let mut position = Position::start();
        for commit in &commits {
            position.follow(commit);
        }
        // Else the commit behind the last may be missing because somebody has just shortened the log.
        if holds(store, keys, &position)? {
            return Ok((commits, position));
        }
    }
    Err(MapError::Contended { place: store.place().into() })
}

/// Reads what a log has got since it was read up to `position`; `None` where that has been deleted in part.
pub fn read_on(store: &dyn Store, keys: &Keys, position: &Position) -> Result<Option<Vec<Commit>>, MapError> {
    let commits = from(store, keys, position.last + 1)?;
    Ok(holds(store, keys, position)?.then_some(commits))
}

/// Whether nobody has added to the log since it was read.
pub fn ends_at(store: &dyn Store, keys: &Keys, position: &Position) -> Result<bool, MapError> {
    Ok(!is_there(store, &keys.commit(position.last + 1))? && holds(store, keys, position)?)
}

/// Whether no commit that the log had when this was read, or got since, was deleted before now.
fn holds(store: &dyn Store, keys: &Keys, position: &Position) -> Result<bool, MapError> {
    match position.snapshots.last() {
        Some(snapshot) => is_there(store, &keys.commit(*snapshot)),
        None => Ok(head(store, keys)?.is_none()),
    }
}

fn is_there(store: &dyn Store, key: &[u8]) -> Result<bool, MapError> {
    match store.one(Request::Head { key }) {
        Err(e) if e.kind == Kind::NotFound => Ok(false),
        other => other.map(|_| true).map_err(MapError::from),
    }
}

/// What came of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came<T = ()> {
    /// It is the log's.
    First(T),
    /// Another was faster.
    Second,
    /// The log was shortened: to what this is in, or before it came.
    Unsure,
}

impl<T> Came<T> {
    /// With something else to tell.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Came<U> {
        match self {
            Came::First(told) => Came::First(f(told)),
            Came::Second => Came::Second,
            Came::Unsure => Came::Unsure,
        }
    }
}

/// Adds a commit to a log that was read up to `position`.
pub fn add(store: &dyn Store, keys: &Keys, position: &Position, commit: &Commit) -> Result<Came, MapError> {
    let (key, bytes) = (keys.commit(commit.number), commit.encode());
    match store.one(Request::Put { key: &key, bytes: &bytes, condition: Condition::Absent, meta: &[] }) {
        Ok(_) => {}
        Err(e) if e.kind == Kind::Precondition => return Ok(Came::Second),
        Err(e) => return Err(e.into()),
    }
    // There may have been such a commit once, which was deleted.
    if holds(store, keys, position)? {
        return Ok(Came::First(()));
    }
    super::carry::delete_keys(store, std::iter::once(key))?;
    Ok(Came::Unsure)
}

/// Makes the last snapshot of `position` known, which was added, and deletes what it makes superfluous. Gives its number.
pub fn shorten(store: &dyn Store, keys: &Keys, position: &Position) -> Result<u64, MapError> {
    let Some((&snapshot, before)) = position.snapshots.split_last() else { return Ok(0) };
    let old = self::head(store, keys)?.unwrap_or(Head::FIRST);
    if old.snapshot > snapshot {
        return Ok(snapshot);
    }
    // Whoever dies behind this leaves the commits before the old snapshot, which the next one deletes again.
    let head = Head { snapshot, lowest: old.snapshot };
    let key = keys.head();
    store.one(Request::Put { key: &key, bytes: &head.encode(), condition: Condition::Always, meta: &[] })?;
    // The store may carry out in any order what it is given at once.
    let first =
        [old.lowest, old.snapshot].into_iter().chain(before.iter().copied()).filter(|n| *n < snapshot);
    super::carry::delete_keys(store, first.map(|n| keys.commit(n)))?;
    super::carry::delete_keys(store, (old.lowest..snapshot).map(|n| keys.commit(n)))?;
    Ok(snapshot)
}

/// Deletes the log, its end first: what is left when that dies is a log still.
pub fn remove(store: &dyn Store, keys: &Keys, position: &Position) -> Result<(), MapError> {
    let lowest = head(store, keys)?.unwrap_or(Head::FIRST).lowest;
    let commits = (lowest..=position.last).rev().map(|n| keys.commit(n));
    super::carry::delete_keys(store, commits.chain([keys.head()]))
}

fn head(store: &dyn Store, keys: &Keys) -> Result<Option<Head>, MapError> {
    let key = keys.head();
    let mut bytes = [0; Head::SIZE];
    match store.one(Request::Get { key: &key, offset: 0, into: &mut bytes }) {
        Ok(Outcome::Read(n)) => {
            Head::decode(&bytes[..n.min(Head::SIZE)]).map(Some).map_err(|why| damaged(store, &key, why))
        }
        Ok(_) => Ok(None),
        Err(e) if e.kind == Kind::NotFound => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn damaged(store: &dyn Store, key: &[u8], why: Damage) -> MapError {
    MapError::Damaged { place: store.place().into(), key: key.escape_ascii().to_string(), why }
}

/// The commits from `first` on, up to the first that is missing.
fn from(store: &dyn Store, keys: &Keys, first: u64) -> Result<Vec<Commit>, MapError> {
    let mut commits = Vec::new();
    // Most logs are short: a new file's has a commit or two.
    let (mut next, mut count) = (first, 3);
    loop {
        let names: Vec<Vec<u8>> = (next..next + count).map(|n| keys.commit(n)).collect();
        let mut buffers = vec![0; GUESS * names.len()];
        let mut requests: Vec<_> = names
            .iter()
            .zip(buffers.chunks_mut(GUESS))
            .map(|(key, into)| Request::Get { key, offset: 0, into })
            .collect();
        let mut outcomes = Vec::new();
        store.submit(&mut requests, &mut outcomes);
        drop(requests);
        for ((key, outcome), bytes) in names.iter().zip(outcomes).zip(buffers.chunks(GUESS)) {
            let n = match outcome {
                Ok(Outcome::Read(n)) => n,
                Err(e) if e.kind == Kind::NotFound => return Ok(commits),
                Err(e) => return Err(e.into()),
                Ok(_) => 0,
            };
            let long = match n {
                GUESS.. => super::carry::whole(store, key)?.0,
                _ => bytes[..n].to_vec(),
            };
            if long.is_empty() {
                // Gone since.
                return Ok(commits);
            }
            let commit = Commit::decode(&long).map_err(|why| damaged(store, key, why))?;
            if commit.number != next {
                return Err(damaged(store, key, Damage::Parts));
            }
            commits.push(commit);
            next += 1;
        }
        count = TOGETHER;
    }
}

/// The last snapshot that there is, by a listing.
fn newest_snapshot(store: &dyn Store, keys: &Keys) -> Result<Option<u64>, MapError> {
    let prefix = [&keys.head()[..], b":"].concat();
    let (mut after, mut newest) = (Vec::new(), None);
    loop {
        let page =
            store.list(&ListRequest { prefix: &prefix, after: &after, delimiter: None, limit: 1000 })?;
        for entry in &page.entries {
            let Listed::Object(key, _) = entry else { continue };
            let (bytes, there) = super::carry::whole(store, key)?;
            if there.is_some() && Commit::decode(&bytes).is_ok_and(|c| c.snapshot) {
                newest = std::str::from_utf8(&key[prefix.len()..])
                    .ok()
                    .and_then(|t| u64::from_str_radix(t, 16).ok())
                    .or(newest);
            }
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(newest),
        }
    }
}
