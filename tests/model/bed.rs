//! What the suites of random tests share: finding the built library and command, compiling C programs, private
//! folders, and a seed that is printed. Owns nothing of what is tested.
#![allow(dead_code, reason = "each suite includes this module and none uses all of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The folder of this package.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A release artefact: next to the profile folder of the command that this test was built with.
fn artefact(name: &str, variable: &str) -> PathBuf {
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_BIN_EXE_iris"))
            .parent()
            .and_then(Path::parent)
            .expect("the command lies in a profile's folder")
            .join("release")
            .join(name),
    };
    assert!(path.exists(), "{} is missing: run `cargo build --release --workspace` first", path.display());
    path
}

/// The preload library under test; `IRIS_TEST_LIBRARY` names another one.
pub fn library() -> PathBuf {
    artefact("libiris.so", "IRIS_TEST_LIBRARY")
}

/// The command under test; `IRIS_TEST_COMMAND` names another one.
pub fn command() -> PathBuf {
    artefact("iris", "IRIS_TEST_COMMAND")
}

/// Compiles C sources (relative to `tests/`) and returns the program or library.
pub fn compile(name: &str, sources: &[&str], flags: &[&str]) -> PathBuf {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Other tests, in other processes too, may be compiling or running the same program.
    let fresh =
        out.with_extension(format!("{}-{}", std::process::id(), TURN.fetch_add(1, Ordering::Relaxed)));
    let result = Command::new("gcc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g", "-o"])
        .arg(&fresh)
        .args(flags)
        .args(sources.iter().map(|s| root().join("tests").join(s)))
        .args(["-pthread", "-ldl"])
        .output()
        .expect("gcc runs (Debian: apt-get install gcc libc6-dev)");
    assert!(result.status.success(), "gcc {sources:?}:\n{}", String::from_utf8_lossy(&result.stderr));
    std::fs::rename(&fresh, &out).expect("the program can be put into place");
    out
}

/// A private folder on the disk of temporary files.
pub fn folder(what: &str) -> tempfile::TempDir {
    tempfile::Builder::new().prefix(&format!("iris-{what}.")).tempdir().expect("a temporary folder")
}

/// A private folder for a pool, in memory where there is such a place.
pub fn pool_folder(what: &str) -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let made = tempfile::Builder::new().prefix(&format!("iris-{what}.")).tempdir_in(shm);
    made.unwrap_or_else(|_| folder(what))
}

/// A number from the environment.
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text}")))
}

/// A small generator of numbers (splitmix64), for what needs no shrinking.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// One of several.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// A number below `n` whose magnitude, not value, is evenly spread.
    pub fn magnitude(&mut self, n: u64) -> u64 {
        let bits = self.below(64 - u64::from(n.leading_zeros()) + 1);
        self.below((1u64 << bits).min(n))
    }
}

/// Where the files of a run lie, and by which names.
#[derive(Clone, Debug)]
pub struct Site {
    /// The value of `IRIS_MOUNT`.
    pub mounted: PathBuf,
    /// The directory as programs name it.
    pub named: PathBuf,
    /// The directory as the kernel knows it.
    pub real: PathBuf,
    /// Whether the bytes of settled files lie in a store.
    pub stored: bool,
    /// Where the anchors of a home lie that is an address.
    pub anchors: Option<PathBuf>,
    /// A store that staged bytes are spilled to, if there is one.
    pub spills: Option<PathBuf>,
}

impl Site {
    /// A directory in `place` that is mounted in place.
    pub fn plain(place: &Path) -> Site {
        let real = place.join("files");
        Site { mounted: real.clone(), named: real.clone(), real, stored: false, anchors: None, spills: None }
    }

    /// A prefix in `place` that the kernel does not know, whose home is a directory beside it.
    pub fn prefix(place: &Path) -> Site {
        let (named, real) = (place.join("virt"), place.join("files"));
        let mounted = format!("{}=file://{}", named.display(), real.display());
        Site { mounted: mounted.into(), named, real, stored: false, anchors: None, spills: None }
    }

    /// A prefix in `place` whose home is the embedded store beside it; the tree of anchors is yet to be made.
    pub fn stored(place: &Path) -> Site {
        let named = place.join("virt");
        std::fs::create_dir(place.join("store")).expect("a folder");
        let mounted = format!("{}=kv:{}", named.display(), place.join("store").display());
        Site {
            mounted: mounted.into(),
            named,
            real: place.join("store/tree"),
            stored: true,
            anchors: None,
            spills: None,
        }
    }
}

impl Site {
    /// A prefix in `place` whose home is the address of a server, under a name of its own. The kernel knows no directory
    /// of it; `real` is one beside it.
    pub fn server(place: &Path, address: &str) -> Site {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("model{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let (named, anchors) = (place.join("virt"), place.join("anchors"));
        std::fs::create_dir(&anchors).expect("a folder");
        let mounted = format!("{}={address}?name={name}", named.display());
        let real = place.join("files");
        Site { mounted: mounted.into(), named, real, stored: true, anchors: Some(anchors), spills: None }
    }

    /// A directory in `place` with the embedded store beside it, to which everything that leaves Tier 0 is spilled.
    pub fn hybrid(place: &Path) -> Site {
        let plain = Site::plain(place);
        let store = place.join("store");
        let mounted = format!("{},store=kv:{},spill=always", plain.real.display(), store.display());
        Site { mounted: mounted.into(), spills: Some(store), ..plain }
    }

    /// Fails when something lies in the store that was spilled, and nobody needs any more.
    pub fn no_orphans(&self) -> Result<(), String> {
        use iris_store::{ListRequest, Store};
        let Some(folder) = self.spills.as_ref().filter(|s| s.join("objects").exists()) else { return Ok(()) };
        let options = iris_store_embedded::Options::new(folder);
        let store = iris_store_embedded::Embedded::open(&options, "the store").map_err(|e| e.to_string())?;
        let ask = ListRequest { prefix: b"iris-spill:", after: b"", delimiter: None, limit: 1000 };
        let page = store.list(&ask).map_err(|e| e.to_string())?;
        if page.entries.is_empty() { Ok(()) } else { Err(format!("the store still has {:?}", page.entries)) }
    }
}

/// The `IRIS_…` variables of one run.
#[derive(Clone, Debug)]
pub struct Setting {
    /// `IRIS_THRESHOLD`
    pub threshold: u64,
    /// `IRIS_TIER0_MEMORY`
    pub memory: u64,
    /// `IRIS_TIER0_FLUSH_AFTER_MS`
    pub flush_ms: u64,
    /// `IRIS_TIER0_WARM_UP`
    pub warm_up: u64,
    /// `IRIS_CONSISTENCY`
    pub consistency: &'static str,
    /// `IRIS_SETTLE`
    pub settle: &'static str,
}

impl Setting {
    /// Puts the mount, the pool and everything else of this run into a command's environment, and nothing else
    /// that begins with `IRIS_`.
    pub fn apply(&self, command: &mut Command, mount: &Path, pool: &Path) {
        clear(command);
        command
            .env("IRIS_MOUNT", mount)
            .env("IRIS_TIER0_PATH", pool)
            .env("IRIS_THRESHOLD", self.threshold.to_string())
            .env("IRIS_TIER0_MEMORY", self.memory.to_string())
            .env("IRIS_TIER0_FLUSH_AFTER_MS", self.flush_ms.to_string())
            .env("IRIS_TIER0_WARM_UP", self.warm_up.to_string())
            .env("IRIS_SETTLE", self.settle)
            .env("IRIS_CONSISTENCY", self.consistency)
            .env("IRIS_LOG", std::env::var("IRIS_TEST_LOG").unwrap_or_else(|_| "off".into()));
    }

    /// Runs `iris drain`; what it says when it fails is the error.
    pub fn drain(&self, mount: &Path, pool: &Path) -> Result<(), String> {
        self.drain_with(&[], mount, pool)
    }

    /// As [`Setting::drain`], and then empties the anchors, so that whoever reads next asks the store.
    pub fn release(&self, mount: &Path, pool: &Path) -> Result<(), String> {
        self.drain_with(&["--release"], mount, pool)
    }

    fn drain_with(&self, options: &[&str], mount: &Path, pool: &Path) -> Result<(), String> {
        let mut drain = Command::new(command());
        self.apply(&mut drain, mount, pool);
        drained(drain, options)
    }
}

/// Runs `iris drain`, prepared but for its arguments; what it says when it fails is the error.
pub fn drained(mut prepared: Command, options: &[&str]) -> Result<(), String> {
    let out = prepared.arg("drain").args(options).output().expect("iris drain runs");
    if out.status.success() {
        return Ok(());
    }
    let said = [out.stdout, out.stderr].concat();
    Err(format!("iris drain: {}\n{}", out.status, String::from_utf8_lossy(&said)))
}

/// Orphans of a killed parent come to this process, so that it can wait for their end.
pub fn adopt_orphans() {
    // SAFETY: a flag of this process; no memory is involved.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
}

/// Waits until a process that is dying is dead: its sockets close before that, and as long as it is not a zombie
/// nobody else can know that it will not write any more.
pub fn wait_for_death(pid: i32) {
    let start = std::time::Instant::now();
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map_or("gone", |(_, rest)| &rest[..1]);
        // The first thread may be a zombie while others still end.
        let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        if matches!(state, "gone" | "X") || state == "Z" && threads() <= 1 {
            return;
        }
        assert!(start.elapsed().as_secs() < 60, "process {pid} does not die: {stat}");
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
}

/// Removes every `IRIS_` variable of the test's own environment from a command's.
pub fn clear(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("IRIS_") || name == "LD_PRELOAD" {
            command.env_remove(name);
        }
    }
}
