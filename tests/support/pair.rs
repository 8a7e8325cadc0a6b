//! One program on two equal directories: natively on the one, under libiris on the other, in many variants.
//! Owns the scratch folders and the private Tier 0 of each run.
//!
//! `IRIS_TEST_VARIANTS=plain,cwd` runs only these, `IRIS_TEST_KEEP=1` keeps the folders of failing pairs,
//! `IRIS_TEST_SCRATCH=DIR` puts the directories on another file system.

use super::run::{Outcome, Run};
use super::servers::Servers;
use super::{build, tree};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// Where the directory under test lies, and by which name the program gets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// By its absolute path.
    Path,
    /// By a symbolic link that lies outside.
    Link,
    /// As ".", being the working directory.
    Cwd,
    /// By its path, and standard output is a file inside it, opened before the program starts.
    Output,
    /// By a prefix that only Iris knows.
    Virtual,
    /// By a symbolic link, outside, to that prefix.
    VirtualLink,
    /// By a prefix at which the kernel has another directory.
    Hiding,
}

impl Place {
    /// The same for a run without Iris.
    fn natively(self) -> Place {
        match self {
            Place::Virtual | Place::Hiding => Place::Path,
            Place::VirtualLink => Place::Link,
            place => place,
        }
    }
}

/// One way to run under Iris. `{d}` in a value is the directory, `{up}` its parent, `{other}` a third directory,
/// `{link}` a symbolic link to the directory, `{virt}` a name that does not exist, `{store}` a directory for a store,
/// `{redis}` the address of a database on a Redis.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub name: &'static str,
    pub place: Place,
    pub env: &'static [(&'static str, &'static str)],
    /// Whether other processes see writes at once (`posix` consistency).
    pub shared: bool,
    /// Whether small writes are staged from the first, so that a report without any means that Iris did not work.
    pub stages: bool,
    /// Whether `iris drain` runs before the trees are compared: files may settle after their close.
    pub drain: bool,
}

impl Variant {
    /// The same, by the prefix that only Iris knows.
    pub const fn virtually(self) -> Variant {
        Variant { place: Place::Virtual, ..self }
    }

    /// Whether staged bytes lie in a store before they come home.
    fn spills(&self) -> bool {
        self.env.iter().any(|(key, _)| *key == "IRIS_STORE")
    }

    /// Whether the files' bytes end in a store.
    fn is_stored(&self) -> bool {
        self.env.iter().any(|(_, value)| value.contains("=kv:")) || self.is_on_redis()
    }

    /// Whether that is a Redis.
    fn is_on_redis(&self) -> bool {
        self.env.iter().any(|(_, value)| value.contains("={redis}"))
    }

    /// Whether there is a Redis, as home or beside a directory.
    fn has_redis(&self) -> bool {
        self.env.iter().any(|(_, value)| value.contains("{redis}"))
    }
}

type Env = &'static [(&'static str, &'static str)];

const fn variant(name: &'static str, place: Place, env: Env) -> Variant {
    Variant { name, place, env, shared: true, stages: true, drain: false }
}
const fn session(name: &'static str, env: Env) -> Variant {
    Variant { shared: false, ..variant(name, Place::Path, env) }
}
const fn unstaged(name: &'static str, env: Env) -> Variant {
    Variant { stages: false, ..variant(name, Place::Path, env) }
}
const fn settled_later(name: &'static str, env: Env) -> Variant {
    Variant { drain: true, ..variant(name, Place::Path, env) }
}

const ON_REDIS: Env = &[("IRIS_MOUNT", "{virt}={redis}"), ("IRIS_TIER0_STORAGE_PATH", "{other}")];

/// A directory with a store beside it, and a Tier 0 so small that most staged bytes go there first.
pub const HYBRID: Env = &[
    ("IRIS_MOUNT", "{d}"),
    ("IRIS_STORE", "kv:{store}"),
    ("IRIS_SPILL", "always"),
    ("IRIS_TIER0_MEMORY", "512KiB"),
    ("IRIS_TIER0_FLUSH_AFTER_MS", "1"),
];
/// The same with a Redis.
const HYBRID_REDIS: Env = &[HYBRID[0], ("IRIS_STORE", "{redis}"), HYBRID[2], HYBRID[3], HYBRID[4]];
/// What is spilled stays there until a drain.
const HYBRID_DRAIN: Env = &[HYBRID[0], HYBRID[1], HYBRID[2], HYBRID[3], HYBRID[4], ("IRIS_SETTLE", "drain")];

/// All variants. Unless one says otherwise, staging begins with the first write.
pub const VARIANTS: &[Variant] = &[
    variant("plain", Place::Path, &[("IRIS_MOUNT", "{d}")]),
    unstaged("defaults", &[("IRIS_MOUNT", "{d}"), ("IRIS_TIER0_WARM_UP", "2")]),
    unstaged("threshold-0", &[("IRIS_MOUNT", "{d}"), ("IRIS_THRESHOLD", "0")]),
    unstaged("threshold-1", &[("IRIS_MOUNT", "{d}"), ("IRIS_THRESHOLD", "1")]),
    variant("threshold-4096", Place::Path, &[("IRIS_MOUNT", "{d}"), ("IRIS_THRESHOLD", "4096")]),
    variant("threshold-1m", Place::Path, &[("IRIS_MOUNT", "{d}"), ("IRIS_THRESHOLD", "1MiB")]),
    variant("memory-1m", Place::Path, &[("IRIS_MOUNT", "{d}"), ("IRIS_TIER0_MEMORY", "1MiB")]),
    variant("flush-1ms", Place::Path, &[("IRIS_MOUNT", "{d}"), ("IRIS_TIER0_FLUSH_AFTER_MS", "1")]),
    session("session", &[("IRIS_MOUNT", "{d}"), ("IRIS_CONSISTENCY", "session")]),
    session("relaxed", &[("IRIS_MOUNT", "{d}"), ("IRIS_CONSISTENCY", "relaxed")]),
    settled_later("settle-background", &[("IRIS_MOUNT", "{d}"), ("IRIS_SETTLE", "background")]),
    settled_later("settle-drain", &[("IRIS_MOUNT", "{d}"), ("IRIS_SETTLE", "drain")]),
    variant("link", Place::Link, &[("IRIS_MOUNT", "{d}")]),
    variant("mount-by-link", Place::Path, &[("IRIS_MOUNT", "{link}")]),
    variant("cwd", Place::Cwd, &[("IRIS_MOUNT", "{d}")]),
    variant("output", Place::Output, &[("IRIS_MOUNT", "{d}")]),
    variant("two-mounts", Place::Path, &[("IRIS_MOUNT", "{other}:{d}")]),
    variant("nested", Place::Path, &[("IRIS_MOUNT", "{up},threshold=512:{d}")]),
    variant("above", Place::Cwd, &[("IRIS_MOUNT", "{up}")]),
    variant("virtual", Place::Virtual, &[("IRIS_MOUNT", "{virt}=file://{d}")]),
    variant("virtual-link", Place::VirtualLink, &[("IRIS_MOUNT", "{virt}=file://{d}")]),
    variant("virtual-cwd", Place::Cwd, &[("IRIS_MOUNT", "{virt}=file://{d}")]),
    variant("virtual-output", Place::Output, &[("IRIS_MOUNT", "{virt}=file://{d}")]),
    variant("hiding", Place::Hiding, &[("IRIS_MOUNT", "{other}=file://{d}")]),
    variant("kv", Place::Virtual, &[("IRIS_MOUNT", "{virt}=kv:{store}")]),
    unstaged("kv-threshold-0", &[("IRIS_MOUNT", "{virt}=kv:{store}"), ("IRIS_THRESHOLD", "0")]).virtually(),
    variant(
        "kv-small",
        Place::VirtualLink,
        &[
            ("IRIS_MOUNT", "{virt}=kv:{store}"),
            ("IRIS_TIER0_MEMORY", "1MiB"),
            ("IRIS_TIER0_ANCHORS", "256KiB"),
            ("IRIS_TIER0_FLUSH_AFTER_MS", "1"),
        ],
    ),
    session("kv-session", &[("IRIS_MOUNT", "{virt}=kv:{store}"), ("IRIS_CONSISTENCY", "session")])
        .virtually(),
    settled_later("kv-background", &[("IRIS_MOUNT", "{virt}=kv:{store}"), ("IRIS_SETTLE", "background")])
        .virtually(),
    settled_later("kv-drain", &[("IRIS_MOUNT", "{virt}=kv:{store}"), ("IRIS_SETTLE", "drain")]).virtually(),
    variant("redis", Place::Virtual, ON_REDIS),
    variant("hybrid", Place::Path, HYBRID),
    variant("hybrid-redis", Place::Path, HYBRID_REDIS),
    settled_later("hybrid-drain", HYBRID_DRAIN),
    unstaged("no-tier0", &[("IRIS_MOUNT", "{d}"), ("IRIS_TIER0_PATH", "/proc/nowhere")]),
];

/// A program and what is particular to it.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub name: &'static str,
    /// Gets the folder of helper programs as its second argument.
    pub helpers: bool,
    /// Its processes rely on seeing one another's writes at once: not run in `session` and `relaxed`.
    pub shared: bool,
    /// It starts programs that Iris is not in, and hands them names: not run under prefixes that only Iris knows.
    pub outside: bool,
    /// It does what no home on a store can give: other users' programs in it, hard limits on file sizes, calls that no
    /// hook sees (docs/semantics.md). Not run on those.
    pub plain: bool,
    /// Other users' programs use files that the first one wrote; they may not be able to ask its store
    /// (docs/semantics.md). Not run where there is one beside the directory.
    pub others: bool,
    /// It does what no home on a server can give: names that move over the mount's border, file systems mounted in it, a
    /// main thread that ends before the others (docs/semantics.md). Not run on those.
    pub near: bool,
    /// Holes are compared too.
    pub holes: bool,
    /// Made in the directory before the program starts.
    pub folders: &'static [&'static str],
    /// Variants instead of the usual ones.
    pub variants: &'static [Variant],
}

/// A program with nothing particular: one process, no helpers.
pub const fn alone(name: &'static str) -> Program {
    Program {
        name,
        helpers: false,
        shared: false,
        outside: false,
        plain: false,
        others: false,
        near: false,
        holes: true,
        folders: &[],
        variants: VARIANTS,
    }
}
/// A program of several processes that share files.
pub const fn together(name: &'static str) -> Program {
    Program { shared: true, ..alone(name) }
}
/// The same with helper programs.
pub const fn with_helpers(name: &'static str) -> Program {
    Program { helpers: true, ..together(name) }
}

/// One prepared directory with its surroundings; removed at the end unless kept.
pub struct Scene {
    base: PathBuf,
    tier0: Option<PathBuf>,
    database: Option<Database>,
    keep: bool,
}

/// A database of a Redis that all tests of the process share.
struct Database {
    server: Arc<Servers>,
    number: u32,
}

/// The Redis of those variants that want one, for as long as anybody does.
fn redis() -> Arc<Servers> {
    static SHARED: Mutex<Weak<Servers>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().expect("no test panics while a server starts");
    let server = shared.upgrade().unwrap_or_else(|| Arc::new(Servers::up(&[])));
    *shared = Arc::downgrade(&server);
    server
}

/// The databases in use, a bit each; a server has sixteen.
static DATABASES: Mutex<u32> = Mutex::new(0);

impl Database {
    /// One that nobody else uses now.
    fn new() -> Database {
        loop {
            let mut taken = DATABASES.lock().expect("nobody panics while he holds it");
            let number = taken.trailing_ones();
            if number < 16 {
                *taken |= 1 << number;
                return Database { server: redis(), number };
            }
            drop(taken);
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    fn address(&self) -> String {
        format!("redis+unix://{}?db={}", self.server.var("REDIS_SOCKET"), self.number)
    }

    /// What `redis-cli` answers about it.
    fn ask(&self, command: &[&str]) -> String {
        let socket = self.server.var("REDIS_SOCKET");
        let number = self.number.to_string();
        let asked = std::process::Command::new("redis-cli")
            .args(["-s", socket, "-n", &number])
            .args(command)
            .output()
            .expect("run redis-cli");
        assert!(asked.status.success(), "redis-cli {command:?}");
        String::from_utf8_lossy(&asked.stdout).into_owned()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let socket = self.server.var("REDIS_SOCKET");
        let number = self.number.to_string();
        let emptied =
            std::process::Command::new("redis-cli").args(["-s", socket, "-n", &number, "flushdb"]).output();
        if !std::thread::panicking() {
            assert!(emptied.is_ok_and(|o| o.status.success()), "redis-cli flushdb");
        }
        *DATABASES.lock().expect("nobody panics while he holds it") &= !(1 << self.number);
    }
}

impl Scene {
    /// A new, empty scene for this side of a pair.
    pub fn new(name: &str, side: &str, folders: &[&str]) -> Scene {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let scratch = std::env::var_os("IRIS_TEST_SCRATCH")
            .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("pairs"), PathBuf::from);
        let base = scratch.join(format!("{name}-{side}-{}-{n}", std::process::id()));
        let scene = Scene { base, tier0: None, database: None, keep: false };
        for folder in ["up/d", "other", "said"] {
            fs::create_dir_all(scene.base.join(folder)).expect("make a scratch folder");
        }
        for folder in folders {
            fs::create_dir_all(scene.dir().join(folder)).expect("make a folder of the program");
        }
        std::os::unix::fs::symlink("up/d", scene.link()).expect("make the link to the directory");
        std::os::unix::fs::symlink("virt", scene.base.join("vlink")).expect("make the link to the prefix");
        fs::write(scene.base.join("other/hidden"), "of the kernel's directory").expect("write a hidden file");
        scene
    }
    pub fn dir(&self) -> PathBuf {
        self.base.join("up/d")
    }
    fn link(&self) -> PathBuf {
        self.base.join("link")
    }
    fn prefix(&self) -> PathBuf {
        self.base.join("virt")
    }
    fn report(&self) -> PathBuf {
        self.base.join("said/report")
    }

    /// Runs `program` here, natively or with `preload`.
    pub fn run(
        &mut self,
        program: &Path,
        p: &Program,
        place: Place,
        env: Vec<(OsString, OsString)>,
    ) -> Outcome {
        self.prepare(program, p, place, env, |run| run.go())
    }

    fn prepare<T>(
        &mut self,
        program: &Path,
        p: &Program,
        place: Place,
        env: Vec<(OsString, OsString)>,
        then: impl FnOnce(&Run) -> T,
    ) -> T {
        let (dir, said) = (self.dir(), self.base.join("said"));
        let name = match place {
            Place::Path | Place::Output => dir.clone().into_os_string(),
            Place::Link => self.link().into_os_string(),
            Place::Cwd => ".".into(),
            Place::Virtual => self.prefix().into_os_string(),
            Place::VirtualLink => self.base.join("vlink").into_os_string(),
            Place::Hiding => self.base.join("other").into_os_string(),
        };
        let mut args = vec![name];
        if p.helpers {
            args.push(build::helpers().into_os_string());
        }
        let cwd = if place == Place::Cwd { &dir } else { &said };
        let output = (place == Place::Output).then(|| dir.join("standard-output"));
        then(&Run { program, args, cwd, env, scratch: &said, output })
    }

    /// What the store holds, as files: everything that is kept near is given back first, and a program that knows nothing
    /// of stores copies what it sees under Iris.
    fn fetched(&self, env: &[(OsString, OsString)]) -> PathBuf {
        let released = iris(&["drain", "--release", "--json"], env);
        assert!(released.contains("\"complete\": true"), "iris drain: {released}");
        let copy = self.base.join("fetched");
        fs::create_dir(&copy).expect("make a folder for the copy");
        let output = std::process::Command::new("cp")
            .args(["-a", "--sparse=always"])
            .arg(self.prefix().join("."))
            .arg(&copy)
            .envs(env.iter().filter(|(k, _)| k != "IRIS_REPORT").map(|(k, v)| (k, v)))
            .output()
            .expect("run cp");
        assert!(output.status.success(), "cp from the store: {}", String::from_utf8_lossy(&output.stderr));
        copy
    }

    /// The environment of a variant here, with a Tier 0 of its own.
    pub fn environment(&mut self, variant: &Variant, library: Option<&Path>) -> Vec<(OsString, OsString)> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let tier0 = Path::new("/dev/shm").join(format!("iris-test-{}-{n}", std::process::id()));
        fs::create_dir_all(&tier0).expect("make a Tier 0 folder in /dev/shm");
        let mut env: Vec<(OsString, OsString)> = vec![
            ("IRIS_TIER0_PATH".into(), tier0.clone().into()),
            ("IRIS_TIER0_WARM_UP".into(), "0".into()),
            ("IRIS_REPORT".into(), self.report().into()),
        ];
        self.tier0 = Some(tier0);
        self.database = variant.has_redis().then(Database::new);
        if variant.has_redis() {
            // The command, which is not in the library's folder, needs its store too.
            env.push(("IRIS_STORES".into(), build::stores().into()));
        }
        if let Some(library) = library {
            env.push(("LD_PRELOAD".into(), library.into()));
        }
        for (key, value) in variant.env {
            let value = value
                .replace("{d}", self.dir().to_str().expect("scratch paths are text"))
                .replace("{up}", self.base.join("up").to_str().expect("scratch paths are text"))
                .replace("{other}", self.base.join("other").to_str().expect("scratch paths are text"))
                .replace("{redis}", &self.database.as_ref().map(Database::address).unwrap_or_default())
                .replace("{store}", self.base.join("store").to_str().expect("scratch paths are text"))
                .replace("{virt}", self.prefix().to_str().expect("scratch paths are text"))
                .replace("{link}", self.link().to_str().expect("scratch paths are text"));
            env.retain(|(k, _)| k.to_str() != Some(key));
            env.push(((*key).into(), value.into()));
        }
        env
    }

    /// What a store beside the directory, or that of a home, still has of what was spilled to it.
    fn orphans(&self) -> Vec<String> {
        let keys = self.database.as_ref().map(|d| d.ask(&["keys", "iris-spill:*"])).unwrap_or_default();
        let mut left = orphans(&self.base.join("store"));
        left.extend(keys.lines().filter(|l| !l.is_empty()).map(str::to_owned));
        left
    }

    /// What the processes of the run reported, added up.
    pub fn reported(&self, count: &str) -> u64 {
        let text = fs::read_to_string(self.report()).unwrap_or_default();
        let key = format!("\"{count}\":");
        text.lines()
            .filter_map(|l| l.split(&key).nth(1))
            .map(|l| l.chars().take_while(char::is_ascii_digit).collect::<String>())
            .map(|digits| digits.parse::<u64>().unwrap_or_else(|e| panic!("report {text:?}: {e}")))
            .sum()
    }

    /// What lies in the Tier 0 folder that should not: anything but the pool's folder, and staged bytes.
    pub fn left_in_tier0(&self, env: &[(OsString, OsString)]) -> Vec<String> {
        let Some(tier0) = &self.tier0 else { return Vec::new() };
        let mut odd = Vec::new();
        for entry in fs::read_dir(tier0).expect("list the Tier 0 folder") {
            let entry = entry.expect("read the Tier 0 folder");
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("iris-") {
                odd.push(format!("Tier 0 folder holds {name}"));
            }
        }
        let status = iris(&["status", "--json"], env);
        // One number of the whole pool stands before those of each mount in no order: all must be 0.
        for (key, number) in status.lines().filter_map(|l| l.trim().trim_end_matches(',').split_once(": ")) {
            if (key.starts_with("\"staged_") || key.starts_with("\"unsent_")) && number != "0" {
                odd.push(format!("after the end, iris status says {key}: {number}"));
            }
        }
        odd
    }
}

/// The command `iris` with the variables of a run, and what it said.
pub fn iris(args: &[&str], env: &[(OsString, OsString)]) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_iris"));
    let env = env.iter().filter(|(k, _)| k != "LD_PRELOAD" && k != "IRIS_REPORT");
    let output = command.args(args).envs(env.map(|(k, v)| (k, v))).output().expect("run the iris command");
    assert!(
        output.status.success(),
        "iris {args:?} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(tier0) = &self.tier0 {
            let _ = fs::remove_dir_all(tier0);
        }
        if !self.keep {
            let _ = fs::remove_dir_all(&self.base);
        }
    }
}

fn lines(what: &str, a: &[u8], b: &[u8], say: &mut Vec<String>) {
    if a == b {
        return;
    }
    let (x, y) = (String::from_utf8_lossy(a), String::from_utf8_lossy(b));
    let (x, y): (Vec<&str>, Vec<&str>) = (x.lines().collect(), y.lines().collect());
    let mut shown = 0;
    for i in 0..x.len().max(y.len()) {
        let (l, m) = (x.get(i).copied(), y.get(i).copied());
        if l != m {
            say.push(format!("{what} line {}: {} | {}", i + 1, l.unwrap_or("(none)"), m.unwrap_or("(none)")));
            shown += 1;
            if shown == 6 {
                say.push(format!("{what}: … ({} and {} lines)", x.len(), y.len()));
                break;
            }
        }
    }
}

/// What differs between two runs: words and trees.
pub fn compare(a: (&Outcome, &Path), b: (&Outcome, &Path), holes: bool) -> Vec<String> {
    let mut say = Vec::new();
    if a.0.status != b.0.status {
        say.push(format!("ended with {} | {}", a.0.status, b.0.status));
    }
    lines("stdout", &a.0.stdout, &b.0.stdout, &mut say);
    lines("stderr", &a.0.stderr, &b.0.stderr, &mut say);
    let mut files = tree::differences(a.1, b.1, holes);
    if files.len() > 12 {
        let more = files.len() - 12;
        files.truncate(12);
        files.push(format!("… and {more} more"));
    }
    say.extend(files.into_iter().map(|f| format!("tree: {f}")));
    say
}

/// Runs a program natively several times: it must agree with itself, or it can prove nothing.
pub fn agrees_with_itself(p: &Program, runs: u32) {
    let program = build::program(p.name);
    let mut first = Scene::new(p.name, "first", p.folders);
    let one = first.run(&program, p, Place::Path, Vec::new());
    for n in 1..runs {
        // Each way of naming the directory must give the same words.
        let place = [Place::Link, Place::Cwd, Place::Path][n as usize % 3];
        let mut next = Scene::new(p.name, "again", p.folders);
        let two = next.run(&program, p, place, Vec::new());
        let say = compare((&one, &first.dir()), (&two, &next.dir()), p.holes);
        assert!(
            say.is_empty(),
            "{} differs natively in run {n} ({place:?}):\n  {}",
            p.name,
            say.join("\n  ")
        );
    }
    assert!(
        one.status.starts_with("exit 0"),
        "{}: {}\n{}",
        p.name,
        one.status,
        super::run::tail(&one.stdout)
    );
}

/// Whether the caller asked for this variant.
pub fn wanted(variant: &Variant) -> bool {
    std::env::var("IRIS_TEST_VARIANTS").map_or(true, |list| list.split(',').any(|n| n == variant.name))
}

/// What the embedded store in a directory still has of what was spilled to it.
pub fn orphans(store: &Path) -> Vec<String> {
    use iris_store::{ListRequest, Listed, Store};
    if !store.join("objects").exists() {
        return Vec::new();
    }
    let store = iris_store_embedded::Embedded::open(&iris_store_embedded::Options::new(store), "the store");
    let ask = ListRequest { prefix: b"iris-spill:", after: b"", delimiter: None, limit: 1000 };
    let page = match store.and_then(|store| store.list(&ask)) {
        Ok(page) => page,
        Err(e) => return vec![format!("something that cannot be listed: {e}")],
    };
    let name = |e: Listed| match e {
        Listed::Object(key, _) | Listed::Prefix(key) => String::from_utf8_lossy(&key).into_owned(),
    };
    page.entries.into_iter().map(name).collect()
}

/// Runs one pair and returns what differs, as text for a person.
pub fn pair(p: &Program, v: &Variant, native: &Path, other: &Path, library: Option<&Path>) -> Vec<String> {
    let mut plain = Scene::new(p.name, &format!("{}-native", v.name), p.folders);
    let one = plain.run(native, p, v.place.natively(), Vec::new());
    let mut mounted = Scene::new(p.name, v.name, p.folders);
    let env = mounted.environment(v, library);
    let hand = mounted.prepare(other, p, v.place, env.clone(), |run| run.by_hand());
    let two = mounted.run(other, p, v.place, env.clone());
    if v.drain {
        iris(&["drain"], &env);
    }
    let (tree, holes) = if v.is_stored() { (mounted.fetched(&env), false) } else { (mounted.dir(), p.holes) };
    let mut say = compare((&one, &plain.dir()), (&two, &tree), holes);
    say.extend(mounted.left_in_tier0(&env));
    say.extend(mounted.orphans().into_iter().map(|o| format!("the store still has {o}")));
    if v.stages && mounted.reported("staged_writes") == 0 {
        say.push("the report tells of no staged write: was Iris at work?".to_owned());
    } else if mounted.reported("opened") + mounted.reported("no_tier0") == 0 {
        say.push("the report tells of no mounted file: was Iris at work?".to_owned());
    }
    if !say.is_empty() {
        say.insert(0, format!("{} [{}]  (native | iris)", p.name, v.name));
        say.push(format!("by hand: {hand}"));
        if std::env::var_os("IRIS_TEST_KEEP").is_some() {
            (plain.keep, mounted.keep) = (true, true);
            say.push(format!("kept: {} and {}", plain.base.display(), mounted.base.display()));
        }
    }
    say
}

/// Runs a program in all its variants and fails with all that differs.
pub fn check(p: &Program) {
    let (program, library) = (build::program(p.name), build::libiris());
    let _server = p.variants.iter().any(|v| wanted(v) && v.has_redis()).then(redis);
    let mut failed = Vec::new();
    let (mut ran, mut bad) = (0, 0);
    let known = |v: &Variant| !matches!(v.place, Place::Virtual | Place::VirtualLink | Place::Hiding);
    let suits = |v: &&Variant| {
        (v.shared || !p.shared)
            && (known(v) || !p.outside)
            && !(p.plain && v.is_stored())
            && !(p.others && v.spills())
            && !(p.near && v.is_on_redis())
    };
    for v in p.variants.iter().filter(|v| wanted(v)).filter(suits) {
        ran += 1;
        let say = pair(p, v, &program, &program, Some(&library));
        if !say.is_empty() {
            bad += 1;
            failed.push(say.join("\n    "));
        }
    }
    assert!(failed.is_empty(), "{bad} of {ran} variants of {} differ:\n\n{}\n", p.name, failed.join("\n\n"));
}
