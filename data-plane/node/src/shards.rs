//! The handle on the shards. Everything here may be called from any thread; nothing blocks.

use std::net::{IpAddr, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use realtime_auth::{App, Identity};
use realtime_discovery::Snapshot;
use realtime_proto::{ApiError, AppId, ConnectionId, NodePrefix, PatternSet};

/// Sizes of the shards.
#[derive(Debug, Clone)]
pub struct ShardsConfig {
    /// Shard threads; 0: one per core.
    pub threads: usize,
}

/// An application in force on this node: what the front door needs before a session exists.
#[derive(Debug)]
pub struct AppRuntime {
    /// The configuration with its keys.
    pub app: Arc<App>,
}

/// A connection that the front door has authenticated and upgraded (the 101 is written).
#[derive(Debug)]
pub struct Arrival {
    /// The raw socket, non-blocking.
    pub socket: TcpStream,
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
#[allow(missing_docs)]
pub struct Receipt {
    pub matched: u64,
    pub queued: u64,
    pub dropped: u64,
}

/// Which connections to close.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Target {
    Connection(ConnectionId),
    Subject(String),
    All,
}

/// A row of the connection list.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ConnectionInfo {
    pub id: ConnectionId,
    pub subject: Arc<str>,
    pub remote_address: IpAddr,
    pub connected_at_ms: u64,
    pub subscriptions: u32,
}

/// The running shards. Clone by `Arc`.
#[derive(Debug)]
pub struct Shards {}

impl Shards {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the operating system gives no thread or descriptor.
    pub fn start(_config: ShardsConfig, _prefix: NodePrefix) -> std::io::Result<Arc<Self>> {
        todo!()
    }

    /// Puts a configuration in force: changed apps in place, sessions of removed or disabled ones closed (4004).
    pub fn configure(&self, _snapshot: &Snapshot) {
        todo!()
    }

    /// The application in force; lock-free.
    #[must_use]
    pub fn app(&self, _id: &str) -> Option<Arc<AppRuntime>> {
        todo!()
    }

    /// Reserves a place under the app's and the node's connection limits and hands the connection to a shard.
    ///
    /// # Errors
    /// `connection_limit`, or `unavailable` when the shard's inbox is full; the socket is closed then.
    pub fn adopt(&self, _arrival: Arrival) -> Result<(), ApiError> {
        todo!()
    }

    /// Whether `adopt` would find a place, for a refusal before the upgrade.
    ///
    /// # Errors
    /// `connection_limit`.
    pub fn check_limits(&self, _app: &AppRuntime) -> Result<(), ApiError> {
        todo!()
    }

    /// Hands a publish to every shard. Order per caller is kept.
    ///
    /// # Errors
    /// `unavailable` when a shard's inbox is full: then no shard got it.
    pub fn publish(&self, _publication: Publication) -> Result<(), ApiError> {
        todo!()
    }

    /// The same, answered by every shard.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub async fn publish_with_receipt(&self, _publication: Publication) -> Result<Receipt, ApiError> {
        todo!()
    }

    /// Unsubscribes a subject's connections from matching topics; returns the number of subscriptions removed.
    ///
    /// # Errors
    /// `unavailable` when the shards are gone.
    pub async fn unsubscribe(&self, _app: &AppId, _subject: &str, _patterns: PatternSet) -> Result<u64, ApiError> {
        todo!()
    }

    /// Closes connections with 4003; returns how many.
    ///
    /// # Errors
    /// `unavailable` when the shards are gone.
    pub async fn disconnect(&self, _app: &AppId, _target: Target) -> Result<u64, ApiError> {
        todo!()
    }

    /// Connections of an app in id order, after `cursor`, at most `limit`; `subject` filters.
    ///
    /// # Errors
    /// `unavailable` when the shards are gone.
    pub async fn connections(
        &self,
        _app: &AppId,
        _subject: Option<&str>,
        _after: Option<ConnectionId>,
        _limit: usize,
    ) -> Result<Vec<ConnectionInfo>, ApiError> {
        todo!()
    }

    /// Topics of an app (not `priv/`) with their subscriber counts, in name order, after `cursor`, at most `limit`.
    ///
    /// # Errors
    /// `unavailable` when the shards are gone.
    pub async fn topics(
        &self,
        _app: &AppId,
        _prefix: &str,
        _after: Option<&str>,
        _limit: usize,
    ) -> Result<Vec<(String, u64)>, ApiError> {
        todo!()
    }

    /// Open sessions on this node.
    #[must_use]
    pub fn open_sessions(&self) -> u64 {
        todo!()
    }

    /// Closes every session with 1001, spread evenly over `over`; resolves when none is left. Dropping the
    /// future does not stop it; [`Self::cancel_drain`] does.
    pub async fn drain(&self, _over: std::time::Duration) {
        todo!()
    }

    /// Stops a drain that is under way (`realtime undrain`).
    pub fn cancel_drain(&self) {
        todo!()
    }

    /// Counters summed over the shards, by metric name.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        todo!()
    }
}
