//! The trait of a files → objects mapper, and what may be asked of one beside plans.

use crate::{Facts, Object, Objects, Plan, PlanError, Record, RecordError};

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// What a mapper says of one object that was found in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The file needs it, or may need it: a mapper without an index cannot know whether it was ever written.
    Needed,
    /// Nothing reads it any more; it is among [`Mapper::garbage`].
    Garbage,
    /// The mapper knows nothing of it: a leftover of a request that was never completed.
    Unknown,
}

/// What an index holds. All zeros for a mapper without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Extents in the index.
    pub extents: u64,
    /// Bytes of the file that the objects hold and that can be read.
    pub live: u64,
    /// Bytes of the objects that hold them, covered ones included; objects that are garbage are not.
    pub stored: u64,
    /// Memory of the index in bytes.
    pub memory: u64,
}

/// Turns byte ranges of one file into pieces of objects, and back.
///
/// A mapper is *event-sourced*: planning never changes it. What a plan changes stands in the plan's records;
/// they are appended to the file's journal, and every process that has the file, the writer's included, learns
/// of them by [`Mapper::apply`], in the order of the journal. Mappers without an index have no records.
///
/// Plans are made with `&self` and may be made by many threads at once. They add to the plan that is passed in;
/// the caller clears it.
pub trait Mapper: Send + Sync {
    /// The mapper and all its options, as the registry reads it: `balanced:bucket=1MiB`. It is kept with the file,
    /// because a file is read with the options that it was written with.
    fn spec(&self) -> String;

    /// Whether its plans follow from its options alone: it has no records, and upkeep has nothing to do.
    fn is_fixed(&self) -> bool {
        false
    }

    /// Plans a write of `len` bytes at `offset`. `fresh` is the first object number that the file has not used;
    /// the plan says how many it takes. 0 bytes are an empty plan.
    fn plan_write(
        &self,
        facts: &Facts,
        offset: u64,
        len: u64,
        fresh: u64,
        plan: &mut Plan,
    ) -> Result<(), PlanError>;

    /// Plans a read of `len` bytes at `offset`. The pieces lie in the order of the file, without gaps, and end
    /// where the request or the file ends.
    fn plan_read(&self, facts: &Facts, offset: u64, len: u64, plan: &mut Plan) -> Result<(), PlanError>;

    /// Plans a change of the file's size from `facts.size` to `size`. The new size holds, and is published, when
    /// the plan has been carried out.
    fn plan_truncate(&self, facts: &Facts, size: u64, plan: &mut Plan) -> Result<(), PlanError>;

    /// Plans the end of the file: the deletion of every object that it has or may have, garbage included.
    fn plan_remove(&self, facts: &Facts, plan: &mut Plan) -> Result<(), PlanError>;

    /// Brings the index up to date with one record of the journal. A record that is refused has changed nothing.
    fn apply(&mut self, record: &Record) -> Result<(), RecordError>;

    /// Adds at most `limit` runs of objects that nothing reads any more. Each may be deleted when no reader that
    /// planned before can still be at it; then [`Record::Collected`] is appended, and they are not named again.
    fn garbage(&self, limit: usize, out: &mut Vec<Objects>);

    /// What is known of one object, for checking a store.
    fn standing(&self, facts: &Facts, object: Object) -> Standing;

    /// Plans a step of upkeep, moving about `budget` bytes (at least one piece): compaction, repair of replicas,
    /// migration to another layout. False, with nothing planned, if there is nothing to do.
    fn plan_upkeep(
        &self,
        facts: &Facts,
        budget: u64,
        fresh: u64,
        plan: &mut Plan,
    ) -> Result<bool, PlanError> {
        let _ = (facts, budget, fresh, plan);
        Ok(false)
    }

    /// Tells of a request that was made, of `len` bytes. Now and then gives a record of what was seen, to be
    /// appended, by which the processes that share a file come to one mind about it.
    fn observe(&mut self, op: Op, len: u64) -> Option<Record> {
        let _ = (op, len);
        None
    }

    /// Adds records that bring an empty mapper of the same [`Mapper::spec`] to this one's state.
    fn snapshot(&self, out: &mut Vec<Record>) {
        let _ = out;
    }

    /// Forgets every record.
    fn reset(&mut self) {}

    /// Takes on the state of a snapshot. After an error it is partly loaded: [`Mapper::reset`] it.
    fn load(&mut self, records: &[Record]) -> Result<(), RecordError> {
        self.reset();
        records.iter().try_for_each(|r| self.apply(r))
    }

    /// What the index holds.
    fn usage(&self) -> Usage {
        Usage::default()
    }
}
