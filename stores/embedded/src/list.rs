//! Listings: the shards' keys, each in order, put together.

use crate::store::{Embedded, facts_of};
use iris_mappers::containers::Catalogue;
use iris_store::{Kind, ListRequest, Listed, Page, Result};
use std::collections::BTreeMap;
use std::ops::Bound;

impl Embedded {
    /// A page of the keys.
    pub(crate) fn page(&self, request: &ListRequest<'_>) -> Result<Page> {
        if request.limit == 0 {
            return Err(self.context.error(Kind::Invalid, None, "a page holds at least one entry"));
        }
        let mut entries = BTreeMap::new();
        for shard in &self.shards {
            let view = shard.sorted_view(&self.context)?;
            collect(view.catalogue(), request, &mut entries);
            // What lies behind the page is asked for again with the next one.
            while entries.len() > request.limit + 1 {
                entries.pop_last();
            }
        }
        let more = entries.len() > request.limit;
        if more {
            entries.pop_last();
        }
        let next = entries.last_key_value().filter(|_| more).map(|(key, _)| key.clone());
        Ok(Page { entries: entries.into_values().collect(), next })
    }
}

/// The first entries of one shard, one more than a page holds.
fn collect(catalogue: &Catalogue, request: &ListRequest<'_>, into: &mut BTreeMap<Vec<u8>, Listed>) {
    let &ListRequest { prefix, after, delimiter, limit } = request;
    let mut from =
        if after >= prefix { Bound::Excluded(after.to_vec()) } else { Bound::Included(prefix.to_vec()) };
    let mut found = 0;
    'folded: while found <= limit {
        let start = from.clone();
        for key in catalogue.keys(start.as_ref().map(Vec::as_slice)) {
            if !key.starts_with(prefix) || found > limit {
                break 'folded;
            }
            let folded = delimiter.and_then(|d| key[prefix.len()..].iter().position(|b| *b == d));
            if let Some(at) = folded {
                let entry = key[..prefix.len() + at + 1].to_vec();
                let Some(behind) = successor(&entry) else { break 'folded };
                if entry.as_slice() > after {
                    into.insert(entry.clone(), Listed::Prefix(entry));
                    found += 1;
                }
                from = Bound::Included(behind);
                continue 'folded;
            }
            if let Some(object) = catalogue.get(key) {
                into.insert(key.to_vec(), Listed::Object(key.to_vec(), facts_of(object)));
                found += 1;
            }
        }
        break;
    }
}

/// The first bytes behind everything that begins with these.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b < 0xff)?;
    let mut behind = prefix[..=last].to_vec();
    behind[last] += 1;
    Some(behind)
}
