//! What lies in a store for files whose Tier 0 is no more: sets whose node has started anew, or lost its pool. Owns finding
//! them from the store alone, taking them home, and deleting what nobody needs.

use super::super::flush::{ByName, Elsewhere, open_for_settling, write_fetched};
use super::super::writer::{Scatters, Writer};
use super::head::{self, Head};
use super::place::{self, FETCH, Place, told};
use crate::aside;
use crate::errno::Errno;
use crate::sys;
use crate::tier0::pool::Pool;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::atomic::Ordering;

/// Brings every set of this node to its end that no slot of `pool` knows: those of a pool that is gone go home, if
/// `wanted` says so of their names, and what means nothing is deleted. With `discard` what cannot go home is deleted
/// too. Sets of other nodes, and of living pools, are left alone. Names and outcomes.
///
/// # Errors
/// The store cannot be listed; it is logged.
pub fn recover(
    pool: &'static Pool,
    place: &'static Place,
    discard: bool,
    wanted: &dyn Fn(&[u8]) -> bool,
    elsewhere: Elsewhere<'_>,
) -> Result<Vec<(Vec<u8>, ByName)>, Errno> {
    let mut sets: BTreeMap<u64, Set> = BTreeMap::new();
    for key in place.keys().map_err(|e| told(&e))? {
        let Some((number, is_head)) = place::set_of(&key) else { continue };
        let set = sets.entry(number).or_default();
        set.has_head |= is_head;
        set.keys.push(key);
    }
    let mut outcomes = Vec::new();
    for (number, set) in sets {
        if is_known(pool, number) {
            continue;
        }
        if let Some((name, outcome)) = one(pool, place, number, &set, wanted, elsewhere) {
            let kept = matches!(outcome, ByName::Gone | ByName::Newer | ByName::Damaged);
            let given_up = kept && discard;
            let deleted = if given_up { set.delete(place, number) } else { Ok(()) };
            let outcome = match deleted {
                Err(e) => ByName::Failed(e),
                Ok(()) if given_up => ByName::Removed(0),
                Ok(()) => outcome,
            };
            outcomes.push((name, outcome));
        }
    }
    Ok(outcomes)
}

/// The objects of a set.
#[derive(Default)]
struct Set {
    has_head: bool,
    keys: Vec<Vec<u8>>,
}

impl Set {
    /// Its head first: what is left then means nothing.
    fn delete(&self, place: &Place, number: u64) -> Result<(), Errno> {
        let home = [place::home_key(number)];
        let deleted = place.delete_head(number).and_then(|()| place.delete_keys(&self.keys));
        deleted.and_then(|()| place.delete_keys(&home)).map_err(|e| told(&e))
    }
}

/// Whether a slot of the pool refers to a set.
fn is_known(pool: &Pool, set: u64) -> bool {
    pool.slots()
        .iter()
        .any(|s| s.spill_tried.load(Ordering::Acquire) != 0 && s.spill_set.load(Ordering::Acquire) == set)
}

/// What becomes of one set; `None` where it is no business of this pool's.
fn one(
    pool: &'static Pool,
    place: &'static Place,
    number: u64,
    set: &Set,
    wanted: &dyn Fn(&[u8]) -> bool,
    elsewhere: Elsewhere<'_>,
) -> Option<(Vec<u8>, ByName)> {
    if !set.has_head {
        // All of it is home; whoever was to delete it died.
        return set.delete(place, number).err().map(|e| (Vec::new(), ByName::Failed(e)));
    }
    let head = match place.head(number) {
        Ok(Some(bytes)) => match head::read(&bytes) {
            Some(head) => head,
            None => return Some((Vec::new(), ByName::Damaged)),
        },
        // Its owner took it home just now.
        Ok(None) => return None,
        Err(e) => return Some((Vec::new(), ByName::Failed(told(&e)))),
    };
    if !head.is_of_this_node() {
        return None;
    }
    if head.pool == pool.superblock().identity.load(Ordering::Relaxed) {
        // Its slot has forgotten it, or never counted it.
        if is_known(pool, number) {
            return None;
        }
        return set.delete(place, number).err().map(|e| (head.name, ByName::Failed(e)));
    }
    if !head.has_lost_its_pool() || !wanted(&head.name) {
        return None;
    }
    let count = (0..).take_while(|n| set.keys.binary_search(&place::key(number, *n)).is_ok()).count() as u32;
    let outcome = aside::with_file(|| take_home(place, number, count, &head, set, elsewhere));
    if !matches!(outcome, ByName::Settled(_)) {
        return Some((head.name, outcome));
    }
    let deleted = set.delete(place, number);
    Some((head.name, deleted.map_or_else(ByName::Failed, |()| outcome)))
}

/// Writes what a set holds into its file. Returns how many bytes.
fn take_home(
    place: &'static Place,
    number: u64,
    count: u32,
    head: &Head,
    set: &Set,
    elsewhere: Elsewhere<'_>,
) -> ByName {
    let is_it = |fd: &sys::OwnFd| {
        // A device's number may be another one after a start of the node.
        let is_inode = sys::fstat(fd.raw()).is_ok_and(|st| st.st_ino == head.id.1);
        is_inode && (head.born == 0 || sys::birth(fd.raw(), head.id.1) == head.born)
    };
    let open = |path: CString| match open_for_settling(&path) {
        Ok(fd) => Ok(Some(fd).filter(is_it)),
        Err(Errno(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(e) => Err(e),
    };
    let named = CString::new(head.name.clone()).map_or(Ok(None), open);
    let fd = match named {
        Ok(Some(fd)) => fd,
        Ok(None) => match elsewhere(head.id).map_or(Ok(None), open) {
            Ok(Some(fd)) => fd,
            Ok(None) => return ByName::Gone,
            Err(e) => return ByName::Failed(e),
        },
        Err(e) => return ByName::Failed(e),
    };
    let changed = match sys::mtime_ns(fd.raw()) {
        Ok(ns) => ns,
        Err(e) => return ByName::Failed(e),
    };
    // Whoever began to take it home has changed the file himself.
    let begun = set.keys.contains(&place::home_key(number));
    let mut to = Writer {
        fd: fd.raw(),
        flags: 0,
        own: None,
        resident: None,
        scatters: Scatters::No,
        past_limit: false,
    };
    let (mut bytes, mut written) = (0, 0);
    let fetch = |from: u32| place.fetch(number, from..count.min(from + FETCH)).map_err(|e| ByName::of(&e));
    // The last write of the set is in its last container.
    if let Some(last) = count.checked_sub(1) {
        match place.fetch(number, last..count) {
            Ok(fetched) => written = fetched.written_ns(),
            Err(e) => return ByName::of(&e),
        }
    }
    if !begun && changed > written {
        return ByName::Newer;
    }
    if let Err(e) = place.put_home(number) {
        return ByName::Failed(told(&e));
    }
    for from in (0..count).step_by(FETCH as usize) {
        let fetched = match fetch(from) {
            Ok(fetched) => fetched,
            Err(outcome) => return outcome,
        };
        bytes += fetched.len();
        if let Err(e) = write_fetched(&fetched, &mut to) {
            return ByName::Failed(e);
        }
    }
    // The time stays that of the flush where the file is not the user's own.
    let _ = sys::set_mtime(fd.raw(), written);
    ByName::Settled(bytes)
}
