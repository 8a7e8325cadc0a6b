//! `balanced`, for mixed loads: fixed buckets, bucket `i` being object `i`. No index: where a byte is follows from
//! its offset. A bucket that is written whole is a plain put; a part of one is updated in place where the store
//! can do that, and otherwise got, changed and put back.

use crate::plan::end_of;
use crate::tiling::Tiling;
use crate::{Facts, Mapper, Object, Objects, OptionSpec, Options, Plan, PlanError};
use crate::{Record, RecordError, SpecError, Standing, show_size};

/// The sizes that a bucket may have, as binary logarithms: 64 KiB to 64 MiB.
pub(crate) const SHIFTS: std::ops::RangeInclusive<u8> = 16..=26;
/// The bucket size of an option, which is the same for all mappers that have it.
pub(crate) const BUCKET: OptionSpec =
    OptionSpec { name: "bucket", default: "1MiB", meaning: "bucket size, a power of two from 64KiB to 64MiB" };

crate::registry::registry_entry!("balanced", "fixed buckets, for mixed loads", [BUCKET], |options: &Options| {
    Balanced::from_options(options)
});

/// Fixed buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balanced {
    tiling: Tiling,
}

impl Balanced {
    /// Buckets of `1 << shift` bytes whose objects are of this level. A shift outside 16 to 26 is for tests only.
    pub fn new(shift: u8, level: u32) -> Balanced {
        Balanced { tiling: Tiling { shift, shifted: false, level } }
    }

    fn from_options(options: &Options) -> Result<Balanced, SpecError> {
        Ok(Balanced::new(options.power_of_two("bucket", SHIFTS)?, 0))
    }

    /// Adds the objects that are not needed once the bytes `from..to` are elsewhere, and those before are already.
    pub(crate) fn released(&self, from: u64, to: u64, end: bool, out: &mut Vec<Objects>) {
        out.extend(self.tiling.released(from, to, end));
    }
}

impl Mapper for Balanced {
    fn spec(&self) -> String {
        format!("{NAME}:bucket={}", show_size(1 << self.tiling.shift))
    }

    fn is_fixed(&self) -> bool {
        true
    }

    #[inline]
    fn plan_write(
        &self,
        facts: &Facts,
        offset: u64,
        len: u64,
        _fresh: u64,
        plan: &mut Plan,
    ) -> Result<(), PlanError> {
        self.tiling.plan_write(NAME, facts, offset, len, plan)
    }

    #[inline]
    fn plan_read(&self, facts: &Facts, offset: u64, len: u64, plan: &mut Plan) -> Result<(), PlanError> {
        self.tiling.plan_read(facts, offset, offset.saturating_add(len).min(facts.size), plan);
        Ok(())
    }

    fn plan_truncate(&self, facts: &Facts, size: u64, plan: &mut Plan) -> Result<(), PlanError> {
        end_of(0, size)?;
        self.tiling.plan_truncate(facts, size, plan);
        Ok(())
    }

    fn plan_remove(&self, facts: &Facts, plan: &mut Plan) -> Result<(), PlanError> {
        self.tiling.plan_remove(facts, plan);
        Ok(())
    }

    fn apply(&mut self, record: &Record) -> Result<(), RecordError> {
        Err(RecordError::NotMine { mapper: NAME, kind: record.kind() })
    }

    fn garbage(&self, _limit: usize, _out: &mut Vec<Objects>) {}

    fn standing(&self, facts: &Facts, object: Object) -> Standing {
        self.tiling.standing(facts, object).unwrap_or(Standing::Unknown)
    }
}
