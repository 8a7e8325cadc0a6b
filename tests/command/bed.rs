//! What the tests of the command share: running it in a clean environment, and making programs.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The command under test.
pub const IRIS: &str = env!("CARGO_BIN_EXE_iris");

/// The preload library: the one of the release build, or the one that IRIS_TEST_LIBRARY names.
pub fn library() -> PathBuf {
    let path = match std::env::var_os("IRIS_TEST_LIBRARY") {
        Some(path) => PathBuf::from(path),
        None => Path::new(IRIS).parent().unwrap().parent().unwrap().join("release/libiris.so"),
    };
    assert!(path.exists(), "{} is missing: run `cargo build --release --workspace` first", path.display());
    path.canonicalize().unwrap()
}

/// A private folder that other users can look into, with its canonical name.
pub struct Bed {
    _dir: TempDir,
    pub root: PathBuf,
}

impl Bed {
    pub fn new() -> Bed {
        let dir = tempfile::Builder::new().prefix("iris-command.").tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let root = dir.path().canonicalize().unwrap();
        Bed { _dir: dir, root }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        std::fs::create_dir_all(self.at(name)).unwrap();
        self.at(name)
    }

    /// Writes a file that can be run.
    pub fn script(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let (text_only, path) = (self.at(&format!("{name}.text")), self.at(name));
        std::fs::write(&text_only, text).unwrap();
        copy(&text_only, &path);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Compiles a C program.
    pub fn compile(&self, name: &str, source: &str, flags: &[&str]) -> PathBuf {
        let (c, out) = (self.at(&format!("{name}.c")), self.at(name));
        std::fs::write(&c, source).unwrap();
        run(Command::new("gcc").arg("-O1").arg("-o").arg(&out).arg(&c).args(flags));
        out
    }

    /// The command with these arguments: no variable of Iris, its pool in this folder.
    pub fn iris<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(IRIS);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("IRIS_") {
                command.env_remove(name);
            }
        }
        command.env_remove("LD_PRELOAD").env_remove("UV_USE_IO_URING").env("IRIS_LIBRARY", library());
        command.env("IRIS_TIER0_PATH", self.folder("pool")).current_dir(&self.root).args(args);
        command
    }
}

/// Copies a program. By another process: one that this process has open for writing cannot be run, and the children
/// that other tests are starting at this moment have it open too, for an instant.
pub fn copy(from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) {
    run(Command::new("cp").arg(from).arg(to));
}

/// Runs a helper, which must succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e} (Debian: apt-get install gcc binutils)"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Exit code, standard output and standard error of a command.
pub fn outcome(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap_or_else(|| panic!("{command:?} ended by {}", output.status));
    (code, text(output.stdout), text(output.stderr))
}

/// Whether the tests run as root: what needs another user is tested then.
pub fn root() -> bool {
    // SAFETY: getuid has no preconditions and cannot fail.
    unsafe { libc::getuid() == 0 }
}
