//! What mappers are worth on a real file system: objects of 64 KiB are written, read in another order, replaced in a
//! third, and read again, through the store, by each mapper in turn, several rounds in one run. Every byte is
//! checked. `cargo bench -p iris-store-embedded --bench containers-io -- DIR [MB [ROUNDS [DURABILITY]]]`; MB of
//! objects (1024), rounds (3), `none` or `sync` (none). The last line of each mapper is the best round; ratios are
//! against `one-to-one` and against plain files made, read and replaced by open, write and rename. With MB 0: what an
//! object of 100 bytes costs in time and memory while there come to be millions (ROUNDS of them, 1).

#![allow(clippy::unwrap_used, reason = "a program that measures stops at the first error")]

use iris_mappers::containers::MAPPERS;
use iris_store::{Condition, Outcome, Request, Store};
use iris_store_embedded::{Durability, Embedded, Options};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

const LEN: usize = 64 * 1024;

/// Somewhere that objects go to and come from.
trait Place {
    fn put(&mut self, i: usize, bytes: &[u8]);
    fn get(&mut self, i: usize, into: &mut [u8]);
}

struct Kv {
    store: Embedded,
    keys: Vec<Vec<u8>>,
}

impl Place for Kv {
    fn put(&mut self, i: usize, bytes: &[u8]) {
        let request = Request::Put { key: &self.keys[i], bytes, condition: Condition::Always, meta: &[] };
        self.store.one(request).unwrap();
    }

    fn get(&mut self, i: usize, into: &mut [u8]) {
        let got = self.store.one(Request::Get { key: &self.keys[i], offset: 0, into }).unwrap();
        assert_eq!(got, Outcome::Read(LEN));
    }
}

/// An object is a file of its own, without any store.
struct Plain {
    names: Vec<PathBuf>,
    new: PathBuf,
}

impl Place for Plain {
    fn put(&mut self, i: usize, bytes: &[u8]) {
        fs::write(&self.new, bytes).unwrap();
        fs::rename(&self.new, &self.names[i]).unwrap();
    }

    fn get(&mut self, i: usize, into: &mut [u8]) {
        use std::os::unix::fs::FileExt;
        fs::File::open(&self.names[i]).unwrap().read_exact_at(into, 0).unwrap();
    }
}

fn bytes(i: usize, version: usize) -> u8 {
    (i * 7 + version * 131) as u8
}

/// Microseconds an object of write, read, update, read.
fn round(place: &mut dyn Place, objects: usize) -> [f64; 4] {
    let mut buffer = vec![0u8; LEN];
    let timed = |work: &mut dyn FnMut(usize)| {
        let start = Instant::now();
        (0..objects).for_each(work);
        start.elapsed().as_secs_f64() * 1e6 / objects as f64
    };
    let write = timed(&mut |i| {
        buffer.fill(bytes(i, 0));
        place.put(i, &buffer);
    });
    let mut room = vec![0u8; LEN];
    let read = |place: &mut dyn Place, room: &mut Vec<u8>, version: usize| {
        timed(&mut |i| {
            let i = i * 7919 % objects;
            place.get(i, room);
            // All bytes are the first, and the first is right: a comparison costs as little as it can.
            assert!(room[0] == bytes(i, version) && room[1..] == room[..LEN - 1], "object {i}");
        })
    };
    let first = read(place, &mut room, 0);
    let update = timed(&mut |i| {
        let i = i * 6007 % objects;
        buffer.fill(bytes(i, 1));
        place.put(i, &buffer);
    });
    let second = read(place, &mut room, 1);
    [write, first, update, second]
}

/// Bytes of memory that this process has in use.
fn memory() -> f64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

fn small(base: &Path, millions: usize) {
    let folder = base.join(format!("containers-io-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let store =
        Embedded::open(&Options { durability: Some(Durability::None), ..Options::new(&folder) }, "bench")
            .unwrap();
    let before = memory();
    let each = 250_000;
    println!("{:>9} {:>8} {:>8} {:>8}", "objects", "put us", "get us", "bytes of memory each");
    for step in 0..millions * 4 {
        let key = |i: usize| format!("a/folder/object-{i:08}").into_bytes();
        let start = Instant::now();
        for i in step * each..(step + 1) * each {
            let (key, bytes) = (key(i), [bytes(i, 0); 100]);
            let request = Request::Put { key: &key, bytes: &bytes, condition: Condition::Always, meta: &[] };
            store.one(request).unwrap();
        }
        let put = start.elapsed().as_secs_f64() * 1e6 / each as f64;
        let start = Instant::now();
        for n in 0..each {
            let i = n * 7919 % ((step + 1) * each);
            let (key, mut room) = (key(i), [0; 100]);
            store.one(Request::Get { key: &key, offset: 0, into: &mut room }).unwrap();
            assert!(room.iter().all(|b| *b == bytes(i, 0)), "object {i}");
        }
        let get = start.elapsed().as_secs_f64() * 1e6 / each as f64;
        let objects = (step + 1) * each;
        println!("{objects:9} {put:8.2} {get:8.2} {:8.0}", (memory() - before) / objects as f64);
    }
    let start = Instant::now();
    let again = Embedded::open(&Options::new(&folder), "bench").unwrap();
    again.space().unwrap();
    println!("opening it again: {:.2} s", start.elapsed().as_secs_f64());
    fs::remove_dir_all(&folder).unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let Some(base) = arguments.first() else {
        println!("usage: containers-io DIR [MB [ROUNDS [DURABILITY]]]");
        return;
    };
    let number = |i: usize, default: usize| arguments.get(i).map_or(default, |a| a.parse().unwrap());
    let (megabytes, rounds) = (number(1, 1024), number(2, 3));
    let durability = match arguments.get(3).map(String::as_str) {
        Some("sync") => Durability::Sync,
        _ => Durability::None,
    };
    if megabytes == 0 {
        return small(Path::new(base), rounds);
    }
    // A number without small factors in common with the strides above.
    let objects = (megabytes * 16) | 1;
    let folder = Path::new(base).join(format!("containers-io-{}", std::process::id()));
    let mut best: Vec<(String, [f64; 4])> = Vec::new();
    for _ in 0..rounds {
        let mut all: Vec<(String, Option<&'static iris_mappers::containers::Named>)> =
            MAPPERS.iter().map(|m| (m.name.to_owned(), Some(m))).collect();
        all.push(("plain files".to_owned(), None));
        for (name, named) in all {
            fs::create_dir_all(&folder).unwrap();
            let times = match named {
                Some(named) => {
                    let mut options = Options::new(&folder);
                    (options.mapper, options.durability) = (Some(named), Some(durability));
                    let store = Embedded::open(&options, "bench").unwrap();
                    let keys = (0..objects).map(|i| format!("object-{i:06}").into_bytes()).collect();
                    round(&mut Kv { store, keys }, objects)
                }
                None => {
                    let names = (0..objects).map(|i| folder.join(format!("object-{i:06}"))).collect();
                    round(&mut Plain { names, new: folder.join("new") }, objects)
                }
            };
            fs::remove_dir_all(&folder).unwrap();
            match best.iter_mut().find(|(n, _)| *n == name) {
                Some((_, old)) => {
                    if times.iter().sum::<f64>() < old.iter().sum::<f64>() {
                        *old = times;
                    }
                }
                None => best.push((name, times)),
            }
        }
    }
    let total = |name: &str| best.iter().find(|(n, _)| n == name).map_or(0.0, |(_, t)| t.iter().sum::<f64>());
    println!(
        "{:18} {:>8} {:>8} {:>8} {:>8} {:>8}  us an object of 64 KiB",
        "", "write", "read", "update", "read", "all"
    );
    for (name, times) in &best {
        let [write, read, update, again] = times;
        let all = times.iter().sum::<f64>();
        println!(
            "{name:18} {write:8.1} {read:8.1} {update:8.1} {again:8.1} {all:8.1}  {:.2}x one-to-one, {:.2}x plain files",
            total("one-to-one") / all,
            total("plain files") / all
        );
    }
}
