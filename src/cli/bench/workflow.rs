//! A workflow of two programs, one that simulates and one that analyses: the way of copying (simulate on a directory, copy to
//! a store, analyse there, copy the results back) against both in place under Iris. Owns the steps of both.

use super::figures::Figures;
use super::files::{Failed, File};
use super::median;
use super::placement::{Beside, Folders, Load, replay};
use super::traces::{self, Step};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The way of copying.
const COPYING: &str = "copying";
/// Bytes of a request of the analysis.
const LOOK: u64 = 64 << 10;
/// Of what was simulated, the part that the results have.
const RESULTS: u64 = 10;
/// Bytes that are copied at a time.
const COPY: u64 = 1 << 20;

/// Measures the workflow whose simulation is a load.
pub fn measure(
    load: &Load,
    beside: &Beside<'_>,
    folders: &Folders,
    rounds: u32,
    figures: &mut Figures,
) -> Result<(), String> {
    let simulation: Vec<Step> = load.steps.iter().copied().filter(|s| s.write).collect();
    if simulation.is_empty() {
        // Nothing is simulated by a load that only reads.
        return Ok(());
    }
    let len = simulation.iter().map(|s| s.offset + s.len).max().unwrap_or(0);
    let step = |write, offset, len| Step { write, offset, len };
    let looks = (0..len).step_by(LOOK as usize).map(|at| step(false, at, LOOK.min(len - at)));
    let results = len / RESULTS;
    let writes = (0..results).step_by(4096).map(|at| step(true, len + at, 4096.min(results - at)));
    let analysis: Vec<Step> = looks.chain(writes).collect();
    figures.table(
        &format!("workflow after {} beside {}", load.name, beside.name),
        "ms",
        false,
        Some(COPYING),
    );
    let paths = [folders.scratch.join("simulation.csv"), folders.scratch.join("analysis.csv")];
    for (path, steps) in paths.iter().zip([&simulation, &analysis]) {
        std::fs::write(path, traces::text(steps)).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let mut all = [const { Vec::new() }; 4];
    let mut total = Vec::new();
    for _ in 0..rounds {
        let parts = copying(&simulation, &analysis, len, &paths[0], beside, folders)?;
        total.push(parts.iter().map(Duration::as_secs_f64).sum::<f64>() * 1e3);
        all.iter_mut().zip(parts).for_each(|(all, part)| all.push(part.as_secs_f64() * 1e3));
    }
    for (case, values) in ["simulate", "copy to the store", "analyse", "copy back"].into_iter().zip(all) {
        figures.add(case, COPYING, median(values));
    }
    figures.add("all of it", COPYING, median(total));
    for (who, settings) in [
        ("in place", &[("IRIS_THRESHOLD", "auto")][..]),
        ("in place, settles later", &[("IRIS_THRESHOLD", "auto"), ("IRIS_SETTLE", "drain")][..]),
    ] {
        let (mut simulate, mut analyse, mut total) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let spent = replay(&paths, false, Some(settings), beside.text, folders)?;
            let ms: Vec<f64> = spent.iter().map(|(a, b)| (*a + *b).as_secs_f64() * 1e3).collect();
            let [one, two] = ms[..] else { return Err("the replay told too little".into()) };
            simulate.push(one);
            analyse.push(two);
            total.push(one + two);
        }
        figures.add("simulate", who, median(simulate));
        figures.add("analyse", who, median(analyse));
        figures.add("all of it", who, median(total));
    }
    Ok(())
}

/// Simulation, copy, analysis and copy back; how long each took.
fn copying(
    simulation: &[Step],
    analysis: &[Step],
    len: u64,
    trace: &PathBuf,
    beside: &Beside<'_>,
    folders: &Folders,
) -> Result<[Duration; 4], String> {
    let simulated = replay(std::slice::from_ref(trace), false, None, beside.text, folders)?;
    let simulated = simulated.first().map(|(a, b)| *a + *b).unwrap_or_default();
    // The replay has removed its file: the same bytes again, not timed.
    let path = folders.data.join("simulated");
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut model = vec![0u8; len as usize];
    for (i, s) in simulation.iter().enumerate() {
        let bytes = super::pattern(i as u64 + 1, s.len);
        model[s.offset as usize..(s.offset + s.len) as usize].copy_from_slice(&bytes);
    }
    std::fs::write(&path, &model).map_err(failed)?;
    let wrong = |f: Failed| match f {
        Failed::Refused(why) | Failed::Wrong(why) => why,
    };
    let mut object = File::new(beside.store, "balanced", false).map_err(wrong)?;
    let mut piece = vec![0; COPY as usize];
    let begin = Instant::now();
    let mut source = std::fs::File::open(&path).map_err(failed)?;
    let mut copied = begin.elapsed();
    for at in (0..len).step_by(COPY as usize) {
        let piece = &mut piece[..COPY.min(len - at) as usize];
        let begin = Instant::now();
        source.read_exact(piece).map_err(failed)?;
        copied += begin.elapsed();
        copied += object.put(at, piece).map_err(wrong)?;
    }
    let mut analysed = Duration::ZERO;
    for s in analysis {
        analysed += match s.write {
            true => object.write(s.offset, s.len, false).map_err(wrong)?,
            false => object.read(s.offset, s.len).map_err(wrong)?,
        };
    }
    let end = object.model.len() as u64;
    let results = folders.data.join("results");
    let failed = |e: std::io::Error| format!("{}: {e}", results.display());
    let mut back = Duration::ZERO;
    let mut target = std::fs::File::create(&results).map_err(failed)?;
    for at in (len..end).step_by(COPY as usize) {
        let count = COPY.min(end - at);
        back += object.read(at, count).map_err(wrong)?;
        let bytes = &object.model[at as usize..(at + count) as usize];
        let begin = Instant::now();
        target.write_all(bytes).map_err(failed)?;
        back += begin.elapsed();
    }
    let begin = Instant::now();
    drop(target);
    back += begin.elapsed();
    object.end().map_err(wrong)?;
    for path in [path, results] {
        std::fs::remove_file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok([simulated, copied, analysed, back])
}
