//! The suite that every store passes, on moto. It takes keys and answers as AWS does, and checks no signatures.

#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod support;

use iris_store::conformance::{Keys, Subject};

fn subject() -> Subject<'static> {
    let server = support::server("moto");
    let mut subject = Subject::new(move || {
        let store = server.open("", "conditional=yes&timeout=20");
        store.check().unwrap();
        store
    });
    subject.keys = Keys::Text;
    subject.boundaries = vec![4096, 65536];
    subject
}

iris_store::conformance_tests!(subject());
