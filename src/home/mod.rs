//! Homes on stores: files whose bytes, once settled, are objects. Owns a home's store, its shadow tree of anchors and
//! the control files beside it, and the room that anchors may take on this node. Works below `file` (which decides
//! what a read returns) and above the stores (which know objects only).
//!
//! An anchor is a real file of the shadow tree with the virtual file's length, modes and times. It is a sparse cache
//! of the file's bytes: [`resident`] fetches what is read and sends what was written.

mod ahead;
pub mod attributes;
pub mod catalog;
pub mod check;
pub mod control;
pub mod crawl;
pub mod gate;
pub mod holders;
pub mod layout;
pub mod map;
mod mirror;
pub mod moves;
mod numbers;
pub mod recovery;
pub mod resident;
pub mod service;
pub mod shadow;
pub mod turn;
mod xattrs;

use crate::errno::Errno;
use crate::log;
use crate::stores::opened::Opened;
use crate::sys;
use crate::tier0::pool::Pool;
use catalog::objects::Objects;
use catalog::{Catalog, Gone, Names};
use control::{CHANGED, Control, Found, UNLINKED};
pub use gate::Gate;
use holders::Holders;
use iris_store::{Kind, Store, StoreError};
use layout::Layout;
use map::{At, Map};
use resident::{Anchor, Resident};
use shadow::Shadow;
use std::ffi::CString;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use turn::Turn;

/// Objects up to this many bytes are put in one request.
pub const SMALL_OBJECT: u64 = 8 << 20;

pub use crate::stores::opened::Opener;

/// Where a store keeps a home's names.
enum Kept {
    /// As records beside the bytes, of this name.
    Records(String),
    /// They are the keys of its objects.
    Keys,
}

/// A home on a store.
pub struct Home {
    /// The root of the shadow tree, without a trailing slash.
    tree: Vec<u8>,
    /// The folder of the control files, on the same node.
    controls: Vec<u8>,
    layout: Layout,
    /// Where the names of the home are kept in its store, when they are kept there.
    names: Option<Kept>,
    turn: OnceLock<Turn>,
    holders: OnceLock<Holders>,
    store: Opened,
    /// Bytes that anchors may hold of what the store has too.
    room: u64,
    /// A server of its did not answer while the process was ending.
    silent: AtomicBool,
    /// Bytes fetched by this process since it last looked how much the anchors hold.
    fetched: AtomicU64,
}

impl Home {
    /// A home whose anchors lie in `tree`, with control files in `controls`; anchors may hold `room` bytes of what the
    /// store has too. The tree is all that is known of its names, until [`Home::with_names`].
    pub fn new(tree: Vec<u8>, controls: Vec<u8>, layout: Layout, room: u64, opener: Opener) -> Home {
        Home {
            tree,
            controls,
            layout,
            names: None,
            turn: OnceLock::new(),
            holders: OnceLock::new(),
            store: Opened::new(opener),
            room,
            silent: AtomicBool::new(false),
            fetched: AtomicU64::new(0),
        }
    }

    /// Its names are kept in its store, under `name`, for all nodes.
    pub fn with_names(mut self, name: &str) -> Home {
        self.names = Some(Kept::Records(name.to_owned()));
        self
    }

    /// Its names are the keys of the objects in its store, for all nodes and whatever else knows the store.
    pub fn with_keys(mut self) -> Home {
        self.names = Some(Kept::Keys);
        self
    }

    /// The names that are kept in the store; `None` where the tree is all there is. On a service thread.
    ///
    /// # Errors
    /// EOPNOTSUPP where the store cannot keep them.
    pub fn catalog(&self) -> Result<Option<Box<dyn Names>>, Errno> {
        let Some(kept) = &self.names else { return Ok(None) };
        let names = match kept {
            Kept::Records(name) => Catalog::new(self.store()?, name).map(|n| Box::new(n) as Box<dyn Names>),
            Kept::Keys => Objects::new(self.store()?).map(|n| Box::new(n) as Box<dyn Names>),
        };
        names.map(Some).ok_or(Errno(libc::EOPNOTSUPP))
    }

    /// The root of its anchors in the kernel's name space.
    pub fn tree(&self) -> &[u8] {
        &self.tree
    }

    /// The identity of an anchor's file in the store, where it has one already.
    pub fn identity(&self, ino: u64, born: u64) -> Option<[u64; 2]> {
        let place = self.control_path(ino).ok()?;
        Some(control::Peek::at(&place, ino, born)?.id)
    }

    /// Whether other nodes see and change its names.
    pub fn is_shared(&self) -> bool {
        self.names.is_some()
    }

    /// The lock that whoever changes its names on this node holds.
    ///
    /// # Errors
    /// Those of making its file.
    pub fn turn(&self) -> Result<&Turn, Errno> {
        match self.turn.get() {
            Some(turn) => Ok(turn),
            None => {
                let made = Turn::open(&self.control_file("turn")?)?;
                Ok(self.turn.get_or_init(|| made))
            }
        }
    }

    /// Who on this node may hold locks of its.
    ///
    /// # Errors
    /// Those of making the table.
    pub fn holders(&self) -> Result<&Holders, Errno> {
        match self.holders.get() {
            Some(holders) => Ok(holders),
            None => self.open_holders(),
        }
    }

    #[cold]
    fn open_holders(&self) -> Result<&Holders, Errno> {
        let path = self.control_file("processes")?;
        let made = service::call_urgent(|| Holders::open(&path))??;
        Ok(self.holders.get_or_init(|| made))
    }

    /// Does something with its shared names, under which programs know it as `root`; with `change`, in the node's turn.
    ///
    /// # Errors
    /// Those of `f`, and of a store that cannot be asked.
    pub fn with_shadow<T: Send>(
        &'static self,
        pool: &'static Pool,
        root: &[u8],
        change: bool,
        f: impl FnOnce(&Shadow<'_>) -> Result<T, Errno> + Send,
    ) -> Result<T, Errno> {
        let ask = || {
            let catalog = self.catalog()?.ok_or(Errno(libc::EOPNOTSUPP))?;
            let shadow = Shadow::new(self, &*catalog, pool, root);
            if change { f(&shadow) } else { f(&shadow.only_checking()) }
        };
        // Whoever changes names may hold what the sending of files waits for.
        if change && self.layout.is_whole() { service::call_urgent(ask)? } else { service::call(ask)? }
    }

    /// Fails with ESTALE when the file has no name any more in a store that keeps names: another node has removed it,
    /// and its bytes. On a service thread.
    fn still_named(&self, id: [u64; 2]) -> Result<(), Errno> {
        if self.layout.is_whole() {
            // What is read has the tag that was looked at.
            return Ok(());
        }
        match self.catalog()? {
            Some(catalog) if !catalog.exists(&id_text(id))? => Err(Errno(libc::ESTALE)),
            _ => Ok(()),
        }
    }

    /// Deletes the objects of a file that this node has no anchor of, and that has lost its last name.
    pub fn forget_objects(&self, gone: &Gone) {
        if self.layout.is_whole() {
            // They went with the name.
            return;
        }
        let Some(id) = mirror::id_from(&gone.id) else { return };
        let cut = || {
            let (store, turn) = (self.store()?, AtomicU64::new(0));
            let map = Map::new(self.layout.keys(id), self.layout.mapper());
            map.remove(At { store: &*store, turn: &turn }, gone.len).map_err(|e| told(&e))
        };
        if let Err(e) = service::call(cut).and_then(|r| r) {
            log::say(1, || format!("deleting the objects of a removed file: {e}; `iris fsck` finds them"));
        }
    }

    /// Whether the ending process has waited in vain for its store: once is enough for all files.
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// The ending process has waited in vain for its store.
    pub fn fell_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    /// How files are laid out in the store.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The store, opened by the process on first need. On a service thread.
    ///
    /// # Errors
    /// What the store could not be opened for; it is logged.
    pub fn store(&self) -> Result<Arc<dyn Store>, Errno> {
        debug_assert!(service::is_mine(), "stores are talked to on the service's threads");
        self.store.store().map_err(|e| failed(&e))
    }

    /// The file behind an anchor that is open as `fd`; as `opener`, on behalf of the program.
    ///
    /// # Errors
    /// EXDEV where it is no anchor, but a file of a file system that is mounted in the tree; those of the control file.
    pub fn resident(
        &'static self,
        fd: i32,
        pool: &'static Pool,
        opener: bool,
    ) -> Result<Arc<Resident>, Errno> {
        let st = sys::fstat(fd)?;
        let born = sys::birth(fd, st.st_ino);
        let path = self.control_path(st.st_ino)?;
        if sys::statat(libc::AT_FDCWD, &path, false).is_ok_and(|control| control.st_dev != st.st_dev) {
            return Err(Errno(libc::EXDEV));
        }
        let id = self.fresh_id();
        let (control, found) = match Control::open(&path, st.st_ino, born, id) {
            // The program has no number left; the service's threads have their own.
            Err(Errno(libc::EMFILE)) => service::call(|| Control::open(&path, st.st_ino, born, id))?,
            other => other,
        }?;
        if control.device() != st.st_dev {
            // Something else is mounted there, whose files are not the home's.
            if found == Found::Fresh {
                control.remove()?;
            }
            return Err(Errno(libc::EXDEV));
        }
        if found == Found::Fresh && (st.st_size > 0 || self.layout.is_whole()) {
            control.head().flags.fetch_or(CHANGED, Ordering::AcqRel);
        }
        if found == Found::Fresh && st.st_size > 0 {
            // A file that the shadow tree had before Iris knew it (made by other means): all of it is new to the store.
            resident::all_is_new(&control, fd, st.st_size as u64)?;
        }
        let resident = Resident::new(self, control, pool, opener);
        if resident.is_cut(st.st_size as u64) {
            resident.look_for_cut(fd)?;
        }
        Ok(Arc::new(resident))
    }

    /// The kernel has made a file's anchor, open as `fd` in the calling thread: it gets the identity that was claimed for
    /// it ([`shadow::Shadow::claim`]).
    pub fn made(&self, fd: i32, id: [u64; 2]) -> Result<(), Errno> {
        let st = sys::fstat(fd)?;
        let path = self.control_path(st.st_ino)?;
        let (control, _) = Control::open(&path, st.st_ino, sys::birth(fd, st.st_ino), id)?;
        for (half, claimed) in control.head().id.iter().zip(id) {
            half.store(claimed, Ordering::Release);
        }
        Ok(())
    }

    /// An identity for a new file: it must be unlike any other's on any node that shares the store.
    fn fresh_id(&self) -> [u64; 2] {
        self.layout.identity(random())
    }

    /// The map of a file: which objects its bytes are.
    fn map_of(&self, control: &Control) -> Map {
        Map::new(self.layout.keys(control.id()), self.layout.mapper())
    }

    fn control_path(&self, ino: u64) -> Result<CString, Errno> {
        self.control_file(&format!("{ino:016x}"))
    }

    /// A name in the folder of the control files.
    fn control_file(&self, name: &str) -> Result<CString, Errno> {
        let mut path = self.controls.clone();
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        CString::new(path).map_err(|_| Errno(libc::EINVAL))
    }

    /// A file of the shadow tree has lost its last name; `st` is what it was before. Its objects go with the last
    /// process that has it open, which may be this one.
    pub fn unlinked(&self, ino: u64, born: u64, open_here: bool) {
        let Ok(path) = self.control_path(ino) else { return };
        // Without a control file nothing of it was ever sent.
        let Ok((control, _)) = Control::open(&path, ino, born, [0, 0]) else { return };
        control.head().flags.fetch_or(UNLINKED, Ordering::AcqRel);
        if !open_here && !control.is_open() {
            self.remove_objects(&control);
        }
    }

    /// Deletes a file's objects and its control file.
    fn remove_objects(&self, control: &Control) {
        let head = control.head();
        let stored = head.stored_len.load(Ordering::Acquire);
        let map = self.map_of(control);
        // A file with a log may have one although nothing is known to be stored.
        if !self.layout.is_whole() && (stored > 0 || map.is_logged()) {
            let remove = || match self.is_shared().then(|| self.still_named(control.id())) {
                // It lives on by another name, which another node has given it.
                Some(Ok(())) => Ok(()),
                Some(Err(e)) if e != Errno(libc::ESTALE) => Err(e),
                _ => {
                    let store = self.store()?;
                    map.remove(At { store: &*store, turn: &head.turn }, stored).map_err(|e| told(&e))
                }
            };
            if let Err(e) = service::call(remove).and_then(|r| r) {
                log::say(1, || {
                    format!("deleting the objects of a removed file: {e}; `iris fsck` finds them")
                });
                return;
            }
        }
        if let Err(e) = service::with_number(|| control.remove()).and_then(|r| r) {
            log::say(2, || format!("removing a control file: {e}"));
        }
    }

    /// The key of the object that a file is, in [`Layout::Whole`]: its name in the shadow tree.
    fn key_of(&self, own: &ServiceFd) -> Result<Vec<u8>, Errno> {
        let mut buf = [0u8; 4096];
        let name = sys::name_of(own.raw(), &mut buf)?;
        if sys::fstat(own.raw())?.st_nlink == 0 {
            return Err(Errno(libc::ENOENT));
        }
        let below = name.strip_prefix(&self.tree[..]).and_then(|n| n.strip_prefix(b"/"));
        Ok(self.layout.whole_key(below.ok_or(Errno(libc::ENOENT))?))
    }

    /// A file's bytes and length are in the store. Whether another node has sent bytes of it too, since this one looked
    /// last. On a service thread.
    fn settled(&self, file: &Resident, own: &ServiceFd, len: u64) -> Result<bool, Errno> {
        let Some(catalog) = self.catalog()? else { return Ok(false) };
        let head = file.control().head();
        let id = file.control().id();
        match catalog.settled(&id_text(id), len, sys::mtime_ns(own.raw())?) {
            Ok(Some(version)) => {
                let known = head.version.swap(version, Ordering::AcqRel);
                if version != known + 1 {
                    file.overtaken(own)?;
                    return Ok(true);
                }
                Ok(false)
            }
            Ok(None) => Ok(false),
            // Its last name went, here or elsewhere, while it was open: nobody can look for its bytes any more.
            Err(Errno(libc::ENOENT)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn fetched(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    /// After a fetch: when this process has fetched a quarter of what anchors may hold, its own file gives way.
    fn make_room(&self, file: &Resident, own: &ServiceFd, keep: Range<u64>) {
        let quarter = self.room / 4;
        if self.fetched.load(Ordering::Relaxed) < quarter {
            return;
        }
        self.fetched.store(0, Ordering::Relaxed);
        // What a reader has asked for, and what was fetched ahead of it, stays.
        let keep = keep.start.saturating_sub(ahead::MOST)..keep.end + ahead::MOST;
        if let Ok(st) = sys::fstat(own.raw())
            && st.st_blocks as u64 * 512 > quarter
            && let Err(e) = file.evict(own, keep, st.st_blocks as u64 * 512 - quarter)
        {
            log::say(2, || format!("giving room back: {e}"));
        }
    }
}

/// The homes of this process, set once before any file is opened.
static HOMES: OnceLock<Vec<&'static Home>> = OnceLock::new();

/// Makes these the homes of the process.
pub fn install(homes: Vec<Home>) {
    // A second call would change nothing: mounts are read once.
    let _ = HOMES.set(homes.into_iter().map(|h| &*Box::leak(Box::new(h))).collect());
}

/// The homes of the process.
pub fn homes() -> &'static [&'static Home] {
    HOMES.get().map_or(&[], Vec::as_slice)
}

/// Before fork.
pub fn lock() {
    for home in homes() {
        home.store.lock();
    }
}

/// After fork, in the parent and in the child.
///
/// # Safety
/// Follows [`lock`] on the same thread (in the child: its copy).
pub unsafe fn unlock() {
    for home in homes() {
        // SAFETY: by contract.
        unsafe { home.store.unlock() };
    }
}

/// Whether any file's home is a store.
pub fn any() -> bool {
    HOMES.get().is_some_and(|h| !h.is_empty())
}

/// The home in whose shadow tree an absolute name lies.
pub fn of(name: &[u8]) -> Option<&'static Home> {
    let below =
        |h: &&&'static Home| name.strip_prefix(&h.tree[..]).is_some_and(|rest| rest.first() == Some(&b'/'));
    HOMES.get()?.iter().filter(below).max_by_key(|h| h.tree.len()).copied()
}

/// Whether names of any home are shared with other nodes.
pub fn any_shared() -> bool {
    homes().iter().any(|h| h.is_shared())
}

/// The home with shared names in whose tree an absolute name lies, or whose root it is, and the rest of the name.
pub fn shared_of(name: &[u8]) -> Option<(&'static Home, &[u8])> {
    let below = |h: &&'static Home| {
        let rest = name.strip_prefix(&h.tree[..]).filter(|r| r.is_empty() || r[0] == b'/')?;
        Some((*h, rest))
    };
    homes().iter().filter_map(below).max_by_key(|(h, _)| h.tree.len()).filter(|(h, _)| h.is_shared())
}

/// 128 random bits.
fn random() -> [u64; 2] {
    let mut bytes = [0u8; 16];
    let mut done = 0;
    while done < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[done..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            // No entropy in a system that runs programs: time and process tell files apart on one node.
            Err(_) => {
                return [sys::monotonic_ns().max(1), u64::from(sys::pid()) << 32 | u64::from(sys::tid())];
            }
        }
    }
    let half = |i: usize| bytes[i..i + 8].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    [half(0), half(8)]
}

/// An identity as a catalog writes it.
pub fn id_text(id: [u64; 2]) -> Vec<u8> {
    format!("{:016x}{:016x}", id[0], id[1]).into_bytes()
}

/// A store's failure as an error number, after it was told to the log.
fn failed(e: &StoreError) -> Errno {
    log::say(1, || e.to_string());
    match e.kind {
        // An object that should be there is not: no name is missing.
        Kind::NotFound | Kind::Precondition => Errno(libc::EIO),
        kind => Errno(kind.errno()),
    }
}

/// A failure of a file's map as an error number, after it was told to the log.
fn told(e: &map::MapError) -> Errno {
    log::say(1, || e.to_string());
    Errno(e.errno())
}

/// An anchor in the service's own descriptor table.
pub struct ServiceFd {
    fd: Option<sys::OwnFd>,
    number: i32,
    pid: u32,
}

impl ServiceFd {
    /// Opens what a thread of the program has open, for reading and writing. On a service thread.
    fn of(anchor: Anchor) -> Result<ServiceFd, Errno> {
        let link = anchor.link()?;
        // Only the owner may leave the time of access alone.
        let open = || match sys::open(&link, rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOATIME, 0) {
            Err(Errno(libc::EPERM)) => sys::open(&link, rustix::fs::OFlags::RDWR, 0),
            other => other,
        };
        let fd = match open() {
            // A file that its owner may not write (mode 0444) is written by Iris all the same.
            Err(Errno(libc::EACCES)) => sys::with_write_permission_at(&link, open)?,
            other => other?,
        };
        Ok(ServiceFd { number: fd.raw(), fd: Some(fd), pid: sys::pid() })
    }

    /// Its number, in the service's table.
    pub fn raw(&self) -> i32 {
        self.number
    }
}

impl Drop for ServiceFd {
    fn drop(&mut self) {
        let Some(fd) = self.fd.take() else { return };
        if self.pid != sys::pid() {
            // The parent's number: it means nothing in this process.
            std::mem::forget(fd);
        } else if !service::is_mine() {
            // The number is one of the service's table, not of this thread's. If no thread runs any more, the table
            // is gone, and the file with it.
            let number = fd.raw();
            std::mem::forget(fd);
            let _ = service::later(move || sys::close_number(number));
        }
    }
}

#[cfg(test)]
mod kill_tests;
#[cfg(test)]
mod sending_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
