//! What the server tells one connection: welcomes, acks, refusals, pings.

use std::fmt::Write as _;

use bytes::Bytes;
use realtime_proto::ErrorCode;
use realtime_proto::app::AckFormat;
use realtime_session::{encode, frame};

use super::hub::Hub;
use super::stack_text::{HexId, StackText};
use crate::runtime::AppRuntime;

impl Hub {
    pub(super) fn welcome(&mut self, index: u32, app: &AppRuntime, topic: &str) {
        let Some(connection) = self.connections.get(index) else { return };
        let mut id = HexId::default();
        let mut address = StackText::<64>::default();
        // An IP address is shorter than the text's room.
        let _ = write!(address, "{}", connection.remote_address);
        let app_id = app.app.config.app_id.as_str();
        self.scratch.clear();
        encode::welcome(&mut self.scratch, topic, id.fill(connection.id.0), app_id, address.as_str());
        self.send_text(index);
    }

    pub(super) fn ack(&mut self, index: u32, app: &AppRuntime, id: &str) {
        let config = &app.app.config;
        if !config.client_inbound_ack_enabled {
            return;
        }
        let envelope = self.connections.get(index).is_some_and(|c| c.ack_envelope);
        let format = if envelope { AckFormat::Envelope } else { config.client_inbound_ack_format };
        self.scratch.clear();
        encode::ack(&mut self.scratch, id, format);
        self.send_text(index);
    }

    pub(super) fn refuse(
        &mut self,
        index: u32,
        code: ErrorCode,
        why: &str,
        id: Option<&str>,
        topic: Option<&str>,
    ) {
        self.cells.refusals += 1;
        self.scratch.clear();
        encode::error(&mut self.scratch, code, why, id, topic);
        self.send_text(index);
    }

    /// Queues the text in `scratch` for one connection.
    fn send_text(&mut self, index: u32) {
        let mut bytes = Vec::with_capacity(self.scratch.len() + 4);
        frame::write_text(&mut bytes, &self.scratch);
        self.send(index, bytes);
    }

    pub(super) fn ping(&mut self, index: u32) {
        let mut ping = Vec::with_capacity(2);
        frame::write_ping(&mut ping);
        self.send(index, ping);
    }

    /// Queues a frame for one connection.
    pub(super) fn send(&mut self, index: u32, frame: Vec<u8>) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        self.share_bytes += frame.len();
        let frame = self.turn.add(Bytes::from(frame));
        if self.turn.enqueue(index, &mut connection.output, frame) {
            self.write_now(index);
        }
    }
}
