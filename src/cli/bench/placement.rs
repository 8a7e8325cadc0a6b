//! Where requests go: a directory alone (on a parallel file system, say), a store alone, or both, each request where it
//! belongs. Owns the ways that are compared; each is a process of its own, the hybrid ones under Iris.

use super::figures::Figures;
use super::files::{self, Failed};
use super::median;
use super::traces::{self, Step};
use crate::cli::library;
use iris_store::Store;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// The directory alone.
pub const DIRECTORY: &str = "directory only";

/// A store, as the measurements and as a configuration name it.
pub struct Beside<'a> {
    /// What it is called in the tables.
    pub name: &'a str,
    /// The store.
    pub store: &'a Arc<dyn Store>,
    /// Its text in the configuration.
    pub text: &'a str,
}

/// Variables and their values.
type Settings = &'static [(&'static str, &'static str)];

/// Settings of the hybrid ways.
const HYBRID: [(&str, Settings); 3] = [
    ("hybrid, small requests", &[]),
    ("hybrid, auto", &[("IRIS_THRESHOLD", "auto")]),
    ("hybrid, auto, settles later", &[("IRIS_THRESHOLD", "auto"), ("IRIS_SETTLE", "drain")]),
];

/// Where the files of a measurement lie.
pub struct Folders {
    /// Below the directory that is measured.
    pub data: PathBuf,
    /// For traces and Tier 0.
    pub scratch: PathBuf,
}

/// A trace to replay.
pub struct Load {
    /// Its name.
    pub name: String,
    /// Its requests.
    pub steps: Vec<Step>,
}

/// Patterns that are there without any trace.
pub fn synthetic() -> Vec<Load> {
    const MIB: u64 = 1 << 20;
    let order = super::scattered(4096);
    let write = |offset, len| Step { write: true, offset, len };
    let small = order.iter().map(|at| write(at * 4096, 4096)).collect();
    let tiny = super::scattered(16_384).iter().map(|at| write(at * 256, 200)).collect();
    // A head of 64 bytes before each array.
    let mixed =
        (0..16).flat_map(|i| [write(i * 2 * MIB, 64), write(i * 2 * MIB + 64, 2 * MIB - 64)]).collect();
    [("scattered 200 B", tiny), ("scattered 4 KiB", small), ("64 B and 2 MiB by turns", mixed)]
        .map(|(name, steps)| Load { name: name.into(), steps })
        .into()
}

/// Measures one load every way.
pub fn measure(
    load: &Load,
    beside: &Beside<'_>,
    folders: &Folders,
    rounds: u32,
    figures: &mut Figures,
) -> Result<(), String> {
    let table = format!("placement of {} beside {}", load.name, beside.name);
    figures.table(&table, "MiB/s", true, Some(DIRECTORY));
    let bytes: u64 = load.steps.iter().map(|s| s.len).sum();
    let speed = |spent: Duration| bytes as f64 / f64::from(1 << 20) / spent.as_secs_f64();
    let (filling, steps) = (traces::filling(&load.steps), &load.steps);
    let paths = [folders.scratch.join("filling.csv"), folders.scratch.join("steps.csv")];
    for (path, steps) in paths.iter().zip([&filling, steps]) {
        std::fs::write(path, traces::text(steps)).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let mut ways: Vec<(&str, Option<Settings>)> = vec![(DIRECTORY, None)];
    ways.extend(HYBRID.iter().map(|(who, settings)| (*who, Some(*settings))));
    for (who, settings) in ways {
        let (mut requests, mut closed) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let spent = process(&paths, settings, beside, folders)?;
            requests.push(speed(spent.0));
            closed.push(speed(spent.0 + spent.1));
        }
        figures.add("until the last request returns", who, median(requests));
        figures.add("until the close returns", who, median(closed));
    }
    let mut alone = Vec::new();
    for _ in 0..rounds {
        match store_alone(&filling, steps, beside.store) {
            Ok(spent) => alone.push(speed(spent)),
            Err(Failed::Refused(why) | Failed::Wrong(why)) => return Err(why),
        }
    }
    let alone = median(alone);
    figures.add("until the last request returns", "store only", alone);
    figures.add("until the close returns", "store only", alone);
    Ok(())
}

/// Every request to the store, through the default mapper.
fn store_alone(filling: &[Step], steps: &[Step], store: &Arc<dyn Store>) -> Result<Duration, Failed> {
    let mut file = files::File::new(store, "balanced", false)?;
    for step in filling {
        file.write(step.offset, step.len, true)?;
    }
    let mut spent = Duration::ZERO;
    for step in steps {
        spent += if step.write {
            file.write(step.offset, step.len, false)?
        } else {
            file.read(step.offset, step.len)?
        };
    }
    file.end()?;
    Ok(spent)
}

/// Replays in a process of its own; how long the requests took, and the close.
fn process(
    paths: &[PathBuf; 2],
    settings: Option<&[(&str, &str)]>,
    beside: &Beside<'_>,
    folders: &Folders,
) -> Result<(Duration, Duration), String> {
    let all = replay(paths, true, settings, beside.text, folders)?;
    Ok(all.first().copied().unwrap_or_default())
}

/// Runs `iris replay` on a new file of the directory; with `settings` under Iris. Takes the file home and removes it.
pub fn replay(
    paths: &[PathBuf],
    filled: bool,
    settings: Option<&[(&str, &str)]>,
    store: &str,
    folders: &Folders,
) -> Result<Vec<(Duration, Duration)>, String> {
    let tier0 = folders.scratch.join("tier0");
    let shm = Path::new("/dev/shm").join(format!("iris-bench-{}", std::process::id()));
    let tier0 = if std::fs::create_dir(&shm).is_ok() { shm } else { tier0 };
    std::fs::create_dir_all(&tier0).map_err(|e| format!("{}: {e}", tier0.display()))?;
    let result = replay_with(paths, filled, settings, store, folders, &tier0);
    let removed = std::fs::remove_dir_all(&tier0).map_err(|e| format!("{}: {e}", tier0.display()));
    result.and_then(|r| removed.map(|()| r))
}

fn replay_with(
    paths: &[PathBuf],
    filled: bool,
    settings: Option<&[(&str, &str)]>,
    store: &str,
    folders: &Folders,
    tier0: &Path,
) -> Result<Vec<(Duration, Duration)>, String> {
    let file = folders.data.join("file");
    let own = std::env::current_exe().map_err(|e| format!("where the command lies is unknown: {e}"))?;
    let clean = |command: &mut Command| {
        let names = std::env::vars_os().map(|(name, _)| name);
        names.filter(|n| n.to_string_lossy().starts_with("IRIS_") && n != "IRIS_STORES").for_each(|n| {
            command.env_remove(n);
        });
        if let Some(settings) = settings {
            command.env("IRIS_MOUNT", &folders.data).env("IRIS_STORE", store).env("IRIS_TIER0_PATH", tier0);
            command.envs(settings.iter().copied());
        }
    };
    let mut command = Command::new(&own);
    clean(&mut command);
    if settings.is_some() {
        let library = library::find().map_err(|e| e.message)?;
        command.env("LD_PRELOAD", library::preload(std::env::var_os("LD_PRELOAD").as_deref(), &library));
    }
    command.arg("replay").arg(&file).args(paths);
    if filled {
        command.arg("--filled");
    }
    let told = run(&mut command)?;
    if settings.is_some() {
        let mut drain = Command::new(&own);
        clean(&mut drain);
        run(drain.arg("drain"))?;
    }
    let len = std::fs::metadata(&file).map_err(|e| format!("{}: {e}", file.display()))?.len();
    std::fs::remove_file(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let value: serde_json::Value = serde_json::from_str(&told).map_err(|e| format!("{told}: {e}"))?;
    if value["len"].as_u64() != Some(len) {
        return Err(format!("{}: {len} bytes long, not {}", file.display(), value["len"]));
    }
    let spent = |v: &serde_json::Value, key: &str| Duration::from_nanos(v[key].as_u64().unwrap_or(0));
    let all = value["traces"].as_array().cloned().unwrap_or_default();
    Ok(all.iter().map(|t| (spent(t, "requests_ns"), spent(t, "close_ns"))).collect())
}

/// What a command printed.
fn run(command: &mut Command) -> Result<String, String> {
    let out = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let (said, complained) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if out.status.success() { Ok(said.into_owned()) } else { Err(format!("{said}{complained}")) }
}
