//! Configuration: what is in force, and where each value came from. Owns the parsing of `IRIS_…` variables and
//! of the TOML file; may not touch mounts, Tier 0 or any store.
//!
//! The layers, from the weakest: defaults, the file that `IRIS_CONFIG` names, the variables, the command line.
//! [`Config::load`] runs at the start of every process under Iris, so without a file it reads none.

mod env;
mod error;
mod file;
mod home;
mod keys;
mod load;
mod mounts;
mod show;
mod value;

pub use env::{Environment, Variable};
pub use error::{ConfigError, Place};
pub use home::{Home, Scheme};
pub use keys::{CONFIG, DISABLE, Id, KEYS, Key, LIBRARY, MOUNT, VARIABLES, by_name, by_variable, nearest};
pub use show::{Row, default_file};
pub use value::{show_size, show_threshold, size};

use std::path::PathBuf;

/// When the bytes of a mount become visible to other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Consistency {
    /// A write that returned is seen by every later read on the node.
    #[default]
    Posix,
    /// Published at fsync and close, picked up at open.
    Session,
    /// As session, keeping only the metadata that mapping needs.
    Relaxed,
}

/// When a file's home holds the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Settle {
    /// After the close of each writer (the default).
    #[default]
    Close,
    /// Some time after the close, by a background flush.
    Background,
    /// At `iris drain`.
    Drain,
}

/// The threshold `auto`: larger than any size.
pub const AUTO: u64 = u64::MAX;

/// What leaves Tier 0 for the store of a mount, before its file settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Spill {
    /// Short extents, where the store was measured to take them faster than the directory (the default).
    #[default]
    Auto,
    /// Everything.
    Always,
}

/// One accelerated directory, or one prefix of names that a home stands behind.
#[derive(Clone, Debug)]
pub struct Mount {
    /// The directory as programs name it, canonical and absolute, without a trailing slash.
    pub root: Vec<u8>,
    /// Of a virtual mount, the directory that holds its anchors: what the kernel gets for `root`.
    pub shadow: Option<Vec<u8>>,
    /// Of a virtual mount, where its bytes live.
    pub home: Option<Home>,
    /// Writes shorter than this many bytes are staged; longer ones go straight to the file. [`AUTO`]: by what either was
    /// measured to cost.
    pub threshold: u64,
    /// Consistency of this mount.
    pub consistency: Consistency,
    /// When files settle.
    pub settle: Settle,
    /// The mapper of files that are made in it, where its home is a store.
    pub mapper: &'static str,
    /// Where its home is a directory: the store that staged bytes are spilled to.
    pub store: Option<&'static Home>,
    /// What is spilled there.
    pub spill: Spill,
}

impl Mount {
    /// The mount's directory in the kernel's name space.
    #[inline]
    pub fn directory(&self) -> &[u8] {
        self.shadow.as_deref().unwrap_or(&self.root)
    }
}

/// Where, and how much, Tier 0 may hold.
#[derive(Clone, Debug)]
pub struct Tier0 {
    /// Folder of the pool; `None` chooses `/dev/shm`, then `$XDG_RUNTIME_DIR`, then the temporary directory.
    pub path: Option<PathBuf>,
    /// Bytes of staged data that the pool may hold in memory.
    pub memory: u64,
    /// Folder of the storage tier, and of the anchors of homes that are addresses; `None` when neither is needed.
    pub storage_path: Option<PathBuf>,
    /// Bytes of staged data that may lie in `storage_path` once memory is full.
    pub storage: u64,
    /// Bytes that the anchors of a home on a store may hold of what the store has too.
    pub anchors: u64,
    /// Milliseconds after which staged bytes are flushed although the file is still open.
    pub flush_after_ms: u64,
    /// Small writes of an open file that go straight to it before staging begins.
    pub warm_up: u32,
}

impl Default for Tier0 {
    fn default() -> Self {
        Tier0 {
            path: None,
            memory: 64 << 20,
            storage_path: None,
            storage: 0,
            anchors: 4 << 30,
            flush_after_ms: 1000,
            warm_up: 2,
        }
    }
}

/// What a mount has when nothing says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// See [`Mount::threshold`].
    pub threshold: u64,
    /// See [`Mount::consistency`].
    pub consistency: Consistency,
    /// See [`Mount::settle`].
    pub settle: Settle,
    /// See [`Mount::mapper`].
    pub mapper: &'static str,
    /// See [`Mount::store`].
    pub store: Option<&'static Home>,
    /// See [`Mount::spill`].
    pub spill: Spill,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            threshold: 64 << 10,
            consistency: Consistency::Posix,
            settle: Settle::Close,
            mapper: crate::home::layout::PLAIN,
            store: None,
            spill: Spill::Auto,
        }
    }
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Origin {
    /// Nobody set it.
    #[default]
    Default,
    /// This line of [`Config::file`].
    File(u32),
    /// This variable.
    Variable(&'static str),
    /// An option of the command `iris`.
    CommandLine,
}

/// Where the settings of one mount came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MountOrigins {
    /// The mount itself.
    pub mount: Origin,
    /// Its threshold.
    pub threshold: Origin,
    /// Its consistency.
    pub consistency: Origin,
    /// Its settling.
    pub settle: Origin,
    /// Its mapper.
    pub mapper: Origin,
    /// Its store.
    pub store: Origin,
    /// What is spilled.
    pub spill: Origin,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Mounts, the longest [`Mount::directory`] first, so that the first match is the nearest (nested mounts).
    pub mounts: Vec<Mount>,
    /// Tier 0.
    pub tier0: Tier0,
    /// `IRIS_REPORT`: file to which each process appends what it intercepted, staged and bypassed.
    pub report: Option<PathBuf>,
    /// `IRIS_LOG`: 0 nothing, 1 errors, 2 warnings, 3 information, 4 each decision.
    pub log: u8,
    /// `IRIS_DISABLE`: Iris is switched off. Then there are no mounts either.
    pub disabled: bool,
    /// What mounts have that do not say otherwise.
    pub defaults: Options,
    /// The TOML file, absolute, when there is one.
    pub file: Option<PathBuf>,
    /// Where each key came from, by [`Id`].
    pub origins: [Origin; KEYS.len()],
    /// Where the settings of each mount came from, in the order of `mounts`.
    pub mount_origins: Vec<MountOrigins>,
    /// Variables that begin with `IRIS_` and mean nothing here.
    pub unknown: Vec<String>,
    /// Whether a path in a variable was relative: then [`Config::variables`] differ from those of the process,
    /// and a child that starts in another directory needs the former.
    pub relative: bool,
}
