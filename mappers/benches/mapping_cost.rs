//! What mapping costs: nanoseconds an operation for planning, recording and applying, of every mapper, and of the
//! interval index with many extents beside a plain B-tree map in the same run. Plain timing; no store is involved.
//!
//! `cargo bench -p iris-mappers --bench mapping-cost -- [--extents N] [--rounds N] [--only small|large]`
//! `cargo bench -p iris-mappers --bench mapping-cost -- --traces DIR` replays each trace of a folder through each
//! mapper on a store in memory, and compares every byte.

#[path = "../tests/support/mod.rs"]
mod support;

use iris_mappers::{Extent, Extents, Facts, MAX_FILE, Mapper, Plan, Record, Registry, Store};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Requests of the first table, as IRIS measured them.
const REQUESTS: u64 = 65_536;
const BLOCK: u64 = 4096;
const STORE: Store =
    Store { range_read: true, range_write: true, conditional_put: true, max_object: MAX_FILE };

fn main() -> ExitCode {
    let (mut extents, mut rounds, mut only, mut traces) = (10_000_000, 9, String::new(), None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_default();
        let known = match arg.as_str() {
            // What cargo itself adds.
            "--bench" => true,
            "--extents" => value().parse().map(|n: u64| extents = n.max(1)).is_ok(),
            "--rounds" => value().parse().map(|n: usize| rounds = n.max(1)).is_ok(),
            "--only" => {
                only = value();
                matches!(only.as_str(), "small" | "large")
            }
            "--traces" => {
                traces = Some(value());
                true
            }
            _ => false,
        };
        if !known {
            eprintln!("mapping-cost: {arg}: [--extents N] [--rounds N] [--only small|large] [--traces DIR]");
            return ExitCode::FAILURE;
        }
    }
    if let Some(folder) = traces {
        return match replay_all(Path::new(&folder)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("mapping-cost: {e}");
                ExitCode::FAILURE
            }
        };
    }
    if only != "large" {
        small(rounds);
    }
    if only != "small" {
        large(extents, rounds);
    }
    ExitCode::SUCCESS
}

/// A permutation of `0..n` that looks random: multiplication by a number that shares no factor with `n`.
fn scattered(n: u64) -> impl Fn(u64) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let mut step = (n as f64 * 0.618_033_988) as u64 | 1;
    while gcd(step, n) != 1 {
        step += 2;
    }
    // The high part of a second multiplication breaks the even spacing up within runs of the first.
    move |i| ((u128::from(i) * u128::from(step)) % u128::from(n)) as u64
}

/// Numbers from a generator, for offsets without any order.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * u128::from(n)) >> 64) as u64
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Nanoseconds an operation.
fn time(count: u64, mut f: impl FnMut(u64)) -> f64 {
    let begin = Instant::now();
    for i in 0..count {
        f(i);
    }
    begin.elapsed().as_nanos() as f64 / count as f64
}

/// A mapper with what its engine has.
struct Subject {
    mapper: Box<dyn Mapper>,
    plan: Plan,
    facts: Facts,
    fresh: u64,
}

impl Subject {
    fn new(spec: &str) -> Subject {
        let mapper = Registry::own().make(spec).unwrap_or_else(|e| panic!("{e}"));
        Subject { mapper, plan: Plan::default(), facts: Facts { size: 0, store: STORE }, fresh: 0 }
    }

    /// Everything that mapping adds to a write: the plan, the records to their bytes and back, the index.
    fn write(&mut self, offset: u64, len: u64) {
        self.plan.clear();
        let planned = self.mapper.plan_write(&self.facts, offset, len, self.fresh, &mut self.plan);
        planned.unwrap_or_else(|e| panic!("{e}"));
        self.fresh += self.plan.taken;
        for record in self.plan.intents.iter().chain(&self.plan.records) {
            let bytes = black_box(record.encode());
            let record = Record::decode(&bytes).unwrap_or_else(|e| panic!("{e}"));
            self.mapper.apply(&record).unwrap_or_else(|e| panic!("{e}"));
        }
        self.facts.size = self.facts.size.max(offset + len);
        black_box(&self.plan.pieces);
    }

    fn read(&mut self, offset: u64, len: u64) -> usize {
        self.plan.clear();
        self.mapper.plan_read(&self.facts, offset, len, &mut self.plan).unwrap_or_else(|e| panic!("{e}"));
        black_box(&self.plan.pieces).len()
    }
}

fn small(rounds: usize) {
    println!("{REQUESTS} requests of 4 KiB, ns an operation (median of {rounds} rounds)");
    println!(
        "| mapper | write, in order | write, scattered | overwrite, random | read, in order | read, random |"
    );
    println!("|---|---|---|---|---|---|");
    for maker in Registry::own().makers() {
        let mut columns: [Vec<f64>; 5] = Default::default();
        let place = scattered(REQUESTS);
        for round in 0..rounds {
            let mut s = Subject::new(maker.name());
            columns[0].push(time(REQUESTS, |i| s.write(i * BLOCK, BLOCK)));
            columns[3].push(time(REQUESTS, |i| _ = s.read(i * BLOCK, BLOCK)));
            let mut s = Subject::new(maker.name());
            columns[1].push(time(REQUESTS, |i| s.write(place(i) * BLOCK, BLOCK)));
            let mut random = Random(round as u64 + 1);
            columns[2].push(time(REQUESTS, |_| s.write(random.below(REQUESTS * BLOCK - BLOCK), BLOCK)));
            columns[4].push(time(REQUESTS, |_| _ = s.read(random.below(REQUESTS * BLOCK - BLOCK), BLOCK)));
        }
        let cells: Vec<String> = columns.into_iter().map(|c| format!("{:.0}", median(c))).collect();
        println!("| {} | {} |", maker.name(), cells.join(" | "));
    }
    println!();
}

/// Counts the bytes that are allocated.
struct Counting;
static ALLOCATED: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as required of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as required of the caller.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

/// Nanoseconds that one read of memory waits which depends on the one before, in `bytes` of it: what no look-up in
/// an index of that size can be much faster than, and what a machine that is busy with other things makes longer.
fn wait(bytes: u64) -> f64 {
    let lines = (bytes / 64).max(2);
    let mut next: Vec<[u64; 8]> = (0..lines).map(|i| [i; 8]).collect();
    // A shuffle that makes one cycle of all (Sattolo's).
    let mut random = Random(9);
    for i in (1..lines).rev() {
        next.swap(i as usize, random.below(i) as usize);
    }
    let mut at = 0;
    let ns = time(1_000_000, |_| at = next[at as usize][0]);
    black_box(at);
    ns
}

/// The index that one would write first: a B-tree map by offset.
#[derive(Default)]
struct Plain {
    map: BTreeMap<u64, (u32, u32, u64)>,
}

/// An index, as far as the bench needs one.
trait Index {
    fn insert(&mut self, e: Extent);
    fn look(&self, start: u64, end: u64, f: &mut dyn FnMut(Extent));
    fn len(&self) -> usize;
}

impl Index for Extents {
    fn insert(&mut self, e: Extent) {
        Extents::insert(self, e, |object, len| {
            black_box((object, len));
        });
    }

    fn look(&self, start: u64, end: u64, f: &mut dyn FnMut(Extent)) {
        self.overlapping(start, end, f);
    }

    fn len(&self) -> usize {
        Extents::len(self)
    }
}

impl Index for Plain {
    fn insert(&mut self, e: Extent) {
        let (start, end) = (e.offset, e.end());
        if let Some((&at, old)) = self.map.range_mut(..start).next_back() {
            let (len, from, object) = *old;
            let old_end = at + u64::from(len);
            if old_end > start {
                old.0 = (start - at) as u32;
                if old_end > end {
                    self.map.insert(end, ((old_end - end) as u32, from + (end - at) as u32, object));
                }
            }
        }
        while let Some((&at, &(len, from, object))) = self.map.range(start..end).next() {
            black_box((object, len));
            self.map.remove(&at);
            let old_end = at + u64::from(len);
            if old_end > end {
                self.map.insert(end, ((old_end - end) as u32, from + (end - at) as u32, object));
            }
        }
        self.map.insert(start, (e.len, e.at, e.object));
    }

    fn look(&self, start: u64, end: u64, f: &mut dyn FnMut(Extent)) {
        let before = self.map.range(..start).next_back().filter(|(at, v)| *at + u64::from(v.0) > start);
        for (at, &(len, from, object)) in before.into_iter().chain(self.map.range(start..end)) {
            let (a, b) = ((*at).max(start), (*at + u64::from(len)).min(end));
            f(Extent { offset: a, len: (b - a) as u32, at: from + (a - at) as u32, object });
        }
    }

    fn len(&self) -> usize {
        self.map.len()
    }
}

/// Builds an index of `n` extents and measures it. Gives the row, and a sum of all that it found.
fn measure(mut index: impl Index, n: u64, rounds: usize) -> (String, u64) {
    let (before, place) = (ALLOCATED.load(Ordering::Relaxed), scattered(n));
    let block = BLOCK as u32;
    let grow = time(n, |i| index.insert(Extent { offset: place(i) * BLOCK, len: block, at: 0, object: i }));
    let bytes = (ALLOCATED.load(Ordering::Relaxed) - before) as f64 / index.len() as f64;
    let count = n.min(1_000_000);
    let mut columns: [Vec<f64>; 4] = Default::default();
    let (mut random, mut sum, mut object) = (Random(1), 0u64, n);
    for _ in 0..rounds {
        let mut find =
            |e: Extent| sum = sum.wrapping_mul(31).wrapping_add(e.object ^ e.offset ^ u64::from(e.at));
        columns[0].push(time(count, |_| {
            let at = random.below(n) * BLOCK;
            index.look(at, at + BLOCK, &mut find);
        }));
        columns[1].push(time(count, |_| {
            let at = random.below((n - 1) * BLOCK);
            index.look(at, at + BLOCK, &mut find);
        }));
        columns[2].push(time(count, |_| {
            object += 1;
            index.insert(Extent { offset: random.below(n) * BLOCK, len: block, at: 0, object });
        }));
    }
    // Last, because each of these writes leaves one extent more.
    for _ in 0..rounds {
        columns[3].push(time(count / 10 + 1, |_| {
            object += 1;
            index.insert(Extent { offset: random.below((n - 1) * BLOCK), len: block, at: 0, object });
        }));
    }
    index.look(0, u64::MAX, &mut |e| {
        sum = sum.wrapping_mul(31).wrapping_add(e.object ^ e.offset ^ u64::from(e.at))
    });
    let cells: Vec<String> = columns.into_iter().map(|c| format!("{:.0}", median(c))).collect();
    (format!("{grow:.0} | {} | {bytes:.1}", cells.join(" | ")), sum)
}

fn large(n: u64, rounds: usize) {
    println!("one wait for far memory, in {} MiB: {:.0} ns", (n * 40) >> 20, wait(n * 40));
    println!("{n} extents of 4 KiB, ns an operation (median of {rounds} rounds of 10^6; growing: all, once)");
    println!(
        "| | grow, scattered | read a block | read across two | overwrite a block | overwrite across two | bytes an extent |"
    );
    println!("|---|---|---|---|---|---|---|");
    let (row, ours) = measure(Extents::new(), n, rounds);
    println!("| the index alone | {row} |");
    let (row, plain) = measure(Plain::default(), n, rounds);
    println!("| BTreeMap | {row} |");
    assert_eq!(ours, plain, "the two indexes found different extents");
    // The whole of mapping: plan, record, its bytes, the index and the table of objects.
    let (mut s, place, count) = (Subject::new("write-optimized"), scattered(n), n.min(1_000_000));
    let grow = time(n, |i| s.write(place(i) * BLOCK, BLOCK));
    let usage = s.mapper.usage();
    assert_eq!(usage.extents, n);
    let (mut random, mut columns): (_, [Vec<f64>; 4]) = (Random(1), Default::default());
    for _ in 0..rounds {
        columns[0].push(time(count, |_| _ = s.read(random.below(n) * BLOCK, BLOCK)));
        columns[1].push(time(count, |_| _ = s.read(random.below((n - 1) * BLOCK), BLOCK)));
        columns[2].push(time(count, |_| s.write(random.below(n) * BLOCK, BLOCK)));
    }
    for _ in 0..rounds {
        columns[3].push(time(count / 10 + 1, |_| s.write(random.below((n - 1) * BLOCK), BLOCK)));
    }
    let cells: Vec<String> = columns.into_iter().map(|c| format!("{:.0}", median(c))).collect();
    let bytes = usage.memory as f64 / usage.extents as f64;
    println!("| write-optimized, all of it | {grow:.0} | {} | {bytes:.1} |", cells.join(" | "));
    let memory = usage.memory;
    drop(s);
    println!("one wait for far memory, in {} MiB: {:.0} ns", memory >> 20, wait(memory));
    println!();
}

fn replay_all(folder: &Path) -> Result<(), String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "csv"));
    files.sort();
    if files.is_empty() {
        return Err(format!("{}: no trace (*.csv) is there", folder.display()));
    }
    println!(
        "| trace | mapper | requests | objects a read | objects a write | stored / size | MiB compared |"
    );
    println!("|---|---|---|---|---|---|---|");
    for path in files {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let requests = support::replay::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        for maker in Registry::own().makers() {
            let make = || Registry::own().make(maker.name()).unwrap_or_else(|e| panic!("{e}"));
            for caps in [support::RICH, support::PLAIN] {
                let out = support::replay::replay(&requests, caps, make)
                    .map_err(|e| format!("{name}, mapper {}: {e}", maker.name()))?;
                if caps == support::PLAIN {
                    continue;
                }
                let share =
                    |a: u64, b: u64| if b == 0 { "-".into() } else { format!("{:.2}", a as f64 / b as f64) };
                println!(
                    "| {name} | {} | {} | {} | {} | {} | {} |",
                    maker.name(),
                    requests.len(),
                    share(out.read_pieces, out.reads),
                    share(out.write_pieces, out.writes),
                    share(out.stored, out.size),
                    out.compared >> 20
                );
            }
        }
    }
    Ok(())
}
