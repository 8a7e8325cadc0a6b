//! A store in memory: the model that the suite itself is tested by. May be told to be wrong in one way.

// Each test program uses a part.
#![allow(dead_code)]

use iris_store::{
    Capabilities, Compose, Condition, Kind, ListRequest, Listed, ObjectFacts, Outcome, Page, Part, Request,
    Result, Store, StoreError,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

/// Names each way to be wrong once.
macro_rules! faults {
    ($($name:ident)*) => {
        /// A way to be wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($name),*
        }

        impl Fault {
            pub const ALL: &[Fault] = &[$(Fault::$name),*];
        }
    };
}

faults! {
    ShorterPutLeavesTail
    EmptyPutIsLost
    AbsentIgnored
    AbsentRaces
    TagIgnored
    TagRaces
    TagStays
    TagStaysOnUpdate
    PutIsTorn
    DeleteTakesLongerKeys
    DeleteOfNothingFails
    KeysEndAtNul
    KeysAreLowered
    KeysAreText
    LongKeysAreCut
    ShortReadAtBoundary
    ReadBehindEndFails
    GapIsNotZeroed
    EmptyUpdateGrows
    ResizeMakes
    ResizeKeepsTail
    BatchIsReversed
    BatchStopsAtError
    OutcomesAreKept
    ListIsUnordered
    ListIncludesAfter
    ListDropsLastOfPage
    ListIgnoresPrefix
    DelimiterFoldsTwice
    MetaStays
    HugeOffsetWraps
    ComposeIgnoresTag
    ComposeLeavesParts
}

#[derive(Clone)]
struct Object {
    bytes: Vec<u8>,
    tag: u64,
    modified: SystemTime,
    meta: Vec<(String, String)>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Vec<u8>, Object>,
    tags: u64,
}

pub struct Memory {
    can: Capabilities,
    text: bool,
    fault: Option<Fault>,
    state: Mutex<State>,
}

impl Memory {
    /// Can everything but scripts.
    pub fn able() -> Memory {
        let can = Capabilities {
            range_read: true,
            range_write: true,
            put_if_absent: true,
            put_if_match: true,
            batch: true,
            list: true,
            list_scans: false,
            compose: true,
            scripts: false,
            volatile: false,
            durable: false,
            shared: false,
            max_put: 64 << 20,
            max_key: 4096,
            deadline: Duration::from_secs(1),
        };
        Memory { can, text: false, fault: None, state: Mutex::default() }
    }

    /// Can get, put, delete and head.
    pub fn unable() -> Memory {
        let mut memory = Memory::able();
        let can = &mut memory.can;
        for claim in [
            &mut can.range_read,
            &mut can.range_write,
            &mut can.put_if_absent,
            &mut can.put_if_match,
            &mut can.batch,
            &mut can.list,
            &mut can.compose,
        ] {
            *claim = false;
        }
        (can.max_put, memory.text) = (1 << 20, true);
        memory
    }

    pub fn faulty(fault: Fault) -> Memory {
        Memory { fault: Some(fault), ..Memory::able() }
    }

    fn wrong(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn error(&self, kind: Kind, key: &[u8]) -> StoreError {
        StoreError::new(kind, self.place(), Some(key), format!("{kind:?}"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn key(&self, key: &[u8]) -> Result<Vec<u8>> {
        let text = std::str::from_utf8(key).is_ok_and(|t| !t.chars().any(char::is_control));
        if key.is_empty() || self.text && !text {
            return Err(self.error(Kind::Invalid, key));
        }
        if key.len() > self.can.max_key {
            return Err(self.error(Kind::TooLarge, key));
        }
        let mut key = key.to_vec();
        if self.wrong(Fault::KeysEndAtNul) {
            key.truncate(key.iter().position(|b| *b == 0).unwrap_or(key.len()).max(1));
        }
        if self.wrong(Fault::KeysAreLowered) {
            key.make_ascii_lowercase();
        }
        if self.wrong(Fault::KeysAreText) {
            key = String::from_utf8_lossy(&key).into_owned().into_bytes();
        }
        if self.wrong(Fault::LongKeysAreCut) {
            key.truncate(250);
        }
        Ok(key)
    }

    fn change(&self, state: &mut State, key: &[u8]) {
        state.tags += 1;
        let tag = state.tags;
        if let Some(object) = state.objects.get_mut(key) {
            (object.tag, object.modified) = (tag, SystemTime::now());
        }
    }

    fn condition(&self, state: &State, key: &[u8], condition: &Condition) -> Result<()> {
        let there = state.objects.get(key);
        let (claimed, holds) = match condition {
            Condition::Always => (true, true),
            Condition::Absent => {
                (self.can.put_if_absent, there.is_none() || self.wrong(Fault::AbsentIgnored))
            }
            Condition::Tag(tag) => (
                self.can.put_if_match,
                there.is_some_and(|o| o.tag.to_string() == *tag) || self.wrong(Fault::TagIgnored),
            ),
        };
        match (claimed, holds) {
            (false, _) => Err(self.error(Kind::Unsupported, key)),
            (_, false) => Err(self.error(Kind::Precondition, key)),
            _ => Ok(()),
        }
    }

    fn put(
        &self,
        key: &[u8],
        bytes: &[u8],
        condition: &Condition,
        meta: &[(String, String)],
    ) -> Result<String> {
        let key = self.key(key)?;
        if bytes.len() as u64 > self.can.max_put {
            return Err(self.error(Kind::TooLarge, &key));
        }
        let mut state = self.lock();
        self.condition(&state, &key, condition)?;
        let races = self.wrong(Fault::AbsentRaces) && *condition == Condition::Absent
            || self.wrong(Fault::TagRaces) && matches!(condition, Condition::Tag(_));
        let old = state.objects.get(&key).cloned();
        let mut object =
            Object { bytes: bytes.to_vec(), tag: 0, modified: SystemTime::now(), meta: meta.to_vec() };
        if self.wrong(Fault::PutIsTorn) && bytes.len() > 1000 {
            let half = Object { bytes: bytes[..bytes.len() / 2].to_vec(), ..object.clone() };
            state.objects.insert(key.clone(), half);
        }
        if races || self.wrong(Fault::PutIsTorn) {
            drop(state);
            std::thread::yield_now();
            std::thread::sleep(Duration::from_micros(50));
            state = self.lock();
        }
        if let Some(old) = &old {
            if self.wrong(Fault::ShorterPutLeavesTail) && old.bytes.len() > bytes.len() {
                object.bytes.extend_from_slice(&old.bytes[bytes.len()..]);
            }
            if self.wrong(Fault::MetaStays) && meta.is_empty() {
                object.meta = old.meta.clone();
            }
        }
        if self.wrong(Fault::EmptyPutIsLost) && bytes.is_empty() {
            state.objects.remove(&key);
        } else {
            state.objects.insert(key.clone(), object);
        }
        if self.wrong(Fault::TagStays) {
            if let (Some(object), Some(old)) = (state.objects.get_mut(&key), old) {
                object.tag = old.tag;
            }
        } else {
            self.change(&mut state, &key);
        }
        Ok(state.objects.get(&key).map_or(0, |o| o.tag).to_string())
    }

    fn get(&self, key: &[u8], offset: u64, into: &mut [u8]) -> Result<usize> {
        let key = self.key(key)?;
        if offset > 0 && !self.can.range_read {
            return Err(self.error(Kind::Unsupported, &key));
        }
        let state = self.lock();
        let bytes = &state.objects.get(&key).ok_or_else(|| self.error(Kind::NotFound, &key))?.bytes;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        if self.wrong(Fault::ReadBehindEndFails) && offset > bytes.len() as u64 {
            return Err(self.error(Kind::Invalid, &key));
        }
        let mut n = into.len().min(bytes.len() - from);
        if self.wrong(Fault::ShortReadAtBoundary) && from < 4096 && from + n > 4096 {
            n = 4096 - from;
        }
        into[..n].copy_from_slice(&bytes[from..from + n]);
        Ok(n)
    }

    fn ranges(&self, key: &[u8], end: Option<u64>) -> Result<Vec<u8>> {
        let key = self.key(key)?;
        if !self.can.range_write {
            return Err(self.error(Kind::Unsupported, &key));
        }
        match end {
            Some(end) if end <= self.can.max_put => Ok(key),
            _ if self.wrong(Fault::HugeOffsetWraps) => Ok(key),
            _ => Err(self.error(Kind::TooLarge, &key)),
        }
    }

    fn update(&self, key: &[u8], offset: u64, bytes: &[u8]) -> Result<Outcome> {
        let key = self.ranges(key, offset.checked_add(bytes.len() as u64))?;
        let (mut state, offset) = (self.lock(), offset as usize % (1 << 30));
        if bytes.is_empty() && !self.wrong(Fault::EmptyUpdateGrows) {
            return Ok(Outcome::Done);
        }
        let fresh = Object { bytes: Vec::new(), tag: 0, modified: SystemTime::now(), meta: Vec::new() };
        let object = &mut state.objects.entry(key.clone()).or_insert(fresh).bytes;
        if offset + bytes.len() > object.len() {
            let filler = if self.wrong(Fault::GapIsNotZeroed) { 1 } else { 0 };
            object.resize(offset + bytes.len(), filler);
        }
        object[offset..offset + bytes.len()].copy_from_slice(bytes);
        if !self.wrong(Fault::TagStaysOnUpdate) {
            self.change(&mut state, &key);
        }
        Ok(Outcome::Done)
    }

    fn resize(&self, key: &[u8], len: u64) -> Result<Outcome> {
        let key = self.ranges(key, Some(len))?;
        let mut state = self.lock();
        if !state.objects.contains_key(&key) && self.wrong(Fault::ResizeMakes) {
            let fresh = Object { bytes: Vec::new(), tag: 0, modified: SystemTime::now(), meta: Vec::new() };
            state.objects.insert(key.clone(), fresh);
        }
        let object = state.objects.get_mut(&key).ok_or_else(|| self.error(Kind::NotFound, &key))?;
        if !self.wrong(Fault::ResizeKeepsTail) || len as usize > object.bytes.len() {
            object.bytes.resize(len as usize % (1 << 30), 0);
        }
        self.change(&mut state, &key);
        Ok(Outcome::Done)
    }

    fn delete(&self, key: &[u8]) -> Result<Outcome> {
        let key = self.key(key)?;
        let mut state = self.lock();
        if self.wrong(Fault::DeleteTakesLongerKeys) {
            state.objects.retain(|k, _| !k.starts_with(&key));
        }
        if state.objects.remove(&key).is_none() && self.wrong(Fault::DeleteOfNothingFails) {
            return Err(self.error(Kind::NotFound, &key));
        }
        Ok(Outcome::Done)
    }

    fn facts(object: &Object, meta: bool) -> ObjectFacts {
        ObjectFacts {
            len: object.bytes.len() as u64,
            tag: Some(object.tag.to_string()),
            modified: Some(object.modified),
            meta: if meta { object.meta.clone() } else { Vec::new() },
        }
    }

    fn carry_out(&self, request: &mut Request<'_>) -> Result<Outcome> {
        match request {
            Request::Get { key, offset, into } => self.get(key, *offset, into).map(Outcome::Read),
            Request::Put { key, bytes, condition, meta } => {
                self.put(key, bytes, condition, meta).map(|tag| Outcome::Put(Some(tag)))
            }
            Request::Update { key, offset, bytes } => self.update(key, *offset, bytes),
            Request::Resize { key, len } => self.resize(key, *len),
            Request::Delete { key } => self.delete(key),
            Request::Head { key } => {
                let key = self.key(key)?;
                let state = self.lock();
                let object = state.objects.get(&key).ok_or_else(|| self.error(Kind::NotFound, &key))?;
                Ok(Outcome::Facts(Memory::facts(object, true)))
            }
        }
    }
}

impl Store for Memory {
    fn capabilities(&self) -> &Capabilities {
        &self.can
    }

    fn place(&self) -> &str {
        "memory"
    }

    fn submit(&self, requests: &mut [Request<'_>], outcomes: &mut Vec<Result<Outcome>>) {
        if !self.wrong(Fault::OutcomesAreKept) {
            outcomes.clear();
        }
        if self.wrong(Fault::BatchIsReversed) && requests.len() > 1 {
            outcomes.extend(requests.iter_mut().rev().map(|r| self.carry_out(r)));
            return outcomes.reverse();
        }
        for request in requests {
            let failed = self.wrong(Fault::BatchStopsAtError) && outcomes.iter().any(Result::is_err);
            outcomes.push(if failed { Ok(Outcome::Done) } else { self.carry_out(request) });
        }
    }

    fn list(&self, request: &ListRequest<'_>) -> Result<Page> {
        if !self.can.list {
            return Err(self.error(Kind::Unsupported, request.prefix));
        }
        if request.limit == 0 {
            return Err(self.error(Kind::Invalid, request.prefix));
        }
        let (state, prefix) = (self.lock(), request.prefix);
        let (mut folded, mut entries) = (BTreeSet::new(), Vec::new());
        for (key, object) in &state.objects {
            if !key.starts_with(prefix) && !self.wrong(Fault::ListIgnoresPrefix) {
                continue;
            }
            let at = request.delimiter.and_then(|d| key.get(prefix.len()..)?.iter().position(|b| *b == d));
            let entry = at.map_or(key.clone(), |at| key[..prefix.len() + at + 1].to_vec());
            if entry.as_slice() < request.after
                || entry.as_slice() == request.after && !self.wrong(Fault::ListIncludesAfter)
                || at.is_some() && !folded.insert(entry.clone()) && !self.wrong(Fault::DelimiterFoldsTwice)
            {
                continue;
            }
            entries.push(match at {
                Some(_) => Listed::Prefix(entry),
                None => Listed::Object(entry, Memory::facts(object, false)),
            });
        }
        if self.wrong(Fault::ListIsUnordered) {
            entries.reverse();
        }
        let more = entries.len() > request.limit;
        entries.truncate(request.limit);
        let next = entries.last().filter(|_| more).map(|e| match e {
            Listed::Object(key, _) | Listed::Prefix(key) => key.clone(),
        });
        if self.wrong(Fault::ListDropsLastOfPage) && more {
            entries.pop();
        }
        Ok(Page { entries, next })
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn compose(&self) -> Option<&dyn Compose> {
        self.can.compose.then_some(self)
    }
}

impl Compose for Memory {
    fn compose(
        &self,
        key: &[u8],
        parts: &[Part<'_>],
        condition: Condition,
        meta: &[(String, String)],
    ) -> Result<ObjectFacts> {
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                Part::Bytes { source, offset, len } => {
                    let at = bytes.len();
                    bytes.resize(at + *len as usize, 0);
                    let read = source.read_at(*offset, &mut bytes[at..]);
                    if read.is_err() && self.wrong(Fault::ComposeLeavesParts) {
                        self.put(key, &bytes, &Condition::Always, &[])?;
                    }
                    read.map_err(|e| StoreError::new(Kind::Invalid, "memory", Some(key), e.to_string()))?;
                }
                Part::Existing { key, offset, len, tag } => {
                    let state = self.lock();
                    let object = state.objects.get(*key).ok_or_else(|| self.error(Kind::NotFound, key))?;
                    if tag.is_some_and(|t| t != object.tag.to_string())
                        && !self.wrong(Fault::ComposeIgnoresTag)
                    {
                        return Err(self.error(Kind::Precondition, key));
                    }
                    bytes.extend_from_slice(&object.bytes[*offset as usize..(*offset + *len) as usize]);
                }
            }
        }
        self.put(key, &bytes, &condition, meta)?;
        let state = self.lock();
        Ok(Memory::facts(&state.objects[&self.key(key)?], false))
    }
}
