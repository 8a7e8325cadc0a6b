//! What the tests of homes share: a store in memory that fails on demand, and a node with one open file.

use super::layout::Layout;
use super::resident::{Anchor, Resident};
use super::{Home, Opener};
use crate::sys;
use crate::tier0::pool::{Pool, PoolSettings};
use iris_store::{
    Capabilities, Compose, Condition, Fenced, Kind, ListRequest, Listed, ObjectFacts, Outcome, Page, Part,
    Request, Result, Store, StoreError,
};
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A store in memory, for what no real one does on demand: failing at a given request.
pub struct Memory {
    pub objects: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    capabilities: Capabilities,
    pub failing: AtomicBool,
    pub gets: AtomicU64,
    /// Objects put, changed or deleted.
    pub changes: AtomicU64,
    /// What happens before a request, of which so many others come first.
    pub interruption: Mutex<Option<(u32, Interruption)>>,
}

type Interruption = Box<dyn FnOnce() + Send>;

impl Memory {
    pub fn new() -> Arc<Memory> {
        Arc::new(Memory {
            objects: Mutex::default(),
            failing: AtomicBool::new(false),
            gets: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            interruption: Mutex::new(None),
            capabilities: Capabilities {
                range_read: true,
                range_write: true,
                put_if_absent: true,
                put_if_match: false,
                batch: true,
                list: true,
                list_scans: false,
                compose: true,
                scripts: false,
                volatile: false,
                durable: false,
                shared: false,
                max_put: u64::MAX,
                max_key: 1024,
                deadline: Duration::from_secs(1),
            },
        })
    }

    fn interrupted(&self) {
        let due = {
            let mut waiting = self.interruption.lock().unwrap();
            match waiting.as_mut() {
                Some((0, _)) => waiting.take(),
                Some((others, _)) => {
                    *others -= 1;
                    None
                }
                None => None,
            }
        };
        if let Some((_, interruption)) = due {
            interruption();
        }
    }

    fn carry_out(&self, request: &mut Request<'_>) -> Result<Outcome> {
        self.interrupted();
        let mut objects = self.objects.lock().unwrap();
        if self.failing.load(Ordering::Relaxed) {
            return Err(StoreError::new(
                Kind::Unavailable,
                "memory",
                Some(request.key()),
                "failing on demand",
            ));
        }
        if !matches!(request, Request::Get { .. } | Request::Head { .. }) {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        let missing = |key: &[u8]| StoreError::new(Kind::NotFound, "memory", Some(key), "no such object");
        match request {
            Request::Get { key, offset, into } => {
                self.gets.fetch_add(1, Ordering::Relaxed);
                let object = objects.get(*key).ok_or_else(|| missing(key))?;
                let from = (*offset as usize).min(object.len());
                let n = into.len().min(object.len() - from);
                into[..n].copy_from_slice(&object[from..from + n]);
                Ok(Outcome::Read(n))
            }
            Request::Put { key, condition: Condition::Absent, .. } if objects.contains_key(*key) => {
                Err(StoreError::new(Kind::Precondition, "memory", Some(key), "it is there already"))
            }
            Request::Put { .. } => {
                change(&mut objects, request);
                Ok(Outcome::Put(None))
            }
            Request::Update { .. } | Request::Resize { .. } | Request::Delete { .. } => {
                change(&mut objects, request);
                Ok(Outcome::Done)
            }
            Request::Head { key } => {
                let len = objects.get(*key).ok_or_else(|| missing(key))?.len() as u64;
                Ok(Outcome::Facts(ObjectFacts { len, ..ObjectFacts::default() }))
            }
        }
    }
}

fn change(objects: &mut BTreeMap<Vec<u8>, Vec<u8>>, request: &Request<'_>) {
    match request {
        Request::Put { key, bytes, .. } => drop(objects.insert(key.to_vec(), bytes.to_vec())),
        Request::Update { key, offset, bytes } => {
            let object = objects.entry(key.to_vec()).or_default();
            let end = *offset as usize + bytes.len();
            if object.len() < end {
                object.resize(end, 0);
            }
            object[*offset as usize..end].copy_from_slice(bytes);
        }
        Request::Resize { key, len } => objects.entry(key.to_vec()).or_default().resize(*len as usize, 0),
        Request::Delete { key } => drop(objects.remove(*key)),
        Request::Get { .. } | Request::Head { .. } => {}
    }
}

impl Fenced for Memory {
    fn change_between(&self, behind: &[u8], before: &[u8], requests: &[Request<'_>]) -> Result<bool> {
        self.interrupted();
        let mut objects = self.objects.lock().unwrap();
        if !objects.contains_key(behind) || objects.contains_key(before) {
            return Ok(false);
        }
        for request in requests {
            if !matches!(request, Request::Resize { key, .. } if !objects.contains_key(*key)) {
                change(&mut objects, request);
            }
        }
        Ok(true)
    }
}

impl Store for Memory {
    fn fenced(&self) -> Option<&dyn Fenced> {
        Some(self)
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn place(&self) -> &str {
        "memory"
    }
    fn submit(&self, requests: &mut [Request<'_>], outcomes: &mut Vec<Result<Outcome>>) {
        outcomes.clear();
        outcomes.extend(requests.iter_mut().map(|r| self.carry_out(r)));
    }
    fn list(&self, request: &ListRequest<'_>) -> Result<Page> {
        self.interrupted();
        let objects = self.objects.lock().unwrap();
        let found = objects.keys().filter(|k| k.starts_with(request.prefix) && k.as_slice() > request.after);
        let entries = found.map(|k| Listed::Object(k.clone(), ObjectFacts::default())).collect();
        Ok(Page { entries, next: None })
    }
    fn check(&self) -> Result<()> {
        Ok(())
    }
    fn compose(&self) -> Option<&dyn Compose> {
        Some(self)
    }
}

impl Compose for Memory {
    fn compose(
        &self,
        key: &[u8],
        parts: &[Part<'_>],
        _: Condition,
        _: &[(String, String)],
    ) -> Result<ObjectFacts> {
        let mut whole = Vec::new();
        for part in parts {
            match part {
                Part::Bytes { source, offset, len } => {
                    let from = whole.len();
                    whole.resize(from + *len as usize, 0);
                    source.read_at(*offset, &mut whole[from..]).unwrap();
                }
                Part::Existing { key, offset, len, .. } => {
                    let objects = self.objects.lock().unwrap();
                    whole.extend_from_slice(&objects[*key][*offset as usize..(*offset + *len) as usize]);
                }
            }
        }
        let len = whole.len() as u64;
        self.objects.lock().unwrap().insert(key.to_vec(), whole);
        Ok(ObjectFacts { len, ..ObjectFacts::default() })
    }
}

/// A node: a shadow tree, a pool, one open file.
pub struct Node {
    _folder: Option<tempfile::TempDir>,
    pub anchor: std::fs::File,
    pub file: Arc<Resident>,
    pub home: &'static Home,
    pub pool: &'static Pool,
}

impl Node {
    /// A new one, whose store is in memory.
    pub fn in_memory(store: &Arc<Memory>, layout: Layout) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let store = store.clone();
        let opener = Box::new(move || Ok(store.clone() as Arc<dyn Store>));
        let mut node = Node::at(folder.path(), layout, opener);
        node._folder = Some(folder);
        node
    }

    /// The node of this folder, made if need be.
    pub fn at(folder: &Path, layout: Layout, opener: Opener) -> Node {
        let below = |name: &str| folder.join(name);
        for name in ["tree", "controls", "pool"] {
            std::fs::create_dir_all(below(name)).unwrap();
        }
        let settings =
            PoolSettings { folder: below("pool"), memory: 4 << 20, storage_folder: None, storage: 0 };
        let pool: &'static Pool = Box::leak(Box::new(Pool::open_or_make(&settings).unwrap()));
        let anchor = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(below("tree/f"))
            .unwrap();
        let bytes = |name: &str| below(name).as_os_str().as_bytes().to_vec();
        let home = Home::new(bytes("tree"), bytes("controls"), layout, u64::MAX, opener);
        let home: &'static Home = Box::leak(Box::new(home));
        let file = home.resident(anchor.as_raw_fd(), pool, true).unwrap();
        Node { _folder: None, anchor, file, home, pool }
    }

    pub fn anchor(&self) -> Anchor {
        Anchor::here(self.anchor.as_raw_fd())
    }

    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0xee; len];
        let n = self
            .file
            .reading(self.anchor(), at..at + len as u64, || {
                // Others get their turn just here.
                std::thread::yield_now();
                // SAFETY: the vector is that long.
                unsafe { sys::pread(self.anchor.as_raw_fd(), bytes.as_mut_ptr(), len, at) }
            })
            .unwrap_or_else(|e| panic!("reading {len} at {at}: {e}"));
        bytes.truncate(n);
        bytes
    }

    pub fn write(&self, at: u64, bytes: &[u8]) {
        let n = self.file.writing(self.anchor(), at..at + bytes.len() as u64, || {
            // SAFETY: the slice is that long.
            unsafe { sys::pwrite(self.anchor.as_raw_fd(), bytes.as_ptr(), bytes.len(), at) }
        });
        assert_eq!(n, Ok(bytes.len()));
    }

    pub fn truncate(&self, len: u64) {
        let fd = self.anchor.as_raw_fd();
        self.file.truncating(fd, len, || sys::ftruncate(fd, len)).unwrap();
    }

    pub fn evict(&self) {
        let (file, anchor) = (&self.file, self.anchor());
        file.release_all(anchor).unwrap();
    }

    /// Takes this node's file for the other's.
    pub fn take_identity_of(&self, other: &Node) {
        let id = &other.file.control().head().id;
        for (mine, theirs) in self.file.control().head().id.iter().zip(id) {
            mine.store(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Sees the file as another node does that looks it up now.
    pub fn look_up(&self, other: &Node) {
        let len = other.anchor.metadata().unwrap().len();
        self.take_identity_of(other);
        self.file.replaced(self.anchor.as_raw_fd(), len, None).unwrap();
    }
}

pub fn mapped(mapper: &str) -> Layout {
    Layout::Mapped { prefix: b"t:".to_vec(), mapper: mapper.to_owned() }
}

/// Every mapper, with buckets that the files below have several of, and with little patience.
pub const MAPPERS: [&str; 6] = [
    super::layout::PLAIN,
    "naive",
    "balanced:bucket=128KiB",
    "write-optimized:max=128KiB,live=60",
    "read-optimized:bucket=128KiB,space=3,step=2",
    "auto:bucket=128KiB,window=16",
];
