//! The store's outer edge: a panic becomes an error there, and never reaches the program that the store lives in.

use iris_store::{Kind, Outcome, Reply, Request, Result, StoreError};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn panicked(place: &str) -> StoreError {
    StoreError::new(Kind::Corrupt, place, None, "the store came to a state that cannot be (a bug of Iris)")
}

/// Runs `body`.
pub fn call<T>(place: &str, body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| Err(panicked(place)))
}

/// Runs `body`, which gives `count` answers.
pub fn runs(place: &str, count: usize, body: impl FnOnce() -> Vec<Result<Reply>>) -> Vec<Result<Reply>> {
    catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|_| (0..count).map(|_| Err(panicked(place))).collect())
}

/// Runs `body`, which puts an outcome for each request.
pub fn submit(
    place: &str,
    requests: &mut [Request<'_>],
    outcomes: &mut Vec<Result<Outcome>>,
    body: impl FnOnce(&mut [Request<'_>], &mut Vec<Result<Outcome>>),
) {
    outcomes.clear();
    let count = requests.len();
    if count == 0 {
        return;
    }
    if catch_unwind(AssertUnwindSafe(|| body(requests, outcomes))).is_err() {
        outcomes.clear();
        outcomes.extend((0..count).map(|_| Err(panicked(place))));
    }
}
