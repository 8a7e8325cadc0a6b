//! Servers of a test's own, that it may stop, kill and start again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Servers in a folder, made by a script of `scripts/servers`.
pub struct Servers {
    script: PathBuf,
    pub folder: tempfile::TempDir,
    variables: HashMap<String, String>,
}

impl Servers {
    /// Starts them by `scripts/servers/SCRIPT up` with these options.
    pub fn up(script: &str, options: &[&str]) -> Servers {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/servers").join(script);
        let folder = tempfile::Builder::new().prefix("iris-redis-").tempdir().unwrap();
        let mut servers = Servers { script, folder, variables: HashMap::new() };
        servers.again(options);
        servers
    }

    fn again(&mut self, options: &[&str]) {
        let folder = self.folder.path().join("s");
        let output = Command::new(&self.script).arg("up").arg(&folder).args(options).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{} up: {told}{}\nThese tests need redis-server and memcached: ./scripts/test installs them.",
            self.script.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        // Values are quoted for the shell; those that are used here hold nothing but blanks to be quoted.
        let plain = |v: &str| v.replace("\\ ", " ").trim_matches('\'').to_owned();
        self.variables =
            told.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), plain(v))).collect();
    }

    /// A variable that the script told.
    pub fn var(&self, name: &str) -> &str {
        self.variables.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.variables))
    }

    /// The folder of server `i`.
    pub fn server(&self, i: usize) -> PathBuf {
        self.folder.path().join("s").join(i.to_string())
    }

    fn act(&self, verb: &str, i: usize) {
        let output = Command::new(&self.script)
            .arg(verb)
            .arg(self.folder.path().join("s"))
            .arg(i.to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "{verb} {i}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Ends server `i` with its data in place.
    pub fn stop(&self, i: usize) {
        self.act("stop", i);
    }

    /// Ends it by SIGKILL.
    pub fn kill(&self, i: usize) {
        self.act("kill", i);
    }

    /// Starts it again.
    pub fn start(&self, i: usize) {
        self.act("start", i);
    }

    /// Stops it as it is: it accepts connections and never answers. Until the value is dropped.
    pub fn frozen(&self, i: usize) -> Frozen {
        let pids = self.variables.iter().find(|(name, _)| name.ends_with("_PIDS")).unwrap().1;
        let pid: i32 = pids.split(' ').nth(i).unwrap().parse().unwrap();
        signal(pid, libc::SIGSTOP);
        // Each of its threads stops when it next comes by.
        let stopped = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap();
            stat.rsplit(") ").next().unwrap().starts_with('T')
        };
        while !std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|task| stopped(task.unwrap())) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Frozen(pid)
    }

    /// A command to server `i` by another client.
    pub fn tell(&self, i: usize, words: &[&str]) -> redis::Value {
        self.try_tell(i, words).unwrap_or_else(|e| panic!("{words:?}: {e}"))
    }

    /// The same, where it may fail.
    pub fn try_tell(&self, i: usize, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let password = self.var("REDIS_PASSWORD");
        let url = format!("redis+unix://{}?pass={password}", self.server(i).join("redis.sock").display());
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|w| {
            command.arg(*w);
        });
        let url = if password.is_empty() { url.split('?').next().unwrap().to_owned() } else { url };
        command.query(&mut redis::Client::open(url)?.get_connection()?)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let down = Command::new(&self.script).arg("down").arg(self.folder.path().join("s")).output();
        if !std::thread::panicking() {
            assert!(down.unwrap().status.success());
        }
    }
}

/// A stopped server.
pub struct Frozen(i32);

impl Drop for Frozen {
    fn drop(&mut self) {
        signal(self.0, libc::SIGCONT);
    }
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: a plain call; the process is a server that this test started.
    let done = unsafe { libc::kill(pid, signal) };
    assert_eq!(done, 0, "signal {signal} to {pid}");
}
