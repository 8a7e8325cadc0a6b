//! Scripts: what one case does, as values and as the text of a regression file. Owns the text format; does not
//! know what the operations mean (the driver does).

use std::fmt;
use std::str::FromStr;

/// One operation of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Which process: an index into those alive at that moment, wrapping round.
    pub process: usize,
    /// What it does.
    pub verb: String,
    /// With what.
    pub args: Vec<i64>,
}

impl Op {
    /// The line that the driver reads.
    pub fn line(&self) -> String {
        let mut line = self.verb.clone();
        for a in &self.args {
            line.push_str(&format!(" {a}"));
        }
        line
    }

    /// Whether it works on a stdio stream, whose buffer may hold bytes back.
    pub fn is_stdio(&self) -> bool {
        matches!(
            self.verb.as_str(),
            "fopen"
                | "fdopen"
                | "freopen"
                | "fclose"
                | "fwrite"
                | "fprintf"
                | "fputc"
                | "fread"
                | "fgets"
                | "fgetc"
                | "ungetc"
                | "fseek"
                | "ftell"
                | "fflush"
        )
    }
}

/// The circumstances of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Processes at the start.
    pub processes: usize,
    /// What lies in the directory at the start: 0 nothing, 1 a small file, 2 a large and a sparse one.
    pub initial: u64,
    /// How it ends: 0 all exit, 1 all are killed and the next open recovers, 2 killed and drained.
    pub ending: u64,
    /// Writes shorter than this are staged.
    pub threshold: u64,
    /// Bytes of the pool.
    pub memory: u64,
    /// Milliseconds after which the background flush comes.
    pub flush_ms: u64,
    /// Writes of a file that go straight to it before staging begins.
    pub warm_up: u64,
    /// Who sees what when: posix, session or relaxed.
    pub consistency: &'static str,
    /// When files settle: close, background or drain.
    pub settle: &'static str,
}

/// A case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its circumstances.
    pub setup: Setup,
    /// Its operations.
    pub ops: Vec<Op>,
}

/// The values of `consistency`.
pub const CONSISTENCY: [&str; 3] = ["posix", "session", "relaxed"];

fn one_of(names: &[&'static str], value: &str) -> Result<&'static str, String> {
    names.iter().find(|n| **n == value).copied().ok_or(format!("unknown: {value}"))
}

/// The values of `settle`.
pub const SETTLE: [&str; 3] = ["close", "background", "drain"];

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.setup;
        writeln!(
            f,
            "setup processes={} initial={} ending={} threshold={} memory={} flush_ms={} warm_up={} consistency={} settle={}",
            s.processes,
            s.initial,
            s.ending,
            s.threshold,
            s.memory,
            s.flush_ms,
            s.warm_up,
            s.consistency,
            s.settle
        )?;
        for op in &self.ops {
            writeln!(f, "{} {}", op.process, op.line())?;
        }
        Ok(())
    }
}

impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Script, String> {
        let mut setup = None;
        let mut ops = Vec::new();
        for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let mut words = line.split(' ');
            match words.next() {
                Some("setup") => setup = Some(parse_setup(words)?),
                Some(process) => ops.push(Op {
                    process: process.parse().map_err(|_| format!("no process: {line}"))?,
                    verb: words.next().ok_or(format!("no verb: {line}"))?.into(),
                    args: words
                        .map(|w| w.parse().map_err(|_| format!("no number: {line}")))
                        .collect::<Result<_, _>>()?,
                }),
                None => {}
            }
        }
        Ok(Script { setup: setup.ok_or("no setup line")?, ops })
    }
}

fn parse_setup<'a>(words: impl Iterator<Item = &'a str>) -> Result<Setup, String> {
    let mut setup = Setup {
        processes: 1,
        initial: 0,
        ending: 0,
        threshold: 65536,
        memory: 64 << 20,
        flush_ms: 1000,
        warm_up: 2,
        consistency: "posix",
        settle: "close",
    };
    for word in words {
        let (key, value) = word.split_once('=').ok_or(format!("no value: {word}"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("no number: {word}"));
        match key {
            "processes" => setup.processes = number()? as usize,
            "initial" => setup.initial = number()?,
            "ending" => setup.ending = number()?,
            "threshold" => setup.threshold = number()?,
            "memory" => setup.memory = number()?,
            "flush_ms" => setup.flush_ms = number()?,
            "warm_up" => setup.warm_up = number()?,
            "settle" => setup.settle = one_of(&SETTLE, value)?,
            "consistency" => setup.consistency = one_of(&CONSISTENCY, value)?,
            _ => return Err(format!("unknown: {word}")),
        }
    }
    Ok(setup)
}
