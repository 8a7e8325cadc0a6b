//! A tiling: a file cut into buckets of one size, bucket `i` being object `i`. Owns that arithmetic and the plans
//! that follow from it; the mappers without an index are made of tilings.
//!
//! Bytes beyond the end of an object, and objects that are missing, are zeros. So a hole costs nothing, and a
//! file that shrinks must shorten and delete objects at once, or its old bytes would come back when it grows.

use crate::plan::end_of;
use crate::{Facts, Guard, How, Object, Objects, Piece, Plan, PlanError, Standing};

/// One cutting of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiling {
    /// Binary logarithm of the bucket size in bytes.
    pub shift: u8,
    /// Whether bucket borders lie half a bucket lower. Then the first bucket is a half one.
    pub shifted: bool,
    /// Level of its objects.
    pub level: u32,
}

impl Tiling {
    #[inline]
    fn half(self) -> u64 {
        if self.shifted { (1 << self.shift) >> 1 } else { 0 }
    }

    /// The bucket of a byte.
    #[inline]
    pub fn bucket(self, offset: u64) -> u64 {
        (offset + self.half()) >> self.shift
    }

    /// Where a bucket begins in the file.
    #[inline]
    pub fn start(self, bucket: u64) -> u64 {
        (bucket << self.shift).saturating_sub(self.half())
    }

    /// The bucket that holds all of `offset..end`, if one does.
    #[inline]
    pub fn holds(self, offset: u64, end: u64) -> bool {
        self.bucket(offset) == self.bucket(end - 1)
    }

    fn fits(self, mapper: &'static str, facts: &Facts) -> Result<(), PlanError> {
        let (bytes, max) = (1 << self.shift, facts.store.max_object);
        let cure = "give the mapper a smaller bucket";
        if bytes <= max { Ok(()) } else { Err(PlanError::ObjectTooLarge { mapper, bytes, max, cure }) }
    }

    pub fn plan_write(
        self,
        mapper: &'static str,
        facts: &Facts,
        offset: u64,
        len: u64,
        plan: &mut Plan,
    ) -> Result<(), PlanError> {
        let end = end_of(offset, len)?;
        self.fits(mapper, facts)?;
        let store = &facts.store;
        let mut from = offset;
        while from < end {
            let bucket = self.bucket(from);
            let (start, next) = (self.start(bucket), self.start(bucket + 1));
            let to = end.min(next);
            // All of the bucket, or all of it that the file has.
            let whole = from == start && (to == next || to >= facts.size);
            let (how, guard) = match (whole, store.range_write) {
                (true, _) => (How::Put, Guard::None),
                (false, true) => (How::Update, Guard::None),
                (false, false) if store.conditional_put => (How::Modify, Guard::Unchanged),
                (false, false) => (How::Modify, Guard::None),
            };
            plan.pieces.push(Piece {
                object: Object { level: self.level, number: bucket },
                at: from - start,
                offset: from,
                len: to - from,
                how,
                guard,
            });
            from = to;
        }
        Ok(())
    }

    /// Reads `offset..end`, which lies within the file.
    #[inline]
    pub fn plan_read(self, facts: &Facts, offset: u64, end: u64, plan: &mut Plan) {
        let how = if facts.store.range_read { How::Read } else { How::ReadWhole };
        let mut from = offset;
        while from < end {
            let bucket = self.bucket(from);
            let to = end.min(self.start(bucket + 1));
            plan.pieces.push(Piece {
                object: Object { level: self.level, number: bucket },
                at: from - self.start(bucket),
                offset: from,
                len: to - from,
                how,
                guard: Guard::None,
            });
            from = to;
        }
    }

    pub fn plan_truncate(self, facts: &Facts, size: u64, plan: &mut Plan) {
        if size >= facts.size {
            return;
        }
        let bucket = self.bucket(size);
        let start = self.start(bucket);
        let mut first = bucket;
        if size > start {
            plan.pieces.push(Piece {
                object: Object { level: self.level, number: bucket },
                at: size - start,
                offset: size,
                len: 0,
                how: How::Cut,
                guard: Guard::None,
            });
            first += 1;
        }
        plan.deletions.extend(self.objects(first, facts.size));
    }

    pub fn plan_remove(self, facts: &Facts, plan: &mut Plan) {
        plan.deletions.extend(self.objects(0, facts.size));
    }

    /// The objects from number `first` on of a file of `size` bytes.
    fn objects(self, first: u64, size: u64) -> Option<Objects> {
        let end = if size == 0 { 0 } else { self.bucket(size - 1) + 1 };
        (first < end).then(|| Objects { level: self.level, first, count: end - first })
    }

    /// The objects that lie before `to`, all or (if `end` is set) some of them, and not all before `from`.
    pub fn released(self, from: u64, to: u64, end: bool) -> Option<Objects> {
        let first = self.bucket(from);
        let last = if end && to > 0 { self.bucket(to - 1) + 1 } else { self.bucket(to) };
        (first < last).then(|| Objects { level: self.level, first, count: last - first })
    }

    pub fn standing(self, facts: &Facts, object: Object) -> Option<Standing> {
        (object.level == self.level).then(|| {
            let inside = self.start(object.number) < facts.size;
            if inside { Standing::Needed } else { Standing::Unknown }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_FILE;

    #[test]
    fn every_byte_has_one_bucket() {
        for (shift, shifted) in [(4, false), (4, true), (16, false), (16, true), (26, true)] {
            let t = Tiling { shift, shifted, level: 0 };
            for border in [0, 1 << shift, 3 << shift, MAX_FILE & !((1 << shift) - 1)] {
                for offset in border.saturating_sub(17)..(border + 17).min(MAX_FILE) {
                    let bucket = t.bucket(offset);
                    assert!(t.start(bucket) <= offset && offset < t.start(bucket + 1));
                    assert!(t.start(bucket + 1) - t.start(bucket) <= 1 << shift);
                    assert!(bucket <= crate::MAX_NUMBER || shift < 16);
                }
            }
        }
    }
}
