//! The words of a plan: what is known of a file and its store, which objects are touched, and how. Owns these
//! types and the rule in which order a plan is carried out; decides nothing.

use crate::Record;

/// The largest size of a file, in bytes: offsets are `off_t`, so the last byte is at 2^63 - 2.
pub const MAX_FILE: u64 = i64::MAX as u64;

/// The largest object number: 48 bits. Buckets of 64 KiB in a file of 2^63 bytes need 47.
pub const MAX_NUMBER: u64 = (1 << 48) - 1;

/// What a store can do. Planning takes it as it is; nothing is tried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    /// A part of an object can be read without the rest.
    pub range_read: bool,
    /// A part of an object can be replaced in place, and an object be lengthened by writing past its end, with
    /// zeros between (Redis SETRANGE, a file).
    pub range_write: bool,
    /// A put can be made to fail if the object exists, or if it has changed since it was read.
    pub conditional_put: bool,
    /// The largest object, in bytes.
    pub max_object: u64,
}

/// What planning knows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The file's size in bytes, before the request that is planned. It must be right, not stale: a write to the
    /// end of the file replaces the object there as a whole.
    pub size: u64,
    /// Where its objects are.
    pub store: Store,
}

/// One object of a file. The file's identity is not part of it: see [`crate::key()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// Which of the file's series of objects: the replica level in the low 8 bits, and above it the era, which
    /// changes when a file is migrated from one layout to another.
    pub level: u32,
    /// The number in the series, at most [`MAX_NUMBER`].
    pub number: u64,
}

/// A run of objects with consecutive numbers. Not all of them need exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Objects {
    /// The level of all of them.
    pub level: u32,
    /// The first number.
    pub first: u64,
    /// How many, at least 1.
    pub count: u64,
}

impl Objects {
    /// Whether `object` is one of them.
    pub fn contains(&self, object: Object) -> bool {
        object.level == self.level && object.number >= self.first && object.number - self.first < self.count
    }
}

/// What is to be done with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Write: the piece becomes the whole object, whatever was there (`at` is 0).
    Put,
    /// Write: the piece replaces the object's bytes `at..at + len` in place. The object is made if it is missing
    /// and lengthened if it is short; bytes before `at` that nobody wrote are zeros.
    Update,
    /// Write, where the store cannot update: get the object (missing is empty), lay the piece over it as
    /// [`How::Update`] does, put it back whole.
    Modify,
    /// Read the object's bytes `at..at + len`. What is missing, whole or at its end, reads as zeros.
    Read,
    /// As [`How::Read`], of a store that can only give the whole object.
    ReadWhole,
    /// As [`How::Read`] or [`How::ReadWhole`], but the index says that these bytes were written: if the object is
    /// missing or short, data are lost, and the read is an error, not zeros.
    ReadWritten,
    /// Read: these bytes are a hole, and are zeros. There is no object (`object` and `at` mean nothing).
    Zeros,
    /// Shorten the object to `at` bytes; nothing if it is missing or not longer (`len` is 0).
    Cut,
}

/// The condition of a write, for stores that have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// None.
    None,
    /// The object must not exist: its number is new, and if it exists the number was given out twice.
    Absent,
    /// The object must not have changed since [`How::Modify`] got it; if it has, that begins again.
    Unchanged,
}

/// A byte range of a file and the part of one object that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The object.
    pub object: Object,
    /// Where in the object the piece begins, in bytes.
    pub at: u64,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// What to do.
    pub how: How,
    /// Under which condition.
    pub guard: Guard,
}

/// What one request comes to. Filled by a [`crate::Mapper`], which only adds to it: whoever reuses a plan calls
/// [`Plan::clear`] first. It keeps its memory, so a reused plan allocates nothing in the steady state.
///
/// It is carried out in this order; a process may die between any two steps:
/// 1. `intents` are appended to the journal, as one batch.
/// 2. `reads`, which only upkeep has, are read into a buffer by their file offsets.
/// 3. `pieces` are written (or, in the plan of a read, read), in any order, also at once.
/// 4. `deletions` are carried out.
/// 5. `records` are appended to the journal, as one batch, which makes the write visible.
///
/// Writers of overlapping ranges of a file, and everything that is [`Plan::exclusive`], follow one another.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Records to append before anything else is done.
    pub intents: Vec<Record>,
    /// What upkeep reads, to write it elsewhere.
    pub reads: Vec<Piece>,
    /// What is read or written.
    pub pieces: Vec<Piece>,
    /// Objects that go with the request itself (those that upkeep sets free come by way of `garbage`).
    pub deletions: Vec<Objects>,
    /// Records to append at the end.
    pub records: Vec<Record>,
    /// How many new object numbers the plan has taken, from the `fresh` that was given on.
    pub taken: u64,
    /// Nobody else may write to the file, shorten it or do upkeep from planning to the end.
    pub exclusive: bool,
    /// All `pieces` go where nothing is yet, so those that are all zeros may be left out: [`Plan::leave_out`].
    pub sparse: bool,
}

impl Plan {
    /// Makes the plan empty. It keeps its memory.
    #[inline]
    pub fn clear(&mut self) {
        self.intents.clear();
        self.reads.clear();
        self.pieces.clear();
        self.deletions.clear();
        self.records.clear();
        self.taken = 0;
        self.exclusive = false;
        self.sparse = false;
    }

    /// Leaves out of a [`Plan::sparse`] plan the pieces for which `zeros(offset, len)` holds, with the records
    /// that name their objects: so a hole stays a hole when a file is migrated.
    pub fn leave_out(&mut self, mut zeros: impl FnMut(u64, u64) -> bool) {
        if !self.sparse {
            return;
        }
        let records = &mut self.records;
        self.pieces.retain(|p| {
            let out = p.len > 0 && zeros(p.offset, p.len);
            if out {
                records.retain(|r| r.object() != Some(p.object.number));
            }
            !out
        });
    }

    /// Adds a hole.
    #[inline]
    pub(crate) fn zeros(&mut self, offset: u64, len: u64) {
        let object = Object { level: 0, number: 0 };
        self.pieces.push(Piece { object, at: 0, offset, len, how: How::Zeros, guard: Guard::None });
    }
}

/// Why a request cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The request ends behind the largest offset. As an errno: EFBIG.
    #[error("{len} bytes at offset {offset} end behind the largest size of a file, 2^63-1 bytes")]
    OutOfRange {
        /// Its offset in bytes.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// One object would be larger than the store takes. As an errno: EFBIG.
    #[error(
        "mapper {mapper}: an object of {bytes} bytes is needed, and the store takes at most {max} a piece: {cure}"
    )]
    ObjectTooLarge {
        /// The mapper.
        mapper: &'static str,
        /// The size that is needed, in bytes.
        bytes: u64,
        /// The store's limit, in bytes.
        max: u64,
        /// What to do.
        cure: &'static str,
    },
    /// The file has used up its object numbers. As an errno: EFBIG.
    #[error("the file has used up its 2^48 object numbers: copy it to a new file")]
    NumbersUsedUp,
    /// A mapper of a third party has refused. As an errno: EIO.
    #[error("mapper {mapper}: {why}")]
    Foreign {
        /// Its name.
        mapper: String,
        /// What it says.
        why: String,
    },
}

/// The end of a request in bytes, if it lies within a file. 0 bytes anywhere are right.
#[inline]
pub fn end_of(offset: u64, len: u64) -> Result<u64, PlanError> {
    match offset.checked_add(len) {
        Some(end) if end <= MAX_FILE || len == 0 => Ok(end),
        _ => Err(PlanError::OutOfRange { offset, len }),
    }
}
