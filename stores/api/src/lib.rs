//! What a store is to Iris. Owns the words that the engine and every store share: requests and their outcomes, what
//! a store can do, how it fails, how it is addressed, and how one that lies in a library of its own is loaded. Does
//! no I/O itself and knows neither files nor mounts.

mod address;
mod capabilities;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod plugin;
mod request;
mod store;

pub use address::{Address, AddressError, OptionSpec};
pub use capabilities::Capabilities;
pub use error::{Kind, Result, StoreError};
pub use plugin::{ENTRY, Entry, Host, Plugin, STAMP};
pub use request::{Condition, ListRequest, Listed, ObjectFacts, Outcome, Page, Part, Request, Source};
pub use store::{Compose, Fenced, Reply, Run, Script, Scripts, Store, Versions};
