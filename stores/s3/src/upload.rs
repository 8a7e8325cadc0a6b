//! The requests of a multipart upload, each one exchange.

use crate::codec::{self, META_PUT};
use crate::fault::Fault;
use crate::options::Checksum;
use crate::shared::{Shared, Tries, exchange};
use crate::writing::{self, Meta, Sums};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use iris_store::{Condition, Kind, ObjectFacts, StoreError};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::sync::atomic::{AtomicBool, Ordering};

/// What stays as it is in the name of an object to copy from.
pub const SOURCE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// An upload that was begun.
pub struct Running {
    pub key: String,
    /// The server's name of it.
    pub id: String,
    /// Stands in the object's metadata, by which its maker is known.
    pub me: String,
    /// Nothing more is tried.
    pub given_up: AtomicBool,
}

/// A range that the server copies.
pub struct Copy {
    pub source: String,
    pub first: u64,
    pub last: u64,
    pub tag: Option<String>,
}

/// Begins an upload; gives the server's name of it.
pub async fn create(shared: &Shared, key: &str, meta: &Meta, me: &str) -> Result<String, StoreError> {
    let begun = create_once(shared, key, meta, me).await;
    match begun {
        Err(e) if e.kind == Kind::Invalid && shared.options.checksum == Checksum::Crc64Nvme => {
            // As for a put: perhaps the server does not know the checksum.
            if shared.old_server.swap(true, Ordering::Relaxed) {
                Err(e)
            } else {
                create_once(shared, key, meta, me).await
            }
        }
        other => other,
    }
}

async fn create_once(shared: &Shared, key: &str, meta: &Meta, me: &str) -> Result<String, StoreError> {
    const WHAT: &str = "CreateMultipartUpload";
    let announced = match shared.options.checksum {
        _ if shared.old_server.load(Ordering::Relaxed) => None,
        Checksum::Crc64Nvme => Some(ChecksumAlgorithm::Crc64Nvme),
        Checksum::Crc32 => Some(ChecksumAlgorithm::Crc32),
        Checksum::Crc32c => Some(ChecksumAlgorithm::Crc32C),
        Checksum::Md5 | Checksum::None => None,
    };
    exchange(shared, Some(key), |client| {
        let mut request = client
            .create_multipart_upload()
            .bucket(&shared.options.bucket)
            .key(key)
            .metadata(META_PUT, me)
            .set_checksum_algorithm(announced.clone());
        for (name, value) in meta {
            request = request.metadata(name, value);
        }
        async move {
            let answer = request.send().await.map_err(|e| Fault::of(WHAT, e))?;
            let id = answer.upload_id().filter(|id| !id.is_empty()).map(str::to_owned);
            id.ok_or_else(|| Fault::new(Kind::Corrupt, format!("{WHAT}: the server gave the upload no name")))
        }
    })
    .await
}

/// Sends a part.
pub async fn send(
    shared: &Shared,
    running: &Running,
    number: i32,
    bytes: &Bytes,
) -> Result<CompletedPart, StoreError> {
    const WHAT: &str = "UploadPart";
    let sums = Sums::of(shared, bytes);
    exchange(shared, Some(&running.key), |client| {
        let request = client
            .upload_part()
            .bucket(&shared.options.bucket)
            .key(&running.key)
            .upload_id(&running.id)
            .part_number(number)
            .content_length(bytes.len() as i64)
            .set_content_md5(sums.md5.clone())
            .set_checksum_crc64_nvme(sums.crc64.clone())
            .set_checksum_crc32(sums.crc32.clone())
            .set_checksum_crc32_c(sums.crc32c.clone())
            .body(ByteStream::from(bytes.clone()));
        let mut request = request.customize();
        if shared.unsigned {
            request = request.disable_payload_signing();
        }
        let sums = &sums;
        async move {
            running.wanted()?;
            let answer = request.send().await.map_err(|e| Fault::of(WHAT, e))?;
            Ok(CompletedPart::builder()
                .part_number(number)
                .set_e_tag(answer.e_tag().map(str::to_owned))
                .set_checksum_crc64_nvme(sums.crc64.clone())
                .set_checksum_crc32(sums.crc32.clone())
                .set_checksum_crc32_c(sums.crc32c.clone())
                .build())
        }
    })
    .await
}

/// Has the server copy a part.
pub async fn copy(
    shared: &Shared,
    running: &Running,
    number: i32,
    copy: &Copy,
) -> Result<CompletedPart, StoreError> {
    const WHAT: &str = "UploadPartCopy";
    let source = format!("{}/{}", shared.options.bucket, utf8_percent_encode(&copy.source, SOURCE));
    let range = format!("bytes={}-{}", copy.first, copy.last);
    exchange(shared, Some(&running.key), |client| {
        let request = client
            .upload_part_copy()
            .bucket(&shared.options.bucket)
            .key(&running.key)
            .upload_id(&running.id)
            .part_number(number)
            .copy_source(&source)
            .copy_source_range(&range)
            .set_copy_source_if_match(copy.tag.as_deref().map(codec::quoted));
        async move {
            running.wanted()?;
            let answer = request.send().await.map_err(|e| Fault::of(WHAT, e))?;
            let part = answer.copy_part_result();
            let tag = part.and_then(|p| p.e_tag()).map(str::to_owned);
            if tag.is_none() {
                return Err(Fault::passing(
                    Kind::Corrupt,
                    format!("{WHAT}: the server names no tag of the copy"),
                ));
            }
            Ok(CompletedPart::builder()
                .part_number(number)
                .set_e_tag(tag)
                .set_checksum_crc64_nvme(part.and_then(|p| p.checksum_crc64_nvme()).map(str::to_owned))
                .set_checksum_crc32(part.and_then(|p| p.checksum_crc32()).map(str::to_owned))
                .set_checksum_crc32_c(part.and_then(|p| p.checksum_crc32_c()).map(str::to_owned))
                .build())
        }
    })
    .await
}

impl Running {
    fn wanted(&self) -> Result<(), Fault> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(Fault::new(Kind::Closed, "another part of the upload failed"));
        }
        Ok(())
    }
}

/// Whether a condition holds now.
pub async fn holds(shared: &Shared, key: &str, condition: &Condition) -> Result<(), StoreError> {
    let there = match writing::head(shared, key).await {
        Ok(facts) => Some(facts.tag),
        Err(e) if e.kind == Kind::NotFound => None,
        Err(e) => return Err(e),
    };
    let holds = match condition {
        Condition::Always => true,
        Condition::Absent => there.is_none(),
        Condition::Tag(tag) => there.flatten().as_ref() == Some(tag),
    };
    let detail = "the condition of the put does not hold";
    if holds { Ok(()) } else { Err(shared.error(Kind::Precondition, Some(key), detail)) }
}

/// Makes the parts the object.
pub async fn complete(
    shared: &Shared,
    running: &Running,
    parts: Vec<CompletedPart>,
    condition: &Condition,
) -> Result<ObjectFacts, StoreError> {
    const WHAT: &str = "CompleteMultipartUpload";
    let key = running.key.as_str();
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let mut tries = Tries::new(shared, Some(key));
    let told = loop {
        let (client, permit) = tries.begin().await?;
        let request = client
            .complete_multipart_upload()
            .bucket(&shared.options.bucket)
            .key(key)
            .upload_id(&running.id)
            .multipart_upload(parts.clone());
        let request = match condition {
            Condition::Always => request,
            Condition::Absent => request.if_none_match("*"),
            Condition::Tag(tag) => request.if_match(shared.wanted_tag(tag)),
        };
        let sent = tries.within(async { request.send().await.map_err(|e| Fault::of(WHAT, e)) }).await;
        drop(permit);
        match sent {
            // RGW tells an empty tag.
            Ok(done) => break codec::tag(done.e_tag()),
            Err(mut fault) => {
                // The upload is gone, or its object in its own way: an attempt before this one may have made it.
                if tries.perhaps_done
                    && matches!(fault.status, 404 | 412)
                    && let Ok((facts, Some(by))) = writing::head_with_id(shared, key).await
                    && by == running.me
                {
                    return Ok(facts);
                }
                if fault.kind == Kind::NotFound {
                    fault.kind =
                        if *condition == Condition::Always { Kind::Unavailable } else { Kind::Precondition };
                }
                tries.failed(fault).await?;
            }
        }
    };
    // What it is now, unless somebody has replaced it since.
    let (facts, by) = writing::head_with_id(shared, key).await?;
    if by.as_deref() == Some(&running.me) {
        return Ok(ObjectFacts { tag: facts.tag.or(told), ..facts });
    }
    let detail =
        format!("{WHAT}: answered with success, and the object is another's; it was replaced at once");
    (shared.log)(2, &shared.error(Kind::Precondition, Some(key), detail).to_string());
    Ok(ObjectFacts { tag: told, modified: facts.modified, ..facts })
}

/// Takes an upload back, so that its parts cost no room.
pub async fn abort(shared: &Shared, running: &Running) -> Result<(), StoreError> {
    const WHAT: &str = "AbortMultipartUpload";
    let gone = exchange(shared, Some(&running.key), |client| async move {
        let request = client
            .abort_multipart_upload()
            .bucket(&shared.options.bucket)
            .key(&running.key)
            .upload_id(&running.id);
        request.send().await.map(drop).map_err(|e| Fault::of(WHAT, e))
    });
    match gone.await {
        // NoSuchUpload.
        Err(e) if e.detail.contains("status 404") => Ok(()),
        other => other,
    }
}
