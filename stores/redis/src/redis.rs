//! Objects in Redis or Valkey: each is a string of the same key. Owns how requests become commands and answers
//! outcomes.

use crate::connection::Common;
use crate::exchange::Exchange;
use crate::failure::Trouble;
use crate::job::{Job, Sense, What, Whom, last};
use crate::node::Node;
use crate::scripts::{CHANGE_BETWEEN, Own};
use crate::sessions::PerProcess;
use crate::wire::Answer;
use crate::{guarded, options};
use iris_store::{
    Capabilities, Condition, Fenced, Kind, ListRequest, ObjectFacts, Outcome, Page, Reply, Request, Result,
    Run, Script, Scripts, Store, StoreError,
};
use std::collections::HashSet;
use std::time::Instant;

/// Bytes of the longest key: a bound of ours, far beyond what a path may have.
const LONGEST_KEY: usize = 64 << 10;

/// A server or a cluster.
pub struct Redis {
    pub exchange: Exchange,
    pub own: Own,
    can: Capabilities,
}

impl Redis {
    pub fn new(common: Common) -> Redis {
        let config = &common.config;
        let can = Capabilities {
            range_read: true,
            range_write: true,
            put_if_absent: true,
            put_if_match: false,
            batch: true,
            list: true,
            list_scans: true,
            compose: false,
            scripts: true,
            volatile: false,
            durable: config.durable,
            shared: !matches!(*config.seeds[0], Node::Unix(_)),
            max_put: config.max_object,
            max_key: LONGEST_KEY,
            deadline: config.deadline,
        };
        let processes = PerProcess::new(config.connections);
        Redis { exchange: Exchange { common, processes }, own: Own::new(), can }
    }

    fn config(&self) -> &options::Config {
        &self.exchange.common.config
    }

    /// Gets jobs done, with the store's patience.
    pub fn carry_out(&self, jobs: &mut [Job<'_>]) {
        self.exchange.carry_out(jobs, self.config().deadline);
    }

    /// The command for a request. `exact`: what GETRANGE and STRLEN leave open has to be told at once.
    fn job<'a>(&'a self, request: &'a mut Request<'_>, exact: bool) -> Job<'a> {
        let most = self.config().max_object;
        let whom = self.exchange.slot(request.key());
        let refused = |mut job: Job<'a>, kind, what: String| {
            job.result = Some(Err(Trouble::new(kind, what)));
            job
        };
        let too_large = |len: u64| format!("{len} bytes, and an object may have {most} (max_object)");
        let job = match request {
            Request::Get { key, offset, into } => {
                let (offset, len) = (*offset, into.len() as u64);
                let mut job = Job::new(What::Exists, key, whom, true);
                job.sense = Sense::Read;
                if len > 0 && offset < i64::MAX as u64 {
                    let numbers = [Some(offset), Some(last(offset, len))];
                    job.what = if exact {
                        What::Own { script: &self.own.get, numbers }
                    } else {
                        What::Get { offset }
                    };
                    job.into = Some(into);
                }
                job
            }
            Request::Put { key, bytes, condition, .. } => {
                let absent = *condition == Condition::Absent;
                let mut job = Job::new(What::Put { bytes, absent, tag: None }, key, whom, !absent);
                job.sense = Sense::Put;
                if let Condition::Tag(_) = condition {
                    return refused(job, Kind::Unsupported, "Redis keeps no tags to compare".into());
                }
                if bytes.len() as u64 > most {
                    return refused(job, Kind::TooLarge, too_large(bytes.len() as u64));
                }
                job
            }
            Request::Update { key, offset, bytes } => {
                let mut job = Job::new(What::Update { offset: *offset, bytes }, key, whom, true);
                job.sense = Sense::Done;
                let end = offset.saturating_add(bytes.len() as u64);
                if end > most && !bytes.is_empty() {
                    return refused(job, Kind::TooLarge, too_large(end));
                }
                if bytes.is_empty() && !key.is_empty() {
                    job.result = Some(Ok(Answer::Int(0)));
                }
                job
            }
            Request::Resize { key, len } => {
                let what = What::Own { script: &self.own.resize, numbers: [Some(*len), None] };
                let mut job = Job::new(what, key, whom, true);
                job.sense = Sense::Resized;
                if *len > most {
                    return refused(job, Kind::TooLarge, too_large(*len));
                }
                job
            }
            Request::Delete { key } => {
                let mut job = Job::new(What::Delete, key, whom, true);
                job.sense = Sense::Done;
                job
            }
            Request::Head { key } => {
                let what = if exact {
                    What::Own { script: &self.own.head, numbers: [None, None] }
                } else {
                    What::Head
                };
                let mut job = Job::new(what, key, whom, true);
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

    /// Asks again, exactly, where an answer left open whether there is an object.
    pub fn ask_exactly<'a>(&'a self, jobs: &mut [Job<'a>]) {
        let mut open = false;
        for job in &mut *jobs {
            let numbers = match (job.what, &job.result) {
                (What::Get { offset }, Some(Ok(Answer::Filled(0)))) => {
                    let len = job.into.as_ref().map_or(0, |i| i.len()) as u64;
                    [Some(offset), Some(last(offset, len))]
                }
                (What::Head, Some(Ok(Answer::Int(0)))) => [None, None],
                _ => continue,
            };
            let script = if numbers[0].is_some() { &self.own.get } else { &self.own.head };
            job.what = What::Own { script, numbers };
            job.result = None;
            open = true;
        }
        if open {
            self.carry_out(jobs);
        }
    }

    /// What a job's answer means.
    fn outcome(&self, job: Job<'_>, begun: Instant) -> Result<Outcome> {
        let answer = match job.result {
            Some(Ok(answer)) => answer,
            Some(Err(trouble)) => return Err(self.exchange.error(trouble, job.key, job.attempts, begun)),
            None => Answer::Nil,
        };
        let fails = |kind, what: &str| {
            Err(self.exchange.error(Trouble::new(kind, what), job.key, job.attempts, begun))
        };
        const NONE: &str = "there is no such object";
        match (job.sense, answer) {
            (Sense::Read, Answer::Filled(n)) => Ok(Outcome::Read(n)),
            (Sense::Read, Answer::Nil | Answer::Int(0)) => fails(Kind::NotFound, NONE),
            (Sense::Read, Answer::Int(1)) => Ok(Outcome::Read(0)),
            (Sense::Facts, Answer::Int(-1)) => fails(Kind::NotFound, NONE),
            (Sense::Facts, Answer::Int(n)) if n >= 0 => {
                Ok(Outcome::Facts(ObjectFacts { len: n as u64, ..ObjectFacts::default() }))
            }
            (Sense::Put, Answer::Text(_)) => Ok(Outcome::Put(None)),
            (Sense::Put, Answer::Nil) => fails(Kind::Precondition, "there is an object of this key"),
            (Sense::Done, Answer::Int(_)) => Ok(Outcome::Done),
            (Sense::Resized, Answer::Int(0)) => fails(Kind::NotFound, NONE),
            (Sense::Resized, Answer::Int(1)) => Ok(Outcome::Done),
            (_, other) => {
                fails(Kind::Corrupt, &format!("the server gave an answer to something else: {other:?}"))
            }
        }
    }
}

impl Store for Redis {
    fn capabilities(&self) -> &Capabilities {
        &self.can
    }

    fn place(&self) -> &str {
        &self.config().place
    }

    fn submit(&self, requests: &mut [Request<'_>], outcomes: &mut Vec<Result<Outcome>>) {
        guarded::submit(self.place(), requests, outcomes, |requests, outcomes| {
            let begun = Instant::now();
            // Reads of what the same batch changes must not be asked about again afterwards.
            let reads = |r: &Request<'_>| matches!(r, Request::Get { .. } | Request::Head { .. });
            let (readers, writers) = (requests.iter().any(reads), requests.iter().any(|r| !reads(r)));
            let mut exact = vec![false; if readers && writers { requests.len() } else { 0 }];
            if readers && writers {
                let changed: HashSet<&[u8]> =
                    requests.iter().filter(|r| !reads(r)).map(Request::key).collect();
                for (exact, request) in exact.iter_mut().zip(requests.iter()) {
                    *exact = changed.contains(request.key());
                }
            }
            let mut jobs: Vec<Job<'_>> = requests
                .iter_mut()
                .enumerate()
                .map(|(i, r)| self.job(r, exact.get(i).copied().unwrap_or(false)))
                .collect();
            self.carry_out(&mut jobs);
            self.ask_exactly(&mut jobs);
            outcomes.extend(jobs.into_iter().map(|job| self.outcome(job, begun)));
        });
    }

    fn list(&self, request: &ListRequest<'_>) -> Result<Page> {
        guarded::call(self.place(), || self.list_page(request))
    }

    fn check(&self) -> Result<()> {
        guarded::call(self.place(), || self.check_servers())
    }

    fn scripts(&self) -> Option<&dyn Scripts> {
        Some(self)
    }

    fn fenced(&self) -> Option<&dyn Fenced> {
        Some(self)
    }
}

impl Fenced for Redis {
    fn change_between(&self, behind: &[u8], before: &[u8], requests: &[Request<'_>]) -> Result<bool> {
        let mut keys = vec![behind, before];
        let mut args: Vec<&[u8]> = Vec::new();
        let numbers: Vec<String> = requests.iter().map(number).collect();
        for (request, number) in requests.iter().zip(&numbers) {
            let (how, bytes): (&[u8], &[u8]) = match request {
                Request::Put { bytes, condition: Condition::Always, .. } => (b"put", bytes),
                // SETRANGE without bytes does nothing, and objects do not grow by it.
                Request::Update { bytes, .. } => (b"update", bytes),
                Request::Resize { .. } => (b"resize", b""),
                Request::Delete { .. } => (b"delete", b""),
                _ => {
                    return Err(self.unfit(
                        request.key(),
                        Kind::Unsupported,
                        "no change, or one with a condition".into(),
                    ));
                }
            };
            let end = number.parse::<u64>().unwrap_or(u64::MAX).saturating_add(bytes.len() as u64);
            let most = self.config().max_object;
            if end > most {
                let what = format!("{end} bytes, and an object may have {most} (max_object)");
                return Err(self.unfit(request.key(), Kind::TooLarge, what));
            }
            keys.push(request.key());
            args.extend([how, number.as_bytes(), bytes]);
        }
        match self.run(&CHANGE_BETWEEN, &keys, &args)? {
            Reply::Int(done) => Ok(done != 0),
            _ => Err(self.unfit(behind, Kind::Corrupt, "an answer to another request".into())),
        }
    }
}

/// The offset of an update, the length of a resize.
fn number(request: &Request<'_>) -> String {
    match request {
        Request::Update { offset: n, .. } | Request::Resize { len: n, .. } => n.to_string(),
        _ => "0".into(),
    }
}

impl Scripts for Redis {
    fn run(&self, script: &Script, keys: &[&[u8]], args: &[&[u8]]) -> Result<Reply> {
        let mut replies = self.run_all(script, &[Run { keys, args }]);
        replies.pop().unwrap_or_else(|| {
            Err(StoreError::new(Kind::Corrupt, self.place(), None, "a script gave no answer"))
        })
    }

    fn run_all(&self, script: &Script, runs: &[Run<'_>]) -> Vec<Result<Reply>> {
        guarded::runs(self.place(), runs.len(), || {
            let begun = Instant::now();
            let known = self.exchange.processes.get().scripts.known(script);
            let mut jobs: Vec<Job<'_>> = runs
                .iter()
                .map(|run| {
                    let key: &[u8] = run.keys.first().copied().unwrap_or_default();
                    let whom = if run.keys.is_empty() { Whom::Any } else { self.exchange.slot(key) };
                    let what = What::Run { script: &known, keys: run.keys, args: run.args };
                    let mut job = Job::new(what, key, whom, script.repeatable);
                    if let Some(apart) = self.apart(run.keys) {
                        job.result = Some(Err(apart));
                    }
                    job
                })
                .collect();
            self.carry_out(&mut jobs);
            jobs.into_iter()
                .map(|job| match job.result {
                    Some(Ok(answer)) => Ok(reply(answer)),
                    Some(Err(mut trouble)) => {
                        trouble.detail = format!("script {}: {}", script.name, trouble.detail);
                        Err(self.exchange.error(trouble, job.key, job.attempts, begun))
                    }
                    None => Ok(Reply::Nil),
                })
                .collect()
        })
    }
}

impl Redis {
    fn unfit(&self, key: &[u8], kind: Kind, why: String) -> StoreError {
        StoreError::new(kind, self.place(), Some(key), why)
    }

    /// Why these keys do not lie together.
    fn apart(&self, keys: &[&[u8]]) -> Option<Trouble> {
        use crate::cluster::slot;
        if !self.config().cluster || keys.windows(2).all(|k| slot(k[0]) == slot(k[1])) {
            return None;
        }
        let detail = "its keys lie in different slots of the cluster: give them the same {hash tag}";
        Some(Trouble::new(Kind::Invalid, detail))
    }
}

fn reply(answer: Answer) -> Reply {
    match answer {
        Answer::Nil => Reply::Nil,
        Answer::Int(n) => Reply::Int(n),
        Answer::Bytes(bytes) | Answer::Text(bytes) => Reply::Bytes(bytes),
        Answer::Filled(n) => Reply::Int(n as i64),
        Answer::List(all) => Reply::List(all.into_iter().map(reply).collect()),
        // Only inside a list: one at the top has become a failure before.
        Answer::Error(text) => Reply::Bytes(text.into_bytes()),
    }
}
