//! Objects in Redis, Valkey and memcached. Owns connections to them and their languages; knows neither files nor mounts.
//!
//! It lives inside any program. So: all system calls on connections are in [`socket`] (no SIGPIPE, close-on-exec, closed
//! only where a number still means the socket); a forked child makes connections of its own ([`sessions`]); the only
//! threads are those that wait for a name server ([`node`]); panics end at [`guarded`].
//!
//! A request becomes a [`job::Job`] ([`redis`], [`memcached`]), the [`exchange`] finds whom to ask and asks again what
//! may be, a [`pipeline`] carries jobs over one [`connection`], and [`resp`] or [`meta`] put them into words.

mod check;
mod cluster;
mod connection;
mod exchange;
mod failure;
mod guarded;
mod job;
mod listing;
mod memcached;
mod meta;
mod node;
mod options;
mod pipeline;
mod redis;
mod resp;
mod scripts;
mod sessions;
mod socket;
mod tls;
mod wire;

use connection::Common;
use iris_store::{Address, Host, Kind, Plugin, Result, STAMP, Store, StoreError};
use options::{Config, Dialect, OPTIONS};
use std::sync::Arc;

/// What this library offers.
pub static PLUGIN: Plugin = Plugin {
    stamp: STAMP,
    schemes: &["redis", "rediss", "redis+unix", "memcached", "memcached+unix"],
    options: OPTIONS,
    open,
};

/// The door by which Iris finds it.
#[unsafe(no_mangle)]
pub extern "C" fn iris_store_entry() -> &'static Plugin {
    &PLUGIN
}

/// Opens a store; waits for no server.
///
/// # Errors
/// [`Kind::Invalid`] where the address, an option or a file that it names is wrong.
pub fn open(address: &Address, host: Host) -> Result<Arc<dyn Store>> {
    guarded::call(&address.to_string(), || {
        let config = Config::of(address)?;
        let tls = config.tls.as_ref().map(tls::settings).transpose();
        let tls = tls.map_err(|e| StoreError::new(Kind::Invalid, &config.place, None, e))?;
        let dialect = config.dialect;
        let common = Common { config, tls, host };
        let store: Arc<dyn Store> = match dialect {
            Dialect::Resp => Arc::new(redis::Redis::new(common)),
            Dialect::Meta => Arc::new(memcached::Memcached::new(common)),
        };
        Ok(store)
    })
}
