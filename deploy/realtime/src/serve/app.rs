//! Wires the roles into one process. Only wiring: what each part does is its own affair.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use realtime_auth::{Gate, GateConfig, JwksCache, OperatorTokens};
use realtime_control_plane::{ControlPlane, ControlPlaneConfig};
use realtime_data_plane::grpc_port::GrpcConnections;
use realtime_data_plane::metrics::{self, Gauges};
use realtime_data_plane::{AdminListener, Cluster, FrontDoor, GrpcPort, PubSubService};
use realtime_discovery::Registration;
use realtime_gateway::GatewayState;
use realtime_proto::AddressList;
use realtime_proto::generated::discovery::Role;
use realtime_proto::generated::discovery::discovery_server::DiscoveryServer;
use tokio::time::timeout;
use tonic::transport::Channel;

use super::config::ServeConfig;
use super::demo::Demo;
use super::listeners::Listeners;
use super::node::Node;
use super::operators::Operators;
use super::signals::Signals;
use super::tasks::Tasks;
use super::tls::{PublicTls, TlsFiles};
use super::{fallback, grpc, in_process, limits, ready};
use crate::failure::Failure;

/// Signatures that may wait to be verified: at ES512's 2,000 a second and core, one or two seconds' worth.
const VERIFIER_QUEUE: usize = 4096;
/// Verified tokens remembered, of half a kilobyte each; fewer where permission lists are long.
const TOKEN_CACHE: usize = 65_536;
/// The store's last transaction takes milliseconds.
const STORE_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything built and bound; nothing served yet.
#[derive(Debug)]
pub(super) struct App {
    drain: Duration,
    ready_file: Option<PathBuf>,
    demo: Option<Demo>,
    gate: Arc<Gate>,
    control: ControlPlane,
    node: Node,
    listeners: Listeners,
    tls: Option<PublicTls>,
    proxies: Option<AddressList>,
    tasks: Tasks,
    /// What the others need until they have ended: the node's last reports go through it.
    backbone: Tasks,
}

impl App {
    /// Opens the store, binds the ports, starts the node.
    pub(super) async fn build(config: ServeConfig) -> Result<Self, Failure> {
        limits::raise_open_files();
        if let Some(path) = &config.ready_file {
            ready::remove(path);
        }
        let (mut tasks, mut backbone) = (Tasks::new(), Tasks::new());
        if config.allow_insecure_jwks {
            tracing::warn!(
                "--allow-insecure-jwks: key sets are fetched over plain HTTP and from any address too"
            );
        }
        let gate = Arc::new(gate(JwksCache::new(config.allow_insecure_jwks)));
        // First of all, because it tells whether the data directory is ours alone.
        let control = ControlPlane::open(ControlPlaneConfig::new(&config.data_dir), Arc::clone(&gate))
            .await
            .map_err(|e| Failure::new(format!("--data-dir: {e}")))?;
        let mut operators = Operators::load(&config.operators, &config.data_dir)?;
        gate.set_operators(std::mem::take(&mut operators.tokens));
        if let Some(watch) = operators.watch(Arc::clone(&gate)) {
            tasks.spawn_until_stop("operator tokens", watch);
        }
        let listeners = Listeners::bind(&config).await?;
        let tls = config.tls.map(|files| start_tls(files, &mut tasks)).transpose()?;
        let channel = discovery_service(&control, &mut backbone);
        let registration = Registration {
            role: Role::Node,
            id: config.node_id.clone(),
            listen: listeners.addresses.listen.to_string(),
            peer: String::new(),
        };
        let discovery = realtime_discovery::start(channel, registration, gate.jwks().clone());
        let node = Node::start(discovery, config.shards, config.drain, &mut tasks, &mut backbone).await?;
        let demo = config.demo.then(|| Demo::new(&config.data_dir, operators.token_file.as_deref()));
        let ServeConfig { drain, ready_file, proxies, .. } = config;
        Ok(Self { drain, ready_file, demo, gate, control, node, listeners, tls, proxies, tasks, backbone })
    }

    /// Serves until a signal, then drains.
    pub(super) async fn run(mut self, mut signals: Signals) -> Result<(), Failure> {
        self.serve();
        let ended = self.until_stopped(&mut signals).await;
        if ended.is_ok() {
            tokio::select! {
                () = self.node.drain(self.drain) => {}
                signal = signals.next() => exit_at_once(signal),
            }
        }
        tokio::select! {
            () = self.stop() => {}
            signal = signals.next() => exit_at_once(signal),
        }
        tracing::info!("stopped");
        ended
    }

    /// Starts to accept on every port.
    fn serve(&mut self) {
        let cluster = Cluster::alone(Arc::clone(&self.node.shards));
        let pubsub = PubSubService::new(cluster.clone(), Arc::clone(&self.gate));
        let door = self.front_door(pubsub.clone());
        let grpc_port = GrpcPort::new(self.tls.as_ref().map(PublicTls::grpc));
        if let Some(listener) = self.listeners.admin.take() {
            let grpc = self.listeners.grpc.is_some().then(|| grpc_port.connections());
            let admin = admin_listener(&self.node, cluster, &door, grpc, &self.gate, self.tls.clone());
            self.tasks.spawn("admin listener", admin.serve(listener, self.tasks.stopping()));
        }
        if let Some(listener) = self.listeners.public.take() {
            self.tasks.spawn("front door", door.serve(listener, self.tasks.stopping()));
        }
        if let Some(listener) = self.listeners.grpc.take() {
            let (apps, settings) = (self.control.apps_service(), self.control.settings_service());
            let nodes = self.control.nodes_service();
            let (incoming, accepting) = grpc_port.accept(listener);
            self.tasks.spawn_until_stop("gRPC listener", accepting);
            let served = grpc::serve(incoming, pubsub, apps, settings, nodes, self.tasks.stopping());
            self.tasks.spawn("gRPC port", served);
        }
    }

    /// The public port: sessions, and the gateway for everything else.
    fn front_door(&self, pubsub: PubSubService) -> FrontDoor {
        let router = realtime_gateway::router(GatewayState {
            pubsub: Arc::new(pubsub),
            apps: Arc::new(self.control.apps_service()),
            settings: Arc::new(self.control.settings_service()),
            snapshots: self.node.in_force.clone(),
            gate: Arc::clone(&self.gate),
        });
        let (shards, gate) = (Arc::clone(&self.node.shards), Arc::clone(&self.gate));
        let (in_force, draining) = (self.node.in_force.clone(), self.node.draining.clone());
        let mut door =
            FrontDoor::new(shards, gate, in_force, draining).with_fallback(fallback::gateway(router));
        if let Some(tls) = &self.tls {
            door = door.with_tls(tls.http());
        }
        if let Some(proxies) = &self.proxies {
            door = door.with_proxies(proxies.clone());
        }
        door
    }

    /// Prepares the demo and tells whoever waits that the ports are served.
    async fn announce(&self) -> Result<(), Failure> {
        let addresses = self.listeners.addresses;
        if let Some(demo) = &self.demo {
            let secure = self.tls.is_some();
            let text = demo.prepare(&self.control.apps_service(), &self.node, &addresses, secure).await?;
            // A closed standard output is no reason not to serve.
            let _ = writeln!(std::io::stdout(), "{text}");
        }
        if let Some(path) = &self.ready_file {
            ready::write(path, &addresses)?;
        }
        tracing::info!("serving on {addresses}");
        Ok(())
    }

    /// Until a signal (success), or until something breaks that never should.
    async fn until_stopped(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        tokio::select! {
            announced = self.announce() => announced?,
            signal = signals.next() => {
                tracing::info!(signal, "stopping before the start was complete");
                return Ok(());
            }
        }
        tokio::select! {
            signal = signals.next() => {
                tracing::info!(signal, seconds = self.drain.as_secs(), "draining; a second signal exits at once");
                Ok(())
            }
            broken = self.tasks.any_ended() => Err(Failure::new(broken)),
            broken = self.backbone.any_ended() => Err(Failure::new(broken)),
            _ = self.node.superseded.wait_for(|superseded| *superseded) => {
                Err(Failure::new("another process has taken this node's name"))
            }
        }
    }

    /// Ends the tasks, then the control plane, which they call.
    async fn stop(self) {
        if let Some(path) = &self.ready_file {
            ready::remove(path);
        }
        self.tasks.stop().await;
        // Only now everything has been counted that will be.
        self.backbone.stop().await;
        if timeout(STORE_CLOSE_TIMEOUT, self.control.shutdown()).await.is_err() {
            tracing::warn!("the store did not close in time");
        }
    }
}

fn start_tls(files: TlsFiles, tasks: &mut Tasks) -> Result<PublicTls, Failure> {
    let (tls, follow) = PublicTls::start(files).map_err(|e| Failure::new(format!("TLS: {e}")))?;
    tasks.spawn_until_stop("TLS certificate", follow);
    Ok(tls)
}

fn gate(jwks: JwksCache) -> Gate {
    let verifier_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let sizes = GateConfig { verifier_threads, verifier_queue: VERIFIER_QUEUE, token_cache: TOKEN_CACHE };
    Gate::new(sizes, OperatorTokens::default()).with_jwks(jwks)
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

/// What is acknowledged is on disk already; open connections are cut.
fn exit_at_once(signal: &str) {
    tracing::warn!(signal, "exiting at once");
    std::process::exit(1);
}

/// Ready means: has a configuration and is not draining.
fn admin_listener(
    node: &Node,
    cluster: Cluster,
    door: &FrontDoor,
    grpc: Option<GrpcConnections>,
    gate: &Arc<Gate>,
    tls: Option<PublicTls>,
) -> AdminListener {
    let (in_force, draining) = (node.in_force.clone(), node.draining.clone());
    let ready = move || match (in_force.borrow().is_some(), *draining.borrow()) {
        (false, _) => Err("no configuration yet"),
        (true, true) => Err("draining"),
        (true, false) => Ok(()),
    };
    let (gate, http) = (Arc::clone(gate), door.http_connections());
    let (in_force, draining) = (node.in_force.clone(), node.draining.clone());
    let text = move || {
        let gauges = Gauges {
            sessions: cluster.shards().open_sessions(),
            http_connections: http.open() as u64,
            revision: in_force.borrow().as_ref().map_or(0, |snapshot| snapshot.revision),
            draining: *draining.borrow(),
            tls: tls.as_ref().map(PublicTls::gauges),
        };
        let mut counters = cluster.shards().counters();
        counters.extend(metrics::gate_counters(&gate.stats()));
        counters.extend(http.counters());
        counters.extend(grpc.iter().flat_map(GrpcConnections::counters));
        let (mesh, key_sets) = (cluster.figures(), gate.jwks().stats());
        metrics::render(&gauges, &counters)
            + &metrics::render_mesh(&mesh)
            + &metrics::render_key_sets(&key_sets)
    };
    AdminListener::new(ready, text)
}
