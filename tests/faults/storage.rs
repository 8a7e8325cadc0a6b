//! The second tier of Tier 0: what memory has no room for lies in a file on a disk, up to a bound, and beyond that goes
//! straight to the files.

use crate::bed;
use crate::place::{Held, Place, Said, SmallDisk, records};
use std::path::{Path, PathBuf};

/// Bytes of a block: what a file with anything staged takes at least.
const BLOCK: u64 = 256 << 10;
/// Blocks in memory and in storage.
const MEMORY: u64 = 4;
const STORAGE: u64 = 8;

/// A place with both tiers, where nothing goes home by itself.
fn place() -> Place {
    let mut place = Place::new(Some(bed::library()));
    place.setting.memory = MEMORY * BLOCK;
    place.setting.flush_ms = 100_000;
    let disk = place.mount.parent().expect("a folder").join("disk");
    std::fs::create_dir(&disk).expect("a folder");
    place.storage = Some((disk, STORAGE * BLOCK));
    place
}

/// Bytes used in memory and in storage, and files with staged bytes, as `iris status` tells.
fn used(place: &Place) -> (u64, u64, u64) {
    let said = place.iris(&["status", "--json"]).unwrap_or_else(|e| panic!("{e}"));
    let status: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let number = |v: &serde_json::Value| v.as_u64().unwrap_or_else(|| panic!("{status}"));
    let tier0 = &status["tier0"];
    (number(&tier0["memory_used"]), number(&tier0["storage_used"]), number(&status["staged_files"]))
}

/// What `worker many` leaves in a file.
fn insist_on(place: &Place, files: usize) {
    for n in 0..files {
        let left = std::fs::read(place.mount.join(format!("file{n}"))).expect("the file is there");
        let record = records(300, n + 1)[n * 300..].to_vec();
        assert!(left == record.repeat(20), "file {n}: {} bytes lie there", left.len());
    }
}

/// The files of the storage tier.
fn files_of(place: &Place) -> Vec<PathBuf> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().is_dir() { below(&entry.path(), found) } else { found.push(entry.path()) }
        }
    }
    let mut found = Vec::new();
    below(&place.storage.as_ref().expect("there is one").0, &mut found);
    found
}

#[test]
fn a_full_memory_goes_on_in_storage_and_then_to_the_files() {
    let place = place();
    for files in [3usize, 9, 30] {
        let held = Held::start(place.worker_on("many-hold", &place.mount, 200, files), "opened");
        let fit = (files as u64).min(MEMORY + STORAGE);
        let memory = fit.min(MEMORY);
        assert_eq!(used(&place), (memory * BLOCK, (fit - memory) * BLOCK, fit), "{files} files");
        held.finish().insist_on_success();
        insist_on(&place, files);
        assert_eq!(used(&place), (0, 0, 0), "everything went home and every block came back");
    }
}

#[test]
fn what_a_killed_process_left_in_storage_is_taken_home() {
    let place = place();
    let held = Held::start(place.worker_on("many-hold", &place.mount, 200, 30), "opened");
    held.kill();
    assert_eq!(used(&place), (MEMORY * BLOCK, STORAGE * BLOCK, MEMORY + STORAGE));
    // The next one reads it where it lies, file by file, and writes the same again into what room there is.
    let said = Said::by(place.worker_on("many", &place.mount, 200, 7));
    said.insist_on_success();
    place.drain().unwrap_or_else(|e| panic!("{e}"));
    insist_on(&place, 30);
    assert_eq!(used(&place), (0, 0, 0));
}

#[test]
fn a_disk_without_room_for_storage_costs_no_data() {
    let place = place();
    let (disk, _) = place.storage.as_ref().expect("there is one");
    let _small = SmallDisk::tmpfs(disk, 1024);
    let held = Held::start(place.worker_on("many-hold", &place.mount, 200, 30), "opened");
    let (memory, storage, _) = used(&place);
    assert_eq!(memory, MEMORY * BLOCK);
    assert!((BLOCK..=4 * BLOCK).contains(&storage), "{storage}");
    held.finish().insist_on_success();
    insist_on(&place, 30);
}

/// Removed under a running program, storage goes on for it; whoever comes later has none of it, and is told.
#[test]
fn storage_that_is_removed_costs_no_data() {
    for memory_too in [false, true] {
        let place = place();
        let held = Held::start(place.worker_on("many-hold", &place.mount, 200, 30), "opened");
        std::fs::remove_dir_all(&place.storage.as_ref().expect("there is one").0).expect("removed");
        if memory_too {
            std::fs::remove_dir_all(&place.tier0).expect("removed");
            std::fs::create_dir(&place.tier0).expect("made");
        }
        std::fs::create_dir(&place.storage.as_ref().expect("there is one").0).expect("made");
        let other = place.mount.join("other");
        std::fs::create_dir(&other).expect("a folder");
        let said = Said::by(place.worker_on("many", &other, 200, 30));
        said.insist_on_success();
        if !memory_too {
            assert!(said.error.contains("storage file has been removed"), "{}", said.error);
        }
        held.finish().insist_on_success();
        insist_on(&place, 30);
        if memory_too {
            assert_eq!(used(&place), (0, 0, 0), "the pool made anew is a pool of its own");
        }
    }
}

/// The memory's file removed alone: the pool made anew must not write over blocks that a running program uses.
#[test]
fn a_pool_made_anew_has_storage_of_its_own() {
    let place = place();
    let held = Held::start(place.worker_on("many-hold", &place.mount, 200, 30), "opened");
    let old = files_of(&place);
    assert_eq!(old.len(), 1, "{old:?}");
    std::fs::remove_file(place.pool()).expect("removed");
    let other = place.mount.join("other");
    std::fs::create_dir(&other).expect("a folder");
    let second = Held::start(place.worker_on("many-hold", &other, 200, 30), "opened");
    let new = files_of(&place);
    assert!(new.len() == 1 && new != old, "{old:?} {new:?}");
    held.finish().insist_on_success();
    second.finish().insist_on_success();
    insist_on(&place, 30);
}
