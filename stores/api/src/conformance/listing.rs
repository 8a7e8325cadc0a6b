//! Listings: order, pages, folding.

use super::*;

/// What a listing must give, by definition.
fn expected(keys: &BTreeSet<Vec<u8>>, prefix: &[u8], after: &[u8], delimiter: Option<u8>) -> Vec<Vec<u8>> {
    let mut entries = BTreeSet::new();
    for key in keys.iter().filter(|k| k.starts_with(prefix)) {
        let folded = delimiter.and_then(|d| key[prefix.len()..].iter().position(|b| *b == d));
        entries.insert(folded.map_or(key.clone(), |at| key[..prefix.len() + at + 1].to_vec()));
    }
    entries.into_iter().filter(|e| e.as_slice() > after).collect()
}

fn names(entries: &[Listed]) -> Vec<Vec<u8>> {
    entries.iter().map(|e| name(e).to_vec()).collect()
}

/// A tree of keys, put in no order.
fn tree(case: &Case<'_>) -> BTreeSet<Vec<u8>> {
    let mut keys = BTreeSet::new();
    for top in ["a", "b", "ab", "a-", "a0", "z", "Z", "~"] {
        for below in ["", "/", "/x", "/x/y", "/x/z", "/y", "//", "-x", ".x", "0x"] {
            keys.insert(case.key(format!("{top}{below}")));
        }
    }
    let mut shuffled: Vec<&Vec<u8>> = keys.iter().collect();
    shuffled.sort_by_key(|k| pattern(k.iter().fold(7, |h: u64, b| h.rotate_left(5) ^ u64::from(*b)), 8));
    for key in shuffled {
        case.put(key, key);
    }
    keys
}

/// Whatever the prefix, a listing holds all keys that begin so, in order, with their lengths.
pub fn listings_are_in_order_and_whole(subject: &Subject<'_>) {
    let case = Case::new(subject, "list");
    if !case.can().list {
        return case.finish();
    }
    let mut keys = tree(&case);
    let compare = |keys: &BTreeSet<Vec<u8>>| {
        for below in ["", "a", "a/", "a/x", "a/x/", "ab/x/y", "ab/x/y/", "c", "zz", "~", "~//"] {
            let prefix = [&case.space[..], below.as_bytes()].concat();
            let listed = case.list(&prefix, b"", None, 1000);
            assert_eq!(names(&listed), expected(keys, &prefix, b"", None), "prefix {below:?}");
            for entry in listed {
                let Listed::Object(key, facts) = entry else { panic!("a folded entry without a delimiter") };
                assert_eq!(facts.len, key.len() as u64, "length of {}", key.escape_ascii());
                assert!(facts.meta.is_empty(), "a listing tells no meta");
            }
        }
    };
    compare(&keys);
    let removed: Vec<Vec<u8>> = keys.iter().step_by(3).cloned().collect();
    for key in &removed {
        case.delete(key);
        keys.remove(key);
    }
    compare(&keys);
    for key in removed.iter().step_by(2) {
        case.put(key, key);
        keys.insert(key.clone());
    }
    compare(&keys);
    let none = ListRequest { prefix: &case.space, limit: 0, ..ListRequest::default() };
    case.fails(case.store.list(&none), Kind::Invalid, "a listing of no entries");
    case.finish();
}

/// Pages of every size, and listings from the middle on.
pub fn listings_in_pages(subject: &Subject<'_>) {
    let case = Case::new(subject, "pages");
    if !case.can().list {
        return case.finish();
    }
    let keys = tree(&case);
    for limit in [1, 2, 3, 7, keys.len() - 1, keys.len(), keys.len() + 1] {
        let listed = case.list(&case.space, b"", None, limit);
        assert_eq!(names(&listed), expected(&keys, &case.space, b"", None), "pages of {limit}");
    }
    let some: Vec<Vec<u8>> = keys.iter().step_by(5).cloned().collect();
    for after in
        some.iter().chain(&[case.key("a/x/"), case.key("m"), case.key("~~"), b"\0".to_vec(), vec![0xff; 9]])
    {
        let listed = case.list(&case.space, after, None, 4);
        assert_eq!(
            names(&listed),
            expected(&keys, &case.space, after, None),
            "after {}",
            after.escape_ascii()
        );
    }
    case.finish();
}

/// Folding, with every page size and from every place.
pub fn listings_with_a_delimiter(subject: &Subject<'_>) {
    let case = Case::new(subject, "fold");
    if !case.can().list {
        return case.finish();
    }
    let keys = tree(&case);
    for below in ["", "a", "a/", "a/x", "a/x/", "ab//", "q"] {
        let prefix = [&case.space[..], below.as_bytes()].concat();
        for delimiter in [b'/', b'x', b'-'] {
            let all = expected(&keys, &prefix, b"", Some(delimiter));
            for limit in [1, 2, 5, 1000] {
                let listed = case.list(&prefix, b"", Some(delimiter), limit);
                let what = format!("prefix {below:?}, {:?}, pages of {limit}", delimiter as char);
                assert_eq!(names(&listed), all, "{what}");
                for entry in &listed {
                    let behind = &name(entry)[prefix.len()..];
                    let folded = behind.last() == Some(&delimiter);
                    assert_eq!(matches!(entry, Listed::Prefix(_)), folded, "{what}: {entry:?}");
                }
            }
            for after in &all {
                let listed = case.list(&prefix, after, Some(delimiter), 3);
                let expected = expected(&keys, &prefix, after, Some(delimiter));
                assert_eq!(names(&listed), expected, "{below:?} after {}", after.escape_ascii());
            }
        }
    }
    case.finish();
}
