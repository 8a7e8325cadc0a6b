//! Stepping a process to its death: through system calls, instruction by instruction, in its first thread or in
//! another one. Owns ptrace; the caller owns the process.

use crate::bed::Random;
use std::time::{Duration, Instant};

/// How a process is to die.
#[derive(Clone, Copy, Debug)]
pub enum Death {
    /// After so many microseconds of free running.
    After(u64),
    /// At the armed place, after so many more instructions.
    Steps(u64),
    /// After so many stops at the beginning or end of a system call, and so many instructions.
    Calls(u64, u64),
    /// The same in a thread that the program itself did not start.
    Behind(u64, u64),
}

impl Death {
    /// One of them.
    pub fn from(random: &mut Random) -> Death {
        match random.below(10) {
            0..2 => Death::After(random.magnitude(30_000)),
            2..6 => Death::Steps(random.magnitude(8_000)),
            6..8 => Death::Calls(random.magnitude(30), random.magnitude(400)),
            _ => Death::Behind(random.magnitude(30), random.magnitude(400)),
        }
    }
}

/// What a wait for a traced thread brought.
enum Stop {
    /// It stopped on this signal (or at a system call).
    At(i32),
    /// It has gone.
    Gone,
    /// Nothing came in time.
    Nothing,
}

fn ptrace(request: libc::c_uint, tid: i32, data: usize) -> bool {
    // SAFETY: none of the requests used here writes to memory of this process; for a thread that has gone they fail
    // with ESRCH.
    unsafe {
        libc::ptrace(request, tid, std::ptr::null_mut::<libc::c_void>(), data as *mut libc::c_void) == 0
    }
}

fn wait(tid: i32, patience: Duration) -> Stop {
    let end = Instant::now() + patience;
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        match unsafe { libc::waitpid(tid, &mut status, libc::__WALL | libc::WNOHANG) } {
            0 if Instant::now() > end => return Stop::Nothing,
            // Yielding, not sleeping: a step takes microseconds.
            0 => std::thread::yield_now(),
            -1 => return Stop::Gone,
            _ if libc::WIFSTOPPED(status) => return Stop::At(libc::WSTOPSIG(status)),
            _ => return Stop::Gone,
        }
    }
}

/// Longest wait for something that need not come: a system call of a thread that sleeps.
const SHORT: Duration = Duration::from_millis(300);
/// Longest wait for something that must come.
const LONG: Duration = Duration::from_secs(60);

/// Begins to trace a process that is waiting to be told to go.
pub fn seize(pid: i32) {
    assert!(ptrace(libc::PTRACE_SEIZE, pid, 0), "ptrace: {}", std::io::Error::last_os_error());
}

/// Goes on `count` times with a request; says whether the thread is still there and stopped.
fn advance(request: libc::c_uint, tid: i32, count: u64) -> bool {
    for _ in 0..count {
        if !ptrace(request, tid, 0) || !matches!(wait(tid, SHORT), Stop::At(_)) {
            return false;
        }
    }
    true
}

/// Waits for a seized process to trap at its armed place. `false`: it ended before that.
fn until_armed(pid: i32) -> bool {
    loop {
        match wait(pid, LONG) {
            Stop::At(libc::SIGTRAP) => return true,
            Stop::At(signal) => {
                ptrace(libc::PTRACE_CONT, pid, signal as usize);
            }
            Stop::Gone => return false,
            Stop::Nothing => panic!("the writer neither comes to its armed place nor ends: it hangs"),
        }
    }
}

fn other_thread(pid: i32) -> Option<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    tasks.filter_map(|t| t.ok()?.file_name().to_str()?.parse().ok()).find(|t| *t != pid)
}

/// Leads a seized process from its armed place to its death. The caller reaps nothing: the process is gone when
/// this returns. Says whether the death came as planned.
pub fn execute(pid: i32, death: Death) -> bool {
    let mut planned = until_armed(pid);
    if planned {
        planned = match death {
            Death::After(_) => true,
            Death::Steps(steps) => advance(libc::PTRACE_SINGLESTEP, pid, steps),
            Death::Calls(calls, steps) => {
                advance(libc::PTRACE_SYSCALL, pid, calls) && advance(libc::PTRACE_SINGLESTEP, pid, steps)
            }
            Death::Behind(calls, steps) => other_thread(pid).is_some_and(|tid| {
                ptrace(libc::PTRACE_SEIZE, tid, 0)
                    && ptrace(libc::PTRACE_INTERRUPT, tid, 0)
                    && matches!(wait(tid, SHORT), Stop::At(_))
                    && advance(libc::PTRACE_SYSCALL, tid, calls)
                    && advance(libc::PTRACE_SINGLESTEP, tid, steps)
            }),
        };
    }
    kill(pid);
    // Threads that are traced must be reaped by their tracer before the process is.
    while let Some(tid) = other_thread(pid) {
        if matches!(wait(tid, Duration::from_millis(20)), Stop::Gone) && other_thread(pid) == Some(tid) {
            std::thread::yield_now();
        }
    }
    loop {
        if matches!(wait(pid, LONG), Stop::Gone) {
            return planned;
        }
    }
}

/// Traces a program that was started with [`trace_me`] from its first instruction to its death. `false`: it was
/// quicker.
pub fn execute_from_start(pid: i32, calls: u64, steps: u64) -> bool {
    let planned = matches!(wait(pid, LONG), Stop::At(libc::SIGTRAP))
        && advance(libc::PTRACE_SYSCALL, pid, calls)
        && advance(libc::PTRACE_SINGLESTEP, pid, steps);
    kill(pid);
    while !matches!(wait(pid, LONG), Stop::Gone) {}
    planned
}

/// To be called between fork and exec: the program stops at its first instruction.
pub fn trace_me() -> std::io::Result<()> {
    match ptrace(libc::PTRACE_TRACEME, 0, 0) {
        true => Ok(()),
        false => Err(std::io::Error::last_os_error()),
    }
}

/// SIGKILL.
pub fn kill(pid: i32) {
    // SAFETY: no memory is involved; the process is a child that has not been reaped, or a process named by a log
    // whose writers are still running.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
