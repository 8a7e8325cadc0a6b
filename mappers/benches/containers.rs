//! What a decision costs, objects → files: 128 K objects of 64 KiB are put, looked up, replaced and looked up again,
//! without any I/O. Nanoseconds for each operation and each mapper, the best of five rounds; `one-to-one` is the
//! baseline. Run with `cargo bench -p iris-mappers --bench containers`.

use iris_mappers::containers::{Catalogue, Event, MAPPERS, Named, Purpose, Slice};
use std::hint::black_box;
use std::time::Instant;

const OBJECTS: usize = 128 * 1024;
const LEN: u32 = 64 * 1024;

fn put(catalogue: &mut Catalogue, key: &[u8], events: &mut Vec<Event<'static>>) {
    let there = catalogue.get(key).is_some();
    let purpose = if there { Purpose::Update } else { Purpose::New };
    events.clear();
    let room = catalogue.place(key, u64::from(LEN), purpose, events);
    let slice =
        Slice { offset: 0, at: room.at, container: room.container, len: LEN, skip: 0, stored: LEN, sum: 0 };
    let tag = catalogue.tag() + 1;
    catalogue.apply(&Event::Put {
        key,
        tag,
        modified: tag,
        meta: b"",
        len: u64::from(LEN),
        slices: &[slice],
    });
    // What a store asks after each change.
    black_box((catalogue.victim(), catalogue.is_over()));
    while let Some(container) = catalogue.dead() {
        catalogue.apply(&Event::Close { container });
    }
}

fn per_operation(mut work: impl FnMut(usize)) -> f64 {
    let start = Instant::now();
    (0..OBJECTS).for_each(&mut work);
    start.elapsed().as_nanos() as f64 / OBJECTS as f64
}

fn round(named: &Named) -> [f64; 4] {
    let keys: Vec<Vec<u8>> =
        (0..OBJECTS).map(|i| format!("run-7/step-{:06}/field.dat", i * 7).into_bytes()).collect();
    // Any order but the one in which they were put.
    let other = |i: usize| &keys[i * 48_271 % OBJECTS];
    let mut catalogue = Catalogue::new((named.make)(0, 1));
    let mut events = Vec::new();
    let puts = per_operation(|i| put(&mut catalogue, &keys[i], &mut events));
    let look = |catalogue: &Catalogue| {
        per_operation(|i| {
            black_box(catalogue.get(other(i)).map(|o| o.slices()[0]));
        })
    };
    let gets = look(&catalogue);
    let updates = per_operation(|i| put(&mut catalogue, other(i), &mut events));
    [puts, gets, updates, look(&catalogue)]
}

fn main() {
    println!(
        "{:18} {:>8} {:>8} {:>8} {:>8} {:>8}  ns an operation",
        "mapper", "put", "get", "update", "get", "mean"
    );
    for named in MAPPERS {
        let mut best = [f64::MAX; 4];
        for _ in 0..5 {
            for (best, one) in best.iter_mut().zip(round(named)) {
                *best = best.min(one);
            }
        }
        let mean = best.iter().sum::<f64>() / 4.0;
        let [put, get, update, again] = best;
        println!("{:18} {put:8.0} {get:8.0} {update:8.0} {again:8.0} {mean:8.0}", named.name);
    }
}
