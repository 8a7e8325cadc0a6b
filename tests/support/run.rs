//! Running one program to its end, with everything it said. Owns the process group of that program; a program
//! that hangs is ended after the deadline and fails its test with what it had said so far.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Far beyond what any program here needs, also on a loaded machine: only a hang reaches it.
/// `IRIS_TEST_DEADLINE` gives other seconds.
fn deadline() -> Duration {
    let given = std::env::var("IRIS_TEST_DEADLINE").map_or(180, |s| s.parse().expect("seconds"));
    Duration::from_secs(given)
}

/// What a program left behind besides its files.
#[derive(Debug)]
pub struct Outcome {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub status: String,
}

/// How to start it.
pub struct Run<'a> {
    pub program: &'a Path,
    pub args: Vec<OsString>,
    pub cwd: &'a Path,
    /// Added to a small fixed environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where the two output files of the harness lie, outside every mount.
    pub scratch: &'a Path,
    /// Standard output goes to this file instead.
    pub output: Option<PathBuf>,
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => format!("{status:?}"),
    }
}

fn group_alive(group: i32) -> bool {
    // SAFETY: signal 0 only asks whether the group, which this process started, still has members.
    unsafe { libc::kill(-group, 0) == 0 }
}

fn end_group(group: i32) {
    // SAFETY: the group was made for this one program by `process_group(0)`; nobody else is in it.
    unsafe { libc::kill(-group, libc::SIGKILL) };
}

impl Run<'_> {
    /// Shell text that does the same by hand.
    pub fn by_hand(&self) -> String {
        let mut text = format!("cd {} && env", self.cwd.display());
        for (k, v) in &self.env {
            text += &format!(" {}='{}'", k.display(), v.display());
        }
        text += &format!(" {}", self.program.display());
        for a in &self.args {
            text += &format!(" {}", a.display());
        }
        text
    }

    fn command(&self) -> (Command, PathBuf, PathBuf) {
        let out = self.output.clone().unwrap_or_else(|| self.scratch.join("stdout"));
        let err = self.scratch.join("stderr");
        let open = |p: &Path| -> File {
            OpenOptions::new().create(true).truncate(true).write(true).open(p).expect("open an output file")
        };
        let mut command = Command::new(self.program);
        command.args(&self.args).current_dir(self.cwd).env_clear();
        for key in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(key) {
                command.env(key, value);
            }
        }
        command.env("LC_ALL", "C").env("TMPDIR", "/tmp");
        command.envs(self.env.iter().map(|(k, v)| (OsStr::new(k), OsStr::new(v))));
        // Both are files opened for the program by somebody who knows nothing of Iris.
        command.stdin(Stdio::null()).stdout(open(&out)).stderr(open(&err)).process_group(0);
        (command, out, err)
    }

    /// Runs it, waits for it and for all that it started.
    pub fn go(&self) -> Outcome {
        let (mut command, out, err) = self.command();
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {}: {e}", self.by_hand()));
        let group = i32::try_from(child.id()).expect("a pid fits");
        let (begun, deadline) = (Instant::now(), deadline());
        let mut pause = Duration::from_micros(200);
        let status = loop {
            let status = child.try_wait().expect("wait for the program");
            match status {
                Some(status) if !group_alive(group) => break status,
                _ if begun.elapsed() > deadline => {
                    end_group(group);
                    child.wait().expect("wait for the ended program");
                    let end = status.map_or_else(|| "still running".to_owned(), ended);
                    panic!(
                        "hang: {}\n  after {deadline:?} the program: {end}; all its processes had to be killed; last said:\n{}",
                        self.by_hand(),
                        tail(&fs::read(&out).unwrap_or_default())
                    );
                }
                _ => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        Outcome {
            stdout: fs::read(&out).unwrap_or_default(),
            stderr: fs::read(&err).expect("read what the program complained about"),
            status: ended(status),
        }
    }
}

/// The last lines of an output.
pub fn tail(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].iter().map(|l| format!("    {l}\n")).collect()
}
