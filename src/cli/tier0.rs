//! `iris status` and `iris drain`: what Tier 0 holds, and taking home what killed processes left. Owns the words;
//! the pool is the library's.

use super::say::{self, Failure};
use super::settings::Settings;
use clap::Args;
use iris::admin::{self, DrainReport, Outcome, Released, StagedFile, Status};
use iris::config::{AUTO, Config, show_threshold};
use serde_json::json;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of `iris status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    settings: Settings,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Options of `iris drain`.
#[derive(Args, Debug)]
pub struct DrainArgs {
    /// Only files in these directories (or these files); without any, all that is staged
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Also what living processes have staged: right at any time, but it may slow them down
    #[arg(long)]
    all: bool,
    /// Give up, for good, what cannot be taken home: bytes of files that are gone, and damaged journals
    #[arg(long)]
    discard: bool,
    /// Also give back the room that the anchors of homes on stores take of what the stores have too
    #[arg(long)]
    release: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Runs `iris status`.
pub fn status(args: &StatusArgs) -> Result<(String, ExitCode), Failure> {
    let config = args.settings.load()?;
    let status = admin::status(&config).map_err(|e| Failure::new(1, e.to_string()))?;
    let text = if args.json { status_json(&config, &status) } else { status_text(&config, &status) };
    Ok((text, ExitCode::SUCCESS))
}

/// Files and bytes staged below a directory.
fn below(status: &Status, root: &Path) -> (usize, u64) {
    let files = status.files.iter().filter(|f| f.path.starts_with(root));
    files.fold((0, 0), |(n, bytes), f| (n + 1, bytes + f.bytes))
}

fn status_json(config: &Config, status: &Status) -> String {
    let mounts: Vec<_> = config
        .mounts
        .iter()
        .map(|m| {
            let root = Path::new(OsStr::from_bytes(m.directory()));
            let (files, bytes) = below(status, root);
            json!({"directory": String::from_utf8_lossy(&m.root), "threshold": threshold(m.threshold),
                   "consistency": m.consistency.name(), "settle": m.settle.name(),
                   "staged_files": files, "staged_bytes": bytes})
        })
        .collect();
    let files: Vec<_> = status
        .files
        .iter()
        .map(|f| {
            json!({"path": f.path.display().to_string(), "bytes": f.bytes, "spilled": f.spilled, "age_ms": f.age_ms, "writer": f.writer,
                   "writer_alive": f.writer_alive, "error": f.error, "damaged": f.damaged})
        })
        .collect();
    let unsent: Vec<_> = status
        .unsent
        .iter()
        .map(|f| json!({"path": f.path.display().to_string(), "bytes": f.bytes, "writer": f.writer}))
        .collect();
    let untold: Vec<_> = status
        .untold
        .iter()
        .map(|(tree, e)| {
            json!({"anchors": tree.display().to_string(), "error": io::Error::from_raw_os_error(*e).to_string()})
        })
        .collect();
    let value = json!({
        "mounts": mounts,
        "tier0": {
            "pool": status.pool.as_ref().map(|p| p.display().to_string()),
            "memory_used": status.memory.0, "memory": status.memory.1,
            "storage_used": status.storage.0, "storage": status.storage.1,
        },
        "staged_files": status.files.len(),
        "staged_bytes": total(status),
        "oldest_ms": status.files.iter().map(|f| f.age_ms).max(),
        "files": files,
        "unsent_files": status.unsent.len(),
        "unsent": unsent,
        "untold": untold,
    });
    format!("{value:#}\n")
}

/// As a number of bytes, or "auto".
pub fn threshold(bytes: u64) -> serde_json::Value {
    if bytes == AUTO { json!("auto") } else { json!(bytes) }
}

fn total(status: &Status) -> u64 {
    status.files.iter().map(|f| f.bytes).sum()
}

fn status_text(config: &Config, status: &Status) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Mounts");
    for mount in &config.mounts {
        let root = Path::new(OsStr::from_bytes(mount.directory()));
        let (files, bytes) = below(status, root);
        let _ = writeln!(
            text,
            "  {}: staged {} in {}; threshold {}, {}, settle {}",
            String::from_utf8_lossy(&mount.root),
            human(bytes),
            count(files),
            show_threshold(mount.threshold),
            mount.consistency.name(),
            mount.settle.name()
        );
    }
    if config.mounts.is_empty() {
        text.push_str("  none here (IRIS_MOUNT, IRIS_CONFIG and --mount name none)\n");
    }
    text.push_str("Tier 0\n");
    match &status.pool {
        None => text.push_str("  no pool yet: nothing has been staged\n"),
        Some(pool) => {
            let _ = writeln!(text, "  pool {}", pool.display());
            for (name, (used, all)) in [("memory", status.memory), ("storage", status.storage)] {
                let _ = match all {
                    0 => writeln!(text, "  {name} none"),
                    _ => writeln!(text, "  {name} {} used of {}", human(used), human(all)),
                };
            }
        }
    }
    let oldest = status.files.iter().map(|f| f.age_ms).max();
    let _ = write!(text, "Staged: {} in {}", human(total(status)), count(status.files.len()));
    match oldest {
        Some(age) => text.push_str(&format!(", the oldest for {}\n", seconds(age))),
        None => text.push('\n'),
    }
    for file in &status.files {
        let _ = writeln!(
            text,
            "  {} {}, {}{}",
            name(&file.path),
            human(file.bytes),
            seconds(file.age_ms),
            state(file)
        );
    }
    unsent_text(status, &mut text);
    let left = status.files.iter().any(|f| !f.writer_alive) || status.unsent.iter().any(|f| f.writer == 0);
    if left {
        text.push_str("`iris drain` takes home what processes that ended have left.\n");
    }
    text
}

fn unsent_text(status: &Status, text: &mut String) {
    if !status.unsent.is_empty() {
        let bytes = status.unsent.iter().map(|f| f.bytes).sum();
        let _ = writeln!(text, "Not in their stores yet: {} in {}", human(bytes), count(status.unsent.len()));
    }
    for file in &status.unsent {
        let whose = if file.writer == 0 { "open nowhere".into() } else { format!("process {}", file.writer) };
        let _ = writeln!(text, "  {} {}, {whose}", name(&file.path), human(file.bytes));
    }
    for (tree, e) in &status.untold {
        let why = io::Error::from_raw_os_error(*e);
        let _ = writeln!(text, "{}: what its store lacks cannot be told: {why}", tree.display());
    }
}

fn state(file: &StagedFile) -> String {
    let mut text = match (file.writer, file.writer_alive) {
        (0, _) => ", writer unknown".to_string(),
        (pid, true) => format!(", process {pid}"),
        (pid, false) => format!(", process {pid}, which has ended"),
    };
    if file.damaged {
        text.push_str(", DAMAGED");
    }
    if file.spilled != 0 {
        let _ = write!(text, ", {} more in its store", human(file.spilled));
    }
    if file.error != 0 {
        let _ = write!(text, ", flush failed: {}", io::Error::from_raw_os_error(file.error));
    }
    text
}

fn name(path: &Path) -> String {
    if path.as_os_str().is_empty() { "(name unknown)".into() } else { path.display().to_string() }
}

fn count(files: usize) -> String {
    if files == 1 { "1 file".into() } else { format!("{files} files") }
}

fn seconds(ms: u64) -> String {
    if ms < 10_000 { format!("{}.{} s", ms / 1000, ms % 1000 / 100) } else { format!("{} s", ms / 1000) }
}

/// A size to three digits or so.
pub(super) fn human(bytes: u64) -> String {
    for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >= 1 << shift {
            let tenths = (u128::from(bytes) * 10) >> shift;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

/// Runs `iris drain`.
pub fn drain(args: &DrainArgs) -> Result<(String, ExitCode), Failure> {
    let config = args.settings.load()?;
    let mut paths = Vec::new();
    for path in &args.paths {
        // Staged files have absolute names; a directory may be gone by now and yet be asked for.
        let absolute = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
        paths.push(absolute.map_err(|e| Failure::new(2, format!("{}: {e}", path.display())))?);
    }
    failures_are_told(&config);
    let report =
        admin::drain(&config, &paths, args.all, args.discard).map_err(|e| Failure::new(1, e.to_string()))?;
    for path in &paths {
        // Nothing staged and no such name: a slip of the pen is more likely than a folder that went.
        if !path.exists() && !report.files.iter().any(|(file, _)| file.starts_with(path)) {
            say::warn(&format!("{}: there is no such file, and nothing is staged below it", path.display()));
        }
    }
    let released = if args.release { released(&config)? } else { Vec::new() };
    let text = if args.json { drain_json(&report, &released) } else { drain_text(&report, &released) };
    let kept = released.iter().any(|(_, gone)| gone.is_err());
    Ok((text, ExitCode::from(u8::from(!report.is_complete() || kept))))
}

fn released(config: &Config) -> Result<Released, Failure> {
    admin::release(config).map_err(|e| Failure::new(1, e.to_string()))
}

/// Before staged bytes are taken home: what fails shall be told.
fn failures_are_told(config: &Config) {
    // Which store did not answer, and why, is more than an error number says.
    iris::log::set_level(config.log.max(1));
    // Past RLIMIT_FSIZE a write shall fail rather than end the command by a signal.
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

fn drain_json(report: &DrainReport, released: &Released) -> String {
    let files: Vec<_> = report
        .files
        .iter()
        .map(|(path, outcome)| {
            let (word, bytes, pid) = match outcome {
                Outcome::Settled { bytes } => ("settled", Some(*bytes), None),
                Outcome::InUse { pid } => ("in use", None, Some(*pid)),
                Outcome::Removed { bytes } => ("removed", Some(*bytes), None),
                Outcome::Discarded { bytes } => ("discarded", Some(*bytes), None),
                Outcome::Gone => ("gone", None, None),
                Outcome::Failed { .. } => ("failed", None, None),
                Outcome::Damaged => ("damaged", None, None),
                Outcome::Newer => ("newer", None, None),
            };
            json!({"path": path.display().to_string(), "outcome": word, "bytes": bytes, "process": pid,
                   "do": problem(outcome)})
        })
        .collect();
    let released: Vec<_> = released
        .iter()
        .map(|(tree, gone)| {
            json!({"anchors": tree.display().to_string(), "bytes": gone.ok(),
                   "error": gone.err().map(|e| io::Error::from_raw_os_error(e).to_string())})
        })
        .collect();
    format!("{:#}\n", json!({"complete": report.is_complete(), "files": files, "released": released}))
}

fn drain_text(report: &DrainReport, released: &Released) -> String {
    let mut text = String::new();
    if report.files.is_empty() {
        text.push_str("Nothing to drain.\n");
    }
    for (path, outcome) in &report.files {
        let path = name(path);
        let _ = match (outcome, problem(outcome)) {
            (_, Some(problem)) => writeln!(text, "{path}: {problem}"),
            (Outcome::Settled { bytes }, None) => writeln!(text, "{path}: {} taken home", human(*bytes)),
            (Outcome::InUse { pid }, None) => {
                writeln!(text, "{path}: left to process {pid}, which is alive (--all takes it home now)")
            }
            (Outcome::Removed { bytes }, None) => {
                writeln!(
                    text,
                    "{path}: had been removed while it was open; its {} went with it",
                    human(*bytes)
                )
            }
            (Outcome::Discarded { bytes }, None) => writeln!(text, "{path}: {} given up", human(*bytes)),
            (_, None) => Ok(()),
        };
    }
    for (tree, gone) in released {
        let _ = match gone {
            Ok(bytes) => writeln!(text, "{}: {} of the disk given back", tree.display(), human(*bytes)),
            Err(e) => writeln!(text, "{}: {}", tree.display(), io::Error::from_raw_os_error(*e)),
        };
    }
    text
}

/// What is wrong, and what to do.
fn problem(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Settled { .. }
        | Outcome::Removed { .. }
        | Outcome::Discarded { .. }
        | Outcome::InUse { .. } => None,
        Outcome::Gone => Some(
            "no such file, or another one of that name: it was removed or renamed behind Iris's back. What is \
             staged for it stays; give the file its name back and drain again, or give the bytes up with \
             `iris drain --discard`"
                .into(),
        ),
        Outcome::Failed { errno } => {
            let what = io::Error::from_raw_os_error(*errno);
            let remedy = match *errno {
                libc::ENOSPC | libc::EDQUOT => "make room on its file system",
                libc::EFBIG => "raise the limit of file sizes (ulimit -f)",
                libc::EROFS => "make its file system writable",
                libc::EACCES | libc::EPERM => "run it as the user who wrote the file, with the right to write it",
                libc::EIO | libc::ESTALE | libc::ENOTCONN | libc::EHOSTDOWN | libc::ETIMEDOUT => {
                    "see to its file system, and to the store beside it where there is one (is the server up?)"
                }
                _ => "remove the cause",
            };
            Some(format!("{what}; what is staged stays: {remedy}, then drain again"))
        }
        Outcome::Newer => Some(
            "it was written after what lies in the store for it, from a Tier 0 that is gone; that is not put over it: \
             give it up with `iris drain --discard`"
                .into(),
        ),
        Outcome::Damaged => Some(
            "its journal does not pass its checks, so nothing of it is used: what was not flushed is lost. The file \
             holds what reached it before"
                .into(),
        ),
    }
}

/// After `iris run`: takes home what killed processes left in the mounts. Returns what to complain about, and
/// whether staged bytes are in danger (and not only those of a file that is gone).
pub fn after_run(config: &Config) -> (Vec<String>, bool) {
    let roots: Vec<PathBuf> =
        config.mounts.iter().map(|m| PathBuf::from(OsStr::from_bytes(m.directory()))).collect();
    failures_are_told(config);
    match admin::drain_tier0(config, &roots, false, false) {
        Err(error) => (vec![error.to_string()], true),
        Ok(report) => {
            let complaints = report
                .files
                .iter()
                .filter_map(|(path, outcome)| Some(format!("{}: {}", name(path), problem(outcome)?)))
                .collect();
            let grave = report
                .files
                .iter()
                .any(|(_, o)| matches!(o, Outcome::Failed { .. } | Outcome::Damaged | Outcome::Newer));
            (complaints, grave)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!((human(0), human(1023)), ("0 B".into(), "1023 B".into()));
        assert_eq!((human(1536), human(64 << 20)), ("1.5 KiB".into(), "64.0 MiB".into()));
        assert_eq!(human(u64::MAX), "16777215.9 TiB");
        assert_eq!(
            (seconds(0), seconds(1260), seconds(61_000)),
            ("0.0 s".into(), "1.2 s".into(), "61 s".into())
        );
    }

    #[test]
    fn every_problem_says_what_to_do() {
        assert_eq!(problem(&Outcome::Settled { bytes: 1 }), None);
        assert_eq!(problem(&Outcome::InUse { pid: 1 }), None);
        let text = problem(&Outcome::Failed { errno: libc::ENOSPC }).unwrap();
        assert!(text.starts_with("No space left on device") && text.contains("make room"), "{text}");
    }
}
