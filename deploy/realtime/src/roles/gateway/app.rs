//! Wires a gateway: discovery tells it the applications and the nodes; the routes call nodes and control plane.

use std::sync::{Arc, OnceLock};

use realtime_auth::Gate;
use realtime_data_plane::FrontDoor;
use realtime_discovery::{Discovery, Registration};
use realtime_gateway::forward::{ControlPlane, Counters, DataPlane};
use realtime_gateway::{GatewayState, Nodes, UnfinishedBodies};
use realtime_proto::generated::discovery::Role as DiscoveryRole;
use realtime_proto::ids::{hex, random};
use tokio::sync::watch;

use super::config::GatewayConfig;
use crate::failure::Failure;
use crate::roles::admin_port::{self, View};
use crate::roles::links::Links;
use crate::roles::listeners::Listeners;
use crate::roles::process::{Process, Role, until_stopped};
use crate::roles::public::PublicPort;
use crate::roles::signals::Signals;
use crate::roles::{fallback, gate, links};

/// With its configuration; nothing served yet.
#[derive(Debug)]
pub(in crate::roles) struct App {
    gate: Arc<Gate>,
    discovery: Discovery,
    data_plane: Arc<DataPlane>,
    control_plane: Arc<ControlPlane>,
    links: Links,
    forwarded: Arc<Counters>,
    draining: watch::Sender<bool>,
    listeners: Listeners,
    public: PublicPort,
    /// What the admin listener looks at, once there is something.
    view: Arc<OnceLock<View>>,
    process: Process,
}

impl Role for App {
    type Config = GatewayConfig;

    /// Binds the ports, then waits for the first configuration, however long.
    async fn build(config: GatewayConfig) -> Result<Self, Failure> {
        let GatewayConfig { control_plane, links, ports, public, operators, ready_file } = config;
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
        // A gateway is no member: its id is for the control plane's log.
        let registration = Registration {
            role: DiscoveryRole::Gateway,
            id: format!("gateway-{}", hex(&random::<4>())),
            listen: listeners.addresses.listen.to_string(),
            peer: String::new(),
        };
        let mut discovery = realtime_discovery::start(replicas, registration, gate.jwks().clone());
        let ended = |_| Failure::new("the discovery stream ended");
        discovery.snapshots.wait_for(Option::is_some).await.map_err(ended)?;
        let counters = Arc::new(Counters::default());
        let data_plane = DataPlane::new(discovery.snapshots.clone(), links.to_nodes(), Arc::clone(&counters));
        let control_plane = ControlPlane::new(channels, Arc::clone(&counters));
        let (draining, _) = watch::channel(false);
        Ok(Self {
            gate,
            discovery,
            data_plane: Arc::new(data_plane),
            control_plane: Arc::new(control_plane),
            links,
            forwarded: counters,
            draining,
            listeners,
            public,
            view,
            process,
        })
    }

    async fn run(mut self, mut signals: Signals) -> Result<(), Failure> {
        self.serve();
        let ended = match self.process.announce(&self.listeners.addresses) {
            Ok(()) => until_stopped(&mut signals, self.process.broken()).await,
            Err(failure) => Err(failure),
        };
        self.draining.send_replace(true);
        signals.cutting_short(self.process.stop()).await.stop().await;
        tracing::info!("stopped");
        ended
    }
}

impl App {
    fn serve(&mut self) {
        let snapshots = self.discovery.snapshots.clone();
        let bodies = UnfinishedBodies::default();
        let router = realtime_gateway::router(GatewayState {
            pubsub: Arc::clone(&self.data_plane),
            nodes: Nodes::Members,
            apps: Arc::clone(&self.control_plane),
            settings: Arc::clone(&self.control_plane),
            snapshots: snapshots.clone(),
            gate: Arc::clone(&self.gate),
            bodies: bodies.clone(),
        });
        let draining = self.draining.subscribe();
        let door = FrontDoor::without_sessions(Arc::clone(&self.gate), snapshots.clone(), draining.clone())
            .with_fallback(fallback::gateway(router));
        let door = self.public.at(door);
        let view = View {
            cluster: None,
            discovery: self.discovery.figures.clone(),
            in_force: snapshots,
            draining,
            http: door.http_connections(),
            grpc: None,
            gate: Arc::clone(&self.gate),
            bodies: Some(bodies),
            tls: self.public.tls.clone(),
            links: Some(self.links.clone()),
            forwarded: Some(Arc::clone(&self.forwarded)),
        };
        // It is set here alone.
        let _ = self.view.set(view);
        if let Some(listener) = self.listeners.public.take() {
            let tasks = &mut self.process.tasks;
            tasks.spawn("front door", door.serve(listener, tasks.stopping()));
        }
    }
}
