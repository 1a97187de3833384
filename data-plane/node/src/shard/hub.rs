//! The state of a shard and the step `event → apply`; what it puts into queues is written by `finish_turn`.

use std::sync::Arc;

use realtime_proto::{ErrorCode, topic};
use realtime_session::{Codec, Deflater, Event, Frame, Input, encode, frame};

use super::connection::{Connection, Ending, Phase};
use super::counters::Cells;
use super::drain::Drain;
use super::inbound::Outstanding;
use super::interest::Interest;
use super::output::Turn;
use super::poller::{Poller, Readiness, Transfer};
use super::random::Random;
use super::slab::{Slab, Token};
use super::stack_text::HexId;
use super::subjects::Subjects;
use super::topics::Topics;
use super::wheel::Wheel;
use crate::app_table::AppTable;
use crate::runtime::AppRuntime;
use crate::shard::inbox::Delivery;
use crate::shards::NodeShared;

/// Frames and bytes of frames that clients, and again the inbox, may put into a turn: bounds the memory of a turn
/// and the time until it is written, and keeps either from starving the other.
const SHARE_FRAMES: usize = 4096;
const SHARE_BYTES: usize = 1 << 20;

/// Everything that a shard owns.
pub(super) struct Hub {
    pub(super) number: u8,
    pub(super) shared: Arc<NodeShared>,
    pub(super) table: Arc<AppTable>,
    pub(super) poller: Poller,
    pub(super) connections: Slab<Connection>,
    pub(super) topics: Topics,
    pub(super) subjects: Subjects,
    pub(super) turn: Turn,
    pub(super) cells: Cells,
    pub(super) wheel: Wheel,
    pub(super) deflater: Deflater,
    /// Connections whose end has been decided in this turn.
    pub(super) ended: Vec<u32>,
    /// Connections in phase `Waiting`.
    pub(super) waiting: Vec<Token>,
    /// Probed connections that have given a sign of life in this turn.
    pub(super) alive: Vec<u32>,
    pub(super) drain: Option<Drain>,
    pub(super) interest: Interest,
    pub(super) outstanding: Outstanding,
    /// Publishes for the other shards, by shard.
    pub(super) outboxes: Vec<Vec<Delivery>>,
    pub(super) now_ms: u64,
    pub(super) random: Random,
    /// Where texts are put together.
    pub(super) scratch: Vec<u8>,
    pub(super) share_bytes: usize,
    share_start: usize,
}

impl Hub {
    pub(super) fn new(number: u8, poller: Poller, shared: Arc<NodeShared>) -> Self {
        let outboxes = shared.inboxes.iter().map(|_| Vec::new()).collect();
        Self {
            number,
            shared,
            table: Arc::default(),
            poller,
            connections: Slab::new(),
            topics: Topics::new(),
            subjects: Subjects::new(),
            turn: Turn::new(),
            cells: Cells::default(),
            wheel: Wheel::new(),
            deflater: Deflater::new(),
            ended: Vec::new(),
            waiting: Vec::new(),
            alive: Vec::new(),
            drain: None,
            interest: Interest::default(),
            outstanding: Outstanding::default(),
            outboxes,
            now_ms: 0,
            random: Random::new(),
            scratch: Vec::new(),
            share_bytes: 0,
            share_start: 0,
        }
    }

    pub(super) fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Begins the clients' or the inbox's share of the turn.
    pub(super) fn start_share(&mut self) {
        self.share_bytes = 0;
        self.share_start = self.turn.frames();
    }

    pub(super) fn share_is_used(&self) -> bool {
        self.share_bytes > SHARE_BYTES || self.turn.frames() - self.share_start > SHARE_FRAMES
    }

    /// Reads from or writes to a connection that the poller reported.
    pub(super) fn on_ready(&mut self, ready: Readiness, buffer: &mut [u8], codec: &mut Codec) {
        if !self.connections.is_live(ready.token) {
            return;
        }
        let index = ready.token.index;
        if ready.writable {
            self.on_writable(index);
        }
        if ready.readable {
            self.on_readable(index, buffer, codec);
        }
    }

    fn on_readable(&mut self, index: u32, buffer: &mut [u8], codec: &mut Codec) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if matches!(connection.phase, Phase::Waiting(_)) {
            // Nothing is read from it: the poller reports only that it is broken.
            return self.end(index, Ending::Gone);
        }
        let stream = &mut connection.stream;
        let (unsent, unopened) = (stream.unsent(), stream.unopened());
        let transfer = stream.read(buffer, &mut self.turn.scratch);
        self.cells.unsent(unsent, stream.unsent());
        self.cells.unfinished(unopened, stream.unopened());
        let client_is_done = stream.client_is_done();
        match transfer {
            Transfer::Blocked => {}
            Transfer::Done(0) | Transfer::Broken => self.end(index, Ending::Gone),
            Transfer::Done(n) => {
                self.cells.bytes_received += n as u64;
                self.receive(index, &mut buffer[..n], codec);
                // It is gone, unless the last that it said is still to be answered.
                if client_is_done && self.connections.get(index).is_some_and(|c| c.ending.is_none()) {
                    self.end(index, Ending::Gone);
                }
            }
        }
    }

    /// Hands bytes of a client to its session and applies what comes out.
    pub(super) fn receive(&mut self, index: u32, bytes: &mut [u8], codec: &mut Codec) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if !matches!(connection.phase, Phase::Open) {
            return;
        }
        connection.last_seen_ms = self.now_ms;
        if std::mem::take(&mut connection.probed) {
            self.alive.push(index);
        }
        // Once a read, not once a frame: the count behind the handle is shared by all shards.
        let Some(app) = self.table.by_slot(connection.slot).cloned() else { return };
        let held = connection.session.held_bytes();
        self.take_events(index, &app, bytes, codec);
        let holds = self.connections.get(index).map_or(0, |c| c.session.held_bytes());
        self.cells.unfinished(held, holds);
    }

    fn take_events(&mut self, index: u32, app: &Arc<AppRuntime>, bytes: &mut [u8], codec: &mut Codec) {
        let mut input = Input::new(bytes);
        while let Some(connection) = self.connections.get_mut(index).filter(|c| c.ending.is_none()) {
            let permissions = &connection.identity.permissions;
            let event = connection.session.next(self.now_ms, &app.policy, permissions, &mut input, codec);
            let Some(event) = event else { return };
            self.cells.frames_received += 1;
            self.apply(index, app, event);
        }
    }

    fn apply(&mut self, index: u32, app: &Arc<AppRuntime>, event: Event<'_>) {
        match event {
            Event::Publish { topic, payload, id, message_type, compress } => {
                let message =
                    Message { payload, id: id.as_deref(), message_type: message_type.as_deref(), compress };
                self.publish(index, app, &topic, message);
            }
            Event::Message { payload, id, message_type, compress } => {
                let message =
                    Message { payload, id: id.as_deref(), message_type: message_type.as_deref(), compress };
                self.inbound_message(index, app, message);
            }
            Event::Subscribe { topic } => self.subscribe(index, app, &topic),
            Event::Unsubscribe { topic } => self.unsubscribe(index, app, &topic),
            Event::Refused { code, message, id, topic } => {
                self.refuse(index, code, message, id.as_deref(), topic.as_deref());
            }
            Event::Ping { payload } => {
                let mut pong = Vec::with_capacity(payload.len() + 2);
                frame::write_pong(&mut pong, payload);
                self.send(index, pong);
            }
            Event::Pong => {}
            Event::Close(code) => self.end(index, Ending::Close(code)),
            Event::PeerClosed { code } => self.end(index, Ending::PeerClosed(code)),
        }
    }

    fn publish(&mut self, index: u32, app: &AppRuntime, topic: &str, message: Message<'_>) {
        if !app.charge_bytes(message.payload.len() as u64) {
            let why = "the application's API usage of this month is used up";
            return self.refuse(index, ErrorCode::QuotaExceeded, why, message.id, Some(topic));
        }
        let Some(connection) = self.connections.get(index) else { return };
        let mut text = HexId::default();
        let id = message.id.unwrap_or_else(|| text.fill(self.random.bytes()));
        let mut connection_id = HexId::default();
        let sender = connection.sender(&mut connection_id);
        self.scratch.clear();
        let message_type = message.message_type.unwrap_or(topic::BROADCAST);
        encode::client_publish(&mut self.scratch, topic, message_type, sender, message.payload, id);
        let frame = message.frame(&self.scratch);
        self.cells.publishes += 1;
        self.fan_out(app.slot, topic, &frame);
        self.relay(app.slot, topic, &frame);
        self.ack(index, app, id);
    }

    fn subscribe(&mut self, index: u32, app: &Arc<AppRuntime>, name: &str) {
        let Some(connection) = self.connections.get(index) else { return };
        let found = self.topics.find(app.slot, name);
        let there = found.is_some_and(|t| self.topics.is_subscribed(index, &connection.subscriptions, t));
        if !there {
            let limit = app.tier.max_subscriptions_per_connection as usize;
            if name != topic::MAIN && limit != 0 && connection.counted_subscriptions() >= limit {
                let why = "the connection has reached its limit of subscriptions";
                return self.refuse(index, ErrorCode::SubscriptionLimit, why, None, Some(name));
            }
        }
        let subscribed = if there { found } else { self.add_subscription(index, app, name, found) };
        let Some(number) = subscribed else {
            let why = "the application has reached its limit of topics";
            return self.refuse(index, ErrorCode::TopicLimit, why, None, Some(name));
        };
        self.welcome_after(self.topics.topic(number).ticket, index, app, name);
    }

    /// Enters a subscription that is not there yet; the topic's number, `None` when the tier allows no further topic.
    pub(super) fn add_subscription(
        &mut self,
        index: u32,
        app: &AppRuntime,
        name: &str,
        found: Option<u32>,
    ) -> Option<u32> {
        let number = match found {
            Some(number) => number,
            None => {
                let name: Arc<str> = name.into();
                if *name != *topic::MAIN && !app.usage.add_topic(&name, app.tier.max_topics) {
                    return None;
                }
                let ticket = self.topic_came(app, &name);
                self.topics.create(app.slot, name, ticket)
            }
        };
        if let Some(connection) = self.connections.get_mut(index) {
            connection.on_main |= name == topic::MAIN;
            self.topics.subscribe(index, &mut connection.subscriptions, number);
        }
        Some(number)
    }

    fn unsubscribe(&mut self, index: u32, app: &AppRuntime, name: &str) {
        if let Some(number) = self.topics.find(app.slot, name) {
            self.remove_subscription(index, app, number, name);
        }
    }

    /// Takes one subscription out; `false`: there was none.
    pub(super) fn remove_subscription(
        &mut self,
        index: u32,
        app: &AppRuntime,
        number: u32,
        name: &str,
    ) -> bool {
        let Some(removed) = self.topics.unsubscribe(index, &mut self.connections, number) else {
            return false;
        };
        if removed.last {
            self.topic_went(app.slot, &removed.name);
        }
        if name == topic::MAIN {
            if let Some(connection) = self.connections.get_mut(index) {
                connection.on_main = false;
            }
        } else if removed.last {
            app.usage.remove_topic(&removed.name);
        }
        true
    }

    /// Notes what the shard holds, for whoever reads the metrics.
    pub(super) fn take_stock(&mut self) {
        self.cells.connections = self.connections.len() as u64;
        self.cells.topics = self.topics.len() as u64;
        self.cells.subscriptions = self.topics.subscriptions() as u64;
    }

    /// Counts a frame against the share of the turn.
    pub(super) fn count_bytes(&mut self, bytes: usize) {
        self.share_bytes += bytes;
    }
}

/// A client's publish or message, its topic apart.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) payload: &'a str,
    pub(super) id: Option<&'a str>,
    pub(super) message_type: Option<&'a str>,
    pub(super) compress: bool,
}

impl Message<'_> {
    pub(super) fn frame(&self, json: &[u8]) -> Frame {
        if self.compress { Frame::compressible(json) } else { Frame::text(json) }
    }
}
