//! A store in memory that carries out plans to the letter, and a file on it that several processes share through
//! a journal of encoded records. It refuses whatever a plan may not ask of a store with these capabilities.

// Each program that has this module uses a part of it.
#![allow(dead_code)]

pub mod replay;

use iris_mappers::{
    Facts, Guard, How, MAX_FILE, Mapper, Object, Objects, Op, Piece, Plan, Record, Standing, Store,
};
use std::collections::BTreeMap;

const PAGE: usize = 1024;

/// Bytes at any offset; those never written are zeros.
#[derive(Clone, Default)]
pub struct Sparse {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl Sparse {
    /// Splits a range into (page, offset in it, position in the range, length).
    fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = offset + done as u64;
            let (page, within) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let n = (PAGE - within).min(len - done);
            let part = (page, within, done, n);
            done += n;
            (n > 0).then_some(part)
        })
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (page, within, from, n) in Self::parts(offset, bytes.len()) {
            let page = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE]));
            page[within..within + n].copy_from_slice(&bytes[from..from + n]);
        }
    }

    pub fn read(&self, offset: u64, bytes: &mut [u8]) {
        bytes.fill(0);
        for (page, within, from, n) in Self::parts(offset, bytes.len()) {
            if let Some(page) = self.pages.get(&page) {
                bytes[from..from + n].copy_from_slice(&page[within..within + n]);
            }
        }
    }

    pub fn cut(&mut self, size: u64) {
        let mut rest = self.pages.split_off(&(size / PAGE as u64));
        if let Some(mut page) = rest.remove(&(size / PAGE as u64)) {
            page[(size % PAGE as u64) as usize..].fill(0);
            self.pages.insert(size / PAGE as u64, page);
        }
    }
}

/// One object.
#[derive(Clone, Default)]
struct Blob {
    bytes: Sparse,
    len: u64,
}

/// A store of objects with the capabilities that it has, and no others.
#[derive(Clone)]
pub struct Memory {
    pub caps: Store,
    objects: BTreeMap<Object, Blob>,
}

impl Memory {
    pub fn new(caps: Store) -> Memory {
        Memory { caps, objects: BTreeMap::new() }
    }

    pub fn objects(&self) -> impl Iterator<Item = (Object, u64)> {
        self.objects.iter().map(|(o, b)| (*o, b.len))
    }

    pub fn stored(&self) -> u64 {
        self.objects.values().map(|b| b.len).sum()
    }

    /// Reads a piece. `Err` if bytes that were written are not there.
    fn read(&self, p: &Piece, bytes: &mut [u8]) -> Result<(), String> {
        assert_eq!(bytes.len() as u64, p.len);
        match p.how {
            How::Read => assert!(self.caps.range_read, "{p:?}: this store reads whole objects only"),
            How::ReadWhole => assert!(!self.caps.range_read, "{p:?}: this store can do better"),
            How::ReadWritten => {
                if self.objects.get(&p.object).is_none_or(|b| b.len < p.at + p.len) {
                    return Err(format!("{p:?}: data are lost"));
                }
            }
            How::Zeros => {
                bytes.fill(0);
                return Ok(());
            }
            _ => panic!("{p:?} is no read"),
        }
        bytes.fill(0);
        if let Some(blob) = self.objects.get(&p.object) {
            blob.bytes.read(p.at, bytes);
        }
        Ok(())
    }

    fn write(&mut self, p: &Piece, bytes: &[u8]) {
        let there = self.objects.contains_key(&p.object);
        let guard = match p.how {
            How::Put => Guard::Absent,
            How::Modify => Guard::Unchanged,
            _ => Guard::None,
        };
        assert!(p.guard == Guard::None || p.guard == guard && self.caps.conditional_put, "{p:?}");
        assert!(p.guard != Guard::Absent || !there, "{p:?}: the object is there already");
        match p.how {
            How::Put => {
                assert_eq!(p.at, 0, "{p:?}");
                self.objects.insert(p.object, Blob::default());
            }
            How::Update => assert!(self.caps.range_write, "{p:?}: this store cannot"),
            How::Modify => assert!(!self.caps.range_write, "{p:?}: this store can do better"),
            How::Cut => {
                if let Some(blob) = self.objects.get_mut(&p.object).filter(|b| b.len > p.at) {
                    blob.bytes.cut(p.at);
                    blob.len = p.at;
                }
                return;
            }
            _ => panic!("{p:?} is no write"),
        }
        assert_eq!(bytes.len() as u64, p.len);
        let blob = self.objects.entry(p.object).or_default();
        blob.bytes.write(p.at, bytes);
        blob.len = blob.len.max(p.at + p.len);
        assert!(blob.len <= self.caps.max_object, "{p:?}: the object is too large");
    }

    fn delete(&mut self, run: &Objects) {
        let from = Object { level: run.level, number: run.first };
        let gone: Vec<Object> =
            self.objects.range(from..).map(|(o, _)| *o).take_while(|o| run.contains(*o)).collect();
        for object in gone {
            self.objects.remove(&object);
        }
    }
}

/// One process that has the file.
struct Process {
    mapper: Box<dyn Mapper>,
    applied: usize,
}

/// A file in objects, what must be in it, and the processes that have it.
pub struct File {
    pub store: Memory,
    pub model: Sparse,
    pub size: u64,
    make: Box<dyn Fn() -> Box<dyn Mapper>>,
    journal: Vec<[u8; Record::SIZE]>,
    fresh: u64,
    processes: Vec<Process>,
    plan: Plan,
}

impl File {
    pub fn new(caps: Store, processes: usize, make: impl Fn() -> Box<dyn Mapper> + 'static) -> File {
        let processes = (0..processes).map(|_| Process { mapper: make(), applied: 0 }).collect();
        File {
            store: Memory::new(caps),
            model: Sparse::default(),
            size: 0,
            make: Box::new(make),
            journal: Vec::new(),
            fresh: 1,
            processes,
            plan: Plan::default(),
        }
    }

    fn facts(&self) -> Facts {
        Facts { size: self.size, store: self.store.caps }
    }

    /// The mapper of a process, with all of the journal applied.
    pub fn mapper(&mut self, process: usize) -> &mut dyn Mapper {
        let p = &mut self.processes[process];
        for bytes in &self.journal[p.applied..] {
            let record = Record::decode(bytes).expect("a record of our own");
            p.mapper.apply(&record).unwrap_or_else(|e| panic!("{record:?}: {e}"));
        }
        p.applied = self.journal.len();
        p.mapper.as_mut()
    }

    fn append(&mut self, records: &[Record]) {
        self.journal.extend(records.iter().map(Record::encode));
    }

    /// The process knows what the journal says, and nothing else.
    pub fn rebuild(&mut self, process: usize) {
        self.processes[process] = Process { mapper: (self.make)(), applied: 0 };
    }

    /// The process knows what another's snapshot says, and nothing else.
    pub fn load(&mut self, process: usize, from: usize) {
        let mut records = Vec::new();
        self.mapper(from).snapshot(&mut records);
        let records: Vec<Record> =
            records.iter().map(|r| Record::decode(&r.encode()).expect("a record of our own")).collect();
        let mut mapper = (self.make)();
        mapper.load(&records).expect("a snapshot of our own");
        self.processes[process] = Process { mapper, applied: self.journal.len() };
    }

    /// Carries a plan out, up to `steps` pieces and deletions, and then dies. Says whether it came to the end.
    fn carry_out(&mut self, plan: &mut Plan, data: Option<(u64, &[u8])>, steps: usize) -> bool {
        self.append(&plan.intents);
        let from = plan.reads.iter().map(|p| p.offset).min().unwrap_or(0);
        let to = plan.reads.iter().map(|p| p.offset + p.len).max().unwrap_or(0);
        let mut buffer = vec![0; (to - from) as usize];
        for p in &plan.reads {
            let at = (p.offset - from) as usize;
            self.store.read(p, &mut buffer[at..at + p.len as usize]).expect("upkeep reads what is there");
        }
        let (offset, bytes) = data.unwrap_or((from, &buffer));
        if data.is_none() {
            plan.leave_out(|o, len| bytes[(o - from) as usize..][..len as usize].iter().all(|b| *b == 0));
        }
        let total = plan.pieces.len() + plan.deletions.len();
        for p in plan.pieces.iter().take(steps) {
            let at = p.offset.wrapping_sub(offset) as usize;
            self.store.write(p, if p.len == 0 { &[] } else { &bytes[at..at + p.len as usize] });
        }
        for run in plan.deletions.iter().take(steps.saturating_sub(plan.pieces.len())) {
            self.store.delete(run);
        }
        // Numbers are given out before anything is written.
        self.fresh += plan.taken;
        if steps < total {
            return false;
        }
        self.append(&plan.records);
        true
    }

    /// Writes, or dies in it after `steps`. False if the mapper refuses.
    pub fn write(&mut self, process: usize, offset: u64, bytes: &[u8], steps: usize) -> Result<(), String> {
        let (facts, fresh, len) = (self.facts(), self.fresh, bytes.len() as u64);
        let mut plan = std::mem::take(&mut self.plan);
        plan.clear();
        let planned = self.mapper(process).plan_write(&facts, offset, len, fresh, &mut plan);
        planned.map_err(|e| e.to_string())?;
        assert!(plan.reads.is_empty() && plan.deletions.is_empty() && !plan.exclusive);
        let done = self.carry_out(&mut plan, Some((offset, bytes)), steps);
        self.plan = plan;
        if done {
            self.model.write(offset, bytes);
            self.size = self.size.max(offset + len * u64::from(len > 0));
            return Ok(());
        }
        // Where it would have ended behind the end, what it left there is taken away.
        let end = offset + len;
        if end > self.size {
            let facts = Facts { size: end, ..self.facts() };
            self.resize(process, &facts, self.size, usize::MAX);
        }
        // Within the file any part of it may be there, but from now on it is what it is.
        let n = self.size.saturating_sub(offset).min(len) as usize;
        let mut old = vec![0; n];
        self.model.read(offset, &mut old);
        let now = self.read(process, offset, n as u64)?;
        for i in 0..n {
            assert!(
                now[i] == old[i] || now[i] == bytes[i],
                "byte {} is neither old nor new",
                offset + i as u64
            );
        }
        self.model.write(offset, &now);
        Ok(())
    }

    fn resize(&mut self, process: usize, facts: &Facts, size: u64, steps: usize) {
        let mut plan = Plan::default();
        self.mapper(process).plan_truncate(facts, size, &mut plan).expect("a size");
        if !self.carry_out(&mut plan, Some((0, &[])), steps) {
            // Whoever finds it does it again.
            let mut plan = Plan::default();
            self.mapper(process).plan_truncate(facts, size, &mut plan).expect("a size");
            assert!(self.carry_out(&mut plan, Some((0, &[])), usize::MAX));
        }
    }

    pub fn truncate(&mut self, process: usize, size: u64, steps: usize) {
        self.resize(process, &self.facts(), size, steps);
        self.size = size;
        self.model.cut(size);
    }

    /// Reads through the plan.
    pub fn read(&mut self, process: usize, offset: u64, len: u64) -> Result<Vec<u8>, String> {
        let facts = self.facts();
        let mut plan = std::mem::take(&mut self.plan);
        plan.clear();
        self.mapper(process).plan_read(&facts, offset, len, &mut plan).map_err(|e| e.to_string())?;
        let end = offset.saturating_add(len).min(self.size);
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        let mut from = offset;
        for p in &plan.pieces {
            assert!(p.offset == from && p.len > 0, "pieces leave a gap or overlap: {:?}", plan.pieces);
            let at = (from - offset) as usize;
            self.store.read(p, &mut bytes[at..at + p.len as usize])?;
            from += p.len;
        }
        assert_eq!(from, end.max(offset), "pieces do not cover the read");
        assert!(plan.records.is_empty() && plan.intents.is_empty() && plan.deletions.is_empty());
        self.plan = plan;
        Ok(bytes)
    }

    /// Pieces of the last read or write.
    pub fn pieces(&self) -> usize {
        self.plan.pieces.len()
    }

    /// Reads through the plan and compares.
    pub fn check(&mut self, process: usize, offset: u64, len: u64) -> Result<(), String> {
        let found = self.read(process, offset, len)?;
        let mut right = vec![0; found.len()];
        self.model.read(offset, &mut right);
        match found.iter().zip(&right).position(|(a, b)| a != b) {
            None => Ok(()),
            Some(i) => Err(format!(
                "byte {} of a read of {len} at {offset} is {} and should be {} (file of {})",
                offset + i as u64,
                found[i],
                right[i],
                self.size
            )),
        }
    }

    /// The objects of a read that covers the whole range, in the order of the file.
    pub fn objects_of(&mut self, process: usize, offset: u64, len: u64) -> Vec<Object> {
        let (facts, mut plan) = (self.facts(), Plan::default());
        self.mapper(process).plan_read(&facts, offset, len, &mut plan).expect("a read");
        plan.pieces.iter().filter(|p| p.how != How::Zeros).map(|p| p.object).collect()
    }

    /// One step of upkeep, or a part of one. Says whether there was anything to do.
    pub fn upkeep(&mut self, process: usize, budget: u64, steps: usize) -> bool {
        let (facts, fresh, mut plan) = (self.facts(), self.fresh, Plan::default());
        if !self.mapper(process).plan_upkeep(&facts, budget, fresh, &mut plan).expect("a plan") {
            assert!(plan.pieces.is_empty() && plan.records.is_empty() && plan.reads.is_empty());
            return false;
        }
        self.carry_out(&mut plan, None, steps);
        true
    }

    /// The first half of a step of upkeep: everything but its last records, which [`File::end_upkeep`] appends.
    pub fn begin_upkeep(&mut self, process: usize, budget: u64) -> Option<Vec<Record>> {
        let (facts, fresh, mut plan) = (self.facts(), self.fresh, Plan::default());
        let some = self.mapper(process).plan_upkeep(&facts, budget, fresh, &mut plan).expect("a plan");
        let records = std::mem::take(&mut plan.records);
        assert!(!plan.exclusive, "nobody else may write during this one");
        self.carry_out(&mut plan, None, usize::MAX);
        some.then_some(records)
    }

    pub fn end_upkeep(&mut self, records: Vec<Record>) {
        self.append(&records);
    }

    /// Deletes garbage, at most `limit` runs.
    pub fn collect(&mut self, process: usize, limit: usize) {
        let mut runs = Vec::new();
        self.mapper(process).garbage(limit, &mut runs);
        assert!(runs.len() <= limit);
        for run in runs {
            self.store.delete(&run);
            self.append(&[Record::Collected { level: run.level, first: run.first, count: run.count }]);
        }
    }

    /// Tells a process's mapper of a request, which may come to a record.
    pub fn observe(&mut self, process: usize, op: Op, len: u64) {
        if let Some(record) = self.mapper(process).observe(op, len) {
            self.append(&[record]);
        }
    }

    /// Every object of the store is either needed or garbage by the mapper's word, as `needed` says; those that
    /// a request left that died are unknown.
    pub fn check_garbage(&mut self, process: usize, needed: impl Fn(Object) -> bool, crashed: bool) {
        let facts = self.facts();
        let mut runs = Vec::new();
        self.mapper(process).garbage(usize::MAX, &mut runs);
        for (i, run) in runs.iter().enumerate() {
            let overlap = runs[..i].iter().any(|o| {
                o.level == run.level && o.first < run.first + run.count && run.first < o.first + o.count
            });
            assert!(!overlap, "garbage is named twice: {runs:?}");
        }
        let objects: Vec<Object> = self.store.objects().map(|(o, _)| o).collect();
        for object in objects {
            let standing = self.mapper(process).standing(&facts, object);
            let garbage = runs.iter().any(|r| r.contains(object));
            assert_eq!(garbage, standing == Standing::Garbage, "{object:?}");
            if standing == Standing::Unknown {
                assert!(crashed && !needed(object), "{object:?} is not known");
            } else {
                assert_eq!(garbage, !needed(object), "{object:?} is {standing:?}");
            }
        }
    }

    /// Nothing of these is garbage, and every object of the store is known, if nobody died.
    pub fn check_known(&mut self, process: usize, reached: &[Object], crashed: bool) {
        let facts = self.facts();
        let objects: Vec<Object> = self.store.objects().map(|(o, _)| o).collect();
        let mapper = self.mapper(process);
        let mut runs = Vec::new();
        mapper.garbage(usize::MAX, &mut runs);
        for o in reached {
            assert!(!runs.iter().any(|r| r.contains(*o)), "{o:?} is garbage, and is read");
            assert_eq!(mapper.standing(&facts, *o), Standing::Needed, "{o:?}");
        }
        for o in objects {
            assert!(crashed || mapper.standing(&facts, o) != Standing::Unknown, "{o:?} is not known");
        }
    }

    /// Ends the file, and checks that nothing is left but what requests left that died.
    pub fn remove(&mut self, process: usize, crashed: bool) {
        let (facts, mut plan) = (self.facts(), Plan::default());
        self.mapper(process).plan_remove(&facts, &mut plan).expect("a plan");
        assert!(self.carry_out(&mut plan, Some((0, &[])), usize::MAX));
        let left: Vec<Object> = self.store.objects().map(|(o, _)| o).collect();
        for object in &left {
            let standing = self.mapper(process).standing(&facts, *object);
            assert!(crashed && standing == Standing::Unknown, "{object:?} is left: {standing:?}");
        }
    }
}

/// A store that can do everything, and one that can do nothing but get and put.
pub const RICH: Store =
    Store { range_read: true, range_write: true, conditional_put: true, max_object: MAX_FILE };
pub const PLAIN: Store =
    Store { range_read: false, range_write: false, conditional_put: false, max_object: MAX_FILE };
