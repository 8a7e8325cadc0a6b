//! The file system below is full or read-only.

use crate::bed;
use crate::place::{Held, Place, Said, SmallDisk, records};
use std::path::PathBuf;

const SIZE: usize = 1000;
const COUNT: usize = 1500;

/// The small file systems tried, each with a background flush that comes early or late.
fn each(test: impl Fn(&mut Place, &SmallDisk)) {
    for ext4 in [false, true] {
        for flush_ms in [1, 100_000] {
            let mut place = Place::new(Some(bed::library()));
            place.setting.flush_ms = flush_ms;
            let disk =
                if ext4 { SmallDisk::ext4(&place.mount) } else { SmallDisk::tmpfs(&place.mount, 4096) };
            test(&mut place, &disk);
        }
    }
}

/// What lies there must begin with every record that was acknowledged.
fn insist_on(place: &Place, acknowledged: usize) {
    let left = std::fs::read(place.file()).expect("the file is there");
    let right = records(SIZE, acknowledged);
    let differ = left.iter().zip(&right).position(|(a, b)| a != b);
    assert_eq!(differ, None, "a byte differs, {:?}", place.setting);
    assert!(left.len() >= right.len(), "{} of {} bytes, {:?}", left.len(), right.len(), place.setting);
}

#[test]
fn a_full_disk_is_told_and_its_bytes_survive() {
    each(full_disk);
}

fn full_disk(place: &mut Place, disk: &SmallDisk) {
    let ballast: PathBuf = disk.fill("ballast");
    let said = Said::by(place.worker("write", SIZE, COUNT));
    assert!(said.status.success(), "the program runs to its end: {said:?}");
    assert!(said.failed_with(libc::ENOSPC) > 0, "write, fsync or close tells: {said:?}, {:?}", place.setting);
    std::fs::remove_file(ballast).expect("space is made");
    place.drain().unwrap_or_else(|e| panic!("{e}"));
    insist_on(place, said.value("written").expect("said") as usize);
}

/// They go home through pages, where a full disk is no error of a call but a fault.
#[test]
fn scattered_bytes_on_a_full_disk_are_told_and_survive() {
    const SIZE: usize = 64;
    const COUNT: usize = 4001;
    each(|place, disk| {
        let ballast = disk.fill("ballast");
        let said = Said::by(place.worker("scatter", SIZE, COUNT));
        assert!(said.status.success(), "the program runs to its end: {said:?}, {:?}", place.setting);
        assert!(said.failed_with(libc::ENOSPC) > 0, "{said:?}, {:?}", place.setting);
        std::fs::remove_file(ballast).expect("space is made");
        place.drain().unwrap_or_else(|e| panic!("{e}"));
        let left = std::fs::read(place.file()).expect("the file is there");
        let acknowledged = said.value("written").expect("said") as usize;
        let right = records(SIZE, acknowledged);
        for (n, record) in right.chunks(SIZE).enumerate() {
            let at = n * 40503 % COUNT * 2 * SIZE;
            assert!(
                left.get(at..at + SIZE) == Some(record),
                "record {n} of {acknowledged}, {:?}",
                place.setting
            );
        }
    });
}

/// A library that says yes to everything must be found out.
#[test]
fn a_library_that_swallows_errors_is_found_out() {
    let library = bed::compile("faults-faulty.so", &["faults/faulty.c"], &["-shared", "-fPIC"]);
    let mut place = Place::new(Some(library));
    let disk = SmallDisk::tmpfs(&place.mount, 4096);
    let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| full_disk(&mut place, &disk)));
    assert!(verdict.is_err(), "the fault was not noticed");
}

#[test]
fn once_there_is_space_the_same_program_can_sync() {
    each(|place, disk| {
        let ballast = disk.fill("ballast");
        let held = Held::start(place.worker("resync", SIZE, 300), "fsync");
        std::fs::remove_file(ballast).expect("space is made");
        let said = held.finish();
        assert!(said.failed_with(libc::ENOSPC) > 0, "{said:?}");
        let last: Vec<_> = said.steps.iter().rev().take(2).map(|s| (s.0.as_str(), s.1)).collect();
        assert_eq!(last, [("close", 0), ("fsync", 0)], "{said:?}, {:?}", place.setting);
        assert_eq!(said.value("wrong record"), None, "{said:?}, {:?}", place.setting);
        insist_on(place, said.value("written").expect("said") as usize);
    });
}

/// A drain onto a disk that is still full says so and loses nothing.
#[test]
fn a_drain_onto_a_full_disk_fails_and_can_be_repeated() {
    each(|place, disk| {
        let held = Held::start(place.worker("hold", SIZE, 300), "written");
        let ballast = disk.fill("ballast");
        held.kill();
        let first = place.drain();
        if let Err(text) = &first {
            assert!(text.contains("file"), "names the file: {text}");
        } else {
            // The flush had come before the ballast.
            insist_on(place, 300);
        }
        std::fs::remove_file(ballast).expect("space is made");
        place.drain().unwrap_or_else(|e| panic!("{e}"));
        insist_on(place, 300);
    });
}

#[test]
fn a_read_only_directory_answers_as_natively() {
    let mut answers = Vec::new();
    for library in [None, Some(bed::library())] {
        let place = Place::new(library);
        std::fs::write(place.file(), records(SIZE, 50)).expect("a file");
        let _read_only = SmallDisk::read_only(&place.mount);
        let write = Said::by(place.worker("write", SIZE, 5));
        assert_eq!(write.steps, [("open".into(), -1, libc::EROFS)]);
        let check = Said::by(place.worker("check", SIZE, 50));
        assert_eq!(check.value("right"), Some(50), "{check:?}");
        answers.push((write.steps, write.error, check.steps, check.error));
    }
    assert_eq!(answers[0], answers[1]);
}
