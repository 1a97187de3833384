//! Wires the roles into one process. Only wiring: what each part does is its own affair.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use realtime_auth::Gate;
use realtime_control_plane::ControlPlane;
use realtime_data_plane::{Cluster, FrontDoor, GrpcPort, PubSubService};
use realtime_discovery::Registration;
use realtime_gateway::{GatewayState, Nodes, UnfinishedBodies};
use realtime_proto::generated::admin::apps_server::AppsServer;
use realtime_proto::generated::admin::nodes_server::NodesServer;
use realtime_proto::generated::admin::settings_server::SettingsServer;
use realtime_proto::generated::discovery::Role as DiscoveryRole;
use realtime_proto::generated::discovery::discovery_server::DiscoveryServer;
use realtime_proto::generated::pubsub::pub_sub_server::PubSubServer;
use tokio::time::timeout;
use tonic::service::Routes;
use tonic::transport::Channel;

use super::config::ServeConfig;
use super::demo::Demo;
use super::in_process;
use crate::failure::Failure;
use crate::roles::admin_port::{self, View};
use crate::roles::listeners::Listeners;
use crate::roles::node::{Node, NodeConfig};
use crate::roles::process::{self, Process, Role, until_stopped};
use crate::roles::public::PublicPort;
use crate::roles::signals::Signals;
use crate::roles::tasks::Tasks;
use crate::roles::tls::PublicTls;
use crate::roles::{fallback, gate, grpc};

/// Registration and the first snapshot come from the same process; this long means that something is broken.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything built and bound; nothing served yet.
#[derive(Debug)]
pub(in crate::roles) struct App {
    drain: Duration,
    demo: Option<Demo>,
    gate: Arc<Gate>,
    control: ControlPlane,
    node_id: String,
    node: Node,
    listeners: Listeners,
    public: PublicPort,
    /// Its backbone is what the node's last reports go through.
    process: Process,
}

impl Role for App {
    type Config = ServeConfig;

    /// Opens the store, binds the ports, starts the node.
    async fn build(config: ServeConfig) -> Result<Self, Failure> {
        let ServeConfig { ports, public, forwarding, data_dir, secrets, node_id, .. } = config;
        let ServeConfig { shards, operators, drain, ready_file, demo, .. } = config;
        let mut process = Process::new(ready_file);
        let gate = gate::new(gate::jwks(public.allow_insecure_jwks));
        // First of all, because it tells whether the data directory is ours alone.
        let control = secrets.open(&data_dir, &gate).await?;
        let token_file = operators.start(&gate, &mut process.tasks)?;
        let listeners = Listeners::bind(ports).await?;
        let public = public.start(&mut process.tasks)?;
        let channel = discovery_service(&control, &mut process.backbone);
        let registration = Registration {
            role: DiscoveryRole::Node,
            id: node_id.clone(),
            listen: listeners.addresses.listen.to_string(),
            peer: String::new(),
        };
        let discovery = realtime_discovery::start(channel, registration, gate.jwks().clone());
        let config = NodeConfig { id: node_id.clone(), shards, drain, mesh: None, forwarding };
        let node = Node::start(discovery, config, &mut process);
        let late = |_| Failure::new("the control plane did not answer in time");
        let node = timeout(START_TIMEOUT, node).await.map_err(late)??;
        let demo = demo.then(|| Demo::new(&data_dir, token_file.as_deref()));
        Ok(Self { drain, demo, gate, control, node_id, node, listeners, public, process })
    }

    async fn run(mut self, mut signals: Signals) -> Result<(), Failure> {
        self.serve();
        let ended = match signals.interrupting(self.announce()).await {
            Some(Ok(())) => self.until_stopped(&mut signals).await,
            Some(Err(failure)) => Err(failure),
            None => Ok(()),
        };
        if ended.is_ok() {
            signals.cutting_short(self.node.drain(self.drain)).await;
        }
        signals.cutting_short(self.stop()).await;
        tracing::info!("stopped");
        ended
    }
}

impl App {
    /// Starts to accept on every port.
    fn serve(&mut self) {
        let cluster = Cluster::alone(Arc::clone(&self.node.shards)).named(&self.node_id);
        let pubsub = PubSubService::new(cluster.clone(), Arc::clone(&self.gate));
        let pubsub = pubsub.until(self.process.tasks.token());
        let bodies = UnfinishedBodies::default();
        let door = self.front_door(pubsub.clone(), bodies.clone());
        let port = GrpcPort::new(self.public.tls.as_ref().map(PublicTls::grpc));
        let tasks = &mut self.process.tasks;
        if let Some(listener) = self.listeners.admin.take() {
            let view = View {
                cluster: Some(cluster),
                discovery: self.node.figures.clone(),
                in_force: self.node.in_force.clone(),
                draining: self.node.draining.clone(),
                http: door.http_connections(),
                grpc: self.listeners.grpc.is_some().then(|| port.connections()),
                gate: Arc::clone(&self.gate),
                bodies: Some(bodies),
                tls: self.public.tls.clone(),
                links: None,
                forwarded: None,
            };
            let admin = admin_port::listener(Arc::new(OnceLock::from(view)));
            tasks.spawn("admin listener", admin.serve(listener, tasks.stopping()));
        }
        if let Some(listener) = self.listeners.public.take() {
            tasks.spawn("front door", door.serve(listener, tasks.stopping()));
        }
        if let Some(listener) = self.listeners.grpc.take() {
            // Never Discovery, which carries secrets and stays inside the process.
            let services = Routes::new(PubSubServer::new(pubsub))
                .add_service(AppsServer::new(self.control.apps_service()))
                .add_service(SettingsServer::new(self.control.settings_service()))
                .add_service(NodesServer::new(self.control.nodes_service()));
            grpc::serve(listener, port, (grpc::public_server(), services), tasks);
        }
    }

    /// The public port: sessions, and the gateway for everything else.
    fn front_door(&self, pubsub: PubSubService, bodies: UnfinishedBodies) -> FrontDoor {
        let router = realtime_gateway::router(GatewayState {
            pubsub: Arc::new(pubsub),
            nodes: Nodes::Local,
            apps: Arc::new(self.control.apps_service()),
            settings: Arc::new(self.control.settings_service()),
            snapshots: self.node.in_force.clone(),
            gate: Arc::clone(&self.gate),
            bodies,
        });
        let (shards, gate) = (Arc::clone(&self.node.shards), Arc::clone(&self.gate));
        let (in_force, draining) = (self.node.in_force.clone(), self.node.draining.clone());
        let door = FrontDoor::new(shards, gate, in_force, draining);
        self.public.at(door.with_fallback(fallback::gateway(router)))
    }

    /// Prepares the demo and tells whoever waits that the ports are served.
    async fn announce(&self) -> Result<(), Failure> {
        let addresses = self.listeners.addresses;
        if let Some(demo) = &self.demo {
            let secure = self.public.tls.is_some();
            let text = demo.prepare(&self.control.apps_service(), &self.node, &addresses, secure).await?;
            // A closed standard output is no reason not to serve.
            let _ = writeln!(std::io::stdout(), "{text}");
        }
        self.process.announce(&addresses)
    }

    async fn until_stopped(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        let broken = async {
            tokio::select! {
                // First, because tasks end with discovery then.
                biased;
                replaced = self.node.replaced() => replaced,
                broken = self.process.broken() => broken,
            }
        };
        until_stopped(signals, broken).await
    }

    /// Ends the tasks, then the control plane, which they call.
    async fn stop(self) {
        let backbone = self.process.stop().await;
        // Only now everything has been counted that will be.
        backbone.stop().await;
        process::close(self.control).await;
    }
}

/// Serves discovery inside the process; the channel to it.
fn discovery_service(control: &ControlPlane, tasks: &mut Tasks) -> Channel {
    let (channel, incoming) = in_process::transport();
    let served = tonic::transport::Server::builder()
        .add_service(DiscoveryServer::new(control.discovery_service()))
        .serve_with_incoming_shutdown(incoming, tasks.stopping());
    tasks.spawn("discovery service", async {
        if let Err(error) = served.await {
            tracing::error!(%error, "the discovery service");
        }
    });
    channel
}
