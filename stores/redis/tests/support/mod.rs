//! What the tests share: servers by name, servers of their own, clients.

// Each test binary uses a part of it; panics are how a test tells.
#![allow(dead_code, clippy::unwrap_used)]

use iris_store::{Address, Host, Result, Store};
use std::sync::{Arc, Mutex};

/// The servers that `scripts/test` starts, and how to do so by hand.
const SERVERS: &[(&str, &str, &str)] = &[
    ("REDIS_URL", "redis up DIR", "$REDIS_URL"),
    ("REDIS_SOCKET", "redis up DIR", "$REDIS_SOCKET"),
    ("REDIS_TLS_URL", "redis up DIR --tls", "$REDIS_URL"),
    ("REDIS_CA", "redis up DIR --tls", "$REDIS_CA"),
    ("REDIS_CLUSTER", "redis up DIR --cluster", "$(echo $REDIS_URLS | sed 's|redis://||g; s/ /,/g')"),
    ("MEMCACHED_SERVER", "memcached up DIR", "$MEMCACHED_SERVER"),
    ("MEMCACHED_SOCKET", "memcached up DIR", "$MEMCACHED_SOCKET"),
];

/// A server that `scripts/test` started.
pub fn named(variable: &str) -> String {
    let (_, up, value) =
        SERVERS.iter().find(|s| s.0 == variable).unwrap_or_else(|| panic!("which is {variable}?"));
    std::env::var(format!("IRIS_TEST_{variable}")).unwrap_or_else(|_| {
        panic!(
            "IRIS_TEST_{variable} is not set. ./scripts/test starts the servers of these tests; by hand: \
             eval \"$(scripts/servers/{up})\"; export IRIS_TEST_{variable}=\"{value}\""
        )
    })
}

/// Lines that stores logged, by all tests of this process.
pub static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What a store asks of a process without Iris.
pub fn host() -> Host {
    fn adopt() {}
    fn log(_: u8, line: &str) {
        LOGGED.lock().unwrap().push(line.to_owned());
    }
    Host { adopt_thread: adopt, log }
}

/// Opens an address.
pub fn try_open(address: &str) -> Result<Arc<dyn Store>> {
    let address = Address::parse(address).unwrap_or_else(|e| panic!("{e}"));
    iris_store_redis::open(&address, host())
}

/// Opens an address that must be right.
pub fn open(address: &str) -> Arc<dyn Store> {
    try_open(address).unwrap_or_else(|e| panic!("{e}"))
}
