//! Connections by subject: `priv/{subject}` and the connection limit of a subject.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::connection::{Connection, END};
use super::slab::Slab;

/// The newest connection of each subject; older ones follow in the connections themselves.
pub(super) struct Subjects {
    newest: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Subjects {
    pub(super) fn new() -> Self {
        Self { newest: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }

    fn hash(&self, slot: u32, subject: &str) -> u64 {
        self.hasher.hash_one((slot, subject))
    }

    /// The newest connection of a subject.
    pub(super) fn newest(&self, slot: u32, subject: &str, connections: &Slab<Connection>) -> Option<u32> {
        self.newest
            .find(self.hash(slot, subject), |&c| {
                connections.get(c).is_some_and(|c| c.slot == slot && *c.subject == *subject)
            })
            .copied()
    }

    /// The next older connection of the same subject.
    pub(super) fn older(&self, index: u32, connections: &Slab<Connection>) -> Option<u32> {
        connections.get(index).map(|c| c.older).filter(|&older| older != END)
    }

    /// The connections of a subject, newest first.
    pub(super) fn of<'a>(
        &self,
        slot: u32,
        subject: &str,
        connections: &'a Slab<Connection>,
    ) -> impl Iterator<Item = u32> + 'a {
        let first = self.newest(slot, subject, connections);
        std::iter::successors(first, |&c| connections.get(c).map(|c| c.older).filter(|&o| o != END))
    }

    /// Enters a connection as its subject's newest.
    pub(super) fn insert(&mut self, index: u32, connections: &mut Slab<Connection>) {
        let Some(connection) = connections.get(index) else { return };
        let (slot, subject) = (connection.slot, connection.subject.clone());
        let hash = self.hash(slot, &subject);
        let older = self.newest(slot, &subject, connections);
        if let Some(older) = older {
            if let Ok(entry) = self.newest.find_entry(hash, |&c| c == older) {
                *entry.into_mut() = index;
            }
            link(connections, older, |c| c.newer = index);
        } else {
            let hasher = &self.hasher;
            self.newest.insert_unique(hash, index, |&c| {
                connections.get(c).map_or(0, |c| hasher.hash_one((c.slot, &*c.subject)))
            });
        }
        link(connections, index, |c| {
            c.older = older.unwrap_or(END);
            c.newer = END;
        });
    }

    /// Takes a connection out.
    pub(super) fn remove(&mut self, index: u32, connections: &mut Slab<Connection>) {
        let Some(connection) = connections.get(index) else { return };
        let (older, newer) = (connection.older, connection.newer);
        if newer == END {
            let hash = self.hash(connection.slot, &connection.subject);
            if let Ok(mut entry) = self.newest.find_entry(hash, |&c| c == index) {
                if older == END {
                    entry.remove();
                } else {
                    *entry.get_mut() = older;
                }
            }
        } else {
            link(connections, newer, |c| c.older = older);
        }
        if older != END {
            link(connections, older, |c| c.newer = newer);
        }
    }
}

fn link(connections: &mut Slab<Connection>, index: u32, change: impl FnOnce(&mut Connection)) {
    if let Some(connection) = connections.get_mut(index) {
        change(connection);
    }
}
