//! One program, run on a plain directory and on a mount: standard output and error, exit status and the tree that
//! remains must agree. Each test is one program of c-tests/ in all variants of `support::pair::VARIANTS`.
//!
//! Needs gcc, g++ and gfortran. The library under test is built when it is not there (see
//! `support::build::libiris`). `IRIS_TEST_NATIVE_RUNS=20` lets each program compare itself with itself that often.

mod support;

use support::pair::{self, Place, Program, Variant, alone, together, with_helpers};
use support::{build, tree};

/// Mounts for `two_mounts`: two apart, three of which one lies in another, one round all, and all at once.
const MOUNTS: &[Variant] = &[
    mounts("apart", &[("IRIS_MOUNT", "{d}/a:{d}/b")]),
    mounts("nested", &[("IRIS_MOUNT", "{d}/a:{d}/b:{d}/a/in,threshold=100")]),
    mounts("only-inner", &[("IRIS_MOUNT", "{d}/a/in")]),
    mounts("around", &[("IRIS_MOUNT", "{d}")]),
    mounts("all", &[("IRIS_MOUNT", "{d},threshold=4096:{d}/a,threshold=0:{d}/a/in:{d}/b")]),
];

/// Variants for `numbers`, in which the flusher has much to do beside the program.
const BESIDE: &[Variant] = &[
    mounts("plain", &[("IRIS_MOUNT", "{d}")]),
    mounts("flush-1ms", &[("IRIS_MOUNT", "{d}"), ("IRIS_TIER0_FLUSH_AFTER_MS", "1")]),
    Variant {
        drain: true,
        ..mounts(
            "settle-background-1ms",
            &[("IRIS_MOUNT", "{d}"), ("IRIS_SETTLE", "background"), ("IRIS_TIER0_FLUSH_AFTER_MS", "1")],
        )
    },
    mounts("kv-1ms", &[("IRIS_MOUNT", "{virt}=kv:{store}"), ("IRIS_TIER0_FLUSH_AFTER_MS", "1")]).virtually(),
    Variant {
        drain: true,
        ..mounts(
            "kv-background-1ms",
            &[
                ("IRIS_MOUNT", "{virt}=kv:{store}"),
                ("IRIS_SETTLE", "background"),
                ("IRIS_TIER0_FLUSH_AFTER_MS", "1"),
            ],
        )
        .virtually()
    },
    mounts("hybrid-1ms", pair::HYBRID),
];

const fn mounts(name: &'static str, env: &'static [(&'static str, &'static str)]) -> Variant {
    Variant { name, place: Place::Path, env, shared: true, stages: true, drain: false }
}

macro_rules! programs {
    ($($name:ident = $spec:expr;)*) => {
        const PROGRAMS: &[Program] = &[$($spec),*];
        $(#[test]
        fn $name() {
            pair::check(&$spec);
        })*
    };
}

programs! {
    open_flags = alone("open_flags");
    rw_sizes = alone("rw_sizes");
    vectors = alone("vectors");
    seek = alone("seek");
    append = together("append");
    truncate = together("truncate");
    sparse = alone("sparse");
    dup = alone("dup");
    fork_offset = together("fork_offset");
    exec_inherit = Program { outside: true, ..with_helpers("exec_inherit") };
    heirs = Program { outside: true, ..with_helpers("heirs") };
    numbers = Program { variants: BESIDE, ..together("numbers") };
    spawn = with_helpers("spawn");
    shared = together("shared");
    unlink_rename = together("unlink_rename");
    symlinks = Program { near: true, ..alone("symlinks") };
    names = Program { near: true, ..alone("names") };
    stat_sizes = together("stat_sizes");
    mmap_mix = together("mmap_mix");
    inkernel = together("inkernel");
    fallocate = alone("fallocate");
    locks = together("locks");
    sync_calls = alone("sync_calls");
    raw_syscalls = alone("raw_syscalls");
    naked = Program { plain: true, ..alone("naked") };
    other_doors = together("other_doors");
    special_open = alone("special_open");
    errors = Program { near: true, ..together("errors") };
    rights = Program { plain: true, others: true, ..together("rights") };
    bad_buffers = alone("bad_buffers");
    stdio_modes = alone("stdio_modes");
    stdio_text = alone("stdio_text");
    stdio_fd = together("stdio_fd");
    stdio_wide = alone("stdio_wide");
    exits = with_helpers("exits");
    threads = together("threads");
    replaced = alone("replaced");
    signals = alone("signals");
    dirs = alone("dirs");
    attributes = together("attributes");
    scattered = alone("scattered");
    large = alone("large");
    many_files = together("many_files");
    streams = alone("streams");
    fortran_io = alone("fortran_io");
    chk_names = alone("chk_names");
    old_names = alone("old_names");
    procs_storm = together("procs_storm");
    close_to_open = alone("close_to_open");
    two_mounts = Program { folders: &["a/in", "b", "plain"], variants: MOUNTS, ..alone("two_mounts") };
}

/// A program that does not agree with itself proves nothing about Iris.
#[test]
fn every_program_is_deterministic_natively() {
    let runs = std::env::var("IRIS_TEST_NATIVE_RUNS").map_or(2, |n| n.parse().expect("a number of runs"));
    for p in PROGRAMS {
        pair::agrees_with_itself(p, runs);
    }
}

/// The same programs built as distributions build theirs: fortified (`__read_chk`, `__open64_2`, `__fread_chk` …)
/// and with 64-bit names for everything.
#[test]
fn fortified_with_64_bit_names() {
    let flags = ["-O2", "-D_FORTIFY_SOURCE=2", "-D_FILE_OFFSET_BITS=64"];
    let library = build::libiris();
    let mut failed = Vec::new();
    for p in PROGRAMS.iter().filter(|p| p.name != "fortran_io" && p.folders.is_empty()) {
        let program = build::program_with(p.name, "-fortified", &flags);
        let said = pair::pair(p, &pair::VARIANTS[0], &program, &program, Some(&library));
        if !said.is_empty() {
            failed.push(said.join("\n    "));
        }
    }
    assert!(failed.is_empty(), "{} fortified programs differ:\n\n{}\n", failed.len(), failed.join("\n\n"));
}

/// The harness must be able to fail: a library that flips one bit of one write is caught, in the words of the
/// program and in the tree, with the offset.
#[test]
fn a_corrupting_library_is_caught() {
    let broken = build::library("broken_preload");
    for name in ["dup", "sparse", "exits"] {
        let p = Program { helpers: name == "exits", ..alone(name) };
        let program = build::program(name);
        let plain = pair::VARIANTS[0];
        let said = pair::pair(&p, &plain, &program, &program, Some(&broken)).join("\n");
        assert!(said.contains("first differs at byte") || said.contains("stdout line"), "{name}: {said}");
        assert!(said.contains("no staged write"), "{name}: a run without Iris must be noticed: {said}");
    }
}

/// Each kind of difference between two trees is seen, and named.
#[test]
fn every_difference_of_trees_is_named() {
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
    use std::path::Path;
    let make = |d: &Path| {
        fs::write(d.join("f"), vec![7u8; 10000]).expect("write");
        fs::write(d.join("g"), "g").expect("write");
        fs::write(d.join("h"), "h").expect("write");
        fs::create_dir(d.join("sub")).expect("mkdir");
        symlink("f", d.join("l")).expect("symlink");
        let sparse = File::create(d.join("s")).expect("create");
        sparse.write_at(b"x", 1 << 20).expect("write");
    };
    type Change = fn(&Path);
    let cases: &[(&str, Change)] = &[
        ("first differs at byte 5000", |d| {
            File::options().write(true).open(d.join("f")).expect("open").write_at(&[8], 5000).expect("write");
        }),
        ("f: size", |d| {
            File::options().append(true).open(d.join("f")).expect("open").set_len(9999).expect("cut")
        }),
        ("g: mode", |d| fs::set_permissions(d.join("g"), fs::Permissions::from_mode(0o600)).expect("chmod")),
        ("g: only in the first", |d| fs::remove_file(d.join("g")).expect("unlink")),
        ("new: only in the second", |d| fs::write(d.join("new"), "").expect("write")),
        ("l: points to f / g", |d| {
            fs::remove_file(d.join("l")).expect("unlink");
            symlink("g", d.join("l")).expect("symlink");
        }),
        ("g: links 1 / 2", |d| {
            fs::remove_file(d.join("h")).expect("unlink");
            fs::hard_link(d.join("g"), d.join("h")).expect("link");
        }),
        ("sub: a directory / a file", |d| {
            fs::remove_dir(d.join("sub")).expect("rmdir");
            fs::write(d.join("sub"), "").expect("write");
        }),
        ("s: data pieces differ", |d| {
            let f = File::options().write(true).open(d.join("s")).expect("open");
            f.write_at(&[0; 4096], 0).expect("write");
        }),
        ("user.test", |d| {
            let path = std::ffi::CString::new(d.join("g").to_str().expect("text")).expect("no zero");
            // SAFETY: both names end with a zero and the value is readable for its length.
            let r =
                unsafe { libc::setxattr(path.as_ptr(), c"user.test".as_ptr(), c"v".as_ptr().cast(), 1, 0) };
            assert_eq!(r, 0);
        }),
    ];
    for (words, change) in cases {
        let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch folder");
        let (a, b) = (scratch.path().join("a"), scratch.path().join("b"));
        for d in [&a, &b] {
            fs::create_dir(d).expect("mkdir");
            make(d);
        }
        assert_eq!(tree::differences(&a, &b, true), Vec::<String>::new());
        change(&b);
        let said = tree::differences(&a, &b, true).join("\n");
        assert!(said.contains(words), "wanted {words:?} in {said:?}");
    }
}
