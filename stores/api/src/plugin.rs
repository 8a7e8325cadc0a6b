//! The door of a store that lies in a library of its own, loaded when a mount first needs it, so that programs which
//! do not pay nothing for it. Both sides are built together, by one compiler from one tree: the stamp says so, and
//! a library with another stamp is refused. (A store is part of Iris. What third parties add, mappers, has a C
//! interface.)

use crate::address::{Address, OptionSpec};
use crate::error::Result;
use crate::store::Store;
use std::sync::Arc;

/// Name of the symbol, of type [`Entry`], that a store's library exports.
pub const ENTRY: &str = "iris_store_entry";

/// What both sides must agree on: version, compiler and this crate's sources.
pub const STAMP: &str = env!("IRIS_STORE_STAMP");

/// What a store may ask of the process it lives in.
#[derive(Clone, Copy)]
pub struct Host {
    /// Every thread that a store starts calls this first: its calls are Iris's own, which no hook may serve. It leaves
    /// the thread's table of descriptors alone: all threads of a store share the one of the thread that opened it, which
    /// is not the program's. Other threads call the store without that table, so they may not use a descriptor of it,
    /// not even to wake a runtime.
    pub adopt_thread: fn(),
    /// Writes a line to Iris's log, if there is one: level 0 errors, 1 warnings, 2 more.
    pub log: fn(level: u8, line: &str),
}

/// What a store's library offers.
pub struct Plugin {
    /// Must equal [`STAMP`]. First, so that it can be read whatever the rest looks like.
    pub stamp: &'static str,
    /// The schemes of the addresses it serves, without "://".
    pub schemes: &'static [&'static str],
    /// The options that an address may carry (`?name=value`, or `store.name` in the configuration).
    pub options: &'static [OptionSpec],
    /// Opens a store. Does not wait for a server: [`Store::check`] does.
    pub open: fn(&Address, Host) -> Result<Arc<dyn Store>>,
}

/// The type of the exported function. It is called once; what it returns lives as long as the process.
pub type Entry = extern "C" fn() -> &'static Plugin;
