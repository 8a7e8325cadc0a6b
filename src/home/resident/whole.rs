//! A file that is one object of its name, which others may replace at any time. Owns reading the version that the anchor
//! is of and no other, and sending the file over that version and no other; so of two writers one is told.

use super::{Resident, read_all};
use crate::errno::Errno;
use crate::home::attributes::Attributes;
use crate::home::catalog::objects::version_of;
use crate::home::control::{Bit, CHANGED, GRANULE, NAMELESS, NO_CUT, UNLINKED, WILD};
use crate::home::{Gate, SMALL_OBJECT, ServiceFd, failed, xattrs};
use crate::log;
use crate::sys;
use iris_store::{Condition, Kind, ObjectFacts, Outcome, Part, Request, Source, Store, StoreError};
use std::ffi::CString;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// How often it is looked again where a name or a version has just changed.
const TRIES: u32 = 10;

/// Bytes that nobody wrote from which on the store copies them, although they are here.
const LONG: u64 = 8 << 20;

impl Resident {
    /// Reads `range` of the object from the store, of the version that the anchor is of.
    ///
    /// # Errors
    /// ESTALE where others have replaced or removed it.
    pub(super) fn get_whole(
        &self,
        store: &dyn Store,
        own: &ServiceFd,
        range: Range<u64>,
        into: &mut [u8],
    ) -> Result<(), Errno> {
        let mut tag = self.control.tag();
        for _ in 0..TRIES {
            let key = match self.home.key_of(own) {
                Err(Errno(libc::ENOENT)) => return Err(Errno(libc::ESTALE)),
                other => other?,
            };
            let got = match (&tag, store.versions()) {
                (Some(tag), Some(versions)) => versions.read_version(&key, tag, range.start, into),
                _ => get_any(store, &key, range.start, into),
            };
            match got {
                Ok(()) => return Ok(()),
                Err(e) if !is_another(&e) => return Err(failed(&e)),
                Err(_) => {}
            }
            let known = self.control.tag();
            if known != tag {
                // Sent, or renamed, since.
                tag = known;
            } else if self.home.key_of(own).is_ok_and(|now| now == key) {
                tag = match self.mine(store, &key)? {
                    Some(mine) => Some(mine),
                    None => return Err(replaced(store, &key, "it cannot be read any more")),
                };
            }
        }
        Err(Errno(libc::EBUSY))
    }

    /// The tag of the object, if this anchor was sent there: whoever did that may have died before it was noted.
    fn mine(&self, store: &dyn Store, key: &[u8]) -> Result<Option<String>, Errno> {
        let facts = head(store, key)?;
        let by = |f: &ObjectFacts| Attributes::from_meta(&f.meta).by == Some(self.control.id());
        Ok(facts.filter(by).and_then(|f| f.tag))
    }

    /// Sends the file. Whether it has a name to be sent under.
    ///
    /// # Errors
    /// ESTALE where others have replaced or removed the object since it was looked at.
    pub(super) fn send_whole(&self, store: &dyn Store, own: &ServiceFd, len: u64) -> Result<bool, Errno> {
        let head = self.control.head();
        // No directory on its way is moved meanwhile; who moves or removes the file itself waits for this to end.
        let _still = Gate::shared(self.home)?;
        for _ in 0..TRIES {
            let key = match self.home.key_of(own) {
                Err(Errno(libc::ENOENT)) => {
                    let flags = head.flags.fetch_or(CHANGED, Ordering::AcqRel);
                    if flags & NAMELESS == 0 {
                        return Ok(false);
                    }
                    log::say(1, || {
                        format!(
                            "{}: a file was removed by another client while it was open here; what was written to \
                             it has no name to be kept under",
                            store.place()
                        )
                    });
                    return Err(Errno(libc::ESTALE));
                }
                other => other?,
            };
            let tag = self.control.tag();
            match self.put_whole(store, own, &key, len, tag.as_deref()) {
                Ok(new) => {
                    self.control.set_tag(new.as_deref());
                    self.control.set_seen(None);
                    head.version.store(version_of(new.as_deref()), Ordering::Release);
                    head.cutting.store(NO_CUT, Ordering::Release);
                    self.locked(|| self.control.settle_bits(0, len.div_ceil(GRANULE)))?;
                    return Ok(true);
                }
                Err(Failure::Here(e)) => return Err(e),
                Err(Failure::Store(e)) if !is_another(&e) => return Err(failed(&e)),
                Err(Failure::Store(_)) => {}
            }
            if self.control.tag() != tag || self.home.key_of(own).is_ok_and(|now| now != key) {
                continue;
            }
            match self.mine(store, &key)? {
                // Whoever sent it died before that was noted.
                Some(mine) if Some(&mine) != tag.as_ref() => self.control.set_tag(Some(&mine)),
                _ => {
                    let what = "what was written here was not sent, and is kept on this node: copy it to another \
                                name, or open it with O_TRUNC to write it anew";
                    return Err(replaced(store, &key, what));
                }
            }
        }
        Err(Errno(libc::EBUSY))
    }

    /// Puts the object in the place of the version with `tag`; gives the tag that it has now.
    fn put_whole(
        &self,
        store: &dyn Store,
        own: &ServiceFd,
        key: &[u8],
        len: u64,
        tag: Option<&str>,
    ) -> Result<Option<String>, Failure> {
        // Nothing leaves the anchor: it was marked as being sent before the lock was taken to begin with it.
        let home_len = self.control.head().home_len.load(Ordering::Acquire);
        let anchor = [self.home.tree(), b"/", &key[self.home.layout().whole_key(b"").len()..]].concat();
        let anchor = CString::new(anchor).map_err(|_| Errno(libc::EINVAL))?;
        let says = Attributes::of(&sys::fstat(own.raw())?, xattrs::of(&anchor)?, Some(self.control.id()));
        let meta = says.to_meta();
        let condition = match (store.versions(), store.capabilities().put_if_match, tag) {
            (None, ..) => Condition::Always,
            (_, true, Some(tag)) => Condition::Tag(tag.to_owned()),
            (_, true, None) => Condition::Absent,
            (_, false, _) => {
                // The best that there is on such a server; it is not atomic.
                let there = head(store, key)?;
                if there.as_ref().and_then(|f| f.tag.as_deref()) != tag {
                    return Err(Failure::Store(another(store, key)));
                }
                Condition::Always
            }
        };
        if len <= SMALL_OBJECT {
            // All of it must be here: a put replaces the object.
            while let Some((from, to)) = self.missing(&(0..len)) {
                self.fetch_run(store, own, from, to)?;
            }
            let mut bytes = vec![0u8; len as usize];
            read_all(own.raw(), &mut bytes, 0)?;
            return match store.one(Request::Put { key, bytes: &bytes, condition, meta: &meta }) {
                Ok(Outcome::Put(tag)) => Ok(tag),
                Ok(_) => Ok(None),
                Err(e) => Err(Failure::Store(e)),
            };
        }
        let source = AnchorSource(own.raw());
        let parts = self.parts(key, &source, tag, len, home_len);
        let compose = store.compose().ok_or(Errno(libc::EFBIG))?;
        compose.compose(key, &parts, condition, &meta).map(|f| f.tag).map_err(Failure::Store)
    }

    /// The object's parts: what nobody wrote comes from the object itself where it is long or not here, the rest from the
    /// anchor.
    fn parts<'a>(
        &self,
        key: &'a [u8],
        source: &'a AnchorSource,
        tag: Option<&'a str>,
        len: u64,
        home_len: u64,
    ) -> Vec<Part<'a>> {
        let mut parts: Vec<Part<'a>> = Vec::new();
        let mut add = |existing: bool, range: Range<u64>| {
            let (offset, len) = (range.start, range.end - range.start);
            match parts.last_mut() {
                Some(Part::Bytes { len: before, .. }) if !existing => *before += len,
                Some(Part::Existing { len: before, .. }) if existing => *before += len,
                _ if existing => parts.push(Part::Existing { key, offset, len, tag }),
                _ => parts.push(Part::Bytes { source, offset, len }),
            }
        };
        let stored = home_len.min(len);
        let wild = self.control.head().flags.load(Ordering::Acquire) & WILD != 0;
        let mut at = 0;
        while at < stored {
            let g = at / GRANULE;
            let last = stored.div_ceil(GRANULE);
            let (from, to) = self.control.run(Bit::Dirty, false, g, last).unwrap_or((last, last));
            if from > g {
                let end = (from * GRANULE).min(stored);
                add(false, at..end);
                at = end;
                continue;
            }
            let clean = at..(to * GRANULE).min(stored);
            if clean.end - clean.start >= LONG && !wild {
                add(true, clean.clone());
            } else {
                let mut here = clean.start;
                while here < clean.end {
                    let (lacks, until) = self.missing(&(here..clean.end)).unwrap_or((u64::MAX / GRANULE, 0));
                    let gap = (lacks * GRANULE).min(clean.end);
                    if gap > here {
                        add(false, here..gap);
                    }
                    here = (until * GRANULE).min(clean.end).max(gap);
                    if here > gap {
                        add(true, gap..here);
                    }
                }
            }
            at = clean.end;
        }
        if stored < len {
            add(false, stored..len);
        }
        parts
    }

    /// The store has another version of the file, `len` bytes long: the anchor forgets what it holds, unless something in
    /// it is still to be sent. Whether it did.
    ///
    /// # Errors
    /// Those of cutting the anchor, which is open as `own`.
    pub fn replaced_by_version(&self, own: i32, len: u64, tag: Option<&str>) -> Result<bool, Errno> {
        self.replaced_if(own, len, tag, Some(version_of(tag)), |head| {
            head.flags.load(Ordering::Acquire) & (CHANGED | WILD | UNLINKED) == 0
        })
    }

    /// Fetches all that the store has of the file and this node has not: its object is about to go, and somebody here has
    /// it open. On a service thread.
    ///
    /// # Errors
    /// Those of fetching.
    pub fn fetch_rest(&self, own: &ServiceFd) -> Result<(), Errno> {
        let len = self.control.head().home_len.load(Ordering::Acquire);
        while self.missing(&(0..len)).is_some() {
            self.fetch_own(own, 0..len)?;
        }
        Ok(())
    }
}

/// What kept a file from being put.
enum Failure {
    Store(StoreError),
    Here(Errno),
}

impl From<Errno> for Failure {
    fn from(e: Errno) -> Failure {
        Failure::Here(e)
    }
}

/// Whether a request failed because the object is not the version that it was meant for.
fn is_another(e: &StoreError) -> bool {
    matches!(e.kind, Kind::Precondition | Kind::NotFound)
}

fn another(store: &dyn Store, key: &[u8]) -> StoreError {
    StoreError::new(Kind::Precondition, store.place(), Some(key), "it is not the version that was looked at")
}

fn replaced(store: &dyn Store, key: &[u8], what: &str) -> Errno {
    log::say(1, || {
        format!(
            "{}: object \"{}\": another client has replaced or removed it since it was opened here; {what}",
            store.place(),
            key.escape_ascii()
        )
    });
    Errno(libc::ESTALE)
}

fn head(store: &dyn Store, key: &[u8]) -> Result<Option<ObjectFacts>, Errno> {
    match store.one(Request::Head { key }) {
        Ok(Outcome::Facts(facts)) => Ok(Some(facts)),
        Ok(_) => Err(Errno(libc::EIO)),
        Err(e) if e.kind == Kind::NotFound => Ok(None),
        Err(e) => Err(failed(&e)),
    }
}

/// Reads from a store that tells no versions apart.
fn get_any(store: &dyn Store, key: &[u8], offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
    let len = into.len();
    match store.one(Request::Get { key, offset, into })? {
        Outcome::Read(n) if n >= len => Ok(()),
        _ => Err(another(store, key)),
    }
}

/// The anchor as the source of a long put.
struct AnchorSource(i32);

impl Source for AnchorSource {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        Ok(read_all(self.0, into, offset)?)
    }
}
