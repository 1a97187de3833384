//! Wires a node: discovery, shards, the mesh, the front door, and its gRPC ports.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use realtime_auth::Gate;
use realtime_data_plane::{FrontDoor, GrpcPort, MeshPort, Peers, PeersConfig, PubSubService};
use realtime_discovery::Registration;
use realtime_mesh::InterestKey;
use realtime_proto::generated::discovery::Role as DiscoveryRole;
use tokio::sync::watch;

use super::config::DataPlaneConfig;
use super::ports;
use crate::failure::Failure;
use crate::roles::admin_port::{self, View};
use crate::roles::cluster_tls::Callers;
use crate::roles::links::Links;
use crate::roles::listeners::Listeners;
use crate::roles::node::{Node, NodeConfig};
use crate::roles::process::{Process, Role, until_stopped};
use crate::roles::public::PublicPort;
use crate::roles::signals::Signals;
use crate::roles::tasks::Tasks;
use crate::roles::tls::PublicTls;
use crate::roles::{gate, grpc, links};

/// How long a start waits for the links to the other nodes: they are there within milliseconds, unless a member is
/// dead and not out yet. Without this wait, a client's first publishes would miss subscribers on other nodes.
const LINKS_WITHIN: Duration = Duration::from_secs(5);

/// Registered, with its configuration; the public port is not served yet.
#[derive(Debug)]
pub(in crate::roles) struct App {
    drain: Duration,
    gate: Arc<Gate>,
    node: Node,
    peers: Peers,
    /// Whether clients are served, and gateways.
    serving: watch::Sender<bool>,
    listeners: Listeners,
    links: Links,
    public: PublicPort,
    /// What the admin listener looks at, once there is something.
    view: Arc<OnceLock<View>>,
    process: Process,
    /// The port for peers: it outlives the sessions.
    peer_port: Tasks,
}

impl Role for App {
    type Config = DataPlaneConfig;

    /// Binds the ports, then waits for the control plane, however long: a node without a configuration can do nothing.
    async fn build(config: DataPlaneConfig) -> Result<Self, Failure> {
        let DataPlaneConfig { control_plane, links, ports, peer_advertise, public, .. } = config;
        let DataPlaneConfig { node_id, shards, forwarding, operators, drain, ready_file, .. } = config;
        let mut process = Process::new(ready_file);
        let links = links.start(&mut process.tasks);
        let gate = gate::new(gate::jwks(public.allow_insecure_jwks));
        let mut listeners = Listeners::bind(ports).await?;
        let public = public.start(&mut process.tasks)?;
        let view = Arc::new(OnceLock::new());
        if let Some(listener) = listeners.admin.take() {
            let admin = admin_port::listener(Arc::clone(&view));
            process.tasks.spawn("admin listener", admin.serve(listener, process.tasks.stopping()));
        }
        operators.start(&gate, &mut process.tasks)?;
        let channels = links.control_plane(&control_plane);
        let replicas = links::replicas(&channels).ok_or_else(|| Failure::new("no control plane is named"))?;
        let bound = listeners.addresses.peer.ok_or_else(|| Failure::new("no port for peers"))?;
        let registration = Registration {
            role: DiscoveryRole::Node,
            id: node_id.clone(),
            listen: listeners.addresses.listen.to_string(),
            peer: peer_advertise.address(bound),
        };
        let discovery = realtime_discovery::start(replicas, registration, gate.jwks().clone());
        let (mesh, snapshots) = (MeshPort::default(), discovery.snapshots.clone());
        let (incarnation, interest_key) = (discovery.incarnation.clone(), discovery.interest_key.clone());
        let mesh_port = Some(mesh.clone());
        let config = NodeConfig { id: node_id.clone(), shards, drain, mesh: mesh_port, forwarding };
        let node = Node::start(discovery, config, &mut process).await?;
        let key = *interest_key.borrow();
        let key = key.ok_or_else(|| Failure::new("the control plane gave no interest key"))?;
        let identity = PeersConfig {
            id: node_id,
            incarnation,
            prefix: node.prefix,
            key: InterestKey::new(key),
            connect: links.to_peers(),
            connect_consumers: links.for_consumers(),
        };
        let peers = Peers::start(identity, mesh, Arc::clone(&node.shards), snapshots);
        let peer_port = Tasks::new();
        let serving = watch::Sender::new(false);
        Ok(Self { drain, gate, node, peers, serving, listeners, links, public, view, process, peer_port })
    }

    async fn run(mut self, mut signals: Signals) -> Result<(), Failure> {
        self.serve_peers();
        if signals.interrupting(self.linked()).await.is_none() {
            signals.cutting_short(self.stop()).await;
            return Ok(());
        }
        self.serve_clients();
        let ended = match self.process.announce(&self.listeners.addresses) {
            Ok(()) => self.until_stopped(&mut signals).await,
            Err(failure) => Err(failure),
        };
        // What cannot go on tells its clients all the same, at once.
        let over = if ended.is_ok() { self.drain } else { Duration::ZERO };
        signals.cutting_short(self.node.drain(over)).await;
        signals.cutting_short(self.stop()).await;
        tracing::info!("stopped");
        ended
    }
}

impl App {
    fn serve_peers(&mut self) {
        let Some(listener) = self.listeners.peer.take() else { return };
        let draining = self.node.draining.clone();
        let pubsub = self.pubsub().until(self.peer_port.token());
        let services = ports::for_peers(self.peers.service(), pubsub, self.serving.subscribe(), draining);
        grpc::serve(
            listener,
            GrpcPort::new(self.links.port(Callers::Members)),
            services,
            &mut self.peer_port,
        );
    }

    async fn linked(&self) {
        if !self.peers.linked(LINKS_WITHIN).await {
            tracing::warn!("serving without a link to every node");
        }
    }

    fn serve_clients(&mut self) {
        self.serving.send_replace(true);
        let (shards, gate) = (Arc::clone(&self.node.shards), Arc::clone(&self.gate));
        let (in_force, draining) = (self.node.in_force.clone(), self.node.draining.clone());
        let door = FrontDoor::new(shards, Arc::clone(&gate), in_force.clone(), draining.clone());
        let door = self.public.at(door);
        let (http, tls) = (door.http_connections(), self.public.tls.clone());
        let port = GrpcPort::new(tls.as_ref().map(PublicTls::grpc));
        let grpc = self.listeners.grpc.is_some().then(|| port.connections());
        let cluster = Some(self.peers.cluster());
        let discovery = self.node.figures.clone();
        // It is set here alone.
        let _ = self.view.set(View {
            cluster,
            discovery,
            in_force,
            draining,
            http,
            grpc,
            gate,
            bodies: None,
            tls,
            links: Some(self.links.clone()),
            forwarded: None,
        });
        let pubsub = self.pubsub().until(self.process.tasks.token());
        let tasks = &mut self.process.tasks;
        if let Some(listener) = self.listeners.public.take() {
            tasks.spawn("front door", door.serve(listener, tasks.stopping()));
        }
        if let Some(listener) = self.listeners.grpc.take() {
            grpc::serve(listener, port, ports::for_services(pubsub), tasks);
        }
    }

    fn pubsub(&self) -> PubSubService {
        PubSubService::new(self.peers.cluster(), Arc::clone(&self.gate))
    }

    async fn until_stopped(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        let broken = async {
            tokio::select! {
                // First, because tasks end with discovery then.
                biased;
                replaced = self.node.replaced() => replaced,
                broken = self.process.broken() => broken,
                broken = self.peer_port.any_ended() => Failure::new(broken),
            }
        };
        until_stopped(signals, broken).await
    }

    /// Ends what serves clients, then the mesh, which they publish into, then the stream to the control plane.
    async fn stop(mut self) {
        let backbone = self.process.stop().await;
        self.node.leave().await;
        // The port ends with its last link.
        tokio::join!(self.peer_port.stop(), self.peers.stop());
        // Only now everything has been counted that will be.
        backbone.stop().await;
    }
}
