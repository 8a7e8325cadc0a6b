//! What keeps a file's name and its sending apart where the name is the object's key. Owns the order: whoever moves or
//! removes a file holds its sending back until catalog and tree agree again; whoever moves a directory holds back all
//! sending of the home on this node. Both end with their holder: the one is a lock of Tier 0's kind, the other the kernel's
//! on a file.

use super::control::Control;
use super::holders::{self, Holders};
use super::resident::Anchor;
use super::{Home, ServiceFd, service};
use crate::errno::Errno;
use crate::sys;
use crate::tier0::lock::Owner;
use crate::tier0::pool::Pool;
use rustix::fs::{FlockOperation, OFlags, Stat};
use std::ffi::CStr;

/// The lock between sending files and moving directories.
pub struct Gate {
    file: Option<sys::OwnFd>,
    pid: u32,
}

impl Gate {
    /// Held while a file is sent. On a service thread.
    ///
    /// # Errors
    /// Those of opening its file.
    pub fn shared(home: &Home) -> Result<Gate, Errno> {
        Gate::open(home, FlockOperation::LockShared)
    }

    /// Held while a directory is moved.
    ///
    /// # Errors
    /// Those of opening its file.
    pub fn alone(home: &Home) -> Result<Gate, Errno> {
        service::call_urgent(|| Gate::open(home, FlockOperation::LockExclusive))?
    }

    fn open(home: &Home, how: FlockOperation) -> Result<Gate, Errno> {
        debug_assert!(service::is_mine(), "its descriptor is one of the service's");
        let file = sys::open(&home.control_file("moves")?, OFlags::RDWR | OFlags::CREATE, 0o600)?;
        rustix::fs::flock(file.borrow(), how)?;
        Ok(Gate { file: Some(file), pid: sys::pid() })
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        if self.pid == sys::pid() && service::is_mine() {
            return;
        }
        // A number of the service's table; in a child that table is not its own, and the number nothing.
        let number = file.raw();
        std::mem::forget(file);
        if self.pid == sys::pid() {
            service::close_urgently(number);
        }
    }
}

/// A file that is not sent as long as this lives.
pub struct Held {
    control: Control,
    me: Owner,
}

impl Held {
    /// Holds back the file of an anchor, where its name is its object's key; `st` is the anchor's. What others who have it
    /// open will read is fetched first with `fetch`, because the object is about to go. In the node's turn.
    ///
    /// # Errors
    /// EDEADLK where this thread sends it.
    pub fn file(
        home: &'static Home,
        pool: &'static Pool,
        anchor: &CStr,
        st: &Stat,
        fetch: bool,
    ) -> Result<Option<Held>, Errno> {
        if !home.layout().is_whole() || st.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Ok(None);
        }
        let born = sys::birth_at(libc::AT_FDCWD, anchor, st.st_ino);
        let place = home.control_path(st.st_ino)?;
        let open = || Control::open(&place, st.st_ino, born, [0, 0]);
        let control = match service::call_urgent(open)? {
            // Nothing was ever sent of it, nor fetched.
            Err(Errno(libc::ENOENT)) => return Ok(None),
            other => other?.0,
        };
        let me = home.holders()?.lock(&control.head().settle_lock)?.into_owner();
        let held = Held { control, me };
        if fetch && held.control.is_open() {
            // Whoever has it open is told by an error of what cannot be had.
            let _ = service::call_urgent(|| held.fetch(home, pool, anchor))?;
        }
        Ok(Some(held))
    }

    fn fetch(&self, home: &'static Home, pool: &'static Pool, anchor: &CStr) -> Result<(), Errno> {
        let fd = sys::open(anchor, OFlags::RDONLY | OFlags::NONBLOCK, 0)?;
        let own = ServiceFd::of(Anchor::here(fd.raw()))?;
        home.resident(fd.raw(), pool, false)?.fetch_rest(&own)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(holders::Held::of(&self.control.head().settle_lock, self.me));
    }
}

/// Where a store has other tags for bytes that are the same, the anchor of that name is of the new one. On a service
/// thread.
///
/// # Errors
/// Those of the file system.
pub fn retag(home: &Home, anchor: &CStr, was: Option<&str>, tag: Option<&str>) -> Result<(), Errno> {
    let Ok(st) = sys::statat(libc::AT_FDCWD, anchor, false) else { return Ok(()) };
    if st.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Ok(());
    }
    let born = sys::birth_at(libc::AT_FDCWD, anchor, st.st_ino);
    match Control::open(&home.control_path(st.st_ino)?, st.st_ino, born, [0, 0]) {
        Ok((control, _)) if control.tag().as_deref() == was => {
            control.set_tag(tag);
            let version = super::catalog::objects::version_of(tag);
            control.head().version.store(version, std::sync::atomic::Ordering::Release);
            Ok(())
        }
        // Of another version: the next look brings it up.
        Ok(_) | Err(Errno(libc::ENOENT)) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Whether the file of a control file can be brought up to another version now: nobody sends it. Runs `f` then.
///
/// # Errors
/// Those of `f`.
pub fn unless_sent<T>(
    control: &Control,
    holders: &Holders,
    f: impl FnOnce() -> Result<T, Errno>,
) -> Result<Option<T>, Errno> {
    match holders.try_lock(&control.head().settle_lock)? {
        Some(_held) => f().map(Some),
        None => Ok(None),
    }
}
