//! Writers, flushers and recoveries killed at any instruction. After recovery, by the next open or by
//! `iris drain`, everything that a write returned for is there, and of what was in flight any prefix.
//!
//! `IRIS_KILLS` is the number of kills (60), `IRIS_KILL_SEED` the first seed; `IRIS_KILL_DRAIN` recovers
//! by draining only. A seed's programs always do the same,
//! but a death after microseconds falls where it falls.

#[path = "model/bed.rs"]
mod bed;
#[path = "kill/contests.rs"]
mod contests;
#[path = "kill/expect.rs"]
mod expect;
#[path = "model/history.rs"]
mod history;
#[path = "kill/trace.rs"]
mod trace;
#[path = "kill/writers.rs"]
mod writers;

use bed::{Setting, Site};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs, and what is preloaded into them.
pub struct Bench {
    writer: PathBuf,
    register: PathBuf,
    library: Option<PathBuf>,
    /// Whether the library is Iris, which wants its variables.
    iris: bool,
    /// Where the files of a sequence lie, given its folder.
    kind: fn(&Path) -> Site,
}

impl Bench {
    fn new(library: Option<PathBuf>, iris: bool) -> Bench {
        Bench {
            writer: bed::compile("kill-writer", &["kill/writer.c"], &["-O1"]),
            register: bed::compile("kill-register", &["model/register.c"], &["-O2"]),
            library,
            iris,
            kind: Site::plain,
        }
    }

    /// The folders of one sequence of kills.
    fn site(&self, place: &Path) -> Site {
        let site = (self.kind)(place);
        std::fs::create_dir(&site.real).expect("a folder");
        site
    }

    fn prepare(&self, command: &mut Command, setting: &Setting, mount: &Path, pool: &Path) {
        bed::clear(command);
        if self.iris {
            setting.apply(command, mount, pool);
        }
        if let Some(library) = &self.library {
            command.env("LD_PRELOAD", library);
        }
    }
}

fn seed() -> u64 {
    bed::number("IRIS_KILL_SEED").unwrap_or(1)
}

fn writers(bench: &Bench, kills: u64) -> Result<(), String> {
    let (mut done, mut seed) = (0, seed());
    while done < kills {
        done += writers::sequence(bench, seed)?;
        seed += 1;
    }
    Ok(())
}

fn contests(bench: &Bench, kills: u64) -> Result<(), String> {
    (seed()..seed() + kills).try_for_each(|s| contests::contest(bench, s))
}

fn kills() -> u64 {
    bed::number("IRIS_KILLS").unwrap_or(60)
}

#[test]
fn a_killed_writer_loses_nothing_that_returned() {
    let bench = Bench::new(Some(bed::library()), true);
    writers(&bench, kills() * 2 / 3).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_killed_writer_loses_nothing_on_a_store() {
    let bench = Bench { kind: Site::stored, ..Bench::new(Some(bed::library()), true) };
    writers(&bench, kills() * 2 / 3).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_killed_process_leaves_the_others_a_legal_order_on_a_store() {
    let bench = Bench { kind: Site::stored, ..Bench::new(Some(bed::library()), true) };
    contests(&bench, kills() / 3).unwrap_or_else(|e| panic!("{e}"));
}

/// A virtual mount: what is staged is known by the names that the kernel has for it.
#[test]
fn a_killed_writer_loses_nothing_on_a_prefix() {
    let bench = Bench { kind: Site::prefix, ..Bench::new(Some(bed::library()), true) };
    writers(&bench, kills() / 5).unwrap_or_else(|e| panic!("{e}"));
    contests(&bench, kills() / 15).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_killed_writer_loses_nothing_with_a_store_beside() {
    let bench = Bench { kind: Site::hybrid, ..Bench::new(Some(bed::library()), true) };
    writers(&bench, kills() * 2 / 3).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_killed_process_leaves_the_others_a_legal_order_with_a_store_beside() {
    let bench = Bench { kind: Site::hybrid, ..Bench::new(Some(bed::library()), true) };
    contests(&bench, kills() / 3).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_killed_process_leaves_the_others_a_legal_order() {
    let bench = Bench::new(Some(bed::library()), true);
    contests(&bench, kills() / 3).unwrap_or_else(|e| panic!("{e}"));
}

/// Without this, what a kill does to the kernel's own writes would be blamed on Iris.
#[test]
fn the_kernel_loses_nothing_either() {
    let bench = Bench::new(None, false);
    writers(&bench, 20).unwrap_or_else(|e| panic!("{e}"));
    contests(&bench, 8).unwrap_or_else(|e| panic!("{e}"));
}

/// A library that keeps writes in the process must be found out.
#[test]
fn a_library_that_loses_writes_is_found_out() {
    let library =
        bed::compile("kill-faulty.so", &["model/faulty.c"], &["-shared", "-fPIC", "-DLOSE_ON_KILL"]);
    let bench = Bench::new(Some(library), false);
    assert!(writers(&bench, 30).is_err(), "30 kills of a writer did not show it");
    assert!(contests(&bench, 12).is_err(), "12 contests did not show it");
}
