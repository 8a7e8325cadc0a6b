//! The suite that stores are held to, held itself: a correct store in memory passes it, with all capabilities and with
//! none. (tests/planted.rs: a wrong one does not.)

mod memory;

use iris_store::conformance::{CASES, Keys, Subject};
use memory::Memory;
use std::sync::Arc;
use std::time::Duration;

fn subject(memory: Memory) -> Subject<'static> {
    let memory = Arc::new(memory);
    let mut subject = Subject::new(move || memory.clone());
    subject.race = Duration::from_millis(100);
    subject.boundaries = vec![4096, 65536];
    subject
}

iris_store::conformance_tests!(subject(Memory::able()));

#[test]
fn a_store_that_can_little_passes() {
    let mut subject = subject(Memory::unable());
    subject.keys = Keys::Text;
    for (_, case) in CASES {
        case(&subject);
    }
}
