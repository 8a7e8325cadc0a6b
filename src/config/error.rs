//! What can be wrong with a configuration, and where. Every message names the place and what would be right.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where in the configuration something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the TOML file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u32,
    },
    /// A variable of the environment.
    Variable(String),
    /// An option of the command `iris`.
    CommandLine(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, line } => write!(f, "{}:{line}", path.display()),
            Place::Variable(name) => write!(f, "variable {name}"),
            Place::CommandLine(option) => write!(f, "command line, {option}"),
        }
    }
}

/// A place that is not yet worth an allocation: most are never shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Site<'a> {
    File { path: &'a Path, line: u32 },
    Variable(&'a str),
    CommandLine(&'a str),
}

impl Site<'_> {
    pub(super) fn place(self) -> Place {
        match self {
            Site::File { path, line } => Place::File { path: path.to_path_buf(), line },
            Site::Variable(name) => Place::Variable(name.to_string()),
            Site::CommandLine(option) => Place::CommandLine(option.to_string()),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named by IRIS_CONFIG cannot be read.
    #[error("{}: cannot be read: {source} (named by IRIS_CONFIG)", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// There is no such key, or no such variable.
    #[error("{place}: unknown key `{key}`{}", hint(nearest, valid))]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key as written.
        key: String,
        /// The nearest valid one.
        nearest: Option<String>,
        /// The valid ones, when none is near.
        valid: String,
    },
    /// A value that its key cannot have.
    #[error("{place}: bad value `{value}` for {key}: {why}")]
    BadValue {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// The value as written.
        value: String,
        /// What would be right.
        why: String,
    },
    /// A mount that cannot be looked at: it does not exist, or a folder above it is closed.
    #[error("{place}: mount {path}: {source}; only an existing directory can be mounted", path = path.display())]
    NoMount {
        /// Where.
        place: Place,
        /// The directory as written.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A mount that is a file.
    #[error("{place}: mount {}: not a directory; only an existing directory can be mounted", path.display())]
    NotADirectory {
        /// Where.
        place: Place,
        /// The path as written.
        path: PathBuf,
    },
    /// A directory that must not be a mount.
    #[error("{place}: {} cannot be a mount: {why}", path.display())]
    Forbidden {
        /// Where.
        place: Place,
        /// The directory.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// An address without the prefix that it is to be seen under.
    #[error(
        "{place}: `{entry}` says where bytes live, but not under which name: PREFIX=HOME is needed, as in /virt={entry}"
    )]
    NoPrefix {
        /// Where.
        place: Place,
        /// The entry as written, without secrets.
        entry: String,
    },
    /// A home's directory that cannot be used.
    #[error("{place}: {home}: {}: {source}", path.display())]
    Home {
        /// Where.
        place: Place,
        /// The home, without secrets.
        home: String,
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Two settings that do not fit together.
    #[error("{place}: {why}")]
    Conflict {
        /// Where.
        place: Place,
        /// What does not fit.
        why: String,
    },
}

fn hint(nearest: &Option<String>, valid: &str) -> String {
    match nearest {
        Some(key) => format!("; did you mean `{key}`?"),
        None => format!("; valid here: {valid}"),
    }
}
