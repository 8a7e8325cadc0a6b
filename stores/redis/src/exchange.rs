//! Gets jobs done: finds whom to ask, asks all of them side by side, and asks again what may be asked again, with
//! growing pauses, until the deadline. Owns when a request is given up and what its error says.

use crate::cluster::{Topology, redirected, slot};
use crate::connection::{Common, Connection, Phase};
use crate::failure::{Trouble, Verdict, judge, judge_cache};
use crate::job::{Job, What, Whom};
use crate::node::Node;
use crate::options::Dialect;
use crate::pipeline::{End, Pipeline, until};
use crate::sessions::{PerProcess, Session, Shared};
use crate::wire::Answer;
use iris_store::{Kind, StoreError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Redirections that are followed without a pause.
const HOPS: u32 = 5;
/// How often answers that are none are borne before a request fails.
const GARBAGE: u32 = 3;
/// The first pause, and the longest.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Servers, as far as jobs need them.
pub struct Exchange {
    pub common: Common,
    pub processes: PerProcess,
}

/// What a round has shown.
#[derive(Default)]
struct Findings {
    /// The map of the cluster is old.
    elsewhere: bool,
    /// Something has to wait before it is asked again.
    pause: bool,
}

impl Exchange {
    /// Gets all jobs done that have no result yet; afterwards each has one. `patience`: how long to try again after
    /// the last success.
    pub fn carry_out(&self, jobs: &mut [Job<'_>], patience: Duration) {
        let mut open: Vec<u32> =
            (0..jobs.len() as u32).filter(|i| jobs[*i as usize].result.is_none()).collect();
        let (mut last, mut tries, mut hops) = (Instant::now(), 0u32, 0u32);
        let shared = self.processes.get();
        while !open.is_empty() {
            let Some(mut taken) = shared.take(last + patience) else {
                let detail = format!(
                    "all {} connections were busy for {:.1} s; raise connections=, or is the server overloaded?",
                    self.common.config.connections,
                    patience.as_secs_f64()
                );
                return give_up(jobs, &open, &Trouble::new(Kind::Unavailable, detail));
            };
            let found = self.round(&mut taken.session, shared, jobs, &open, last + patience);
            drop(taken);
            let before = open.len();
            open.retain(|i| jobs[*i as usize].result.is_none());
            if open.len() < before {
                (last, tries) = (Instant::now(), 0);
            }
            if open.is_empty() {
                return;
            }
            hops += 1;
            let pause = if found.pause || hops > HOPS { pause(tries) } else { Duration::ZERO };
            tries += 1;
            if Instant::now() + pause >= last + patience {
                return give_up(jobs, &open, &Trouble::new(Kind::Unavailable, "no node answered"));
            }
            sleep(pause);
        }
    }

    /// A failure as it is told.
    pub fn error(&self, trouble: Trouble, key: &[u8], attempts: u32, begun: Instant) -> StoreError {
        let key = (!key.is_empty()).then_some(key);
        StoreError::new(trouble.kind, &self.common.config.place, key, trouble.detail)
            .after(attempts.max(1), begun.elapsed())
    }

    /// Asks once.
    fn round<'a>(
        &self,
        session: &mut Session,
        shared: &Shared,
        jobs: &mut [Job<'a>],
        open: &[u32],
        cap: Instant,
    ) -> Findings {
        let mut found = Findings::default();
        let topology = if self.common.config.cluster {
            match self.topology(session, shared, cap) {
                Ok(topology) => Some(topology),
                Err((trouble, permanent)) => {
                    for i in open {
                        settle_unasked(&mut jobs[*i as usize], &trouble, permanent);
                    }
                    found.pause = true;
                    return found;
                }
            }
        } else {
            None
        };
        let mut groups: Vec<(Arc<Node>, Vec<u32>)> = Vec::new();
        for &i in open {
            let job = &mut jobs[i as usize];
            match self.whom(job, topology.as_deref()) {
                Some(node) => match groups.iter_mut().find(|(n, _)| *n == node) {
                    Some((_, list)) => list.push(i),
                    None => groups.push((node, vec![i])),
                },
                None => {
                    let trouble =
                        Trouble::new(Kind::Unavailable, "no node of the cluster has the slot of this key");
                    settle_unasked(job, &trouble, false);
                    (found.elsewhere, found.pause) = (true, true);
                }
            }
        }
        let mut pipelines = Vec::with_capacity(groups.len());
        for (node, list) in groups {
            match self.connection(session, &node) {
                Ok(connection) => pipelines.push(Pipeline::new(connection, list, &self.common, cap)),
                Err(trouble) => {
                    let permanent = matches!(trouble.kind, Kind::Invalid | Kind::Denied);
                    list.iter().for_each(|i| settle_unasked(&mut jobs[*i as usize], &trouble, permanent));
                    (found.elsewhere, found.pause) = (true, true);
                }
            }
        }
        self.drive(&mut pipelines, jobs);
        for pipeline in pipelines {
            self.collect(pipeline, session, shared, jobs, &mut found);
        }
        keep_order(jobs, open);
        if found.elsewhere && self.common.config.cluster {
            // An old map is worse than none: if nobody answers now, the next round asks first.
            let known = forget(shared);
            if let Ok(new) = self.ask_for_topology(session, known.as_deref(), cap) {
                remember(shared, new);
            } else if let Some(known) = known {
                remember(shared, known);
            }
        }
        found
    }

    fn connection(&self, session: &mut Session, node: &Arc<Node>) -> Result<Connection, Trouble> {
        match session.take(node) {
            Some(connection) => Ok(connection),
            None => Connection::start(node, &self.common),
        }
    }

    /// Whom to ask.
    fn whom(&self, job: &Job<'_>, topology: Option<&Topology>) -> Option<Arc<Node>> {
        if let Some(node) = &job.ask {
            return Some(node.clone());
        }
        let any = || topology.map_or(self.common.config.seeds.first(), |t| t.nodes.first()).cloned();
        match (&job.whom, topology) {
            (Whom::Node(node), _) => Some(node.clone()),
            (Whom::Slot(slot), Some(topology)) => topology.node(*slot).cloned(),
            (Whom::Slot(_), None) | (Whom::Any, _) => any(),
        }
    }

    /// Drives pipelines side by side until each has ended.
    fn drive<'a>(&self, pipelines: &mut [Pipeline<'a>], jobs: &mut [Job<'a>]) {
        let mut readable = vec![false; pipelines.len()];
        loop {
            let alone = pipelines.iter().filter(|p| p.end.is_none()).count() == 1;
            for (pipeline, readable) in pipelines.iter_mut().zip(&mut readable) {
                if pipeline.end.is_none() {
                    pipeline.step(jobs, &self.common, std::mem::take(readable), alone);
                }
            }
            let waiting: Vec<usize> = (0..pipelines.len()).filter(|i| pipelines[*i].end.is_none()).collect();
            let Some(first) = waiting.iter().map(|i| pipelines[*i].expires()).min() else { return };
            if let ([one], true) = (&waiting[..], alone)
                && pipelines[*one].waits_inside()
                && pipelines[*one].interest() == PollFlags::IN
            {
                continue;
            }
            let mut fds: Vec<PollFd<'_>> = waiting
                .iter()
                .map(|i| PollFd::new(pipelines[*i].connection.stream.socket(), pipelines[*i].interest()))
                .collect();
            let wait = Timespec::try_from(until(first)).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            // A signal or a failure of poll: every pipeline looks at its clock, and receives find out by themselves.
            let polled = poll(&mut fds, Some(&wait));
            let news: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            for (i, flags) in waiting.iter().zip(news) {
                let connecting = pipelines[*i].connection.phase == Phase::Connecting;
                let errors = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
                let wanted = if connecting { errors | PollFlags::OUT } else { errors | PollFlags::IN };
                readable[*i] = polled.is_ok() && flags.intersects(wanted);
            }
        }
    }

    /// Judges what came of a pipeline's jobs, and keeps its connection if it is sound.
    fn collect(
        &self,
        pipeline: Pipeline<'_>,
        session: &mut Session,
        shared: &Shared,
        jobs: &mut [Job<'_>],
        found: &mut Findings,
    ) {
        let taken = if pipeline.connection.phase == Phase::Ready { pipeline.taken } else { 0 };
        let node = pipeline.connection.node.clone();
        for i in &pipeline.jobs {
            let job = &mut jobs[*i as usize];
            job.attempts += 1;
            match (job.answer.take(), &pipeline.end) {
                (Some(Answer::Error(text)), _) => self.complained(job, &text, &node, shared, found),
                (Some(answer), _) => job.result = Some(Ok(answer)),
                (None, Some(End::Broken { trouble, permanent })) => {
                    job.ask = None;
                    let sent = job.begins.is_some_and(|at| at < taken);
                    (found.elsewhere, found.pause) = (true, true);
                    if sent && !job.repeatable {
                        let detail = format!("{}; whether it took effect is not known", trouble.detail);
                        job.result = Some(Err(Trouble::new(trouble.kind, detail)));
                    } else {
                        let permanent =
                            *permanent || trouble.kind == Kind::Corrupt && job.attempts >= GARBAGE;
                        settle(job, trouble, permanent);
                    }
                }
                (None, _) => {
                    let trouble =
                        Trouble::new(Kind::Corrupt, format!("{node}: a request was left without an answer"));
                    job.result = Some(Err(trouble));
                }
            }
            (job.begins, job.before) = (None, 0);
        }
        if matches!(pipeline.end, Some(End::Whole)) {
            session.keep(pipeline.connection);
        }
    }

    /// What follows from a server's complaint.
    fn complained(
        &self,
        job: &mut Job<'_>,
        text: &str,
        node: &Arc<Node>,
        shared: &Shared,
        found: &mut Findings,
    ) {
        let config = &self.common.config;
        let verdict = match config.dialect {
            Dialect::Resp => judge(text, config.cluster),
            Dialect::Meta => judge_cache(text),
        };
        let named = |t: Trouble| {
            if config.cluster { Trouble::new(t.kind, format!("{node}: {}", t.detail)) } else { t }
        };
        let asked = job.ask.take().is_some();
        match verdict {
            Verdict::Final(trouble) => job.result = Some(Err(named(trouble))),
            Verdict::Again { trouble, elsewhere } => {
                found.elsewhere |= elsewhere;
                found.pause = true;
                job.trouble = Some(named(trouble));
            }
            Verdict::NoScript => match job.early.take() {
                // It was sent along, and the server complained about that.
                Some(early) => match judge(&early, config.cluster) {
                    Verdict::Final(trouble) | Verdict::Again { trouble, .. } => {
                        job.result = Some(Err(named(trouble)))
                    }
                    _ => {
                        job.result =
                            Some(Err(Trouble::new(Kind::Corrupt, format!("{node}: SCRIPT LOAD: {early}"))))
                    }
                },
                None => {
                    job.send_script = true;
                    job.trouble =
                        Some(Trouble::new(Kind::Unavailable, format!("{node}: it keeps no script")));
                }
            },
            Verdict::Moved(slot, to) => {
                found.elsewhere = true;
                // While a slot moves, the target of an ASK knows nothing of it yet when the move was called off.
                found.pause |= asked;
                if let Some(to) = redirected(&to, node) {
                    let mut topology = shared.topology.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(known) = topology.as_mut() {
                        Arc::make_mut(known).moved(slot, to);
                    }
                }
                job.trouble =
                    Some(Trouble::new(Kind::Unavailable, format!("{node}: the slot moves on and on")));
            }
            Verdict::Ask(to) => match redirected(&to, node) {
                Some(to) => {
                    job.ask = Some(Arc::new(to));
                    job.trouble =
                        Some(Trouble::new(Kind::Unavailable, format!("{node}: the slot is being moved")));
                }
                None => job.result = Some(Err(Trouble::new(Kind::Corrupt, format!("{node}: {text}")))),
            },
        }
    }

    /// The map of the cluster.
    fn topology(
        &self,
        session: &mut Session,
        shared: &Shared,
        cap: Instant,
    ) -> Result<Arc<Topology>, (Trouble, bool)> {
        if let Some(known) = shared.topology.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(known);
        }
        let new = self.ask_for_topology(session, None, cap)?;
        remember(shared, new.clone());
        Ok(new)
    }

    /// Asks all nodes that are known for the map, side by side, and takes the first good answer.
    fn ask_for_topology(
        &self,
        session: &mut Session,
        known: Option<&Topology>,
        cap: Instant,
    ) -> Result<Arc<Topology>, (Trouble, bool)> {
        let mut nodes: Vec<Arc<Node>> = known.map(|k| k.nodes.clone()).unwrap_or_default();
        for seed in &self.common.config.seeds {
            if !nodes.contains(seed) {
                nodes.push(seed.clone());
            }
        }
        let words: [&[u8]; 2] = [b"CLUSTER", b"SLOTS"];
        let mut jobs: Vec<Job<'_>> =
            nodes.iter().map(|n| Job::new(What::Words(&words), b"", Whom::Node(n.clone()), true)).collect();
        let mut pipelines = Vec::new();
        let mut failure = (Trouble::new(Kind::Unavailable, "no node of the cluster answers"), false);
        for (i, node) in nodes.iter().enumerate() {
            match self.connection(session, node) {
                Ok(connection) => {
                    pipelines.push(Pipeline::new(connection, vec![i as u32], &self.common, cap))
                }
                Err(trouble) => failure.0 = trouble,
            }
        }
        self.drive(&mut pipelines, &mut jobs);
        let mut map = None;
        for pipeline in pipelines {
            let node = pipeline.connection.node.clone();
            match (&jobs[pipeline.jobs[0] as usize].answer, &pipeline.end) {
                (Some(Answer::Error(text)), _) if text.contains("cluster support disabled") => {
                    let detail =
                        format!("{node}: it is not a node of a cluster; drop cluster=yes, name one host");
                    failure = (Trouble::new(Kind::Invalid, detail), true);
                }
                (Some(Answer::Error(text)), _) => match judge(text, true) {
                    Verdict::Final(trouble) => failure = (trouble, true),
                    Verdict::Again { trouble, .. } => failure = (trouble, false),
                    _ => (),
                },
                (Some(answer), _) => match Topology::read(answer, &node) {
                    Some(new) => map = map.or(Some(new)),
                    None => {
                        failure.0 = Trouble::new(Kind::Unavailable, format!("{node}: no slot has a node yet"))
                    }
                },
                (None, Some(End::Broken { trouble, permanent })) => failure = (trouble.clone(), *permanent),
                (None, _) => (),
            }
            if matches!(pipeline.end, Some(End::Whole)) {
                session.keep(pipeline.connection);
            }
        }
        map.map(Arc::new).ok_or(failure)
    }

    /// All masters, or the one server.
    pub fn masters(&self) -> Result<Vec<Arc<Node>>, StoreError> {
        if !self.common.config.cluster {
            return Ok(self.common.config.seeds.clone());
        }
        let begun = Instant::now();
        let deadline = begun + self.common.config.deadline;
        let shared = self.processes.get();
        let mut tries = 0;
        loop {
            let result = match shared.take(deadline) {
                Some(mut taken) => self.topology(&mut taken.session, shared, deadline),
                None => Err((Trouble::new(Kind::Unavailable, "all connections are busy"), false)),
            };
            let (trouble, permanent) = match result {
                Ok(topology) => return Ok(topology.nodes.clone()),
                Err(failure) => failure,
            };
            let pause = pause(tries);
            tries += 1;
            if permanent || Instant::now() + pause >= deadline {
                let error = StoreError::new(trouble.kind, &self.common.config.place, None, trouble.detail);
                return Err(error.after(tries, begun.elapsed()));
            }
            sleep(pause);
        }
    }

    /// The slot of a key, where that matters.
    pub fn slot(&self, key: &[u8]) -> Whom {
        if self.common.config.cluster { Whom::Slot(slot(key)) } else { Whom::Any }
    }
}

fn forget(shared: &Shared) -> Option<Arc<Topology>> {
    shared.topology.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn remember(shared: &Shared, topology: Arc<Topology>) {
    *shared.topology.lock().unwrap_or_else(PoisonError::into_inner) = Some(topology);
}

/// Nobody was asked.
fn settle_unasked(job: &mut Job<'_>, trouble: &Trouble, permanent: bool) {
    job.attempts += 1;
    job.ask = None;
    settle(job, trouble, permanent);
}

fn settle(job: &mut Job<'_>, trouble: &Trouble, permanent: bool) {
    if permanent {
        job.result = Some(Err(trouble.clone()));
    } else {
        job.trouble = Some(trouble.clone());
    }
}

/// What has to be asked again may not, where a later job about the same object has taken effect already.
fn keep_order(jobs: &mut [Job<'_>], open: &[u32]) {
    let again = |job: &Job<'_>| job.result.is_none();
    if !open.iter().any(|i| again(&jobs[*i as usize])) {
        return;
    }
    let mut done: HashMap<&[u8], usize> = HashMap::new();
    for (i, job) in jobs.iter().enumerate() {
        if matches!(job.result, Some(Ok(_))) && !job.key.is_empty() {
            done.insert(job.key, i);
        }
    }
    for i in open {
        let i = *i as usize;
        let job = &mut jobs[i];
        if again(job) && done.get(job.key).is_some_and(|last| *last > i) {
            let trouble = job.trouble.take().unwrap_or_else(|| Trouble::new(Kind::Unavailable, "refused"));
            let detail = format!("{}; a later request about the same object was carried out", trouble.detail);
            job.result = Some(Err(Trouble::new(Kind::Unavailable, detail)));
        }
    }
}

fn give_up(jobs: &mut [Job<'_>], open: &[u32], otherwise: &Trouble) {
    for i in open {
        let job = &mut jobs[*i as usize];
        job.result = Some(Err(job.trouble.take().unwrap_or_else(|| otherwise.clone())));
    }
}

/// The pause before the next attempt: growing, and never the same for two clients.
fn pause(tries: u32) -> Duration {
    let longest = (PAUSE * 2u32.saturating_pow(tries.min(16))).min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(key: &'static [u8], result: Option<Result<Answer, Trouble>>) -> Job<'static> {
        let mut job = Job::new(What::Delete, key, Whom::Any, true);
        job.trouble = Some(Trouble::new(Kind::Unavailable, "LOADING"));
        job.result = result;
        job
    }

    #[test]
    fn what_was_refused_is_not_repeated_behind_a_later_success() {
        let done = || Some(Ok(Answer::Int(1)));
        let mut jobs =
            [job(b"a", None), job(b"b", None), job(b"a", done()), job(b"a", None), job(b"b", None)];
        keep_order(&mut jobs, &[0, 1, 2, 3, 4]);
        let open: Vec<bool> = jobs.iter().map(|j| j.result.is_none()).collect();
        assert_eq!(open, [false, true, false, true, true]);
        let Some(Err(trouble)) = &jobs[0].result else { panic!("it was not refused") };
        assert!(
            trouble.kind == Kind::Unavailable && trouble.detail.contains("a later request"),
            "{trouble:?}"
        );
        // A failure of the later one is no reason.
        let failed = Some(Err(Trouble::new(Kind::Full, "full")));
        let mut jobs = [job(b"a", None), job(b"a", failed)];
        keep_order(&mut jobs, &[0, 1]);
        assert!(jobs[0].result.is_none());
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for (tries, least, most) in [(0, 5, 10), (3, 40, 80), (7, 500, 1000), (1000, 500, 1000)] {
            for _ in 0..100 {
                let pause = pause(tries).as_millis();
                assert!((least..=most).contains(&pause), "{pause} ms after {tries} tries");
            }
        }
    }
}
