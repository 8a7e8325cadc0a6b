//! The pool file: making, finding, checking and mapping it. Owns the mapped memory; handing it out is done in
//! `pool/slots.rs` and `pool/blocks.rs`.

use super::layout::*;
use super::lock::{self, Owner, Refused, Surroundings, Taken};
use super::process;
use crate::errno::Errno;
use crate::sys;
use blocks::STEP;
use rustix::fs::OFlags;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The folder cannot be made or used.
    #[error("Tier 0 folder {path}: {source}; choose another with tier0.path (IRIS_TIER0_PATH)")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// The folder belongs to somebody else, or others may write there.
    #[error(
        "Tier 0 folder {path} is not private to this user (owner {owner}, mode {mode:o}); remove it or choose \
         another with tier0.path (IRIS_TIER0_PATH)"
    )]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its mode.
        mode: u32,
    },
    /// The pool file cannot be made, opened or mapped.
    #[error("Tier 0 pool {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// The pool file is not a pool of this version, or is damaged.
    #[error(
        "Tier 0 pool {path} is damaged or foreign ({what}); nothing is served from it. Run `iris drain` with the \
         version that wrote it, or move the file away once its contents are not needed"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

/// Where a pool is and how large a new one becomes.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// Folder that holds the pool's own folder; see [`folder_for`].
    pub folder: PathBuf,
    /// Bytes of blocks in memory.
    pub memory: u64,
    /// Folder of the storage file, when there is one.
    pub storage_folder: Option<PathBuf>,
    /// Bytes of blocks in the storage file.
    pub storage: u64,
}

/// A file behind a mapping. It is not kept open: the program would have one descriptor less, and might close it.
struct Backing {
    path: CString,
    /// Device and inode number.
    id: (u64, u64),
}

impl Backing {
    /// Reserves space, so that touching it cannot raise SIGBUS.
    fn reserve(&self, at: usize, len: usize) -> Result<(), Errno> {
        let fd = sys::open(&self.path, OFlags::RDWR | OFlags::NOFOLLOW, 0)?;
        let st = sys::fstat(fd.raw())?;
        if (st.st_dev, st.st_ino) != self.id {
            return Err(Errno(libc::ESTALE));
        }
        sys::reserve(fd.raw(), at as u64, len as u64)
    }

    /// Whether the file still has its name.
    fn is_named(&self) -> bool {
        sys::statat(libc::AT_FDCWD, &self.path, false).is_ok_and(|s| (s.st_dev, s.st_ino) == self.id)
    }
}

/// The memory-mapped pool.
pub struct Pool {
    /// For each block, a bit for each [`STEP`] that this process has made present.
    populated: Vec<AtomicU8>,
    base: *mut u8,
    /// The blocks in memory, and those in storage.
    memory: *mut u8,
    storage: *mut u8,
    geometry: Geometry,
    /// `None` for a pool in plain memory.
    memory_file: Option<Backing>,
    storage_file: Option<Backing>,
    /// For each slot, whether this process knows its name's space to be reserved.
    names_reserved: Vec<AtomicU8>,
    /// This process among those of the pool.
    place: process::Place,
    path: PathBuf,
}

// SAFETY: all shared state behind `base` is accessed through atomics, or as payload bytes whose exclusive use the
// slot locks grant; the pointers themselves never change.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// The first usable of `/dev/shm`, `$XDG_RUNTIME_DIR`, `$TMPDIR` and `/tmp`.
pub fn default_folder() -> PathBuf {
    let usable =
        |p: &Path| rustix::fs::access(p, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok();
    let candidates = [
        Some(PathBuf::from("/dev/shm")),
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
        std::env::var_os("TMPDIR").map(PathBuf::from),
    ];
    candidates.into_iter().flatten().find(|p| usable(p)).unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// The pool's own folder inside a Tier 0 folder: one for each user.
pub fn folder_for(settings: &PoolSettings) -> PathBuf {
    settings.folder.join(format!("iris-{}", sys::uid()))
}

/// Makes the folder if needed and refuses one that others could tamper with.
fn private_folder(path: &Path) -> Result<(), PoolError> {
    let folder = |source| PoolError::Folder { path: path.to_owned(), source };
    let name = sys::c_path(path).map_err(folder)?;
    match rustix::fs::mkdir(name.as_c_str(), rustix::fs::Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(e) => return Err(folder(e.into())),
    }
    let st = sys::statat(libc::AT_FDCWD, &name, false).map_err(folder)?;
    if st.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return Err(folder(Errno(libc::ENOTDIR)));
    }
    if st.st_uid != sys::uid() || st.st_mode & 0o022 != 0 {
        return Err(PoolError::NotPrivate {
            path: path.to_owned(),
            owner: st.st_uid,
            mode: st.st_mode & 0o7777,
        });
    }
    Ok(())
}

/// Name of the pool file, and how that of its storage file begins. The process id namespace is part of it: whether a
/// lock's owner lives can only be asked within one.
fn file_names() -> (String, String) {
    let ns = sys::statat(libc::AT_FDCWD, c"/proc/self/ns/pid", true).map_or(0, |s| s.st_ino);
    (format!("pool-v{VERSION}-{ns:x}"), format!("storage-v{VERSION}-{ns:x}-"))
}

/// Where storage files lie, and how their names begin.
#[derive(Clone, Debug)]
struct StorageFiles {
    folder: PathBuf,
    prefix: String,
}

impl StorageFiles {
    fn path(&self, tag: u64) -> PathBuf {
        self.folder.join(format!("{}{tag:016x}", self.prefix))
    }

    /// Makes one of `len` bytes under a name that no other has.
    fn make(&self, len: u64) -> Result<u64, Errno> {
        let tag = sys::monotonic_ns().rotate_left(32) ^ u64::from(sys::pid()) << 20 ^ u64::from(sys::tid());
        let name = sys::c_path(&self.path(tag))?;
        let fd = sys::open(&name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, 0o600)?;
        sys::set_len(fd.raw(), len)?;
        Ok(tag)
    }

    fn remove(&self, tag: u64) {
        if let Ok(name) = sys::c_path(&self.path(tag)) {
            // What cannot be removed only takes room.
            let _ = rustix::fs::unlink(name.as_c_str());
        }
    }

    /// Removes those of pools that are gone: who maps one goes on with it, and nobody else could ever find it.
    fn keep_only(&self, tag: u64) {
        let Ok(name) = sys::c_path(&self.folder) else { return };
        let Ok(folder) = sys::open(&name, OFlags::RDONLY | OFlags::DIRECTORY, 0) else { return };
        let mut buf = [std::mem::MaybeUninit::<u8>::uninit(); 4096];
        let mut entries = rustix::fs::RawDir::new(folder.borrow(), &mut buf);
        while let Some(Ok(entry)) = entries.next() {
            let theirs = entry.file_name().to_str().ok().and_then(|n| n.strip_prefix(&self.prefix));
            if let Some(theirs) = theirs.and_then(|t| u64::from_str_radix(t, 16).ok())
                && theirs != tag
            {
                self.remove(theirs);
            }
        }
    }
}

impl Pool {
    /// Opens the user's pool, making it first if there is none.
    pub fn open_or_make(settings: &PoolSettings) -> Result<Pool, PoolError> {
        let folder = folder_for(settings);
        private_folder(&folder)?;
        let (name, prefix) = file_names();
        let path = folder.join(name);
        let storage = match &settings.storage_folder {
            Some(f) if settings.storage >= BLOCK as u64 => {
                let folder = f.join(format!("iris-{}", sys::uid()));
                private_folder(&folder)?;
                Some(StorageFiles { folder, prefix })
            }
            _ => None,
        };
        for _ in 0..3 {
            match Pool::open(&path, storage.as_ref()) {
                Err(PoolError::File { source: Errno(libc::ENOENT), .. }) => {}
                other => return other,
            }
            Pool::make(&path, storage.as_ref(), settings)?;
        }
        Pool::open(&path, storage.as_ref())
    }

    /// Opens the user's pool if there is one.
    pub fn open_existing(settings: &PoolSettings) -> Result<Option<Pool>, PoolError> {
        let (name, prefix) = file_names();
        let path = folder_for(settings).join(name);
        let storage = settings
            .storage_folder
            .as_ref()
            .map(|f| StorageFiles { folder: f.join(format!("iris-{}", sys::uid())), prefix });
        match Pool::open(&path, storage.as_ref()) {
            Ok(p) => Ok(Some(p)),
            Err(PoolError::File { source: Errno(libc::ENOENT | libc::ENOTDIR), .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes a complete pool under a name of its own, then gives it the common name unless somebody was first.
    fn make(path: &Path, storage: Option<&StorageFiles>, settings: &PoolSettings) -> Result<(), PoolError> {
        let file = |source| PoolError::File { path: path.to_owned(), source };
        let memory_blocks = (settings.memory / BLOCK as u64).clamp(1, 1 << 20) as u32;
        let storage_blocks =
            if storage.is_some() { (settings.storage / BLOCK as u64).min(1 << 24) as u32 } else { 0 };
        let geometry = Geometry { memory_blocks, blocks: memory_blocks + storage_blocks };
        let tag = match storage {
            Some(storage) => storage
                .make(u64::from(storage_blocks) * BLOCK as u64)
                .map_err(|source| PoolError::Folder { path: storage.folder.clone(), source })?,
            None => 0,
        };
        let draft = path.with_extension(format!("{}-{}", sys::pid(), sys::tid()));
        let draft_name = sys::c_path(&draft).map_err(file)?;
        let made = || -> Result<(), Errno> {
            let fd = sys::open(&draft_name, OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC, 0o600)?;
            sys::set_len(fd.raw(), geometry.file_len() as u64)?;
            sys::reserve(fd.raw(), 0, geometry.names_at() as u64)?;
            let base = sys::map_shared(fd.raw(), 4096, 4096)?;
            // SAFETY: the mapping is one page, new and zeroed, and holds a superblock; the draft is ours alone.
            let sb = unsafe { &*base.cast::<Superblock>() };
            let uid = sys::uid();
            sb.version.store(VERSION, Ordering::Relaxed);
            sb.blocks.store(geometry.blocks, Ordering::Relaxed);
            sb.memory_blocks.store(memory_blocks, Ordering::Relaxed);
            sb.uid.store(uid, Ordering::Relaxed);
            sb.storage_tag.store(tag, Ordering::Relaxed);
            sb.identity.store(sys::random(), Ordering::Relaxed);
            sb.check.store(superblock_check(VERSION, geometry.blocks, memory_blocks, uid), Ordering::Relaxed);
            sb.magic.store(MAGIC, Ordering::Release);
            // SAFETY: nobody uses the page after this.
            unsafe { sys::unmap(base, 4096) };
            Ok(())
        };
        let linked = made().and_then(|()| {
            let name = sys::c_path(path)?;
            match rustix::fs::link(draft_name.as_c_str(), name.as_c_str()) {
                Ok(()) => Ok(true),
                Err(rustix::io::Errno::EXIST) => Ok(false),
                Err(e) => Err(Errno::from(e)),
            }
        });
        let _ = rustix::fs::unlink(draft_name.as_c_str());
        if let Some(storage) = storage {
            if linked == Ok(true) { storage.keep_only(tag) } else { storage.remove(tag) }
        }
        linked.map(drop).map_err(file)
    }

    fn open(path: &Path, storage: Option<&StorageFiles>) -> Result<Pool, PoolError> {
        let file = |source| PoolError::File { path: path.to_owned(), source };
        let damaged = |what| PoolError::Damaged { path: path.to_owned(), what };
        let name = sys::c_path(path).map_err(file)?;
        let fd = sys::open(&name, OFlags::RDWR | OFlags::NOFOLLOW, 0).map_err(file)?;
        let st = sys::fstat(fd.raw()).map_err(file)?;
        if st.st_uid != sys::uid() || st.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(damaged("not a file of this user"));
        }
        let len = st.st_size as usize;
        if len < Geometry::OWNERS_AT {
            return Err(damaged("too short"));
        }
        let base = sys::map_shared(fd.raw(), len, STEP).map_err(file)?;
        let geometry = match check_superblock(base, len) {
            Ok(g) => g,
            Err(what) => {
                // SAFETY: the mapping was made above and nothing else knows it.
                unsafe { sys::unmap(base, len) };
                return Err(damaged(what));
            }
        };
        let mut pool = Pool {
            populated: (0..geometry.blocks).map(|_| AtomicU8::new(0)).collect(),
            base,
            // SAFETY: the mapping is that long.
            memory: unsafe { base.add(geometry.blocks_at()) },
            storage: std::ptr::null_mut(),
            geometry,
            memory_file: Some(Backing { path: name, id: (st.st_dev, st.st_ino) }),
            storage_file: None,
            names_reserved: (0..SLOTS).map(|_| AtomicU8::new(0)).collect(),
            place: process::Place::default(),
            path: path.to_owned(),
        };
        let storage_blocks = (geometry.blocks - geometry.memory_blocks) as usize;
        if storage_blocks > 0 {
            let Some(storage) = storage else {
                return Err(damaged("it has a storage tier, but tier0.storage_path is not set"));
            };
            let storage = storage.path(pool.superblock().storage_tag.load(Ordering::Relaxed));
            let at = |source| PoolError::File { path: storage.clone(), source };
            let name = sys::c_path(&storage).map_err(at)?;
            let fd = match sys::open(&name, OFlags::RDWR | OFlags::NOFOLLOW, 0) {
                Err(Errno(libc::ENOENT)) => return Err(damaged("its storage file has been removed")),
                other => other.map_err(at)?,
            };
            let st = sys::fstat(fd.raw()).map_err(at)?;
            if st.st_uid != sys::uid() || (st.st_size as usize) < storage_blocks * BLOCK {
                return Err(damaged("its storage file is too short, or another user's"));
            }
            pool.storage = sys::map_shared(fd.raw(), storage_blocks * BLOCK, STEP).map_err(at)?;
            pool.storage_file = Some(Backing { path: name, id: (st.st_dev, st.st_ino) });
        }
        Ok(pool)
    }

    /// The pool's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the pool's files still have their names: without, later processes would make another pool and not
    /// see what is staged here.
    pub fn still_named(&self) -> bool {
        self.memory_file.as_ref().is_some_and(Backing::is_named)
            && self.storage_file.as_ref().is_none_or(Backing::is_named)
    }

    /// Number and size of blocks.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The first page.
    #[inline]
    pub fn superblock(&self) -> &Superblock {
        // SAFETY: `base` maps at least the fixed part of the pool for as long as `self` lives (and is never
        // unmapped in a running program); the structure is all atomics.
        unsafe { &*self.base.cast::<Superblock>() }
    }

    #[inline]
    fn array<T>(&self, at: usize, n: usize) -> &[T] {
        debug_assert!(at + n * size_of::<T>() <= self.geometry.names_at());
        // SAFETY: the callers name parts that lie inside the mapping and hold atomics of type T.
        unsafe { std::slice::from_raw_parts(self.base.add(at).cast::<T>(), n) }
    }

    /// The table of processes.
    pub fn processes(&self) -> &[Process] {
        self.array(Geometry::PROCESSES_AT, PROCESSES)
    }

    /// The keys of the slots.
    #[inline]
    pub fn keys(&self) -> &[Key] {
        self.array(Geometry::KEYS_AT, SLOTS)
    }

    /// The slots.
    #[inline]
    pub fn slots(&self) -> &[Slot] {
        self.array(Geometry::SLOTS_AT, SLOTS)
    }

    /// The calling thread as the owner of locks; `None` when the table of processes is full.
    #[inline]
    pub fn me(&self) -> Option<Owner> {
        self.place.owner().or_else(|| process::enter(&self.place, self.processes()))
    }

    /// Takes a lock of this pool.
    #[inline]
    pub fn lock(&self, word: &AtomicU64, me: Owner) -> Result<Taken, Refused> {
        lock::lock(word, me, self)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.memory_file.is_none() {
            return;
        }
        // SAFETY: dropping needs exclusive ownership, so nobody holds a reference into the mappings.
        unsafe {
            sys::unmap(self.base, self.geometry.file_len());
            if !self.storage.is_null() {
                sys::unmap(
                    self.storage,
                    (self.geometry.blocks - self.geometry.memory_blocks) as usize * BLOCK,
                );
            }
        }
    }
}

impl Surroundings for Pool {
    fn alive(&self, owner: Owner) -> bool {
        process::owner_alive(self.processes(), owner)
    }

    fn wait(&self, round: u32) {
        sys::pause(round);
    }
}

fn check_superblock(base: *mut u8, len: usize) -> Result<Geometry, &'static str> {
    // SAFETY: the mapping is at least one page long, which the caller checked, and all fields are atomics.
    let sb = unsafe { &*base.cast::<Superblock>() };
    if sb.magic.load(Ordering::Acquire) != MAGIC {
        return Err("wrong magic");
    }
    let (version, uid) = (sb.version.load(Ordering::Relaxed), sb.uid.load(Ordering::Relaxed));
    let (blocks, memory_blocks) =
        (sb.blocks.load(Ordering::Relaxed), sb.memory_blocks.load(Ordering::Relaxed));
    if version != VERSION {
        return Err("another version");
    }
    if sb.check.load(Ordering::Relaxed) != superblock_check(version, blocks, memory_blocks, uid)
        || memory_blocks == 0
        || memory_blocks > blocks
    {
        return Err("wrong checksum of its first page");
    }
    if uid != sys::uid() {
        return Err("made by another user");
    }
    let geometry = Geometry { memory_blocks, blocks };
    if geometry.file_len() != len {
        return Err("wrong length");
    }
    Ok(geometry)
}

mod blocks;
mod slots;
#[cfg(any(test, feature = "fuzzing"))]
mod testing;
