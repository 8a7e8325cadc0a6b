//! Judges the log of `register.c`: whether every word that was read, and what is left at the end, is what some
//! legal order of the writes explains. Owns the log's layout on this side and the argument for each verdict.
//!
//! Each 8-byte word is a register and each written value is unique, so one register's history is linearizable
//! exactly if (Gibbons and Korach 1997): no read precedes the write of its value; and, taking for each value the
//! zone between the earliest end and the latest start of the operations on it, no two forward zones overlap and
//! no backward zone lies inside a forward one.
#![allow(dead_code, reason = "each suite includes this module and none uses all of it")]

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const OPS: u64 = 4096;
const VALUES: u64 = 1 << 20;
const HEADER: u64 = 4096;
const RECORD: u64 = 40;
const WORKER: u64 = 24 + OPS * RECORD + VALUES * 8;
/// Workers that a log has room for.
pub const WORKERS: u64 = 8;
/// Bytes of the shadow that the workers of mode `disjoint` keep.
pub const SHADOW: usize = 1 << 20;

const WRITE: u32 = 1;
const READ: u32 = 2;
const APPEND: u32 = 3;

/// One operation.
#[derive(Clone, Debug)]
pub struct Record {
    worker: u64,
    op: u64,
    start: u64,
    /// The end of time when it never returned.
    end: u64,
    kind: u32,
    word: u64,
    words: u64,
    got: u64,
    at: u64,
    values: Vec<u64>,
}

impl Record {
    fn returned(&self) -> bool {
        self.end != u64::MAX
    }

    /// What it writes at a word; the counterpart of `value` in register.c.
    fn value(&self, word: u64) -> u64 {
        let low = (word as u32).wrapping_mul(2_654_435_761)
            ^ (self.op as u32).wrapping_mul(40503)
            ^ (self.worker as u32).wrapping_mul(0x0100_0193);
        (self.worker + 1) << 56 | self.op << 32 | u64::from(low)
    }
}

/// A log.
pub struct History {
    records: Vec<Record>,
    /// Operations that returned.
    pub returned: usize,
    /// Process ids of the workers.
    pub pids: Vec<i32>,
}

fn u64s(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().expect("eight bytes"))).collect()
}

fn read_u64s(file: &File, at: u64, count: u64) -> std::io::Result<Vec<u64>> {
    let mut bytes = vec![0; count as usize * 8];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u64s(&bytes))
}

impl History {
    /// Reads a log whose writers have all gone.
    pub fn load(path: &Path) -> std::io::Result<History> {
        let file = File::open(path)?;
        let mut history = History { records: Vec::new(), returned: 0, pids: Vec::new() };
        for worker in 0..WORKERS {
            let at = HEADER + worker * WORKER;
            let head = read_u64s(&file, at, 3)?;
            history.pids.push(head[2] as u32 as i32);
            let raw = read_u64s(&file, at + 24, head[0] * RECORD / 8)?;
            let values = read_u64s(&file, at + 24 + OPS * RECORD, head[1])?;
            for (op, r) in raw.chunks_exact(5).enumerate() {
                let (kind, word, words, got) = (r[2] as u32, r[2] >> 32, r[3] as u32 as u64, r[3] >> 32);
                // Announced, but killed before it began; or a read of which nobody knows what it saw.
                if r[0] == 0 || kind == READ && r[1] == 0 {
                    continue;
                }
                let mut record = Record {
                    worker,
                    op: op as u64,
                    start: r[0],
                    end: r[1],
                    kind,
                    word,
                    words,
                    got,
                    at: r[4],
                    values: Vec::new(),
                };
                if record.end == 0 {
                    record.end = u64::MAX;
                } else {
                    history.returned += 1;
                }
                if kind == READ {
                    record.values = values[r[4] as usize..(r[4] + words) as usize].to_vec();
                }
                history.records.push(record);
            }
        }
        Ok(history)
    }

    /// Judges overlapping reads and writes. `finals` are what later looks at the whole file saw, in their order.
    pub fn judge_registers(&self, finals: &[&[u8]]) -> Result<(), String> {
        let mut words: Vec<Vec<Event>> = Vec::new();
        let mut note = |word: u64, event: Event| {
            let word = word as usize;
            if words.len() <= word {
                words.resize_with(word + 1, Vec::new);
            }
            words[word].push(event);
        };
        for r in &self.records {
            for k in 0..if matches!(r.kind, WRITE | READ) { r.words } else { 0 } {
                let write = r.kind == WRITE;
                let value = if write { r.value(r.word + k) } else { r.values[k as usize] };
                let beyond = !write && k >= r.got;
                note(
                    r.word + k,
                    Event { value, start: r.start, end: r.end, write, who: (r.worker, r.op), beyond },
                );
            }
        }
        let longest = words.len().max(finals.iter().map(|f| f.len().div_ceil(8)).max().unwrap_or(0));
        words.resize_with(longest, Vec::new);
        for (turn, bytes) in finals.iter().enumerate() {
            if bytes.len() % 8 != 0 {
                return Err(format!(
                    "look {turn} at the end: {} bytes, and only whole words were written",
                    bytes.len()
                ));
            }
            let late = u64::MAX / 2 + 4 * turn as u64;
            let mut seen = u64s(bytes);
            seen.resize(longest, 0);
            for (word, value) in seen.into_iter().enumerate() {
                let who = (u64::MAX, turn as u64);
                let beyond = word >= bytes.len() / 8;
                words[word].push(Event { value, start: late, end: late + 1, write: false, who, beyond });
            }
        }
        for (word, events) in words.iter().enumerate() {
            judge_word(events).map_err(|e| {
                let mut all = events.clone();
                all.sort_by_key(|e| e.start);
                let all: String = all.iter().map(|e| format!("\n  {e:x?}")).collect();
                format!("word {word} (byte {}): {e}{all}", word * 8)
            })?;
        }
        Ok(())
    }

    /// Judges the writes of a single process that was killed: the one in flight must be there as a prefix.
    pub fn judge_prefix(&self, last: &[u8]) -> Result<(), String> {
        let seen = u64s(last);
        for r in self.records.iter().filter(|r| r.kind == WRITE && !r.returned()) {
            let there: Vec<bool> =
                (0..r.words).map(|k| seen.get((r.word + k) as usize) == Some(&r.value(r.word + k))).collect();
            if there.windows(2).any(|w| !w[0] && w[1]) {
                return Err(format!(
                    "the write in flight, {} words at {}, is there in pieces",
                    r.words, r.word
                ));
            }
        }
        Ok(())
    }

    /// Judges a file that was only appended to.
    pub fn judge_appends(&self, file: &[u8]) -> Result<(), String> {
        let all: HashMap<(u64, u64), &Record> =
            self.records.iter().filter(|r| r.kind == APPEND).map(|r| ((r.worker, r.op), r)).collect();
        let words = u64s(file);
        let mut found = BTreeMap::new();
        let (mut at, mut latest) = (0usize, 0);
        while at < words.len() {
            let v = words[at];
            let id = ((v >> 56).wrapping_sub(1), v >> 32 & 0xff_ffff);
            let r = all.get(&id).ok_or(format!("byte {}: {v:016x} is nobody's record", at * 8))?;
            let length =
                (0..r.words as usize).take_while(|k| words.get(at + k) == Some(&r.value(*k as u64))).count();
            if length == 0 || length < r.words as usize && r.returned() {
                return Err(format!(
                    "byte {}: worker {} operation {} has {length} of {} words in one piece",
                    at * 8,
                    r.worker,
                    r.op,
                    r.words
                ));
            }
            if found.insert(id, at).is_some() {
                return Err(format!(
                    "byte {}: worker {} operation {} is there twice",
                    at * 8,
                    r.worker,
                    r.op
                ));
            }
            at += length;
            if r.returned() && r.at != 0 && r.at != at as u64 * 8 {
                return Err(format!(
                    "worker {} operation {} ended at {}, not at {}",
                    r.worker,
                    r.op,
                    at * 8,
                    r.at
                ));
            }
            if r.end < latest {
                return Err(format!(
                    "worker {} operation {} stands behind one begun after its end",
                    r.worker, r.op
                ));
            }
            latest = latest.max(r.start);
        }
        match all.values().find(|r| r.returned() && !found.contains_key(&(r.worker, r.op))) {
            Some(lost) => {
                Err(format!("worker {} operation {} is lost, {} words", lost.worker, lost.op, lost.words))
            }
            None => Ok(()),
        }
    }
}

/// The bytes that the workers of mode `disjoint` say there are.
pub fn shadow(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; SHADOW];
    File::open(path)?.read_exact_at(&mut bytes, HEADER + WORKERS * WORKER)?;
    Ok(bytes)
}

#[derive(Clone, Copy, Debug)]
struct Event {
    value: u64,
    start: u64,
    end: u64,
    write: bool,
    /// Worker and operation, for whoever reads a failure.
    who: (u64, u64),
    /// The read ended before this word.
    beyond: bool,
}

/// What is known of one value.
struct Zone {
    written: Option<(u64, u64)>,
    earliest_end: u64,
    latest_start: u64,
    read: Option<Event>,
}

fn judge_word(events: &[Event]) -> Result<(), String> {
    let mut zones: HashMap<u64, Zone> = HashMap::new();
    // Zeros were there before the first operation.
    zones.insert(0, Zone { written: Some((0, 0)), earliest_end: 0, latest_start: 0, read: None });
    for e in events {
        let zone = zones.entry(e.value).or_insert(Zone {
            written: None,
            earliest_end: u64::MAX,
            latest_start: 0,
            read: None,
        });
        zone.earliest_end = zone.earliest_end.min(e.end);
        zone.latest_start = zone.latest_start.max(e.start);
        if e.write {
            zone.written = Some((e.start, e.end));
        } else if zone.read.is_none_or(|r| e.end < r.end) {
            zone.read = Some(*e);
        }
    }
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    for (value, zone) in &zones {
        let Some((start, end)) = zone.written else {
            return Err(format!("{value:016x} was read, which nobody wrote"));
        };
        if let Some(read) = zone.read.filter(|r| r.end < start) {
            return Err(format!("{value:016x}, written from {start} on, was read at {read:?}"));
        }
        // A write that never returned and that nobody has seen need not have happened.
        if end == u64::MAX && zone.read.is_none() {
            continue;
        }
        if zone.earliest_end < zone.latest_start {
            forward.push((zone.earliest_end, zone.latest_start, *value));
        } else {
            backward.push((zone.latest_start, zone.earliest_end, *value));
        }
    }
    forward.sort_unstable();
    for pair in forward.windows(2) {
        if pair[1].0 < pair[0].1 {
            return Err(format!(
                "{:016x}, there at {}, was seen again at {}, although {:016x} was there from {} to {}",
                pair[0].2, pair[0].0, pair[0].1, pair[1].2, pair[1].0, pair[1].1
            ));
        }
    }
    for (start, end, value) in backward {
        let before = forward.partition_point(|f| f.0 < start);
        if let Some(around) = before.checked_sub(1).map(|i| forward[i]).filter(|f| end < f.1) {
            return Err(format!(
                "{value:016x}, written between {start} and {end}, was never seen, although older {:016x} was seen at {}",
                around.2, around.1
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(value: u64, start: u64, end: u64, write: bool) -> Event {
        Event { value, start, end, write, who: (0, 0), beyond: false }
    }

    #[test]
    fn legal_orders_are_accepted() {
        assert_eq!(judge_word(&[]), Ok(()));
        assert_eq!(judge_word(&[event(1, 1, 4, true), event(0, 2, 3, false), event(1, 5, 6, false)]), Ok(()));
        // Two writes at once: either may be the last, but only one of them.
        let both = [event(1, 1, 5, true), event(2, 2, 4, true)];
        for last in [1, 2] {
            assert_eq!(judge_word(&[both[0], both[1], event(last, 7, 8, false)]), Ok(()));
        }
        // In flight: seen or not.
        assert_eq!(judge_word(&[event(1, 1, u64::MAX, true), event(0, 7, 8, false)]), Ok(()));
        assert_eq!(judge_word(&[event(1, 1, u64::MAX, true), event(1, 7, 8, false)]), Ok(()));
    }

    #[test]
    fn illegal_orders_are_refused() {
        let lost = [event(1, 1, 2, true), event(0, 3, 4, false)];
        assert!(judge_word(&lost).is_err());
        let stale = [event(1, 1, 2, true), event(2, 3, 4, true), event(1, 5, 6, false)];
        assert!(judge_word(&stale).is_err());
        let early = [event(1, 5, 6, true), event(1, 1, 2, false)];
        assert!(judge_word(&early).is_err());
        let torn = [event(1, 5, 6, true), event(9, 7, 8, false)];
        assert!(judge_word(&torn).is_err());
        let both =
            [event(1, 1, 5, true), event(2, 2, 4, true), event(1, 7, 8, false), event(2, 9, 10, false)];
        assert!(judge_word(&both).is_err(), "one look sees one order, the next another");
        let gone = [event(1, 1, u64::MAX, true), event(1, 2, 3, false), event(0, 7, 8, false)];
        assert!(judge_word(&gone).is_err(), "a write that was seen cannot vanish");
    }
}
