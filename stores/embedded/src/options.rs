//! What a user can choose.

use iris_mappers::containers::{MAPPERS, Named};
use iris_store::{Address, Kind, OptionSpec, Result, StoreError};
use std::path::PathBuf;

/// The schemes of this store's addresses.
pub const SCHEMES: &[&str] = &["kv"];

/// The options that an address may carry.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "mapper",
        help: "how objects become files: n-to-m-optimized (default), n-to-m-simple, n-to-one, one-to-one; chosen when \
               the store is made",
        secret: false,
    },
    OptionSpec {
        name: "durability",
        help: "what a loss of power may take: what came after the last sync (sync, default), nothing (always: each request is \
               durable when it returns), anything (none: space is used again at once); chosen when the \
               store is made",
        secret: false,
    },
    OptionSpec {
        name: "descriptors",
        help: "keep (default): up to 256 open descriptors for speed; none: files are opened for each request",
        secret: false,
    },
];

/// What a loss of power may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Anything; what is damaged is found out.
    None,
    /// What came after the last sync.
    Sync,
    /// Nothing that was acknowledged.
    Always,
}

/// Whether descriptors are kept open between requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptors {
    /// Yes: the caller's threads have a descriptor table that no program sees.
    Keep,
    /// No.
    None,
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its directory; objects lie in `objects` below.
    pub directory: PathBuf,
    /// The mapper; `None`: what the store was made with, or the default.
    pub mapper: Option<&'static Named>,
    /// See [`Durability`]; `None`: what the store was made with, or `Sync`.
    pub durability: Option<Durability>,
    /// See [`Descriptors`].
    pub descriptors: Descriptors,
}

impl Options {
    /// A store in `directory` with the defaults.
    pub fn new(directory: impl Into<PathBuf>) -> Options {
        Options {
            directory: directory.into(),
            mapper: None,
            durability: None,
            descriptors: Descriptors::Keep,
        }
    }

    /// From an address `kv:///DIR?option=value`.
    ///
    /// # Errors
    /// [`Invalid`](Kind::Invalid) where a part is missing or wrong.
    pub fn of(address: &Address) -> Result<Options> {
        let place = address.to_string();
        let invalid = |detail: String| StoreError::new(Kind::Invalid, &place, None, detail);
        address.check_options(OPTIONS).map_err(|e| invalid(e.reason))?;
        if !SCHEMES.contains(&address.scheme.as_str()) || !address.hosts.is_empty() || address.path.is_empty()
        {
            return Err(invalid("the address of an embedded store is kv:///DIRECTORY".into()));
        }
        let mut options = Options::new(&address.path);
        if let Some(name) = address.option("mapper") {
            let all: Vec<&str> = MAPPERS.iter().map(|m| m.name).collect();
            let found = MAPPERS.iter().find(|m| m.name == name);
            options.mapper =
                Some(found.ok_or_else(|| invalid(format!("mapper={name}: known are {}", all.join(", "))))?);
        }
        options.durability = match address.option("durability") {
            None => None,
            Some("none") => Some(Durability::None),
            Some("sync") => Some(Durability::Sync),
            Some("always") => Some(Durability::Always),
            Some(other) => return Err(invalid(format!("durability={other}: known are none, sync, always"))),
        };
        options.descriptors = match address.option("descriptors") {
            None | Some("keep") => Descriptors::Keep,
            Some("none") => Descriptors::None,
            Some(other) => return Err(invalid(format!("descriptors={other}: known are keep, none"))),
        };
        Ok(options)
    }
}
