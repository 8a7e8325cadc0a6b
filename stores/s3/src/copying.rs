//! Copies of objects that the server makes, and reading one version of an object. Owns what of an object a copy keeps:
//! everything but the text kept with it, where that is replaced.

use crate::codec::{self, META_CRC};
use crate::fault::Fault;
use crate::shared::{Shared, exchange};
use crate::store::S3;
use crate::upload::SOURCE;
use crate::writing::Meta;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::MetadataDirective;
use iris_store::{Compose, Condition, Kind, ObjectFacts, Part, Result, StoreError, Versions};
use percent_encoding::utf8_percent_encode;
use std::sync::Arc;

/// Bytes that one request has the server copy at most: it answers when it is done, so it must not take long.
const MOST: u64 = 256 << 20;

impl Versions for S3 {
    fn read_version(&self, key: &[u8], tag: &str, offset: u64, into: &mut [u8]) -> Result<()> {
        self.alive()?;
        let whole = self.key(key)?;
        self.read_exactly(whole, offset, into, Some(tag.to_owned()))
    }

    fn copy(
        &self,
        from: &[u8],
        to: &[u8],
        tag: Option<&str>,
        meta: Option<&[(String, String)]>,
    ) -> Result<ObjectFacts> {
        self.alive()?;
        let (source, target) = (self.key(from)?, self.key(to)?);
        let headers = meta.map(|m| self.meta(to, m)).transpose()?;
        let looked = source.clone();
        let there = self.ask(move |shared| async move { look(&shared, &looked).await })?;
        let has = codec::tag(there.e_tag());
        if tag.is_some() && has.as_deref() != tag {
            let detail = "the object is not the one with that tag any more";
            return Err(StoreError::new(Kind::Precondition, &self.shared().place, Some(from), detail));
        }
        let len = there.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        if len > MOST {
            let kept = there.metadata().map_or_else(Vec::new, |m| codec::meta_back(m.iter()));
            let part = Part::Existing { key: from, offset: 0, len, tag: has.as_deref() };
            return self.compose(to, &[part], Condition::Always, meta.unwrap_or(&kept));
        }
        self.ask(move |shared| async move { copy(&shared, &source, &target, &there, headers).await })
    }
}

async fn look(shared: &Arc<Shared>, key: &str) -> Result<HeadObjectOutput> {
    const WHAT: &str = "HeadObject";
    exchange(shared, Some(key), |client| async move {
        let request = client.head_object().bucket(&shared.options.bucket).key(key);
        request.send().await.map_err(|e| Fault::of(WHAT, e))
    })
    .await
}

/// Copies what `there` tells of.
async fn copy(
    shared: &Arc<Shared>,
    from: &str,
    to: &str,
    there: &HeadObjectOutput,
    meta: Option<Meta>,
) -> Result<ObjectFacts> {
    const WHAT: &str = "CopyObject";
    let source = format!("{}/{}", shared.options.bucket, utf8_percent_encode(from, SOURCE));
    let old = there.metadata();
    // Its checksum is the bytes', whatever else is said of them.
    let sum = old.and_then(|m| m.get(META_CRC)).cloned();
    let done = exchange(shared, Some(to), |client| {
        let mut request = client
            .copy_object()
            .bucket(&shared.options.bucket)
            .key(to)
            .copy_source(&source)
            .set_copy_source_if_match(there.e_tag().map(str::to_owned));
        if let Some(meta) = &meta {
            request = request
                .metadata_directive(MetadataDirective::Replace)
                .set_content_type(there.content_type().map(str::to_owned))
                .set_content_encoding(there.content_encoding().map(str::to_owned))
                .set_content_language(there.content_language().map(str::to_owned))
                .set_content_disposition(there.content_disposition().map(str::to_owned))
                .set_cache_control(there.cache_control().map(str::to_owned));
            for (name, value) in meta {
                request = request.metadata(name, value);
            }
            if let Some(sum) = &sum {
                request = request.metadata(META_CRC, sum);
            }
        }
        async move { request.send().await.map_err(|e| Fault::of(WHAT, e)) }
    })
    .await?;
    let tag = codec::tag(done.copy_object_result().and_then(|r| r.e_tag()));
    let meta = match meta {
        Some(meta) => codec::meta_back(meta.iter().map(|(n, v)| (n, v))),
        None => old.map_or_else(Vec::new, |m| codec::meta_back(m.iter())),
    };
    let len = there.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    Ok(ObjectFacts { len, tag, modified: None, meta })
}
