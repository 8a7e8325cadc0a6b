//! `iris completions` and `iris man`: made from the same definitions as `--help`, so that they cannot differ.

use super::Cli;
use super::say::Failure;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `iris completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Options of `iris man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Write a page for the command and for each of its subcommands into this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the completions of a shell.
pub fn completions(args: &CompletionsArgs) -> Result<(String, ExitCode), Failure> {
    let mut bytes = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "iris", &mut bytes);
    Ok((String::from_utf8_lossy(&bytes).into_owned(), ExitCode::SUCCESS))
}

/// Prints the man page, or writes all of them.
pub fn man(args: &ManArgs) -> Result<(String, ExitCode), Failure> {
    let command = Cli::command().name("iris");
    let Some(dir) = &args.dir else {
        let mut bytes = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut bytes)
            .map_err(|e| Failure::new(1, format!("the man page: {e}")))?;
        return Ok((String::from_utf8_lossy(&bytes).into_owned(), ExitCode::SUCCESS));
    };
    let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir));
    written.map_err(|e| Failure::new(1, format!("{}: {e}", dir.display())))?;
    Ok((String::new(), ExitCode::SUCCESS))
}
