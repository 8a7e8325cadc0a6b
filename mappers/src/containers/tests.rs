//! Every mapper against a map of byte strings: containers are byte vectors here, written where the catalogue says and
//! read where it says, while it empties containers as a store does.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::{BTreeMap, HashMap};

/// Containers in memory.
struct World {
    catalogue: Catalogue,
    /// Applies the recorded events only, as another process does.
    follower: Catalogue,
    files: HashMap<u32, Vec<u8>>,
    model: BTreeMap<Vec<u8>, Vec<u8>>,
    seed: u64,
    /// Bytes moved to empty containers, and bytes put.
    moved: u64,
    put: u64,
    /// Most bytes moved in one call.
    most: u64,
}

impl World {
    fn new(named: &Named) -> World {
        World {
            catalogue: Catalogue::new((named.make)(0, 1)),
            follower: Catalogue::new((named.make)(0, 1)),
            files: HashMap::new(),
            model: BTreeMap::new(),
            seed: 1,
            moved: 0,
            put: 0,
            most: 0,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below.max(1)
    }

    fn record(&mut self, event: &Event<'_>) {
        self.catalogue.apply(event);
        self.follower.apply(event);
    }

    /// Writes runs of bytes, each placed as one, and gives their slices.
    fn write(&mut self, key: &[u8], offset: u64, bytes: &[u8], purpose: Purpose) -> Vec<Slice> {
        let (mut slices, mut events) = (Vec::new(), Vec::new());
        let most = self.catalogue.mapper().capacity().min(1 << 20) as usize;
        for (i, run) in bytes.chunks(most).enumerate() {
            let room = self.catalogue.place(key, run.len() as u64, purpose, &mut events);
            let file = self.files.entry(room.container).or_default();
            let end = (room.at + room.len) as usize;
            file.resize(file.len().max(end), 0);
            file[room.at as usize..end].copy_from_slice(run);
            let (mut offset, mut at, mut left) = (offset + (i * most) as u64, room.at, room.len);
            while left > 0 {
                let len = left.min(PIECE - offset % PIECE);
                let (container, len32) = (room.container, len as u32);
                slices.push(Slice { offset, at, container, len: len32, skip: 0, stored: len32, sum: 0 });
                (offset, at, left) = (offset + len, at + len, left - len);
            }
        }
        for event in &events {
            self.follower.apply(event);
        }
        slices
    }

    fn read(&self, key: &[u8]) -> Option<Vec<u8>> {
        let object = self.catalogue.get(key)?;
        let mut bytes = vec![0; object.len as usize];
        let mut last = 0;
        for s in object.slices() {
            assert!(s.offset >= last && s.len > 0 && s.skip + s.len <= s.stored, "{s:?}");
            last = s.offset + u64::from(s.len);
            let from = s.at as usize + s.skip as usize;
            bytes[s.offset as usize..last as usize]
                .copy_from_slice(&self.files[&s.container][from..from + s.len as usize]);
        }
        Some(bytes)
    }

    fn put(&mut self, key: &[u8], bytes: Vec<u8>) {
        let purpose = if self.model.contains_key(key) { Purpose::Update } else { Purpose::New };
        let slices = self.write(key, 0, &bytes, purpose);
        let (tag, len) = (self.catalogue.tag() + 1, bytes.len() as u64);
        self.record(&Event::Put { key, tag, modified: 0, meta: b"", len, slices: &slices });
        self.model.insert(key.to_vec(), bytes);
        self.put += len;
        self.tidy(len);
    }

    fn update(&mut self, key: &[u8], offset: u64, bytes: &[u8]) {
        if self.catalogue.mapper().rewrites() || !self.model.contains_key(key) {
            let mut whole = self.model.get(key).cloned().unwrap_or_default();
            let end = offset as usize + bytes.len();
            whole.resize(whole.len().max(end), 0);
            whole[offset as usize..end].copy_from_slice(bytes);
            return self.put(key, whole);
        }
        let slices = self.write(key, offset, bytes, Purpose::Update);
        let object = self.model.get_mut(key).unwrap();
        let end = offset as usize + bytes.len();
        object.resize(object.len().max(end), 0);
        object[offset as usize..end].copy_from_slice(bytes);
        let (tag, len) = (self.catalogue.tag() + 1, object.len() as u64);
        self.record(&Event::Patch { key, tag, modified: 0, len, slices: &slices });
        self.put += bytes.len() as u64;
        self.tidy(bytes.len() as u64);
    }

    fn resize(&mut self, key: &[u8], len: usize) {
        let Some(object) = self.model.get_mut(key) else { return };
        object.resize(len, 0);
        let (tag, len) = (self.catalogue.tag() + 1, len as u64);
        self.record(&Event::Patch { key, tag, modified: 0, len, slices: &[] });
        self.tidy(0);
    }

    fn delete(&mut self, key: &[u8]) {
        self.model.remove(key);
        self.record(&Event::Delete { key });
        self.tidy(0);
    }

    /// What a store does after each call: bounded work, and more only to keep the bound.
    fn tidy(&mut self, written: u64) {
        self.close();
        let (mut budget, before) = (4 * written + 256 * 1024, self.moved);
        while let Some(container) = self.catalogue.victim() {
            if budget == 0 && !self.catalogue.is_over() {
                break;
            }
            if !self.catalogue.space().get(container).unwrap().draining {
                self.record(&Event::Drain { container });
            }
            for key in self.catalogue.residents(container) {
                for (offset, len) in self.catalogue.moves(&key, container) {
                    let bytes = self.model[&*key][offset as usize..(offset + len) as usize].to_vec();
                    let slices = self.write(&key, offset, &bytes, Purpose::Survivor);
                    let Object { tag, modified, len: whole, .. } = *self.catalogue.get(&key).unwrap();
                    self.record(&Event::Patch { key: &key, tag, modified, len: whole, slices: &slices });
                    (self.moved, budget) = (self.moved + len, budget.saturating_sub(len));
                }
                if budget == 0 && !self.catalogue.is_over() {
                    break;
                }
            }
            self.close();
        }
        self.most = self.most.max(self.moved - before);
        assert!(
            !self.catalogue.is_over(),
            "{} bytes for {}",
            self.catalogue.space().total(),
            self.catalogue.space().live()
        );
    }

    fn close(&mut self) {
        while let Some(container) = self.catalogue.dead() {
            self.record(&Event::Close { container });
            self.files.remove(&container);
        }
    }

    /// Everything is where it should be, and nothing where something else is.
    fn check(&mut self) {
        assert_eq!(self.catalogue.len(), self.model.len());
        for (key, bytes) in &self.model {
            assert_eq!(self.read(key).as_ref(), Some(bytes), "{}", key.escape_ascii());
        }
        let mut used: Vec<(u32, u64, u64)> = Vec::new();
        let mut live = 0;
        for entry in self.catalogue.iter() {
            used.extend(
                entry.object.slices().iter().map(|s| (s.container, s.at, s.at + u64::from(s.stored))),
            );
            live += entry.object.slices().iter().map(|s| u64::from(s.len)).sum::<u64>();
        }
        used.sort_unstable();
        used.dedup();
        for two in used.windows(2) {
            assert!(two[0].0 != two[1].0 || two[0].2 <= two[1].1, "two pieces in one place: {two:?}");
        }
        assert_eq!(live, self.catalogue.space().live(), "live bytes");
        let ends: u64 = self.catalogue.space().iter().map(|(_, c)| c.end).sum();
        assert_eq!(ends, self.catalogue.space().total(), "total bytes");
        // Whoever follows knows the same.
        for entry in self.catalogue.iter() {
            assert_eq!(self.follower.get(&entry.key), Some(&entry.object), "a follower");
        }
        assert_eq!(self.follower.space().live(), live, "a follower's live bytes");
    }

    /// Goes on from a snapshot.
    fn reload(&mut self, named: &Named) {
        for catalogue in [&mut self.catalogue, &mut self.follower] {
            let mut fresh = Catalogue::new((named.make)(0, 1));
            catalogue.snapshot(|event| fresh.apply(event));
            fresh.resume(catalogue.count(), catalogue.tag(), catalogue.space().next());
            for entry in catalogue.iter() {
                let found = fresh.get(&entry.key).unwrap();
                assert_eq!(
                    (found.len, found.tag, found.slices()),
                    (entry.object.len, entry.object.tag, entry.object.slices())
                );
            }
            assert_eq!(fresh.len(), catalogue.len());
            *catalogue = fresh;
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, usize),
    Update(u8, usize, usize),
    Resize(u8, usize),
    Delete(u8),
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    let len =
        prop_oneof![3 => 1..3000usize, 3 => 60_000..70_000usize, 1 => 1..400_000usize, 1 => Just(65_536)];
    prop_oneof![
        5 => (0..12u8, prop_oneof![1 => Just(0), 9 => len.clone()]).prop_map(|(k, l)| Step::Put(k, l)),
        5 => (0..12u8, 0..300_000usize, len.clone()).prop_map(|(k, o, l)| Step::Update(k, o, l)),
        2 => (0..12u8, 0..300_000usize).prop_map(|(k, l)| Step::Resize(k, l)),
        2 => (0..12u8).prop_map(Step::Delete),
        1 => Just(Step::Reload),
    ]
}

/// Bytes that tell who wrote them.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (seed as usize * 31 + i * 7 + i / 251) as u8).collect()
}

#[test]
fn reading_through_the_catalogue_is_reading_a_byte_array() {
    for named in MAPPERS {
        let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
        let run = TestRunner::new(config).run(&proptest::collection::vec(step(), 1..80), |steps| {
            let mut world = World::new(named);
            for (i, step) in steps.iter().enumerate() {
                let seed = i as u64 + 1;
                match *step {
                    Step::Put(k, len) => world.put(&[k], bytes(seed, len)),
                    Step::Update(k, offset, len) => world.update(&[k], offset as u64, &bytes(seed, len)),
                    Step::Resize(k, len) => world.resize(&[k], len),
                    Step::Delete(k) => world.delete(&[k]),
                    Step::Reload => world.reload(named),
                }
                world.check();
            }
            Ok(())
        });
        if let Err(e) = run {
            panic!("{}: {e}", named.name);
        }
    }
}

/// A day of a busy store in small: `IRIS_SPACE_ROUNDS` sets of 2,000 changes (1), after each of which the bound
/// holds: [`World::tidy`] asserts it.
#[test]
fn space_stays_within_its_bound_under_endless_change() {
    let rounds: u64 = std::env::var("IRIS_SPACE_ROUNDS").map_or(1, |t| t.parse().unwrap());
    for named in MAPPERS {
        let mut world = World::new(named);
        for round in 0..rounds * 2000 {
            // The store grows, lives, shrinks to nearly nothing, and grows again.
            let keys = [400, 60, 2000, 5][(round / 500 % 4) as usize];
            let key = world.random(keys.max(if round % 50 == 0 { 2000 } else { 0 })).to_le_bytes();
            let kind = world.random(20);
            let len = match world.random(5) {
                0 => world.random(200_000),
                1 => 65_536,
                _ => world.random(8_000),
            };
            let data = bytes(round, len as usize);
            match kind {
                0..11 => world.put(&key, data),
                11..15 => {
                    let offset = world.random(100_000);
                    if !data.is_empty() {
                        world.update(&key, offset, &data);
                    }
                }
                15 => {
                    let len = world.random(100_000) as usize;
                    world.resize(&key, len);
                }
                _ => world.delete(&key),
            }
            if keys < 100 {
                // Deletes what the larger ranges had.
                let old = world.random(2000).to_le_bytes();
                if u64::from_le_bytes(old) >= keys {
                    world.delete(&old);
                }
            }
            if round % 500 == 499 {
                world.check();
            }
        }
        let space = world.catalogue.space();
        println!(
            "{}: {} MB put, {:.2} moved for each, at most {} KB in a call; {} bytes for {} at the end, {} containers",
            named.name,
            world.put >> 20,
            world.moved as f64 / world.put as f64,
            world.most >> 10,
            space.total(),
            space.live(),
            space.iter().count()
        );
    }
}

#[test]
fn objects_of_one_length_are_replaced_where_others_were() {
    let named = &MAPPERS[0];
    let mut world = World::new(named);
    for key in 0..500u64 {
        world.put(&key.to_le_bytes(), bytes(key, 65_536));
    }
    let total = world.catalogue.space().total();
    for round in 0..5000u64 {
        let key = world.random(500);
        world.put(&key.to_le_bytes(), bytes(round, 65_536));
    }
    world.check();
    assert_eq!(world.moved, 0, "nothing had to be moved");
    assert!(world.catalogue.space().total() <= total + (4 << 20), "{}", world.catalogue.space().total());
}

/// What a loss of power may bring back is not written over before.
#[test]
fn unsettled_places_are_not_used_again() {
    let mut world = World::new(&MAPPERS[0]);
    world.catalogue.settle(0);
    world.put(b"a", bytes(1, 65_536));
    let count = world.catalogue.count();
    world.catalogue.settle(count);
    let old = *world.catalogue.get(b"a").unwrap().slices().first().unwrap();
    let overlaps = |world: &World, key: &[u8]| {
        let new = world.catalogue.get(key).unwrap().slices()[0];
        new.container == old.container
            && new.at < old.at + u64::from(old.stored)
            && old.at < new.at + u64::from(new.stored)
    };
    world.put(b"a", bytes(2, 65_536));
    assert_eq!(world.catalogue.space().waiting(), 65_536);
    for key in 0..5u8 {
        world.put(&[key], bytes(3, 65_536));
        assert!(!overlaps(&world, &[key]), "the settled bytes of \"a\" were written over");
    }
    let count = world.catalogue.count();
    world.catalogue.settle(count);
    assert_eq!(world.catalogue.space().waiting(), 0);
    world.put(b"b", bytes(4, 65_536));
    assert!(overlaps(&world, b"b"), "after settling the place is free");
}

/// Who hears late that something is settled does not take for free what others have used again since.
#[test]
fn places_used_by_others_are_not_free_when_the_news_comes_late() {
    let mut world = World::new(&MAPPERS[0]);
    world.put(b"a", bytes(1, 65_536));
    let count = world.follower.count();
    world.follower.settle(count);
    // The one frees the old place at once, the other waits for news.
    world.put(b"a", bytes(2, 65_536));
    assert_eq!((world.catalogue.space().waiting(), world.follower.space().waiting()), (0, 65_536));
    world.put(b"b", bytes(3, 40_000));
    assert_eq!(world.follower.space().waiting(), 25_536, "of which the other has used some");
    world.follower.settle(u64::MAX);
    for len in [40_000, 25_536] {
        let room = world.follower.place(b"c", len, Purpose::New, &mut Vec::new());
        for entry in world.follower.iter() {
            let s = entry.object.slices()[0];
            let apart = s.at >= room.at + room.len || room.at >= s.at + u64::from(s.stored);
            assert!(s.container != room.container || apart, "{room:?} lies over {s:?}");
        }
    }
}

#[test]
fn ranges_are_split_and_joined() {
    let mut world = World::new(&MAPPERS[0]);
    let object = vec![7; 262_144];
    for key in 0..700u64 {
        world.put(&key.to_le_bytes(), object.clone());
    }
    let split = world.catalogue.mapper().ranges().len();
    assert!(split >= 3, "175 MB in {} ranges", split + 1);
    for key in 0..700u64 {
        world.delete(&key.to_le_bytes());
    }
    for key in 0..200u64 {
        world.put(&key.to_le_bytes(), vec![1; 10_000]);
    }
    assert!(world.catalogue.mapper().ranges().len() < split, "joined");
    assert!(world.files.len() <= 4, "{} containers for 2 MB", world.files.len());
    world.check();
}

#[test]
fn every_mapper_has_a_name_and_a_number_of_its_own() {
    for (i, a) in MAPPERS.iter().enumerate() {
        assert!(a.shards.is_power_of_two());
        assert!(MAPPERS[i + 1..].iter().all(|b| a.name != b.name && a.number != b.number));
    }
    for shards in [1, 3, 16] {
        for hash in [0, 1, u64::MAX / 3, u64::MAX / 2, u64::MAX] {
            let shard = shard_of(hash, shards);
            assert!(shard < shards);
            // A mapper is made for just the hashes that come to its shard.
            let mapper = n_to_m_optimized::make(shard, shards);
            let Choice::Open(Use::Range { lo, hi }) = mapper.choose(&Space::default(), hash, 1, Purpose::New)
            else {
                panic!("an empty mapper opens a container");
            };
            assert!((lo..=hi).contains(&hash), "{hash:x} in {lo:x}..={hi:x}");
        }
    }
}
