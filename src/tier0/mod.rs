//! Tier 0: the node's own staging memory, shared by all processes of one user. Owns the pool file, its blocks,
//! its table of staged files and its locks; may not touch the files that are staged, nor the program's
//! descriptors.
//!
//! One pool is one memory-mapped file. Everything in it survives the death of any process at any instruction:
//! each change is published by a single atomic store, and a lock whose owner died is taken over.
//!
//! ```text
//! superblock | processes | keys (dev, ino) | slots | names | block owners | blocks …
//! ```
//! A *slot* is the control block of a file that has, or lately had, staged bytes. A *block* belongs to one slot
//! and holds payload growing from the front and journal records growing from the back.

use std::sync::atomic;

pub mod layout;
pub mod lock;
pub mod pool;
pub mod process;

pub use pool::{Pool, PoolError};

#[cfg(test)]
#[path = "lock/tests.rs"]
mod lock_tests;
