//! What all requests of a store share on its runtime, and the discipline of each: at most so many at work, repeated with
//! growing pauses while that can help, ended at a deadline.

use crate::codec;
use crate::fault::{Again, Fault};
use crate::login::{Login, login};
use crate::options::{Choice, Options};
use crate::web::Web;
use aws_sdk_s3::Client;
use iris_store::{Kind, StoreError};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// The shortest and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Whether the server keeps the conditions of puts, as far as it is known.
const UNKNOWN: u8 = 0;
const KEPT: u8 = 1;
const IGNORED: u8 = 2;

/// Whether the server wants tags in quotes in the conditions of puts, as HTTP says, or bare (RGW), where it is known.
const QUOTED: u8 = 1;
const BARE: u8 = 2;

/// What requests share.
pub struct Shared {
    pub options: Options,
    /// The store's address and server, without secrets.
    pub place: String,
    /// Whether payloads go unsigned.
    pub unsigned: bool,
    pub log: fn(u8, &str),
    web: Web,
    /// With a number that grows when credentials are read anew.
    client: RwLock<(Client, u64)>,
    permits: Semaphore,
    born: Instant,
    /// When a request last got somewhere, in milliseconds since `born`.
    progress: AtomicU64,
    conditional: AtomicU8,
    /// How the server wants the tags of puts, as far as it is known.
    tags: AtomicU8,
    /// The server refuses the checksums that are younger than it.
    pub old_server: AtomicBool,
    /// Held by who asks the server about conditions.
    pub probing: Mutex<()>,
}

impl Shared {
    /// Logs in, without asking anybody by the network.
    pub async fn new(options: Options, address: &str, web: Web, log: fn(u8, &str)) -> Shared {
        let Login { client, endpoint, aws, plain } = login(&options, &web).await;
        let place = match endpoint.filter(|_| options.endpoint.is_none()) {
            Some(endpoint) => format!("{address} at {endpoint}"),
            None => address.to_owned(),
        };
        let conditional = match options.conditional {
            Choice::Yes => KEPT,
            Choice::No => IGNORED,
            Choice::Auto if aws => KEPT,
            Choice::Auto => UNKNOWN,
        };
        Shared {
            place,
            unsigned: options.sign == Choice::No || options.sign == Choice::Auto && !plain,
            log,
            web,
            client: RwLock::new((client, 0)),
            permits: Semaphore::new(options.connections),
            born: Instant::now(),
            progress: AtomicU64::new(0),
            conditional: AtomicU8::new(conditional),
            tags: AtomicU8::new(UNKNOWN),
            old_server: AtomicBool::new(false),
            probing: Mutex::const_new(()),
            options,
        }
    }

    /// The SDK's client, and which it is.
    pub fn client(&self) -> (Client, u64) {
        let held = self.client.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        (held.0.clone(), held.1)
    }

    /// A client with credentials that are read anew, unless that was done since `seen`.
    async fn renew(&self, seen: u64) {
        if self.client().1 != seen {
            return;
        }
        let fresh = login(&self.options, &self.web).await.client;
        let mut held = self.client.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if held.1 == seen {
            *held = (fresh, seen + 1);
        }
    }

    /// Notes that the server does something for us.
    pub fn touch(&self) {
        self.progress.store(self.born.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn touched(&self) -> Instant {
        self.born + Duration::from_millis(self.progress.load(Ordering::Relaxed))
    }

    /// Whether the server keeps conditions, where that is known.
    pub fn keeps_conditions(&self) -> Option<bool> {
        match self.conditional.load(Ordering::Relaxed) {
            UNKNOWN => None,
            known => Some(known == KEPT),
        }
    }

    /// What was found out about conditions.
    pub fn found_conditions(&self, kept: bool) {
        self.conditional.store(if kept { KEPT } else { IGNORED }, Ordering::Relaxed);
    }

    /// A tag in the form that the server wants in the condition of a put.
    pub fn wanted_tag(&self, tag: &str) -> String {
        if self.tags.load(Ordering::Relaxed) == BARE { tag.to_owned() } else { codec::quoted(tag) }
    }

    /// A put over a tag succeeded: this is how the server wants them.
    pub fn tags_are_right(&self) {
        let _ = self.tags.compare_exchange(UNKNOWN, QUOTED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A put over the right tag failed: whether another form is left to try.
    pub fn other_tags(&self) -> bool {
        self.tags.compare_exchange(UNKNOWN, BARE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether the form of tags is still to be found out.
    pub fn tags_unknown(&self) -> bool {
        self.tags.load(Ordering::Relaxed) == UNKNOWN
    }

    /// An error about an object, by its whole key.
    pub fn error(&self, kind: Kind, key: Option<&str>, detail: impl Into<String>) -> StoreError {
        let key = key.map(|k| k.strip_prefix(self.options.prefix.as_str()).unwrap_or(k).as_bytes());
        StoreError::new(kind, &self.place, key, detail)
    }
}

/// A text that no other put has.
pub fn nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Two words, each with keys from the system's randomness.
    let word = || {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(COUNT.fetch_add(1, Ordering::Relaxed));
        hasher.write_u32(std::process::id());
        hasher.write_u128(std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos());
        hasher.finish()
    };
    format!("{:016x}{:016x}", word(), word())
}

/// The attempts at one request of the server.
pub struct Tries<'a> {
    shared: &'a Shared,
    key: Option<&'a str>,
    submitted: Instant,
    until: Option<Instant>,
    attempts: u32,
    renewed: bool,
    generation: u64,
    /// What the last attempt failed by.
    last: Option<String>,
    /// Whether an attempt failed of which the server may nevertheless have done what was asked.
    pub perhaps_done: bool,
}

impl<'a> Tries<'a> {
    /// None yet.
    pub fn new(shared: &'a Shared, key: Option<&'a str>) -> Tries<'a> {
        Tries {
            shared,
            key,
            submitted: Instant::now(),
            until: None,
            attempts: 0,
            renewed: false,
            generation: 0,
            last: None,
            perhaps_done: false,
        }
    }

    /// Begins an attempt when there is room: the client to use, and the room. Requests that wait for room while the
    /// server does something for others are not late.
    pub async fn begin(&mut self) -> Result<(Client, SemaphorePermit<'a>), StoreError> {
        let shared = self.shared;
        let limit = || self.submitted.max(shared.touched()) + shared.options.deadline;
        let permit = loop {
            match tokio::time::timeout_at(limit(), shared.permits.acquire()).await {
                Ok(Ok(permit)) => break permit,
                Ok(Err(_)) => return Err(self.end(Fault::new(Kind::Closed, "the store is shut"))),
                Err(_) if limit() > Instant::now() => (),
                Err(_) => {
                    let detail = "no room for the request within the deadline: those before it got no answer";
                    return Err(self.end(Fault::new(Kind::Unavailable, detail)));
                }
            }
        };
        let limit = limit();
        self.until.get_or_insert(limit);
        self.attempts += 1;
        let (client, generation) = shared.client();
        self.generation = generation;
        Ok((client, permit))
    }

    /// Lets an attempt run, to the deadline at most.
    pub async fn within<T>(&self, attempt: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let until = self.until.unwrap_or_else(Instant::now);
        let done = tokio::time::timeout_at(until, attempt).await;
        let done = done.unwrap_or_else(|_| {
            let deadline = self.shared.options.deadline.as_secs_f64();
            let before = self.last.as_ref().map_or(String::new(), |last| format!(" Before that: {last}"));
            let detail = format!(
                "not done within the deadline of {deadline:.1} s; is the server up, or slow?{before}"
            );
            Err(Fault { perhaps_done: true, ..Fault::new(Kind::Unavailable, detail) })
        });
        if done.is_ok() {
            self.shared.touch();
        }
        done
    }

    /// After a failed attempt: returns when it is time for the next, or gives the error to end with.
    pub async fn failed(&mut self, fault: Fault) -> Result<(), StoreError> {
        self.perhaps_done |= fault.perhaps_done;
        self.last = Some(fault.detail.clone());
        if fault.status > 0 && fault.status < 500 {
            // An answer, if not the one that was hoped for.
            self.shared.touch();
        }
        match fault.again {
            Again::Later if self.attempts <= self.shared.options.retries => {
                let pause = (PAUSES.0 * 2u32.pow(self.attempts.min(20) - 1)).min(PAUSES.1);
                // Spread, so that those who failed together do not come back together.
                let pause =
                    pause.mul_f64(0.5 + (RandomState::new().build_hasher().finish() % 512) as f64 / 1024.0);
                let late = self.until.is_some_and(|until| Instant::now() + pause >= until);
                if late {
                    return Err(self.end(fault));
                }
                tokio::time::sleep(pause).await;
                Ok(())
            }
            Again::Renewed if !self.renewed => {
                self.renewed = true;
                self.shared.renew(self.generation).await;
                Ok(())
            }
            _ => Err(self.end(fault)),
        }
    }

    /// The error to end with.
    pub fn end(&self, fault: Fault) -> StoreError {
        self.shared
            .error(fault.kind, self.key, fault.detail)
            .after(self.attempts.max(1), self.submitted.elapsed())
    }
}

/// Carries out a request of one exchange: `attempt` makes it, with a client, as often as needed.
pub async fn exchange<T, F>(
    shared: &Shared,
    key: Option<&str>,
    mut attempt: impl FnMut(Client) -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, Fault>>,
{
    let mut tries = Tries::new(shared, key);
    loop {
        let (client, permit) = tries.begin().await?;
        match tries.within(attempt(client)).await {
            Ok(done) => return Ok(done),
            Err(fault) => {
                drop(permit);
                tries.failed(fault).await?;
            }
        }
    }
}
