//! Objects in memcached, which may forget each at any time: only for caches. Owns how requests become its commands.

use crate::connection::Common;
use crate::exchange::Exchange;
use crate::failure::Trouble;
use crate::guarded;
use crate::job::{Job, Sense, What, Whom};
use crate::meta::{LONGEST_KEY, flag};
use crate::node::Node;
use crate::sessions::PerProcess;
use crate::wire::Answer;
use iris_store::{
    Capabilities, Condition, Kind, ListRequest, ObjectFacts, Outcome, Page, Request, Result, Store,
    StoreError,
};
use std::time::{Duration, Instant};

/// A server.
pub struct Memcached {
    exchange: Exchange,
    can: Capabilities,
}

impl Memcached {
    pub fn new(common: Common) -> Memcached {
        let config = &common.config;
        let can = Capabilities {
            range_read: false,
            range_write: false,
            put_if_absent: true,
            put_if_match: true,
            batch: true,
            list: false,
            list_scans: false,
            compose: false,
            scripts: false,
            volatile: true,
            durable: false,
            shared: !matches!(*config.seeds[0], Node::Unix(_)),
            max_put: config.max_object,
            max_key: LONGEST_KEY,
            deadline: config.deadline,
        };
        let processes = PerProcess::new(config.connections);
        Memcached { exchange: Exchange { common, processes }, can }
    }

    fn job<'a>(&self, request: &'a mut Request<'_>) -> Job<'a> {
        let most = self.exchange.common.config.max_object;
        let refused = |mut job: Job<'a>, kind, what: String| {
            job.result = Some(Err(Trouble::new(kind, what)));
            job
        };
        let unsupported = "memcached writes objects as a whole only";
        let job = match request {
            Request::Get { key, offset, into } => {
                let mut job = Job::new(What::Get { offset: 0 }, key, Whom::Any, true);
                job.sense = Sense::Read;
                if *offset > 0 {
                    return refused(
                        job,
                        Kind::Unsupported,
                        "memcached reads objects from their beginning only".into(),
                    );
                }
                job.into = Some(into);
                job
            }
            Request::Put { key, bytes, condition, .. } => {
                let absent = *condition == Condition::Absent;
                let tag = if let Condition::Tag(tag) = condition { Some(tag.parse().ok()) } else { None };
                let what = What::Put { bytes, absent, tag: tag.flatten() };
                let mut job = Job::new(what, key, Whom::Any, *condition == Condition::Always);
                job.sense = Sense::Put;
                if tag == Some(None) {
                    return refused(job, Kind::Precondition, "a tag that no object has".into());
                }
                if bytes.len() as u64 > most {
                    let what = format!(
                        "{} bytes, and an object may have {most} (max_object, memcached's -I)",
                        bytes.len()
                    );
                    return refused(job, Kind::TooLarge, what);
                }
                job
            }
            Request::Update { key, .. } | Request::Resize { key, .. } => {
                let job = Job::new(What::Exists, key, Whom::Any, true);
                return refused(job, Kind::Unsupported, unsupported.into());
            }
            Request::Delete { key } => {
                let mut job = Job::new(What::Delete, key, Whom::Any, true);
                job.sense = Sense::Done;
                job
            }
            Request::Head { key } => {
                let mut job = Job::new(What::Head, key, Whom::Any, true);
                job.sense = Sense::Facts;
                job
            }
        };
        match job.key.len() {
            0 => refused(job, Kind::Invalid, "a key has one byte at least".into()),
            n if n > LONGEST_KEY => {
                refused(job, Kind::TooLarge, format!("the key has {n} bytes, and may have {LONGEST_KEY}"))
            }
            _ => job,
        }
    }

    fn outcome(&self, job: Job<'_>, begun: Instant) -> Result<Outcome> {
        let answer = match job.result {
            Some(Ok(answer)) => answer,
            Some(Err(trouble)) => return Err(self.exchange.error(trouble, job.key, job.attempts, begun)),
            None => Answer::Nil,
        };
        let fails = |kind, what: &str| {
            Err(self.exchange.error(Trouble::new(kind, what), job.key, job.attempts, begun))
        };
        match (job.sense, answer) {
            (Sense::Read, Answer::Filled(n)) => Ok(Outcome::Read(n)),
            (Sense::Read | Sense::Facts, Answer::Nil) => fails(Kind::NotFound, "there is no such object"),
            (Sense::Done, _) => Ok(Outcome::Done),
            (Sense::Facts, Answer::Text(line)) if line.starts_with(b"HD") => {
                let tag = flag(&line, b'c').map(|tag| tag.to_string());
                let len = flag(&line, b's').unwrap_or(0);
                Ok(Outcome::Facts(ObjectFacts { len, tag, ..ObjectFacts::default() }))
            }
            (Sense::Put, Answer::Text(line)) if line.starts_with(b"HD") => {
                Ok(Outcome::Put(flag(&line, b'c').filter(|c| *c > 0).map(|c| c.to_string())))
            }
            (Sense::Put, Answer::Text(line)) if line.starts_with(b"NS") => {
                fails(Kind::Precondition, "there is an object of this key")
            }
            (Sense::Put, Answer::Text(_) | Answer::Nil) => {
                fails(Kind::Precondition, "the object is not the one with this tag")
            }
            (_, other) => {
                fails(Kind::Corrupt, &format!("the server gave an answer to something else: {other:?}"))
            }
        }
    }

    fn carry_out(&self, jobs: &mut [Job<'_>], patience: Duration) {
        self.exchange.carry_out(jobs, patience);
    }
}

impl Store for Memcached {
    fn capabilities(&self) -> &Capabilities {
        &self.can
    }

    fn place(&self) -> &str {
        &self.exchange.common.config.place
    }

    fn submit(&self, requests: &mut [Request<'_>], outcomes: &mut Vec<Result<Outcome>>) {
        guarded::submit(self.place(), requests, outcomes, |requests, outcomes| {
            let begun = Instant::now();
            let mut jobs: Vec<Job<'_>> = requests.iter_mut().map(|r| self.job(r)).collect();
            self.carry_out(&mut jobs, self.can.deadline);
            outcomes.extend(jobs.into_iter().map(|job| self.outcome(job, begun)));
        });
    }

    fn list(&self, _: &ListRequest<'_>) -> Result<Page> {
        Err(StoreError::new(Kind::Unsupported, self.place(), None, "memcached does not tell what it holds"))
    }

    fn check(&self) -> Result<()> {
        guarded::call(self.place(), || {
            let begun = Instant::now();
            let mut job = [Job::new(What::Words(&[]), b"", Whom::Any, true)];
            let config = &self.exchange.common.config;
            self.carry_out(&mut job, config.connect.max(config.answer));
            let [Job { result, attempts, .. }] = job;
            match result {
                Some(Err(trouble)) => Err(self.exchange.error(trouble, b"", attempts, begun)),
                _ => Ok(()),
            }
        })
    }
}
