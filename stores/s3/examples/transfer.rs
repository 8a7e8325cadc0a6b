//! Moves bytes by the store, and prints the seconds that took: for scripts/bench-s3, which does the same by other clients.
//!
//!     transfer put|get ADDRESS KEY FILE_OR_BYTES [SIZE_OF_A_GET]
//!     transfer small ADDRESS COUNT BYTES      COUNT puts, then COUNT gets, one after another: seconds of each
//!     transfer load                           milliseconds of loading the library

#![allow(clippy::unwrap_used, reason = "what the tests share")]

#[path = "../tests/support/mod.rs"]
mod support;

use iris_store::conformance::pattern;
use iris_store::{Condition, Outcome, Part, Request, Source};
use std::os::unix::fs::FileExt;
use std::time::Instant;
use support::{Short, open, plugin};

struct File(std::fs::File);

impl Source for File {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.0.read_exact_at(into, offset)
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["put", address, key, file] => {
            let store = open(address).expect("the address");
            let file = File(std::fs::File::open(file).expect("the file"));
            let len = file.0.metadata().expect("the file's length").len();
            let from = Instant::now();
            let part = Part::Bytes { source: &file, offset: 0, len };
            let compose = store.compose().expect("S3 composes");
            compose
                .compose(key.as_bytes(), &[part], Condition::Always, &[])
                .unwrap_or_else(|e| panic!("{e}"));
            println!("{:.3}", from.elapsed().as_secs_f64());
        }
        ["get", address, key, len, ref size @ ..] => {
            let store = open(address).expect("the address");
            let len: usize = len.parse().expect("a number of bytes");
            let size = size.first().map_or(len, |s| s.parse().expect("a number of bytes"));
            let mut room = vec![1; size];
            let from = Instant::now();
            let mut at = 0;
            while at < len {
                let into = &mut room[..size.min(len - at)];
                let request = Request::Get { key: key.as_bytes(), offset: at as u64, into };
                match store.one(request).unwrap_or_else(|e| panic!("{e}")) {
                    Outcome::Read(n) if n > 0 => at += n,
                    other => panic!("{other:?} at {at}"),
                }
            }
            println!("{:.3}", from.elapsed().as_secs_f64());
        }
        ["small", address, count, len] => {
            let store = open(address).expect("the address");
            store.check().unwrap_or_else(|e| panic!("{e}"));
            let (count, len): (usize, usize) = (count.parse().expect("a count"), len.parse().expect("bytes"));
            let bytes = pattern(1, len);
            let from = Instant::now();
            for i in 0..count {
                store.put(&format!("small-{i}"), &bytes).unwrap_or_else(|e| panic!("{e}"));
            }
            let puts = from.elapsed().as_secs_f64();
            let from = Instant::now();
            for i in 0..count {
                let read = store.get(&format!("small-{i}"), 0, len).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(read.len(), len);
            }
            println!("{puts:.3} {:.3}", from.elapsed().as_secs_f64());
        }
        ["load"] => {
            let from = Instant::now();
            plugin();
            println!("{:.2}", from.elapsed().as_secs_f64() * 1e3);
        }
        _ => {
            eprintln!("see the head of this program's source");
            std::process::exit(2);
        }
    }
}
