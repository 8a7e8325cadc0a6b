//! The functions behind the hooks: the next definition of each name after ours, looked up all at once when the
//! library is initialised. Before that a hook makes a raw system call where there is one, so that an allocator
//! or a constructor that runs before us never meets the dynamic linker's lock. Owns the pointers.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

macro_rules! declare {
    ($($name:ident)*) => {
        /// One pointer for each hook, by name.
        #[allow(non_upper_case_globals)]
        pub mod next {
            use super::*;
            $(pub static $name: AtomicPtr<c_void> = AtomicPtr::new(null_mut());)*
        }
        static ALL: &[(&str, &AtomicPtr<c_void>)] = &[
            $((concat!(stringify!($name), "\0"), &next::$name)),*
        ];
    };
}
crate::table::for_each_hook!(declare);

/// Looks up every function. Called by the constructor; a second call does nothing new.
pub fn resolve_all() {
    for (name, slot) in ALL {
        if slot.load(Ordering::Relaxed).is_null() {
            slot.store(look_up(name.as_ptr().cast()), Ordering::Release);
        }
    }
}

/// The next definition of `name`, or one that fails with ENOSYS where this glibc has none.
fn look_up(name: *const c_char) -> *mut c_void {
    // SAFETY: `name` ends in NUL; every caller passes a literal that does.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name) };
    if found.is_null() { absent as *mut c_void } else { found }
}

/// Stands in for a function that this glibc does not have: the program cannot have been linked against it, but
/// may have found it with dlsym.
unsafe extern "C-unwind" fn absent() -> isize {
    ::engine::errno::Errno(libc::ENOSYS).set();
    -1
}

/// The function in `slot`; before initialisation `raw` when there is one, else it is looked up now.
#[inline(always)]
pub fn get(slot: &'static AtomicPtr<c_void>, raw: Option<*const c_void>) -> *const c_void {
    let found = slot.load(Ordering::Relaxed);
    if found.is_null() { early(slot, raw) } else { found }
}

#[cold]
fn early(slot: &'static AtomicPtr<c_void>, raw: Option<*const c_void>) -> *const c_void {
    if let Some(raw) = raw {
        return raw;
    }
    for (name, candidate) in ALL {
        if std::ptr::eq(*candidate, slot) {
            let found = look_up(name.as_ptr().cast());
            slot.store(found, Ordering::Release);
            return found;
        }
    }
    absent as *const c_void
}

/// A symbol of glibc's that is not a hook; null where there is none. A variable may have been moved into the
/// program (a copy relocation), and then that one counts.
pub fn symbol(name: &CStr) -> *mut c_void {
    // SAFETY: `name` ends in NUL.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// The next definition of `name` after ours; null where there is none.
pub fn next_symbol(name: &CStr) -> *mut c_void {
    // SAFETY: `name` ends in NUL.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}

/// Raw system calls with the signatures of the hooks that allocators and early constructors use.
pub mod raw {
    use libc::{c_char, c_int, c_long, c_void, mode_t, off_t, size_t, ssize_t};

    macro_rules! raw {
        ($(fn $name:ident($($a:ident: $t:ty),*) -> $r:ty = $number:expr, [$($pass:expr),*];)*) => {$(
            /// The system call of the same name.
            pub unsafe extern "C-unwind" fn $name($($a: $t),*) -> $r {
                let result: c_long;
                // SAFETY: the program's own arguments, to the system call that it asked for.
                unsafe { result = direct($number, [$($pass as c_long),*]) };
                result as $r
            }
        )*};
    }

    /// A system call without libc, which may not be usable yet; sets `errno` as libc would.
    ///
    /// # Safety
    /// As for the system call itself.
    pub unsafe fn direct(number: c_long, a: [c_long; 6]) -> c_long {
        let result: c_long;
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller answers for the arguments; the clobbers are those of the kernel's interface.
        unsafe {
            std::arch::asm!("syscall", inlateout("rax") number => result, in("rdi") a[0], in("rsi") a[1],
                in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _,
                lateout("r11") _, options(nostack));
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        unsafe {
            std::arch::asm!("svc 0", in("x8") number, inlateout("x0") a[0] => result, in("x1") a[1],
                in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
        }
        if (-4095..0).contains(&result) {
            ::engine::errno::Errno(-result as i32).set();
            return -1;
        }
        result
    }

    raw! {
        fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int
            = libc::SYS_openat, [libc::AT_FDCWD, path, flags, mode, 0, 0];
        fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int
            = libc::SYS_openat, [dir, path, flags, mode, 0, 0];
        fn close(fd: c_int) -> c_int = libc::SYS_close, [fd, 0, 0, 0, 0, 0];
        fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t = libc::SYS_read, [fd, buf, len, 0, 0, 0];
        fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t
            = libc::SYS_write, [fd, buf, len, 0, 0, 0];
        fn pread(fd: c_int, buf: *mut c_void, len: size_t, at: off_t) -> ssize_t
            = libc::SYS_pread64, [fd, buf, len, at, 0, 0];
        fn pwrite(fd: c_int, buf: *const c_void, len: size_t, at: off_t) -> ssize_t
            = libc::SYS_pwrite64, [fd, buf, len, at, 0, 0];
        fn lseek(fd: c_int, offset: off_t, whence: c_int) -> off_t = libc::SYS_lseek, [fd, offset, whence, 0, 0, 0];
        fn mmap(at: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void
            = libc::SYS_mmap, [at, len, prot, flags, fd, offset];
        fn fstat(fd: c_int, st: *mut libc::stat) -> c_int = libc::SYS_fstat, [fd, st, 0, 0, 0, 0];
        fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int
            = libc::SYS_fcntl, [fd, command, argument, 0, 0, 0];
    }
}
