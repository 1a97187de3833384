//! Client of the discovery stream, for nodes and gateways: one task owns the stream, its backoff and the
//! held revision, and publishes immutable snapshots; readers never see a reconnect, and the last good
//! configuration survives every outage.
//!
//! An update with a resource that does not validate is answered with a Nack and applied all the same, but for
//! that resource: its last good version stays in force. Every answer names all that is refused at that time, not
//! only what the update at hand brought.
//!
//! After an outage of the control plane, members that it does not name yet are kept for a while: their leases may have
//! run out only because nobody kept them alive.
//!
//! Never here: what the configuration means to a role; the channel with its endpoints, TLS and keep-alive, by
//! which a dead peer is noticed.

mod backoff;
mod client;
mod held;
mod outage;
mod replicas;
mod shared_map;
mod usage;

use std::collections::HashMap;
use std::sync::Arc;

use realtime_auth::{App, JwksCache};
use realtime_proto::generated::discovery::{Member, Role};
use realtime_proto::{AppId, NodePrefix, Settings};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

pub use replicas::Replicas;
pub use shared_map::SharedMap;
pub use usage::{Counted, UsageLink, UsageTable};

/// Commands that may wait for their reader.
const COMMANDS: usize = 4;

/// One consistent configuration. Shared; never changes.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Revision number in its store.
    pub revision: u64,
    /// Store id.
    pub store_id: String,
    /// Applications, keys compiled.
    pub apps: SharedMap<AppId, Arc<App>>,
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

/// What has become of the stream so far, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// There is a stream at the moment.
    pub connected: bool,
    /// Streams opened; every one but the first stands in for one that was lost.
    pub streams: u64,
    /// Snapshots applied: everything anew.
    pub snapshots: u64,
    /// Deltas applied.
    pub deltas: u64,
    /// Resources of which the newest version is refused, so that the last good one stays in force.
    pub refused: u64,
}

/// The reading side of a discovery client. Dropping it ends the task; its fields may be moved out, and the task
/// then ends with what is left of it.
#[derive(Debug)]
pub struct Discovery {
    /// The configuration in force; `None` until the first snapshot is complete.
    pub snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// The prefix given at registration (nodes).
    pub prefix: watch::Receiver<Option<NodePrefix>>,
    /// What this cluster's nodes hash topics with (nodes); given at the same time.
    pub interest_key: watch::Receiver<Option<[u8; 16]>>,
    /// Of this process, as the other members see it.
    pub incarnation: String,
    /// Commands, in order; of several that were not read in time, the last.
    pub commands: mpsc::Receiver<Command>,
    /// Set to report.
    pub report: watch::Sender<Report>,
    /// What is counted towards monthly quotas, here and elsewhere.
    pub usage: UsageLink,
    /// True once another process has registered under this id: the task has ended then, and the process should
    /// too.
    pub superseded: watch::Receiver<bool>,
    /// Set when this process is done as a member; the stream goes on. That it is none any more shows in `snapshots`.
    pub leave: watch::Sender<bool>,
    /// How the stream fares.
    pub figures: watch::Receiver<Figures>,
    /// Ends the task when dropped. Keep it as long as the fields that were moved out.
    pub guard: TaskGuard,
}

/// Ends the client's task when dropped.
#[derive(Debug)]
pub struct TaskGuard(AbortHandle);

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts the client task, under a new random incarnation; applications are compiled with `jwks`. Must be called on a
/// tokio runtime.
#[must_use]
pub fn start(replicas: impl Into<Replicas>, registration: Registration, jwks: JwksCache) -> Discovery {
    let (snapshots_in, snapshots) = watch::channel(None);
    let (prefix_in, prefix) = watch::channel(None);
    let (interest_key_in, interest_key) = watch::channel(None);
    let (superseded_in, superseded) = watch::channel(false);
    let (commands_in, commands) = mpsc::channel(COMMANDS);
    let (report, report_out) = watch::channel(Report::default());
    let (usage, usage_outlets) = usage::link();
    let (leave, leave_out) = watch::channel(false);
    let (figures_in, figures) = watch::channel(Figures::default());
    let outlets = client::Outlets {
        snapshots: snapshots_in,
        prefix: prefix_in,
        interest_key: interest_key_in,
        superseded: superseded_in,
        commands: commands_in,
        report: report_out,
        usage: usage_outlets,
        leave: leave_out,
        figures: figures_in,
    };
    let client = client::Client::new(replicas.into(), registration, jwks, outlets);
    let incarnation = client.incarnation().to_owned();
    let task = tokio::spawn(client.run());
    let guard = TaskGuard(task.abort_handle());
    Discovery {
        snapshots,
        prefix,
        interest_key,
        incarnation,
        commands,
        report,
        usage,
        superseded,
        leave,
        figures,
        guard,
    }
}
