//! What the files must hold, from the log of `writer.c`. Owns the model of its operations and the verdict: all
//! that returned is there, and of the one operation in flight any prefix.

use std::collections::BTreeMap;
use std::path::Path;

/// One operation of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    kind: u64,
    at: u64,
    len: u64,
    tag: u64,
}

const PWRITE: u64 = 0;
const APPEND: u64 = 1;
const FTRUNCATE: u64 = 2;
const CREATE: u64 = 4;
const FILL: u64 = 5;
const RENAME: u64 = 8;
const TRUNCATE: u64 = 10;
const CUT: u64 = 11;

const NAMES: [&str; 13] = [
    "pwrite",
    "append",
    "ftruncate",
    "fsync",
    "create new",
    "write new",
    "fsync new",
    "close new",
    "rename",
    "close and reopen",
    "truncate",
    "truncate appended",
    "wait",
];

impl Op {
    fn bytes(&self) -> Vec<u8> {
        let x = (self.tag as u32).wrapping_mul(2_654_435_761).wrapping_add(12345);
        (0..self.len as u32).map(|i| ((x.wrapping_add(i.wrapping_mul(40503)) >> 9) % 255 + 1) as u8).collect()
    }
}

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = NAMES.get(self.kind as usize).unwrap_or(&"?");
        write!(f, "{name} at {} length {} tag {}", self.at, self.len, self.tag)
    }
}

/// What a writer did.
#[derive(Debug)]
pub struct Log {
    /// Operations that returned.
    pub returned: Vec<Op>,
    /// The one that had begun.
    pub in_flight: Option<Op>,
}

impl Log {
    /// Reads the log of a dead writer.
    pub fn load(path: &Path) -> std::io::Result<Log> {
        let bytes = std::fs::read(path)?;
        let words: Vec<u64> =
            bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().expect("eight bytes"))).collect();
        if words.len() < 2 {
            // Killed while it made the log.
            return Ok(Log { returned: Vec::new(), in_flight: None });
        }
        let op = |i: usize| {
            let w = &words[2 + 4 * i..];
            Op { kind: w[0], at: w[1], len: w[2], tag: w[3] }
        };
        let (issued, returned) = (words[0] as usize, words[1] as usize);
        Ok(Log {
            returned: (0..returned).map(op).collect(),
            in_flight: (issued > returned).then(|| op(returned)),
        })
    }
}

/// Names and contents.
pub type Files = BTreeMap<String, Vec<u8>>;

fn file<'a>(files: &'a mut Files, name: &str) -> &'a mut Vec<u8> {
    files.entry(name.into()).or_default()
}

fn write(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    // Writing nothing changes nothing, not even a size.
    if bytes.is_empty() {
        return;
    }
    if to.len() < at + bytes.len() {
        to.resize(at + bytes.len(), 0);
    }
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Does one operation to the model; a write only as far as `prefix` bytes.
fn apply(files: &mut Files, op: &Op, prefix: usize) {
    let bytes = || op.bytes()[..prefix.min(op.len as usize)].to_vec();
    match op.kind {
        PWRITE => write(file(files, "data"), op.at as usize, &bytes()),
        FILL => write(file(files, "new"), op.at as usize, &bytes()),
        APPEND => file(files, "appended").extend(bytes()),
        FTRUNCATE | TRUNCATE => file(files, "data").resize(op.at as usize, 0),
        CUT => file(files, "appended").clear(),
        CREATE => file(files, "new").clear(),
        RENAME => {
            let new = files.remove("new").unwrap_or_default();
            files.insert("target".into(), new);
        }
        _ => {}
    }
}

/// What the writer's opens make before its first operation.
pub fn opened(files: &mut Files) {
    file(files, "data");
    file(files, "appended");
}

/// Applies what returned.
pub fn advance(files: &mut Files, log: &Log) {
    for op in &log.returned {
        apply(files, op, usize::MAX);
    }
}

/// Whether `seen` is what `before` became through the operation in flight, done wholly, in part or not at all.
pub fn judge(before: &Files, log: &Log, seen: &Files) -> Result<(), String> {
    let Some(op) = &log.in_flight else { return same(before, seen) };
    let nothing = match same(before, seen) {
        Ok(()) => return Ok(()),
        Err(e) => e,
    };
    let name = match op.kind {
        PWRITE => "data",
        FILL => "new",
        _ => "appended",
    };
    let at = if op.kind == APPEND { before.get(name).map_or(0, Vec::len) } else { op.at as usize };
    // The longest prefix that can be there; a shorter one that fits is the same bytes.
    let there = seen.get(name).and_then(|f| f.get(at..)).unwrap_or_default();
    let prefix = there.iter().zip(op.bytes()).take_while(|(a, b)| **a == *b).count();
    let mut after = before.clone();
    apply(&mut after, op, prefix);
    same(&after, seen)
        .map_err(|e| format!("in flight: {op}\n  without it: {nothing}\n  with {prefix} bytes of it: {e}"))
}

/// Says how two sets of files differ.
pub fn same(expected: &Files, seen: &Files) -> Result<(), String> {
    for name in expected.keys().chain(seen.keys()) {
        let (Some(e), Some(s)) = (expected.get(name), seen.get(name)) else {
            return Err(format!(
                "{name} is there: {}; expected: {}",
                seen.contains_key(name),
                expected.contains_key(name)
            ));
        };
        if e == s {
            continue;
        }
        let at = e.iter().zip(s).position(|(a, b)| a != b).unwrap_or(e.len().min(s.len()));
        let differ = e.iter().zip(s).filter(|(a, b)| a != b).count();
        return Err(format!(
            "{name}: {} bytes, expected {}; {differ} differ, the first at {at}: {:?}, expected {:?}",
            s.len(),
            e.len(),
            &s[at.min(s.len())..(at + 4).min(s.len())],
            &e[at.min(e.len())..(at + 4).min(e.len())],
        ));
    }
    Ok(())
}

/// The last operations on a file, for whoever reads a failure.
pub fn tail(log: &Log) -> String {
    let from = log.returned.len().saturating_sub(12);
    log.returned[from..].iter().enumerate().map(|(i, op)| format!("  {}: {op}\n", from + i)).collect()
}
