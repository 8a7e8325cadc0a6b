//! The stores that files are spilled to, as this process has them. Owns their keys, what is asked of them, and what that
//! was measured to cost; knows sets and containers by number, not whose they are.
//!
//! Keys: `iris-spill:1:{SET}:head` tells whose the set is, `iris-spill:1:{SET}:NUMBER` is a container; SET has 16
//! hexadecimal digits, NUMBER 8. `iris-spill:1:{SET}:home` stands while the set's bytes go home.

use super::container::{Container, Fetched, HEADER, LARGEST, RECORD, extents, head_len};
use crate::config::{Home, Settle};
use crate::errno::Errno;
use crate::home::service;
use crate::journal::Extent;
use crate::report::{self, Bypass};
use crate::spin::Spin;
use crate::stores::{self, opened::Opened};
use crate::sys;
use crate::tier0::pool::Pool;
use iris_mappers::containers::hash;
use iris_store::{Condition, Kind, ListRequest, Listed, Outcome, Request, Store, StoreError};
use rustix::fs::OFlags;
use std::ffi::CString;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What every key begins with.
pub const PREFIX: &str = "iris-spill:1:";
/// Records that are asked for with the head of a container; where it has more, they are asked for afterwards.
const FIRST_RECORDS: usize = 252;
/// Requests of one batch.
const BATCH: usize = 256;
/// Containers that are put at a time.
pub const PUT: usize = 8;
/// Containers that are fetched at a time.
pub const FETCH: u32 = 32;
/// Milliseconds without a spill after a store has failed.
const PAUSE_MS: u64 = 10_000;
/// Bytes from which a spill tells how fast the store is.
const MEASURED: u64 = 64 << 10;

/// A store that files are spilled to.
pub struct Place {
    /// Names it in slots.
    pub name: u64,
    text: Vec<u8>,
    opened: Opened,
    /// Milliseconds since boot until which nothing is spilled.
    down_until: AtomicU64,
    /// It did not answer while the process was ending.
    silent: AtomicBool,
    /// Nanoseconds that a MiB took: to the store, and home in short extents; 0 before any did.
    spill_cost: AtomicU64,
    home_cost: AtomicU64,
}

static PLACES: Spin<Vec<&'static Place>> = Spin::new(Vec::new());

/// The store that a text of the configuration names.
///
/// # Errors
/// EINVAL where it names none; it is logged.
pub fn of(home: &Home) -> Result<&'static Place, Errno> {
    let name = hash(&home.text).max(1);
    let mut places = PLACES.lock().ok_or(Errno(libc::EDEADLK))?;
    if let Some(known) = places.iter().find(|p| p.name == name) {
        return Ok(known);
    }
    let opener = stores::opener(home).map_err(|why| {
        crate::log::say(1, || why);
        Errno(libc::EINVAL)
    })?;
    let place = Place {
        name,
        text: home.text.clone(),
        opened: Opened::new(opener),
        down_until: AtomicU64::new(0),
        silent: AtomicBool::new(false),
        spill_cost: AtomicU64::new(0),
        home_cost: AtomicU64::new(0),
    };
    places.push(Box::leak(Box::new(place)));
    places.last().copied().ok_or(Errno(libc::EINVAL))
}

/// The store that a slot names: one of the configuration's, or one that Tier 0 remembers.
///
/// # Errors
/// ENXIO where nobody knows it any more; it is logged.
pub fn by_name(pool: &Pool, name: u64) -> Result<&'static Place, Errno> {
    if let Some(known) = PLACES.lock().ok_or(Errno(libc::EDEADLK))?.iter().find(|p| p.name == name) {
        return Ok(known);
    }
    let read = |path: CString| {
        let mut buf = [0u8; 4096];
        sys::read_small(&path, &mut buf).map(<[u8]>::to_vec)
    };
    let known = note(pool, name).and_then(|path| service::with_number(|| read(path))?);
    let home =
        known.ok().and_then(|text| Home::parse(&text, None).ok()).filter(|h| hash(&h.text).max(1) == name);
    match home {
        Some(home) => of(&home),
        None => {
            crate::log::say(1, || {
                "bytes of a file lie in a store that is not known here: name it with `store` (IRIS_STORE)"
                    .into()
            });
            Err(Errno(libc::ENXIO))
        }
    }
}

/// Before fork.
pub fn lock() {
    if let Some(places) = PLACES.lock() {
        places.iter().for_each(|p| p.opened.lock());
        Spin::leak(places);
    }
}

/// After fork, in the parent and in the child.
///
/// # Safety
/// Follows [`lock`] on the same thread (in the child: its copy).
pub unsafe fn unlock() {
    // SAFETY: by contract.
    unsafe { PLACES.reset() };
    if let Some(places) = PLACES.lock() {
        // SAFETY: as above.
        places.iter().for_each(|p| unsafe { p.opened.unlock() });
    }
}

/// Where Tier 0 remembers the address of a store: private to the user, as all of it.
fn note(pool: &Pool, name: u64) -> Result<CString, Errno> {
    let path = pool.path().with_file_name(format!("store-{name:016x}"));
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno(libc::EINVAL))
}

fn head_key(set: u64) -> Vec<u8> {
    format!("{PREFIX}{{{set:016x}}}:head").into_bytes()
}

/// Put before a set's bytes go home: from then on the file may be newer than the set by that alone.
pub fn home_key(set: u64) -> Vec<u8> {
    format!("{PREFIX}{{{set:016x}}}:home").into_bytes()
}

/// Of a container.
pub fn key(set: u64, number: u32) -> Vec<u8> {
    format!("{PREFIX}{{{set:016x}}}:{number:08x}").into_bytes()
}

/// The set that a key belongs to, and whether it is that of its head.
pub fn set_of(key: &[u8]) -> Option<(u64, bool)> {
    let rest = key.strip_prefix(PREFIX.as_bytes())?.strip_prefix(b"{")?;
    let (set, rest) = rest.split_at_checked(16)?;
    let set = u64::from_str_radix(std::str::from_utf8(set).ok()?, 16).ok()?;
    Some((set, rest == b"}:head"))
}

/// A failure as an error number, after it was told to the log.
pub fn told(e: &StoreError) -> Errno {
    crate::log::say(1, || format!("spilled extents: {e}"));
    errno(e)
}

/// A failure for which bytes of the file `name` cannot come home from their store, as an error number, after it was told to
/// the log.
pub fn told_of(name: &[u8], e: &StoreError) -> Errno {
    crate::log::say(1, || {
        format!(
            "{}: what was written is not all in the directory yet, and what lies in its store cannot be had: {e}. It \
             stays there and in Tier 0: sync or close the file when the store answers again, or run `iris drain`",
            String::from_utf8_lossy(name)
        )
    });
    errno(e)
}

fn errno(e: &StoreError) -> Errno {
    match e.kind {
        // A container that should be there is not: no name is missing.
        Kind::NotFound | Kind::Precondition => Errno(libc::EIO),
        kind => Errno(kind.errno()),
    }
}

type Answer<T> = Result<T, StoreError>;

/// A part of a container that is read.
pub struct Piece<'a> {
    /// The container.
    pub number: u32,
    /// Where in it.
    pub at: u32,
    /// Where the bytes go, and how many.
    pub into: &'a mut [u8],
}

impl Place {
    /// Runs `f` with the store on a thread of the service.
    fn with<T: Send>(&self, f: impl FnOnce(&dyn Store) -> Answer<T> + Send) -> Answer<T> {
        let job = || self.opened.store().and_then(|store| f(&*store));
        service::call(job).unwrap_or_else(|e: Errno| {
            Err(StoreError::new(Kind::Closed, "the store", None, format!("nothing to ask it with: {e}")))
        })
    }

    /// Whether it may be spilled to; a store that has failed is left alone for a while.
    pub fn is_up(&self) -> bool {
        let up = sys::boot_ms() >= self.down_until.load(Ordering::Relaxed);
        if !up {
            report::bypassed(Bypass::StoreDown);
        }
        up
    }

    /// Notes a failure.
    pub fn failed(&self, e: &StoreError) {
        self.down_until.store(sys::boot_ms() + PAUSE_MS, Ordering::Relaxed);
        report::bypassed(if e.kind == Kind::Full { Bypass::StoreFull } else { Bypass::StoreDown });
    }

    /// Whether the ending process has waited for it in vain: once is enough for all files.
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// The ending process has waited for it in vain.
    pub fn fell_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    /// Whether short extents are better spilled than taken to the directory at once, as far as was measured.
    pub fn is_cheaper(&self, settle: Settle) -> bool {
        let (spill, home) = (self.spill_cost.load(Ordering::Relaxed), self.home_cost.load(Ordering::Relaxed));
        // Where the program waits for the way home as well, the bytes move twice more.
        let ways = if settle == Settle::Close { 2 } else { 1 };
        home > 0 && spill.saturating_mul(ways) < home
    }

    /// Notes what it cost to spill so many bytes.
    pub fn spilled(&self, bytes: u64, ns: u64) {
        learn(&self.spill_cost, bytes, ns);
    }

    /// Notes what it cost to take so many bytes in short extents to the directory.
    pub fn went_home(&self, bytes: u64, ns: u64) {
        learn(&self.home_cost, bytes, ns);
    }

    /// Remembers its address in Tier 0, for whoever recovers without this configuration.
    pub fn remember(&self, pool: &Pool) -> Result<(), Errno> {
        let path = note(pool, self.name)?;
        if sys::statat(libc::AT_FDCWD, &path, false).is_ok_and(|st| st.st_size as usize == self.text.len()) {
            return Ok(());
        }
        service::with_number(|| {
            let fd = sys::open(&path, OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW, 0o600)?;
            // One small write, to a file that only ever holds these bytes.
            sys::write_own(fd.raw(), &self.text, 0)
        })?
    }

    /// Puts the head of a new set.
    pub fn put_head(&self, set: u64, head: &[u8]) -> Answer<()> {
        self.with(|store| {
            let can = store.capabilities();
            if can.volatile || !can.range_read || !can.list {
                let why = "it cannot hold what leaves Tier 0: a store that keeps what it acknowledged, reads ranges \
                           and lists its objects is needed";
                return Err(StoreError::new(Kind::Unsupported, store.place(), None, why));
            }
            store.one(put(&head_key(set), head)).map(drop)
        })
    }

    /// Puts containers of a set.
    pub fn put(&self, set: u64, containers: &[Container]) -> Answer<()> {
        let keys: Vec<Vec<u8>> = containers.iter().map(|c| key(set, c.number)).collect();
        self.with(|store| {
            let mut requests: Vec<Request<'_>> =
                keys.iter().zip(containers).map(|(key, c)| put(key, &c.bytes)).collect();
            all(store, &mut requests).map(drop)
        })
    }

    /// What the containers `numbers` of a set hold.
    pub fn extents(&self, set: u64, numbers: Range<u32>) -> Answer<Vec<Extent>> {
        self.with(|store| {
            let mut found = Vec::new();
            let all_numbers: Vec<u32> = numbers.collect();
            for some in all_numbers.chunks(BATCH) {
                const FIRST: usize = HEADER + FIRST_RECORDS * RECORD;
                let keys: Vec<Vec<u8>> = some.iter().map(|n| key(set, *n)).collect();
                let mut heads: Vec<Vec<u8>> = some.iter().map(|_| vec![0; FIRST]).collect();
                let mut requests: Vec<Request<'_>> =
                    keys.iter().zip(&mut heads).map(|(key, into)| get(key, 0, into)).collect();
                let lens = all(store, &mut requests)?;
                for (((n, key), head), len) in some.iter().zip(&keys).zip(&mut heads).zip(lens) {
                    head.truncate(len);
                    let bad = |_| damaged(store, key);
                    let wanted = head_len(head, set, *n).map_err(bad)?;
                    if wanted > len {
                        let mut rest = vec![0; wanted - len];
                        let n = all(store, &mut [get(key, len as u64, &mut rest)])?[0];
                        head.extend_from_slice(&rest[..n]);
                    }
                    found.append(&mut extents(head, set, *n).map_err(bad)?);
                }
            }
            Ok(found)
        })
    }

    /// Reads parts of containers, all of each.
    pub fn read(&self, set: u64, pieces: &mut [Piece<'_>]) -> Answer<()> {
        self.with(|store| {
            for some in pieces.chunks_mut(BATCH) {
                let keys: Vec<Vec<u8>> = some.iter().map(|p| key(set, p.number)).collect();
                let wanted: Vec<usize> = some.iter().map(|p| p.into.len()).collect();
                let mut requests: Vec<Request<'_>> =
                    keys.iter().zip(some).map(|(key, p)| get(key, u64::from(p.at), p.into)).collect();
                let lens = all(store, &mut requests)?;
                if let Some(short) = (0..lens.len()).find(|i| lens[*i] != wanted[*i]) {
                    return Err(damaged(store, &keys[short]));
                }
            }
            Ok(())
        })
    }

    /// Fetches the containers `numbers` of a set, [`FETCH`] at most.
    pub fn fetch(&self, set: u64, numbers: Range<u32>) -> Answer<Fetched> {
        self.with(|store| {
            let first = numbers.start;
            let keys: Vec<Vec<u8>> = numbers.map(|n| key(set, n)).collect();
            let mut room = Fetched::room(keys.len());
            let mut requests: Vec<Request<'_>> =
                keys.iter().zip(room.chunks_mut(LARGEST)).map(|(key, into)| get(key, 0, into)).collect();
            let lens = all(store, &mut requests)?;
            drop(requests);
            Fetched::new(room, set, first, &lens).map_err(|n| damaged(store, &key(set, n)))
        })
    }

    /// Notes that a set's bytes begin to go home.
    pub fn put_home(&self, set: u64) -> Answer<()> {
        self.with(|store| store.one(put(&home_key(set), b"1")).map(drop))
    }

    /// Deletes the head of a set: from then on its containers mean nothing.
    pub fn delete_head(&self, set: u64) -> Answer<()> {
        self.with(|store| store.one(Request::Delete { key: &head_key(set) }).map(drop))
    }

    /// Deletes what there is of a set beside its head, of which `count` containers.
    pub fn delete(&self, set: u64, count: u32) -> Answer<()> {
        let keys: Vec<Vec<u8>> = (0..count).map(|n| key(set, n)).chain([home_key(set)]).collect();
        self.delete_keys(&keys)
    }

    /// Deletes objects.
    pub fn delete_keys(&self, keys: &[Vec<u8>]) -> Answer<()> {
        self.with(|store| {
            for some in keys.chunks(BATCH) {
                let mut requests: Vec<Request<'_>> = some.iter().map(|key| Request::Delete { key }).collect();
                all(store, &mut requests)?;
            }
            Ok(())
        })
    }

    /// The keys of all that was spilled to it, by any node, in their order.
    pub fn keys(&self) -> Answer<Vec<Vec<u8>>> {
        self.with(|store| {
            let (mut keys, mut after) = (Vec::new(), Vec::new());
            loop {
                let ask =
                    ListRequest { prefix: PREFIX.as_bytes(), after: &after, delimiter: None, limit: 10_000 };
                let page = store.list(&ask)?;
                keys.extend(page.entries.into_iter().filter_map(|e| match e {
                    Listed::Object(key, _) => Some(key),
                    Listed::Prefix(_) => None,
                }));
                match page.next {
                    Some(next) => after = next,
                    None => return Ok(keys),
                }
            }
        })
    }

    /// The head of a set; `None` where there is none.
    pub fn head(&self, set: u64) -> Answer<Option<Vec<u8>>> {
        self.with(|store| {
            let mut bytes = vec![0; super::HEAD];
            match store.one(get(&head_key(set), 0, &mut bytes)) {
                Ok(Outcome::Read(n)) => {
                    bytes.truncate(n);
                    Ok(Some(bytes))
                }
                Ok(_) => Err(damaged(store, &head_key(set))),
                Err(e) if e.kind == Kind::NotFound => Ok(None),
                Err(e) => Err(e),
            }
        })
    }
}

fn put<'a>(key: &'a [u8], bytes: &'a [u8]) -> Request<'a> {
    Request::Put { key, bytes, condition: Condition::Always, meta: &[] }
}

fn get<'a>(key: &'a [u8], offset: u64, into: &'a mut [u8]) -> Request<'a> {
    Request::Get { key, offset, into }
}

fn damaged(store: &dyn Store, key: &[u8]) -> StoreError {
    let why = "it is not what was spilled; nothing of it is used (`iris drain --discard` gives it up)";
    StoreError::new(Kind::Corrupt, store.place(), Some(key), why)
}

/// Carries all requests out; the lengths of what was read, or the first failure.
fn all(store: &dyn Store, requests: &mut [Request<'_>]) -> Answer<Vec<usize>> {
    let mut outcomes = Vec::new();
    store.submit(requests, &mut outcomes);
    outcomes.into_iter().map(|o| o.map(|o| if let Outcome::Read(n) = o { n } else { 0 })).collect()
}

/// Takes a measurement into an average, newer ones counting most.
fn learn(cost: &AtomicU64, bytes: u64, ns: u64) {
    if bytes < MEASURED {
        return;
    }
    let new = (u128::from(ns) << 20) / u128::from(bytes);
    let new = u64::try_from(new).unwrap_or(u64::MAX).max(1);
    let old = cost.load(Ordering::Relaxed);
    cost.store(if old == 0 { new } else { old / 2 + new / 2 }, Ordering::Relaxed);
}
