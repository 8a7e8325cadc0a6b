//! Puts, deletes and heads: each one exchange, and each with the answer that is right when an earlier answer got lost.

use crate::codec::{self, META_CRC, META_PUT};
use crate::conditions;
use crate::fault::Fault;
use crate::options::{Checksum, MOST_PUT};
use crate::shared::{Shared, Tries, exchange, nonce};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use iris_store::{Condition, Kind, ObjectFacts, StoreError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// Metadata as headers carry it (see [`codec::meta`]).
pub type Meta = Vec<(String, String)>;

/// Makes or replaces an object; gives its tag.
pub async fn put(
    shared: &Arc<Shared>,
    key: &str,
    bytes: Bytes,
    condition: &Condition,
    meta: &Meta,
) -> Result<Option<String>, StoreError> {
    if *condition != Condition::Always && !conditions::kept(shared).await? {
        return Err(conditions::unsupported(shared, key));
    }
    put_anyhow(shared, key, bytes, condition, meta).await
}

/// The same whether the server is known to keep conditions or not.
pub async fn put_anyhow(
    shared: &Shared,
    key: &str,
    bytes: Bytes,
    condition: &Condition,
    meta: &Meta,
) -> Result<Option<String>, StoreError> {
    const WHAT: &str = "PutObject";
    if bytes.len() as u64 > MOST_PUT {
        let detail = format!("{} bytes; S3 takes {MOST_PUT} in one request", bytes.len());
        return Err(shared.error(Kind::TooLarge, Some(key), detail));
    }
    // Only where the difference between "done" and "somebody else did" matters.
    let id = (*condition != Condition::Always).then(nonce);
    let mut sums = Sums::of(shared, &bytes);
    let mut tries = Tries::new(shared, Some(key));
    loop {
        let (client, permit) = tries.begin().await?;
        let mut request = client
            .put_object()
            .bucket(&shared.options.bucket)
            .key(key)
            .content_length(bytes.len() as i64)
            .body(ByteStream::from(bytes.clone()));
        for (name, value) in meta {
            request = request.metadata(name, value);
        }
        if let Some(id) = &id {
            request = request.metadata(META_PUT, id);
        }
        if let Some(own) = &sums.own {
            request = request.metadata(META_CRC, own);
        }
        request = request
            .set_content_md5(sums.md5.clone())
            .set_checksum_crc64_nvme(sums.crc64.clone())
            .set_checksum_crc32(sums.crc32.clone())
            .set_checksum_crc32_c(sums.crc32c.clone());
        request = match condition {
            Condition::Always => request,
            Condition::Absent => request.if_none_match("*"),
            Condition::Tag(tag) => request.if_match(shared.wanted_tag(tag)),
        };
        let mut request = request.customize();
        if shared.unsigned {
            request = request.disable_payload_signing();
        }
        let sent = tries.within(async { request.send().await.map_err(|e| Fault::of(WHAT, e)) }).await;
        drop(permit);
        match sent {
            Ok(done) => {
                if let Condition::Tag(_) = condition {
                    shared.tags_are_right();
                }
                return Ok(codec::tag(done.e_tag()));
            }
            Err(mut fault) => {
                if let Condition::Tag(_) = condition
                    && fault.kind == Kind::NotFound
                {
                    fault.kind = Kind::Precondition;
                }
                if let Condition::Tag(tag) = condition
                    && fault.status == 412
                    && shared.tags_unknown()
                    && head(shared, key).await.is_ok_and(|facts| facts.tag.as_ref() == Some(tag))
                    && shared.other_tags()
                {
                    // The tag is right, so it is its quotes that the server stumbles over.
                    continue;
                }
                if fault.kind == Kind::Precondition && tries.perhaps_done {
                    // An attempt before this one may have been the put that stands in the way.
                    if let Ok((facts, Some(there))) = head_with_id(shared, key).await
                        && Some(&there) == id.as_ref()
                    {
                        return Ok(facts.tag);
                    }
                }
                if fault.status == 400 && sums.newer() && fault.kind == Kind::Invalid {
                    // A server that does not know this checksum; what it keeps for us is in the metadata.
                    shared.old_server.store(true, Ordering::Relaxed);
                    sums = Sums::of(shared, &bytes);
                    continue;
                }
                tries.failed(fault).await?;
            }
        }
    }
}

/// The checksums of a put.
pub struct Sums {
    pub crc64: Option<String>,
    pub crc32: Option<String>,
    pub crc32c: Option<String>,
    pub md5: Option<String>,
    /// For the metadata.
    own: Option<String>,
}

impl Sums {
    /// Those that are asked for.
    pub fn of(shared: &Shared, bytes: &[u8]) -> Sums {
        let kind = shared.options.checksum;
        let own = (kind != Checksum::None).then(|| codec::crc64nvme(bytes));
        let old = shared.old_server.load(Ordering::Relaxed);
        let is = |k| kind == k && !(old && k == Checksum::Crc64Nvme);
        Sums {
            crc64: own.clone().filter(|_| is(Checksum::Crc64Nvme)),
            crc32: is(Checksum::Crc32).then(|| codec::crc32(bytes)),
            crc32c: is(Checksum::Crc32c).then(|| codec::crc32c(bytes)),
            md5: is(Checksum::Md5).then(|| codec::md5(bytes)),
            own,
        }
    }

    /// Whether one is sent that servers from before 2025 may not know.
    fn newer(&self) -> bool {
        self.crc64.is_some()
    }
}

/// Removes an object; one that is not there is removed already.
pub async fn delete(shared: &Shared, key: &str) -> Result<(), StoreError> {
    const WHAT: &str = "DeleteObject";
    let gone = exchange(shared, Some(key), |client| async move {
        let request = client.delete_object().bucket(&shared.options.bucket).key(key);
        request.send().await.map(drop).map_err(|e| Fault::of(WHAT, e))
    });
    match gone.await {
        Err(e) if e.kind == Kind::NotFound => Ok(()),
        other => other,
    }
}

/// Asks about an object.
pub async fn head(shared: &Shared, key: &str) -> Result<ObjectFacts, StoreError> {
    head_with_id(shared, key).await.map(|(facts, _)| facts)
}

/// The same, and which put it is from.
pub async fn head_with_id(shared: &Shared, key: &str) -> Result<(ObjectFacts, Option<String>), StoreError> {
    const WHAT: &str = "HeadObject";
    exchange(shared, Some(key), |client| async move {
        let request = client.head_object().bucket(&shared.options.bucket).key(key);
        let answer = request.send().await.map_err(|e| Fault::of(WHAT, e))?;
        let facts = ObjectFacts {
            len: answer.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            tag: codec::tag(answer.e_tag()),
            modified: answer.last_modified().and_then(|t| SystemTime::try_from(*t).ok()),
            meta: answer.metadata().map_or_else(Vec::new, |meta| codec::meta_back(meta.iter())),
        };
        Ok((facts, answer.metadata().and_then(|meta| meta.get(META_PUT)).cloned()))
    })
    .await
}
