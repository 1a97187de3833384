//! Wires a control plane: the store, its services on one port, metrics and probes on another.

use std::sync::{Arc, OnceLock};

use realtime_auth::Gate;
use realtime_control_plane::{ControlPlane, Health, ReplicaConfig};
use realtime_data_plane::grpc_port::GrpcConnections;
use realtime_data_plane::metrics::{self, Gauges};
use realtime_data_plane::{AdminListener, GrpcPort};
use realtime_proto::generated::admin::apps_server::AppsServer;
use realtime_proto::generated::admin::nodes_server::NodesServer;
use realtime_proto::generated::admin::settings_server::SettingsServer;
use realtime_proto::generated::discovery::discovery_server::DiscoveryServer;
use realtime_proto::generated::replica::replica_server::ReplicaServer;
use tonic::service::Routes;

use super::caller::{anybody, member};
use super::config::{ControlPlaneConfig, StoreConfig};
use crate::failure::Failure;
use crate::roles::cluster_tls::{Callers, ClusterPort};
use crate::roles::links::Links;
use crate::roles::listeners::Listeners;
use crate::roles::process::{self, Process, Role, until_stopped};
use crate::roles::signals::Signals;
use crate::roles::{admin_port, gate, grpc, links};

/// Everything built and bound; nothing but probes and metrics served yet.
#[derive(Debug)]
pub(in crate::roles) struct App {
    control: ControlPlane,
    listeners: Listeners,
    port: GrpcPort<ClusterPort>,
    /// Set once it serves.
    serving: Arc<OnceLock<Health>>,
    process: Process,
}

impl Role for App {
    type Config = ControlPlaneConfig;

    /// Binds the ports, then opens the store; waits for an etcd that does not answer, however long.
    async fn build(config: ControlPlaneConfig) -> Result<Self, Failure> {
        let ControlPlaneConfig { ports, links, store, .. } = config;
        let ControlPlaneConfig { operators, allow_insecure_jwks, ready_file, .. } = config;
        let mut process = Process::new(ready_file);
        let links = links.start(&mut process.tasks);
        let gate = gate::new(gate::jwks(allow_insecure_jwks));
        let mut listeners = Listeners::bind(ports).await?;
        let port = GrpcPort::new(links.port(Callers::Anybody));
        let serving = Arc::default();
        if let Some(listener) = listeners.admin.take() {
            let admin =
                admin_listener(Arc::clone(&serving), port.connections(), Arc::clone(&gate), links.clone());
            process.tasks.spawn("admin listener", admin.serve(listener, process.tasks.stopping()));
        }
        let control = open(store, &listeners, &links, &gate).await?;
        operators.start(&gate, &mut process.tasks)?;
        Ok(Self { control, listeners, port, serving, process })
    }

    async fn run(self, mut signals: Signals) -> Result<(), Failure> {
        let Self { control, mut listeners, port, serving, mut process } = self;
        serve(&control, &mut listeners, port, &mut process);
        // It is set here alone.
        let _ = serving.set(control.health());
        let announced = process.announce(&listeners.addresses);
        let ended = match announced {
            Ok(()) => until_stopped(&mut signals, process.broken()).await,
            Err(failure) => Err(failure),
        };
        signals.cutting_short(stop(control, process)).await;
        tracing::info!("stopped");
        ended
    }
}

async fn open(
    store: StoreConfig,
    listeners: &Listeners,
    links: &Links,
    gate: &Arc<Gate>,
) -> Result<ControlPlane, Failure> {
    match store {
        StoreConfig::DataDir { path, secrets } => secrets.open(&path, gate).await,
        StoreConfig::Etcd { options, advertise, compact_every, secrets } => {
            let peering = links.peering(advertise.address(listeners.addresses.listen));
            let replica = ReplicaConfig { compact_every, secrets, ..ReplicaConfig::new(peering) };
            let opened = ControlPlane::open_on_etcd(&options, &replica, gate).await;
            // The error names the option.
            opened.map_err(|e| Failure::new(format!("--{e}")))
        }
    }
}

fn serve(
    control: &ControlPlane,
    listeners: &mut Listeners,
    port: GrpcPort<ClusterPort>,
    process: &mut Process,
) {
    let Some(listener) = listeners.public.take() else { return };
    let services = Routes::new(DiscoveryServer::with_interceptor(control.discovery_service(), member))
        .add_service(ReplicaServer::with_interceptor(control.replica_service(), member))
        .add_service(AppsServer::with_interceptor(control.apps_service(), anybody))
        .add_service(SettingsServer::with_interceptor(control.settings_service(), anybody))
        .add_service(NodesServer::with_interceptor(control.nodes_service(), anybody));
    grpc::serve(listener, port, (links::control_plane_server(), services), &mut process.tasks);
}

/// The discovery streams end with the control plane, and the port with the last of them.
async fn stop(control: ControlPlane, process: Process) {
    let (backbone, ()) = tokio::join!(process.stop(), process::close(control));
    backbone.stop().await;
}

fn admin_listener(
    serving: Arc<OnceLock<Health>>,
    grpc: GrpcConnections,
    gate: Arc<Gate>,
    links: Links,
) -> AdminListener {
    let ready = move || match serving.get() {
        None => Err("waiting for the store"),
        Some(health) => health.trouble().map_or(Ok(()), Err),
    };
    let text = move || {
        let mut counters = metrics::gate_counters(&gate.stats()).to_vec();
        counters.extend(grpc.counters());
        metrics::render(&Gauges::default(), &counters) + &admin_port::certificate(&links)
    };
    AdminListener::new(ready, text)
}
