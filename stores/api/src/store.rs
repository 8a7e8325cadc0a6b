//! The store itself.

use crate::capabilities::Capabilities;
use crate::error::{Kind, Result, StoreError};
use crate::request::{Condition, ListRequest, ObjectFacts, Outcome, Page, Part, Request};

/// Objects by key. Every call may come from any thread, several at once, and returns within the deadline of
/// [`capabilities`](Store::capabilities). What can safely be tried again is tried again inside, with growing pauses.
pub trait Store: Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> &Capabilities;

    /// Its address without secrets, for messages.
    fn place(&self) -> &str;

    /// Carries requests out and returns when all are answered: pipelined or side by side where the store can.
    /// Requests about one object take effect in their order; others in any. One that fails keeps no other from being
    /// carried out. `outcomes` is emptied first and holds one answer for each request, in their order.
    fn submit(&self, requests: &mut [Request<'_>], outcomes: &mut Vec<Result<Outcome>>);

    /// A page of the keys. Needs `list`.
    fn list(&self, request: &ListRequest<'_>) -> Result<Page>;

    /// Whether the store answers and lets us in: one cheap round trip.
    fn check(&self) -> Result<()>;

    /// Makes what was acknowledged durable where that takes more than acknowledging it: afterwards a loss of power takes
    /// none of it, as far as `durable` is claimed.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// Scripts that run atomically beside the data, where `scripts`.
    fn scripts(&self) -> Option<&dyn Scripts> {
        None
    }

    /// Objects made of parts, where `compose`.
    fn compose(&self) -> Option<&dyn Compose> {
        None
    }

    /// Objects by version, where the store tells one version of an object from another.
    fn versions(&self) -> Option<&dyn Versions> {
        None
    }

    /// Changes that fences hold back, where the store has them.
    fn fenced(&self) -> Option<&dyn Fenced> {
        None
    }

    /// Carries out one request.
    fn one(&self, request: Request<'_>) -> Result<Outcome> {
        let mut outcomes = Vec::with_capacity(1);
        self.submit(&mut [request], &mut outcomes);
        outcomes.pop().unwrap_or_else(|| {
            Err(StoreError::new(Kind::Corrupt, self.place(), None, "the store gave no outcome for a request"))
        })
    }
}

/// Composition of long objects (S3's multipart upload).
pub trait Compose {
    /// Makes or replaces `key` from `parts`, in their order, atomically: readers see the old object or the whole new
    /// one, and a failure leaves the old one and nothing that costs room.
    fn compose(
        &self,
        key: &[u8],
        parts: &[Part<'_>],
        condition: Condition,
        meta: &[(String, String)],
    ) -> Result<ObjectFacts>;
}

/// Reading and copying what an object was when it was looked at, and nothing else.
pub trait Versions {
    /// Fills `into` from `offset` of the version of an object that has `tag`, all of it; another version, or none, is
    /// [`Precondition`](crate::Kind::Precondition) or [`NotFound`](crate::Kind::NotFound).
    fn read_version(&self, key: &[u8], tag: &str, offset: u64, into: &mut [u8]) -> Result<()>;

    /// Makes or replaces `to` by a copy of `from` (which may be the same) that the store makes itself: atomic to readers.
    /// With `tag` only of that version. The copy keeps the text kept with the object, or has `meta` in its stead. Gives
    /// what the copy is.
    fn copy(
        &self,
        from: &[u8],
        to: &[u8],
        tag: Option<&str>,
        meta: Option<&[(String, String)]>,
    ) -> Result<ObjectFacts>;
}

/// Changes that take place unless somebody has gone on meanwhile, by which what was planned before is void: so a client that
/// was stopped for long cannot change what others rely on since.
pub trait Fenced {
    /// Carries out puts without a condition, updates, resizes and deletions, all at one instant, if there is an object
    /// `behind` and none of the key `before`: else none of them, and the answer is false. The keys lie together (in a
    /// cluster: their hash tags are equal). A resize of an object that is not there changes nothing.
    ///
    /// # Errors
    /// As [`Store::submit`]; all or nothing may have taken place then. Other requests are
    /// [`Kind::Unsupported`](crate::Kind::Unsupported).
    fn change_between(&self, behind: &[u8], before: &[u8], requests: &[Request<'_>]) -> Result<bool>;
}

/// A script: known to the store by the hash of its source, sent once.
#[derive(Debug)]
pub struct Script {
    /// For messages.
    pub name: &'static str,
    /// In the store's own language (Lua in Redis).
    pub source: &'static str,
    /// Whether running it twice has the effect of running it once, so that an answer that got lost may be asked for
    /// again.
    pub repeatable: bool,
}

/// What a script answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Nil,
    /// A number.
    Int(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Several answers.
    List(Vec<Reply>),
}

/// One run of a script.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The keys it touches, which lie together.
    pub keys: &'a [&'a [u8]],
    /// Its arguments.
    pub args: &'a [&'a [u8]],
}

/// Scripts that run atomically beside the data.
pub trait Scripts {
    /// Runs a script over keys that lie together (in a cluster: whose hash tags are equal).
    fn run(&self, script: &Script, keys: &[&[u8]], args: &[&[u8]]) -> Result<Reply>;

    /// Runs one script many times in about one round trip; the runs may go to different nodes of a cluster, and
    /// those about one first key take effect in their order.
    fn run_all(&self, script: &Script, runs: &[Run<'_>]) -> Vec<Result<Reply>>;
}
