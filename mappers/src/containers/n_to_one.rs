//! One container: objects are appended in the order in which they come, changes as well, and what they replace is
//! garbage. When there is too much, what counts moves to a successor.

use super::{Choice, Containers, Purpose, Space, Use};

/// See [the module](self).
#[derive(Clone, Debug, Default)]
pub struct NToOne {
    newest: Option<u32>,
}

/// Makes one.
pub fn make(_shard: u32, _shards: u32) -> Box<dyn Containers> {
    Box::<NToOne>::default()
}

impl Containers for NToOne {
    fn capacity(&self) -> u64 {
        u64::MAX
    }

    fn choose(&self, space: &Space, _hash: u64, len: u64, _purpose: Purpose) -> Choice {
        self.newest
            .and_then(|c| space.room_in(c, len, false, self.capacity()))
            .unwrap_or(Choice::Open(Use::Data))
    }

    fn opened(&mut self, container: u32, _use: Use) {
        self.newest = Some(container);
    }

    fn closed(&mut self, container: u32) {
        self.newest = self.newest.filter(|c| *c != container);
    }
}
