//! An object is a file. Nothing is searched and nothing is left over; each object costs a file's making, and a
//! change of a part the object's rewriting.

use super::{Choice, Containers, Purpose, Space, Use};

/// See [the module](self).
#[derive(Clone, Debug, Default)]
pub struct OneToOne {
    /// The container made last, while nothing is in it.
    fresh: Option<u32>,
}

/// Makes one.
pub fn make(_shard: u32, _shards: u32) -> Box<dyn Containers> {
    Box::<OneToOne>::default()
}

impl Containers for OneToOne {
    fn capacity(&self) -> u64 {
        u64::MAX
    }

    fn choose(&self, space: &Space, _hash: u64, _len: u64, _purpose: Purpose) -> Choice {
        match self.fresh {
            Some(container) if space.get(container).is_some_and(|c| c.end == 0) => {
                Choice::At { container, at: 0 }
            }
            _ => Choice::Open(Use::Data),
        }
    }

    fn rewrites(&self) -> bool {
        true
    }

    fn private(&self) -> bool {
        true
    }

    fn opened(&mut self, container: u32, purpose: Use) {
        if purpose == Use::Data {
            self.fresh = Some(container);
        }
    }
}
