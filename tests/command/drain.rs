//! `iris status` and `iris drain`, and what `iris run` does about a killed child: real processes, really killed.

use super::bed::{Bed, library, outcome};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Writes 64 pieces of 100 bytes, the last one first, says so, and waits to be killed.
const WRITER: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    (void)argc;
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    char piece[100];
    for (int i = 63; i >= 0; i--) {
        memset(piece, 'A' + i % 26, sizeof piece);
        if (pwrite(fd, piece, sizeof piece, i * 100) != sizeof piece) return 1;
    }
    puts("ready");
    fflush(stdout);
    for (;;) pause();
}
"#;

fn whole() -> Vec<u8> {
    (0..64u8).flat_map(|i| vec![b'A' + i % 26; 100]).collect()
}

/// A bed with a mount, the writer, and no flushing by age.
fn bed() -> Bed {
    let bed = Bed::new();
    bed.folder("data");
    bed.compile("writer", WRITER, &["-Wall", "-Wextra", "-Werror"]);
    bed
}

/// The command as a user has it set up who exports the variables.
fn iris(bed: &Bed, args: &[&str]) -> Command {
    let mut command = bed.iris(args);
    command.env("IRIS_MOUNT", bed.at("data")).env("IRIS_TIER0_FLUSH_AFTER_MS", "86400000");
    command
}

fn json(command: &mut Command) -> Value {
    let (code, out, err) = outcome(command);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    serde_json::from_str(&out).unwrap()
}

/// Starts the writer under the library alone, and waits until it has written.
fn writing(bed: &Bed, file: &Path) -> Running {
    let mut command = Command::new(bed.at("writer"));
    command.arg(file).env("LD_PRELOAD", library()).env("IRIS_TIER0_PATH", bed.folder("pool"));
    command.env("IRIS_MOUNT", bed.at("data")).env("IRIS_TIER0_FLUSH_AFTER_MS", "86400000");
    ready(&mut command)
}

/// A child that does not outlive a test that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ready(command: &mut Command) -> Running {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let running = Running(child);
    assert_eq!(line, "ready\n");
    running
}

/// The files that `iris drain` says it has taken home; it may say nothing else.
fn taken(out: &str) -> Vec<&str> {
    let line = |l: &'_ str| {
        l.split_once(": ").filter(|(_, rest)| rest.ends_with(" taken home")).map(|(f, _)| f.len())
    };
    out.lines().map(|l| &l[..line(l).unwrap_or_else(|| panic!("{out}"))]).collect()
}

#[test]
fn nothing_staged() {
    let bed = bed();
    let status = json(&mut iris(&bed, &["status", "--json"]));
    assert_eq!(status["tier0"]["pool"], Value::Null, "asking makes no pool");
    assert_eq!((&status["staged_files"], &status["mounts"][0]["staged_bytes"]), (&0.into(), &0.into()));
    let (code, out, _) = outcome(&mut iris(&bed, &["status"]));
    assert!(code == 0 && out.contains("no pool yet") && out.contains("Staged: 0 B in 0 files"), "{out}");
    assert_eq!(outcome(&mut iris(&bed, &["drain"])), (0, "Nothing to drain.\n".into(), String::new()));
    let (code, _, err) = outcome(&mut iris(&bed, &["drain", "data", "no-such"]));
    assert!(code == 0 && err.contains("no-such: there is no such file") && !err.contains("data:"), "{err}");
}

#[test]
fn a_living_writer_is_shown_and_left_alone() {
    let bed = bed();
    let file = bed.at("data/file");
    let writer = writing(&bed, &file);
    let status = json(&mut iris(&bed, &["status", "--json"]));
    assert_eq!(status["staged_files"], 1, "{status}");
    // The engine may let some pieces go straight to the file.
    let staged = status["staged_bytes"].as_u64().unwrap();
    assert!(staged > 0 && staged <= 6400 && staged.is_multiple_of(100), "{status}");
    assert_eq!(
        (&status["mounts"][0]["staged_bytes"], &status["files"][0]["bytes"]),
        (&staged.into(), &staged.into())
    );
    let shown = &status["files"][0];
    assert_eq!(
        (shown["path"].as_str(), shown["writer"].as_u64()),
        (file.to_str(), Some(writer.0.id().into()))
    );
    assert_eq!(shown["writer_alive"], true);
    assert!(status["tier0"]["memory_used"].as_u64().unwrap() > 0 && status["oldest_ms"].is_u64());
    let (_, out, _) = outcome(&mut iris(&bed, &["status"]));
    assert!(out.contains(&format!("  {} ", file.display())) && out.contains(" in 1 file, "), "{out}");
    assert!(out.contains(&format!("process {}\n", writer.0.id())) && !out.contains("iris drain"), "{out}");

    let (code, out, _) = outcome(&mut iris(&bed, &["drain"]));
    assert!(code == 0 && out.contains(&format!("left to process {}", writer.0.id())), "{out}");
    let (code, out, _) = outcome(&mut iris(&bed, &["drain", "--all"]));
    assert_eq!((code, taken(&out)), (0, vec![file.to_str().unwrap()]), "{out}");
    assert_eq!(fs::read(&file).unwrap(), whole(), "while the writer lives");
}

#[test]
fn what_a_killed_process_left_is_taken_home() {
    let bed = bed();
    let file = bed.at("data/file");
    drop(writing(&bed, &file));
    assert_ne!(fs::read(&file).unwrap(), whole(), "this test needs staged bytes");
    let (_, out, _) = outcome(&mut iris(&bed, &["status"]));
    assert!(out.contains("which has ended") && out.contains("`iris drain`"), "{out}");
    let report = json(&mut iris(&bed, &["drain", "--json"]));
    assert_eq!((&report["complete"], &report["files"][0]["outcome"]), (&true.into(), &"settled".into()));
    assert!(report["files"][0]["bytes"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(fs::read(&file).unwrap(), whole());
    assert_eq!(json(&mut iris(&bed, &["status", "--json"]))["staged_files"], 0);
    assert_eq!(outcome(&mut iris(&bed, &["drain"])).1, "Nothing to drain.\n");
}

#[test]
fn only_what_is_asked_for_is_drained() {
    let bed = bed();
    let (a, b) = (bed.folder("data/a").join("f"), bed.folder("data/b").join("f"));
    drop(writing(&bed, &a));
    drop(writing(&bed, &b));
    // A relative name, and one that leads through a link, mean the same directory.
    std::os::unix::fs::symlink("data/a", bed.at("link")).unwrap();
    let (code, out, _) = outcome(&mut iris(&bed, &["drain", "link"]));
    assert_eq!((code, taken(&out)), (0, vec![a.to_str().unwrap()]), "{out}");
    assert_eq!(fs::read(&a).unwrap(), whole());
    assert_ne!(fs::read(&b).unwrap(), whole());
    let (_, out, _) = outcome(&mut iris(&bed, &["drain", "data/b/f"]));
    assert!(out.contains("taken home"), "{out}");
    assert_eq!(fs::read(&b).unwrap(), whole());
}

#[test]
fn what_cannot_be_taken_home_is_told() {
    let bed = bed();
    let file = bed.at("data/file");
    drop(writing(&bed, &file));
    fs::rename(&file, bed.at("elsewhere")).unwrap();
    let (code, out, _) = outcome(&mut iris(&bed, &["drain"]));
    assert!(code == 1 && out.contains(&format!("{}: no such file", file.display())), "{out}");
    assert!(out.contains("give the file its name back and drain again"), "{out}");
    let (code, out, _) = outcome(&mut iris(&bed, &["drain", "--json"]));
    assert!(code == 1 && serde_json::from_str::<Value>(&out).unwrap()["complete"] == false, "{out}");
    // The advice holds.
    fs::rename(bed.at("elsewhere"), &file).unwrap();
    assert_eq!(outcome(&mut iris(&bed, &["drain"])).0, 0);
    assert_eq!(fs::read(&file).unwrap(), whole());
}

#[test]
fn a_write_that_fails_is_told_and_nothing_is_lost() {
    let bed = bed();
    let file = bed.at("data/file");
    drop(writing(&bed, &file));
    let mut command = iris(&bed, &["drain"]);
    // SAFETY: setrlimit is async-signal-safe and reads a local structure.
    unsafe {
        command.pre_exec(|| {
            match libc::setrlimit(libc::RLIMIT_FSIZE, &libc::rlimit { rlim_cur: 10, rlim_max: 10 }) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let (code, out, _) = outcome(&mut command);
    assert!(code == 1 && out.contains("File too large") && out.contains("ulimit -f"), "{out}");
    assert_eq!(outcome(&mut iris(&bed, &["drain"])).0, 0);
    assert_eq!(fs::read(&file).unwrap(), whole());
}

/// The command ends well, but what its child staged cannot be written by `iris run`, whose file sizes it limits.
#[test]
fn run_tells_when_something_is_not_home() {
    let bed = bed();
    let file = bed.at("data/file");
    let script = "./writer data/file > out & until [ -s out ]; do sleep 0.05; done; kill -KILL $!; wait; \
                  prlimit --pid $PPID --fsize=10";
    let (code, _, err) = outcome(&mut iris(&bed, &["run", "--", "sh", "-c", script]));
    let words = format!("iris: warning: {}: File too large", file.display());
    assert!(code == 3 && err.contains(&words) && err.contains("drain again"), "{code} {err}");
    let script = format!("{script}; exit 7");
    assert_eq!(
        outcome(&mut iris(&bed, &["run", "--", "sh", "-c", &script])).0,
        7,
        "the command's own code wins"
    );
    assert_eq!(outcome(&mut iris(&bed, &["drain"])).0, 0);
    assert_eq!(fs::read(&file).unwrap(), whole());
}

#[test]
fn a_foreign_pool_is_named_and_left_as_it_is() {
    let bed = bed();
    drop(writing(&bed, &bed.at("data/file")));
    let pool = json(&mut iris(&bed, &["status", "--json"]))["tier0"]["pool"].as_str().unwrap().to_string();
    let mut bytes = fs::read(&pool).unwrap();
    bytes[0] ^= 0xff;
    fs::write(&pool, &bytes).unwrap();
    for what in ["status", "drain"] {
        let (code, out, err) = outcome(&mut iris(&bed, &[what]));
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.starts_with("iris: ") && err.contains(&pool), "{err}");
    }
    assert_eq!(fs::read(&pool).unwrap(), bytes);
}

#[test]
fn run_takes_home_what_its_killed_child_left() {
    let bed = bed();
    let file = bed.at("data/file");
    let mut run = ready(
        iris(&bed, &["run", "--", "sh", "-c", "./writer data/file & echo $! > pid; wait $!"])
            .stderr(Stdio::null()),
    );
    let pid: i32 = fs::read_to_string(bed.at("pid")).unwrap().trim().parse().unwrap();
    // SAFETY: kill has no memory effects; the process is a child of the shell, which has not waited for it yet.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    assert_eq!(run.0.wait().unwrap().code(), Some(137), "what the shell says of its child");
    assert_eq!(fs::read(&file).unwrap(), whole());

    // The same when the child itself is killed.
    fs::remove_file(&file).unwrap();
    let mut run =
        ready(&mut iris(&bed, &["run", "--", "sh", "-c", "echo $$ > pid; exec ./writer data/file"]));
    let pid: i32 = fs::read_to_string(bed.at("pid")).unwrap().trim().parse().unwrap();
    // SAFETY: as above; its parent is `iris run`.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    assert_eq!(run.0.wait().unwrap().code(), Some(137));
    assert_eq!(fs::read(&file).unwrap(), whole());
}
