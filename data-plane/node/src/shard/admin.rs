//! What administrators ask of a shard: lists, unsubscribing, disconnecting, drain.

use realtime_proto::{CloseCode, ConnectionId, PatternSet, topic};

use super::connection::Connection;
use super::hub::Hub;
use super::inbox::{Command, Query};
use crate::operation::{ConnectionInfo, Target};

impl Hub {
    /// Applies a command that is neither a publish nor an arrival. An asker that has gone gets no answer.
    pub(super) fn administer(&mut self, command: Command) {
        match command {
            Command::Confirmed(ticket) => self.confirm(ticket),
            Command::Unsubscribe { app, subject, patterns, reply } => {
                let _ = reply.send(self.unsubscribe_subject(app.as_str(), &subject, &patterns));
            }
            Command::Disconnect { app, target, reply } => {
                let _ = reply.send(self.disconnect(app.as_str(), &target));
            }
            Command::Connections { query, subject, after, reply } => {
                let _ = reply.send(self.list_connections(&query, subject.as_deref(), after));
            }
            Command::Topics { query, prefix, after, reply } => {
                let _ = reply.send(self.list_topics(&query, &prefix, after.as_deref()));
            }
            Command::Drain { over, done } => self.start_drain(over, done),
            Command::CancelDrain => self.cancel_drain(),
            Command::Forwarded(answer) => self.forwarded(answer),
            Command::Configure(retiring) => {
                // It may have come after this turn's look at the table.
                self.take_table();
                drop(retiring);
            }
            // The shard's loop takes these itself.
            Command::Adopt(_) | Command::Publish { .. } | Command::Batch(_) | Command::Stop => {}
        }
    }

    fn unsubscribe_subject(&mut self, app: &str, subject: &str, patterns: &PatternSet) -> u64 {
        let Some(app) = self.table.by_id(app).cloned() else { return 0 };
        let connections: Vec<u32> = self.subjects.of(app.slot, subject, &self.connections).collect();
        let mut removed = 0;
        for index in connections {
            let Some(connection) = self.connections.get(index) else { continue };
            let matching: Vec<_> = self
                .topics
                .names(&connection.subscriptions)
                .filter(|(_, name)| patterns.matches(name))
                .map(|(number, name)| (number, name.clone()))
                .collect();
            for (number, name) in matching {
                removed += u64::from(self.remove_subscription(index, &app, number, &name));
            }
        }
        removed
    }

    fn disconnect(&mut self, app: &str, target: &Target) -> u64 {
        let Some(slot) = self.table.by_id(app).map(|app| app.slot) else { return 0 };
        let code = CloseCode::Administrator;
        match target {
            Target::Connection(id) => match self.find_connection(slot, *id) {
                Some(index) => self.end_unless_ending(index, code),
                None => 0,
            },
            Target::Subject(subject) => {
                // Those that wait for the subject's place are in no index yet.
                let waiting = self.waiting.iter().filter(|token| {
                    let connection = self.connections.get(token.index);
                    self.connections.is_live(**token)
                        && connection.is_some_and(|c| c.slot == slot && *c.subject == **subject)
                });
                let holders = self.subjects.of(slot, subject, &self.connections);
                let found: Vec<u32> = holders.chain(waiting.map(|token| token.index)).collect();
                found.into_iter().map(|index| self.end_unless_ending(index, code)).sum()
            }
            Target::All => self.end_where(|c| c.slot == slot, code),
        }
    }

    fn list_connections(
        &self,
        query: &Query,
        subject: Option<&str>,
        after: Option<ConnectionId>,
    ) -> Vec<ConnectionInfo> {
        let Some(slot) = self.table.by_id(query.app.as_str()).map(|app| app.slot) else { return Vec::new() };
        let listed =
            |c: &&Connection| c.slot == slot && c.is_open() && after.is_none_or(|after| c.id > after);
        let mut found: Vec<&Connection> = match subject {
            Some(subject) => {
                let indices = self.subjects.of(slot, subject, &self.connections);
                indices.filter_map(|index| self.connections.get(index)).filter(listed).collect()
            }
            None => self.connections.iter().map(|(_, c)| c).filter(listed).collect(),
        };
        smallest(&mut found, query.limit, |c| c.id);
        found
            .into_iter()
            .map(|c| ConnectionInfo {
                id: c.id,
                subject: c.subject.clone(),
                remote_address: c.remote_address,
                connected_at_ms: c.connected_at_ms,
                subscriptions: c.counted_subscriptions() as u32,
            })
            .collect()
    }

    fn list_topics(&self, query: &Query, prefix: &str, after: Option<&str>) -> Vec<(String, u64)> {
        let Some(slot) = self.table.by_id(query.app.as_str()).map(|app| app.slot) else { return Vec::new() };
        let mut found: Vec<(&str, u64)> = self
            .topics
            .of_app(slot)
            .map(|t| (&*t.name, t.members.len() as u64))
            .filter(|(name, _)| name.starts_with(prefix) && !topic::is_private(name))
            .filter(|(name, _)| after.is_none_or(|after| *name > after))
            .collect();
        smallest(&mut found, query.limit, |t| t.0);
        found.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }
}

/// Keeps the `limit` smallest, in order, without sorting the rest.
pub(crate) fn smallest<T, K: Ord>(items: &mut Vec<T>, limit: usize, key: impl Fn(&T) -> K) {
    if items.len() > limit {
        items.select_nth_unstable_by(limit, |a, b| key(a).cmp(&key(b)));
        items.truncate(limit);
    }
    items.sort_unstable_by_key(key);
}
