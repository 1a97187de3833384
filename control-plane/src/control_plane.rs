//! Opens a control plane, hands out its services, and ends it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use realtime_auth::Gate;
use realtime_proto::Settings;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::admin::{AppsService, NodesService, SettingsService};
use crate::discovery::DiscoveryService;
use crate::keys;
use crate::membership::Membership;
use crate::model::Model;
use crate::registry::Registry;
use crate::shared::Shared;
use crate::store::{Condition, EmbeddedStore, Op, OpenError, Store, StoreError};
use crate::usage::Usage;

/// A node that is gone leaves within 10 s: 2 s until the transport's keep-alive has noticed a dead peer and the
/// stream has ended, and this until its lease has run out.
pub const MEMBER_TTL: Duration = Duration::from_secs(8);

/// The name of the one replica that an embedded store can have.
const ONLY_REPLICA: &str = "embedded";

/// How to open a control plane on the embedded store.
#[derive(Debug, Clone)]
pub struct ControlPlaneConfig {
    /// Where the store's file is; made, for its owner only, if it does not exist.
    pub data_dir: PathBuf,
    /// How long a member outlives its stream.
    pub member_ttl: Duration,
}

impl ControlPlaneConfig {
    /// The defaults for a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), member_ttl: MEMBER_TTL }
    }
}

/// Why a control plane does not open.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    /// The store's file.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running control plane. Dropping it ends its tasks; [`Self::shutdown`] also waits for them.
#[derive(Debug)]
pub struct ControlPlane {
    shared: Shared,
    _stop: DropGuard,
}

impl ControlPlane {
    /// Opens the embedded store and starts following it.
    ///
    /// # Errors
    /// What is wrong with the data directory or the store.
    pub async fn open(config: ControlPlaneConfig, gate: Arc<Gate>) -> Result<Self, ControlPlaneError> {
        let store = Arc::new(EmbeddedStore::open(&config.data_dir).await?);
        Ok(Self::with_store(store, ONLY_REPLICA, config.member_ttl, gate).await?)
    }

    /// A replica on any store. `replica` names it among the replicas on that store, and stays its name over
    /// restarts; without slashes.
    ///
    /// # Errors
    /// The store's failure to be read.
    pub async fn with_store(
        store: Arc<dyn Store>,
        replica: &str,
        member_ttl: Duration,
        gate: Arc<Gate>,
    ) -> Result<Self, StoreError> {
        first_settings(&*store).await?;
        let (model, follower) = Model::open(Arc::clone(&store), gate.jwks().clone()).await?;
        let usage = Usage::open(Arc::clone(&store), replica).await?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(follower.run(stop.clone()));
        tasks.spawn(usage.clone().run(stop.clone()));
        let membership = Membership::new(Arc::clone(&store), member_ttl);
        let registry = Registry::default();
        let guard = stop.clone().drop_guard();
        let shared = Shared { store, model, membership, registry, usage, gate, stop, tasks };
        Ok(Self { shared, _stop: guard })
    }

    /// `realtime.admin.v1.Apps`.
    #[must_use]
    pub fn apps_service(&self) -> AppsService {
        AppsService::new(self.shared.clone())
    }

    /// `realtime.admin.v1.Settings`.
    #[must_use]
    pub fn settings_service(&self) -> SettingsService {
        SettingsService::new(self.shared.clone())
    }

    /// `realtime.admin.v1.Nodes`.
    #[must_use]
    pub fn nodes_service(&self) -> NodesService {
        NodesService::new(self.shared.clone())
    }

    /// `realtime.discovery.v1.Discovery`. Carries secrets: whoever mounts it on a transport sees to it that only
    /// the cluster's members reach it.
    #[must_use]
    pub fn discovery_service(&self) -> DiscoveryService {
        DiscoveryService::new(self.shared.clone())
    }

    /// Ends the discovery streams and the other tasks, writes the usage that they brought, then releases the store. Services that are still held
    /// answer `UNAVAILABLE` from then on.
    pub async fn shutdown(self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.usage.checkpoint().await;
        self.shared.store.close().await;
    }
}

/// Writes the default settings into a new store, so that they have a version from the beginning and a later
/// release's other defaults do not change a running system.
async fn first_settings(store: &dyn Store) -> Result<(), StoreError> {
    let document = Settings::default().to_json().to_string();
    let absent = Condition::Absent(keys::SETTINGS.to_owned());
    store.commit(vec![absent], vec![Op::put(keys::SETTINGS, document)]).await?;
    Ok(())
}
