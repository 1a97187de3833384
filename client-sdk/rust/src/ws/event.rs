//! What the client tells the application.

use std::time::Duration;

use realtime_proto::ConnectionId;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

/// Something happened on the connection.
#[derive(Debug, Clone)]
pub enum Event {
    /// A session is ready. Topics subscribed before are being subscribed again.
    Connected {
        /// The new connection's id.
        connection_id: ConnectionId,
    },
    /// A subscription is in force: every later publish on the topic reaches this connection.
    Welcome {
        /// The topic.
        topic: String,
    },
    /// A message on a subscribed topic, a private topic or `main`.
    Message(Message),
    /// The server has processed a publish or message.
    Ack {
        /// The id that it was sent with.
        id: String,
    },
    /// The server has refused a request; the session goes on.
    Refused(Refusal),
    /// The connection is gone, or could not be made.
    Disconnected {
        /// The close code; for a refused opening 4000 + the HTTP status; `None` when the connection broke.
        code: Option<u16>,
        /// The server's reason, or what went wrong.
        reason: String,
        /// When the next attempt begins; `None`: the client has given up, and this is the last event.
        retry_in: Option<Duration>,
    },
}

/// A message as received.
#[derive(Debug, Clone)]
pub struct Message {
    /// The topic it was published on.
    pub topic: String,
    /// `broadcast`, `presence`, or what the publisher named.
    pub message_type: String,
    /// The JSON text exactly as the server sent it.
    pub data: Box<RawValue>,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Refusal {
    /// A name of the error table, such as `permission_denied`.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// The id of the refused publish or message; absent for subscriptions.
    #[serde(default)]
    pub id: Option<String>,
    /// The topic of the request.
    #[serde(default)]
    pub topic: Option<String>,
}

/// Why something could not be sent, or was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It would have closed the session, and was not sent.
    #[error("{0}")]
    Invalid(&'static str),
    /// There was no connection in time; nothing was sent.
    #[error("not connected")]
    Disconnected,
    /// It was sent, but the connection ended or the time was over before the ack: it may have been processed.
    #[error("sent, but not confirmed")]
    Unconfirmed,
    /// The server has refused it.
    #[error("{}: {}", .0.code, .0.message)]
    Refused(Refusal),
    /// The client has given up or was closed.
    #[error("closed: {reason}")]
    Closed {
        /// As in [`Event::Disconnected`].
        code: Option<u16>,
        /// As in [`Event::Disconnected`].
        reason: String,
    },
}

/// The events, in order. The queue is bounded: while it is full the socket is not read, and a reader that
/// stays away is closed by the server as a slow consumer. Dropping it discards events; the client goes on.
#[derive(Debug)]
pub struct Events(pub(super) mpsc::Receiver<Event>);

impl Events {
    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

impl futures_util::Stream for Events {
    type Item = Event;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Event>> {
        self.0.poll_recv(context)
    }
}
