//! What happens to a catalogue. What is kept on disk are these.

use super::object::Slice;

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Objects of these hashes, both ends included.
    Range {
        /// First hash.
        lo: u64,
        /// Last hash.
        hi: u64,
    },
    /// New objects, in the order in which they come.
    Data,
    /// Bytes that change objects.
    Updates,
    /// A part of one long object, written by one process before it is known to the others.
    Private {
        /// Who writes it; a number of the store's.
        owner: u64,
    },
}

/// One thing that happened. Numbers of containers are never used twice.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// There is a new container.
    Open {
        /// Its number, greater than any before.
        container: u32,
        /// What it is for.
        purpose: Use,
    },
    /// A hash range was cut in two, or two were joined.
    Split {
        /// First hash of the upper part.
        at: u64,
    },
    /// See [`Event::Split`].
    Merge {
        /// First hash of the upper part.
        at: u64,
    },
    /// An object was made or replaced as a whole.
    Put {
        /// Its key.
        key: &'a [u8],
        /// Its new tag, greater than any before.
        tag: u64,
        /// When, in nanoseconds since 1970.
        modified: u64,
        /// What the store keeps with it.
        meta: &'a [u8],
        /// Length in bytes.
        len: u64,
        /// All its bytes, in order and without overlaps; what lies between is zeros.
        slices: &'a [Slice],
    },
    /// A part of an object was written, its length was set, or bytes were moved (then the tag stays).
    Patch {
        /// Its key.
        key: &'a [u8],
        /// Its tag from now on.
        tag: u64,
        /// When, in nanoseconds since 1970.
        modified: u64,
        /// Its length from now on, in bytes.
        len: u64,
        /// The bytes that lie elsewhere from now on.
        slices: &'a [Slice],
    },
    /// An object was removed.
    Delete {
        /// Its key.
        key: &'a [u8],
    },
    /// A container takes no more and is being emptied.
    Drain {
        /// Which.
        container: u32,
    },
    /// A container that held nothing any more is gone.
    Close {
        /// Which.
        container: u32,
    },
}
