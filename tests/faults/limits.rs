//! What the process or the node runs out of: descriptors, shared memory, room for Tier 0.

use crate::bed;
use crate::place::{Held, Place, Said, SmallDisk, records};
use std::os::unix::process::CommandExt;

const SIZE: usize = 700;
const COUNT: usize = 4000;

fn insist_on(place: &Place, count: usize) {
    let left = std::fs::read(place.file()).expect("the file is there");
    assert!(left == records(SIZE, count), "{} bytes lie there, {:?}", left.len(), place.setting);
}

#[test]
fn a_tier0_folder_without_room_costs_no_data() {
    for kib in [64, 512, 1024, 2048, 5 << 10, 18 << 10, 20 << 10] {
        let mut place = Place::new(Some(bed::library()));
        let _small = SmallDisk::tmpfs(&place.tier0, kib);
        place.setting.memory = 64 << 20;
        place.setting.flush_ms = 100_000;
        let said = Said::by(place.worker("write", SIZE, COUNT));
        said.insist_on_success();
        insist_on(&place, COUNT);
    }
}

#[test]
fn a_tier0_folder_that_fills_up_costs_no_data() {
    let mut place = Place::new(Some(bed::library()));
    let small = SmallDisk::tmpfs(&place.tier0, 24 << 10);
    place.setting.memory = 64 << 20;
    place.setting.flush_ms = 100_000;
    let held = Held::start(place.worker("hold", SIZE, COUNT), "written");
    small.fill("somebody-else");
    let said = held.finish();
    said.insist_on_success();
    insist_on(&place, 2 * COUNT);
}

#[test]
fn a_tier0_folder_that_is_removed_costs_no_data() {
    for flush_ms in [1, 100_000] {
        let mut place = Place::new(Some(bed::library()));
        place.setting.flush_ms = flush_ms;
        let held = Held::start(place.worker("hold", SIZE, COUNT), "written");
        std::fs::remove_dir_all(&place.tier0).expect("removed");
        let said = held.finish();
        said.insist_on_success();
        insist_on(&place, 2 * COUNT);
    }
}

#[test]
fn without_any_place_for_tier0_the_program_runs_on_the_files() {
    let regular = tempfile::NamedTempFile::new().expect("a file");
    for path in ["/proc/none/of/these", &regular.path().to_string_lossy()] {
        let mut place = Place::new(Some(bed::library()));
        place.tier0 = path.into();
        let said = Said::by(place.worker("write", SIZE, COUNT));
        said.insist_on_success();
        insist_on(&place, COUNT);
        assert!(said.error.contains(path), "the error names the folder: {}", said.error);
        assert!(said.error.contains("IRIS_TIER0_PATH"), "the error says what to do: {}", said.error);
    }
}

/// In a mount namespace of its own, where /dev/shm cannot be written.
#[test]
fn without_shared_memory_the_data_are_right() {
    let place = Place::new(Some(bed::library()));
    let mut command = place.worker("write", SIZE, COUNT);
    command.env_remove("IRIS_TIER0_PATH").env_remove("XDG_RUNTIME_DIR");
    let empty = bed::folder("tmp");
    command.env("TMPDIR", empty.path());
    // SAFETY: between fork and exec only system calls are made, and their strings are static.
    unsafe {
        command.pre_exec(|| {
            let none = c"none".as_ptr();
            let private = libc::MS_REC | libc::MS_PRIVATE;
            if libc::unshare(libc::CLONE_NEWNS) != 0
                || libc::mount(none, c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()) != 0
                || libc::mount(
                    none,
                    c"/dev/shm".as_ptr(),
                    c"tmpfs".as_ptr(),
                    libc::MS_RDONLY,
                    std::ptr::null(),
                ) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let said = Said::by(command);
    said.insist_on_success();
    insist_on(&place, COUNT);
}

#[test]
fn the_limit_of_descriptors_is_the_programs_own() {
    for limit in [8, 16, 24, 64, 200] {
        let mut answers = Vec::new();
        for library in [None, Some(bed::library())] {
            let place = Place::new(library);
            let said = Said::by(place.worker_on("many", &place.mount, limit, 300));
            assert!(said.status.success(), "{said:?}");
            let opened = said.value("opened").expect("said") as usize;
            for n in 0..opened {
                let left = std::fs::read(place.mount.join(format!("file{n}"))).expect("the file is there");
                let right: Vec<u8> = (0..20).flat_map(|_| records(300, n + 1)[n * 300..].to_vec()).collect();
                assert!(left == right, "file {n} of {opened}");
            }
            answers.push(said.steps);
        }
        assert_eq!(answers[0], answers[1], "natively and under Iris, limit {limit}");
    }
}
