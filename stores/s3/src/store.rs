//! The store as the engine sees it: callers' threads give requests to the runtime and wait for what comes back. No
//! caller touches what belongs to the runtime (see threads.rs).

use crate::codec;
use crate::conditions;
use crate::listing::{self, Wanted};
use crate::net::Connector;
use crate::options::{MOST_KEY, MOST_PUT, Options};
use crate::reading::{self, Flow, Note, Sink};
use crate::shared::Shared;
use crate::threads::Threads;
use crate::web::Web;
use crate::writing::{self, Meta};
use bytes::Bytes;
use iris_store::{
    Address, Capabilities, Compose, Condition, Host, Kind, ListRequest, Outcome, Page, Request, Result,
    Store, StoreError, Versions,
};
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Bytes of puts that are copied for the runtime at a time.
const ROUND: usize = 64 << 20;

/// An S3 bucket, or what lies below a prefix of it.
pub struct S3 {
    threads: Threads,
    shared: ManuallyDrop<Arc<Shared>>,
    place: String,
    /// Without and with conditional puts.
    can: [Capabilities; 2],
}

/// A request that does not borrow from its caller.
pub enum Ask {
    Get { key: String, offset: u64, len: u64, tag: Option<String> },
    Put { key: String, bytes: Bytes, condition: Condition, meta: Meta },
    Delete { key: String },
    Head { key: String },
}

impl S3 {
    /// Opens the store of an address; asks no server.
    pub fn open(address: &Address, host: Host) -> Result<S3> {
        let options = Options::of(address)?;
        let shown = address.to_string();
        let failed = |detail: String| StoreError::new(Kind::Unavailable, &shown, None, detail);
        let threads =
            Threads::start(host).map_err(|e| failed(format!("the store's threads cannot start: {e}")))?;
        let (to, from) = mpsc::channel();
        let (max_key, deadline) = (MOST_KEY - options.prefix.len(), options.deadline);
        let place = shown.clone();
        threads.run(move || async move {
            let connector = Connector::new(options.timeout, options.ca.clone());
            let web = Web::new(connector, options.connections);
            let shared = Shared::new(options, &place, web, host.log).await;
            let _ = to.send(Arc::new(shared));
        });
        // Files are read for this (profiles), nothing else.
        let shared = from
            .recv_timeout(Duration::from_secs(60))
            .map_err(|_| failed("the configuration of AWS's tools could not be read".into()))?;
        let can = Capabilities {
            range_read: true,
            range_write: false,
            put_if_absent: false,
            put_if_match: false,
            batch: true,
            list: true,
            list_scans: false,
            compose: true,
            scripts: false,
            volatile: false,
            durable: true,
            shared: true,
            max_put: MOST_PUT,
            max_key,
            deadline,
        };
        let conditional = Capabilities { put_if_absent: true, put_if_match: true, ..can.clone() };
        let place = shared.place.clone();
        Ok(S3 { threads, shared: ManuallyDrop::new(shared), place, can: [can, conditional] })
    }

    /// What requests share, for code that runs on the runtime.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn error(&self, kind: Kind, key: Option<&[u8]>, detail: &str) -> StoreError {
        StoreError::new(kind, &self.place, key, detail)
    }

    /// How long a caller waits for a sign of life of the runtime: longer than that takes to give up itself.
    fn patience(&self) -> Duration {
        self.shared.options.deadline * 2 + Duration::from_secs(10)
    }

    /// Fails in a child of the process that opened the store.
    pub fn alive(&self) -> Result<()> {
        if self.threads.lost() {
            let detail = "the store was opened by the process before its fork; open it anew";
            return Err(self.error(Kind::Closed, None, detail));
        }
        Ok(())
    }

    /// Carries something out on the runtime and waits for it.
    pub fn ask<T, F>(&self, make: impl FnOnce(Arc<Shared>) -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.alive()?;
        let (to, from) = mpsc::channel();
        let shared = Arc::clone(&self.shared);
        self.threads.run(move || async move {
            let _ = to.send(make(shared).await);
        });
        from.recv_timeout(self.patience()).unwrap_or_else(|_| Err(self.lost_answer()))
    }

    /// Lets something run on the runtime.
    pub fn run<F: Future<Output = ()> + Send + 'static>(&self, make: impl FnOnce() -> F + Send + 'static) {
        self.threads.run(make);
    }

    /// The error where an answer should have been.
    pub fn lost_answer(&self) -> StoreError {
        self.error(Kind::Corrupt, None, "the store's own thread gave no answer; this is a fault of Iris")
    }

    /// The key as S3 has it.
    pub fn key(&self, key: &[u8]) -> Result<String> {
        let whole = codec::key(&self.shared.options.prefix, key)
            .map_err(|why| self.error(Kind::Invalid, Some(key), &format!("S3 cannot hold it: {why}")))?;
        if whole.len() > MOST_KEY {
            let detail = format!("the key has {} bytes with its prefix; S3 takes {MOST_KEY}", whole.len());
            return Err(self.error(Kind::TooLarge, Some(key), &detail));
        }
        Ok(whole)
    }

    /// Metadata as headers carry it.
    pub fn meta(&self, key: &[u8], meta: &[(String, String)]) -> Result<Meta> {
        codec::meta(meta).map_err(|why| self.error(Kind::Invalid, Some(key), &why))
    }

    /// A request in a form that may leave this thread.
    fn own(&self, request: &Request<'_>) -> Result<Ask> {
        let key = self.key(request.key())?;
        Ok(match request {
            Request::Get { offset, into, .. } => {
                Ask::Get { key, offset: *offset, len: into.len() as u64, tag: None }
            }
            Request::Put { bytes, condition, meta, .. } => {
                let meta = self.meta(request.key(), meta)?;
                if bytes.len() as u64 > MOST_PUT {
                    let detail = format!("{} bytes; S3 takes {MOST_PUT} in one request", bytes.len());
                    return Err(self.error(Kind::TooLarge, Some(request.key()), &detail));
                }
                Ask::Put { key, bytes: Bytes::copy_from_slice(bytes), condition: condition.clone(), meta }
            }
            Request::Delete { .. } => Ask::Delete { key },
            Request::Head { .. } => Ask::Head { key },
            Request::Update { .. } | Request::Resize { .. } => {
                let detail = "S3 cannot change a part of an object";
                return Err(self.error(Kind::Unsupported, Some(request.key()), detail));
            }
        })
    }

    /// Carries out requests that fit into memory once more.
    fn round(&self, requests: &mut [Request<'_>], outcomes: &mut [Option<Result<Outcome>>]) {
        // Those about one object behind each other.
        let mut chains: Vec<Vec<(usize, Ask)>> = Vec::new();
        let mut chain_of: HashMap<Vec<u8>, usize> = HashMap::new();
        let many = requests.len() > 1;
        for (i, request) in requests.iter().enumerate() {
            match self.own(request) {
                Err(e) => outcomes[i] = Some(Err(e)),
                Ok(ask) if many => {
                    let chain = *chain_of.entry(request.key().to_vec()).or_insert(chains.len());
                    if chain == chains.len() {
                        chains.push(Vec::new());
                    }
                    chains[chain].push((i, ask));
                }
                Ok(ask) => chains.push(vec![(i, ask)]),
            }
        }
        let mut waiting = outcomes.iter().filter(|o| o.is_none()).count();
        let (to, from) = mpsc::channel();
        let flow = Arc::new(Flow::default());
        let (shared, flowing) = (Arc::clone(&self.shared), flow.clone());
        self.threads.run(move || async move {
            for chain in chains {
                tokio::spawn(follow(shared.clone(), chain, to.clone(), flowing.clone()));
            }
        });
        while waiting > 0 {
            match from.recv_timeout(self.patience()) {
                Ok(Note::Bytes(i, at, bytes)) => {
                    if let Request::Get { into, .. } = &mut requests[i] {
                        let at = at as usize;
                        into[at..at + bytes.len()].copy_from_slice(&bytes);
                    }
                    flow.taken.fetch_add(bytes.len() as u64, Ordering::Release);
                }
                Ok(Note::Done(i, outcome)) => {
                    outcomes[i] = Some(outcome);
                    waiting -= 1;
                }
                Err(_) => break,
            }
        }
        for outcome in outcomes.iter_mut().filter(|o| o.is_none()) {
            *outcome = Some(Err(self.lost_answer()));
        }
    }

    /// Reads a range of the version of an object with a tag, all of it.
    pub fn read_exactly(&self, key: String, offset: u64, into: &mut [u8], tag: Option<String>) -> Result<()> {
        let (to, from) = mpsc::channel();
        let flow = Arc::new(Flow::default());
        let (shared, flowing, len) = (Arc::clone(&self.shared), flow.clone(), into.len() as u64);
        self.threads.run(move || follow(shared, vec![(0, Ask::Get { key, offset, len, tag })], to, flowing));
        loop {
            match from.recv_timeout(self.patience()) {
                Ok(Note::Bytes(_, at, bytes)) => {
                    into[at as usize..at as usize + bytes.len()].copy_from_slice(&bytes);
                    flow.taken.fetch_add(bytes.len() as u64, Ordering::Release);
                }
                Ok(Note::Done(_, Ok(Outcome::Read(read)))) if read == into.len() => return Ok(()),
                Ok(Note::Done(_, Ok(_))) => {
                    return Err(self.error(
                        Kind::Invalid,
                        None,
                        "a part reaches behind the end of its object",
                    ));
                }
                Ok(Note::Done(_, Err(e))) => return Err(e),
                Err(_) => return Err(self.lost_answer()),
            }
        }
    }

    /// Whether a put is better made of parts: sent side by side, and never twice in memory.
    fn is_long(&self, request: &Request<'_>) -> bool {
        matches!(request, Request::Put { bytes, condition: Condition::Always, .. }
            if bytes.len() > ROUND && bytes.len() as u64 <= MOST_PUT)
    }
}

impl Store for S3 {
    fn capabilities(&self) -> &Capabilities {
        &self.can[usize::from(self.shared.keeps_conditions() == Some(true))]
    }

    fn place(&self) -> &str {
        &self.place
    }

    fn submit(&self, requests: &mut [Request<'_>], outcomes: &mut Vec<Result<Outcome>>) {
        outcomes.clear();
        if let Err(e) = self.alive() {
            outcomes.extend(requests.iter().map(|_| Err(e.clone())));
            return;
        }
        let mut done: Vec<Option<Result<Outcome>>> = requests.iter().map(|_| None).collect();
        let mut at = 0;
        while at < requests.len() {
            if let (true, Request::Put { key, bytes, meta, .. }) =
                (self.is_long(&requests[at]), &requests[at])
            {
                let put = self.put_long(key, bytes, meta);
                done[at] = Some(put.map(Outcome::Put));
                at += 1;
                continue;
            }
            let (mut end, mut held) = (at, 0);
            while end < requests.len() && !self.is_long(&requests[end]) && (held < ROUND || end == at) {
                if let Request::Put { bytes, .. } = &requests[end] {
                    held += bytes.len();
                }
                end += 1;
            }
            self.round(&mut requests[at..end], &mut done[at..end]);
            at = end;
        }
        outcomes.extend(done.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(self.lost_answer()))));
    }

    fn list(&self, request: &ListRequest<'_>) -> Result<Page> {
        let wanted = Wanted {
            prefix: request.prefix.to_vec(),
            after: request.after.to_vec(),
            delimiter: request.delimiter,
            limit: request.limit,
        };
        self.ask(move |shared| async move { listing::list(&shared, &wanted).await })
    }

    fn check(&self) -> Result<()> {
        self.ask(|shared| async move {
            let first = Wanted { prefix: Vec::new(), after: Vec::new(), delimiter: None, limit: 1 };
            listing::list(&shared, &first).await?;
            if shared.keeps_conditions().is_none() {
                conditions::ask(&shared).await?;
            }
            Ok(())
        })
    }

    fn compose(&self) -> Option<&dyn Compose> {
        Some(self)
    }

    fn versions(&self) -> Option<&dyn Versions> {
        Some(self)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // In a child of the process that opened it, nothing of the runtime may be touched.
        if !self.threads.lost() {
            // SAFETY: taken once, here, and not used afterwards.
            let shared = unsafe { ManuallyDrop::take(&mut self.shared) };
            self.threads.bury(shared);
        }
    }
}

/// Carries out the requests about one object: reads side by side, what changes it by itself.
async fn follow(shared: Arc<Shared>, chain: Vec<(usize, Ask)>, to: mpsc::Sender<Note>, flow: Arc<Flow>) {
    let mut reads = tokio::task::JoinSet::new();
    for (index, ask) in chain {
        let sink = Sink { to: to.clone(), index, flow: flow.clone() };
        let shared = shared.clone();
        if matches!(ask, Ask::Get { .. } | Ask::Head { .. }) {
            reads.spawn(async move { tell(&sink, carry_out(&shared, ask, &sink).await) });
            continue;
        }
        while reads.join_next().await.is_some() {}
        tell(&sink, carry_out(&shared, ask, &sink).await);
    }
    while reads.join_next().await.is_some() {}
}

fn tell(sink: &Sink, outcome: Result<Outcome>) {
    // Whoever asked may have gone; then nobody is interested.
    let _ = sink.to.send(Note::Done(sink.index, outcome));
}

async fn carry_out(shared: &Arc<Shared>, ask: Ask, sink: &Sink) -> Result<Outcome> {
    match ask {
        // No bytes, or none that S3 could have: only whether it is there.
        Ask::Get { key, offset, len, .. } if len == 0 || offset > i64::MAX as u64 => {
            writing::head(shared, &key).await.map(|_| Outcome::Read(0))
        }
        Ask::Get { key, offset, len, tag } => {
            let read = reading::get(shared, &key, offset, len, tag.as_deref(), sink).await?;
            Ok(Outcome::Read(read as usize))
        }
        Ask::Put { key, bytes, condition, meta } => {
            writing::put(shared, &key, bytes, &condition, &meta).await.map(Outcome::Put)
        }
        Ask::Delete { key } => writing::delete(shared, &key).await.map(|()| Outcome::Done),
        Ask::Head { key } => writing::head(shared, &key).await.map(Outcome::Facts),
    }
}
