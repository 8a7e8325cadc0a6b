//! `iris bench`: what placement costs and gains on this machine and its stores. Owns the options and the order of the
//! measurements; each is a module, and every byte that one moves is compared.

mod figures;
mod files;
mod mapping;
mod objects;
mod placement;
pub mod replay;
mod traces;
mod workflow;

use super::say::{self, Failure};
use clap::{Args, ValueEnum};
use figures::Figures;
use iris_store::{Address, Store};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// What planning a request costs, without any store
    Mapping,
    /// Files on objects: every mapper against one object a file
    Files,
    /// Objects in files: every container mapper against a file an object
    Objects,
    /// Replay of the traces that --trace names, through every mapper
    Traces,
    /// A directory, a store, or both: the traces that --trace names, or synthetic patterns
    Placement,
    /// Simulate, copy to a store, analyse and copy back, against both programs in place
    Workflow,
}

/// Options of `iris bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// What to measure; all of it when nothing is named
    #[arg(value_enum, value_name = "WHAT")]
    what: Vec<What>,
    /// A store beside the embedded one, such as redis+unix:///run/redis.sock; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    store: Vec<String>,
    /// The folder in which the embedded store is made, and removed again [default: the temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The directory that placement and workflow measure, on a parallel file system for instance [default: --dir]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// A trace with lines OP,OFFSET,SIZE (OP: FOPEN, FCLOSE, LSEEK, READ, WRITE); may be given several times
    #[arg(long, value_name = "FILE")]
    trace: Vec<PathBuf>,
    /// How often each measurement is made; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Bytes of objects in files, of each kind of request
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    size: u64,
    /// Requests whose planning is measured
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u64).range(16..=100_000_000))]
    requests: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a plot of each table into this folder, as SVG
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

fn size(text: &str) -> Result<u64, String> {
    match iris::config::size(text)? {
        n if n >= 1 << 20 => Ok(n),
        _ => Err("at least 1MiB is needed".into()),
    }
}

/// Measures, and tells.
pub fn main(args: &BenchArgs) -> Result<(String, ExitCode), Failure> {
    let wants = |what| args.what.is_empty() || args.what.contains(&what);
    if args.what.contains(&What::Traces) && args.trace.is_empty() {
        return Err(Failure::new(2, "no trace to replay: name one by --trace FILE"));
    }
    let folder = Folder::new(args.dir.as_deref(), "")?;
    let mut figures = Figures::default();
    if wants(What::Mapping) {
        mapping::measure(args.rounds, args.requests, &mut figures).map_err(failure)?;
    }
    let beside = [What::Files, What::Traces, What::Placement, What::Workflow];
    let stores = if beside.into_iter().any(wants) { stores(args, &folder)? } else { Vec::new() };
    for (name, store) in &stores {
        if wants(What::Files) {
            files::measure(name, store, args.rounds, &mut figures).map_err(failure)?;
        }
        for trace in args.trace.iter().filter(|_| wants(What::Traces)) {
            traces::measure(name, store, trace, args.rounds, &mut figures).map_err(failure)?;
        }
    }
    if wants(What::Placement) || wants(What::Workflow) {
        both(args, &stores, &folder, &wants, &mut figures)?;
    }
    drop(stores);
    if wants(What::Objects) {
        objects::measure(&folder.0, args.size, args.rounds, &mut figures).map_err(failure)?;
    }
    if let Some(dir) = &args.plots {
        let written = std::fs::create_dir_all(dir).and_then(|()| figures.plots(dir));
        written.map_err(|e| Failure::new(1, format!("{}: {e}", dir.display())))?;
    }
    Ok((if args.json { figures.json() } else { figures.text() }, ExitCode::SUCCESS))
}

/// Placement and workflow, beside each store.
fn both(
    args: &BenchArgs,
    stores: &[Subject],
    folder: &Folder,
    wants: &dyn Fn(What) -> bool,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let mut loads = if args.trace.is_empty() { placement::synthetic() } else { Vec::new() };
    for trace in &args.trace {
        loads.push(placement::Load {
            name: format!("trace {}", traces::name_of(trace)),
            steps: traces::load(trace).map_err(failure)?,
        });
    }
    let data = Folder::new(args.directory.as_deref().or(args.dir.as_deref()), "-data")?;
    let folders = placement::Folders { data: data.0.clone(), scratch: folder.0.clone() };
    let texts = std::iter::once(format!("kv:{}", folder.0.display())).chain(args.store.iter().cloned());
    for ((name, store), text) in stores.iter().zip(texts) {
        let beside = placement::Beside { name, store, text: &text };
        for load in &loads {
            if wants(What::Placement) {
                placement::measure(load, &beside, &folders, args.rounds, figures).map_err(failure)?;
            }
            if wants(What::Workflow) {
                workflow::measure(load, &beside, &folders, args.rounds, figures).map_err(failure)?;
            }
        }
    }
    Ok(())
}

fn failure(why: String) -> Failure {
    Failure::new(1, why)
}

/// A store, and what it is called in the tables.
type Subject = (String, Arc<dyn Store>);

/// The embedded store in a folder of its own, and those that were named.
fn stores(args: &BenchArgs, folder: &Folder) -> Result<Vec<Subject>, Failure> {
    let options = iris_store_embedded::Options::new(&folder.0);
    let embedded =
        iris_store_embedded::Embedded::open(&options, "kv:").map_err(|e| failure(e.to_string()))?;
    let mut stores: Vec<Subject> = vec![("kv".into(), Arc::new(embedded))];
    for text in &args.store {
        let address = Address::parse(text).map_err(|e| Failure::new(2, e.to_string()))?;
        let store = iris::stores::open(&address).map_err(|e| failure(e.to_string()))?;
        store.check().map_err(|e| failure(e.to_string()))?;
        stores.push((address.scheme.clone(), store));
    }
    Ok(stores)
}

/// A folder that goes with the measurement.
struct Folder(PathBuf);

impl Folder {
    fn new(parent: Option<&Path>, kind: &str) -> Result<Folder, Failure> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let folder = parent.join(format!("iris-bench-{}{kind}", std::process::id()));
        std::fs::create_dir(&folder)
            .map_err(|e| Failure::new(1, format!("{}: {e}; --dir names another folder", folder.display())))?;
        Ok(Folder(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            say::warn(&format!("{}: {e}; remove it", self.0.display()));
        }
    }
}

/// Bytes of request `i`: never zero, and different for each request.
fn pattern(i: u64, len: u64) -> Vec<u8> {
    let mut state = i.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = Vec::with_capacity(len as usize + 8);
    while (bytes.len() as u64) < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state | 0x0101_0101_0101_0101).to_le_bytes());
    }
    bytes.truncate(len as usize);
    bytes
}

/// An order of `0..n` that looks random, the same each time.
fn scattered(n: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..n).collect();
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    for i in (1..order.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(i, (state % (i as u64 + 1)) as usize);
    }
    order
}

/// The middle of several measurements.
fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_everything_once() {
        let mut order = scattered(1000);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert!(pattern(3, 1001).iter().all(|b| *b != 0) && pattern(3, 64) != pattern(4, 64));
    }
}
