//! Iris's store on S3, by the AWS SDK: a library of its own, because the SDK is large, loaded when a mount first needs
//! it. Owns the two threads it starts and every connection; knows neither files nor mounts. See docs/stores.md.

mod codec;
mod compose;
mod conditions;
mod copying;
mod fault;
mod listing;
mod login;
mod net;
mod options;
mod plan;
mod reading;
mod shared;
mod store;
mod threads;
mod upload;
mod web;
mod writing;

use iris_store::{Address, Host, Plugin, Result, STAMP, Store};
use std::sync::Arc;

pub use options::OPTIONS;
pub use store::S3;

static PLUGIN: Plugin = Plugin { stamp: STAMP, schemes: &["s3"], options: OPTIONS, open };

fn open(address: &Address, host: Host) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(S3::open(address, host)?))
}

/// What this library offers. Starts nothing.
#[unsafe(no_mangle)]
pub extern "C" fn iris_store_entry() -> &'static Plugin {
    &PLUGIN
}
