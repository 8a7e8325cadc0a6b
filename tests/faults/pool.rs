//! The pool file is not what it should be: cut, overwritten, of another version, foreign. Nothing is served from it,
//! the error names it and says what to do, and programs go on without it.

use crate::bed::{self, Random};
use crate::place::{Held, Place, Said, records};
use std::os::unix::fs::FileExt;
use std::path::Path;

const SIZE: usize = 500;
const COUNT: usize = 300;

/// A place whose pool holds what a killed worker had staged.
fn left_behind() -> Place {
    let mut place = Place::new(Some(bed::library()));
    place.setting.flush_ms = 100_000;
    Held::start(place.worker("hold", SIZE, COUNT), "written").kill();
    let natively = std::fs::metadata(place.file()).expect("the file").len();
    assert!(natively < (SIZE * COUNT) as u64, "nothing was staged: {natively} bytes lie in the file");
    place
}

/// Programs must run, say why they run without Tier 0, and write what they write.
fn insist_on_passthrough(place: &Place, what: &str) {
    let other = place.mount.join("other");
    let said = Said::by(place.worker_on("write", &other, SIZE, COUNT));
    said.insist_on_success();
    assert!(std::fs::read(&other).expect("the file") == records(SIZE, COUNT), "{what}");
    let pool = place.pool();
    assert!(
        said.error.contains(&*pool.to_string_lossy()),
        "{what}: the error names {pool:?}: {}",
        said.error
    );
    let text = place.drain().expect_err("a drain cannot succeed");
    assert!(text.contains(&*pool.to_string_lossy()), "{what}: drain names {pool:?}: {text}");
}

/// Whatever a reader gets, each byte is the right one or, where the file itself has none, zero or missing.
fn insist_on_no_wrong_byte(place: &Place, what: &str) {
    let right = records(SIZE, COUNT);
    for step in ["under Iris", "drained"] {
        let said = Said::by(place.worker("check", SIZE, COUNT));
        assert!(said.status.code().is_some(), "{what}: a reader died: {said:?}");
        if step == "drained" {
            // It may refuse.
            let _ = place.drain();
        }
        let left = std::fs::read(place.file()).expect("the file");
        let wrong = left.iter().zip(&right).position(|(a, b)| a != b && *a != 0);
        assert_eq!(wrong, None, "{what}, {step}: a wrong byte was taken home");
        assert!(left.len() <= right.len(), "{what}, {step}: {} bytes", left.len());
    }
}

#[test]
fn a_pool_that_was_cut_is_refused() {
    for len in [0, 1, 100, 4096, 100_000, 20 << 20] {
        let place = left_behind();
        let pool = std::fs::File::options().write(true).open(place.pool()).expect("the pool");
        pool.set_len(len.min(pool.metadata().expect("metadata").len() - 1)).expect("cut");
        insist_on_passthrough(&place, &format!("cut to {len}"));
    }
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let pool = std::fs::File::options().write(true).open(path).expect("the pool");
    pool.write_all_at(bytes, at).expect("written");
}

#[test]
fn a_pool_of_random_bytes_is_refused() {
    let place = left_behind();
    let mut random = Random(7);
    let bytes: Vec<u8> = (0..8192).map(|_| random.next() as u8).collect();
    overwrite(&place.pool(), 0, &bytes);
    insist_on_passthrough(&place, "random bytes");
}

#[test]
fn a_pool_of_another_kind_or_version_is_refused() {
    for (at, bytes, what) in [
        (0, b"NOTIRIS!".as_slice(), "another magic"),
        (8, &[99, 0, 0, 0], "another version"),
        (0, &[0; 8], "no magic"),
    ] {
        let place = left_behind();
        overwrite(&place.pool(), at, bytes);
        insist_on_passthrough(&place, what);
    }
}

/// Single bits, in the head of the pool and where the journal's records lie.
#[test]
fn flipped_bits_never_become_data() {
    let mut random = Random(bed::number("IRIS_FAULT_SEED").unwrap_or(11));
    let rounds = bed::number("IRIS_FAULT_FLIPS").unwrap_or(24);
    for round in 0..rounds {
        let place = left_behind();
        let path = place.pool();
        let len = std::fs::metadata(&path).expect("the pool").len();
        let block = 256 << 10;
        let at = match round % 3 {
            // The fields of the superblock.
            0 => random.below(64),
            // The last records of the first blocks; records grow from a block's end towards its front.
            1 => len - place.setting.memory.min(len) + block * (1 + random.below(2)) - 1 - random.below(600),
            // The whole journal of the first block.
            _ => len - place.setting.memory.min(len) + block - 1 - random.below(24 * COUNT as u64),
        };
        let bit = 1u8 << random.below(8);
        let mut byte = [0];
        let pool = std::fs::File::open(&path).expect("the pool");
        pool.read_exact_at(&mut byte, at).expect("read");
        overwrite(&path, at, &[byte[0] ^ bit]);
        insist_on_no_wrong_byte(&place, &format!("round {round}, bit {bit:#x} of byte {at} of {len}"));
    }
}

#[test]
fn a_foreign_folder_is_refused() {
    for (owner, mode) in [(Some(4321), 0o700), (None, 0o777)] {
        let place = Place::new(Some(bed::library()));
        // SAFETY: takes nothing, cannot fail.
        let own = place.tier0.join(format!("iris-{}", unsafe { libc::geteuid() }));
        std::fs::create_dir(&own).expect("a folder");
        std::os::unix::fs::chown(&own, owner, owner).expect("chown (this test needs root)");
        std::fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("chmod");
        let said = Said::by(place.worker("write", SIZE, COUNT));
        said.insist_on_success();
        assert!(std::fs::read(place.file()).expect("the file") == records(SIZE, COUNT));
        assert_eq!(own.read_dir().expect("the folder").count(), 0, "nothing was put into it");
        assert!(said.error.contains(&*own.to_string_lossy()), "the error names it: {}", said.error);
        assert!(said.error.contains("IRIS_TIER0_PATH"), "and says what to do: {}", said.error);
    }
}
