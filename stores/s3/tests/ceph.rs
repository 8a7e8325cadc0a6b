//! The suite that every store passes, on Ceph's gateway, which checks signatures.

#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod support;

use iris_store::conformance::{Keys, Subject};

fn subject() -> Subject<'static> {
    let server = support::server("ceph");
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
