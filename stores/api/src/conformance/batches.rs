//! Several requests given together.

use super::*;

fn put<'a>(key: &'a [u8], bytes: &'a [u8]) -> Request<'a> {
    Request::Put { key, bytes, condition: Condition::Always, meta: &[] }
}

/// Requests about one object take effect in their order, with others in between.
pub fn requests_about_one_object_keep_their_order(subject: &Subject<'_>) {
    let case = Case::new(subject, "order");
    let (a, b) = (case.key("a"), case.key("b"));
    let long = pattern(3, 100_000);
    for _ in 0..20 {
        let mut got = [[0u8; 8]; 3];
        let [one, two, three] = &mut got;
        let mut requests = [
            put(&a, b"one"),
            put(&b, &long),
            Request::Get { key: &a, offset: 0, into: one },
            put(&a, b"second"),
            Request::Head { key: &b },
            Request::Get { key: &a, offset: 0, into: two },
            Request::Delete { key: &a },
            Request::Get { key: &a, offset: 0, into: three },
            Request::Delete { key: &b },
            put(&a, b"last"),
            Request::Head { key: &b },
        ];
        let mut outcomes = vec![Ok(Outcome::Done); 3];
        case.store.submit(&mut requests, &mut outcomes);
        assert_eq!(outcomes.len(), 11, "one outcome for each request");
        let told: Vec<String> = outcomes
            .iter()
            .map(|o| match o {
                Ok(Outcome::Put(_)) => "put".into(),
                Ok(Outcome::Facts(facts)) => format!("{} bytes", facts.len),
                Ok(other) => format!("{other:?}"),
                Err(e) => format!("{:?}", e.kind),
            })
            .collect();
        let expected = [
            "put",
            "put",
            "Read(3)",
            "put",
            "100000 bytes",
            "Read(6)",
            "Done",
            "NotFound",
            "Done",
            "put",
            "NotFound",
        ];
        assert_eq!(told, expected, "outcomes in the order of requests");
        assert_eq!((&got[0][..3], &got[1][..6]), (&b"one"[..], &b"second"[..]), "what was read");
        case.holds(&a, b"last");
    }
    case.finish();
}

/// A request that fails keeps no other from being carried out.
pub fn a_failure_keeps_no_other_request(subject: &Subject<'_>) {
    let case = Case::new(subject, "failures");
    let (a, b, none) = (case.key("a"), case.key("b"), case.key("none"));
    let mut into = [0u8; 4];
    let mut requests = [
        put(&a, b"1"),
        Request::Get { key: &none, offset: 0, into: &mut into },
        put(b"", b"a key that is none"),
        Request::Put { key: &a, bytes: b"2", condition: Condition::Tag("wrong".into()), meta: &[] },
        put(&b, b"3"),
    ];
    let mut outcomes = Vec::new();
    case.store.submit(&mut requests, &mut outcomes);
    let [first, second, third, fourth, fifth] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(first.is_ok() && fifth.is_ok(), "{outcomes:?}");
    case.fails(second.clone(), Kind::NotFound, "the get of nothing");
    case.fails(third.clone(), Kind::Invalid, "the empty key");
    let kind = if case.can().put_if_match { Kind::Precondition } else { Kind::Unsupported };
    case.fails(fourth.clone(), kind, "the wrong tag");
    case.holds(&a, b"1");
    case.holds(&b, b"3");
    case.finish();
}

/// More requests than one write to a connection takes, of mixed sizes.
pub fn large_batches(subject: &Subject<'_>) {
    let case = Case::new(subject, "batch");
    let objects: Vec<(Vec<u8>, Vec<u8>)> = (0..500usize)
        .map(|i| (case.key(format!("{i}")), pattern(i as u64, if i % 50 == 0 { 150_000 } else { i * 7 })))
        .collect();
    let mut outcomes = Vec::new();
    let mut puts: Vec<Request<'_>> = objects.iter().map(|(key, bytes)| put(key, bytes)).collect();
    case.store.submit(&mut puts, &mut outcomes);
    assert!(outcomes.len() == 500 && outcomes.iter().all(Result::is_ok), "500 puts: {outcomes:?}");
    let mut rooms: Vec<Vec<u8>> = objects.iter().map(|(_, bytes)| vec![0; bytes.len() + 1]).collect();
    let mut gets: Vec<Request<'_>> = objects
        .iter()
        .zip(&mut rooms)
        .map(|((key, _), into)| Request::Get { key, offset: 0, into })
        .collect();
    case.store.submit(&mut gets, &mut outcomes);
    assert_eq!(outcomes.len(), 500, "500 gets");
    for (i, outcome) in outcomes.iter().enumerate() {
        let (key, bytes) = &objects[i];
        match outcome {
            Ok(Outcome::Read(n)) => same(&rooms[i][..*n], bytes, key),
            other => panic!("get {i}: {other:?}"),
        }
    }
    let mut deletes: Vec<Request<'_>> = objects.iter().map(|(key, _)| Request::Delete { key }).collect();
    case.store.submit(&mut deletes, &mut outcomes);
    assert!(outcomes.len() == 500 && outcomes.iter().all(Result::is_ok), "500 deletes");
    for (key, _) in &objects {
        case.fails(case.try_head(key), Kind::NotFound, "a head after the delete");
    }
    case.finish();
}
