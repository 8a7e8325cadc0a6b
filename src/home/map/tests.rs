//! One file of several nodes, which share nothing but the store: every node sees what a byte array would hold, nothing is
//! lost, and a removed file leaves nothing.

use super::{At, Map};
use crate::home::testing::{MAPPERS, Memory, mapped};
use iris_store::{Condition, Request, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const UNIT: u64 = 64 << 10;
/// Of the file.
const LEN: u64 = 24 * UNIT;

struct Node {
    store: Arc<Memory>,
    turn: AtomicU64,
    map: Map,
}

impl Node {
    fn new(store: &Arc<Memory>, mapper: &str) -> Node {
        let layout = mapped(mapper);
        let id = layout.identity([8, 16]);
        let map = Map::new(layout.keys(id), layout.mapper());
        Node { store: store.clone(), turn: AtomicU64::new(0), map }
    }

    fn at(&self) -> At<'_> {
        At { store: &*self.store, turn: &self.turn }
    }

    fn read(&self, at: u64, len: u64) -> Vec<u8> {
        let mut bytes = vec![0xee; len as usize];
        self.map.read(self.at(), at, &mut bytes).unwrap();
        bytes
    }
}

/// Each of several nodes writes parts of its own, reads them back, and tidies up, all at the same time.
#[test]
fn nodes_that_share_the_store_alone_lose_nothing() {
    for mapper in MAPPERS {
        let store = Memory::new();
        let mut model = vec![0u8; LEN as usize];
        // The parts are interleaved, and no multiples of any object.
        let part = 5 * UNIT / 2;
        std::thread::scope(|s| {
            let threads: Vec<_> = (0..3u64)
                .map(|me| {
                    let node = Node::new(&store, mapper);
                    s.spawn(move || {
                        let mut mine = vec![None; LEN as usize];
                        for round in 0..24u64 {
                            let which = (round * 7 + me) % 3 * 3 + me;
                            let (from, to) = (which * part, ((which + 1) * part).min(LEN));
                            let cut = round * 1000 % UNIT;
                            let (from, to) = (from + cut, to - cut / 2);
                            if from >= to {
                                continue;
                            }
                            let bytes = vec![(round * 3 + me + 1) as u8; (to - from) as usize];
                            node.map.write(node.at(), LEN, from, &bytes, round % 4 != 0).unwrap();
                            mine[from as usize..to as usize].fill(Some(bytes[0]));
                            assert_eq!(node.read(from, to - from), bytes, "{mapper}: node {me}, {round}");
                            if round % 5 == 0 {
                                node.map.upkeep(node.at(), LEN, UNIT).unwrap();
                            }
                        }
                        mine
                    })
                })
                .collect();
            for thread in threads {
                for (all, mine) in model.iter_mut().zip(thread.join().unwrap()) {
                    *all = mine.unwrap_or(*all);
                }
            }
        });
        let late = Node::new(&store, mapper);
        assert!(late.read(0, LEN) == model, "{mapper}: a node that comes late");
        while late.map.upkeep(late.at(), LEN, UNIT).unwrap() {}
        assert!(late.read(0, LEN) == model, "{mapper}: tidied up");
        late.map.truncate(late.at(), LEN, UNIT + 1).unwrap();
        let again = Node::new(&store, mapper);
        model.truncate(UNIT as usize + 1);
        model.resize(LEN as usize, 0);
        assert!(again.read(0, LEN) == model, "{mapper}: cut");
        again.map.remove(again.at(), LEN).unwrap();
        let left = store.objects.lock().unwrap().len();
        assert_eq!(left, 0, "{mapper}: a removed file leaves objects");
    }
}

/// Whether there were so many requests that others came before number `request` of what a node does, with `writes` of
/// their own. Nothing of either is lost.
fn others_come_before(request: u32, (writes, tidy): (u64, bool), mapper: &str) -> bool {
    const PART: u64 = 4 * UNIT;
    let store = Memory::new();
    let (mine, theirs) = (Node::new(&store, mapper), Node::new(&store, mapper));
    let mut model = vec![0u8; LEN as usize];
    let mut written = |node: &Node, at: u64, len: u64, byte: u8, more: bool| {
        node.map.write(node.at(), LEN, at, &vec![byte; len as usize], more).unwrap();
        model[at as usize..(at + len) as usize].fill(byte);
    };
    written(&mine, 0, PART, 1, true);
    written(&theirs, PART, PART, 2, false);
    // Much that is superfluous, for upkeep to move.
    for i in 0..12 {
        written(&mine, i % 5 * UNIT / 3, UNIT, 100 + i as u8, i % 2 == 0);
    }
    // And a write that was given up after its first commit, which its node knew to be the next, for upkeep to repair.
    written(&theirs, PART, 100, 5, false);
    let fails = store.clone();
    let fail = move || fails.failing.store(true, Ordering::Relaxed);
    *store.interruption.lock().unwrap() = Some((2, Box::new(fail)));
    let again = (PART + UNIT / 3, vec![9; 2 * UNIT as usize]);
    let _ = theirs.map.write(theirs.at(), LEN, again.0, &again.1, false);
    store.failing.store(false, Ordering::Relaxed);
    let others = move || {
        theirs.map.write(theirs.at(), LEN, again.0, &again.1, true).unwrap();
        for i in 0..writes {
            let bytes = vec![10 + i as u8; (UNIT / 2) as usize];
            theirs.map.write(theirs.at(), LEN, PART + i % 7 * UNIT / 2, &bytes, i % 2 == 0).unwrap();
        }
        while tidy && theirs.map.upkeep(theirs.at(), LEN, UNIT).unwrap() {}
    };
    *store.interruption.lock().unwrap() = Some((request, Box::new(others)));
    written(&mine, UNIT / 2, 2 * UNIT, 3, true);
    written(&mine, 3 * UNIT, UNIT, 4, false);
    for _ in 0..3 {
        mine.map.upkeep(mine.at(), LEN, LEN).unwrap();
    }
    if store.interruption.lock().unwrap().take().is_some() {
        // Nobody has written again what was given up.
        return false;
    }
    {
        let at = (PART + UNIT / 3) as usize;
        model[at..at + 2 * UNIT as usize].fill(9);
        for i in 0..writes {
            let at = (PART + i % 7 * UNIT / 2) as usize;
            model[at..at + (UNIT / 2) as usize].fill(10 + i as u8);
        }
    }
    let what = format!("{mapper}: {writes} writes (tidy: {tidy}) before request {request}");
    // What others wrote it need not know yet.
    assert!(mine.read(0, PART) == model[..PART as usize], "{what}");
    let late = Node::new(&store, mapper);
    assert!(late.read(0, LEN) == model, "{what}: a node that comes late");
    while late.map.upkeep(late.at(), LEN, UNIT).unwrap() {}
    assert!(late.read(0, LEN) == model, "{what}: tidied up");
    late.map.remove(late.at(), LEN).unwrap();
    let left: Vec<String> =
        store.objects.lock().unwrap().keys().map(|k| k.escape_ascii().to_string()).collect();
    assert!(left.is_empty(), "{what}: a removed file leaves {left:?}");
    true
}

/// Others may add to the log, shorten it, and delete what it had, between any two requests of a node.
#[test]
fn what_others_do_between_two_requests_loses_nothing() {
    for mapper in MAPPERS.iter().filter(|m| Node::new(&Memory::new(), m).map.is_logged()) {
        for what in [(0, true), (1, true), (9, false), (17, true), (40, false), (40, true)] {
            let mut request = 0;
            while others_come_before(request, what, mapper) {
                request += 1;
            }
            assert!(request > 0, "{mapper}: no request at all");
        }
    }
}

/// A reader that planned before others moved and deleted the objects looks again.
#[test]
fn a_reader_with_an_old_plan_looks_again() {
    for mapper in ["write-optimized:max=64KiB,live=60", "auto:bucket=64KiB,window=16"] {
        let store = Memory::new();
        let (writer, reader) = (Node::new(&store, mapper), Node::new(&store, mapper));
        writer.map.write(writer.at(), LEN, 0, &vec![1; LEN as usize], false).unwrap();
        assert!(reader.read(0, LEN).iter().all(|b| *b == 1));
        for round in 2..60u8 {
            // Many small writes, which also make auto change the layout.
            for i in 0..16 {
                writer.map.write(writer.at(), LEN, i * UNIT, &vec![round; UNIT as usize], true).unwrap();
            }
            while writer.map.upkeep(writer.at(), LEN, LEN).unwrap() {}
            let seen = reader.read(0, LEN);
            assert!(seen[16 * UNIT as usize..].iter().all(|b| *b == 1), "{mapper}, {round}");
            assert!(seen[..UNIT as usize].iter().all(|b| *b <= round && *b > 0), "{mapper}, {round}");
        }
    }
}

/// A head that names commits which are gone, because its writer was stopped for long, hides nothing.
#[test]
fn an_old_head_hides_nothing() {
    let store = Memory::new();
    let node = Node::new(&store, "write-optimized:max=64KiB,live=60");
    let head = node.map.keys.head();
    let mut old = None;
    for round in 1..200u8 {
        node.map.write(node.at(), LEN, 0, &[round; 100], false).unwrap();
        if old.is_none() {
            old = store.objects.lock().unwrap().get(&head).cloned();
        }
    }
    let old = old.expect("the log was shortened at least once");
    store.one(Request::Put { key: &head, bytes: &old, condition: Condition::Always, meta: &[] }).unwrap();
    let late = Node::new(&store, "naive");
    assert_eq!(late.read(0, 100), [199; 100]);
    let commits = store.objects.lock().unwrap().keys().filter(|k| k.starts_with(&head)).count();
    assert!(commits < 80, "{commits} objects of a log of 400 commits");
}

/// What is no commit is named, and is never taken for one.
#[test]
fn damage_is_told() {
    let store = Memory::new();
    let node = Node::new(&store, "write-optimized");
    node.map.write(node.at(), 0, 0, &[7; 100], false).unwrap();
    let key = node.map.keys.commit(2);
    store.objects.lock().unwrap().get_mut(&key).unwrap()[50] ^= 1;
    let late = Node::new(&store, "write-optimized");
    let error = late.map.read(late.at(), 0, &mut [0; 100]).unwrap_err();
    assert!(error.to_string().contains("its hash is wrong"), "{error}");
    assert_eq!(error.errno(), libc::EIO);
    assert!(node.turn.load(Ordering::Relaxed) > 0, "a commit is a turn of the node");
}
