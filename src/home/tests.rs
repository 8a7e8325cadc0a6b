//! Residency against a byte array: whatever is written, cut, sent, taken out and fetched again, a file reads as the
//! array does, here and on a node that has only the store.

use super::control::{Bit, GRANULE};
use super::placement::Layout;
use super::resident::{Anchor, Resident};
use super::{Home, service};
use crate::errno::Errno;
use crate::sys;
use crate::tier0::pool::{Pool, PoolSettings};
use iris_store::{
    Capabilities, Compose, Condition, Kind, ListRequest, ObjectFacts, Outcome, Page, Part, Request, Result,
    Store, StoreError,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A store in memory, for what no real one does on demand: failing at a given request.
struct Memory {
    objects: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    capabilities: Capabilities,
    failing: AtomicBool,
    gets: AtomicU64,
}

impl Memory {
    fn new() -> Arc<Memory> {
        Arc::new(Memory {
            objects: Mutex::default(),
            failing: AtomicBool::new(false),
            gets: AtomicU64::new(0),
            capabilities: Capabilities {
                range_read: true,
                range_write: true,
                put_if_absent: false,
                put_if_match: false,
                batch: true,
                list: false,
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

    fn carry_out(&self, request: &mut Request<'_>) -> Result<Outcome> {
        let mut objects = self.objects.lock().unwrap();
        if self.failing.load(Ordering::Relaxed) {
            return Err(StoreError::new(
                Kind::Unavailable,
                "memory",
                Some(request.key()),
                "failing on demand",
            ));
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
            Request::Put { key, bytes, .. } => {
                objects.insert(key.to_vec(), bytes.to_vec());
                Ok(Outcome::Put(None))
            }
            Request::Update { key, offset, bytes } => {
                let object = objects.entry(key.to_vec()).or_default();
                let end = *offset as usize + bytes.len();
                if object.len() < end {
                    object.resize(end, 0);
                }
                object[*offset as usize..end].copy_from_slice(bytes);
                Ok(Outcome::Done)
            }
            Request::Resize { key, len } => {
                objects.entry(key.to_vec()).or_default().resize(*len as usize, 0);
                Ok(Outcome::Done)
            }
            Request::Delete { key } => {
                objects.remove(*key);
                Ok(Outcome::Done)
            }
            Request::Head { key } => {
                let len = objects.get(*key).ok_or_else(|| missing(key))?.len() as u64;
                Ok(Outcome::Facts(ObjectFacts { len, ..ObjectFacts::default() }))
            }
        }
    }
}

impl Store for Memory {
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
    fn list(&self, _: &ListRequest<'_>) -> Result<Page> {
        Err(StoreError::new(Kind::Unsupported, "memory", None, "no listing"))
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
struct Node {
    _folder: tempfile::TempDir,
    anchor: std::fs::File,
    file: Arc<Resident>,
}

impl Node {
    fn new(store: &Arc<Memory>, layout: Layout) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let below = |name: &str| folder.path().join(name);
        for name in ["tree", "controls", "pool"] {
            std::fs::create_dir(below(name)).unwrap();
        }
        let pool = Pool::open_or_make(&PoolSettings {
            folder: below("pool"),
            memory: 4 << 20,
            storage_folder: None,
            storage: 0,
        })
        .unwrap();
        let anchor = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(below("tree/f"))
            .unwrap();
        let bytes = |name: &str| below(name).as_os_str().as_bytes().to_vec();
        let store = store.clone();
        let home = Home::new(
            bytes("tree"),
            bytes("controls"),
            layout,
            u64::MAX,
            Box::new(move || Ok(store.clone() as Arc<dyn Store>)),
        );
        let file =
            Box::leak(Box::new(home)).resident(anchor.as_raw_fd(), Box::leak(Box::new(pool)), true).unwrap();
        Node { _folder: folder, anchor, file }
    }

    fn anchor(&self) -> Anchor {
        Anchor::here(self.anchor.as_raw_fd())
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0xee; len];
        let n = self
            .file
            .reading(self.anchor(), at..at + len as u64, || {
                // Others get their turn just here.
                std::thread::yield_now();
                // SAFETY: the vector is that long.
                unsafe { sys::pread(self.anchor.as_raw_fd(), bytes.as_mut_ptr(), len, at) }
            })
            .unwrap();
        bytes.truncate(n);
        bytes
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let n = self.file.writing(self.anchor(), at..at + bytes.len() as u64, || {
            // SAFETY: the slice is that long.
            unsafe { sys::pwrite(self.anchor.as_raw_fd(), bytes.as_ptr(), bytes.len(), at) }
        });
        assert_eq!(n, Ok(bytes.len()));
    }

    fn truncate(&self, len: u64) {
        self.file.truncating(len, || sys::ftruncate(self.anchor.as_raw_fd(), len)).unwrap();
    }

    fn evict(&self) {
        let (file, anchor) = (&self.file, self.anchor());
        service::call(|| file.evict_for_test(anchor)).unwrap();
    }

    /// Sees the file as another node does that looks it up now.
    fn look_up(&self, other: &Node) {
        let len = other.anchor.metadata().unwrap().len();
        let id = &other.file.control().head().id;
        for (mine, theirs) in self.file.control().head().id.iter().zip(id) {
            mine.store(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.file.replaced(self.anchor.as_raw_fd(), len, None).unwrap();
    }
}

fn buckets() -> Layout {
    Layout::Buckets { prefix: b"t:".to_vec(), size: 4 * GRANULE }
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u64),
    Read(u64, u64),
    Truncate(u64),
    Settle,
    Evict,
    Elsewhere,
    FailedSettle,
}

/// Offsets near the borders of granules and buckets.
fn offset() -> impl Strategy<Value = u64> {
    (0u64..14, -3i64..4, 0u64..3)
        .prop_map(|(g, near, far)| (g * GRANULE + far * 1000).saturating_add_signed(near))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![1u64..200, GRANULE - 2..GRANULE + 3, 3 * GRANULE..6 * GRANULE];
    prop::collection::vec(
        prop_oneof![
            4 => (offset(), length.clone()).prop_map(|(o, l)| Step::Write(o, l)),
            4 => (offset(), length).prop_map(|(o, l)| Step::Read(o, l)),
            1 => offset().prop_map(Step::Truncate),
            2 => Just(Step::Settle),
            2 => Just(Step::Evict),
            1 => Just(Step::Elsewhere),
            1 => Just(Step::FailedSettle),
        ],
        1..40,
    )
}

fn plays(layout: Layout, steps: &[Step]) -> std::result::Result<(), TestCaseError> {
    let store = Memory::new();
    let here = Node::new(&store, layout.clone());
    let there = Node::new(&store, layout);
    let mut model: Vec<u8> = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let fill = (i % 250 + 1) as u8;
        match *step {
            Step::Write(at, len) => {
                let end = (at + len) as usize;
                if model.len() < end {
                    model.resize(end, 0);
                }
                model[at as usize..end].fill(fill);
                here.write(at, &vec![fill; len as usize]);
            }
            Step::Read(at, len) => {
                let from = (at as usize).min(model.len());
                let to = ((at + len) as usize).min(model.len());
                prop_assert!(here.read(at, len as usize) == model[from..to], "step {i}: {step:?}");
            }
            Step::Truncate(len) => {
                model.resize(len as usize, 0);
                here.truncate(len);
            }
            Step::Settle => here.file.settle(here.anchor()).unwrap(),
            Step::Evict => here.evict(),
            Step::Elsewhere => {
                here.file.settle(here.anchor()).unwrap();
                there.look_up(&here);
                prop_assert!(there.read(0, model.len() + 10) == model, "elsewhere, step {i}");
            }
            Step::FailedSettle => {
                store.failing.store(true, Ordering::Relaxed);
                let settled = here.file.settle(here.anchor());
                store.failing.store(false, Ordering::Relaxed);
                prop_assert!(settled.is_ok() || here.file.is_unsettled());
                prop_assert!(settled.is_ok() || settled == Err(Errno(libc::ETIMEDOUT)));
            }
        }
    }
    prop_assert!(here.read(0, model.len() + 10) == model, "at the end");
    here.file.settle(here.anchor()).unwrap();
    prop_assert_eq!(here.file.control().run(Bit::Dirty, true, 0, 1000), None);
    there.look_up(&here);
    prop_assert!(there.read(0, model.len() + 10) == model, "elsewhere, at the end");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn buckets_read_as_a_byte_array(steps in steps()) {
        plays(buckets(), &steps)?;
    }

    #[test]
    fn whole_objects_read_as_a_byte_array(steps in steps()) {
        plays(Layout::Whole { prefix: b"p/".to_vec() }, &steps)?;
    }
}

#[test]
fn readers_never_see_what_nobody_wrote() {
    let store = Memory::new();
    let node = Node::new(&store, buckets());
    const LEN: u64 = 6 * GRANULE;
    node.write(0, &vec![1; LEN as usize]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            for round in 0..600u64 {
                let at = round * 37_777 % (LEN - 70_000);
                node.write(at, &vec![1; 70_000]);
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        s.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                node.evict();
                node.file.settle(node.anchor()).unwrap();
            }
        });
        for start in 0..2u64 {
            let (node, stop) = (&node, &stop);
            s.spawn(move || {
                let mut at = start;
                while !stop.load(Ordering::Relaxed) {
                    at = (at + 45_001) % (LEN - 9_000);
                    assert!(node.read(at, 9_000).iter().all(|&b| b == 1), "at {at}");
                }
            });
        }
    });
    node.file.settle(node.anchor()).unwrap();
    node.evict();
    assert!(node.read(0, LEN as usize).iter().all(|&b| b == 1));
    assert!(store.gets.load(Ordering::Relaxed) > 0, "bytes did leave the anchor");
}
