//! Nodes: processes with a Tier 0 and a shadow tree of their own, which have nothing in common with others but the server
//! that their home is on.

#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

use super::build;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// One node: its Tier 0, and where its anchors lie.
pub struct Node {
    pub folder: tempfile::TempDir,
    mount: String,
    library: PathBuf,
}

impl Node {
    /// A node on which a mount has this home.
    pub fn new(home: &str, library: PathBuf) -> Node {
        let folder = tempfile::Builder::new().prefix("iris-node-").tempdir().unwrap();
        for sub in ["memory", "disk", "said"] {
            std::fs::create_dir(folder.path().join(sub)).unwrap();
        }
        let mount = format!("{}={home}", folder.path().join("virt").display());
        Node { folder, mount, library }
    }

    /// The mount.
    pub fn prefix(&self) -> PathBuf {
        self.folder.path().join("virt")
    }

    /// What a process needs to run on this node.
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let at = |sub: &str| self.folder.path().join(sub);
        vec![
            ("LD_PRELOAD", self.library.clone()),
            ("IRIS_TIER0_PATH", at("memory")),
            ("IRIS_TIER0_STORAGE_PATH", at("disk")),
            ("IRIS_TIER0_WARM_UP", "0".into()),
            ("IRIS_LOG", "1".into()),
            ("IRIS_MOUNT", PathBuf::from(&self.mount)),
        ]
    }

    /// What its processes wrote to standard error.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("said/error")).unwrap_or_default()
    }

    /// Exit code, standard output and standard error of the command `iris` on this node.
    pub fn iris(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = self.iris_command(args);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    /// The same, not run yet.
    pub fn iris_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iris"));
        let env = self.environment().into_iter().filter(|(k, _)| *k != "LD_PRELOAD");
        command.args(args).envs(env).env("IRIS_STORES", self.library.parent().unwrap());
        command
    }

    /// A process on this node that carries out what it is told.
    pub fn player(&self) -> Player {
        let said = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("said/error"))
            .unwrap();
        Player::start(&self.prefix(), self.environment(), said.into())
    }
}

/// A process that carries out what it is told (c-tests/node_player.c).
pub struct Player {
    pub child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Player {
    /// In this directory.
    pub fn start(directory: &Path, environment: Vec<(&str, PathBuf)>, said: Stdio) -> Player {
        let mut command = Command::new(build::program("node_player"));
        command.arg(directory).envs(environment).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said);
        let mut child = command.spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Player { child, to, from }
    }

    /// Tells it something to do.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.to, "{line}").unwrap();
    }

    /// What came of it.
    pub fn answer(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Both.
    pub fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.answer()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Whatever it waits for ends with its standard input; a test that failed does not wait.
        if std::thread::panicking() {
            let _ = self.child.kill();
        }
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let _ = std::mem::replace(&mut self.to, ChildStdin::from(std::os::fd::OwnedFd::from(writer)));
        let _ = self.child.wait();
    }
}
