//! System calls for Iris's own I/O. Owns the border to the kernel: everything here is a direct system call
//! (rustix's `linux_raw` backend), never a libc function, because inside libiris.so the libc names are the hooks.
//!
//! Descriptors are plain numbers here: they belong to the program, and may be closed under us at any time, which
//! the kernel answers with EBADF. No function takes ownership of one unless its name says so.

use crate::errno::Errno;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, SeekFrom, Stat, StatxFlags};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub use iris_limits::{beyond_file_size, file_size as file_size_limit};
pub use rustix::fd::RawFd;

/// A descriptor of the engine's own, closed by a direct system call when dropped.
pub struct OwnFd(OwnedFd);

impl OwnFd {
    /// The number.
    pub fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// For calls that want to know that it stays open.
    pub fn borrow(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for OwnFd {
    fn from(fd: OwnedFd) -> OwnFd {
        OwnFd(fd)
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(e: rustix::io::Errno) -> Errno {
        Errno(e.raw_os_error())
    }
}

/// Result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

#[inline]
fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the borrow lives for one system call. A number that is not open, or is reused by another thread
    // meanwhile, gives the answer the program itself would get from the kernel; no Rust object relies on it.
    // -1 is excluded by the callers, which only pass numbers from the descriptor table or from open.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// openat(AT_FDCWD) with O_CLOEXEC added.
pub fn open(path: &CStr, flags: OFlags, mode: u32) -> Result<OwnFd> {
    Ok(OwnFd(rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode))?))
}

/// A path as the kernel takes it.
///
/// # Errors
/// EINVAL where it holds a NUL.
pub fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno(libc::EINVAL))
}

/// fstat.
#[inline]
pub fn fstat(fd: RawFd) -> Result<Stat> {
    Ok(rustix::fs::fstat(borrow(fd))?)
}

/// fstatat; an empty path is an error, links are followed on demand.
pub fn statat(dirfd: RawFd, path: &CStr, follow: bool) -> Result<Stat> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    if dirfd == libc::AT_FDCWD {
        return Ok(rustix::fs::statat(rustix::fs::CWD, path, flags)?);
    }
    if dirfd < 0 {
        return Err(Errno(libc::EBADF));
    }
    Ok(rustix::fs::statat(borrow(dirfd), path, flags)?)
}

/// Time of birth of an open file in nanoseconds since 1970; 0 where the file system keeps none, or when the
/// descriptor is not inode `ino`'s (another thread may be putting another file on its number). Together with
/// device and inode number it tells a file from a later one with the same inode number.
pub fn birth(fd: RawFd, ino: u64) -> u64 {
    match rustix::fs::statx(borrow(fd), c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME | StatxFlags::INO) {
        Ok(x) if x.stx_mask & StatxFlags::BTIME.bits() != 0 && x.stx_ino == ino => (x.stx_btime.tv_sec
            as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(u64::from(x.stx_btime.tv_nsec)),
        _ => 0,
    }
}

/// As [`birth`], of a file by name.
pub fn birth_at(dirfd: RawFd, path: &CStr, ino: u64) -> u64 {
    let dir = if dirfd == libc::AT_FDCWD { rustix::fs::CWD } else { borrow(dirfd) };
    match rustix::fs::statx(dir, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME | StatxFlags::INO) {
        Ok(x) if x.stx_mask & StatxFlags::BTIME.bits() != 0 && x.stx_ino == ino => (x.stx_btime.tv_sec
            as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(u64::from(x.stx_btime.tv_nsec)),
        _ => 0,
    }
}

/// Time of modification in nanoseconds since 1970.
pub fn mtime_ns(fd: RawFd) -> Result<u64> {
    let x = rustix::fs::statx(borrow(fd), c"", AtFlags::EMPTY_PATH, StatxFlags::MTIME)?;
    Ok((x.stx_mtime.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(u64::from(x.stx_mtime.tv_nsec)))
}

/// Whether an open file lies on a file system of this machine, whose page cache takes bytes as fast as memory does.
/// Unknown ones, and all that go over a network or through FUSE, do not count.
pub fn is_local(fd: RawFd) -> bool {
    // statfs(2): ext2-4, xfs, btrfs, tmpfs, f2fs, overlayfs, zfs, bcachefs.
    const LOCAL: [u32; 8] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0x794c_7630, 0x2fc1_2fc1, 0xca45_1a4e];
    rustix::fs::fstatfs(borrow(fd)).is_ok_and(|s| LOCAL.contains(&(s.f_type as u32)))
}

/// pread into program memory.
///
/// # Safety
/// `buf` is writable for `len` bytes.
#[inline]
pub unsafe fn pread(fd: RawFd, buf: *mut u8, len: usize, offset: u64) -> Result<usize> {
    // SAFETY: by this function's contract; MaybeUninit allows uninitialised program memory.
    let buf = unsafe { std::slice::from_raw_parts_mut(buf.cast::<std::mem::MaybeUninit<u8>>(), len) };
    Ok(rustix::io::pread(borrow(fd), buf, offset)?.0.len())
}

/// read into program memory, at the kernel's own offset.
///
/// # Safety
/// `buf` is writable for `len` bytes.
pub unsafe fn read(fd: RawFd, buf: *mut u8, len: usize) -> Result<usize> {
    // SAFETY: as in `pread`.
    let buf = unsafe { std::slice::from_raw_parts_mut(buf.cast::<std::mem::MaybeUninit<u8>>(), len) };
    Ok(rustix::io::read(borrow(fd), buf)?.0.len())
}

/// pwrite from program memory.
///
/// # Safety
/// `buf` is readable for `len` bytes.
#[inline]
pub unsafe fn pwrite(fd: RawFd, buf: *const u8, len: usize, offset: u64) -> Result<usize> {
    // SAFETY: by this function's contract. Another thread of the program may change the bytes meanwhile; the
    // kernel copies them once, and no Rust code looks at them.
    let buf = unsafe { std::slice::from_raw_parts(buf, len) };
    Ok(rustix::io::pwrite(borrow(fd), buf, offset)?)
}

/// write at the kernel's own offset (or at the end with O_APPEND).
///
/// # Safety
/// `buf` is readable for `len` bytes.
pub unsafe fn write(fd: RawFd, buf: *const u8, len: usize) -> Result<usize> {
    // SAFETY: as in `pwrite`.
    let buf = unsafe { std::slice::from_raw_parts(buf, len) };
    Ok(rustix::io::write(borrow(fd), buf)?)
}

/// pwritev of the engine's own slices.
pub fn pwritev(fd: RawFd, slices: &[std::io::IoSlice<'_>], offset: u64) -> Result<usize> {
    Ok(rustix::io::pwritev(borrow(fd), slices, offset)?)
}

/// writev at the kernel's own offset (or at the end with O_APPEND).
pub fn writev(fd: RawFd, slices: &[std::io::IoSlice<'_>]) -> Result<usize> {
    Ok(rustix::io::writev(borrow(fd), slices)?)
}

/// lseek to an absolute offset.
pub fn seek_to(fd: RawFd, offset: u64) -> Result<u64> {
    Ok(rustix::fs::seek(borrow(fd), SeekFrom::Start(offset))?)
}

/// The kernel's own offset.
pub fn tell(fd: RawFd) -> Result<u64> {
    Ok(rustix::fs::tell(borrow(fd))?)
}

/// Status flags (F_GETFL).
pub fn status_flags(fd: RawFd) -> Result<i32> {
    Ok(rustix::fs::fcntl_getfl(borrow(fd))?.bits() as i32)
}

/// Whether FD_CLOEXEC is set; an unopened number counts as set (nothing is inherited).
pub fn closes_on_exec(fd: RawFd) -> bool {
    rustix::io::fcntl_getfd(borrow(fd)).map_or(true, |f| f.contains(rustix::io::FdFlags::CLOEXEC))
}

/// Reserves space of a file of Iris's own so that touching it cannot raise SIGBUS.
pub fn reserve(fd: RawFd, offset: u64, len: u64) -> Result<()> {
    let allocate = || rustix::fs::fallocate(borrow(fd), FallocateFlags::empty(), offset, len);
    Ok(growing(fd, offset.saturating_add(len), allocate)?)
}

/// Maps the first `len` bytes of a file of Iris's own for as long as the process lives; made, of zeros, where there is none.
pub fn map_own(path: &CStr, len: usize) -> Result<*mut u8> {
    let fd = open(path, OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW, 0o600)?;
    if (fstat(fd.raw())?.st_size as usize) < len {
        reserve(fd.raw(), 0, len as u64)?;
    }
    map_shared(fd.raw(), len, 4096)
}

/// Gives a file of Iris's own its length.
pub fn set_len(fd: RawFd, len: u64) -> Result<()> {
    Ok(growing(fd, len, || rustix::fs::ftruncate(borrow(fd), len))?)
}

/// Runs `op`, after which a file of Iris's own has `len` bytes at least. A limit holds only for what grows.
fn growing(fd: RawFd, len: u64, op: impl FnOnce() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    let limited = file_size_limit().is_some() && (rustix::fs::fstat(borrow(fd))?.st_size as u64) < len;
    if limited { beyond_file_size(len, op) } else { op() }
}

/// Writes all of `from` into a file of Iris's own.
pub fn write_own(fd: RawFd, mut from: &[u8], mut offset: u64) -> Result<()> {
    while !from.is_empty() {
        let end = offset.saturating_add(from.len() as u64);
        match beyond_file_size(end, || rustix::io::pwrite(borrow(fd), from, offset)) {
            Ok(0) => return Err(Errno(libc::EIO)),
            Ok(n) => (from, offset) = (&from[n..], offset + n as u64),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Makes a small file of Iris's own anew.
pub fn write_small(path: &CStr, text: &[u8]) -> Result<()> {
    let fd = open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC, 0o666)?;
    write_own(fd.raw(), text, 0)
}

/// Gives the calling thread an empty table of descriptors of its own (close_range with CLOSE_RANGE_UNSHARE, Linux 5.9).
pub fn own_descriptors() -> Result<()> {
    const UNSHARE: usize = 2;
    let result: isize;
    // SAFETY: a system call of three numbers; no memory is touched. The thread has opened nothing yet, and whoever
    // started it keeps its own table.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") libc::SYS_close_range as isize => result,
            in("rdi") 0usize,
            in("rsi") u32::MAX as usize,
            in("rdx") UNSHARE,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") libc::SYS_close_range,
            inlateout("x0") 0usize => result,
            in("x1") u32::MAX as usize,
            in("x2") UNSHARE,
            options(nostack)
        );
    }
    if result < 0 { Err(Errno(-result as i32)) } else { Ok(()) }
}

/// Calls `f` with the number of each open descriptor; with none where /proc does not tell.
pub fn each_descriptor(mut f: impl FnMut(RawFd)) {
    let mut buf = [std::mem::MaybeUninit::<u8>::uninit(); 2048];
    let Ok(folder) = open(c"/proc/self/fd", OFlags::RDONLY | OFlags::DIRECTORY, 0) else { return };
    let mut entries = rustix::fs::RawDir::new(&folder.0, &mut buf);
    while let Some(Ok(entry)) = entries.next() {
        let number = entry.file_name().to_str().ok().and_then(|n| n.parse().ok());
        if let Some(fd) = number.filter(|fd| *fd != folder.raw()) {
            f(fd);
        }
    }
}

/// The name the kernel has for a file that the calling thread has open, into `buf`; the slice holds it without a
/// terminating zero.
pub fn name_of(fd: RawFd, buf: &mut [u8]) -> Result<&[u8]> {
    let mut link = [0u8; 32];
    let path = link_in("thread-self", fd, &mut link);
    let len = rustix::fs::readlinkat_raw(rustix::fs::CWD, path, &mut *buf)?;
    Ok(&buf[..len])
}

/// Calls `f` with the name the kernel has for a file that the calling thread has open. For whoever may be on the small
/// stack of a signal handler: long names, which are rare, lie elsewhere.
pub fn with_name_of<T>(fd: RawFd, f: impl FnOnce(&[u8]) -> T) -> Result<T> {
    let mut small = [0u8; 512];
    let len = name_of(fd, &mut small)?.len();
    if len < small.len() { Ok(f(&small[..len])) } else { with_long_name_of(fd, f) }
}

#[cold]
#[inline(never)]
fn with_long_name_of<T>(fd: RawFd, f: impl FnOnce(&[u8]) -> T) -> Result<T> {
    let mut link = [0u8; 32];
    let path = link_in("thread-self", fd, &mut link);
    let mut large = Scratch::new(libc::PATH_MAX as usize)?;
    let (name, _) = rustix::fs::readlinkat_raw(rustix::fs::CWD, path, large.bytes_mut())?;
    Ok(f(name))
}

/// The name the kernel has for what `path` leads to; `follow` tells about a link in its last part.
pub fn real_name<'b>(dirfd: RawFd, path: &CStr, follow: bool, buf: &'b mut [u8]) -> Result<&'b [u8]> {
    let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = OFlags::PATH | OFlags::CLOEXEC | nofollow;
    let fd = if dirfd == libc::AT_FDCWD {
        rustix::fs::open(path, flags, Mode::empty())?
    } else if dirfd < 0 {
        return Err(Errno(libc::EBADF));
    } else {
        rustix::fs::openat(borrow(dirfd), path, flags, Mode::empty())?
    };
    name_of(fd.as_raw_fd(), buf)
}

/// Whether the way of `path` meets a symbolic link, the last part counted if `follow`. Also where that cannot be
/// told (an old kernel, no free descriptor).
pub fn meets_link(dirfd: RawFd, path: &CStr, follow: bool) -> bool {
    use rustix::fs::{ResolveFlags, openat2};
    use rustix::io::Errno as E;
    let last = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = OFlags::PATH | OFlags::CLOEXEC | last;
    let open = |dir| openat2(dir, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    let opened = match dirfd {
        libc::AT_FDCWD => open(rustix::fs::CWD),
        fd if fd < 0 => return false,
        fd => open(borrow(fd)),
    };
    match opened {
        Ok(_) => false,
        Err(e) => {
            matches!(e, E::LOOP | E::NOSYS | E::PERM | E::INVAL | E::MFILE | E::NFILE | E::AGAIN | E::NOMEM)
        }
    }
}

/// The text of a symbolic link, into uninitialised memory.
pub fn read_link<'b>(path: &CStr, buf: &'b mut [std::mem::MaybeUninit<u8>]) -> Result<&'b [u8]> {
    Ok(rustix::fs::readlinkat_raw(rustix::fs::CWD, path, buf)?.0)
}

/// The working directory, into `buf`; the slice holds it without a terminating zero.
pub fn getcwd(buf: &mut [u8]) -> Result<&[u8]> {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel writes at most `buf.len()` bytes; the clobbers are those of its interface.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") libc::SYS_getcwd as isize => result, in("rdi") buf.as_mut_ptr(),
            in("rsi") buf.len(), lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("svc 0", in("x8") libc::SYS_getcwd, inlateout("x0") buf.as_mut_ptr() as isize => result,
            in("x1") buf.len(), options(nostack));
    }
    match usize::try_from(result) {
        // A directory that cannot be reached from the root has no name.
        Ok(len) if len > 1 && buf[0] == b'/' => Ok(&buf[..len - 1]),
        Ok(_) => Err(Errno(libc::ENOENT)),
        Err(_) => Err(Errno(-result as i32)),
    }
}

/// Has the kernel copy bytes within this process, so that what cannot be stored to is an error and no signal. Returns how
/// many were copied.
pub fn copy_by_kernel(from: &[u8], to: &mut [std::io::IoSliceMut<'_>]) -> Result<usize> {
    let source = libc::iovec { iov_base: from.as_ptr().cast_mut().cast(), iov_len: from.len() };
    // SAFETY: an IoSliceMut is an iovec that may be stored to for as long as it is borrowed; the source is only read.
    let copied = unsafe {
        libc::process_vm_readv(pid() as i32, to.as_ptr().cast(), to.len() as u64, &raw const source, 1, 0)
    };
    if copied < 0 { Err(Errno::last()) } else { Ok(copied as usize) }
}

/// Moves a descriptor of the engine's own out of the way of the program's numbers, if it can be.
pub fn out_of_the_way(fd: OwnFd) -> OwnFd {
    // Below 64, the kernel's first table: for a larger one a process of threads waits until all processors have been
    // through the scheduler (synchronize_rcu), 3 to 12 ms.
    const HIGH: RawFd = 48;
    rustix::io::fcntl_dupfd_cloexec(&fd.0, HIGH).map_or(fd, OwnFd)
}

/// openat with O_PATH, links followed.
pub fn open_path(dirfd: RawFd, path: &CStr) -> Result<OwnFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let fd = match dirfd {
        libc::AT_FDCWD => rustix::fs::open(path, flags, Mode::empty())?,
        _ => rustix::fs::openat(borrow(dirfd), path, flags, Mode::empty())?,
    };
    Ok(OwnFd(fd))
}

/// Whether what `path` names, links not followed, lies on procfs.
pub fn is_on_proc(dirfd: RawFd, path: &CStr) -> bool {
    const PROC: u32 = 0x9fa0;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match dirfd {
        libc::AT_FDCWD => rustix::fs::open(path, flags, Mode::empty()),
        fd if fd < 0 => return false,
        fd => rustix::fs::openat(borrow(fd), path, flags, Mode::empty()),
    };
    fd.is_ok_and(|fd| rustix::fs::fstatfs(fd).is_ok_and(|s| s.f_type as u32 == PROC))
}

/// "/proc/self/fd/N" without allocating: a descriptor of the program's, whatever thread asks.
pub fn fd_link(fd: RawFd, buf: &mut [u8; 32]) -> &CStr {
    link_in("self", fd, buf)
}

/// "/proc/WHO/fd/N".
fn link_in<'b>(who: &str, fd: RawFd, buf: &'b mut [u8; 32]) -> &'b CStr {
    use std::io::Write;
    let mut cursor = std::io::Cursor::new(&mut buf[..31]);
    // A descriptor has seven digits at most, so the write cannot fail; a short name would only make an open fail.
    let _ = write!(cursor, "/proc/{who}/fd/{fd}");
    let end = cursor.position() as usize;
    buf[end] = 0;
    CStr::from_bytes_until_nul(buf).unwrap_or(c"/proc/self/fd")
}

/// Pages of the engine's own, for what is too large for the stack and must not come from the heap.
pub struct Scratch {
    address: *mut u8,
    len: usize,
}

impl Scratch {
    /// Zeroed.
    pub fn new(len: usize) -> Result<Scratch> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let address = unsafe {
            mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        }?;
        Ok(Scratch { address: address.cast(), len })
    }

    /// All of it.
    pub fn bytes(&self) -> &[std::mem::MaybeUninit<u8>] {
        // SAFETY: the mapping is this object's alone, and lives as long as it.
        unsafe { std::slice::from_raw_parts(self.address.cast(), self.len) }
    }

    /// All of it.
    pub fn bytes_mut(&mut self) -> &mut [std::mem::MaybeUninit<u8>] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.address.cast(), self.len) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: nobody else has the mapping.
        unsafe { unmap(self.address, self.len) };
    }
}

/// Shared mapping of a whole file at a multiple of `align`, a power of two.
pub fn map_shared(fd: RawFd, len: usize, align: usize) -> Result<*mut u8> {
    use rustix::mm::{MapFlags, ProtFlags};
    // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
    let room = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            len + align,
            ProtFlags::empty(),
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    }?
    .cast::<u8>();
    let before = room.align_offset(align);
    // SAFETY: the range lies in the room just made, which nobody else knows.
    let mapped = unsafe {
        rustix::mm::mmap(
            room.add(before).cast(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::FIXED,
            borrow(fd),
            0,
        )
    };
    let end = before + len.next_multiple_of(4096);
    // SAFETY: what lies before and behind the mapping (on failure, all) is still only room.
    unsafe {
        match mapped {
            Ok(_) => {
                if before > 0 {
                    unmap(room, before);
                }
                if end < len + align {
                    unmap(room.add(end), len + align - end);
                }
            }
            Err(_) => unmap(room, len + align),
        }
    }
    Ok(mapped?.cast())
}

/// Undoes [`map_shared`].
///
/// # Safety
/// Nobody uses the mapping any more.
pub unsafe fn unmap(address: *mut u8, len: usize) {
    // SAFETY: by contract; failure would leave the mapping, which is harmless.
    let _ = unsafe { rustix::mm::munmap(address.cast(), len) };
}

/// This thread's id.
pub fn tid() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// This process's id.
pub fn pid() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get() as u32
}

/// The effective user.
pub fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// 64 random bits, never 0.
pub fn random() -> u64 {
    let mut bytes = [0u8; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_le_bytes(bytes).max(1),
        // No entropy in a system that runs programs: time and process tell pools apart on one node.
        _ => (monotonic_ns().rotate_left(32) ^ u64::from(pid()) << 20 ^ u64::from(tid())).max(1),
    }
}

/// Milliseconds since boot, suspended time included: the clock of process start times and of staged ages.
pub fn boot_ms() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000
}

/// Nanoseconds of the monotonic clock.
pub fn monotonic_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Time of day in nanoseconds, as coarse as the kernel's own file times (CLOCK_REALTIME_COARSE): 5 ns a call.
#[inline]
pub fn coarse_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Sets the time of modification, in nanoseconds since 1970, and leaves the time of access.
pub fn set_mtime(fd: RawFd, ns: u64) -> Result<()> {
    use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let at = Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 };
    Ok(rustix::fs::futimens(borrow(fd), &Timestamps { last_access: omit, last_modification: at })?)
}

/// Sleeps for `us` microseconds, or until a signal.
pub fn nap(us: u32) {
    let t = rustix::time::Timespec {
        tv_sec: i64::from(us / 1_000_000),
        tv_nsec: i64::from(us % 1_000_000) * 1000,
    };
    let _ = rustix::thread::nanosleep(&t);
}

/// Gives the processor to somebody else.
pub fn yield_now() {
    rustix::thread::sched_yield();
}

/// Lets time pass while somebody else holds what is wanted, more with each round from 0.
pub fn pause(round: u32) {
    match round {
        0..20 => (0..20).for_each(|_| std::hint::spin_loop()),
        20..60 => yield_now(),
        _ => nap(50),
    }
}

/// How many descriptors a table of this process may hold.
pub fn descriptor_limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Reads a small file of /proc into `buf`.
pub fn read_small<'b>(path: &CStr, buf: &'b mut [u8]) -> Result<&'b [u8]> {
    let fd = open(path, OFlags::RDONLY, 0)?;
    let n = rustix::io::read(&fd.0, &mut *buf)?;
    Ok(&buf[..n])
}

/// pwritev at `offset` through a descriptor that has O_APPEND set, which plain pwritev would ignore the offset
/// for (BUGS in pwrite(2)).
///
/// Linux 6.9 and newer take RWF_NOAPPEND; before, O_APPEND is cleared for the moment. The caller sees to it that
/// nobody writes through the descriptor meanwhile.
pub fn pwritev_no_append(fd: RawFd, slices: &[std::io::IoSlice<'_>], offset: u64) -> Result<usize> {
    use rustix::io::ReadWriteFlags;
    const RWF_NOAPPEND: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x20);
    match rustix::io::pwritev2(borrow(fd), slices, offset, RWF_NOAPPEND) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            let flags = rustix::fs::fcntl_getfl(borrow(fd))?;
            rustix::fs::fcntl_setfl(borrow(fd), flags.difference(OFlags::APPEND))?;
            let written = rustix::io::pwritev(borrow(fd), slices, offset);
            rustix::fs::fcntl_setfl(borrow(fd), flags)?;
            Ok(written?)
        }
        other => Ok(other?),
    }
}

/// Runs `f` while the owner has write permission on an open file, and takes it away again.
pub fn with_write_permission<T>(fd: RawFd, f: impl FnOnce() -> Result<T>) -> Result<T> {
    let mode = fstat(fd)?.st_mode & 0o7777;
    rustix::fs::fchmod(borrow(fd), Mode::from_raw_mode(mode | 0o200))?;
    let result = f();
    rustix::fs::fchmod(borrow(fd), Mode::from_raw_mode(mode))?;
    result
}

/// As [`with_write_permission`], for a file by name.
pub fn with_write_permission_at<T>(path: &CStr, f: impl FnOnce() -> Result<T>) -> Result<T> {
    let mode = statat(libc::AT_FDCWD, path, true)?.st_mode & 0o7777;
    rustix::fs::chmod(path, Mode::from_raw_mode(mode | 0o200))?;
    let result = f();
    rustix::fs::chmod(path, Mode::from_raw_mode(mode))?;
    result
}

/// lseek with SEEK_DATA or SEEK_HOLE.
pub fn seek_sparse(fd: RawFd, offset: u64, whence: i32) -> Result<u64> {
    let from = if whence == libc::SEEK_DATA { SeekFrom::Data(offset) } else { SeekFrom::Hole(offset) };
    Ok(rustix::fs::seek(borrow(fd), from)?)
}

/// ftruncate.
pub fn ftruncate(fd: RawFd, len: u64) -> Result<()> {
    Ok(rustix::fs::ftruncate(borrow(fd), len)?)
}

/// Takes the bytes of a range out of a file, which then reads as zeros there and takes no room.
pub fn punch(fd: RawFd, offset: u64, len: u64) -> Result<()> {
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(borrow(fd), mode, offset, len)?)
}

/// An exclusive flock, given back when dropped: closing the descriptor would not do where the file is mapped.
pub struct Locked(RawFd);

impl Drop for Locked {
    fn drop(&mut self) {
        // Cannot fail on a descriptor that has the lock.
        let _ = rustix::fs::flock(borrow(self.0), rustix::fs::FlockOperation::Unlock);
    }
}

/// Waits for an exclusive flock. Drop the answer before the descriptor is closed.
pub fn lock_exclusive(fd: RawFd) -> Result<Locked> {
    rustix::fs::flock(borrow(fd), rustix::fs::FlockOperation::LockExclusive)?;
    Ok(Locked(fd))
}

/// Closes a number of the calling thread's own table.
pub fn close_number(fd: RawFd) {
    // SAFETY: the caller gives the number up.
    unsafe { rustix::io::close(fd) }
}

/// unlink.
pub fn remove(path: &CStr) -> Result<()> {
    Ok(rustix::fs::unlink(path)?)
}

/// Names of a folder's entries, without "." and "..".
pub fn entries(path: &CStr) -> Result<Vec<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let folder = rustix::fs::open(path, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Sets the time of modification of a name, in nanoseconds since 1970; links are not followed.
pub fn set_mtime_at(path: &CStr, ns: u64) -> Result<()> {
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: rustix::fs::Timespec {
            tv_sec: (ns / 1_000_000_000) as i64,
            tv_nsec: (ns % 1_000_000_000) as _,
        },
    };
    Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Opens what a name leads to, links not followed, without reading or writing it, at a number that is out of the way of
/// the program's where there is one: its inode is nobody else's as long as that is open.
pub fn pin(dirfd: RawFd, path: &CStr) -> Result<OwnFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match dirfd {
        libc::AT_FDCWD => rustix::fs::open(path, flags, Mode::empty())?,
        fd if fd < 0 => return Err(Errno(libc::EBADF)),
        fd => rustix::fs::openat(borrow(fd), path, flags, Mode::empty())?,
    };
    Ok(out_of_the_way(OwnFd(fd)))
}
