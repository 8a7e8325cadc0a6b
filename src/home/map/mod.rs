//! The map of one file: which objects of a store its bytes are, as its mapper decides, and what the mapper has learned,
//! which lies in the store as the file's log. Owns that both stay in step, and the order in which plans are carried
//! out (`mappers/src/plan.rs`). Knows neither anchors nor names.
//!
//! - Reads may come from any thread, writes from one at a time on the node (the file's settling lock). Between nodes,
//!   a writer commits before it changes objects in place, and after; a commit that another has made first voids the
//!   plan, and what was written by it is written again. So whoever moves a file from one layout to another has it to
//!   itself, or begins again. In stores with fences ([`iris_store::Fenced`]), which all that nodes share have, the
//!   next commit is the fence, and the snapshot before it: a node that was stopped for long changes nothing that others
//!   rely on since.
//! - Garbage is deleted at once. A reader that planned before finds an object missing, or the log longer than it knew,
//!   and looks again: numbers are never given out twice, so it cannot find other bytes in their place.
//! - A mapper without records ([`Mapper::is_fixed`]) has a log of one commit, its name; [`PLAIN`] has none.

pub mod carry;
mod check;
mod commit;
mod error;
mod log;
#[cfg(test)]
mod tests;

pub use check::Verdict;
pub use error::MapError;

use super::layout::{Keys, PLAIN};
use crate::spin::Spin;
use crate::sys;
use commit::Commit;
use iris_mappers::{Facts, How, Mapper, Objects, Op, Plan, PlanError, Record, Usage};
use iris_store::Store;
use log::{Came, Position};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often a plan is made anew at least because others changed the map meanwhile.
const ATTEMPTS: u32 = 100;
/// Numbers that a writer takes in advance when more is to come.
const AHEAD: u64 = 4;
/// Runs of garbage deleted together.
const RUNS: usize = 256;

/// See the module.
pub struct Map {
    keys: Keys,
    /// The mapper that the file gets if its log has not begun.
    mapper: String,
    state: Spin<Option<State>>,
}

struct State {
    mapper: Box<dyn Mapper>,
    text: String,
    position: Position,
    /// The turn of the node that this state is of.
    turn: u64,
    /// Numbers given to this process and not used yet.
    ahead: Option<Objects>,
    /// What the mapper wants the others to know at the next occasion.
    seen: Vec<Record>,
    /// Somebody found that the store has more of it.
    stale: bool,
}

impl State {
    fn is_plain(&self) -> bool {
        self.mapper.is_fixed()
    }
}

/// What others need to know of a file that is read or written.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// Where its objects are.
    pub store: &'a dyn Store,
    /// Raised on the node by whoever changes the map: what is kept of it is looked at again.
    pub turn: &'a AtomicU64,
}

impl Map {
    /// The map of the file with these keys; `mapper` is what it gets if it is new.
    pub fn new(keys: Keys, mapper: &str) -> Map {
        let mapper = if keys.logged { mapper } else { PLAIN };
        Map { keys, mapper: mapper.to_owned(), state: Spin::new(None) }
    }

    /// Whether the file has a log in the store.
    pub fn is_logged(&self) -> bool {
        self.keys.logged
    }

    /// Reads `into.len()` bytes at `offset`; what was never written is zeros. The range lies within the file.
    ///
    /// # Errors
    /// Where the store fails, the log is damaged, or bytes are lost.
    pub fn read(&self, at: At<'_>, offset: u64, into: &mut [u8]) -> Result<(), MapError> {
        let mut plan = Plan::default();
        let end = offset + into.len() as u64;
        for () in attempts(at.store, ATTEMPTS) {
            self.refresh(at)?;
            plan.clear();
            let known = self.with(at, |s| {
                let facts = facts(at.store, end);
                planned(at.store, s.mapper.plan_read(&facts, offset, into.len() as u64, &mut plan))?;
                s.see(Op::Read, into.len() as u64);
                Ok((!s.is_plain()).then(|| (s.position.clone(), s.turn)))
            });
            let known = match known {
                // The writer has dropped it just now.
                Err(MapError::Contended { .. }) => continue,
                known => known?,
            };
            let result = carry::read(at.store, &self.keys, &plan.pieces, into);
            let Some((position, turn)) = known else { return result };
            match result {
                // What is missing where the index says nothing of it may have been moved elsewhere.
                Ok(()) if plan.pieces.iter().all(|p| !matches!(p.how, How::Read | How::ReadWhole)) => {
                    return Ok(());
                }
                Err(e) if !matches!(e, MapError::Lost { .. }) => return Err(e),
                result => {
                    let same = at.turn.load(Ordering::Acquire) == turn
                        && log::ends_at(at.store, &self.keys, &position)?;
                    if same {
                        return result;
                    }
                    if let Some(mut state) = self.state.lock()
                        && let Some(s) = state.as_mut()
                    {
                        s.stale = true;
                    }
                }
            }
        }
        Err(MapError::Contended { place: at.store.place().into() })
    }

    /// Writes `bytes` at `offset` of the file, of which the store has objects up to `size` bytes at most; with `more`,
    /// another write follows soon. One at a time on the node.
    ///
    /// # Errors
    /// Where the store fails, the log is damaged, or the mapper refuses. Any part of the bytes may be there then.
    pub fn write(
        &self,
        at: At<'_>,
        size: u64,
        offset: u64,
        bytes: &[u8],
        more: bool,
    ) -> Result<(), MapError> {
        let len = bytes.len() as u64;
        self.change(at, more, Some((offset, bytes)), |s, fresh, plan| {
            planned(at.store, s.mapper.plan_write(&facts(at.store, size), offset, len, fresh, plan))?;
            Ok(true)
        })?;
        self.known(|s| s.see(Op::Write, len)).map(drop)
    }

    /// Cuts the file from `size` bytes, beyond which the store has nothing, to `to`.
    ///
    /// # Errors
    /// As [`Map::write`].
    pub fn truncate(&self, at: At<'_>, size: u64, to: u64) -> Result<(), MapError> {
        self.change(at, false, Some((to, &[])), |s, _, plan| {
            planned(at.store, s.mapper.plan_truncate(&facts(at.store, size), to, plan))?;
            Ok(true)
        })
        .map(drop)
    }

    /// Deletes every object of the file, of which the store has none beyond `size` bytes, and its log.
    ///
    /// # Errors
    /// Where the store fails or the log is damaged; it can be repeated.
    pub fn remove(&self, at: At<'_>, size: u64) -> Result<(), MapError> {
        self.refresh(at)?;
        let mut plan = Plan::default();
        let position = self.with(at, |s| {
            planned(at.store, s.mapper.plan_remove(&facts(at.store, size), &mut plan))?;
            s.mapper.garbage(usize::MAX, &mut plan.deletions);
            plan.deletions.extend(&s.position.open);
            Ok(s.position.clone())
        })?;
        carry::delete(at.store, &self.keys, &plan.deletions)?;
        if self.keys.logged {
            log::remove(at.store, &self.keys, &position)?;
        }
        self.forget();
        at.turn.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// A step of upkeep of the file of `size` bytes, moving about `budget` bytes: false if there was nothing to do. One
    /// at a time on the node, and no write meanwhile.
    ///
    /// # Errors
    /// As [`Map::write`].
    pub fn upkeep(&self, at: At<'_>, size: u64, budget: u64) -> Result<bool, MapError> {
        self.refresh(at)?;
        if self.with(at, |s| Ok(s.is_plain()))? {
            return Ok(false);
        }
        let moved = self.change(at, false, None, |s, fresh, plan| {
            planned(at.store, s.mapper.plan_upkeep(&facts(at.store, size), budget, fresh, plan))
        })?;
        Ok(self.collect(at)? || moved)
    }

    /// Deletes objects that nothing reads any more. Whether there were any.
    fn collect(&self, at: At<'_>) -> Result<bool, MapError> {
        let mut runs = Vec::new();
        self.refresh(at)?;
        let last = self.with(at, |s| {
            s.mapper.garbage(RUNS, &mut runs);
            Ok(s.position.last)
        })?;
        if runs.is_empty() {
            return Ok(false);
        }
        carry::delete(at.store, &self.keys, &runs)?;
        let records =
            runs.iter().map(|o| Record::Collected { level: o.level, first: o.first, count: o.count });
        // Where another commit came first they are deleted once more, some time.
        self.commit(at, last, Commit { records: records.collect(), ..Commit::default() })?;
        Ok(true)
    }

    /// What the index holds.
    ///
    /// # Errors
    /// As [`Map::read`].
    pub fn usage(&self, at: At<'_>) -> Result<Usage, MapError> {
        self.refresh(at)?;
        self.with(at, |s| Ok(s.mapper.usage()))
    }

    /// Makes a plan and carries it out: intents, reads, pieces, deletions, records. `bytes` are what its pieces write,
    /// with where they begin; `None`: what the plan reads. False if `plan` says that there is nothing to do.
    fn change(
        &self,
        at: At<'_>,
        more: bool,
        bytes: Option<(u64, &[u8])>,
        mut make: impl FnMut(&State, u64, &mut Plan) -> Result<bool, MapError>,
    ) -> Result<bool, MapError> {
        let mut plan = Plan::default();
        let mut strays: Vec<Objects> = Vec::new();
        for () in attempts(at.store, ATTEMPTS) {
            self.refresh(at)?;
            self.begin(at)?;
            let Some(planned) = self.plan(at, &mut plan, &mut make)? else { return Ok(false) };
            if let Some(fixed) = planned.fixed {
                debug_assert!(fixed.is_empty(), "a mapper without records has none");
                let bytes = bytes.unwrap_or_default();
                carry::write(at.store, &self.keys, &plan.pieces, &plan.deletions, bytes, None)?;
                return Ok(true);
            }
            let (run, mut last) = (planned.run, planned.last);
            // What changes in place is announced; so are numbers that were not taken in advance.
            let quiet = plan.intents.is_empty()
                && plan.deletions.is_empty()
                && !plan.exclusive
                && plan.pieces.len() as u64 == plan.taken;
            if !quiet || planned.opens {
                let opened = run.filter(|_| planned.opens).into_iter().collect();
                let records = std::mem::take(&mut plan.intents);
                match self.commit(at, last, Commit { opened, records, ..Commit::default() })? {
                    Came::First(now) => last = now,
                    Came::Second | Came::Unsure => continue,
                }
            }
            let mut buffer = Vec::new();
            let (offset, bytes) = match bytes {
                Some(given) => given,
                None => {
                    let from = match self.fetch(at, &plan, &mut buffer) {
                        // Another node has moved and deleted it.
                        Err(MapError::Lost { .. }) if !self.is_newest(at)? => {
                            self.forget();
                            continue;
                        }
                        from => from?,
                    };
                    let zeros = |o: u64, n: u64| {
                        let at = (o - from) as usize;
                        buffer[at..at + n as usize].iter().all(|b| *b == 0)
                    };
                    plan.leave_out(zeros);
                    (from, &buffer[..])
                }
            };
            // What is planned holds as long as the log ends here: nobody has added a commit, nor deleted it again.
            let begun =
                |s: &mut State| s.position.snapshots.last().copied().filter(|_| s.position.last == last);
            let behind = self.known(begun)?.flatten().map(|number| self.keys.commit(number));
            let before = self.keys.commit(last + 1);
            let fences = behind.as_deref().filter(|_| !quiet).map(|behind| (behind, &before[..]));
            let write =
                || carry::write(at.store, &self.keys, &plan.pieces, &plan.deletions, (offset, bytes), fences);
            // A reader of this process may know already that others have gone on.
            let came = if (quiet || fences.is_some()) && write()? {
                let records = std::mem::take(&mut plan.records);
                let ahead = run.filter(|_| more && plan.taken > 0);
                let closed = run.into_iter().chain(strays.iter().copied()).collect();
                self.finish(at, last, Commit { records, closed, ..Commit::default() }, ahead)?
            } else {
                self.known(|s| s.stale = true)?;
                Came::Second
            };
            match came {
                Came::First(()) => return Ok(true),
                // What was written to new objects by this plan is nobody's.
                Came::Second => {
                    if let Some(run) = run {
                        carry::delete(at.store, &self.keys, &[run])?;
                        strays.push(run);
                    }
                }
                // The same bytes are written once more. The log has the numbers, as closed or as open still.
                Came::Unsure => {}
            }
        }
        Err(MapError::Contended { place: at.store.place().into() })
    }

    /// Whether no other node has added to the log since it was read.
    fn is_newest(&self, at: At<'_>) -> Result<bool, MapError> {
        match self.known(|s| s.position.clone())? {
            Some(position) => log::ends_at(at.store, &self.keys, &position),
            None => Ok(false),
        }
    }

    /// The first commit of a file that is new: its mapper.
    fn begin(&self, at: At<'_>) -> Result<(), MapError> {
        let new =
            self.with(at, |s| Ok((self.keys.logged && s.position.last == 0).then(|| s.text.clone())))?;
        if let Some(mapper) = new {
            self.commit(at, 0, Commit { snapshot: true, mapper, ..Commit::default() })?;
            self.refresh(at)?;
        }
        Ok(())
    }

    /// Makes a plan with numbers of this process.
    fn plan(
        &self,
        at: At<'_>,
        plan: &mut Plan,
        make: &mut impl FnMut(&State, u64, &mut Plan) -> Result<bool, MapError>,
    ) -> Result<Option<Planned>, MapError> {
        self.with(at, |s| {
            let mut opens = false;
            let ahead = s.ahead;
            plan.clear();
            if !make(s, ahead.map_or(s.position.fresh, |o| o.first), plan)? {
                return Ok(None);
            }
            let level = plan.pieces.first().map_or(0, |p| p.object.level);
            let mut run = ahead.filter(|o| o.level == level && plan.taken <= o.count);
            if plan.taken > 0 && run.is_none() {
                plan.clear();
                if !make(s, s.position.fresh, plan)? {
                    return Ok(None);
                }
                opens = true;
                run = Some(Objects { level, first: s.position.fresh, count: plan.taken });
            }
            let fixed = s.is_plain().then(|| std::mem::take(&mut plan.records));
            if run.is_some() {
                // Whatever comes of it, these are not used again.
                s.ahead = None;
            }
            Ok(Some(Planned { run, opens, fixed, last: s.position.last }))
        })
    }

    /// Reads what upkeep moves. Gives where the buffer begins in the file.
    fn fetch(&self, at: At<'_>, plan: &Plan, buffer: &mut Vec<u8>) -> Result<u64, MapError> {
        let from = plan.reads.iter().map(|p| p.offset).min().unwrap_or(0);
        let to = plan.reads.iter().map(|p| p.offset + p.len).max().unwrap_or(0);
        buffer.resize((to - from) as usize, 0);
        for run in plan.reads.chunk_by(|a, b| a.offset + a.len == b.offset) {
            let range = run_of(run.iter().map(|p| p.offset..p.offset + p.len));
            let part = &mut buffer[(range.start - from) as usize..(range.end - from) as usize];
            carry::read(at.store, &self.keys, run, part)?;
        }
        Ok(from)
    }

    /// The last commit of a change. With `ahead`, as many numbers are taken for the next.
    fn finish(
        &self,
        at: At<'_>,
        last: u64,
        mut commit: Commit,
        ahead: Option<Objects>,
    ) -> Result<Came, MapError> {
        let mut next = None;
        if let Some(run) = ahead {
            let Some(fresh) = self.known(|s| s.position.fresh)? else { return Ok(Came::Second) };
            let run = Objects { level: run.level, first: fresh, count: run.count.max(AHEAD) };
            commit.opened.push(run);
            next = Some(run);
        }
        let came = self.commit(at, last, commit)?;
        if let Came::First(_) = came {
            self.known(|s| s.ahead = next)?;
        }
        Ok(came.map(|_| ()))
    }

    /// Adds a commit behind commit `last` and takes it in. Gives the last commit then.
    fn commit(&self, at: At<'_>, last: u64, mut commit: Commit) -> Result<Came<u64>, MapError> {
        let fresh = self.known(|s| {
            if !commit.snapshot {
                commit.records.append(&mut s.seen);
            }
            (s.position.last == last).then_some(s.position.fresh)
        })?;
        // Another has added to the log meanwhile: the plan is not of that.
        let Some(fresh) = fresh.flatten() else { return Ok(Came::Second) };
        commit.number = last + 1;
        commit.fresh = commit.opened.iter().map(|o| o.first + o.count).max().unwrap_or(0).max(fresh);
        let came = self.add(at, &commit)?;
        if came == Came::First(()) && self.known(|s| s.position.is_long())? == Some(true) {
            return Ok(Came::First(self.shorten(at, commit.number)?));
        }
        Ok(came.map(|()| commit.number))
    }

    fn add(&self, at: At<'_>, commit: &Commit) -> Result<Came, MapError> {
        // What was known when the commit was made: a reader may come to know more meanwhile.
        let Some(position) =
            self.known(|s| (s.position.last < commit.number).then(|| s.position.clone()))?.flatten()
        else {
            return Ok(Came::Second);
        };
        match log::add(at.store, &self.keys, &position, commit) {
            Ok(Came::First(())) => {}
            Ok(came) => {
                self.known(|s| s.stale = true)?;
                return Ok(came);
            }
            // It may be there or not.
            Err(e) => {
                self.forget();
                return Err(e);
            }
        }
        let taken = self.with(at, |s| {
            // A reader may have found it in the store already.
            if s.position.last >= commit.number {
                at.turn.fetch_add(1, Ordering::AcqRel);
                return Ok(());
            }
            for record in commit.records.iter().filter(|_| !commit.snapshot) {
                let key = self.keys.commit(commit.number);
                s.mapper.apply(record).map_err(|e| MapError::record(at.store.place(), &key, &e))?;
            }
            s.position.follow(commit);
            let before = at.turn.fetch_add(1, Ordering::AcqRel);
            // Where others raised it meanwhile, what they changed is not known here.
            if s.turn == before {
                s.turn = before + 1;
            }
            Ok(())
        });
        if taken.is_err() {
            self.forget();
        }
        taken.map(Came::First)
    }

    /// Makes a snapshot behind commit `last`, and deletes the commits before it. The last commit then.
    fn shorten(&self, at: At<'_>, last: u64) -> Result<u64, MapError> {
        let made = self.known(|s| {
            let mut records = Vec::new();
            s.mapper.snapshot(&mut records);
            let commit = Commit {
                number: last + 1,
                fresh: s.position.fresh,
                snapshot: true,
                mapper: s.text.clone(),
                opened: s.position.open.clone(),
                closed: Vec::new(),
                records,
            };
            (s.position.last == last).then_some(commit)
        })?;
        let Some(snapshot) = made.flatten() else { return Ok(last) };
        if self.add(at, &snapshot)? != Came::First(()) {
            return Ok(last);
        }
        if let Some(position) = self.known(|s| s.position.clone())? {
            let snapshot = log::shorten(at.store, &self.keys, &position)?;
            self.known(|s| s.position.shortened(snapshot))?;
        }
        Ok(snapshot.number)
    }

    /// Forgets what is known of the map: it is read anew when it is needed.
    pub fn forget(&self) {
        if let Some(mut state) = self.state.lock() {
            *state = None;
        }
    }

    /// Runs `f` on what is known, which [`Map::refresh`] has brought up.
    fn with<T>(&self, at: At<'_>, f: impl FnOnce(&mut State) -> Result<T, MapError>) -> Result<T, MapError> {
        let mut state = self.state.lock().ok_or(MapError::Busy)?;
        f(state.as_mut().ok_or_else(|| MapError::Contended { place: at.store.place().into() })?)
    }

    /// As [`Map::with`]; `None` where it was dropped, because another node was faster.
    fn known<T>(&self, f: impl FnOnce(&mut State) -> T) -> Result<Option<T>, MapError> {
        Ok(self.state.lock().ok_or(MapError::Busy)?.as_mut().map(f))
    }

    /// Brings what is known of the map up to what the node knows.
    fn refresh(&self, at: At<'_>) -> Result<(), MapError> {
        let turn = at.turn.load(Ordering::Acquire);
        let known = {
            let state = self.state.lock().ok_or(MapError::Busy)?;
            let settled = |s: &State| !self.keys.logged || s.is_plain() && s.position.last > 0;
            if state.as_ref().is_some_and(|s| !s.stale && s.turn == turn || settled(s)) {
                return Ok(());
            }
            state.as_ref().map(|s| s.position.clone()).filter(|p| p.last > 0)
        };
        if let Some(position) = known
            && self.read_on(at, turn, &position)?
        {
            return Ok(());
        }
        let fresh = self.load(at, turn)?;
        let mut state = self.state.lock().ok_or(MapError::Busy)?;
        // The writer may have gone on meanwhile; it knows better.
        if state.as_ref().is_none_or(|s| s.position.last <= fresh.position.last) {
            *state = Some(fresh);
        }
        Ok(())
    }

    /// Takes in what the log has got behind `position`. False where all has to be read.
    fn read_on(&self, at: At<'_>, turn: u64, position: &Position) -> Result<bool, MapError> {
        let Some(commits) = log::read_on(at.store, &self.keys, position)? else { return Ok(false) };
        let mut state = self.state.lock().ok_or(MapError::Busy)?;
        // Another thread may have done so meanwhile, and gone further.
        let Some(s) = state.as_mut().filter(|s| s.position.last == position.last) else { return Ok(false) };
        for commit in &commits {
            if let Err(e) = self.take_in(at, s.mapper.as_mut(), commit) {
                *state = None;
                return Err(e);
            }
            s.position.follow(commit);
        }
        (s.turn, s.stale) = (turn, false);
        Ok(true)
    }

    fn take_in(&self, at: At<'_>, mapper: &mut dyn Mapper, commit: &Commit) -> Result<(), MapError> {
        let taken = match commit.snapshot {
            true => mapper.load(&commit.records),
            false => commit.records.iter().try_for_each(|r| mapper.apply(r)),
        };
        taken.map_err(|e| MapError::record(at.store.place(), &self.keys.commit(commit.number), &e))
    }

    fn load(&self, at: At<'_>, turn: u64) -> Result<State, MapError> {
        let (commits, position) = match self.keys.logged {
            true => log::read(at.store, &self.keys)?,
            false => (Vec::new(), Position::start()),
        };
        let text = commits.first().map_or(&self.mapper, |c| &c.mapper).clone();
        let mut mapper = make(&text).map_err(|why| MapError::Mapper {
            place: at.store.place().into(),
            mapper: text.clone(),
            why,
        })?;
        for commit in &commits {
            self.take_in(at, mapper.as_mut(), commit)?;
        }
        Ok(State { mapper, text, position, turn, ahead: None, seen: Vec::new(), stale: false })
    }
}

/// What a plan needs of the log.
struct Planned {
    /// The numbers that it uses.
    run: Option<Objects>,
    /// Whether they have to be taken first.
    opens: bool,
    /// Its records, which are none, where the mapper has no index.
    fixed: Option<Vec<Record>>,
    /// The commit that it is made after.
    last: u64,
}

impl State {
    fn see(&mut self, op: Op, len: u64) {
        if !self.is_plain() {
            self.seen.extend(self.mapper.observe(op, len));
        }
    }
}

/// Makes a mapper of its text, those of third parties included.
///
/// # Errors
/// Says why, and what would be right.
pub fn make(text: &str) -> Result<Box<dyn Mapper>, String> {
    match iris_mappers::Registry::own().make(text) {
        Err(iris_mappers::SpecError::UnknownMapper { .. }) => {
            let registry = crate::mapper_plugins::registry().map_err(|e| e.to_string())?;
            registry.make(text).map_err(|e| e.to_string())
        }
        other => other.map_err(|e| e.to_string()),
    }
}

fn facts(store: &dyn Store, size: u64) -> Facts {
    Facts { size, store: carry::abilities(store.capabilities()) }
}

fn planned<T>(store: &dyn Store, result: Result<T, PlanError>) -> Result<T, MapError> {
    result.map_err(|source| MapError::Plan { place: store.place().into(), source })
}

/// Begins again and again: `least` times, and as long as a request to the store may take, since a node that others
/// outrun each time is slower than they are, and no more wrong.
fn attempts(store: &dyn Store, least: u32) -> impl Iterator<Item = ()> {
    let until = sys::monotonic_ns().saturating_add(store.capabilities().deadline.as_nanos() as u64);
    (0u32..).take_while(move |n| *n < least || sys::monotonic_ns() < until).map(drop)
}

/// From the start of the first to the end of the last.
fn run_of(mut ranges: impl Iterator<Item = Range<u64>>) -> Range<u64> {
    let first = ranges.next().unwrap_or_default();
    let end = ranges.last().map_or(first.end, |r| r.end);
    first.start..end
}
