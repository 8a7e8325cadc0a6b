//! The virtual mounts in force, and where the working directory stands to them. Owns that knowledge; resolves
//! nothing.

use super::is_below;
use super::room::Room;
use crate::config::Mount;
use crate::sys;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// One virtual mount.
pub struct Virtual {
    /// The prefix as programs see it.
    pub prefix: Vec<u8>,
    /// The real directory behind it.
    pub shadow: Vec<u8>,
}

/// All of them.
pub struct View {
    /// The longest prefix first.
    pub mounts: Vec<Virtual>,
    /// The same, the longest shadow first.
    by_shadow: Vec<usize>,
    /// One prefix lies in another.
    pub nested: bool,
    /// The kernel has something of its own at a prefix, which is hidden: a name that leads there by a link gives no
    /// error by which it would be noticed.
    pub hides: bool,
}

static VIEW: AtomicPtr<View> = AtomicPtr::new(std::ptr::null_mut());

/// The virtual mounts, if there are any: one load.
#[inline(always)]
pub fn view() -> Option<&'static View> {
    let view = VIEW.load(Ordering::Relaxed);
    // SAFETY: null, or from Box::leak.
    if view.is_null() { None } else { Some(unsafe { &*view }) }
}

/// Puts the virtual ones of `mounts` in force, for good.
pub fn install(mounts: &[Mount]) {
    if let Some(view) = View::of(mounts) {
        VIEW.store(Box::leak(Box::new(view)), Ordering::Release);
    }
}

/// No virtual mount is in force any more.
pub fn remove() {
    VIEW.store(std::ptr::null_mut(), Ordering::Release);
}

impl View {
    pub(super) fn of(mounts: &[Mount]) -> Option<View> {
        let virtual_one =
            |m: &Mount| Some(Virtual { prefix: m.root.clone(), shadow: m.shadow.as_ref()?.clone() });
        let mut mounts: Vec<Virtual> = mounts.iter().filter_map(virtual_one).collect();
        if mounts.is_empty() {
            return None;
        }
        mounts.sort_by_key(|m| std::cmp::Reverse(m.prefix.len()));
        let mut by_shadow: Vec<usize> = (0..mounts.len()).collect();
        by_shadow.sort_by_key(|i| std::cmp::Reverse(mounts[*i].shadow.len()));
        let nested = mounts.iter().any(|a| mounts.iter().any(|b| is_below(&a.prefix, &b.prefix)));
        let hides = mounts.iter().any(|m| Path::new(OsStr::from_bytes(&m.prefix)).symlink_metadata().is_ok());
        Some(View { mounts, by_shadow, nested, hides })
    }

    /// The nearest mount at or above a name as programs see it, and the rest of the name.
    #[inline]
    pub fn by_prefix<'p>(&self, path: &'p [u8]) -> Option<(usize, &'p [u8])> {
        self.mounts.iter().enumerate().find_map(|(i, m)| Some((i, below(path, &m.prefix)?)))
    }

    /// The same for a name that the kernel gave.
    pub fn by_shadow<'p>(&self, path: &'p [u8]) -> Option<(usize, &'p [u8])> {
        self.by_shadow.iter().find_map(|&i| Some((i, below(path, &self.mounts[i].shadow)?)))
    }

    /// Whether a prefix lies below this directory, as programs see it.
    fn leads_on(&self, directory: &[u8]) -> bool {
        self.mounts.iter().any(|m| directory == b"/" || is_below(&m.prefix, directory))
    }

    /// Where the working directory stands. `keep` says whether what is found may be kept for the process.
    pub fn standing(&self, keep: bool) -> Standing {
        match STANDING.load(Ordering::Relaxed) {
            _ if !keep || MOVES.load(Ordering::Relaxed) != 0 => self.look(),
            INSIDE => Standing::Inside,
            ABOVE => Standing::Above,
            OUTSIDE => Standing::Outside,
            _ => {
                let standing = self.look();
                STANDING.store(standing as u8, Ordering::Relaxed);
                standing
            }
        }
    }

    fn look(&self) -> Standing {
        let mut cwd = Room::new();
        let found = cwd.fill_with(|buf| sys::getcwd(buf).map(<[u8]>::len));
        match cwd.text() {
            // As natively, a directory that is gone leads nowhere. One with a name too long to be told may be
            // anywhere, and what is not told by its name is the kernel's.
            _ if found.is_err() => Standing::Outside,
            cwd if self.by_shadow(cwd).is_some() => Standing::Inside,
            cwd if self.leads_on(cwd) => Standing::Above,
            _ => Standing::Outside,
        }
    }
}

/// What follows `root` in `path`: nothing, or from a slash on.
#[inline]
fn below<'p>(path: &'p [u8], root: &[u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(root)?;
    (rest.is_empty() || rest[0] == b'/').then_some(rest)
}

/// Where the working directory stands to the virtual mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// Names from here cannot lead into one, but by links and `..`.
    Outside = OUTSIDE,
    /// Above one.
    Above = ABOVE,
    /// In one.
    Inside = INSIDE,
}

const OUTSIDE: u8 = 1;
const ABOVE: u8 = 2;
const INSIDE: u8 = 3;

/// The working directory's standing, 0 while not known.
static STANDING: AtomicU8 = AtomicU8::new(0);
/// Not 0: the working directory changes where no hook sees it, or threads have one each.
static MOVES: AtomicU8 = AtomicU8::new(0);

/// The working directory has changed.
pub fn moved() {
    STANDING.store(0, Ordering::Relaxed);
}

/// From now on the working directory may change at any time.
pub fn moves_unseen() {
    MOVES.store(1, Ordering::Relaxed);
}
