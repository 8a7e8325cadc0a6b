//! The suite that stores are held to finds each planted fault. In a program of its own, because it silences panics.

mod memory;

use iris_store::conformance::{CASES, Subject};
use memory::{Fault, Memory};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

fn subject(memory: Memory) -> Subject<'static> {
    let memory = Arc::new(memory);
    let mut subject = Subject::new(move || memory.clone());
    subject.race = Duration::from_millis(100);
    subject.boundaries = vec![4096, 65536];
    subject
}

/// Every fault is found by some case.
#[test]
fn planted_faults_are_found() {
    // The panics of the cases are expected here and would fill the output.
    std::panic::set_hook(Box::new(|_| ()));
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        let found = CASES.iter().any(|(_, case)| {
            let mut subject = subject(Memory::faulty(*fault));
            subject.sequences = 8;
            catch_unwind(AssertUnwindSafe(|| case(&subject))).is_err()
        });
        if !found {
            missed.push(*fault);
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
