//! What calls by name do to files that are staged: open and change by path, rename, link, unlink. Owns which bytes
//! go home before the kernel acts on a name, and which files leave the overlay with it. Knows no descriptor's offset
//! and looks at the table of descriptors only through a file.

use super::holds;
use super::state::{self, Engine};
use crate::config::Settle;
use crate::errno::Errno;
use crate::home::resident::Anchor;
use crate::home::{self, Home};
use crate::log;
use crate::report::Bypass;
use crate::{file, namespace, report, sys};
use std::ffi::{CStr, CString, c_int};
use std::sync::atomic::Ordering;

/// Before the kernel opens, truncates or otherwise changes by name: if the open would truncate (`flags` with
/// O_TRUNC) or `flags` is 0 (truncate, utimensat, chmod, setxattr … by path), bytes staged for that file go
/// home first. Costs one load while nothing is staged on the node.
pub fn before_path(dirfd: c_int, path: &CStr, flags: c_int, follow: bool) -> Result<(), Errno> {
    let Some(engine) = state::engine() else { return Ok(()) };
    if flags != 0 && flags & libc::O_TRUNC == 0 || !(engine.anything_staged() || engine.reads_ahead) {
        return Ok(());
    }
    // A path that cannot be looked at fails in the kernel as well.
    let Ok(st) = sys::statat(dirfd, path, follow) else { return Ok(()) };
    if let Some(file) = engine.known_file((st.st_dev, st.st_ino)) {
        // What this process has read ahead is void.
        file.wrote_base();
    }
    rights_are_the_kernels(settle_as(engine, (st.st_dev, st.st_ino), &|_| absolute(dirfd, path, follow)))
}

/// truncate(2): `Ok(true)` when it is done, because the file's bytes lie in a store, which must hear of it. Else it is
/// the kernel's, after [`before_path`].
///
/// # Errors
/// Those of the call.
pub fn truncate(path: &CStr, len: i64) -> Result<bool, Errno> {
    let Some(engine) = state::engine() else { return Ok(false) };
    if !engine.stores || len < 0 {
        return Ok(false);
    }
    let mut buf = [0u8; 4096];
    let Ok(name) = sys::real_name(libc::AT_FDCWD, path, true, &mut buf) else { return Ok(false) };
    let (Some(home), Some(pool)) = (home::of(name), engine.pool()) else { return Ok(false) };
    let mounts = &engine.config.mounts;
    let at_once = namespace::mount_of(name, mounts).is_some_and(|m| mounts[m].settle == Settle::Close);
    crate::aside::with_file(|| {
        let fd = sys::open(path, rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK, 0)?;
        let st = sys::fstat(fd.raw())?;
        if st.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Ok(false);
        }
        let resident = match home.resident(fd.raw(), pool, false) {
            Err(Errno(libc::EXDEV)) => return Ok(false),
            other => other?,
        };
        resident.truncating(fd.raw(), len as u64, || sys::ftruncate(fd.raw(), len as u64))?;
        // Whoever has it open sends it when he closes it.
        if at_once && !resident.control().is_open() {
            resident.settle(Anchor::here(fd.raw()))?;
        }
        Ok(true)
    })
}

/// The name the kernel has for what a path leads to.
fn absolute(dirfd: c_int, path: &CStr, follow: bool) -> Option<CString> {
    let mut buf = [0u8; 4096];
    CString::new(sys::real_name(dirfd, path, follow, &mut buf).ok()?).ok()
}

/// Where this user may not complete a file, the kernel's own call tells what he may.
pub(super) fn rights_are_the_kernels(settled: Result<(), Errno>) -> Result<(), Errno> {
    match settled {
        Err(Errno(libc::EACCES | libc::EPERM)) => Ok(()),
        other => other,
    }
}

/// Sends home what is staged for a file, whoever staged it.
pub(super) fn settle(engine: &Engine, id: (u64, u64)) -> Result<(), Errno> {
    settle_as(engine, id, &|_| None)
}

/// As [`settle`], where `elsewhere` knows a name of the file.
fn settle_as(engine: &Engine, id: (u64, u64), elsewhere: file::Elsewhere<'_>) -> Result<(), Errno> {
    let Some(pool) = engine.pool() else { return Ok(()) };
    let Some(slot) = pool.find(id.0, id.1) else { return Ok(()) };
    if let Some(file) = engine.known_file(id)
        && file.has_descriptors()
    {
        let flushed = file.flush();
        if flushed.is_ok() {
            file.base_changed();
        }
        return flushed;
    }
    match file::settle_by_name(pool, slot, elsewhere) {
        (_, file::ByName::Failed(e)) => Err(e),
        (name, file::ByName::Damaged) => {
            log::say(1, || damaged(&name));
            Err(Errno(libc::EIO))
        }
        (
            _,
            file::ByName::Empty
            | file::ByName::Settled(_)
            | file::ByName::Removed(_)
            | file::ByName::Gone
            | file::ByName::Newer,
        ) => Ok(()),
    }
}

fn damaged(name: &[u8]) -> String {
    format!(
        "{}: the journal of its staged bytes is damaged; nothing is served from it; see `iris drain`",
        String::from_utf8_lossy(name)
    )
}

/// What a rename is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renamed {
    /// Nothing that this process has open.
    Nothing,
    /// A file of this process.
    File((u64, u64)),
    /// Not a regular file: perhaps a folder with files of this process.
    Folder,
}

/// Before rename(2): `from` may be a directory. Keeps the names under which staged bytes would be recovered true.
/// Give the answer to [`renamed`] when the call has succeeded.
pub fn before_rename(olddir: c_int, from: &CStr) -> Result<Renamed, Errno> {
    let Some(engine) = state::engine() else { return Ok(Renamed::Nothing) };
    if let Some(pool) = engine.pool() {
        pool.superblock().renames.fetch_add(1, Ordering::AcqRel);
    }
    let Ok(st) = sys::statat(olddir, from, false) else { return Ok(Renamed::Nothing) };
    if st.st_mode & libc::S_IFMT == libc::S_IFREG {
        let id = (st.st_dev, st.st_ino);
        if engine.anything_staged() {
            rights_are_the_kernels(settle_as(engine, id, &|_| absolute(olddir, from, false)))?;
        }
        return Ok(engine.known_file(id).map_or(Renamed::Nothing, |_| Renamed::File(id)));
    }
    // Everything staged might lie below.
    rights_are_the_kernels(settle_everything())?;
    Ok(Renamed::Folder)
}

/// After rename(2) of a file that this process has open, or of a folder: what is under no mount by its
/// new name leaves the overlay, since whoever opens it by that name looks at the file alone.
pub fn renamed(what: Renamed) {
    let Some(engine) = state::engine() else { return };
    let files = match what {
        Renamed::Nothing => return,
        Renamed::File(id) => engine.known_file(id).into_iter().collect(),
        Renamed::Folder => engine.files(),
    };
    for file in files {
        let mut buf = [0u8; 4096];
        let outside = file.any_descriptor().is_some_and(|fd| {
            sys::name_of(fd, &mut buf).is_ok_and(|n| namespace::mount_of(n, &engine.config.mounts).is_none())
        });
        if outside {
            leaves_the_mounts(&file);
        }
    }
}

/// Before link(2) gives one more name to a file, which `path` leads to, or `dirfd` is when `path` is empty: if it has
/// none yet (O_TMPFILE), what is staged goes home, since whoever finds the name at once must not take the bytes for
/// those of a removed file.
pub fn before_link(dirfd: c_int, path: &CStr, follow: bool) -> Result<(), Errno> {
    let Some(engine) = state::engine() else { return Ok(()) };
    if !engine.anything_staged() {
        return Ok(());
    }
    let st = if path.is_empty() { sys::fstat(dirfd) } else { sys::statat(dirfd, path, follow) };
    match st {
        Ok(st) if st.st_nlink == 0 => rights_are_the_kernels(settle(engine, (st.st_dev, st.st_ino))),
        // The kernel's own call tells of a source that is not there.
        _ => Ok(()),
    }
}

/// After link(2) made the name `path`: as [`renamed`], for a file that got a name under no mount. One that had no
/// name at all (O_TMPFILE) can be found by this one from now on.
pub fn linked(dirfd: c_int, path: &CStr) {
    let Some(engine) = state::engine() else { return };
    let Ok(st) = sys::statat(dirfd, path, false) else { return };
    if st.st_nlink == 1
        && engine.anything_staged()
        && let Some(pool) = engine.pool()
        && let Some(slot) = pool.find(st.st_dev, st.st_ino)
        && let Some(name) = absolute(dirfd, path, false)
    {
        pool.superblock().renames.fetch_add(1, Ordering::AcqRel);
        file::mark_named(pool, slot, (st.st_dev, st.st_ino), name.to_bytes());
    }
    let Some(file) = engine.known_file((st.st_dev, st.st_ino)) else { return };
    let mut buf = [0u8; 4096];
    if !sys::real_name(dirfd, path, false, &mut buf)
        .is_ok_and(|n| namespace::mount_of(n, &engine.config.mounts).is_some())
    {
        leaves_the_mounts(&file);
    }
}

fn leaves_the_mounts(file: &file::File) {
    report::bypassed(Bypass::Outside);
    // The file's next write or close tells of an error.
    let _ = holds::leave(file);
}

/// Sends home everything that is staged on the node: before glibc looks at many files where no hook sees it
/// (nftw, fts).
pub fn settle_everything() -> Result<(), Errno> {
    let Some(engine) = state::engine() else { return Ok(()) };
    let Some(pool) = engine.pool() else { return Ok(()) };
    if !engine.anything_staged() {
        return Ok(());
    }
    for (number, key) in pool.keys().iter().enumerate() {
        let dev = key.dev.load(Ordering::Acquire);
        if dev != 0 && pool.slots()[number].is_staged() {
            settle(engine, (dev - 1, key.ino.load(Ordering::Acquire)))?;
        }
    }
    Ok(())
}

/// Before a name is removed or replaced (unlink, remove, rename's target): if it is the last name of a file with
/// staged bytes, they go home, so that nothing is staged under an inode number that may soon be another file's.
/// Give the answer to [`removed`] when the call has succeeded.
pub fn removing(dirfd: c_int, path: &CStr) -> Option<Leaving> {
    let engine = state::engine()?;
    if !(engine.anything_staged() || engine.stores) {
        return None;
    }
    let st = sys::statat(dirfd, path, false).ok()?;
    if st.st_mode & libc::S_IFMT != libc::S_IFREG {
        return None;
    }
    let id = (st.st_dev, st.st_ino);
    let home = if engine.stores { home_of(dirfd, path, id) } else { None };
    if engine.anything_staged() {
        // Bytes that cannot go home (a full disk) go with the file, in `removed`.
        let _ = settle_as(engine, id, &|_| absolute(dirfd, path, false));
    }
    if st.st_nlink != 1 {
        // It lives on under another name, but this may be the one that recovery would look for.
        if let Some(pool) = engine.pool() {
            pool.superblock().renames.fetch_add(1, Ordering::AcqRel);
        }
        return None;
    }
    let known = engine.pool().is_some_and(|pool| pool.find(id.0, id.1).is_some());
    if !known && home.is_none() {
        return None;
    }
    // Without a descriptor to be had, what is staged from now on for a file without a name is left to `iris drain`.
    let pin = sys::pin(dirfd, path).ok()?;
    let same = sys::fstat(pin.raw()).is_ok_and(|now| (now.st_dev, now.st_ino) == id);
    same.then_some(Leaving { id, home, pin })
}

/// A file about to lose its last name.
pub struct Leaving {
    id: (u64, u64),
    /// When its bytes live in a store: where, and its time of birth.
    home: Option<(&'static Home, u64)>,
    /// As long as it is open, no other file gets the inode number: another thread may make one at once, and what is
    /// said of this file must not be taken for that one's.
    pin: sys::OwnFd,
}

fn home_of(dirfd: c_int, path: &CStr, id: (u64, u64)) -> Option<(&'static Home, u64)> {
    let mut buf = [0u8; 4096];
    // Where names are shared, who removed the last one is decided in the store (`shared`).
    let home = home::of(sys::real_name(dirfd, path, false, &mut buf).ok()?).filter(|h| !h.is_shared())?;
    Some((home, sys::birth_at(dirfd, path, id.1)))
}

/// A file has lost its last name: what is still staged for it matters only to those who have it open, and goes
/// with the last of them.
pub fn removed(leaving: Leaving) {
    let Leaving { id, home, pin } = leaving;
    let Some(engine) = state::engine() else { return };
    if let Some((home, born)) = home {
        home.unlinked(id.1, born, engine.known_file(id).is_some_and(|f| f.has_descriptors()));
    }
    if let Some(pool) = engine.pool()
        && let Some(slot) = pool.find(id.0, id.1)
    {
        let open_here = engine.known_file(id).is_some_and(|f| f.has_descriptors());
        file::mark_removed(pool, slot, id, open_here);
    }
    drop(pin);
}
