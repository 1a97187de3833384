//! Clients' messages and presence: what goes to `secure/inbound` and to the application's other targets, and what a
//! client hears of its message (docs/contract.md 3).
//!
//! A message that has another target than `secure/inbound` is outstanding until all of these have answered: then its
//! client gets the ack, or `forward_failed`. What the targets do in between is the forwarders' affair.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use realtime_forwarders::{Failure, Message as Forwarded};
use realtime_proto::{ErrorCode, topic};
use realtime_session::{Frame, encode};

use super::hub::{Hub, Message};
use super::slab::Token;
use super::stack_text::HexId;
use crate::runtime::AppRuntime;
use crate::shard::inbox::Command;

/// Messages whose targets have not answered, by connection, each connection's in their order. Bounded by the targets'
/// queues: one connection may have all of an application's, so that no answer may look through them.
#[derive(Default)]
pub(super) struct Outstanding {
    /// Number of the next message.
    next: u64,
    /// Numbers and ids. Connections without any have no entry.
    by_connection: HashMap<u32, VecDeque<(u64, Arc<str>)>>,
}

impl Outstanding {
    /// Whether a connection waits for an answer.
    pub(super) fn has(&self, index: u32) -> bool {
        self.by_connection.contains_key(&index)
    }

    /// Connections that wait for an answer.
    pub(super) fn connections(&self) -> Vec<u32> {
        self.by_connection.keys().copied().collect()
    }

    /// Notes a message; returns its number.
    fn add(&mut self, index: u32, id: &str) -> u64 {
        let number = self.next;
        self.next += 1;
        self.by_connection.entry(index).or_default().push_back((number, id.into()));
        number
    }

    /// Takes a message off the list; returns its id, and nothing where it has been answered before.
    fn settle(&mut self, index: u32, number: u64) -> Option<Arc<str>> {
        let messages = self.by_connection.get_mut(&index)?;
        let at = messages.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        // Answers come from the front, or, refused at once, from the back: either way there is little to move.
        let (_, id) = messages.remove(at)?;
        if messages.is_empty() {
            self.by_connection.remove(&index);
        }
        Some(id)
    }

    /// Takes everything of a connection off the list.
    fn take(&mut self, index: u32) -> impl Iterator<Item = Arc<str>> + use<> {
        self.by_connection.remove(&index).into_iter().flatten().map(|(_, id)| id)
    }
}

/// What is told of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Connected,
    Disconnected,
}

/// What has become of a message.
#[derive(Debug)]
pub(crate) struct Answer {
    connection: Token,
    /// Among the outstanding ones.
    number: u64,
    result: Result<(), Failure>,
}

impl Hub {
    /// A client's message, to every target of the application.
    pub(super) fn inbound_message(&mut self, index: u32, app: &AppRuntime, message: Message<'_>) {
        if !app.charge_message() {
            let why = "the application's inbound messages of this month are used up";
            return self.refuse(index, ErrorCode::QuotaExceeded, why, message.id, None);
        }
        let Some(connection) = self.connections.get(index) else { return };
        let mut text = HexId::default();
        let id = message.id.unwrap_or_else(|| text.fill(self.random.bytes()));
        let config = &app.app.config;
        if config.enable_web_socket_inbound_topic {
            let mut connection_id = HexId::default();
            let sender = connection.sender(&mut connection_id);
            self.scratch.clear();
            let message_type = message.message_type.unwrap_or(topic::BROADCAST);
            let permissions = connection.identity.permissions.list();
            encode::inbound_message(
                &mut self.scratch,
                message_type,
                sender,
                permissions,
                message.payload,
                id,
            );
            let frame = message.frame(&self.scratch);
            self.publish_inbound(app.slot, &frame);
        }
        if config.has_other_inbound_targets() {
            self.forward(index, app, message, id);
        } else {
            self.ack(index, app, id);
        }
    }

    /// Hands a message to the targets besides `secure/inbound`; their answer comes through the inbox.
    fn forward(&mut self, index: u32, app: &AppRuntime, message: Message<'_>, id: &str) {
        let (Some(connection), Some(token)) = (self.connections.get(index), self.connections.token(index))
        else {
            return;
        };
        let Some(forwarders) = self.shared.forwarders.clone() else {
            let why = "this server has no targets besides secure/inbound";
            return self.refuse(index, ErrorCode::ForwardFailed, why, Some(id), None);
        };
        let mut connection_id = HexId::default();
        let sender = connection.sender(&mut connection_id);
        let permissions = connection.identity.permissions.list();
        let body = encode::forwarded_message(message.message_type, sender, permissions, message.payload, id);
        let forwarded = Forwarded::inbound(connection.id, id, body);
        let number = self.outstanding.add(index, id);
        self.count_bytes(message.payload.len());
        let Some(inbox) = self.shared.inboxes.get(usize::from(self.number)).cloned() else { return };
        forwarders.forward_then(&app.app.config, forwarded, move |result| {
            inbox.push(Command::Forwarded(Answer { connection: token, number, result }));
        });
    }

    /// The targets have answered: the client hears of it, if it is still there.
    pub(super) fn forwarded(&mut self, answer: Answer) {
        let Answer { connection, number, result } = answer;
        let index = connection.index;
        if !self.connections.is_live(connection) {
            return;
        }
        let Some(id) = self.outstanding.settle(index, number) else { return };
        let Some(app) = self.connections.get(index).filter(|c| c.is_open()).map(|c| c.slot) else { return };
        let Some(app) = self.table.by_slot(app).cloned() else { return };
        match result {
            Ok(()) => self.ack(index, &app, &id),
            // In the class's own words: what AWS says besides is for the application's owner.
            Err(failure) => {
                let why = failure.class().words();
                self.refuse(index, ErrorCode::ForwardFailed, why, Some(&id), None);
            }
        }
    }

    /// The session is over. A node that drains says of each outstanding message that it is given up here, though a
    /// target may still get it; other sessions end without a word.
    pub(super) fn abandon_outstanding(&mut self, index: u32, drained: bool) {
        for id in self.outstanding.take(index).filter(|_| drained) {
            let why = "the node is stopping, and not every target has accepted the message yet";
            self.refuse(index, ErrorCode::ForwardFailed, why, Some(&id), None);
        }
    }

    /// Emits a presence event to every target of the application.
    pub(super) fn presence(&mut self, index: u32, app: &AppRuntime, status: Presence) {
        if !app.policy.inbound_enabled {
            return;
        }
        if app.app.config.enable_web_socket_inbound_topic {
            self.publish_presence(index, app.slot, status);
        }
        self.forward_presence(index, app, status);
    }

    fn publish_presence(&mut self, index: u32, slot: u32, status: Presence) {
        let Some(connection) = self.connections.get(index) else { return };
        let mut connection_id = HexId::default();
        let sender = connection.sender(&mut connection_id);
        self.scratch.clear();
        let permissions = connection.identity.permissions.list();
        encode::presence(&mut self.scratch, sender, permissions, status == Presence::Connected);
        let frame = Frame::text(&self.scratch);
        self.publish_inbound(slot, &frame);
    }

    /// The event to the targets besides `secure/inbound`: best effort, nobody waits for an answer.
    pub(super) fn forward_presence(&mut self, index: u32, app: &AppRuntime, status: Presence) {
        let config = &app.app.config;
        let (Some(connection), Some(forwarders)) =
            (self.connections.get(index), self.shared.forwarders.as_ref())
        else {
            return;
        };
        if !config.has_other_inbound_targets() {
            return;
        }
        let mut connection_id = HexId::default();
        let sender = connection.sender(&mut connection_id);
        let connected = status == Presence::Connected;
        let body = encode::forwarded_presence(sender, connection.identity.permissions.list(), connected);
        drop(forwarders.forward(config, Forwarded::presence(connection.id, connected, body)));
    }

    fn publish_inbound(&mut self, slot: u32, frame: &Frame) {
        self.fan_out(slot, topic::INBOUND, frame);
        self.relay(slot, topic::INBOUND, frame);
    }
}
