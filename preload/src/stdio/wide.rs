//! Wide stdio. The first wide operation on a stream makes glibc exchange the stream's operations for those that
//! convert, which read and write by system calls; a stream of ours has all that this needs. So the hooks have
//! only to see that the file has left the overlay before it happens.

use super::layout::File;
use super::print::List;
use super::stream::{is_ours, served};
use crate::guard::{live, tell};
use crate::hook::hooks;
use crate::real::symbol;
use ::engine::engine::{self, Touch};
use ::engine::report::Bypass;
use libc::{c_int, c_void, size_t, wchar_t};

/// wint_t.
type Wint = u32;

/// A wide operation is about to run on `stream`.
fn widening(stream: *mut File) {
    if stream.is_null() || !live() {
        return;
    }
    // SAFETY: the program's stream. A mode other than 0 is decided already.
    unsafe {
        if is_ours(stream) && (*stream).mode == 0 && served(stream).is_some() {
            let fd = (*stream).fileno;
            // An error of this flush is latched in the file; its next write, sync or close tells the program.
            let _ = tell(|| engine::touch(fd, Touch::Leave(Bypass::WideStdio)));
        }
    }
}

/// A wide operation is about to run on a standard stream, which a program may have set to one of its own.
fn widening_standard(name: &std::ffi::CStr) {
    if live() {
        let variable = symbol(name).cast::<*mut File>();
        if !variable.is_null() {
            // SAFETY: `stdin` and `stdout` are pointer variables of libc or of the program.
            widening(unsafe { *variable });
        }
    }
}

fn to_stdout() {
    widening_standard(c"stdout");
}

fn from_stdin() {
    widening_standard(c"stdin");
}

hooks! {
    fn fwide(stream: *mut File, mode: c_int) -> c_int, real => {
        if mode > 0 { widening(stream); }
        real(stream, mode)
    }

    fn fgetwc | getwc | fgetwc_unlocked | getwc_unlocked(stream: *mut File) -> Wint, real => {
        widening(stream);
        real(stream)
    }

    fn getwchar | getwchar_unlocked() -> Wint, real => {
        from_stdin();
        real()
    }

    fn fputwc | putwc | fputwc_unlocked | putwc_unlocked(c: wchar_t, stream: *mut File) -> Wint, real => {
        widening(stream);
        real(c, stream)
    }

    fn putwchar | putwchar_unlocked(c: wchar_t) -> Wint, real => {
        to_stdout();
        real(c)
    }

    fn ungetwc(c: Wint, stream: *mut File) -> Wint, real => {
        widening(stream);
        real(c, stream)
    }

    fn fgetws | fgetws_unlocked(text: *mut wchar_t, count: c_int, stream: *mut File) -> *mut wchar_t, real => {
        widening(stream);
        real(text, count, stream)
    }

    fn __fgetws_chk | __fgetws_unlocked_chk(text: *mut wchar_t, room: size_t, count: c_int, stream: *mut File)
        -> *mut wchar_t, real => {
        widening(stream);
        real(text, room, count, stream)
    }

    fn fputws | fputws_unlocked(text: *const wchar_t, stream: *mut File) -> c_int, real => {
        widening(stream);
        real(text, stream)
    }

    fn vfwprintf(stream: *mut File, format: *const wchar_t, list: List) -> c_int, real => {
        widening(stream);
        real(stream, format, list)
    }

    fn __vfwprintf_chk(stream: *mut File, flag: c_int, format: *const wchar_t, list: List) -> c_int, real => {
        widening(stream);
        real(stream, flag, format, list)
    }

    fn vwprintf(format: *const wchar_t, list: List) -> c_int, real => {
        to_stdout();
        real(format, list)
    }

    fn __vwprintf_chk(flag: c_int, format: *const wchar_t, list: List) -> c_int, real => {
        to_stdout();
        real(flag, format, list)
    }

    fn vfwscanf | __isoc99_vfwscanf | __isoc23_vfwscanf(stream: *mut File, format: *const wchar_t, list: List)
        -> c_int, real => {
        widening(stream);
        real(stream, format, list)
    }

    fn vwscanf | __isoc99_vwscanf | __isoc23_vwscanf(format: *const wchar_t, list: List) -> c_int, real => {
        from_stdin();
        real(format, list)
    }

    fn __wuflow | __wunderflow(stream: *mut File) -> Wint, real => {
        widening(stream);
        real(stream)
    }

    fn __woverflow(stream: *mut File, c: Wint) -> Wint, real => {
        widening(stream);
        real(stream, c)
    }
}

/// Variadic functions that the C half defines; only the export is here.
macro_rules! variadic {
    ($($name:ident => $body:ident)*) => {$(
        #[cfg(target_arch = "x86_64")]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name() -> *mut c_void {
            std::arch::naked_asm!("jmp {body}", body = sym $body)
        }

        #[cfg(target_arch = "aarch64")]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name() -> *mut c_void {
            std::arch::naked_asm!("b {body}", body = sym $body)
        }

        unsafe extern "C" {
            fn $body() -> *mut c_void;
        }
    )*};
}

variadic! {
    dprintf => iris_c_dprintf
    __dprintf_chk => iris_c_dprintf_chk
    fwprintf => iris_c_fwprintf
    __fwprintf_chk => iris_c_fwprintf_chk
    wprintf => iris_c_wprintf
    __wprintf_chk => iris_c_wprintf_chk
    fwscanf => iris_c_fwscanf
    wscanf => iris_c_wscanf
    __isoc99_fwscanf => iris_c_isoc99_fwscanf
    __isoc99_wscanf => iris_c_isoc99_wscanf
    __isoc23_fwscanf => iris_c_isoc23_fwscanf
    __isoc23_wscanf => iris_c_isoc23_wscanf
    execl => iris_c_execl
    execlp => iris_c_execlp
    execle => iris_c_execle
}
