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
    /// How many topics each peer wants, by its place.
    counts: Vec<usize>,
}

impl RemoteInterest {
    pub(crate) fn add(&mut self, peer: PeerIndex, topic: TopicHash) {
        let peers = self.peers.entry(topic).or_default();
        if !peers.contains(&peer) {
            peers.push(peer);
            let place = usize::from(peer);
            if self.counts.len() <= place {
                self.counts.resize(place + 1, 0);
            }
            self.counts[place] += 1;
        }
    }

    pub(crate) fn remove(&mut self, peer: PeerIndex, topic: TopicHash) {
        let Some(peers) = self.peers.get_mut(&topic) else { return };
        let Some(at) = peers.iter().position(|p| *p == peer) else { return };
        peers.remove(at);
        self.counts[usize::from(peer)] -= 1;
        if peers.is_empty() {
            self.peers.remove(&topic);
        }
    }

    /// Forgets a peer. Looks at every topic, if the peer wants any: that it goes is rare. That it comes is not, where
    /// a node starts among hundreds.
    pub(crate) fn clear(&mut self, peer: PeerIndex) {
        match self.counts.get_mut(usize::from(peer)) {
            None | Some(0) => return,
            Some(count) => *count = 0,
        }
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
        self.counts.get(usize::from(peer)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_counted_by_peer_however_often_they_are_named() {
        let mut remote = RemoteInterest::default();
        for topic in [1, 2, 2, 3].map(TopicHash) {
            remote.add(4, topic);
            remote.add(0, topic);
        }
        remote.remove(4, TopicHash(3));
        remote.remove(4, TopicHash(3));
        remote.remove(9, TopicHash(2));
        assert_eq!([0, 4, 9].map(|peer| remote.count(peer)), [3, 2, 0]);
        remote.clear(4);
        assert_eq!([0, 4].map(|peer| remote.count(peer)), [3, 0]);
        assert_eq!((remote.peers(TopicHash(2)), remote.peers(TopicHash(9))), (&[0][..], &[][..]));
        remote.clear(0);
        assert!(remote.peers.is_empty());
    }
}
