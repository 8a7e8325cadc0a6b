//! One process that carries out the requests of traces on a file, natively or under Iris, times them, and compares every
//! byte it reads. Owns its words to whoever started it: a line of JSON.

use super::pattern;
use super::traces::{self, Step};
use crate::cli::say::Failure;
use clap::Args;
use serde_json::json;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Options of the hidden `iris replay`.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// The file
    file: PathBuf,
    /// Traces, carried out one after the other, the file closed after each
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// The first trace is only there to fill the file: it is not timed
    #[arg(long)]
    filled: bool,
}

/// Carries them out, and says how long it took: for each trace the nanoseconds of its requests, and of its close.
pub fn main(args: &ReplayArgs) -> Result<(String, ExitCode), Failure> {
    let mut model = Vec::new();
    let mut spent = Vec::new();
    let mut count = 0;
    for (i, trace) in args.traces.iter().enumerate() {
        let steps = traces::load(trace).map_err(|e| Failure::new(1, e))?;
        let (requests, close) = one(args, &steps, &mut model, &mut count).map_err(|e| Failure::new(1, e))?;
        if i > 0 || !args.filled {
            spent.push(
                json!({"requests_ns": requests.as_nanos() as u64, "close_ns": close.as_nanos() as u64}),
            );
        }
    }
    Ok((format!("{}\n", json!({"traces": spent, "len": model.len()})), ExitCode::SUCCESS))
}

fn one(
    args: &ReplayArgs,
    steps: &[Step],
    model: &mut Vec<u8>,
    count: &mut u64,
) -> Result<(Duration, Duration), String> {
    let failed = |what: &str, e: std::io::Error| format!("{}: {what}: {e}", args.file.display());
    let begin = Instant::now();
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&args.file);
    let file = file.map_err(|e| failed("opening", e))?;
    let mut spent = begin.elapsed();
    for step in steps {
        let (from, end) = (step.offset as usize, (step.offset + step.len) as usize);
        if step.write {
            *count += 1;
            let bytes = pattern(*count, step.len);
            let begin = Instant::now();
            file.write_all_at(&bytes, step.offset).map_err(|e| failed("writing", e))?;
            spent += begin.elapsed();
            if model.len() < end {
                model.resize(end, 0);
            }
            model[from..end].copy_from_slice(&bytes);
            continue;
        }
        let end = end.min(model.len());
        let mut bytes = vec![0; end.saturating_sub(from)];
        let begin = Instant::now();
        file.read_exact_at(&mut bytes, step.offset).map_err(|e| failed("reading", e))?;
        spent += begin.elapsed();
        if let Some(i) = bytes.iter().zip(&model[from.min(end)..end]).position(|(a, b)| a != b) {
            return Err(format!("{}: byte {} is wrong", args.file.display(), from + i));
        }
    }
    let begin = Instant::now();
    drop(file);
    Ok((spent, begin.elapsed()))
}
