//! The data-plane node of the process, between discovery and the shards: puts every configuration in force,
//! obeys drain commands, reports load and usage.

use std::sync::Arc;
use std::time::Duration;

use realtime_data_plane::{Shards, ShardsConfig, UsageReporter};
use realtime_discovery::{Command, Discovery, Report, Snapshot};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::tasks::Tasks;
use crate::failure::Failure;

/// Registration and the first snapshot come from the same process; this long means that something is broken.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The discovery stream sends reports at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// The running node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) shards: Arc<Shards>,
    /// What the shards have in force.
    pub(super) in_force: watch::Receiver<Option<Arc<Snapshot>>>,
    /// Whether new sessions are refused.
    pub(super) draining: watch::Receiver<bool>,
    drain: Arc<watch::Sender<bool>>,
    /// Set when the process stops: commands mean nothing any more then.
    stopping: CancellationToken,
    /// True once another process has taken this node's name.
    pub(super) superseded: watch::Receiver<bool>,
}

impl Node {
    /// Waits for the prefix, starts the shards and puts the first configuration in force.
    pub(super) async fn start(
        mut discovery: Discovery,
        shards: usize,
        drain_over: Duration,
        tasks: &mut Tasks,
        backbone: &mut Tasks,
    ) -> Result<Self, Failure> {
        let late = |_| Failure::new("the control plane did not answer in time");
        let ended = |_| Failure::new("the discovery stream ended");
        let prefix = timeout(START_TIMEOUT, discovery.prefix.wait_for(Option::is_some)).await;
        let prefix = *prefix.map_err(late)?.map_err(ended)?;
        let prefix = prefix.ok_or_else(|| Failure::new("the control plane gave no connection-id prefix"))?;
        let shards = Shards::start(ShardsConfig { threads: shards, mesh: None }, prefix)
            .map_err(|e| Failure::new(format!("cannot start the shards: {e}")))?;
        timeout(START_TIMEOUT, discovery.snapshots.wait_for(Option::is_some))
            .await
            .map_err(late)?
            .map_err(ended)?;
        let Discovery { mut snapshots, commands, report, usage, superseded, guard, .. } = discovery;
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
        Ok(Self { shards, in_force, draining, drain, stopping, superseded })
    }

    /// Refuses new sessions and closes the others over the time; resolves when none is left.
    pub(super) async fn drain(&self, over: Duration) {
        self.stopping.cancel();
        self.drain.send_replace(true);
        self.shards.drain(over).await;
    }
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
