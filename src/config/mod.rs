//! Configuration: what is in force, and where each value came from. Owns the parsing of `IRIS_…` variables and
//! of the TOML file; may not touch mounts, Tier 0 or any store.

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

/// One accelerated directory.
#[derive(Clone, Debug)]
pub struct Mount {
    /// The directory, canonical and absolute, without a trailing slash (except for "/" itself).
    pub root: Vec<u8>,
    /// Writes shorter than this many bytes are staged; longer ones go straight to the file.
    pub threshold: u64,
    /// Consistency of this mount.
    pub consistency: Consistency,
    /// When files settle.
    pub settle: Settle,
}

/// Where, and how much, Tier 0 may hold.
#[derive(Clone, Debug)]
pub struct Tier0 {
    /// Folder of the pool; `None` chooses `/dev/shm`, then `$XDG_RUNTIME_DIR`, then the temporary directory.
    pub path: Option<PathBuf>,
    /// Bytes of staged data that the pool may hold in memory.
    pub memory: u64,
    /// Folder of the storage tier; `None` when `storage` is 0.
    pub storage_path: Option<PathBuf>,
    /// Bytes of staged data that may lie in `storage_path` once memory is full.
    pub storage: u64,
    /// Milliseconds after which staged bytes are flushed although the file is still open.
    pub flush_after_ms: u64,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Mounts, longest root first, so that the first match is the nearest (nested mounts).
    pub mounts: Vec<Mount>,
    /// Tier 0.
    pub tier0: Tier0,
    /// `IRIS_REPORT`: file to which each process appends what it intercepted, staged and bypassed.
    pub report: Option<PathBuf>,
    /// `IRIS_LOG`: 0 nothing, 1 errors, 2 warnings, 3 information, 4 each decision.
    pub log: u8,
}
