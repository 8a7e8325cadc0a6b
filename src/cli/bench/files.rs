//! Files on objects: every mapper on a store, against one object a file that is put whole (what IRIS calls naive) and,
//! where the store can do that, written in place.

use super::figures::Figures;
use super::{median, pattern, scattered};
use iris::home::layout::Layout;
use iris::home::map::{At, Map, MapError};
use iris_store::{Capabilities, ListRequest, Outcome, Page, Request, Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const REQUEST: u64 = 1 << 20;
const REQUESTS: u64 = 32;

/// One object a file, put whole.
pub const WHOLE: &str = "naive, put whole";

/// The mappers that are compared, and as what.
pub const MAPPERS: [(&str, &str, bool); 6] = [
    (WHOLE, "naive", true),
    ("naive, in place", "naive", false),
    ("balanced", "balanced", false),
    ("write-optimized", "write-optimized", false),
    ("read-optimized", "read-optimized", false),
    ("auto", "auto", false),
];

/// Measures every mapper on a store.
pub fn measure(name: &str, store: &Arc<dyn Store>, rounds: u32, figures: &mut Figures) -> Result<(), String> {
    let table = format!("files on {name}, {REQUESTS} requests of 1 MiB");
    figures.table(&table, "MiB/s", true, Some(WHOLE));
    for (who, mapper, whole) in MAPPERS {
        let mut all = [const { Vec::new() }; 4];
        for _ in 0..rounds {
            let mut file = File::new(store, mapper, whole)?;
            let order = scattered(REQUESTS);
            let in_order: Vec<u64> = (0..REQUESTS).collect();
            for (values, (write, order)) in
                all.iter_mut().zip([(true, &in_order), (true, &order), (false, &in_order), (false, &order)])
            {
                let mut spent = Duration::ZERO;
                for (i, at) in order.iter().enumerate() {
                    let more = i + 1 < order.len();
                    spent += if write {
                        file.write(at * REQUEST, REQUEST, more)?
                    } else {
                        file.read(at * REQUEST, REQUEST)?
                    };
                }
                spent += file.tidy_up()?;
                values.push(((REQUESTS * REQUEST) >> 20) as f64 / spent.as_secs_f64());
            }
            file.end()?;
        }
        let cases = ["write, in order", "overwrite, random", "read, in order", "read, random"];
        for (case, values) in cases.into_iter().zip(all) {
            figures.add(case, who, median(values));
        }
    }
    Ok(())
}

/// Why a file could not be measured.
#[derive(Debug)]
pub enum Failed {
    /// The mapper or the store has no room for such a file.
    Refused(String),
    /// Anything else.
    Wrong(String),
}

impl From<Failed> for String {
    fn from(failed: Failed) -> String {
        let (Failed::Refused(why) | Failed::Wrong(why)) = failed;
        why
    }
}

impl From<MapError> for Failed {
    fn from(e: MapError) -> Failed {
        match e.errno() {
            libc::EFBIG | libc::ENOSPC => Failed::Refused(e.to_string()),
            _ => Failed::Wrong(e.to_string()),
        }
    }
}

/// A file on a store, and what must be in it.
pub struct File {
    store: Arc<dyn Store>,
    map: Map,
    turn: AtomicU64,
    /// Its bytes.
    pub model: Vec<u8>,
    requests: u64,
}

static FILES: AtomicU64 = AtomicU64::new(1);

impl File {
    /// A new one; with `whole` the store can put and get whole objects only.
    pub fn new(store: &Arc<dyn Store>, mapper: &str, whole: bool) -> Result<File, Failed> {
        let store: Arc<dyn Store> = if whole { Arc::new(Simple::new(store.clone())) } else { store.clone() };
        let mapper = iris::home::map::make(mapper).map_err(Failed::Wrong)?.spec();
        let layout = Layout::Mapped { prefix: b"iris-bench:".to_vec(), mapper };
        let id = [u64::from(std::process::id()) << 1, FILES.fetch_add(1, Ordering::Relaxed) << 1];
        let map = Map::new(layout.keys(layout.identity(id)), layout.mapper());
        Ok(File { store, map, turn: AtomicU64::new(0), model: Vec::new(), requests: 0 })
    }

    fn at(&self) -> At<'_> {
        At { store: &*self.store, turn: &self.turn }
    }

    /// Writes new bytes; how long that took.
    pub fn write(&mut self, offset: u64, len: u64, more: bool) -> Result<Duration, Failed> {
        self.requests += 1;
        let bytes = pattern(self.requests, len);
        self.put_more(offset, &bytes, more)
    }

    fn put_more(&mut self, offset: u64, bytes: &[u8], more: bool) -> Result<Duration, Failed> {
        let size = self.model.len() as u64;
        let begin = Instant::now();
        self.map.write(self.at(), size, offset, bytes, more)?;
        let spent = begin.elapsed();
        let end = offset as usize + bytes.len();
        if self.model.len() < end {
            self.model.resize(end, 0);
        }
        self.model[offset as usize..end].copy_from_slice(bytes);
        Ok(spent)
    }

    /// Writes these bytes; how long that took.
    pub fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<Duration, Failed> {
        self.put_more(offset, bytes, true)
    }

    /// Reads, and compares; how long the reading took.
    pub fn read(&mut self, offset: u64, len: u64) -> Result<Duration, Failed> {
        let end = (offset + len).min(self.model.len() as u64);
        let mut bytes = vec![0xee; end.saturating_sub(offset) as usize];
        let begin = Instant::now();
        self.map.read(self.at(), offset, &mut bytes)?;
        let spent = begin.elapsed();
        let right = &self.model[(offset as usize).min(self.model.len())..end as usize];
        match bytes.iter().zip(right).position(|(a, b)| a != b) {
            None => Ok(spent),
            Some(i) => Err(Failed::Wrong(format!(
                "{}: byte {} of a file is wrong",
                self.store.place(),
                offset + i as u64
            ))),
        }
    }

    /// Upkeep until there is nothing to do; how long that took.
    pub fn tidy_up(&mut self) -> Result<Duration, Failed> {
        let begin = Instant::now();
        while self.map.upkeep(self.at(), self.model.len() as u64, 16 << 20)? {}
        Ok(begin.elapsed())
    }

    /// Compares all of it, and deletes it.
    pub fn end(mut self) -> Result<(), Failed> {
        let len = self.model.len() as u64;
        self.read(0, len)?;
        self.map.remove(self.at(), len).map_err(Failed::from)
    }
}

/// A store that can put and get whole objects only, as those that IRIS was measured on.
struct Simple {
    store: Arc<dyn Store>,
    capabilities: Capabilities,
}

impl Simple {
    fn new(store: Arc<dyn Store>) -> Simple {
        let capabilities = Capabilities {
            range_read: false,
            range_write: false,
            put_if_match: false,
            ..store.capabilities().clone()
        };
        Simple { store, capabilities }
    }
}

impl Store for Simple {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn place(&self) -> &str {
        self.store.place()
    }
    fn submit(&self, requests: &mut [Request<'_>], outcomes: &mut Vec<Result<Outcome, StoreError>>) {
        self.store.submit(requests, outcomes);
    }
    fn list(&self, request: &ListRequest<'_>) -> Result<Page, StoreError> {
        self.store.list(request)
    }
    fn check(&self) -> Result<(), StoreError> {
        self.store.check()
    }
}
