//! Reading: a range in one request, or long ones in several at a time, all of one version of the object. A body that
//! breaks off is continued where it broke; a whole object is held against its checksum.

use crate::codec::{self, Check, META_CRC};
use crate::fault::Fault;
use crate::shared::{Shared, Tries};
use aws_sdk_s3::Client;
use bytes::Bytes;
use iris_store::{Kind, Outcome, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::task::JoinSet;

/// Bytes on their way to the caller at most.
const AHEAD: u64 = 32 << 20;
/// How often an object that changes while it is read is begun anew.
const CHANGES: u32 = 20;

/// What comes back of a request, in any order but its own.
pub enum Note {
    /// Bytes for a request, at an offset of what it wants.
    Bytes(usize, u64, Bytes),
    /// What came of it.
    Done(usize, Result<Outcome>),
}

/// Where bytes go: to the thread that asked, which lays them down.
#[derive(Clone)]
pub struct Sink {
    pub to: Sender<Note>,
    /// Which request they are for.
    pub index: usize,
    pub flow: Arc<Flow>,
}

/// How many bytes were sent to the caller, and how many it took.
#[derive(Default)]
pub struct Flow {
    sent: AtomicU64,
    pub taken: AtomicU64,
}

impl Sink {
    async fn give(&self, at: u64, bytes: Bytes) -> std::result::Result<(), Fault> {
        // The caller cannot wake this thread (see threads.rs); it is seldom behind.
        while self.flow.sent.load(Ordering::Relaxed) - self.flow.taken.load(Ordering::Acquire) > AHEAD {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.flow.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.to
            .send(Note::Bytes(self.index, at, bytes))
            .map_err(|_| Fault::new(Kind::Closed, "nobody waits for this any more"))
    }
}

/// What came of reading a range.
enum Got {
    /// So many bytes, of an object of that length and tag.
    Bytes { read: u64, total: u64, tag: Option<String> },
    /// The object is not the one that was begun with.
    Changed,
}

/// Reads `len` bytes (not 0) from `offset` of the object, as far as there are; of the version with the tag, if one is
/// given.
pub async fn get(
    shared: &Arc<Shared>,
    key: &str,
    offset: u64,
    len: u64,
    tag: Option<&str>,
    sink: &Sink,
) -> Result<u64> {
    let mut changes = 0;
    loop {
        if let Some(read) = version(shared, key, offset, len, tag, sink).await? {
            return Ok(read);
        }
        if tag.is_some() {
            return Err(shared.error(
                Kind::Precondition,
                Some(key),
                "the object is not the one with that tag any more",
            ));
        }
        changes += 1;
        if changes == CHANGES {
            let detail =
                format!("the object was replaced {CHANGES} times while it was read; try when it rests");
            return Err(shared.error(Kind::Unavailable, Some(key), detail).after(changes, Duration::ZERO));
        }
    }
}

/// The same from one version; `None` if that went away meanwhile.
async fn version(
    shared: &Arc<Shared>,
    key: &str,
    offset: u64,
    len: u64,
    tag: Option<&str>,
    sink: &Sink,
) -> Result<Option<u64>> {
    let part = shared.options.part_size;
    // Two requests are only worth their while if both are long.
    let first = if len > part + part / 2 { part } else { len };
    let (read, total, tag) = match range(shared, key, (offset, first), tag, sink, 0).await? {
        Got::Changed => return Ok(None),
        Got::Bytes { read, total, tag } => (read, total, tag),
    };
    let end = total.min(offset.saturating_add(len));
    let mut at = offset + read;
    if read < first || at >= end {
        return Ok(Some(read));
    }
    let mut parts = JoinSet::new();
    let mut whole = true;
    while at < end || !parts.is_empty() {
        while at < end && parts.len() < shared.options.connections {
            let len = if end - at > part + part / 2 { part } else { end - at };
            let (shared, key, tag, sink) = (shared.clone(), key.to_owned(), tag.clone(), sink.clone());
            parts.spawn(async move {
                let got = range(&shared, &key, (at, len), tag.as_deref(), &sink, at - offset).await?;
                Result::Ok(matches!(got, Got::Bytes { read, .. } if read == len))
            });
            at += len;
        }
        match parts.join_next().await {
            None => break,
            Some(Ok(Ok(same))) => whole &= same,
            Some(Ok(Err(e))) => {
                parts.shutdown().await;
                return Err(e);
            }
            Some(Err(e)) => {
                return Err(shared.error(Kind::Corrupt, Some(key), format!("a read came to a bad end: {e}")));
            }
        }
        if !whole {
            // All of them, before the object is begun anew: later bytes must not come behind newer ones.
            parts.shutdown().await;
            return Ok(None);
        }
    }
    Ok(Some(end - offset))
}

/// Reads a range (offset, length) by one request at a time, from `base` of what is wanted.
async fn range(
    shared: &Shared,
    key: &str,
    (offset, len): (u64, u64),
    tag: Option<&str>,
    sink: &Sink,
    base: u64,
) -> Result<Got> {
    let mut reading =
        Reading { key, offset, len, base, read: 0, total: 0, tag: tag.map(str::to_owned), check: None };
    let mut tries = Tries::new(shared, Some(key));
    loop {
        let (client, permit) = tries.begin().await?;
        match tries.within(reading.attempt(shared, client, sink)).await {
            Ok(true) => return Ok(Got::Bytes { read: reading.read, total: reading.total, tag: reading.tag }),
            Ok(false) => return Ok(Got::Changed),
            Err(fault) => {
                drop(permit);
                tries.failed(fault).await?;
            }
        }
    }
}

/// A range that is being read.
struct Reading<'a> {
    key: &'a str,
    offset: u64,
    len: u64,
    base: u64,
    /// What came so far.
    read: u64,
    total: u64,
    tag: Option<String>,
    check: Option<Check>,
}

impl Reading<'_> {
    /// Goes on where the last attempt ended; whether it is still the same object.
    async fn attempt(
        &mut self,
        shared: &Shared,
        client: Client,
        sink: &Sink,
    ) -> std::result::Result<bool, Fault> {
        const WHAT: &str = "GetObject";
        let from = self.offset + self.read;
        let last = self.offset.saturating_add(self.len - 1).min(i64::MAX as u64);
        let request = client
            .get_object()
            .bucket(&shared.options.bucket)
            .key(self.key)
            .range(format!("bytes={from}-{last}"))
            .set_if_match(self.tag.as_deref().map(codec::quoted));
        // The SDK would compare checksums of ranges too; here they are compared when the range is the whole.
        let asked = request.customize().mutate_request(|r| {
            r.headers_mut().insert("x-amz-checksum-mode", "ENABLED");
        });
        let mut answer = match asked.send().await {
            Ok(answer) => answer,
            Err(e) => {
                let fault = Fault::of(WHAT, e);
                return match fault.status {
                    // Behind the end.
                    416 if self.read == 0 => Ok(true),
                    416 => Ok(false),
                    412 if self.tag.is_some() => Ok(false),
                    404 if self.read > 0 && fault.kind == Kind::NotFound => Ok(false),
                    _ => Err(fault),
                };
            }
        };
        let tag = codec::tag(answer.e_tag());
        if self.tag.is_some() && tag.is_some() && self.tag != tag {
            // A server that does not know If-Match.
            return Ok(false);
        }
        let length = u64::try_from(answer.content_length().unwrap_or(0)).unwrap_or(0);
        let (first, end, total) = match answer.content_range() {
            Some(text) => content_range(text).ok_or_else(|| {
                Fault::passing(Kind::Corrupt, format!("{WHAT}: \"{text}\" is no Content-Range"))
            })?,
            None => (0, length, length),
        };
        if first != from {
            let detail = format!(
                "{WHAT}: asked for bytes from {from}, the server sends them from {first}; it knows no ranges"
            );
            return Err(Fault::new(Kind::Corrupt, detail));
        }
        (self.tag, self.total) = (tag, total);
        if self.read == 0 && self.offset == 0 && total <= self.len {
            let own = answer.metadata().and_then(|m| m.get(META_CRC)).map(String::as_str);
            self.check = Check::new(
                answer.checksum_crc64_nvme(),
                answer.checksum_crc32_c(),
                answer.checksum_crc32(),
                own,
            );
        }
        let most = self.offset.saturating_add(self.len);
        // Whether the body ends where we do.
        let exact = end <= most;
        let end = end.min(most) - self.offset;
        while self.read < end {
            let chunk = match answer.body.next().await {
                Some(Ok(chunk)) => chunk,
                broken => {
                    let why = broken
                        .and_then(std::result::Result::err)
                        .map_or("it ended".into(), |e| crate::fault::chain(&e));
                    let detail = format!("{WHAT}: the body broke off at byte {} of {end}: {why}", self.read);
                    return Err(Fault::passing(Kind::Unavailable, detail));
                }
            };
            let chunk = chunk.slice(..chunk.len().min((end - self.read) as usize));
            if let Some(check) = &mut self.check {
                check.update(&chunk);
            }
            let (at, len) = (self.base + self.read, chunk.len() as u64);
            sink.give(at, chunk).await?;
            self.read += len;
            shared.touch();
        }
        if exact {
            // To the very end, so that the connection can be used again.
            let _ = answer.body.next().await;
        }
        if self.check.take().is_some_and(|check| !check.holds()) {
            self.read = 0;
            let detail = format!(
                "{WHAT}: the bytes are not those of their checksum: changed in the server or on the way"
            );
            return Err(Fault::passing(Kind::Corrupt, detail));
        }
        Ok(true)
    }
}

/// First byte, end (exclusive) and length of the object, of "bytes 0-9/100".
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total) = (first.parse().ok()?, last.parse::<u64>().ok()?, total.parse().ok()?);
    (first <= last && last < total).then_some((first, last + 1, total))
}

#[cfg(test)]
mod tests {
    #[test]
    fn content_ranges_are_read_or_refused() {
        assert_eq!(super::content_range("bytes 5-9/10"), Some((5, 10, 10)));
        for wrong in ["bytes 5-10/10", "bytes 9-5/10", "bytes */10", "5-9", "bytes 0-1/*"] {
            assert_eq!(super::content_range(wrong), None, "{wrong}");
        }
    }
}
