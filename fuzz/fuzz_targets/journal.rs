//! Recovery of a spoiled journal: see `iris::fuzzing`. Run by `cargo +nightly fuzz run journal` (cargo-fuzz).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| iris::fuzzing::recover(data));
