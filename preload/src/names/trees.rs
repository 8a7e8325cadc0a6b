//! fts: a walk whose state the program holds in its hands. glibc walks by the kernel's names; each entry shows the
//! program's while the program has it, and glibc's again when glibc goes on. Owns what is needed for that, one
//! record for each open walk that began under a virtual mount.

use crate::guard::of_program;
use crate::open::name;
use crate::paths::{HERE, How, found};
use ::engine::namespace::names::{self, Room};
use libc::{c_char, c_int, c_long, c_ushort, c_void};
use std::ffi::{CStr, CString};
use std::ptr::null_mut;
use std::sync::Mutex;

/// FTSENT, as far as its name begins.
#[repr(C)]
struct Entry {
    cycle: *mut Entry,
    parent: *mut Entry,
    link: *mut Entry,
    number: c_long,
    pointer: *mut c_void,
    access_path: *mut c_char,
    path: *mut c_char,
    error: c_int,
    descriptor: c_int,
    path_len: c_ushort,
    name_len: c_ushort,
    ino: u64,
    dev: u64,
    links: u64,
    level: i16,
    info: c_ushort,
    flags: c_ushort,
    instruction: c_ushort,
    st: *mut c_void,
    name: [c_char; 1],
}

/// One of the names that a walk began with.
struct Root {
    given: Vec<u8>,
    /// What follows the last slash of it.
    name: Vec<u8>,
    other: Vec<u8>,
}

/// The entry that the program has, and what glibc had in it.
struct Shown {
    entry: *mut Entry,
    path: *mut c_char,
    access_path: *mut c_char,
    path_len: c_ushort,
}

struct Tree {
    handle: *mut c_void,
    roots: Vec<Root>,
    shown: Option<Shown>,
    /// What `shown` points to.
    text: Vec<u8>,
}

// SAFETY: the pointers are the program's, used only within its own calls on that walk.
unsafe impl Send for Tree {}

static TREES: Mutex<Vec<Tree>> = Mutex::new(Vec::new());

/// FTS_COMFOLLOW and FTS_LOGICAL.
const FOLLOWED: c_int = 3;
/// FTS_ROOTLEVEL.
const ROOT: i16 = 0;

fn trimmed(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1)]
}

/// Takes the record of a walk out of the list.
fn taken(handle: *mut c_void) -> Option<Tree> {
    if !names::in_force() {
        return None;
    }
    let mut trees = TREES.lock().ok()?;
    let at = trees.iter().position(|t| t.handle == handle)?;
    Some(trees.swap_remove(at))
}

fn kept(tree: Tree) {
    if let Ok(mut trees) = TREES.lock() {
        trees.push(tree);
    }
}

/// fts_open round `real`, which takes the list of names.
pub fn opening(
    paths: *const *mut c_char,
    options: c_int,
    real: impl FnOnce(*const *mut c_char) -> *mut c_void,
) -> *mut c_void {
    if !names::in_force() || !of_program() || paths.is_null() {
        return real(paths);
    }
    let mut roots = Vec::new();
    let mut texts = Vec::new();
    let mut ours = false;
    // SAFETY: the program's list, which ends with a null.
    unsafe {
        for i in 0.. {
            let Some(path) = name(*paths.add(i)) else { break };
            let mut room = Room::new();
            let known = found(HERE, path, How::from(options & FOLLOWED != 0).with_all_below(), &mut room);
            ours |= known.is_some();
            let other = known.unwrap_or(path);
            roots.push(Root {
                given: trimmed(path.to_bytes()).to_vec(),
                name: path.to_bytes().rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec(),
                other: trimmed(other.to_bytes()).to_vec(),
            });
            texts.push(other.to_owned());
        }
    }
    if !ours {
        return real(paths);
    }
    let mut list: Vec<*mut c_char> = texts.iter().map(|t: &CString| t.as_ptr().cast_mut()).collect();
    list.push(null_mut());
    let handle = real(list.as_ptr());
    if !handle.is_null() {
        // The longest first: one root may lie in another.
        roots.sort_by_key(|r| std::cmp::Reverse(r.other.len()));
        kept(Tree { handle, roots, shown: None, text: Vec::new() });
    }
    handle
}

/// fts_read round `real`.
pub fn going_on(handle: *mut c_void, real: impl FnOnce() -> *mut c_void) -> *mut c_void {
    let Some(mut tree) = taken(handle) else {
        let entry = real();
        // Without FTS_NOCHDIR glibc moves.
        if names::in_force() {
            names::moved();
        }
        return entry;
    };
    tree.hide();
    let entry = real();
    names::moved();
    if !entry.is_null() {
        tree.show(entry.cast());
    }
    kept(tree);
    entry
}

/// fts_children round `real`: the entries have names and no paths.
pub fn looking(handle: *mut c_void, real: impl FnOnce() -> *mut c_void) -> *mut c_void {
    let Some(mut tree) = taken(handle) else { return real() };
    let before = tree.hide();
    let list = real();
    names::moved();
    if let Some(entry) = before {
        tree.show(entry);
    }
    kept(tree);
    list
}

/// fts_close round `real`.
pub fn closing(handle: *mut c_void, real: impl FnOnce() -> c_int) -> c_int {
    if let Some(mut tree) = taken(handle) {
        tree.hide();
    }
    let result = real();
    if names::in_force() {
        names::moved();
    }
    result
}

impl Tree {
    /// Puts glibc's own names back. Gives the entry that the program has.
    fn hide(&mut self) -> Option<*mut Entry> {
        let shown = self.shown.take()?;
        // SAFETY: glibc keeps the entry that it gave last until it goes on.
        unsafe {
            (*shown.entry).path = shown.path;
            (*shown.entry).access_path = shown.access_path;
            (*shown.entry).path_len = shown.path_len;
        }
        Some(shown.entry)
    }

    /// Puts the program's names in.
    fn show(&mut self, entry: *mut Entry) {
        // SAFETY: an entry that glibc has just given; its path is a C string.
        unsafe {
            let path = CStr::from_ptr((*entry).path).to_bytes();
            let below = |r: &&Root| {
                path.strip_prefix(r.other.as_slice()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
            };
            let Some(root) = self.roots.iter().find(below) else { return };
            self.text.clear();
            self.text.extend_from_slice(&root.given);
            self.text.extend_from_slice(&path[root.other.len()..]);
            let len = self.text.len();
            self.text.push(0);
            let text = self.text.as_mut_ptr().cast::<c_char>();
            self.shown = Some(Shown {
                entry,
                path: (*entry).path,
                access_path: (*entry).access_path,
                path_len: (*entry).path_len,
            });
            if (*entry).access_path == (*entry).path {
                (*entry).access_path = text;
            }
            (*entry).path = text;
            (*entry).path_len = len as c_ushort;
            // The name of a root stands where the whole of what glibc got had room.
            let last = &root.name;
            if (*entry).level == ROOT && last.len() <= root.other.len() {
                let name = (&raw mut (*entry).name).cast::<u8>();
                std::ptr::copy_nonoverlapping(last.as_ptr(), name, last.len());
                *name.add(last.len()) = 0;
                (*entry).name_len = last.len() as c_ushort;
            }
        }
    }
}
