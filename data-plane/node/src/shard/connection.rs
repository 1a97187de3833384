//! One connection as its shard keeps it. An idle one holds no buffer, no timer and no task.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use realtime_auth::Identity;
use realtime_proto::{CloseCode, ConnectionId};
use realtime_session::Session;
use realtime_session::encode::Sender;

use super::output::Output;
use super::slab::{Slab, Token};
use super::stack_text::HexId;
use super::stream::Stream;
use super::topics::{Lists, Subscription};
use crate::runtime::Reservation;

/// No further connection in a list.
pub(super) const END: u32 = u32::MAX;

pub(super) struct Connection {
    pub(super) output: Output,
    pub(super) ending: Option<Ending>,
    pub(super) session: Session,
    pub(super) stream: Stream,
    pub(super) phase: Phase,
    pub(super) slot: u32,
    pub(super) id: ConnectionId,
    pub(super) identity: Arc<Identity>,
    /// The token's subject, or the connection's id for a token without.
    pub(super) subject: Arc<str>,
    pub(super) subscriptions: Vec<Subscription>,
    /// Neighbours among the connections of the same subject: older and newer.
    pub(super) older: u32,
    pub(super) newer: u32,
    pub(super) remote_address: IpAddr,
    pub(super) ack_envelope: bool,
    /// Subscribed to `main`, which does not count towards limits.
    pub(super) on_main: bool,
    /// Somebody waits for a sign of life.
    pub(super) probed: bool,
    /// A peer announces its end if this node dies.
    pub(super) mirrored: bool,
    /// The poller reports when the socket takes bytes again.
    pub(super) watched_writable: bool,
    /// When the session opened, Unix milliseconds.
    pub(super) connected_at_ms: u64,
    /// When the last frame came, on the shard's clock.
    pub(super) last_seen_ms: u64,
    /// The tick of the only valid entry in the wheel.
    pub(super) check_at: u64,
    pub(super) reservation: Option<Reservation>,
}

/// How far a connection is.
pub(super) enum Phase {
    /// Upgraded; a further connection of its subject, whose oldest is being pinged. Nothing is read from it.
    Waiting(Box<Wait>),
    /// Has its welcome.
    Open,
    /// Out of every index; its last frames, a close frame at the end, are on their way. Input is thrown away.
    Closing {
        /// The client has closed first: nothing more will come from it.
        peer_done: bool,
    },
}

/// What a waiting connection waits for.
pub(super) struct Wait {
    pub(super) holder: Token,
    pub(super) read_ahead: Bytes,
}

/// Why a connection ends; acted on at the end of the turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Close frame, then wait for the client to hang up.
    Close(CloseCode),
    /// Echo of the client's close frame.
    PeerClosed(u16),
    /// The socket is broken or at its end.
    Gone,
}

impl Connection {
    /// Whether publishes reach it.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.ending.is_none() && matches!(self.phase, Phase::Open)
    }

    /// As frames name it; `id` holds the text of its id.
    pub(super) fn sender<'a>(&'a self, id: &'a mut HexId) -> Sender<'a> {
        Sender { connection_id: id.fill(self.id.0), subject: &self.subject }
    }

    /// Subscriptions that count towards limits.
    pub(super) fn counted_subscriptions(&self) -> usize {
        self.subscriptions.len() - usize::from(self.on_main)
    }
}

impl Lists for Slab<Connection> {
    fn list(&mut self, connection: u32) -> &mut Vec<Subscription> {
        // A connection leaves the topic index before it leaves the slab.
        &mut self.get_mut(connection).expect("a subscribed connection is in the slab").subscriptions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The budget is 512 B of user memory per idle connection; its identity, its subject and its
    /// list of subscriptions come on top.
    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Connection>() <= 256, "{} bytes", size_of::<Connection>());
    }
}
