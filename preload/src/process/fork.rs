//! fork and its kin. fork itself needs no hook: pthread_atfork, registered first, brackets it most closely.
//! A vfork child runs in its parent's memory. While no mounted file is open it does so with its hooks switched
//! off; otherwise it becomes a fork whose parent waits, as after vfork, until the child calls exec or exits.

use crate::guard::{enter_vfork_child, in_vfork_child, inside, leave_vfork_child, live, tell};
use crate::hook::hooks;
use crate::open::name;
use crate::real::raw;
use ::engine::engine::{self, Touch};
use ::engine::report::Bypass;
use libc::{c_char, c_int, c_long, c_void, pid_t};

unsafe extern "C" {
    fn __register_atfork(
        prepare: extern "C" fn(),
        parent: extern "C" fn(),
        child: extern "C" fn(),
        dso: *mut c_void,
    ) -> c_int;
    fn _IO_list_lock();
    fn _IO_list_unlock();
    fn _IO_list_resetlock();
}

/// fork takes the lock of stdio's list of streams, and whoever holds that may be waiting for the engine while it
/// writes a stream out: so it is taken before the engine's locks here too.
extern "C" fn prepare() {
    if live() {
        // SAFETY: the lock is recursive and owned by this thread until `parent` or `child`.
        unsafe { _IO_list_lock() };
        inside(engine::before_fork);
    }
}

extern "C" fn parent() {
    if live() {
        inside(engine::after_fork_in_parent);
        // SAFETY: taken in `prepare`.
        unsafe { _IO_list_unlock() };
    }
}

extern "C" fn child() {
    if live() {
        inside(engine::after_fork_in_child);
        // SAFETY: this is the only thread; glibc may have reset the lock already, which this repeats.
        unsafe { _IO_list_resetlock() };
    }
}

/// Registers with fork, as early as possible: the last to prepare, the first to go on.
pub fn register() {
    // SAFETY: functions of a library that is never unloaded.
    unsafe { __register_atfork(prepare, parent, child, std::ptr::null_mut()) };
}

/// Whether this process has a mounted file open.
fn any_mounted() -> bool {
    inside(|| (0..engine::above_all()).any(engine::is_mounted)).unwrap_or(true)
}

/// What `vfork` does: a plain vfork that is none of our business, one with hooks off, or a fork.
const PLAIN: c_int = 0;
const HOOKS_OFF: c_int = 1;
const FORK: c_int = 2;

extern "C" fn choose() -> c_int {
    if !live() {
        return PLAIN;
    }
    if any_mounted() {
        return FORK;
    }
    enter_vfork_child();
    HOOKS_OFF
}

/// After vfork returned, in the child (0) and then in the parent.
extern "C" fn returned(result: c_long, kind: c_int) -> pid_t {
    if result != 0 && kind == HOOKS_OFF {
        leave_vfork_child();
    }
    if result < 0 {
        ::engine::errno::Errno(-result as c_int).set();
        return -1;
    }
    result as pid_t
}

/// vfork(2). The child returns first and overwrites the stack, so the return address waits in a register.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfork() -> pid_t {
    std::arch::naked_asm!(
        "sub rsp, 8",
        "call {choose}",
        "add rsp, 8",
        "cmp eax, 2",
        "je 2f",
        "mov esi, eax",
        "pop rdi",
        "mov eax, 58",
        "syscall",
        "push rdi",
        "mov rdi, rax",
        "sub rsp, 8",
        "call {returned}",
        "add rsp, 8",
        "ret",
        "2:",
        "jmp {by_fork}",
        choose = sym choose,
        returned = sym returned,
        by_fork = sym vfork_by_fork,
    )
}

/// The older name of vfork.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vfork() -> pid_t {
    std::arch::naked_asm!("jmp {vfork}", vfork = sym vfork)
}

/// vfork(2): a fork whose parent waits, where the other form has no assembly yet.
#[cfg(not(target_arch = "x86_64"))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfork() -> pid_t {
    vfork_by_fork()
}

/// Above the numbers that shells and close loops like to use.
const HIGH: usize = 800;

/// A fork whose parent goes on when the child has called exec or exited: a pipe's write end, which only the child
/// holds and which exec closes, tells.
extern "C" fn vfork_by_fork() -> pid_t {
    let mut ends = [-1, -1];
    // SAFETY: plain system calls on descriptors made here; `ends` has room for two.
    unsafe {
        if raw::direct(
            libc::SYS_pipe2,
            [ends.as_mut_ptr() as c_long, c_long::from(libc::O_CLOEXEC), 0, 0, 0, 0],
        ) != 0
        {
            return libc::fork();
        }
        for end in &mut ends {
            let high = raw::fcntl(*end, libc::F_DUPFD_CLOEXEC, HIGH);
            if high >= 0 {
                raw::close(*end);
                *end = high;
            }
        }
        let pid = libc::fork();
        if pid == 0 {
            raw::close(ends[0]);
            return 0;
        }
        let errno = ::engine::errno::Errno::last();
        raw::close(ends[1]);
        if pid > 0 {
            let mut byte = 0u8;
            while raw::read(ends[0], (&raw mut byte).cast(), 1) < 0
                && ::engine::errno::Errno::last().0 == libc::EINTR
            {}
        }
        raw::close(ends[0]);
        errno.set();
        pid
    }
}

/// A vfork child is about to open a file by name, which the engine will not see: what is staged for it must be in
/// place. But not in the parent's memory: a process of its own tells the engine.
#[cold]
pub fn opened_in_vfork_child(dirfd: c_int, path: *const c_char, flags: c_int) {
    let Some(name) = name(path).filter(|_| in_vfork_child()) else { return };
    inside(engine::before_fork);
    // SAFETY: a fork without any of libc's part; the child only asks the engine and exits.
    let pid = unsafe { raw::direct(libc::SYS_clone, [0; 6]) };
    if pid == 0 {
        leave_vfork_child();
        inside(engine::after_fork_in_child);
        let follow = flags & libc::O_NOFOLLOW == 0;
        let failed = tell(|| engine::before_path(dirfd, name, 0, follow)).is_err();
        // SAFETY: ends this process.
        unsafe { raw::direct(libc::SYS_exit_group, [c_long::from(failed), 0, 0, 0, 0, 0]) };
    }
    inside(engine::after_fork_in_parent);
    if pid > 0 {
        const ANY_CHILD: c_long = 0x4000_0000;
        // SAFETY: waits for the process just made; no status is asked for.
        while unsafe { raw::direct(libc::SYS_wait4, [pid, 0, ANY_CHILD, 0, 0, 0]) } < 0
            && ::engine::errno::Errno::last().0 == libc::EINTR
        {}
    }
}

/// A fork that runs none of the handlers, round `real`.
pub fn forking(real: impl FnOnce() -> pid_t) -> pid_t {
    if !live() {
        return real();
    }
    inside(engine::before_fork);
    let pid = real();
    if pid == 0 {
        inside(engine::after_fork_in_child);
    } else {
        inside(engine::after_fork_in_parent);
    }
    pid
}

/// What a cloned child starts with.
struct Boot {
    run: extern "C-unwind" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
}

extern "C-unwind" fn boot(argument: *mut c_void) -> c_int {
    // SAFETY: the child's own copy of the parent's stack, on which the parent left this.
    let boot = unsafe { &*argument.cast::<Boot>() };
    inside(engine::after_fork_in_child);
    (boot.run)(boot.argument)
}

/// Descriptors 0, 1 and 2 are about to be, or have been, replaced inside glibc.
fn standard_replaced() {
    if live() {
        for fd in 0..3 {
            // What is on 0, 1 and 2 is never staged; the engine only forgets it.
            let _ = tell(|| engine::before_close(fd));
        }
    }
}

hooks! {
    fn _Fork() -> pid_t, real => { forking(real) }

    fn clone | __clone(run: extern "C-unwind" fn(*mut c_void) -> c_int, stack: *mut c_void, flags: c_int,
        argument: *mut c_void, parent_tid: *mut c_void, tls: *mut c_void, child_tid: *mut c_void) -> c_int,
        real => {
        if !live() || flags & libc::CLONE_THREAD != 0 {
            return real(run, stack, flags, argument, parent_tid, tls, child_tid);
        }
        if flags & libc::CLONE_VM == 0 {
            inside(engine::before_fork);
            let mut start = Boot { run, argument };
            let pid = real(boot, stack, flags, (&raw mut start).cast(), parent_tid, tls, child_tid);
            inside(engine::after_fork_in_parent);
            return pid;
        }
        if flags & libc::CLONE_VFORK == 0 || flags & libc::CLONE_SETTLS != 0 {
            return real(run, stack, flags, argument, parent_tid, tls, child_tid);
        }
        // Like vfork, but the child has a stack of its own and cannot be turned into a fork.
        for fd in 0..engine::above_all() {
            let _ = tell(|| engine::touch(fd, Touch::Leave(Bypass::Inherited)));
        }
        enter_vfork_child();
        let pid = real(run, stack, flags, argument, parent_tid, tls, child_tid);
        leave_vfork_child();
        pid
    }

    fn daemon(keep_directory: c_int, keep_streams: c_int) -> c_int, real => {
        if !live() { return real(keep_directory, keep_streams); }
        // The parent leaves through glibc's own _exit.
        inside(|| engine::before_exec(true));
        if keep_streams == 0 { standard_replaced(); }
        real(keep_directory, keep_streams)
    }

    fn login_tty(fd: c_int) -> c_int, real => {
        standard_replaced();
        real(fd)
    }

    fn forkpty(leader: *mut c_int, path: *mut c_char, terminal: *const c_void, size: *const c_void) -> c_int,
        real => {
        let pid = real(leader, path, terminal, size);
        if pid == 0 { standard_replaced(); }
        pid
    }
}
