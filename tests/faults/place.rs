//! Where the faults are staged: folders, small file systems, a worker and what it says. Owns the mounts that it
//! makes and undoes them.

use crate::bed::{self, Setting};
use std::ffi::CString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A mount, a place for Tier 0, and the settings.
pub struct Place {
    _folder: tempfile::TempDir,
    _memory: tempfile::TempDir,
    /// The accelerated directory.
    pub mount: PathBuf,
    /// Tier 0's folder.
    pub tier0: PathBuf,
    /// Settings.
    pub setting: Setting,
    /// Folder and bytes of the storage tier, if there is one.
    pub storage: Option<(PathBuf, u64)>,
    /// Library under test; `None` runs natively.
    pub library: Option<PathBuf>,
}

impl Place {
    /// A place with a small pool and the default threshold.
    pub fn new(library: Option<PathBuf>) -> Place {
        let (folder, memory) = (bed::folder("faults"), bed::pool_folder("faults-pool"));
        let place = Place {
            mount: folder.path().join("files"),
            tier0: memory.path().join("tier0"),
            _folder: folder,
            _memory: memory,
            setting: Setting {
                threshold: 65536,
                memory: 4 << 20,
                flush_ms: 1000,
                warm_up: 0,
                consistency: "posix",
                settle: "close",
            },
            storage: None,
            library,
        };
        std::fs::create_dir(&place.mount).expect("a folder");
        std::fs::create_dir(&place.tier0).expect("a folder");
        place
    }

    /// The file that most tests write.
    pub fn file(&self) -> PathBuf {
        self.mount.join("file")
    }

    /// A worker that has not been started.
    pub fn worker(&self, verb: &str, size: usize, count: usize) -> Command {
        self.worker_on(verb, &self.file(), size, count)
    }

    /// The same on another file.
    pub fn worker_on(&self, verb: &str, file: &Path, size: usize, count: usize) -> Command {
        let mut command = Command::new(program());
        self.under_iris(&mut command);
        command.arg(verb).arg(file).args([size.to_string(), count.to_string()]);
        command
    }

    /// Lets any program run here.
    pub fn under_iris<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        bed::clear(command);
        if let Some(library) = &self.library {
            self.apply(command);
            command.env("LD_PRELOAD", library).env("IRIS_LOG", "error");
        }
        command
    }

    fn apply(&self, command: &mut Command) {
        self.setting.apply(command, &self.mount, &self.tier0);
        if let Some((folder, bytes)) = &self.storage {
            command.env("IRIS_TIER0_STORAGE_PATH", folder).env("IRIS_TIER0_STORAGE", bytes.to_string());
        }
    }

    /// The command `iris` here: what it said, if it succeeded.
    pub fn iris(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(bed::command());
        self.apply(&mut command);
        let out = command.args(arguments).output().expect("iris runs");
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        if out.status.success() { Ok(said) } else { Err(format!("{}\n{said}", out.status)) }
    }

    /// `iris drain` here.
    pub fn drain(&self) -> Result<(), String> {
        if self.library.is_some() { self.iris(&["drain"]).map(drop) } else { Ok(()) }
    }

    /// The pool file.
    pub fn pool(&self) -> PathBuf {
        let mut found = Vec::new();
        for folder in std::fs::read_dir(&self.tier0).expect("Tier 0's folder") {
            let path = folder.expect("an entry").path();
            for entry in path.read_dir().into_iter().flatten() {
                found.push(entry.expect("an entry").path());
            }
        }
        found.retain(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("pool-")));
        assert_eq!(found.len(), 1, "one pool: {found:?}");
        found.remove(0)
    }
}

fn program() -> PathBuf {
    use std::sync::OnceLock;
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| bed::compile("faults-worker", &["faults/worker.c"], &["-O1"])).clone()
}

/// What the worker wrote: `count` records of `size`.
pub fn records(size: usize, count: usize) -> Vec<u8> {
    let record = |n| (0..size).map(move |i| ((i * 31 + n * 7 + (i >> 8)) % 255 + 1) as u8);
    (0..count).flat_map(record).collect()
}

/// What a finished worker said.
#[derive(Debug)]
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// Its steps: name, return value, errno.
    pub steps: Vec<(String, i64, i32)>,
    /// What it, or Iris in it, wrote to standard error.
    pub error: String,
}

impl Said {
    /// Runs a worker to its end.
    pub fn by(mut command: Command) -> Said {
        let out = command.stdin(Stdio::null()).output().expect("the worker starts");
        Said {
            status: out.status,
            steps: String::from_utf8_lossy(&out.stdout).lines().map(step).collect(),
            error: String::from_utf8_lossy(&out.stderr).into(),
        }
    }

    /// The value of a step.
    pub fn value(&self, name: &str) -> Option<i64> {
        self.steps.iter().rev().find(|s| s.0 == name).map(|s| s.1)
    }

    /// Steps that failed with this errno.
    pub fn failed_with(&self, errno: i32) -> usize {
        self.steps.iter().filter(|s| s.2 == errno).count()
    }

    /// Insists that the worker was not disturbed in any way.
    pub fn insist_on_success(&self) {
        assert!(self.status.success(), "{self:?}");
        assert!(self.steps.iter().all(|s| s.2 == 0 && !s.0.starts_with("wrong")), "{self:?}");
    }
}

fn step(line: &str) -> (String, i64, i32) {
    let mut words = line.rsplitn(3, ' ');
    let errno = words.next().and_then(|w| w.parse().ok()).expect("an errno");
    let value = words.next().and_then(|w| w.parse().ok()).expect("a value");
    (words.next().expect("a name").into(), value, errno)
}

/// A worker that waits in the middle.
pub struct Held {
    child: Child,
    reader: BufReader<std::process::ChildStdout>,
    steps: Vec<(String, i64, i32)>,
}

impl Held {
    /// Starts a worker and waits until it has said `until`.
    pub fn start(mut command: Command, until: &str) -> Held {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the worker starts");
        let reader = BufReader::new(child.stdout.take().expect("piped"));
        let mut held = Held { child, reader, steps: Vec::new() };
        while held.steps.last().is_none_or(|s| s.0 != until) {
            let mut line = String::new();
            let n = held.reader.read_line(&mut line).expect("utf-8");
            assert!(n > 0, "the worker ended early: {:?}", held.steps);
            held.steps.push(step(line.trim_end()));
        }
        held
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Lets it go on, and waits for its end.
    pub fn finish(mut self) -> Said {
        self.child.stdin.take().expect("piped").write_all(b"\n").expect("the worker listens");
        self.steps.extend(self.reader.by_ref().lines().map(|l| step(&l.expect("utf-8"))));
        let out = self.child.wait_with_output().expect("wait");
        let error = String::from_utf8_lossy(&out.stderr).into();
        Said { status: out.status, steps: self.steps, error }
    }
}

/// A small file system over a folder, gone with this value.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// A tmpfs of so many KiB.
    pub fn tmpfs(at: &Path, kib: u64) -> SmallDisk {
        mount("tmpfs", at, "tmpfs", &format!("size={kib}k"));
        SmallDisk(at.into())
    }

    /// An ext4 of 8 MiB in a file beside the folder.
    pub fn ext4(at: &Path) -> SmallDisk {
        let image = at.with_extension("image");
        std::fs::File::create(&image).and_then(|f| f.set_len(8 << 20)).expect("an image");
        let run = |command: &mut Command| {
            let out = command.output().expect("runs");
            assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
        };
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(at));
        SmallDisk(at.into())
    }

    /// The same folder again, read-only.
    pub fn read_only(at: &Path) -> SmallDisk {
        let run = |args: &[&str]| {
            let status = Command::new("mount").args(args).arg(at).status().expect("mount runs");
            assert!(status.success(), "mount {args:?}");
        };
        run(&["--bind", &at.to_string_lossy()]);
        run(&["-o", "remount,bind,ro"]);
        SmallDisk(at.into())
    }

    /// Fills it to the last byte with a file of this name.
    pub fn fill(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        let mut file = std::fs::File::create(&path).expect("a file");
        let mut size = 1 << 16;
        while size > 0 {
            match file.write(&vec![1; size]) {
                Ok(_) => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => size /= 2,
                Err(e) => panic!("{e}"),
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path = CString::new(self.0.as_os_str().as_bytes()).expect("no NUL");
        // SAFETY: a valid C string; detaching a mount that this value made.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

fn mount(source: &str, at: &Path, kind: &str, options: &str) {
    let c = |s: &[u8]| CString::new(s).expect("no NUL");
    let (source, at, kind, options) =
        (c(source.as_bytes()), c(at.as_os_str().as_bytes()), c(kind.as_bytes()), c(options.as_bytes()));
    // SAFETY: four C strings that live until the call returns.
    let ret = unsafe { libc::mount(source.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) };
    assert_eq!(ret, 0, "mounting {at:?}: {} (these tests need root)", std::io::Error::last_os_error());
}
