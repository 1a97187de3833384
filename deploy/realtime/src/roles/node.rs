//! The data-plane node of the process, between discovery and the shards: puts every configuration in force,
//! obeys drain commands, reports load and usage.

use std::sync::Arc;
use std::time::Duration;

use realtime_data_plane::{MeshPort, Shards, ShardsConfig, UsageReporter};
use realtime_discovery::{Command, Discovery, Figures, Report, Snapshot};
use realtime_forwarders::Forwarders;
use realtime_proto::NodePrefix;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::forwarding::ForwardingConfig;
use super::process::Process;
use crate::failure::Failure;

/// The discovery stream sends reports at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How long a stopping node waits until it is out of membership: a commit of the store, milliseconds. Without an answer
/// its lease runs out, as after a crash.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// How long a stopping node goes on sending, once its last session is closed, what is left for SNS and SQS: that the
/// sessions have ended, mostly. Two calls' time; a target that works needs a tenth of a second.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// What a node is told.
#[derive(Debug)]
pub(super) struct NodeConfig {
    /// As it is registered.
    pub(super) id: String,
    /// 0: one per core.
    pub(super) shards: usize,
    /// Over how long a drain closes the sessions.
    pub(super) drain: Duration,
    /// Where the mesh of a node with peers takes what is for them.
    pub(super) mesh: Option<MeshPort>,
    /// How clients' messages reach SNS and SQS.
    pub(super) forwarding: ForwardingConfig,
}

/// The running node.
#[derive(Debug)]
pub(super) struct Node {
    /// Of its connections.
    pub(super) prefix: NodePrefix,
    pub(super) shards: Arc<Shards>,
    pub(super) forwarders: Arc<Forwarders>,
    /// What the shards have in force.
    pub(super) in_force: watch::Receiver<Option<Arc<Snapshot>>>,
    /// Whether new sessions are refused.
    pub(super) draining: watch::Receiver<bool>,
    drain: Arc<watch::Sender<bool>>,
    /// Set when the process stops: commands mean nothing any more then.
    stopping: CancellationToken,
    superseded: watch::Receiver<bool>,
    /// How the stream to the control plane fares.
    pub(super) figures: watch::Receiver<Figures>,
    membership: Membership,
}

/// How the node ceases to be a member.
#[derive(Debug)]
struct Membership {
    id: String,
    leave: watch::Sender<bool>,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
}

impl Node {
    /// Waits for the prefix, however long, starts the shards and puts the first configuration in force.
    pub(super) async fn start(
        mut discovery: Discovery,
        config: NodeConfig,
        process: &mut Process,
    ) -> Result<Self, Failure> {
        let NodeConfig { id, shards, drain: drain_over, mesh, forwarding } = config;
        let (tasks, backbone) = (&mut process.tasks, &mut process.backbone);
        let ended = |_| Failure::new("the discovery stream ended");
        let prefix = tokio::select! {
            prefix = discovery.prefix.wait_for(Option::is_some) => *prefix.map_err(ended)?,
            _ = discovery.superseded.wait_for(|superseded| *superseded) => return Err(superseded()),
        };
        let prefix = prefix.ok_or_else(|| Failure::new("the control plane gave no connection-id prefix"))?;
        let forwarders = forwarding.start().await;
        let config = ShardsConfig { threads: shards, mesh, forwarders: Some(Arc::clone(&forwarders)) };
        let shards = Shards::start(config, prefix)
            .map_err(|e| Failure::new(format!("cannot start the shards: {e}")))?;
        discovery.snapshots.wait_for(Option::is_some).await.map_err(ended)?;
        let Discovery { mut snapshots, commands, report, usage, superseded, leave, figures, guard, .. } =
            discovery;
        let membership = Membership { id, leave, snapshots: snapshots.clone() };
        // Before the first client: what was used before the start counts.
        let usage = UsageReporter::new(shards.usage_ledger(), usage);
        let (force, in_force) = watch::channel(None);
        put_in_force(&shards, &mut snapshots, &force);
        let (drain, draining) = watch::channel(false);
        let drain = Arc::new(drain);
        tasks.spawn_until_stop("configuration", configure(Arc::clone(&shards), snapshots, force));
        let stopping = CancellationToken::new();
        let obeying = obey(Arc::clone(&shards), commands, Arc::clone(&drain), drain_over);
        let stopped = stopping.clone();
        tasks.spawn_until_stop("commands", async move {
            stopped.run_until_cancelled_owned(obeying).await;
            std::future::pending().await
        });
        let reporting = reports(Arc::clone(&shards), draining.clone(), report);
        tasks.spawn_until_stop("reports", reporting);
        let stop = backbone.stopping();
        backbone.spawn("usage", async move {
            // The discovery stream lives until the last usage is reported.
            let _guard = guard;
            report_usage(usage, stop).await;
        });
        Ok(Self {
            prefix,
            shards,
            forwarders,
            in_force,
            draining,
            drain,
            stopping,
            superseded,
            figures,
            membership,
        })
    }

    /// Resolves when another process has taken this node's name.
    pub(super) async fn replaced(&mut self) -> Failure {
        // A discovery that has ended otherwise is the process's own stop.
        match self.superseded.wait_for(|superseded| *superseded).await {
            Ok(_) => superseded(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Ceases to be a member, at once instead of when the lease has run out. Peers keep their links, so that nothing
    /// that was published here is lost.
    pub(super) async fn leave(&mut self) {
        if !self.figures.borrow().connected {
            return;
        }
        let Membership { id, leave, snapshots } = &mut self.membership;
        leave.send_replace(true);
        let left = |snapshot: &Option<Arc<Snapshot>>| {
            snapshot.as_ref().is_none_or(|snapshot| !snapshot.members.contains_key(id))
        };
        if !matches!(timeout(LEAVE_WITHIN, snapshots.wait_for(left)).await, Ok(Ok(_))) {
            tracing::warn!("the control plane has not let this node go; its membership runs out by itself");
        }
    }

    /// Refuses new sessions and closes the others over the time; resolves when none is left, and what was said of them
    /// to applications' targets has been sent or given up.
    pub(super) async fn drain(&self, over: Duration) {
        self.stopping.cancel();
        self.drain.send_replace(true);
        self.shards.drain(over).await;
        self.forwarders.drain(Instant::now() + FLUSH_WITHIN).await;
    }
}

fn superseded() -> Failure {
    Failure::new("another process has registered under this node's name (--node-id) and takes its place")
}

/// The front door reads `force` to know what the shards have: it comes second.
fn put_in_force(
    shards: &Shards,
    snapshots: &mut watch::Receiver<Option<Arc<Snapshot>>>,
    force: &watch::Sender<Option<Arc<Snapshot>>>,
) {
    let snapshot = snapshots.borrow_and_update().clone();
    if let Some(snapshot) = snapshot {
        shards.configure(&snapshot);
        tracing::debug!(revision = snapshot.revision, apps = snapshot.apps.len(), "configuration in force");
        force.send_replace(Some(snapshot));
    }
}

async fn configure(
    shards: Arc<Shards>,
    mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    force: watch::Sender<Option<Arc<Snapshot>>>,
) {
    while snapshots.changed().await.is_ok() {
        put_in_force(&shards, &mut snapshots, &force);
    }
}

/// `realtime drain` and `realtime undrain`.
async fn obey(
    shards: Arc<Shards>,
    mut commands: mpsc::Receiver<Command>,
    draining: Arc<watch::Sender<bool>>,
    over: Duration,
) {
    let mut waiting = false;
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            // Starts the drain; that it has ended is nothing to act upon.
            () = shards.drain(over), if waiting => {
                waiting = false;
                tracing::info!("drained: no session is left");
                continue;
            }
        };
        match command {
            Some(Command::Drain) => {
                tracing::info!("draining on command");
                draining.send_replace(true);
                waiting = true;
            }
            Some(Command::Undrain) => {
                tracing::info!("taking sessions again on command");
                waiting = false;
                shards.cancel_drain();
                draining.send_replace(false);
            }
            None => return,
        }
    }
}

async fn report_usage(mut usage: UsageReporter, stop: impl Future<Output = ()>) {
    tokio::select! {
        () = usage.run() => {}
        () = stop => {}
    }
    usage.settle().await;
}

async fn reports(shards: Arc<Shards>, draining: watch::Receiver<bool>, report: watch::Sender<Report>) {
    let mut changes = draining.clone();
    let mut ticks = interval(REPORT_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
        let now = Report { draining: *draining.borrow(), connections: shards.open_sessions() };
        report.send_if_modified(|last| std::mem::replace(last, now) != now);
    }
}
