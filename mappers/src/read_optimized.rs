//! `read-optimized`, for files that are mostly read: the file is kept several times over, cut into buckets of
//! several sizes and by shifted borders, so that a read finds one object that holds its whole range.
//!
//! Each *level* is a tiling of the whole file, so a level costs the file's size once, and `space` levels cost at
//! most `space` times that: the bound is kept by construction. Level 0 has buckets of `bucket` bytes, level 1 the
//! same shifted by half a bucket; levels 2 and 3 are the same with buckets `step` times as large, and so on. With
//! both of a size, each read of up to half a bucket is within one object, wherever it begins.
//!
//! Level 0 is the truth. Replicas are changed in place, and a process may die among them: so a range is declared
//! dirty before, and clean after; dirty ranges are read from level 0, and repaired from there.

use crate::balanced::{BUCKET, SHIFTS};
use crate::plan::end_of;
use crate::ranges::Ranges;
use crate::tiling::Tiling;
use crate::{Facts, MAX_FILE, Mapper, Object, Objects, OptionSpec, Options, Plan, PlanError};
use crate::{Record, RecordError, SpecError, Standing, Usage, show_size};

const SPACE: OptionSpec = OptionSpec {
    name: "space",
    default: "4",
    meaning: "bytes stored for each byte of the file, and so the number of replicas, 1 to 8",
};
const STEP: OptionSpec = OptionSpec {
    name: "step",
    default: "8",
    meaning: "factor from one bucket size to the next, a power of two from 2 to 64",
};

crate::registry::registry_entry!(
    "read-optimized",
    "replicas at several granularities, for files that are mostly read",
    [BUCKET, SPACE, STEP],
    |options: &Options| ReadOptimized::from_options(options)
);

/// Why the replicas of a range may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A write is under way.
    Dirty,
    /// Two were under way at once, or one has been given up: not even a completed write makes them the same.
    Contested,
}

/// Replicas of several granularities.
pub struct ReadOptimized {
    levels: Vec<Tiling>,
    /// Ranges whose replicas may differ.
    dirty: Ranges<State>,
    step: u8,
}

impl ReadOptimized {
    /// `space` replicas, the least with buckets of `1 << shift` bytes, the next size `1 << step` times that.
    /// Their levels are from `level` on. A shift outside 16 to 26 is for tests only.
    pub fn new(shift: u8, space: u8, step: u8, level: u32) -> ReadOptimized {
        let tiling = |i: u8| Tiling {
            shift: (shift + i / 2 * step).min(40),
            shifted: i % 2 == 1,
            level: level + u32::from(i),
        };
        ReadOptimized { levels: (0..space).map(tiling).collect(), dirty: Ranges::default(), step }
    }

    fn from_options(options: &Options) -> Result<ReadOptimized, SpecError> {
        let space = options.number("space", 1..=8)? as u8;
        let shift = options.power_of_two("bucket", SHIFTS)?;
        Ok(ReadOptimized::new(shift, space, options.power_of_two("step", 1..=6)?, 0))
    }

    /// With the defaults, but for the bucket size and the level.
    pub(crate) fn with_shift(shift: u8, level: u32) -> ReadOptimized {
        ReadOptimized::new(shift, 4, 3, level)
    }

    /// Adds the objects that are not needed once the bytes `from..to` are elsewhere, and those before are already.
    pub(crate) fn released(&self, from: u64, to: u64, end: bool, out: &mut Vec<Objects>) {
        out.extend(self.levels.iter().filter_map(|t| t.released(from, to, end)));
    }

    /// Shortens every level, without a word in the journal.
    pub(crate) fn cut(&self, facts: &Facts, size: u64, plan: &mut Plan) {
        self.levels.iter().for_each(|t| t.plan_truncate(facts, size, plan));
    }

    fn is_clean(&self, offset: u64, end: u64) -> bool {
        let mut clean = true;
        self.dirty.walk(offset, end, |_, _, _| {
            clean = false;
            false
        });
        clean
    }

    /// Whether a change of this range needs records: it does when there are replicas to differ.
    fn is_replicated(&self) -> bool {
        self.levels.len() > 1
    }

    /// A write begins: what is dirty already becomes contested.
    fn begin(&mut self, offset: u64, end: u64) {
        let mut twice = Vec::new();
        self.dirty.walk(offset, end, |from, to, _| {
            twice.push((from, to));
            true
        });
        self.dirty.set(offset, end, State::Dirty);
        for (from, to) in twice {
            self.dirty.set(from, to, State::Contested);
        }
    }

    /// A write is complete: what is contested stays.
    fn finish(&mut self, offset: u64, end: u64) {
        let mut clean = Vec::new();
        self.dirty.walk(offset, end, |from, to, state| {
            if state == State::Dirty {
                clean.push((from, to));
            }
            true
        });
        for (from, to) in clean {
            self.dirty.clear(from, to);
        }
    }
}

impl Mapper for ReadOptimized {
    fn spec(&self) -> String {
        let (bucket, space) = (show_size(1 << self.levels[0].shift), self.levels.len());
        format!("{NAME}:bucket={bucket},space={space},step={}", 1u32 << self.step)
    }

    fn plan_write(
        &self,
        facts: &Facts,
        offset: u64,
        len: u64,
        _fresh: u64,
        plan: &mut Plan,
    ) -> Result<(), PlanError> {
        end_of(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        for tiling in &self.levels {
            tiling.plan_write(NAME, facts, offset, len, plan)?;
        }
        if self.is_replicated() {
            plan.intents.push(Record::Dirty { offset, len });
            plan.records.push(Record::Clean { offset, len });
        }
        Ok(())
    }

    #[inline]
    fn plan_read(&self, facts: &Facts, offset: u64, len: u64, plan: &mut Plan) -> Result<(), PlanError> {
        let end = offset.saturating_add(len).min(facts.size);
        if offset >= end {
            return Ok(());
        }
        let mut level = self.levels[0];
        if !level.holds(offset, end) && self.is_clean(offset, end) {
            // The least that holds it; else the one of the fewest objects, and of those the least.
            let pieces = |t: &Tiling| t.bucket(end - 1) - t.bucket(offset);
            if let Some(best) = self.levels.iter().min_by_key(|t| pieces(t)) {
                level = *best;
            }
        }
        level.plan_read(facts, offset, end, plan);
        Ok(())
    }

    fn plan_truncate(&self, facts: &Facts, size: u64, plan: &mut Plan) -> Result<(), PlanError> {
        end_of(0, size)?;
        if size >= facts.size {
            return Ok(());
        }
        self.cut(facts, size, plan);
        if self.is_replicated() {
            plan.intents.push(Record::Dirty { offset: size, len: facts.size - size });
            plan.records.push(Record::Truncate { size });
        }
        Ok(())
    }

    fn plan_remove(&self, facts: &Facts, plan: &mut Plan) -> Result<(), PlanError> {
        self.levels.iter().for_each(|t| t.plan_remove(facts, plan));
        Ok(())
    }

    fn apply(&mut self, record: &Record) -> Result<(), RecordError> {
        record.validate()?;
        match *record {
            Record::Dirty { offset, len } => self.begin(offset, offset + len),
            Record::Clean { offset, len } => self.finish(offset, offset + len),
            Record::Contested { offset, len } => self.dirty.set(offset, offset + len, State::Contested),
            Record::Repaired { offset, len } => self.dirty.clear(offset, offset + len),
            // Beyond the end no level has anything.
            Record::Truncate { size } => self.dirty.clear(size, MAX_FILE),
            _ => return Err(RecordError::NotMine { mapper: NAME, kind: record.kind() }),
        }
        Ok(())
    }

    fn garbage(&self, _limit: usize, _out: &mut Vec<Objects>) {}

    fn standing(&self, facts: &Facts, object: Object) -> Standing {
        self.levels.iter().find_map(|t| t.standing(facts, object)).unwrap_or(Standing::Unknown)
    }

    fn plan_upkeep(
        &self,
        facts: &Facts,
        budget: u64,
        _fresh: u64,
        plan: &mut Plan,
    ) -> Result<bool, PlanError> {
        let mut first = None;
        self.dirty.walk(0, MAX_FILE, |from, to, _| {
            first = Some((from, to));
            false
        });
        let Some((offset, end)) = first else { return Ok(false) };
        plan.exclusive = true;
        let end = if offset < facts.size {
            let end = end.min(facts.size).min(offset.saturating_add(budget.max(1)));
            let pieces = plan.pieces.len();
            self.levels[0].plan_read(facts, offset, end, plan);
            plan.reads.extend(plan.pieces.drain(pieces..));
            for tiling in &self.levels[1..] {
                tiling.plan_write(NAME, facts, offset, end - offset, plan)?;
            }
            // A write that is under way may end before this is done, which its replicas come after then.
            plan.intents.push(Record::Contested { offset, len: end - offset });
            end
        } else {
            // A write that was never completed may have left bytes behind the end of the file.
            self.cut(&Facts { size: end, ..*facts }, offset, plan);
            end
        };
        plan.records.push(Record::Repaired { offset, len: end - offset });
        Ok(true)
    }

    fn snapshot(&self, out: &mut Vec<Record>) {
        self.dirty.walk(0, MAX_FILE, |offset, end, state| {
            let len = end - offset;
            out.push(match state {
                State::Dirty => Record::Dirty { offset, len },
                State::Contested => Record::Contested { offset, len },
            });
            true
        });
    }

    fn reset(&mut self) {
        self.dirty.reset();
    }

    fn usage(&self) -> Usage {
        Usage { extents: self.dirty.len() as u64, ..Usage::default() }
    }
}
