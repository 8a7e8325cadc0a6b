//! Why a file's map cannot do what it is asked for. Owns the words and the error numbers.

use super::commit::Damage;
use iris_mappers::{PlanError, RecordError};
use iris_store::{Kind, StoreError};

/// A failure of a file's map.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mapper cannot place the request.
    #[error("{place}: {source}")]
    Plan {
        /// The store.
        place: String,
        /// What the mapper says.
        source: PlanError,
    },
    /// The log has something that is no commit.
    #[error("{place}: object \"{key}\": no commit of a file's map: {why}; `iris fsck` tells of which file")]
    Damaged {
        /// The store.
        place: String,
        /// Its key.
        key: String,
        /// What is wrong.
        why: Damage,
    },
    /// The log does not fit together.
    #[error("{place}: object \"{key}\": {why}; `iris fsck` tells of which file")]
    Broken {
        /// The store.
        place: String,
        /// The key where it shows.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// Bytes that were written are not there.
    #[error("{place}: object \"{key}\": missing or too short, although bytes of the file were put there")]
    Lost {
        /// The store.
        place: String,
        /// Its key.
        key: String,
    },
    /// The file's mapper cannot be made.
    #[error("{place}: a file's mapper `{mapper}` cannot be made: {why}")]
    Mapper {
        /// The store.
        place: String,
        /// Its text.
        mapper: String,
        /// Why.
        why: String,
    },
    /// Others changed the file again and again.
    #[error(
        "{place}: other nodes change the map of this file faster than this one can follow; it is tried again"
    )]
    Contended {
        /// The store.
        place: String,
    },
    /// A thread holds the map that was interrupted.
    #[error("the map of a file is in use by an interrupted call")]
    Busy,
}

impl MapError {
    /// A record that does not fit.
    pub fn record(place: &str, key: &[u8], why: &RecordError) -> MapError {
        MapError::Broken { place: place.into(), key: key.escape_ascii().to_string(), why: why.to_string() }
    }

    /// The error number that a program sees.
    pub fn errno(&self) -> i32 {
        match self {
            // An object that should be there is not: no name is missing.
            MapError::Store(e) if matches!(e.kind, Kind::NotFound | Kind::Precondition) => libc::EIO,
            MapError::Store(e) => e.kind.errno(),
            MapError::Plan { source: PlanError::Foreign { .. }, .. } => libc::EIO,
            MapError::Plan { .. } => libc::EFBIG,
            MapError::Contended { .. } => libc::EAGAIN,
            MapError::Busy => libc::EDEADLK,
            _ => libc::EIO,
        }
    }
}
