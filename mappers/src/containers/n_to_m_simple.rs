//! New objects are appended to a container, and a new one begins every 128 MB; what changes objects goes to
//! containers of its own.

use super::{Choice, Containers, Purpose, Space, Use};

/// Bytes of a container.
pub const CAPACITY: u64 = 128 << 20;

/// See [the module](self).
#[derive(Clone, Debug, Default)]
pub struct NToMSimple {
    data: Option<u32>,
    updates: Option<u32>,
}

/// Makes one.
pub fn make(_shard: u32, _shards: u32) -> Box<dyn Containers> {
    Box::<NToMSimple>::default()
}

impl Containers for NToMSimple {
    fn capacity(&self) -> u64 {
        CAPACITY
    }

    fn choose(&self, space: &Space, _hash: u64, len: u64, purpose: Purpose) -> Choice {
        let (current, purpose) = match purpose {
            Purpose::New | Purpose::Survivor => (self.data, Use::Data),
            Purpose::Update => (self.updates, Use::Updates),
        };
        current.and_then(|c| space.room_in(c, len, false, CAPACITY)).unwrap_or(Choice::Open(purpose))
    }

    fn opened(&mut self, container: u32, purpose: Use) {
        match purpose {
            Use::Updates => self.updates = Some(container),
            Use::Data => self.data = Some(container),
            Use::Range { .. } | Use::Private { .. } => (),
        }
    }

    fn closed(&mut self, container: u32) {
        self.data = self.data.filter(|c| *c != container);
        self.updates = self.updates.filter(|c| *c != container);
    }
}
