//! The search for a script on which two ways disagree, its shrinking, and the regression files. Owns how long all
//! of it takes.

use crate::bed;
use crate::run::{self, Drivers, Way};
use crate::script::{CONSISTENCY, Script};
use crate::strategy;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A disagreement.
pub struct Failure {
    /// The script, as small as could be found.
    pub script: Script,
    /// How the ways differ on it.
    pub difference: String,
}

/// Compares the two ways on one script.
pub fn check(drivers: &Drivers, script: &Script, way: &Way) -> Result<(), String> {
    let native = run::run(drivers, script, &Way::Native);
    let other = run::run(drivers, script, way);
    match run::difference(script, &native, &other) {
        None => Ok(()),
        Some(difference) => Err(difference),
    }
}

/// How much to try.
pub struct Effort {
    /// Cases at most.
    pub cases: u64,
    /// Time at most, shrinking not counted.
    pub time: Duration,
    /// The seed of the first case; the next one has the next number.
    pub seed: u64,
    /// Time for shrinking.
    pub shrinking: Duration,
}

impl Effort {
    /// A seeded slice of so many seconds, or what `IRIS_MODEL_CASES`, `IRIS_MODEL_SECONDS` and `IRIS_MODEL_SEED` ask for.
    pub fn from_environment(slice: u64) -> Effort {
        let seconds = bed::number("IRIS_MODEL_SECONDS");
        let cases = bed::number("IRIS_MODEL_CASES");
        Effort {
            cases: cases.unwrap_or(if seconds.is_some() { u64::MAX } else { 10 * slice }),
            time: Duration::from_secs(seconds.unwrap_or(if cases.is_some() { u64::MAX } else { slice })),
            seed: bed::number("IRIS_MODEL_SEED").unwrap_or(1),
            shrinking: Duration::from_secs(bed::number("IRIS_MODEL_SHRINK_SECONDS").unwrap_or(60)),
        }
    }
}

/// Tries scripts until one fails or the effort is spent; returns how many were tried.
pub fn search(drivers: &Drivers, way: &Way, effort: &Effort) -> (u64, Option<Failure>) {
    let start = Instant::now();
    let mut tried = 0;
    while tried < effort.cases && start.elapsed() < effort.time {
        let mut seed = [0u8; 32];
        seed[..8].copy_from_slice(&(effort.seed + tried).to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let tree = strategy::scripts().new_tree(&mut runner).expect("the strategy makes a script");
        tried += 1;
        let script = fitting(tree.current(), way);
        if let Err(difference) = check(drivers, &script, way) {
            eprintln!("seed {} fails; shrinking {} operations", effort.seed + tried - 1, script.ops.len());
            let first = Failure { script, difference };
            return (tried, Some(shrink(drivers, way, tree, first, effort.shrinking)));
        }
    }
    (tried, None)
}

/// A script as it is run: on a server's memory no file of terabytes has room, should it be sent whole.
fn fitting(script: Script, way: &Way) -> Script {
    const NEAR: i64 = 16 << 20;
    let mut script = narrowed(script);
    if matches!(way, Way::Server(..)) {
        let args = script.ops.iter_mut().flat_map(|op| &mut op.args);
        args.filter(|a| (NEAR..i64::MAX - 5).contains(*a)).for_each(|a| *a = NEAR);
    }
    script
}

/// `IRIS_MODEL_WITHOUT` names verbs to leave out, so that a known failure does not hide the ones behind it;
/// `kills` stands for deaths, `reopen` for the recovery by the next open, `far` for offsets beyond 8 TiB.
///
/// `IRIS_MODEL_CONSISTENCY` runs all scripts in one mode; in those of a single process only, as they are then made.
fn narrowed(mut script: Script) -> Script {
    if let Ok(wanted) = std::env::var("IRIS_MODEL_CONSISTENCY") {
        let setup = &mut script.setup;
        setup.consistency = CONSISTENCY.into_iter().find(|c| *c == wanted).expect("a consistency");
        if setup.consistency != CONSISTENCY[0] {
            (setup.processes, setup.ending) = (1, 0);
            script.ops.retain(|op| op.verb != "fork" && (op.verb != "exit" || op.args[0] != 2));
        }
    }
    if let Ok(verbs) = std::env::var("IRIS_MODEL_WITHOUT") {
        script.ops.retain(|op| !verbs.split(',').any(|v| v == op.verb));
        if verbs.split(',').any(|v| v == "far") {
            script
                .ops
                .iter_mut()
                .flat_map(|op| &mut op.args)
                .filter(|a| **a > 1 << 43)
                .for_each(|a| *a = 1 << 43);
        }
        if verbs.split(',').any(|v| v == "kills") {
            script.setup.ending = 0;
            script.ops.retain(|op| op.verb != "exit" || op.args[0] != 2);
        }
        if verbs.split(',').any(|v| v == "reopen") && script.setup.ending == 1 {
            script.setup.ending = 2;
        }
    }
    script
}

/// Background threads may make a failure come and go, so a smaller script gets several chances to fail.
fn fails(drivers: &Drivers, script: &Script, way: &Way) -> Option<String> {
    (0..3).find_map(|_| check(drivers, script, way).err())
}

fn shrink(
    drivers: &Drivers,
    way: &Way,
    mut tree: impl ValueTree<Value = Script>,
    first: Failure,
    time: Duration,
) -> Failure {
    let start = Instant::now();
    let mut best = first;
    // By hand first: dropping operations from the end and in halves is quicker than value by value.
    let mut span = best.script.ops.len() / 2;
    while span > 0 && start.elapsed() < time {
        let mut at = 0;
        while at < best.script.ops.len() && start.elapsed() < time {
            let mut smaller = best.script.clone();
            smaller.ops.drain(at..(at + span).min(smaller.ops.len()));
            match fails(drivers, &smaller, way) {
                Some(difference) => best = Failure { script: smaller, difference },
                None => at += span,
            }
        }
        span /= 2;
    }
    // Then the numbers, through the strategies, as long as what comes out is no longer than what there is.
    let reached = best.script.ops.len();
    let mut moved = tree.simplify();
    while moved && start.elapsed() < time {
        let smaller = fitting(tree.current(), way);
        if let Some(difference) = fails(drivers, &smaller, way) {
            if smaller.ops.len() <= reached {
                best = Failure { script: smaller, difference };
            }
            moved = tree.simplify();
        } else {
            moved = tree.complicate();
        }
    }
    best
}

/// Where minimal scripts are kept.
pub fn regressions() -> PathBuf {
    bed::root().join("tests/model/regressions")
}

/// Keeps a failure, to be replayed first from then on; `IRIS_MODEL_KEEP` names another folder for it.
pub fn save(failure: &Failure) -> PathBuf {
    let text = failure.script.to_string();
    let name =
        text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let folder = std::env::var_os("IRIS_MODEL_KEEP").map_or_else(regressions, PathBuf::from);
    let path = folder.join(format!("{name:016x}.script"));
    let said: String = failure.difference.lines().map(|l| format!("# {l}\n")).collect();
    std::fs::write(&path, said + &text).expect("a regression file can be written");
    path
}
