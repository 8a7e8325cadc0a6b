//! Which node of a cluster has which keys. Owns the hash of keys to slots and the map of slots to nodes; how the map is
//! asked for is the exchange's.

use crate::node::Node;
use crate::wire::Answer;
use crc::{CRC_16_XMODEM, Crc};
use std::sync::Arc;

/// Slots of a cluster.
pub const SLOTS: usize = 16384;

static CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The slot of a key: of its hash tag, what stands between the first "{" and the next "}", if that is not empty.
pub fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|b| *b == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|b| *b == b'}').filter(|len| *len > 0).map(|len| &rest[..len])
    });
    CRC.checksum(tag.unwrap_or(key)) % SLOTS as u16
}

/// Nodes and their slots.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The masters.
    pub nodes: Vec<Arc<Node>>,
    /// For each slot its master's place among them, or `u16::MAX`.
    slots: Vec<u16>,
}

impl Topology {
    /// What CLUSTER SLOTS answered, asked of `asked`.
    pub fn read(answer: &Answer, asked: &Node) -> Option<Topology> {
        let Answer::List(ranges) = answer else { return None };
        let mut map = Topology { nodes: Vec::new(), slots: vec![u16::MAX; SLOTS] };
        for range in ranges {
            let Answer::List(range) = range else { return None };
            let [Answer::Int(first), Answer::Int(last), Answer::List(master), ..] = &range[..] else {
                return None;
            };
            let [host, Answer::Int(port), ..] = &master[..] else { return None };
            let host = match host {
                Answer::Bytes(host) if !host.is_empty() => String::from_utf8_lossy(host).into_owned(),
                // The node does not know its own name: it is the one that answered.
                _ => host_of(asked)?,
            };
            if host == "?" {
                continue;
            }
            let at = map.place(Node::Tcp(host, u16::try_from(*port).ok()?));
            let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
            map.slots.get_mut(first..=last)?.fill(at);
        }
        (!map.nodes.is_empty()).then_some(map)
    }

    fn place(&mut self, node: Node) -> u16 {
        let at = self.nodes.iter().position(|n| **n == node).unwrap_or_else(|| {
            self.nodes.push(Arc::new(node));
            self.nodes.len() - 1
        });
        at as u16
    }

    /// The node of a slot.
    pub fn node(&self, slot: u16) -> Option<&Arc<Node>> {
        self.nodes.get(usize::from(*self.slots.get(usize::from(slot))?))
    }

    /// A slot has moved.
    pub fn moved(&mut self, slot: u16, node: Node) {
        let at = self.place(node);
        self.slots[usize::from(slot)] = at;
    }
}

fn host_of(node: &Node) -> Option<String> {
    match node {
        Node::Tcp(host, _) => Some(host.clone()),
        Node::Unix(_) => None,
    }
}

/// The node that "host:port" of a redirection by `from` means.
pub fn redirected(to: &str, from: &Node) -> Option<Node> {
    let (host, port) = to.rsplit_once(':')?;
    let host = if host.is_empty() { host_of(from)? } else { host.trim_matches(['[', ']']).to_owned() };
    Some(Node::Tcp(host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // Answers of CLUSTER KEYSLOT.
        assert_eq!((slot(b"foo"), slot(b"123456789")), (12182, 12739));
        assert_eq!((slot(b"{foo}bar"), slot(b"x{foo}{bar}")), (12182, 12182));
        assert_eq!(slot(b"foo{}{bar}"), 8363);
        assert_eq!(slot(b"foo{{bar}}zap"), 4015);
    }

    #[test]
    fn a_map_is_read_and_changed() {
        let bytes = |b: &str| Answer::Bytes(b.into());
        let range = |a, b, host: &str, port| {
            Answer::List(vec![
                Answer::Int(a),
                Answer::Int(b),
                Answer::List(vec![bytes(host), Answer::Int(port), bytes("id")]),
            ])
        };
        let asked = Node::Tcp("seed".into(), 7000);
        let answer = Answer::List(vec![range(0, 99, "", 7001), range(100, 16383, "b", 7002)]);
        let mut map = Topology::read(&answer, &asked).unwrap();
        assert_eq!(map.node(99).unwrap().to_string(), "seed:7001");
        assert_eq!(map.node(100).unwrap().to_string(), "b:7002");
        map.moved(5, redirected(":7009", &asked).unwrap());
        assert_eq!(map.node(5).unwrap().to_string(), "seed:7009");
        assert_eq!(redirected("::1:70", &asked), Some(Node::Tcp("::1".into(), 70)));
        assert!(Topology::read(&Answer::List(vec![range(0, 99999, "a", 1)]), &asked).is_none());
        assert!(Topology::read(&Answer::Int(1), &asked).is_none());
    }
}
