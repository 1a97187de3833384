//! Connection ids of this node: its prefix, then where the connection is kept, masked, then random bytes.
//! A publish on `priv/{connectionId}` finds its connection without an index.

use std::hash::{BuildHasher, RandomState};

use realtime_proto::{ConnectionId, NodePrefix};

/// Bytes of the place: shard, then index.
const PLACE: usize = 5;

/// The ids of one incarnation of a node.
#[derive(Debug)]
pub(crate) struct ConnectionIds {
    prefix: NodePrefix,
    /// Hides the place, so that ids say nothing about a node's load.
    mask: RandomState,
}

impl ConnectionIds {
    pub(crate) fn new(prefix: NodePrefix) -> Self {
        Self { prefix, mask: RandomState::new() }
    }

    /// Whether the id has this node's prefix.
    pub(crate) fn owns(&self, id: ConnectionId) -> bool {
        id.prefix() == self.prefix
    }

    /// A new id for a connection that `shard` keeps at `index`.
    pub(crate) fn make(&self, shard: u8, index: u32) -> ConnectionId {
        let tail = realtime_proto::ids::random::<7>();
        let [a, b, c, d] = index.to_be_bytes();
        let place = self.masked([shard, a, b, c, d], tail);
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.prefix.0);
        bytes[4..4 + PLACE].copy_from_slice(&place);
        bytes[4 + PLACE..].copy_from_slice(&tail);
        ConnectionId(bytes)
    }

    /// Shard and index that an id of this node names; whether a connection with this id is there is another question.
    pub(crate) fn place(&self, id: ConnectionId) -> Option<(u8, u32)> {
        if !self.owns(id) {
            return None;
        }
        let (place, tail) = id.0[4..].split_first_chunk::<PLACE>()?;
        let [shard, a, b, c, d] = self.masked(*place, tail.try_into().ok()?);
        Some((shard, u32::from_be_bytes([a, b, c, d])))
    }

    fn masked(&self, mut place: [u8; PLACE], tail: [u8; 7]) -> [u8; PLACE] {
        let mask = self.mask.hash_one(tail).to_be_bytes();
        for (byte, mask) in place.iter_mut().zip(mask) {
            *byte ^= mask;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_to_its_place_on_its_node_only() {
        let ids = ConnectionIds::new(NodePrefix([1, 2, 3, 4]));
        let id = ids.make(3, 70_000);
        assert!(id.to_string().starts_with("01020304"));
        assert_eq!(ids.place(id), Some((3, 70_000)));
        assert_ne!(ids.make(3, 70_000), id);
        assert_eq!(ConnectionIds::new(NodePrefix([9; 4])).place(id), None);
    }
}
