//! How the command speaks: results to standard output, all else to standard error with its name before it. Owns
//! the two streams and the exit codes of failures.

use std::io::{self, Write};

/// Why a subcommand could not do what it was asked for.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What is wrong and what to do.
    pub message: String,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }
}

impl From<iris::config::ConfigError> for Failure {
    fn from(error: iris::config::ConfigError) -> Failure {
        Failure::new(2, error.to_string())
    }
}

/// Prints a result. A reader that has gone away (`iris config | head -1`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(1, format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Prints a line to standard error. There is nobody left to tell when that fails.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "iris: {text}");
}

/// As [`complain`], for what does not keep the command from going on.
pub fn warn(text: &str) {
    complain(&format!("warning: {text}"));
}
