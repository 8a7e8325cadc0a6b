//! syscall(2): programs and runtimes that make file calls by number come to the same hooks as all others. Owns the
//! list of those numbers; every other number goes to the kernel.

use crate::guard::{fail, mounted};
use crate::hook::hooks;
use crate::open::opening;
use crate::real::raw;
use crate::{attributes, descriptors, inkernel, names, open, process, rings, transfer};
use ::engine::report::Bypass;
use libc::{c_int, c_long};

/// What openat2 is told; later kernels may append to it.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// The call's answer, if it is one of those that hooks exist for.
///
/// # Safety
/// The arguments are as the system call of this number demands.
unsafe fn decoded(number: c_long, a: [c_long; 6], real: impl Fn() -> c_long) -> Option<c_long> {
    let fd = a[0] as c_int;
    let int = |x: c_long| x as c_int;
    // SAFETY: each argument is passed on to the hook of the same call, in whose form the program gave it; the
    // kernel's and libc's structures are the same for all calls listed.
    let result = unsafe {
        match number {
            libc::SYS_read => transfer::read(fd, a[1] as _, a[2] as _) as c_long,
            libc::SYS_write => transfer::write(fd, a[1] as _, a[2] as _) as c_long,
            libc::SYS_pread64 => transfer::pread(fd, a[1] as _, a[2] as _, a[3]) as c_long,
            libc::SYS_pwrite64 => transfer::pwrite(fd, a[1] as _, a[2] as _, a[3]) as c_long,
            libc::SYS_readv => transfer::readv(fd, a[1] as _, int(a[2])) as c_long,
            libc::SYS_writev => transfer::writev(fd, a[1] as _, int(a[2])) as c_long,
            libc::SYS_preadv => transfer::preadv(fd, a[1] as _, int(a[2]), a[3]) as c_long,
            libc::SYS_pwritev => transfer::pwritev(fd, a[1] as _, int(a[2]), a[3]) as c_long,
            // The offset comes in two halves, the upper of which is empty on 64-bit machines; then the flags.
            libc::SYS_preadv2 => transfer::preadv2(fd, a[1] as _, int(a[2]), a[3], int(a[5])) as c_long,
            libc::SYS_pwritev2 => transfer::pwritev2(fd, a[1] as _, int(a[2]), a[3], int(a[5])) as c_long,
            libc::SYS_lseek => transfer::lseek(fd, a[1], int(a[2])),
            libc::SYS_openat => open::openat(fd, a[1] as _, int(a[2]), a[3] as _).into(),
            libc::SYS_openat2 => {
                let how = a[2] as *const OpenHow;
                if how.is_null() || (a[3] as usize) < size_of::<OpenHow>() {
                    return None;
                }
                let flags = (*how).flags as c_int;
                opening(fd, a[1] as _, flags, || real() as c_int).into()
            }
            libc::SYS_close => descriptors::close(fd).into(),
            libc::SYS_close_range => descriptors::close_range(a[0] as _, a[1] as _, int(a[2])).into(),
            libc::SYS_dup => descriptors::dup(fd).into(),
            libc::SYS_dup3 => descriptors::dup3(fd, int(a[1]), int(a[2])).into(),
            libc::SYS_fcntl => descriptors::fcntl(fd, int(a[1]), a[2] as _).into(),
            libc::SYS_flock => descriptors::flock(fd, int(a[1])).into(),
            libc::SYS_ioctl => descriptors::ioctl(fd, a[1] as _, a[2] as _).into(),
            libc::SYS_fstat => attributes::fstat(fd, a[1] as _).into(),
            libc::SYS_newfstatat => attributes::fstatat(fd, a[1] as _, a[2] as _, int(a[3])).into(),
            libc::SYS_statx => attributes::statx(fd, a[1] as _, int(a[2]), a[3] as _, a[4] as _).into(),
            libc::SYS_ftruncate => attributes::ftruncate(fd, a[1]).into(),
            libc::SYS_truncate => attributes::truncate(a[0] as _, a[1]).into(),
            libc::SYS_fallocate => attributes::fallocate(fd, int(a[1]), a[2], a[3]).into(),
            libc::SYS_fsync => attributes::fsync(fd).into(),
            libc::SYS_fdatasync => attributes::fdatasync(fd).into(),
            libc::SYS_sync_file_range => attributes::sync_file_range(fd, a[1], a[2], a[3] as _).into(),
            libc::SYS_syncfs => attributes::syncfs(fd).into(),
            libc::SYS_sync => {
                attributes::sync();
                0
            }
            libc::SYS_utimensat => attributes::utimensat(fd, a[1] as _, a[2] as _, int(a[3])).into(),
            libc::SYS_fchmod => attributes::fchmod(fd, a[1] as _).into(),
            libc::SYS_fchmodat => attributes::fchmodat(fd, a[1] as _, a[2] as _, 0).into(),
            libc::SYS_fchown => attributes::fchown(fd, a[1] as _, a[2] as _).into(),
            libc::SYS_fchownat => attributes::fchownat(fd, a[1] as _, a[2] as _, a[3] as _, int(a[4])).into(),
            // Not through the hook of that name: communication libraries (UCX) overwrite its first bytes with a
            // jump to a function of theirs, which comes back here.
            libc::SYS_mmap => {
                if int(a[3]) & libc::MAP_ANONYMOUS == 0
                    && let Err(e) = inkernel::leaving(int(a[4]), Bypass::Mapped)
                {
                    return Some(fail(e));
                }
                return None;
            }
            libc::SYS_pidfd_getfd => descriptors::taken(real() as c_int).into(),
            libc::SYS_sendfile => inkernel::sendfile(fd, int(a[1]), a[2] as _, a[3] as _) as c_long,
            libc::SYS_copy_file_range => {
                inkernel::copy_file_range(fd, a[1] as _, int(a[2]), a[3] as _, a[4] as _, a[5] as _) as c_long
            }
            libc::SYS_splice => {
                inkernel::splice(fd, a[1] as _, int(a[2]), a[3] as _, a[4] as _, a[5] as _) as c_long
            }
            libc::SYS_sendmsg => inkernel::sendmsg(fd, a[1] as _, int(a[2])) as c_long,
            libc::SYS_io_submit => match rings::submitting(a[2] as _, a[1]) {
                Ok(()) => return None,
                Err(e) => fail(e),
            },
            libc::SYS_io_uring_setup => {
                rings::ring_comes();
                return None;
            }
            libc::SYS_renameat2 => names::renameat2(fd, a[1] as _, int(a[2]), a[3] as _, a[4] as _).into(),
            libc::SYS_execve => process::exec::execve(a[0] as _, a[1] as _, a[2] as _).into(),
            libc::SYS_execveat => {
                process::exec::execveat(fd, a[1] as _, a[2] as _, a[3] as _, int(a[4])).into()
            }
            libc::SYS_exit_group => {
                process::exit::_exit(fd);
                0
            }
            libc::SYS_clone if a[0] as c_int & libc::CLONE_VM == 0 => {
                process::fork::forking(|| real() as c_int).into()
            }
            libc::SYS_clone3 => return cloning(a, real),
            _ => return by_old_name(number, a, real),
        }
    };
    Some(result)
}

/// Calls that newer machines no longer have.
///
/// # Safety
/// As for [`decoded`].
#[cfg(target_arch = "x86_64")]
unsafe fn by_old_name(number: c_long, a: [c_long; 6], real: impl Fn() -> c_long) -> Option<c_long> {
    let fd = a[0] as c_int;
    // SAFETY: as in `decoded`.
    let result = unsafe {
        match number {
            libc::SYS_open => open::open(a[0] as _, a[1] as _, a[2] as _).into(),
            libc::SYS_creat => open::creat(a[0] as _, a[1] as _).into(),
            libc::SYS_dup2 => descriptors::dup2(fd, a[1] as c_int).into(),
            libc::SYS_stat => attributes::stat(a[0] as _, a[1] as _).into(),
            libc::SYS_lstat => attributes::lstat(a[0] as _, a[1] as _).into(),
            libc::SYS_chmod => attributes::chmod(a[0] as _, a[1] as _).into(),
            libc::SYS_chown => attributes::chown(a[0] as _, a[1] as _, a[2] as _).into(),
            libc::SYS_lchown => attributes::lchown(a[0] as _, a[1] as _, a[2] as _).into(),
            libc::SYS_utime => attributes::utime(a[0] as _, a[1] as _).into(),
            libc::SYS_utimes => attributes::utimes(a[0] as _, a[1] as _).into(),
            libc::SYS_futimesat => attributes::futimesat(fd, a[1] as _, a[2] as _).into(),
            libc::SYS_rename => names::rename(a[0] as _, a[1] as _).into(),
            libc::SYS_renameat => names::renameat(fd, a[1] as _, a[2] as _, a[3] as _).into(),
            libc::SYS_fork => process::fork::forking(|| real() as c_int).into(),
            // A child of vfork cannot return through a function; a fork can.
            libc::SYS_vfork => process::fork::forking(|| raw::direct(libc::SYS_fork, [0; 6]) as c_int).into(),
            _ => return None,
        }
    };
    Some(result)
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn by_old_name(number: c_long, a: [c_long; 6], _real: impl Fn() -> c_long) -> Option<c_long> {
    // SAFETY: as in `decoded`.
    (number == libc::SYS_renameat)
        .then(|| unsafe { names::renameat(a[0] as _, a[1] as _, a[2] as _, a[3] as _).into() })
}

/// clone3: its arguments lie in memory, flags first.
///
/// # Safety
/// As for [`decoded`].
unsafe fn cloning(a: [c_long; 6], real: impl Fn() -> c_long) -> Option<c_long> {
    if a[0] == 0 {
        return None;
    }
    // SAFETY: the program's clone_args.
    let flags = unsafe { *(a[0] as *const u64) };
    (flags & libc::CLONE_VM as u64 == 0).then(|| process::fork::forking(|| real() as c_int).into())
}

hooks! {
    fn syscall(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long, real => {
        let arguments = [a, b, c, d, e, f];
        if mounted() {
            // SAFETY: the program answers for the arguments of the call it makes.
            let answer = unsafe { decoded(number, arguments, || real(number, a, b, c, d, e, f)) };
            if let Some(answer) = answer { return answer; }
        }
        real(number, a, b, c, d, e, f)
    }
}
