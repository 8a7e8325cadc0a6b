//! dlopen of a library under a virtual mount. The loader searches by whose code called it, so a call that is none of
//! ours must reach it as it came: by a jump. What the loader opens by itself (needed libraries, LD_LIBRARY_PATH), no
//! hook sees.

use crate::open::name;
use crate::paths::{HERE, found};
use crate::real;
use ::engine::namespace::names::{self, Room};
use libc::{c_char, c_int, c_long, c_void};

type Open = unsafe extern "C-unwind" fn(*const c_char, c_int) -> *mut c_void;
type OpenIn = unsafe extern "C-unwind" fn(c_long, *const c_char, c_int) -> *mut c_void;

fn next() -> *const c_void {
    real::get(&real::next::dlopen, None)
}

fn next_in() -> *const c_void {
    real::get(&real::next::dlmopen, None)
}

/// Whether this is the name of a file that only Iris finds.
fn is_ours(path: *const c_char) -> bool {
    if !names::in_force() || !crate::guard::of_program() {
        return false;
    }
    let Some(path) = name(path).filter(|p| p.to_bytes().contains(&b'/')) else { return false };
    found(HERE, path, true, &mut Room::new()).is_some()
}

/// Where a call of dlopen goes on.
extern "C" fn choose(path: *const c_char) -> *const c_void {
    if is_ours(path) { open as *const c_void } else { next() }
}

extern "C" fn choose_in(_space: c_long, path: *const c_char) -> *const c_void {
    if is_ours(path) { open_in as *const c_void } else { next_in() }
}

unsafe extern "C-unwind" fn open(path: *const c_char, flags: c_int) -> *mut c_void {
    let mut room = Room::new();
    let known = name(path).and_then(|p| found(HERE, p, true, &mut room));
    // SAFETY: `next` is dlopen; the name has a slash, so the loader does not ask who calls.
    unsafe { std::mem::transmute::<*const c_void, Open>(next())(known.map_or(path, |k| k.as_ptr()), flags) }
}

unsafe extern "C-unwind" fn open_in(space: c_long, path: *const c_char, flags: c_int) -> *mut c_void {
    let mut room = Room::new();
    let known = name(path).and_then(|p| found(HERE, p, true, &mut room));
    let path = known.map_or(path, |k| k.as_ptr());
    // SAFETY: `next_in` is dlmopen; as above.
    unsafe { std::mem::transmute::<*const c_void, OpenIn>(next_in())(space, path, flags) }
}

/// dlopen(3).
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void {
    std::arch::naked_asm!(
        "sub rsp, 24",
        "mov [rsp], rdi",
        "mov [rsp + 8], rsi",
        "call {choose}",
        "mov rdi, [rsp]",
        "mov rsi, [rsp + 8]",
        "add rsp, 24",
        "jmp rax",
        choose = sym choose,
    )
}

/// dlmopen(3).
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmopen(space: c_long, path: *const c_char, flags: c_int) -> *mut c_void {
    std::arch::naked_asm!(
        "sub rsp, 24",
        "mov [rsp], rdi",
        "mov [rsp + 8], rsi",
        "mov [rsp + 16], rdx",
        "call {choose}",
        "mov rdi, [rsp]",
        "mov rsi, [rsp + 8]",
        "mov rdx, [rsp + 16]",
        "add rsp, 24",
        "jmp rax",
        choose = sym choose_in,
    )
}

/// dlopen(3), where the jump has no assembly yet: the loader takes libiris.so for the caller.
#[cfg(not(target_arch = "x86_64"))]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void {
    // SAFETY: `choose` gives a function of this form.
    unsafe { std::mem::transmute::<*const c_void, Open>(choose(path))(path, flags) }
}

/// dlmopen(3), likewise.
#[cfg(not(target_arch = "x86_64"))]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn dlmopen(space: c_long, path: *const c_char, flags: c_int) -> *mut c_void {
    // SAFETY: `choose_in` gives a function of this form.
    unsafe { std::mem::transmute::<*const c_void, OpenIn>(choose_in(space, path))(space, path, flags) }
}
