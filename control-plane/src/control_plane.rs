//! Opens a control plane, hands out its services, and ends it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use realtime_auth::Gate;
use realtime_proto::Settings;
use realtime_proto::ids::random;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::admin::{AppsService, NodesService, SettingsService};
use crate::discovery::DiscoveryService;
use crate::membership::Membership;
use crate::model::Model;
use crate::registry::Registry;
use crate::replicas::{self, Peering, Registration, ReplicaService};
use crate::secrets::{self, SecretKeys};
use crate::shared::Shared;
use crate::store::{
    Condition, EmbeddedStore, EtcdError, EtcdOptions, EtcdStore, Op, OpenError, Store, StoreError,
};
use crate::usage::Usage;
use crate::{compaction, keys};

/// A node that is gone leaves within 10 s: 2 s until the transport's keep-alive has noticed a dead peer and the
/// stream has ended, this until its lease has run out, and up to a second until etcd has noticed that.
pub const MEMBER_TTL: Duration = Duration::from_secs(7);
/// Between compactions of a store that grows. Nodes and replicas that were away for less go on where they were,
/// instead of reading everything: restarts and upgrades take minutes.
pub const COMPACT_EVERY: Duration = Duration::from_secs(10 * 60);

/// The name of the one replica that an embedded store can have.
const ONLY_REPLICA: &str = "embedded";
/// Between attempts at an etcd that does not answer.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Between two warnings about it.
const WARN_AGAIN: Duration = Duration::from_secs(60);

/// How to open a control plane on the embedded store.
#[derive(Debug, Clone)]
pub struct ControlPlaneConfig {
    /// Where the store's file is; made, for its owner only, if it does not exist.
    pub data_dir: PathBuf,
    /// How long a member outlives its stream.
    pub member_ttl: Duration,
    /// By which secrets are encrypted in the store.
    pub secrets: SecretKeys,
}

impl ControlPlaneConfig {
    /// The defaults for a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), member_ttl: MEMBER_TTL, secrets: SecretKeys::default() }
    }
}

/// How to run one replica of several on one store.
#[derive(Debug, Clone)]
pub struct ReplicaConfig {
    /// Names it among the replicas on that store: no two have one name, and it stays over restarts where that is
    /// possible. Without slashes.
    pub name: String,
    /// How the replicas reach each other.
    pub peering: Peering,
    /// How long a member outlives its stream.
    pub member_ttl: Duration,
    /// How often to compact the store; `None`: its operator sees to that.
    pub compact_every: Option<Duration>,
    /// By which secrets are encrypted in the store, the same for all replicas.
    pub secrets: SecretKeys,
}

impl ReplicaConfig {
    /// The defaults: the replica's name is its address.
    #[must_use]
    pub fn new(peering: Peering) -> Self {
        let name = peering.address.replace('/', "_");
        let secrets = SecretKeys::default();
        Self { name, peering, member_ttl: MEMBER_TTL, compact_every: Some(COMPACT_EVERY), secrets }
    }
}

/// Why a control plane does not open.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    /// The options for etcd, or etcd's refusal.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// The store's file.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Tells whether a control plane can serve.
#[derive(Debug, Clone)]
pub struct Health(Arc<dyn Store>);

impl Health {
    /// Why only another start of the process helps; `None`: nothing of the kind. A store that does not answer is not:
    /// what is held is served meanwhile.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        self.0
            .is_replaced()
            .then_some("another store has taken the place of this one's; restart the control plane")
    }
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
        let ControlPlaneConfig { data_dir, member_ttl, secrets } = config;
        let store = EmbeddedStore::open(&data_dir).await?;
        Ok(Self::on_embedded(store, member_ttl, secrets, gate).await?)
    }

    /// The same on a store that is open: for whoever looks into it first.
    ///
    /// # Errors
    /// The store's failure to be read.
    pub async fn on_embedded(
        store: EmbeddedStore,
        member_ttl: Duration,
        secrets: SecretKeys,
        gate: Arc<Gate>,
    ) -> Result<Self, StoreError> {
        let control = Self::start(Arc::new(store), ONLY_REPLICA, member_ttl, secrets, gate).await?;
        control.shared.tasks.spawn(encrypt_anew(control.shared.clone(), History::Forgotten));
        Ok(control)
    }

    /// A replica on etcd. Waits for an etcd that does not answer, and says so in the log.
    ///
    /// # Errors
    /// What waiting does not help: options that are wrong, and credentials that etcd refuses.
    pub async fn open_on_etcd(
        etcd: &EtcdOptions,
        replica: &ReplicaConfig,
        gate: &Arc<Gate>,
    ) -> Result<Self, ControlPlaneError> {
        let mut warned: Option<Instant> = None;
        loop {
            let error = match Self::try_etcd(etcd, replica, gate).await {
                Err(ControlPlaneError::Etcd(error)) if !error.may_pass() => return Err(error.into()),
                Err(error) => error,
                Ok(control) => return Ok(control),
            };
            if warned.is_none_or(|at| at.elapsed() >= WARN_AGAIN) {
                tracing::warn!(%error, "waiting for etcd");
                warned = Some(Instant::now());
            }
            sleep(STORE_RETRY).await;
        }
    }

    async fn try_etcd(
        etcd: &EtcdOptions,
        replica: &ReplicaConfig,
        gate: &Arc<Gate>,
    ) -> Result<Self, ControlPlaneError> {
        let store = Arc::new(EtcdStore::connect(etcd.clone()).await?);
        Ok(Self::with_store(store, replica.clone(), Arc::clone(gate)).await?)
    }

    /// One replica of several on a store that they share.
    ///
    /// # Errors
    /// The store's failure to be read, or to take the replica's registration.
    pub async fn with_store(
        store: Arc<dyn Store>,
        config: ReplicaConfig,
        gate: Arc<Gate>,
    ) -> Result<Self, StoreError> {
        let ReplicaConfig { name, peering, member_ttl, compact_every, secrets } = config;
        let control = Self::start(store, &name, member_ttl, secrets, gate).await?;
        let shared = &control.shared;
        let (store, stop) = (&shared.store, &shared.stop);
        let mut registration = Registration::new(Arc::clone(store), &name, &peering.address, member_ttl);
        // From here on the model's revision is one of our own changes: of a listing it may be one of somebody
        // else's in the same etcd, which no watch of ours reaches.
        let revision = registration.enter().await?;
        shared.model.reached(revision).await;
        shared.tasks.spawn(registration.keep(shared.model.clone(), stop.clone()));
        shared.tasks.spawn(replicas::follow_all(shared.clone(), name, peering));
        shared.tasks.spawn(encrypt_anew(shared.clone(), History::Kept));
        if let Some(period) = compact_every {
            shared.tasks.spawn(compaction::run(Arc::clone(store), period, stop.clone()));
        }
        Ok(control)
    }

    async fn start(
        store: Arc<dyn Store>,
        replica: &str,
        member_ttl: Duration,
        secrets: SecretKeys,
        gate: Arc<Gate>,
    ) -> Result<Self, StoreError> {
        first_settings(&*store).await?;
        let interest_key = interest_key(&*store).await?;
        let usage = Usage::open(Arc::clone(&store), replica).await?;
        let (model, follower) =
            Model::open(Arc::clone(&store), secrets.clone(), gate.jwks().clone(), usage.clone()).await?;
        if !secrets.encrypts() {
            let says_so = if secrets.is_empty() { "a key in it encrypts them" } else { "it says so" };
            tracing::warn!("secrets are stored in the clear (--secrets-key: {says_so})");
        }
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(follower.run(stop.clone()));
        tasks.spawn(usage.clone().run(stop.clone()));
        let membership = Membership::new(Arc::clone(&store), member_ttl);
        let registry = Registry::default();
        let guard = stop.clone().drop_guard();
        let view = secrets.view_of(store.id()).into();
        let shared = Shared {
            store,
            model,
            membership,
            registry,
            usage,
            gate,
            secrets,
            view,
            interest_key,
            stop,
            tasks,
        };
        Ok(Self { shared, _stop: guard })
    }

    /// For probes.
    #[must_use]
    pub fn health(&self) -> Health {
        Health(Arc::clone(&self.shared.store))
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

    /// `realtime.replica.v1.Replica`, for the other replicas only, like discovery.
    #[must_use]
    pub fn replica_service(&self) -> ReplicaService {
        ReplicaService::new(self.shared.clone())
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

/// What becomes of the store's history of documents that were encrypted anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum History {
    /// There are others to whom it matters; compaction gets to it.
    Kept,
    /// It goes at once: nothing else would ever shorten it on a quiet server.
    Forgotten,
}

/// Brings what is stored under the first of the keys.
async fn encrypt_anew(shared: Shared, history: History) {
    let through = secrets::rewrite(&*shared.store, &shared.secrets, &shared.stop).await;
    let Some(through) = through.filter(|_| history == History::Forgotten) else { return };
    // Else the model would miss what is forgotten, and have to read everything anew.
    shared.model.reached(through).await;
    if let Err(error) = shared.store.compact(through).await {
        tracing::warn!(%error, "the history of secrets that were encrypted anew is still there");
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

/// The key of the topic hashes between nodes, made at random when the store is first used.
async fn interest_key(store: &dyn Store) -> Result<Bytes, StoreError> {
    let absent = Condition::Absent(keys::INTEREST_KEY.to_owned());
    store.commit(vec![absent], vec![Op::put(keys::INTEREST_KEY, random::<16>().to_vec())]).await?;
    let entry = store.get(keys::INTEREST_KEY).await?;
    Ok(entry.ok_or_else(|| StoreError::Failed("the interest key is gone".to_owned()))?.value)
}
