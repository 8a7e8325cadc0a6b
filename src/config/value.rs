//! The text of values: sizes, choices, numbers. Owns their grammar both ways (parsing and showing); knows no
//! keys.

use super::{AUTO, Consistency, Home, Scheme, Settle, Spill};
use std::path::Path;

/// Units of a size: binary ones by letter or IEC name, decimal ones by their SI name.
const UNITS: [(&str, u64); 17] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("t", 1 << 40),
    ("tib", 1 << 40),
    ("p", 1 << 50),
    ("pib", 1 << 50),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("pb", 1_000_000_000_000_000),
];

const SIZE: &str = "a size is a whole number and a unit, such as 65536, 64KiB, 1MiB or 10G";

/// A size in bytes: `65536`, `64KiB`, `64k`, `1 MiB`, `10G` (powers of 1024), `1MB` (a power of 1000).
pub fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err(SIZE.into());
    }
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, f)| *f).ok_or(SIZE)?;
    // The largest file offset is the largest sensible size; below it no sum of two sizes can overflow.
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|n| *n <= i64::MAX as u64)
        .ok_or_else(|| "larger than any file can be (8EiB)".into())
}

/// A threshold: a size, or `auto`.
pub fn threshold(text: &str) -> Result<u64, String> {
    if text.trim().eq_ignore_ascii_case("auto") { Ok(AUTO) } else { size(text) }
}

/// A threshold as it could be written: the inverse of [`threshold`].
pub fn show_threshold(bytes: u64) -> String {
    if bytes == AUTO { "auto".into() } else { show_size(bytes) }
}

/// A size in its largest exact binary unit: the inverse of [`size`].
pub fn show_size(bytes: u64) -> String {
    for (unit, shift) in [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// A number of writes.
pub fn count(text: &str) -> Result<u32, String> {
    let n = text.trim().parse::<u32>().ok().filter(|n| *n <= 1_000_000);
    n.ok_or_else(|| "a number from 0 to 1000000 is expected".to_string())
}

/// Milliseconds, from 1 to a day.
pub fn milliseconds(text: &str) -> Result<u64, String> {
    let why = "a whole number of milliseconds from 1 to 86400000 is needed";
    text.trim().parse::<u64>().ok().filter(|n| (1..=86_400_000).contains(n)).ok_or_else(|| why.into())
}

/// A switch.
pub fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("1 or 0 is needed".into()),
    }
}

/// A mapper and its options, as its registry writes them. It is kept for as long as the process lives.
pub fn mapper(text: &str) -> Result<&'static str, String> {
    let whole = crate::home::map::make(text.trim())?.spec();
    let plain = crate::home::layout::PLAIN;
    Ok(if whole == plain { plain } else { Box::leak(whole.into_boxed_str()) })
}

/// A store beside a directory; none where the text is empty. A relative directory is meant from `from` (`None`: the
/// working directory). It is kept for as long as the process lives.
pub fn store(text: &str, from: Option<&Path>) -> Result<Option<&'static Home>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let home = Home::parse(text.as_bytes(), from)?;
    if home.scheme == Scheme::File {
        return Err("a directory is no store; a store is kv:DIR, redis://… or s3://bucket/prefix".into());
    }
    home.address()?;
    Ok(Some(Box::leak(Box::new(home))))
}

/// Names of the log levels; the index is the level.
pub const LEVELS: [&str; 5] = ["off", "error", "warn", "info", "debug"];

/// A log level by name or number.
pub fn level(text: &str) -> Result<u8, String> {
    let text = text.trim();
    let found = (0u8..5).find(|n| text.eq_ignore_ascii_case(LEVELS[*n as usize]) || text == n.to_string());
    found.ok_or_else(|| one_of(text, &LEVELS))
}

impl Consistency {
    /// Every kind with its name.
    pub const NAMES: [(&'static str, Consistency); 3] =
        [("posix", Consistency::Posix), ("session", Consistency::Session), ("relaxed", Consistency::Relaxed)];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

impl Settle {
    /// Every kind with its name.
    pub const NAMES: [(&'static str, Settle); 3] =
        [("close", Settle::Close), ("background", Settle::Background), ("drain", Settle::Drain)];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

impl Spill {
    /// Every kind with its name.
    pub const NAMES: [(&'static str, Spill); 2] = [("auto", Spill::Auto), ("always", Spill::Always)];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// One of several names.
pub fn choice<T: Copy>(text: &str, names: &[(&'static str, T)]) -> Result<T, String> {
    let text = text.trim();
    names.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, v)| *v).ok_or_else(|| {
        let names: Vec<&str> = names.iter().map(|(n, _)| *n).collect();
        one_of(text, &names)
    })
}

fn one_of(text: &str, names: &[&'static str]) -> String {
    let list = names.join(", ");
    match super::keys::nearest(text, names.iter().copied()) {
        Some(near) => format!("one of {list} is needed; did you mean {near}?"),
        None => format!("one of {list} is needed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65536),
            ("64KiB", 65536),
            ("64k", 65536),
            ("64 kib", 65536),
            ("1MiB", 1 << 20),
            ("10G", 10 << 30),
            ("2TiB", 2 << 40),
            ("1MB", 1_000_000),
            (" 7B ", 7),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "KiB",
            "-1",
            "1.5MiB",
            "64 Kib b",
            "0x10",
            "64KiBs",
            "9223372036854775808",
            "99999999P",
            "１",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_in_the_order_of_their_enums() {
        for (name, value) in Consistency::NAMES {
            assert_eq!(value.name(), name);
        }
        for (name, value) in Settle::NAMES {
            assert_eq!(value.name(), name);
        }
    }

    #[test]
    fn choices_and_levels() {
        assert_eq!(choice("Session", &Consistency::NAMES), Ok(Consistency::Session));
        let error = choice("posx", &Consistency::NAMES).unwrap_err();
        assert!(error.contains("did you mean posix?"), "{error}");
        assert_eq!((level("debug"), level("0")), (Ok(4), Ok(0)));
        assert!(level("5").is_err());
        assert!(milliseconds("0").is_err() && milliseconds("86400001").is_err());
        assert_eq!(milliseconds("250"), Ok(250));
    }

    proptest! {
        #[test]
        fn a_shown_size_reads_back(bytes in 0..=i64::MAX as u64, shift in 0u32..60) {
            for n in [bytes, (bytes >> shift) << shift.min(50)] {
                if n <= i64::MAX as u64 {
                    prop_assert_eq!(size(&show_size(n)), Ok(n));
                }
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,24}") {
            let _ = (size(&text), milliseconds(&text), switch(&text), level(&text));
            let _ = choice(&text, &Settle::NAMES);
        }
    }
}
