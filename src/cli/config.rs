//! `iris config`: what is in force and where it came from. Owns only the layout of the answer.

use super::say::Failure;
use super::settings::Settings;
use clap::Args;
use iris::config::{Config, Row, default_file};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::ExitCode;

/// Options of `iris config`.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    #[command(flatten)]
    settings: Settings,
    /// Print a configuration file with every key, its default and what it does
    #[arg(long, conflicts_with_all = ["json", "mount", "set", "config"])]
    default: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn main(args: &ConfigArgs) -> Result<(String, ExitCode), Failure> {
    if args.default {
        return Ok((default_file(), ExitCode::SUCCESS));
    }
    let config = args.settings.load()?;
    let text = if args.json { as_json(&config) } else { as_table(&config) };
    Ok((text, ExitCode::SUCCESS))
}

fn as_json(config: &Config) -> String {
    let entry = |row: Row| json!({"key": row.key, "value": row.value, "from": row.origin});
    let mounts: Vec<Value> = config
        .mounts
        .iter()
        .zip(&config.mount_origins)
        .map(|(m, from)| {
            json!({
                "directory": String::from_utf8_lossy(&m.root),
                "home": m.home.as_ref().map(ToString::to_string),
                "threshold": super::tier0::threshold(m.threshold),
                "consistency": m.consistency.name(),
                "settle": m.settle.name(),
                "mapper": m.mapper,
                "store": m.store.map(ToString::to_string),
                "spill": m.spill.name(),
                "from": {
                    "mount": config.origin(from.mount),
                    "threshold": config.origin(from.threshold),
                    "consistency": config.origin(from.consistency),
                    "settle": config.origin(from.settle),
                    "mapper": config.origin(from.mapper),
                    "store": config.origin(from.store),
                    "spill": config.origin(from.spill),
                },
            })
        })
        .collect();
    let keys: Vec<Value> =
        config.rows().into_iter().filter(|r| !r.key.starts_with("mount.")).map(entry).collect();
    let value = json!({
        "disabled": config.disabled,
        "file": config.file.as_ref().map(|f| f.display().to_string()),
        "keys": keys,
        "mounts": mounts,
        "unknown_variables": config.unknown,
    });
    format!("{value:#}\n")
}

fn as_table(config: &Config) -> String {
    let mut text = String::new();
    if config.disabled {
        text.push_str("Iris is switched off (IRIS_DISABLE): nothing is mounted.\n");
        return text;
    }
    let rows = config.rows();
    let width = |of: fn(&Row) -> &str| rows.iter().map(|r| of(r).chars().count()).max().unwrap_or(0);
    let (keys, values) = (width(|r| &r.key), width(|r| &r.value).max("VALUE".len()));
    let _ = writeln!(text, "{:keys$}  {:values$}  FROM", "KEY", "VALUE");
    for row in &rows {
        let value = if row.value.is_empty() { "-" } else { &row.value };
        let _ = writeln!(text, "{:keys$}  {value:values$}  {}", row.key, row.origin);
    }
    for name in &config.unknown {
        let _ = writeln!(text, "\nThe variable {name} is none of Iris's; it is left alone.");
    }
    if config.mounts.is_empty() {
        text.push_str("\nNo directory is mounted: name one with IRIS_MOUNT or `iris run --mount DIR`.\n");
    }
    text
}
