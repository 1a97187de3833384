//! The admin listener of the roles that hold a configuration: ready once it is there, until they drain.

use std::sync::{Arc, OnceLock};

use realtime_auth::Gate;
use realtime_data_plane::front_door::HttpConnections;
use realtime_data_plane::grpc_port::GrpcConnections;
use realtime_data_plane::metrics::{self, Forwarded, Gauges};
use realtime_data_plane::{AdminListener, Cluster};
use realtime_discovery::{Figures, Snapshot};
use realtime_gateway::UnfinishedBodies;
use realtime_gateway::forward::Counters;
use tokio::sync::watch;

use super::links::Links;
use super::tls::PublicTls;

/// What metrics and probes look at.
#[derive(Debug)]
pub(super) struct View {
    /// `None`: the role has no sessions.
    pub(super) cluster: Option<Cluster>,
    /// How the stream to the control plane fares.
    pub(super) discovery: watch::Receiver<Figures>,
    pub(super) in_force: watch::Receiver<Option<Arc<Snapshot>>>,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) http: HttpConnections,
    /// Of the port for services; `None`: it is off.
    pub(super) grpc: Option<GrpcConnections>,
    pub(super) gate: Arc<Gate>,
    /// `None`: the role has no HTTP API.
    pub(super) bodies: Option<UnfinishedBodies>,
    /// `None`: plain.
    pub(super) tls: Option<PublicTls>,
    /// `None`: everything is in this process.
    pub(super) links: Option<Links>,
    /// `None`: the role passes nothing on.
    pub(super) forwarded: Option<Arc<Counters>>,
}

/// A listener that says what there is to see, from when on there is.
pub(super) fn listener(view: Arc<OnceLock<View>>) -> AdminListener {
    let seen = Arc::clone(&view);
    let ready = move || match seen.get() {
        None => Err("waiting for the control plane"),
        Some(view) if view.in_force.borrow().is_none() => Err("no configuration yet"),
        Some(view) if *view.draining.borrow() => Err("draining"),
        Some(_) => Ok(()),
    };
    let text = move || view.get().map_or_else(|| metrics::render(&Gauges::default(), &[]), text);
    AdminListener::new(ready, text)
}

fn text(view: &View) -> String {
    let gauges = Gauges {
        sessions: view.cluster.as_ref().map(|cluster| cluster.shards().open_sessions()),
        http_connections: Some(view.http.open() as u64),
        unfinished_body_bytes: view.bodies.as_ref().map(UnfinishedBodies::bytes),
        revision: Some(view.in_force.borrow().as_ref().map_or(0, |snapshot| snapshot.revision)),
        draining: Some(*view.draining.borrow()),
        tls: view.tls.as_ref().map(PublicTls::gauges),
    };
    let mut counters = view.cluster.as_ref().map(|cluster| cluster.shards().counters()).unwrap_or_default();
    counters.extend(metrics::gate_counters(&view.gate.stats()));
    counters.extend(view.http.counters());
    counters.extend(view.grpc.iter().flat_map(GrpcConnections::counters));
    let mesh = view.cluster.as_ref().map(|cluster| metrics::render_mesh(&cluster.figures()));
    let forwarders = view.cluster.as_ref().and_then(|cluster| cluster.shards().forwarders());
    let discovery = metrics::render_discovery(&view.discovery.borrow());
    metrics::render(&gauges, &counters)
        + &discovery
        + &mesh.unwrap_or_default()
        + &forwarders.map(|f| metrics::render_forwarders(&f.stats())).unwrap_or_default()
        + &view.links.as_ref().map(certificate).unwrap_or_default()
        + &view.forwarded.as_deref().map(forwarded).unwrap_or_default()
        + &metrics::render_key_sets(&view.gate.jwks().stats())
}

/// Of the certificate that the process shows others; nothing where links are plain.
pub(super) fn certificate(links: &Links) -> String {
    links.certificate().map(|certificate| metrics::render_certificate(&certificate)).unwrap_or_default()
}

fn forwarded(counters: &Counters) -> String {
    metrics::render_forwarded(&Forwarded {
        passed_on: counters.passed_on(),
        unanswered: counters.unknown(),
        refused: counters.refused(),
    })
}
