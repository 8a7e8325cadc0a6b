//! fopen's mode string. Owns no more than the reading of it.

use crate::paths::{How, how_to_open};
use ::engine::namespace::names;
use libc::{O_APPEND, O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY, c_char, c_int};
use std::ffi::CStr;

/// What a mode string asks for, as far as it matters before and after glibc has obeyed it.
#[derive(Clone, Copy)]
pub struct Mode {
    /// The flags of the open.
    pub flags: c_int,
    /// Opened for appending without reading: glibc moves to the end at once.
    pub at_end: bool,
    /// A conversion is named: the stream is wide from the start.
    pub wide: bool,
}

/// How an open with this mode means its name.
pub fn how(mode: *const c_char) -> How {
    let known = if names::in_force() { parse(mode) } else { None };
    how_to_open(known.map_or(0, |m| m.flags))
}

/// Reads a mode string as glibc does; `None` when it would refuse.
pub fn parse(mode: *const c_char) -> Option<Mode> {
    if mode.is_null() {
        return None;
    }
    // SAFETY: the program passed a C string.
    let text = unsafe { CStr::from_ptr(mode) }.to_bytes();
    let mut parsed = match text.first()? {
        b'r' => Mode { flags: O_RDONLY, at_end: false, wide: false },
        b'w' => Mode { flags: O_WRONLY | O_CREAT | O_TRUNC, at_end: false, wide: false },
        b'a' => Mode { flags: O_WRONLY | O_CREAT | O_APPEND, at_end: true, wide: false },
        _ => return None,
    };
    for (i, &letter) in text.iter().enumerate().skip(1) {
        // glibc looks at the first six letters after the first one, and at nothing after a comma but "ccs=".
        match letter {
            b',' => {
                parsed.wide = text[i..].starts_with(b",ccs=");
                break;
            }
            b'+' if i < 7 => {
                parsed.flags = parsed.flags & !libc::O_ACCMODE | O_RDWR;
                parsed.at_end = false;
            }
            b'x' if i < 7 => parsed.flags |= libc::O_EXCL,
            b'e' if i < 7 => parsed.flags |= libc::O_CLOEXEC,
            _ => {}
        }
    }
    Some(parsed)
}
