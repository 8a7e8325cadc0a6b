//! What the tests share: servers by name, servers of their own, clients.

// Each test binary uses a part of it; panics are how a test tells.
#![allow(dead_code, clippy::unwrap_used)]

pub mod proxy;
pub mod servers;

use iris_store::{Address, Condition, Host, Outcome, Request, Result, Store};
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

/// Lines that were logged about a server.
pub fn logged(about: &str) -> Vec<String> {
    LOGGED.lock().unwrap().iter().filter(|l| l.contains(about)).cloned().collect()
}

/// Puts an object.
pub fn put(store: &dyn Store, key: &[u8], bytes: &[u8]) -> Result<Outcome> {
    store.one(Request::Put { key, bytes, condition: Condition::Always, meta: &[] })
}

/// Gets up to `most` bytes of an object.
pub fn get(store: &dyn Store, key: &[u8], most: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0xa5; most];
    match store.one(Request::Get { key, offset: 0, into: &mut bytes })? {
        Outcome::Read(n) => bytes.truncate(n),
        other => panic!("a get gave {other:?}"),
    }
    Ok(bytes)
}

/// Removes an object.
pub fn delete(store: &dyn Store, key: &[u8]) {
    assert_eq!(store.one(Request::Delete { key }).unwrap(), Outcome::Done);
}

/// Puts the same bytes under many keys, in one batch.
pub fn put_all(store: &dyn Store, keys: &[Vec<u8>], bytes: &[u8]) -> Vec<Result<Outcome>> {
    batch(store, keys, bytes, &Condition::Always)
}

/// The same, each only where there is none.
pub fn put_new(store: &dyn Store, keys: &[Vec<u8>], bytes: &[u8]) -> Vec<Result<Outcome>> {
    batch(store, keys, bytes, &Condition::Absent)
}

fn batch(store: &dyn Store, keys: &[Vec<u8>], bytes: &[u8], condition: &Condition) -> Vec<Result<Outcome>> {
    let mut requests: Vec<Request<'_>> =
        keys.iter().map(|key| Request::Put { key, bytes, condition: condition.clone(), meta: &[] }).collect();
    let mut outcomes = Vec::new();
    store.submit(&mut requests, &mut outcomes);
    outcomes
}
