//! Short names for requests, and bytes that tell which version they are.

// Panics are how a test tells.
#![allow(clippy::unwrap_used)]

pub use iris_store::conformance::pattern;
use iris_store::{Condition, Kind, ObjectFacts, Outcome, Request, Store};
use iris_store_embedded::Embedded;

/// Numbers that only look random.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }
}

#[track_caller]
pub fn put(store: &Embedded, key: &[u8], bytes: &[u8]) {
    let request = Request::Put { key, bytes, condition: Condition::Always, meta: &[] };
    store.one(request).unwrap_or_else(|e| panic!("{e}"));
}

#[track_caller]
pub fn done(store: &Embedded, request: Request<'_>) {
    assert_eq!(store.one(request).unwrap_or_else(|e| panic!("{e}")), Outcome::Done);
}

#[track_caller]
pub fn head(store: &Embedded, key: &[u8]) -> Option<ObjectFacts> {
    match store.one(Request::Head { key }) {
        Ok(Outcome::Facts(facts)) => Some(facts),
        Err(e) if e.kind == Kind::NotFound => None,
        other => panic!("{other:?}"),
    }
}

/// The whole object, read in one request.
#[track_caller]
pub fn get(store: &Embedded, key: &[u8]) -> Option<Vec<u8>> {
    let len = head(store, key)?.len as usize;
    let mut bytes = vec![0; len + 1];
    match store.one(Request::Get { key, offset: 0, into: &mut bytes }) {
        Ok(Outcome::Read(n)) => {
            bytes.truncate(n);
            Some(bytes)
        }
        Err(e) if e.kind == Kind::NotFound => None,
        other => panic!("{}: {other:?}", key.escape_ascii()),
    }
}

#[track_caller]
pub fn within_bound(store: &Embedded) {
    let (total, live, bound) = store.space().unwrap();
    assert!(total <= bound, "{total} bytes for {live}, at most {bound}");
}
