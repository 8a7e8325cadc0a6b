//! `naive`: one file, one object. The baseline that the others are measured against, and the layout that any tool
//! of the store reads. Every write that is not the whole file is an update in place, or the whole object again.

use crate::plan::end_of;
use crate::{Facts, Guard, How, MAX_FILE, Mapper, Object, Objects, Options, Piece, Plan, PlanError};
use crate::{Record, RecordError, SpecError, Standing};

crate::registry::registry_entry!("naive", "one file, one object", [], |options: &Options| Naive::from_options(options));

/// One file, one object: number 0 of level 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Naive;

const OBJECT: Object = Object { level: 0, number: 0 };

impl Naive {
    fn from_options(_: &Options) -> Result<Naive, SpecError> {
        Ok(Naive)
    }
}

impl Mapper for Naive {
    fn spec(&self) -> String {
        NAME.into()
    }

    fn is_fixed(&self) -> bool {
        true
    }

    fn plan_write(
        &self,
        facts: &Facts,
        offset: u64,
        len: u64,
        _fresh: u64,
        plan: &mut Plan,
    ) -> Result<(), PlanError> {
        let (end, store) = (end_of(offset, len)?, &facts.store);
        if len == 0 {
            return Ok(());
        }
        if end > store.max_object {
            let cure = "a file of this size needs a mapper with more objects, such as balanced";
            return Err(PlanError::ObjectTooLarge { mapper: NAME, bytes: end, max: store.max_object, cure });
        }
        let (how, guard) = match (offset == 0 && end >= facts.size, store.range_write) {
            (true, _) => (How::Put, Guard::None),
            (false, true) => (How::Update, Guard::None),
            (false, false) if store.conditional_put => (How::Modify, Guard::Unchanged),
            (false, false) => (How::Modify, Guard::None),
        };
        plan.pieces.push(Piece { object: OBJECT, at: offset, offset, len, how, guard });
        Ok(())
    }

    fn plan_read(&self, facts: &Facts, offset: u64, len: u64, plan: &mut Plan) -> Result<(), PlanError> {
        let end = offset.saturating_add(len).min(facts.size);
        if offset < end {
            let how = if facts.store.range_read { How::Read } else { How::ReadWhole };
            let guard = Guard::None;
            plan.pieces.push(Piece { object: OBJECT, at: offset, offset, len: end - offset, how, guard });
        }
        Ok(())
    }

    fn plan_truncate(&self, facts: &Facts, size: u64, plan: &mut Plan) -> Result<(), PlanError> {
        if size > MAX_FILE {
            return Err(PlanError::OutOfRange { offset: size, len: 0 });
        }
        if size == 0 {
            return self.plan_remove(facts, plan);
        }
        if size < facts.size {
            let (how, guard) = (How::Cut, Guard::None);
            plan.pieces.push(Piece { object: OBJECT, at: size, offset: size, len: 0, how, guard });
        }
        Ok(())
    }

    fn plan_remove(&self, facts: &Facts, plan: &mut Plan) -> Result<(), PlanError> {
        if facts.size > 0 {
            plan.deletions.push(Objects { level: 0, first: 0, count: 1 });
        }
        Ok(())
    }

    fn apply(&mut self, record: &Record) -> Result<(), RecordError> {
        Err(RecordError::NotMine { mapper: NAME, kind: record.kind() })
    }

    fn garbage(&self, _limit: usize, _out: &mut Vec<Objects>) {}

    fn standing(&self, facts: &Facts, object: Object) -> Standing {
        if object == OBJECT && facts.size > 0 { Standing::Needed } else { Standing::Unknown }
    }
}
