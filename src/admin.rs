//! Looking after Tier 0 from outside the programs that use it: what is staged, and completing what killed
//! processes left. Owns the answers that `iris status` and `iris drain` print; changes nothing but by settling.

pub mod homes;

use crate::config::Config;
use crate::engine::homes as engine_homes;
use crate::engine::state::settings;
use crate::file::spill::{place, recover};
use crate::file::{ByName, by_number, discard as give_up, settle_by_name};
use crate::home::{self, Home, recovery::Left};
use crate::sys;
use crate::tier0::layout::{BLOCK, DAMAGED};
use crate::tier0::pool::{self, Pool, PoolError};
use crate::tier0::process::Identity;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// One file with staged bytes.
#[derive(Clone, Debug)]
pub struct StagedFile {
    /// Name under which it was opened; empty when unknown.
    pub path: PathBuf,
    /// Bytes staged in Tier 0.
    pub bytes: u64,
    /// Bytes spilled to a store.
    pub spilled: u64,
    /// Age of the oldest staged byte in milliseconds.
    pub age_ms: u64,
    /// Process that staged last; 0 when unknown.
    pub writer: u32,
    /// Whether that process still runs.
    pub writer_alive: bool,
    /// Error number of a flush that nobody has been told of; 0 for none.
    pub error: i32,
    /// The journal does not pass its checks.
    pub damaged: bool,
}

/// A file of which its store lacks something.
#[derive(Clone, Debug)]
pub struct UnsentFile {
    /// Its name.
    pub path: PathBuf,
    /// Bytes that the store lacks, to the granule.
    pub bytes: u64,
    /// A process that has it open; 0 for none.
    pub writer: u32,
}

/// What Tier 0 holds, and what stores lack.
#[derive(Clone, Debug)]
pub struct Status {
    /// The pool file; `None` when there is no pool yet.
    pub pool: Option<PathBuf>,
    /// Blocks' bytes in memory: (used, in all).
    pub memory: (u64, u64),
    /// Blocks' bytes in storage: (used, in all).
    pub storage: (u64, u64),
    /// Staged files, oldest first.
    pub files: Vec<StagedFile>,
    /// Files whose bytes have left Tier 0, but are not in their store yet.
    pub unsent: Vec<UnsentFile>,
    /// Homes of which that could not be told: the root of their anchors, and the number of the error.
    pub untold: Vec<(PathBuf, i32)>,
}

/// What draining did with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its bytes are home.
    Settled {
        /// How many.
        bytes: u64,
    },
    /// The file was removed while it was open, and nobody has it open any more: its bytes went with it.
    Removed {
        /// How many.
        bytes: u64,
    },
    /// A living process has it open and will settle it; left alone.
    InUse {
        /// The process.
        pid: u32,
    },
    /// Its bytes were given up, as asked.
    Discarded {
        /// How many.
        bytes: u64,
    },
    /// Its name leads to no file, or to another one.
    Gone,
    /// Writing failed with this error number.
    Failed {
        /// The number.
        errno: i32,
    },
    /// The journal does not pass its checks; nothing of it is used.
    Damaged,
    /// The file was written after what a lost Tier 0 had spilled of it, which is not put over it.
    Newer,
}

/// Draining, file by file.
#[derive(Clone, Debug, Default)]
pub struct DrainReport {
    /// Each staged file that was asked for, and what became of it.
    pub files: Vec<(PathBuf, Outcome)>,
}

impl DrainReport {
    /// Whether nothing is left that draining should have taken home.
    pub fn is_complete(&self) -> bool {
        self.files.iter().all(|(_, o)| {
            matches!(
                o,
                Outcome::Settled { .. }
                    | Outcome::Removed { .. }
                    | Outcome::InUse { .. }
                    | Outcome::Discarded { .. }
            )
        })
    }
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// Numbers of the slots with staged bytes.
fn staged(pool: &Pool) -> impl Iterator<Item = u32> + '_ {
    (0..pool.slots().len() as u32).filter(|&n| {
        pool.keys()[n as usize].dev.load(Ordering::Acquire) != 0 && {
            let slot = &pool.slots()[n as usize];
            slot.commit.load(Ordering::Acquire) != 0 || slot.spill_tried.load(Ordering::Acquire) != 0
        }
    })
}

fn look(pool: &Pool, number: u32) -> StagedFile {
    let slot = &pool.slots()[number as usize];
    let writer =
        slot.writer.load(Ordering::Acquire).checked_sub(1).and_then(|i| pool.processes().get(i as usize));
    let (pid, alive) = writer.map_or((0, false), |p| {
        let pid = p.pid.load(Ordering::Acquire);
        (pid, pid != 0 && Identity { pid, since_ms: p.since_ms.load(Ordering::Acquire) }.alive())
    });
    StagedFile {
        // Without the lock: a name that is being written this moment may show cut.
        path: path_of(pool.name(number)),
        bytes: if slot.commit.load(Ordering::Acquire) == 0 {
            0
        } else {
            slot.staged_bytes.load(Ordering::Acquire)
        },
        spilled: if slot.spilled.load(Ordering::Acquire) == 0 {
            0
        } else {
            slot.spill_bytes.load(Ordering::Acquire)
        },
        age_ms: sys::boot_ms().saturating_sub(slot.since_ms.load(Ordering::Acquire)),
        writer: pid,
        writer_alive: alive,
        error: slot.error.load(Ordering::Acquire) as i32,
        damaged: slot.flags.load(Ordering::Acquire) & DAMAGED != 0,
    }
}

/// What Tier 0 holds now.
pub fn status(config: &Config) -> Result<Status, PoolError> {
    let (unsent, untold) = unsent(config);
    let Some(pool) = Pool::open_existing(&settings(config))? else {
        let (memory, storage) = ((0, 0), (0, 0));
        return Ok(Status { pool: None, memory, storage, files: Vec::new(), unsent, untold });
    };
    let (memory_used, storage_used) = pool.blocks_used();
    let geometry = pool.geometry();
    let bytes = |blocks: u32| u64::from(blocks) * BLOCK as u64;
    let mut files: Vec<_> = staged(&pool).map(|n| look(&pool, n)).collect();
    files.sort_by_key(|f| std::cmp::Reverse(f.age_ms));
    Ok(Status {
        memory: (bytes(memory_used), bytes(geometry.memory_blocks)),
        storage: (bytes(storage_used), bytes(geometry.blocks - geometry.memory_blocks)),
        pool: Some(pool.path().to_owned()),
        files,
        unsent,
        untold,
    })
}

/// What the stores of the configuration's mounts lack, by the names that programs know.
fn unsent(config: &Config) -> (Vec<UnsentFile>, Vec<(PathBuf, i32)>) {
    let (mut files, mut untold) = (Vec::new(), Vec::new());
    for home in homes_of(config) {
        let tree = path_of(home.tree().to_vec());
        let root = config.mounts.iter().find(|m| m.shadow.as_deref() == Some(home.tree()));
        let root = root.map_or_else(|| tree.clone(), |m| path_of(m.root.clone()));
        match home.unsent() {
            Err(e) => untold.push((tree, e.0)),
            Ok(left) => files.extend(left.into_iter().map(|f| {
                let below = f.anchor.strip_prefix(&tree).map(|rest| root.join(rest));
                UnsentFile { path: below.unwrap_or(f.anchor), bytes: f.bytes, writer: f.pid }
            })),
        }
    }
    (files, untold)
}

/// Where a file may be that is not at `path` any more: the mounts, and without any the nearest folder that there is.
fn places(config: &Config, path: &Path) -> Vec<Vec<u8>> {
    if config.mounts.is_empty() {
        let nearest = path.ancestors().skip(1).find(|p| p.is_dir()).filter(|p| p.parent().is_some());
        return nearest.map(|p| p.as_os_str().as_bytes().to_vec()).into_iter().collect();
    }
    config.mounts.iter().map(|m| m.directory().to_vec()).collect()
}

/// What would keep every program from staging anything, if something does: a Tier 0 folder that is missing, not
/// writable or not private, or a pool that cannot be used. Makes nothing.
pub fn obstacle(config: &Config) -> Option<PoolError> {
    let settings = settings(config);
    match Pool::open_existing(&settings) {
        Err(e) => return Some(e),
        Ok(Some(_)) => return None,
        Ok(None) => {}
    }
    let own = pool::folder_for(&settings);
    let path = if own.exists() { own } else { settings.folder };
    rustix::fs::access(&path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
        .err()
        .map(|e| PoolError::Folder { path, source: e.into() })
}

/// Settles every staged file whose last writer is dead, or only those below one of `paths`. With `all`, also
/// those that a living process has open, which is right but may slow it down. With `discard`, bytes whose file
/// is gone or whose journal is damaged are given up.
/// Then also what a Tier 0 that is gone has left in the stores of mounts.
///
/// # Errors
/// Where Tier 0 cannot be used.
pub fn drain(config: &Config, paths: &[PathBuf], all: bool, discard: bool) -> Result<DrainReport, PoolError> {
    let mut report = drain_tier0(config, paths, all, discard)?;
    let wanted = |path: &Path| paths.is_empty() || paths.iter().any(|p| path.starts_with(p));
    drain_stores(config, &wanted, discard, &mut report)?;
    Ok(report)
}

/// As [`drain`], without looking for what a Tier 0 that is gone has left: no store is asked for all its keys.
///
/// # Errors
/// Where Tier 0 cannot be used.
pub fn drain_tier0(
    config: &Config,
    paths: &[PathBuf],
    all: bool,
    discard: bool,
) -> Result<DrainReport, PoolError> {
    let mut report = DrainReport::default();
    let homes = homes_of(config);
    let wanted = |path: &Path| paths.is_empty() || paths.iter().any(|p| path.starts_with(p));
    if let Some(pool) = Pool::open_existing(&settings(config))? {
        // One command drains once.
        drain_pool(config, Box::leak(Box::new(pool)), &wanted, (all, discard), &mut report);
    }
    if homes.iter().any(|h| h.has_unfinished()) {
        let pool = pool_for_homes(config)?;
        for home in homes {
            drain_home(home, pool, &wanted, all, &mut report);
        }
    }
    Ok(report)
}

/// Takes home what lies in the stores of mounts for files whose Tier 0 was lost, and deletes there what nobody needs.
fn drain_stores(
    config: &Config,
    wanted: &dyn Fn(&Path) -> bool,
    discard: bool,
    report: &mut DrainReport,
) -> Result<(), PoolError> {
    let mut seen = Vec::new();
    for store in config.mounts.iter().filter_map(|m| m.store) {
        if seen.contains(&store) {
            continue;
        }
        seen.push(store);
        let pool = pool_for_homes(config)?;
        let wanted = |name: &[u8]| wanted(&path_of(name.to_vec()));
        let elsewhere = |id| by_number(places(config, Path::new("/")), id);
        let found = place::of(store).and_then(|place| recover(pool, place, discard, &wanted, &elsewhere));
        match found {
            Err(e) => report.files.push((PathBuf::from(store.to_string()), Outcome::Failed { errno: e.0 })),
            Ok(found) => report.files.extend(
                found.into_iter().filter_map(|(name, outcome)| Some((path_of(name), told(outcome)?))),
            ),
        }
    }
    Ok(())
}

/// What became of one file, if there was anything to do.
fn told(outcome: ByName) -> Option<Outcome> {
    Some(match outcome {
        ByName::Empty => return None,
        ByName::Settled(bytes) => Outcome::Settled { bytes },
        ByName::Removed(bytes) => Outcome::Removed { bytes },
        ByName::Gone => Outcome::Gone,
        ByName::Failed(e) => Outcome::Failed { errno: e.0 },
        ByName::Damaged => Outcome::Damaged,
        ByName::Newer => Outcome::Newer,
    })
}

/// The homes of the configuration's mounts.
fn homes_of(config: &Config) -> &'static [&'static Home] {
    engine_homes::install(config);
    home::homes()
}

/// The pool whose table of processes says who holds what.
fn pool_for_homes(config: &Config) -> Result<&'static Pool, PoolError> {
    Ok(Box::leak(Box::new(Pool::open_or_make(&settings(config))?)))
}

/// For each home on a store the root of its anchors, and how many bytes they gave back, or the number of the error.
pub type Released = Vec<(PathBuf, Result<u64, i32>)>;

/// Gives back the room that anchors take of what their stores have too.
///
/// # Errors
/// Where Tier 0 cannot be used.
pub fn release(config: &Config) -> Result<Released, PoolError> {
    let homes = homes_of(config);
    if homes.is_empty() {
        return Ok(Vec::new());
    }
    let pool = pool_for_homes(config)?;
    Ok(homes.iter().map(|h| (path_of(h.tree().to_vec()), h.release(pool).map_err(|e| e.0))).collect())
}

/// Sends home, and deletes, what is left to do of a home.
fn drain_home(
    home: &'static Home,
    pool: &'static Pool,
    wanted: &dyn Fn(&Path) -> bool,
    all: bool,
    report: &mut DrainReport,
) {
    match home.drain(pool, all, wanted) {
        Err(e) => report.files.push((path_of(home.tree().to_vec()), Outcome::Failed { errno: e.0 })),
        Ok(left) => report.files.extend(left.into_iter().map(|left| match left {
            Left::Settled(path, bytes) => (path, Outcome::Settled { bytes }),
            Left::InUse(path, pid) => (path, Outcome::InUse { pid }),
            Left::Removed => (path_of(home.tree().to_vec()), Outcome::Removed { bytes: 0 }),
            Left::Failed(path, e) => (path, Outcome::Failed { errno: e.0 }),
        })),
    }
}

/// Settles what lies in a pool.
fn drain_pool(
    config: &Config,
    pool: &'static Pool,
    wanted: &dyn Fn(&Path) -> bool,
    (all, discard): (bool, bool),
    report: &mut DrainReport,
) {
    for number in staged(pool).collect::<Vec<_>>() {
        let file = look(pool, number);
        if !wanted(&file.path) {
            continue;
        }
        if file.writer_alive && !all {
            report.files.push((file.path, Outcome::InUse { pid: file.writer }));
            continue;
        }
        let key = &pool.keys()[number as usize];
        let id = (key.dev.load(Ordering::Acquire).wrapping_sub(1), key.ino.load(Ordering::Acquire));
        let elsewhere = |id| by_number(places(config, &file.path), id);
        let (name, outcome) = settle_by_name(pool, number, &elsewhere);
        let Some(outcome) = told(outcome) else { continue };
        let lost = matches!(outcome, Outcome::Gone | Outcome::Damaged);
        let outcome =
            if lost && discard { Outcome::Discarded { bytes: give_up(pool, number, id) } } else { outcome };
        report.files.push((path_of(name), outcome));
    }
}
