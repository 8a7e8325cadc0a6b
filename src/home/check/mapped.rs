//! Homes whose files are objects that a mapper chose: each object is of a file, by its key, and is known to that file's map
//! or to nobody.

use super::local::{self, Anchor, Known, Local};
use super::{CheckError, Doubt, Fate, Finding, How, Report, What};
use crate::errno::Errno;
use crate::home::catalog::{Names, ROOT, Type};
use crate::home::control::Control;
use crate::home::layout::{Keys, Layout, Part};
use crate::home::map::{At, Map, MapError, Verdict, carry};
use crate::home::{Home, id_text, mirror};
use crate::sys;
use iris_mappers::Object;
use iris_store::{ListRequest, Listed, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;

/// Keys of one page of a listing; where every page looks at all keys, few are better.
const PAGE: usize = 10_000;
const SCAN_PAGE: usize = 1_000_000;
/// Microseconds that a writer of another node has to complete what looks incomplete.
const PAUSE_US: u32 = 500_000;

type Id = [u64; 2];

/// The objects of one file.
#[derive(Default)]
struct Parts {
    /// Those with bytes of it, and how long they are.
    bytes: BTreeMap<Object, u64>,
    /// Those of its log.
    log: Vec<(Part, u64)>,
}

impl Parts {
    fn count(&self) -> u64 {
        (self.bytes.len() + self.log.len()) as u64
    }

    fn sum(&self) -> u64 {
        self.bytes.values().chain(self.log.iter().map(|(_, len)| len)).sum()
    }

    fn delete(&self, store: &dyn Store, keys: &Keys) -> Result<(), String> {
        // The log last: as long as it is there, what is left of the rest is known to be of such a file.
        let bytes = self.bytes.keys().map(|o| keys.object(*o));
        let log = self.log.iter().map(|(part, _)| keys.of(*part));
        carry::delete_keys(store, bytes.chain(log)).map_err(|e| e.to_string())
    }
}

/// A file with a name.
struct File {
    name: Vec<u8>,
    len: u64,
    /// Up to where the store may hold bytes of it.
    end: u64,
}

/// One look at one home.
struct Look {
    home: &'static Home,
    store: std::sync::Arc<dyn Store>,
    how: How,
    found: BTreeMap<Id, Parts>,
    report: Report,
}

impl Look {
    /// Lists the objects.
    fn begin(home: &'static Home, how: How) -> Result<Look, CheckError> {
        let store = home.store_to_check()?;
        let mut look =
            Look { home, store: store.clone(), how, found: BTreeMap::new(), report: Report::default() };
        let Layout::Mapped { prefix, .. } = home.layout() else { return Ok(look) };
        let limit = if store.capabilities().list_scans { SCAN_PAGE } else { PAGE };
        let mut after = Vec::new();
        loop {
            let page = store.list(&ListRequest { prefix, after: &after, delimiter: None, limit })?;
            for entry in page.entries {
                if let Listed::Object(key, facts) = entry {
                    look.note(key, facts.len);
                }
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok(look),
            }
        }
    }

    fn note(&mut self, key: Vec<u8>, len: u64) {
        self.report.objects += 1;
        match self.home.layout().parse(&key) {
            Some((id, Part::Bytes(object))) => {
                self.found.entry(id).or_default().bytes.insert(object, len);
            }
            Some((id, part)) => self.found.entry(id).or_default().log.push((part, len)),
            None => {
                let foreign = Finding::new(What::Foreign, Fate::Told).under(key);
                self.report.findings.push(foreign.counting(1, len));
            }
        }
    }

    fn keys(&self, id: Id) -> Keys {
        self.home.layout().keys(id)
    }

    /// Objects of a file that there is not.
    fn orphan(&mut self, id: Id, parts: &Parts, doubt: Option<Doubt>) {
        let keys = self.keys(id);
        let go = || parts.delete(&*self.store, &keys);
        let fate = match doubt {
            None => self.how.fate(go),
            // The one that can be sworn away.
            Some(Doubt::OtherNodes) => self.how.doubted(Doubt::OtherNodes, go),
            Some(doubt) => Fate::Kept(doubt),
        };
        let orphan =
            Finding::new(What::Orphan, fate).under(keys.start()).counting(parts.count(), parts.sum());
        self.report.findings.push(orphan);
    }

    /// Holds one file's map against its objects.
    fn judge(
        &self,
        id: Id,
        file: &File,
        objects: &BTreeMap<Object, u64>,
    ) -> Result<Result<Verdict, String>, CheckError> {
        let turn = AtomicU64::new(0);
        let map = Map::new(self.keys(id), self.home.layout().mapper());
        match map.check(At { store: &*self.store, turn: &turn }, file.len, file.end, objects) {
            Err(MapError::Store(e)) => Err(e.into()),
            Err(e) => Ok(Err(e.to_string())),
            Ok(verdict) => Ok(Ok(verdict)),
        }
    }

    /// Whether the first look at a file shows something.
    fn is_suspicious(&self, id: Id, file: &File) -> Result<bool, CheckError> {
        let none = BTreeMap::new();
        let objects = self.found.get(&id).map_or(&none, |p| &p.bytes);
        if objects.is_empty() && !self.keys(id).logged {
            return Ok(false);
        }
        Ok(!self.judge(id, file, objects)?.is_ok_and(|v| v == Verdict::default()))
    }

    /// The second look, which counts. `delete` tells what becomes of objects that nothing reads.
    fn look_again(
        &mut self,
        id: Id,
        file: &File,
        delete: impl FnOnce(How, &mut dyn FnMut() -> Result<(), String>) -> Fate,
    ) -> Result<(), CheckError> {
        let keys = self.keys(id);
        let listed: Vec<Object> =
            self.found.get(&id).map_or_else(Vec::new, |p| p.bytes.keys().copied().collect());
        let names: Vec<Vec<u8>> = listed.iter().map(|o| keys.object(*o)).collect();
        let lens = carry::lens(&*self.store, &names)?;
        let there = listed.into_iter().zip(lens).filter_map(|(o, len)| Some((o, len?))).collect();
        let verdict = match self.judge(id, file, &there)? {
            Ok(verdict) => verdict,
            Err(why) => {
                let damaged = Finding::new(What::Damaged(why), Fate::Told).under(keys.start());
                self.report.findings.push(damaged.of(&file.name));
                return Ok(());
            }
        };
        for key in verdict.lost {
            let lost = Finding::new(What::Lost, Fate::Told).under(key).counting(1, 0);
            self.report.findings.push(lost.of(&file.name));
        }
        if let Some(first) = verdict.unknown.first() {
            let bytes = verdict.unknown.iter().filter_map(|o| there.get(o)).sum();
            let mut go = || {
                let unknown = verdict.unknown.iter().map(|o| keys.object(*o));
                carry::delete_keys(&*self.store, unknown).map_err(|e| e.to_string())
            };
            let fate = delete(self.how, &mut go);
            let left = Finding::new(What::Leftover, fate).under(keys.object(*first)).of(&file.name);
            self.report.findings.push(left.counting(verdict.unknown.len() as u64, bytes));
        }
        Ok(())
    }
}

/// A home whose names are this node's tree: each file has a control file, which has its identity.
pub(super) fn check_own(home: &'static Home, how: How) -> Result<Report, CheckError> {
    let mut look = Look::begin(home, how)?;
    let local = Local::read(home, None, |controls| {
        let named: BTreeSet<Id> = controls.values().map(|c| c.id).collect();
        look.found.keys().any(|id| !named.contains(id)) || controls.values().any(is_stray)
    })?;
    let known: BTreeMap<Id, &Known> = local.controls.values().map(|c| (c.id, c)).collect();
    let orphans: Vec<Id> = look.found.keys().filter(|id| !known.contains_key(*id)).copied().collect();
    let strays = local.controls.values().any(is_stray);
    // What nobody claims may be that of an anchor whose control file is missing.
    let doubt = match (&local.unreadable[..], &local.unclaimed[..]) {
        _ if !local.at_rest => Some(Doubt::Restless),
        ([], []) => None,
        _ => Some(Doubt::Unclaimed),
    };
    if !orphans.is_empty() || strays {
        for anchor in &local.unclaimed {
            look.report.findings.push(Finding::new(What::Unclaimed, Fate::Told).of(&anchor.name));
        }
    }
    for id in orphans {
        if let Some(parts) = look.found.remove(&id) {
            look.orphan(id, &parts, doubt);
        }
    }
    let about = |c: &Known| match look.found.get(&c.id) {
        Some(p) => local::Objects { key: Some(look.keys(c.id).start()), count: p.count(), bytes: p.sum() },
        None => local::Objects::default(),
    };
    let clear =
        |c: &Known| look.found.get(&c.id).map_or(Ok(()), |p| p.delete(&*look.store, &look.keys(c.id)));
    let stray = local.strays(how, doubt, about, clear);
    look.report.findings.extend(stray);
    look.report.findings.extend(local.wrecks(how));
    for (known, anchor) in local.controls.values().filter_map(|c| Some((c, c.anchor.as_ref()?))) {
        look.report.files += 1;
        let file = of_anchor(known, anchor);
        if look.is_suspicious(known.id, &file)? {
            second_of_own(&mut look, known, file)?;
        }
    }
    Ok(look.report)
}

fn is_stray(known: &Known) -> bool {
    known.anchor.is_none() && !known.open
}

fn of_anchor(known: &Known, anchor: &Anchor) -> File {
    File { name: anchor.name.clone(), len: anchor.len, end: known.stored.max(anchor.len) }
}

/// Whoever sends a file holds its lock: what nothing reads while nobody sends is what somebody left.
fn second_of_own(look: &mut Look, known: &Known, file: File) -> Result<(), CheckError> {
    let failed = || CheckError::at(known.path.to_string_lossy().into_owned());
    // Gone since, or another file's.
    let Ok(control) = Control::open_any(&known.path) else { return Ok(()) };
    let holders = look.home.holders().map_err(failed())?;
    let Some(_alone) = holders.try_lock(&control.head().settle_lock).map_err(failed())? else {
        // It is being sent: what is incomplete will be complete.
        return Ok(());
    };
    let removed =
        control.head().flags.load(std::sync::atomic::Ordering::Acquire) & crate::home::control::UNLINKED != 0;
    if control.id() != known.id || removed {
        return Ok(());
    }
    let stored = control.head().stored_len.load(std::sync::atomic::Ordering::Acquire);
    let path = look.home.tree.iter().chain(b"/").chain(&file.name).copied().collect::<Vec<u8>>();
    let path = std::ffi::CString::new(path).map_err(|_| failed()(Errno(libc::EINVAL)))?;
    let len = match sys::statat(libc::AT_FDCWD, &path, false) {
        Ok(st) if st.st_ino == control.ino() => st.st_size as u64,
        // Renamed since; the length that is sent later is not sent now.
        _ => file.len,
    };
    let file = File { len, end: stored.max(len), ..file };
    look.look_again(known.id, &file, |how, go| how.fate(go))
}

/// A home whose names are in its store, for all nodes.
pub(super) fn check_shared(home: &'static Home, how: How) -> Result<Report, CheckError> {
    let mut look = Look::begin(home, how)?;
    let failed = || CheckError::at(format!("{}: the names of the home", look.store.place()));
    let catalog = home.catalog().and_then(|c| c.ok_or(Errno(libc::EOPNOTSUPP))).map_err(failed())?;
    let mut names = all_names(&*catalog).map_err(failed())?;
    let here = || CheckError::at(String::from_utf8_lossy(&home.controls).into_owned());
    let local = {
        let turn = home.turn().and_then(|t| t.take(home.holders()?)).map_err(here())?;
        let local = Local::read(home, Some(&turn), |_| false)?;
        // Its objects are judged by the names in the store.
        let strays = local.strays(how, None, |_| local::Objects::default(), |_| Ok(()));
        look.report.findings.extend(strays);
        look.report.findings.extend(local.wrecks(how));
        local
    };
    for known in local.controls.values() {
        if let Some(file) = names.get_mut(&known.id) {
            file.end = file.end.max(known.stored);
        }
    }
    let nameless: Vec<Id> = look.found.keys().filter(|id| !names.contains_key(*id)).copied().collect();
    for id in nameless {
        let Some(parts) = look.found.remove(&id) else { continue };
        // It may have been moved past the look at the names; and a process of this node sees to what it has open.
        let named = catalog
            .exists(&id_text(id))
            .map_err(|e| CheckError::at(format!("{}: the names of the home", look.store.place()))(e))?;
        if !named && !local.is_open(id) {
            look.orphan(id, &parts, Some(Doubt::OtherNodes));
        }
    }
    look.report.files = names.len() as u64;
    let mut suspicious = Vec::new();
    for (id, file) in names {
        if look.is_suspicious(id, &file)? {
            suspicious.push((id, file));
        }
    }
    if !suspicious.is_empty() {
        sys::nap(PAUSE_US);
    }
    for (id, file) in suspicious {
        second_of_shared(&mut look, &*catalog, &local, id, file)?;
    }
    Ok(look.report)
}

/// Another node may be sending the file now: what it is by now counts, and what nothing reads stays.
fn second_of_shared(
    look: &mut Look,
    catalog: &dyn Names,
    local: &Local,
    id: Id,
    file: File,
) -> Result<(), CheckError> {
    let place = format!("{}: the names of the home", look.store.place());
    let failed = || CheckError::at(place.clone());
    if !catalog.exists(&id_text(id)).map_err(failed())? {
        return Ok(());
    }
    let parts: Vec<&[u8]> = file.name.split(|b| *b == b'/').collect();
    let way = catalog.walk(&parts).map_err(failed())?;
    let now = way.last().filter(|i| way.len() == parts.len() + 1 && i.id == id_text(id));
    let len = now.map_or(file.len, |i| i.len);
    let file = File { len, end: file.end.max(len), name: file.name.clone() };
    let open = local.is_open(id);
    look.look_again(id, &file, |how, go| match open {
        true => Fate::Kept(Doubt::OtherNodes),
        false => how.doubted(Doubt::OtherNodes, go),
    })
}

/// Every file that has a name.
fn all_names(catalog: &dyn Names) -> Result<BTreeMap<Id, File>, Errno> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(ROOT.to_vec(), Vec::new())];
    while let Some((id, name)) = folders.pop() {
        let entries = match catalog.list(&id) {
            // Removed since.
            Err(Errno(libc::ENOTDIR)) => continue,
            other => other?,
        };
        for (entry, inode) in entries {
            let name = if name.is_empty() { entry } else { [&name[..], &entry].join(&b'/') };
            match inode.kind {
                Type::Dir => folders.push((inode.id, name)),
                Type::File => {
                    if let Some(id) = mirror::id_from(&inode.id) {
                        files.insert(id, File { name, len: inode.len, end: inode.len });
                    }
                }
                _ => {}
            }
        }
    }
    Ok(files)
}
