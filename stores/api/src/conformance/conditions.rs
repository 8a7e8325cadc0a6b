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
