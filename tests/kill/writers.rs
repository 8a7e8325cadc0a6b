//! One writer with every kind of operation, killed again and again on the same files and the same pool; after
//! each death the files must be what its log explains. Owns the sequence: write, kill, recover, judge.

use crate::Bench;
use crate::bed::{self, Random, Setting, Site};
use crate::expect::{self, Files, Log};
use crate::trace::{self, Death};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The place of one sequence.
struct Place<'a> {
    bench: &'a Bench,
    setting: Setting,
    site: Site,
    pool: PathBuf,
    log: PathBuf,
}

impl Place<'_> {
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        self.bench.prepare(&mut command, &self.setting, &self.site.mounted, &self.pool);
        command
    }

    /// Runs a writer to its death. Says how it was.
    fn write(&self, random: &mut Random) -> String {
        let _ = std::fs::remove_file(&self.log);
        let death = Death::from(random);
        let ops = 5 + random.magnitude(600);
        let armed = match death {
            Death::After(_) => -1,
            _ => random.below(ops + ops / 8 + 1).min(ops) as i64,
        };
        let seed = random.next();
        let mut child = self
            .command(&self.bench.writer)
            .arg(&self.site.named)
            .arg(&self.log)
            .args([seed.to_string(), ops.to_string(), armed.to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .expect("the writer starts");
        let pid = child.id() as i32;
        let mut go = child.stdin.take().expect("piped");
        let planned = if let Death::After(time) = death {
            go.write_all(b"!").expect("the writer listens");
            std::thread::sleep(Duration::from_micros(time));
            child.kill().expect("kill");
            true
        } else {
            trace::seize(pid);
            go.write_all(b"!").expect("the writer listens");
            trace::execute(pid, death)
        };
        // Where a tracer has reaped it there is nothing left to wait for.
        let _ = child.wait();
        format!("writer {seed} {ops} {armed}, {death:?}{}", if planned { "" } else { " (died earlier)" })
    }

    fn natively(&self) -> Files {
        let read =
            |name: &str| std::fs::read(self.site.real.join(name)).ok().map(|bytes| (name.to_string(), bytes));
        ["data", "appended", "target", "new"].into_iter().filter_map(read).collect()
    }

    /// What lies there for programs that know nothing of Iris; nothing of a store does.
    fn lying(&self) -> Result<Files, String> {
        if self.site.stored { self.through() } else { Ok(self.natively()) }
    }

    /// Reads every file through a fresh process.
    fn through(&self) -> Result<Files, String> {
        let mut files = self.natively();
        for (name, bytes) in &mut files {
            let mut dump = self.command(&self.bench.register);
            let out = dump
                .arg("dump")
                .arg(self.site.named.join(name))
                .args(["", "0", "0", "0"])
                .output()
                .expect("dump");
            if !out.status.success() {
                return Err(format!(
                    "reading {name}: {}: {}",
                    out.status,
                    String::from_utf8_lossy(&out.stderr)
                ));
            }
            *bytes = out.stdout;
        }
        Ok(files)
    }

    /// A recovery that is itself killed.
    fn interrupted(&self, random: &mut Random) -> String {
        let mut command = match random.below(2) {
            0 if self.bench.iris => {
                let mut drain = Command::new(bed::command());
                self.setting.apply(&mut drain, &self.site.mounted, &self.pool);
                drain.arg("drain");
                drain
            }
            _ => {
                let mut dump = self.command(&self.bench.register);
                dump.arg("dump").arg(self.site.named.join("data")).args(["", "0", "0", "0"]);
                dump
            }
        };
        // SAFETY: trace_me makes one system call and allocates nothing.
        unsafe { command.pre_exec(trace::trace_me) };
        let (calls, steps) = (random.magnitude(300), random.magnitude(400));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let planned = trace::execute_from_start(child.expect("starts").id() as i32, calls, steps);
        format!(
            "recovery killed after {calls} calls and {steps} instructions{}",
            if planned { "" } else { " (was over)" }
        )
    }

    /// Recovers and judges; of files in a store then also what the store has of them.
    fn recover_and_judge(&self, before: &Files, log: &Log, drained: bool) -> Result<Files, String> {
        let left = self.recovered(before, log, drained)?;
        if self.site.spills.is_some() {
            // A reader completes the files it reads; what was left beside others, a drain does.
            self.setting.drain(&self.site.mounted, &self.pool)?;
            self.site.no_orphans()?;
            expect::same(&left, &self.natively()).map_err(|e| format!("after the drain: {e}"))?;
        }
        if self.site.stored {
            self.setting.release(&self.site.mounted, &self.pool)?;
            expect::same(&left, &self.through()?).map_err(|e| format!("from the store: {e}"))?;
        }
        Ok(left)
    }

    fn recovered(&self, before: &Files, log: &Log, drained: bool) -> Result<Files, String> {
        if drained && self.bench.iris {
            self.setting.drain(&self.site.mounted, &self.pool)?;
            let left = self.lying()?;
            expect::judge(before, log, &left).map_err(|e| format!("after the drain: {e}"))?;
            expect::same(&left, &self.through()?).map_err(|e| format!("under Iris, after the drain: {e}"))?;
            return Ok(left);
        }
        let seen = self.through()?;
        expect::judge(before, log, &seen).map_err(|e| format!("the next reader under Iris: {e}"))?;
        let left = self.lying()?;
        expect::same(&seen, &left).map_err(|e| format!("natively, after the next reader: {e}"))?;
        Ok(left)
    }
}

/// One sequence of kills from a seed; returns their number.
pub fn sequence(bench: &Bench, seed: u64) -> Result<u64, String> {
    let mut random = Random(seed);
    let (folder, memory) = (bed::folder("kill"), bed::pool_folder("kill-pool"));
    let place = Place {
        bench,
        setting: Setting {
            threshold: random.one(&[65536, 65536, 65536, 4096, 1 << 20]),
            memory: random.one(&[256 << 10, 1 << 20, 4 << 20, 64 << 20]),
            flush_ms: random.one(&[1, 1, 5, 1000]),
            warm_up: random.one(&[0, 0, 2]),
            consistency: "posix",
            settle: "close",
        },
        site: bench.site(folder.path()),
        pool: memory.path().join("tier0"),
        log: memory.path().join("log"),
    };
    std::fs::create_dir(&place.pool).expect("a folder");
    let mut files = Files::new();
    let mut story = String::new();
    let rounds = 1 + random.below(4);
    for round in 1..=rounds {
        story += &format!("{}\n", place.write(&mut random));
        let log = Log::load(&place.log).unwrap_or(Log { returned: Vec::new(), in_flight: None });
        let mut before = files.clone();
        expect::advance(&mut before, &log);
        // The writer's first opens stand in no log: nothing or an empty file, if it never wrote.
        let left = place.natively();
        if !log.returned.is_empty() || log.in_flight.is_some() || left.contains_key("appended") {
            expect::opened(&mut before);
        } else if left.contains_key("data") {
            before.entry("data".into()).or_default();
        }
        if random.below(3) == 0 {
            story += &format!("{}\n", place.interrupted(&mut random));
        }
        let drained = random.below(2) == 0 || std::env::var_os("IRIS_KILL_DRAIN").is_some();
        story += if drained { "drain\n" } else { "read\n" };
        files = place.recover_and_judge(&before, &log, drained).map_err(|e| {
            format!(
                "sequence {seed}, round {round}, {:?}:\n{story}{} operations returned, the last:\n{}{e}",
                place.setting,
                log.returned.len(),
                expect::tail(&log)
            )
        })?;
    }
    Ok(rounds)
}
