//! Random sequences of requests by two clients, against a map in memory.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Put { key: usize, len: usize, condition: usize },
    Get { key: usize, offset: usize, len: usize },
    Update { key: usize, offset: usize, len: usize },
    Resize { key: usize, len: usize },
    Delete { key: usize },
    List { after: usize, limit: usize },
}

/// Lengths and offsets: short ones, those at boundaries, long ones.
fn length(boundaries: Vec<usize>) -> impl Strategy<Value = usize> + Clone {
    let edges = boundaries.into_iter().chain([4096]).flat_map(|b| [b - 1, b, b + 1]).collect::<Vec<_>>();
    prop_oneof![4 => 0..300usize, 2 => proptest::sample::select(edges), 1 => 0..150_000usize]
}

fn step(boundaries: Vec<usize>, ranges: bool) -> impl Strategy<Value = Step> {
    const KEYS: usize = 6;
    let length = length(boundaries);
    let write = u32::from(ranges);
    prop_oneof![
        4 => (0..KEYS, length.clone(), 0..4usize).prop_map(|(key, len, condition)| Step::Put { key, len, condition }),
        4 => (0..KEYS, length.clone(), length.clone()).prop_map(|(key, offset, len)| Step::Get { key, offset, len }),
        3 * write + 1 => (0..KEYS, length.clone(), length.clone()).prop_map(|(key, offset, len)| Step::Update { key, offset, len }),
        2 * write + 1 => (0..KEYS, length).prop_map(|(key, len)| Step::Resize { key, len }),
        2 => (0..KEYS).prop_map(|key| Step::Delete { key }),
        1 => (0..KEYS + 1, 1..8usize).prop_map(|(after, limit)| Step::List { after, limit }),
    ]
}

/// Whatever was asked before, the store answers as a map of byte strings does.
pub fn random_sequences(subject: &Subject<'_>) {
    let probe = Case::new(subject, "random");
    let ranges = probe.can().range_write;
    let config = Config { cases: subject.sequences, failure_persistence: None, ..Config::default() };
    let mut count = 0u64;
    let count = std::cell::RefCell::new(&mut count);
    let steps = vec((step(subject.boundaries.clone(), ranges), 0..2usize), 1..60);
    let result = TestRunner::new(config).run(&steps, |steps| {
        **count.borrow_mut() += 1;
        let space = format!("random/{}", count.borrow());
        play(subject, &space, &steps);
        Ok(())
    });
    if let Err(e) = result {
        panic!("{e}");
    }
    probe.finish();
}

fn play(subject: &Subject<'_>, space: &str, steps: &[(Step, usize)]) {
    let clients = [Case::new(subject, space), Case::new(subject, space)];
    let keys: Vec<Vec<u8>> =
        (0..6).map(|i| clients[0].key(["a", "a/b", "a/c", "b{x}", "c", "ca"][i])).collect();
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (i, (step, client)) in steps.iter().enumerate() {
        apply(&clients[*client], &keys, &mut model, step, i as u64);
    }
    for key in &keys {
        match model.get(key) {
            Some(bytes) => clients[0].holds(key, bytes),
            None => assert_eq!(clients[0].whole(key), None, "{}", key.escape_ascii()),
        }
    }
    for client in clients {
        client.finish();
    }
}

fn apply(
    client: &Case<'_>,
    keys: &[Vec<u8>],
    model: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    step: &Step,
    seed: u64,
) {
    let can = client.can();
    match *step {
        Step::Put { key, len, condition } => {
            let (key, bytes) = (&keys[key], pattern(seed, len));
            let tag = model.contains_key(key).then(|| client.head(key).tag).flatten();
            let (condition, claimed, holds) = match condition {
                1 => (Condition::Absent, can.put_if_absent, !model.contains_key(key)),
                2 => (Condition::Tag("wrong".into()), can.put_if_match, false),
                3 if tag.is_some() => (Condition::Tag(tag.unwrap_or_default()), can.put_if_match, true),
                _ => (Condition::Always, true, true),
            };
            let result = client.try_put(key, &bytes, condition);
            if !claimed {
                return client.fails(result, Kind::Unsupported, "a condition");
            }
            if !holds {
                return client.fails(result, Kind::Precondition, "a condition that does not hold");
            }
            result.unwrap_or_else(|e| panic!("{step:?}: {e}"));
            model.insert(key.clone(), bytes);
        }
        Step::Get { key, offset, len } => {
            let offset = if can.range_read { offset } else { 0 };
            let len = if can.range_read { len } else { 1 << 20 };
            let result = client.try_get(&keys[key], offset as u64, len);
            match model.get(&keys[key]) {
                Some(bytes) => {
                    let expected = &bytes[offset.min(bytes.len())..(offset + len).min(bytes.len())];
                    same(&result.unwrap_or_else(|e| panic!("{step:?}: {e}")), expected, &keys[key]);
                }
                None => client.fails(result, Kind::NotFound, "a get"),
            }
        }
        Step::Update { key, offset, len } => {
            let bytes = pattern(seed, len);
            let result =
                client.store.one(Request::Update { key: &keys[key], offset: offset as u64, bytes: &bytes });
            if !can.range_write {
                return client.fails(result, Kind::Unsupported, "an update");
            }
            result.unwrap_or_else(|e| panic!("{step:?}: {e}"));
            if len > 0 {
                let object = model.entry(keys[key].clone()).or_default();
                object.resize(object.len().max(offset + len), 0);
                object[offset..offset + len].copy_from_slice(&bytes);
            }
        }
        Step::Resize { key, len } => {
            let result = client.store.one(Request::Resize { key: &keys[key], len: len as u64 });
            if !can.range_write {
                return client.fails(result, Kind::Unsupported, "a resize");
            }
            match model.get_mut(&keys[key]) {
                Some(bytes) => {
                    result.unwrap_or_else(|e| panic!("{step:?}: {e}"));
                    bytes.resize(len, 0);
                }
                None => client.fails(result, Kind::NotFound, "a resize"),
            }
        }
        Step::Delete { key } => {
            client.delete(&keys[key]);
            model.remove(&keys[key]);
        }
        Step::List { after, limit } => {
            if !can.list {
                return;
            }
            let after = keys.get(after).map_or(&b""[..], |k| k);
            let listed = client.list(&client.space, after, None, limit);
            let listed: Vec<(Vec<u8>, u64)> = listed
                .into_iter()
                .map(|e| match e {
                    Listed::Object(key, facts) => (key, facts.len),
                    Listed::Prefix(key) => panic!("{} is folded", key.escape_ascii()),
                })
                .collect();
            let expected: Vec<(Vec<u8>, u64)> = model
                .iter()
                .filter(|(k, _)| k.as_slice() > after)
                .map(|(k, b)| (k.clone(), b.len() as u64))
                .collect();
            assert_eq!(listed, expected, "{step:?}");
        }
    }
}
