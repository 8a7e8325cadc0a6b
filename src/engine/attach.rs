//! From a descriptor to a file: where it lies, whether it may be staged, and taking its offset over. Owns those
//! decisions; does no reading or writing of data.

use super::description::{self, Mode, State};
use super::holds;
use super::state::Engine;
use crate::errno::Errno;
use crate::file::{Descriptor, File};
use crate::home;
use crate::log;
use crate::namespace;
use crate::report::{self, Bypass, Count};
use crate::sys;
use std::sync::Arc;

/// What a description's file is to Iris.
pub enum Standing {
    /// Under a mount: its object.
    File(Arc<File>),
    /// None of ours; the description is no longer in the table.
    Outside,
    /// Ours, but it cannot be served now (no Tier 0).
    Unserved,
    /// Its bytes live in a store, and cannot be told from what the anchor holds.
    Broken(Errno),
}

/// Finds out what a description's file is, and remembers it. `fd` is one of its numbers.
pub fn standing(engine: &'static Engine, state: &mut State, fd: i32) -> Standing {
    if let Some(file) = &state.file {
        return Standing::File(file.clone());
    }
    // A number that dup2 is about to make may not be open yet; another of the description's is.
    let fd = state.numbers.first().copied().unwrap_or(fd);
    // Before the name: a rename in between makes it stale, and the count tells.
    let renames =
        engine.pool().map_or(0, |p| p.superblock().renames.load(std::sync::atomic::Ordering::Acquire));
    let mut buf = [0u8; 4096];
    let mounts = &engine.config.mounts;
    let Ok(name) = sys::name_of(fd, &mut buf) else { return Standing::Unserved };
    let Some(index) = namespace::mount_of(name, mounts) else { return outside(state, Bypass::Outside) };
    let mount = &mounts[index];
    let Ok(st) = sys::fstat(fd) else { return Standing::Unserved };
    if st.st_mode & libc::S_IFMT != libc::S_IFREG {
        return outside(state, Bypass::NotRegular);
    }
    let writable = state.writable();
    let descriptors = state.numbers.iter().map(|&fd| Descriptor { fd, writable });
    let Some(file) = engine.file((st.st_dev, st.st_ino), mount, descriptors) else {
        return Standing::Unserved;
    };
    file.set_name(name, renames);
    if file.may_read_ahead() && holds::may_change(engine, file.id()) {
        file.set_unseen();
    }
    if file.resident().is_none()
        && let Some(home) = home::of(name)
    {
        let resident =
            engine.pool().ok_or(Errno(libc::EAGAIN)).and_then(|pool| home.resident(fd, pool, true));
        match resident {
            Ok(resident) => file.set_resident(resident),
            // Of another file system, mounted in the tree.
            Err(Errno(libc::EXDEV)) => {}
            Err(e) => {
                log::say(1, || format!("{}: its control file: {e}", String::from_utf8_lossy(name)));
                return Standing::Broken(e);
            }
        }
    }
    report::add(Count::Opened, 1);
    state.file = Some(file.clone());
    Standing::File(file)
}

fn outside(state: &mut State, why: Bypass) -> Standing {
    report::bypassed(why);
    for n in state.numbers.clone() {
        description::remove(state, n);
    }
    Standing::Outside
}

/// Whether writes through this description may be staged at all; if not, why.
pub fn unstageable(engine: &Engine, state: &State) -> Option<Bypass> {
    if state.flags & libc::O_DIRECT != 0 {
        return Some(Bypass::Direct);
    }
    // O_SYNC contains O_DSYNC's bit.
    if state.flags & libc::O_DSYNC != 0 {
        return Some(Bypass::Synchronous);
    }
    if sys::file_size_limit().is_some() {
        return Some(Bypass::Limit);
    }
    match engine.open_pool() {
        Some(pool) if pool.still_named() => None,
        _ => Some(Bypass::NoTier0),
    }
}

/// Takes the offset over from the kernel. Returns whether that worked.
pub fn take_offset(state: &mut State, fd: i32) -> bool {
    let fd = state.numbers.first().copied().unwrap_or(fd);
    match sys::tell(fd) {
        Ok(offset) => {
            description::took_offset();
            state.offset = offset;
            state.mode = Mode::Private;
            true
        }
        Err(_) => false,
    }
}

/// Gives the offset back to the kernel, for good.
pub fn give_offset(state: &mut State, fd: i32) {
    if state.mode == Mode::Private {
        // Cannot fail on a regular file for an offset that fits i64; a closed number needs no offset.
        let _ = sys::seek_to(fd, state.offset);
    }
    state.mode = Mode::Kernel;
    state.ahead.drop_buffer();
}
