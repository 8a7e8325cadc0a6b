//! The suite that every store passes, on Ceph's gateway, which checks signatures.

#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod support;

iris_store::conformance_tests!(support::subject("ceph"));
