//! The files of a store: names, and descriptors kept or not. Owns the descriptors; knows nothing of what is in files.

use crate::options::Descriptors;
use crate::sys::{self, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Descriptors that are kept at most.
const MOST: usize = 256;

/// A file of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum File {
    /// A container.
    Container(u32),
    /// A log.
    Log(u16),
}

/// The files below a store's `objects`.
pub struct Files {
    folder: PathBuf,
    keep: bool,
    open: Mutex<HashMap<(u32, File), Arc<OwnedFd>>>,
}

impl Files {
    /// Of the store in `folder`.
    pub fn new(folder: PathBuf, descriptors: Descriptors) -> Files {
        Files { folder, keep: descriptors == Descriptors::Keep, open: Mutex::default() }
    }

    /// `objects` itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of a shard's files.
    pub fn shard(&self, shard: u32) -> PathBuf {
        self.folder.join(format!("{shard:02x}"))
    }

    /// A file's name.
    pub fn path(&self, shard: u32, file: File) -> PathBuf {
        let name = match file {
            File::Container(number) => format!("{number:08x}"),
            File::Log(generation) => format!("log-{generation:03x}"),
        };
        self.shard(shard).join(name)
    }

    /// A descriptor of a file, which is made if there is none and `make` says so.
    pub fn open(&self, shard: u32, file: File, make: bool) -> Result<Arc<OwnedFd>> {
        if !self.keep {
            return self.open_now(shard, file, make);
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fd) = open.get(&(shard, file)) {
            return Ok(fd.clone());
        }
        if open.len() >= MOST {
            // Any half: which ones are used next is not known, and opening again is cheap.
            let mut odd = false;
            open.retain(|_, _| {
                odd = !odd;
                odd
            });
        }
        let fd = self.open_now(shard, file, make)?;
        open.insert((shard, file), fd.clone());
        Ok(fd)
    }

    fn open_now(&self, shard: u32, file: File, make: bool) -> Result<Arc<OwnedFd>> {
        let path = self.path(shard, file);
        // What is kept may be written through later.
        let existing = || {
            let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
            rustix::fs::open(&path, flags, rustix::fs::Mode::empty())
        };
        let fd = match existing() {
            Err(Errno::NOENT) if make => sys::open_write(&path)?,
            other => other?,
        };
        Ok(Arc::new(fd))
    }

    /// Closes a kept descriptor: its file goes.
    pub fn forget(&self, shard: u32, file: File) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&(shard, file));
    }

    /// Removes a file, and empties it before: another process may keep a descriptor of it for long.
    pub fn remove(&self, shard: u32, file: File) -> Result<()> {
        match self.open(shard, file, false).and_then(|fd| sys::empty(fd.as_fd())) {
            Ok(()) | Err(Errno::NOENT) => (),
            Err(e) => return Err(e),
        }
        self.forget(shard, file);
        sys::remove(&self.path(shard, file))
    }
}
