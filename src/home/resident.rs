//! A file whose bytes live in a store, as this node has it: the anchor holds some of its granules, the store the
//! rest. Owns which bytes are where, fetching what a read needs, and sending what was written. The overlay above it
//! (the journal) is the file's business; it reaches the base through here.
//!
//! Three rules keep it right without a lock on the way of a read:
//! - Bytes go into the anchor under the control file's lock, and a granule counts as present only afterwards.
//! - Bytes leave the anchor only after the generation was raised: a read that spans one looks again.
//! - A granule is clean only if nobody wrote it since the bytes that were sent were read ("again").
//!
//! No lock is held while a store is asked.

mod cuts;
mod leaving;
mod sending;
mod whole;
mod wild;

use super::control::{Bit, CHANGED, Control, GRANULE, LONGEST, LOOSE, NAMELESS, UNLINKED, WILD};
use super::map::{At, Map};
use super::{Home, ServiceFd, service, told};
use crate::aside;
use crate::errno::Errno;
use crate::log;
use crate::sys;
use crate::tier0::pool::Pool;
use iris_store::Store;
use std::ffi::CString;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ahead::Ahead;
use crate::spin::Spin;

/// Bytes that one job asks a store for, or sends it, at a time.
const BATCH: u64 = 16 << 20;

/// Bytes written after which a file is sent although it is still open.
const EARLY: u64 = 32 << 20;

/// A descriptor of the program, as one of its threads knows it.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    /// Its number.
    pub fd: i32,
    /// The thread in whose table it is.
    pub tid: u32,
}

impl Anchor {
    /// Of the calling thread.
    pub fn here(fd: i32) -> Anchor {
        Anchor { fd, tid: sys::tid() }
    }

    /// Its name in /proc, for threads that have another table of descriptors.
    pub(super) fn link(&self) -> Result<CString, Errno> {
        CString::new(format!("/proc/self/task/{}/fd/{}", self.tid, self.fd)).map_err(|_| Errno(libc::EINVAL))
    }
}

/// See the module.
pub struct Resident {
    home: &'static Home,
    control: Control,
    /// Which objects the file's bytes are, for the identity that it has.
    map: Spin<Option<([u64; 2], Arc<Map>)>>,
    pool: &'static Pool,
    /// The anchor, open for reading and writing in the service's own table.
    anchor: Spin<Option<Arc<ServiceFd>>>,
    ahead: Spin<Ahead>,
    /// It stands for this process's descriptors on the file.
    opener: bool,
    /// Bytes written since the last of them were sent early.
    since: AtomicU64,
    /// What was sent of it, where the kernel writes to it and no hook sees that.
    sums: Spin<wild::Sums>,
}

impl Drop for Resident {
    fn drop(&mut self) {
        if !self.opener {
            return;
        }
        self.control.unregister();
        let unlinked = self.control.head().flags.load(Ordering::Acquire) & (UNLINKED | NAMELESS) != 0;
        if unlinked && !self.control.is_open() {
            self.home.remove_objects(&self.control);
        }
    }
}

/// What a short write left of a granule that the anchor does not hold: its first bytes.
struct Torn {
    granule: u64,
    bytes: Vec<u8>,
}

impl Torn {
    /// Reads it from the anchor, up to `end`. The program's descriptor may not be open for reading.
    fn read(anchor: Anchor, granule: u64, end: u64) -> Result<Torn, Errno> {
        let mut bytes = vec![0u8; (end - granule * GRANULE) as usize];
        aside::with_file(|| {
            let own = sys::open(&anchor.link()?, rustix::fs::OFlags::RDONLY, 0)?;
            read_all(own.raw(), &mut bytes, granule * GRANULE)
        })?;
        Ok(Torn { granule, bytes })
    }
}

fn granules(range: &Range<u64>) -> (u64, u64) {
    (range.start / GRANULE, range.end.div_ceil(GRANULE))
}

impl Resident {
    /// The file behind an anchor.
    pub fn new(home: &'static Home, control: Control, pool: &'static Pool, opener: bool) -> Resident {
        if opener {
            control.register();
        }
        Resident {
            home,
            map: Spin::new(None),
            control,
            pool,
            anchor: Spin::new(None),
            ahead: Spin::new(Ahead::default()),
            opener,
            since: AtomicU64::new(0),
            sums: Spin::new(wild::Sums::default()),
        }
    }

    /// Its control file.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Its home.
    pub fn home(&self) -> &'static Home {
        self.home
    }

    /// Runs `f` with the control file's lock held.
    fn locked<T>(&self, f: impl FnOnce() -> T) -> Result<T, Errno> {
        // Whoever died holding it left every bit true: a granule is present only once its bytes are there, and dirty
        // from before they were.
        let _held = self.home.holders()?.lock(&self.control.head().lock)?;
        Ok(f())
    }

    /// The first run of granules within `range` that the store has and the anchor has not.
    #[inline]
    fn missing(&self, range: &Range<u64>) -> Option<(u64, u64)> {
        let home_len = self.control.head().home_len.load(Ordering::Acquire);
        let (from, to) = granules(&(range.start..range.end.min(home_len)));
        if from >= to || range.start >= home_len {
            None
        } else {
            self.control.run(Bit::Present, false, from, to)
        }
    }

    /// Whether all of `range` can be read from the anchor.
    #[inline]
    pub fn has(&self, range: Range<u64>) -> bool {
        self.missing(&range).is_none()
    }

    /// Runs a read of `range` of the anchor when its bytes are there, and again if some left meanwhile.
    pub fn reading<T>(
        self: &Arc<Self>,
        anchor: Anchor,
        range: Range<u64>,
        mut read: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let generation = &self.control.head().generation;
        loop {
            let before = generation.load(Ordering::Acquire);
            self.ensure(anchor, range.clone())?;
            let result = read();
            std::sync::atomic::fence(Ordering::Acquire);
            if generation.load(Ordering::Acquire) == before {
                return result;
            }
        }
    }

    /// Makes `range` present, and has fetched what the file's pattern of reads suggests will be asked for next.
    pub fn ensure(self: &Arc<Self>, anchor: Anchor, range: Range<u64>) -> Result<(), Errno> {
        let home_len = self.control.head().home_len.load(Ordering::Acquire);
        if range.start >= home_len {
            return Ok(());
        }
        let expected = self.ahead.lock().and_then(|mut a| a.next(&range, home_len));
        while self.missing(&range).is_some() {
            service::call(|| self.fetch(anchor, range.clone()))??;
        }
        if let Some(expected) = expected {
            let me = self.clone();
            // Without it the read comes when it is asked for.
            let _ = service::later(move || {
                for range in expected {
                    // A failure shows to whoever asks for the bytes.
                    let _ = me.fetch_known(range);
                }
            });
        }
        Ok(())
    }

    /// As [`Resident::fetch`], when the service has the anchor open already.
    fn fetch_known(&self, range: Range<u64>) -> Result<(), Errno> {
        let own = self.anchor.lock().and_then(|a| a.clone()).ok_or(Errno(libc::EBADF))?;
        self.fetch_own(&own, range)
    }

    /// Fetches what is missing of `range`. On a service thread.
    fn fetch(&self, anchor: Anchor, range: Range<u64>) -> Result<(), Errno> {
        let own = self.own_anchor(anchor)?;
        self.fetch_own(&own, range)
    }

    fn fetch_own(&self, own: &ServiceFd, range: Range<u64>) -> Result<(), Errno> {
        let store = self.home.store()?;
        while let Some((from, to)) = self.missing(&range) {
            self.fetch_run(&*store, own, from, to.min(from + BATCH / GRANULE))?;
        }
        self.home.make_room(self, own, range);
        Ok(())
    }

    /// Fetches the granules `from..to`.
    fn fetch_run(&self, store: &dyn Store, own: &ServiceFd, from: u64, to: u64) -> Result<(), Errno> {
        let head = self.control.head();
        let generation = head.generation.load(Ordering::Acquire);
        let home_len = head.home_len.load(Ordering::Acquire);
        let range = from * GRANULE..(to * GRANULE).min(home_len);
        if range.is_empty() {
            return Ok(());
        }
        let mut bytes = vec![0u8; (range.end - range.start) as usize];
        self.get(store, own, range.clone(), &mut bytes)?;
        if self.home.is_shared() && bytes.iter().all(|b| *b == 0) {
            // A hole, or a file that another node has removed while it was open here: zeros would be no data of its.
            self.home.still_named(self.control.id())?;
        }
        self.control.reserve(from, to)?;
        self.locked(|| {
            self.notice_cut(own.raw())?;
            // Written, cut or taken out meanwhile: what was fetched may be old. The caller looks again.
            if head.generation.load(Ordering::Acquire) != generation {
                return Ok(());
            }
            let times = sys::mtime_ns(own.raw())?;
            let end = range.end.min(head.home_len.load(Ordering::Acquire));
            let mut g = from;
            while let Some((a, b)) = self.control.run(Bit::Present, false, g, to) {
                let part = a * GRANULE..(b * GRANULE).min(end);
                if !part.is_empty() {
                    let at = (part.start - range.start) as usize;
                    let part_bytes = &bytes[at..at + (part.end - part.start) as usize];
                    write_sparse(own.raw(), part_bytes, part.start)?;
                }
                self.control.set(Bit::Present, a, b);
                g = b;
            }
            self.home.fetched(range.end - range.start);
            // Fetching is no change. (The time of change cannot be set back; semantics.md says so.)
            sys::set_mtime(own.raw(), times)
        })?
    }

    /// Reads `range` of the file from the store; what the store has not is zeros.
    fn get(
        &self,
        store: &dyn Store,
        own: &ServiceFd,
        range: Range<u64>,
        into: &mut [u8],
    ) -> Result<(), Errno> {
        if self.home.layout().is_whole() {
            return self.get_whole(store, own, range, into);
        }
        self.map()?.read(self.at(store), range.start, into).map_err(|e| told(&e))
    }

    /// Which objects the file's bytes are.
    fn map(&self) -> Result<Arc<Map>, Errno> {
        let id = self.control.id();
        let mut known = self.map.lock().ok_or(Errno(libc::EDEADLK))?;
        match known.as_ref() {
            Some((of, map)) if *of == id => Ok(map.clone()),
            _ => {
                let map = Arc::new(self.home.map_of(&self.control));
                *known = Some((id, map.clone()));
                Ok(map)
            }
        }
    }

    /// What the file's map needs to know of this node.
    fn at<'a>(&'a self, store: &'a dyn Store) -> At<'a> {
        At { store, turn: &self.control.head().turn }
    }

    /// Runs `write`, which changes the anchor's bytes within `range` (and gives how many, from its start), so that
    /// they are sent home some time.
    pub fn writing(
        self: &Arc<Self>,
        anchor: Anchor,
        range: Range<u64>,
        write: impl FnOnce() -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        if range.is_empty() {
            return write();
        }
        // File systems end here or before, and say so themselves; on one that does not, nobody could tell what is there.
        if range.start >= LONGEST {
            return Err(Errno(libc::EFBIG));
        }
        let range = range.start..range.end.min(LONGEST);
        let (from, to) = granules(&range);
        self.control.reserve(from, to)?;
        let mut write = Some(write);
        loop {
            // Granules that are written in part must be there before: what is not written of them stays.
            let edges = [from * GRANULE..range.start, range.end..to * GRANULE];
            let first = !edges[0].is_empty() && !self.has(edges[0].clone());
            let last = !edges[1].is_empty() && !self.has(edges[1].clone());
            for (needed, edge) in [(first, &edges[0]), (last, &edges[1])] {
                if needed {
                    service::call(|| self.fetch(anchor, edge.clone()))??;
                }
            }
            let mut torn = None;
            let written = self.locked(|| {
                if let Err(e) = self.notice_cut(anchor.fd) {
                    return Some(Err(e));
                }
                if !edges.iter().all(|e| e.is_empty() || self.has(e.clone())) {
                    return None;
                }
                self.control.set(Bit::Dirty, from, to);
                self.control.set(Bit::Again, from, to);
                self.control.head().flags.fetch_or(CHANGED, Ordering::AcqRel);
                let written = write.take().map_or(Ok(0), |w| w());
                if let Ok(n) = written {
                    // A granule that a short write left untouched is not present by it.
                    let end = (range.start + n as u64).min(range.end);
                    let covered = if end == range.end { to } else { end / GRANULE };
                    if covered > from {
                        self.control.set(Bit::Present, from, covered);
                    }
                    if covered < to {
                        torn = self.untouched(anchor, covered, to, end);
                    }
                } else {
                    let _ = self.untouched(anchor, from, to, range.start);
                }
                Some(written)
            })?;
            if let Some(written) = written {
                if let Some(torn) = torn {
                    self.mend(anchor, torn?)?;
                }
                if let Ok(n) = written {
                    self.send_early(anchor, n as u64);
                }
                return written;
            }
        }
    }

    /// After writes of many bytes: what fills whole batches is sent while the program goes on. A store of whole objects
    /// gets them when they are whole.
    fn send_early(self: &Arc<Self>, anchor: Anchor, written: u64) {
        if self.home.layout().is_whole() || self.since.fetch_add(written, Ordering::Relaxed) + written < EARLY
        {
            return;
        }
        self.since.store(0, Ordering::Relaxed);
        // A failure leaves the bytes dirty, and shows when the file is settled.
        let _ = self.settle_later(anchor);
    }

    /// Has the file sent home soon.
    pub fn settle_later(self: &Arc<Self>, anchor: Anchor) -> Result<(), Errno> {
        let own = service::call(|| self.own_anchor(anchor))??;
        let me = self.clone();
        service::later(move || {
            if let Err(e) = me.settle_here(&own) {
                log::say(1, || format!("sending a file home in the background: {e}; it is tried again"));
            }
        })
    }

    /// At the end of the process: sends home what is not there, through whatever is open of the file.
    pub fn settle_leaving(&self, fd: Option<i32>) -> Result<(), Errno> {
        if !self.is_unsettled() {
            return Ok(());
        }
        if let Some(fd) = fd {
            return self.settle(Anchor::here(fd));
        }
        let own = self.anchor.lock().and_then(|a| a.clone());
        own.map_or(Ok(()), |own| service::call(|| self.settle_here(&own))?)
    }

    /// Of the granules `from..to`, marked dirty, only bytes below `end` were written after all: what the anchor does
    /// not hold is not dirty. Gives what was written of a granule whose rest only the store has. With the lock held.
    fn untouched(&self, anchor: Anchor, from: u64, to: u64, end: u64) -> Option<Result<Torn, Errno>> {
        let mut torn = None;
        let mut g = from;
        while let Some((a, b)) = self.control.run(Bit::Present, false, g, to) {
            let mut first = a;
            if end > a * GRANULE {
                if self.has(end..(a + 1) * GRANULE) {
                    // The rest of it is no byte of the store's.
                    self.control.set(Bit::Present, a, a + 1);
                    first += 1;
                } else {
                    torn = Some(Torn::read(anchor, a, end));
                }
            }
            if first < b {
                self.control.clear(Bit::Dirty, first, b);
                self.control.clear(Bit::Again, first, b);
            }
            g = b;
        }
        torn
    }

    /// Puts what a short write left of a granule over what the store has of it.
    fn mend(&self, anchor: Anchor, torn: Torn) -> Result<(), Errno> {
        let (g, end) = (torn.granule, torn.granule * GRANULE + torn.bytes.len() as u64);
        self.control.reserve(g, g + 1)?;
        loop {
            service::call(|| self.fetch(anchor, g * GRANULE..(g + 1) * GRANULE))??;
            let done = self.locked(|| -> Result<bool, Errno> {
                self.notice_cut(anchor.fd)?;
                if !self.has(g * GRANULE..(g + 1) * GRANULE) {
                    return Ok(false);
                }
                // What was cut meanwhile was cut after the write.
                let size = sys::fstat(anchor.fd)?.st_size as u64;
                let len = size.min(end).saturating_sub(g * GRANULE) as usize;
                self.control.set(Bit::Dirty, g, g + 1);
                self.control.set(Bit::Again, g, g + 1);
                self.control.head().flags.fetch_or(CHANGED, Ordering::AcqRel);
                sys::write_own(anchor.fd, &torn.bytes[..len], g * GRANULE)?;
                self.control.set(Bit::Present, g, g + 1);
                Ok(true)
            })??;
            if done {
                return Ok(());
            }
        }
    }

    /// Something other than bytes of its granules changed: its length grew, its times, its mode.
    pub fn changed(&self) {
        self.control.head().flags.fetch_or(CHANGED, Ordering::AcqRel);
    }

    /// Brings all of the file into the anchor, which the kernel serves alone from now on; with `writable`, all of it
    /// is sent home from now on whenever the file settles.
    pub fn leave(&self, anchor: Anchor, writable: bool) -> Result<(), Errno> {
        let flag = if writable { LOOSE | WILD } else { LOOSE };
        // Before the bytes come: from here on none leaves the anchor.
        self.control.head().flags.fetch_or(flag, Ordering::AcqRel);
        let len = self.control.head().home_len.load(Ordering::Acquire);
        while self.missing(&(0..len)).is_some() {
            service::call(|| self.fetch(anchor, 0..len))??;
        }
        Ok(())
    }

    /// What was behind the store's bytes and is not any more reads as zeros in the anchor, which need not be fetched, and
    /// stay the holes that they are. With the lock held.
    fn keep_holes(&self, len: u64) -> Result<(), Errno> {
        let old = self.control.head().home_len.load(Ordering::Acquire);
        self.control.keep(old.div_ceil(GRANULE), len.div_ceil(GRANULE))
    }

    /// SEEK_DATA and SEEK_HOLE: what the anchor holds is told by it, and what the store holds counts as data.
    /// Leaves the descriptor's offset where it was.
    pub fn seek(&self, fd: i32, offset: u64, whence: i32) -> Result<u64, Errno> {
        let before = sys::tell(fd)?;
        let sought = self.sought(fd, offset, whence);
        sys::seek_to(fd, before)?;
        sought
    }

    fn sought(&self, fd: i32, offset: u64, whence: i32) -> Result<u64, Errno> {
        let len = sys::fstat(fd)?.st_size as u64;
        let data = whence == libc::SEEK_DATA;
        let nothing = if data { Err(Errno(libc::ENXIO)) } else { Ok(len) };
        if offset >= len {
            return Err(Errno(libc::ENXIO));
        }
        let mut at = offset;
        while at < len {
            let (from, to) = self.missing(&(at..len)).unwrap_or((u64::MAX / GRANULE, u64::MAX / GRANULE));
            if from * GRANULE <= at {
                if data {
                    return Ok(at);
                }
                at = to * GRANULE;
                continue;
            }
            match sys::seek_sparse(fd, at, whence) {
                Ok(found) if found < from * GRANULE => return Ok(found),
                Ok(_) | Err(Errno(libc::ENXIO)) => at = from * GRANULE,
                Err(e) => return Err(e),
            }
        }
        nothing
    }

    /// The anchor in the service's own table. On a service thread.
    fn own_anchor(&self, anchor: Anchor) -> Result<Arc<ServiceFd>, Errno> {
        let mut own = self.anchor.lock().ok_or(Errno(libc::EDEADLK))?;
        if let Some(fd) = own.as_ref() {
            return Ok(fd.clone());
        }
        let fd = Arc::new(ServiceFd::of(anchor)?);
        // Where the program may have few descriptors, so may the service, and the store needs some.
        if fd.raw() as u64 > sys::descriptor_limit() / 2 {
            return Ok(fd);
        }
        *own = Some(fd.clone());
        Ok(fd)
    }

    /// Gives the service's descriptor back: the program has closed its last.
    pub fn release(&self) {
        if let Some(mut own) = self.anchor.lock() {
            *own = None;
        }
    }
}

/// All that the anchor holds counts as new to the store: what is no hole, and holes where the store may have bytes.
pub(super) fn all_is_new(control: &Control, fd: i32, len: u64) -> Result<(), Errno> {
    let (end, offset) = (len.div_ceil(GRANULE), sys::tell(fd)?);
    control.keep(0, end)?;
    let mut at = 0;
    while let Some(data) = found(sys::seek_sparse(fd, at, libc::SEEK_DATA))?
        && data < len
    {
        let hole = found(sys::seek_sparse(fd, data, libc::SEEK_HOLE))?.unwrap_or(len).min(len);
        control.reserve(data / GRANULE, hole.div_ceil(GRANULE))?;
        at = hole;
    }
    control.soil(0, end);
    sys::seek_to(fd, offset).map(drop)
}

/// Where a seek found something, if there is anything.
fn found(sought: Result<u64, Errno>) -> Result<Option<u64>, Errno> {
    match sought {
        Ok(at) => Ok(Some(at)),
        Err(Errno(libc::ENXIO)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Fills `into` from `offset`; what lies behind the end is zeros.
fn read_all(fd: i32, into: &mut [u8], offset: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < into.len() {
        let rest = &mut into[done..];
        // SAFETY: the slice is that long.
        match unsafe { sys::pread(fd, rest.as_mut_ptr(), rest.len(), offset + done as u64) } {
            Ok(0) => {
                rest.fill(0);
                return Ok(());
            }
            Ok(n) => done += n,
            Err(Errno(libc::EINTR)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Makes a part of the anchor these bytes, leaving holes where pages are zeros.
fn write_sparse(fd: i32, from: &[u8], offset: u64) -> Result<(), Errno> {
    const PAGE: usize = 4096;
    let is_zero = |page: &[u8]| page.iter().all(|b| *b == 0);
    if !from.chunks(PAGE).any(is_zero) {
        return sys::write_own(fd, from, offset);
    }
    // Whoever died here before may have left bytes.
    sys::punch(fd, offset, from.len() as u64)?;
    let mut at = 0;
    while at < from.len() {
        let zeros: usize = from[at..].chunks(PAGE).take_while(|p| is_zero(p)).map(<[u8]>::len).sum();
        let bytes: usize = from[at + zeros..].chunks(PAGE).take_while(|p| !is_zero(p)).map(<[u8]>::len).sum();
        sys::write_own(fd, &from[at + zeros..at + zeros + bytes], offset + (at + zeros) as u64)?;
        at += zeros + bytes;
    }
    Ok(())
}
