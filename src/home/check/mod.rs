//! Holding what a home's store has against the home's names, for `iris fsck`. Owns what counts as wrong, and what may be
//! deleted; reads files' maps through [`super::map`] and names through [`super::catalog`], and changes neither.
//!
//! Nothing goes that a living process may be using, by this order: the objects are listed first, then it is asked who has
//! files. An object that was listed has an owner who was there before it, and who is there still unless the file was
//! removed. What follows depends on who could know the owner:
//! - Of a home of one node (`kv:`) every file has a control file, from before its first object until after its last. What
//!   no control file names is nobody's.
//! - Of a home that nodes share, another node may have a file open that has no name (removed, or made by O_TMPFILE), or
//!   may be sending one. Nothing tells, so nothing goes unless whoever asks says that no program uses the home.
//! - Where a file is one object, all is names; only what Iris itself puts beside them can be too much.

mod local;
mod mapped;
#[cfg(test)]
mod tests;
mod whole;

use super::{Home, service};
use crate::errno::Errno;
use iris_store::{Store, StoreError};
use std::path::PathBuf;
use std::sync::Arc;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Objects of a file that there is not.
    Orphan,
    /// Objects within a file that nothing reads.
    Leftover,
    /// An object that the file's index names is missing, or too short.
    Lost,
    /// A file's map cannot be read; why.
    Damaged(String),
    /// An object whose key no file has.
    Foreign,
    /// An object under a name that another object hides.
    Hidden,
    /// An object by which Iris has asked what the server can do.
    Probe,
    /// A control file without its anchor.
    Control,
    /// A control file that this version cannot read.
    Unreadable,
    /// An anchor that was half made.
    Half,
    /// An anchor without a control file, which holds less than its length.
    Unclaimed,
    /// A rename that was begun and not ended.
    Rename,
}

/// Why something stays that would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// A process of another node may have the file open.
    OtherNodes,
    /// More processes of this node had it open than could be noted.
    Crowd,
    /// Names changed all the time while they were looked at.
    Restless,
    /// It may belong to an anchor of which it is not known which objects it has.
    Unclaimed,
}

/// What became, or may become, of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There is nothing to delete.
    Told,
    /// A repair deletes it.
    Removable,
    /// It was deleted, or brought to its end.
    Repaired,
    /// It stays.
    Kept(Doubt),
    /// It could not be deleted.
    Failed(String),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub what: What,
    /// The file's name below the mount, where it has one.
    pub name: Option<Vec<u8>>,
    /// The key in the store (or what the keys of several objects begin with).
    pub key: Option<Vec<u8>>,
    /// The file on this node.
    pub path: Option<PathBuf>,
    /// How many objects it is about.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What became of it.
    pub fate: Fate,
}

impl Finding {
    fn new(what: What, fate: Fate) -> Finding {
        Finding { what, name: None, key: None, path: None, objects: 0, bytes: 0, fate }
    }

    fn of(self, name: &[u8]) -> Finding {
        Finding { name: Some(name.to_vec()), ..self }
    }

    fn under(self, key: impl Into<Vec<u8>>) -> Finding {
        Finding { key: Some(key.into()), ..self }
    }

    fn at(self, path: impl Into<PathBuf>) -> Finding {
        Finding { path: Some(path.into()), ..self }
    }

    fn counting(self, objects: u64, bytes: u64) -> Finding {
        Finding { objects, bytes, ..self }
    }
}

/// What a look at a home has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files that were looked at.
    pub files: u64,
    /// Objects that were looked at.
    pub objects: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// What may be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// What is known to be nobody's is deleted.
    pub repair: bool,
    /// No program uses the home, on any node.
    pub unused: bool,
}

impl How {
    /// What becomes of something that is nobody's: `remove` deletes it.
    fn fate(self, remove: impl FnOnce() -> Result<(), String>) -> Fate {
        match self.repair.then(remove) {
            None => Fate::Removable,
            Some(Ok(())) => Fate::Repaired,
            Some(Err(why)) => Fate::Failed(why),
        }
    }

    /// The same where somebody may have it, unless nobody uses the home.
    fn doubted(self, doubt: Doubt, remove: impl FnOnce() -> Result<(), String>) -> Fate {
        if self.unused { self.fate(remove) } else { Fate::Kept(doubt) }
    }
}

/// Why a home could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A place on this node, or the names in the store, cannot be read.
    #[error("{place}: {source}")]
    Place {
        /// Which.
        place: String,
        /// Why.
        source: Errno,
    },
}

impl CheckError {
    fn at(place: impl Into<String>) -> impl FnOnce(Errno) -> CheckError {
        let place = place.into();
        |source| CheckError::Place { place, source }
    }
}

impl Home {
    /// Holds what the store has against the home's names, and deletes what is nobody's where that is asked for.
    ///
    /// # Errors
    /// Where the store, or what this node knows of the home, cannot be read.
    pub fn check(&'static self, how: How) -> Result<Report, CheckError> {
        let here = || String::from_utf8_lossy(&self.controls).into_owned();
        service::call(|| match (self.layout.is_whole(), self.is_shared()) {
            (true, _) => whole::check(self, how),
            (false, true) => mapped::check_shared(self, how),
            (false, false) => mapped::check_own(self, how),
        })
        .map_err(CheckError::at(here()))?
    }

    /// The store, or why there is none in the store's own words.
    fn store_to_check(&self) -> Result<Arc<dyn Store>, CheckError> {
        self.store.store().map_err(CheckError::Store)
    }
}
