//! A directory with a store beside it: what leaves Tier 0 goes there first, comes home when the file settles, and leaves
//! nothing there; with the store, the process or Tier 0 dying on the way.
//!
//! Starts Redis servers of its own with scripts/servers/redis, which needs redis-server.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use support::build;
use support::pair;
use support::servers::Servers;

/// Pieces of a file, and bytes of each: four times what Tier 0 holds.
const PIECES: usize = 20_011;
const SIZE: usize = 210;

/// A mount, its store and its Tier 0.
struct Scene {
    folder: tempfile::TempDir,
    memory: tempfile::TempDir,
    store: String,
    library: PathBuf,
}

impl Scene {
    /// With the embedded store.
    fn new() -> Scene {
        let mut scene = Scene::at(String::new(), build::libiris());
        scene.store = format!("kv:{}", scene.objects().display());
        scene
    }

    fn at(store: String, library: PathBuf) -> Scene {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let memory = tempfile::Builder::new().prefix("iris-hybrid-").tempdir_in("/dev/shm").unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        Scene { folder, memory, store, library }
    }

    fn objects(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("data").join(name)
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |p: &Path| p.to_str().unwrap().to_owned();
        vec![
            ("IRIS_MOUNT", text(&self.folder.path().join("data"))),
            ("IRIS_STORE", self.store.clone()),
            ("IRIS_STORES", text(self.library.parent().unwrap())),
            ("IRIS_SPILL", "always".into()),
            ("IRIS_TIER0_PATH", text(self.memory.path())),
            ("IRIS_TIER0_MEMORY", "1MiB".into()),
            ("IRIS_TIER0_WARM_UP", "0".into()),
            // What there is no room for is spilled, and nothing else.
            ("IRIS_TIER0_FLUSH_AFTER_MS", "86400000".into()),
            ("IRIS_REPORT", text(&self.folder.path().join("report"))),
        ]
    }

    /// Starts a writer, and waits until it has written.
    fn writer(&self, name: &str, extra: &[(&str, &str)]) -> Writer {
        let mut child = Command::new(program())
            .arg(self.file(name))
            .args([PIECES.to_string(), SIZE.to_string()])
            .envs(self.environment())
            .envs(extra.iter().copied())
            .env("LD_PRELOAD", &self.library)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(self.complaints()).unwrap())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut writer = Writer { child, to, from };
        assert_eq!(writer.hear(), "done");
        writer
    }

    /// What the last writer says of its troubles.
    fn complaints(&self) -> PathBuf {
        self.folder.path().join("complaints")
    }

    /// Tier 0 goes, as with the node's memory.
    fn lose_tier0(&self) {
        for entry in std::fs::read_dir(self.memory.path()).unwrap() {
            std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
    }

    /// What a program under Iris reads.
    fn read(&self, name: &str) -> Vec<u8> {
        // It reads, and neither copies in the kernel nor puts the file on its standard input.
        let mut head = Command::new("head");
        head.args(["-c", "1G"]).arg(self.file(name));
        let out = head.envs(self.environment()).env("LD_PRELOAD", &self.library).output();
        let out = out.unwrap();
        assert!(out.status.success(), "head: {}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }

    /// Runs `iris drain`; whether it did all, and what it said.
    fn drain(&self, options: &[&str]) -> (bool, String) {
        let mut iris = Command::new(env!("CARGO_BIN_EXE_iris"));
        let environment = self.environment().into_iter().filter(|(k, _)| *k != "IRIS_REPORT");
        let out = iris.arg("drain").args(options).envs(environment).output().unwrap();
        let said = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn orphans(&self) -> Vec<String> {
        pair::orphans(&self.objects())
    }

    fn reported(&self, count: &str) -> u64 {
        let text = std::fs::read_to_string(self.folder.path().join("report")).unwrap_or_default();
        let key = format!("\"{count}\":");
        let digits = |rest: &str| -> u64 {
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
        };
        text.lines().filter_map(|l| l.split(&key).nth(1)).map(digits).sum()
    }
}

struct Writer {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Writer {
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn order(&mut self, order: &str) -> String {
        writeln!(self.to, "{order}").unwrap();
        self.hear()
    }

    /// Closes its file and ends.
    fn close(self) {
        self.close_with("done");
    }

    /// As [`Writer::close`], with what the close answers.
    fn close_with(mut self, answer: &str) {
        assert_eq!(self.order("c"), answer);
        let Writer { mut child, to, .. } = self;
        drop(to);
        assert!(child.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn program() -> PathBuf {
    static MADE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    MADE.get_or_init(|| {
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hybrid-writer-{}", std::process::id()));
        let source = build::root().join("tests/hybrid/writer.c");
        let made = Command::new("gcc").args(["-O1", "-Wall", "-Wextra", "-o"]).args([&to, &source]).status();
        assert!(made.unwrap().success(), "gcc");
        to
    })
    .clone()
}

/// What the writer leaves.
fn whole() -> Vec<u8> {
    let mut bytes = vec![0; PIECES * SIZE];
    for i in 0..PIECES {
        bytes[SIZE * (i * 7919 % PIECES)..][..SIZE].fill((i * 31 % 255 + 1) as u8);
    }
    bytes
}

#[test]
fn what_tier0_has_no_room_for_lies_in_the_store_and_comes_home_at_close() {
    let scene = Scene::new();
    let mut writer = scene.writer("a", &[]);
    assert!(!scene.orphans().is_empty(), "nothing was spilled");
    assert!(scene.read("a") == whole(), "another process reads other bytes");
    // A reader's close has completed what it found; from here on there is something in the store again.
    assert_eq!(writer.order(&format!("o {}", scene.file("b").display())), "done");
    assert_eq!(writer.order("w"), "done");
    let mut expected = whole();
    expected[..SIZE].fill(2);
    assert!(scene.read("a") == expected);
    writer.close();
    assert!(std::fs::read(scene.file("a")).unwrap() == expected);
    assert!(std::fs::read(scene.file("b")).unwrap() == whole());
    assert_eq!(scene.orphans(), Vec::<String>::new());
    let counts = ["spilled_bytes", "far_reads"].map(|count| scene.reported(count));
    assert!(counts.iter().all(|n| *n > 0), "{counts:?}");
}

#[test]
fn a_sync_brings_home_what_was_spilled() {
    let scene = Scene::new();
    let mut writer = scene.writer("a", &[]);
    assert_eq!(writer.order("s"), "done");
    assert!(std::fs::read(scene.file("a")).unwrap() == whole());
    assert_eq!(scene.orphans(), Vec::<String>::new());
    writer.close();
}

#[test]
fn what_a_killed_process_left_in_the_store_is_taken_home() {
    let scene = Scene::new();
    scene.writer("a", &[]).kill();
    assert!(!scene.orphans().is_empty(), "nothing was spilled");
    let (done, said) = scene.drain(&[]);
    assert!(done, "{said}");
    assert!(std::fs::read(scene.file("a")).unwrap() == whole());
    assert_eq!(scene.orphans(), Vec::<String>::new());
}

#[test]
fn settle_drain_leaves_it_in_the_store_until_then() {
    let scene = Scene::new();
    scene.writer("a", &[("IRIS_SETTLE", "drain")]).close();
    assert!(!scene.orphans().is_empty(), "nothing is left to drain");
    let (done, said) = scene.drain(&[]);
    assert!(done, "{said}");
    assert!(std::fs::read(scene.file("a")).unwrap() == whole());
    assert_eq!(scene.orphans(), Vec::<String>::new());
}

/// Bytes of the file that are what was written; any other must be a hole.
fn right(bytes: &[u8]) -> usize {
    let whole = whole();
    let mut right = 0;
    for (i, byte) in bytes.iter().enumerate() {
        assert!(*byte == whole[i] || *byte == 0, "byte {i} is {byte}");
        right += usize::from(*byte == whole[i]);
    }
    right
}

#[test]
fn what_a_lost_tier0_left_in_the_store_is_taken_home() {
    let scene = Scene::new();
    scene.writer("a", &[]).kill();
    scene.lose_tier0();
    let before = right(&std::fs::read(scene.file("a")).unwrap());
    let (done, said) = scene.drain(&[]);
    assert!(done, "{said}");
    let after = right(&std::fs::read(scene.file("a")).unwrap());
    assert!(after > before && after >= PIECES * SIZE - (1 << 20), "{before} and then {after} bytes: {said}");
    assert_eq!(scene.orphans(), Vec::<String>::new());
}

/// Waits until what is written from now on has a later time than all that was written before.
fn next_tick() {
    let now = || rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let before = now();
    while now() <= before {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn what_a_lost_tier0_left_is_not_put_over_newer_bytes() {
    let scene = Scene::new();
    scene.writer("a", &[]).kill();
    scene.lose_tier0();
    // What is written in the same tick of the file system's clock cannot be told to be newer.
    next_tick();
    std::fs::write(scene.file("a"), "newer").unwrap();
    let (done, said) = scene.drain(&[]);
    assert!(!done && said.contains("--discard"), "{said}");
    assert_eq!(std::fs::read(scene.file("a")).unwrap(), b"newer");
    assert!(!scene.orphans().is_empty(), "given up unasked");
    let (done, said) = scene.drain(&["--discard"]);
    assert!(done, "{said}");
    assert_eq!(std::fs::read(scene.file("a")).unwrap(), b"newer");
    assert_eq!(scene.orphans(), Vec::<String>::new());
}

#[test]
fn a_store_that_dies_and_comes_back_costs_no_data() {
    let servers = Servers::up(&["--appendonly"]);
    let store = format!("redis+unix://{}?deadline_ms=3000&timeout_ms=3000", servers.var("REDIS_SOCKET"));
    let scene = Scene::at(store, build::libiris_with_redis());
    let mut writer = scene.writer("a", &[]);
    servers.kill(0);
    // What lies there cannot be synced now; files that need nothing from there do not notice.
    assert_eq!(writer.order("s"), "ETIMEDOUT");
    assert_eq!(writer.order(&format!("o {}", scene.file("b").display())), "done");
    assert!(std::fs::read(scene.file("b")).unwrap() == whole());
    servers.start(0);
    // A server that has just started, on a busy machine, may let a deadline pass once more.
    let synced = std::iter::repeat_with(|| writer.order("s")).take(20).find(|s| s != "ETIMEDOUT");
    assert_eq!(synced.as_deref(), Some("done"));
    writer.close();
    assert!(std::fs::read(scene.file("a")).unwrap() == whole());
    assert!(scene.reported("store_down") > 0 && scene.reported("spilled_bytes") > 0);
    assert_eq!(keys(&servers), "0");
}

/// A close that cannot bring home what lies in the store says so, in an error number and in the log; `iris drain` does it
/// when the store answers again.
#[test]
fn a_file_that_is_closed_while_its_store_is_away_is_taken_home_by_a_drain() {
    let servers = Servers::up(&["--appendonly"]);
    let store = format!("redis+unix://{}?deadline_ms=1000&timeout_ms=1000", servers.var("REDIS_SOCKET"));
    let scene = Scene::at(store, build::libiris_with_redis());
    let writer = scene.writer("a", &[("IRIS_LOG", "error")]);
    servers.kill(0);
    writer.close_with("ETIMEDOUT");
    let told = std::fs::read_to_string(scene.complaints()).unwrap();
    let file = scene.file("a");
    for part in [file.to_str().unwrap(), servers.var("REDIS_SOCKET"), "iris drain"] {
        assert!(told.contains(part), "no {part} in: {told}");
    }
    let (done, said) = scene.drain(&[]);
    assert!(!done && said.contains(servers.var("REDIS_SOCKET")), "{said}");
    servers.start(0);
    // As above: once more, on a busy machine.
    let drained = std::iter::repeat_with(|| scene.drain(&[])).take(20).find(|(done, _)| *done);
    assert!(drained.is_some(), "{:?}", scene.drain(&[]));
    assert!(std::fs::read(scene.file("a")).unwrap() == whole());
    assert_eq!(keys(&servers), "0");
}

#[test]
fn a_full_store_costs_no_data() {
    let servers = Servers::up(&["--maxmemory", "4mb"]);
    let scene =
        Scene::at(format!("redis+unix://{}", servers.var("REDIS_SOCKET")), build::libiris_with_redis());
    scene.writer("a", &[]).close();
    assert!(std::fs::read(scene.file("a")).unwrap() == whole());
    assert!(scene.reported("store_full") > 0 && scene.reported("spilled_bytes") > 0);
    assert_eq!(keys(&servers), "0");
}

/// How many keys the server has.
fn keys(servers: &Servers) -> String {
    let out = Command::new("redis-cli").args(["-s", servers.var("REDIS_SOCKET"), "dbsize"]).output().unwrap();
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}
