//! The log of a file's map in the store: commits, each an object that is put only where there is none, so that of two
//! writers who make the same commit one wins and the other looks again. Owns reading it, adding to it, and taking away
//! what a snapshot has made superfluous. Knows mappers by their records only.
//!
//! A head tells from which snapshot on to read, and is put after it. A head that says less than there is costs
//! reading; one that names a commit which is gone (its writer was stopped while others made two snapshots) is found
//! out, and the log is listed.

use super::commit::{Commit, Damage, Head};
use super::error::MapError;
use crate::home::layout::Keys;
use iris_mappers::Objects;
use iris_store::{Condition, Kind, ListRequest, Listed, Outcome, Request, Store};

/// Commits asked for together.
const TOGETHER: u64 = 8;
/// Bytes of a commit that are asked for at first.
const GUESS: usize = 2048;
/// How often a reader begins again because the log was shortened under it.
const ATTEMPTS: u32 = 20;

/// How far a log has come, for one who has read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The last commit; 0 before the first.
    pub last: u64,
    /// The head as it was read.
    pub head: Option<Head>,
    /// The first object number that was never given out.
    pub fresh: u64,
    /// Numbers that writers were given and have not come to an end with.
    pub open: Vec<Objects>,
    /// Records since the snapshot, and in it.
    pub records: (usize, usize),
}

impl Position {
    /// Before the first commit.
    pub fn start() -> Position {
        Position { last: 0, head: None, fresh: 1, open: Vec::new(), records: (0, 0) }
    }

    /// Takes a commit in.
    pub fn follow(&mut self, commit: &Commit) {
        self.last = commit.number;
        self.fresh = self.fresh.max(commit.fresh);
        if commit.snapshot {
            self.open.clear();
            self.records = (0, commit.records.len());
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

    /// Whether the log should be shortened: when reading it costs several times what reading a snapshot would.
    pub fn is_long(&self) -> bool {
        let since = self.last - self.head.unwrap_or(Head::FIRST).snapshot.min(self.last);
        since >= 32 || self.records.0 > 256 + 2 * self.records.1
    }
}

/// Reads the log: its commits from the last snapshot on, and where it ends.
pub fn read(store: &dyn Store, keys: &Keys) -> Result<(Vec<Commit>, Position), MapError> {
    for _ in 0..ATTEMPTS {
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
        // The commit behind the last may be missing because somebody has just shortened the log.
        if self::head(store, keys)? != head {
            continue;
        }
        let mut position = Position { head, ..Position::start() };
        for commit in &commits {
            position.follow(commit);
        }
        return Ok((commits, position));
    }
    Err(MapError::Contended { place: store.place().into() })
}

/// Whether nobody has added to the log since it was read.
pub fn ends_at(store: &dyn Store, keys: &Keys, position: &Position) -> Result<bool, MapError> {
    let key = keys.commit(position.last + 1);
    match store.one(Request::Head { key: &key }) {
        Err(e) if e.kind == Kind::NotFound => Ok(head(store, keys)? == position.head),
        other => other.map(|_| false).map_err(MapError::from),
    }
}

/// Adds a commit. False where another was faster.
pub fn add(store: &dyn Store, keys: &Keys, commit: &Commit) -> Result<bool, MapError> {
    let (key, bytes) = (keys.commit(commit.number), commit.encode());
    match store.one(Request::Put { key: &key, bytes: &bytes, condition: Condition::Absent, meta: &[] }) {
        Ok(_) => {}
        Err(e) if e.kind == Kind::Precondition => return Ok(false),
        Err(e) => return Err(e.into()),
    }
    // There may have been such a commit once: it was deleted after the head had gone beyond it.
    if head(store, keys)?.unwrap_or(Head::FIRST).snapshot <= commit.number {
        return Ok(true);
    }
    super::carry::delete_keys(store, std::iter::once(key))?;
    Ok(false)
}

/// Makes a snapshot known that was added, and deletes what it makes superfluous. Gives the new head.
pub fn shorten(store: &dyn Store, keys: &Keys, old: Option<Head>, snapshot: u64) -> Result<Head, MapError> {
    let lowest = old.unwrap_or(Head::FIRST).lowest;
    // Whoever dies behind this leaves the commits before the old snapshot, which the next one deletes again.
    let head = Head { snapshot, lowest: old.unwrap_or(Head::FIRST).snapshot.min(snapshot) };
    let key = keys.head();
    store.one(Request::Put { key: &key, bytes: &head.encode(), condition: Condition::Always, meta: &[] })?;
    super::carry::delete_keys(store, (lowest..snapshot).map(|n| keys.commit(n)))?;
    Ok(head)
}

/// Deletes the log, its end first: what is left when that dies is a log still.
pub fn remove(store: &dyn Store, keys: &Keys, position: &Position) -> Result<(), MapError> {
    let lowest = position.head.unwrap_or(Head::FIRST).lowest;
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
