//! The embedded store: objects in container files of a directory, placed by an objects → files mapper
//! ([`iris_mappers::containers`]), shared by any number of processes of one node without a server. Owns the format on
//! disk (docs/containers.md) and the order in which it is written; decides nothing about places.
//!
//! All I/O is by direct system calls (rustix): inside libiris.so the names of libc are the hooks.
//!
//! - `head`: a mapped page with a lock and a commit word for each shard: what one process commits, all see at once.
//! - `record`, `log`: the index on disk, an append-only log of events for each shard; each process follows it.
//! - `shard`: following, locking, committing. `write`, `read`, `list`: the requests. `tidy`: giving space back.

mod files;
mod head;
mod list;
mod lock;
mod log;
mod options;
mod owner;
mod read;
mod record;
mod shard;
mod store;
mod sys;
mod tidy;
mod write;

pub use options::{Descriptors, Durability, OPTIONS, Options, SCHEMES};
pub use store::Embedded;

/// The locks' atomics: the standard ones here, a model checker's in tests/interleavings.rs.
mod atomic {
    pub use std::sync::atomic::{AtomicU64, Ordering};
}
