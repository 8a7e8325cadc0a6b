//! `iris run`: environment, exit codes, signals, warnings.

use super::bed::{Bed, IRIS, copy, library, outcome};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::ptr::{null, null_mut};

fn mounted<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--mount", "data", "--"], args].concat()
}

fn bed() -> Bed {
    let bed = Bed::new();
    bed.folder("data");
    bed
}

#[test]
fn the_exit_code_is_the_commands_own() {
    let bed = bed();
    for (script, code) in
        [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
    {
        assert_eq!(outcome(&mut bed.iris(mounted(&["sh", "-c", script]))).0, code, "{script}");
    }
}

#[test]
fn programs_that_cannot_be_run() {
    let bed = bed();
    std::fs::write(bed.at("plain"), "text").unwrap();
    for (program, code) in
        [("no-such-program-at-all", 127), ("./no-such", 127), ("./plain", 126), ("./data", 126)]
    {
        let (got, _, err) = outcome(&mut bed.iris(mounted(&[program])));
        assert_eq!(got, code, "{program}: {err}");
        assert!(err.starts_with("iris: ") && err.contains(program.trim_start_matches("./")), "{err}");
    }
}

#[test]
fn a_wrong_configuration_runs_nothing() {
    let bed = bed();
    for args in
        [&["--mount", "gone"][..], &["--set", "log=loud"], &["--mount", "data", "--set", "tier0.storage=1G"]]
    {
        let (code, _, err) = outcome(bed.iris(["run"]).args(args).args(["--", "touch", "ran"]));
        assert!(code == 2 && err.starts_with("iris: command line, "), "{args:?}: {err}");
    }
    let (code, _, err) = outcome(bed.iris(mounted(&["touch", "ran"])).env("IRIS_LIBRARY", "/no/libiris.so"));
    assert!(code == 2 && err.contains("IRIS_LIBRARY"), "{err}");
    assert_eq!(outcome(&mut bed.iris(["run", "--mount", "data"])).0, 2, "a command is needed");
    assert!(!bed.at("ran").exists());
}

#[test]
fn what_would_be_missed_only_afterwards_is_told_before() {
    let bed = bed();
    let run = ["run", "--mount", "data", "--report", "gone/report", "--", "touch", "ran"];
    let (code, _, err) = outcome(&mut bed.iris(run));
    assert!(code == 2 && err.contains("gone/report") && !bed.at("ran").exists(), "{err}");

    // Without Tier 0 the program runs all the same, and is slower than its user thinks.
    let mut command = bed.iris(mounted(&["touch", "ran"]));
    let (code, _, err) = outcome(command.env("IRIS_TIER0_PATH", bed.at("gone")));
    assert!(code == 0 && bed.at("ran").exists(), "{code}: {err}");
    assert!(err.contains("nothing will be staged: Tier 0 folder") && err.contains("tier0.path"), "{err}");
    assert_eq!(outcome(&mut bed.iris(mounted(&["true"]))).2, "", "no word when all is well");
}

fn variables(text: &str) -> Vec<(String, String)> {
    let pairs = text.lines().filter_map(|l| l.split_once('='));
    pairs
        .filter(|(n, _)| n.starts_with("IRIS_") || *n == "LD_PRELOAD")
        .map(|(n, v)| (n.into(), v.into()))
        .collect()
}

fn get<'a>(all: &'a [(String, String)], name: &str) -> Option<&'a str> {
    all.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

#[test]
fn children_get_the_configuration_as_variables() {
    let bed = bed();
    bed.folder("other");
    std::fs::write(
        bed.at("iris.toml"),
        "threshold = '8KiB'\n[mount.other]\nsettle = 'drain'\n[tier0]\nflush_after_ms = 5\n",
    )
    .unwrap();
    let args = [
        "run",
        "--config",
        "iris.toml",
        "--mount",
        "data,threshold=1KiB",
        "--set",
        "log=warn",
        "--report",
        "r",
    ];
    let (code, out, err) = outcome(bed.iris(args).args(["--", "sh", "-c", "cd / && env"]));
    assert_eq!((code, err.as_str()), (0, ""));
    let all = variables(&out);
    let root = bed.root.display();
    assert_eq!(
        get(&all, "IRIS_MOUNT").unwrap(),
        format!("{root}/other,settle=drain:{root}/data,threshold=1KiB")
    );
    assert_eq!(get(&all, "IRIS_THRESHOLD"), Some("8KiB"));
    assert_eq!(get(&all, "IRIS_TIER0_FLUSH_AFTER_MS"), Some("5"));
    assert_eq!(get(&all, "IRIS_LOG"), Some("warn"));
    assert_eq!(get(&all, "IRIS_REPORT").unwrap(), format!("{root}/r"));
    assert_eq!(get(&all, "IRIS_CONFIG"), None, "no child reads the file again");
    assert_eq!(get(&all, "LD_PRELOAD").unwrap(), library().to_str().unwrap());
}

#[test]
fn what_was_preloaded_before_stays() {
    let bed = bed();
    let other = bed.compile("other.so", "int nothing;", &["-shared", "-fPIC"]);
    let (_, out, err) = outcome(bed.iris(mounted(&["env"])).env("LD_PRELOAD", &other));
    assert_eq!(err, "");
    let expected = format!("{}:{}", other.display(), library().display());
    assert_eq!(get(&variables(&out), "LD_PRELOAD"), Some(expected.as_str()));
}

/// Without `iris run`: a relative variable holds for a child in another directory too.
#[test]
fn a_relative_variable_is_absolute_for_children() {
    let bed = bed();
    let mut command = Command::new("sh");
    command.args(["-c", "cd / && env"]).current_dir(&bed.root);
    command.env("LD_PRELOAD", library()).env("IRIS_MOUNT", "data").env("IRIS_REPORT", "r");
    let (_, out, err) = outcome(command.env("IRIS_TIER0_PATH", bed.folder("pool")));
    assert_eq!(err, "");
    let all = variables(&out);
    assert_eq!(get(&all, "IRIS_MOUNT"), bed.at("data").to_str());
    assert_eq!(get(&all, "IRIS_REPORT"), bed.at("r").to_str());
}

#[test]
fn disabled_means_not_even_preloaded() {
    let bed = bed();
    let (code, out, err) = outcome(bed.iris(mounted(&["env"])).env("IRIS_DISABLE", "1"));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(get(&variables(&out), "LD_PRELOAD"), None);
}

#[test]
fn a_program_that_cannot_be_intercepted_is_run_with_a_warning() {
    let bed = bed();
    bed.compile("static", "int main(void) { return 9; }", &["-static"]);
    let (code, _, err) = outcome(&mut bed.iris(mounted(&["./static"])));
    assert_eq!(code, 9);
    assert!(err.starts_with("iris: warning: ./static: statically linked") && err.contains("-liris"), "{err}");
    let (code, _, err) = outcome(&mut bed.iris(["run", "--", "true"]));
    assert!(code == 0 && err.contains("no directory is mounted"), "{err}");
}

#[test]
fn standard_streams_and_arguments_go_through() {
    let bed = bed();
    let mut child = bed
        .iris(mounted(&["sh", "-c", "cat; echo err >&2; printf '[%s]' \"$@\"", "sh", "--flag", "a b", ""]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"in").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_slice()),
        (&b"in[--flag][a b][]"[..], &b"err\n"[..])
    );
}

/// Starts a command that says "ready", and waits for that.
fn ready(command: &mut Command) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, out)
}

fn kill(child: &Child, signal: i32) {
    // SAFETY: kill has no memory effects; the child has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

#[test]
fn signals_reach_the_command() {
    let bed = bed();
    for (name, signal) in [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("ALRM", libc::SIGALRM),
        ("TERM", libc::SIGTERM),
    ] {
        let script =
            format!("trap 'echo got {name}; exit 5' {name}; echo ready; while :; do sleep 0.05; done");
        let (mut child, mut out) = ready(&mut bed.iris(mounted(&["sh", "-c", &script])));
        kill(&child, signal);
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(
            (rest.as_str(), child.wait().unwrap().code()),
            (format!("got {name}\n").as_str(), Some(5))
        );
    }
    // Without a trap it dies of it, and the exit code says so.
    let (mut child, _out) =
        ready(&mut bed.iris(mounted(&["sh", "-c", "echo ready; while :; do sleep 0.05; done"])));
    kill(&child, libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

/// A key on the terminal reaches the command once, not twice.
#[test]
fn a_key_on_the_terminal_counts_once() {
    let bed = bed();
    let (mut main, mut side) = (0, 0);
    // SAFETY: both numbers are written; no name, attributes or size are asked for.
    assert_eq!(unsafe { libc::openpty(&mut main, &mut side, null_mut(), null(), null()) }, 0);
    // SAFETY: openpty just made both descriptors, and nothing else owns them.
    let (mut main, side) = unsafe { (File::from_raw_fd(main), File::from_raw_fd(side)) };
    let script = "n=0; trap 'n=$((n+1)); echo int' INT; trap 'echo ints $n; exit 0' USR1; echo ready; \
                  while :; do sleep 0.05; done";
    let mut command = bed.iris(mounted(&["sh", "-c", script]));
    command.stdin(side);
    // SAFETY: both calls are async-signal-safe and act on the new process alone.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let (mut child, mut out) = ready(&mut command);
    main.write_all(b"\x03").unwrap();
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "int\n");
    // A second one, passed on by iris, would be ahead of this signal on the same way.
    kill(&child, libc::SIGUSR1);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("ints 1\n", Some(0)));
}

/// The command starts with the signal mask and dispositions that `iris` was given.
#[test]
fn signals_are_set_as_without_iris() {
    let bed = bed();
    let state = |command: &mut Command, ignore: bool| {
        // SAFETY: signal and sigprocmask are async-signal-safe; the set is local and initialised.
        unsafe {
            command.pre_exec(move || {
                let mut set = std::mem::zeroed();
                libc::sigemptyset(&mut set);
                libc::sigaddset(&mut set, libc::SIGUSR2);
                libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
                if ignore {
                    libc::signal(libc::SIGCHLD, libc::SIG_IGN);
                    libc::signal(libc::SIGHUP, libc::SIG_IGN);
                }
                Ok(())
            });
        }
        outcome(command).1
    };
    let grep = ["grep", "-E", "^(SigBlk|SigIgn)", "/proc/self/status"];
    for ignore in [false, true] {
        let bare = state(Command::new(grep[0]).args(&grep[1..]), ignore);
        assert!(bare.contains("SigBlk:\t0000000000000800"), "{bare}");
        assert_eq!(state(&mut bed.iris(mounted(&grep)), ignore), bare);
    }
}

#[test]
fn the_library_is_found_beside_the_command_and_in_lib() {
    let bed = bed();
    for place in ["p1/bin/libiris.so", "p2/lib/libiris.so", "p3/lib64/libiris.so", "p4/lib/iris/libiris.so"] {
        let prefix = &place[..2];
        bed.folder(&format!("{prefix}/bin"));
        bed.folder(std::path::Path::new(place).parent().unwrap().to_str().unwrap());
        copy(IRIS, bed.at(&format!("{prefix}/bin/iris")));
        copy(library(), bed.at(place));
        let mut command = Command::new(bed.at(&format!("{prefix}/bin/iris")));
        command.env_remove("IRIS_LIBRARY").env_remove("LD_PRELOAD").current_dir(&bed.root);
        let (code, out, err) = outcome(command.args(mounted(&["env"])));
        assert_eq!(code, 0, "{err}");
        assert_eq!(get(&variables(&out), "LD_PRELOAD"), bed.at(place).to_str());
    }
    std::fs::remove_file(bed.at("p1/bin/libiris.so")).unwrap();
    let mut command = Command::new(bed.at("p1/bin/iris"));
    let (code, _, err) =
        outcome(command.env_remove("IRIS_LIBRARY").current_dir(&bed.root).args(mounted(&["true"])));
    assert!(code == 2 && err.contains("IRIS_LIBRARY"), "{err}");
    // LD_PRELOAD could not hold such a name.
    bed.folder("a b");
    copy(library(), bed.at("a b/libiris.so"));
    let mut command = bed.iris(mounted(&["true"]));
    let (code, _, err) = outcome(command.env("IRIS_LIBRARY", bed.at("a b/libiris.so")));
    assert!(code == 2 && err.contains("a blank or a colon"), "{err}");
}
