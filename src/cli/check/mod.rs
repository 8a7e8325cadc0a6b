//! `iris check PROGRAM`: will its file calls be seen? Owns the judgement and its words; the reading of ELF files
//! is [`elf`]'s, the search for raw system calls [`raw`]'s. Runs nothing but the system's dynamic linker in its
//! listing mode.

mod elf;
mod raw;
mod secure;

use super::say::Failure;
use super::which;
use clap::Args;
use object::ReadCache;
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Options of `iris check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// A program, by path or by its name in PATH
    program: OsString,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How far a finding keeps Iris from a program's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Not at all; worth knowing.
    Note,
    /// Some of its calls are not seen.
    Partly,
    /// None of its calls is seen.
    Blocks,
}

impl Effect {
    fn name(self) -> &'static str {
        match self {
            Effect::Note => "note",
            Effect::Partly => "partly",
            Effect::Blocks => "blocks",
        }
    }
}

/// One thing found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// A word for scripts.
    pub kind: &'static str,
    /// What follows from it.
    pub effect: Effect,
    /// The file it was found in.
    pub file: PathBuf,
    /// What it is.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// Everything found about one program.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The program, then what runs it if it is a script.
    pub chain: Vec<PathBuf>,
    /// The findings, the gravest first.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// The gravest effect.
    pub fn effect(&self) -> Effect {
        self.findings.iter().map(|f| f.effect).max().unwrap_or(Effect::Note)
    }

    fn add(
        &mut self,
        kind: &'static str,
        effect: Effect,
        file: &Path,
        what: impl Into<String>,
        remedy: &str,
    ) {
        let (what, remedy) = (what.into(), remedy.to_string());
        self.findings.push(Finding { kind, effect, file: file.to_path_buf(), what, remedy });
    }
}

/// Runs the subcommand.
pub fn main(args: &CheckArgs) -> Result<(String, ExitCode), Failure> {
    let path = which::find(&args.program).map_err(|e| Failure::new(2, e.to_string()))?;
    let verdict = judge(&path, true)?;
    let (word, code) = match verdict.effect() {
        Effect::Note => ("yes", 0),
        Effect::Partly => ("partly", 3),
        Effect::Blocks => ("no", 1),
    };
    let text = if args.json { as_json(&verdict, word) } else { as_text(&verdict, word) };
    Ok((text, ExitCode::from(code)))
}

fn as_json(verdict: &Verdict, word: &str) -> String {
    let findings: Vec<_> = verdict
        .findings
        .iter()
        .map(|f| {
            json!({"kind": f.kind, "effect": f.effect.name(), "file": f.file.display().to_string(),
                   "what": f.what, "do": f.remedy})
        })
        .collect();
    let chain: Vec<_> = verdict.chain.iter().map(|p| p.display().to_string()).collect();
    let value = json!({"program": chain.first(), "run_by": chain.get(1..), "intercepted": word, "findings": findings});
    format!("{value:#}\n")
}

fn as_text(verdict: &Verdict, word: &str) -> String {
    let mut text = String::new();
    let program = verdict.chain.first().map(|p| p.display().to_string()).unwrap_or_default();
    let head = match word {
        "yes" => "will be intercepted",
        "partly" => "will be intercepted in part: some of its calls go past Iris",
        _ => "will NOT be intercepted: it runs, but as if Iris were not there",
    };
    let _ = writeln!(text, "{program}: {head}");
    for runner in verdict.chain.iter().skip(1) {
        let _ = writeln!(text, "  run by {}", runner.display());
    }
    for finding in &verdict.findings {
        let _ = writeln!(text, "  {} [{}: {}]", finding.what, finding.effect.name(), finding.file.display());
        if !finding.remedy.is_empty() {
            let _ = writeln!(text, "    -> {}", finding.remedy);
        }
    }
    text
}

/// Judges a program. `deep` also looks for raw system calls, in it and in its libraries, which reads them whole.
pub fn judge(path: &Path, deep: bool) -> Result<Verdict, Failure> {
    let mut verdict = Verdict::default();
    follow(path, deep, &mut verdict)?;
    verdict.findings.sort_by_key(|f| std::cmp::Reverse(f.effect));
    Ok(verdict)
}

/// As many interpreters of interpreters as Linux follows.
const DEPTH: usize = 5;

fn follow(path: &Path, deep: bool, verdict: &mut Verdict) -> Result<(), Failure> {
    verdict.chain.push(path.to_path_buf());
    let unreadable = |e| Failure::new(2, format!("{}: cannot be read: {e}", path.display()));
    let mut file = fs::File::open(path).map_err(unreadable)?;
    // As much as the kernel reads to see what a file is.
    let mut data = Vec::new();
    file.by_ref().take(256).read_to_end(&mut data).map_err(unreadable)?;
    if data.starts_with(b"\x7fELF") {
        secure::look(path, verdict);
        return binary(path, file, deep, verdict);
    }
    let runners = match script(&data) {
        Some(line) => runners(path, line)?,
        None if data[..data.len().min(128)].contains(&0) => {
            verdict.add(
                "unknown-format",
                Effect::Blocks,
                path,
                "neither an ELF program nor a script",
                "check the program that the system runs it with (binfmt_misc, an emulator)",
            );
            return Ok(());
        }
        // execvp and the shells run a text without `#!` with the shell.
        None => vec![PathBuf::from("/bin/sh")],
    };
    for runner in runners {
        if verdict.chain.len() >= DEPTH {
            return Err(Failure::new(2, format!("{}: too many interpreters", path.display())));
        }
        if !runner.exists() {
            verdict.add(
                "no-interpreter",
                Effect::Blocks,
                path,
                format!("its interpreter {} does not exist: it cannot be run", runner.display()),
                "correct its first line",
            );
            return Ok(());
        }
        follow(&runner, deep, verdict)?;
    }
    Ok(())
}

/// The rest of the first line of a script.
fn script(data: &[u8]) -> Option<&[u8]> {
    let line = data.strip_prefix(b"#!")?;
    Some(line.split(|b| *b == b'\n').next().unwrap_or_default())
}

/// What runs a script: its interpreter, and for `env NAME` also the program of that name.
fn runners(script: &Path, line: &[u8]) -> Result<Vec<PathBuf>, Failure> {
    let mut words = line.split(|b| b.is_ascii_whitespace()).filter(|w| !w.is_empty());
    let Some(first) = words.next() else {
        return Err(Failure::new(2, format!("{}: its first line names no interpreter", script.display())));
    };
    let first = PathBuf::from(OsStr::from_bytes(first));
    let mut all = vec![first.clone()];
    if first.file_name() == Some(OsStr::new("env")) {
        let name = words.find(|w| !w.starts_with(b"-") && !w.contains(&b'='));
        if let Some(name) = name {
            let found = which::find(OsStr::from_bytes(name))
                .map_err(|e| Failure::new(2, format!("{}: {e}", script.display())))?;
            all.push(found);
        }
    }
    Ok(all)
}

fn binary(path: &Path, file: fs::File, deep: bool, verdict: &mut Verdict) -> Result<(), Failure> {
    // Only the tables are read, also of a large program.
    let facts = elf::facts(&ReadCache::new(file))
        .map_err(|e| Failure::new(2, format!("{}: a damaged ELF file: {e}", path.display())))?;
    if facts.machine != elf::NATIVE || !facts.wide {
        verdict.add(
            "architecture",
            Effect::Blocks,
            path,
            format!(
                "made for {}; libiris.so is made for {}",
                elf::machine_name(facts.machine, facts.wide),
                elf::machine_name(elf::NATIVE, true)
            ),
            "use a build of the program for this architecture",
        );
        return Ok(());
    }
    if facts.library {
        verdict.add(
            "library",
            Effect::Blocks,
            path,
            "a library, not a program",
            "check the program that loads it",
        );
        return Ok(());
    }
    if let Some(because) = facts.go_because {
        verdict.add(
            "go",
            Effect::Blocks,
            path,
            format!("made by Go, whose runtime calls the kernel itself and not through libc: {because}"),
            "build it with gccgo, which uses libc; or let it work outside the mount; what it does there is safe, \
             since files that are closed and settled are plain files, but it gains nothing",
        );
    }
    let Some(linker) = &facts.interpreter else {
        verdict.add(
            "static",
            Effect::Blocks,
            path,
            "statically linked: there is no dynamic linker that would load libiris.so",
            "link it dynamically (without -static), or link it with -liris; Rust for musl: use the gnu target",
        );
        return Ok(());
    };
    if facts.go {
        return Ok(());
    }
    let musl = linker.contains("ld-musl")
        || facts.needed.iter().any(|n| n.starts_with("libc.musl") || n == "libc.so");
    if musl {
        verdict.add(
            "musl",
            Effect::Blocks,
            path,
            format!("it uses musl as its C library ({linker}); libiris.so is made for glibc"),
            "use a build of the program for glibc",
        );
        return Ok(());
    }
    let linker = Path::new(linker);
    if !linker.exists() {
        verdict.add(
            "no-linker",
            Effect::Blocks,
            path,
            format!("its dynamic linker {} does not exist: it cannot be run", linker.display()),
            "install the C library that it was made for",
        );
        return Ok(());
    }
    let own_libc = !["/lib", "/lib64", "/usr/lib", "/usr/lib64"].iter().any(|d| linker.starts_with(d));
    if own_libc {
        verdict.add(
            "own-libc",
            Effect::Note,
            path,
            format!("it brings a C library of its own ({})", linker.display()),
            "if the dynamic linker then says that libiris.so cannot be preloaded, that library is older than the \
             one that libiris.so was made with",
        );
    }
    if deep {
        scan(path, verdict)?;
        // Another linker is another file that a program brought: it is not run to ask it.
        if !own_libc {
            libraries(path, linker, verdict)?;
        }
    }
    Ok(())
}

/// Looks for raw system calls in one file.
fn scan(path: &Path, verdict: &mut Verdict) -> Result<(), Failure> {
    let data =
        fs::read(path).map_err(|e| Failure::new(2, format!("{}: cannot be read: {e}", path.display())))?;
    let text = elf::text(&data)
        .map_err(|e| Failure::new(2, format!("{}: a damaged ELF file: {e}", path.display())))?;
    let summary = raw::Summary::of(&raw::find(&text));
    if summary.harmless() {
        return Ok(());
    }
    let some = |places: &[String]| {
        let more = places.len().saturating_sub(3);
        let list = places.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        if more > 0 { format!("{list} and {more} more") } else { list }
    };
    if !summary.files.is_empty() {
        let calls: Vec<_> =
            summary.files.iter().map(|(n, places)| format!("{n} (in {})", some(places))).collect();
        verdict.add(
            "raw-syscalls",
            Effect::Partly,
            path,
            format!("calls the kernel itself, past libc, for {}", calls.join("; ")),
            "where the program can be told to use ordinary calls (psync in place of io_uring or libaio, say), do; \
             else keep the files that it reaches this way outside the mount",
        );
    }
    if !summary.unknown.is_empty() {
        verdict.add(
            "raw-syscalls-unknown",
            Effect::Partly,
            path,
            format!(
                "calls the kernel itself, past libc, for calls that are known only when it runs (in {})",
                some(&summary.unknown)
            ),
            "compare IRIS_REPORT with what you expect: a file with far fewer calls than the program makes is \
             reached past libc",
        );
    }
    Ok(())
}

/// Libraries that belong to the C library: their system calls are the ones that are intercepted above.
const LIBC: [&str; 12] = [
    "libc.so",
    "ld-linux",
    "ld64.so",
    "libpthread.so",
    "libdl.so",
    "librt.so",
    "libm.so",
    "libutil.so",
    "libresolv.so",
    "libnsl.so",
    "libanl.so",
    "linux-vdso",
];

/// Scans the libraries that the dynamic linker would load with the program.
fn libraries(path: &Path, linker: &Path, verdict: &mut Verdict) -> Result<(), Failure> {
    let out = Command::new(linker)
        .arg("--list")
        .arg(path)
        .env_remove("LD_PRELOAD")
        .env_remove("LD_AUDIT")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Failure::new(2, format!("{}: {e}", linker.display())))?;
    let list = String::from_utf8_lossy(&out.stdout);
    let mut missing: Vec<String> = list
        .lines()
        .filter_map(|l| l.split_once("=> not found"))
        .map(|(name, _)| name.trim().to_string())
        .collect();
    if !out.status.success() && missing.is_empty() {
        missing.push(String::from_utf8_lossy(&out.stderr).trim().to_string());
    }
    for what in missing {
        verdict.add(
            "missing-library",
            Effect::Note,
            path,
            format!("a library that it needs is not found: {what}"),
            "the program will not start until it is (LD_LIBRARY_PATH?)",
        );
    }
    for line in list.lines() {
        let Some((name, file)) = line.split_once(" => ") else { continue };
        let file = Path::new(file.rsplit_once(" (").map_or(file, |(f, _)| f).trim());
        let name = name.trim().rsplit('/').next().unwrap_or_default();
        if !file.is_absolute() || LIBC.iter().any(|l| name.starts_with(l)) || name.starts_with("libiris.so") {
            continue;
        }
        scan(file, verdict)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        assert_eq!(script(b"#!/bin/sh -e\nexit\n"), Some(&b"/bin/sh -e"[..]));
        assert_eq!(script(b"exit\n"), None);
        let all = runners(Path::new("x"), b" /usr/bin/env -S A=1 sh -e").unwrap();
        assert_eq!(all[0], Path::new("/usr/bin/env"));
        assert_eq!(all[1].file_name(), Some(OsStr::new("sh")));
        assert!(runners(Path::new("x"), b"  ").is_err());
    }
}
