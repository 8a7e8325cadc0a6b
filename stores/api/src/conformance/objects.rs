//! Whole objects: sizes, keys, bounds, tags, meta.

use super::*;

/// Address, capabilities and the cheap round trip agree with each other.
pub fn a_store_tells_what_it_is(subject: &Subject<'_>) {
    let case = Case::new(subject, "tells");
    let can = case.can();
    case.store.check().unwrap_or_else(|e| panic!("check: {e}"));
    assert!(!case.store.place().is_empty(), "a store has an address");
    assert!(can.max_put > 0 && can.max_key > 0 && can.deadline > Duration::ZERO, "{can:?}");
    assert_eq!(can.scripts, case.store.scripts().is_some(), "scripts: claimed and there");
    assert_eq!(can.compose, case.store.compose().is_some(), "compose: claimed and there");
    if !can.list {
        let request = ListRequest { limit: 1, ..ListRequest::default() };
        case.fails(case.store.list(&request), Kind::Unsupported, "a listing");
    }
    let mut outcomes = vec![Ok(Outcome::Read(7))];
    case.store.submit(&mut [], &mut outcomes);
    assert!(outcomes.is_empty(), "no requests, no outcomes");
    case.finish();
}

/// Put, get, replace, remove, put again.
pub fn objects_are_what_was_put(subject: &Subject<'_>) {
    let case = Case::new(subject, "put");
    let key = case.key("a");
    for (round, len) in [100, 5000, 3, 0, 70_000, 1].into_iter().enumerate() {
        let bytes = pattern(round as u64, len);
        case.put(&key, &bytes);
        case.holds(&key, &bytes);
    }
    case.delete(&key);
    assert_eq!(case.whole(&key), None, "a removed object");
    case.put(&key, b"again");
    case.holds(&key, b"again");
    case.finish();
}

/// Lengths around every power of two that stores split at, and around their own boundaries.
pub fn objects_of_every_edge_size(subject: &Subject<'_>) {
    let case = Case::new(subject, "sizes");
    let mut sizes: BTreeSet<usize> = [0, 1, 2, 7, 8, 511, 512, 513, 9_000_000].into();
    for at in subject.boundaries.iter().chain(&[4096, 65536, 131_072]) {
        sizes.extend([at - 1, *at, at + 1, 2 * at, 2 * at + 1]);
    }
    sizes.retain(|len| *len as u64 <= case.can().max_put);
    for len in sizes {
        let key = case.key(format!("{len}"));
        let bytes = pattern(len as u64, len);
        case.put(&key, &bytes);
        case.holds(&key, &bytes);
        // A buffer that is just long enough must do as well.
        same(&case.get(&key, 0, len), &bytes, &key);
        case.delete(&key);
    }
    case.finish();
}

/// Objects that are not there.
pub fn what_is_not_there(subject: &Subject<'_>) {
    let case = Case::new(subject, "missing");
    let key = case.key("no");
    case.fails(case.try_get(&key, 0, 10), Kind::NotFound, "a get");
    case.fails(case.try_get(&key, 0, 0), Kind::NotFound, "a get of no bytes");
    case.fails(case.try_head(&key), Kind::NotFound, "a head");
    case.delete(&key);
    case.delete(&key);
    case.put(&key, b"x");
    case.delete(&key);
    case.fails(case.try_get(&key, 0, 10), Kind::NotFound, "a get after the delete");
    // Beginnings and continuations of a key are other keys.
    case.put(&case.key("no/deeper"), b"deep");
    case.put(&case.key("n"), b"short");
    assert_eq!(case.whole(&key), None, "an object whose key only begins so");
    case.finish();
}

/// Keys hold any byte and are told apart by every one.
pub fn keys_of_every_byte(subject: &Subject<'_>) {
    let case = Case::new(subject, "bytes");
    let mut names: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
    names.extend((0..=255u8).map(|b| vec![b'a', b, b'b']));
    for text in [
        "{", "}", "{a}b", "a{b", "//", "a//b", "a/", "..", "a/../b", "%2F", "%00", " a ", "a\r\n", "ä",
        "a\\b",
    ] {
        names.push(text.as_bytes().to_vec());
    }
    names.extend([vec![0xff; 20], vec![0; 20], b"\xc3\x28".to_vec()]);
    names.sort();
    names.dedup();
    let mut kept = Vec::new();
    for name in &names {
        let key = case.key(name);
        let text = std::str::from_utf8(name).is_ok_and(|t| !t.chars().any(char::is_control));
        let put = case.try_put(&key, name, Condition::Always);
        if subject.keys == Keys::Any || text {
            put.unwrap_or_else(|e| panic!("put of {}: {e}", key.escape_ascii()));
            kept.push(name);
        } else {
            case.fails(put, Kind::Invalid, &format!("the key {}", key.escape_ascii()));
        }
    }
    for name in &kept {
        case.holds(&case.key(name), name);
    }
    if case.can().list {
        let listed: Vec<Vec<u8>> = case
            .list(&case.space, b"", None, 1000)
            .iter()
            .map(|e| self::name(e)[case.space.len()..].to_vec())
            .collect();
        let expected: Vec<Vec<u8>> = kept.iter().map(|n| n.to_vec()).collect();
        assert_eq!(listed, expected, "the listing holds the same keys in the order of their bytes");
    }
    // Every second one goes, and takes no other with it.
    for name in kept.iter().step_by(2) {
        case.delete(&case.key(name));
    }
    for (i, name) in kept.iter().enumerate() {
        assert_eq!(case.whole(&case.key(name)).is_some(), i % 2 == 1, "{}", name.escape_ascii());
    }
    case.finish();
}

/// Keys up to the length that is claimed; none of length 0.
pub fn long_keys(subject: &Subject<'_>) {
    let case = Case::new(subject, "long");
    // Claims beyond what a path can be are taken at their word.
    let most = case.can().max_key.min(8192);
    let room = most - case.space.len();
    let lens = [room, room - 1, room / 2, 255, 256, 1].map(|len| len.min(room));
    for len in lens {
        let key = case.key(vec![b'k'; len]);
        case.put(&key, format!("{len}").as_bytes());
    }
    for len in lens {
        case.holds(&case.key(vec![b'k'; len]), format!("{len}").as_bytes());
    }
    if case.can().max_key < 1 << 20 {
        let key = case.key(vec![b'k'; case.can().max_key - case.space.len() + 1]);
        case.fails(case.try_put(&key, b"", Condition::Always), Kind::TooLarge, "a key longer than max_key");
        case.made.lock().unwrap().remove(&key);
    }
    case.fails(case.try_put(b"", b"x", Condition::Always), Kind::Invalid, "a put with an empty key");
    case.fails(case.try_get(b"", 0, 1), Kind::Invalid, "a get with an empty key");
    case.finish();
}

/// More bytes than `max_put` are refused, and what was there stays.
pub fn what_is_too_large(subject: &Subject<'_>) {
    let case = Case::new(subject, "large");
    let key = case.key("a");
    case.put(&key, b"before");
    // Above this the claim cannot be tried with memory that every machine has.
    if case.can().max_put < 1 << 30 {
        let bytes = vec![0; case.can().max_put as usize + 1];
        case.fails(case.try_put(&key, &bytes, Condition::Always), Kind::TooLarge, "a put beyond max_put");
    }
    if case.can().range_write {
        for offset in [u64::MAX, u64::MAX - 2, u64::MAX / 2 + 1] {
            let result = case.store.one(Request::Update { key: &key, offset, bytes: b"end" });
            case.fails(result, Kind::TooLarge, &format!("an update at {offset}"));
        }
        let result = case.store.one(Request::Resize { key: &key, len: u64::MAX });
        case.fails(result, Kind::TooLarge, "the greatest length");
    }
    case.holds(&key, b"before");
    case.finish();
}

/// Tags tell contents apart, and every way of asking gives the same one.
pub fn tags_change_with_the_content(subject: &Subject<'_>) {
    let case = Case::new(subject, "tags");
    let (a, b) = (case.key("a"), case.key("b"));
    let put = case.put(&a, b"one");
    case.put(&b, b"other");
    let first = case.head(&a).tag;
    assert!(put.is_none() || put == first, "put said {put:?}, head says {first:?}");
    assert_eq!(case.head(&a).tag, first, "a tag does not change by itself");
    let needed = case.can().put_if_match;
    assert!(first.is_some() || !needed, "put_if_match is claimed, and there is no tag");
    let mut seen = BTreeSet::from([first.clone()]);
    let changed = |what: &str, seen: &mut BTreeSet<Option<String>>| {
        let tag = case.head(&a).tag;
        assert_eq!(tag.is_some(), first.is_some(), "{what}: a store has tags or has none");
        assert!(tag.is_none() || seen.insert(tag), "{what}: the tag is one that other bytes had");
    };
    case.put(&a, b"two");
    changed("put", &mut seen);
    case.put(&a, b"three, longer");
    changed("put", &mut seen);
    if case.can().range_write {
        case.done(Request::Update { key: &a, offset: 2, bytes: b"R" });
        changed("update", &mut seen);
        case.done(Request::Update { key: &a, offset: 20, bytes: b"more" });
        changed("update behind the end", &mut seen);
        case.done(Request::Resize { key: &a, len: 4 });
        changed("resize", &mut seen);
    }
    if case.can().list {
        for entry in case.list(&case.space, b"", None, 10) {
            let Listed::Object(key, facts) = entry else { panic!("a prefix without a delimiter") };
            let head = case.head(&key);
            assert_eq!(facts.len, head.len, "the listing's length of {}", key.escape_ascii());
            assert!(facts.tag.is_none() || facts.tag == head.tag, "{:?}, {:?}", facts.tag, head.tag);
        }
    }
    case.finish();
}

/// Small text stays with the put that brought it, or is ignored altogether.
pub fn meta_belongs_to_its_put(subject: &Subject<'_>) {
    let case = Case::new(subject, "meta");
    let key = case.key("a");
    let meta = [("mode".to_owned(), "0644".to_owned()), ("owner".to_owned(), "a b".to_owned())];
    let request = Request::Put { key: &key, bytes: b"x", condition: Condition::Always, meta: &meta };
    case.store.one(request).unwrap_or_else(|e| panic!("put with meta: {e}"));
    let mut kept = case.head(&key).meta;
    kept.sort();
    assert!(kept.is_empty() || kept == meta, "{kept:?}");
    case.put(&key, b"y");
    assert!(case.head(&key).meta.is_empty(), "meta of a put that was replaced");
    case.finish();
}
