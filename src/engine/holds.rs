//! The files that this process has asked to be served in passthrough, because it moves their bytes where no hook
//! sees it. Owns that list; what passthrough means is the file's business.
//!
//! Tier 0 knows a request by the process that made it, and forgets it with that process. But maps and descriptors
//! live on in its children, for whom it is asked again.

use super::description;
use super::state::Engine;
use crate::config::Mount;
use crate::errno::Errno;
use crate::file::{File, Resources};
use crate::namespace;
use crate::spin::Spin;
use crate::sys;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

/// By device and inode number.
static HELD: Spin<BTreeMap<(u64, u64), &'static Mount>> = Spin::new(BTreeMap::new());
/// Whether inherited descriptors have been looked for. Once is enough: later ones come through hooks.
static LOOKED: AtomicBool = AtomicBool::new(false);

/// Keeps a file in passthrough as long as this process, or a child that it forks from now on, lives.
pub fn leave(file: &File) -> Result<(), Errno> {
    if let Some(mut held) = HELD.lock() {
        held.insert(file.id(), file.mount());
    }
    file.leave(sys::pid())
}

/// Whether this process may change a file, found just now, where no hook sees it.
pub fn may_change(engine: &'static Engine, id: (u64, u64)) -> bool {
    look(engine);
    HELD.lock().is_none_or(|held| held.contains_key(&id))
}

/// Before fork, and before its locks: the first time, looks for what this program was given by the one before it,
/// which no hook has seen.
pub fn look(engine: &'static Engine) {
    if LOOKED.swap(true, Ordering::AcqRel) {
        return;
    }
    sys::each_descriptor(|fd| {
        if !description::known(fd)
            && let Some((id, mount)) = mounted(engine, fd)
            && let Some(mut held) = HELD.lock()
        {
            held.insert(id, mount);
        }
    });
}

/// Before fork, after the locks of descriptions, under which others come here.
pub fn lock() {
    if let Some(held) = HELD.lock() {
        Spin::leak(held);
    }
}

/// After fork, in the parent.
///
/// # Safety
/// Follows [`lock`] on the same thread.
pub unsafe fn unlock() {
    // SAFETY: by contract.
    unsafe { HELD.reset() };
}

/// In the child of a fork: asks for all of them again, in its own name. Returns the files that may have been staged
/// meanwhile, because the parent had died already.
///
/// # Safety
/// Follows [`lock`] in the parent's forking thread.
pub unsafe fn inherit(engine: &'static Engine) -> Vec<(u64, u64)> {
    // SAFETY: by contract.
    unsafe { HELD.reset() };
    let held = HELD.lock().map_or_else(BTreeMap::new, |h| h.clone());
    if held.is_empty() {
        return Vec::new();
    }
    let pid = sys::pid();
    held.into_iter().filter_map(|(id, mount)| ask(engine, id, mount, pid)).collect()
}

/// After a program was started as process `pid` with descriptor `fd`, in a way that no hook sees.
pub fn pass_on(engine: &'static Engine, fd: c_int, pid: u32) -> Option<(u64, u64)> {
    let (id, mount) = mounted(engine, fd)?;
    ask(engine, id, mount, pid)
}

/// A descriptor's file, if it is a regular one under a mount.
fn mounted(engine: &'static Engine, fd: c_int) -> Option<((u64, u64), &'static Mount)> {
    let st = sys::fstat(fd).ok().filter(|s| s.st_mode & libc::S_IFMT == libc::S_IFREG)?;
    let mut buf = [0u8; 4096];
    let mounts = &engine.config.mounts;
    let index = namespace::mount_of(sys::name_of(fd, &mut buf).ok()?, mounts)?;
    Some(((st.st_dev, st.st_ino), &mounts[index]))
}

/// Asks in the name of process `pid`. Gives the file back if it is staged.
fn ask(engine: &Engine, id: (u64, u64), mount: &'static Mount, pid: u32) -> Option<(u64, u64)> {
    // Not the process's object, whose locks a fork may have left taken; this one knows no descriptor to flush through.
    let file = File::new(id, Resources { pool: engine.pool()?, mount });
    file.leave(pid).is_err().then_some(id)
}
