//! The topic index of a shard: which connections get a publish. Both sides of a subscription know where the
//! other keeps it, so that every change costs the same however many there are.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

/// A subscription, seen from its topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) connection: u32,
    /// Its place in the connection's list.
    place: u32,
}

/// A subscription, seen from its connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subscription {
    topic: u32,
    /// Its place in the topic's list.
    place: u32,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) slot: u32,
    pub(super) name: Arc<str>,
    /// What welcomes to it wait for; see `interest`.
    pub(super) ticket: u64,
    pub(super) members: Vec<Member>,
}

/// Lists longer than this are looked up in a hash table instead of being searched.
const SEARCHED: usize = 32;

/// All topics of a shard, over all its applications.
pub(super) struct Topics {
    topics: Vec<Topic>,
    free: Vec<u32>,
    by_name: HashTable<u32>,
    /// (connection, topic) → place in the connection's list, for connections with long lists.
    places: HashMap<(u32, u32), u32>,
    hasher: DefaultHashBuilder,
    subscriptions: usize,
}

/// The connections' lists, owned by the connections.
pub(super) trait Lists {
    /// The list of a connection that has subscriptions.
    fn list(&mut self, connection: u32) -> &mut Vec<Subscription>;
}

impl Topics {
    pub(super) fn new() -> Self {
        Self {
            topics: Vec::new(),
            free: Vec::new(),
            by_name: HashTable::new(),
            places: HashMap::default(),
            hasher: DefaultHashBuilder::default(),
            subscriptions: 0,
        }
    }

    /// Topics with a member.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Members of all topics.
    pub(super) fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    fn hash(&self, slot: u32, name: &str) -> u64 {
        self.hasher.hash_one((slot, name))
    }

    #[inline]
    pub(super) fn find(&self, slot: u32, name: &str) -> Option<u32> {
        let hash = self.hash(slot, name);
        self.by_name
            .find(hash, |&t| {
                let topic = &self.topics[t as usize];
                topic.slot == slot && *topic.name == *name
            })
            .copied()
    }

    /// The topic of that number; it must come from [`Self::find`] or [`Self::create`].
    #[inline]
    pub(super) fn topic(&self, topic: u32) -> &Topic {
        &self.topics[topic as usize]
    }

    /// Topics with their numbers, in no order.
    pub(super) fn of_app(&self, slot: u32) -> impl Iterator<Item = &Topic> {
        self.topics.iter().filter(move |t| t.slot == slot && !t.members.is_empty())
    }

    /// Makes a topic that [`Self::find`] did not find.
    pub(super) fn create(&mut self, slot: u32, name: Arc<str>, ticket: u64) -> u32 {
        let hash = self.hash(slot, &name);
        let topic = Topic { slot, name, ticket, members: Vec::new() };
        let number = if let Some(number) = self.free.pop() {
            self.topics[number as usize] = topic;
            number
        } else {
            self.topics.push(topic);
            (self.topics.len() - 1) as u32
        };
        let (topics, hasher) = (&self.topics, &self.hasher);
        self.by_name.insert_unique(hash, number, |&t| {
            let topic = &topics[t as usize];
            hasher.hash_one((topic.slot, &*topic.name))
        });
        number
    }

    /// Whether the connection, whose list this is, is subscribed.
    pub(super) fn is_subscribed(&self, connection: u32, list: &[Subscription], topic: u32) -> bool {
        self.place(connection, list, topic).is_some()
    }

    fn place(&self, connection: u32, list: &[Subscription], topic: u32) -> Option<u32> {
        if list.len() > SEARCHED {
            return self.places.get(&(connection, topic)).copied();
        }
        list.iter().position(|s| s.topic == topic).map(|p| p as u32)
    }

    /// Adds a subscription that is not there yet.
    pub(super) fn subscribe(&mut self, connection: u32, list: &mut Vec<Subscription>, topic: u32) {
        let members = &mut self.topics[topic as usize].members;
        let place = list.len() as u32;
        list.push(Subscription { topic, place: members.len() as u32 });
        members.push(Member { connection, place });
        self.subscriptions += 1;
        if list.len() == SEARCHED + 1 {
            self.places.extend(list.iter().zip(0..).map(|(s, at)| ((connection, s.topic), at)));
        } else if list.len() > SEARCHED {
            self.places.insert((connection, topic), place);
        }
    }

    /// Removes a subscription; the topic too when it was the last. `None`: there was none.
    pub(super) fn unsubscribe(
        &mut self,
        connection: u32,
        lists: &mut impl Lists,
        topic: u32,
    ) -> Option<Removed> {
        let place = self.place(connection, lists.list(connection), topic)?;
        Some(self.remove_at(connection, lists, place))
    }

    /// Removes all subscriptions of a connection, telling of each.
    pub(super) fn unsubscribe_all(
        &mut self,
        connection: u32,
        lists: &mut impl Lists,
        mut removed: impl FnMut(Removed),
    ) {
        while let Some(last) = lists.list(connection).len().checked_sub(1) {
            removed(self.remove_at(connection, lists, last as u32));
        }
        *lists.list(connection) = Vec::new();
    }

    fn remove_at(&mut self, connection: u32, lists: &mut impl Lists, place: u32) -> Removed {
        let list = lists.list(connection);
        let long = list.len() > SEARCHED;
        let subscription = list.swap_remove(place as usize);
        let moved = list.get(place as usize).copied();
        let now_short = list.len() == SEARCHED;
        if now_short {
            for s in list.iter() {
                self.places.remove(&(connection, s.topic));
            }
        }
        if long {
            self.places.remove(&(connection, subscription.topic));
        }
        if let Some(moved) = moved {
            self.topics[moved.topic as usize].members[moved.place as usize].place = place;
            if long && !now_short {
                self.places.insert((connection, moved.topic), place);
            }
        }
        self.subscriptions -= 1;
        let members = &mut self.topics[subscription.topic as usize].members;
        members.swap_remove(subscription.place as usize);
        if let Some(member) = members.get(subscription.place as usize) {
            lists.list(member.connection)[member.place as usize].place = subscription.place;
        }
        self.removed(subscription.topic)
    }

    fn removed(&mut self, number: u32) -> Removed {
        let topic = &mut self.topics[number as usize];
        if topic.members.capacity() > 64 && topic.members.len() < topic.members.capacity() / 4 {
            topic.members.shrink_to(topic.members.len() * 2);
        }
        let (slot, name, last) = (topic.slot, topic.name.clone(), topic.members.is_empty());
        if last {
            topic.members = Vec::new();
            let hash = self.hash(slot, &name);
            if let Ok(entry) = self.by_name.find_entry(hash, |&t| t == number) {
                entry.remove();
            }
            self.free.push(number);
        }
        Removed { name, last }
    }

    /// The names of a connection's topics.
    pub(super) fn names<'a>(&'a self, list: &'a [Subscription]) -> impl Iterator<Item = (u32, &'a Arc<str>)> {
        list.iter().map(|s| (s.topic, &self.topics[s.topic as usize].name))
    }
}

/// A subscription that is gone.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) name: Arc<str>,
    /// It was the topic's last one on this shard.
    pub(super) last: bool,
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct TestLists(BTreeMap<u32, Vec<Subscription>>);

    impl Lists for TestLists {
        fn list(&mut self, connection: u32) -> &mut Vec<Subscription> {
            self.0.entry(connection).or_default()
        }
    }

    proptest! {
        #[test]
        fn the_index_is_a_set_of_pairs(operations in prop::collection::vec((any::<bool>(), 0u32..4, 0u32..60), 1..600)) {
            let (mut topics, mut lists, mut model) = (Topics::new(), TestLists::default(), BTreeSet::new());
            for (subscribe, connection, name) in operations {
                let text = format!("t{name}");
                let found = topics.find(7, &text);
                if subscribe {
                    let topic = found.unwrap_or_else(|| topics.create(7, text.as_str().into(), 0));
                    let there = topics.is_subscribed(connection, lists.list(connection), topic);
                    prop_assert_eq!(there, model.contains(&(connection, name)));
                    if !there {
                        topics.subscribe(connection, lists.list(connection), topic);
                    }
                    model.insert((connection, name));
                } else {
                    let removed = found.and_then(|t| topics.unsubscribe(connection, &mut lists, t));
                    prop_assert_eq!(removed.is_some(), model.remove(&(connection, name)));
                }
                let mut seen: Vec<_> = topics
                    .of_app(7)
                    .flat_map(|t| t.members.iter().map(|m| (m.connection, t.name[1..].parse::<u32>().expect("a number"))))
                    .collect();
                seen.sort_unstable();
                prop_assert_eq!((topics.len(), topics.subscriptions()), (topics.of_app(7).count(), model.len()));
                prop_assert_eq!(seen, model.iter().copied().collect::<Vec<_>>());
            }
            for connection in 0..4 {
                topics.unsubscribe_all(connection, &mut lists, |_| {});
            }
            prop_assert_eq!((topics.len(), topics.subscriptions()), (0, 0));
            prop_assert!(topics.places.is_empty());
        }
    }
}
