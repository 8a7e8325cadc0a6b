//! A shard: this process's replica of its catalogue, following what others commit, and the turn in which one commits.
//! Owns the order of locks: the turn of the process's threads, then the lock that processes share, then the replica,
//! which is held for moments only. Nobody reads or writes a container with the replica held.

use crate::files::{File, Files};
use crate::head::Commit;
use crate::log::{self, Bad, RESERVE, Replica};
use crate::options::Durability;
use crate::owner::{self, Waiting};
use crate::record::{self, Salt};
use crate::store::{Context, DEADLINE};
use crate::{lock, sys};
use iris_mappers::containers::{Catalogue, Event};
use iris_store::{Kind, Result};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What one thread knows while it has the turn, and leaves to the next.
#[derive(Default)]
pub struct Chores {
    /// Objects that still have bytes in the container that is being emptied.
    pub residents: Option<(u32, Vec<Arc<[u8]>>)>,
    /// Containers that hold nothing, but what a loss of power may bring back, with their lengths.
    pub doomed: Vec<(u32, u64)>,
}

/// One shard as this process sees it.
pub struct Shard {
    /// Its number.
    pub number: u32,
    turn: Mutex<Chores>,
    replica: RwLock<Option<Replica>>,
}

/// A look at an up to date replica.
pub struct View<'a>(RwLockReadGuard<'a, Option<Replica>>);

impl View<'_> {
    /// The catalogue.
    pub fn catalogue(&self) -> &Catalogue {
        match &*self.0 {
            Some(replica) => &replica.catalogue,
            // `Shard::view` makes views of replicas that are there.
            None => unreachable!("a view of no replica"),
        }
    }
}

/// The right to commit.
pub struct Turn<'a> {
    context: &'a Context,
    shard: &'a Shard,
    /// See [`Chores`].
    pub chores: MutexGuard<'a, Chores>,
    me: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock::unlock(self.context.head.lock(self.shard.number), self.me);
    }
}

impl Shard {
    /// Shard `number`, not looked at yet.
    pub fn new(number: u32) -> Shard {
        Shard { number, turn: Mutex::default(), replica: RwLock::new(None) }
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Replica>> {
        self.replica.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<Replica>> {
        self.replica.write().unwrap_or_else(|poisoned| {
            // Whoever panicked may have applied half of something: read it again.
            self.replica.clear_poison();
            let mut guard = poisoned.into_inner();
            *guard = None;
            guard
        })
    }

    /// What is committed now.
    pub fn view<'a>(&'a self, context: &Context) -> Result<View<'a>> {
        loop {
            let guard = self.read();
            let commit = self.commit(context)?;
            if guard.as_ref().is_some_and(|r| r.at == commit) {
                return Ok(View(guard));
            }
            drop(guard);
            self.catch_up(context)?;
        }
    }

    /// As [`view`](Self::view), with the keys sorted.
    pub fn sorted_view<'a>(&'a self, context: &Context) -> Result<View<'a>> {
        loop {
            let view = self.view(context)?;
            if view.catalogue().is_sorted() {
                return Ok(view);
            }
            drop(view);
            if let Some(replica) = &mut *self.write() {
                replica.catalogue.sort();
            }
        }
    }

    fn commit(&self, context: &Context) -> Result<Commit> {
        context.head.commit(self.number).ok_or_else(|| {
            let what = format!("the commit word of shard {:02x} is damaged", self.number);
            context.error(
                Kind::Corrupt,
                None,
                format!("{}: {what}; open the store anew", context.head_name()),
            )
        })
    }

    /// Applies what was committed since.
    fn catch_up(&self, context: &Context) -> Result<()> {
        let mut guard = self.write();
        // A log may be replaced while it is looked for.
        for _ in 0..100 {
            let commit = self.commit(context)?;
            let done = match &mut *guard {
                Some(replica) if replica.at == commit => return Ok(()),
                Some(replica)
                    if replica.at.generation == commit.generation && commit.end > replica.at.end =>
                {
                    let closed = |c| context.files.forget(self.number, File::Container(c));
                    log::follow(&context.files, self.number, replica, commit.end, closed)
                }
                replica => {
                    let (files, head, generation) = (&context.files, &context.head, commit.generation);
                    files.forget(self.number, File::Log(generation));
                    let sorted = replica.as_ref().is_some_and(|r| r.catalogue.is_sorted());
                    let loaded = log::load(
                        files,
                        context.named,
                        head,
                        self.number,
                        generation,
                        Some(commit.end),
                        |_, _| true,
                    );
                    loaded.map(|mut loaded| {
                        if sorted {
                            loaded.catalogue.sort();
                        }
                        *replica = Some(loaded);
                    })
                }
            };
            match done {
                Ok(()) => {
                    if let Some(replica) = &mut *guard {
                        replica.catalogue.settle(context.settled(self.number));
                    }
                    return Ok(());
                }
                Err(_) if self.commit(context)?.generation != commit.generation => *guard = None,
                Err(bad) => {
                    *guard = None;
                    return Err(self.bad(context, commit.generation, bad));
                }
            }
        }
        Err(context.error(Kind::Unavailable, None, "the index is replaced faster than it can be read"))
    }

    fn bad(&self, context: &Context, generation: u16, bad: Bad) -> iris_store::StoreError {
        let name = context.files.path(self.number, File::Log(generation));
        match bad {
            Bad::System(Errno::NOENT) => {
                let what = format!("{}: the index file is missing; restore it or the store", name.display());
                context.error(Kind::Corrupt, None, what)
            }
            Bad::System(e) => context.system(e, None, &name, "reading the index"),
            Bad::Damaged { at, why } => {
                let what = format!("{}: {why} at byte {at}; restore the file or the store", name.display());
                context.error(Kind::Corrupt, None, what)
            }
        }
    }

    /// Waits for the turn to commit, and catches up.
    pub fn turn<'a>(&'a self, context: &'a Context) -> Result<Turn<'a>> {
        let chores = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let me = owner::me();
        lock::lock(context.head.lock(self.number), me, &Waiting::new(DEADLINE)).map_err(|owner| {
            let what =
                format!("thread {} holds shard {:02x} and does not give it back", owner >> 40, self.number);
            context.error(Kind::Unavailable, None, what).after(1, DEADLINE)
        })?;
        let turn = Turn { context, shard: self, chores, me };
        self.view(context)?;
        if let Some(replica) = &mut *self.write() {
            replica.catalogue.settle(context.settled(self.number));
        }
        Ok(turn)
    }
}

impl Turn<'_> {
    /// The shard's number.
    pub fn shard(&self) -> u32 {
        self.shard.number
    }

    /// The store.
    pub fn context(&self) -> &Context {
        self.context
    }

    /// A look at the catalogue, which nobody changes meanwhile.
    pub fn view(&self) -> Result<View<'_>> {
        self.shard.view(self.context)
    }

    /// Changes the catalogue in memory: only by what the events of the next commit will say, or what needs none.
    pub fn decide<T>(&mut self, f: impl FnOnce(&mut Catalogue) -> T) -> Result<T> {
        loop {
            if let Some(replica) = &mut *self.shard.write() {
                return Ok(f(&mut replica.catalogue));
            }
            self.shard.view(self.context)?;
        }
    }

    /// Gives up decisions that no commit will tell of: the replica is read anew.
    pub fn forget(&mut self) {
        *self.shard.write() = None;
    }

    /// Commits events, of which the first `applied` are applied already. All of them or none.
    pub fn commit(&mut self, events: &[Event<'_>], applied: usize) -> Result<()> {
        let (context, number) = (self.context, self.shard.number);
        let at = self.shard.commit(context)?;
        let salt = Salt { shard: number, generation: at.generation };
        let mut bytes = Vec::with_capacity(256);
        for event in events {
            let offset = at.end + bytes.len() as u64;
            record::write(&mut bytes, salt, offset, event);
        }
        let file = File::Log(at.generation);
        let end = at.end + bytes.len() as u64;
        let written = context.files.open(number, file, false).and_then(|fd| {
            if at.end / RESERVE != end / RESERVE {
                let reserved = sys::reserve(fd.as_fd(), (end / RESERVE + 2) * RESERVE);
                if events.iter().any(|e| matches!(e, Event::Put { .. } | Event::Patch { .. })) {
                    reserved?;
                }
            }
            sys::write_at(fd.as_fd(), &bytes, at.end)?;
            if context.durability == Durability::Always { sys::sync_data(fd.as_fd()) } else { Ok(()) }
        });
        if let Err(e) = written {
            if applied > 0 {
                self.forget();
            }
            return Err(context.system(e, None, &context.files.path(number, file), "writing the index"));
        }
        let mut guard = self.shard.write();
        context.head.publish(number, Commit { end, ..at });
        if let Some(replica) = &mut *guard {
            for event in &events[applied..] {
                replica.catalogue.apply(event);
            }
            replica.at.end = end;
            if context.durability == Durability::Always {
                context.head.settle(number, replica.catalogue.count());
                replica.catalogue.settle(replica.catalogue.count());
            }
        }
        Ok(())
    }

    /// Makes everything committed so far durable.
    pub fn sync(&mut self) -> Result<()> {
        let (count, dirty) = self.shard.unsettled(self.context)?;
        self.shard.settle(self.context, count, &dirty)?;
        self.decide(|c| c.settle(count))
    }

    /// Begins a new log if the old one has become much longer than what it tells.
    pub fn shorten_log(&mut self) -> Result<()> {
        let (context, number) = (self.context, self.shard.number);
        {
            let guard = self.shard.read();
            let Some(replica) = &*guard else { return Ok(()) };
            let events = replica.at.end - replica.snapshot;
            if events < (1 << 20).max(2 * replica.snapshot) {
                return Ok(());
            }
        }
        self.new_log(number, context)
    }

    /// Removes files of containers that nobody knows: left by somebody who died between the event and the removal, or
    /// before the event.
    fn remove_strays(&mut self) -> Result<()> {
        let (context, number) = (self.context, self.shard.number);
        let folder = context.files.shard(number);
        let names =
            sys::names(&folder).map_err(|e| context.system(e, None, &folder, "reading the folder"))?;
        let strays: Vec<u32> = {
            let view = self.view()?;
            let space = view.catalogue().space();
            let numbers =
                names.iter().filter(|n| n.len() == 8).filter_map(|n| u32::from_str_radix(n, 16).ok());
            numbers.filter(|n| space.get(*n).is_none()).collect()
        };
        for stray in strays {
            let file = File::Container(stray);
            context.files.remove(number, file).map_err(|e| {
                context.system(
                    e,
                    None,
                    &context.files.path(number, file),
                    "removing a file that nobody knows",
                )
            })?;
        }
        Ok(())
    }

    fn new_log(&mut self, number: u32, context: &Context) -> Result<()> {
        self.close_unborn()?;
        self.remove_strays()?;
        if context.durability != Durability::None {
            // The new log tells of nothing older to fall back to.
            self.sync()?;
        }
        let mut guard = self.shard.write();
        let Some(replica) = &mut *guard else { return Ok(()) };
        let old = replica.at.generation;
        let generation = replica.at.next_generation();
        let commit = log::write(&context.files, number, generation, &replica.catalogue).map_err(|e| {
            let name = context.files.path(number, File::Log(generation));
            context.system(e, None, &name, "writing a new index")
        })?;
        context.head.publish(number, commit);
        (replica.at, replica.snapshot) = (commit, commit.end);
        drop(guard);
        // Whoever still reads the old one finds out by the commit word.
        context.files.remove(number, File::Log(old)).map_err(|e| {
            context.system(e, None, &context.files.path(number, File::Log(old)), "removing the old index")
        })
    }
}

impl Shard {
    /// Makes everything committed so far durable, without the turn.
    pub fn sync(&self, context: &Context) -> Result<()> {
        let (count, dirty) = self.unsettled(context)?;
        self.settle(context, count, &dirty)
    }

    /// How many events there are, and the containers that those not settled wrote to.
    fn unsettled(&self, context: &Context) -> Result<(u64, Vec<u32>)> {
        let view = self.view(context)?;
        let settled = context.head.settled(self.number);
        let space = view.catalogue().space();
        let dirty = space.iter().filter(|(_, c)| c.written > settled).map(|(n, _)| n).collect();
        Ok((view.catalogue().count(), dirty))
    }

    fn settle(&self, context: &Context, count: u64, dirty: &[u32]) -> Result<()> {
        if count <= context.head.settled(self.number) {
            return Ok(());
        }
        let commit = self.commit(context)?;
        let containers = dirty.iter().map(|c| File::Container(*c));
        for file in containers.chain([File::Log(commit.generation)]) {
            match context.files.open(self.number, file, false).and_then(|fd| sys::sync_data(fd.as_fd())) {
                // Emptied and removed since; what was in it lies elsewhere, by events that are not settled here.
                Ok(()) | Err(Errno::NOENT) => (),
                Err(e) => {
                    return Err(context.system(
                        e,
                        None,
                        &context.files.path(self.number, file),
                        "making durable",
                    ));
                }
            }
        }
        let folder = context.files.shard(self.number);
        sys::sync_folder(&folder).map_err(|e| context.system(e, None, &folder, "making durable"))?;
        context.head.settle(self.number, count);
        Ok(())
    }
}

/// Puts a shard right after a loss of power, or where its commit word is damaged: takes its log as far as it is valid,
/// without events whose bytes did not arrive, and begins a new one with that. Nobody else has the store open, or
/// everybody is refused until this is done.
pub fn recover(context: &Context, number: u32) -> std::result::Result<(), Bad> {
    let (files, head) = (&context.files, &context.head);
    let settled = context.settled(number);
    let mut best: Option<Replica> = None;
    let mut worst = None;
    // Usually there is one log. There are two where a new one was just written: the one that tells of more counts.
    for generation in logs(files, number)? {
        let loaded = log::load(files, context.named, head, number, generation, None, |event, count| {
            count <= settled || crate::read::arrived(files, number, event)
        });
        match loaded {
            Ok(replica) if best.as_ref().is_none_or(|b| b.catalogue.count() < replica.catalogue.count()) => {
                best = Some(replica);
            }
            Ok(_) => (),
            Err(bad) => worst = Some(bad),
        }
    }
    let none = Bad::Damaged { at: 0, why: "there is no index file" };
    let Some(replica) = best else { return Err(worst.unwrap_or(none)) };
    let (old, next) = (replica.at.generation, replica.at.next_generation());
    let commit = log::write(files, number, next, &replica.catalogue)?;
    head.settle_exactly(number, replica.catalogue.count());
    head.publish(number, commit);
    files.remove(number, File::Log(old))?;
    Ok(())
}

/// The logs that a shard has.
fn logs(files: &Files, number: u32) -> sys::Result<Vec<u16>> {
    let names = sys::names(&files.shard(number))?;
    let generation = |name: &String| u16::from_str_radix(name.strip_prefix("log-")?, 16).ok();
    Ok(names.iter().filter_map(generation).collect())
}
