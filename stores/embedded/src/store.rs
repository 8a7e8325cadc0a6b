//! The store: opening, and handing requests to the shards.

use crate::files::Files;
use crate::head::{self, Commit, Facts, Head};
use crate::options::{Durability, Options};
use crate::shard::{self, Shard};
use crate::{log, sys};
use iris_mappers::containers::{Catalogue, MAPPERS, Named, hash, shard_of};
use iris_store::{
    Address, Capabilities, Condition, Kind, ListRequest, ObjectFacts, Outcome, Page, Request, Result, Store,
    StoreError,
};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The longest that a request waits for others.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of the longest key.
const MAX_KEY: usize = 64 * 1024;
/// Bytes of the longest object that one request can put.
const MAX_PUT: u64 = 1 << 40;
/// Bytes of the longest object.
pub const MAX_LEN: u64 = 1 << 62;

/// What all parts of an open store share.
pub struct Context {
    /// Its address.
    pub place: String,
    /// The mapped head.
    pub head: Head,
    /// The files.
    pub files: Files,
    /// The mapper.
    pub named: &'static Named,
    /// See [`Durability`].
    pub durability: Durability,
}

impl Context {
    /// A failure.
    pub fn error(&self, kind: Kind, key: Option<&[u8]>, detail: impl Into<String>) -> StoreError {
        StoreError::new(kind, &self.place, key, detail)
    }

    /// A failed system call.
    pub fn system(&self, e: Errno, key: Option<&[u8]>, path: &Path, what: &str) -> StoreError {
        system(&self.place, e, key, path, what)
    }

    /// The head's name, for messages.
    pub fn head_name(&self) -> String {
        self.files.folder().join("head").display().to_string()
    }

    /// Events of a shard that a loss of power can no longer take, or none of which it matters.
    pub fn settled(&self, shard: u32) -> u64 {
        if self.durability == Durability::None { u64::MAX } else { self.head.settled(shard) }
    }
}

fn system(place: &str, e: Errno, key: Option<&[u8]>, path: &Path, what: &str) -> StoreError {
    let (kind, hint) = match e {
        Errno::NOSPC | Errno::DQUOT => (Kind::Full, "make room, or remove objects"),
        Errno::FBIG => (Kind::Full, "the limit on file sizes (ulimit -f) is too low"),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            (Kind::Denied, "the store's files must be writable by this user")
        }
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR => (Kind::Unavailable, "try again"),
        Errno::NOENT => (Kind::Corrupt, "the file should be there; restore it or the store"),
        _ => (Kind::Unavailable, "see the system's log"),
    };
    StoreError::new(kind, place, key, format!("{what}: {}: {e}; {hint}", path.display()))
}

/// A store in a directory. Dropping it closes what it has open; there is nothing to finish.
pub struct Embedded {
    pub(crate) context: Context,
    pub(crate) shards: Vec<Shard>,
    capabilities: Capabilities,
    /// The process that opened it: after a fork the locks inside are of no use.
    process: u32,
}

impl Embedded {
    /// Opens the store at an address (`kv:///DIR?mapper=…`), making it if there is none.
    ///
    /// # Errors
    /// Wrong options; a store that was made with others, or is damaged; what the system says.
    pub fn at(address: &Address) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(Embedded::open(&Options::of(address)?, address.to_string())?))
    }

    /// Opens the store in a directory, which must exist; `place` names it in messages.
    ///
    /// # Errors
    /// As [`at`](Self::at).
    pub fn open(options: &Options, place: impl Into<String>) -> Result<Embedded> {
        let place = place.into();
        let folder = options.directory.join("objects");
        let failed = |what: &str, e| system(&place, e, None, &folder, what);
        sys::make_folder(&folder).map_err(|e| failed("making the store", e))?;
        let files = Files::new(folder.clone(), options.descriptors);
        // Who makes, and who puts right after a boot, does so alone.
        let guard = sys::open_folder(&folder).map_err(|e| failed("opening the store", e))?;
        sys::lock_folder(guard.as_fd()).map_err(|e| failed("locking the store", e))?;
        let path = folder.join("head");
        let made = match Head::open(&path) {
            Err(head::Bad::System(Errno::NOENT)) => {
                let named = options.mapper.unwrap_or(&MAPPERS[0]);
                let durability = options.durability.unwrap_or(Durability::Sync);
                make(&files, named, durability).map_err(|e| failed("making the store", e))?;
                Head::open(&path)
            }
            other => other,
        };
        let head = made.map_err(|bad| match bad {
            head::Bad::System(e) => system(&place, e, None, &path, "opening the store's head"),
            head::Bad::Damaged(why) => {
                StoreError::new(Kind::Corrupt, &place, None, format!("{}: {why}; restore it", path.display()))
            }
        })?;
        let facts = head.facts();
        let invalid = |detail: String| StoreError::new(Kind::Invalid, &place, None, detail);
        let named = MAPPERS.iter().find(|m| m.number == facts.mapper).ok_or_else(|| {
            invalid(format!(
                "{}: made with mapper number {}, which this version lacks",
                path.display(),
                facts.mapper
            ))
        })?;
        if options.mapper.is_some_and(|m| m.number != named.number) {
            return Err(invalid(format!(
                "the store was made with mapper={}; leave the option out",
                named.name
            )));
        }
        if options.durability.is_some_and(|d| d != facts.durability) {
            let made = format!("{:?}", facts.durability).to_lowercase();
            return Err(invalid(format!("the store was made with durability={made}; leave the option out")));
        }
        let context = Context { place, head, files, named, durability: facts.durability };
        after_boot(&context)?;
        drop(guard);
        let capabilities = Capabilities {
            range_read: true,
            range_write: true,
            put_if_absent: true,
            put_if_match: true,
            batch: true,
            list: true,
            list_scans: false,
            compose: false,
            scripts: false,
            volatile: false,
            durable: facts.durability != Durability::None,
            shared: false,
            max_put: MAX_PUT,
            max_key: MAX_KEY,
            deadline: DEADLINE * 2,
        };
        let shards = (0..facts.shards).map(Shard::new).collect();
        Ok(Embedded { context, shards, capabilities, process: sys::pid() })
    }

    /// Makes everything that was acknowledged durable: after this a loss of power takes none of it. Does nothing where
    /// the store was made with `durability=none`.
    ///
    /// # Errors
    /// What the system says; then nothing is promised of what came since the last sync.
    pub fn sync(&self) -> Result<()> {
        self.check_process()?;
        if self.context.durability == Durability::None {
            return Ok(());
        }
        self.shards.iter().try_for_each(|shard| shard.sync(&self.context))
    }

    /// Bytes that the containers take, bytes of them that objects consist of, and the most that they may take.
    ///
    /// # Errors
    /// As a request.
    pub fn space(&self) -> Result<(u64, u64, u64)> {
        let mut sums = (0, 0, 0);
        for shard in &self.shards {
            let view = shard.view(&self.context)?;
            let catalogue = view.catalogue();
            sums.0 += catalogue.space().total();
            sums.1 += catalogue.space().live();
            sums.2 += catalogue.bound();
        }
        Ok(sums)
    }

    /// The shard that a key lies in.
    pub(crate) fn shard(&self, key: &[u8]) -> &Shard {
        &self.shards[shard_of(hash(key), self.shards.len() as u32) as usize]
    }

    fn check_process(&self) -> Result<()> {
        if self.process == sys::pid() {
            return Ok(());
        }
        Err(self.context.error(
            Kind::Closed,
            None,
            "the store was opened before a fork; open it again in the child",
        ))
    }

    fn check_key(&self, key: &[u8]) -> Result<()> {
        match key.len() {
            0 => Err(self.context.error(Kind::Invalid, Some(key), "a key has at least one byte")),
            1..=MAX_KEY => Ok(()),
            n => {
                let what = format!("a key of {n} bytes; the longest has {MAX_KEY}");
                Err(self.context.error(Kind::TooLarge, None, what))
            }
        }
    }

    fn carry_out(&self, request: &mut Request<'_>) -> Result<Outcome> {
        self.check_process()?;
        self.check_key(request.key())?;
        match request {
            Request::Get { key, offset, into } => self.get(key, *offset, into).map(Outcome::Read),
            Request::Put { key, bytes, condition, meta } => {
                if bytes.len() as u64 > MAX_PUT {
                    return Err(self.context.error(Kind::TooLarge, Some(key), "more than 1 TiB in one put"));
                }
                self.put(key, bytes, condition, meta).map(|tag| Outcome::Put(Some(tag)))
            }
            Request::Update { key, offset, bytes } => {
                self.update(key, *offset, bytes).map(|()| Outcome::Done)
            }
            Request::Resize { key, len } => self.resize(key, *len).map(|()| Outcome::Done),
            Request::Delete { key } => self.delete(key).map(|()| Outcome::Done),
            Request::Head { key } => {
                let view = self.shard(key).view(&self.context)?;
                let object = view.catalogue().get(key).ok_or_else(|| self.none(key))?;
                let meta = crate::write::meta_of(&object.meta);
                Ok(Outcome::Facts(ObjectFacts { meta, ..facts_of(object) }))
            }
        }
    }

    /// There is no such object.
    pub(crate) fn none(&self, key: &[u8]) -> StoreError {
        self.context.error(Kind::NotFound, Some(key), "there is no such object")
    }

    /// Whether a condition holds of what is there.
    pub(crate) fn condition(&self, key: &[u8], condition: &Condition, tag: Option<u64>) -> Result<()> {
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => tag.is_none(),
            Condition::Tag(wanted) => tag.is_some_and(|t| tag_text(t) == *wanted),
        };
        if holds {
            return Ok(());
        }
        let what = match tag {
            Some(tag) => format!("{condition:?} does not hold: there is one with the tag {}", tag_text(tag)),
            None => format!("{condition:?} does not hold: there is none"),
        };
        Err(self.context.error(Kind::Precondition, Some(key), what))
    }
}

/// A tag as others see it.
pub fn tag_text(tag: u64) -> String {
    format!("{tag:x}")
}

/// What is told of an object, without its meta.
pub fn facts_of(object: &iris_mappers::containers::Object) -> ObjectFacts {
    ObjectFacts {
        len: object.len,
        tag: Some(tag_text(object.tag)),
        modified: Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(object.modified)),
        meta: Vec::new(),
    }
}

/// Makes folders, empty logs, and the head last: a store is there when its head is.
fn make(files: &Files, named: &Named, durability: Durability) -> sys::Result<()> {
    let mut first = Commit { generation: 1, end: 0 };
    for shard in 0..named.shards {
        sys::make_folder(&files.shard(shard))?;
        let empty = Catalogue::new((named.make)(shard, named.shards));
        first = log::write(files, shard, 1, &empty)?;
    }
    let facts = Facts { mapper: named.number, shards: named.shards, durability };
    Head::make(&files.folder().join("head"), facts, head::this_boot(), first)?;
    sys::sync_folder(files.folder())
}

/// What the first to open a store after a boot does: the locks are nobody's, and what did not arrive is left out. A
/// damaged commit word is put right as well.
fn after_boot(context: &Context) -> Result<()> {
    let (head, boot) = (&context.head, head::this_boot());
    let booted = head.boot() != boot;
    for shard in 0..head.facts().shards {
        if booted {
            head.lock(shard).store(0, crate::atomic::Ordering::Release);
        }
        if booted || head.commit(shard).is_none() {
            let me = crate::owner::me();
            let waiting = crate::owner::Waiting::new(DEADLINE);
            crate::lock::lock(head.lock(shard), me, &waiting).map_err(|owner| {
                let what =
                    format!("thread {} holds shard {shard:02x} and does not give it back", owner >> 40);
                context.error(Kind::Unavailable, None, what)
            })?;
            let recovered = shard::recover(context, shard);
            crate::lock::unlock(head.lock(shard), me);
            recovered.map_err(|bad| match bad {
                log::Bad::System(e) => {
                    context.system(e, None, &context.files.shard(shard), "putting the index right")
                }
                log::Bad::Damaged { at, why } => {
                    let name = context.files.shard(shard).join("log-…");
                    let what =
                        format!("{}: {why} at byte {at}; restore the file or the store", name.display());
                    context.error(Kind::Corrupt, None, what)
                }
            })?;
        }
    }
    head.set_boot(boot);
    Ok(())
}

impl Store for Embedded {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn place(&self) -> &str {
        &self.context.place
    }

    fn submit(&self, requests: &mut [Request<'_>], outcomes: &mut Vec<Result<Outcome>>) {
        outcomes.clear();
        outcomes.extend(requests.iter_mut().map(|request| self.carry_out(request)));
    }

    fn list(&self, request: &ListRequest<'_>) -> Result<Page> {
        self.check_process()?;
        self.page(request)
    }

    fn check(&self) -> Result<()> {
        self.check_process()?;
        self.shards[0].view(&self.context).map(drop)
    }

    fn sync(&self) -> Result<()> {
        Embedded::sync(self)
    }
}
