//! Threads of Iris's own inside a program. Owns how they start: with all signals blocked, so that the program's
//! handlers never run on them, and known to the hooks, which serve none of their calls.

use crate::sys;
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// What tells the hooks whether a thread is Iris's own (a `fn(bool)`); 0 outside of the preload library.
static ADOPT: AtomicUsize = AtomicUsize::new(0);

/// Tells what marks the calling thread as Iris's own, so that no hook serves its calls, or as the program's again.
pub fn set_adopt(mark: fn(bool)) {
    ADOPT.store(mark as usize, Ordering::Release);
}

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Bytes of the stack of a thread that does little at a time.
pub const STACK: usize = 256 * 1024;

/// Whether the calling thread is one of Iris's own, which runs beside the program's.
pub fn is_ours() -> bool {
    OURS.with(Cell::get)
}

/// Marks the calling thread as Iris's own.
pub fn adopt() {
    mark(true);
}

fn mark(ours: bool) {
    OURS.with(|o| o.set(ours));
    if ours {
        enter();
    }
    tell_hooks(ours);
}

/// Has no hook serve the calling thread any more, which does one piece of work and ends: what it opens and closes has
/// numbers of its own, which mean other files to the program.
pub fn hide() {
    tell_hooks(true);
}

fn tell_hooks(ours: bool) {
    let mark = ADOPT.load(Ordering::Acquire);
    if mark != 0 {
        // SAFETY: only `set_adopt` stores here, and it stores a fn(bool).
        let mark: fn(bool) = unsafe { std::mem::transmute::<usize, fn(bool)>(mark) };
        mark(ours);
    }
}

/// Starts a thread. Returns whether that worked.
pub fn spawn(name: &str, stack: usize, body: impl FnOnce() + Send + 'static) -> bool {
    with_signals_blocked(|| {
        std::thread::Builder::new()
            .name(name.into())
            .stack_size(stack)
            .spawn(move || {
                mark(true);
                body();
                // The last thread of a process runs the program's own work at exit.
                mark(false);
            })
            .is_ok()
    })
}

/// Ends the process as glibc does when the program's last thread has ended.
pub fn exit() -> ! {
    mark(false);
    // SAFETY: what runs at exit is the program's, which has no thread left that it could surprise.
    unsafe { libc::exit(0) }
}

/// The threads of Iris's own that run, by their ids; 0 is a free entry.
static ALL: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];

/// A thread's entry in [`ALL`], as long as it runs.
struct Entry(Cell<Option<&'static AtomicU32>>);

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(entry) = self.0.get() {
            entry.store(0, Ordering::Release);
        }
    }
}

thread_local! {
    static ENTRY: Entry = const { Entry(Cell::new(None)) };
}

/// Enters the calling thread. One that finds no place counts as the program's.
fn enter() {
    let tid = sys::tid();
    // Where the thread is ending already, it stays out.
    let _ = ENTRY.try_with(|mine| {
        if mine.0.get().is_none() {
            let free =
                |e: &&AtomicU32| e.compare_exchange(0, tid, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            mine.0.set(ALL.iter().find(free));
        }
    });
}

/// Whether no thread runs but Iris's own; the one that the program began with is not looked at. Opens a folder.
pub fn are_alone() -> bool {
    let Ok(threads) = sys::entries(c"/proc/self/task") else { return false };
    let pid = sys::pid();
    threads.iter().all(|name| {
        let tid = std::str::from_utf8(name).ok().and_then(|n| n.parse::<u32>().ok());
        tid.is_some_and(|tid| tid == pid || ALL.iter().any(|e| e.load(Ordering::Acquire) == tid))
    })
}

/// In the child of a fork: the parent's threads are not here.
pub fn restart_in_child() {
    ALL.iter().for_each(|e| e.store(0, Ordering::Release));
}

/// Runs `start`, which starts a thread, with all signals blocked, so that the program's handlers never run there.
pub fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
    // SAFETY: sigset_t is plain data, filled by sigfillset before use; the masks live on this stack frame.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut old: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
    }
    let started = start();
    // SAFETY: restores what was read above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut()) };
    started
}
