//! Topics as the nodes tell each other about them.

use std::fmt;
use std::hash::Hasher;

use realtime_proto::NodePrefix;
use siphasher::sip::SipHasher13;

/// The key of a cluster's topic hashes: secret, so that nobody can choose topics that collide.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InterestKey([u8; 16]);

impl InterestKey {
    /// The key that the control plane made.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> Self {
        Self(key)
    }
}

/// Shows nothing of the key.
impl fmt::Debug for InterestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InterestKey(…)")
    }
}

/// A topic of an application. Two topics with one hash cost a publish that its receiver has no subscriber for,
/// nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicHash(pub u64);

impl TopicHash {
    /// The hash under a cluster's key.
    #[must_use]
    pub fn new(key: &InterestKey, app_id: &[u8], topic: &[u8]) -> Self {
        let mut hasher = SipHasher13::new_with_key(&key.0);
        // An application's id has no byte 0, so that neighbours stay apart.
        hasher.write(app_id);
        hasher.write_u8(0);
        hasher.write(topic);
        Self(hasher.finish())
    }
}

/// How much `peer` suits as the guardian of `node` (rendezvous hashing): the greatest counts. Each node ranks its peers in
/// an order of its own, so that nodes spread over their guardians.
pub(crate) fn suits(key: &InterestKey, node: NodePrefix, peer: NodePrefix) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&key.0);
    hasher.write(&node.0);
    hasher.write(&peer.0);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_topic_and_key_all_count() {
        let key = InterestKey::new([1; 16]);
        let hash = |app: &str, topic: &str| TopicHash::new(&key, app.as_bytes(), topic.as_bytes());
        assert_eq!(hash("a", "bc"), hash("a", "bc"));
        assert_ne!(hash("a", "bc"), hash("ab", "c"));
        assert_ne!(hash("a", "bc"), TopicHash::new(&InterestKey::new([2; 16]), b"a", b"bc"));
    }
}
