//! The engine's own state: configuration, Tier 0, the table of files. Owns making and finding them; every part
//! of it lives as long as the process.

use crate::config::{Config, Consistency, Environment, Mount};
use crate::errno::Errno;
use crate::file::{Descriptor, File, Resources};
use crate::log;
use crate::report;
use crate::spin::Spin;
use crate::sys;
use crate::tier0::pool::{self, Pool, PoolError, PoolSettings};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

/// What is set once.
pub struct Engine {
    /// Configuration in force.
    pub config: Config,
    /// Whether any mount reads ahead into user memory (session or relaxed consistency).
    pub reads_ahead: bool,
    /// Whether any mount's home is a store.
    pub stores: bool,
    /// Report file, if any.
    pub report: Option<CString>,
    pool: AtomicPtr<Pool>,
    pool_state: AtomicU8,
    files: Spin<BTreeMap<(u64, u64), Arc<File>>>,
    /// The file systems that the mounts' directories lie on, as found when first asked for.
    devices: OnceLock<Vec<u64>>,
}

const UNTRIED: u8 = 0;
const READY: u8 = 1;
const NONE: u8 = 2;

static ENGINE: AtomicPtr<Engine> = AtomicPtr::new(std::ptr::null_mut());
static STARTED: AtomicBool = AtomicBool::new(false);
/// The process is exiting: nothing is staged any more.
pub static EXITING: AtomicBool = AtomicBool::new(false);

/// The engine, when something is mounted.
#[inline]
pub fn engine() -> Option<&'static Engine> {
    let p = ENGINE.load(Ordering::Acquire);
    // SAFETY: the pointer is null or comes from Box::leak.
    if p.is_null() { None } else { Some(unsafe { &*p }) }
}

/// Reads the configuration, once. Returns whether something is mounted.
pub fn start() -> bool {
    if STARTED.swap(true, Ordering::AcqRel) {
        return engine().is_some();
    }
    let config = match Config::load(&Environment::process()) {
        Ok(c) => c,
        Err(e) => {
            // The one thing said without being asked: a job that runs without Iris because of a mistake in
            // its settings must not do so silently.
            log::complain(&format!("iris: {e}\niris: this process runs without Iris\n"));
            return false;
        }
    };
    // SAFETY: the process is starting; its only thread is here.
    unsafe { Environment::make_absolute(&config) };
    if config.disabled || config.mounts.is_empty() {
        return false;
    }
    let report = config.report.as_ref().and_then(|p| CString::new(p.as_os_str().as_bytes()).ok());
    log::set_level(config.log);
    super::homes::install(&config);
    let reads_ahead = config.mounts.iter().any(|m| m.consistency != Consistency::Posix);
    let engine = Box::leak(Box::new(Engine {
        reads_ahead,
        stores: crate::home::any(),
        config,
        report,
        pool: AtomicPtr::new(std::ptr::null_mut()),
        pool_state: AtomicU8::new(UNTRIED),
        files: Spin::new(BTreeMap::new()),
        devices: OnceLock::new(),
    }));
    if crate::home::any_shared() {
        super::shared::install();
    }
    crate::namespace::names::install(&engine.config.mounts);
    ENGINE.store(engine, Ordering::Release);
    true
}

impl Engine {
    /// Tier 0, made on first use. `None`: there is none to be had, and the kernel serves everything.
    #[inline]
    pub fn pool(&self) -> Option<&'static Pool> {
        let p = self.pool.load(Ordering::Acquire);
        if !p.is_null() {
            // SAFETY: the pointer comes from Box::leak.
            return Some(unsafe { &*p });
        }
        if self.pool_state.load(Ordering::Acquire) == NONE { None } else { self.make_pool() }
    }

    #[cold]
    fn make_pool(&self) -> Option<&'static Pool> {
        // Two threads may come here at once; the loser's mapping is dropped.
        let made = Pool::open_or_make(&self.pool_settings());
        let pool = match made {
            Ok(pool) => Box::new(pool),
            Err(e) => {
                // A limit on file sizes keeps this process from making a pool, but somebody else may.
                let later = matches!(e, PoolError::File { source: Errno(libc::EFBIG), .. });
                if later {
                    return None;
                }
                if self.pool_state.swap(NONE, Ordering::AcqRel) != NONE {
                    report::bypassed(report::Bypass::NoTier0);
                    log::say(1, || format!("{e}; everything goes straight to the files"));
                }
                return None;
            }
        };
        let raw = Box::into_raw(pool);
        match self.pool.compare_exchange(std::ptr::null_mut(), raw, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.pool_state.store(READY, Ordering::Release);
                // SAFETY: from Box::into_raw, and never freed.
                Some(unsafe { &*raw })
            }
            Err(other) => {
                // SAFETY: `raw` was made here and published to nobody; `other` comes from Box::into_raw above.
                unsafe {
                    drop(Box::from_raw(raw));
                    Some(&*other)
                }
            }
        }
    }

    /// Tier 0, if this process has opened it.
    #[inline]
    pub fn open_pool(&self) -> Option<&'static Pool> {
        let p = self.pool.load(Ordering::Acquire);
        // SAFETY: null or from Box::into_raw, never freed.
        if p.is_null() { None } else { Some(unsafe { &*p }) }
    }

    fn pool_settings(&self) -> PoolSettings {
        settings(&self.config)
    }

    /// Whether anything is staged on the node.
    #[inline]
    pub fn anything_staged(&self) -> bool {
        self.pool().is_some_and(|p| p.superblock().staged_files.load(Ordering::Acquire) != 0)
    }

    /// The process's object for a file that it has open by `descriptors`.
    ///
    /// An object that no descriptor means any more (the flusher may still have it) is not used again: its file may
    /// have been removed meanwhile, and `id` be another one's.
    pub fn file(
        &self,
        id: (u64, u64),
        mount: &'static Mount,
        descriptors: impl Iterator<Item = Descriptor>,
    ) -> Option<Arc<File>> {
        let pool = self.pool()?;
        let mut files = self.files.lock()?;
        let (file, gone) = match files.get(&id).filter(|f| f.has_descriptors()) {
            Some(file) => (file.clone(), None),
            None => {
                let file = Arc::new(File::new(id, Resources { pool, mount }));
                (file.clone(), files.insert(id, file))
            }
        };
        Engine::count(gone.as_ref());
        // Before anybody else looks for the file.
        descriptors.for_each(|d| file.add_descriptor(d));
        drop(files);
        drop(gone);
        Some(file)
    }

    /// Adds up what an object counted that leaves the table, which is locked: once it is free the process may end, and with
    /// it the thread that has the object still.
    fn count(gone: Option<&Arc<File>>) {
        gone.into_iter().for_each(|file| file.report());
    }

    /// The process's object for a file, if it has one.
    pub fn known_file(&self, id: (u64, u64)) -> Option<Arc<File>> {
        self.files.lock()?.get(&id).cloned()
    }

    /// Forgets a file that no descriptor means any more.
    pub fn forget(&self, file: Arc<File>) {
        let Some(mut files) = self.files.lock() else { return };
        let known = files.get(&file.id()).is_some_and(|f| Arc::ptr_eq(f, &file));
        // The table's, the caller's, and nobody else's (a description, the flusher).
        if known && Arc::strong_count(&file) == 2 {
            let gone = files.remove(&file.id());
            Engine::count(gone.as_ref());
            drop(files);
            drop(gone);
        }
    }

    /// Whether some mount's directory lies on this file system: its files may be under the mount. Mounts of the kernel
    /// may come and go after this was first asked; whoever asks must be right with either answer.
    pub fn is_device_of_mount(&self, dev: u64) -> bool {
        let look = || {
            let device = |m: &crate::config::Mount| {
                let path = CString::new(m.directory()).ok()?;
                Some(sys::statat(libc::AT_FDCWD, &path, true).ok()?.st_dev)
            };
            self.config.mounts.iter().filter_map(device).collect()
        };
        self.devices.get_or_init(look).contains(&dev)
    }

    /// All files of this process.
    pub fn files(&self) -> Vec<Arc<File>> {
        self.files.lock().map_or_else(Vec::new, |f| f.values().cloned().collect())
    }

    /// In the child of a fork: the parent's files are the parent's.
    ///
    /// # Safety
    /// Follows [`Engine::lock_files`] in the parent.
    pub unsafe fn restart_in_child(&self) {
        // SAFETY: the lock was taken by `lock_files` in the thread that lives on in the child.
        unsafe { self.files.reset() };
        if let Some(mut files) = self.files.lock() {
            // Their locks may be held by threads that do not exist here: leaked, not dropped.
            std::mem::forget(std::mem::take(&mut *files));
        }
    }

    /// Before fork.
    pub fn lock_files(&self) {
        if let Some(f) = self.files.lock() {
            Spin::leak(f);
        }
    }

    /// After fork, in the parent.
    ///
    /// # Safety
    /// Follows [`Engine::lock_files`] on the same thread.
    pub unsafe fn unlock_files(&self) {
        // SAFETY: by contract.
        unsafe { self.files.reset() };
    }
}

/// The pool that a configuration asks for.
pub fn settings(config: &Config) -> PoolSettings {
    PoolSettings {
        folder: config.tier0.path.clone().unwrap_or_else(pool::default_folder),
        memory: config.tier0.memory,
        storage_folder: config.tier0.storage_path.clone().filter(|_| config.tier0.storage > 0),
        storage: config.tier0.storage,
    }
}
