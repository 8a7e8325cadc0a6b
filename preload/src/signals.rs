//! Signals that arrive while a thread is inside Iris. A handler may write to a mounted file, or jump away and never
//! come back; in the middle of an operation neither can be allowed, and blocking signals round each would cost more
//! than the operation. So the program's handlers are called through one of ours, which, inside Iris, notes the
//! signal, blocks it until the thread comes out, and then has the kernel deliver it again.
//!
//! Signals that tell of a fault in the running instruction are never held, nor those whose handler is to run once.

use crate::guard::{held, in_vfork_child, mounted};
use crate::hook::hooks;
use crate::real;
use libc::{SA_RESETHAND, SA_SIGINFO, c_int, c_long, c_void, sigaction as Action, siginfo_t};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

/// One past the highest signal number.
const SIGNALS: usize = 65;

/// The program's handlers, and the flags it gave with them.
static HANDLERS: [AtomicUsize; SIGNALS] = [const { AtomicUsize::new(0) }; SIGNALS];
static FLAGS: [AtomicI32; SIGNALS] = [const { AtomicI32::new(0) }; SIGNALS];

/// As many as variadic.c has room for.
const HELD: usize = 8;

unsafe extern "C" {
    /// This thread's room for what came with the signals that wait.
    fn iris_held_address() -> *mut [u8; 128];
}

fn faults(signal: c_int) -> bool {
    matches!(
        signal,
        libc::SIGSEGV
            | libc::SIGBUS
            | libc::SIGFPE
            | libc::SIGILL
            | libc::SIGTRAP
            | libc::SIGSYS
            | libc::SIGABRT
    )
}

fn is_handler(handler: usize) -> bool {
    handler != libc::SIG_DFL && handler != libc::SIG_IGN && handler != libc::SIG_ERR
}

/// Stands for the program's handler.
extern "C-unwind" fn arrived(signal: c_int, information: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes the information and the context of this delivery; the thread's own room.
    unsafe {
        if let Some(held) = held() {
            let count = *held as usize;
            if count < HELD {
                let room = iris_held_address().add(count).cast::<u8>();
                std::ptr::copy_nonoverlapping(information.cast::<u8>(), room, size_of::<siginfo_t>());
                *held += 1;
                let context = context.cast::<libc::ucontext_t>();
                libc::sigaddset(&raw mut (*context).uc_sigmask, signal);
                return;
            }
        }
        run(signal, information, context);
    }
}

/// Calls the program's handler.
///
/// # Safety
/// As the kernel would call it.
unsafe fn run(signal: c_int, information: *mut siginfo_t, context: *mut c_void) {
    let handler = HANDLERS[signal as usize].load(Ordering::Acquire);
    // SAFETY: the program installed this function for this signal; one of the old form takes the first argument
    // only, and may look at where the kernel leaves the others all the same.
    unsafe {
        let handler: extern "C-unwind" fn(c_int, *mut siginfo_t, *mut c_void) = std::mem::transmute(handler);
        handler(signal, information, context);
    }
}

/// The thread has come out of Iris: what was held is sent to it again, and let in.
#[cold]
pub fn deliver(held: *mut u32) {
    // SAFETY: this thread's own room, emptied before anything is let in; sending a signal to oneself with the
    // information of the first delivery is what rt_tgsigqueueinfo allows.
    unsafe {
        let room = iris_held_address();
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut all);
        let errno = ::engine::errno::Errno::last();
        let (process, thread) = (libc::getpid(), libc::gettid());
        for i in 0..*held as usize {
            let information = room.add(i);
            let signal = (*information.cast::<siginfo_t>()).si_signo;
            libc::sigaddset(&mut all, signal);
            let sent = real::raw::direct(
                libc::SYS_rt_tgsigqueueinfo,
                [process.into(), thread.into(), signal.into(), information as c_long, 0, 0],
            );
            if sent != 0 {
                libc::syscall(libc::SYS_tgkill, process, thread, signal);
            }
        }
        *held = 0;
        errno.set();
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &all, std::ptr::null_mut());
    }
}

/// What the program is told is in place where ours is.
fn translated(signal: c_int, action: &mut Action) {
    if action.sa_sigaction == arrived as *const () as usize {
        action.sa_sigaction = HANDLERS[signal as usize].load(Ordering::Acquire);
        if FLAGS[signal as usize].load(Ordering::Relaxed) & SA_SIGINFO == 0 {
            action.sa_flags &= !SA_SIGINFO;
        }
    }
}

/// Whether the program's handler goes through ours.
fn wrapped(signal: c_int, handler: usize, flags: c_int) -> bool {
    mounted()
        && (1..SIGNALS as c_int).contains(&signal)
        && !faults(signal)
        && is_handler(handler)
        && flags & SA_RESETHAND == 0
        && !in_vfork_child()
}

/// Puts ours in the place of a handler that is being installed.
fn note(signal: c_int, action: &mut Action) {
    HANDLERS[signal as usize].store(action.sa_sigaction, Ordering::Release);
    FLAGS[signal as usize].store(action.sa_flags, Ordering::Release);
    action.sa_sigaction = arrived as *const () as usize;
    action.sa_flags |= SA_SIGINFO;
}

hooks! {
    fn sigaction | __sigaction(signal: c_int, new: *const Action, old: *mut Action) -> c_int, real => {
        if !mounted() || !(1..SIGNALS as c_int).contains(&signal) { return real(signal, new, old); }
        // SAFETY: the program's structures, null or valid; the copies are ours.
        unsafe {
            let before = (HANDLERS[signal as usize].load(Ordering::Acquire),
                FLAGS[signal as usize].load(Ordering::Relaxed));
            let mut copy = if new.is_null() { no_action() } else { *new };
            let mut given = new;
            if !new.is_null() && wrapped(signal, copy.sa_sigaction, copy.sa_flags) {
                note(signal, &mut copy);
                given = &raw const copy;
            }
            let result = real(signal, given, old);
            if result == 0 && !old.is_null() && (*old).sa_sigaction == arrived as *const () as usize {
                (*old).sa_sigaction = before.0;
                if before.1 & SA_SIGINFO == 0 { (*old).sa_flags &= !SA_SIGINFO; }
            }
            result
        }
    }

    // glibc's signal knows what siginterrupt has said; what it installs is then taken through ours.
    fn signal | ssignal | bsd_signal(signal: c_int, handler: usize) -> usize, real => {
        if !mounted() || !(1..SIGNALS as c_int).contains(&signal) { return real(signal, handler); }
        let before = HANDLERS[signal as usize].load(Ordering::Acquire);
        let result = real(signal, handler);
        if result != libc::SIG_ERR && wrapped(signal, handler, 0) {
            // SAFETY: the action is read from glibc and given back to it, changed as `sigaction` changes it.
            unsafe {
                let next = real::get(&real::next::sigaction, None);
                let real_sigaction: unsafe extern "C-unwind" fn(c_int, *const Action, *mut Action) -> c_int =
                    std::mem::transmute(next);
                let mut action: Action = std::mem::zeroed();
                if real_sigaction(signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == handler {
                    note(signal, &mut action);
                    real_sigaction(signal, &action, std::ptr::null_mut());
                }
            }
        }
        if result == arrived as *const () as usize { before } else { result }
    }

    // These two install for one delivery or by rules of their own: nothing is held for them.
    fn sigset | sysv_signal | __sysv_signal(signal: c_int, handler: usize) -> usize, real => {
        let mut before: Action = Action { sa_sigaction: real(signal, handler), ..no_action() };
        if mounted() && (1..SIGNALS as c_int).contains(&signal) { translated(signal, &mut before); }
        before.sa_sigaction
    }
}

fn no_action() -> Action {
    // SAFETY: all zeros is an action: the default one.
    unsafe { std::mem::zeroed() }
}
