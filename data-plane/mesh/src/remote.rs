//! What the peers have subscribers for.

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::hash::TopicHash;

/// A peer's place in the mesh.
pub(crate) type PeerIndex = u16;

/// The peers that want a topic: few, for most topics.
type Peers = SmallVec<[PeerIndex; 8]>;

/// Peers by topic.
#[derive(Debug, Default)]
pub(crate) struct RemoteInterest {
    peers: HashMap<TopicHash, Peers>,
}

impl RemoteInterest {
    pub(crate) fn add(&mut self, peer: PeerIndex, topic: TopicHash) {
        let peers = self.peers.entry(topic).or_default();
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }

    pub(crate) fn remove(&mut self, peer: PeerIndex, topic: TopicHash) {
        let Some(peers) = self.peers.get_mut(&topic) else { return };
        peers.retain(|p| *p != peer);
        if peers.is_empty() {
            self.peers.remove(&topic);
        }
    }

    /// Forgets a peer. Looks at every topic: a peer comes and goes rarely.
    pub(crate) fn clear(&mut self, peer: PeerIndex) {
        self.peers.retain(|_, peers| {
            peers.retain(|p| *p != peer);
            !peers.is_empty()
        });
        self.peers.shrink_to_fit();
    }

    #[inline]
    pub(crate) fn peers(&self, topic: TopicHash) -> &[PeerIndex] {
        self.peers.get(&topic).map_or(&[], |peers| peers)
    }

    /// Topics that a peer wants; for tests and status.
    pub(crate) fn count(&self, peer: PeerIndex) -> usize {
        self.peers.values().filter(|peers| peers.contains(&peer)).count()
    }
}
