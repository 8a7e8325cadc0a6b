//! `scripts/install`: what it puts where, that the copy serves programs of any folder, and that it takes away what it
//! put there and nothing else. That pkg-config's flags link programs is the matter of `relink`.
//!
//! Needs gcc and pkg-config.

#[path = "support/install.rs"]
mod install;
mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A private folder, and in it what a build left.
struct Bed {
    dir: TempDir,
    built: PathBuf,
}

impl Bed {
    fn new() -> Bed {
        let dir = tempfile::Builder::new().prefix("iris-install.").tempdir().expect("a temporary folder");
        let built = install::built(dir.path());
        Bed { dir, built }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Installs with this umask, which must succeed.
    fn install(&self, prefix: &Path, umask: &str) -> String {
        let script = install::script(prefix);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]).arg(script.get_program());
        command.args(script.get_args()).arg("--from").arg(&self.built);
        for (name, value) in script.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let (done, said) = install::run(&mut command);
        assert!(done, "scripts/install failed:\n{said}");
        said
    }

    fn uninstall(&self, prefix: &Path) {
        let (done, said) = install::run(install::script(prefix).arg("--uninstall"));
        assert!(done, "scripts/install --uninstall failed:\n{said}");
    }
}

/// Every entry below a folder with its mode, folders with a slash at the end.
fn tree(folder: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut rest = vec![folder.to_owned()];
    while let Some(dir) = rest.pop() {
        for entry in std::fs::read_dir(&dir).expect("read a folder") {
            let entry = entry.expect("an entry");
            let meta = entry.metadata().expect("its metadata");
            let mut name = entry.path().strip_prefix(folder).expect("it is below").display().to_string();
            if meta.is_dir() {
                rest.push(entry.path());
                name.push('/');
            }
            found.insert(name, meta.permissions().mode() & 0o7777);
        }
    }
    found
}

/// What is there, readable for everyone whatever the installer's umask, and that the manual has a page for each
/// subcommand that the command knows.
#[test]
fn everything_is_in_its_place_and_readable() {
    let bed = Bed::new();
    let prefix = bed.at("opt/iris");
    let said = bed.install(&prefix, "077");
    assert!(said.contains("is installed"), "{said}");
    let tree = tree(&bed.at("opt"));
    for (name, mode) in &tree {
        let wanted = if name.ends_with('/') || name == "iris/bin/iris" || name.ends_with(".so") {
            0o755
        } else {
            0o644
        };
        assert_eq!(*mode, wanted, "mode of {name}: {mode:o}");
    }
    let help =
        Command::new(prefix.join("bin/iris")).arg("--help").output().expect("run the installed command");
    let help = String::from_utf8(help.stdout).expect("help is text");
    let commands = help.split("Commands:\n").nth(1).and_then(|t| t.split("\n\n").next()).expect("a list");
    let pages = commands
        .lines()
        .filter_map(|l| l.strip_prefix("  ")?.split(' ').next().filter(|w| !w.is_empty()))
        .map(|c| format!("iris/share/man/man1/iris-{c}.1"))
        .collect::<Vec<_>>();
    assert!(pages.len() > 5, "{help}");
    for name in pages.iter().map(String::as_str).chain([
        "iris/lib/libiris.so",
        "iris/include/iris.h",
        "iris/lib/pkgconfig/iris.pc",
        "iris/share/man/man1/iris.1",
        "iris/share/bash-completion/completions/iris",
        "iris/share/zsh/site-functions/_iris",
        "iris/share/fish/vendor_completions.d/iris.fish",
        "iris/share/doc/iris/LICENSE",
    ]) {
        assert!(tree.contains_key(name), "{name} is missing in {tree:#?}");
    }
}

/// A program in a folder of its own, under the installed library by its whole name: its small writes are staged, and
/// its file is right. The same by the installed command, which finds the library by itself.
#[test]
fn the_installed_copy_serves_programs_of_another_folder() {
    let bed = Bed::new();
    let prefix = bed.at("opt");
    bed.install(&prefix, "022");
    let elsewhere = bed.at("elsewhere");
    std::fs::create_dir(&elsewhere).expect("make a folder");
    let source = elsewhere.join("p.c");
    std::fs::write(
        &source,
        "#include <fcntl.h>\n#include <unistd.h>\n\
         int main(int c, char **v) { int fd = open(v[c - 1], O_CREAT | O_WRONLY, 0644);\n\
         for (int i = 0; i < 1000; i++) if (write(fd, \"0123456789\", 10) != 10) return 1;\n\
         return close(fd); }\n",
    )
    .expect("write a program");
    let built = Command::new("gcc").current_dir(&elsewhere).args(["-o", "p", "p.c"]).status();
    assert!(built.expect("run gcc; is it installed?").success());
    let run = |name: &str, command: &mut Command| {
        let (mount, report) = (bed.at(&format!("{name}-mount")), bed.at(&format!("{name}-report")));
        std::fs::create_dir(&mount).expect("make a folder");
        let pool = bed.at("pool");
        std::fs::create_dir_all(&pool).expect("make a folder");
        command.current_dir(&elsewhere).env("IRIS_TIER0_PATH", pool).env("IRIS_REPORT", &report);
        let program = elsewhere.join("p");
        match name {
            "preload" => command
                .arg(&program)
                .env("IRIS_MOUNT", &mount)
                .env("LD_PRELOAD", prefix.join("lib/libiris.so")),
            _ => command.args(["run", "--mount"]).arg(&mount).arg("--").arg(&program),
        };
        let status = command.arg(mount.join("file")).status().expect("run the program");
        assert!(status.success(), "{name}: {status}");
        let file = std::fs::read_to_string(mount.join("file")).expect("read the file");
        assert!(file == "0123456789".repeat(1000), "{name}: the file is wrong");
        let report = std::fs::read_to_string(&report).unwrap_or_else(|e| panic!("{name}: no report: {e}"));
        let mine = report.lines().find(|l| l.contains("\"program\":\"p\"")).unwrap_or_default();
        assert!(
            !mine.is_empty() && !mine.contains("\"staged_writes\":0,"),
            "{name}: nothing staged: {report}"
        );
    };
    run("preload", Command::new("env").env_clear());
    run("command", Command::new(prefix.join("bin/iris")).env_clear());
}

/// Taken away, nothing of it is left: not the folders it made, but those that were there, and what others put there.
#[test]
fn uninstalling_removes_what_was_installed_and_nothing_else() {
    let bed = Bed::new();
    let prefix = bed.at("prefix");
    bed.install(&prefix, "022");
    bed.install(&prefix, "022");
    bed.uninstall(&prefix);
    assert!(!prefix.exists(), "left: {:#?}", tree(&prefix));

    for folder in ["bin", "lib", "share/doc"] {
        std::fs::create_dir_all(prefix.join(folder)).expect("make a folder");
    }
    std::fs::write(prefix.join("lib/libother.so"), "other").expect("write a file");
    let before = tree(&prefix);
    bed.install(&prefix, "022");
    // What an earlier version had installed goes with the next one, as what is on the list goes.
    let list = prefix.join("share/iris/installed");
    std::fs::write(prefix.join("bin/iris-old"), "old").expect("write a file");
    let listed = std::fs::read_to_string(&list).expect("read the list");
    std::fs::write(&list, format!("bin/iris-old\n{listed}")).expect("write the list");
    bed.install(&prefix, "022");
    assert!(!prefix.join("bin/iris-old").exists(), "what an earlier version installed is still there");
    bed.uninstall(&prefix);
    assert_eq!(tree(&prefix), before);

    let (done, said) = install::run(install::script(&prefix).arg("--uninstall"));
    assert!(!done && said.contains("nothing of Iris is installed below"), "{said}");
}

/// For a package everything lies below DESTDIR, and names the prefix alone.
#[test]
fn a_stage_holds_what_names_the_prefix() {
    let bed = Bed::new();
    let stage = bed.at("stage");
    let staged = |args: &[&str]| {
        let mut command = install::script(Path::new("/opt/iris"));
        install::run(command.env("DESTDIR", &stage).args(args))
    };
    let (done, said) = staged(&["--from", bed.built.to_str().expect("paths are text")]);
    assert!(done, "{said}");
    let staged_prefix = stage.join("opt/iris");
    let text = std::fs::read_to_string(staged_prefix.join("lib/pkgconfig/iris.pc")).expect("read iris.pc");
    assert!(text.starts_with("prefix=/opt/iris\n") && !text.contains("stage"), "{text}");
    let asked = |question: &[&str]| {
        let answer = Command::new("pkg-config")
            .args(question)
            .arg("iris")
            .env("PKG_CONFIG_PATH", staged_prefix.join("lib/pkgconfig"))
            .output()
            .expect("run pkg-config; is it installed?");
        String::from_utf8(answer.stdout).expect("flags are text")
    };
    let flags = asked(&["--cflags", "--libs"]);
    let wanted = ["-I/opt/iris/include", "-L/opt/iris/lib", "-liris"];
    assert!(wanted.iter().all(|w| flags.contains(w)), "{flags}");
    assert_eq!(asked(&["--modversion"]).trim(), env!("CARGO_PKG_VERSION"));
    let list = std::fs::read_to_string(staged_prefix.join("share/iris/installed")).expect("read the list");
    assert!(!list.contains("stage"), "{list}");
    let (done, said) = staged(&["--uninstall"]);
    assert!(done && !staged_prefix.exists(), "{said}");
}

/// What cannot be right is refused before anything is written.
#[test]
fn wrong_prefixes_and_sources_are_refused() {
    let bed = Bed::new();
    let empty = bed.at("empty");
    std::fs::create_dir(&empty).expect("make a folder");
    let from = |prefix: &Path, from: &Path| install::run(install::script(prefix).arg("--from").arg(from));
    let file = bed.at("file");
    std::fs::write(&file, "").expect("write a file");
    for (prefix, source, words) in [
        (Path::new("opt"), bed.built.as_path(), "is not absolute"),
        (&bed.at("a b"), &bed.built, "a blank or a colon"),
        (&bed.at("a:b"), &bed.built, "a blank or a colon"),
        (&bed.at("p"), &empty, "libiris.so and iris"),
        (&file.join("p"), &bed.built, "cannot write"),
    ] {
        let (done, said) = from(prefix, source);
        assert!(!done && said.contains(words), "{}: {said}", prefix.display());
    }
    for name in ["a b", "a:b", "p"] {
        assert!(!bed.at(name).exists(), "{name} was made");
    }
}
