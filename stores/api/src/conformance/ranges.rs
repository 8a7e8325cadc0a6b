//! Parts of objects, read and written in place.

use super::*;

/// Offsets at which ranges begin and end in an object of `len` bytes.
fn edges(subject: &Subject<'_>, len: usize) -> Vec<usize> {
    let mut edges = BTreeSet::from([0, 1, len / 2, len - 1, len, len + 1, len + 70_000]);
    for at in &subject.boundaries {
        edges.extend([at - 1, *at, at + 1].into_iter().filter(|e| *e < len));
    }
    edges.into_iter().collect()
}

/// Reads from every edge to every other.
pub fn parts_are_read(subject: &Subject<'_>) {
    let case = Case::new(subject, "read");
    let key = case.key("a");
    let len = subject.boundaries.iter().max().unwrap_or(&65536) * 2 + 13;
    let bytes = pattern(1, len);
    case.put(&key, &bytes);
    assert_eq!(case.get(&key, 0, 0), b"", "no bytes wanted");
    if !case.can().range_read {
        case.fails(case.try_get(&key, 1, 5), Kind::Unsupported, "a get from offset 1");
        same(&case.get(&key, 0, len + 1), &bytes, &key);
        return case.finish();
    }
    let edges = edges(subject, len);
    for (i, &from) in edges.iter().enumerate() {
        for &to in &edges[i..] {
            let expected = &bytes[from.min(len)..to.min(len)];
            same(&case.get(&key, from as u64, to - from), expected, &key);
        }
    }
    for offset in [len as u64, len as u64 + 1, 1 << 40, u64::MAX - 4, u64::MAX] {
        assert_eq!(case.get(&key, offset, 10), b"", "behind the end, from {offset}");
    }
    case.put(&key, b"");
    assert_eq!(case.get(&key, 0, 10), b"", "an empty object");
    case.finish();
}

/// Writes at every edge: inside, across the end, behind it, into nothing.
pub fn parts_are_written(subject: &Subject<'_>) {
    let case = Case::new(subject, "write");
    let key = case.key("a");
    case.put(&key, b"0123456789");
    if !case.can().range_write {
        let result = case.store.one(Request::Update { key: &key, offset: 2, bytes: b"x" });
        case.fails(result, Kind::Unsupported, "an update");
        case.holds(&key, b"0123456789");
        return case.finish();
    }
    let mut model = b"0123456789".to_vec();
    let len = subject.boundaries.iter().max().unwrap_or(&65536) + 5;
    let mut seed = 0;
    for from in edges(subject, len) {
        for piece in [1, 100, 4097, 65_537] {
            seed += 1;
            let bytes = pattern(seed, piece);
            case.done(Request::Update { key: &key, offset: from as u64, bytes: &bytes });
            if model.len() < from + piece {
                model.resize(from + piece, 0);
            }
            model[from..from + piece].copy_from_slice(&bytes);
        }
        case.holds(&key, &model);
    }
    // No bytes change nothing: neither the length nor whether there is an object.
    case.done(Request::Update { key: &key, offset: model.len() as u64 + 100, bytes: b"" });
    case.holds(&key, &model);
    let none = case.key("none");
    case.done(Request::Update { key: &none, offset: 3, bytes: b"" });
    assert_eq!(case.whole(&none), None, "an update of no bytes makes no object");
    case.done(Request::Update { key: &none, offset: 3, bytes: b"abc" });
    case.holds(&none, b"\0\0\0abc");
    // What a put replaced does not come back in the gap.
    case.put(&none, &pattern(99, 1000));
    case.put(&none, b"x");
    case.done(Request::Update { key: &none, offset: 500, bytes: b"y" });
    let mut expected = vec![0; 501];
    (expected[0], expected[500]) = (b'x', b'y');
    case.holds(&none, &expected);
    case.finish();
}

/// Lengths are set to every edge, and what was cut off never comes back.
pub fn lengths_are_set(subject: &Subject<'_>) {
    let case = Case::new(subject, "resize");
    let key = case.key("a");
    case.put(&key, b"0123456789");
    if !case.can().range_write {
        let result = case.store.one(Request::Resize { key: &key, len: 2 });
        case.fails(result, Kind::Unsupported, "a resize");
        case.holds(&key, b"0123456789");
        return case.finish();
    }
    let len = subject.boundaries.iter().max().unwrap_or(&65536) + 77;
    let mut model = pattern(5, len);
    case.put(&key, &model);
    let edges = edges(subject, len);
    for &short in edges.iter().rev() {
        for long in [short + 3, short + 5000] {
            for to in [short, long] {
                case.done(Request::Resize { key: &key, len: to as u64 });
                model.resize(to, 0);
            }
            case.holds(&key, &model);
        }
    }
    case.done(Request::Resize { key: &key, len: 0 });
    case.holds(&key, b"");
    case.done(Request::Resize { key: &key, len: 3 });
    case.holds(&key, b"\0\0\0");
    let none = case.key("none");
    let result = case.store.one(Request::Resize { key: &none, len: 3 });
    case.fails(result, Kind::NotFound, "a resize of nothing");
    assert_eq!(case.whole(&none), None, "a resize makes no object");
    case.finish();
}
