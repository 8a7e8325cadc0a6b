//! Names that several nodes share: what a call on a name does to the catalog in the store, and in which order with what the
//! kernel does to the tree. Owns that order; the calls come from the hooks with the kernel's own names, except for
//! [`look`].
//!
//! - A look asks the catalog and compares; only where the tree differs does it take the node's turn and bring it up.
//! - What changes a name takes the turn, so that no process of the node sees catalog and tree apart.
//! - A name is made by the kernel first, which knows all that may be wrong with it, and entered then; if another node was
//!   first, ours goes again and the call is made once more. A name is removed or moved in the catalog first.

use super::state::{self, Engine};
use crate::errno::Errno;
use crate::home::catalog::{Gone, Over};
use crate::home::gate::{Gate, Held as Kept};
use crate::home::holders::Held;
use crate::home::shadow::{STALE, Shadow};
use crate::home::{self, Home};
use crate::log;
use crate::namespace::names::{self, Asked, Room};
use crate::sys;
use rustix::fs::{Access, AtFlags, CWD, Stat};
use std::ffi::{CStr, CString, c_int, c_uint};
use std::sync::atomic::{AtomicBool, Ordering};

static ANY: AtomicBool = AtomicBool::new(false);

/// Some home's names are shared.
pub(super) fn install() {
    ANY.store(true, Ordering::Release);
}

/// Whether any home's names are shared: one load.
#[inline(always)]
pub fn any() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// What became of a call that changes names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the kernel's alone: make it.
    Yours,
    /// It was made; what the kernel said counts.
    Kernels,
    /// It has succeeded, whatever the kernel said.
    Done,
}

/// How much of what a name leads to is brought up to the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What lies on its way.
    Way,
    /// The entries of the directory that it leads to.
    Entries,
    /// All that is below.
    Below,
}

/// The kernel's call: `run` makes it and says whether it succeeded, `undo` takes back what it gave (a descriptor).
pub struct Call<'c> {
    /// Makes the call.
    pub run: &'c mut dyn FnMut() -> bool,
    /// Gives its result back, before it is made again or the whole fails.
    pub undo: &'c mut dyn FnMut(),
}

/// A name in a home.
struct Place {
    home: &'static Home,
    /// Relative to the home's tree.
    name: Vec<u8>,
    /// In the kernel's words.
    anchor: CString,
}

impl Place {
    /// Where a name that the kernel gets lies, if its home's names are shared.
    fn of(dir: c_int, path: &CStr) -> Option<Place> {
        let mut room = Room::new();
        names::absolute(Asked { dir, path, follow: false, makes: false, keep: false }, &mut room).ok()?;
        Place::at(room.text())
    }

    fn at(absolute: &[u8]) -> Option<Place> {
        let (home, rest) = home::shared_of(absolute)?;
        Some(Place { home, name: rest.to_vec(), anchor: CString::new(absolute).ok()? })
    }

    /// What the kernel refuses, or means otherwise, by the text of the name alone: its last part is none.
    fn is_odd(&self) -> bool {
        let name = self.name.as_slice();
        let end = name.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
        matches!(name[..end].rsplit(|b| *b == b'/').next().unwrap_or_default(), b"" | b"." | b"..")
    }

    fn slash(&self) -> bool {
        self.name.ends_with(b"/")
    }

    fn parent(&self) -> CString {
        let text = self.anchor.as_bytes();
        let end = text.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
        let end = text[..end].iter().rposition(|b| *b == b'/').unwrap_or(0);
        CString::new(&text[..end]).unwrap_or_default()
    }

    fn stat(&self) -> Result<Stat, Errno> {
        let text = self.anchor.as_bytes();
        let end = text.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
        let bare = CString::new(&text[..end]).map_err(|_| Errno(libc::EINVAL))?;
        sys::statat(libc::AT_FDCWD, &bare, false)
    }

    fn turn(&self) -> Result<Held<'static>, Errno> {
        let held = self.home.turn()?.take(self.home.holders()?)?;
        // What whoever had it before was killed in.
        self.home.finish_moves()?;
        Ok(held)
    }

    /// Holds the sending of a file back, where its name is its object's key ([`Held::file`]).
    fn hold(&self, engine: &Engine, st: &Stat, fetch: bool) -> Result<Option<Kept>, Errno> {
        if is_dir(st) {
            return Ok(None);
        }
        let pool = engine.pool().ok_or(Errno(libc::EAGAIN))?;
        Kept::file(self.home, pool, &self.anchor, st, fetch)
    }

    /// Holds the sending of all files back while a directory moves, where names are keys.
    fn hold_below(&self, st: &Stat) -> Result<Option<Gate>, Errno> {
        if is_dir(st) && self.home.layout().is_whole() { Gate::alone(self.home).map(Some) } else { Ok(None) }
    }

    /// Does something with the home's names, in the node's turn.
    fn with<T: Send>(
        &self,
        engine: &Engine,
        f: impl FnOnce(&Shadow<'_>) -> Result<T, Errno> + Send,
    ) -> Result<T, Errno> {
        with(engine, self.home, true, f).inspect_err(|e| self.tell(*e))
    }

    /// Says in the log what cannot be done about which name. (The store's own message says which server.)
    fn tell(&self, e: Errno) {
        if matches!(e.0, libc::ETIMEDOUT | libc::EACCES | libc::ENOSPC | libc::EIO | libc::EAGAIN) {
            let name = String::from_utf8_lossy(&self.name);
            log::say(1, || {
                format!(
                    "{name}: its names are in a store that cannot be asked ({e}); see the line before; when it \
                     answers again, so does the mount"
                )
            });
        }
    }
}

fn with<T: Send>(
    engine: &Engine,
    home: &'static Home,
    change: bool,
    f: impl FnOnce(&Shadow<'_>) -> Result<T, Errno> + Send,
) -> Result<T, Errno> {
    let pool = engine.pool().ok_or(Errno(libc::EAGAIN))?;
    let root = names::back(home.tree()).map_or(&b""[..], |(prefix, _)| prefix);
    home.with_shadow(pool, root, change, f)
}

/// Before the kernel looks a name of the program's up: the tree is made what the catalog says on its way. What was
/// looked at is left in `room`; `false`: nothing, it is under no such mount by its text.
pub fn look(asked: Asked<'_>, depth: Depth, room: &mut Room) -> Result<bool, Errno> {
    if !names::by_text(asked, room) {
        return Ok(false);
    }
    let Some(place) = Place::at(room.text()) else { return Ok(false) };
    looked(&place, depth).map(|()| true)
}

/// The same for a name that the kernel is about to get.
pub fn look_at(dir: c_int, path: &CStr, depth: Depth) -> Result<(), Errno> {
    Place::of(dir, path).map_or(Ok(()), |place| looked(&place, depth))
}

/// After a directory was opened: its entries are brought up.
pub fn opened(fd: c_int) {
    let mut buf = [0u8; 4096];
    let Ok(name) = sys::name_of(fd, &mut buf) else { return };
    let Some(place) = Place::at(name) else { return };
    if sys::fstat(fd).is_ok_and(|st| st.st_mode & libc::S_IFMT == libc::S_IFDIR) {
        // The open has succeeded; what cannot be asked is told by the next call on a name.
        let _ = looked(&place, Depth::Entries);
    }
}

fn looked(place: &Place, depth: Depth) -> Result<(), Errno> {
    let Some(engine) = state::engine() else { return Ok(()) };
    let look = |shadow: &Shadow<'_>| match depth {
        Depth::Way => shadow.look(&place.name),
        Depth::Entries => shadow.look_into(&place.name, false),
        Depth::Below => shadow.look_into(&place.name, true),
    };
    match with(engine, place.home, false, look) {
        Err(STALE) => {
            let _turn = place.turn()?;
            place.with(engine, look)
        }
        Err(e) => {
            place.tell(e);
            Err(e)
        }
        Ok(()) => Ok(()),
    }
}

/// An open that no hook will see is about to be made elsewhere (by a child, before it runs a program): what it would make
/// is made now, and counts as written where no hook sees it.
pub fn foresee(path: &CStr, flags: c_int, mode: u32) -> Result<(), Errno> {
    look_at(libc::AT_FDCWD, path, Depth::Way)?;
    let (Some(engine), Some(place)) = (state::engine(), Place::of(libc::AT_FDCWD, path)) else {
        return Ok(());
    };
    if flags & libc::O_CREAT != 0 && flags & libc::O_EXCL == 0 {
        let open = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::EXCL;
        let mut run = || sys::open(path, open, mode).is_ok();
        making(libc::AT_FDCWD, path, false, &mut Call { run: &mut run, undo: &mut || {} })?;
    }
    if flags & libc::O_ACCMODE != libc::O_RDONLY
        && let Ok(st) = place.stat()
        && st.st_mode & libc::S_IFMT == libc::S_IFREG
    {
        let pool = engine.pool().ok_or(Errno(libc::EAGAIN))?;
        let fd = sys::open(path, rustix::fs::OFlags::RDONLY, 0)?;
        place
            .home
            .resident(fd.raw(), pool, false)?
            .leave(crate::home::resident::Anchor::here(fd.raw()), true)?;
    }
    Ok(())
}

/// A call that makes a name. `fresh`: which one shows only afterwards (a template).
pub fn making(dir: c_int, path: &CStr, fresh: bool, call: &mut Call<'_>) -> Result<Outcome, Errno> {
    let (Some(engine), Some(place)) = (state::engine(), Place::of(dir, path)) else {
        return Ok(Outcome::Yours);
    };
    if place.is_odd() {
        return Ok(Outcome::Yours);
    }
    let turn = place.turn()?;
    match place.stat() {
        // Opens of fifos and devices wait, and nothing is made by them.
        Ok(st)
            if !fresh
                && !matches!(st.st_mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR | libc::S_IFLNK) =>
        {
            drop(turn);
            return Ok(Outcome::Yours);
        }
        Ok(_) if !fresh => {
            (call.run)();
            return Ok(Outcome::Kernels);
        }
        _ => {}
    }
    if !(call.run)() {
        return Ok(Outcome::Kernels);
    }
    let place = if fresh { Place::of(dir, path).ok_or(Errno(libc::EIO))? } else { place };
    match place.with(engine, |s| s.adopt(&place.name)) {
        Ok(true) => Ok(Outcome::Kernels),
        Ok(false) if fresh => {
            (call.undo)();
            Err(Errno(libc::EEXIST))
        }
        Ok(false) => {
            // Another node was first: the kernel now meets that one's.
            (call.undo)();
            (call.run)();
            Ok(Outcome::Kernels)
        }
        Err(e) => {
            (call.undo)();
            Err(e)
        }
    }
}

/// link(2) of any form: `from` may be anywhere.
pub fn linking(
    (from_dir, from, follow): (c_int, &CStr, bool),
    (to_dir, to): (c_int, &CStr),
    call: &mut Call<'_>,
) -> Result<Outcome, Errno> {
    let mut buf = [0u8; 4096];
    let source = match from.is_empty() {
        // With AT_EMPTY_PATH.
        true => sys::name_of(from_dir, &mut buf),
        false => sys::real_name(from_dir, from, follow, &mut buf),
    };
    let source = source.ok().and_then(Place::at);
    match (source, Place::of(to_dir, to)) {
        (None, None) => Ok(Outcome::Yours),
        (Some(a), Some(b)) if std::ptr::eq(a.home, b.home) => making(to_dir, to, false, call),
        (Some(_), _) => Err(Errno(libc::EXDEV)),
        // What is not there cannot be linked; what is there cannot be linked to here.
        (None, Some(_)) => match sys::statat(from_dir, from, follow) {
            Ok(st) if st.st_mode & libc::S_IFMT == libc::S_IFDIR => Err(Errno(libc::EPERM)),
            Ok(_) => Err(Errno(libc::EXDEV)),
            Err(e) => Err(e),
        },
    }
}

/// What a call removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removes {
    /// A file (unlink).
    File,
    /// A directory (rmdir).
    Directory,
    /// Either (remove).
    Either,
}

/// A call that removes a name.
pub fn removing(dir: c_int, path: &CStr, what: Removes, call: &mut Call<'_>) -> Result<Outcome, Errno> {
    let (Some(engine), Some(place)) = (state::engine(), Place::of(dir, path)) else {
        return Ok(Outcome::Yours);
    };
    if place.is_odd() {
        return Ok(Outcome::Yours);
    }
    let _turn = place.turn()?;
    let st = place.stat();
    let refused = |st: &Stat| match (is_dir(st), what) {
        (true, Removes::File) | (false, Removes::Directory) => true,
        (dir, _) => (place.slash() && !dir) || !may_remove(&place, st),
    };
    let Some(st) = st.ok().filter(|st| !refused(st)) else {
        // As the kernel says.
        (call.run)();
        return Ok(Outcome::Kernels);
    };
    if is_dir(&st) {
        // What others have removed from it is not in the way.
        place.with(engine, |s| s.look_into(&place.name, false))?;
        if sys::entries(&place.anchor).is_ok_and(|e| !e.is_empty()) {
            (call.run)();
            return Ok(Outcome::Kernels);
        }
        place.with(engine, |s| s.rmdir(&place.name))?;
    }
    let file = Leaving::of(&place, &st);
    let held = place.hold(engine, &st, true)?;
    let gone = if is_dir(&st) { None } else { place.with(engine, |s| s.unlink(&place.name))? };
    if !(call.run)() {
        drop(held);
        place.with(engine, |s| s.look(&place.name))?;
    }
    if let Some(gone) = gone {
        file.gone(engine, &gone);
    }
    Ok(Outcome::Done)
}

/// RENAME_NOREPLACE, RENAME_EXCHANGE.
const NEVER: c_uint = 1;
const EXCHANGE: c_uint = 2;

/// rename(2) of any form.
pub fn moving(
    (from_dir, from): (c_int, &CStr),
    (to_dir, to): (c_int, &CStr),
    flags: c_uint,
    call: &mut Call<'_>,
) -> Result<Outcome, Errno> {
    let Some(engine) = state::engine() else { return Ok(Outcome::Yours) };
    let (a, b) = match (Place::of(from_dir, from), Place::of(to_dir, to)) {
        (None, None) => return Ok(Outcome::Yours),
        (Some(a), Some(b)) if std::ptr::eq(a.home, b.home) => (a, b),
        (a, b) => {
            // Over the border of the mount. Directories that are not there come first.
            let there = |p: Option<Place>, dir, path: &CStr| match p {
                Some(p) => sys::statat(libc::AT_FDCWD, &p.parent(), true).map(drop),
                None => parent_of(dir, path),
            };
            there(a, from_dir, from)?;
            there(b, to_dir, to)?;
            return Err(Errno(libc::EXDEV));
        }
    };
    let over = match flags {
        0 => Over::Replace,
        NEVER => Over::Never,
        EXCHANGE => Over::Exchange,
        // RENAME_WHITEOUT, and what no kernel knows.
        _ => return Err(Errno(libc::EINVAL)),
    };
    if a.is_odd() || b.is_odd() {
        return Ok(Outcome::Yours);
    }
    let _turn = a.turn()?;
    let source = a.stat();
    let target = b.stat().ok();
    let refused = |st: &Stat| {
        (a.slash() || b.slash()) && !is_dir(st)
            || !may_remove(&a, st)
            || !may_change(&b.parent(), target.as_ref())
    };
    let Some(source) = source.ok().filter(|st| !refused(st)) else {
        (call.run)();
        return Ok(Outcome::Kernels);
    };
    if over == Over::Replace && is_dir(&source) && target.as_ref().is_some_and(is_dir) {
        a.with(engine, |s| s.look_into(&b.name, false))?;
    }
    let file = target.as_ref().filter(|t| !is_dir(t)).map(|t| Leaving::of(&b, t));
    let same = target.as_ref().is_some_and(|t| (t.st_dev, t.st_ino) == (source.st_dev, source.st_ino));
    // Nothing of what moves, or is replaced, is sent before catalog and tree say the same again.
    let all = a.hold_below(&source)?;
    let moved = a.hold(engine, &source, false)?;
    let over_it = match &target {
        Some(target) if !same && over != Over::Never => b.hold(engine, target, true)?,
        _ => None,
    };
    let gone = a.with(engine, |s| s.rename(&a.name, &b.name, over))?;
    let kept = (call.run)();
    a.home.move_ends();
    drop((all, moved, over_it));
    if !kept {
        a.with(engine, |s| s.look(&b.name).and_then(|()| s.look(&a.name)))?;
    }
    match (gone, file) {
        (Some(gone), Some(file)) if !same => file.gone(engine, &gone),
        (Some(gone), _) => a.home.forget_objects(&gone),
        (None, _) => {}
    }
    Ok(Outcome::Done)
}

/// A call that changes modes, owners, times or (with `attributes`) extended attributes by name.
pub fn changing(
    dir: c_int,
    path: &CStr,
    follow: bool,
    attributes: bool,
    call: &mut Call<'_>,
) -> Result<Outcome, Errno> {
    Place::of(dir, path).map_or(Ok(Outcome::Yours), |place| published(&place, follow, attributes, call))
}

/// The same by descriptor.
pub fn changing_open(fd: c_int, attributes: bool, call: &mut Call<'_>) -> Result<Outcome, Errno> {
    let mut buf = [0u8; 4096];
    let Ok(name) = sys::name_of(fd, &mut buf) else { return Ok(Outcome::Yours) };
    let Some(place) = Place::at(name) else { return Ok(Outcome::Yours) };
    if sys::fstat(fd).is_ok_and(|st| st.st_nlink == 0) {
        return Ok(Outcome::Yours);
    }
    published(&place, false, attributes, call)
}

fn published(place: &Place, follow: bool, attributes: bool, call: &mut Call<'_>) -> Result<Outcome, Errno> {
    let Some(engine) = state::engine() else { return Ok(Outcome::Yours) };
    let _turn = place.turn()?;
    if (call.run)() {
        match place.with(engine, |s| s.publish(&place.name, follow, attributes)) {
            // It led out of the home, or another node has removed it since: nobody can tell.
            Ok(()) | Err(Errno(libc::EXDEV | libc::ENOENT)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(Outcome::Kernels)
}

/// A file that may be about to lose its last name.
struct Leaving {
    home: &'static Home,
    id: (u64, u64),
    born: u64,
    known: Option<Vec<u8>>,
}

impl Leaving {
    fn of(place: &Place, st: &Stat) -> Leaving {
        let born = sys::birth_at(libc::AT_FDCWD, &place.anchor, st.st_ino);
        let known = place.home.identity(st.st_ino, born).map(home::id_text);
        Leaving { home: place.home, id: (st.st_dev, st.st_ino), born, known }
    }

    /// It has: its objects go with the last process that has it open.
    fn gone(self, engine: &Engine, gone: &Gone) {
        // An object's name is its identity, and the tree has it.
        if self.home.layout().is_whole() || self.known.as_ref() == Some(&gone.id) {
            let open_here = engine.known_file(self.id).is_some_and(|f| f.has_descriptors());
            self.home.unlinked(self.id.1, self.born, open_here);
        } else {
            self.home.forget_objects(gone);
        }
    }
}

fn is_dir(st: &Stat) -> bool {
    st.st_mode & libc::S_IFMT == libc::S_IFDIR
}

/// Whether the kernel would let this user take the name away.
fn may_remove(place: &Place, st: &Stat) -> bool {
    may_change(&place.parent(), Some(st))
}

/// Whether the kernel would let this user change a directory, where what has the name now is `there`.
fn may_change(directory: &CStr, there: Option<&Stat>) -> bool {
    if rustix::fs::accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_err() {
        return false;
    }
    let me = rustix::process::geteuid();
    let (Some(st), Ok(dir)) = (there, sys::statat(libc::AT_FDCWD, directory, true)) else { return true };
    dir.st_mode & libc::S_ISVTX == 0 || me.is_root() || [st.st_uid, dir.st_uid].contains(&me.as_raw())
}

/// Whether the directory of a name that lies outside is there.
fn parent_of(dir: c_int, path: &CStr) -> Result<(), Errno> {
    let text = path.to_bytes();
    let end = text.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    let parent = match text[..end].iter().rposition(|b| *b == b'/') {
        Some(at) => CString::new(&text[..at.max(1)]),
        None => CString::new("."),
    };
    sys::statat(dir, &parent.map_err(|_| Errno(libc::EINVAL))?, true).map(drop)
}
