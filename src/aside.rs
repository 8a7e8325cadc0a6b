//! Work on a thread that has descriptors of its own, for what must open files but may not show in the program:
//! neither by taking the lowest free number from an open of the program's own, nor by a close that gives up the
//! program's record locks on the file (fcntl(2): any close by the process does). Owns that thread for as long as the
//! work lasts.
//!
//! Linux keeps descriptors, and whose record locks they are, by table of descriptors; threads share one until they ask
//! not to.

use crate::log;
use crate::own_thread::{STACK, hide, is_ours, with_signals_blocked};
use crate::sys;
use std::sync::atomic::{AtomicBool, Ordering};

/// The program has taken a record lock on some file.
static LOCKS: AtomicBool = AtomicBool::new(false);

/// Says that the program uses record locks.
pub fn program_locks() {
    LOCKS.store(true, Ordering::Release);
}

/// Whether the program may hold record locks, which a close of another descriptor of the same file would give up.
pub fn program_may_hold_locks() -> bool {
    LOCKS.load(Ordering::Acquire)
}

/// Runs `open`, which opens and closes a file of the program's, where that does not show.
pub fn with_file<T: Send>(open: impl FnOnce() -> T + Send) -> T {
    if is_ours() || LOCKS.load(Ordering::Acquire) { run(open) } else { open() }
}

/// Runs `open`, which opens and closes a file that the program cannot have open, where that does not show.
pub fn with_number<T: Send>(open: impl FnOnce() -> T + Send) -> T {
    if is_ours() { run(open) } else { open() }
}

/// Runs `work` on a thread with an empty table of descriptors, and waits for it. Where there is no such thread to be
/// had, the work is done here: that it shows is a lesser evil.
fn run<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let mut work = Some(work);
    let mut result = None;
    std::thread::scope(|scope| {
        let (work, result) = (&mut work, &mut result);
        let there = move || {
            hide();
            if sys::own_descriptors().is_ok()
                && let Some(work) = work.take()
            {
                // What is logged must not go into a file that is open here as 2.
                log::apart();
                *result = Some(work());
            }
        };
        // Joined by the end of the scope. A panic has left no result, and is met again below.
        let _ = with_signals_blocked(|| {
            std::thread::Builder::new().name("iris-files".into()).stack_size(STACK).spawn_scoped(scope, there)
        });
    });
    match (result, work) {
        (Some(result), _) => result,
        (None, Some(work)) => work(),
        // The hook that called catches this one too, and answers EIO.
        (None, None) => std::panic::resume_unwind(Box::new("the work of another thread panicked")),
    }
}
