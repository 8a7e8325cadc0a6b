//! `auto`: chooses the layout of a file by how it is used, and may change it. Owns the choice ([`crate::auto`]'s
//! `Use`) and the migration of a file from one layout to the next; the layouts themselves are the other mappers.
//!
//! A migration goes from the front of the file to its end in steps, each a plan of upkeep. Between steps the bytes
//! before the *frontier* are in the new layout and the others in the old one, and every request is planned with
//! both. Each layout of a file has an *era*, which is in the level of its objects, so theirs are never confused.
//! What the old layout leaves behind is garbage.

use crate::balanced::{BUCKET, Balanced, SHIFTS};
use crate::plan::end_of;
use crate::read_optimized::ReadOptimized;
use crate::use_of_file::{Local, Use};
use crate::write_optimized::WriteOptimized;
use crate::{Facts, LayoutKind, Mapper, Object, Objects, Op, OptionSpec, Options, Plan, PlanError};
use crate::{Record, RecordError, SpecError, Stage, Standing, Usage, show_size};

const WINDOW: OptionSpec = OptionSpec {
    name: "window",
    default: "256",
    meaning: "requests of one process after which it tells the others what it saw, 16 to 65536",
};

crate::registry::registry_entry!("auto", "chooses among the others by how the file is used", [BUCKET, WINDOW], |options: &Options| {
    Auto::from_options(options)
});

/// A larger file keeps its layout, in bytes: to move it would cost more than it can gain.
const LARGEST: u64 = 1 << 40;
/// Bits of a level below the era.
const ERA_SHIFT: u32 = 8;
/// Eras come round; by then nothing is left of the one that had the number.
const ERAS: u32 = 1 << (32 - ERA_SHIFT);

/// One layout of the file: its era, what it is, and the mapper.
struct Layout {
    era: u32,
    kind: LayoutKind,
    shift: u8,
    inner: Inner,
}

enum Inner {
    Balanced(Balanced),
    Write(Box<WriteOptimized>),
    Read(ReadOptimized),
}

impl Layout {
    fn new(era: u32, kind: LayoutKind, shift: u8) -> Layout {
        let level = era << ERA_SHIFT;
        let inner = match kind {
            LayoutKind::Balanced => Inner::Balanced(Balanced::new(shift, level)),
            LayoutKind::Write => Inner::Write(Box::new(WriteOptimized::with_level(level))),
            LayoutKind::Read => Inner::Read(ReadOptimized::with_shift(shift, level)),
        };
        Layout { era, kind, shift, inner }
    }

    #[inline]
    fn mapper(&self) -> &dyn Mapper {
        match &self.inner {
            Inner::Balanced(m) => m,
            Inner::Write(m) => m.as_ref(),
            Inner::Read(m) => m,
        }
    }

    fn mapper_mut(&mut self) -> &mut dyn Mapper {
        match &mut self.inner {
            Inner::Balanced(m) => m,
            Inner::Write(m) => m.as_mut(),
            Inner::Read(m) => m,
        }
    }

    /// The bytes `from..to` are in the next layout now; adds what that leaves to be deleted. An index keeps its
    /// garbage itself until the end.
    fn release(&mut self, from: u64, to: u64, end: bool, out: &mut Vec<Objects>) {
        match &mut self.inner {
            Inner::Balanced(m) => m.released(from, to, end, out),
            Inner::Read(m) => m.released(from, to, end, out),
            Inner::Write(m) => {
                m.forget(from, if end { u64::MAX } else { to });
                if end {
                    m.garbage(usize::MAX, out);
                }
            }
        }
    }
}

/// The next layout, and how far the file has come.
struct Migration {
    next: Layout,
    frontier: u64,
    /// A step is under way, or has been given up, that was to come to this offset.
    begun: Option<u64>,
}

/// Chooses among the other mappers.
pub struct Auto {
    current: Layout,
    migration: Option<Migration>,
    /// Objects of earlier layouts that wait for deletion.
    retired: Vec<Objects>,
    seen: Use,
    local: Local,
    /// What a file begins with.
    shift: u8,
    window: u32,
}

impl Auto {
    /// Begins with fixed buckets of `1 << shift` bytes; tells of what it sees every `window` requests.
    pub fn new(shift: u8, window: u32) -> Auto {
        Auto {
            current: Layout::new(0, LayoutKind::Balanced, shift),
            migration: None,
            retired: Vec::new(),
            seen: Use::new(shift),
            local: Local::default(),
            shift,
            window,
        }
    }

    fn from_options(options: &Options) -> Result<Auto, SpecError> {
        let window = options.number("window", 16..=65536)?;
        Ok(Auto::new(options.power_of_two("bucket", SHIFTS)?, window as u32))
    }

    /// The layout that the file has, or is being brought to, and its bucket size in bytes.
    pub fn layout(&self) -> (LayoutKind, u64) {
        let layout = self.migration.as_ref().map_or(&self.current, |m| &m.next);
        (layout.kind, 1 << layout.shift)
    }

    /// Whether the file is between two layouts.
    pub fn is_migrating(&self) -> bool {
        self.migration.is_some()
    }

    fn layouts(&self) -> impl Iterator<Item = &Layout> {
        std::iter::once(&self.current).chain(self.migration.as_ref().map(|m| &m.next))
    }

    fn layouts_mut(&mut self) -> impl Iterator<Item = &mut Layout> {
        std::iter::once(&mut self.current).chain(self.migration.as_mut().map(|m| &mut m.next))
    }

    /// Plans the next step to `next`, from `frontier` on.
    fn plan_step(
        &self,
        facts: &Facts,
        budget: u64,
        fresh: u64,
        next: &Layout,
        frontier: u64,
        plan: &mut Plan,
    ) -> Result<(), PlanError> {
        let from = frontier.min(facts.size);
        // Whole buckets of both layouts, so that few are written in two steps.
        let unit = 1u64 << self.current.shift.max(next.shift);
        let to = from.saturating_add(budget.max(1)).checked_next_multiple_of(unit).unwrap_or(u64::MAX);
        let to = to.min(facts.size);
        let step = |stage, offset| {
            let Layout { era, kind, shift, .. } = *next;
            Record::Layout { era, kind, shift, stage, offset }
        };
        let pieces = plan.pieces.len();
        self.current.mapper().plan_read(facts, from, to - from, plan)?;
        plan.reads.extend(plan.pieces.drain(pieces..));
        plan.intents.push(step(Stage::Begun, to));
        // The new layout ends at the frontier.
        let before = Facts { size: from, ..*facts };
        next.mapper().plan_write(&before, from, to - from, fresh, plan)?;
        (plan.exclusive, plan.sparse) = (true, true);
        plan.records.push(step(if to == facts.size { Stage::Done } else { Stage::Copied }, to));
        Ok(())
    }

    /// Plans the removal of what a step has left that was given up: it was to come to `begun`.
    fn plan_cleaning(
        &self,
        facts: &Facts,
        m: &Migration,
        begun: u64,
        plan: &mut Plan,
    ) -> Result<(), PlanError> {
        let (from, until) = (m.frontier.min(facts.size), Facts { size: begun, ..*facts });
        match &m.next.inner {
            Inner::Balanced(b) => b.plan_truncate(&until, from, plan)?,
            Inner::Read(r) => r.cut(&until, from, plan),
            // New objects without a record are nobody's.
            Inner::Write(_) => (),
        }
        let Layout { era, kind, shift, .. } = m.next;
        plan.exclusive = true;
        // The frontier stays: what lies before it has left the old layout for good.
        plan.records.push(Record::Layout { era, kind, shift, stage: Stage::Copied, offset: m.frontier });
        Ok(())
    }

    fn apply_layout(&mut self, next: Layout, stage: Stage, offset: u64) -> Result<(), RecordError> {
        let same = |m: &Migration| (m.next.era, m.next.kind, m.next.shift) == (next.era, next.kind, next.shift);
        let mut migration = match self.migration.take() {
            Some(m) if same(&m) && (stage != Stage::Copied || offset >= m.frontier) => m,
            None if next.era == (self.current.era + 1) % ERAS => Migration { next, frontier: 0, begun: None },
            other => {
                self.migration = other;
                return Err(RecordError::Contradiction("a step of a migration that was not begun"));
            }
        };
        if stage == Stage::Begun {
            migration.begun = Some(offset);
            self.migration = Some(migration);
            return Ok(());
        }
        let from = migration.frontier.min(offset);
        self.current.release(from, offset, stage == Stage::Done, &mut self.retired);
        (migration.frontier, migration.begun) = (offset, None);
        if stage == Stage::Done {
            self.current = migration.next;
            self.seen.changed();
        } else {
            self.migration = Some(migration);
        }
        Ok(())
    }

    /// Gives a record to the layouts that it can be of. Never do two of them have an index of extents.
    fn route(&mut self, record: &Record) -> Result<(), RecordError> {
        let wanted = |kind: LayoutKind| match record {
            Record::Extent { .. } | Record::Compact { .. } | Record::Object { .. } | Record::Part { .. } => {
                kind == LayoutKind::Write
            }
            Record::Truncate { .. } => kind != LayoutKind::Balanced,
            _ => kind == LayoutKind::Read,
        };
        let mut taken = false;
        for layout in self.layouts_mut().filter(|l| wanted(l.kind)) {
            layout.mapper_mut().apply(record)?;
            taken = true;
        }
        if taken { Ok(()) } else { Err(RecordError::NotMine { mapper: NAME, kind: record.kind() }) }
    }

    fn apply_collected(&mut self, level: u32, first: u64, count: u64) -> Result<(), RecordError> {
        let end = first + count;
        let mut left = Vec::with_capacity(self.retired.len() + 1);
        for o in &self.retired {
            let (from, to) = (o.first, o.first + o.count);
            if o.level != level || to <= first || from >= end {
                left.push(*o);
                continue;
            }
            for (from, to) in [(from, first), (end, to)] {
                if from < to {
                    left.push(Objects { level, first: from, count: to - from });
                }
            }
        }
        let record = Record::Collected { level, first, count };
        let mut layouts = self.layouts_mut();
        let live = layouts.find(|l| l.kind == LayoutKind::Write && l.era == level >> ERA_SHIFT);
        if let Some(layout) = live {
            layout.mapper_mut().apply(&record)?;
        }
        drop(layouts);
        self.retired = left;
        Ok(())
    }

    fn choose(&mut self) {
        if self.migration.is_none() {
            self.seen.choose(self.current.kind, self.current.shift);
        }
    }
}

impl Mapper for Auto {
    fn spec(&self) -> String {
        format!("{NAME}:bucket={},window={}", show_size(1 << self.shift), self.window)
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
        let Some(m) = &self.migration else {
            return self.current.mapper().plan_write(facts, offset, len, fresh, plan);
        };
        let end = end_of(offset, len)?;
        let border = m.frontier.clamp(offset, end);
        let taken = plan.taken;
        if offset < border {
            let before = Facts { size: facts.size.min(m.frontier), ..*facts };
            m.next.mapper().plan_write(&before, offset, border - offset, fresh, plan)?;
        }
        if border < end {
            let fresh = fresh + (plan.taken - taken);
            self.current.mapper().plan_write(facts, border, end - border, fresh, plan)?;
        }
        Ok(())
    }

    #[inline]
    fn plan_read(&self, facts: &Facts, offset: u64, len: u64, plan: &mut Plan) -> Result<(), PlanError> {
        let Some(m) = &self.migration else {
            return self.current.mapper().plan_read(facts, offset, len, plan);
        };
        let end = offset.saturating_add(len).min(facts.size);
        if offset >= end {
            return Ok(());
        }
        let border = m.frontier.clamp(offset, end);
        let before = Facts { size: facts.size.min(m.frontier), ..*facts };
        m.next.mapper().plan_read(&before, offset, border - offset, plan)?;
        self.current.mapper().plan_read(facts, border, end - border, plan)
    }

    fn plan_truncate(&self, facts: &Facts, size: u64, plan: &mut Plan) -> Result<(), PlanError> {
        let Some(m) = &self.migration else { return self.current.mapper().plan_truncate(facts, size, plan) };
        end_of(0, size)?;
        let before = Facts { size: facts.size.min(m.frontier), ..*facts };
        m.next.mapper().plan_truncate(&before, size, plan)?;
        self.current.mapper().plan_truncate(facts, size, plan)
    }

    fn plan_remove(&self, facts: &Facts, plan: &mut Plan) -> Result<(), PlanError> {
        plan.deletions.extend(&self.retired);
        self.layouts().try_for_each(|l| l.mapper().plan_remove(facts, plan))
    }

    fn apply(&mut self, record: &Record) -> Result<(), RecordError> {
        record.validate()?;
        match *record {
            Record::Layout { era, kind, shift, stage, offset } => {
                return self.apply_layout(Layout::new(era, kind, shift), stage, offset);
            }
            Record::Settled { era, kind, shift } => self.current = Layout::new(era % ERAS, kind, shift),
            Record::Retired { level, first, count } => self.retired.push(Objects { level, first, count }),
            Record::Seen { reads, writes, class } => {
                self.seen.add(reads, writes, class);
                self.choose();
            }
            Record::Collected { level, first, count } => return self.apply_collected(level, first, count),
            _ => return self.route(record),
        }
        Ok(())
    }

    fn garbage(&self, limit: usize, out: &mut Vec<Objects>) {
        let from = out.len();
        out.extend(self.retired.iter().take(limit));
        for layout in self.layouts() {
            layout.mapper().garbage(limit - (out.len() - from), out);
        }
    }

    fn standing(&self, facts: &Facts, object: Object) -> Standing {
        if self.retired.iter().any(|o| o.contains(object)) {
            return Standing::Garbage;
        }
        let standing = self.layouts().map(|l| l.mapper().standing(facts, object));
        standing.into_iter().find(|s| *s != Standing::Unknown).unwrap_or(Standing::Unknown)
    }

    fn plan_upkeep(
        &self,
        facts: &Facts,
        budget: u64,
        fresh: u64,
        plan: &mut Plan,
    ) -> Result<bool, PlanError> {
        if let Some(m) = &self.migration {
            match m.begun {
                Some(begun) => self.plan_cleaning(facts, m, begun, plan)?,
                None => self.plan_step(facts, budget, fresh, &m.next, m.frontier, plan)?,
            }
            return Ok(true);
        }
        if let Some((kind, shift)) = self.seen.wanted().filter(|_| facts.size <= LARGEST) {
            let next = Layout::new((self.current.era + 1) % ERAS, kind, shift);
            self.plan_step(facts, budget, fresh, &next, 0, plan)?;
            return Ok(true);
        }
        self.current.mapper().plan_upkeep(facts, budget, fresh, plan)
    }

    fn observe(&mut self, op: Op, len: u64) -> Option<Record> {
        self.local.see(op, len, self.window)
    }

    fn snapshot(&self, out: &mut Vec<Record>) {
        let Layout { era, kind, shift, .. } = self.current;
        out.push(Record::Settled { era, kind, shift });
        out.extend(self.seen.record());
        if let Some(m) = &self.migration {
            let Layout { era, kind, shift, .. } = m.next;
            out.push(Record::Layout { era, kind, shift, stage: Stage::Copied, offset: m.frontier });
            if let Some(offset) = m.begun {
                out.push(Record::Layout { era, kind, shift, stage: Stage::Begun, offset });
            }
        }
        out.extend(self.retired.iter().map(|o| Record::Retired { level: o.level, first: o.first, count: o.count }));
        self.layouts().for_each(|l| l.mapper().snapshot(out));
    }

    fn reset(&mut self) {
        *self = Auto::new(self.shift, self.window);
    }

    fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for u in self.layouts().map(|l| l.mapper().usage()) {
            sum.extents += u.extents;
            sum.live += u.live;
            sum.stored += u.stored;
            sum.memory += u.memory;
        }
        sum
    }
}
