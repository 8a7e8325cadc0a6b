//! Commands on one connection: written ahead, answered in their order. Owns what is sent, what has been answered and
//! when the wait for progress is over; never decides whether something is asked again.

use crate::connection::{Common, Connection, Phase};
use crate::failure::{Trouble, Verdict};
use crate::job::Job;
use crate::options::Dialect;
use crate::tls::Broken;
use crate::wire::{Answer, Garbage, Head, Out};
use crate::{meta, resp};
use iris_store::Kind;
use rustix::event::PollFlags;
use std::time::{Duration, Instant};

/// So many bytes are put into words ahead of what the system takes.
const AHEAD: usize = 512 << 10;
/// So many bytes of objects are asked for ahead of what has come: what a server has ready and cannot send lies in its
/// memory, and counts against its bound.
const ASKED: usize = 8 << 20;
/// So many bytes, either way, count as progress.
const PROGRESS: usize = 16 << 10;

/// An object's bytes, as they come.
struct Body {
    /// How many still come, without their end.
    left: u64,
    /// How many lie where the request wants them.
    filled: usize,
}

/// How a pipeline ended.
#[derive(Debug)]
pub enum End {
    /// Everything is answered.
    Whole,
    /// Not: the connection cannot be used any more. `permanent`: neither can the next one.
    Broken { trouble: Trouble, permanent: bool },
}

/// Commands on one connection.
pub struct Pipeline<'a> {
    pub connection: Connection,
    /// Which jobs, in their order.
    pub jobs: Vec<u32>,
    /// How many of them were put into words, and how many are answered.
    written: usize,
    answered: usize,
    /// Bytes of objects that were asked for and have not come.
    asked: usize,
    out: Out<'a>,
    /// Bytes that the system took, of those that belong to jobs.
    pub taken: u64,
    body: Option<Body>,
    expires: Instant,
    /// What the first answer is waited for at most.
    cap: Instant,
    moved: usize,
    pub end: Option<End>,
}

impl<'a> Pipeline<'a> {
    /// These jobs on this connection; `cap`: when the first answer comes too late.
    pub fn new(connection: Connection, jobs: Vec<u32>, common: &Common, cap: Instant) -> Pipeline<'a> {
        let wait =
            if connection.phase == Phase::Ready { common.config.answer } else { common.config.connect };
        Pipeline {
            connection,
            jobs,
            written: 0,
            answered: 0,
            asked: 0,
            out: Out::default(),
            taken: 0,
            body: None,
            expires: cap.min(Instant::now() + wait),
            cap,
            moved: 0,
            end: None,
        }
    }

    /// What the connection is waited for to become.
    pub fn interest(&self) -> PollFlags {
        if self.connection.phase == Phase::Connecting {
            return PollFlags::OUT;
        }
        let sending = self.out.waiting > 0 || self.connection.stream.has_more_to_send();
        if sending { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
    }

    /// Whether it may wait inside a receive, whose bound is the time for an answer: where less is left, poll has to.
    pub fn waits_inside(&self) -> bool {
        self.connection.phase == Phase::Ready && self.connection.stream.is_plain() && self.expires < self.cap
    }

    /// When it is given up, if nothing happens until then.
    pub fn expires(&self) -> Instant {
        self.expires
    }

    /// Goes as far as it can. `readable`: the system said that something came. `wait`: this is the only pipeline, and
    /// may wait inside a receive.
    pub fn step(&mut self, jobs: &mut [Job<'a>], common: &Common, readable: bool, wait: bool) {
        if let Err(end) = self.try_step(jobs, common, readable, wait) {
            self.end = Some(end);
        } else if self.connection.phase == Phase::Ready && self.answered == self.jobs.len() {
            // What came beyond the last answer belongs to nobody: such a connection is not used again.
            self.end = Some(if self.connection.input.bytes().is_empty() {
                End::Whole
            } else {
                self.garbage(Garbage::at("an answer that nobody asked for", self.connection.input.bytes()))
            });
        }
        if self.end.is_none() && Instant::now() >= self.expires {
            self.end = Some(self.late(common));
        }
    }

    fn try_step(
        &mut self,
        jobs: &mut [Job<'a>],
        common: &Common,
        mut readable: bool,
        wait: bool,
    ) -> Result<(), End> {
        if self.connection.phase == Phase::Connecting {
            // Readable stands for "there is news": connected, or an error.
            if !readable {
                return Ok(());
            }
            let connected = self.connection.connected(common, &mut self.out);
            connected.map_err(|t| End::Broken { permanent: permanent(&t), trouble: t })?;
            if self.connection.phase == Phase::Connecting {
                return Ok(());
            }
            if self.connection.phase == Phase::Ready {
                self.expires = self.cap.min(Instant::now() + common.config.answer);
            }
            readable = false;
        }
        loop {
            let sent_all = self.send(jobs, common)?;
            if self.connection.phase == Phase::Ready && self.answered == self.jobs.len() {
                return Ok(());
            }
            let wait = wait && sent_all && self.waits_inside();
            if !readable && !wait {
                return Ok(());
            }
            let more = self.receive(jobs, wait)?;
            let phase = self.connection.phase;
            self.digest(jobs, common)?;
            // A new phase has something to send, and encrypted bytes may lie ready where poll does not see them.
            readable = more && !self.connection.stream.is_plain();
            if self.connection.phase == phase && !readable {
                return Ok(());
            }
        }
    }

    /// Sends what the system takes; whether nothing is left to be sent before something is answered.
    fn send(&mut self, jobs: &mut [Job<'a>], common: &Common) -> Result<bool, End> {
        loop {
            if self.connection.phase == Phase::Ready {
                while self.out.waiting < AHEAD
                    && self.asked < ASKED
                    && let Some(job) = self.jobs.get(self.written)
                {
                    let job = &mut jobs[*job as usize];
                    let scripts = &mut self.connection.scripts;
                    let known = job.script().is_none_or(|s| scripts.contains(&s.hash));
                    if let (false, Some(script)) = (known, job.script()) {
                        scripts.push(script.hash);
                    }
                    let knows = known && !job.send_script;
                    job.write(common.config.dialect, knows, &mut self.out);
                    self.asked += into_len(job);
                    self.written += 1;
                }
            }
            if self.out.waiting == 0 && !self.connection.stream.has_more_to_send() {
                return Ok(true);
            }
            let sent = self.connection.stream.send(&self.out.next());
            match sent {
                Ok(Some(n)) => {
                    self.out.advance(n);
                    self.taken += n as u64;
                    self.progress(n, common);
                    if n == 0 && self.connection.stream.has_more_to_send() {
                        return Ok(false);
                    }
                }
                Ok(None) => return Ok(false),
                Err(broken) => {
                    // The server may have said why before it closed.
                    if self.connection.stream.is_plain() {
                        while matches!(self.receive(jobs, false), Ok(true)) {
                            self.digest(jobs, common)?;
                        }
                    }
                    return Err(self.broken(broken));
                }
            }
        }
    }

    /// Receives what is there; whether something was.
    fn receive(&mut self, jobs: &mut [Job<'a>], wait: bool) -> Result<bool, End> {
        let connection = &mut self.connection;
        let mut none: [u8; 0] = [];
        let direct: &mut [u8] = match &self.body {
            Some(body) if connection.input.bytes().is_empty() => {
                match &mut jobs[self.jobs[self.answered] as usize].into {
                    Some(into) => {
                        let end = into.len().min(body.filled + body.left.min(usize::MAX as u64) as usize);
                        &mut into[body.filled..end]
                    }
                    None => &mut none,
                }
            }
            _ => &mut none,
        };
        let offered = direct.len();
        let mut rooms = connection.input.rooms(direct);
        let got = if offered == 0 {
            connection.stream.recv(&mut rooms[1..], wait)
        } else {
            connection.stream.recv(&mut rooms, wait)
        };
        match got {
            Ok(None) => Ok(false),
            Ok(Some(n)) => {
                let first = n.min(offered);
                connection.input.came(n - first);
                if let Some(body) = &mut self.body {
                    body.filled += first;
                    body.left -= first as u64;
                }
                self.moved += n;
                Ok(true)
            }
            Err(broken) => Err(self.broken(broken)),
        }
    }

    /// Understands what came.
    fn digest(&mut self, jobs: &mut [Job<'a>], common: &Common) -> Result<(), End> {
        loop {
            if self.body.is_some() {
                if !self.fill(jobs)? {
                    break;
                }
                continue;
            }
            let bytes = self.connection.input.bytes();
            if bytes.is_empty() {
                break;
            }
            let job = if self.connection.phase == Phase::Ready && self.answered < self.written {
                Some(&mut jobs[self.jobs[self.answered] as usize])
            } else {
                None
            };
            let into = job.as_ref().is_some_and(|j| j.into.is_some() && j.before == 0);
            let head = match common.config.dialect {
                Dialect::Resp => resp::head(bytes, into),
                Dialect::Meta => meta::head(bytes),
            };
            match head {
                Err(garbage) => return Err(self.garbage(garbage)),
                Ok(Head::Partial) => break,
                Ok(Head::Aside(used)) => self.connection.input.consume(used),
                Ok(Head::Body(len, used)) => {
                    let room = job.and_then(|j| j.into.as_ref()).map(|i| i.len() as u64);
                    let fits = room.is_some_and(|r| common.config.dialect == Dialect::Meta || len <= r);
                    if !fits {
                        return Err(self.garbage(Garbage(format!("{len} bytes where fewer were asked for"))));
                    }
                    self.connection.input.consume(used);
                    self.body = Some(Body { left: len, filled: 0 });
                }
                Ok(Head::Whole(answer, used)) => {
                    self.connection.input.consume(used);
                    self.take(answer, jobs, common)?;
                }
            }
        }
        self.connection.input.shrink();
        let moved = std::mem::take(&mut self.moved);
        self.progress(moved, common);
        Ok(())
    }

    /// Takes an object's bytes out of what came; whether it is whole.
    fn fill(&mut self, jobs: &mut [Job<'a>]) -> Result<bool, End> {
        let Some(body) = &mut self.body else { return Ok(true) };
        let job = &mut jobs[self.jobs[self.answered] as usize];
        let into = job.into.as_deref_mut().unwrap_or_default();
        let bytes = self.connection.input.bytes();
        let here = bytes.len().min(body.left.min(usize::MAX as u64) as usize);
        // What memcached sends beyond what was asked for is dropped.
        let wanted = here.min(into.len() - body.filled);
        into[body.filled..body.filled + wanted].copy_from_slice(&bytes[..wanted]);
        body.filled += wanted;
        body.left -= here as u64;
        self.connection.input.consume(here);
        if body.left > 0 {
            return Ok(false);
        }
        let filled = body.filled;
        match self.connection.input.bytes() {
            [b'\r', b'\n', ..] => {
                self.connection.input.consume(2);
                self.body = None;
                self.asked -= into_len(job);
                job.answer = Some(Answer::Filled(filled));
                self.answered += 1;
                Ok(true)
            }
            [] | [b'\r'] => Ok(false),
            other => {
                let garbage = Garbage::at("an object's bytes without their end", other);
                Err(self.garbage(garbage))
            }
        }
    }

    /// Gives an answer to whom it belongs.
    fn take(&mut self, answer: Answer, jobs: &mut [Job<'a>], common: &Common) -> Result<(), End> {
        if self.connection.phase != Phase::Ready {
            let waiting = self.out.total;
            return match self.connection.greeted(&answer, common, &mut self.out) {
                Ok(()) => {
                    if self.connection.phase == Phase::Ready {
                        // Jobs count what they send from here on.
                        debug_assert_eq!(self.out.total, waiting);
                        (self.out.total, self.taken) = (0, 0);
                        self.expires = self.cap.min(Instant::now() + common.config.answer);
                    }
                    Ok(())
                }
                Err(verdict) => Err(self.not_let_in(verdict)),
            };
        }
        if self.answered == self.written {
            return Err(self.garbage(Garbage("an answer that nobody asked for".into())));
        }
        let job = &mut jobs[self.jobs[self.answered] as usize];
        if job.before > 0 {
            job.before -= 1;
            if let Answer::Error(text) = answer {
                job.early = Some(text);
            }
            return Ok(());
        }
        self.asked -= into_len(job);
        job.answer = Some(answer);
        self.answered += 1;
        self.expires = Instant::now() + common.config.answer;
        Ok(())
    }

    fn progress(&mut self, bytes: usize, common: &Common) {
        self.moved += bytes;
        if self.moved >= PROGRESS && self.connection.phase == Phase::Ready {
            self.moved = 0;
            self.expires = Instant::now() + common.config.answer;
        }
    }

    fn not_let_in(&self, verdict: Verdict) -> End {
        let node = &self.connection.node;
        let named = |t: Trouble| Trouble::new(t.kind, format!("{node}: {}", t.detail));
        match verdict {
            Verdict::Final(trouble) => End::Broken { trouble: named(trouble), permanent: true },
            Verdict::Again { trouble, .. } => End::Broken { trouble: named(trouble), permanent: false },
            other => {
                let trouble =
                    Trouble::new(Kind::Corrupt, format!("{node}: {other:?} in answer to a greeting"));
                End::Broken { trouble, permanent: true }
            }
        }
    }

    fn broken(&self, broken: Broken) -> End {
        let trouble = self.connection.trouble(broken);
        End::Broken { permanent: permanent(&trouble), trouble }
    }

    fn garbage(&self, garbage: Garbage) -> End {
        let detail = format!(
            "{}: what came is not what such a server answers ({}); is it one, and is nothing in between?",
            self.connection.node, garbage.0
        );
        End::Broken { trouble: Trouble::new(Kind::Corrupt, detail), permanent: false }
    }

    fn late(&self, common: &Common) -> End {
        let (node, config) = (&self.connection.node, &common.config);
        let detail = match self.connection.phase {
            Phase::Ready => format!(
                "{node}: no answer within {:.1} s (timeout_ms); does the server hang, or is it overloaded?",
                config.answer.as_secs_f64()
            ),
            Phase::Connecting => format!(
                "{node}: no connection within {:.1} s (connect_timeout_ms); is the server there, and no firewall between?",
                config.connect.as_secs_f64()
            ),
            _ if !self.connection.stream.is_plain() => format!(
                "{node}: connected, but not let in within {:.1} s (connect_timeout_ms); does the server hang, or not \
                 speak TLS?",
                config.connect.as_secs_f64()
            ),
            _ => format!(
                "{node}: connected, but not let in within {:.1} s (connect_timeout_ms); does the server hang?",
                config.connect.as_secs_f64()
            ),
        };
        End::Broken { trouble: Trouble::new(Kind::Unavailable, detail), permanent: false }
    }
}

fn into_len(job: &Job<'_>) -> usize {
    job.into.as_ref().map_or(0, |into| into.len())
}

fn permanent(trouble: &Trouble) -> bool {
    matches!(trouble.kind, Kind::Invalid | Kind::Denied)
}

/// How long poll may wait until `until`, at least a millisecond.
pub fn until(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}
