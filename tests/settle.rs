//! When programs that know nothing of Iris see what was written: this test itself is one. A writer under Iris stops
//! after each step, and the file is read natively while it lives.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use support::build;

/// Writes pieces of 100 bytes at multiples of a stride, the last one first; then an order comes with each line: s to
/// fsync, c to close.
const WRITER: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (argc != 4) return 4;
    int count = atoi(argv[2]), stride = atoi(argv[3]);
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    char piece[100], order;
    for (int i = count - 1; i >= 0; i--) {
        memset(piece, 'A' + i % 26, sizeof piece);
        if (pwrite(fd, piece, sizeof piece, (off_t)i * stride) != sizeof piece) return 1;
    }
    if (write(1, "written\n", 8) != 8) return 1;
    while (read(0, &order, 1) == 1) {
        if (order == 's' && fsync(fd)) return 2;
        if (order == 'c' && close(fd)) return 3;
        if (order == '\n' && write(1, "done\n", 5) != 5) return 1;
    }
    return 0;
}
"#;

/// How many pieces, and how far apart.
type Pieces = (usize, usize);
/// Without gaps.
const DENSE: Pieces = (64, 100);

fn whole((count, stride): Pieces) -> Vec<u8> {
    let mut all = vec![0; (count - 1) * stride + 100];
    for i in 0..count {
        all[i * stride..i * stride + 100].fill(b'A' + (i % 26) as u8);
    }
    all
}

/// A writer at work, its file, and its Tier 0; the folders go with it.
struct Scene {
    _folders: [tempfile::TempDir; 2],
    file: PathBuf,
    pieces: Pieces,
    report: PathBuf,
    environment: Vec<(&'static str, String)>,
    writer: Child,
    said: BufReader<ChildStdout>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // It may have ended, which is as well.
        let _ = self.writer.kill();
        let _ = self.writer.wait();
    }
}

impl Scene {
    /// Starts a writer and waits until it has written.
    fn new(settle: &str, flush_after_ms: u64) -> Scene {
        Scene::of(DENSE, settle, flush_after_ms)
    }

    fn of(pieces: Pieces, settle: &str, flush_after_ms: u64) -> Scene {
        let files = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let memory = tempfile::tempdir_in(Path::new("/dev/shm")).unwrap();
        let source = files.path().join("writer.c");
        let program = files.path().join("writer");
        std::fs::write(&source, WRITER).unwrap();
        let made = Command::new("gcc").args(["-O1", "-o"]).args([&program, &source]).status().unwrap();
        assert!(made.success(), "gcc: {made}");
        let mount = files.path().join("data");
        std::fs::create_dir(&mount).unwrap();
        let file = mount.join("file");
        let report = files.path().join("report");
        let environment = vec![
            ("IRIS_REPORT", report.to_str().unwrap().to_owned()),
            ("IRIS_MOUNT", mount.to_str().unwrap().to_owned()),
            ("IRIS_SETTLE", settle.to_owned()),
            ("IRIS_TIER0_PATH", memory.path().to_str().unwrap().to_owned()),
            ("IRIS_TIER0_FLUSH_AFTER_MS", flush_after_ms.to_string()),
            ("IRIS_TIER0_WARM_UP", "0".to_owned()),
        ];
        let mut writer = Command::new(&program)
            .arg(&file)
            .args([pieces.0.to_string(), pieces.1.to_string()])
            .envs(environment.clone())
            .env("LD_PRELOAD", build::libiris())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(writer.stdout.take().unwrap());
        let mut scene = Scene { _folders: [files, memory], file, pieces, report, environment, writer, said };
        scene.hear("written\n");
        scene
    }

    fn hear(&mut self, expected: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line, expected);
    }

    fn order(&mut self, order: &str) {
        writeln!(self.writer.stdin.as_mut().unwrap(), "{order}").unwrap();
        self.hear("done\n");
    }

    fn end(&mut self) {
        drop(self.writer.stdin.take());
        assert!(self.writer.wait().unwrap().success());
    }

    /// Whether everything lies in the file for everybody else.
    fn is_home(&self) -> bool {
        std::fs::read(&self.file).unwrap() == whole(self.pieces)
    }

    /// Waits until the file is whole, while the writer lives.
    fn wait(&mut self) {
        let start = Instant::now();
        while !self.is_home() {
            assert_eq!(self.writer.try_wait().unwrap(), None, "the writer lives");
            assert!(start.elapsed() < Duration::from_secs(60), "the bytes do not come home");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Longer than any test.
const NEVER: u64 = 86_400_000;

#[test]
fn fsync_brings_bytes_home() {
    let mut scene = Scene::new("close", NEVER);
    assert!(!scene.is_home(), "this test needs staged bytes");
    scene.order("s");
    assert!(scene.is_home());
}

#[test]
fn close_brings_bytes_home() {
    let mut scene = Scene::new("close", NEVER);
    assert!(!scene.is_home(), "this test needs staged bytes");
    scene.order("c");
    assert!(scene.is_home());
}

#[test]
fn age_brings_bytes_home() {
    Scene::new("close", 20).wait();
}

#[test]
fn background_brings_bytes_home_later() {
    let mut scene = Scene::new("background", 2000);
    scene.order("c");
    scene.wait();
}

#[test]
fn drain_brings_bytes_home() {
    let mut scene = Scene::new("drain", NEVER);
    scene.order("c");
    scene.end();
    assert!(!scene.is_home(), "`drain` waits for a drain");
    let drained = Command::new(env!("CARGO_BIN_EXE_iris"))
        .arg("drain")
        .envs(scene.environment.clone())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&drained.stdout);
    assert!(drained.status.success(), "{said}");
    assert!(scene.is_home(), "{said}");
}

#[test]
fn nothing_that_nobody_wrote_is_written() {
    let mut scene = Scene::of((400, 160), "close", NEVER);
    scene.order("s");
    assert!(scene.is_home());
    scene.end();
    let report = std::fs::read_to_string(&scene.report).unwrap();
    let (_, rest) = report.split_once("\"flush_writes\":").unwrap();
    // Short pieces with short gaps between them: a write for each.
    assert_eq!(rest.split(',').next(), Some("400"));
}
