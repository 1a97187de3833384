//! What this node has subscribers for, counted by shard, and who waits until the peers know.

use std::collections::VecDeque;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::hash::TopicHash;

/// Who asks: a shard's number.
pub type Origin = u8;

/// A change of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added(TopicHash),
    Removed(TopicHash),
}

/// A subscription whose welcome waits.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    version: u64,
    origin: Origin,
    ticket: u64,
}

/// The node's own interest.
#[derive(Debug, Default)]
pub(crate) struct LocalInterest {
    /// Shards with a subscriber, by topic.
    shards: HashMap<TopicHash, u32>,
    /// Counts additions. A peer that has confirmed a version knows every topic that was added up to it.
    version: u64,
    /// In the order of their versions.
    waiting: VecDeque<Waiting>,
}

impl LocalInterest {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = TopicHash> {
        self.shards.keys().copied()
    }

    /// A shard has its first subscriber of a topic. The ticket waits for everything that was added so far: which
    /// of it the peers know of this very topic, if another shard had it before, is not kept.
    pub(crate) fn add(&mut self, origin: Origin, ticket: u64, topic: TopicHash) -> Option<Change> {
        let shards = self.shards.entry(topic).or_insert(0);
        *shards += 1;
        let change = (*shards == 1).then_some(Change::Added(topic));
        self.version += u64::from(change.is_some());
        self.waiting.push_back(Waiting { version: self.version, origin, ticket });
        change
    }

    /// A shard's last subscriber of a topic has left.
    pub(crate) fn remove(&mut self, topic: TopicHash) -> Option<Change> {
        let Entry::Occupied(mut shards) = self.shards.entry(topic) else { return None };
        *shards.get_mut() -= 1;
        if *shards.get() > 0 {
            return None;
        }
        shards.remove();
        Some(Change::Removed(topic))
    }

    /// Takes the tickets that need no more than `version`, as the highest of each origin.
    pub(crate) fn release(&mut self, version: u64, out: &mut Vec<(Origin, u64)>) {
        while let Some(front) = self.waiting.front().filter(|waiting| waiting.version <= version) {
            // An origin's tickets grow, and so does what it waits for.
            match out.iter_mut().find(|(origin, _)| *origin == front.origin) {
                Some((_, ticket)) => *ticket = front.ticket,
                None => out.push((front.origin, front.ticket)),
            }
            self.waiting.pop_front();
        }
    }
}
