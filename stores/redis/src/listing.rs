//! Listings of Redis, which keeps no order: every key is looked at (SCAN), and a page holds the first ones in order.
//! Owns that, and nothing is kept between pages.

use crate::failure::Trouble;
use crate::job::{Job, What, Whom};
use crate::node::Node;
use crate::redis::Redis;
use crate::wire::Answer;
use iris_store::{Kind, ListRequest, Listed, ObjectFacts, Page, Result};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// Keys that a server looks at in one step: about a millisecond of its time, in which it serves nobody else.
const STEP: &[u8] = b"4000";
/// How often a listing begins anew because the cluster changed meanwhile.
const TRIES: u32 = 5;

impl Redis {
    /// A page: each step of it has the store's deadline.
    pub fn list_page(&self, request: &ListRequest<'_>) -> Result<Page> {
        let begun = Instant::now();
        if request.limit == 0 {
            return Err(self.exchange.error(
                Trouble::new(Kind::Invalid, "a listing of no entries"),
                b"",
                1,
                begun,
            ));
        }
        for _ in 0..TRIES {
            let masters = self.exchange.masters()?;
            let names = self.names(request, &masters)?;
            // Keys of a slot that moved from a node not yet looked at to one looked at before would be missing.
            if self.exchange.masters()? == masters {
                return self.page(names, request, begun);
            }
        }
        let trouble = Trouble::new(Kind::Unavailable, "the cluster does not come to rest; list again later");
        Err(self.exchange.error(trouble, b"", TRIES, begun))
    }

    /// The first `limit + 1` entries behind `after`; `true` for folded ones.
    fn names(&self, request: &ListRequest<'_>, masters: &[Arc<Node>]) -> Result<BTreeSet<(Vec<u8>, bool)>> {
        let begun = Instant::now();
        let pattern = pattern(request.prefix);
        let mut names = BTreeSet::new();
        // All masters side by side.
        let mut cursors: Vec<(&Arc<Node>, Vec<u8>)> = masters.iter().map(|m| (m, b"0".to_vec())).collect();
        while !cursors.is_empty() {
            let commands: Vec<[&[u8]; 8]> = cursors
                .iter()
                .map(|(_, at)| {
                    let words: [&[u8]; 8] =
                        [b"SCAN", at, b"MATCH", &pattern, b"COUNT", STEP, b"TYPE", b"string"];
                    words
                })
                .collect();
            let mut jobs: Vec<Job<'_>> = commands
                .iter()
                .zip(&cursors)
                .map(|(words, (master, _))| {
                    Job::new(What::Words(words), b"", Whom::Node((*master).clone()), true)
                })
                .collect();
            self.carry_out(&mut jobs);
            let answers: Vec<_> = jobs.into_iter().map(|job| (job.result, job.attempts)).collect();
            for ((master, at), (result, attempts)) in cursors.iter_mut().zip(answers) {
                let answer = match result {
                    Some(Ok(answer)) => answer,
                    Some(Err(trouble)) => return Err(self.exchange.error(trouble, b"", attempts, begun)),
                    None => Answer::Nil,
                };
                let Some((next, keys)) = step(answer) else {
                    let trouble = Trouble::new(Kind::Corrupt, format!("{master}: not an answer to SCAN"));
                    return Err(self.exchange.error(trouble, b"", attempts, begun));
                };
                for key in keys {
                    let Some(entry) = entry(key, request) else { continue };
                    if names.len() > request.limit && names.last().is_some_and(|last| *last <= entry) {
                        continue;
                    }
                    names.insert(entry);
                    if names.len() > request.limit.saturating_add(1) {
                        names.pop_last();
                    }
                }
                *at = next;
            }
            cursors.retain(|(_, at)| at != b"0");
        }
        Ok(names)
    }

    /// The entries with their lengths. What went meanwhile is left out.
    fn page(
        &self,
        mut names: BTreeSet<(Vec<u8>, bool)>,
        request: &ListRequest<'_>,
        begun: Instant,
    ) -> Result<Page> {
        let more = names.len() > request.limit;
        if more {
            names.pop_last();
        }
        let next = if more { names.last().map(|(name, _)| name.clone()) } else { None };
        let keys: Vec<&[u8]> =
            names.iter().filter(|(_, folded)| !folded).map(|(key, _)| key.as_slice()).collect();
        let mut jobs: Vec<Job<'_>> =
            keys.iter().map(|key| Job::new(What::Head, key, self.exchange.slot(key), true)).collect();
        self.carry_out(&mut jobs);
        self.ask_exactly(&mut jobs);
        let mut lens = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job.result {
                Some(Ok(Answer::Int(len))) => lens.push(u64::try_from(len).ok()),
                // Somebody put something else than a string there since.
                Some(Err(trouble)) if trouble.kind == Kind::Invalid => lens.push(None),
                Some(Err(trouble)) => return Err(self.exchange.error(trouble, job.key, job.attempts, begun)),
                _ => {
                    let trouble = Trouble::new(Kind::Corrupt, "a length that is no number");
                    return Err(self.exchange.error(trouble, job.key, job.attempts, begun));
                }
            }
        }
        let mut lens = lens.into_iter();
        let entries = names.into_iter().filter_map(|(name, folded)| {
            if folded {
                return Some(Listed::Prefix(name));
            }
            let len = lens.next().flatten()?;
            Some(Listed::Object(name, ObjectFacts { len, ..ObjectFacts::default() }))
        });
        Ok(Page { entries: entries.collect(), next })
    }
}

/// What a key is listed as, if it is.
fn entry(key: Vec<u8>, request: &ListRequest<'_>) -> Option<(Vec<u8>, bool)> {
    let behind = key.strip_prefix(request.prefix)?;
    let folded = request.delimiter.and_then(|d| behind.iter().position(|b| *b == d));
    let entry = match folded {
        Some(at) => {
            let mut name = key;
            name.truncate(request.prefix.len() + at + 1);
            (name, true)
        }
        None => (key, false),
    };
    (entry.0.as_slice() > request.after).then_some(entry)
}

/// The next cursor, and keys.
fn step(answer: Answer) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let Answer::List(parts) = answer else { return None };
    let [Answer::Bytes(cursor), Answer::List(keys)] = <[Answer; 2]>::try_from(parts).ok()? else {
        return None;
    };
    let keys = keys.into_iter().map(|k| if let Answer::Bytes(key) = k { Some(key) } else { None });
    Some((cursor, keys.collect::<Option<_>>()?))
}

/// A prefix as SCAN's pattern: what has a meaning there has none here.
fn pattern(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 8);
    for b in prefix {
        if b"*?[]\\^-".contains(b) {
            pattern.push(b'\\');
        }
        pattern.push(*b);
    }
    pattern.push(b'*');
    pattern
}
