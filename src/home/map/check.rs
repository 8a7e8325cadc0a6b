//! A file's map held against the objects that its store has. Owns telling what of them the file lacks and what nothing
//! reads; changes nothing.

use super::{At, Map, MapError, attempts, carry, facts, log, planned};
use iris_mappers::{How, Object, Plan, Standing};
use std::collections::BTreeMap;

/// Bytes of a file that are planned at a time.
const STEP: u64 = 256 << 20;
/// How often at least it is looked again because others changed the map meanwhile.
const ATTEMPTS: u32 = 20;

/// What a look at a file's objects has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Keys of objects that the index names, and that are missing or too short: bytes are lost.
    pub lost: Vec<Vec<u8>>,
    /// Objects that the map knows nothing of: of a request that was never completed, or that is under way.
    pub unknown: Vec<Object>,
}

impl Map {
    /// Holds the map of a file of `len` bytes, of which the store may hold bytes up to `end`, against the objects of the
    /// file (and how long they are), which were listed before.
    ///
    /// # Errors
    /// Where the store fails, or the log is damaged or gone.
    pub fn check(
        &self,
        at: At<'_>,
        len: u64,
        end: u64,
        objects: &BTreeMap<Object, u64>,
    ) -> Result<Verdict, MapError> {
        for () in attempts(at.store, ATTEMPTS) {
            self.refresh(at)?;
            let (position, is_plain) = self.with(at, |s| Ok((s.position.clone(), s.is_plain())))?;
            if self.keys.logged && position.last == 0 && !objects.is_empty() {
                return Err(MapError::Broken {
                    place: at.store.place().into(),
                    key: self.keys.head().escape_ascii().to_string(),
                    why: "the log is gone, and objects of the file are there".into(),
                });
            }
            // Without an index nothing tells an object that was lost from one that was never written.
            let lost = if is_plain { Vec::new() } else { self.lost(at, len, objects)? };
            let unknown: Vec<Object> = self.with(at, |s| {
                let facts = facts(at.store, end);
                let unknown = |o: &&Object| s.mapper.standing(&facts, **o) == Standing::Unknown;
                Ok(objects.keys().filter(unknown).copied().collect())
            })?;
            let clean = lost.is_empty() && unknown.is_empty();
            // What was planned holds where the log still ends there.
            if clean || !self.keys.logged || log::ends_at(at.store, &self.keys, &position)? {
                return Ok(Verdict { lost, unknown });
            }
            self.forget();
        }
        Err(MapError::Contended { place: at.store.place().into() })
    }

    /// The keys of objects that the index names and that are not there, or not as long as it says.
    fn lost(&self, at: At<'_>, len: u64, objects: &BTreeMap<Object, u64>) -> Result<Vec<Vec<u8>>, MapError> {
        let (mut named, mut plan, mut from) = (BTreeMap::<Object, u64>::new(), Plan::default(), 0);
        while from < len {
            let step = STEP.min(len - from);
            plan.clear();
            self.with(at, |s| {
                planned(at.store, s.mapper.plan_read(&facts(at.store, len), from, step, &mut plan))
            })?;
            for piece in plan.pieces.iter().filter(|p| p.how == How::ReadWritten) {
                let end = named.entry(piece.object).or_default();
                *end = (*end).max(piece.at + piece.len);
            }
            from += step;
        }
        named.retain(|object, end| objects.get(object).is_none_or(|len| len < end));
        let keys: Vec<Vec<u8>> = named.keys().map(|o| self.keys.object(*o)).collect();
        // They may have been put since the listing.
        let lens = carry::lens(at.store, &keys)?;
        let short = |(len, end): (Option<u64>, &u64)| len.is_none_or(|len| len < *end);
        let short = lens.into_iter().zip(named.values()).map(short);
        Ok(keys.into_iter().zip(short).filter(|(_, short)| *short).map(|(key, _)| key).collect())
    }
}
