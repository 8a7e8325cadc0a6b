//! Puts under conditions, by one client.

use super::*;

/// [`Condition::Absent`].
pub fn only_where_there_is_none(subject: &Subject<'_>) {
    let case = Case::new(subject, "absent");
    let key = case.key("a");
    if !case.can().put_if_absent {
        case.fails(case.try_put(&key, b"x", Condition::Absent), Kind::Unsupported, "a put if absent");
        assert_eq!(case.whole(&key), None, "a refused put");
        return case.finish();
    }
    case.try_put(&key, b"first", Condition::Absent).unwrap_or_else(|e| panic!("a put if absent: {e}"));
    case.fails(case.try_put(&key, b"second", Condition::Absent), Kind::Precondition, "the second");
    case.holds(&key, b"first");
    case.put(&key, b"");
    case.fails(case.try_put(&key, b"third", Condition::Absent), Kind::Precondition, "over an empty object");
    case.holds(&key, b"");
    case.delete(&key);
    case.try_put(&key, b"fourth", Condition::Absent).unwrap_or_else(|e| panic!("after the delete: {e}"));
    case.holds(&key, b"fourth");
    case.finish();
}

/// [`Condition::Tag`].
pub fn only_over_a_known_tag(subject: &Subject<'_>) {
    let case = Case::new(subject, "tag");
    let key = case.key("a");
    case.put(&key, b"first");
    if !case.can().put_if_match {
        let tag = case.head(&key).tag.unwrap_or_else(|| "0".into());
        case.fails(case.try_put(&key, b"x", Condition::Tag(tag)), Kind::Unsupported, "a put if match");
        case.holds(&key, b"first");
        return case.finish();
    }
    let tag = |key: &[u8]| Condition::Tag(case.head(key).tag.unwrap_or_else(|| panic!("no tag")));
    let first = tag(&key);
    let second = case.try_put(&key, b"second", first.clone()).unwrap_or_else(|e| panic!("with its tag: {e}"));
    assert!(second.is_none() || second == case.head(&key).tag, "the tag that the put gave");
    case.fails(case.try_put(&key, b"third", first.clone()), Kind::Precondition, "with the tag before");
    case.holds(&key, b"second");
    case.fails(
        case.try_put(&key, b"x", Condition::Tag("no such tag".into())),
        Kind::Precondition,
        "nonsense",
    );
    let second = tag(&key);
    case.delete(&key);
    case.fails(case.try_put(&key, b"x", second), Kind::Precondition, "over nothing");
    assert_eq!(case.whole(&key), None, "nothing was put");
    if case.can().range_write {
        case.put(&key, b"abc");
        let before = tag(&key);
        case.done(Request::Update { key: &key, offset: 1, bytes: b"B" });
        case.fails(case.try_put(&key, b"x", before), Kind::Precondition, "after an update");
        case.holds(&key, b"aBc");
    }
    case.finish();
}

/// [`Fenced`](crate::Fenced).
pub fn changes_that_a_fence_holds_back(subject: &Subject<'_>) {
    let case = Case::new(subject, "{fence}");
    let Some(fenced) = case.store.fenced() else { return case.finish() };
    let [behind, fence, put, updated, cut, grown, gone, none] =
        ["behind", "fence", "put", "updated", "cut", "grown", "gone", "none"].map(|name| case.key(name));
    for key in [&updated, &cut, &grown, &gone] {
        case.put(key, b"0123456789");
    }
    let changes = |put_bytes: &'static [u8]| {
        [
            Request::Put { key: &put, bytes: put_bytes, condition: Condition::Always, meta: &[] },
            Request::Update { key: &updated, offset: 8, bytes: put_bytes },
            Request::Resize { key: &cut, len: 3 },
            Request::Resize { key: &grown, len: 12 },
            Request::Resize { key: &none, len: 12 },
            Request::Delete { key: &gone },
        ]
    };
    let holds = |when: &str| {
        let expected: [(&[u8], Option<&[u8]>); 6] = [
            (&put, Some(b"ab\0\xff")),
            (&updated, Some(b"01234567ab\0\xff")),
            (&cut, Some(b"012")),
            (&grown, Some(b"0123456789\0\0")),
            (&none, None),
            (&gone, None),
        ];
        for (key, bytes) in expected {
            assert_eq!(case.whole(key).as_deref(), bytes, "{when}: {}", key.escape_ascii());
        }
    };
    let change = |bytes| fenced.change_between(&behind, &fence, &changes(bytes));
    assert!(!change(b"cdef").unwrap_or_else(|e| panic!("behind nothing: {e}")), "nothing is behind it");
    assert_eq!(case.whole(&updated).as_deref(), Some(&b"0123456789"[..]), "behind nothing");
    case.put(&behind, b"");
    assert!(change(b"ab\0\xff").unwrap_or_else(|e| panic!("without: {e}")), "there is no fence");
    holds("without a fence");
    for object in [&b""[..], b"x"] {
        case.put(&fence, object);
        let done = change(b"cdef").unwrap_or_else(|e| panic!("with one: {e}"));
        assert!(!done, "there is a fence of {} bytes", object.len());
        holds("with a fence");
    }
    let condition = [Request::Put { key: &put, bytes: b"x", condition: Condition::Absent, meta: &[] }];
    case.fails(
        fenced.change_between(&behind, &none, &condition),
        Kind::Unsupported,
        "a put with a condition",
    );
    holds("after what is refused");
    case.finish();
}
