//! What a descriptor number means, and when that changes: close, dup, dup2. Owns that no thread of the process meets a
//! number between two meanings: what is about to be closed or replaced stays locked until the kernel has done it, and
//! who comes meanwhile waits and looks again.
//!
//! Order of locks: [`REPLACING`], the description that a number loses, the one that it gets.

use super::description::{self, Description, Found, State};
use super::{Touch, background, state, touch};
use crate::config::Settle;
use crate::errno::Errno;
use crate::file::{self, File};
use crate::home::resident::Anchor;
use crate::log;
use crate::report::{self, Bypass};
use crate::spin::{Guard, Spin};
use crate::sys;
use std::ffi::c_int;

/// Whoever holds two descriptions holds this: no two such wait for each other.
static REPLACING: Spin<()> = Spin::new(());

/// Before fork, and before the locks of descriptions.
pub fn lock() {
    if let Some(turn) = REPLACING.lock() {
        Spin::leak(turn);
    }
}

/// After fork, in parent and child.
///
/// # Safety
/// Follows [`lock`] on the same thread (in the child: its copy).
pub unsafe fn unlock() {
    // SAFETY: by contract.
    unsafe { REPLACING.reset() };
}

/// A number that is about to lose its meaning: all that its close asks for is done, but for the kernel's part.
struct Closing {
    fd: c_int,
    description: &'static Description,
    state: Guard<'static, State>,
    /// The description has no other number.
    last: bool,
    told: Result<(), Errno>,
}

impl Closing {
    /// `None`: the number is none of ours.
    fn begin(fd: c_int) -> Option<Closing> {
        let Found::Yes(state) = description::get(fd) else { return None };
        let description = description::of(&state, fd)?;
        description.wait_for_users();
        let last = state.numbers.len() <= 1;
        let mut told = Ok(());
        if let Some(file) = &state.file {
            if last {
                told = settle_last(file, fd, state.writable());
            }
            file.remove_descriptor(fd);
        }
        Some(Closing { fd, description, state, last, told })
    }

    /// The kernel has done it. Unless the number means something else already (`replaced`), it is out of the table.
    fn end(mut self, replaced: bool) -> Result<(), Errno> {
        if replaced {
            self.state.numbers.retain(|&n| n != self.fd);
        } else {
            description::remove(&mut self.state, self.fd);
        }
        if !self.last {
            return self.told;
        }
        let file = self.state.file.take();
        description::release(self.description, self.state);
        if let Some(file) = file {
            if !file.has_descriptors() && !file.is_staged() {
                background::dismiss(&file);
            }
            background::closed(&file);
            if let Some(engine) = state::engine() {
                engine.forget(file);
            }
        }
        self.told
    }

    /// The kernel has refused: all is as it was.
    fn undo(self) {
        if let Some(file) = &self.state.file {
            file.add_descriptor(file::Descriptor { fd: self.fd, writable: self.state.writable() });
        }
    }
}

/// Takes home what the close of a description's last number, `fd`, brings home.
fn settle_last(file: &File, fd: c_int, writable: bool) -> Result<(), Errno> {
    let mut result = Ok(());
    if writable {
        let waits = file.mount().settle != Settle::Close && file.mount_can_wait();
        // A file without a name could not be found again, and its inode's number may soon be another file's.
        if !waits || sys::fstat(fd).is_ok_and(|s| s.st_nlink == 0) {
            result = file.flush_closing();
            if let Err(e) = result {
                report::add(report::Count::FlushErrors, 1);
                log::say(1, || format!("closing: {e}; the staged bytes stay in Tier 0, see `iris drain`"));
            }
        }
        if result.is_ok() && file.resident().is_some() {
            result = settle_closing(file, fd);
        }
        if let Some(e) = file.take_error() {
            result = result.and(Err(e));
        }
    } else if file.is_staged() {
        // What a killed process left is completed. Nobody has asked for this flush, so nobody is told of its failure.
        if let Err(e) = file.flush() {
            log::say(2, || format!("closing a file that others have staged bytes for: {e}"));
        }
    }
    result
}

/// Sends a file home whose home is a store, when its mount says that this is done at close.
fn settle_closing(file: &File, fd: c_int) -> Result<(), Errno> {
    if file.mount().settle == Settle::Close {
        return file.settle(fd);
    }
    if let Some(resident) = file.resident().filter(|_| file.mount().settle == Settle::Background) {
        resident.settle_later(Anchor::here(fd))?;
    }
    Ok(())
}

/// close(2) of `fd` round `real`, the kernel's part: stages go home as the mount says, and the descriptor is forgotten. A
/// latched or fresh error of the flush is returned; the kernel closes all the same.
pub fn closing(fd: c_int, real: impl FnOnce()) -> Result<(), Errno> {
    let closing = Closing::begin(fd);
    real();
    closing.map_or(Ok(()), |c| c.end(false))
}

/// As [`closing`], before a close that happens where nobody can be called back.
pub fn before_close(fd: c_int) -> Result<(), Errno> {
    closing(fd, || {})
}

/// dup2 and dup3 round `real`, the kernel's part, which says whether it worked: what was at `new` is closed, and `new` is
/// another number of `old`'s description. An error of that close is lost, as in Linux.
pub fn replacing(old: c_int, new: c_int, real: impl FnOnce() -> bool) {
    let turn = REPLACING.lock();
    if let Found::Yes(_held) = description::get(old)
        && description::same(old, new)
    {
        real();
        return;
    }
    let over = Closing::begin(new);
    let mut source = match description::get(old) {
        Found::Yes(state) => Some(state),
        Found::No => None,
        // Another thread's dup has just made them one.
        Found::Busy => {
            over.into_iter().for_each(Closing::undo);
            real();
            return;
        }
    };
    if let Some(state) = &mut source {
        description::alias(state, old, new);
    }
    let done = real();
    let known = source.is_some();
    if done {
        if let Some(file) = source.as_ref().and_then(|s| s.file.as_ref()) {
            let writable = source.as_ref().is_some_and(|s| s.writable());
            file.add_descriptor(file::Descriptor { fd: new, writable });
        }
        if let Some(over) = over {
            // Linux drops the error; it has been noted.
            let _ = over.end(known);
        }
    } else {
        if let Some(state) = &mut source {
            description::unalias(state, new, over.as_ref().map(|o| o.description));
        }
        over.into_iter().for_each(Closing::undo);
    }
    drop(source);
    drop(turn);
    if done && known {
        leave_standard(new);
    }
}

/// A duplicate on 0, 1 or 2 leaves the overlay ([`Touch::Leave`]).
fn leave_standard(new: c_int) {
    if new <= 2 {
        // An error shows at the next write or close.
        let _ = touch(new, Touch::Leave(Bypass::Inherited));
    }
}

/// After a successful dup or F_DUPFD: `new` is another number of `old`'s open file description.
pub fn duped(old: c_int, new: c_int) {
    if old == new || new < 0 {
        return;
    }
    if description::known(new) && !description::same(old, new) {
        forget(new);
    }
    let Found::Yes(mut d) = description::get(old) else { return };
    if !d.numbers.contains(&new) {
        description::alias(&mut d, old, new);
    }
    if let Some(file) = &d.file {
        file.add_descriptor(file::Descriptor { fd: new, writable: d.writable() });
    }
    drop(d);
    leave_standard(new);
}

/// Drops a table entry that is stale: its number was closed by something that no hook saw.
pub fn forget(fd: c_int) {
    let Found::Yes(mut d) = description::get(fd) else { return };
    let Some(description) = description::of(&d, fd) else { return };
    if let Some(file) = d.file.clone() {
        file.remove_descriptor(fd);
    }
    if d.numbers.len() > 1 {
        description::remove(&mut d, fd);
        return;
    }
    let file = d.file.take();
    description::release(description, d);
    if let (Some(engine), Some(file)) = (state::engine(), file) {
        engine.forget(file);
    }
}
