//! `write-optimized`, for files that are mostly written: every write is a new object, put whole, and an interval
//! index tells which object holds the newest bytes of which part of the file. Nothing is ever read to be written,
//! whatever the store can do. Objects of which nothing is read any more are garbage; objects of which little is
//! read are compacted away.

use crate::extents::{Extent, Extents};
use crate::objects::Table;
use crate::plan::end_of;
use crate::record::MAX_EXTENT;
use crate::{Facts, Guard, How, MAX_FILE, MAX_NUMBER, Mapper, Object, Objects, OptionSpec, Options, Piece};
use crate::{Plan, PlanError, Record, RecordError, SpecError, Standing, Usage, show_size};

const MAX: OptionSpec = OptionSpec {
    name: "max",
    default: "16MiB",
    meaning: "largest object, 64KiB to 1GiB; longer writes become several",
};
const LIVE: OptionSpec = OptionSpec {
    name: "live",
    default: "50",
    meaning: "compaction begins when less than this share of the objects' bytes is read, 1 to 90 percent",
};

crate::registry::registry_entry!(
    "write-optimized",
    "an object a write, for files that are mostly written",
    [MAX, LIVE],
    |options: &Options| WriteOptimized::from_options(options)
);

/// An object a write, and an index.
pub struct WriteOptimized {
    extents: Extents,
    objects: Table,
    /// Longest object in bytes.
    max: u64,
    /// In percent.
    bound: u64,
    level: u32,
    /// Where the last compaction ended.
    cursor: u64,
}

impl WriteOptimized {
    /// Objects of at most `max` bytes (1 to 2^30) of this level, compacted when less than `bound` percent is read.
    pub fn new(max: u64, bound: u8, level: u32) -> WriteOptimized {
        WriteOptimized {
            extents: Extents::new(),
            objects: Table::default(),
            max: max.clamp(1, MAX_EXTENT),
            bound: bound.into(),
            level,
            cursor: 0,
        }
    }

    fn from_options(options: &Options) -> Result<WriteOptimized, SpecError> {
        let max = options.size("max", 64 << 10..=1 << 30)?;
        let bound = options.number("live", 1..=90)?;
        Ok(WriteOptimized::new(max, bound as u8, 0))
    }

    /// With the defaults and this level.
    pub(crate) fn with_level(level: u32) -> WriteOptimized {
        WriteOptimized::new(16 << 20, 50, level)
    }

    fn piece(&self, number: u64, at: u64, offset: u64, len: u64, how: How, guard: Guard) -> Piece {
        Piece { object: Object { level: self.level, number }, at, offset, len, how, guard }
    }

    /// The longest object that store and mapper take.
    fn longest(&self, facts: &Facts) -> Result<u64, PlanError> {
        match self.max.min(facts.store.max_object) {
            0 => Err(PlanError::ObjectTooLarge {
                mapper: NAME,
                bytes: 1,
                max: 0,
                cure: "a store must take at least one byte",
            }),
            n => Ok(n),
        }
    }

    fn new_objects(&self, facts: &Facts) -> Guard {
        if facts.store.conditional_put { Guard::Absent } else { Guard::None }
    }

    /// Enters an object's bytes as the newest.
    fn enter(&mut self, e: Extent) {
        self.objects.grow(e.object, e.len);
        let objects = &mut self.objects;
        self.extents.insert(e, |object, len| objects.release(object, len));
    }

    /// Forgets the bytes `from..to`, which are elsewhere now.
    pub(crate) fn forget(&mut self, from: u64, to: u64) {
        let objects = &mut self.objects;
        self.extents.remove(from, to, |object, len| objects.release(object, len));
    }

    /// Enters a compacted part where the file still has the bytes that it was made of.
    fn compact(&mut self, new: Extent, from: u64) {
        let mut still = Vec::new();
        self.extents.overlapping(new.offset, new.end(), |e| {
            if e.object == from {
                still.push((e.offset, e.len));
            }
        });
        // The object has these bytes whether they are read or not.
        self.objects.grow(new.object, new.len);
        let mut read = 0;
        for (offset, len) in still {
            let at = new.at + (offset - new.offset) as u32;
            // The parts of a compacted object follow one another: they become one extent.
            let joined = self.extents.last_before(offset).filter(|e| {
                e.object == new.object && e.end() == offset && u64::from(e.at) + u64::from(e.len) == at.into()
            });
            let e = match joined {
                Some(e) => Extent { len: e.len + len, ..e },
                None => Extent { offset, len, at, object: new.object },
            };
            let objects = &mut self.objects;
            self.extents.insert(e, |object, len| {
                // Only the part that it was joined with has the new number.
                if object != new.object {
                    objects.release(object, len);
                }
            });
            read += len;
        }
        self.objects.release(new.object, new.len - read);
    }

    /// Extents of objects that have covered parts, in runs without gaps, from `cursor` round to `cursor`.
    fn plan_compaction(
        &self,
        facts: &Facts,
        budget: u64,
        fresh: u64,
        plan: &mut Plan,
    ) -> Result<(), PlanError> {
        let (longest, guard) = (self.longest(facts)?, self.new_objects(facts));
        let mut run: Option<Piece> = None;
        let mut moved = 0;
        let (mut number, mut full) = (fresh, false);
        for (from, to) in [(self.cursor, u64::MAX), (0, self.cursor)] {
            self.extents.walk(from, to, |e| {
                if self.objects.live_of(e.object) == self.objects.len_of(e.object) {
                    return true;
                }
                // An extent that is longer than the longest object, which has become shorter since, is split.
                let (mut offset, mut at, mut left) = (e.offset, e.at, u64::from(e.len));
                while left > 0 {
                    let room = match &run {
                        Some(p) if p.offset + p.len == offset => longest - p.len,
                        _ => 0,
                    };
                    if room == 0 {
                        full = moved >= budget.max(1) || number > MAX_NUMBER;
                        plan.pieces.extend(run.take());
                        if full {
                            return false;
                        }
                        run = Some(self.piece(number, 0, offset, 0, How::Put, guard));
                        number += 1;
                        continue;
                    }
                    let Some(p) = &mut run else { return false };
                    let len = left.min(room) as u32;
                    let read = self.piece(
                        e.object,
                        u64::from(at),
                        offset,
                        u64::from(len),
                        How::ReadWritten,
                        Guard::None,
                    );
                    plan.reads.push(read);
                    let (object, from) = (p.object.number, e.object);
                    plan.records.push(Record::Compact { offset, len, at: p.len as u32, object, from });
                    p.len += u64::from(len);
                    (offset, at, left) = (offset + u64::from(len), at + len, left - u64::from(len));
                    moved += u64::from(len);
                }
                true
            });
            // A run does not go round the end.
            plan.pieces.extend(run.take());
            if full {
                break;
            }
        }
        plan.taken = number - fresh;
        if plan.pieces.is_empty() && number > MAX_NUMBER { Err(PlanError::NumbersUsedUp) } else { Ok(()) }
    }
}

impl Mapper for WriteOptimized {
    fn spec(&self) -> String {
        format!("{NAME}:max={},live={}", show_size(self.max), self.bound)
    }

    #[inline]
    fn plan_write(
        &self,
        facts: &Facts,
        offset: u64,
        len: u64,
        fresh: u64,
        plan: &mut Plan,
    ) -> Result<(), PlanError> {
        let end = end_of(offset, len)?;
        let (longest, guard) = (self.longest(facts)?, self.new_objects(facts));
        let (mut from, mut number) = (offset, fresh);
        while from < end {
            if number > MAX_NUMBER {
                return Err(PlanError::NumbersUsedUp);
            }
            let len = (end - from).min(longest);
            plan.pieces.push(self.piece(number, 0, from, len, How::Put, guard));
            // `longest` is at most MAX_EXTENT.
            plan.records.push(Record::Extent { offset: from, len: len as u32, at: 0, object: number });
            number += 1;
            from += len;
        }
        plan.taken += number - fresh;
        Ok(())
    }

    #[inline]
    fn plan_read(&self, facts: &Facts, offset: u64, len: u64, plan: &mut Plan) -> Result<(), PlanError> {
        let end = offset.saturating_add(len).min(facts.size);
        let mut from = offset;
        self.extents.overlapping(offset, end, |e| {
            if from < e.offset {
                plan.zeros(from, e.offset - from);
            }
            let len = u64::from(e.len);
            plan.pieces.push(self.piece(e.object, e.at.into(), e.offset, len, How::ReadWritten, Guard::None));
            from = e.end();
        });
        if from < end {
            plan.zeros(from, end - from);
        }
        Ok(())
    }

    fn plan_truncate(&self, facts: &Facts, size: u64, plan: &mut Plan) -> Result<(), PlanError> {
        if size > MAX_FILE {
            return Err(PlanError::OutOfRange { offset: size, len: 0 });
        }
        if size < facts.size {
            plan.records.push(Record::Truncate { size });
        }
        Ok(())
    }

    fn plan_remove(&self, _facts: &Facts, plan: &mut Plan) -> Result<(), PlanError> {
        let mut numbers = Vec::new();
        self.objects.each(|number, _, _| numbers.push(number));
        numbers.sort_unstable();
        for run in numbers.chunk_by(|a, b| a + 1 == *b) {
            plan.deletions.push(Objects { level: self.level, first: run[0], count: run.len() as u64 });
        }
        Ok(())
    }

    fn apply(&mut self, record: &Record) -> Result<(), RecordError> {
        record.validate()?;
        match *record {
            Record::Extent { offset, len, at, object } => {
                if self.objects.len_of(object) != 0 {
                    return Err(RecordError::Contradiction("an object number was given out twice"));
                }
                self.enter(Extent { offset, len, at, object });
            }
            Record::Compact { offset, len, at, object, from } => {
                if u64::from(self.objects.len_of(object)) + u64::from(len) > MAX_EXTENT || object == from {
                    return Err(RecordError::Contradiction("an object grows beyond its limit"));
                }
                self.compact(Extent { offset, len, at, object }, from);
                self.cursor = offset + u64::from(len);
            }
            Record::Truncate { size } => self.forget(size, u64::MAX),
            Record::Collected { level, first, count } => {
                if level != self.level {
                    return Err(RecordError::Contradiction("objects of another level were collected"));
                }
                self.objects.collected(first, count)?;
            }
            Record::Object { object, len } => {
                if self.objects.len_of(object) != 0 {
                    return Err(RecordError::Contradiction("a snapshot names an object twice"));
                }
                self.objects.declare(object, len);
            }
            Record::Part { offset, len, at, object } => {
                let mut free = true;
                self.extents.overlapping(offset, offset + u64::from(len), |_| free = false);
                let whole = self.objects.len_of(object);
                let room = whole - self.objects.live_of(object);
                if !free || whole != 0 && len > room {
                    return Err(RecordError::Contradiction("parts of a snapshot overlap"));
                }
                if whole == 0 {
                    self.objects.grow(object, len);
                } else {
                    self.objects.revive(object, len);
                }
                self.extents.insert(Extent { offset, len, at, object }, |_, _| ());
            }
            _ => return Err(RecordError::NotMine { mapper: NAME, kind: record.kind() }),
        }
        Ok(())
    }

    fn garbage(&self, limit: usize, out: &mut Vec<Objects>) {
        self.objects.garbage(self.level, limit, out);
    }

    fn standing(&self, _facts: &Facts, object: Object) -> Standing {
        if object.level != self.level || self.objects.len_of(object.number) == 0 {
            Standing::Unknown
        } else if self.objects.live_of(object.number) == 0 {
            Standing::Garbage
        } else {
            Standing::Needed
        }
    }

    fn plan_upkeep(
        &self,
        facts: &Facts,
        budget: u64,
        fresh: u64,
        plan: &mut Plan,
    ) -> Result<bool, PlanError> {
        let (live, stored) = self.objects.sums();
        // Both are far below 2^57: an extent in memory for each of their bytes would not be.
        if live * 100 >= stored * self.bound {
            return Ok(false);
        }
        self.plan_compaction(facts, budget, fresh, plan)?;
        Ok(!plan.pieces.is_empty())
    }

    fn snapshot(&self, out: &mut Vec<Record>) {
        self.objects.each(|object, len, live| {
            if live != len {
                out.push(Record::Object { object, len });
            }
        });
        self.extents.overlapping(0, u64::MAX, |e| {
            out.push(Record::Part { offset: e.offset, len: e.len, at: e.at, object: e.object });
        });
    }

    fn reset(&mut self) {
        *self = WriteOptimized::new(self.max, self.bound as u8, self.level);
    }

    fn usage(&self) -> Usage {
        let (live, stored) = self.objects.sums();
        let memory = (self.extents.memory() + self.objects.memory()) as u64;
        Usage { extents: self.extents.len() as u64, live, stored, memory }
    }
}
