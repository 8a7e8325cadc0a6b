//! The textual key of an object. One function makes it and one reads it; stores and tools use no other.
//!
//! `{FILE}1:LEVEL:NUMBER`, for example `{runs/a%20b.nc}1:0:00000000002a`
//! - `FILE` is the file's identity, any bytes but none at all; bytes other than `A-Z a-z 0-9 . _ - / ~ =` are `%`
//!   and two hex digits. So a key is printable, holds no brace but the two, and can be told apart whatever a path
//!   holds.
//! - The braces are a Redis hash tag: all keys of a file have one slot of a cluster.
//! - `1` is the version of this form.
//! - `LEVEL` and `NUMBER` are the object's, in hex; the number has twelve digits, so that a listing by name is a
//!   listing by number.

use crate::{MAX_NUMBER, Object};
use std::fmt::Write;

/// Version of the form.
const VERSION: &str = "1";

/// Why a text is not the key of an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the key of an object of a file; the form is {{FILE}}1:LEVEL:NUMBER")]
pub struct KeyError(pub String);

/// Makes the key of an object of the file with this identity.
pub fn key(file: &[u8], object: Object) -> String {
    let mut out = String::new();
    key_into(file, object, &mut out);
    out
}

/// As [`key`], into a text that is reused.
pub fn key_into(file: &[u8], object: Object, out: &mut String) {
    out.clear();
    push_prefix(file, out);
    // Writing to a String does not fail.
    let _ = write!(out, "{VERSION}:{:x}:{:012x}", object.level, object.number);
}

/// What the keys of all objects of a file begin with, and those of no other file.
pub fn prefix(file: &[u8]) -> String {
    let mut out = String::new();
    push_prefix(file, &mut out);
    out
}

fn push_prefix(file: &[u8], out: &mut String) {
    out.push('{');
    for &b in file {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/' | b'~' | b'=' => {
                out.push(b.into())
            }
            _ => {
                let _ = write!(out, "%{b:02x}");
            }
        }
    }
    out.push('}');
}

/// The file's identity and the object of a key. Only what [`key`] makes is taken.
pub fn parse_key(text: &str) -> Result<(Vec<u8>, Object), KeyError> {
    parse(text).filter(|(file, object)| key(file, *object) == text).ok_or_else(|| KeyError(text.to_owned()))
}

fn parse(text: &str) -> Option<(Vec<u8>, Object)> {
    let (file, rest) = text.strip_prefix('{')?.split_once('}')?;
    let mut parts = rest.split(':');
    if parts.next()? != VERSION {
        return None;
    }
    let level = u32::from_str_radix(parts.next()?, 16).ok()?;
    let number = u64::from_str_radix(parts.next()?, 16).ok().filter(|n| *n <= MAX_NUMBER)?;
    if parts.next().is_some() || file.is_empty() {
        return None;
    }
    let mut identity = Vec::with_capacity(file.len());
    let mut bytes = file.bytes();
    while let Some(b) = bytes.next() {
        identity.push(match b {
            b'%' => {
                let digit = |b: u8| char::from(b).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                (high * 16 + low) as u8
            }
            _ => b,
        });
    }
    Some((identity, Object { level, number }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keys lie in stores for years.
    #[test]
    fn the_form_is_fixed() {
        let object = Object { level: 0x102, number: 42 };
        assert_eq!(key(b"runs/a b{1}.nc", object), "{runs/a%20b%7b1%7d.nc}1:102:00000000002a");
        assert_eq!(key(b"f", Object { level: 0, number: MAX_NUMBER }), "{f}1:0:ffffffffffff");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "{}1:0:000000000000",
            "{f}2:0:000000000000",
            "{f}1:0:0",
            "{f}1:0:1000000000000",
            "{f}1:0:00000000000A",
            "{f}1:00:000000000000",
            "{f}1:0:000000000000:0",
            "{f%2}1:0:000000000000",
            "{f%61}1:0:000000000000",
            "f1:0:000000000000",
        ] {
            assert_eq!(parse_key(text), Err(KeyError(text.into())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_key_reads_back(
            file in prop::collection::vec(any::<u8>(), 1..40),
            other in prop::collection::vec(any::<u8>(), 1..40),
            level in any::<u32>(),
            number in 0..=MAX_NUMBER,
        ) {
            let object = Object { level, number };
            let text = key(&file, object);
            prop_assert_eq!(parse_key(&text), Ok((file.clone(), object)));
            // One hash tag, at the front, that is the file's alone.
            prop_assert!(text.starts_with(&prefix(&file)));
            prop_assert_eq!(text.matches('{').count() + text.matches('}').count(), 2);
            prop_assert!(text.is_ascii() && !text.contains(|c: char| c.is_ascii_control() || c == ' '));
            prop_assert_eq!(text.starts_with(&prefix(&other)), file == other);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = parse_key(&text);
        }

        #[test]
        fn the_order_of_keys_is_that_of_numbers(a in 0..=MAX_NUMBER, b in 0..=MAX_NUMBER) {
            let k = |number| key(b"f", Object { level: 0, number });
            prop_assert_eq!(k(a).cmp(&k(b)), a.cmp(&b));
        }
    }
}
