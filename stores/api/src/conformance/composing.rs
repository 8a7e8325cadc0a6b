//! Objects made of parts.

use super::*;
use crate::{Part, Source};

struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        into.copy_from_slice(&self.0[offset as usize..offset as usize + into.len()]);
        Ok(())
    }
}

/// A source whose end cannot be read.
struct Failing(u64);

impl Source for Failing {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        if offset + into.len() as u64 > self.0 {
            return Err(std::io::Error::other("the source cannot be read"));
        }
        into.fill(7);
        Ok(())
    }
}

/// Parts of every size, new and existing, the object itself among them, under conditions; a failure leaves the old one.
pub fn objects_are_composed(subject: &Subject<'_>) {
    let case = Case::new(subject, "compose");
    let Some(composer) = case.store.compose() else { return case.finish() };
    let (from, to) = (case.key("from"), case.key("to"));
    let old = pattern(1, 6 << 20);
    case.put(&from, &old);
    let tag = case.head(&from).tag;
    let new = Bytes(pattern(2, 12 << 20));
    let existing = |key, offset, len| Part::Existing { key, offset, len, tag: None };
    let bytes = |offset, len| Part::Bytes { source: &new, offset, len };
    let compose = |parts: &[Part<'_>], condition| composer.compose(&to, parts, condition, &[]);

    let facts = compose(&[], Condition::Always).unwrap_or_else(|e| panic!("of no parts: {e}"));
    assert_eq!(facts.len, 0, "of no parts");
    case.holds(&to, b"");
    compose(&[bytes(3, 10), existing(&from, 5, 7), bytes(0, 1)], Condition::Always)
        .unwrap_or_else(|e| panic!("of short parts: {e}"));
    case.holds(&to, &[&new.0[3..13], &old[5..12], &new.0[..1]].concat());
    let parts =
        [bytes(0, 12 << 20), existing(&from, 1, (6 << 20) - 1), existing(&from, 0, 100), bytes(9, 6 << 20)];
    let facts = compose(&parts, Condition::Always).unwrap_or_else(|e| panic!("of long parts: {e}"));
    let mut model = [&new.0[..], &old[1..], &old[..100], &new.0[9..9 + (6 << 20)]].concat();
    assert_eq!(facts.len, model.len() as u64, "the length that it tells");
    case.holds(&to, &model);
    assert!(facts.tag.is_none() || facts.tag == case.head(&to).tag, "the tag that it tells");
    // Of itself.
    compose(&[existing(&to, 100, 11 << 20), bytes(0, 5)], Condition::Always)
        .unwrap_or_else(|e| panic!("of itself: {e}"));
    model = [&model[100..100 + (11 << 20)], &new.0[..5]].concat();
    case.holds(&to, &model);

    let failing = Failing(7 << 20);
    let failed = compose(&[Part::Bytes { source: &failing, offset: 0, len: 20 << 20 }], Condition::Always);
    assert!(failed.is_err(), "a source that fails");
    case.fails(compose(&[existing(&case.key("no"), 0, 5)], Condition::Always), Kind::NotFound, "of nothing");
    if tag.is_some() {
        let part = |tag| [Part::Existing { key: &from, offset: 0, len: 9, tag: Some(tag) }];
        case.fails(compose(&part("wrong"), Condition::Always), Kind::Precondition, "a part with a wrong tag");
        case.holds(&to, &model);
        let right = tag.as_deref().unwrap_or_default();
        compose(&part(right), Condition::Always).unwrap_or_else(|e| panic!("a part with its tag: {e}"));
        model = old[..9].to_vec();
    }
    if case.can().put_if_absent {
        case.fails(compose(&[bytes(0, 3)], Condition::Absent), Kind::Precondition, "where there is one");
    }
    if case.can().put_if_match {
        let wrong = Condition::Tag("wrong".into());
        case.fails(compose(&[bytes(0, 3)], wrong), Kind::Precondition, "over another tag");
    }
    case.holds(&to, &model);
    case.finish();
}
