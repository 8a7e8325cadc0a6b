//! Listings, in the order of the keys' bytes: ListObjectsV2, page by page, with what it cannot do (a place behind a
//! folded prefix, a delimiter or prefix that is no text) done here.

use crate::codec;
use crate::fault::Fault;
use crate::shared::{Shared, exchange};
use aws_sdk_s3::types::EncodingType;
use iris_store::{Kind, Listed, ObjectFacts, Page, StoreError};
use std::time::SystemTime;

/// The last character there is: what begins so and goes on is behind all its siblings.
const LAST: char = '\u{10ffff}';

/// What is asked for, by keys without the store's prefix.
pub struct Wanted {
    pub prefix: Vec<u8>,
    pub after: Vec<u8>,
    pub delimiter: Option<u8>,
    pub limit: usize,
}

/// A page.
pub async fn list(shared: &Shared, wanted: &Wanted) -> Result<Page, StoreError> {
    if wanted.limit == 0 {
        return Err(shared.error(Kind::Invalid, None, "a page of no entries is asked for"));
    }
    let mut page = Page::default();
    let Some(begin) = Begin::of(shared, wanted) else { return Ok(page) };
    let (mut start_after, mut token) = (begin.start_after.clone(), None);
    loop {
        let rest = wanted.limit - page.entries.len();
        let most = i32::try_from(rest.saturating_add(1)).unwrap_or(i32::MAX).min(1000);
        let (entries, next) = one(shared, &begin, start_after.take(), token.take(), most).await?;
        for entry in entries {
            let entry = begin.fold(wanted, entry);
            let name = name(&entry);
            let last = page.entries.last().map_or(wanted.after.as_slice(), self::name);
            // Behind what is there already; a server may give more than was asked for.
            if name <= last || !name.starts_with(&wanted.prefix) {
                continue;
            }
            if page.entries.len() == wanted.limit {
                page.next = page.entries.last().map(|e| self::name(e).to_vec());
                return Ok(page);
            }
            page.entries.push(entry);
        }
        match next {
            Some(next) => token = Some(next),
            None => return Ok(page),
        }
    }
}

fn name(entry: &Listed) -> &[u8] {
    match entry {
        Listed::Object(key, _) | Listed::Prefix(key) => key,
    }
}

/// What the server is asked.
struct Begin {
    prefix: String,
    start_after: Option<String>,
    delimiter: Option<String>,
    /// Whether folding is left to us.
    fold_here: bool,
}

impl Begin {
    /// `None` where nothing can be there.
    fn of(shared: &Shared, wanted: &Wanted) -> Option<Begin> {
        let own = &shared.options.prefix;
        let text = text_of(&wanted.prefix);
        let fold_here =
            text.len() < wanted.prefix.len() || wanted.delimiter.is_some_and(|d| !(b' '..0x7f).contains(&d));
        let delimiter = wanted.delimiter.filter(|_| !fold_here).map(|d| char::from(d).to_string());
        let after = &wanted.after;
        let start_after = match after.strip_prefix(wanted.prefix.as_slice()) {
            // All keys of the prefix are behind it, or none.
            None if *after < wanted.prefix => None,
            None => return None,
            Some([]) if after.is_empty() => None,
            Some(below) => {
                let folded = wanted.delimiter.and_then(|d| below.iter().position(|b| *b == d));
                Some(match folded {
                    Some(at) => format!("{own}{}{LAST}", text_of(&after[..wanted.prefix.len() + at + 1])),
                    None => {
                        let text = text_of(after);
                        // Bytes that are behind every character.
                        let end = if after.get(text.len()).is_some_and(|b| *b > 0xf4) {
                            LAST.to_string()
                        } else {
                            String::new()
                        };
                        format!("{own}{text}{end}")
                    }
                })
            }
        };
        Some(Begin { prefix: format!("{own}{text}"), start_after, delimiter, fold_here })
    }

    /// Folds an entry where the server did not.
    fn fold(&self, wanted: &Wanted, entry: Listed) -> Listed {
        let (Some(delimiter), true, Listed::Object(key, _)) = (wanted.delimiter, self.fold_here, &entry)
        else {
            return entry;
        };
        match key.get(wanted.prefix.len()..).and_then(|below| below.iter().position(|b| *b == delimiter)) {
            Some(at) => Listed::Prefix(key[..wanted.prefix.len() + at + 1].to_vec()),
            None => entry,
        }
    }
}

/// The longest beginning that a key may hold.
fn text_of(bytes: &[u8]) -> &str {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default(),
    };
    &text[..text.find(char::is_control).unwrap_or(text.len())]
}

/// One answer of the server: its entries in order, and its token for the next.
async fn one(
    shared: &Shared,
    begin: &Begin,
    start_after: Option<String>,
    token: Option<String>,
    most: i32,
) -> Result<(Vec<Listed>, Option<String>), StoreError> {
    const WHAT: &str = "ListObjectsV2";
    let own = shared.options.prefix.len();
    let key_of = |key: &str| codec::listed(key).get(own..).map(<[u8]>::to_vec);
    exchange(shared, None, |client| {
        let request = client
            .list_objects_v2()
            .bucket(&shared.options.bucket)
            .set_prefix(Some(begin.prefix.clone()).filter(|p| !p.is_empty()))
            .set_delimiter(begin.delimiter.clone())
            .set_start_after(start_after.clone())
            .set_continuation_token(token.clone())
            .encoding_type(EncodingType::Url)
            .max_keys(most);
        async move {
            let answer = request.send().await.map_err(|e| Fault::of(WHAT, e))?;
            let mut entries = Vec::with_capacity(answer.contents().len() + answer.common_prefixes().len());
            for object in answer.contents() {
                let Some(key) = object.key().and_then(key_of).filter(|k| !k.is_empty()) else { continue };
                let facts = ObjectFacts {
                    len: object.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                    tag: codec::tag(object.e_tag()),
                    modified: object.last_modified().and_then(|t| SystemTime::try_from(*t).ok()),
                    meta: Vec::new(),
                };
                entries.push(Listed::Object(key, facts));
            }
            for prefix in answer.common_prefixes() {
                entries
                    .extend(prefix.prefix().and_then(key_of).filter(|k| !k.is_empty()).map(Listed::Prefix));
            }
            entries.sort_by(|a, b| name(a).cmp(name(b)));
            let next = answer.next_continuation_token().map(str::to_owned);
            if answer.is_truncated() == Some(true) && next.is_none() {
                return Err(Fault::passing(
                    Kind::Corrupt,
                    format!("{WHAT}: the page has no end and no next one"),
                ));
            }
            Ok((entries, next.filter(|_| answer.is_truncated() == Some(true))))
        }
    })
    .await
}
