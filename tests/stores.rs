//! Stores in libraries of their own: found, loaded, and refused in words when they cannot be.

#![allow(clippy::unwrap_used)]

use iris::stores;
use iris_store::{Address, Kind};
use std::path::PathBuf;
use std::process::Command;

/// Where the release build of this checkout is, the stores' libraries brought up to date.
fn built() -> PathBuf {
    let folder = match std::env::var_os("IRIS_TEST_LIBRARY") {
        Some(library) => PathBuf::from(library).parent().unwrap().to_owned(),
        None => {
            let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned();
            let built = Command::new(env!("CARGO"))
                .args(["build", "--release", "--quiet", "-p", "iris-store-redis", "--target-dir"])
                .arg(&target)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status();
            assert!(built.unwrap().success(), "the store's library builds");
            target.join("release")
        }
    };
    assert!(folder.join("libiris_store_redis.so").is_file(), "{} has the store's library", folder.display());
    folder
}

fn refused(address: &str) -> (Kind, String) {
    let error = stores::open(&Address::parse(address).unwrap()).err().unwrap();
    (error.kind, error.to_string())
}

/// One test: the folder is found by a variable of the process.
#[test]
fn stores_are_loaded_or_refused_in_words() {
    let (kind, said) = refused("mongo://h/db");
    assert_eq!(kind, Kind::Invalid);
    assert!(said.contains("mongo") && said.contains("redis") && said.contains("s3"), "{said}");

    let empty = tempfile::tempdir().unwrap();
    // SAFETY: this process has one test, and no other thread reads the environment meanwhile.
    unsafe { std::env::set_var("IRIS_STORES", empty.path()) };
    let (_, said) = refused("redis://:pw@h");
    assert!(said.contains("libiris_store_redis.so") && said.contains("IRIS_STORES"), "{said}");
    assert!(!said.contains("pw"), "{said}");

    // SAFETY: as above.
    unsafe { std::env::set_var("IRIS_STORES", built()) };
    let (_, said) = refused("redis://h?timout=3");
    assert!(said.contains("timout") && said.contains("did you mean"), "{said}");

    // Opened without waiting for a server; asked, it says in time that there is none.
    let folder = empty.path().to_str().unwrap();
    let store = stores::open(&Address::parse(&format!("redis+unix://{folder}/no.sock")).unwrap()).unwrap();
    let error = store.check().unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.to_string().contains("no.sock"), "{error}");
}
