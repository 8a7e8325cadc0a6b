//! The two threads of a store: one that carries requests out, on a runtime of its own, and one that hands it work.
//!
//! Iris opens stores on a thread with a table of descriptors of its own, which the threads that are started there share,
//! so that no socket ever shows up among the program's. A runtime is woken through a descriptor; a thread of the program
//! must therefore never wake it: the number would be one of the program's own files. So a caller talks to the second
//! thread only, through a channel that needs no descriptor, and gets its answers the same way. What belongs to the
//! runtime (a client, a semaphore, a task) is dropped there too.
//!
//! After a fork the child has neither thread; it is told so by its pid.

use iris_store::Host;
use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::sync::mpsc;
use std::thread;
use tokio::runtime::Handle;

type Job = Box<dyn FnOnce(&Handle) + Send>;

/// The way to a store's threads. They end when it is dropped.
pub struct Threads {
    jobs: ManuallyDrop<mpsc::Sender<Job>>,
    pid: u32,
}

impl Threads {
    /// Starts them.
    pub fn start(host: Host) -> io::Result<Threads> {
        let (jobs, work) = mpsc::channel::<Job>();
        let (started, starts) = mpsc::channel();
        let blocked = Signals::block();
        let spawned = thread::Builder::new()
            .name("iris-s3-io".into())
            .stack_size(2 << 20)
            .spawn(move || io_thread(host, work, &started));
        drop(blocked);
        spawned?;
        starts.recv().map_err(|_| io::Error::other("the thread that does the I/O ended at once"))??;
        Ok(Threads { jobs: ManuallyDrop::new(jobs), pid: std::process::id() })
    }

    /// Whether this process is a child of the one that started them, and has none.
    pub fn lost(&self) -> bool {
        std::process::id() != self.pid
    }

    /// Lets a future run on the runtime. `make` is called there.
    pub fn run<F>(&self, make: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // It fails only where the threads have ended; the caller then waits for an answer whose sender is gone.
        let _ = self.jobs.send(Box::new(move |runtime| {
            runtime.spawn(make());
        }));
    }

    /// Drops something where the runtime is.
    pub fn bury<T: Send + 'static>(&self, what: T) {
        let _ = self.jobs.send(Box::new(move |runtime| {
            runtime.spawn(async move { drop(what) });
        }));
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // In a child the channel may be locked by a thread that is not there.
        if !self.lost() {
            // SAFETY: dropped once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.jobs) };
        }
    }
}

fn io_thread(host: Host, work: mpsc::Receiver<Job>, started: &mpsc::Sender<io::Result<()>>) {
    (host.adopt_thread)();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // For names: the resolver is libc's and blocks.
        .max_blocking_threads(4)
        .thread_keep_alive(std::time::Duration::from_secs(1))
        .thread_name("iris-s3-names")
        .on_thread_start(move || (host.adopt_thread)())
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            let _ = started.send(Err(e));
            return;
        }
    };
    let handle = runtime.handle().clone();
    let (done, end) = tokio::sync::oneshot::channel::<()>();
    // Started from here, so that it shares this thread's table of descriptors whoever opened the store.
    let door = thread::Builder::new().name("iris-s3".into()).stack_size(1 << 20).spawn(move || {
        (host.adopt_thread)();
        while let Ok(job) = work.recv() {
            job(&handle);
        }
        let _ = done.send(());
    });
    let ok = door.is_ok();
    let _ = started.send(door.map(drop));
    if ok {
        let _ = runtime.block_on(end);
    }
    // A name that is still being looked up must not hold the end up.
    runtime.shutdown_background();
}

/// All signals blocked in this thread, and so in those it starts: the program's handlers run on the program's threads,
/// and a SIGPIPE of a socket stays pending on a thread that never takes it.
struct Signals(libc::sigset_t);

impl Signals {
    fn block() -> Signals {
        let mut before = MaybeUninit::uninit();
        // SAFETY: both sets are ours, on the stack, and large enough; the first is filled before it is used, the second
        // by the call, which cannot fail with SIG_SETMASK.
        unsafe {
            let mut all = MaybeUninit::uninit();
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Signals(before.assume_init())
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // SAFETY: the set was filled by the call that blocked.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}
