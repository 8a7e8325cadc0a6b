//! Several processes on one file of which one is killed, or all; the others must go on, and what everybody saw and
//! what is left must have a legal order. Owns the running of such contests.

use crate::Bench;
use crate::bed::{self, Random, Setting, Site};
use crate::history::History;
use crate::trace::{self, Death};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where `register.c` keeps the pid of worker 0, and the word that releases it.
const PID_OF_FIRST: u64 = 4096 + 16;
const RELEASED: u64 = 24;
/// Longest wait for processes that go on by themselves.
const LONG: Duration = Duration::from_secs(90);

fn pid_of_first(log: &Path) -> Option<i32> {
    let mut bytes = [0; 4];
    File::open(log).ok()?.read_exact_at(&mut bytes, PID_OF_FIRST).ok()?;
    Some(i32::from_le_bytes(bytes)).filter(|p| *p > 0)
}

/// Waits for worker 0 to be there.
fn first(log: &Path) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(pid) = pid_of_first(log) {
            return pid;
        }
        assert!(start.elapsed() < LONG, "worker 0 did not start");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn release(log: &Path) {
    let file = File::options().write(true).open(log).expect("the log");
    file.write_all_at(&1u64.to_le_bytes(), RELEASED).expect("the log can be written");
}

/// Ends all that is left of a process group and waits until it is gone.
fn end_group(group: i32) {
    // SAFETY: the group was made for these processes alone; its leader has not been reaped by anybody else.
    unsafe {
        libc::kill(-group, libc::SIGKILL);
        while libc::waitpid(-group, std::ptr::null_mut(), libc::__WALL) > 0 {}
    }
}

/// Waits for the contest to end by itself. The text that the processes wrote to standard error is an error.
fn finish(mut child: Child, group: i32) -> Result<(), String> {
    let start = Instant::now();
    while child.try_wait().expect("wait").is_none() {
        if start.elapsed() > LONG {
            end_group(group);
            return Err("the others do not go on: they hang".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("piped"), &mut text).expect("utf-8");
    end_group(group);
    if text.is_empty() { Ok(()) } else { Err(text) }
}

/// One contest from a seed.
pub fn contest(bench: &Bench, seed: u64) -> Result<(), String> {
    bed::adopt_orphans();
    let mut random = Random(seed);
    let (folder, memory) = (bed::folder("kills"), bed::pool_folder("kills-pool"));
    let site = bench.site(folder.path());
    let (file, log, pool) = (site.named.join("file"), memory.path().join("log"), memory.path().join("tier0"));
    std::fs::create_dir(&pool).expect("a folder");
    let setting = Setting {
        threshold: random.one(&[65536, 65536, 4096, 1 << 20]),
        memory: random.one(&[256 << 10, 1 << 20, 64 << 20]),
        flush_ms: random.one(&[1, 1, 5, 1000]),
        warm_up: random.one(&[0, 0, 2]),
        consistency: "posix",
        settle: "close",
    };
    let append = random.below(3) == 0;
    let workers = 1 + random.below(6);
    let ops = 50 + random.below(600);
    let how = random.below(3);
    let death =
        if how == 2 { Death::Steps(random.magnitude(6000)) } else { Death::After(random.magnitude(40_000)) };
    let told = format!(
        "contest {seed}: {} workers {workers} operations {ops}, {setting:?}, {} dies, {death:?}",
        if append { "append" } else { "history" },
        ["everybody", "worker 0", "worker 0"][how as usize]
    );
    let mut command = Command::new(&bench.register);
    bench.prepare(&mut command, &setting, &site.mounted, &pool);
    if how == 2 {
        command.env("REGISTER_ARMED", random.below(ops / 3).to_string());
    }
    command
        .arg(if append { "append" } else { "history" })
        .args([&file, &log])
        .args([seed.to_string(), workers.to_string(), ops.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command.spawn().expect("the contest starts");
    let group = child.id() as i32;
    let result = match (how, death) {
        (0, Death::After(time)) => {
            std::thread::sleep(Duration::from_micros(time));
            end_group(group);
            Ok(())
        }
        (_, Death::After(time)) => {
            let victim = first(&log);
            std::thread::sleep(Duration::from_micros(time / 2));
            trace::kill(victim);
            finish(child, group)
        }
        _ => {
            let victim = first(&log);
            trace::seize(victim);
            release(&log);
            trace::execute(victim, death);
            finish(child, group)
        }
    };
    result
        .and_then(|()| {
            judge(
                bench,
                &setting,
                &site,
                &pool,
                &log,
                append,
                random.below(2) == 0 || std::env::var_os("IRIS_KILL_DRAIN").is_some(),
            )
        })
        .map_err(|e| format!("{told}\n{e}"))
}

fn judge(
    bench: &Bench,
    setting: &Setting,
    site: &Site,
    pool: &Path,
    log: &Path,
    append: bool,
    drained: bool,
) -> Result<(), String> {
    let (file, mount) = (site.named.join("file"), &site.mounted);
    let there = site.real.join("file");
    let Ok(history) = History::load(log) else {
        // Killed before there was a log: nothing was written.
        return Ok(());
    };
    if drained && bench.iris {
        setting.drain(mount, pool)?;
    }
    let drained_to = std::fs::read(&there).unwrap_or_default();
    let dump = || {
        let mut dump = Command::new(&bench.register);
        bench.prepare(&mut dump, setting, mount, pool);
        let out = dump.arg("dump").arg(&file).args(["", "0", "0", "0"]).output().expect("dump");
        if !out.status.success() && there.exists() {
            return Err(format!("reading: {}: {}", out.status, String::from_utf8_lossy(&out.stderr)));
        }
        Ok(out)
    };
    let out = dump()?;
    let left = std::fs::read(&there).unwrap_or_default();
    if site.stored {
        setting.release(mount, pool)?;
        if dump()?.stdout != left {
            return Err("the store has other bytes than the last reader saw".into());
        }
    }
    if left != out.stdout {
        return Err("the next reader under Iris sees other bytes than lie there afterwards".into());
    }
    if drained && drained_to != left {
        return Err("after the drain, a reader under Iris changed the file".into());
    }
    if append { history.judge_appends(&left) } else { history.judge_registers(&[&left]) }
}
