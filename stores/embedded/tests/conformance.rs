//! The suite that every store passes, with every mapper and every way to be durable.

// Panics are how a test tells.
#![allow(clippy::unwrap_used)]

use iris_mappers::containers::MAPPERS;
use iris_store::Store;
use iris_store::conformance::{CASES, Subject};
use iris_store_embedded::{Descriptors, Durability, Embedded, Options};
use std::sync::Arc;
use std::time::Duration;

/// Clients of one store with such options.
fn subject(folder: &tempfile::TempDir, change: impl Fn(&mut Options)) -> Subject<'static> {
    let mut options = Options::new(folder.path());
    change(&mut options);
    let open = move || Arc::new(Embedded::open(&options, "kv:///test").unwrap()) as Arc<dyn Store>;
    let mut subject = Subject::new(open);
    // Pieces end at 64 KiB, runs and longer objects at 1 MiB, containers at 8 MiB.
    subject.boundaries = vec![65_536, 1 << 20];
    subject
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

iris_store::conformance_tests!({
    // Lives as long as the case.
    static FOLDER: std::sync::LazyLock<tempfile::TempDir> = std::sync::LazyLock::new(folder);
    subject(&FOLDER, |options| options.durability = Some(Durability::None))
});

fn all(change: impl Fn(&mut Options)) {
    let folder = folder();
    let mut subject = subject(&folder, change);
    (subject.race, subject.sequences) = (Duration::from_millis(200), 8);
    subject.boundaries = vec![65_536];
    for (_, case) in CASES {
        case(&subject);
    }
}

#[test]
fn the_other_mappers_pass() {
    for named in &MAPPERS[1..] {
        all(|options| options.mapper = Some(named));
    }
}

#[test]
fn synced_and_always_durable_stores_pass() {
    all(|options| options.durability = Some(Durability::Sync));
    all(|options| options.durability = Some(Durability::Always));
}

#[test]
fn without_descriptors_they_pass() {
    all(|options| options.descriptors = Descriptors::None);
}
