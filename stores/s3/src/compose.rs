//! Long objects, made of parts: the multipart upload. The thread that asks fetches the bytes, the runtime sends them,
//! several parts at a time; ranges of existing objects are copied by the server. What fails is taken back.

use crate::conditions;
use crate::plan::{self, Given, Upload};
use crate::shared::nonce;
use crate::store::S3;
use crate::upload;
use crate::writing;
use aws_sdk_s3::types::CompletedPart;
use bytes::{Bytes, BytesMut};
use iris_store::{Compose, Condition, Kind, ObjectFacts, Part, Result, Source, StoreError};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Bytes of parts in memory at most, unless two parts are more.
const IN_MEMORY: u64 = 64 << 20;

/// What comes back of a part: its number, what completion needs, and its bytes, whose room is used again.
type Sent = (usize, Result<CompletedPart>, Option<Bytes>);

impl Compose for S3 {
    fn compose(
        &self,
        key: &[u8],
        parts: &[Part<'_>],
        condition: Condition,
        meta: &[(String, String)],
    ) -> Result<ObjectFacts> {
        self.alive()?;
        let (to, headers) = (self.key(key)?, self.meta(key, meta)?);
        let existing = self.pin(parts)?;
        let given: Vec<Given> = parts
            .iter()
            .map(|part| match part {
                Part::Bytes { len, .. } => Given { len: *len, existing: false },
                Part::Existing { len, .. } => Given { len: *len, existing: true },
            })
            .collect();
        let uploads = plan::plan(&given, self.shared().options.part_size);
        let total: u64 = given.iter().map(|g| g.len).sum();
        if uploads.is_empty() || matches!(&uploads[..], [Upload::Send(_)]) {
            // Short enough for one put, which is cheaper, and atomic under its condition on every server that has them.
            let mut bytes = BytesMut::zeroed(total as usize);
            for upload in &uploads {
                self.gather(key, parts, &existing, upload, &mut bytes)?;
            }
            let bytes = bytes.freeze();
            let tag = self.ask(move |shared| async move {
                writing::put(&shared, &to, bytes, &condition, &headers).await
            })?;
            return Ok(ObjectFacts { len: total, tag, modified: None, meta: meta.to_vec() });
        }
        if condition != Condition::Always {
            let (to, condition) = (to.clone(), condition.clone());
            self.ask(move |shared| async move {
                if !conditions::kept(&shared).await? {
                    return Err(conditions::unsupported(&shared, &to));
                }
                // Before anything is sent in vain.
                upload::holds(&shared, &to, &condition).await
            })?;
        }
        let made = self.upload(key, to, parts, &existing, &uploads, condition, headers)?;
        if made.len != total {
            let detail = format!("the object has {} bytes where {total} were put together", made.len);
            return Err(StoreError::new(Kind::Corrupt, &self.shared().place, Some(key), detail));
        }
        Ok(made)
    }
}

impl S3 {
    /// A put of bytes so many that they are better sent as parts.
    pub fn put_long(&self, key: &[u8], bytes: &[u8], meta: &[(String, String)]) -> Result<Option<String>> {
        struct Slice<'a>(&'a [u8]);
        impl Source for Slice<'_> {
            fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
                into.copy_from_slice(&self.0[offset as usize..offset as usize + into.len()]);
                Ok(())
            }
        }
        let part = Part::Bytes { source: &Slice(bytes), offset: 0, len: bytes.len() as u64 };
        self.compose(key, &[part], Condition::Always, meta).map(|facts| facts.tag)
    }

    /// The tags of the objects that parts come from, so that all pieces of one are of one version.
    fn pin<'p>(&self, parts: &'p [Part<'_>]) -> Result<HashMap<&'p [u8], Option<String>>> {
        let mut pinned: HashMap<&[u8], ObjectFacts> = HashMap::new();
        for part in parts {
            let Part::Existing { key, offset, len, tag } = part else { continue };
            if !pinned.contains_key(key) {
                let whole = self.key(key)?;
                let facts = self.ask(move |shared| async move { writing::head(&shared, &whole).await })?;
                pinned.insert(key, facts);
            }
            let facts = &pinned[key];
            let fail =
                |kind, detail: String| Err(StoreError::new(kind, &self.shared().place, Some(key), detail));
            if tag.is_some() && facts.tag.as_deref() != *tag {
                return fail(
                    Kind::Precondition,
                    "a part of it is wanted by a tag that it has not (any more)".into(),
                );
            }
            if offset.checked_add(*len).is_none_or(|end| end > facts.len) {
                return fail(
                    Kind::Invalid,
                    format!("a part of {len} bytes from {offset} is wanted, and it has {}", facts.len),
                );
            }
        }
        Ok(pinned.into_iter().map(|(key, facts)| (key, facts.tag)).collect())
    }

    /// Fills the bytes of a part.
    fn gather(
        &self,
        target: &[u8],
        parts: &[Part<'_>],
        existing: &HashMap<&[u8], Option<String>>,
        upload: &Upload,
        mut into: &mut [u8],
    ) -> Result<()> {
        let pieces = match upload {
            Upload::Send(pieces) => pieces.as_slice(),
            Upload::Copy(piece) => std::slice::from_ref(piece),
        };
        for piece in pieces {
            let (here, rest) = into.split_at_mut(piece.len as usize);
            into = rest;
            match &parts[piece.part] {
                Part::Bytes { source, offset, .. } => {
                    source.read_at(offset + piece.offset, here).map_err(|e| {
                        let detail = format!("the bytes to put cannot be read: {e}");
                        StoreError::new(Kind::Invalid, &self.shared().place, Some(target), detail)
                    })?;
                }
                Part::Existing { key, offset, .. } => {
                    let tag = existing.get(key).cloned().flatten();
                    self.read_exactly(self.key(key)?, offset + piece.offset, here, tag)?;
                }
            }
        }
        Ok(())
    }

    /// Uploads in parts. The arguments are those of [`compose`](Compose::compose), prepared.
    #[allow(clippy::too_many_arguments)]
    fn upload(
        &self,
        key: &[u8],
        to: String,
        parts: &[Part<'_>],
        existing: &HashMap<&[u8], Option<String>>,
        uploads: &[Upload],
        condition: Condition,
        meta: writing::Meta,
    ) -> Result<ObjectFacts> {
        let me = nonce();
        let (target, mine) = (to.clone(), me.clone());
        let id =
            self.ask(move |shared| async move { upload::create(&shared, &target, &meta, &mine).await })?;
        let upload = Arc::new(upload::Running { key: to, id, me, given_up: AtomicBool::new(false) });
        let sent = self.send_parts(key, &upload, parts, existing, uploads);
        let finished = sent.and_then(|parts| {
            let upload = upload.clone();
            self.ask(move |shared| async move {
                if condition != Condition::Always {
                    // Servers that ignore conditions of completions (RGW) are watched at least.
                    upload::holds(&shared, &upload.key, &condition).await?;
                }
                upload::complete(&shared, &upload, parts, &condition).await
            })
        });
        if finished.is_err() {
            // Of an upload that was completed nevertheless, nothing is left to be aborted.
            let (upload, place) = (upload.clone(), self.shared().place.clone());
            let aborted = self.ask(move |shared| async move { upload::abort(&shared, &upload).await });
            if let Err(e) = aborted {
                (self.shared().log)(1, &format!("{place}: an upload that failed still costs room: {e}"));
            }
        }
        finished
    }

    fn send_parts(
        &self,
        key: &[u8],
        running: &Arc<upload::Running>,
        parts: &[Part<'_>],
        existing: &HashMap<&[u8], Option<String>>,
        uploads: &[Upload],
    ) -> Result<Vec<CompletedPart>> {
        let options = &self.shared().options;
        let longest = uploads.iter().map(plan::len).max().unwrap_or(1).min(options.part_size.max(1));
        let most = ((IN_MEMORY / longest) as usize).clamp(2, options.connections.max(2));
        let (to, from) = mpsc::channel::<Sent>();
        let mut done: Vec<Option<CompletedPart>> = vec![None; uploads.len()];
        let mut room: Vec<BytesMut> = Vec::new();
        let (mut next, mut at_work, mut failure) = (0, 0, None);
        loop {
            while failure.is_none() && next < uploads.len() && at_work < most {
                match self.send_part(key, running, parts, existing, (next, &uploads[next]), &mut room, &to) {
                    Ok(()) => (next, at_work) = (next + 1, at_work + 1),
                    Err(e) => failure = Some(e),
                }
            }
            if at_work == 0 {
                break;
            }
            match from.recv_timeout(options.deadline * 2 + Duration::from_secs(10)) {
                Ok((i, result, bytes)) => {
                    at_work -= 1;
                    room.extend(bytes.and_then(|b| b.try_into_mut().ok()));
                    match result {
                        Ok(part) => done[i] = Some(part),
                        Err(e) => failure = failure.or(Some(e)),
                    }
                }
                Err(_) => {
                    failure = failure.or_else(|| Some(self.lost_answer()));
                    break;
                }
            }
            if failure.is_some() {
                running.given_up.store(true, Ordering::Relaxed);
            }
        }
        match failure {
            Some(e) => Err(e),
            None => done.into_iter().map(|part| part.ok_or_else(|| self.lost_answer())).collect(),
        }
    }

    /// Has one part sent or copied.
    #[allow(clippy::too_many_arguments)]
    fn send_part(
        &self,
        key: &[u8],
        running: &Arc<upload::Running>,
        parts: &[Part<'_>],
        existing: &HashMap<&[u8], Option<String>>,
        (i, upload): (usize, &Upload),
        room: &mut Vec<BytesMut>,
        to: &mpsc::Sender<Sent>,
    ) -> Result<()> {
        let (running, shared, to) = (running.clone(), Arc::clone(self.shared()), to.clone());
        let number = i as i32 + 1;
        if let Upload::Copy(piece) = upload
            && let Part::Existing { key, offset, .. } = &parts[piece.part]
        {
            let from = offset + piece.offset;
            let copy = upload::Copy {
                source: self.key(key)?,
                first: from,
                last: from + piece.len - 1,
                tag: existing.get(key).cloned().flatten(),
            };
            self.run(move || async move {
                let result = upload::copy(&shared, &running, number, &copy).await;
                let _ = to.send((i, result, None));
            });
            return Ok(());
        }
        let mut bytes = room.pop().unwrap_or_default();
        bytes.resize(plan::len(upload) as usize, 0);
        self.gather(key, parts, existing, upload, &mut bytes)?;
        let bytes = bytes.freeze();
        self.run(move || async move {
            let result = upload::send(&shared, &running, number, &bytes).await;
            let _ = to.send((i, result, Some(bytes)));
        });
        Ok(())
    }
}
