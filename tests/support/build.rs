//! Building the programs of c-tests/ and finding libiris.so. Owns the folder of built programs below the target
//! directory; a program is built again when its source, or a header beside it, is newer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where built programs lie.
pub fn programs_dir() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-tests");
    std::fs::create_dir_all(&dir).expect("create the folder of built programs");
    dir
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|m| m.modified()).ok()
}

/// Runs a compiler, or fails the test with everything it said.
fn compile(command: &mut Command, what: &str) {
    let output = match command.output() {
        Ok(output) => output,
        Err(e) => panic!("cannot run {:?} to build {what}: {e}; is it installed?", command.get_program()),
    };
    assert!(
        output.status.success(),
        "building {what} failed: {command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Builds `output` from `source` once in this process, and only if it is older than its sources.
fn once(output: &str, source: &Path, also: &[PathBuf], build: impl FnOnce(&Path)) -> PathBuf {
    static LOCKS: OnceLock<Mutex<HashMap<String, Arc<Mutex<()>>>>> = OnceLock::new();
    let lock = LOCKS
        .get_or_init(Mutex::default)
        .lock()
        .expect("no builder panics with this lock")
        .entry(output.to_owned())
        .or_default()
        .clone();
    // A builder that failed poisons the lock: every later user of the program shall fail with the same words.
    let _guard = lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let target = programs_dir().join(output);
    let newest = also.iter().filter_map(|p| modified(p)).chain(modified(source)).max();
    assert!(newest.is_some() && source.exists(), "{} is missing", source.display());
    if modified(&target) < newest {
        let fresh = programs_dir().join(format!("{output}.{}.new", std::process::id()));
        build(&fresh);
        std::fs::rename(&fresh, &target).expect("put the built program in its place");
    }
    target
}

fn gcc(compiler: &str) -> Command {
    let mut command = Command::new(compiler);
    // The programs pass bad pointers and sizes on purpose; those warnings are the test.
    command.args(["-O1", "-g", "-Wall", "-Wextra", "-Wno-nonnull", "-Wno-stringop-overflow"]);
    command.args(["-Wno-stringop-overread", "-Wno-unused-result", "-pthread"]);
    command
}

/// The program `name`, built from `c-tests/name.c`, `.cpp` or `.f90` with `extra` arguments; `suffix` keeps
/// variants of one source apart.
pub fn program_with(name: &str, suffix: &str, extra: &[&str]) -> PathBuf {
    let folder = root().join("c-tests");
    let header = ["common.h", "size_limit.h"].map(|name| folder.join(name)).to_vec();
    let output = format!("{name}{suffix}");
    let (compiler, source) = [("gcc", "c"), ("g++", "cpp"), ("gfortran", "f90")]
        .map(|(c, e)| (c, folder.join(format!("{name}.{e}"))))
        .into_iter()
        .find(|(_, s)| s.exists())
        .unwrap_or_else(|| panic!("no source of {name} in {}", folder.display()));
    once(&output, &source, &header, |to| {
        let mut command = match compiler {
            "gfortran" => {
                let mut c = Command::new(compiler);
                c.args(["-O1", "-g"]);
                c
            }
            _ => gcc(compiler),
        };
        compile(command.arg("-o").arg(to).arg(&source).args(extra), &output);
    })
}

/// The program `name` as it is.
pub fn program(name: &str) -> PathBuf {
    program_with(name, "", &[])
}

/// The shared library `lib<name>.so` from `c-tests/name.c`.
pub fn library(name: &str) -> PathBuf {
    let source = root().join(format!("c-tests/{name}.c"));
    once(&format!("lib{name}.so"), &source, &[], |to| {
        compile(gcc("gcc").args(["-shared", "-fPIC", "-o"]).arg(to).arg(&source).arg("-ldl"), name);
    })
}

/// The example `name` of mpi-examples/, or the program of c-tests/, for one of the two MPIs (`mpich`, `openmpi`), by its own compiler wrapper.
pub fn mpi_example(mpi: &str, name: &str) -> PathBuf {
    let folder = root().join("mpi-examples");
    let source =
        [format!("mpi-examples/{name}.c"), format!("mpi-examples/{name}.f90"), format!("c-tests/{name}.c")]
            .map(|s| root().join(s))
            .into_iter()
            .find(|s| s.exists())
            .unwrap_or_else(|| panic!("no source of {name} in {}", folder.display()));
    let output = format!("{mpi}-{name}");
    once(&output, &source, &[folder.join("example.h")], |to| {
        let wrapper = match name {
            "parallel_hdf5" => "h5pcc",
            _ if source.extension().is_some_and(|e| e == "f90") => "mpif90",
            _ => "mpicc",
        };
        // The wrapper for HDF5 leaves its object file where it runs.
        let here = tempfile::tempdir_in(programs_dir()).expect("a folder for the compiler");
        let mut command = Command::new(format!("{wrapper}.{mpi}"));
        command.args(["-O1", "-g"]).arg("-o").arg(to).arg(&source).current_dir(here.path());
        if name == "parallel_netcdf" {
            command.arg("-lpnetcdf");
        }
        compile(&mut command, &output);
    })
}

/// Everything that other programs start: the children of the exec tests, dynamic and static, and the program
/// whose library writes late.
pub fn helpers() -> PathBuf {
    static DONE: OnceLock<PathBuf> = OnceLock::new();
    DONE.get_or_init(|| {
        program("exec_child");
        program_with("exec_child", "-static", &["-static"]);
        library("late_library");
        let folder = programs_dir();
        let search = format!("-L{}", folder.display());
        let runpath = format!("-Wl,-rpath,{}", folder.display());
        program_with("late_writer", "", &[&search, "-llate_library", &runpath]);
        folder
    })
    .clone()
}

/// As [`libiris`], with the library of the Redis store brought up to date beside it.
pub fn libiris_with_redis() -> PathBuf {
    static DONE: OnceLock<PathBuf> = OnceLock::new();
    DONE.get_or_init(|| libiris_with("redis")).clone()
}

/// The same with the S3 store.
pub fn libiris_with_s3() -> PathBuf {
    static DONE: OnceLock<PathBuf> = OnceLock::new();
    DONE.get_or_init(|| libiris_with("s3")).clone()
}

fn libiris_with(store: &str) -> PathBuf {
    let library = libiris();
    let name = format!("libiris_store_{store}.so");
    if std::env::var_os("IRIS_TEST_LIBRARY").is_none() {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
        let mut command = Command::new(env!("CARGO"));
        let package = format!("iris-store-{store}");
        command.args(["build", "--release", "--quiet", "-p", &package, "--target-dir"]).arg(target);
        compile(command.current_dir(root()), &name);
    }
    let beside = library.with_file_name(name);
    assert!(beside.is_file(), "{} is not there", beside.display());
    library
}

/// The folder of the stores' libraries, with that for Redis.
pub fn stores() -> PathBuf {
    libiris_with_redis().parent().expect("a library lies in a folder").to_owned()
}

/// libiris.so: the one that `IRIS_TEST_LIBRARY` names, or the release build of this checkout, brought up to date
/// with `cargo build --release -p iris-preload` (so that no test ever passes with yesterday's library).
pub fn libiris() -> PathBuf {
    static DONE: OnceLock<PathBuf> = OnceLock::new();
    DONE.get_or_init(|| {
        if let Some(given) = std::env::var_os("IRIS_TEST_LIBRARY") {
            let path = PathBuf::from(given);
            assert!(path.is_file(), "IRIS_TEST_LIBRARY names {}, which is no file", path.display());
            return path;
        }
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "--release", "--quiet", "-p", "iris-preload", "--target-dir"]).arg(target);
        compile(command.current_dir(root()), "libiris.so");
        let library = target.join("release/libiris.so");
        assert!(library.is_file(), "{} was not built", library.display());
        library
    })
    .clone()
}
