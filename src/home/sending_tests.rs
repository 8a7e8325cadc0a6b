//! Sending a file while it is written, cut and taken out: whatever happens between any two requests to the store, what
//! the file holds afterwards, here and in the store, is what a byte array would hold.

use super::control::GRANULE;
use super::layout::Layout;
use super::testing::{MAPPERS, Memory, Node, mapped};
use crate::home::resident::Anchor;
use crate::sys;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

const G: usize = GRANULE as usize;

/// A file as it is on a node, and what it should hold.
struct File {
    node: Node,
    model: Vec<u8>,
}

impl File {
    /// One that the store has in part: some was cut, some grew, some was written over.
    fn half_sent(node: Node) -> File {
        let mut file = File { node, model: Vec::new() };
        file.write(0, 2 * G + 300, 1);
        file.settle();
        file.cut(G + 100);
        file.write(G + 200, 50, 2);
        file.write(10, 5, 3);
        file
    }

    fn write(&mut self, at: usize, len: usize, byte: u8) {
        if self.model.len() < at + len {
            self.model.resize(at + len, 0);
        }
        self.model[at..at + len].fill(byte);
        self.node.write(at as u64, &vec![byte; len]);
    }

    fn cut(&mut self, len: usize) {
        self.model.resize(len, 0);
        self.node.truncate(len as u64);
    }

    fn settle(&self) {
        self.node.file.settle(self.node.anchor()).unwrap();
    }

    fn holds(&self, what: &str) {
        let read = self.node.read(0, self.model.len() + 10);
        assert_eq!(read.len(), self.model.len(), "{what}: the length");
        if let Some(at) = (0..read.len()).find(|&i| read[i] != self.model[i]) {
            panic!("{what}: byte {at} is {} and not {}", read[at], self.model[at]);
        }
    }
}

type Step = (&'static str, fn(&mut File));

/// What may come in between.
const STEPS: [Step; 10] = [
    ("an append within the last granule", |f| f.write(f.model.len(), 12, 7)),
    ("an append of granules", |f| f.write(f.model.len(), 2 * G, 7)),
    ("a write over old bytes", |f| f.write(100, 50, 7)),
    ("a write over the end", |f| f.write(G + 150, 300, 7)),
    ("a cut", |f| f.cut(60)),
    ("a cut to nothing", |f| f.cut(0)),
    ("a cut, and a write behind it", |f| {
        f.cut(5);
        f.write(40, 30, 7);
    }),
    ("a cut within the last granule, and more than before", |f| {
        f.cut(G + 20);
        f.write(G + 30, 400, 7);
    }),
    ("growth without bytes", |f| f.cut(3 * G + 70)),
    ("taking out what may go", |f| f.node.evict()),
];

/// Runs `step` before request number `request` of a send. Whether there were so many.
fn interrupts(layout: &Layout, request: u32, (name, step): Step) -> bool {
    let store = Memory::new();
    let mut file = File::half_sent(Node::in_memory(&store, layout.clone()));
    let what = format!("{layout:?}: {name} before request {request}");
    let (reached, reaches) = mpsc::channel::<()>();
    let (goes_on, go_on) = mpsc::channel::<()>();
    let wait = move || {
        reached.send(()).unwrap();
        go_on.recv().unwrap();
    };
    *store.interruption.lock().unwrap() = Some((request, Box::new(wait)));
    let (sent, anchor) = (file.node.file.clone(), file.node.anchor());
    let came = std::thread::scope(|s| {
        let sender = s.spawn(move || sent.settle(anchor));
        // Until it is reached, or dropped because there were fewer requests.
        let ended = s.spawn(move || {
            let result = sender.join().unwrap();
            *store.interruption.lock().unwrap() = None;
            result
        });
        let came = reaches.recv().is_ok();
        if came {
            step(&mut file);
            goes_on.send(()).unwrap();
        }
        ended.join().unwrap().unwrap_or_else(|e| panic!("{what}: {e}"));
        came
    });
    file.holds(&format!("{what}, at once"));
    file.node.evict();
    file.holds(&format!("{what}, from the store and what is to be sent"));
    file.settle();
    file.node.evict();
    file.holds(&format!("{what}, from the store"));
    came
}

#[test]
fn what_comes_between_two_requests_of_a_send_is_kept() {
    let whole = Layout::Whole { prefix: b"p/".to_vec() };
    for layout in MAPPERS.iter().map(|m| mapped(m)).chain([whole]) {
        for step in STEPS {
            let mut request = 0;
            while interrupts(&layout, request, step) {
                request += 1;
            }
            assert!(request > 0, "{layout:?}: a send without requests");
        }
    }
}

/// Tells others that it has ended.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn appends_while_the_file_is_sent_and_taken_out_are_kept() {
    let store = Memory::new();
    let node = Node::in_memory(&store, mapped(super::layout::PLAIN));
    const RECORD: usize = 7;
    const RECORDS: usize = 20_000;
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            // Also where a write fails.
            let _ends = Ends(&done);
            for i in 0..RECORDS {
                node.write((i * RECORD) as u64, &[(i % 250) as u8 + 1; RECORD]);
            }
        });
        for takes_out in [false, true] {
            let (node, done) = (&node, &done);
            s.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    if takes_out {
                        node.evict();
                    } else {
                        node.file.settle(node.anchor()).unwrap();
                    }
                }
            });
        }
    });
    node.file.settle(node.anchor()).unwrap();
    node.evict();
    let read = node.read(0, RECORD * RECORDS);
    assert_eq!(read.len(), RECORD * RECORDS);
    for (i, record) in read.chunks(RECORD).enumerate() {
        assert_eq!(record, [(i % 250) as u8 + 1; RECORD], "record {i}");
    }
}

/// A write that gives less than it was asked for, in the midst of a granule that only the store has.
#[test]
fn a_short_write_keeps_what_it_did_not_reach() {
    for reached in [10, G - 1, G, G + 500, 2 * G + 5] {
        let store = Memory::new();
        let mut file =
            File { node: Node::in_memory(&store, mapped(super::layout::PLAIN)), model: Vec::new() };
        file.write(0, 3 * G, 1);
        file.settle();
        file.node.evict();
        let fd = file.node.anchor.as_raw_fd();
        let bytes = vec![9u8; reached];
        let written = file.node.file.writing(Anchor::here(fd), 0..3 * GRANULE, || {
            // SAFETY: the vector is that long.
            unsafe { sys::pwrite(fd, bytes.as_ptr(), bytes.len(), 0) }
        });
        assert_eq!(written, Ok(reached));
        file.model[..reached].fill(9);
        file.holds(&format!("{reached} bytes of three granules"));
        file.settle();
        file.node.evict();
        file.holds(&format!("{reached} bytes of three granules, from the store"));
    }
}

/// A file that the store has and the anchor has not, cut by the kernel while nobody could say so.
fn cut_in_silence(len: u64) -> File {
    let store = Memory::new();
    let mut file = File { node: Node::in_memory(&store, mapped(super::layout::PLAIN)), model: Vec::new() };
    file.write(0, 3 * G + 10, 1);
    file.settle();
    file.node.evict();
    file.node.anchor.set_len(len).unwrap();
    file.model.truncate(len as usize);
    file
}

type Next = (&'static str, fn(&mut File));

/// Whoever opened it with O_TRUNC was killed in the midst of that.
#[test]
fn a_cut_that_nobody_told_of_stays_one() {
    let nexts: [Next; 5] = [
        ("a read", |_| {}),
        ("a write far behind", |f| f.write(2 * G + 50, 10, 5)),
        ("a write into what was", |f| f.write(20, 10, 5)),
        ("growth", |f| f.cut(2 * G)),
        ("an open", |f| {
            let fd = f.node.anchor.as_raw_fd();
            drop(f.node.home.resident(fd, f.node.pool, false).unwrap());
            assert!(f.node.file.is_unsettled(), "the store holds what was cut");
        }),
    ];
    for len in [0, 100, GRANULE + 7] {
        for (what, next) in nexts {
            let mut file = cut_in_silence(len);
            let what = format!("{what} after a cut to {len}");
            next(&mut file);
            file.holds(&what);
            file.settle();
            file.node.evict();
            file.holds(&format!("{what}, from the store"));
            file.cut(3 * G);
            file.holds(&format!("{what}, grown again"));
        }
    }
}

/// Of two processes that have the file open, one opens it with O_TRUNC; the other writes before that one can say so.
#[test]
fn what_is_written_after_a_cut_is_kept_although_the_cut_is_told_later() {
    let mut file = cut_in_silence(0);
    file.write(5, 10, 5);
    file.node.file.emptied(file.node.anchor.as_raw_fd()).unwrap();
    file.settle();
    file.node.evict();
    file.holds("from the store");
}

/// The kernel writes it where no hook sees that.
#[test]
fn a_wild_file_is_sent_where_it_has_changed() {
    for mapper in MAPPERS {
        let store = Memory::new();
        let mut file = File { node: Node::in_memory(&store, mapped(mapper)), model: Vec::new() };
        file.write(0, 5 * G + 10, 1);
        file.settle();
        file.node.file.leave(file.node.anchor(), true).unwrap();
        let unseen = |file: &mut File, at: usize, byte: u8| {
            use std::os::unix::fs::FileExt;
            file.node.anchor.write_all_at(&[byte; 9], at as u64).unwrap();
            file.model[at..at + 9].fill(byte);
        };
        let changes = |file: &File| {
            let before = store.changes.load(Ordering::Relaxed);
            file.settle();
            store.changes.load(Ordering::Relaxed) - before
        };
        unseen(&mut file, 2 * G + 5, 9);
        assert!(changes(&file) > 0, "{mapper}");
        assert_eq!(changes(&file), 0, "{mapper}: nothing is new");
        unseen(&mut file, 4 * G + 5, 10);
        assert!(changes(&file) > 0, "{mapper}");
        // What is cut off is gone from the store, and written again is new although it is the same.
        file.cut(4 * G);
        file.settle();
        file.write(4 * G, G + 10, 1);
        unseen(&mut file, 4 * G + 5, 10);
        file.settle();
        let there = Node::in_memory(&store, mapped(mapper));
        there.look_up(&file.node);
        assert!(there.read(0, file.model.len() + 10) == file.model, "{mapper}: elsewhere");
    }
}
