//! `iris run`: a program under Iris. Owns the environment of the child and what is said about it; the engine
//! runs in the child.

use super::check::{self, Effect};
use super::say::{self, Failure};
use super::settings::Settings;
use super::signals::Held;
use super::{library, tier0, which};
use clap::Args;
use iris::admin;
use iris::config::{Config, Environment};
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

/// Options of `iris run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    settings: Settings,
    /// Each process appends to this file what it intercepted, staged and bypassed, and why
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// The command ended well, but some of what it staged could not be brought home.
const NOT_HOME: u8 = 3;

/// Runs the subcommand.
pub fn main(args: &RunArgs) -> Result<(String, ExitCode), Failure> {
    let mut env = args.settings.environment()?;
    if let Some(report) = &args.report {
        env.set_by_option("IRIS_REPORT", report, "--report");
    }
    let config = configuration(&env)?;
    let program = &args.command[0];
    let found = which::find(program).map_err(|e| Failure::new(e.code(), e.to_string()))?;

    let mut command = Command::new(program);
    command.args(&args.command[1..]);
    if config.disabled {
        // Nothing is preloaded either: off means off.
        command.env("IRIS_DISABLE", "1");
    } else {
        let library = library::find()?;
        can_report(&config)?;
        advise(&found);
        if !config.mounts.is_empty()
            && let Some(e) = admin::obstacle(&config)
        {
            say::warn(&format!("nothing will be staged: {e}"));
        }
        environment(&mut command, &config, &library);
    }

    let held = Held::new().map_err(|e| Failure::new(125, format!("signals: {e}")))?;
    held.prepare(&mut command);
    let mut child = command.spawn().map_err(|e| {
        let code = match e.kind() {
            std::io::ErrorKind::NotFound => 127,
            std::io::ErrorKind::PermissionDenied => 126,
            _ if e.raw_os_error() == Some(libc::ENOEXEC) => 126,
            _ => 125,
        };
        Failure::new(code, format!("{}: {e}", program.to_string_lossy()))
    })?;
    let status =
        held.wait(&mut child).map_err(|e| Failure::new(125, format!("waiting for the command: {e}")))?;
    held.release();
    let mut code = code(status);
    if !config.disabled {
        let (complaints, grave) = tier0::after_run(&config);
        complaints.iter().for_each(|c| say::warn(c));
        if grave && code == 0 {
            code = NOT_HOME;
        }
    }
    Ok((String::new(), ExitCode::from(code)))
}

fn configuration(env: &Environment) -> Result<Config, Failure> {
    let config = Config::load(env)?;
    if config.mounts.is_empty() && !config.disabled {
        say::warn("no directory is mounted, so nothing will be accelerated; name one with --mount DIR");
    }
    Ok(config)
}

/// A report that cannot be written is known before hours of work rather than after.
fn can_report(config: &Config) -> Result<(), Failure> {
    let Some(report) = &config.report else { return Ok(()) };
    match OpenOptions::new().append(true).create(true).open(report) {
        Ok(_) => Ok(()),
        Err(e) => Err(Failure::new(2, format!("the report {}: {e}", report.display()))),
    }
}

/// Says so when the program cannot be intercepted. A program that cannot be judged is run all the same: if it is
/// broken, running it tells so better.
fn advise(program: &std::path::Path) {
    let Ok(verdict) = check::judge(program, false) else { return };
    for finding in verdict.findings.iter().filter(|f| f.effect == Effect::Blocks) {
        say::warn(&format!("{}: {}; it will not be intercepted", finding.file.display(), finding.what));
        say::warn(&format!("  {}", finding.remedy));
    }
}

/// The child's environment: the configuration as variables, so that no process of it has to read a file.
fn environment(command: &mut Command, config: &Config, library: &std::path::Path) {
    for (name, value) in config.variables() {
        match value {
            Some(value) => command.env(name, OsString::from_vec(value)),
            None => command.env_remove(name),
        };
    }
    let existing = std::env::var_os("LD_PRELOAD");
    command.env("LD_PRELOAD", library::preload(existing.as_deref(), library));
    // libuv (Node.js) would do its file calls in io_uring, where no library can see them.
    if std::env::var_os("UV_USE_IO_URING").is_none() {
        command.env("UV_USE_IO_URING", OsStr::new("0"));
    }
}

/// The exit code that a shell would show.
fn code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => (128 + signal) as u8,
        (None, None) => 125,
    }
}
