//! The registry: mapper names, and what makes a mapper of a text. A mapper of Iris's own is a file in this folder
//! and a line in `lib.rs`; one of a third party is added at run time.

use crate::options::nearest;
use crate::{Mapper, OptionSpec, Options, SpecError};

/// What makes mappers of one name.
pub trait Maker: Send + Sync {
    /// The name, lower case.
    fn name(&self) -> &str;
    /// What it is and for what, in one line.
    fn about(&self) -> &str;
    /// Its options. None if it reads its options itself ([`Maker::make_from_text`]).
    fn options(&self) -> &[OptionSpec];
    /// Makes the mapper of one file.
    fn make(&self, options: &Options) -> Result<Box<dyn Mapper>, SpecError>;
    /// Makes one of a text of options.
    fn make_from_text(&self, text: &str) -> Result<Box<dyn Mapper>, SpecError> {
        self.make(&Options::parse(self.name(), text, self.options())?)
    }
}

/// Declares a mapper's name and its [`Maker`], in its own file.
macro_rules! registry_entry {
    ($name:literal, $about:literal, [$($option:expr),*], $make:expr) => {
        /// Its name in the registry.
        const NAME: &str = $name;

        /// Its entry in the registry.
        pub(crate) struct Entry;

        impl $crate::Maker for Entry {
            fn name(&self) -> &str {
                NAME
            }
            fn about(&self) -> &str {
                $about
            }
            fn options(&self) -> &[$crate::OptionSpec] {
                const { &[$($option),*] }
            }
            fn make(&self, options: &$crate::Options) -> Result<Box<dyn $crate::Mapper>, $crate::SpecError> {
                ($make)(options).map(|m| Box::new(m) as Box<dyn $crate::Mapper>)
            }
        }
    };
}
pub(crate) use registry_entry;

/// Declares the modules of the mappers and the table of their entries.
macro_rules! mappers {
    ($($module:ident,)*) => {
        $(pub mod $module;)*

        /// Iris's own mappers.
        static OWN: &[&dyn Maker] = &[$(&$module::Entry),*];
    };
}
pub(crate) use mappers;

/// The mappers that there are.
#[derive(Clone)]
pub struct Registry {
    makers: Vec<&'static dyn Maker>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry::own()
    }
}

impl Registry {
    /// Iris's own.
    pub fn own() -> Registry {
        Registry { makers: crate::OWN.to_vec() }
    }

    /// Adds one, whose name must be new.
    pub fn add(&mut self, maker: &'static dyn Maker) -> Result<(), SpecError> {
        if self.makers.iter().any(|m| m.name() == maker.name()) {
            return Err(SpecError::Duplicate(maker.name().to_owned()));
        }
        self.makers.push(maker);
        Ok(())
    }

    /// All of them, in the order in which they were added.
    pub fn makers(&self) -> impl Iterator<Item = &'static dyn Maker> {
        self.makers.iter().copied()
    }

    /// Makes the mapper of one file from a text: `NAME` or `NAME:OPTION=VALUE,OPTION=VALUE`.
    pub fn make(&self, text: &str) -> Result<Box<dyn Mapper>, SpecError> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let name = name.trim().to_ascii_lowercase().replace('_', "-");
        let Some(maker) = self.makers().find(|m| m.name() == name) else {
            return Err(SpecError::UnknownMapper {
                nearest: nearest(&name, self.makers().map(Maker::name)),
                valid: self.makers().map(Maker::name).collect::<Vec<_>>().join(", "),
                name,
            });
        };
        maker.make_from_text(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_mapper_says_how_to_make_it_again() {
        let registry = Registry::own();
        for text in [
            "naive",
            "balanced",
            "balanced:bucket=64KiB",
            "write-optimized:max=4MiB,live=70",
            "read-optimized:bucket=128k,space=3,step=4",
            "auto:window=100",
            " Write_Optimized : live = 20 ",
        ] {
            let spec = registry.make(text).unwrap().spec();
            assert_eq!(registry.make(&spec).unwrap().spec(), spec, "{text}");
        }
        for maker in registry.makers() {
            assert!(!maker.about().is_empty());
            let spec = registry.make(maker.name()).unwrap().spec();
            for option in maker.options() {
                assert!(spec.contains(&format!("{}={}", option.name, option.default)), "{spec}: {option:?}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        let say = |text: &str| Registry::own().make(text).map(|m| m.spec()).unwrap_err().to_string();
        for (text, words) in [
            ("balancd", "unknown mapper `balancd`; did you mean `balanced`?"),
            ("write_optimised", "did you mean `write-optimized`?"),
            (
                "zebra",
                "unknown mapper `zebra`; valid: naive, balanced, write-optimized, read-optimized, auto",
            ),
            ("balanced:buckt=1MiB", "mapper balanced: unknown option `buckt`; did you mean `bucket`?"),
            ("naive:bucket=1MiB", "mapper naive: unknown option `bucket`; valid: none"),
            ("balanced:bucket", "`bucket` is not an option; the form is"),
            ("balanced:bucket=1000000", "a power of two from 64KiB to 64MiB is needed"),
            (
                "balanced:bucket=32KiB",
                "bad value `32KiB` for bucket: a power of two from 64KiB to 64MiB is needed",
            ),
            ("balanced:bucket=", "a power of two from 64KiB"),
            ("write-optimized:max=2GiB", "a size from 64KiB to 1GiB is needed"),
            ("write-optimized:live=91", "a whole number from 1 to 90 is needed"),
            ("read-optimized:space=0", "a whole number from 1 to 8 is needed"),
            ("read-optimized:step=3", "a power of two from 2 to 64 is needed"),
        ] {
            assert!(say(text).contains(words), "{text}: {}", say(text));
        }
    }

    #[test]
    fn a_name_is_given_once() {
        let mut registry = Registry::own();
        assert_eq!(registry.add(&crate::naive::Entry), Err(SpecError::Duplicate("naive".into())));
    }
}
