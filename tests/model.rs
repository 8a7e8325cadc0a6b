//! Random scripts of file operations by several processes, run on a plain directory and on a mount: the kernel is
//! the model, and every answer and everything left must agree.
//!
//! A second kind of test lets processes contend for one file at the same time and judges what each of them saw.
//!
//! `IRIS_MODEL_CASES`, `IRIS_MODEL_SECONDS` and `IRIS_MODEL_SEED` ask for more than the seeded slice;
//! `IRIS_MODEL_SCRIPT` replays one file, `IRIS_MODEL_WITHOUT` leaves verbs out, `IRIS_MODEL_CONSISTENCY` runs all
//! in one mode. A failure prints a minimal script and keeps it in
//! `tests/model/regressions`, whose scripts are replayed first.

#[path = "model/bed.rs"]
mod bed;
#[path = "model/contest.rs"]
mod contest;
#[path = "model/history.rs"]
mod history;
#[path = "model/run.rs"]
mod run;
#[path = "model/script.rs"]
mod script;
#[path = "model/search.rs"]
mod search;
#[path = "model/strategy.rs"]
mod strategy;
mod support;
#[path = "model/tree.rs"]
mod tree;

use contest::Contest;
use run::{Drivers, Way};
use script::Script;
use search::{Effort, Failure};
use std::path::Path;
use std::time::Duration;
use support::servers::Servers;

fn replay(drivers: &Drivers, path: &Path, way: &Way) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let script: Script = text.parse()?;
    // What came and went with a race is given more chances where it was found.
    let times = if matches!(way, Way::Virtual(_)) { 1 } else { 3 };
    for _ in 0..times {
        search::check(drivers, &script, way).map_err(|d| format!("{}:\n{text}\n{d}", path.display()))?;
    }
    Ok(())
}

#[test]
fn regressions_stay_fixed() {
    stay_fixed(&Way::Iris(bed::library()));
}

#[test]
fn regressions_stay_fixed_on_a_store() {
    stay_fixed(&Way::Stored(bed::library()));
}

#[test]
fn regressions_stay_fixed_on_a_prefix() {
    stay_fixed(&Way::Virtual(bed::library()));
}

#[test]
fn regressions_stay_fixed_with_a_store_beside() {
    stay_fixed(&Way::Hybrid(bed::library()));
}

fn stay_fixed(way: &Way) {
    let drivers = Drivers::build();
    if let Some(path) = std::env::var_os("IRIS_MODEL_SCRIPT") {
        return replay(&drivers, Path::new(&path), way).unwrap_or_else(|e| panic!("{e}"));
    }
    let folder = std::fs::read_dir(search::regressions()).expect("the folder of regressions");
    let mut paths: Vec<_> = folder.map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "script"));
    paths.sort();
    let failed: Vec<String> = paths.iter().filter_map(|p| replay(&drivers, p, way).err()).collect();
    assert!(failed.is_empty(), "{} of {} fail again:\n{}", failed.len(), paths.len(), failed.join("\n"));
}

#[test]
fn random_scripts_agree_with_the_kernel() {
    agree_with_the_kernel(&Way::Iris(bed::library()), 16);
}

#[test]
fn random_scripts_agree_with_the_kernel_on_a_store() {
    agree_with_the_kernel(&Way::Stored(bed::library()), 14);
}

#[test]
fn random_scripts_agree_with_the_kernel_on_a_prefix() {
    agree_with_the_kernel(&Way::Virtual(bed::library()), 12);
}

#[test]
fn random_scripts_agree_with_the_kernel_on_a_server() {
    // What is sent of far places is kept in memory there.
    let server = Servers::up(&["--maxmemory", "1gb"]);
    let address = format!("redis+unix://{}", server.var("REDIS_SOCKET"));
    agree_with_the_kernel(&Way::Server(bed::library(), address), 8);
}

#[test]
fn random_scripts_agree_with_the_kernel_with_a_store_beside() {
    agree_with_the_kernel(&Way::Hybrid(bed::library()), 10);
}

fn agree_with_the_kernel(way: &Way, slice: u64) {
    let drivers = Drivers::build();
    let effort = Effort::from_environment(slice);
    let (tried, failure) = search::search(&drivers, way, &effort);
    eprintln!("{tried} scripts from seed {}", effort.seed);
    if let Some(failure) = failure {
        let path = search::save(&failure);
        panic!("kept as {}:\n{}\n{}", path.display(), failure.script, failure.difference);
    }
}

/// Without this, a script whose result is chance would be blamed on Iris.
#[test]
fn the_kernel_agrees_with_itself() {
    let drivers = Drivers::build();
    let seed = bed::number("IRIS_MODEL_SEED").unwrap_or(1);
    let cases = bed::number("IRIS_MODEL_NATIVE_CASES").unwrap_or(60);
    let effort = Effort {
        cases,
        time: Duration::from_secs(u64::MAX),
        seed: seed + 1_000_000,
        shrinking: Duration::from_secs(60),
    };
    let (_, failure) = search::search(&drivers, &Way::Native, &effort);
    if let Some(Failure { script, difference }) = failure {
        panic!("{script}\n{difference}");
    }
}

/// Each of these libraries has one of the faults that this suite is there to find.
#[test]
fn faulty_libraries_are_found_out() {
    let drivers = Drivers::build();
    for fault in ["LOSE_WRITE", "DROP_BYTE", "STALE_SIZE", "TOUCH_ERRNO", "SCRIBBLE", "LOSE_ON_KILL"] {
        let define = format!("-D{fault}");
        let library = bed::compile(
            &format!("model-faulty-{fault}.so"),
            &["model/faulty.c"],
            &["-shared", "-fPIC", &define],
        );
        let effort = Effort {
            cases: 300,
            time: Duration::from_secs(u64::MAX),
            seed: 2_000_000,
            shrinking: Duration::from_secs(2),
        };
        let (tried, failure) = search::search(&drivers, &Way::Preload(library), &effort);
        let failure = failure.unwrap_or_else(|| panic!("{fault} was not found in {tried} scripts"));
        eprintln!("{fault} found by script {tried}, shrunk to {} operations", failure.script.ops.len());
        let text = failure.script.to_string();
        assert_eq!(text.parse::<Script>().as_ref(), Ok(&failure.script), "a regression file says the same");
    }
}

fn contests(library: Option<&std::path::PathBuf>, first: u64, count: u64) -> Result<(), String> {
    let program = bed::compile("model-register", &["model/register.c"], &["-O2"]);
    for seed in first..first + count {
        let contest = Contest::from_seed(seed);
        contest.run(&program, library).map_err(|e| format!("{contest:?}\n{e}"))?;
    }
    Ok(())
}

/// Contests that a race once decided wrongly: 227646, a reader that took an old end of the file for the end.
const ONCE_FAILED: [u64; 1] = [227_646];

#[test]
fn concurrent_processes_see_a_legal_order() {
    let seed = bed::number("IRIS_MODEL_SEED").unwrap_or(1);
    let count = bed::number("IRIS_MODEL_CONTESTS").unwrap_or(15);
    let library = bed::library();
    for again in ONCE_FAILED.iter().flat_map(|s| [*s; 3]) {
        contests(Some(&library), again, 1).unwrap_or_else(|e| panic!("{e}"));
    }
    contests(Some(&library), seed, count).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn concurrent_processes_see_a_legal_order_natively() {
    contests(None, bed::number("IRIS_MODEL_SEED").unwrap_or(1), 12).unwrap_or_else(|e| panic!("{e}"));
}

/// A library that delays a write behind its acknowledgement must be found out by the verdicts.
#[test]
fn a_late_write_is_found_out() {
    let library =
        bed::compile("model-faulty-late.so", &["model/faulty.c"], &["-shared", "-fPIC", "-DLOSE_ON_KILL"]);
    let failed = (0..6).filter(|seed| contests(Some(&library), 100 + seed, 1).is_err()).count();
    assert!(failed >= 3, "only {failed} of 6 contests noticed");
}
