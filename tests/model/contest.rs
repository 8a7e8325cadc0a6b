//! Several processes at once on one file of a mount, and the verdict on what they saw. Owns the running of
//! `register.c`.

use crate::bed::{self, Random, Setting};
use crate::history::{self, History};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The ways in which processes contend.
pub const MODES: [&str; 3] = ["history", "append", "disjoint"];

/// One contest.
#[derive(Clone, Debug)]
pub struct Contest {
    /// One of [`MODES`].
    pub mode: &'static str,
    /// Seed of the workers.
    pub seed: u64,
    /// Their number.
    pub workers: u64,
    /// Operations of each.
    pub ops: u64,
    /// The settings.
    pub setting: Setting,
}

impl Contest {
    /// A contest from a seed.
    pub fn from_seed(seed: u64) -> Contest {
        let mut random = Random(seed);
        Contest {
            mode: random.one(&MODES),
            seed,
            workers: 2 + random.below(7),
            ops: 100 + random.below(500),
            setting: Setting {
                threshold: random.one(&[65536, 65536, 65536, 4096, 1 << 20]),
                memory: random.one(&[256 << 10, 1 << 20, 4 << 20, 64 << 20]),
                flush_ms: random.one(&[1, 5, 1000]),
                warm_up: random.one(&[0, 0, 2]),
                consistency: "posix",
                settle: "close",
            },
        }
    }

    /// Runs it, with `library` on the mount or natively.
    pub fn run(&self, program: &Path, library: Option<&PathBuf>) -> Result<(), String> {
        let place = bed::folder("contest");
        let pool = bed::pool_folder("contest-pool");
        let mount = place.path().join("files");
        std::fs::create_dir(&mount).expect("a folder");
        let (file, log) = (mount.join("file"), pool.path().join("log"));
        let run = |args: [&str; 4]| {
            let mut command = Command::new(program);
            bed::clear(&mut command);
            if let Some(library) = library {
                self.setting.apply(&mut command, &mount, &pool.path().join("tier0"));
                command.env("LD_PRELOAD", library);
            }
            command.arg(args[0]).arg(&file).arg(&log).args(&args[1..]);
            let out = command.stdin(Stdio::null()).output().expect("the program starts");
            match out.status.success() {
                true => Ok(out.stdout),
                false => Err(format!("{}: {}", out.status, String::from_utf8_lossy(&out.stderr))),
            }
        };
        std::fs::create_dir(pool.path().join("tier0")).expect("a folder");
        run([self.mode, &self.seed.to_string(), &self.workers.to_string(), &self.ops.to_string()])?;
        let seen = run(["dump", "0", "0", "0"])?;
        let left = std::fs::read(&file).map_err(|e| e.to_string())?;
        self.judge(&log, &seen, &left)
    }

    fn judge(&self, log: &Path, seen: &[u8], left: &[u8]) -> Result<(), String> {
        let history = History::load(log).map_err(|e| e.to_string())?;
        match self.mode {
            "history" => {
                assert!(history.returned > 50, "the workers did something");
                history.judge_registers(&[left, seen])
            }
            "append" => {
                history.judge_appends(left)?;
                if seen == left { Ok(()) } else { Err("the next reader under Iris sees other bytes".into()) }
            }
            _ => {
                let shadow = history::shadow(log).map_err(|e| e.to_string())?;
                for (name, bytes) in [("the next reader", seen), ("the directory", left)] {
                    let padded = bytes.iter().copied().chain(std::iter::repeat(0)).take(shadow.len());
                    if let Some(at) = padded.zip(&shadow).position(|(a, b)| a != *b) {
                        return Err(format!("{name} has another byte at {at} than its owner wrote"));
                    }
                }
                Ok(())
            }
        }
    }
}
