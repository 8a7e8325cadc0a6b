//! What killed processes left: files whose bytes had not been sent, and objects of files that lost their last name.
//! Owns finding them, from the control files, and bringing each to its end; for `iris drain` and `iris fsck`.

use super::Home;
use super::control::{CHANGED, Control, LOOSE, SENDING, UNLINKED, WILD};
use super::resident::Anchor;
use crate::errno::Errno;
use crate::sys;
use crate::tier0::pool::Pool;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// What a control file that nobody has open tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// The file was sent home: its anchor, and its length in bytes.
    Settled(PathBuf, u64),
    /// This process, and perhaps others, has it open and will see to it.
    InUse(PathBuf, u32),
    /// The objects of a file that has no name any more were deleted.
    Removed,
    /// It could not be brought to its end.
    Failed(PathBuf, Errno),
}

/// A file of which the store lacks something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// Its anchor.
    pub anchor: PathBuf,
    /// Bytes that the store lacks, in whole granules; all of it where the kernel writes it and no hook sees that.
    pub bytes: u64,
    /// A process that has it open, and will see to it; 0 for none.
    pub pid: u32,
}

impl Home {
    /// The files of which the store lacks something.
    ///
    /// # Errors
    /// Where the folder of control files, or the tree, cannot be read.
    pub fn unsent(&self) -> Result<Vec<Unsent>, Errno> {
        let unfinished = match self.unfinished() {
            // Nobody has used it yet.
            Err(Errno(libc::ENOENT)) => return Ok(Vec::new()),
            other => other?,
        };
        if unfinished.is_empty() {
            return Ok(Vec::new());
        }
        let anchors = self.anchors()?;
        let unsent = unfinished.iter().filter_map(|control| {
            let flags = control.head().flags.load(Ordering::Acquire);
            let anchor = anchors.get(&control.ino()).filter(|a| flags & UNLINKED == 0 && control.is_of(a))?;
            let len = anchor.metadata().map_or(0, |m| m.len());
            let bytes = if flags & WILD == 0 { control.dirty_bytes(len) } else { len };
            Some(Unsent { anchor: anchor.clone(), bytes, pid: control.opener().unwrap_or(0) })
        });
        Ok(unsent.collect())
    }

    /// Brings every file to its end that was not sent, or not deleted, and is open nowhere. With `all` also those that
    /// are open.
    ///
    /// # Errors
    /// Where the folder of control files cannot be read; what concerns one file is told with it.
    pub fn drain(
        &'static self,
        pool: &'static Pool,
        all: bool,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<Left>, Errno> {
        let mut left = Vec::new();
        let unfinished = self.unfinished()?;
        if unfinished.is_empty() {
            return Ok(left);
        }
        let anchors = self.anchors()?;
        for control in unfinished {
            let ino = control.ino();
            let flags = control.head().flags.load(Ordering::Acquire);
            let anchor = anchors.get(&ino).filter(|a| control.is_of(a));
            match anchor {
                Some(path) if !wanted(path) => {}
                _ if control.is_open() && !all => {
                    // One without a name is whoever has it open's alone.
                    if let Some(path) = anchor {
                        left.push(Left::InUse(path.clone(), control.opener().unwrap_or(0)));
                    }
                }
                Some(path) if flags & UNLINKED == 0 => left.push(self.send_left(path, pool)),
                // Its last name went while nobody could tell.
                _ if !control.is_open() => {
                    self.remove_objects(&control);
                    left.push(Left::Removed);
                }
                _ => {}
            }
        }
        Ok(left)
    }

    /// Gives back the room that anchors take of what the store has too. Returns how many bytes went.
    ///
    /// # Errors
    /// Where the tree cannot be read, or an anchor cannot be opened.
    pub fn release(&'static self, pool: &'static Pool) -> Result<u64, Errno> {
        let mut gone = 0;
        for (_, path) in self.anchors()? {
            let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno(libc::EINVAL))?;
            let fd = sys::open(&name, rustix::fs::OFlags::RDONLY, 0)?;
            let resident = self.resident(fd.raw(), pool, false)?;
            gone += resident.release_all(Anchor::here(fd.raw()))?;
        }
        Ok(gone)
    }

    fn send_left(&'static self, path: &Path, pool: &'static Pool) -> Left {
        let send = || -> Result<u64, Errno> {
            let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno(libc::EINVAL))?;
            let fd = sys::open(&name, rustix::fs::OFlags::RDONLY, 0)?;
            let resident = self.resident(fd.raw(), pool, false)?;
            resident.settle(Anchor::here(fd.raw()))?;
            if !resident.control().is_open() && resident.is_passed(fd.raw())? != Some(true) {
                resident.control().head().flags.fetch_and(!(WILD | LOOSE), Ordering::AcqRel);
            }
            Ok(sys::fstat(fd.raw())?.st_size as u64)
        };
        match send() {
            Ok(len) => Left::Settled(path.to_owned(), len),
            Err(e) => Left::Failed(path.to_owned(), e),
        }
    }

    /// Whether there is anything that [`Home::drain`] might see to.
    pub fn has_unfinished(&self) -> bool {
        // Where it cannot be told, draining says why.
        self.unfinished().map_or(true, |found| !found.is_empty())
    }

    /// Control files of files that the store lacks something of, or that have no name.
    fn unfinished(&self) -> Result<Vec<Control>, Errno> {
        let mut found = Vec::new();
        let folder = Path::new(OsStr::from_bytes(&self.controls));
        for entry in std::fs::read_dir(folder).map_err(errno)? {
            let path = entry.map_err(errno)?.path();
            let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno(libc::EINVAL))?;
            // One that is being made, or is none of ours, has no head yet.
            const LEFT: u32 = CHANGED | WILD | UNLINKED | SENDING;
            if Control::flags_at(&name).is_some_and(|flags| flags & LEFT != 0)
                && let Ok(control) = Control::open_any(&name)
                && control.head().flags.load(Ordering::Acquire) & LEFT != 0
            {
                found.push(control);
            }
        }
        Ok(found)
    }

    /// The anchors of the shadow tree by inode number.
    fn anchors(&self) -> Result<BTreeMap<u64, PathBuf>, Errno> {
        let mut anchors = BTreeMap::new();
        let mut folders = vec![PathBuf::from(OsStr::from_bytes(&self.tree))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).map_err(errno)? {
                let entry = entry.map_err(errno)?;
                let Ok(meta) = entry.path().symlink_metadata() else { continue };
                if meta.is_dir() {
                    folders.push(entry.path());
                } else if meta.is_file() {
                    anchors.insert(meta.ino(), entry.path());
                }
            }
        }
        Ok(anchors)
    }
}

fn errno(e: std::io::Error) -> Errno {
    Errno(e.raw_os_error().unwrap_or(libc::EIO))
}
