//! The tests that every store passes (feature `conformance`). Owns what "a store" promises, as far as it can be seen
//! from outside; knows no particular store. What a store's [`Capabilities`] do not claim must give
//! [`Unsupported`](Kind::Unsupported).
//!
//! In a store's crate:
//!
//! ```toml
//! [dev-dependencies]
//! iris-store = { path = "../api", features = ["conformance"] }
//! ```
//! ```ignore
//! // tests/conformance.rs: one #[test] for each case; the expression makes a Subject and is evaluated in each.
//! fn subject() -> Subject<'static> {
//!     Subject::new(|| open_another_client_of_the_same_store())
//! }
//! iris_store::conformance_tests!(subject());
//! ```
//!
//! Each case keeps to keys of its own (process, time and case are in them), so that many may run at once on one server
//! beside other data, and removes them when it passed. A `volatile` store needs room enough to forget nothing meanwhile.
//! `IRIS_CONFORMANCE_CASES` sets the number of random sequences (32), `IRIS_CONFORMANCE_SECONDS` how long races run (1).
//! A case fails by a panic that says what was asked, what came and what should have.

// Panics are how a test tells; this is one.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod batches;
mod composing;
mod conditions;
mod listing;
mod objects;
mod races;
mod ranges;
mod sequences;

pub use batches::*;
pub use composing::*;
pub use conditions::*;
pub use listing::*;
pub use objects::*;
pub use races::*;
pub use ranges::*;
pub use sequences::*;

use crate::{
    Capabilities, Condition, Kind, ListRequest, Listed, ObjectFacts, Outcome, Request, Result, Store,
};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// Calls `$go!` with the names of all cases behind what it is given.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_list {
    ($go:path, $($given:tt)*) => {
        $go! { $($given)*;
            a_store_tells_what_it_is
            objects_are_what_was_put
            objects_of_every_edge_size
            what_is_not_there
            keys_of_every_byte
            long_keys
            what_is_too_large
            tags_change_with_the_content
            meta_belongs_to_its_put
            parts_are_read
            parts_are_written
            lengths_are_set
            only_where_there_is_none
            only_over_a_known_tag
            changes_that_a_fence_holds_back
            requests_about_one_object_keep_their_order
            a_failure_keeps_no_other_request
            large_batches
            listings_are_in_order_and_whole
            listings_in_pages
            listings_with_a_delimiter
            objects_are_composed
            one_of_many_creators_wins
            no_change_by_tag_is_lost
            readers_see_whole_objects
            clients_see_each_other_at_once
            listings_while_others_write
            random_sequences
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_functions {
    ($subject:expr; $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $crate::conformance::$name(&$subject)
        })*
    };
}

/// Makes a `#[test]` of each case; see [`conformance`](crate::conformance).
#[macro_export]
macro_rules! conformance_tests {
    ($subject:expr) => {
        $crate::conformance_list! { $crate::conformance_functions, $subject }
    };
}

macro_rules! table {
    (; $($name:ident)*) => {
        /// All cases by name.
        pub const CASES: &[(&str, fn(&Subject<'_>))] = &[$((stringify!($name), $name)),*];
    };
}
conformance_list! { table, }

/// Which keys a store takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Any bytes.
    Any,
    /// Text without control characters; all others must be refused as [`Invalid`](Kind::Invalid), never changed.
    Text,
}

/// A store under test.
pub struct Subject<'a> {
    /// Opens another client of the same store.
    pub open: Box<dyn Fn() -> Arc<dyn Store> + Sync + 'a>,
    /// What all keys begin with; everything below is the suite's.
    pub prefix: Vec<u8>,
    /// Which keys it takes.
    pub keys: Keys,
    /// Lengths, in bytes, at which the store does something else inside (parts, checksums, other paths): objects one
    /// byte shorter, of that length and one byte longer are tested, and ranges across.
    pub boundaries: Vec<usize>,
    /// Random sequences.
    pub sequences: u32,
    /// How long each race runs.
    pub race: Duration,
}

impl<'a> Subject<'a> {
    /// A store whose clients `open` opens, with a prefix of its own and boundaries at 4 KiB, 64 KiB and 1 MiB.
    pub fn new(open: impl Fn() -> Arc<dyn Store> + Sync + 'a) -> Subject<'a> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Subject {
            open: Box::new(open),
            prefix: format!("conformance-{}-{now}-{count}/", std::process::id()).into_bytes(),
            keys: Keys::Any,
            boundaries: vec![4096, 65536, 1 << 20],
            sequences: number("IRIS_CONFORMANCE_CASES", 32),
            race: Duration::from_secs(number("IRIS_CONFORMANCE_SECONDS", 1).into()),
        }
    }
}

fn number(variable: &str, default: u32) -> u32 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
        Err(_) => default,
    }
}

/// One case at work: a client, the keys it made, and short names for requests.
struct Case<'s> {
    subject: &'s Subject<'s>,
    store: Arc<dyn Store>,
    space: Vec<u8>,
    made: Mutex<BTreeSet<Vec<u8>>>,
}

impl<'s> Case<'s> {
    fn new(subject: &'s Subject<'s>, name: &str) -> Case<'s> {
        let mut space = subject.prefix.clone();
        space.extend_from_slice(name.as_bytes());
        space.push(b'/');
        Case { subject, store: (subject.open)(), space, made: Mutex::default() }
    }

    fn can(&self) -> &Capabilities {
        self.store.capabilities()
    }

    /// A key of this case.
    fn key(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        let mut key = self.space.clone();
        key.extend_from_slice(name.as_ref());
        self.made.lock().unwrap().insert(key.clone());
        key
    }

    fn try_put(&self, key: &[u8], bytes: &[u8], condition: Condition) -> Result<Option<String>> {
        match self.store.one(Request::Put { key, bytes, condition, meta: &[] })? {
            Outcome::Put(tag) => Ok(tag),
            other => panic!("put of {} gave {other:?}", key.escape_ascii()),
        }
    }

    #[track_caller]
    fn put(&self, key: &[u8], bytes: &[u8]) -> Option<String> {
        self.try_put(key, bytes, Condition::Always)
            .unwrap_or_else(|e| panic!("put of {} bytes: {e}", bytes.len()))
    }

    /// What a get of `len` bytes from `offset` brings.
    fn try_get(&self, key: &[u8], offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0xa5; len];
        match self.store.one(Request::Get { key, offset, into: &mut bytes })? {
            Outcome::Read(n) if n <= len => {
                bytes.truncate(n);
                Ok(bytes)
            }
            other => panic!("get of {len} bytes of {} gave {other:?}", key.escape_ascii()),
        }
    }

    #[track_caller]
    fn get(&self, key: &[u8], offset: u64, len: usize) -> Vec<u8> {
        self.try_get(key, offset, len).unwrap_or_else(|e| panic!("get of {len} bytes from {offset}: {e}"))
    }

    fn try_head(&self, key: &[u8]) -> Result<ObjectFacts> {
        match self.store.one(Request::Head { key })? {
            Outcome::Facts(facts) => Ok(facts),
            other => panic!("head of {} gave {other:?}", key.escape_ascii()),
        }
    }

    #[track_caller]
    fn head(&self, key: &[u8]) -> ObjectFacts {
        self.try_head(key).unwrap_or_else(|e| panic!("head: {e}"))
    }

    /// The whole object, asked for with room for more than it has; `None` where there is none.
    #[track_caller]
    fn whole(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.try_head(key) {
            Ok(facts) => {
                let bytes = self.get(key, 0, facts.len as usize + 1);
                assert_eq!(bytes.len() as u64, facts.len, "{}: head and get differ", key.escape_ascii());
                Some(bytes)
            }
            Err(e) if e.kind == Kind::NotFound => {
                self.fails(self.try_get(key, 0, 1), Kind::NotFound, "a get where head finds nothing");
                None
            }
            Err(e) => panic!("head: {e}"),
        }
    }

    /// The object holds just these bytes.
    #[track_caller]
    fn holds(&self, key: &[u8], expected: &[u8]) {
        let found = self.whole(key).unwrap_or_else(|| panic!("{} is not there", key.escape_ascii()));
        same(&found, expected, key);
    }

    #[track_caller]
    fn delete(&self, key: &[u8]) {
        let outcome = self.store.one(Request::Delete { key }).unwrap_or_else(|e| panic!("delete: {e}"));
        assert_eq!(outcome, Outcome::Done, "delete of {}", key.escape_ascii());
    }

    #[track_caller]
    fn done(&self, request: Request<'_>) {
        let asked = shape(&request);
        let outcome = self.store.one(request).unwrap_or_else(|e| panic!("{asked}: {e}"));
        assert_eq!(outcome, Outcome::Done, "{asked}");
    }

    /// The request fails in this way.
    #[track_caller]
    fn fails<T: std::fmt::Debug>(&self, result: Result<T>, kind: Kind, what: &str) {
        match result {
            Err(e) if e.kind == kind => {
                assert!(!e.to_string().is_empty() && !e.place.is_empty(), "{what}: the error says nothing");
            }
            Err(e) => panic!("{what} must give {kind:?}, and gave {:?}: {e}", e.kind),
            Ok(outcome) => panic!("{what} must give {kind:?}, and gave {outcome:?}"),
        }
    }

    /// All entries behind `after`, page by page.
    #[track_caller]
    fn list(&self, prefix: &[u8], after: &[u8], delimiter: Option<u8>, limit: usize) -> Vec<Listed> {
        let (mut all, mut after) = (Vec::new(), after.to_vec());
        for _ in 0..100_000 {
            let request = ListRequest { prefix, after: &after, delimiter, limit };
            let page = self.store.list(&request).unwrap_or_else(|e| panic!("{request:?}: {e}"));
            assert!(page.entries.len() <= limit, "{request:?} gave {} entries", page.entries.len());
            let last = page.entries.last().map(|e| name(e).to_vec());
            all.extend(page.entries);
            let Some(next) = page.next else { return all };
            assert!(next > after, "{request:?}: the next page begins where this one did");
            assert!(
                last.is_none_or(|last| next >= last),
                "{request:?}: the next page begins before the last entry"
            );
            after = next;
        }
        panic!("the listing of {} has no end", prefix.escape_ascii());
    }

    /// Removes what the case made. Called when it passed: what a failure leaves is there to be looked at.
    fn finish(self) {
        for key in self.made.lock().unwrap().iter() {
            match self.store.one(Request::Delete { key }) {
                Ok(_) => (),
                // A key that the case showed to be refused.
                Err(e) if matches!(e.kind, Kind::Invalid | Kind::TooLarge) => (),
                Err(e) => panic!("removing what the case made: {e}"),
            }
        }
    }
}

/// The key of an entry.
fn name(entry: &Listed) -> &[u8] {
    match entry {
        Listed::Object(key, _) | Listed::Prefix(key) => key,
    }
}

/// A request without its bytes, for messages.
fn shape(request: &Request<'_>) -> String {
    match request {
        Request::Get { offset, into, .. } => format!("get of {} bytes from {offset}", into.len()),
        Request::Put { bytes, condition, .. } => format!("put of {} bytes, {condition:?}", bytes.len()),
        Request::Update { offset, bytes, .. } => format!("update of {} bytes at {offset}", bytes.len()),
        Request::Resize { len, .. } => format!("resize to {len}"),
        Request::Delete { .. } => "delete".into(),
        Request::Head { .. } => "head".into(),
    }
}

/// Compares without printing megabytes.
#[track_caller]
fn same(found: &[u8], expected: &[u8], key: &[u8]) {
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
    let piece =
        |bytes: &[u8]| bytes[at.min(bytes.len())..bytes.len().min(at + 16)].escape_ascii().to_string();
    panic!(
        "{}: {} bytes where {} were expected; they differ at {at}: \"{}\" for \"{}\"",
        key.escape_ascii(),
        found.len(),
        expected.len(),
        piece(found),
        piece(expected)
    );
}

/// `len` bytes that no other seed has.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut state = seed;
    while bytes.len() < len {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
