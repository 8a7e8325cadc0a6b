//! Replay of recorded I/O through every mapper on a store: lines OP,OFFSET,SIZE. A trace that reads finds its file
//! filled; all its opens are of one file. Upkeep comes now and then, and counts.

use super::figures::Figures;
use super::files::{Failed, File, MAPPERS, WHOLE};
use super::median;
use crate::cli::say;
use iris_store::Store;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The largest file that is replayed, which lies in memory too.
const LARGEST: u64 = 4 << 30;

/// A request of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Whether it writes.
    pub write: bool,
    /// Where, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

/// Replays one.
pub fn measure(
    name: &str,
    store: &Arc<dyn Store>,
    trace: &Path,
    rounds: u32,
    figures: &mut Figures,
) -> Result<(), String> {
    let steps = load(trace)?;
    let short = name_of(trace);
    figures.table(&format!("trace {short} on {name}"), "MiB/s", true, Some(WHOLE));
    let bytes: u64 = steps.iter().map(|s| s.len).sum();
    for (who, mapper, whole) in MAPPERS {
        let mut all = Vec::new();
        for _ in 0..rounds {
            let spent = match replay(&steps, store, mapper, whole) {
                Ok(spent) => spent,
                Err(Failed::Refused(why)) => {
                    say::warn(&format!("{} through {who}: left out: {why}", trace.display()));
                    break;
                }
                Err(Failed::Wrong(why)) => return Err(format!("{} through {who}: {why}", trace.display())),
            };
            all.push(bytes as f64 / f64::from(1 << 20) / spent.as_secs_f64());
        }
        if !all.is_empty() {
            figures.add(&format!("{} requests", steps.len()), who, median(all));
        }
    }
    Ok(())
}

fn replay(steps: &[Step], store: &Arc<dyn Store>, mapper: &str, whole: bool) -> Result<Duration, Failed> {
    let mut file = File::new(store, mapper, whole)?;
    let filled = steps.iter().filter(|s| !s.write).map(|s| s.offset + s.len).max().unwrap_or(0);
    for at in (0..filled).step_by(4 << 20) {
        file.write(at, (4 << 20).min(filled - at), true)?;
    }
    let mut spent = Duration::ZERO;
    for (i, step) in steps.iter().enumerate() {
        spent += if step.write {
            file.write(step.offset, step.len, steps.get(i + 1).is_some_and(|s| s.write))?
        } else {
            file.read(step.offset, step.len)?
        };
        if i % 64 == 63 {
            spent += file.tidy_up()?;
        }
    }
    file.end()?;
    Ok(spent)
}

/// The requests of a trace in a file.
///
/// # Errors
/// What is wrong, with the file's name.
pub fn load(trace: &Path) -> Result<Vec<Step>, String> {
    let text = std::fs::read_to_string(trace).map_err(|e| format!("{}: {e}", trace.display()))?;
    parse(&text).map_err(|e| format!("{}: {e}", trace.display()))
}

/// What a trace is called in the tables.
pub fn name_of(trace: &Path) -> String {
    trace.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned())
}

/// Requests that fill a file for those of `steps` that read: the same ones, and what lies between them.
pub fn filling(steps: &[Step]) -> Vec<Step> {
    let mut reads: Vec<Step> =
        steps.iter().filter(|s| !s.write).map(|s| Step { write: true, ..*s }).collect();
    reads.sort_by_key(|s| s.offset);
    let mut filling = Vec::new();
    let mut end = 0;
    for step in reads {
        if step.offset > end {
            filling.push(Step { write: true, offset: end, len: step.offset - end });
        }
        if step.offset + step.len > end {
            end = step.offset + step.len;
            filling.push(step);
        }
    }
    filling
}

/// A trace as text.
pub fn text(steps: &[Step]) -> String {
    let line = |s: &Step| format!("{},{},{}\n", if s.write { "WRITE" } else { "READ" }, s.offset, s.len);
    steps.iter().map(line).collect()
}

/// The reads and writes of a trace. `Err` names the line that is none.
fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let wrong = |why: &str| format!("line {}: `{}`: {why}", i + 1, line.trim());
        let fields: Vec<&str> = line.trim().split(',').map(str::trim).collect();
        let [op, offset, len] = fields[..] else { return Err(wrong("not OP,OFFSET,SIZE")) };
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong("a number of bytes is needed"));
        let (offset, len) = (number(offset)?, number(len)?);
        let write = match op {
            "READ" => false,
            "WRITE" => true,
            "FOPEN" | "FCLOSE" | "LSEEK" => continue,
            _ => return Err(wrong("FOPEN, FCLOSE, LSEEK, READ or WRITE is needed")),
        };
        if offset.checked_add(len).is_none_or(|end| end > LARGEST) {
            return Err(wrong("only files of up to 4 GiB are replayed"));
        }
        if len > 0 {
            steps.push(Step { write, offset, len });
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_or_the_line_is_named() {
        let steps = parse("FOPEN,0,0\nLSEEK,0,8\nWRITE,8,4\n\nREAD, 0, 12\nFCLOSE,0,0\n").unwrap();
        assert_eq!(
            steps,
            [Step { write: true, offset: 8, len: 4 }, Step { write: false, offset: 0, len: 12 }]
        );
        for (text, words) in [
            ("WRITE,1", "line 1: `WRITE,1`: not OP,OFFSET,SIZE"),
            ("READ,0,1\nSEEK,0,1", "line 2: `SEEK,0,1`: FOPEN"),
            ("READ,0,x", "a number of bytes"),
            ("READ,18446744073709551615,9", "up to 4 GiB"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
