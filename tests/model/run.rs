//! Runs one script with driver processes, natively or under a preload, and collects every answer and what is left
//! in the directory. Owns the processes that it starts and ends all of them.

use crate::bed::{self, Setting, Site};
use crate::script::{Op, Script};
use crate::tree::{self, Tree};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Processes that a script may have at once.
const PROCESSES: usize = 6;
/// A driver that says nothing for so long hangs. Never a matter of speed: natively an answer takes microseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The drivers, compiled in two ways: odd processes use the 64-bit names and the fortified twins.
pub struct Drivers([PathBuf; 2]);

impl Drivers {
    /// Compiles them.
    pub fn build() -> Drivers {
        let sources =
            ["driver", "fd_ops", "map_ops", "number_ops", "stdio_ops"].map(|s| format!("model/{s}.c"));
        let sources = sources.each_ref().map(String::as_str);
        Drivers([
            bed::compile("model-driver", &sources, &["-O1"]),
            bed::compile(
                "model-driver64",
                &sources,
                &["-O2", "-D_FORTIFY_SOURCE=2", "-D_FILE_OFFSET_BITS=64"],
            ),
        ])
    }
}

/// How to run a script.
#[derive(Clone, Debug)]
pub enum Way {
    /// On the plain directory.
    Native,
    /// On a mount of this library.
    Iris(PathBuf),
    /// On a mount by a prefix that only Iris knows, whose home is a directory.
    Virtual(PathBuf),
    /// On a mount whose files' bytes end in a store.
    Stored(PathBuf),
    /// On a mount whose home is this address of a server.
    Server(PathBuf, String),
    /// On a mount with a store beside it, to which everything that leaves Tier 0 is spilled.
    Hybrid(PathBuf),
    /// On the plain directory with some other library preloaded.
    Preload(PathBuf),
}

impl Way {
    /// Whether Iris is asked.
    fn is_iris(&self) -> bool {
        self.iris().is_some()
    }

    /// The library, if that is Iris.
    fn iris(&self) -> Option<&Path> {
        match self {
            Way::Iris(library)
            | Way::Virtual(library)
            | Way::Stored(library)
            | Way::Hybrid(library)
            | Way::Server(library, _) => Some(library),
            Way::Native | Way::Preload(_) => None,
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// One answer for each operation, then those of the final looks.
    pub answers: Vec<String>,
    /// What was left.
    pub tree: Tree,
}

struct Conversation {
    reader: BufReader<UnixStream>,
    pid: i32,
    /// Streams may hold bytes back.
    unsettled: bool,
}

impl Conversation {
    /// Sends a line and takes the answer. `Err` when the process has gone or hangs.
    fn ask(&mut self, line: &str) -> Result<String, String> {
        self.tell(line);
        self.hear()
    }

    fn tell(&mut self, line: &str) {
        // A process that has gone is noticed when its answer is read.
        let _ = self.reader.get_mut().write_all(format!("{line}\n").as_bytes());
    }

    fn hear(&mut self) -> Result<String, String> {
        let mut answer = String::new();
        match self.reader.read_line(&mut answer) {
            Ok(0) => Err("gone".into()),
            Ok(_) => Ok(answer.trim_end().into()),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::ConnectionReset) => Err("gone".into()),
            Err(e) => Err(format!("no answer: {e}")),
        }
    }
}

struct World<'a> {
    drivers: &'a Drivers,
    script: &'a Script,
    way: &'a Way,
    site: Site,
    pool: PathBuf,
    socket: PathBuf,
    listener: UnixListener,
    children: Vec<Child>,
    talks: [Option<Conversation>; PROCESSES],
    killed: bool,
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        for talk in self.talks.iter().flatten() {
            // SAFETY: no memory is involved; the process said hello from this number and its socket is still open
            // on our side, so at worst it has just exited.
            unsafe { libc::kill(talk.pid, libc::SIGKILL) };
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl World<'_> {
    fn setting(&self) -> Setting {
        let s = &self.script.setup;
        Setting {
            threshold: s.threshold,
            memory: s.memory,
            flush_ms: s.flush_ms,
            warm_up: s.warm_up,
            consistency: s.consistency,
            settle: s.settle,
        }
    }

    /// Iris's variables, and the library for programs that want it.
    fn prepare(&self, command: &mut Command) {
        let Some(library) = self.way.iris() else { return bed::clear(command) };
        self.setting().apply(command, &self.site.mounted, &self.pool);
        command.env("LD_PRELOAD", library);
        if let Some(anchors) = &self.site.anchors {
            command.env("IRIS_TIER0_STORAGE_PATH", anchors);
        }
    }

    fn drain(&self, options: &[&str]) -> Result<(), String> {
        let mut drain = Command::new(bed::command());
        self.prepare(&mut drain);
        drain.env_remove("LD_PRELOAD");
        bed::drained(drain, options)
    }

    /// Runs a program that knows nothing of Iris on the mount.
    fn through(&self, program: &str, args: &[&Path]) -> Result<(), String> {
        let mut command = Command::new(program);
        self.prepare(&mut command);
        let out = command.args(args).output().expect("the program runs");
        if out.status.success() {
            return Ok(());
        }
        Err(format!("{program} {args:?}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr)))
    }

    fn start(&mut self, index: usize) -> Result<(), String> {
        let mut command = Command::new(&self.drivers.0[index % 2]);
        self.prepare(&mut command);
        if let Way::Preload(library) = self.way {
            command.env("LD_PRELOAD", library).env("MODEL_DIR", &self.site.real);
        }
        command
            .arg(&self.socket)
            .arg(&self.site.named)
            .arg(index.to_string())
            .arg((index % 2).to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.spawn().expect("the driver starts");
        self.children.push(child);
        self.meet(index)
    }

    /// Waits for a new process to connect.
    fn meet(&mut self, index: usize) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut wait = libc::pollfd { fd: self.listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one pollfd, alive during the call.
            if unsafe { libc::poll(&mut wait, 1, 200) } > 0 {
                break;
            }
            let dead = self.children.last_mut().and_then(|c| c.try_wait().ok().flatten());
            if let Some(status) = dead.filter(|s| !s.success()) {
                return Err(format!("process {index} did not start: {status}"));
            }
            if Instant::now() > deadline {
                return Err(format!("process {index} did not say hello"));
            }
        }
        let (stream, _) = self.listener.accept().expect("accept");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let mut talk = Conversation { reader: BufReader::new(stream), pid: 0, unsettled: false };
        let hello = talk.hear()?;
        talk.pid =
            hello.rsplit(' ').next().and_then(|p| p.parse().ok()).ok_or(format!("hello was {hello}"))?;
        if std::env::var_os("IRIS_TEST_LOG").is_some() {
            eprintln!("process {index} is {}", talk.pid);
        }
        self.talks[index] = Some(talk);
        Ok(())
    }

    fn alive(&self) -> Vec<usize> {
        (0..PROCESSES).filter(|i| self.talks[*i].is_some()).collect()
    }

    /// Ends a conversation, waiting until the process has closed its end.
    fn part(&mut self, index: usize) -> String {
        let Some(mut talk) = self.talks[index].take() else { return "nobody".into() };
        match talk.hear() {
            Err(e) if e == "gone" => {
                bed::wait_for_death(talk.pid);
                self.reap(talk.pid);
                "gone".into()
            }
            other => format!("did not go: {other:?}"),
        }
    }

    /// Takes an orphan off the list of processes; this process's own children are waited for at the end.
    fn reap(&self, pid: i32) {
        if self.children.iter().all(|c| c.id() as i32 != pid) {
            // SAFETY: no status is asked for. It fails harmlessly when somebody else was the parent.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
        }
    }

    fn perform(&mut self, op: &Op) -> String {
        let alive = self.alive();
        if alive.is_empty() {
            return "nobody".into();
        }
        let who = alive[op.process % alive.len()];
        for other in alive {
            let Some(talk) = self.talks[other].as_mut() else { continue };
            if other != who && talk.unsettled {
                talk.unsettled = false;
                if let Err(e) = talk.ask("settle") {
                    return format!("process {other} settling: {e}");
                }
            }
        }
        match op.verb.as_str() {
            "fork" => self.fork(who),
            "exit" => {
                let how = op.args[0];
                self.killed |= how == 2;
                let talk = self.talks[who].as_mut().expect("alive");
                talk.tell(&op.line());
                self.part(who)
            }
            _ => {
                let talk = self.talks[who].as_mut().expect("alive");
                talk.unsettled |= op.is_stdio();
                match talk.ask(&op.line()) {
                    Ok(answer) => answer,
                    Err(e) => {
                        self.talks[who] = None;
                        format!("process {who}: {e}")
                    }
                }
            }
        }
    }

    fn fork(&mut self, who: usize) -> String {
        let Some(child) = (0..PROCESSES).find(|i| self.talks[*i].is_none()) else { return "full".into() };
        let talk = self.talks[who].as_mut().expect("alive");
        match talk.ask(&format!("fork {child}")) {
            Ok(answer) if answer == "forked" => match self.meet(child) {
                Ok(()) => answer,
                Err(e) => e,
            },
            Ok(answer) => answer,
            Err(e) => format!("process {who} forking: {e}"),
        }
    }

    /// Looks at every file through a fresh process.
    fn look(&mut self, answers: &mut Vec<String>) {
        if let Err(e) = self.start(0) {
            answers.push(e);
            return;
        }
        for file in 0..6 {
            for (from, len) in [(0, 3 << 20), ((5i64 << 30) - 70_000, 1 << 20), ((1 << 40) - 70_000, 1 << 20)]
            {
                let op = Op { process: 0, verb: "hash".into(), args: vec![file, from, len] };
                answers.push(self.perform(&op));
            }
        }
        self.finish(0, answers);
    }

    fn finish(&mut self, index: usize, answers: &mut Vec<String>) {
        if let Some(talk) = self.talks[index].as_mut() {
            talk.tell("exit 0");
            answers.push(self.part(index));
        }
    }

    fn end(&mut self, answers: &mut Vec<String>) {
        let ending = self.script.setup.ending;
        let alive = self.alive();
        if ending != 0 {
            // Bytes in a stream's buffer die with the process, natively too, but not the same number of them.
            for index in &alive {
                let talk = self.talks[*index].as_mut().expect("alive");
                if talk.unsettled {
                    answers.push(talk.ask("settle").unwrap_or_else(|e| e));
                }
            }
            self.killed = true;
        }
        for index in &alive {
            if ending == 0 {
                self.finish(*index, answers);
            } else {
                let talk = self.talks[*index].as_mut().expect("alive");
                // SAFETY: as in drop.
                unsafe { libc::kill(talk.pid, libc::SIGKILL) };
                answers.push(self.part(*index));
            }
        }
        for mut child in self.children.drain(..) {
            child.wait().expect("wait");
        }
    }

    /// After everybody has gone: what the settings promise about the directory from then on.
    fn recover(&mut self, answers: &mut Vec<String>) {
        let lazy = self.script.setup.settle != "close";
        let drained = lazy || self.killed && self.script.setup.ending != 1;
        if lazy || self.killed && !drained {
            self.look(answers);
        } else {
            answers.extend((0..19).map(|_| String::new()));
        }
        if drained
            && self.way.is_iris()
            && let Err(e) = self.drain(&[])
        {
            answers.push(e);
        }
    }
}

impl World<'_> {
    /// The directory that holds what is left; of a store, a copy of what it holds.
    fn left(&self) -> Result<PathBuf, String> {
        if let Way::Hybrid(_) = self.way {
            // What a killed process left in the store beside a file that is gone, too.
            self.drain(&[])?;
            self.site.no_orphans()?;
        }
        if !self.site.stored {
            return Ok(self.site.real.clone());
        }
        self.drain(&["--release"])?;
        let copy = self.site.named.with_file_name("copy");
        self.through("cp", &[Path::new("-a"), Path::new("--sparse=always"), &self.site.named, &copy])?;
        if self.site.anchors.is_some() {
            // The server has many scripts before it.
            self.through(
                "find",
                &[&self.site.named, Path::new("-mindepth"), Path::new("1"), Path::new("-delete")],
            )?;
        }
        Ok(copy)
    }
}

fn prepare(folder: &Path, initial: u64) -> std::io::Result<()> {
    std::fs::create_dir(folder)?;
    std::fs::create_dir(folder.join("d"))?;
    let bytes = |n: usize| (0..n).map(|i| (i * 131 % 251 + 1) as u8).collect::<Vec<_>>();
    if initial > 0 {
        std::fs::write(folder.join("f0"), bytes(100))?;
    }
    if initial > 1 {
        std::fs::write(folder.join("f0"), bytes(300_001))?;
        std::fs::write(folder.join("f1"), bytes(5000))?;
        std::fs::File::options().write(true).open(folder.join("f1"))?.set_len(900_000)?;
    }
    Ok(())
}

/// What the driver calls the files after its own: no mount has them.
fn prepare_outside(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir(folder)?;
    std::fs::write(folder.join("o0"), [b'o'; 5000])?;
    std::fs::write(folder.join("o1"), "")
}

/// Runs a script.
pub fn run(drivers: &Drivers, script: &Script, way: &Way) -> Outcome {
    bed::adopt_orphans();
    let place = bed::folder("model");
    let pool = way.is_iris().then(|| bed::pool_folder("model-pool"));
    let site = match way {
        Way::Stored(_) => Site::stored(place.path()),
        Way::Virtual(_) => Site::prefix(place.path()),
        Way::Server(_, address) => Site::server(place.path(), address),
        Way::Hybrid(_) => Site::hybrid(place.path()),
        _ => Site::plain(place.path()),
    };
    prepare(&site.real, script.setup.initial).expect("the directory can be made");
    let outside = place.path().join("outside");
    prepare_outside(&outside).expect("a folder outside");
    let socket = place.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let pool_path = pool.as_ref().map(|p| p.path().to_path_buf()).unwrap_or_default();
    let mut world = World {
        drivers,
        script,
        way,
        site,
        pool: pool_path,
        socket,
        listener,
        children: Vec::new(),
        talks: Default::default(),
        killed: false,
    };
    let mut answers = Vec::new();
    if world.site.anchors.is_some() {
        let from = world.site.real.join(".");
        if let Err(e) = world.through("cp", &[Path::new("-a"), &from, &world.site.named]) {
            answers.push(e);
        }
    }
    for index in 0..script.setup.processes {
        if let Err(e) = world.start(index) {
            answers.push(e);
            return Outcome { answers, tree: Tree::new() };
        }
    }
    for op in &script.ops {
        answers.push(world.perform(op));
    }
    world.end(&mut answers);
    world.recover(&mut answers);
    let left = world.left().unwrap_or_else(|e| {
        answers.push(e);
        world.site.real.clone()
    });
    let mut tree = tree::read(&left).expect("the directory can be read");
    let beside = tree::read(&outside).expect("the folder outside can be read");
    tree.extend(beside.into_iter().map(|(name, leaf)| (format!("outside/{name}"), leaf)));
    Outcome { answers, tree }
}

/// Says how two outcomes of one script differ, or nothing.
pub fn difference(script: &Script, native: &Outcome, iris: &Outcome) -> Option<String> {
    let longest = native.answers.len().max(iris.answers.len());
    for i in 0..longest {
        let (n, o) = (native.answers.get(i), iris.answers.get(i));
        if n != o {
            let none = "nothing".to_string();
            return Some(format!(
                "operation {i} ({}):\n  natively:   {}\n  under Iris: {}",
                script.ops.get(i).map_or("at the end".into(), |op| format!("{} {}", op.process, op.line())),
                n.unwrap_or(&none),
                o.unwrap_or(&none)
            ));
        }
    }
    tree::difference(&native.tree, &iris.tree).map(|d| format!("what is left: {d}"))
}
