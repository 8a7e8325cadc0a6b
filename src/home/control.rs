//! The control file of an anchor whose bytes live in a store: which granules of the file lie in the anchor, and
//! which of those are newer than the store. Owns the layout of that file and its head; its bits are [`bits`]'s, and what is
//! done about them is [`super::resident`]'s business.
//!
//! A control file is mapped shared by every process that has the file open, and never kept open. It is sparse: a page
//! of bits is reserved before it is first touched, because on a full file system a page fault is SIGBUS.

mod bits;

pub use bits::Bit;

use crate::errno::Errno;
use crate::sys;
use crate::tier0::process::Identity;
use rustix::fs::OFlags;
use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Bytes of a file that one bit stands for. Smaller costs a request to the store for each few pages that a program
/// reads; larger makes a program that reads here and there wait for bytes it does not want.
pub const GRANULE: u64 = 64 << 10;

/// "IRISCTL" and the version of the layout.
const MAGIC: u64 = u64::from_le_bytes(*b"IRISCTL\x03");
/// Bytes of the longest file: as ext4's.
pub const LONGEST: u64 = 1 << 44;
/// Where the bits begin.
const BITS: usize = 12288;
/// Granules of one group of words.
const GROUP: u64 = 64;
/// Bytes of one group: present, dirty, again, and one word unused.
const GROUP_BYTES: usize = 32;
/// Bytes of the bits of the longest file.
const BITS_BYTES: usize = (LONGEST / GRANULE / GROUP) as usize * GROUP_BYTES;
const PAGE: usize = 4096;
/// Granules whose bits lie in one page.
const PAGE_GRANULES: u64 = (PAGE / GROUP_BYTES) as u64 * GROUP;
/// What is mapped at first: the bits of 8 GiB of a file. A program may have many files open, and a limit on its address
/// space.
const NEAR: usize = BITS + (64 << 10);
/// What is mapped of longer files.
const MAP: usize = BITS + BITS_BYTES;
/// Words of the map of reserved pages.
const RESERVED_WORDS: usize = BITS_BYTES / PAGE / 64;

/// The file has changed in a way that its bits do not tell (its length, or it is new).
pub const CHANGED: u32 = 1;
/// The kernel reads the file where no hook sees it: none of it may leave the anchor.
pub const LOOSE: u32 = 2;
/// The kernel writes to the file where no hook sees it: all of it counts as dirty.
pub const WILD: u32 = 8;
/// The file has lost its last name: its objects go with the last process that has it open.
pub const UNLINKED: u32 = 4;

/// The file is being sent home, or whoever did that has died in it.
pub const SENDING: u32 = 32;

/// No name of this node's tree leads to the file any more, but in its store it may have one: bytes go on to be sent.
pub const NAMELESS: u32 = 64;

/// More processes had the file open than can be noted.
const CROWDED: u32 = 16;

/// No truncation since the file was last settled.
pub const NO_CUT: u64 = u64::MAX;

/// The head of a control file.
#[repr(C)]
pub struct Head {
    magic: AtomicU64,
    /// A lock of Tier 0's kind, around everything that changes bits and bytes together.
    pub lock: AtomicU64,
    /// Inode number and time of birth of the anchor, to tell it from its inode's next owner.
    ino: AtomicU64,
    born: AtomicU64,
    /// Counts removals of bytes from the anchor: a read that spans one must look again.
    pub generation: AtomicU64,
    /// Bytes from here on are not the store's: what is not present there reads as zeros.
    pub home_len: AtomicU64,
    /// Up to where the store may hold bytes of the file.
    pub stored_len: AtomicU64,
    /// The shortest length that the file has had since it was settled; [`NO_CUT`] when it was not cut.
    pub cut_at: AtomicU64,
    /// Held while the file is sent home, of which one runs at a time on the node.
    pub settle_lock: AtomicU64,
    /// [`CHANGED`], [`LOOSE`], [`WILD`], [`UNLINKED`], [`SENDING`], [`NAMELESS`].
    pub flags: AtomicU32,
    _pad: AtomicU32,
    /// The file's identity in its store.
    pub id: [AtomicU64; 2],
    /// The version that the store had when it was last looked at (Redis), or the hash of its tag (S3).
    pub version: AtomicU64,
    /// No bit was ever set for granules from here on.
    pub high: AtomicU64,
    /// Counts settlings, for those who wait for one.
    pub settled: AtomicU64,
    /// The cut that is being carried out in the store; [`NO_CUT`] when none is.
    pub cutting: AtomicU64,
    /// Counts changes of the file's map: what a process knows of it is looked at again.
    pub turn: AtomicU64,
    reserved: [AtomicU64; RESERVED_WORDS],
    /// Pages of bits that need none: all their granules are present, and holes.
    holes: [AtomicU64; RESERVED_WORDS],
    /// The store's tag of the whole object (S3): length and bytes.
    pub tag_len: AtomicU32,
    tag: [std::sync::atomic::AtomicU8; 124],
    /// Processes that have the file open: process id, and when it registered in tenths of a second since boot; 0 free.
    pub openers: [AtomicU64; 64],
    /// The tag of a version that others put while this node had bytes to send (S3); length and bytes.
    seen_len: AtomicU32,
    seen: [std::sync::atomic::AtomicU8; 124],
}

const _: () = assert!(std::mem::size_of::<Head>() <= BITS);

/// A text of at most so many bytes. Whoever changes it holds a lock; who reads it without compares twice what matters.
type Text = [std::sync::atomic::AtomicU8; 124];

fn text_of(len: &AtomicU32, text: &Text) -> Option<String> {
    let len = len.load(Ordering::Acquire) as usize;
    let bytes: Vec<u8> = text.iter().take(len).map(|b| b.load(Ordering::Relaxed)).collect();
    String::from_utf8(bytes).ok().filter(|t| !t.is_empty())
}

fn keep_text(len: &AtomicU32, text: &Text, new: Option<&str>) {
    let bytes = new.map_or(&b""[..], str::as_bytes);
    let bytes = if bytes.len() > text.len() { &b""[..] } else { bytes };
    len.store(0, Ordering::Release);
    for (to, from) in text.iter().zip(bytes) {
        to.store(*from, Ordering::Relaxed);
    }
    len.store(bytes.len() as u32, Ordering::Release);
}

fn lives(held: u64) -> bool {
    Identity { pid: (held >> 32) as u32, since_ms: u64::from(held as u32) * 100 }.alive()
}

/// What a control file says without being mapped.
#[derive(Clone, Copy, Debug)]
pub struct Peek {
    /// The file's identity in its store.
    pub id: [u64; 2],
    /// The version that the anchor is of.
    pub version: u64,
    /// As [`Head::flags`].
    pub flags: u32,
}

impl Peek {
    /// Looks at the control file at `path`; `None` unless it is that of the anchor with inode number `ino`, born at `born`.
    pub fn at(path: &CStr, ino: u64, born: u64) -> Option<Peek> {
        use std::mem::{offset_of, size_of};
        let fd = sys::open(path, OFlags::RDONLY | OFlags::NOFOLLOW, 0).ok()?;
        let mut head = [0u8; offset_of!(Head, high)];
        // SAFETY: the buffer is that long.
        let got = unsafe { sys::pread(fd.raw(), head.as_mut_ptr(), head.len(), 0) }.ok()?;
        let word = |at: usize| -> Option<u64> {
            Some(u64::from_le_bytes(head.get(at..at + size_of::<u64>())?.try_into().ok()?))
        };
        let other = |mine: u64, theirs: u64| mine != theirs && mine != 0 && theirs != 0;
        if got != head.len()
            || word(offset_of!(Head, magic))? != MAGIC
            || other(ino, word(offset_of!(Head, ino))?)
            || other(born, word(offset_of!(Head, born))?)
        {
            return None;
        }
        let id = offset_of!(Head, id);
        Some(Peek {
            id: [word(id)?, word(id + size_of::<u64>())?],
            version: word(offset_of!(Head, version))?,
            flags: word(offset_of!(Head, flags))? as u32,
        })
    }
}

/// A mapped control file.
pub struct Control {
    /// Its first [`NEAR`] bytes.
    map: *mut u8,
    /// All of it, where more was needed.
    all: AtomicPtr<u8>,
    path: std::ffi::CString,
    /// Device and inode number of the control file itself: another may have its name by now.
    file: (u64, u64),
}

// SAFETY: the mapping is shared memory, reached through atomics only, for as long as the value lives.
unsafe impl Send for Control {}
// SAFETY: as above.
unsafe impl Sync for Control {}

impl Drop for Control {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference into the mappings when their owner is dropped.
        unsafe {
            sys::unmap(self.map, NEAR);
            let all = self.all.load(Ordering::Acquire);
            if !all.is_null() {
                sys::unmap(all, MAP);
            }
        }
    }
}

/// What an open of a control file found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The anchor's own.
    Known,
    /// None, or that of an earlier owner of the inode: it is empty, with a fresh identity.
    Fresh,
}

impl Control {
    /// Maps the control file at `path` for the anchor with inode number `ino`, born at `born`; made where there is
    /// none. With `fresh` 0 a missing one is an error instead.
    pub fn open(path: &CStr, ino: u64, born: u64, fresh: [u64; 2]) -> Result<(Control, Found), Errno> {
        let make = fresh != [0, 0];
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | if make { OFlags::CREATE } else { OFlags::empty() };
        loop {
            let fd = sys::open(path, flags, 0o600)?;
            let _alone = sys::lock_exclusive(fd.raw())?;
            if !has_name(path, fd.raw())? {
                // It was removed between the open and the lock.
                continue;
            }
            let made = (sys::fstat(fd.raw())?.st_size as usize) < BITS;
            if made {
                if !make {
                    return Err(Errno(libc::ENOENT));
                }
                sys::reserve(fd.raw(), 0, BITS as u64)?;
            }
            let control = Control::map(path, fd.raw())?;
            let head = control.head();
            let same = |mine: u64, theirs: &AtomicU64| {
                let theirs = theirs.load(Ordering::Acquire);
                mine == theirs || mine == 0 || theirs == 0
            };
            if head.magic.load(Ordering::Acquire) == MAGIC && same(born, &head.born) && same(ino, &head.ino) {
                return Ok((control, Found::Known));
            }
            if !make {
                return Err(Errno(libc::ENOENT));
            }
            if !made && head.magic.load(Ordering::Acquire) != 0 {
                // An earlier file's, which may still be mapped: it keeps its own.
                sys::remove(path)?;
                continue;
            }
            head.ino.store(ino, Ordering::Relaxed);
            head.born.store(born, Ordering::Relaxed);
            head.cut_at.store(NO_CUT, Ordering::Relaxed);
            head.cutting.store(NO_CUT, Ordering::Relaxed);
            head.flags.store(0, Ordering::Relaxed);
            head.id[0].store(fresh[0], Ordering::Relaxed);
            head.id[1].store(fresh[1], Ordering::Relaxed);
            head.magic.store(MAGIC, Ordering::Release);
            return Ok((control, Found::Fresh));
        }
    }

    /// Removes the file, unless another has its name.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self) -> Result<(), Errno> {
        let fd = match sys::open(&self.path, OFlags::RDWR | OFlags::NOFOLLOW, 0) {
            Err(Errno(libc::ENOENT)) => return Ok(()),
            other => other?,
        };
        let st = sys::fstat(fd.raw())?;
        let _alone = sys::lock_exclusive(fd.raw())?;
        if (st.st_dev, st.st_ino) == self.file && has_name(&self.path, fd.raw())? {
            sys::remove(&self.path)?;
        }
        Ok(())
    }

    fn map(path: &CStr, fd: i32) -> Result<Control, Errno> {
        let st = sys::fstat(fd)?;
        let map = sys::map_shared(fd, NEAR, PAGE)?;
        let file = (st.st_dev, st.st_ino);
        Ok(Control { map, all: AtomicPtr::default(), path: path.to_owned(), file })
    }

    /// The file, open again.
    fn reopened(&self) -> Result<sys::OwnFd, Errno> {
        let fd = sys::open(&self.path, OFlags::RDWR | OFlags::NOFOLLOW, 0)?;
        let st = sys::fstat(fd.raw())?;
        if (st.st_dev, st.st_ino) == self.file { Ok(fd) } else { Err(Errno(libc::ESTALE)) }
    }

    /// All of it, mapped.
    #[cold]
    fn map_all(&self) -> Result<*mut u8, Errno> {
        let fd = self.reopened()?;
        let mine = sys::map_shared(fd.raw(), MAP, PAGE)?;
        let null = std::ptr::null_mut();
        Ok(match self.all.compare_exchange(null, mine, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => mine,
            Err(theirs) => {
                // SAFETY: this mapping was shown to nobody.
                unsafe { sys::unmap(mine, MAP) };
                theirs
            }
        })
    }

    /// Maps the control file at `path`, whosever it is.
    ///
    /// # Errors
    /// ENOENT also where there is a file that is no control file of this version.
    pub fn open_any(path: &CStr) -> Result<Control, Errno> {
        let fd = sys::open(path, OFlags::RDWR | OFlags::NOFOLLOW, 0)?;
        if (sys::fstat(fd.raw())?.st_size as usize) < BITS {
            return Err(Errno(libc::ENOENT));
        }
        let control = Control::map(path, fd.raw())?;
        if control.head().magic.load(Ordering::Acquire) == MAGIC {
            Ok(control)
        } else {
            Err(Errno(libc::ENOENT))
        }
    }

    /// The flags of the control file at `path`, without mapping it.
    pub fn flags_at(path: &CStr) -> Option<u32> {
        const AT: usize = std::mem::offset_of!(Head, flags);
        let fd = sys::open(path, OFlags::RDONLY | OFlags::NOFOLLOW, 0).ok()?;
        let mut head = [0u8; AT + 4];
        // SAFETY: the array is that long.
        let n = unsafe { sys::pread(fd.raw(), head.as_mut_ptr(), head.len(), 0) }.ok()?;
        let magic = u64::from_ne_bytes(*head.first_chunk()?);
        let flags = u32::from_ne_bytes(*head.last_chunk()?);
        (n == head.len() && magic == MAGIC).then_some(flags)
    }

    /// The file system that it lies on, and so does its anchor.
    pub fn device(&self) -> u64 {
        self.file.0
    }

    /// The anchor's inode number.
    pub fn ino(&self) -> u64 {
        self.head().ino.load(Ordering::Acquire)
    }

    /// When the anchor was born, in nanoseconds since 1970; 0 where the file system does not tell.
    pub fn born(&self) -> u64 {
        self.head().born.load(Ordering::Acquire)
    }

    /// The file's identity in its store.
    pub fn id(&self) -> [u64; 2] {
        let id = &self.head().id;
        [id[0].load(Ordering::Acquire), id[1].load(Ordering::Acquire)]
    }

    /// Whether the file of that name, which has the right inode number, is the anchor and no later file.
    pub fn is_of(&self, anchor: &std::path::Path) -> bool {
        let born = self.head().born.load(Ordering::Acquire);
        let Ok(name) = std::ffi::CString::new(anchor.as_os_str().as_bytes()) else { return false };
        let now = sys::birth_at(libc::AT_FDCWD, &name, self.ino());
        born == now || born == 0 || now == 0
    }

    /// Where it lies.
    pub fn path(&self) -> &CStr {
        &self.path
    }

    /// The head.
    #[inline]
    pub fn head(&self) -> &Head {
        // SAFETY: the mapping is at least a head long, page aligned, and all atomics.
        unsafe { &*self.map.cast::<Head>() }
    }

    /// Notes that this process has the file open. Where more have than there are places, objects of a file that is
    /// removed meanwhile are left to `iris fsck`.
    pub fn register(&self) {
        let pid = sys::pid();
        let value = u64::from(pid) << 32 | u64::from((sys::boot_ms() / 100 + 1) as u32);
        for place in &self.head().openers {
            let held = place.load(Ordering::Acquire);
            if (held >> 32 == u64::from(pid) || held == 0 || !lives(held))
                && place.compare_exchange(held, value, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                return;
            }
        }
        self.head().flags.fetch_or(CROWDED, Ordering::AcqRel);
    }

    /// Notes that this process has closed the file.
    pub fn unregister(&self) {
        let pid = u64::from(sys::pid());
        for place in &self.head().openers {
            let held = place.load(Ordering::Acquire);
            if held >> 32 == pid {
                let _ = place.compare_exchange(held, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }

    /// Whether some living process has the file open, as far as can be told.
    pub fn is_open(&self) -> bool {
        let head = self.head();
        head.flags.load(Ordering::Acquire) & CROWDED != 0
            || head.openers.iter().map(|p| p.load(Ordering::Acquire)).any(|held| held != 0 && lives(held))
    }

    /// Whether more processes had it open than could be noted, of which some may live, and none of those noted does.
    pub fn is_crowded(&self) -> bool {
        self.head().flags.load(Ordering::Acquire) & CROWDED != 0 && self.opener().is_none()
    }

    /// A living process that has the file open, if one is known.
    pub fn opener(&self) -> Option<u32> {
        let held = self.head().openers.iter().map(|p| p.load(Ordering::Acquire));
        held.filter(|h| *h != 0 && lives(*h)).map(|h| (h >> 32) as u32).next()
    }

    /// The tag kept for the whole object.
    pub fn tag(&self) -> Option<String> {
        let head = self.head();
        text_of(&head.tag_len, &head.tag)
    }

    /// Keeps a tag; one that is too long is not kept, and then never matches.
    pub fn set_tag(&self, tag: Option<&str>) {
        let head = self.head();
        keep_text(&head.tag_len, &head.tag, tag);
    }

    /// The tag of a version that others put while this node had bytes to send.
    pub fn seen(&self) -> Option<String> {
        let head = self.head();
        text_of(&head.seen_len, &head.seen)
    }

    /// Keeps such a tag, or that there is none.
    pub fn set_seen(&self, tag: Option<&str>) {
        let head = self.head();
        keep_text(&head.seen_len, &head.seen, tag);
    }

    /// Nothing of the version that the file was is left in it: it may be sent over what others have put meanwhile, as far
    /// as that was seen.
    pub fn forget_version(&self) {
        if let Some(seen) = self.seen() {
            self.set_tag(Some(&seen));
            self.set_seen(None);
        }
    }
}

/// Whether a name still leads to an open file.
fn has_name(path: &CStr, fd: i32) -> Result<bool, Errno> {
    let st = sys::fstat(fd)?;
    Ok(sys::statat(libc::AT_FDCWD, path, false)
        .is_ok_and(|now| (now.st_dev, now.st_ino) == (st.st_dev, st.st_ino)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    #[test]
    fn the_next_owner_of_an_inode_starts_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = CString::new(dir.path().join("c").as_os_str().as_bytes()).unwrap();
        let c = Control::open(&path, 7, 9, [1, 2]).unwrap().0;
        c.reserve(0, 64).unwrap();
        c.set(Bit::Present, 0, 10);
        assert_eq!(Control::open(&path, 7, 9, [5, 5]).unwrap().1, Found::Known);
        let (d, found) = Control::open(&path, 7, 10, [5, 5]).unwrap();
        assert_eq!(found, Found::Fresh);
        assert!(!d.has(Bit::Present, 3));
        assert_eq!(d.head().id[0].load(Ordering::Relaxed), 5);
    }
}
