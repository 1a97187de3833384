//! The peer mesh between sockets: links to the other nodes, publishes for them, and what is asked of the whole cluster.
//! What to send to whom is decided by `realtime-mesh`.
//!
//! Never here: certificates and addresses' security (whoever gives [`Connect`] and mounts [`PeerService`] sees to
//! it), delivery to subscribers.

mod answer;
mod calls;
mod cluster;
mod departed;
mod dial;
mod driver;
mod figures_of_app;
mod inbox;
mod link;
mod members;
mod service;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use realtime_discovery::Snapshot;
use realtime_mesh::{InterestKey, Losses, Mesh, MeshLimits, MirrorFigures};
use realtime_proto::NodePrefix;
use realtime_proto::generated::peer as wire;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;

use crate::Shards;
use crate::consume::Reach;
use driver::Driver;

pub(crate) use dial::{CALL_WITHIN, Pauses};

use cluster::MeshHandle;
pub use cluster::{Cluster, ClusterReceipt};
pub(crate) use inbox::{MeshInbox, ToMesh};
pub use service::PeerService;

/// Messages of all links that may wait for the mesh: a few for each, at most 256 KiB each.
const EVENTS: usize = 64;
/// A healthy peer has it within a tenth of a second; a node that stops waits no longer for one that is not.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);

/// Opens a channel to a peer's address; the error says why not.
pub type Connect = Arc<dyn Fn(&str) -> BoxFuture<'static, Result<Channel, String>> + Send + Sync>;

/// Where shards and services leave what is for the mesh. Made before the shards, which hold it.
#[derive(Debug, Clone, Default)]
pub struct MeshPort(pub(crate) Arc<MeshInbox>);

/// Who this node is to its peers.
#[derive(Clone)]
pub struct PeersConfig {
    /// Node id.
    pub id: String,
    /// Of this process, as discovery has it.
    pub incarnation: String,
    /// Of its connections.
    pub prefix: NodePrefix,
    /// The cluster's.
    pub key: InterestKey,
    /// How to reach a peer.
    pub connect: Connect,
    /// The same for the streams of consumers, of which a connection has many.
    pub connect_consumers: Connect,
}

impl fmt::Debug for PeersConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeersConfig")
            .field("id", &self.id)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// What every link says first.
#[derive(Debug)]
struct Identity {
    id: Arc<str>,
    incarnation: String,
    prefix: NodePrefix,
    /// Told whenever a link's queue has room again.
    room: Arc<Notify>,
}

impl Identity {
    fn hello(&self) -> wire::Hello {
        wire::Hello {
            node_id: self.id.to_string(),
            incarnation: self.incarnation.clone(),
            connection_id_prefix: self.prefix.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The mesh's figures, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Discovery has named the members once.
    pub settled: bool,
    /// Peers with a link.
    pub linked: u64,
    /// Members without one.
    pub unlinked: u64,
    /// Publishes that were looked up for peers.
    pub published: u64,
    /// Publishes queued for peers, once for each of them.
    pub replicated: u64,
    /// Publishes that peers have sent.
    pub received: u64,
    /// Messages sent over links: batches.
    pub messages: u64,
    /// Bytes of publishes that wait for peers.
    pub queued_bytes: u64,
    /// Topics that this node has told its peers of.
    pub topics: u64,
    /// Publishes lost on their way to peers.
    pub losses: Losses,
    /// Sessions that are mirrored for their presence.
    pub mirror: MirrorFigures,
    /// Sessions of dead nodes whose ends this one has announced.
    pub departed: u64,
}

/// The running mesh. Dropping it ends its links.
#[derive(Debug)]
pub struct Peers {
    inbox: Arc<MeshInbox>,
    shards: Arc<Shards>,
    figures: watch::Receiver<Figures>,
    service: PeerService,
    reach: Arc<Reach>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Peers {
    /// Starts the mesh of the node that has these shards, which were started with `port`. Must be called on a tokio
    /// runtime.
    #[must_use]
    pub fn start(
        config: PeersConfig,
        port: MeshPort,
        shards: Arc<Shards>,
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    ) -> Self {
        let PeersConfig { id, incarnation, prefix, key, connect, connect_consumers } = config;
        let identity = Arc::new(Identity { id: id.into(), incarnation, prefix, room: Arc::default() });
        let own = Arc::clone(&identity.id);
        let reach = Arc::new(Reach::new(own, connect_consumers, snapshots.clone()));
        let (events_in, events) = mpsc::channel(EVENTS);
        let (figures_in, figures) = watch::channel(Figures::default());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let service = PeerService {
            identity: Arc::clone(&identity),
            events: events_in.clone(),
            stop: stop.clone(),
            shards: Arc::clone(&shards),
            tasks: tasks.clone(),
        };
        let driver = Driver {
            mesh: Mesh::new(prefix, key, MeshLimits::default()),
            shards: Arc::clone(&shards),
            inbox: Arc::clone(&port.0),
            identity,
            connect,
            events,
            events_in,
            snapshots,
            figures: figures_in,
            tasks: tasks.clone(),
            stop: stop.clone(),
            started: Instant::now(),
            state: driver::State::default(),
        };
        tasks.spawn(driver.run());
        Self { inbox: port.0, shards, figures, service, reach, tasks, stop }
    }

    /// The service that peers call.
    #[must_use]
    pub fn service(&self) -> PeerService {
        self.service.clone()
    }

    /// What is asked of the whole cluster.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        let (inbox, reach) = (Arc::clone(&self.inbox), Arc::clone(&self.reach));
        let mesh = MeshHandle { inbox, figures: self.figures(), reach };
        Cluster::new(Arc::clone(&self.shards), Some(mesh)).named(&self.service.identity.id)
    }

    /// The mesh's figures; a tenth of a second old at most.
    #[must_use]
    pub fn figures(&self) -> watch::Receiver<Figures> {
        self.figures.clone()
    }

    /// Resolves when every member that discovery names has a link, or after `within`; says whether all have.
    pub async fn linked(&self, within: Duration) -> bool {
        let mut figures = self.figures.clone();
        let all = figures.wait_for(|figures| figures.settled && figures.unlinked == 0);
        timeout(within, all).await.is_ok_and(|all| all.is_ok())
    }

    /// Waits until the peers have what is for them, two seconds at most, closes every link and waits until nothing
    /// of the mesh is left.
    pub async fn stop(self) {
        let (settled, settling) = oneshot::channel();
        self.inbox.push_one(ToMesh::Settle(settled));
        if timeout(SETTLE_WITHIN, settling).await.is_err() {
            tracing::warn!("stopping although peers do not have everything that is for them");
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
