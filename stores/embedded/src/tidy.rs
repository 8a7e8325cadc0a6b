//! Giving space back: emptying containers of which little counts, and removing those of which nothing does. Done a
//! little at a time by whoever has just written, so that a request does bounded work; more only where the bound on
//! space would be passed otherwise.

use crate::files::File;
use crate::options::Durability;
use crate::owner;
use crate::read::{fill, part};
use crate::shard::Turn;
use crate::sys;
use iris_mappers::containers::{Event, Purpose, Slice};
use iris_store::{Kind, Result};
use rustix::fd::AsFd;

/// Bytes that a request moves besides four for each that it wrote.
const STEP: u64 = 256 * 1024;

impl Turn<'_> {
    /// After `written` bytes were committed. Where there is no room to move bytes to, that waits: what was committed is
    /// committed, and whoever needs the room is told.
    pub fn tidy(&mut self, written: u64) -> Result<()> {
        match self.tidy_now(written) {
            Err(e) if e.kind == Kind::Full => Ok(()),
            other => other,
        }
    }

    /// Removes every container in which nothing counts, however little garbage there is; whether there was one.
    pub fn make_room(&mut self) -> Result<bool> {
        let empty: Vec<u32> = {
            let view = self.view()?;
            let unborn: Vec<u32> = view.catalogue().unborn().map(|(_, container)| container).collect();
            let containers = view.catalogue().space().iter();
            containers.filter(|(n, c)| c.live == 0 && !unborn.contains(n)).map(|(n, _)| n).collect()
        };
        if empty.is_empty() {
            return Ok(false);
        }
        if self.context().durability != Durability::None {
            self.sync()?;
        }
        self.chores.doomed.clear();
        self.close(&empty)?;
        Ok(true)
    }

    fn tidy_now(&mut self, written: u64) -> Result<()> {
        let mut budget = 4 * written + STEP;
        self.close_dead()?;
        while let Some(victim) = self.victim()? {
            if budget == 0 && !self.view()?.catalogue().is_over() {
                break;
            }
            let moved = self.empty(victim, &mut budget)?;
            self.close_dead()?;
            if !moved && self.view()?.catalogue().space().get(victim).is_some() {
                // What is left waits for a sync.
                break;
            }
        }
        self.shorten_log()
    }

    /// The container to empty next. Where much only waits for a sync to be used again, that is done first.
    fn victim(&mut self) -> Result<Option<u32>> {
        let (victim, wait, live) = {
            let view = self.view()?;
            let catalogue = view.catalogue();
            (catalogue.victim(), catalogue.space().waiting(), catalogue.space().live())
        };
        let doomed: u64 = self.chores.doomed.iter().map(|d| d.1).sum();
        if victim.is_some() && wait + doomed > live / 8 + STEP {
            self.sync()?;
            self.close_doomed()?;
            return Ok(self.view()?.catalogue().victim());
        }
        // An empty one that waits for its removal needs no emptying.
        Ok(victim.filter(|v| self.chores.doomed.iter().all(|d| d.0 != *v)))
    }

    /// Moves bytes out of a container, up to the budget; whether there were any.
    fn empty(&mut self, victim: u32, budget: &mut u64) -> Result<bool> {
        if !self.view()?.catalogue().space().get(victim).is_some_and(|c| c.draining) {
            self.commit(&[Event::Drain { container: victim }], 0)?;
            self.chores.residents = None;
        }
        if self.chores.residents.as_ref().is_none_or(|(of, keys)| *of != victim || keys.is_empty()) {
            let residents = self.view()?.catalogue().residents(victim);
            self.chores.residents = Some((victim, residents));
        }
        let mut moved = false;
        while let Some(key) = self.chores.residents.as_mut().and_then(|(_, keys)| keys.pop()) {
            moved |= self.move_object(&key, victim, budget)?;
            if *budget == 0 && !self.view()?.catalogue().is_over() {
                break;
            }
        }
        Ok(moved)
    }

    /// Moves one object's bytes out of a container.
    fn move_object(&mut self, key: &[u8], victim: u32, budget: &mut u64) -> Result<bool> {
        let (object, runs) = {
            let view = self.view()?;
            let Some(object) = view.catalogue().get(key) else { return Ok(false) };
            (object.clone(), view.catalogue().moves(key, victim))
        };
        let (mut events, mut slices) = (Vec::new(), Vec::new());
        for &(offset, len) in &runs {
            let (n, touched) = part(object.len, object.slices(), offset, len as usize);
            let mut bytes = vec![0; n];
            match fill(&self.context().files, self.shard(), &touched, offset, &mut bytes) {
                Ok(()) => {
                    let (before, new) = self.write_out(key, offset, &bytes, Purpose::Survivor)?;
                    events.extend(before);
                    slices.extend(new);
                }
                // Damage moves as it is, with the checksum that tells it: it must not keep the rest from moving.
                Err(_) => {
                    for slice in touched.iter().filter(|s| s.container == victim) {
                        let (before, new) = self.move_as_it_is(key, slice)?;
                        events.extend(before);
                        slices.push(new);
                    }
                }
            }
            *budget = budget.saturating_sub(len);
        }
        if runs.is_empty() {
            return Ok(false);
        }
        let (applied, tag, modified, len) = (events.len(), object.tag, object.modified, object.len);
        events.push(Event::Patch { key, tag, modified, len, slices: &slices });
        self.commit(&events, applied)?;
        Ok(true)
    }

    fn move_as_it_is(&mut self, key: &[u8], slice: &Slice) -> Result<(Vec<Event<'static>>, Slice)> {
        let mut bytes = vec![0; slice.stored as usize];
        let file = File::Container(slice.container);
        // What cannot be read is zeros, which have another checksum, or are what was put.
        let _ = self
            .context()
            .files
            .open(self.shard(), file, false)
            .and_then(|fd| sys::read_at(fd.as_fd(), &mut bytes, slice.at));
        let mut events = Vec::new();
        let room = self.decide(|c| c.place(key, u64::from(slice.stored), Purpose::Survivor, &mut events))?;
        self.context().write_container(self.shard(), room.container, room.at, &bytes)?;
        Ok((events, Slice { container: room.container, at: room.at, ..*slice }))
    }

    /// Removes containers that hold nothing: at once where a loss of power cannot bring back what was in them.
    fn close_dead(&mut self) -> Result<()> {
        while let Some(container) = self.decide(|c| c.dead())? {
            let settled = self.context().settled(self.shard());
            let needed = self.context().durability != Durability::None && {
                let view = self.view()?;
                view.catalogue().space().get(container).is_some_and(|c| c.opened <= settled)
            };
            if needed {
                let end = self.view()?.catalogue().space().get(container).map_or(0, |c| c.end);
                if self.chores.doomed.iter().all(|d| d.0 != container) {
                    self.chores.doomed.push((container, end));
                }
            } else {
                self.close(&[container])?;
            }
        }
        let (live, over) = {
            let view = self.view()?;
            (view.catalogue().space().live(), view.catalogue().is_over())
        };
        let doomed: u64 = self.chores.doomed.iter().map(|d| d.1).sum();
        if doomed > live / 8 + 4 * STEP || over && doomed > 0 {
            self.sync()?;
            self.close_doomed()?;
        }
        Ok(())
    }

    /// After a sync: the events that emptied them can no longer be undone.
    fn close_doomed(&mut self) -> Result<()> {
        let doomed = std::mem::take(&mut self.chores.doomed);
        let containers: Vec<u32> = {
            let view = self.view()?;
            let space = view.catalogue().space();
            doomed.iter().map(|d| d.0).filter(|c| space.get(*c).is_some_and(|c| c.live == 0)).collect()
        };
        self.close(&containers)
    }

    /// Removes containers that hold nothing.
    pub fn close(&mut self, containers: &[u32]) -> Result<()> {
        if containers.is_empty() {
            return Ok(());
        }
        let events: Vec<Event<'_>> = containers.iter().map(|&container| Event::Close { container }).collect();
        self.commit(&events, 0)?;
        for container in containers {
            let file = File::Container(*container);
            // The event came first: a file that stays is garbage without a name in the index, and its number is used.
            self.context().files.remove(self.shard(), file).map_err(|e| {
                let name = self.context().files.path(self.shard(), file);
                self.context().system(e, None, &name, "removing an empty container")
            })?;
        }
        Ok(())
    }

    /// Removes containers that somebody made for a long object and died before telling of it.
    pub fn close_unborn(&mut self) -> Result<()> {
        let dead: Vec<u32> = {
            let view = self.view()?;
            let unborn = view.catalogue().unborn();
            unborn.filter(|(owner, _)| !owner::alive(*owner)).map(|(_, container)| container).collect()
        };
        self.close(&dead)
    }
}
