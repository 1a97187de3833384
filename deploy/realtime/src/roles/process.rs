//! A role's process: its runtime, its tasks, what it says to whoever waits for it, and its end.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use realtime_control_plane::ControlPlane;
use tokio::time::timeout;

use super::ready::Addresses;
use super::signals::Signals;
use super::tasks::Tasks;
use super::{limits, ready};
use crate::config::Layers;
use crate::failure::Failure;
use crate::logs;

/// The embedded store's last transaction takes milliseconds, and an etcd that does not answer is given up after 5 s.
const STORE_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A role.
pub(super) trait Role: Sized {
    /// What it was told, validated.
    type Config;

    /// Binds and starts what the role needs; nothing is served yet.
    async fn build(config: Self::Config) -> Result<Self, Failure>;

    /// Serves until a signal, then drains and stops.
    async fn run(self, signals: Signals) -> Result<(), Failure>;
}

/// Runs a role to its end.
pub(super) fn run<R: Role>(config: R::Config, layers: &Layers) -> Result<(), Failure> {
    logs::for_server();
    for name in layers.unknown_variables() {
        tracing::warn!(name, "this environment variable means nothing here");
    }
    limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        // Nothing is served yet, so that there is nothing to drain.
        match signals.interrupting(R::build(config)).await {
            Some(role) => role?.run(signals).await,
            None => Ok(()),
        }
    });
    // Opening the store cannot be interrupted; what is left of it ends with the process, as with a kill.
    runtime.shutdown_background();
    ended
}

/// The long-running parts of a role.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) tasks: Tasks,
    /// What the others need until they have ended.
    pub(super) backbone: Tasks,
    ready_file: Option<PathBuf>,
}

impl Process {
    /// Nothing runs yet. What an earlier process has said of its addresses holds no longer.
    pub(super) fn new(ready_file: Option<PathBuf>) -> Self {
        if let Some(path) = &ready_file {
            ready::remove(path);
        }
        Self { tasks: Tasks::new(), backbone: Tasks::new(), ready_file }
    }

    /// Tells whoever waits that the ports are served.
    pub(super) fn announce(&self, addresses: &Addresses) -> Result<(), Failure> {
        if let Some(path) = &self.ready_file {
            ready::write(path, addresses)?;
        }
        tracing::info!("serving on {addresses}");
        Ok(())
    }

    /// Resolves when something ends that never should.
    pub(super) async fn broken(&mut self) -> Failure {
        tokio::select! {
            broken = self.tasks.any_ended() => Failure::new(broken),
            broken = self.backbone.any_ended() => Failure::new(broken),
        }
    }

    /// What was said of the addresses holds no longer, and the tasks end; the backbone is left.
    pub(super) async fn stop(self) -> Tasks {
        if let Some(path) = &self.ready_file {
            ready::remove(path);
        }
        self.tasks.stop().await;
        self.backbone
    }
}

/// Ends a control plane, and waits for its store.
pub(super) async fn close(control: ControlPlane) {
    if timeout(STORE_CLOSE_TIMEOUT, control.shutdown()).await.is_err() {
        tracing::warn!("the store did not close in time");
    }
}

/// Until a signal (success), or until something breaks.
pub(super) async fn until_stopped(
    signals: &mut Signals,
    broken: impl Future<Output = Failure>,
) -> Result<(), Failure> {
    tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping; a second signal exits at once");
            Ok(())
        }
        broken = broken => Err(broken),
    }
}
