//! One mount whose home is a store, asked for by its name: holding what the store has against its names, and loading those
//! ahead. Owns the way from the names of mounts and files to the home.

use super::{homes_of, pool_for_homes};
use crate::config::{Config, Mount};
use crate::home::Home;
use crate::home::check::{CheckError, How, Report};
use crate::home::crawl::Crawled;
use crate::tier0::pool::PoolError;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Why a mount's home could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// There is no such mount.
    #[error("{}: no mount; {others}", .path.display())]
    NoMount {
        /// What was named.
        path: PathBuf,
        /// What there is, and what to do.
        others: String,
    },
    /// It is a directory.
    #[error("{}: its files lie in the directory {}, and in no store", .mount.display(), .directory.display())]
    Directory {
        /// The mount.
        mount: PathBuf,
        /// Where its files are.
        directory: PathBuf,
    },
    /// The home cannot be read.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// Tier 0 cannot be used.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

/// Holds what the store of a mount has against the mount's names; see [`Home::check`].
///
/// # Errors
/// Where there is no such mount, its home is a directory, or the home cannot be read.
pub fn check(config: &Config, mount: &Path, how: How) -> Result<Report, HomeError> {
    let (_, home) = home_of(config, mount)?;
    Ok(home.check(how)?)
}

/// What came of a crawl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crawl {
    /// There is nothing to load ahead; why.
    Needless(String),
    /// It was made.
    Done {
        /// All that it came by.
        crawled: Crawled,
        /// What could not be gone through, and why.
        failed: Vec<(PathBuf, String)>,
    },
}

/// Loads the names of a mount ahead, or what lies at `paths` in it (relative ones are meant from the mount); see
/// [`Home::crawl`]. `told` gets what there is to tell on the way.
///
/// # Errors
/// Where there is no such mount, or Tier 0 cannot be used.
pub fn crawl(
    config: &Config,
    mount: &Path,
    paths: &[PathBuf],
    told: &mut dyn FnMut(&Crawled),
) -> Result<Crawl, HomeError> {
    let (mount, home) = match home_of(config, mount) {
        Err(directory @ HomeError::Directory { .. }) => {
            return Ok(Crawl::Needless(format!("{directory}: there is nothing to load ahead.")));
        }
        other => other?,
    };
    let root = path_of(&mount.root);
    if !home.is_shared() {
        let why = "its names are kept on this node, where all of them are: there is nothing to load ahead.";
        return Ok(Crawl::Needless(format!("{}: {why}", root.display())));
    }
    let pool = pool_for_homes(config)?;
    let all = [PathBuf::new()];
    let (mut crawled, mut failed) = (Crawled::default(), Vec::new());
    for path in if paths.is_empty() { &all[..] } else { paths } {
        let before = crawled;
        let so_far = |c: &Crawled| Crawled {
            directories: before.directories + c.directories,
            waiting: c.waiting,
            names: before.names + c.names,
            new: before.new + c.new,
            changed: before.changed + c.changed,
            gone: before.gone + c.gone,
        };
        let result = name_in(&root, path).and_then(|name| {
            home.crawl(pool, &mount.root, &name, &mut |c| told(&so_far(c))).map_err(|e| e.to_string())
        });
        match result {
            Ok(c) => crawled = so_far(&c),
            Err(why) => failed.push((root.join(path), why)),
        }
    }
    Ok(Crawl::Done { crawled, failed })
}

/// A path's name below its mount.
fn name_in(root: &Path, path: &Path) -> Result<Vec<u8>, String> {
    let below = if path.is_absolute() { path.strip_prefix(root) } else { Ok(path) };
    let below = below.map_err(|_| format!("it is not in the mount {}", root.display()))?;
    if below.components().any(|c| c == Component::ParentDir) {
        return Err("name it without \"..\"".into());
    }
    let parts: Vec<&[u8]> = below
        .components()
        .filter(|c| matches!(c, Component::Normal(_)))
        .map(|c| c.as_os_str().as_bytes())
        .collect();
    Ok(parts.join(&b'/'))
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// The mount of that name, and its home.
fn home_of<'c>(config: &'c Config, named: &Path) -> Result<(&'c Mount, &'static Home), HomeError> {
    let absolute = std::path::absolute(named).unwrap_or_else(|_| named.to_path_buf());
    // As far as the way to it exists it may lead through links.
    let canonical = |path: &Path| {
        let parent = std::fs::canonicalize(path.parent()?).ok()?;
        Some(parent.join(path.file_name()?))
    };
    let names = [Some(absolute.clone()), canonical(&absolute), std::fs::canonicalize(&absolute).ok()];
    let is = |m: &&Mount| names.iter().flatten().any(|n| *n == path_of(&m.root));
    let Some(mount) = config.mounts.iter().find(is) else {
        let known: Vec<String> =
            config.mounts.iter().map(|m| path_of(&m.root).display().to_string()).collect();
        let others = match known.is_empty() {
            true => "the configuration has none: name it with its home by --mount, as in --mount /virt=kv:/scratch/store"
                .to_owned(),
            false => format!("the configuration has {}", known.join(", ")),
        };
        return Err(HomeError::NoMount { path: named.to_path_buf(), others });
    };
    let found = homes_of(config).iter().find(|h| mount.shadow.as_deref() == Some(h.tree()));
    match found {
        Some(home) => Ok((mount, home)),
        None => {
            Err(HomeError::Directory { mount: path_of(&mount.root), directory: path_of(mount.directory()) })
        }
    }
}
