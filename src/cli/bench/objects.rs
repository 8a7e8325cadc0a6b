//! Objects in files: the embedded store with every container mapper, against a file an object.

use super::figures::Figures;
use super::{median, pattern, scattered};
use iris_mappers::containers::{MAPPERS, Named};
use iris_store::{Condition, Outcome, Request, Store};
use iris_store_embedded::{Embedded, Options};
use std::path::Path;
use std::time::{Duration, Instant};

const OBJECT: u64 = 64 << 10;

/// Measures `bytes` of each kind of request, in a folder.
pub fn measure(folder: &Path, bytes: u64, rounds: u32, figures: &mut Figures) -> Result<(), String> {
    let count = bytes / OBJECT;
    let table = format!("objects in files, {count} objects of 64 KiB");
    figures.table(&table, "MiB/s", true, Some("one-to-one"));
    let cases = ["write", "read", "update", "read again", "all four"];
    // The baseline first, so that a figure appears beside it.
    let mut named: Vec<&Named> = MAPPERS.iter().collect();
    named.reverse();
    for mapper in named {
        let mut all = [const { Vec::new() }; 5];
        for round in 0..rounds {
            let place = folder.join(format!("objects-{}-{round}", mapper.name));
            std::fs::create_dir(&place).map_err(|e| format!("{}: {e}", place.display()))?;
            let options = Options { mapper: Some(mapper), ..Options::new(&place) };
            let store = Embedded::open(&options, "kv:").map_err(|e| e.to_string())?;
            let spent = run(&store, count)?;
            drop(store);
            std::fs::remove_dir_all(&place).map_err(|e| format!("{}: {e}", place.display()))?;
            let rate = |bytes: u64, spent: Duration| bytes as f64 / f64::from(1 << 20) / spent.as_secs_f64();
            for (values, spent) in all.iter_mut().zip(spent) {
                values.push(rate(count * OBJECT, spent));
            }
            all[4].push(rate(4 * count * OBJECT, spent.iter().sum()));
        }
        for (case, values) in cases.into_iter().zip(all) {
            figures.add(case, mapper.name, median(values));
        }
    }
    Ok(())
}

/// Writes all, reads all, updates all, reads all: how long each took.
fn run(store: &dyn Store, count: u64) -> Result<[Duration; 4], String> {
    let order = scattered(count);
    Ok([
        put(store, 0..count, 0)?,
        get(store, order.iter().copied(), 0)?,
        put(store, order.iter().copied(), 1)?,
        get(store, 0..count, 1)?,
    ])
}

fn key(i: u64) -> Vec<u8> {
    format!("iris-bench/{i:08}").into_bytes()
}

fn put(store: &dyn Store, order: impl Iterator<Item = u64>, version: u64) -> Result<Duration, String> {
    let mut spent = Duration::ZERO;
    for i in order {
        let (key, bytes) = (key(i), pattern(i * 2 + version, OBJECT));
        let begin = Instant::now();
        store
            .one(Request::Put { key: &key, bytes: &bytes, condition: Condition::Always, meta: &[] })
            .map_err(|e| e.to_string())?;
        spent += begin.elapsed();
    }
    Ok(spent)
}

fn get(store: &dyn Store, order: impl Iterator<Item = u64>, version: u64) -> Result<Duration, String> {
    let mut spent = Duration::ZERO;
    let mut bytes = vec![0; OBJECT as usize];
    for i in order {
        let key = key(i);
        let begin = Instant::now();
        let got = store.one(Request::Get { key: &key, offset: 0, into: &mut bytes });
        spent += begin.elapsed();
        match got.map_err(|e| e.to_string())? {
            Outcome::Read(n) if n as u64 == OBJECT && bytes == pattern(i * 2 + version, OBJECT) => {}
            other => return Err(format!("object {i}: other bytes than were put ({other:?})")),
        }
    }
    Ok(spent)
}
