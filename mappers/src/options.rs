//! The text that names a mapper, `balanced:bucket=1MiB,…`: its grammar, its values, and errors that say what would
//! be right. Knows no mapper.

use std::ops::RangeInclusive;

/// An option that a mapper has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// Its name.
    pub name: &'static str,
    /// Its value if it is not given.
    pub default: &'static str,
    /// What it means, with unit and limits.
    pub meaning: &'static str,
}

/// Why a text names no mapper.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// There is no such mapper.
    #[error("unknown mapper `{name}`{}", hint(nearest, valid))]
    UnknownMapper {
        /// The name as written.
        name: String,
        /// The nearest valid one.
        nearest: Option<String>,
        /// All valid ones.
        valid: String,
    },
    /// The mapper has no such option.
    #[error("mapper {mapper}: unknown option `{name}`{}", hint(nearest, valid))]
    UnknownOption {
        /// The mapper.
        mapper: String,
        /// The option as written.
        name: String,
        /// The nearest valid one.
        nearest: Option<String>,
        /// All valid ones.
        valid: String,
    },
    /// Not of the form `name=value`.
    #[error("mapper {mapper}: `{text}` is not an option; the form is MAPPER:OPTION=VALUE,OPTION=VALUE")]
    Form {
        /// The mapper.
        mapper: String,
        /// What was written.
        text: String,
    },
    /// A value that its option cannot have.
    #[error("mapper {mapper}: bad value `{value}` for {option}: {why}")]
    BadValue {
        /// The mapper.
        mapper: String,
        /// The option.
        option: String,
        /// The value as written.
        value: String,
        /// What would be right.
        why: String,
    },
    /// A mapper of this name is there already.
    #[error("a mapper named `{0}` is there already: give the plug-in's mapper another name")]
    Duplicate(String),
    /// A third party's mapper refuses its options.
    #[error("mapper {mapper}: {why}")]
    Refused {
        /// The mapper.
        mapper: String,
        /// What it says.
        why: String,
    },
}

fn hint(nearest: &Option<String>, valid: &str) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`? Valid: {valid}"),
        None => format!("; valid: {valid}"),
    }
}

/// The nearest of some names, if one is near enough to be meant: a third of its letters may be wrong.
pub(crate) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let word = word.to_ascii_lowercase().replace('_', "-");
    let near = names.into_iter().map(|n| (strsim::osa_distance(&word, n), n)).min_by_key(|(d, _)| *d);
    near.filter(|(d, n)| *d <= (n.len().max(word.len()) / 3).max(2)).map(|(_, n)| n.to_owned())
}

/// The options of one mapper, as they were given, with the defaults for the others.
#[derive(Clone, Debug)]
pub struct Options {
    mapper: String,
    values: Vec<(String, String)>,
}

impl Options {
    /// Reads `name=value,name=value`; names must be among `known`.
    pub(crate) fn parse(mapper: &str, text: &str, known: &[OptionSpec]) -> Result<Options, SpecError> {
        let default = |o: &OptionSpec| (o.name.to_owned(), o.default.to_owned());
        let mut options = Options { mapper: mapper.to_owned(), values: known.iter().map(default).collect() };
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let form = || SpecError::Form { mapper: mapper.to_owned(), text: part.to_owned() };
            let (name, value) = part.split_once('=').ok_or_else(form)?;
            let (name, value) = (name.trim(), value.trim());
            match options.values.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
                Some((_, old)) => *old = value.to_owned(),
                None => {
                    return Err(SpecError::UnknownOption {
                        mapper: mapper.to_owned(),
                        name: name.to_owned(),
                        nearest: nearest(name, known.iter().map(|o| o.name)),
                        valid: match known {
                            [] => "none".into(),
                            _ => known.iter().map(|o| o.name).collect::<Vec<_>>().join(", "),
                        },
                    });
                }
            }
        }
        Ok(options)
    }

    /// The options as they would be written, defaults included.
    pub fn text(&self) -> String {
        self.values.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(",")
    }

    /// The value of an option; empty if the mapper has no such option.
    pub fn get(&self, name: &str) -> &str {
        self.values.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    fn bad(&self, option: &str, why: String) -> SpecError {
        let value = self.get(option).to_owned();
        SpecError::BadValue { mapper: self.mapper.clone(), option: option.to_owned(), value, why }
    }

    /// A size in bytes.
    pub fn size(&self, name: &str, range: RangeInclusive<u64>) -> Result<u64, SpecError> {
        let bytes = size(self.get(name)).map_err(|why| self.bad(name, why))?;
        if range.contains(&bytes) {
            return Ok(bytes);
        }
        let (least, most) = (show_size(*range.start()), show_size(*range.end()));
        Err(self.bad(name, format!("a size from {least} to {most} is needed")))
    }

    /// The binary logarithm of a power of two; `range` is of logarithms.
    pub fn power_of_two(&self, name: &str, range: RangeInclusive<u8>) -> Result<u8, SpecError> {
        let (least, most) = (show_size(1 << range.start()), show_size(1 << range.end()));
        let why = format!("a power of two from {least} to {most} is needed");
        let bytes = size(self.get(name)).map_err(|_| self.bad(name, why.clone()))?;
        let shift = bytes.checked_ilog2().filter(|_| bytes.is_power_of_two()).map_or(u8::MAX, |s| s as u8);
        if range.contains(&shift) { Ok(shift) } else { Err(self.bad(name, why)) }
    }

    /// A whole number.
    pub fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<u64, SpecError> {
        let found = self.get(name).parse().ok().filter(|n| range.contains(n));
        found.ok_or_else(|| {
            self.bad(name, format!("a whole number from {} to {} is needed", range.start(), range.end()))
        })
    }
}

const UNITS: [(&str, u8); 6] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("PiB", 50), ("", 0)];

/// A size in bytes: `65536`, `64KiB`, `64k`, `1 MiB` (powers of 1024).
pub fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let unit = unit.trim();
    let shift = UNITS
        .iter()
        .find(|(name, _)| {
            name.eq_ignore_ascii_case(unit)
                || !unit.is_empty() && name[..name.len().min(1)].eq_ignore_ascii_case(unit)
        })
        .map(|(_, shift)| *shift);
    let bytes = number.parse::<u64>().ok().zip(shift).and_then(|(n, s)| n.checked_mul(1 << s));
    bytes
        .filter(|b| *b <= crate::MAX_FILE)
        .ok_or_else(|| "a size is a whole number and a unit, such as 65536, 64KiB or 1MiB".into())
}

/// A size in its largest exact binary unit: the inverse of [`size`].
pub fn show_size(bytes: u64) -> String {
    for (unit, shift) in UNITS.iter().rev().filter(|(_, shift)| *shift > 0) {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65536),
            ("64KiB", 65536),
            ("64k", 65536),
            ("1 mib", 1 << 20),
            ("10G", 10 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "k", "-1", "1.5MiB", "0x10", "64KiBs", "9223372036854775808", "99999999P", "64KB"] {
            assert!(size(text).is_err(), "{text}");
        }
        for bytes in [0, 1, 1000, 1024, 65536, 3 << 20, 5 << 50, (1 << 20) + 1] {
            assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
    }
}
