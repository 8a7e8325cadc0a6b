//! Streams on mounted files. glibc opens the stream; then its table of operations is exchanged in place for that
//! of cookie streams, which is made of the same functions over a read, a write, a seek and a close of ours. So
//! buffering, modes, push-back, orientation, flushing at exit and fork are glibc's own. Owns what each such
//! stream needs beside it.

use super::layout::{File, Functions, Glibc, NOBODY, WIDE_ROOM, glibc, pristine};
use crate::guard::{inside, tell};
use crate::{descriptors, real, transfer};
use ::engine::engine::{self, LARGEST_BUFFER, Touch};
use ::engine::report::Bypass;
use libc::{c_char, c_int, c_void};
use std::mem::offset_of;

/// What stands beside a stream of ours. In the stream itself the cookie's fields lie where glibc had put the
/// lock and the wide half, so these move here.
#[repr(C, align(16))]
struct Side {
    file: *mut File,
    lock: [u64; 2],
    wide: [u8; WIDE_ROOM],
    /// The buffer begins at a line of the cache in it: the kernel copies faster to there.
    room: [u8; LARGEST_BUFFER + LINE],
}

const LINE: usize = 64;

/// Whether a stream has passed through [`adopt`].
///
/// # Safety
/// `stream` is a stream; glibc's own have memory of theirs where a cookie stream has its cookie.
#[inline(always)]
pub unsafe fn is_ours(stream: *const File) -> bool {
    // SAFETY: as above; the cookie is compared, not followed.
    unsafe { (*stream).wide_data.addr() == (*stream).cookie.addr().wrapping_add(offset_of!(Side, wide)) }
}

/// Whether a stream's operations go to the engine.
///
/// # Safety
/// As for [`is_ours`].
#[inline(always)]
pub unsafe fn served(stream: *const File) -> Option<&'static Glibc> {
    // SAFETY: as above.
    unsafe {
        if !is_ours(stream) {
            return None;
        }
        glibc(FUNCTIONS).filter(|g| (*stream).jumps == g.cookie_jumps)
    }
}

/// Closes a stream by glibc's own means.
///
/// # Safety
/// As for fclose(3).
pub unsafe fn real_fclose(stream: *mut File) -> c_int {
    let next = real::get(&real::next::fclose, None);
    // SAFETY: `next` is fclose.
    unsafe {
        let fclose: unsafe extern "C-unwind" fn(*mut File) -> c_int = std::mem::transmute(next);
        fclose(stream)
    }
}

unsafe extern "C" {
    fn _IO_list_lock();
    fn _IO_list_unlock();
    fn setvbuf(stream: *mut File, buffer: *mut u8, kind: c_int, size: usize) -> c_int;
}

/// Makes a stream that glibc has just opened on a mounted file one of ours; if that cannot be, the file leaves
/// the overlay and the stream stays as it is. Its buffer gets `size` bytes, if the program has given it none.
///
/// # Safety
/// `stream` is a stream on a mounted file on which nothing has been done yet; `size` is at most [`LARGEST_BUFFER`].
pub unsafe fn adopt(stream: *mut File, size: usize) {
    // SAFETY: as the caller says; glibc's walkers over all streams hold the list's lock, so none sees a half
    // of the exchange.
    unsafe {
        let again = is_ours(stream);
        let suits = |g: &&Glibc| {
            (*stream).jumps == g.file_jumps && (*stream).mode == 0 && (again || pristine(stream))
        };
        let Some(glibc) = glibc(FUNCTIONS).filter(suits) else { return leave(stream) };
        let side = if again { (*stream).cookie } else { libc::malloc(size_of::<Side>()) }.cast::<Side>();
        if side.is_null() {
            return leave(stream);
        }
        _IO_list_lock();
        if !again {
            (*side).file = stream;
            (*side).lock = [0; 2];
            let wide = (&raw mut (*side).wide).cast::<u8>();
            std::ptr::copy_nonoverlapping((*stream).wide_data.cast::<u8>(), wide, glibc.wide_size);
            (*stream).lock = (&raw mut (*side).lock).cast();
            (*stream).wide_data = wide.cast();
            (*stream).cookie = side.cast();
            (*stream).functions = glibc.functions;
        }
        (*stream).jumps = glibc.cookie_jumps;
        _IO_list_unlock();
        if (*stream).buf_base.is_null() {
            let room = (&raw mut (*side).room).cast::<u8>();
            setvbuf(stream, room.add(room.align_offset(LINE)), libc::_IOFBF, size);
        }
    }
}

/// A stream that stays glibc's.
unsafe fn leave(stream: *mut File) {
    // SAFETY: the descriptor is a field of every stream.
    let fd = unsafe { (*stream).fileno };
    // An error of this flush is latched in the file; its next write, sync or close tells the program.
    let _ = tell(|| engine::touch(fd, Touch::Leave(Bypass::WideStdio)));
}

/// Gives a stream of ours back to glibc's own operations (freopen needs them), its buffer empty.
///
/// # Safety
/// `stream` is one of ours, flushed.
pub unsafe fn release(stream: *mut File) {
    // SAFETY: as the caller says.
    unsafe {
        if let Some(glibc) = served(stream) {
            (*stream).jumps = glibc.file_jumps;
        }
    }
}

/// What stood beside a stream of ours, to be freed once the stream is gone.
///
/// # Safety
/// As for [`is_ours`].
pub unsafe fn beside(stream: *const File) -> *mut c_void {
    // SAFETY: as above.
    unsafe { if is_ours(stream) { (*stream).cookie } else { std::ptr::null_mut() } }
}

/// Whether a stream on this descriptor is to be one of ours.
pub fn concerns(fd: c_int) -> bool {
    buffer_for(fd).is_some()
}

/// Bytes of the buffer of a stream on this descriptor, if it is to be one of ours.
pub fn buffer_for(fd: c_int) -> Option<usize> {
    if fd < 0 || !engine::knows(fd) {
        return None;
    }
    inside(|| engine::buffer_of_stream(fd)).flatten()
}

/// The functions of our streams.
pub const FUNCTIONS: Functions = Functions { read, write, seek, close };

/// The stream behind a cookie; `None` for the one that is only looked at.
unsafe fn stream_of(cookie: *mut c_void) -> Option<*mut File> {
    if std::ptr::addr_eq(cookie, &raw const NOBODY) {
        return None;
    }
    // SAFETY: every other cookie is a `Side`, alive as long as its stream.
    Some(unsafe { (*cookie.cast::<Side>()).file })
}

unsafe extern "C-unwind" fn read(cookie: *mut c_void, buf: *mut c_char, len: usize) -> isize {
    // SAFETY: glibc passes the cookie and a buffer of `len` bytes.
    unsafe { stream_of(cookie).map_or(0, |s| transfer::read((*s).fileno, buf.cast(), len)) }
}

/// Writes all or fails, and keeps the stream's idea of the offset, as glibc does for its own streams.
unsafe extern "C-unwind" fn write(cookie: *mut c_void, buf: *const c_char, len: usize) -> isize {
    // SAFETY: as above.
    unsafe {
        let Some(stream) = stream_of(cookie) else { return 0 };
        let mut done = 0;
        while done < len {
            let n = transfer::write((*stream).fileno, buf.add(done).cast(), len - done);
            if n < 0 {
                break;
            }
            done += n as usize;
        }
        if (*stream).offset >= 0 {
            (*stream).offset += done as i64;
        }
        done as isize
    }
}

unsafe extern "C-unwind" fn seek(cookie: *mut c_void, offset: *mut i64, whence: c_int) -> c_int {
    // SAFETY: as above; `offset` is glibc's variable.
    unsafe {
        let Some(stream) = stream_of(cookie) else { return -1 };
        let at = transfer::lseek((*stream).fileno, *offset, whence);
        if at < 0 {
            return -1;
        }
        *offset = at;
        0
    }
}

unsafe extern "C-unwind" fn close(cookie: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe { stream_of(cookie).map_or(0, |s| descriptors::close((*s).fileno)) }
}
