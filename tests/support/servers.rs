//! Servers of a test's own, that it may stop, kill and start again. Owns their folder and ends them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

/// Servers made by a script of `scripts/servers`.
pub struct Servers {
    script: &'static str,
    folder: tempfile::TempDir,
    variables: HashMap<String, String>,
}

fn script(name: &str) -> PathBuf {
    super::build::root().join("scripts/servers").join(name)
}

impl Servers {
    /// Starts Redis with these options.
    pub fn up(options: &[&str]) -> Servers {
        Servers::of("redis", options)
    }

    /// Starts what the script of that name starts.
    pub fn of(name: &'static str, options: &[&str]) -> Servers {
        let folder =
            tempfile::Builder::new().prefix("iris-nodes-").tempdir().expect("a folder for the servers");
        let output = Command::new(script(name))
            .arg("up")
            .arg(folder.path().join("s"))
            .args(options)
            .output()
            .unwrap_or_else(|e| panic!("run scripts/servers/{name}: {e}"));
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "scripts/servers/{name} up: {told}{}\nThis test needs that server: ./scripts/test installs it.",
            String::from_utf8_lossy(&output.stderr)
        );
        // Values are quoted for the shell; those that are used here hold nothing but blanks to be quoted.
        let plain = |v: &str| v.replace("\\ ", " ").trim_matches('\'').to_owned();
        let variables =
            told.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), plain(v))).collect();
        Servers { script: name, folder, variables }
    }

    /// A variable that the script told.
    pub fn var(&self, name: &str) -> &str {
        self.variables.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.variables))
    }

    fn act(&self, verb: &str, i: usize) {
        let mut command = Command::new(script(self.script));
        command.arg(verb).arg(self.folder.path().join("s")).arg(i.to_string());
        let output = command.output().expect("run the servers' script");
        assert!(output.status.success(), "{verb} {i}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Ends server `i` by SIGKILL.
    pub fn kill(&self, i: usize) {
        self.act("kill", i);
    }

    /// Starts it again.
    pub fn start(&self, i: usize) {
        self.act("start", i);
    }

    /// Stops it as it is, so that it accepts connections and never answers, while `f` runs.
    pub fn frozen<T>(&self, i: usize, f: impl FnOnce() -> T) -> T {
        let pid = self.var("REDIS_PIDS").split(' ').nth(i).and_then(|p| p.parse().ok()).expect("its process");
        let signal = |signal: i32| {
            // SAFETY: a plain call; the process is a server that this test started.
            assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "signal {signal} to {pid}");
        };
        signal(libc::SIGSTOP);
        let result = f();
        signal(libc::SIGCONT);
        result
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let down = Command::new(script(self.script)).arg("down").arg(self.folder.path().join("s")).output();
        if !std::thread::panicking() {
            assert!(down.is_ok_and(|d| d.status.success()), "the servers end");
        }
    }
}
