//! Client of the discovery stream, for nodes and gateways: one task owns the stream, its backoff and the
//! held revision, and publishes immutable snapshots; readers never see a reconnect, and the last good
//! configuration survives every outage.

use std::collections::HashMap;
use std::sync::Arc;

use realtime_auth::App;
use realtime_proto::generated::discovery::{Member, Role};
use realtime_proto::{AppId, NodePrefix, Settings};
use tokio::sync::{mpsc, watch};

/// One consistent configuration. Shared; never changes.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Revision number in its store.
    pub revision: u64,
    /// Store id.
    pub store_id: String,
    /// Applications, keys compiled.
    pub apps: HashMap<AppId, Arc<App>>,
    /// The operator's settings.
    pub settings: Arc<Settings>,
    /// Live members by node id.
    pub members: HashMap<String, Member>,
}

/// Who connects.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Node or gateway.
    pub role: Role,
    /// Node id; unique in the cluster.
    pub id: String,
    /// Public address, host:port.
    pub listen: String,
    /// Peer address, host:port; empty for none.
    pub peer: String,
}

/// What the control plane asks of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Drain without stopping.
    Drain,
    /// Take sessions again.
    Undrain,
}

/// What a node reports about itself; sent when it changes, at most once a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether it is draining.
    pub draining: bool,
    /// Open sessions.
    pub connections: u64,
}

/// The reading side of a discovery client. Dropping it ends the task.
#[derive(Debug)]
pub struct Discovery {
    /// The configuration in force; `None` until the first snapshot is complete.
    pub snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// The prefix given at registration (nodes).
    pub prefix: watch::Receiver<Option<NodePrefix>>,
    /// Commands, in order.
    pub commands: mpsc::Receiver<Command>,
    /// Set to report.
    pub report: watch::Sender<Report>,
}

/// Starts the client task on `channel`.
#[must_use]
pub fn start(_channel: tonic::transport::Channel, _registration: Registration) -> Discovery {
    todo!()
}
