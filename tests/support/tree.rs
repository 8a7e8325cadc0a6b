//! Comparing two directories: names, kinds, modes, owners, sizes, link counts, bytes, holes, targets of links and
//! extended attributes. Times are not compared (the programs check those that must be equal). Reads only.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

fn walk(root: &Path, at: &Path, into: &mut BTreeMap<PathBuf, Metadata>) {
    let entries = fs::read_dir(at).unwrap_or_else(|e| panic!("list {}: {e}", at.display()));
    for entry in entries {
        let path = entry.expect("read a directory").path();
        let meta = fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("stat {}: {e}", path.display()));
        let name = path.strip_prefix(root).expect("an entry lies below its root").to_path_buf();
        let is_dir = meta.is_dir();
        into.insert(name, meta);
        if is_dir {
            walk(root, &path, into);
        }
    }
}

fn kind(meta: &Metadata) -> &'static str {
    let t = meta.file_type();
    match () {
        () if t.is_file() => "file",
        () if t.is_dir() => "directory",
        () if t.is_symlink() => "link",
        () if t.is_fifo() => "fifo",
        () if t.is_socket() => "socket",
        () => "device",
    }
}

/// The pieces of a file that are not holes.
fn pieces(file: &File, size: u64) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < size {
        let seek = |from: u64, whence| {
            let from = i64::try_from(from).expect("a file offset");
            // SAFETY: lseek on a descriptor that `file` keeps open.
            unsafe { libc::lseek(file.as_raw_fd(), from, whence) }
        };
        let data = seek(at, libc::SEEK_DATA);
        let Ok(data) = u64::try_from(data) else { break };
        let hole = u64::try_from(seek(data, libc::SEEK_HOLE)).unwrap_or(size);
        found.push((data, hole.min(size)));
        at = hole;
    }
    found
}

fn all(file: &File, at: u64, buffer: &mut [u8]) -> usize {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) => panic!("read a file of the tree: {e}"),
        }
    }
    done
}

/// The first offset at which two files of one size differ, with both bytes there and the number of differing
/// bytes in that block.
fn first_difference(a: &File, b: &File, size: u64) -> Option<String> {
    let mut spans = pieces(a, size);
    spans.extend(pieces(b, size));
    spans.sort_unstable();
    let (mut x, mut y) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    let mut checked = 0;
    for (start, end) in spans {
        let mut at = start.max(checked);
        while at < end {
            let want = usize::try_from((end - at).min(x.len() as u64)).expect("at most the buffer");
            let (n, m) = (all(a, at, &mut x[..want]), all(b, at, &mut y[..want]));
            if n != want || m != want {
                return Some(format!("at {at} only {n} and {m} of {want} bytes could be read"));
            }
            if let Some(i) = (0..want).find(|i| x[*i] != y[*i]) {
                let show = |v: &[u8]| format!("{:02x?}", &v[i..(i + 8).min(want)]);
                let count = (i..want).filter(|i| x[*i] != y[*i]).count();
                let here = at + i as u64;
                return Some(format!(
                    "first differs at byte {here} (page {} + {}): {} / {}, {count} bytes differ in this block",
                    here / 4096,
                    here % 4096,
                    show(&x),
                    show(&y)
                ));
            }
            at += want as u64;
        }
        checked = checked.max(end);
    }
    None
}

fn attributes(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let name = CString::new(path.as_os_str().as_bytes()).expect("a path holds no zero");
    let mut list = vec![0u8; 65536];
    // SAFETY: `name` ends with a zero and `list` is writable for its length.
    let n = unsafe { libc::llistxattr(name.as_ptr(), list.as_mut_ptr().cast(), list.len()) };
    let mut found = BTreeMap::new();
    let Ok(n) = usize::try_from(n) else { return found };
    for key in list[..n].split(|b| *b == 0).filter(|k| !k.is_empty()) {
        let key = CString::new(key).expect("split at zeros");
        let mut value = vec![0u8; 65536];
        // SAFETY: both names end with a zero and `value` is writable for its length.
        let m =
            unsafe { libc::lgetxattr(name.as_ptr(), key.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        value.truncate(usize::try_from(m).unwrap_or(0));
        found.insert(OsString::from(String::from_utf8_lossy(key.as_bytes()).into_owned()), value);
    }
    found
}

/// What differs between two equal-looking entries.
fn entry(
    name: &str,
    (pa, a): (&Path, &Metadata),
    (pb, b): (&Path, &Metadata),
    holes: bool,
    say: &mut Vec<String>,
) {
    if kind(a) != kind(b) {
        say.push(format!("{name}: a {} / a {}", kind(a), kind(b)));
        return;
    }
    let mut number = |what: &str, x: u64, y: u64, octal: bool| {
        if x != y {
            say.push(match octal {
                true => format!("{name}: {what} {x:o} / {y:o}"),
                false => format!("{name}: {what} {x} / {y}"),
            });
        }
    };
    number("mode", a.mode().into(), b.mode().into(), true);
    number("owner", a.uid().into(), b.uid().into(), false);
    number("group", a.gid().into(), b.gid().into(), false);
    number("links", a.nlink(), b.nlink(), false);
    if a.is_file() {
        number("size", a.len(), b.len(), false);
        let open = |p: &Path| File::open(p).unwrap_or_else(|e| panic!("open {}: {e}", p.display()));
        let (fa, fb) = (open(pa), open(pb));
        if let Some(d) = first_difference(&fa, &fb, a.len().min(b.len())) {
            say.push(format!("{name}: {d}"));
        } else if a.len() == b.len() && holes {
            let (x, y) = (pieces(&fa, a.len()), pieces(&fb, b.len()));
            if x != y {
                let odd = (0..x.len().max(y.len())).find(|i| x.get(*i) != y.get(*i)).unwrap_or(0);
                say.push(format!("{name}: data pieces differ: {:?} / {:?}", x.get(odd), y.get(odd)));
            }
        }
    } else if a.file_type().is_symlink() {
        let (x, y) = (fs::read_link(pa).expect("read a link"), fs::read_link(pb).expect("read a link"));
        if x != y {
            say.push(format!("{name}: points to {} / {}", x.display(), y.display()));
        }
    }
    let (x, y) = (attributes(pa), attributes(pb));
    if x != y {
        say.push(format!("{name}: extended attributes {x:?} / {y:?}"));
    }
}

/// Every difference between two trees, as lines for a person; empty when they agree.
pub fn differences(a: &Path, b: &Path, holes: bool) -> Vec<String> {
    let (mut x, mut y) = (BTreeMap::new(), BTreeMap::new());
    walk(a, a, &mut x);
    walk(b, b, &mut y);
    let mut say = Vec::new();
    for name in x.keys().filter(|n| !y.contains_key(*n)) {
        say.push(format!("{}: only in the first", name.display()));
    }
    for name in y.keys().filter(|n| !x.contains_key(*n)) {
        say.push(format!("{}: only in the second", name.display()));
    }
    for (name, ma) in &x {
        if let Some(mb) = y.get(name) {
            let label = name.display().to_string();
            entry(&label, (&a.join(name), ma), (&b.join(name), mb), holes, &mut say);
        }
    }
    // Names of one file in one tree must be names of one file in the other.
    let groups = |t: &BTreeMap<PathBuf, Metadata>| -> Vec<Vec<PathBuf>> {
        let mut by_inode: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
        for (name, meta) in t.iter().filter(|(_, m)| m.is_file() && m.nlink() > 1) {
            by_inode.entry(meta.ino()).or_default().push(name.clone());
        }
        let mut all: Vec<_> = by_inode.into_values().collect();
        all.sort();
        all
    };
    let (gx, gy) = (groups(&x), groups(&y));
    if gx != gy {
        say.push(format!("hard links: {gx:?} / {gy:?}"));
    }
    say
}
