//! The sessions of nodes that have died, whose ends this node announces.

use std::sync::Arc;

use realtime_forwarders::Message;
use realtime_mesh::Departed;
use realtime_proto::topic;
use realtime_session::Frame;
use realtime_session::encode::{self, Sender};

use super::driver::Driver;
use crate::runtime::AppRuntime;
use crate::shard::inbox::Delivery;

/// Sessions announced at each tick, ten times a second: a few milliseconds of the mesh's time and some hundred KiB for
/// each peer, so that nothing else waits. 20,000 take a second.
const BATCH: usize = 2000;

impl Driver {
    /// Announces a batch, unless the shards have no room.
    pub(super) fn announce_departed(&mut self) {
        if !self.state.undelivered.is_empty() {
            return;
        }
        for _ in 0..BATCH {
            let Some(departed) = self.mesh.next_departed() else { return };
            // This node's configuration decides, as it would for a session of its own.
            let app = self.shards.app(departed.session.app.as_str()).filter(|app| app.app.config.enabled);
            if let Some(app) = app.filter(|app| app.policy.inbound_enabled) {
                self.announce(&app, &departed);
                self.state.figures.departed += 1;
            }
        }
    }

    /// Tells every inbound target of the application what the session's own node would have told it.
    fn announce(&mut self, app: &Arc<AppRuntime>, Departed { id, session }: &Departed) {
        let (config, text) = (&app.app.config, id.to_string());
        let sender = Sender { connection_id: &text, subject: &session.subject };
        if config.has_other_inbound_targets()
            && let Some(forwarders) = self.shards.forwarders()
        {
            let body = encode::forwarded_presence(sender, &session.permissions, false);
            // Best effort: nobody waits for an answer.
            drop(forwarders.forward(config, Message::presence(*id, false, body)));
        }
        if config.enable_web_socket_inbound_topic {
            let mut json = Vec::new();
            encode::presence(&mut json, sender, &session.permissions, false);
            let (slot, topic) = (app.slot, topic::INBOUND.into());
            let delivery = Delivery { slot, topic, frame: Frame::text(&json) };
            self.publish(&delivery, 0, |_| {});
            self.state.undelivered.push_back((delivery, None));
        }
    }
}
