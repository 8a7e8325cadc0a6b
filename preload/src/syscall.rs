//! syscall(2): programs and runtimes that make file calls by number come to the same hooks as all others. Owns the
//! list of those numbers; every other number goes to the kernel.

use crate::guard::{fail, mounted};
use crate::hook::hooks;
use crate::open::opening;
use crate::paths::{how_to_open, literal, named};
use crate::real::raw;
use crate::{attributes, descriptors, inkernel, names, open, process, rings, transfer};
use ::engine::report::Bypass;
use libc::{c_char, c_int, c_long};

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
unsafe fn decoded(number: c_long, a: [c_long; 6], real: impl Fn([c_long; 6]) -> c_long) -> Option<c_long> {
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
                let path = a[1] as *const c_char;
                let by_name = |dir: c_int, path: *const c_char| {
                    opening(dir, path, flags, || {
                        real([dir.into(), path as c_long, a[2], a[3], a[4], a[5]]) as c_int
                    })
                };
                // What may not follow links or leave a directory is told in a way that only the kernel knows.
                const STRICT: u64 = libc::RESOLVE_BENEATH | libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS;
                match (*how).resolve & STRICT {
                    0 => named(fd, path, how_to_open(flags), by_name).into(),
                    libc::RESOLVE_NO_SYMLINKS => literal(fd, path, by_name).into(),
                    _ => by_name(fd, path).into(),
                }
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
            libc::SYS_pidfd_getfd => descriptors::taken(real(a) as c_int).into(),
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
            libc::SYS_linkat => names::linkat(fd, a[1] as _, int(a[2]), a[3] as _, int(a[4])).into(),
            libc::SYS_unlinkat => names::unlinkat(fd, a[1] as _, int(a[2])).into(),
            libc::SYS_mkdirat => names::mkdirat(fd, a[1] as _, a[2] as _).into(),
            libc::SYS_mknodat => names::mknodat(fd, a[1] as _, a[2] as _, a[3] as _).into(),
            libc::SYS_symlinkat => names::symlinkat(a[0] as _, int(a[1]), a[2] as _).into(),
            libc::SYS_readlinkat => names::readlinkat(fd, a[1] as _, a[2] as _, a[3] as _) as c_long,
            libc::SYS_faccessat => names::faccessat(fd, a[1] as _, int(a[2]), 0).into(),
            libc::SYS_faccessat2 => names::faccessat(fd, a[1] as _, int(a[2]), int(a[3])).into(),
            libc::SYS_statfs => names::statfs(a[0] as _, a[1] as _).into(),
            libc::SYS_chdir => names::chdir(a[0] as _).into(),
            libc::SYS_fchdir => names::fchdir(fd).into(),
            libc::SYS_chroot => names::chroot(a[0] as _).into(),
            libc::SYS_unshare => names::unshare(fd).into(),
            libc::SYS_getcwd => return directory(a, real),
            libc::SYS_setxattr => {
                attributes::setxattr(a[0] as _, a[1] as _, a[2] as _, a[3] as _, int(a[4])).into()
            }
            libc::SYS_lsetxattr => {
                attributes::lsetxattr(a[0] as _, a[1] as _, a[2] as _, a[3] as _, int(a[4])).into()
            }
            libc::SYS_removexattr => attributes::removexattr(a[0] as _, a[1] as _).into(),
            libc::SYS_lremovexattr => attributes::lremovexattr(a[0] as _, a[1] as _).into(),
            libc::SYS_getxattr => names::getxattr(a[0] as _, a[1] as _, a[2] as _, a[3] as _) as c_long,
            libc::SYS_lgetxattr => names::lgetxattr(a[0] as _, a[1] as _, a[2] as _, a[3] as _) as c_long,
            libc::SYS_listxattr => names::listxattr(a[0] as _, a[1] as _, a[2] as _) as c_long,
            libc::SYS_llistxattr => names::llistxattr(a[0] as _, a[1] as _, a[2] as _) as c_long,
            libc::SYS_name_to_handle_at => {
                names::name_to_handle_at(fd, a[1] as _, a[2] as _, a[3] as _, int(a[4])).into()
            }
            libc::SYS_inotify_add_watch => names::inotify_add_watch(fd, a[1] as _, a[2] as _).into(),
            libc::SYS_fanotify_mark => {
                names::fanotify_mark(fd, a[1] as _, a[2] as _, int(a[3]), a[4] as _).into()
            }
            libc::SYS_bind => names::bind(fd, a[1] as _, a[2] as _).into(),
            libc::SYS_connect => names::connect(fd, a[1] as _, a[2] as _).into(),
            libc::SYS_getsockname => names::getsockname(fd, a[1] as _, a[2] as _).into(),
            libc::SYS_getpeername => names::getpeername(fd, a[1] as _, a[2] as _).into(),
            libc::SYS_execve => process::exec::execve(a[0] as _, a[1] as _, a[2] as _).into(),
            libc::SYS_execveat => {
                process::exec::execveat(fd, a[1] as _, a[2] as _, a[3] as _, int(a[4])).into()
            }
            libc::SYS_exit_group => {
                process::exit::_exit(fd);
                0
            }
            libc::SYS_clone if a[0] as c_int & libc::CLONE_VM == 0 => {
                process::fork::forking(|| real(a) as c_int).into()
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
unsafe fn by_old_name(
    number: c_long,
    a: [c_long; 6],
    real: impl Fn([c_long; 6]) -> c_long,
) -> Option<c_long> {
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
            libc::SYS_link => names::link(a[0] as _, a[1] as _).into(),
            libc::SYS_unlink => names::unlink(a[0] as _).into(),
            libc::SYS_rmdir => names::rmdir(a[0] as _).into(),
            libc::SYS_mkdir => names::mkdir(a[0] as _, a[1] as _).into(),
            libc::SYS_mknod => names::mknod(a[0] as _, a[1] as _, a[2] as _).into(),
            libc::SYS_symlink => names::symlink(a[0] as _, a[1] as _).into(),
            libc::SYS_readlink => names::readlink(a[0] as _, a[1] as _, a[2] as _) as c_long,
            libc::SYS_access => names::access(a[0] as _, a[1] as _).into(),
            libc::SYS_rename => names::rename(a[0] as _, a[1] as _).into(),
            libc::SYS_renameat => names::renameat(fd, a[1] as _, a[2] as _, a[3] as _).into(),
            libc::SYS_fork => process::fork::forking(|| real(a) as c_int).into(),
            // A child of vfork cannot return through a function; a fork can.
            libc::SYS_vfork => process::fork::forking(|| raw::direct(libc::SYS_fork, [0; 6]) as c_int).into(),
            _ => return None,
        }
    };
    Some(result)
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn by_old_name(
    number: c_long,
    a: [c_long; 6],
    _real: impl Fn([c_long; 6]) -> c_long,
) -> Option<c_long> {
    // SAFETY: as in `decoded`.
    (number == libc::SYS_renameat)
        .then(|| unsafe { names::renameat(a[0] as _, a[1] as _, a[2] as _, a[3] as _).into() })
}

/// clone3: its arguments lie in memory, flags first.
///
/// # Safety
/// As for [`decoded`].
unsafe fn cloning(a: [c_long; 6], real: impl Fn([c_long; 6]) -> c_long) -> Option<c_long> {
    if a[0] == 0 {
        return None;
    }
    // SAFETY: the program's clone_args.
    let flags = unsafe { *(a[0] as *const u64) };
    (flags & libc::CLONE_VM as u64 == 0).then(|| process::fork::forking(|| real(a) as c_int).into())
}

/// getcwd(2), which gives the length of the name with its zero.
///
/// # Safety
/// As for [`decoded`].
unsafe fn directory(a: [c_long; 6], real: impl Fn([c_long; 6]) -> c_long) -> Option<c_long> {
    if a[0] == 0 || !::engine::namespace::names::in_force() {
        return Some(real(a));
    }
    // SAFETY: the program's buffer; the answer is a C string in it.
    unsafe {
        let name = names::getcwd(a[0] as _, a[1] as _);
        if name.is_null() {
            // Both say ERANGE where there is no room; glibc's answers other errors by other means.
            return Some(-1);
        }
        Some(libc::strlen(name) as c_long + 1)
    }
}

hooks! {
    fn syscall(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long, real => {
        let arguments = [a, b, c, d, e, f];
        if mounted() {
            // SAFETY: the program answers for the arguments of the call it makes.
            let answer = unsafe {
                decoded(number, arguments, |[a, b, c, d, e, f]| real(number, a, b, c, d, e, f))
            };
            if let Some(answer) = answer { return answer; }
        }
        real(number, a, b, c, d, e, f)
    }
}
