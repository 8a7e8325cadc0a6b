//! What this node knows of a home: its control files, and the anchors in its tree. Owns reading both so that nothing is
//! taken for missing that was only being moved.

use super::{CheckError, Doubt, Fate, Finding, How, What};
use crate::errno::Errno;
use crate::home::control::Control;
use crate::home::{Home, holders::Held};
use crate::sys;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// How often a tree is walked until nothing has changed in it meanwhile.
const WALKS: u32 = 20;
/// Microseconds between two walks.
const PAUSE_US: u32 = 100_000;

/// A control file.
pub(super) struct Known {
    pub path: CString,
    pub id: [u64; 2],
    /// Up to where the store may hold bytes.
    pub stored: u64,
    /// A living process of this node has the file open, as far as can be told.
    pub open: bool,
    born: u64,
    /// Its anchor.
    pub anchor: Option<Anchor>,
}

/// An anchor in the tree.
#[derive(Clone)]
pub(super) struct Anchor {
    /// Its name below the tree.
    pub name: Vec<u8>,
    pub len: u64,
    born: u64,
    /// It holds bytes for all of its length.
    whole: bool,
}

/// What goes with a control file: what the keys begin with, how many objects, and their bytes.
#[derive(Default)]
pub(super) struct Objects {
    pub key: Option<Vec<u8>>,
    pub count: u64,
    pub bytes: u64,
}

/// See the module.
pub(super) struct Local {
    /// By the anchor's inode number.
    pub controls: BTreeMap<u64, Known>,
    /// Control files that cannot be read.
    pub unreadable: Vec<PathBuf>,
    /// Anchors without control files that hold less than their length.
    pub unclaimed: Vec<Anchor>,
    /// Whether nothing changed in the tree while it was walked.
    pub at_rest: bool,
    /// Anchors that were being made when whoever did it died.
    halves: Vec<PathBuf>,
}

impl Local {
    /// Reads both. What changes names takes the node's turn where names are shared, and it is held then (`turn`); else the
    /// tree is walked until it is found at rest, unless what was read is not `doubtful`.
    pub fn read(
        home: &Home,
        turn: Option<&Held<'_>>,
        doubtful: impl Fn(&BTreeMap<u64, Known>) -> bool,
    ) -> Result<Local, CheckError> {
        let mut local = Local {
            controls: BTreeMap::new(),
            unreadable: Vec::new(),
            unclaimed: Vec::new(),
            at_rest: turn.is_some(),
            halves: Vec::new(),
        };
        local.read_controls(Path::new(OsStr::from_bytes(&home.controls)))?;
        let root = Path::new(OsStr::from_bytes(&home.tree));
        for round in 1.. {
            let walk = walk(root)?;
            local.at_rest |= walk.was_at_rest();
            local.match_with(walk.files);
            if local.at_rest || round == WALKS || !doubtful(&local.controls) {
                break;
            }
            sys::nap(PAUSE_US);
        }
        Ok(local)
    }

    /// Tells which anchor each control file is of.
    fn match_with(&mut self, anchors: BTreeMap<u64, Anchor>) {
        let same = |a: u64, b: u64| a == b || a == 0 || b == 0;
        self.controls.values_mut().for_each(|c| c.anchor = None);
        self.unclaimed.clear();
        for (ino, anchor) in anchors {
            match self.controls.get_mut(&ino).filter(|c| same(c.born, anchor.born)) {
                Some(control) => control.anchor = Some(anchor),
                None if !anchor.whole => self.unclaimed.push(anchor),
                None => {}
            }
        }
    }

    fn read_controls(&mut self, folder: &Path) -> Result<(), CheckError> {
        let at = |e: std::io::Error| CheckError::at(folder.display().to_string())(errno(&e));
        for entry in std::fs::read_dir(folder).map_err(at)? {
            let path = entry.map_err(at)?.path();
            let name = path.file_name().unwrap_or_default().as_bytes();
            if name.starts_with(b"new-") {
                self.halves.push(path);
                continue;
            }
            if name.len() != 16 || !name.iter().all(u8::is_ascii_hexdigit) {
                // The lock of names, the table of processes and the like.
                continue;
            }
            let place = sys::c_path(&path).map_err(CheckError::at(path.display().to_string()))?;
            match Control::open_any(&place) {
                Ok(control) => {
                    let known = Known {
                        id: control.id(),
                        stored: control.head().stored_len.load(Ordering::Acquire),
                        open: control.is_open(),
                        born: control.born(),
                        anchor: None,
                        path: place,
                    };
                    self.controls.insert(control.ino(), known);
                }
                Err(Errno(libc::ENOENT)) if is_begun(&path) => {}
                Err(Errno(libc::ENOENT)) => self.unreadable.push(path),
                Err(e) => return Err(CheckError::at(path.display().to_string())(e)),
            }
        }
        Ok(())
    }

    /// Whether a living process of this node has a file of this identity open, as far as can be told.
    pub fn is_open(&self, id: [u64; 2]) -> bool {
        self.controls.values().any(|c| c.id == id && c.open)
    }

    /// Control files without an anchor, of files that nobody has open: `about` tells which objects go with one, and `clear`
    /// deletes those. With `doubt` all stay.
    pub fn strays(
        &self,
        how: How,
        doubt: Option<Doubt>,
        about: impl Fn(&Known) -> Objects,
        clear: impl Fn(&Known) -> Result<(), String>,
    ) -> Vec<Finding> {
        let mut found = Vec::new();
        for known in self.controls.values().filter(|c| c.anchor.is_none()) {
            // It may have gone, or been opened, since it was read.
            let Ok(control) = Control::open_any(&known.path) else { continue };
            let crowded = control.is_crowded();
            if control.id() != known.id || control.is_open() && !crowded {
                continue;
            }
            let go = || clear(known).and_then(|()| control.remove().map_err(|e| e.to_string()));
            let fate = match doubt {
                Some(doubt) => Fate::Kept(doubt),
                None if crowded => how.doubted(Doubt::Crowd, go),
                None => how.fate(go),
            };
            let Objects { key, count, bytes } = about(known);
            let finding = Finding::new(What::Control, fate).counting(count, bytes);
            found.push(Finding { key, ..finding.at(shown(&known.path)) });
        }
        found
    }

    /// Control files that cannot be read, and anchors that were half made. The node's turn is held.
    pub fn wrecks(&self, how: How) -> Vec<Finding> {
        let told = |path: &PathBuf| Finding::new(What::Unreadable, Fate::Told).at(path.clone());
        let half = |path: &PathBuf| {
            let fate = how.fate(|| match std::fs::remove_file(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.to_string()),
                _ => Ok(()),
            });
            Finding::new(What::Half, fate).at(path.clone())
        };
        self.unreadable.iter().map(told).chain(self.halves.iter().map(half)).collect()
    }
}

fn shown(path: &CString) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path.as_bytes()))
}

pub(super) fn errno(e: &std::io::Error) -> Errno {
    Errno(e.raw_os_error().unwrap_or(libc::EIO))
}

/// Whether a control file has only been begun, or has gone: it names no file yet, and nothing of one was put.
fn is_begun(path: &Path) -> bool {
    let Ok(name) = sys::c_path(path) else { return false };
    let mut head = [0u8; 8];
    match sys::read_small(&name, &mut head) {
        Ok(head) => head.iter().all(|b| *b == 0),
        Err(e) => e == Errno(libc::ENOENT),
    }
}

/// What a walk of a tree has met.
struct Walk {
    files: BTreeMap<u64, Anchor>,
    /// When it began, and each folder with the time at which it had changed last.
    began: u64,
    folders: Vec<(PathBuf, u64)>,
}

impl Walk {
    /// Whether nothing was moved past it. A rename changes the times of both its folders, and no folder has changed since
    /// before the walk began.
    fn was_at_rest(&self) -> bool {
        self.folders.iter().all(|(folder, then)| {
            *then < self.began && folder.symlink_metadata().is_ok_and(|now| changed(&now) == *then)
        })
    }
}

/// When a folder changed last, in nanoseconds since 1970.
fn changed(folder: &std::fs::Metadata) -> u64 {
    folder.ctime() as u64 * 1_000_000_000 + folder.ctime_nsec() as u64
}

/// All anchors below `root`.
fn walk(root: &Path) -> Result<Walk, CheckError> {
    let at = |path: &Path| {
        let place = path.display().to_string();
        move |e: std::io::Error| CheckError::at(place)(errno(&e))
    };
    let mut walk = Walk { files: BTreeMap::new(), began: sys::coarse_ns(), folders: Vec::new() };
    let device = root.symlink_metadata().map_err(at(root))?.dev();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        // One that went meanwhile has changed the one above it.
        let Ok(before) = folder.symlink_metadata() else { continue };
        let entries = match std::fs::read_dir(&folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(at(&folder))?,
        };
        for entry in entries {
            let path = entry.map_err(at(&folder))?.path();
            let Ok(meta) = path.symlink_metadata() else { continue };
            if meta.dev() != device {
                // A file system that is mounted there: not the home's.
                continue;
            }
            if meta.is_dir() {
                waiting.push(path);
            } else if meta.is_file() {
                let name = sys::c_path(&path).map_err(CheckError::at(path.display().to_string()))?;
                let below = path.strip_prefix(root).unwrap_or(&path);
                let anchor = Anchor {
                    name: below.as_os_str().as_bytes().to_vec(),
                    len: meta.len(),
                    born: sys::birth_at(libc::AT_FDCWD, &name, meta.ino()),
                    whole: meta.blocks() * 512 >= meta.len(),
                };
                walk.files.insert(meta.ino(), anchor);
            }
        }
        walk.folders.push((folder, changed(&before)));
    }
    Ok(walk)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A walk of a tree in which nothing changes.
    fn walk_at_rest(root: &Path) -> Walk {
        loop {
            let walk = walk(root).unwrap();
            if walk.was_at_rest() {
                return walk;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_moved_during_a_walk_voids_it() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in ["a", "b", "b/c"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        std::fs::write(at("a/f"), b"x").unwrap();
        let (mut from, mut to) = ("a/f", "b/c/f");
        for _ in 0..20 {
            let walk = walk_at_rest(root.path());
            assert_eq!((walk.files.len(), walk.folders.len()), (1, 4));
            std::fs::rename(at(from), at(to)).unwrap();
            assert!(!walk.was_at_rest(), "{from} was moved to {to}");
            (from, to) = (to, from);
        }
        let walk = walk_at_rest(root.path());
        // What is written, and no folder knows of, moves nothing.
        std::fs::write(at(from), b"xyz").unwrap();
        assert!(walk.was_at_rest());
    }
}
