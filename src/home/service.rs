//! The threads on which Iris talks to stores. Owns them, their queue and their descriptor table; knows nothing of
//! files or homes.
//!
//! Sockets and files that stay open would be seen, counted and closed by programs that look at their own descriptors.
//! So the first of these threads takes a descriptor table of its own (close_range with CLOSE_RANGE_UNSHARE, which
//! empties it in the same step), and all threads that it starts, a store's own among them, share that table. Nothing
//! of it is inherited by a child of the program, nor can the program close any of it.
//!
//! Started on first need; the child of a fork starts its own. They live as long as the process. When none of the program's
//! threads is left, the process ends as if they were not there: one more thread, which has the program's descriptors, does
//! what glibc does then.

use super::numbers;
use crate::errno::Errno;
use crate::log;
use crate::own_thread;
use crate::spin::Spin;
use crate::sys;
use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use rustix::thread::futex;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Threads that carry out jobs. A store answers many requests at once, so these only have to keep several callers
/// from waiting for each other.
const THREADS: usize = 4;
/// How often an idle thread looks whether a thread of the program still runs.
const LOOK: Duration = Duration::from_secs(2);
/// Bytes of stack of the thread that does the program's work at exit: as much as a program's own threads have.
const END_STACK: usize = 8 << 20;

/// Bytes of stack of each: room for a store's TLS handshake.
const STACK: usize = 1 << 20;

type Job = Box<dyn FnOnce() + Send>;

struct Running {
    pid: u32,
    jobs: Sender<Job>,
    urgent: Sender<Job>,
}

/// Which threads carry a job out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    /// Any of several.
    Jobs,
    /// One of its own, whose jobs wait for none of the others.
    Urgent,
}

static RUNNING: Spin<Option<ManuallyDrop<Running>>> = Spin::new(None);

thread_local! {
    static MINE: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is one of these.
pub fn is_mine() -> bool {
    MINE.with(Cell::get)
}

/// Has a job done by one of the threads, and waits for its result. On one of the threads itself it is done at once.
///
/// # Errors
/// EAGAIN where no thread can be started; EIO where the job panicked.
pub fn call<R: Send>(job: impl FnOnce() -> R + Send) -> Result<R, Errno> {
    hand_over(Queue::Jobs, job)
}

/// The same for whoever holds something that jobs may be waiting for: another thread does it, on which no such job runs.
///
/// # Errors
/// As [`call`].
pub fn call_urgent<R: Send>(job: impl FnOnce() -> R + Send) -> Result<R, Errno> {
    hand_over(Queue::Urgent, job)
}

/// Runs `open`, which opens and closes a file of Iris's own, where the program's opens do not get another number than the
/// lowest by it: here on a thread of the program's, on one of these for another of Iris's.
///
/// # Errors
/// As [`call`].
pub fn with_number<R: Send>(open: impl FnOnce() -> R + Send) -> Result<R, Errno> {
    if own_thread::is_ours() { call_urgent(open) } else { Ok(open()) }
}

fn hand_over<R: Send>(to: Queue, job: impl FnOnce() -> R + Send) -> Result<R, Errno> {
    if is_mine() {
        return Ok(job());
    }
    let mut waiting = Waiting { done: AtomicU32::new(0), result: None, job: Some(job) };
    let there = There(&raw mut waiting);
    let boxed: Box<dyn FnOnce() + Send + '_> = Box::new(move || {
        let there = there;
        // SAFETY: the caller waits below until `done` is set, so its frame lives, and it touches nothing but `done`.
        let waiting = unsafe { &mut *there.0 };
        waiting.result = waiting.job.take().and_then(|job| catch_unwind(AssertUnwindSafe(job)).ok());
        let done = &raw const waiting.done;
        // SAFETY: as above. After the store the caller may return; waking an address that is gone is harmless.
        unsafe {
            (*done).store(1, Ordering::Release);
            let _ = futex::wake(&*done, futex::Flags::PRIVATE, 1);
        }
    });
    // SAFETY: only the lifetime is lengthened: this frame is not left before the job is done or was refused.
    let boxed: Job = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Job>(boxed) };
    queue(to)?.send(boxed).map_err(|_| Errno(libc::EAGAIN))?;
    let address = &raw const waiting.done;
    // SAFETY: this frame lives, and the job only stores to it, atomically.
    let done = unsafe { &*address };
    while done.load(Ordering::Acquire) == 0 {
        let _ = futex::wait(done, futex::Flags::PRIVATE, 0, None);
    }
    waiting.result.take().ok_or(Errno(libc::EIO))
}

/// A caller that waits for its job.
struct Waiting<J, R> {
    done: AtomicU32,
    result: Option<R>,
    job: Option<J>,
}

/// The way to a caller's frame.
struct There<T>(*mut T);
// SAFETY: the caller waits, and what lies there (a job, a result) may go to another thread, as `call` demands.
unsafe impl<T> Send for There<T> {}

/// Closes a number of the threads' table, soon.
pub fn close_urgently(number: i32) {
    // Without threads there is no table, and nothing open in it.
    if let Ok(to) = queue(Queue::Urgent) {
        let _ = to.send(Box::new(move || sys::close_number(number)));
    }
}

/// Has a job done by one of the threads some time soon.
///
/// # Errors
/// EAGAIN where no thread can be started.
pub fn later(job: impl FnOnce() + Send + 'static) -> Result<(), Errno> {
    queue(Queue::Jobs)?.send(Box::new(job)).map_err(|_| Errno(libc::EAGAIN))
}

/// A queue, whose threads run.
fn queue(which: Queue) -> Result<Sender<Job>, Errno> {
    let of = |jobs: &Sender<Job>, urgent: &Sender<Job>| match which {
        Queue::Jobs => jobs.clone(),
        Queue::Urgent => urgent.clone(),
    };
    let mut running = RUNNING.lock().ok_or(Errno(libc::EDEADLK))?;
    let pid = sys::pid();
    if let Some(r) = running.as_ref()
        && r.pid == pid
    {
        return Ok(of(&r.jobs, &r.urgent));
    }
    let (jobs, received) = unbounded::<Job>();
    let (urgent, received_urgent) = unbounded::<Job>();
    if !start(&received, &received_urgent) {
        return Err(Errno(libc::EAGAIN));
    }
    let asked = of(&jobs, &urgent);
    // Never dropped: the queue of a parent may be locked by threads that do not exist here.
    *running = Some(ManuallyDrop::new(Running { pid, jobs, urgent }));
    Ok(asked)
}

/// Starts the threads, and one that keeps the program's descriptors: it ends the process when it is told that no thread of
/// the program is left. The program's streams are written out then, which with other descriptors would go into a store's
/// files; and the bytes that are to go home need the others.
fn start(jobs: &Receiver<Job>, urgent: &Receiver<Job>) -> bool {
    let (jobs, urgent) = (jobs.clone(), urgent.clone());
    let (tell, told) = bounded(1);
    let outer = own_thread::spawn("iris-end", END_STACK, move || {
        let (end, ended) = bounded(1);
        let first = own_thread::spawn("iris-store", STACK, move || first(&jobs, &urgent, &end));
        if tell.send(first).is_ok() && first && ended.recv().is_ok() {
            own_thread::exit();
        }
    });
    outer && told.recv().unwrap_or(false)
}

/// The first of those with descriptors of their own, which starts the others.
fn first(jobs: &Receiver<Job>, urgent: &Receiver<Job>, end: &Sender<()>) {
    // Where the kernel cannot, numbers are seen as those of any library.
    if sys::own_descriptors().is_ok() {
        // A library that prints to 0, 1 or 2 must not print into a socket.
        for _ in 0..3 {
            let _ = sys::open(c"/dev/null", rustix::fs::OFlags::RDWR, 0).map(std::mem::forget);
        }
    }
    let mut started = 0;
    for _ in 0..THREADS {
        let (jobs, end) = (jobs.clone(), end.clone());
        // With fewer threads jobs wait longer, and are done all the same.
        started += u32::from(own_thread::spawn("iris-store", STACK, move || run(&jobs, None, &end)));
    }
    run(urgent, (started == 0).then_some(jobs), end);
}

/// Carries out what comes of the first queue, or of the second.
fn run(jobs: &Receiver<Job>, others: Option<&Receiver<Job>>, end: &Sender<()>) {
    MINE.with(|m| m.set(true));
    log::apart();
    let none = crossbeam_channel::never();
    let others = others.unwrap_or(&none);
    loop {
        let came = select! {
            recv(jobs) -> job => job.ok(),
            recv(others) -> job => job.ok(),
            default(LOOK) => {
                // Twice: in one look a thread may be missed that another has started and that one has ended.
                if main_thread_ended() && own_thread::are_alone() && own_thread::are_alone() {
                    // Another of these may have said so already.
                    let _ = end.try_send(());
                }
                continue;
            }
        };
        // A job reports its own failures; a panic in it ends only the job.
        match came {
            Some(job) => numbers::with_enough(|| drop(catch_unwind(AssertUnwindSafe(job)))),
            None => return,
        }
    }
}

/// Whether the thread that the program began with has ended while others go on.
fn main_thread_ended() -> bool {
    let mut buf = [0u8; 512];
    let Ok(stat) = sys::read_small(c"/proc/self/stat", &mut buf) else { return false };
    // "pid (name) state …", and the name may hold anything.
    stat.iter().rposition(|&b| b == b')').and_then(|at| stat.get(at + 2)) == Some(&b'Z')
}

/// Before fork.
pub fn lock() {
    if let Some(r) = RUNNING.lock() {
        Spin::leak(r);
    }
    numbers::lock();
}

/// After fork, in the parent and in the child.
///
/// # Safety
/// Follows [`lock`] on the same thread (in the child: its copy).
pub unsafe fn unlock() {
    // SAFETY: by contract.
    unsafe {
        numbers::unlock();
        RUNNING.reset();
    }
}
