//! Parallel programs: each of mpi-examples/ run natively and on a mount, with MPICH and with Open MPI (by OMPIO and by
//! ROMIO), on 1, 2 and 4 ranks. What they print and every byte that they leave must agree; natively the two MPIs and
//! both their ways leave the same files, so the native run is MPICH's where the library exists for it.
//!
//! Needs both MPIs, gfortran, HDF5 for both and PnetCDF (scripts/test installs them). `IRIS_TEST_MPI_RANKS=1,2,4,8`
//! gives other numbers of ranks.

mod support;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::build;
use support::pair::{self, Place, Scene, Variant};
use support::run::{Outcome, Run};

/// An MPI, and the way it does MPI-IO.
#[derive(Clone, Copy)]
struct Library {
    name: &'static str,
    mpi: &'static str,
    env: &'static [(&'static str, &'static str)],
}

const MPICH: Library = Library { name: "MPICH", mpi: "mpich", env: &[] };
const OMPIO: Library = Library { name: "Open MPI's OMPIO", mpi: "openmpi", env: &[("OMPI_MCA_io", "ompio")] };
const ROMIO: Library =
    Library { name: "Open MPI's ROMIO", mpi: "openmpi", env: &[("OMPI_MCA_io", "romio321")] };

/// What Open MPI wants before it runs as root, or on fewer processors than ranks, and on this node alone.
const OPEN_MPI: &[(&str, &str)] = &[
    ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
    ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
    ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
    ("OMPI_MCA_mpi_yield_when_idle", "1"),
    ("OMPI_MCA_btl", "self,vader"),
    ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
];

const PLAIN: Variant = Variant {
    name: "mpi",
    place: Place::Path,
    env: &[("IRIS_MOUNT", "{d}")],
    shared: true,
    stages: true,
    drain: false,
};

/// One example: the arguments of each of its runs, where `{d}` is the directory, and with how many ranks fewer.
#[derive(Clone, Copy)]
struct Example {
    name: &'static str,
    runs: &'static [(&'static [&'static str], u32)],
    libraries: &'static [Library],
    /// This file has its 64-byte lines in no order.
    unordered: Option<&'static str>,
    /// Some of its writes are small, and by calls that Iris serves.
    stages: bool,
    /// Some of its requests may go past the MPI library.
    direct: bool,
    /// What it says depends on the library, which is then run natively too.
    own_words: bool,
}

const BOTH: &[Library] = &[MPICH, OMPIO, ROMIO];
const OPEN_MPI_ONLY: &[Library] = &[OMPIO, ROMIO];

const fn example(name: &'static str, runs: &'static [(&'static [&'static str], u32)]) -> Example {
    Example { name, runs, libraries: BOTH, unordered: None, stages: true, direct: true, own_words: false }
}

macro_rules! programs {
    ($($name:ident = $example:expr;)*) => {
        $(#[test]
        fn $name() {
            check(&$example);
        })*
    };
}

programs! {
    mpi_calls = Example { own_words: true, ..example("mpi_calls", &[(&["{d}"], 0)]) };
    io_bench = example("io_bench", &[
        (&["-o", "{d}/shared", "-b", "60000", "-t", "600", "-s", "3", "-e", "-z", "-C", "-W", "-R", "-k", "-q"], 0),
        (&["-o", "{d}/own", "-F", "-b", "4k", "-t", "64", "-s", "2", "-C", "-R", "-k", "-q"], 0),
    ]);
    file_per_process = example("file_per_process", &[(&["{d}/f"], 0)]);
    segments = example("segments", &[(&["{d}/f"], 0)]);
    subarray = Example { stages: false, direct: false, ..example("subarray", &[(&["{d}/f"], 0)]) };
    overlap = Example { stages: false, direct: false, ..example("overlap", &[(&["{d}/f"], 0)]) };
    shared_log = Example { direct: false, unordered: Some("f"), ..example("shared_log", &[(&["{d}/f"], 0)]) };
    checkpoint = example("checkpoint", &[(&["{d}", "60", "25"], 0), (&["{d}", "60"], 1)]);
    shared_file = example("shared_file", &[(&["{d}/f", "200"], 0)]);
    parallel_hdf5 = example("parallel_hdf5", &[(&["{d}/f"], 0)]);
    parallel_netcdf = Example { direct: false, libraries: OPEN_MPI_ONLY, ..example("parallel_netcdf", &[(&["{d}/f"], 0)]) };
    fortran_mpif = example("fortran_mpif", &[(&["{d}/f"], 0)]);
    fortran_module = example("fortran_module", &[(&["{d}/f"], 0)]);
    fortran_f08 = example("fortran_f08", &[(&["{d}/f"], 0)]);
}

fn ranks() -> Vec<u32> {
    let list = std::env::var("IRIS_TEST_MPI_RANKS").unwrap_or_else(|_| "1,2,4".to_owned());
    list.split(',').map(|n| n.trim().parse().expect("IRIS_TEST_MPI_RANKS is a list of numbers")).collect()
}

/// Runs all runs of an example in `dir`: each outcome, and how to do the last one by hand.
fn run_all(
    example: &Example,
    library: &Library,
    ranks: u32,
    dir: &Path,
    env: &[(OsString, OsString)],
) -> (Vec<Outcome>, String) {
    let program = build::mpi_example(library.mpi, example.name);
    let said = tempfile::tempdir().expect("a folder for what the program says");
    let launcher = PathBuf::from(format!("mpirun.{}", library.mpi));
    let text = |pairs: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    };
    let mut hand = String::new();
    let outcomes = example.runs.iter().map(|(arguments, fewer)| {
        let count = ranks.saturating_sub(*fewer).max(1).to_string();
        let mut args: Vec<OsString> = vec!["-np".into(), count.into(), program.clone().into()];
        args.extend(arguments.iter().map(|a| a.replace("{d}", dir.to_str().expect("a text")).into()));
        let mut all = text(library.env);
        if library.mpi == "openmpi" {
            all.extend(text(OPEN_MPI));
            // By default all launchers of a user share a folder, which the one that ends removes under the others.
            all.push(("OMPI_MCA_orte_tmpdir_base".into(), said.path().into()));
        }
        all.extend(env.iter().cloned());
        let run =
            Run { program: &launcher, args, cwd: said.path(), env: all, scratch: said.path(), output: None };
        hand = run.by_hand();
        run.go()
    });
    (outcomes.collect(), hand)
}

/// Puts the lines of a file into order.
fn sort_lines(file: &Path) {
    let bytes = fs::read(file).expect("read the log");
    let mut lines: Vec<&[u8]> = bytes.chunks(64).collect();
    lines.sort_unstable();
    fs::write(file, lines.concat()).expect("write the sorted log");
}

/// What differs between two runs of an example.
fn differences(example: &Example, a: (&[Outcome], &Path), b: (&[Outcome], &Path)) -> Vec<String> {
    if let Some(log) = example.unordered {
        [a.1, b.1].iter().map(|d| d.join(log)).filter(|f| f.exists()).for_each(|f| sort_lines(&f));
    }
    let each = a.0.iter().zip(b.0).flat_map(|(x, y)| pair::compare((x, a.1), (y, b.1), false));
    let mut all: Vec<String> = each.collect();
    all.dedup();
    all
}

fn check(example: &Example) {
    let iris = build::libiris();
    let mut failed = Vec::new();
    for ranks in ranks() {
        let plain = Scene::new(example.name, "native", &[]);
        let (native, _) = run_all(example, &example.libraries[0], ranks, &plain.dir(), &[]);
        for one in &native {
            let (out, err) = (String::from_utf8_lossy(&one.stdout), String::from_utf8_lossy(&one.stderr));
            assert_eq!(one.status, "exit 0", "{} fails natively on {ranks} ranks:\n{out}{err}", example.name);
            assert!(out.contains("ok"), "{} says natively: {out}{err}", example.name);
        }
        for library in example.libraries {
            let own = Scene::new(example.name, "native-own", &[]);
            let mut reference = (&native, &plain);
            let words;
            if example.own_words {
                (words, _) = run_all(example, library, ranks, &own.dir(), &[]);
                reference = (&words, &own);
            }
            let (native, plain) = reference;
            let mut mounted = Scene::new(example.name, library.mpi, &[]);
            let env = mounted.environment(&PLAIN, Some(&iris));
            let (outcomes, hand) = run_all(example, library, ranks, &mounted.dir(), &env);
            let mut said = differences(example, (native, &plain.dir()), (&outcomes, &mounted.dir()));
            said.extend(mounted.left_in_tier0(&env));
            if mounted.reported("opened") + mounted.reported("no_tier0") == 0 {
                said.push("the report tells of no mounted file: was Iris at work?".to_owned());
            } else if example.stages && mounted.reported("staged_writes") == 0 {
                said.push("the report tells of no staged write: was Iris at work?".to_owned());
            } else if example.direct && mounted.reported("mpi_direct") == 0 {
                said.push("the report tells of no request past the MPI library".to_owned());
            }
            if said.is_empty() {
                continue;
            }
            // Whose fault is it?
            let alone = Scene::new(example.name, "native-too", &[]);
            let (same, _) = run_all(example, library, ranks, &alone.dir(), &[]);
            if !differences(example, (native, &plain.dir()), (&same, &alone.dir())).is_empty() {
                said.push(format!("natively {} differs from the first library as well", library.name));
            }
            failed.push(format!(
                "{} on {ranks} ranks, {}  (native | iris)\n    {}\n    by hand: {hand}",
                example.name,
                library.name,
                said.join("\n    ")
            ));
        }
    }
    assert!(failed.is_empty(), "{} runs differ:\n\n{}\n", failed.len(), failed.join("\n\n"));
}

/// What mpi-examples/example.h says belongs at an offset.
fn byte_at(at: u64) -> u8 {
    let x = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 57 ^ x >> 31) as u8
}

/// A rank is killed in the middle, and the launcher ends the others: what was synced is there, and so is everything
/// that the killed rank's calls had returned for.
#[test]
fn a_killed_rank_loses_nothing_that_returned() {
    const ROUNDS: u64 = 3;
    const RECORDS: u64 = 150;
    let iris = build::libiris();
    for library in BOTH {
        for ranks in [2, 4] {
            let example = &example("mpi_killed", &[(&["{d}/f", "3", "150"], 0)]);
            let mut scene = Scene::new(example.name, library.mpi, &[]);
            let env = scene.environment(&PLAIN, Some(&iris));
            let (outcomes, hand) = run_all(example, library, ranks, &scene.dir(), &env);
            assert_ne!(outcomes[0].status, "exit 0", "the last rank is killed: {hand}");
            // The launcher may be gone before the last rank that it ended: a living writer's files are left to it.
            let begun = Instant::now();
            let left = loop {
                pair::iris(&["drain"], &env);
                let left = scene.left_in_tier0(&env);
                if left.is_empty() || begun.elapsed() > Duration::from_secs(60) {
                    break left;
                }
                std::thread::sleep(Duration::from_millis(50));
            };
            assert!(left.is_empty(), "{}, {ranks} ranks: {left:?}", library.name);
            let bytes = fs::read(scene.dir().join("f")).expect("read what is there");
            let whole = (ROUNDS * u64::from(ranks) + 1) * RECORDS * 100;
            assert_eq!(bytes.len() as u64, whole, "{}, {ranks} ranks: {hand}", library.name);
            let wrong = (0..whole).find(|&at| bytes[at as usize] != byte_at(at));
            assert_eq!(wrong, None, "{}, {ranks} ranks: the first wrong byte: {hand}", library.name);
        }
    }
}

/// The comparison must be able to fail: by a flipped bit, and when Iris is not there at all.
#[test]
fn a_corrupting_library_is_caught() {
    let broken = build::library("broken_preload");
    let example = &example("file_per_process", &[(&["{d}/f"], 0)]);
    let scenes = [(); 2].map(|()| Scene::new(example.name, "broken", &[]));
    let (native, _) = run_all(example, &MPICH, 1, &scenes[0].dir(), &[]);
    let env = [("LD_PRELOAD".into(), broken.into())];
    let (outcomes, _) = run_all(example, &MPICH, 1, &scenes[1].dir(), &env);
    let said = differences(example, (&native, &scenes[0].dir()), (&outcomes, &scenes[1].dir())).join("\n");
    assert!(said.contains("ended with exit 0 | exit 1"), "{said}");
    assert!(said.contains("first differs at byte"), "{said}");
}
