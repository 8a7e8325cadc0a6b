//! Placement in the other direction, objects → files: which *container* (a file that holds objects) the bytes of an
//! object go to, what becomes garbage by it, and which container is emptied to give space back. Pure and event-sourced:
//! a [`Catalogue`] is the sum of its [`Event`]s, so that processes which apply the same events in the same order
//! agree, and a decision becomes true by the event that records it. No I/O, no clock, no lock: that is the store's.
//!
//! A [`Containers`] mapper decides and nothing else; each is one file: [`one_to_one`], [`n_to_one`],
//! [`n_to_m_simple`], [`n_to_m_optimized`]. One more is a file, a `mod` and a line in [`MAPPERS`].

mod catalogue;
mod event;
pub mod n_to_m_optimized;
pub mod n_to_m_simple;
pub mod n_to_one;
mod object;
pub mod one_to_one;
mod space;

pub use catalogue::{Catalogue, Entry, MAX_SLICES, Room};
pub use event::{Event, Use};
pub use object::{Object, Slice};
pub use space::{Container, Space};

/// Bytes of an object that have one checksum, at most: pieces do not cross multiples of it.
pub const PIECE: u64 = 64 * 1024;

/// Whether bytes belong to a new object or change one: some mappers keep the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An object that was not there.
    New,
    /// An object that was there: replaced or changed.
    Update,
    /// A survivor of a container that is emptied.
    Survivor,
}

/// What a mapper decides for some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// They go into this container, at this offset.
    At {
        /// The container.
        container: u32,
        /// Where in it, in bytes.
        at: u64,
    },
    /// They go to the start of a new container.
    Open(Use),
    /// First the hash range that holds `at` is split there: `at` begins the upper half. Then ask again.
    Split {
        /// First hash of the upper half.
        at: u64,
    },
    /// First the hash range that begins at `at` is joined to the one before. Then ask again.
    Merge {
        /// First hash of the upper range.
        at: u64,
    },
}

/// An objects → files mapper. Its own state, if it has any, follows the events as the catalogue does.
pub trait Containers: Send + Sync + std::fmt::Debug {
    /// Most bytes of a container. An object that is longer lies in several; `u64::MAX`: there is no bound.
    fn capacity(&self) -> u64;

    /// Where `len` bytes go that belong together.
    fn choose(&self, space: &Space, hash: u64, len: u64, purpose: Purpose) -> Choice;

    /// Whether a change of a part makes the object anew, because it must lie in one file by itself.
    fn rewrites(&self) -> bool {
        false
    }

    /// Whether space inside a container is used again, or only what lies behind its end.
    fn reuses(&self) -> bool {
        false
    }

    /// Whether long objects may get containers of their own, which are written before they are known to anyone.
    fn private(&self) -> bool {
        false
    }

    /// A container was opened.
    fn opened(&mut self, _container: u32, _use: Use) {}

    /// A container takes no more, because it is to be emptied or is gone.
    fn closed(&mut self, _container: u32) {}

    /// A hash range was split or joined ([`Choice`]).
    fn ranged(&mut self, _event: &Event<'_>) {}

    /// Bytes of objects with this hash came (positive) or went.
    fn weighed(&mut self, _hash: u64, _bytes: i64) {}

    /// Room came free in a container, where an object with this hash had lain.
    fn released(&mut self, _hash: u64, _container: u32) {}

    /// Where hash ranges begin but for the first: splits that make a new mapper cut as this one is.
    fn ranges(&self) -> Vec<u64> {
        Vec::new()
    }
}

/// Makes a mapper for one of `shards` equal parts of the hash space, namely the `shard`th.
pub type Make = fn(shard: u32, shards: u32) -> Box<dyn Containers>;

/// A mapper by name.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// What it is called in addresses and on disk; never changes.
    pub name: &'static str,
    /// Its number on disk; never changes.
    pub number: u32,
    /// Into how many parts, each with a lock and an index of its own, the hash space may be cut for it.
    pub shards: u32,
    /// Makes one.
    pub make: Make,
}

/// All of them; the first is the default.
pub const MAPPERS: &[Named] = &[
    Named { name: "n-to-m-optimized", number: 4, shards: 16, make: n_to_m_optimized::make },
    Named { name: "n-to-m-simple", number: 3, shards: 1, make: n_to_m_simple::make },
    Named { name: "n-to-one", number: 2, shards: 1, make: n_to_one::make },
    Named { name: "one-to-one", number: 1, shards: 16, make: one_to_one::make },
];

/// The hash that places a key. Part of the format on disk (XXH3, 64 bits, no seed).
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(key)
}

/// The part of the hash space a hash lies in.
#[inline]
pub fn shard_of(hash: u64, shards: u32) -> u32 {
    ((u128::from(hash) * u128::from(shards)) >> 64) as u32
}

#[cfg(test)]
mod tests;
