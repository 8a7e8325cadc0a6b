//! Makes the stamp by which a loaded store and its loader know that they were built together.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=src");
    let rustc = env::var("RUSTC").expect("cargo sets RUSTC");
    let version = Command::new(rustc).arg("-vV").output().expect("the compiler that builds this runs").stdout;
    let mut hash = DefaultHasher::new();
    version.hash(&mut hash);
    let mut names: Vec<_> = fs::read_dir("src")
        .expect("sources")
        .map(|e| e.expect("an entry").path())
        .filter(|name| name.is_file())
        .collect();
    names.sort();
    for name in names {
        fs::read(&name).expect("a source").hash(&mut hash);
    }
    println!(
        "cargo::rustc-env=IRIS_STORE_STAMP={}-{:016x}",
        env::var("CARGO_PKG_VERSION").expect("cargo"),
        hash.finish()
    );
}
