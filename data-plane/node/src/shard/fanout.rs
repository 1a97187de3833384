//! Fan-out: a publish to its subscribers on this shard and to the other shards, and the end of a turn.

use std::sync::Arc;

use realtime_proto::{ConnectionId, topic};
use realtime_session::{Deflater, Frame};

use super::connection::{Connection, Ending, Phase};
use super::hub::Hub;
use super::output::{Flushed, FrameIndex, Turn};
use super::poller::Interest;
use crate::operation::Receipt;
use crate::peers::ToMesh;
use crate::shard::inbox::{Command, Delivery};

/// The wire variants of one frame, each made known to the turn when the first receiver needs it.
struct Variants<'a> {
    frame: &'a Frame,
    two: bool,
    plain: Option<FrameIndex>,
    deflated: Option<FrameIndex>,
}

impl<'a> Variants<'a> {
    fn new(frame: &'a Frame) -> Self {
        Self { frame, two: frame.has_deflated_variant(), plain: None, deflated: None }
    }

    #[inline]
    fn index(&mut self, deflate: bool, turn: &mut Turn, deflater: &mut Deflater) -> FrameIndex {
        if self.two && deflate {
            *self.deflated.get_or_insert_with(|| turn.add(self.frame.deflated(deflater).clone()))
        } else {
            *self.plain.get_or_insert_with(|| turn.add(self.frame.plain().clone()))
        }
    }
}

impl Hub {
    /// Delivers what came through the inbox.
    pub(super) fn deliver(&mut self, delivery: &Delivery) -> Receipt {
        self.count_bytes(delivery.frame.plain().len());
        if self.table.by_slot(delivery.slot).is_none() {
            return Receipt::default();
        }
        self.fan_out(delivery.slot, &delivery.topic, &delivery.frame)
    }

    /// Queues a frame for every subscriber on this shard.
    pub(super) fn fan_out(&mut self, slot: u32, name: &str, frame: &Frame) -> Receipt {
        let before = self.deflater.messages();
        let mut variants = Variants::new(frame);
        let receipt = match name.strip_prefix(topic::PRIVATE_PREFIX) {
            Some(whose) => self.fan_out_private(slot, whose, &mut variants),
            None => self.fan_out_topic(slot, name, &mut variants),
        };
        self.cells.deliveries += receipt.queued;
        // The plain variant was encoded where the publish started; the deflated one at its first receiver.
        self.cells.encodings += self.deflater.messages() - before;
        receipt
    }

    fn fan_out_topic(&mut self, slot: u32, name: &str, variants: &mut Variants<'_>) -> Receipt {
        let Some(number) = self.topics.find(slot, name) else { return Receipt::default() };
        let mut receipt = Receipt::default();
        let count = self.topics.topic(number).members.len();
        for at in 0..count {
            let index = self.topics.topic(number).members[at].connection;
            self.put(index, variants, &mut receipt);
        }
        receipt
    }

    /// `priv/X`: X is a connection of this node, or else a subject.
    fn fan_out_private(&mut self, slot: u32, whose: &str, variants: &mut Variants<'_>) -> Receipt {
        let mut receipt = Receipt::default();
        if let Some(id) = ConnectionId::parse(whose).filter(|id| self.shared.ids.owns(*id)) {
            if let Some(index) = self.find_connection(slot, id) {
                self.put(index, variants, &mut receipt);
            }
            return receipt;
        }
        let mut next = self.subjects.newest(slot, whose, &self.connections);
        while let Some(index) = next {
            self.put(index, variants, &mut receipt);
            next = self.subjects.older(index, &self.connections);
        }
        receipt
    }

    /// The open connection of that id on this shard, in that application.
    pub(super) fn find_connection(&self, slot: u32, id: ConnectionId) -> Option<u32> {
        let (shard, index) = self.shared.ids.place(id)?;
        let connection = self.connections.get(index).filter(|_| shard == self.number)?;
        (connection.id == id && connection.slot == slot).then_some(index)
    }

    #[inline]
    fn put(&mut self, index: u32, variants: &mut Variants<'_>, receipt: &mut Receipt) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if !connection.is_open() {
            return;
        }
        receipt.matched += 1;
        let frame = variants.index(connection.session.deflate(), &mut self.turn, &mut self.deflater);
        let write_early = self.turn.enqueue(index, &mut connection.output, frame);
        if write_early && !self.write_now(index) {
            receipt.dropped += 1;
        } else {
            receipt.queued += 1;
        }
    }

    /// Puts a publish that started here into the outboxes of the other shards.
    pub(super) fn relay(&mut self, slot: u32, name: &str, frame: &Frame) {
        self.count_bytes(frame.plain().len());
        self.cells.encodings += 1;
        let has_peers = self.shared.mesh.as_ref().is_some_and(|mesh| mesh.has_peers());
        if self.outboxes.len() < 2 && !has_peers {
            return;
        }
        let whose = name.strip_prefix(topic::PRIVATE_PREFIX).and_then(ConnectionId::parse);
        let target = whose.and_then(|id| self.shared.ids.place(id)).map(|(shard, _)| shard);
        let topic: Arc<str> = name.into();
        for (shard, outbox) in (0u8..).zip(&mut self.outboxes) {
            if shard != self.number && target.is_none_or(|t| t == shard) {
                outbox.push(Delivery { slot, topic: topic.clone(), frame: frame.clone() });
            }
        }
        // A connection of this node has no other.
        if has_peers && target.is_none() {
            self.interest.outbox.push(ToMesh::Publish(Delivery { slot, topic, frame: frame.clone() }));
        }
    }

    /// Whether another shard, or the mesh, has not taken the last batch.
    pub(super) fn is_stalled(&self) -> bool {
        !self.interest.outbox.is_empty() || self.outboxes.iter().any(|outbox| !outbox.is_empty())
    }

    /// One batch and one wake for each other shard, and for the mesh. A batch that finds no room stays, and this shard
    /// stalls.
    fn send_outboxes(&mut self) {
        if !self.interest.outbox.is_empty()
            && let Some(mesh) = self.shared.mesh.as_ref().filter(|mesh| mesh.has_room())
        {
            mesh.push(&mut self.interest.outbox);
        }
        for (outbox, inbox) in self.outboxes.iter_mut().zip(&self.shared.inboxes) {
            if !outbox.is_empty() && inbox.reserve(outbox.len()) {
                inbox.push(Command::Batch(std::mem::take(outbox)));
            }
        }
    }

    /// Ends what ended, hands over batches, then writes each dirty connection once.
    pub(super) fn finish_turn(&mut self) {
        loop {
            self.answer_waiting();
            self.reap();
            self.send_outboxes();
            let dirty = self.turn.take_dirty();
            for &index in &dirty {
                self.write_now(index);
            }
            self.turn.end(dirty);
            if self.ended.is_empty() && self.alive.is_empty() && self.turn.is_clean() {
                break;
            }
        }
        self.finish_drain();
    }

    /// Writes a connection's queue; `false` when that was its end.
    pub(super) fn write_now(&mut self, index: u32) -> bool {
        let Some(connection) = self.connections.get_mut(index) else { return false };
        let flushed = self.turn.write(&mut connection.output, &mut connection.stream, &mut self.cells);
        self.settle(index, flushed)
    }

    /// Goes on writing to a connection whose socket takes bytes again.
    pub(super) fn on_writable(&mut self, index: u32) {
        let Some(Connection { output, stream, .. }) = self.connections.get_mut(index) else { return };
        let flushed = output.write_backlog(stream, &mut self.turn.scratch, &mut self.cells);
        self.settle(index, flushed);
    }

    /// Draws the consequences of a write: watches a blocked socket, judges the cap, ends the broken, and hangs up
    /// on a closing connection whose last frame is out. `false` when the connection ends.
    ///
    /// What came while the socket was blocked was never offered to it, and its reader may have caught up within this
    /// turn: a backlog over the cap is offered once more, and what is refused then counts.
    fn settle(&mut self, index: u32, mut flushed: Flushed) -> bool {
        let cap = self.table.settings.limits.max_unsent_bytes as usize;
        let Some(token) = self.connections.token(index) else { return false };
        let Some(connection) = self.connections.get_mut(index) else { return false };
        let is_open = !matches!(connection.phase, Phase::Closing { .. });
        let Connection { output, stream, .. } = connection;
        if is_open && cap != 0 && output.unsent(stream) > cap {
            flushed = output.write_backlog(stream, &mut self.turn.scratch, &mut self.cells);
        }
        if !is_open && flushed == Flushed::All {
            let before = stream.unsent();
            flushed = stream.finish();
            self.cells.unsent(before, stream.unsent());
        }
        if flushed == Flushed::Broken {
            self.end(index, Ending::Gone);
            return false;
        }
        let blocked = flushed == Flushed::Blocked;
        if blocked != connection.watched_writable {
            let interest = if blocked { Interest::ReadWrite } else { Interest::Read };
            if self.poller.watch(connection.stream.socket(), token, interest).is_err() {
                self.end(index, Ending::Gone);
                return false;
            }
            connection.watched_writable = blocked;
        }
        if !is_open {
            if !blocked {
                self.hang_up(index);
            }
            return false;
        }
        if blocked && cap != 0 && connection.output.unsent(&connection.stream) > cap {
            self.end(index, Ending::Close(realtime_proto::CloseCode::SlowConsumer));
            return false;
        }
        true
    }
}
