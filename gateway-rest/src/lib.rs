//! The HTTP API (docs/contract.md 4): routes, the order of checks, problem details. It authenticates with
//! `realtime-auth` and otherwise only translates between HTTP and the gRPC services, which it calls through
//! their generated traits: in one process directly, elsewhere through any implementation that forwards.
//!
//! Never here: sockets and TLS (whoever serves the router inserts [`realtime_auth::ClientAddress`] into each
//! request's extensions), validation of configurations (the control plane's), fan-out (the nodes').

mod apps;
mod body;
mod call;
mod connections;
mod cors;
mod endpoint;
mod etag;
mod fields;
pub mod forward;
mod forwarders;
mod health;
mod in_force;
mod publish;
mod query;
mod respond;
mod settings;
mod status;
mod topics;
mod unfinished;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get, post};
use realtime_auth::Gate;
use realtime_discovery::Snapshot;
use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::settings_server::Settings;
use realtime_proto::generated::pubsub::pub_sub_server::PubSub;
use realtime_proto::{ApiError, ErrorCode};
use tokio::sync::watch;

use endpoint::Endpoint;

pub use unfinished::UnfinishedBodies;

/// Where the data plane is, which tells when it can serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nodes {
    /// In this process.
    Local,
    /// Those that discovery names.
    Members,
}

/// What the routes need. `P`, `A` and `S` are the services themselves or something that forwards to them.
pub struct GatewayState<P, A, S> {
    /// The data plane.
    pub pubsub: Arc<P>,
    /// Where that is.
    pub nodes: Nodes,
    /// The control plane's applications.
    pub apps: Arc<A>,
    /// The control plane's settings.
    pub settings: Arc<S>,
    /// The configuration in force.
    pub snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// Addresses and tokens.
    pub gate: Arc<Gate>,
    /// What bodies on their way hold.
    pub bodies: UnfinishedBodies,
}

impl<P, A, S> fmt::Debug for GatewayState<P, A, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayState").finish_non_exhaustive()
    }
}

/// The state as handlers hold it.
pub(crate) type Shared<P, A, S> = Arc<GatewayState<P, A, S>>;

/// The HTTP API. Every answer that is no success is a problem document, unknown paths and methods included.
///
/// Each request must carry [`realtime_auth::ClientAddress`] in its extensions; without it every call that
/// authenticates is answered 500, because guessing an address could open `adminSourceAddress`. Paths are read
/// from the request's URI: serve the router as it is, not nested under a prefix.
pub fn router<P: PubSub, A: Apps, S: Settings>(state: GatewayState<P, A, S>) -> Router {
    Router::new()
        .route("/api/health/status", get(Endpoint::plain(health::status)))
        .route("/api/topics/{app}/publish", browser("POST,OPTIONS", post(Endpoint::cors(publish::publish))))
        .route(
            "/api/topics/{app}/unsubscribe",
            browser("POST,OPTIONS", post(Endpoint::cors(topics::unsubscribe))),
        )
        .route("/api/topics/{app}", browser("GET,HEAD,OPTIONS", get(Endpoint::cors(topics::list))))
        .route(
            "/api/connections/{app}",
            browser(
                "GET,HEAD,DELETE,OPTIONS",
                get(Endpoint::cors(connections::list)).delete(Endpoint::cors(connections::disconnect)),
            ),
        )
        .route(
            "/api/connections/{app}/{connection}",
            browser("DELETE,OPTIONS", axum::routing::delete(Endpoint::cors(connections::disconnect_one))),
        )
        .route("/api/apps", get(Endpoint::plain(apps::list)).post(Endpoint::plain(apps::create)))
        .route(
            "/api/apps/{app}",
            get(Endpoint::plain(apps::read))
                .put(Endpoint::plain(apps::replace))
                .patch(Endpoint::plain(apps::patch))
                .delete(Endpoint::plain(apps::delete)),
        )
        .route("/api/apps/{app}/status", get(Endpoint::plain(status::read)))
        .route("/api/apps/{app}/forwarders/test", post(Endpoint::plain(forwarders::test)))
        .route("/api/settings", get(Endpoint::plain(settings::read)).put(Endpoint::plain(settings::replace)))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::new(state))
}

/// Adds the answer to `OPTIONS` to a path that pages of other origins may call. `allow`: all its methods, as the
/// router itself lists them in a 405, which it does not tell handlers.
fn browser<P: PubSub, A: Apps, S: Settings>(
    allow: &'static str,
    methods: MethodRouter<Shared<P, A, S>>,
) -> MethodRouter<Shared<P, A, S>> {
    methods.options(Endpoint::cors(move |state, request| cors::preflight(state, request, allow)))
}

async fn unknown_path() -> axum::response::Response {
    respond::problem(&ApiError::new(ErrorCode::NotFound, "no such path"))
}

/// The router adds `Allow`.
async fn wrong_method() -> axum::response::Response {
    respond::problem(&ApiError::new(ErrorCode::MethodNotAllowed, "the path does not take this method"))
}
