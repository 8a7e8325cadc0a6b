//! Files on a real Redis and on the embedded store, through every mapper and as two nodes see them, against a byte array.
//!
//! ./scripts/test starts the server; by hand: eval "$(scripts/servers/redis up DIR)"; export
//! IRIS_TEST_REDIS_SOCKET=$REDIS_SOCKET

#![allow(clippy::unwrap_used, reason = "a test")]

use iris::home::layout::{Layout, PLAIN};
use iris::home::map::{At, Map};
use iris_store::{Address, Host, ListRequest, Store};
use std::sync::atomic::{AtomicU64, Ordering};

const MAPPERS: [&str; 5] = [
    PLAIN,
    "naive",
    "write-optimized:max=128KiB,live=60",
    "read-optimized:bucket=128KiB,space=3,step=2",
    "auto:bucket=128KiB,window=16",
];

/// Numbers that look random, the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

struct Node<'a> {
    store: &'a dyn Store,
    turn: AtomicU64,
    map: Map,
}

impl<'a> Node<'a> {
    fn new(store: &'a dyn Store, layout: &Layout, id: [u64; 2]) -> Node<'a> {
        Node { store, turn: AtomicU64::new(0), map: Map::new(layout.keys(id), layout.mapper()) }
    }

    fn at(&self) -> At<'_> {
        At { store: self.store, turn: &self.turn }
    }

    fn read(&self, from: usize, to: usize) -> Vec<u8> {
        let mut bytes = vec![0xee; to - from];
        self.map.read(self.at(), from as u64, &mut bytes).unwrap();
        bytes
    }
}

fn lives(store: &dyn Store, mapper: &str) {
    let prefix = format!("mapped-files-{}:", std::process::id());
    let layout = Layout::Mapped { prefix: prefix.clone().into_bytes(), mapper: mapper.to_owned() };
    let id = layout.identity([4711, 17]);
    let mut nodes = [Node::new(store, &layout, id), Node::new(store, &layout, id)];
    let (mut random, mut model) = (Random(0x5eed), Vec::new());
    for step in 0..120u64 {
        let which = random.below(2) as usize;
        let node = &nodes[which];
        // As a node does that looks the file up and finds a newer version.
        node.turn.fetch_add(1, Ordering::Relaxed);
        let size = model.len() as u64;
        let (offset, len) =
            (random.below(1_500_000), 1 + random.below(if step % 3 == 0 { 500_000 } else { 900 }));
        match random.below(10) {
            0 => {
                let to = random.below(size + 1);
                node.map.truncate(node.at(), size, to).unwrap();
                model.truncate(to as usize);
            }
            1 => while node.map.upkeep(node.at(), size, 1 << 20).unwrap() {},
            2 => nodes[which] = Node::new(store, &layout, id),
            3..5 => {
                let (from, to) = (offset.min(size) as usize, (offset + len).min(size) as usize);
                assert!(node.read(from, to) == model[from..to], "{mapper}, step {step}: {from}..{to}");
            }
            _ => {
                let bytes = vec![(step % 250 + 1) as u8; len as usize];
                node.map.write(node.at(), size, offset, &bytes, random.below(2) == 0).unwrap();
                let end = (offset + len) as usize;
                if model.len() < end {
                    model.resize(end, 0);
                }
                model[offset as usize..end].copy_from_slice(&bytes);
            }
        }
    }
    for node in &nodes {
        node.turn.fetch_add(1, Ordering::Relaxed);
        assert!(node.read(0, model.len()) == model, "{mapper}, at the end");
    }
    nodes[1].map.remove(nodes[1].at(), model.len() as u64).unwrap();
    let request = ListRequest { prefix: prefix.as_bytes(), limit: 100, ..ListRequest::default() };
    let left = store.list(&request).unwrap().entries;
    assert!(left.is_empty(), "{mapper}: a removed file leaves {left:?}");
}

#[test]
fn files_on_redis() {
    let socket = std::env::var("IRIS_TEST_REDIS_SOCKET")
        .unwrap_or_else(|_| panic!("IRIS_TEST_REDIS_SOCKET is not set: see the head of this test"));
    let address = Address::parse(&format!("redis+unix://{socket}")).unwrap();
    let store = iris_store_redis::open(&address, Host { adopt_thread: || {}, log: |_, _| {} }).unwrap();
    for mapper in MAPPERS {
        lives(&*store, mapper);
    }
}

#[test]
fn files_in_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = iris_store_embedded::Embedded::open(&iris_store_embedded::Options::new(folder.path()), "kv:")
        .unwrap();
    for mapper in MAPPERS {
        lives(&store, mapper);
    }
}
