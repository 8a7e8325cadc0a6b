//! Several clients at once, each in a thread of its own.

use super::*;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

const CLIENTS: usize = 4;

/// Of all who put where there was none, one succeeds, and the object is that one's.
pub fn one_of_many_creators_wins(subject: &Subject<'_>) {
    let case = Case::new(subject, "creators");
    if !case.can().put_if_absent {
        return case.finish();
    }
    let end = Instant::now() + subject.race;
    let mut round = 0;
    while Instant::now() < end || round < 20 {
        let key = case.key(format!("{round}"));
        let start = Barrier::new(CLIENTS);
        let results: Vec<Result<Option<String>>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..CLIENTS)
                .map(|i| {
                    let (key, start, case) = (&key, &start, &case);
                    scope.spawn(move || {
                        let client = Case::new(case.subject, "creators");
                        start.wait();
                        client.try_put(key, &pattern(i as u64, 100 + i), Condition::Absent)
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let winners: Vec<usize> = (0..CLIENTS).filter(|i| results[*i].is_ok()).collect();
        assert_eq!(winners.len(), 1, "round {round}: {results:?}");
        for result in results.into_iter().filter(Result::is_err) {
            case.fails(result, Kind::Precondition, "losing");
        }
        case.holds(&key, &pattern(winners[0] as u64, 100 + winners[0]));
        round += 1;
    }
    case.finish();
}

/// A counter that is only changed over its tag counts every change.
pub fn no_change_by_tag_is_lost(subject: &Subject<'_>) {
    let case = Case::new(subject, "counter");
    if !case.can().put_if_match {
        return case.finish();
    }
    let key = case.key("n");
    case.put(&key, b"0");
    let end = Instant::now() + subject.race;
    let total: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let client = Case::new(subject, "counter");
                    let (mut won, mut tried) = (0, 0);
                    while Instant::now() < end || tried < 20 {
                        tried += 1;
                        // The tag first: bytes that are newer than it fail the put.
                        let tag = client.head(&key).tag.unwrap_or_else(|| panic!("no tag"));
                        let n: u64 = String::from_utf8(client.get(&key, 0, 30)).unwrap().parse().unwrap();
                        match client.try_put(&key, (n + 1).to_string().as_bytes(), Condition::Tag(tag)) {
                            Ok(_) => won += 1,
                            Err(e) => assert_eq!(e.kind, Kind::Precondition, "{e}"),
                        }
                    }
                    won
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    case.holds(&key, total.to_string().as_bytes());
    assert!(total > 0, "nobody ever succeeded");
    case.finish();
}

/// A put is atomic: whoever reads sees one put's bytes, all of them, and never one older than it has seen.
pub fn readers_see_whole_objects(subject: &Subject<'_>) {
    let case = Case::new(subject, "whole");
    let key = case.key("a");
    // Each version is one number over and over, and as long as its number says.
    let version = |n: u64| n.to_le_bytes().repeat(1 + (n as usize * 3001) % 20_000);
    let check = |bytes: &[u8]| -> u64 {
        let n = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        same(bytes, &version(n), &key);
        n
    };
    case.put(&key, &version(1));
    let end = Instant::now() + subject.race;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 1;
            while Instant::now() < end || n < 20 {
                n += 1;
                case.put(&key, &version(n));
            }
        });
        for _ in 1..CLIENTS {
            scope.spawn(|| {
                let client = Case::new(subject, "whole");
                let (mut newest, mut read) = (0, 0);
                while Instant::now() < end || read < 20 {
                    let n = check(&client.get(&key, 0, 200_000));
                    assert!(n >= newest, "version {n} after {newest}");
                    (newest, read) = (n, read + 1);
                }
            });
        }
    });
    let n = check(&case.whole(&key).unwrap_or_else(|| panic!("gone")));
    assert!(n >= 20, "version {n}");
    case.finish();
}

/// What one client's call returned for, the next call of any other sees: puts, updates, removals.
pub fn clients_see_each_other_at_once(subject: &Subject<'_>) {
    let clients: Vec<Case<'_>> = (0..CLIENTS).map(|_| Case::new(subject, "at-once")).collect();
    let keys: Vec<Vec<u8>> = (0..5).map(|i| clients[0].key(format!("{i}"))).collect();
    let range_write = clients[0].can().range_write;
    let mut model: Vec<Option<Vec<u8>>> = vec![None; keys.len()];
    for round in 0..200usize {
        let at = round * 7 % keys.len();
        let (writer, reader) = (&clients[round % CLIENTS], &clients[(round * 3 + 1) % CLIENTS]);
        match round % 4 {
            3 if round % 3 == 0 => {
                writer.delete(&keys[at]);
                model[at] = None;
            }
            2 if range_write => {
                let bytes = pattern(round as u64, 50);
                writer.done(Request::Update { key: &keys[at], offset: 30, bytes: &bytes });
                let object = model[at].get_or_insert_default();
                object.resize(object.len().max(80), 0);
                object[30..80].copy_from_slice(&bytes);
            }
            _ => {
                let bytes = pattern(round as u64, round * 40);
                writer.put(&keys[at], &bytes);
                model[at] = Some(bytes);
            }
        }
        for (key, expected) in keys.iter().zip(&model) {
            match expected {
                Some(bytes) => reader.holds(key, bytes),
                None => assert_eq!(reader.whole(key), None, "round {round}"),
            }
        }
    }
    for client in clients {
        client.finish();
    }
}

/// Keys that are there all the while are in every listing, once; keys that never were are in none.
pub fn listings_while_others_write(subject: &Subject<'_>) {
    let case = Case::new(subject, "listing");
    if !case.can().list {
        return case.finish();
    }
    let steady: Vec<Vec<u8>> = (0..50).map(|i| case.key(format!("{i:03}-steady"))).collect();
    for key in &steady {
        case.put(key, b"x");
    }
    let end = Instant::now() + subject.race;
    let changing: Vec<Vec<u8>> = (0..50).map(|i| case.key(format!("{i:03}-changing"))).collect();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let client = Case::new(subject, "listing");
            let mut round = 0;
            while Instant::now() < end || round < 100 {
                let key = &changing[round * 13 % changing.len()];
                if round % 3 == 0 {
                    client.delete(key)
                } else {
                    client.put(key, b"y").map_or((), drop)
                }
                round += 1;
            }
        });
        let mut lists = 0;
        while !writer.is_finished() || lists < 5 {
            let listed: Vec<Vec<u8>> =
                case.list(&case.space, b"", None, 1 + lists % 40).iter().map(|e| name(e).to_vec()).collect();
            assert!(listed.is_sorted_by(|a, b| a < b), "a key twice, or out of order: {listed:?}");
            for key in &steady {
                assert!(listed.contains(key), "{} is missing", key.escape_ascii());
            }
            for key in &listed {
                assert!(steady.contains(key) || changing.contains(key), "{} never was", key.escape_ascii());
            }
            lists += 1;
        }
    });
    case.finish();
}
