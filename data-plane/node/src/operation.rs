//! What others ask of the shards, and what they get.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use realtime_auth::Identity;
use realtime_proto::{AppId, ConnectionId};

use crate::runtime::AppRuntime;
use crate::shard::stream::Stream;

/// A connection that the front door has authenticated and upgraded (the 101 is written).
#[derive(Debug)]
pub struct Arrival {
    /// Its bytes.
    pub stream: Stream,
    /// Bytes read past the upgrade request.
    pub read_ahead: Bytes,
    /// The application.
    pub app: Arc<AppRuntime>,
    /// The verified token.
    pub identity: Arc<Identity>,
    /// The client's address, without port.
    pub remote_address: IpAddr,
    /// permessage-deflate was negotiated.
    pub deflate: bool,
    /// `ack_format=envelope` in the URL.
    pub ack_envelope: bool,
}

/// A publish from a service; already authorized.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The application.
    pub app: AppId,
    /// A valid topic that clients may publish on.
    pub topic: String,
    /// JSON text as posted.
    pub message: Bytes,
    /// Binary frames, compressed where negotiated.
    pub compress: bool,
    /// Empty: `broadcast`.
    pub message_type: String,
}

/// Where a publish went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Subscribers of the topic.
    pub matched: u64,
    /// Subscribers whose queue took the frame.
    pub queued: u64,
    /// Subscribers that were closed as slow consumers instead.
    pub dropped: u64,
}

/// Which connections to close.
#[derive(Debug, Clone)]
pub enum Target {
    /// One.
    Connection(ConnectionId),
    /// All of a subject.
    Subject(String),
    /// All of the application.
    All,
}

/// A row of the connection list.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// The connection.
    pub id: ConnectionId,
    /// Its token's subject, or its id.
    pub subject: Arc<str>,
    /// The client's address.
    pub remote_address: IpAddr,
    /// Milliseconds since the Unix epoch.
    pub connected_at_ms: u64,
    /// Subscriptions but for `main` and `priv/` topics.
    pub subscriptions: u32,
}
