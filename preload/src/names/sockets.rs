//! Hooks on the names of Unix sockets. An address has little room: where the kernel's name is too long for it, the
//! directory is told by a descriptor.

use crate::guard::{inside, of_program};
use crate::hook::hooks;
use crate::paths::{HERE, How, MAKES, named, seen};
use crate::shared::making;
use ::engine::namespace::names::{self, Room};
use libc::{c_char, c_int, c_void, size_t, sockaddr, sockaddr_un, socklen_t, ssize_t};
use std::ffi::CStr;
use std::mem::offset_of;

/// Where the name begins in an address.
const START: usize = offset_of!(sockaddr_un, sun_path);
/// The room that it has.
const NAME: usize = size_of::<sockaddr_un>() - START;

/// The name in an address of `len` bytes, if it is that of a file.
///
/// # Safety
/// `address` is null or readable for `len` bytes.
unsafe fn name_in<'a>(address: *const sockaddr, len: usize) -> Option<&'a [u8]> {
    if address.is_null() || len <= START || len > size_of::<sockaddr_un>() {
        return None;
    }
    // SAFETY: by contract; the family stands first in every address.
    unsafe {
        if c_int::from((*address).sa_family) != libc::AF_UNIX {
            return None;
        }
        let name = std::slice::from_raw_parts(address.cast::<u8>().add(START), len - START);
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        (end > 0).then(|| &name[..end])
    }
}

/// bind(2) and connect(2) round `real`.
///
/// # Safety
/// As for bind(2).
unsafe fn addressed(
    address: *const sockaddr,
    len: socklen_t,
    how: impl Into<How>,
    real: impl Fn(*const sockaddr, socklen_t) -> c_int,
) -> c_int {
    if !names::in_force() || !of_program() {
        return real(address, len);
    }
    // SAFETY: by contract.
    let Some(name) = (unsafe { name_in(address, len as usize) }) else { return real(address, len) };
    let mut text = [0u8; NAME + 1];
    text[..name.len()].copy_from_slice(name);
    let how = how.into();
    named(HERE, text.as_ptr().cast(), how, |dir, path| {
        let real = |address, len| match how.makes() {
            true => making(dir, path, || real(address, len)),
            false => real(address, len),
        };
        if std::ptr::eq(path, text.as_ptr().cast()) {
            return real(address, len);
        }
        // SAFETY: the name that the kernel is to get.
        let path = unsafe { CStr::from_ptr(path) };
        let mut room = Room::new();
        let short = if path.to_bytes().len() < NAME {
            path
        } else {
            match inside(|| names::from_parent(path, &mut room).is_ok()) {
                Some(true) => room.c_str().unwrap_or(path),
                _ => path,
            }
        };
        let short = short.to_bytes_with_nul();
        if short.len() > NAME {
            return crate::guard::int(crate::guard::fail(::engine::errno::Errno(libc::ENAMETOOLONG)));
        }
        // SAFETY: all zeros is an address.
        let mut other: sockaddr_un = unsafe { std::mem::zeroed() };
        other.sun_family = libc::AF_UNIX as _;
        for (to, from) in other.sun_path.iter_mut().zip(short) {
            *to = *from as c_char;
        }
        real((&raw const other).cast(), (START + short.len()) as socklen_t)
    })
}

/// The address that a call gave, as programs see it. `room` is what the program's buffer holds.
///
/// # Safety
/// `address` is null or writable for `room` bytes, and `len` is null or valid.
unsafe fn told(address: *mut sockaddr, len: *mut socklen_t, room: socklen_t) {
    if address.is_null() || len.is_null() || !names::in_force() || !of_program() {
        return;
    }
    // SAFETY: by contract; nothing is written beyond `room`.
    unsafe {
        if *len > room {
            return;
        }
        let Some(name) = name_in(address, *len as usize) else { return };
        let mut other = Room::new();
        let Some(name) = seen(name, &mut other) else { return };
        let name = name.to_bytes_with_nul();
        *len = (START + name.len()) as socklen_t;
        let copied = name.len().min((room as usize).saturating_sub(START));
        std::ptr::copy_nonoverlapping(name.as_ptr(), address.cast::<u8>().add(START), copied);
    }
}

/// What the program says that its buffer holds.
///
/// # Safety
/// `len` is null or valid.
unsafe fn holds(len: *const socklen_t) -> socklen_t {
    // SAFETY: by contract.
    if len.is_null() { 0 } else { unsafe { *len } }
}

hooks! {
    fn bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int, real => {
        // SAFETY: the program's address.
        unsafe { addressed(address, len, MAKES, |address, len| real(fd, address, len)) }
    }

    fn connect | __connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int, real => {
        // SAFETY: as above.
        unsafe { addressed(address, len, true, |address, len| real(fd, address, len)) }
    }

    fn sendto(fd: c_int, buf: *const c_void, size: size_t, flags: c_int, address: *const sockaddr, len: socklen_t)
        -> ssize_t, real => {
        if address.is_null() || !names::in_force() { return real(fd, buf, size, flags, address, len); }
        let sent = std::cell::Cell::new(-1);
        // SAFETY: as above.
        unsafe {
            addressed(address, len, true, |address, len| {
                sent.set(real(fd, buf, size, flags, address, len));
                if sent.get() < 0 { -1 } else { 0 }
            });
        }
        sent.get()
    }

    fn getsockname | getpeername(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int, real => {
        // SAFETY: the program's address and length.
        unsafe {
            let room = holds(len);
            let result = real(fd, address, len);
            if result == 0 { told(address, len, room); }
            result
        }
    }

    fn accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int, real => {
        // SAFETY: as above.
        unsafe {
            let room = holds(len);
            let result = real(fd, address, len);
            if result >= 0 { told(address, len, room); }
            result
        }
    }

    fn accept4(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int, real => {
        // SAFETY: as above.
        unsafe {
            let room = holds(len);
            let result = real(fd, address, len, flags);
            if result >= 0 { told(address, len, room); }
            result
        }
    }

    fn recvfrom(fd: c_int, buf: *mut c_void, size: size_t, flags: c_int, address: *mut sockaddr,
        len: *mut socklen_t) -> ssize_t, real => {
        // SAFETY: as above.
        unsafe {
            let room = holds(len);
            let result = real(fd, buf, size, flags, address, len);
            if result >= 0 { told(address, len, room); }
            result
        }
    }
}
