//! Residency against a byte array: whatever is written, cut, sent, taken out and fetched again, a file reads as the
//! array does, here and on a node that has only the store.

use super::control::{Bit, GRANULE, UNLINKED};
use super::layout::{Layout, PLAIN};
use super::testing::{MAPPERS, Memory, Node, mapped};
use crate::errno::Errno;
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u64),
    Read(u64, u64),
    Truncate(u64),
    Settle,
    Evict,
    Elsewhere,
    FailedSettle,
}

/// Offsets near the borders of granules and buckets.
fn offset() -> impl Strategy<Value = u64> {
    (0u64..14, -3i64..4, 0u64..3)
        .prop_map(|(g, near, far)| (g * GRANULE + far * 1000).saturating_add_signed(near))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![1u64..200, GRANULE - 2..GRANULE + 3, 3 * GRANULE..6 * GRANULE];
    prop::collection::vec(
        prop_oneof![
            4 => (offset(), length.clone()).prop_map(|(o, l)| Step::Write(o, l)),
            4 => (offset(), length).prop_map(|(o, l)| Step::Read(o, l)),
            1 => offset().prop_map(Step::Truncate),
            2 => Just(Step::Settle),
            2 => Just(Step::Evict),
            1 => Just(Step::Elsewhere),
            1 => Just(Step::FailedSettle),
        ],
        1..40,
    )
}

fn plays(layout: Layout, steps: &[Step]) -> std::result::Result<(), TestCaseError> {
    let (store, whole) = (Memory::new(), layout.is_whole());
    let here = Node::in_memory(&store, layout.clone());
    let there = Node::in_memory(&store, layout);
    let mut model: Vec<u8> = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let fill = (i % 250 + 1) as u8;
        match *step {
            Step::Write(at, len) => {
                let end = (at + len) as usize;
                if model.len() < end {
                    model.resize(end, 0);
                }
                model[at as usize..end].fill(fill);
                here.write(at, &vec![fill; len as usize]);
            }
            Step::Read(at, len) => {
                let from = (at as usize).min(model.len());
                let to = ((at + len) as usize).min(model.len());
                prop_assert!(here.read(at, len as usize) == model[from..to], "step {i}: {step:?}");
            }
            Step::Truncate(len) => {
                model.resize(len as usize, 0);
                here.truncate(len);
            }
            Step::Settle => here.file.settle(here.anchor()).unwrap(),
            Step::Evict => here.evict(),
            Step::Elsewhere => {
                here.file.settle(here.anchor()).unwrap();
                there.look_up(&here);
                prop_assert!(there.read(0, model.len() + 10) == model, "elsewhere, step {i}");
            }
            Step::FailedSettle => {
                store.failing.store(true, Ordering::Relaxed);
                let settled = here.file.settle(here.anchor());
                store.failing.store(false, Ordering::Relaxed);
                prop_assert!(settled.is_ok() || here.file.is_unsettled());
                prop_assert!(settled.is_ok() || settled == Err(Errno(libc::ETIMEDOUT)));
            }
        }
    }
    prop_assert!(here.read(0, model.len() + 10) == model, "at the end");
    here.file.settle(here.anchor()).unwrap();
    prop_assert_eq!(here.file.control().run(Bit::Dirty, true, 0, 1000), None);
    there.look_up(&here);
    prop_assert!(there.read(0, model.len() + 10) == model, "elsewhere, at the end");
    here.file.control().head().flags.fetch_or(UNLINKED, Ordering::AcqRel);
    drop(here);
    let left: Vec<_> = store.objects.lock().unwrap().keys().map(|k| k.escape_ascii().to_string()).collect();
    prop_assert!(whole || left.is_empty(), "a removed file leaves {left:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn mapped_files_read_as_a_byte_array(which in 0..MAPPERS.len(), steps in steps()) {
        plays(mapped(MAPPERS[which]), &steps)?;
    }

    #[test]
    fn whole_objects_read_as_a_byte_array(steps in steps()) {
        plays(Layout::Whole { prefix: b"p/".to_vec() }, &steps)?;
    }
}

#[test]
fn readers_never_see_what_nobody_wrote() {
    let store = Memory::new();
    let node = Node::in_memory(&store, mapped(PLAIN));
    const LEN: u64 = 6 * GRANULE;
    node.write(0, &vec![1; LEN as usize]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            for round in 0..600u64 {
                let at = round * 37_777 % (LEN - 70_000);
                node.write(at, &vec![1; 70_000]);
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        s.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                node.evict();
                node.file.settle(node.anchor()).unwrap();
            }
        });
        for start in 0..2u64 {
            let (node, stop) = (&node, &stop);
            s.spawn(move || {
                let mut at = start;
                while !stop.load(Ordering::Relaxed) {
                    at = (at + 45_001) % (LEN - 9_000);
                    assert!(node.read(at, 9_000).iter().all(|&b| b == 1), "at {at}");
                }
            });
        }
    });
    node.file.settle(node.anchor()).unwrap();
    node.evict();
    assert!(node.read(0, LEN as usize).iter().all(|&b| b == 1));
    assert!(store.gets.load(Ordering::Relaxed) > 0, "bytes did leave the anchor");
}
