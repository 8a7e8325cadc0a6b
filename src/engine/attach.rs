//! From a descriptor to a file: where it lies, whether it may be staged, and taking its offset over. Owns those
//! decisions; does no reading or writing of data.

use super::description::{self, Mode, State};
use super::holds;
use super::state::Engine;
use crate::errno::Errno;
use crate::file::{Descriptor, File};
use crate::home::{self, Home};
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
    let (file, home) = match sys::with_name_of(fd, |name| by_name(engine, state, fd, name, renames)) {
        Ok(Ok(found)) => found,
        Ok(Err(standing)) => return standing,
        Err(_) => return Standing::Unserved,
    };
    if file.may_read_ahead() && holds::may_change(engine, file.id()) {
        file.set_unseen();
    }
    if file.resident().is_none()
        && let Some(home) = home
    {
        let resident =
            engine.pool().ok_or(Errno(libc::EAGAIN)).and_then(|pool| home.resident(fd, pool, true));
        match resident {
            Ok(resident) => file.set_resident(resident),
            // Of another file system, mounted in the tree.
            Err(Errno(libc::EXDEV)) => {}
            Err(e) => {
                tell_broken(fd, e);
                return Standing::Broken(e);
            }
        }
    }
    report::add(Count::Opened, 1);
    state.file = Some(file.clone());
    Standing::File(file)
}

type Known = (Arc<File>, Option<&'static Home>);

/// The file of that name, and its home if that is a store. Apart, so that the name is off the stack when more is done.
fn by_name(
    engine: &'static Engine,
    state: &mut State,
    fd: i32,
    name: &[u8],
    renames: u64,
) -> Result<Known, Standing> {
    let mounts = &engine.config.mounts;
    let Some(index) = namespace::mount_of(name, mounts) else { return Err(outside(state, Bypass::Outside)) };
    let Ok(st) = sys::fstat(fd) else { return Err(Standing::Unserved) };
    if st.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(outside(state, Bypass::NotRegular));
    }
    let writable = state.writable();
    let descriptors = state.numbers.iter().map(|&fd| Descriptor { fd, writable });
    let file = engine.file((st.st_dev, st.st_ino), &mounts[index], descriptors);
    let file = file.ok_or(Standing::Unserved)?;
    file.set_name(name, renames);
    Ok((file, home::of(name)))
}

#[cold]
#[inline(never)]
fn tell_broken(fd: i32, e: Errno) {
    log::say(1, || {
        let name = sys::with_name_of(fd, |name| String::from_utf8_lossy(name).into_owned());
        format!("{}: its control file: {e}", name.unwrap_or_default())
    });
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
