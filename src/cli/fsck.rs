//! `iris fsck`: what is wrong with a mount whose home is a store, in words. Owns the words and the exit codes; what is wrong
//! is the library's business.

use super::say::Failure;
use super::settings::Settings;
use super::tier0::human;
use clap::Args;
use iris::admin::homes::{self, HomeError};
use iris::home::check::{Doubt, Fate, Finding, How, Report, What};
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `iris fsck`.
#[derive(Args, Debug)]
pub struct FsckArgs {
    /// The mount, as programs name it
    #[arg(value_name = "MOUNT")]
    of: PathBuf,
    /// Delete what is nobody's, and complete what was begun
    #[arg(long)]
    repair: bool,
    /// No program uses the home now, on any node: also delete what only a running program could be using
    #[arg(long)]
    unused: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Found something.
const FOUND: u8 = 1;
/// Could not look.
const BLIND: u8 = 2;

/// Runs `iris fsck`.
pub fn main(args: &FsckArgs) -> Result<(String, ExitCode), Failure> {
    let config = args.settings.load()?;
    // What a store fails with, it says there.
    iris::log::set_level(config.log.max(1));
    let how = How { repair: args.repair, unused: args.unused };
    match homes::check(&config, &args.of, how) {
        Ok(report) => {
            let text = if args.json { as_json(&report) } else { as_text(args, &report) };
            Ok((text, ExitCode::from(if report.findings.is_empty() { 0 } else { FOUND })))
        }
        Err(directory @ HomeError::Directory { .. }) if !args.json => {
            Ok((format!("{directory}: there is nothing to check.\n"), ExitCode::SUCCESS))
        }
        Err(HomeError::Directory { .. }) => Ok((as_json(&Report::default()), ExitCode::SUCCESS)),
        Err(e) => Err(Failure::new(BLIND, e.to_string())),
    }
}

fn as_text(args: &FsckArgs, report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let _ = writeln!(text, "{}{}", about(finding), fate(finding));
    }
    let found = match report.findings.len() {
        0 => "nothing is wrong".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        n => format!("{n} things are wrong"),
    };
    let done = report.findings.iter().filter(|f| f.fate == Fate::Repaired).count();
    let done = if done == 0 { String::new() } else { format!(", {done} put right") };
    let (files, objects) = (count(report.files, "file"), count(report.objects, "object"));
    let _ = writeln!(text, "{}: {files}, {objects}: {found}{done}.", args.of.display());
    text
}

fn as_json(report: &Report) -> String {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|f| {
            json!({"what": word(&f.what), "fate": fate_word(&f.fate), "file": f.name.as_deref().map(shown),
                   "key": f.key.as_deref().map(shown), "path": f.path.as_ref().map(|p| p.display().to_string()),
                   "objects": f.objects, "bytes": f.bytes, "text": format!("{}{}", about(f), fate(f))})
        })
        .collect();
    format!("{:#}\n", json!({"files": report.files, "objects": report.objects, "findings": findings}))
}

fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

fn word(what: &What) -> &'static str {
    match what {
        What::Orphan => "orphan",
        What::Leftover => "leftover",
        What::Lost => "lost",
        What::Damaged(_) => "damaged",
        What::Foreign => "foreign",
        What::Hidden => "hidden",
        What::Probe => "probe",
        What::Control => "control",
        What::Unreadable => "unreadable",
        What::Half => "half",
        What::Unclaimed => "unclaimed",
        What::Rename => "rename",
    }
}

fn fate_word(fate: &Fate) -> &'static str {
    match fate {
        Fate::Told => "told",
        Fate::Removable => "removable",
        Fate::Repaired => "repaired",
        Fate::Kept(_) => "kept",
        Fate::Failed(_) => "failed",
    }
}

/// What is wrong, where, and what to do where a repair does nothing.
fn about(f: &Finding) -> String {
    let name = f.name.as_deref().map_or_else(String::new, shown);
    let key = f.key.as_deref().map_or_else(String::new, shown);
    let path = f.path.as_ref().map_or_else(String::new, |p| p.display().to_string());
    let objects = format!("{} ({})", count(f.objects, "object"), human(f.bytes));
    match &f.what {
        What::Orphan => format!("keys that begin with \"{key}\": {objects} of a file that there is not"),
        What::Leftover => format!("{name}: {objects} that nothing reads, the first \"{key}\""),
        What::Lost => format!(
            "{name}: object \"{key}\" is missing or too short, and bytes of the file with it; put the file back from a \
             copy"
        ),
        What::Damaged(why) => {
            let why = why.split("; `iris fsck`").next().unwrap_or_default();
            format!("{name}: {why}; put the file back from a copy")
        }
        What::Foreign => format!(
            "object \"{key}\" ({}): no file can have this key, so it is not Iris's to delete",
            human(f.bytes)
        ),
        What::Hidden => format!(
            "object \"{key}\" ({}): a file hides it, whose name its key begins with; rename one of them with the store's \
             own tools",
            human(f.bytes)
        ),
        What::Probe => format!("object \"{key}\": left by a process that asked what the server can do"),
        What::Control if f.objects == 0 => format!("{path}: control file of a file that is gone"),
        What::Control => {
            format!("{path}: control file of a file that is gone, with {objects} under \"{key}\"")
        }
        What::Unreadable => {
            format!("{path}: no control file of this version; which objects its file has cannot be told")
        }
        What::Half => format!("{path}: a file that was half made when its maker died"),
        What::Unclaimed => format!(
            "{name}: it lacks bytes, and which objects have them cannot be told, because its control file is gone; put \
             the file back from a copy"
        ),
        What::Rename => format!("{path}: a rename that was begun and not ended"),
    }
}

fn fate(f: &Finding) -> String {
    let unused = "when no program uses the home, on any node, `--repair --unused` deletes it";
    match &f.fate {
        Fate::Told => String::new(),
        Fate::Removable if f.what == What::Rename => "; `--repair` ends it".into(),
        Fate::Removable => "; `--repair` deletes it".into(),
        Fate::Repaired if f.what == What::Rename => ": ended".into(),
        Fate::Repaired => ": deleted".into(),
        Fate::Kept(Doubt::OtherNodes) => format!("; kept, as another node may be using it: {unused}"),
        Fate::Kept(Doubt::Crowd) => {
            format!("; kept, as more processes had it open than could be noted: {unused}")
        }
        Fate::Kept(Doubt::Restless) => {
            "; kept, as names changed all the while: look again when fewer do".into()
        }
        Fate::Kept(Doubt::Unclaimed) => {
            "; kept, as it may belong to a file whose objects cannot be told".into()
        }
        Fate::Failed(why) => format!("; it could not be deleted: {why}"),
    }
}
