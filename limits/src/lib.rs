//! Files of Iris's own may become longer than the program's files: its limit (RLIMIT_FSIZE) is meant for what it
//! writes, not for a store's containers, for the copies that a node keeps, or for what another process had staged.
//!
//! The limit is one for all threads of a process. Lifting it for a moment would let another thread of the program
//! write past it in that moment, and would show in its getrlimit. So an operation that needs more room is done by a
//! helper: a process that shares the memory and the descriptors of the calling thread, has limits of its own, and
//! ends with the operation (what posix_spawn does before it execs). Owns that helper; knows nothing of stores.

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, getrlimit, setrlimit, waitpid};
use std::ffi::{c_int, c_void};

/// The soft limit on the size of files in bytes, if one is set.
pub fn file_size() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}

/// Runs `op`, which makes a file reach `end` bytes, whatever the soft limit on the size of files is.
///
/// `op` makes system calls and nothing else: it may run in a process that shares this thread's memory and descriptors,
/// while this thread waits. It must not ask who it is (its process id is another) and must not panic.
///
/// # Errors
/// EFBIG where the hard limit is lower, or where no helper can be started; else what `op` says. No SIGXFSZ is raised,
/// unless the program lowers its limit in this very moment.
pub fn beyond_file_size<T, E: From<Errno>>(end: u64, op: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let limit = getrlimit(Resource::Fsize);
    if limit.current.is_none_or(|soft| soft >= end) {
        return op();
    }
    if limit.maximum.is_some_and(|hard| hard < end) {
        return Err(Errno::FBIG.into());
    }
    let mut job =
        Job { lifted: Rlimit { current: limit.maximum, maximum: limit.maximum }, op: Some(op), result: None };
    in_helper(entry(&job), (&raw mut job).cast());
    job.result.unwrap_or(Err(Errno::FBIG.into()))
}

struct Job<F, R> {
    lifted: Rlimit,
    op: Option<F>,
    result: Option<R>,
}

/// The helper's first function for a job.
fn entry<F, T, E>(_: &Job<F, Result<T, E>>) -> extern "C" fn(*mut c_void) -> c_int
where
    F: FnOnce() -> Result<T, E>,
    E: From<Errno>,
{
    run::<F, T, E>
}

/// What the helper does.
extern "C" fn run<F, T, E>(job: *mut c_void) -> c_int
where
    F: FnOnce() -> Result<T, E>,
    E: From<Errno>,
{
    // SAFETY: `beyond_file_size` passes its job, and waits until this returns.
    let job = unsafe { &mut *job.cast::<Job<F, Result<T, E>>>() };
    if let Some(op) = job.op.take() {
        job.result = Some(setrlimit(Resource::Fsize, job.lifted).map_err(E::from).and_then(|()| op()));
    }
    0
}

/// Room for a few frames of system calls, with much to spare.
const STACK: usize = 256 << 10;

/// Runs `body` in a helper and waits for its end. Where that cannot be, `body` does not run.
fn in_helper(body: extern "C" fn(*mut c_void) -> c_int, argument: *mut c_void) {
    use rustix::mm::{MapFlags, ProtFlags};
    let (access, kind) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
    // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
    let stack = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), STACK, access, kind) };
    let Ok(stack) = stack else { return };
    with_signals_blocked(|| {
        // SIGCHLD is not asked for (the low byte is 0): the program must not hear of a child that it did not make, and
        // its wait() does not find one that ends without a signal.
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::CLONE_FS;
        // SAFETY: the stack is the mapping above, which nobody else uses, passed by its end as it grows down. With
        // CLONE_VFORK this thread does not go on before the helper has ended, so the helper may use this thread's
        // thread-local storage and all that `argument` borrows. Signals are blocked, so no handler runs in it.
        let pid = unsafe { libc::clone(body, stack.add(STACK), flags, argument) };
        if let Some(pid) = Pid::from_raw(pid.max(0)) {
            // __WALL: it is a child that ends without SIGCHLD.
            let all = WaitOptions::from_bits_retain(libc::__WALL as u32);
            // It has ended; another thread of the program that waits for all of its children may have been first.
            while matches!(waitpid(Some(pid), all), Err(Errno::INTR)) {}
        }
    });
    // SAFETY: the helper has ended, or was never begun.
    let _ = unsafe { rustix::mm::munmap(stack, STACK) };
}

fn with_signals_blocked(body: impl FnOnce()) {
    // SAFETY: sigset_t is plain data, filled before use.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut before: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
    }
    body();
    // SAFETY: restores what was read above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
}
