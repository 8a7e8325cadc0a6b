//! What a store can do, told honestly: placement and the homes plan by it and never ask for more.

use std::time::Duration;

/// What a store can do. A `false` means that asking gives [`Kind::Unsupported`](crate::Kind::Unsupported), never an
/// imitation that is not atomic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// A part of an object is read without its rest being moved.
    pub range_read: bool,
    /// A part of an object is written, and its length set, in place ([`Update`](crate::Request::Update),
    /// [`Resize`](crate::Request::Resize)).
    pub range_write: bool,
    /// A put that succeeds only where there is no object is atomic between clients.
    pub put_if_absent: bool,
    /// A put that succeeds only over an object with a known tag is atomic between clients.
    pub put_if_match: bool,
    /// Requests given together cost about one round trip.
    pub batch: bool,
    /// Objects can be listed by prefix.
    pub list: bool,
    /// Every page of a listing looks at all keys of the store: few long pages are cheaper than many short ones, and a
    /// page may take longer than `deadline`, which then bounds each of its steps.
    pub list_scans: bool,
    /// Objects can be made from parts and from ranges of other objects ([`Store::compose`](crate::Store::compose)).
    pub compose: bool,
    /// Scripts run atomically beside the data ([`Store::scripts`](crate::Store::scripts)).
    pub scripts: bool,
    /// What was acknowledged may be forgotten at any time: only good for caches.
    pub volatile: bool,
    /// An acknowledged put survives the loss of power (as far as the store can know).
    pub durable: bool,
    /// Clients on other nodes see the same objects.
    pub shared: bool,
    /// Length in bytes of the largest object that one request can put.
    pub max_put: u64,
    /// Length in bytes of the longest key.
    pub max_key: usize,
    /// The longest that one request may take before it fails, all repetitions included.
    pub deadline: Duration,
}
