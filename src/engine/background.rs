//! The background flusher: one thread of a process that has staged something. Owns the list of files to look
//! after and the thread; started on first need, gone after a fork.

use super::state::{Engine, engine};
use crate::config::Settle;
use crate::file::File;
use crate::log;
use crate::own_thread;
use crate::report::{self, Count};
use crate::spin::Spin;
use rustix::thread::futex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Staged bytes of a file in long extents from which it is flushed without waiting for its age: two blocks, so
/// that the writer and the flusher stay inside the second-level cache.
const ENOUGH: u64 = 512 << 10;
/// Staged bytes of a file in long extents at which its writer flushes itself, when the base takes bytes as fast
/// as memory does: more in Tier 0 would only be colder.
const LIMIT: u64 = 2 << 20;
/// Staged bytes, a power of two, after which it is looked at again whether that is enough.
const LOOK: u64 = 64 << 10;
/// Bytes a second from which a base counts as that fast.
const FAST: u64 = 1 << 30;

/// Rounds without anything staged after which the thread ends; the next staged write starts another.
const IDLE_ROUNDS: u32 = 1;
/// Longest round. A second thread makes each system call on a descriptor dearer (the kernel counts references that it
/// need not count for one), so that it should not outlive its work for long.
const ROUND_MS: u64 = 50;

static QUEUE: Spin<Vec<Arc<File>>> = Spin::new(Vec::new());
static RUNNING: AtomicBool = AtomicBool::new(false);
/// 1 when the thread has something to do before its time.
static CALL: AtomicU32 = AtomicU32::new(0);

/// After a write of `len` bytes was staged: sees to it that it goes home some time.
#[inline]
pub fn staged(file: &Arc<File>, len: u64) {
    if !file.queued.load(Ordering::Relaxed) {
        enqueue(file);
    }
    // Looked at more closely each so many bytes.
    let bytes = file.staged_bytes();
    if bytes >= ENOUGH && (bytes ^ bytes.wrapping_sub(len)) >= LOOK {
        plenty(file);
    }
}

/// Whether the flusher should not wait any longer. Scattered small extents wait for company, since a flush
/// merges what lies together; a base that is slow gets as much time as Tier 0 has room.
fn is_due(file: &File, bytes: u64) -> bool {
    bytes >= if file.is_scattered() { file.tier0_bytes() / 8 * 5 } else { ENOUGH }
}

/// Sees to a file that was just closed, and is to settle in the background.
pub fn closed(file: &Arc<File>) {
    if waits_for_home(file) && !file.queued.load(Ordering::Relaxed) {
        enqueue(file);
    }
}

/// Whether a file is closed, and the thread is to take home what was spilled of it.
fn waits_for_home(file: &File) -> bool {
    file.mount().settle == Settle::Background && file.is_spilled() && !file.has_descriptors()
}

#[cold]
fn plenty(file: &Arc<File>) {
    let bytes = file.staged_bytes();
    if is_due(file, bytes) && CALL.load(Ordering::Relaxed) == 0 {
        call();
    }
    if bytes >= LIMIT
        && !file.is_scattered()
        && file.flush_speed() >= FAST
        && let Err(e) = file.flush()
    {
        report::add(Count::FlushErrors, 1);
        file.keep_error(e);
    }
}

#[cold]
fn enqueue(file: &Arc<File>) {
    if file.queued.swap(true, Ordering::AcqRel) {
        return;
    }
    if let Some(mut queue) = QUEUE.lock() {
        queue.push(file.clone());
    }
    if !RUNNING.swap(true, Ordering::AcqRel) && !start() {
        // Without a thread, bytes stay staged until fsync, close or a full Tier 0, which is right but late.
        RUNNING.store(false, Ordering::Release);
    }
}

#[cold]
fn call() {
    if CALL.swap(1, Ordering::AcqRel) == 0 {
        let _ = futex::wake(&CALL, futex::Flags::PRIVATE, 1);
    }
}

/// Starts the thread.
fn start() -> bool {
    own_thread::spawn("iris-flush", own_thread::STACK, run)
}

fn run() {
    let Some(engine) = engine() else { return };
    let mut idle = 0;
    let pause_ms = (engine.config.tier0.flush_after_ms / 2).clamp(1, ROUND_MS);
    loop {
        let timeout = futex::Timespec {
            tv_sec: (pause_ms / 1000) as i64,
            tv_nsec: (pause_ms % 1000 * 1_000_000) as i64,
        };
        if CALL.load(Ordering::Acquire) == 0 {
            let _ = futex::wait(&CALL, futex::Flags::PRIVATE, 0, Some(&timeout));
        }
        CALL.store(0, Ordering::Release);
        idle = if round(engine) { 0 } else { idle + 1 };
        // A process whose main thread has ended ends with its last thread, which must not be this one for long.
        if idle > IDLE_ROUNDS
            && let Some(queue) = QUEUE.lock()
            && queue.iter().all(|f| f.staged_bytes() == 0 && !waits_for_home(f))
        {
            queue.iter().for_each(|f| f.queued.store(false, Ordering::Release));
            let mut queue = queue;
            let files = std::mem::take(&mut *queue);
            RUNNING.store(false, Ordering::Release);
            drop(queue);
            // A writer that found its file on the list just before is not lost: its store is visible by now.
            crate::sys::nap(1000);
            files.iter().filter(|f| f.staged_bytes() > 0 || waits_for_home(f)).for_each(enqueue);
            files.into_iter().filter(|f| !f.has_descriptors()).for_each(|f| engine.forget(f));
            return;
        }
    }
}

/// Looks at each file once. Returns whether any has staged bytes.
fn round(engine: &Engine) -> bool {
    let mut busy = false;
    let files = QUEUE.lock().map_or_else(Vec::new, |q| q.clone());
    for file in files {
        let bytes = file.staged_bytes();
        let open = file.has_descriptors();
        let old = file.staged_ms() >= engine.config.tier0.flush_after_ms;
        if waits_for_home(&file) {
            busy = true;
            if let Err(e) = file.settle_closed() {
                report::add(Count::FlushErrors, 1);
                file.keep_error(e);
                log::say(1, || format!("taking home what was spilled: {e}; the bytes stay in the store"));
                // Where nobody asks, a drain does it.
                dismiss(&file);
                engine.forget(file);
            }
        } else if bytes == 0 || !open && file.mount().settle == Settle::Drain {
            if !open {
                dismiss(&file);
                engine.forget(file);
            }
        } else if old || is_due(&file, bytes) {
            busy = true;
            // A closed file has no descriptor to flush through.
            let flushed = if open { file.make_room() } else { file.settle_closed() };
            if let Err(e) = flushed {
                report::add(Count::FlushErrors, 1);
                file.keep_error(e);
                log::say(1, || format!("flushing in the background: {e}; the bytes stay in Tier 0"));
            }
        } else {
            busy = true;
        }
    }
    busy
}

/// Takes a closed file off the list at once.
pub fn dismiss(file: &Arc<File>) {
    if file.queued.load(Ordering::Acquire)
        && let Some(mut queue) = QUEUE.lock()
    {
        queue.retain(|f| !Arc::ptr_eq(f, file));
        file.queued.store(false, Ordering::Release);
    }
}

/// Before fork.
pub fn lock() {
    if let Some(q) = QUEUE.lock() {
        Spin::leak(q);
    }
}

/// After fork, in the parent.
///
/// # Safety
/// Follows [`lock`] on the same thread.
pub unsafe fn unlock() {
    // SAFETY: by contract.
    unsafe { QUEUE.reset() };
}

/// In the child of a fork: no thread, and nothing to look after.
///
/// # Safety
/// Follows [`lock`] in the parent's forking thread.
pub unsafe fn restart_in_child() {
    // SAFETY: by contract.
    unsafe { QUEUE.reset() };
    if let Some(mut queue) = QUEUE.lock() {
        // The parent's files, whose locks may be held by threads that do not exist here.
        std::mem::forget(std::mem::take(&mut *queue));
    }
    RUNNING.store(false, Ordering::Release);
    CALL.store(0, Ordering::Release);
}
