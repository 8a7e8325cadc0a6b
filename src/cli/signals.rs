//! Waiting for a child as if it stood in our place: signals sent to us reach it. Owns the signal mask of the
//! command.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};

/// Signals that are passed on. Those that stop and continue act on the whole job already.
const FORWARDED: [libc::c_int; 9] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGWINCH,
    libc::SIGURG,
];

/// The forwarded signals and SIGCHLD, held back so that they can be waited for.
pub struct Held {
    set: libc::sigset_t,
    before: libc::sigset_t,
    children_ignored: bool,
}

impl Held {
    /// Holds the signals back from now on. Before the child is started, so that none is lost between.
    pub fn new() -> io::Result<Held> {
        let mut set = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: sigemptyset and sigaddset initialise and change the set they are given, pthread_sigmask reads
        // it and initialises `before` when it succeeds, which is checked before `before` is used. The only
        // disposition changed is SIGCHLD's, to the default, which installs no handler.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in FORWARDED {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
            match libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr()) {
                0 => {}
                error => return Err(io::Error::from_raw_os_error(error)),
            }
            // A parent may have left SIGCHLD ignored: children would then vanish without a status.
            let old = libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            Ok(Held {
                set: set.assume_init(),
                before: before.assume_init(),
                children_ignored: old == libc::SIG_IGN,
            })
        }
    }

    /// Makes the child start with the signal mask and dispositions that this process was given.
    pub fn prepare(&self, command: &mut Command) {
        let (before, ignored) = (self.before, self.children_ignored);
        // SAFETY: the closure runs between fork and exec and makes async-signal-safe calls only; the set is its
        // own copy.
        unsafe {
            command.pre_exec(move || {
                if ignored {
                    libc::signal(libc::SIGCHLD, libc::SIG_IGN);
                }
                match libc::sigprocmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            });
        }
    }

    /// Waits for the child to end, passing signals on to it.
    pub fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
            // SAFETY: the set is initialised and `info` is a siginfo_t of our own, all zero, which is a valid
            // value, so that it may be read whatever the kernel filled in.
            let (signal, info) =
                unsafe { (libc::sigwaitinfo(&self.set, info.as_mut_ptr()), info.assume_init()) };
            if signal < 0 {
                match io::Error::last_os_error() {
                    e if e.kind() == io::ErrorKind::Interrupted => continue,
                    e => return Err(e),
                }
            }
            // What the kernel sends (a key on the terminal, SI_KERNEL) goes to the whole job, child included.
            let sent_to_us_alone = info.si_code <= 0;
            if signal != libc::SIGCHLD && sent_to_us_alone {
                // SAFETY: kill has no memory effects, and the child has not been waited for, so that its
                // number is still its own. It may just have ended: then there is nobody to tell.
                unsafe { libc::kill(child.id() as libc::pid_t, signal) };
            }
        }
    }

    /// Gives this process its signals back; what follows can be interrupted again.
    pub fn release(self) {
        // SAFETY: `before` is the mask that `new` was given by the kernel.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}
