//! The suite that every store passes, on moto. It takes keys and answers as AWS does, and checks no signatures.

#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod support;

iris_store::conformance_tests!(support::subject("moto"));
