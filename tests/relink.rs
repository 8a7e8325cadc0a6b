//! Relinking: C, C++ and Fortran programs linked with `-liris`, by the flags that pkg-config gives, behave on a
//! mount as the plain programs do on a plain directory, without LD_PRELOAD.
//!
//! Needs gcc, g++, gfortran and pkg-config.

#[path = "support/install.rs"]
mod install;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use support::build;
use support::pair::{self, Place, Program, Scene, alone, together};

/// An installed Iris. An earlier run's is replaced file by file: another test process may be running programs that
/// have the old library mapped.
fn prefix() -> &'static Path {
    static DONE: OnceLock<PathBuf> = OnceLock::new();
    DONE.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let prefix = place.join("prefix");
        let built = install::built(place);
        let (done, said) = install::run(install::script(&prefix).arg("--from").arg(built));
        assert!(done, "scripts/install failed:\n{said}");
        prefix
    })
}

/// What `pkg-config --cflags --libs iris` says.
fn flags() -> Vec<String> {
    let output = Command::new("pkg-config")
        .args(["--cflags", "--libs", "iris"])
        .env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"))
        .output()
        .expect("run pkg-config; is it installed?");
    assert!(output.status.success(), "pkg-config: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("flags are text").split_whitespace().map(str::to_owned).collect()
}

/// The program `name` linked with Iris.
fn relinked(name: &str) -> PathBuf {
    let flags = flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    build::program_with(name, "-relinked", &flags)
}

fn check(p: &Program) {
    let program = relinked(p.name);
    let plain = build::program(p.name);
    let mut said = Vec::new();
    for name in ["plain", "defaults", "cwd", "output"] {
        let v = pair::VARIANTS.iter().find(|v| v.name == name).expect("a variant of that name");
        said.extend(pair::pair(p, v, &plain, &program, None));
    }
    assert!(said.is_empty(), "linked with -liris:\n    {}", said.join("\n    "));
}

macro_rules! programs {
    ($($name:ident = $spec:expr;)*) => {
        $(#[test]
        fn $name() {
            check(&$spec);
        })*
    };
}

programs! {
    rw_sizes = alone("rw_sizes");
    dup = alone("dup");
    append = together("append");
    stdio_fd = together("stdio_fd");
    stdio_modes = alone("stdio_modes");
    fork_offset = together("fork_offset");
    mmap_mix = together("mmap_mix");
    streams = alone("streams");
    fortran_io = alone("fortran_io");
}

/// The header and its functions, in a program that only makes sense linked.
#[test]
fn header_and_settle() {
    let program = relinked("relinked");
    let p = alone("relinked");
    let mut scene = Scene::new("relinked", "linked", &[]);
    let env = scene.environment(&pair::VARIANTS[0], None);
    let got = scene.run(&program, &p, Place::Path, env.clone());
    let text = String::from_utf8_lossy(&got.stdout);
    assert_eq!(got.status, "exit 0", "{text}{}", String::from_utf8_lossy(&got.stderr));
    for line in
        ["version 1\n", "kernel reads 0 before\n", "kernel reads 100 after", "iris_settle(P(\"f\")) = 0\n"]
    {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }
    assert!(
        text.contains("iris_settle(\"/proc/self/maps\") = 0\n"),
        "outside every mount there is nothing to do:\n{text}"
    );
    let expected: Vec<u8> = (0..100u8)
        .map(|i| if (50..62).contains(&i) { b"staged again"[usize::from(i) - 50] } else { b'0' + i % 10 })
        .collect();
    assert_eq!(std::fs::read(scene.dir().join("f")).expect("read the file"), expected);
    assert_eq!(scene.left_in_tier0(&env), Vec::<String>::new());
}
