//! `iris check` on programs of every kind that it must tell apart.

use super::bed::{Bed, IRIS, outcome, run};
use serde_json::Value;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const HELLO: &str = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n";

/// The verdict, its exit code checked against its word, and the kinds of its findings.
fn check(bed: &Bed, program: impl AsRef<Path>) -> (String, Vec<String>, Value) {
    let (code, out, err) =
        outcome(&mut bed.iris(["check".as_ref(), "--json".as_ref(), program.as_ref().as_os_str()]));
    assert_eq!(err, "", "{out}");
    let value: Value = serde_json::from_str(&out).unwrap();
    let word = value["intercepted"].as_str().unwrap().to_string();
    let expected = match word.as_str() {
        "yes" => 0,
        "no" => 1,
        "partly" => 3,
        other => panic!("verdict {other}"),
    };
    assert_eq!(code, expected, "{out}");
    let findings = value["findings"].as_array().unwrap();
    for finding in findings {
        assert!(!finding["what"].as_str().unwrap().is_empty());
        let blocks = finding["effect"] != "note";
        assert!(!blocks || !finding["do"].as_str().unwrap().is_empty(), "what to do? {finding}");
    }
    let kinds = findings.iter().map(|f| f["kind"].as_str().unwrap().to_string()).collect();
    (word, kinds, value)
}

fn verdict(bed: &Bed, program: impl AsRef<Path>) -> (String, Vec<String>) {
    let (word, kinds, _) = check(bed, program);
    (word, kinds)
}

fn is(word: &str, kinds: &[&str]) -> (String, Vec<String>) {
    (word.to_string(), kinds.iter().map(|k| k.to_string()).collect())
}

/// Changes bytes of a file.
fn patch(path: &Path, at: usize, bytes: &[u8]) {
    let mut data = std::fs::read(path).unwrap();
    data[at..at + bytes.len()].copy_from_slice(bytes);
    std::fs::write(path, data).unwrap();
}

#[test]
fn an_ordinary_program() {
    let bed = Bed::new();
    let program = bed.compile("hello", HELLO, &[]);
    assert_eq!(verdict(&bed, &program), is("yes", &[]));
    assert_eq!(verdict(&bed, bed.compile("fixed", HELLO, &["-no-pie"])), is("yes", &[]));
    let (code, out, _) = outcome(bed.iris(["check", "hello"]).env("PATH", &bed.root));
    assert_eq!((code, out), (0, format!("{}: will be intercepted\n", program.display())));
}

#[test]
fn statically_linked() {
    let bed = Bed::new();
    assert_eq!(verdict(&bed, bed.compile("static", HELLO, &["-static"])), is("no", &["static"]));
    assert_eq!(verdict(&bed, bed.compile("pie", HELLO, &["-static-pie"])), is("no", &["static"]));
    let (code, out, _) = outcome(&mut bed.iris(["check", "./static"]));
    assert_eq!(code, 1);
    assert!(out.contains("will NOT be intercepted") && out.contains("without -static"), "{out}");
}

#[test]
fn a_library_is_no_program() {
    let bed = Bed::new();
    let library = bed.compile("lib.so", "int f(void) { return 1; }", &["-shared", "-fPIC"]);
    assert_eq!(verdict(&bed, library), is("no", &["library"]));
}

#[test]
fn made_by_go() {
    let bed = Bed::new();
    bed.compile("plain", HELLO, &[]);
    std::fs::write(bed.at("note"), b"\x04\0\0\0\x04\0\0\0\x04\0\0\0Go\0\0abcd").unwrap();
    for section in [".note.go.buildid", ".gopclntab", ".go.buildinfo"] {
        let add = format!("{section}={}", bed.at("note").display());
        let (from, to) = (bed.at("plain"), bed.at("go"));
        run(Command::new("objcopy").arg("--add-section").arg(add).args([from, to]));
        assert_eq!(verdict(&bed, bed.at("go")), is("no", &["go"]), "{section}");
    }
    // Pure Go programs are static besides.
    bed.compile("static", HELLO, &["-static"]);
    let add = format!(".gopclntab={}", bed.at("note").display());
    run(Command::new("objcopy").arg("--add-section").arg(add).args([bed.at("static"), bed.at("go")]));
    assert_eq!(verdict(&bed, bed.at("go")), is("no", &["go", "static"]));
}

#[test]
fn made_for_another_machine_or_libc() {
    let bed = Bed::new();
    let program = bed.compile("arm", HELLO, &[]);
    let machine: u16 = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
    patch(&program, 18, &machine.to_le_bytes());
    assert_eq!(verdict(&bed, &program), is("no", &["architecture"]));
    let flag = "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1";
    assert_eq!(verdict(&bed, bed.compile("musl", HELLO, &[flag])), is("no", &["musl"]));
    let flag = "-Wl,--dynamic-linker=/nowhere/ld-linux.so.2";
    assert_eq!(verdict(&bed, bed.compile("lost", HELLO, &[flag])), is("no", &["no-linker"]));
}

#[test]
fn a_missing_library_is_told() {
    let bed = Bed::new();
    bed.compile("libgone.so", "int f(void) { return 1; }", &["-shared", "-fPIC"]);
    let source = "int f(void);\nint main(void) { return f(); }";
    let at = format!("-L{}", bed.root.display());
    let program = bed.compile("needs", source, &[&at, "-lgone"]);
    std::fs::remove_file(bed.at("libgone.so")).unwrap();
    let (word, kinds, value) = check(&bed, program);
    assert_eq!((word, kinds), is("yes", &["missing-library"]));
    assert!(value["findings"][0]["what"].as_str().unwrap().contains("libgone.so"), "{value}");
}

#[cfg(target_arch = "x86_64")]
const RAW: &str = r#"
#include <sys/syscall.h>
#include <unistd.h>
static long raw(long n, long a, const void *b, long c) {
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "0"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return r;
}
__attribute__((noinline)) long go_round(void) { return raw(CALL, 1, "x", 0); }
"#;

#[test]
#[cfg(target_arch = "x86_64")]
fn raw_system_calls_are_named_with_their_function() {
    let bed = Bed::new();
    let main = format!("{RAW}int main(void) {{ return (int)go_round(); }}");
    for (call, name) in [("SYS_write", "write"), ("SYS_pread64", "pread64"), ("SYS_read", "read")] {
        let program = bed.compile("raw", &main, &[&format!("-DCALL={call}")]);
        let (word, kinds, value) = check(&bed, &program);
        assert_eq!((word, kinds), is("partly", &["raw-syscalls"]));
        let what = value["findings"][0]["what"].as_str().unwrap();
        assert!(what.contains(&format!("{name} (in go_round)")), "{what}");
        run(Command::new("strip").arg(&program));
        let (word, _, value) = check(&bed, &program);
        assert!(word == "partly" && value["findings"][0]["what"].as_str().unwrap().contains(name), "{value}");
    }
    // A function that makes whatever call it is told to.
    let source =
        main.replace("long go_round(void) { return raw(CALL,", "long go_round(long n) { return raw(n,");
    let source = source
        .replace("main(void) { return (int)go_round()", "main(int c, char **v) { return (int)go_round(c)");
    assert_eq!(verdict(&bed, bed.compile("any", &source, &[])), is("partly", &["raw-syscalls-unknown"]));
    // Calls that have nothing to do with files do not count.
    assert_eq!(verdict(&bed, bed.compile("pid", &main, &["-DCALL=SYS_getpid"])), is("yes", &[]));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn raw_system_calls_in_a_library_are_found() {
    let bed = Bed::new();
    bed.compile("libraw.so", RAW, &["-shared", "-fPIC", "-DCALL=SYS_openat"]);
    let at = format!("-L{}", bed.root.display());
    let path = format!("-Wl,-rpath,{}", bed.root.display());
    let source = "long go_round(void);\nint main(void) { return (int)go_round(); }";
    let (word, kinds, value) = check(&bed, bed.compile("uses", source, &[&at, &path, "-lraw"]));
    assert_eq!((word, kinds), is("partly", &["raw-syscalls"]));
    let finding = &value["findings"][0];
    assert!(finding["file"].as_str().unwrap().ends_with("libraw.so"), "{finding}");
    assert!(finding["what"].as_str().unwrap().contains("openat (in go_round)"), "{finding}");
}

/// Data between functions may hold the bytes of the instruction.
#[test]
#[cfg(target_arch = "x86_64")]
fn bytes_that_only_look_like_a_system_call() {
    let bed = Bed::new();
    let table = "__asm__(\".text\\n.balign 64\\n.byte 0x0f,0x05,0xcd,0x80,0x0f,0x05\\n\");";
    let constant = "unsigned g; int main(void) { g = 0x050f050f; return (g & 0x80cd0f05) == 1; }";
    assert_eq!(verdict(&bed, bed.compile("table", &format!("{table}\n{constant}"), &[])), is("yes", &[]));
}

#[test]
fn scripts_are_judged_by_their_interpreter() {
    let bed = Bed::new();
    let script = bed.script("script", "#!/bin/sh -e\nexit 0\n");
    let (word, kinds, value) = check(&bed, &script);
    assert_eq!((word, kinds), is("yes", &[]));
    assert_eq!(value["run_by"][0], "/bin/sh");
    // Without a first line, execvp and the shells take the shell.
    assert_eq!(check(&bed, bed.script("bare", "exit 0\n")).2["run_by"][0], "/bin/sh");

    let interpreter = bed.compile("static", HELLO, &["-static"]);
    let script = bed.script("odd", format!("#!{}\n", interpreter.display()));
    let (word, kinds, value) = check(&bed, &script);
    assert_eq!((word, kinds), is("no", &["static"]));
    assert_eq!(value["findings"][0]["file"], interpreter.to_str().unwrap());

    // env looks in PATH; what it finds is judged too.
    bed.script("by-env", "#!/usr/bin/env -S static\n");
    let path = format!("{}:{}", bed.root.display(), std::env::var("PATH").unwrap());
    let (code, out, err) = outcome(bed.iris(["check", "./by-env"]).env("PATH", path));
    assert!(
        code == 1 && out.contains("run by /usr/bin/env") && out.contains("statically linked"),
        "{out}{err}"
    );

    assert_eq!(verdict(&bed, bed.script("gone", "#!/no/such/sh\n")), is("no", &["no-interpreter"]));
    let itself = bed.script("loop", format!("#!{}\n", bed.at("loop").display()));
    let (code, _, err) = outcome(&mut bed.iris(["check".as_ref(), itself.as_os_str()]));
    assert!(code == 2 && err.contains("too many interpreters"), "{err}");
}

#[test]
fn what_cannot_be_judged_is_an_error() {
    let bed = Bed::new();
    assert_eq!(verdict(&bed, bed.script("junk", b"\x00\x01\x02binary")), is("no", &["unknown-format"]));
    let cut = bed.compile("cut", HELLO, &[]);
    let data = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &data[..40]).unwrap();
    let plain = bed.at("plain");
    std::fs::write(&plain, "text").unwrap();
    for (program, words) in [
        (cut.to_str().unwrap(), "damaged ELF file"),
        ("no-such-program-at-all", "no such program in PATH"),
        ("./no-such", "no such program"),
        ("/tmp", "is a directory"),
        (plain.to_str().unwrap(), "not executable"),
    ] {
        let (code, out, err) = outcome(&mut bed.iris(["check", program]));
        assert_eq!((code, out.as_str()), (2, ""), "{program}: {err}");
        assert!(err.starts_with("iris: ") && err.contains(words), "{program}: {err}");
    }
}

#[test]
fn a_setuid_copy() {
    let bed = Bed::new();
    let program = bed.compile("suid", "#include <stdlib.h>\n#include <stdio.h>\nint main(void) { puts(getenv(\"LD_PRELOAD\") ? \"kept\" : \"dropped\"); return 0; }", &[]);
    let mode = |bits| std::fs::set_permissions(&program, std::fs::Permissions::from_mode(bits)).unwrap();
    // To one's own user it changes nothing for oneself.
    mode(0o4755);
    let (word, kinds, value) = check(&bed, &program);
    assert_eq!((word, kinds), is("yes", &["setuid"]));
    assert!(value["findings"][0]["what"].as_str().unwrap().contains("others who run it"), "{value}");
    if !super::bed::root() {
        return;
    }
    for (bits, uid, gid, kinds) in [
        (0o4755, 65534, 0, &["setuid"][..]),
        (0o2755, 0, 65534, &["setgid"]),
        (0o6755, 65534, 65534, &["setuid", "setgid"]),
    ] {
        std::os::unix::fs::chown(&program, Some(uid), Some(gid)).unwrap();
        mode(bits);
        assert_eq!(verdict(&bed, &program), is("no", kinds));
        // The dynamic linker agrees.
        let (_, out, _) = outcome(Command::new(&program).env("LD_PRELOAD", super::bed::library()));
        assert_eq!(out, "dropped\n");
    }
    // Setgid without the group's x bit is no right.
    mode(0o2745);
    std::os::unix::fs::chown(&program, Some(0), Some(65534)).unwrap();
    mode(0o2745);
    assert_eq!(verdict(&bed, &program), is("yes", &[]));
}

#[test]
fn file_capabilities() {
    let bed = Bed::new();
    let program = bed.compile("caps", HELLO, &[]);
    // struct vfs_cap_data, version 2, effective: CAP_NET_RAW permitted.
    let mut value = [0u8; 20];
    value[..4].copy_from_slice(&0x0200_0001u32.to_le_bytes());
    value[4..8].copy_from_slice(&(1u32 << 13).to_le_bytes());
    let (path, name) = (CString::new(program.as_os_str().as_bytes()).unwrap(), c"security.capability");
    // SAFETY: both names are C strings and the value is readable for its length.
    let set = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if !super::bed::root() {
        let error = std::io::Error::last_os_error().raw_os_error();
        assert_eq!((set, error), (-1, Some(libc::EPERM)), "only root can give a file capabilities");
        return;
    }
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    assert_eq!(verdict(&bed, &program), is("yes", &["capabilities"]), "root gains nothing by them");
    // As another user, who needs a copy of the command that it may run.
    let copy = bed.at("iris");
    super::bed::copy(IRIS, &copy);
    let mut command = Command::new(&copy);
    command.env_clear().args(["check".as_ref(), program.as_os_str()]).uid(65534).gid(65534);
    let (code, out, err) = outcome(&mut command);
    assert!(
        code == 1 && out.contains("file capabilities: the dynamic linker ignores LD_PRELOAD"),
        "{out}{err}"
    );
}
