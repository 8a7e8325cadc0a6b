//! Every mapper against a byte array: whatever is written, overwritten, cut, extended and read, by several
//! processes, with deaths in between, with indexes made anew from the journal or a snapshot at any point.

mod support;

use iris_mappers::auto::Auto;
use iris_mappers::balanced::Balanced;
use iris_mappers::naive::Naive;
use iris_mappers::read_optimized::ReadOptimized;
use iris_mappers::write_optimized::WriteOptimized;
use iris_mappers::{MAX_FILE, Mapper, Object, Op, Record, Store};
use proptest::prelude::*;
use support::{File, PLAIN, RICH};

/// The stretch of the file in which things happen; it is many buckets of the mappers below.
const SPAN: u64 = 700;
const PROCESSES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Write {
        offset: u64,
        len: u64,
        seed: u8,
    },
    /// As a write that dies after so many pieces.
    DyingWrite {
        offset: u64,
        len: u64,
        seed: u8,
        steps: usize,
    },
    Truncate {
        size: u64,
        steps: usize,
    },
    /// Takes so many bytes off the end.
    Trim {
        by: u64,
    },
    Read {
        offset: u64,
        len: u64,
    },
    Upkeep {
        budget: u64,
        steps: usize,
    },
    Collect {
        limit: usize,
    },
    Rebuild,
    Load {
        from: usize,
    },
    /// A stretch of requests of one kind, as the mapper is told of them.
    Use {
        reads: bool,
        len: u64,
    },
}

/// Offsets and lengths that like the borders of buckets.
fn place() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0..SPAN, 2 => (0..SPAN / 16, 0..3u64).prop_map(|(b, d)| (b * 16 + d).saturating_sub(1))]
}

fn step() -> impl Strategy<Value = Step> {
    let len = || prop_oneof![4 => 0..40u64, 2 => Just(16), 1 => Just(32), 2 => 0..SPAN / 2];
    let steps = || prop_oneof![2 => Just(usize::MAX), 1 => 0..6usize];
    prop_oneof![
        10 => (place(), len(), any::<u8>()).prop_map(|(offset, len, seed)| Step::Write { offset, len, seed }),
        2 => (place(), len(), any::<u8>(), 0..8usize)
            .prop_map(|(offset, len, seed, steps)| Step::DyingWrite { offset, len, seed, steps }),
        2 => (place(), steps()).prop_map(|(size, steps)| Step::Truncate { size, steps }),
        2 => (1..4u64).prop_map(|by| Step::Trim { by }),
        6 => (place(), len()).prop_map(|(offset, len)| Step::Read { offset, len }),
        4 => (1..200u64, steps()).prop_map(|(budget, steps)| Step::Upkeep { budget, steps }),
        2 => prop_oneof![Just(usize::MAX), 0..3usize].prop_map(|limit| Step::Collect { limit }),
        1 => Just(Step::Rebuild),
        1 => (0..PROCESSES).prop_map(|from| Step::Load { from }),
        3 => (any::<bool>(), prop_oneof![Just(1u64), Just(64)])
            .prop_map(|(reads, len)| Step::Use { reads, len }),
    ]
}

/// A life of a file: where it happens, on what store, and what happens, each step in one of the processes.
#[derive(Clone, Debug)]
struct Life {
    base: u64,
    store: Store,
    steps: Vec<(usize, Step)>,
}

fn life(max_object: u64) -> impl Strategy<Value = Life> {
    let store = (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(move |(a, b, c)| Store {
        range_read: a,
        range_write: b,
        conditional_put: c,
        max_object,
    });
    let base = prop_oneof![3 => Just(0), 1 => Just(MAX_FILE - SPAN * 2), 1 => Just((1 << 40) - 40)];
    (base, store, prop::collection::vec((0..PROCESSES, step()), 1..80))
        .prop_map(|(base, store, steps)| Life { base, store, steps })
}

fn bytes(len: u64, seed: u8) -> Vec<u8> {
    // Never zero, so that a hole is never right by chance; but for one seed, which is all zeros.
    (0..len).map(|i| if seed == 0 { 0 } else { (i as u8).wrapping_mul(7).wrapping_add(seed) | 1 }).collect()
}

/// Lives it, and looks at everything after every step.
fn live(
    life: &Life,
    make: impl Fn() -> Box<dyn Mapper> + 'static,
    mut look: impl FnMut(&mut File, usize, bool) -> Result<(), String>,
) -> Result<(), TestCaseError> {
    let mut file = File::new(life.store, PROCESSES, make);
    let (base, mut crashed) = (life.base, false);
    for (process, step) in &life.steps {
        let process = *process;
        let fail = |e: String| TestCaseError::fail(format!("{step:?}: {e}"));
        match step.clone() {
            Step::Write { offset, len, seed } => {
                file.write(process, base + offset, &bytes(len, seed), usize::MAX).map_err(fail)?;
            }
            Step::DyingWrite { offset, len, seed, steps } => {
                file.write(process, base + offset, &bytes(len, seed), steps).map_err(fail)?;
                crashed = true;
            }
            Step::Truncate { size, steps } => {
                let size = if size < 8 { size } else { base + size };
                file.truncate(process, size, steps);
            }
            Step::Trim { by } => {
                let size = file.size.saturating_sub(by);
                file.truncate(process, size, usize::MAX);
            }
            Step::Read { offset, len } => file.check(process, base + offset, len).map_err(fail)?,
            Step::Upkeep { budget, steps } => {
                file.upkeep(process, budget, steps);
                crashed |= steps != usize::MAX;
            }
            Step::Collect { limit } => file.collect(process, limit),
            Step::Rebuild => file.rebuild(process),
            Step::Load { from } => file.load(process, from),
            Step::Use { reads, len } => {
                for _ in 0..8 * 16 {
                    file.observe(process, if reads { Op::Read } else { Op::Write }, len);
                }
            }
        }
        for reader in 0..PROCESSES {
            file.check(reader, base, SPAN * 2).map_err(fail)?;
        }
        file.check(process, 0, 64).map_err(fail)?;
        file.check(process, file.size.saturating_sub(40), 80).map_err(fail)?;
        look(&mut file, process, crashed).map_err(fail)?;
    }
    file.remove(0, crashed);
    Ok(())
}

fn all_needed(file: &mut File, process: usize, crashed: bool) -> Result<(), String> {
    file.check_garbage(process, |_| true, crashed);
    Ok(())
}

/// Reads each byte and takes down the objects that it took: with an index, these are the reachable ones.
fn reached(file: &mut File, process: usize) -> Vec<Object> {
    let mut found = file.objects_of(process, 0, MAX_FILE);
    found.sort_unstable();
    found.dedup();
    found
}

/// More cases than usual; `PROPTEST_CASES` makes it still more.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.max(400), ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn naive(life in life(MAX_FILE)) {
        live(&life, || Box::new(Naive), all_needed)?;
    }

    #[test]
    fn balanced(life in life(16)) {
        live(&life, || Box::new(Balanced::new(4, 0)), all_needed)?;
    }

    #[test]
    fn write_optimized(life in prop_oneof![life(MAX_FILE), life(24)], bound in prop_oneof![Just(50u8), 1..90u8]) {
        live(&life, move || Box::new(WriteOptimized::new(50, bound, 0)), |file, process, crashed| {
            let reached = reached(file, process);
            file.check_garbage(process, |o| reached.binary_search(&o).is_ok(), crashed);
            let usage = file.mapper(process).usage();
            let stored: u64 = file.store.objects().filter(|(o, _)| reached.contains(o)).map(|(_, len)| len).sum();
            assert_eq!(usage.stored, stored);
            Ok(())
        })?;
    }

    #[test]
    fn read_optimized(life in life(64), space in 1..=6u8, step in 1..3u8) {
        // Buckets of 8, 16 or 32, and 32 or 64 bytes.
        live(&life, move || Box::new(ReadOptimized::new(3, space, step.min(if space > 4 { 1 } else { 2 }), 0)), |file, process, crashed| {
            file.check_garbage(process, |_| true, crashed);
            let (stored, bound) = (file.store.stored(), file.size.saturating_mul(space.into()));
            // Unwritten ends of a request that died are gone too: nothing lies behind the end of the file.
            if stored > bound { Err(format!("{stored} bytes stored, {bound} allowed")) } else { Ok(()) }
        })?;
    }

    #[test]
    fn auto(life in life(MAX_FILE)) {
        live(&life, || Box::new(Auto::new(4, 16)), |file, process, crashed| {
            // What a layout without an index needs is not known to the byte, but no garbage may be read.
            let base = file.size.saturating_sub(SPAN * 2);
            let reached = file.objects_of(process, base, SPAN * 2);
            file.check_known(process, &reached, crashed);
            Ok(())
        })?;
    }
}

/// Makes a file of `size` bytes with a piece here and there left out, and checks it.
fn fill(file: &mut File, size: u64) {
    let mut offset = 0;
    for i in 0..u64::MAX {
        let len = 1 + i * 37 % 90;
        if offset + len > size {
            break;
        }
        if i % 5 != 4 {
            file.write(0, offset, &bytes(len, i as u8 | 1), usize::MAX).expect("a write");
        }
        offset += len;
    }
    file.check(1, 0, size).expect("what was written");
}

#[test]
fn every_short_read_finds_one_object() {
    for (space, sure) in [(2, 8), (4, 32), (6, 128)] {
        for caps in [RICH, PLAIN] {
            let mut file = File::new(caps, 2, move || Box::new(ReadOptimized::new(4, space, 2, 0)));
            fill(&mut file, 3000);
            for offset in 0..2900 {
                for len in [1, 2, sure / 2, sure] {
                    assert_eq!(
                        file.objects_of(1, offset, len).len(),
                        1,
                        "{len} at {offset}, {space} replicas"
                    );
                }
            }
            assert!(file.store.stored() <= u64::from(space) * file.size);
        }
    }
}

#[test]
fn a_dirty_range_is_read_from_the_first_replica_until_it_is_repaired() {
    let mut file = File::new(PLAIN, 2, || Box::new(ReadOptimized::new(4, 4, 2, 0)));
    fill(&mut file, 1000);
    // The writer dies when it has changed the first replica of five buckets, and one bucket of the second.
    file.write(0, 320, &bytes(80, 3), 6).unwrap();
    assert!(file.objects_of(1, 310, 20).iter().all(|o| o.level == 0));
    assert_eq!(file.objects_of(1, 250, 30).len(), 1);
    file.check(1, 0, 1000).unwrap();
    while file.upkeep(1, 30, usize::MAX) {
        file.check(0, 0, 1000).unwrap();
    }
    assert_eq!(file.objects_of(0, 310, 20).len(), 1);
    for offset in 0..980 {
        file.check(0, offset, 30).unwrap();
    }
}

/// Of two writes that were under way at once, neither knows whose replicas came last.
#[test]
fn two_writes_at_once_leave_a_range_to_be_repaired() {
    let mut mapper = ReadOptimized::new(4, 4, 2, 0);
    let facts = iris_mappers::Facts { size: 1000, store: PLAIN };
    let one_object = |mapper: &ReadOptimized, offset| {
        let mut plan = iris_mappers::Plan::default();
        mapper.plan_read(&facts, offset, 20, &mut plan).unwrap();
        plan.pieces.len() == 1
    };
    let (a, b) = ((100, 50), (130, 50));
    for (offset, len) in [a, b] {
        mapper.apply(&Record::Dirty { offset, len }).unwrap();
    }
    for (offset, len) in [a, b] {
        mapper.apply(&Record::Clean { offset, len }).unwrap();
    }
    assert!(one_object(&mapper, 106) && one_object(&mapper, 154) && !one_object(&mapper, 130));
    let mut plan = iris_mappers::Plan::default();
    assert!(mapper.plan_upkeep(&facts, 1000, 0, &mut plan).unwrap() && plan.exclusive);
    assert_eq!(plan.records, [Record::Repaired { offset: 130, len: 20 }]);
    mapper.apply(&plan.records[0]).unwrap();
    assert!(one_object(&mapper, 130));
}

#[test]
fn compaction_keeps_the_bound_and_the_bytes() {
    for (bound, max) in [(50, 1 << 20), (80, 64), (20, 100)] {
        let mut file = File::new(PLAIN, 2, move || Box::new(WriteOptimized::new(max, bound, 0)));
        let mut seed = 7u64;
        for i in 0..3000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (offset, len) = (seed >> 40 & 0xFFF, 1 + (seed >> 20 & 63));
            file.write((i % 2) as usize, offset, &bytes(len, i as u8), usize::MAX).unwrap();
            while file.upkeep(1, 300, usize::MAX) {}
            file.collect(0, usize::MAX);
            let usage = file.mapper(0).usage();
            assert!(usage.live * 100 >= usage.stored * u64::from(bound), "{usage:?}");
            assert_eq!(file.store.stored(), usage.stored, "garbage is collected at once here");
        }
        file.check(0, 0, 5000).unwrap();
    }
}

/// A compaction that was planned before a write, and is recorded after it, takes nothing from the write.
#[test]
fn a_late_compaction_hides_no_write() {
    let mut file = File::new(PLAIN, 2, || Box::new(WriteOptimized::new(1 << 20, 90, 0)));
    file.write(0, 0, &bytes(100, 1), usize::MAX).unwrap();
    file.write(0, 20, &bytes(40, 2), usize::MAX).unwrap();
    file.write(0, 25, &bytes(30, 3), usize::MAX).unwrap();
    let late = file.begin_upkeep(0, 1000).expect("there is something to compact");
    file.write(1, 50, &bytes(20, 4), usize::MAX).unwrap();
    file.write(1, 90, &bytes(30, 5), usize::MAX).unwrap();
    file.end_upkeep(late);
    file.check(0, 0, 200).unwrap();
    file.check(1, 0, 200).unwrap();
    file.collect(1, usize::MAX);
    file.rebuild(0);
    file.check(0, 0, 200).unwrap();
}

#[test]
fn auto_moves_a_file_from_layout_to_layout() {
    let mut file = File::new(PLAIN, 2, || Box::new(Auto::new(4, 16)));
    fill(&mut file, 2000);
    let mut specs = Vec::new();
    for (reads, writes) in [(0, 16), (16, 0), (8, 8), (0, 16)] {
        let mut steps = 0;
        for _ in 0..400 {
            (0..reads).for_each(|_| file.observe(0, Op::Read, 60));
            (0..writes).for_each(|_| file.observe(1, Op::Write, 60));
            while file.upkeep(steps % 2, 100, usize::MAX) {
                steps += 1;
                file.check(0, 0, 2000).unwrap();
                // Life goes on in between, on both sides of the frontier.
                let offset = steps as u64 * 379 % 1900;
                file.write(1, offset, &bytes(70, steps as u8 | 1), usize::MAX).unwrap();
                file.check(0, 0, 2000).unwrap();
            }
        }
        assert!(steps >= 16, "{steps} steps: the migration went in pieces");
        file.collect(0, usize::MAX);
        file.check(1, 0, 2000).unwrap();
        let levels: Vec<u32> = file.objects_of(0, 0, 2000).iter().map(|o| o.level >> 8).collect();
        assert!(levels.windows(2).all(|w| w[0] == w[1]), "one era is left: {levels:?}");
        specs.push((levels[0], file.mapper(0).usage().live > 0));
    }
    assert_eq!(specs.iter().map(|(_, index)| *index).collect::<Vec<_>>(), [true, false, false, true]);
    // What is left in the store is what the file needs.
    let stored = file.store.stored();
    assert!(stored < 2 * file.size, "{stored}");
    file.remove(1, false);
}

/// A file that is cut while it is moved does not fall back into the layout that it has left.
#[test]
fn a_cut_during_a_migration_does_not_undo_it() {
    let mut file = File::new(PLAIN, 2, || Box::new(Auto::new(4, 16)));
    fill(&mut file, 400);
    for _ in 0..16 * 10 {
        file.observe(0, Op::Read, 1);
    }
    assert!(file.upkeep(0, 130, usize::MAX));
    // A step that dies, the end of the file, and the cleaning after it.
    assert!(file.upkeep(0, 1, 0));
    file.truncate(0, 0, usize::MAX);
    assert!(file.upkeep(0, 1, usize::MAX));
    file.write(0, 0, &bytes(30, 1), usize::MAX).unwrap();
    let reached = file.objects_of(0, 0, 30);
    file.check_known(0, &reached, false);
    file.collect(0, usize::MAX);
    file.check(0, 0, 100).unwrap();
}

/// What a step left that died must not show when the file shrinks and grows again.
#[test]
fn a_step_that_died_leaves_nothing_to_be_read() {
    for caps in [RICH, PLAIN] {
        let mut file = File::new(caps, 2, || Box::new(Auto::new(4, 16)));
        file.write(0, 0, &bytes(400, 1), usize::MAX).unwrap();
        for i in 0..16 * 10 {
            file.observe(0, if i % 2 == 0 { Op::Read } else { Op::Write }, 64);
        }
        // To buckets of 64 bytes: five of seven are written, and no record.
        assert!(file.upkeep(0, 400, 5));
        file.truncate(0, 20, usize::MAX);
        while file.upkeep(1, 400, usize::MAX) {}
        file.write(1, 390, &bytes(10, 3), usize::MAX).unwrap();
        file.check(0, 0, 400).unwrap();
        assert_eq!(file.objects_of(0, 0, 400).len(), 7, "the file is in buckets of 64 bytes");
    }
}

#[test]
fn a_hole_stays_a_hole_when_a_file_is_moved() {
    let mut file = File::new(RICH, 1, || Box::new(Auto::new(4, 16)));
    file.write(0, 1 << 20, &bytes(100, 1), usize::MAX).unwrap();
    for round in 0..3 {
        for _ in 0..16 * 200 {
            file.observe(0, if round == 1 { Op::Read } else { Op::Write }, 16);
        }
        while file.upkeep(0, 1 << 18, usize::MAX) {}
        file.collect(0, usize::MAX);
        file.check(0, 0, 2 << 20).unwrap();
        assert!(file.store.stored() < 10_000, "{} bytes for 100, round {round}", file.store.stored());
    }
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let facts = |size, max_object| iris_mappers::Facts { size, store: Store { max_object, ..PLAIN } };
    let registry = iris_mappers::Registry::own();
    for maker in registry.makers() {
        let (mapper, mut plan) = (registry.make(maker.name()).unwrap(), iris_mappers::Plan::default());
        let far = mapper.plan_write(&facts(0, MAX_FILE), MAX_FILE - 1, 2, 0, &mut plan).unwrap_err();
        assert!(far.to_string().contains("end behind the largest size of a file"), "{far}");
        assert!(mapper.plan_write(&facts(0, MAX_FILE), u64::MAX, 2, 0, &mut plan).is_err());
        assert!(mapper.plan_truncate(&facts(0, MAX_FILE), MAX_FILE + 1, &mut plan).is_err());
        assert!(
            plan.pieces.is_empty() && plan.records.is_empty() && plan.intents.is_empty(),
            "{}",
            maker.name()
        );
        // Nothing at all is nothing.
        mapper.plan_write(&facts(9, MAX_FILE), 5, 0, 0, &mut plan).unwrap();
        mapper.plan_read(&facts(9, MAX_FILE), 9, 5, &mut plan).unwrap();
        mapper.plan_read(&facts(9, MAX_FILE), u64::MAX, u64::MAX, &mut plan).unwrap();
        assert!(
            plan.pieces.is_empty() && plan.records.is_empty() && plan.intents.is_empty(),
            "{}",
            maker.name()
        );
        if maker.name() != "write-optimized" {
            let small = mapper.plan_write(&facts(0, 1000), 0, 1001, 0, &mut plan).unwrap_err().to_string();
            assert!(small.contains("takes at most 1000 a piece: "), "{small}");
        }
    }
    let mut mapper = registry.make("write-optimized").unwrap();
    let first = iris_mappers::Record::Extent { offset: 0, len: 9, at: 0, object: 1 };
    mapper.apply(&first).unwrap();
    assert!(mapper.apply(&first).unwrap_err().to_string().contains("an object number was given out twice"));
    let collected = iris_mappers::Record::Collected { level: 0, first: 0, count: 1 << 40 };
    assert!(mapper.apply(&collected).unwrap_err().to_string().contains("collected that is still read"));
    let mut plan = iris_mappers::Plan::default();
    let full = mapper.plan_write(&facts(0, MAX_FILE), 0, 9, iris_mappers::MAX_NUMBER + 1, &mut plan);
    assert_eq!(full, Err(iris_mappers::PlanError::NumbersUsedUp));
    let other = registry.make("balanced").unwrap().apply(&first).unwrap_err().to_string();
    assert!(other.contains("mapper balanced: a record of the kind extent is not one of its own"), "{other}");
}
