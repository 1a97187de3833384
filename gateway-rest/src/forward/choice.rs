//! Which node a publish goes to: by rendezvous hashing, so that every gateway sends the publishes of one topic through
//! one node, and a node that comes or goes moves only the topics that it gets or had.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// A node's or a topic's share of the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seed(u64);

impl Seed {
    /// Of a node.
    pub(super) fn of_node(id: &str) -> Self {
        Self::of(&[id.as_bytes()])
    }

    /// Of an application's topic.
    pub(super) fn of_topic(app_id: &str, topic: &str) -> Self {
        Self::of(&[app_id.as_bytes(), topic.as_bytes()])
    }

    /// The same in every gateway, of every release: the key is none. Who picks topics that share a node gains nothing
    /// over publishing on one topic.
    fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = SipHasher13::new();
        for part in parts {
            hasher.write(part);
            // No id has a byte 0, so that neighbours stay apart.
            hasher.write_u8(0);
        }
        Self(hasher.finish())
    }

    /// How much a node is wanted for a topic. Greater is better.
    pub(super) fn score(self, topic: Self) -> u64 {
        // The finalizer of splitmix64: every bit of the input counts in every bit of the result.
        let mut x = self.0 ^ topic.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best<'a>(nodes: &[&'a str], topic: &str) -> &'a str {
        let topic = Seed::of_topic("app", topic);
        nodes.iter().max_by_key(|node| Seed::of_node(node).score(topic)).unwrap()
    }

    #[test]
    fn a_node_that_goes_moves_only_its_own_topics() {
        let topics: Vec<String> = (0..3000).map(|i| format!("topic/{i}")).collect();
        let mut moved = 0;
        for topic in &topics {
            let (before, after) = (best(&["a", "b", "c"], topic), best(&["a", "b"], topic));
            if before == "c" {
                moved += 1;
            } else {
                assert_eq!(before, after, "{topic}");
            }
        }
        assert!((900..1100).contains(&moved), "{moved} of 3000");
    }

    #[test]
    fn every_release_chooses_the_same() {
        let chosen: Vec<_> = (0..8).map(|i| best(&["a", "b", "c"], &format!("t{i}"))).collect();
        assert_eq!(chosen.join(""), CHOSEN);
    }

    /// Gateways of two releases run side by side during an upgrade.
    const CHOSEN: &str = "abbaaabc";
}
