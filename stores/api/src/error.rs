//! How a store fails: what, where, after how much trying. The engine turns the kind into an `errno` once.

use std::fmt;
use std::time::Duration;

/// The result of a store's work.
pub type Result<T> = std::result::Result<T, StoreError>;

/// What went wrong, as far as a caller acts differently on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// There is no such object.
    NotFound,
    /// The condition of a put does not hold.
    Precondition,
    /// No answer, or none that ends: refused, reset, overloaded, timed out. Trying later may help.
    Unavailable,
    /// The store has no room, or a bound of its own is reached.
    Full,
    /// The store does not let these credentials do it.
    Denied,
    /// The object or key is larger than the store takes.
    TooLarge,
    /// Bytes came that are not those that were put: a wrong checksum or length, an answer that is none.
    Corrupt,
    /// This store cannot do that; see [`Capabilities`](crate::Capabilities).
    Unsupported,
    /// The address, an option or a request is wrong; trying again cannot help.
    Invalid,
    /// A connection that this request needed belongs to a process before a fork, or the store is shut.
    Closed,
}

impl Kind {
    /// The error number that a program sees.
    pub fn errno(self) -> i32 {
        // Linux numbers, the same on every architecture that Iris is built for.
        match self {
            Kind::NotFound => 2,                     // ENOENT
            Kind::Precondition => 17,                // EEXIST
            Kind::Full => 28,                        // ENOSPC
            Kind::Denied => 13,                      // EACCES
            Kind::TooLarge => 27,                    // EFBIG
            Kind::Unsupported => 95,                 // EOPNOTSUPP
            Kind::Invalid => 22,                     // EINVAL
            Kind::Unavailable | Kind::Closed => 110, // ETIMEDOUT
            Kind::Corrupt => 5,                      // EIO
        }
    }

    /// Whether the same request may succeed later.
    pub fn may_pass(self) -> bool {
        matches!(self, Kind::Unavailable | Kind::Full | Kind::Closed)
    }
}

/// A failure of a store: which store, which object, what happened, and what was tried.
#[derive(Clone, Debug, thiserror::Error)]
pub struct StoreError {
    /// What went wrong.
    pub kind: Kind,
    /// The store's address without its secrets.
    pub place: String,
    /// The object's key, where one is concerned.
    pub key: Option<Vec<u8>>,
    /// What the store or the system said, and what to do about it.
    pub detail: String,
    /// How many times it was tried (1 = once).
    pub attempts: u32,
    /// How long all that took.
    pub waited: Duration,
}

impl StoreError {
    /// A failure at the first attempt.
    pub fn new(kind: Kind, place: &str, key: Option<&[u8]>, detail: impl Into<String>) -> Self {
        StoreError {
            kind,
            place: place.to_owned(),
            key: key.map(<[u8]>::to_vec),
            detail: detail.into(),
            attempts: 1,
            waited: Duration::ZERO,
        }
    }

    /// The same failure after `attempts` tries in `waited`.
    pub fn after(mut self, attempts: u32, waited: Duration) -> Self {
        self.attempts = attempts;
        self.waited = waited;
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(key) = &self.key {
            write!(f, "object \"{}\": ", key.escape_ascii())?;
        }
        write!(f, "{}", self.detail)?;
        if self.attempts > 1 {
            write!(f, " ({} attempts in {:.1} s)", self.attempts, self.waited.as_secs_f64())?;
        }
        Ok(())
    }
}
