//! MPI-IO. Small independent requests whose bytes lie in a row, in memory and in the file, go straight to the engine
//! through the descriptor that the library opened; all else is the library's, and reaches the same file through the
//! hooks below it. Fortran's calls end in the C ones in every library. Owns when that short way may be taken; what the
//! bytes are is the engine's business.
//!
//! Nothing here answers with an error: whatever is odd goes to the library, which knows the program's error handlers.

mod files;
mod library;
mod opening;
mod types;

use crate::guard::{ask, concerns, inside, live};
use crate::real::raw;
use ::engine::engine::{self, Answer};
use ::engine::report::{self, Count};
use files::{READS, WRITES};
use libc::{c_char, c_int, c_void};
use library::{ABSENT, SUCCESS};
use std::ffi::CStr;
use std::sync::atomic::AtomicPtr;

pub use opening::opened;

/// Before a descriptor is closed.
#[inline]
pub fn closing(fd: c_int) {
    opening::closed(fd);
    files::descriptor_closed(fd);
}

/// Requests from this length on are the library's: it may cut or align them for the file system.
const LARGE: usize = 1 << 20;

/// The access modes of MPI_File_open that matter here; MPICH, Open MPI and all their relatives agree on them, and a
/// library that does not is noticed by the flags of its open.
const RDONLY: c_int = 2;
const WRONLY: c_int = 4;
const RDWR: c_int = 8;
const SEQUENTIAL: c_int = 256;

/// What may be done with a file opened in `mode`, whose descriptor was opened with `flags`.
fn may(mode: c_int, flags: c_int) -> Option<u32> {
    if mode & SEQUENTIAL != 0 || flags & (libc::O_APPEND | libc::O_DIRECT) != 0 {
        return None;
    }
    // A library may open for reading as well what is only written: it reads round the gaps of what it writes.
    match (mode & (RDONLY | WRONLY | RDWR), flags & libc::O_ACCMODE) {
        (RDONLY, libc::O_RDONLY) => Some(READS),
        (WRONLY, libc::O_WRONLY | libc::O_RDWR) => Some(WRITES),
        (RDWR, libc::O_RDWR) => Some(READS | WRITES),
        _ => None,
    }
}

/// Buffers may lie in the memory of a device, where only the library can reach them.
fn has_devices() -> bool {
    [c"cuInit", c"hipInit", c"zeInit"].iter().any(|name| !crate::real::symbol(name).is_null())
}

/// After MPI_File_open has succeeded.
fn entered(handle: usize, found: Option<(c_int, c_int)>, mode: c_int) {
    if let Some((fd, flags)) = found
        && let Some(may) = may(mode, flags)
        && concerns(fd)
        && !has_devices()
    {
        files::enter(handle, fd, may);
    }
}

/// A status that the caller wants: MPI_STATUS_IGNORE is a small number in every MPI.
#[inline]
fn wanted(status: *mut c_void) -> bool {
    status as usize > 4096
}

/// Does a request at an explicit offset by `act` on the file's descriptor, or by `kernel` when the engine leaves it to
/// that, if this is all there is to do.
#[inline]
fn past_the_library(
    (file, offset): (usize, i64),
    (count, datatype): (i64, usize),
    status: *mut c_void,
    way: u32,
    act: impl FnOnce(c_int, usize, i64) -> Answer,
    kernel: impl FnOnce(c_int, usize, i64) -> i64,
) -> bool {
    if !live() || !(1..LARGE as i64).contains(&count) {
        return false;
    }
    let Some(file) = files::find(file) else { return false };
    let Some(size) = types::size_of(datatype) else { return false };
    let len = count as usize * size as usize;
    let Some((fd, at)) = file.place(way, offset, len) else { return false };
    if len >= LARGE || !concerns(fd) {
        return false;
    }
    // What came short (the end of the file, a full disk) is done again by the library, which knows what to say.
    let moved = match ask(|| act(fd, len, at)) {
        Answer::Done(moved) => moved,
        Answer::Kernel => kernel(fd, len, at),
        Answer::Fail(_) => -1,
    };
    if moved != len as i64 {
        return false;
    }
    report::add(Count::MpiDirect, 1);
    if wanted(status) {
        // SAFETY: the program's status, and a datatype that MPI knows.
        unsafe { library::status_set_elements(status, datatype, count as c_int) };
    }
    true
}

/// After a request that the library did: what it took may be plain.
#[inline]
fn taken(result: c_int, count: i64, datatype: usize) {
    if result == SUCCESS && count > 0 && live() && types::size_of(datatype).is_none() {
        types::learn(datatype);
    }
}

/// The view that MPI_File_set_view has made, if its bytes lie in a row.
///
/// # Safety
/// `representation` is a C string, as MPI has just taken it.
unsafe fn in_a_row(
    start: i64,
    element: usize,
    filetype: usize,
    representation: *const c_char,
) -> Option<(i64, u32)> {
    // SAFETY: as the caller says.
    let native = unsafe { CStr::from_ptr(representation) } == c"native";
    (native && element == filetype && start >= 0)
        .then(|| types::learn(element))
        .flatten()
        .map(|unit| (start, unit))
}

/// Declares hooks over the library's functions and their profiling names.
macro_rules! mpi {
    ($(fn $name:ident | $profiling:ident ($($a:ident: $t:ty),* $(,)?) -> c_int, $real:ident => $body:block)*) => {$(
        mpi!(@one $name ($($a: $t),*), $real $body);
        mpi!(@one $profiling ($($a: $t),*), $real $body);
    )*};
    (@one $name:ident ($($a:ident: $t:ty),*), $real:ident $body:block) => {
        /// MPI's function of this name.
        ///
        /// # Safety
        /// As MPI says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name($($a: $t),*) -> c_int {
            static NEXT: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
            // SAFETY: the literal ends in NUL.
            let name = unsafe { CStr::from_ptr(concat!(stringify!($name), "\0").as_ptr().cast()) };
            let next = library::function(&NEXT, name);
            if next.is_null() {
                return ABSENT;
            }
            let $real = || -> c_int {
                // SAFETY: the library's function of this name; the arguments are the program's own.
                unsafe {
                    let f: unsafe extern "C-unwind" fn($($t),*) -> c_int = std::mem::transmute(next);
                    f($($a),*)
                }
            };
            $body
        }
    };
}

mpi! {
    fn MPI_File_open | PMPI_File_open(comm: usize, name: *const c_char, mode: c_int, info: usize, file: *mut usize)
        -> c_int, real => {
        if !live() { return real(); }
        // SAFETY: the program's name of the file.
        let (result, found) = unsafe { opening::watched(name, real) };
        if result == SUCCESS {
            // SAFETY: MPI has put the handle there. It is a pointer in every library that has files.
            entered(unsafe { *file }, found, mode);
        }
        result
    }

    fn MPI_File_close | PMPI_File_close(file: *mut usize) -> c_int, real => {
        if live() && !file.is_null() {
            // SAFETY: the program's handle.
            files::remove(unsafe { *file });
        }
        real()
    }

    fn MPI_File_set_view | PMPI_File_set_view(file: usize, start: i64, element: usize, filetype: usize,
        representation: *const c_char, info: usize) -> c_int, real => {
        let Some(known) = files::find(file) else { return real() };
        // While it changes, and if it fails, the library knows best.
        known.set_view(None);
        let result = real();
        if result == SUCCESS {
            // SAFETY: MPI has taken the representation.
            known.set_view(unsafe { in_a_row(start, element, filetype, representation) });
        }
        result
    }

    fn MPI_File_set_atomicity | PMPI_File_set_atomicity(file: usize, atomic: c_int) -> c_int, real => {
        let Some(known) = files::find(file) else { return real() };
        known.set_atomic(true);
        let result = real();
        if result == SUCCESS {
            known.set_atomic(atomic != 0);
        }
        result
    }

    fn MPI_File_write_at | PMPI_File_write_at(file: usize, offset: i64, buf: *const c_void, count: c_int,
        datatype: usize, status: *mut c_void) -> c_int, real => {
        // SAFETY: the program promised MPI that the buffer is readable.
        let write = |fd, len, at| unsafe { engine::pwrite(fd, buf.cast(), len, at) };
        // SAFETY: as above.
        let kernel = |fd, len, at| unsafe { raw::pwrite(fd, buf, len, at) as i64 };
        if past_the_library((file, offset), (i64::from(count), datatype), status, WRITES, write, kernel) {
            return SUCCESS;
        }
        let result = real();
        taken(result, i64::from(count), datatype);
        result
    }

    fn MPI_File_read_at | PMPI_File_read_at(file: usize, offset: i64, buf: *mut c_void, count: c_int,
        datatype: usize, status: *mut c_void) -> c_int, real => {
        // SAFETY: the program promised MPI that the buffer is writable.
        let read = |fd, len, at| unsafe { engine::pread(fd, buf.cast(), len, at) };
        // SAFETY: as above.
        let kernel = |fd, len, at| unsafe { raw::pread(fd, buf, len, at) as i64 };
        if past_the_library((file, offset), (i64::from(count), datatype), status, READS, read, kernel) {
            return SUCCESS;
        }
        let result = real();
        taken(result, i64::from(count), datatype);
        result
    }

    fn MPI_File_write_at_c | PMPI_File_write_at_c(file: usize, offset: i64, buf: *const c_void, count: i64,
        datatype: usize, status: *mut c_void) -> c_int, real => {
        // SAFETY: as above.
        let write = |fd, len, at| unsafe { engine::pwrite(fd, buf.cast(), len, at) };
        // SAFETY: as above.
        let kernel = |fd, len, at| unsafe { raw::pwrite(fd, buf, len, at) as i64 };
        if past_the_library((file, offset), (count, datatype), status, WRITES, write, kernel) {
            return SUCCESS;
        }
        let result = real();
        taken(result, count, datatype);
        result
    }

    fn MPI_File_read_at_c | PMPI_File_read_at_c(file: usize, offset: i64, buf: *mut c_void, count: i64,
        datatype: usize, status: *mut c_void) -> c_int, real => {
        // SAFETY: as above.
        let read = |fd, len, at| unsafe { engine::pread(fd, buf.cast(), len, at) };
        // SAFETY: as above.
        let kernel = |fd, len, at| unsafe { raw::pread(fd, buf, len, at) as i64 };
        if past_the_library((file, offset), (count, datatype), status, READS, read, kernel) {
            return SUCCESS;
        }
        let result = real();
        taken(result, count, datatype);
        result
    }

    // The launcher may end what is left of the program once every rank has passed here.
    fn MPI_Finalize | PMPI_Finalize() -> c_int, real => {
        if live() {
            inside(engine::settle_open);
        }
        real()
    }
}
