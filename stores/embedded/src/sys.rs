//! System calls. Owns the border to the kernel: everything here is a direct system call (rustix's `linux_raw`
//! backend), never a libc function.

use iris_limits::beyond_file_size;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::path::Path;

/// Result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

/// Opens for reading.
pub fn open_read(path: &Path) -> Result<OwnedFd> {
    fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens for reading and writing, making the file if there is none.
pub fn open_write(path: &Path) -> Result<OwnedFd> {
    fs::open(path, OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))
}

/// Makes a file or empties it.
pub fn create(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    fs::open(path, flags, Mode::from_raw_mode(0o600))
}

/// Opens a folder.
pub fn open_folder(path: &Path) -> Result<OwnedFd> {
    fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Fills the buffer from `offset` on as far as the file goes; how many bytes that were.
pub fn read_at(fd: BorrowedFd<'_>, mut into: &mut [u8], mut offset: u64) -> Result<usize> {
    let mut done = 0;
    while !into.is_empty() {
        match rustix::io::pread(fd, &mut *into, offset) {
            Ok(0) => break,
            Ok(n) => {
                (done, offset) = (done + n, offset + n as u64);
                into = &mut into[n..];
            }
            Err(Errno::INTR) => (),
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Writes all bytes at `offset`. The program's limit on the size of files (RLIMIT_FSIZE) is not meant for a store's;
/// where it cannot be lifted, it is an error here, not the signal that the kernel would send to the program.
pub fn write_at(fd: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> Result<()> {
    while !bytes.is_empty() {
        match beyond_file_size(offset + bytes.len() as u64, || rustix::io::pwrite(fd, bytes, offset)) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(n) => {
                offset += n as u64;
                bytes = &bytes[n..];
            }
            Err(Errno::INTR) => (),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Makes sure that the file's first `len` bytes find room, as far as the file system can; its length stays.
pub fn reserve(fd: BorrowedFd<'_>, len: u64) -> Result<()> {
    let allocate = || fs::fallocate(fd, fs::FallocateFlags::KEEP_SIZE, 0, len);
    // tmpfs has the limit on sizes hold for this too, if the file would grow.
    let grows = iris_limits::file_size().is_some() && self::len(fd)? < len;
    match if grows { beyond_file_size(len, allocate) } else { allocate() } {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        other => other,
    }
}

/// Drops all bytes of a file.
pub fn empty(fd: BorrowedFd<'_>) -> Result<()> {
    fs::ftruncate(fd, 0)
}

/// fdatasync.
pub fn sync_data(fd: BorrowedFd<'_>) -> Result<()> {
    fs::fdatasync(fd)
}

/// Makes the names in a folder durable.
pub fn sync_folder(path: &Path) -> Result<()> {
    fs::fsync(open_folder(path)?.as_fd())
}

/// Length of an open file in bytes.
pub fn len(fd: BorrowedFd<'_>) -> Result<u64> {
    Ok(fs::fstat(fd)?.st_size as u64)
}

/// Makes a folder unless it is there.
pub fn make_folder(path: &Path) -> Result<()> {
    match fs::mkdir(path, Mode::from_raw_mode(0o700)) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// The names in a folder that are text.
pub fn names(path: &Path) -> Result<Vec<String>> {
    let folder = open_folder(path)?;
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(&folder)? {
        names.extend(entry?.file_name().to_str().ok().map(str::to_owned));
    }
    Ok(names)
}

/// rename(2).
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
}

/// Removes a file; one that is not there is removed already.
pub fn remove(path: &Path) -> Result<()> {
    match fs::unlink(path) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Waits until nobody else has the folder locked; given back when the descriptor is closed, or its process dies.
pub fn lock_folder(fd: BorrowedFd<'_>) -> Result<()> {
    loop {
        match fs::flock(fd, fs::FlockOperation::LockExclusive) {
            Err(Errno::INTR) => (),
            other => return other,
        }
    }
}

/// A file's first `len` bytes, mapped and shared.
pub fn map(fd: BorrowedFd<'_>, len: usize) -> Result<*mut u8> {
    use rustix::mm::{MapFlags, ProtFlags};
    // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
    let p = unsafe {
        rustix::mm::mmap(
            std::ptr::null_mut(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            fd,
            0,
        )
    }?;
    Ok(p.cast())
}

/// Undoes [`map`].
///
/// # Safety
/// Nobody uses the mapping any more.
pub unsafe fn unmap(address: *mut u8, len: usize) {
    // SAFETY: by contract; failure would leave the mapping, which is harmless.
    let _ = unsafe { rustix::mm::munmap(address.cast(), len) };
}

/// A small file of /proc.
pub fn read_small(path: &str) -> Option<Vec<u8>> {
    let fd = open_read(Path::new(path)).ok()?;
    let mut text = vec![0; 1024];
    let n = rustix::io::read(&fd, &mut text[..]).ok()?;
    text.truncate(n);
    Some(text)
}

/// This thread's id.
pub fn tid() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// This process's id.
pub fn pid() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get() as u32
}

/// Nanoseconds of the monotonic clock.
pub fn monotonic_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Nanoseconds since 1970.
pub fn now_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Sleeps for `us` microseconds, or until a signal.
pub fn nap(us: u32) {
    let t = rustix::time::Timespec { tv_sec: 0, tv_nsec: i64::from(us) * 1000 };
    let _ = rustix::thread::nanosleep(&t);
}

/// Gives the processor to somebody else.
pub fn yield_now() {
    rustix::thread::sched_yield();
}
