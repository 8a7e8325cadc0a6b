//! The life of the process: fork, exec, exit. Owns the order in which the engine's parts are stopped and
//! restarted; does no I/O of its own beyond asking for flushes.

use super::description::{self, Found, Mode};
use super::state::{self, EXITING};
use super::{Touch, attach, background, holds, names, numbers, touch};
use crate::errno::Errno;
use crate::file::{File, choice, spill::place};
use crate::home::{self, service};
use crate::log;
use crate::own_thread;
use crate::report::{self, Bypass};
use crate::sys;
use crate::tier0::process as registry;
use std::sync::atomic::{AtomicBool, Ordering};

/// Before fork(2): offsets are stored in the kernel, and the engine's own locks are taken.
///
/// Parent and child share their descriptions from then on, so the kernel keeps the offsets in both.
pub fn before_fork() {
    let Some(engine) = state::engine() else { return };
    holds::look(engine);
    description::each_number(|fd| {
        if let Found::Yes(mut d) = description::get(fd) {
            if d.mode == Mode::Private {
                report::bypassed(Bypass::Shared);
            }
            attach::give_offset(&mut d, fd);
        }
    });
    numbers::lock();
    description::lock_all();
    engine.lock_files();
    background::lock();
    holds::lock();
    service::lock();
    home::lock();
    place::lock();
    choice::lock();
}

/// At the start of the program: the files of homes on stores that it was given open (a shell's redirections) are known from
/// the first, since the last close sends them home. Whoever gave them has said that the kernel
/// writes to them where no hook sees it. Their descriptions are shared with other processes.
pub fn inherited() {
    let Some(engine) = state::engine() else { return };
    if !engine.stores {
        return;
    }
    sys::each_descriptor(|fd| {
        let mut buf = [0u8; 4096];
        if !sys::name_of(fd, &mut buf).is_ok_and(|name| crate::home::of(name).is_some()) {
            return;
        }
        let Ok(flags) = sys::status_flags(fd) else { return };
        if flags & libc::O_ACCMODE != libc::O_RDONLY {
            super::opened(fd, None, flags);
            if let Found::Yes(mut d) = description::get(fd) {
                d.mode = Mode::Kernel;
            }
        }
    });
}

/// In the parent after fork(2), also when it failed: releases what [`before_fork`] took.
pub fn after_fork_in_parent() {
    let Some(engine) = state::engine() else { return };
    // SAFETY: `before_fork` took the locks on this thread.
    unsafe {
        choice::unlock();
        place::unlock();
        home::unlock();
        service::unlock();
        holds::unlock();
        background::unlock();
        engine.unlock_files();
        description::unlock_all();
        numbers::unlock();
    }
}

/// In the child after fork(2): a clean start (no threads, descriptors shared with the parent).
pub fn after_fork_in_child() {
    registry::forget();
    own_thread::restart_in_child();
    let Some(engine) = state::engine() else { return };
    // SAFETY: `before_fork` took the locks on the thread that lives on here.
    unsafe {
        choice::unlock();
        place::unlock();
        home::unlock();
        service::unlock();
        background::restart_in_child();
        engine.restart_in_child();
        description::unlock_all();
        numbers::unlock();
    }
    description::forget_users();
    description::each_number(|fd| {
        if let Found::Yes(mut d) = description::get(fd) {
            // The parent's object: its locks may be held by threads that do not exist here.
            let file = std::mem::ManuallyDrop::new(d.file.take());
            if let Some(resident) = file.as_ref().and_then(|f| f.resident()) {
                // The child has the file open too, whether it uses it or not.
                resident.control().register();
            }
        }
    });
    // SAFETY: as above.
    for id in unsafe { holds::inherit(engine) } {
        // Nobody has asked for this flush; a failure is told to whoever staged these bytes.
        let _ = names::settle(engine, id);
    }
    report::reset();
    REPORTED.store(false, Ordering::Release);
}

/// Before exec or spawn: every descriptor that another program is about to inherit (no FD_CLOEXEC) is flushed
/// and left to the kernel. `exec` tells that this process image is about to be replaced: all else is flushed too.
pub fn before_exec(exec: bool) {
    let Some(engine) = state::engine() else { return };
    description::each_number(|fd| {
        if !sys::closes_on_exec(fd) {
            // The next write or close tells of an error; the bytes stay in Tier 0.
            let _ = touch(fd, Touch::Leave(Bypass::Inherited));
        }
    });
    if exec {
        flush_all(engine);
        write_report(engine);
    }
}

/// After a program was started as process `pid`, which was given `also` beside what it inherits: it may write these
/// files, past every hook, when this process is no more.
pub fn spawned(pid: i32, also: &[i32]) {
    let Some(engine) = state::engine() else { return };
    let mut given = also.to_vec();
    description::each_number(|fd| {
        if !sys::closes_on_exec(fd) {
            given.push(fd);
        }
    });
    for fd in given {
        if let Some(id) = holds::pass_on(engine, fd, pid as u32) {
            // The next write or close tells of an error; the bytes stay in Tier 0.
            let _ = names::settle(engine, id);
        }
    }
}

/// Sends a file home whose home is a store. One that does not answer is waited for once, whatever is still open.
fn settle_leaving(file: &File) -> Result<(), Errno> {
    let Some(home) = file.resident().map(|r| r.home()) else { return Ok(()) };
    if home.is_silent() && file.resident().is_some_and(|r| r.is_unsettled()) {
        return Err(Errno(libc::ETIMEDOUT));
    }
    file.settle_leaving().inspect_err(|e| {
        if e.0 == libc::ETIMEDOUT {
            home.fell_silent();
        }
    })
}

/// Flushes a file of which bytes may lie in the store beside its directory. As in [`settle_leaving`].
fn flush_leaving(file: &File) -> Result<(), Errno> {
    let Some(store) = file.spilled_to() else { return file.flush() };
    if store.is_silent() {
        return Err(Errno(libc::ETIMEDOUT));
    }
    file.flush().inspect_err(|e| {
        if e.0 == libc::ETIMEDOUT {
            store.fell_silent();
        }
    })
}

fn flush_all(engine: &state::Engine) {
    for file in engine.files() {
        if let Err(e) = flush_leaving(&file).and_then(|()| settle_leaving(&file)) {
            report::add(report::Count::FlushErrors, 1);
            log::say(1, || format!("at exit: {e}; the staged bytes stay in Tier 0, see `iris drain`"));
        }
    }
}

/// Before MPI_Finalize: what is still open goes home where the mount wants that at close; the program may go on.
pub fn settle_open() {
    let Some(engine) = state::engine() else { return };
    for file in engine.files().iter().filter(|f| f.mount().settle == crate::config::Settle::Close) {
        // The file's next write, sync or close tells the program.
        if let Err(e) = file.flush() {
            file.keep_error(e);
        }
    }
}

static REPORTED: AtomicBool = AtomicBool::new(false);

fn write_report(engine: &state::Engine) {
    if let Some(path) = &engine.report
        && !REPORTED.swap(true, Ordering::AcqRel)
    {
        engine.files().iter().for_each(|f| f.report());
        report::write_to(path);
    }
}

/// At exit, `_exit` and `quick_exit`: everything staged goes home; from then on writes go through.
/// May be called several times.
pub fn at_exit() {
    let Some(engine) = state::engine() else { return };
    EXITING.store(true, Ordering::Release);
    description::each_number(|fd| {
        if let Found::Yes(mut d) = description::get(fd) {
            attach::give_offset(&mut d, fd);
        }
    });
    flush_all(engine);
    write_report(engine);
}
