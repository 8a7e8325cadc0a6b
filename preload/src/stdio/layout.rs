//! glibc's stream as it lies in memory, and the proof that this glibc's lies so. The first 0xd8 bytes are in its
//! public header; what follows is checked against a stream that glibc itself has just made. Where anything
//! differs, mounted files are given glibc's own streams and leave the overlay.

use crate::real::symbol;
use libc::{c_char, c_int, c_void};
use std::sync::OnceLock;

/// A table of a stream's operations, by slot.
pub type Jumps = [*const c_void; 21];
const OVERFLOW: usize = 3;
const UNDERFLOW: usize = 4;
const XSPUTN: usize = 7;
const XSGETN: usize = 8;
const SEEKOFF: usize = 9;

/// FILE with the fields of a cookie stream behind it.
#[repr(C)]
pub struct File {
    pub flags: c_int,
    pub read_ptr: *mut u8,
    pub read_end: *mut u8,
    pub read_base: *mut u8,
    pub write_base: *mut u8,
    pub write_ptr: *mut u8,
    pub write_end: *mut u8,
    pub buf_base: *mut u8,
    pub buf_end: *mut u8,
    pub save_base: *mut u8,
    pub backup_base: *mut u8,
    pub save_end: *mut u8,
    pub markers: *mut c_void,
    pub chain: *mut File,
    pub fileno: c_int,
    pub flags2: c_int,
    pub old_offset: i64,
    pub cur_column: u16,
    pub vtable_offset: i8,
    pub shortbuf: [u8; 1],
    pub lock: *mut c_void,
    pub offset: i64,
    pub codecvt: *mut c_void,
    pub wide_data: *mut c_void,
    pub freeres_list: *mut c_void,
    pub freeres_buf: *mut c_void,
    pub pad: usize,
    pub mode: c_int,
    pub unused: [u8; 20],
    pub jumps: *const Jumps,
    /// A cookie stream's cookie; in glibc's own streams its lock lies here.
    pub cookie: *mut c_void,
    /// A cookie stream's functions, as glibc keeps them.
    pub functions: [usize; 4],
}

/// Where glibc puts the lock and the wide half of a stream that fopen made.
const LOCK_AT: usize = 0xe0;
const WIDE_AT: usize = 0xf0;
/// Room for the wide half; glibc 2.36's has 0xe8 bytes.
pub const WIDE_ROOM: usize = 0x140;

/// cookie_io_functions_t.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Functions {
    pub read: unsafe extern "C-unwind" fn(*mut c_void, *mut c_char, usize) -> isize,
    pub write: unsafe extern "C-unwind" fn(*mut c_void, *const c_char, usize) -> isize,
    pub seek: unsafe extern "C-unwind" fn(*mut c_void, *mut i64, c_int) -> c_int,
    pub close: unsafe extern "C-unwind" fn(*mut c_void) -> c_int,
}

/// What is taken from glibc once.
pub struct Glibc {
    /// The operations of glibc's own streams.
    pub file_jumps: *const Jumps,
    /// The operations of cookie streams: the same functions over the cookie's read, write, seek and close.
    pub cookie_jumps: *const Jumps,
    /// Our functions as glibc stores them (it scrambles pointers).
    pub functions: [usize; 4],
    /// Bytes of the wide half.
    pub wide_size: usize,
    /// Reads past the buffer when the request is large; cookie streams lack it.
    pub read_large: unsafe extern "C-unwind" fn(*mut File, *mut c_void, usize) -> usize,
    /// Moves within the buffer when it can; cookie streams lack that.
    pub seek: unsafe extern "C-unwind" fn(*mut File, i64, c_int, c_int) -> i64,
}

// SAFETY: pointers to glibc's constant tables and functions.
unsafe impl Send for Glibc {}
// SAFETY: as above.
unsafe impl Sync for Glibc {}

/// What glibc looks like; `None` when it is not the one we know.
pub fn glibc(functions: Functions) -> Option<&'static Glibc> {
    static GLIBC: OnceLock<Option<Glibc>> = OnceLock::new();
    GLIBC.get_or_init(|| examine(functions)).as_ref()
}

unsafe extern "C-unwind" {
    fn fopencookie(cookie: *mut c_void, mode: *const c_char, functions: Functions) -> *mut File;
}

fn examine(functions: Functions) -> Option<Glibc> {
    let file_jumps = symbol(c"_IO_file_jumps").cast_const().cast::<Jumps>();
    let wide_jumps = symbol(c"_IO_wfile_jumps").cast_const();
    let xsputn = symbol(c"_IO_file_xsputn").cast_const();
    let underflow = symbol(c"_IO_file_underflow").cast_const();
    let overflow = symbol(c"_IO_file_overflow").cast_const();
    let seekoff = symbol(c"_IO_file_seekoff").cast_const();
    let known = [xsputn, underflow, overflow, seekoff];
    if file_jumps.is_null() || wide_jumps.is_null() || known.iter().any(|f| f.is_null()) {
        return None;
    }
    let mark = (&raw const NOBODY).cast_mut().cast::<c_void>();
    // SAFETY: the stream is glibc's, made and closed here; only its allocated part is read (a cookie stream has
    // at least the fields of `File`), and its functions answer for the cookie `NOBODY`.
    unsafe {
        let stream = fopencookie(mark, c"r+".as_ptr(), functions);
        if stream.is_null() {
            return None;
        }
        let (jumps, cookie, scrambled) = ((*stream).jumps, (*stream).cookie, (*stream).functions);
        let (fileno, mode) = ((*stream).fileno, (*stream).mode);
        let same = cookie == mark
            && fileno == -2
            && mode == -1
            && !jumps.is_null()
            && (*jumps)[XSPUTN] == xsputn
            && (*jumps)[UNDERFLOW] == underflow
            && (*jumps)[OVERFLOW] == overflow
            && (*file_jumps)[XSPUTN] == xsputn
            && (*file_jumps)[UNDERFLOW] == underflow
            && (*file_jumps)[OVERFLOW] == overflow
            && (*file_jumps)[SEEKOFF] == seekoff;
        super::stream::real_fclose(stream);
        if !same {
            return None;
        }
        Some(Glibc {
            file_jumps,
            cookie_jumps: jumps,
            functions: scrambled,
            wide_size: wide_size(wide_jumps)?,
            read_large: std::mem::transmute::<
                *const c_void,
                unsafe extern "C-unwind" fn(*mut File, *mut c_void, usize) -> usize,
            >((*file_jumps)[XSGETN]),
            seek: std::mem::transmute::<
                *const c_void,
                unsafe extern "C-unwind" fn(*mut File, i64, c_int, c_int) -> i64,
            >(seekoff),
        })
    }
}

/// The cookie of the stream that is only looked at.
pub static NOBODY: u8 = 0;

/// Size of the wide half of a stream: its last field points to the wide operations.
fn wide_size(wide_jumps: *const c_void) -> Option<usize> {
    // SAFETY: a stream of glibc's own on no file at all, looked at within its allocation and closed again;
    // descriptor −1 makes the close only free it.
    unsafe {
        let fd = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        let stream = libc::fdopen(fd, c"r".as_ptr()).cast::<File>();
        if stream.is_null() {
            libc::close(fd);
            return None;
        }
        let usable = libc::malloc_usable_size(stream.cast());
        let base = stream.cast::<u8>();
        let placed = pristine(stream) && usable > WIDE_AT;
        let mut size = None;
        if placed {
            let room = (usable - WIDE_AT).min(WIDE_ROOM);
            size = (0..room / 8 * 8)
                .step_by(8)
                .find(|&at| base.add(WIDE_AT + at).cast::<*const c_void>().read() == wide_jumps)
                .map(|at| at + 8);
        }
        super::stream::real_fclose(stream);
        size
    }
}

/// Whether the lock and the wide half of a stream of glibc's own lie behind it, as fopen puts them.
///
/// # Safety
/// `stream` is a stream.
pub unsafe fn pristine(stream: *const File) -> bool {
    // SAFETY: the fields are within every stream.
    unsafe {
        let base = stream.addr();
        (*stream).lock.addr() == base + LOCK_AT && (*stream).wide_data.addr() == base + WIDE_AT
    }
}
