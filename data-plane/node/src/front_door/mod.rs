//! The public listener: accepts connections, plain or TLS, speaks HTTP/1.1 and over TLS HTTP/2, opens WebSocket
//! sessions (docs/contract.md 2.1) and hands their connections to the shards; everything else goes to an optional
//! fallback, such as the gateway's router.
//!
//! Each connection has one task, tracked until it ends. A connection counts against the limit while it shakes hands
//! and speaks HTTP, not once a shard has it. At the limit the one that has been without a request for the longest gives
//! way (`places`); where all are busy, new connections wait in the kernel's backlog.
//!
//! Never here: WebSocket frames (but for the close of a refused opening), token checks (`realtime-auth`),
//! certificates.

mod arrival;
mod connection;
mod counters;
mod http2;
mod opening;
mod query;
mod response;

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use realtime_auth::Gate;
use realtime_discovery::Snapshot;
use realtime_proto::{AddressList, ApiError, ErrorCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::counters::Counters;
use crate::Shards;
use crate::places::{Place, Places};
use crate::tls::Acceptor;

/// The body of every answer.
pub type Body = BoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// What serves every path but `/apps/…`. Requests carry the extension [`realtime_auth::ClientAddress`].
pub type Fallback = tower::util::BoxCloneSyncService<
    http::Request<hyper::body::Incoming>,
    http::Response<Body>,
    std::convert::Infallible,
>;

/// After a failed `accept` (out of descriptors, mostly): long enough for some to come free, short enough that
/// nobody notices.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a client that is turned away gets to read why and to close in turn.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Bounds of the HTTP side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontDoorLimits {
    /// Connections that speak HTTP at one time.
    pub connections: usize,
    /// For the PROXY protocol's header, and again for the TLS handshake.
    pub handshake_within: Duration,
    /// From the readiness for a request to the end of its headers; so also how long an idle connection stays.
    pub headers_within: Duration,
    /// From a request's headers to those of its answer.
    pub answer_within: Duration,
    /// Age at which a connection is asked to end after the request at hand, so that one that does not read its
    /// answer does not hold its place for ever.
    pub connection_age: Duration,
    /// What requests in flight get at a stop, or at that age.
    pub finish_within: Duration,
}

impl Default for FrontDoorLimits {
    fn default() -> Self {
        Self {
            // About 100 MiB at the worst case of full header buffers on a tenth of them.
            connections: 16_384,
            // Two round trips and a signature; the worst mobile networks take seconds.
            handshake_within: Duration::from_secs(10),
            // As hyper and most proxies have it; a client on a bad network sends its headers well within.
            headers_within: Duration::from_secs(30),
            // Above every bound that a handler has of its own.
            answer_within: Duration::from_secs(60),
            // Long for a keep-alive connection, short for one that blocks a place.
            connection_age: Duration::from_secs(600),
            // A stop should not wait longer for HTTP than an orchestrator waits before it kills.
            finish_within: Duration::from_secs(10),
        }
    }
}

/// What every connection's task shares.
struct Door {
    /// `None`: no sessions are opened here.
    shards: Option<Arc<Shards>>,
    gate: Arc<Gate>,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    draining: watch::Receiver<bool>,
    fallback: Option<Fallback>,
    limits: FrontDoorLimits,
    /// `None`: plain.
    tls: Option<Acceptor>,
    /// Who must begin each connection with the PROXY protocol's header; `None`: nobody speaks it.
    proxies: Option<AddressList>,
    counters: Arc<Counters>,
}

impl Door {
    fn shards(&self) -> Result<&Arc<Shards>, ApiError> {
        let elsewhere = || ApiError::new(ErrorCode::NotFound, "sessions are opened at the data-plane nodes");
        self.shards.as_ref().ok_or_else(elsewhere)
    }
}

/// The front door before it serves.
pub struct FrontDoor {
    door: Door,
    connections: TaskTracker,
}

/// Reads what the door counts; for metrics.
#[derive(Debug, Clone)]
pub struct HttpConnections {
    tasks: TaskTracker,
    counters: Arc<Counters>,
}

impl HttpConnections {
    /// Connections that speak HTTP now, sessions not counted.
    #[must_use]
    pub fn open(&self) -> usize {
        self.tasks.len()
    }

    /// What was counted before HTTP, by metric name.
    #[must_use]
    pub fn counters(&self) -> [(&'static str, u64); 3] {
        self.counters.read()
    }
}

impl FrontDoor {
    /// A front door for these shards. `snapshots` must hold what [`Shards::configure`] has put in force: until it
    /// holds something, and while `draining`, every opening is answered with 503.
    #[must_use]
    pub fn new(
        shards: Arc<Shards>,
        gate: Arc<Gate>,
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self::over(Some(shards), gate, snapshots, draining)
    }

    /// The front door of a process without sessions: `/apps/…` is answered with 404.
    #[must_use]
    pub fn without_sessions(
        gate: Arc<Gate>,
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self::over(None, gate, snapshots, draining)
    }

    fn over(
        shards: Option<Arc<Shards>>,
        gate: Arc<Gate>,
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        draining: watch::Receiver<bool>,
    ) -> Self {
        let door = Door {
            shards,
            gate,
            snapshots,
            draining,
            fallback: None,
            limits: FrontDoorLimits::default(),
            tls: None,
            proxies: None,
            counters: Arc::default(),
        };
        Self { door, connections: TaskTracker::new() }
    }

    /// Sends every path but `/apps/…` to `fallback` instead of answering 404.
    #[must_use]
    pub fn with_fallback(mut self, fallback: Fallback) -> Self {
        self.door.fallback = Some(fallback);
        self
    }

    /// Other bounds than the defaults.
    #[must_use]
    pub fn with_limits(mut self, limits: FrontDoorLimits) -> Self {
        self.door.limits = limits;
        self
    }

    /// Speaks TLS, and HTTP/2 with those who choose it.
    #[must_use]
    pub fn with_tls(mut self, acceptor: Acceptor) -> Self {
        self.door.tls = Some(acceptor);
        self
    }

    /// Takes connections from these addresses alone, and each must begin with a header of the PROXY protocol,
    /// version 2, whose source counts as the connection's.
    #[must_use]
    pub fn with_proxies(mut self, proxies: AddressList) -> Self {
        self.door.proxies = Some(proxies);
        self
    }

    /// The gauge of open HTTP connections.
    #[must_use]
    pub fn http_connections(&self) -> HttpConnections {
        HttpConnections { tasks: self.connections.clone(), counters: Arc::clone(&self.door.counters) }
    }

    /// Serves `listener` until `shutdown` resolves; then accepts nothing more, lets the requests in flight finish
    /// within [`FrontDoorLimits::finish_within`] and returns. Sessions live on in their shards. Dropping the future
    /// stops the listener at once and the connections within the same bound.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
        let Self { door, connections } = self;
        let places = Places::new(door.limits.connections);
        let door = Arc::new(door);
        let stop = CancellationToken::new();
        let _stop_on_drop = stop.clone().drop_guard();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept(&listener, &places) => accepted,
            };
            match accepted {
                Ok((place, socket, peer)) => {
                    let taken_back = place.taken_back();
                    let connection = connection::serve(Arc::clone(&door), socket, peer, place, stop.clone());
                    connections.spawn(async move {
                        tokio::select! {
                            () = connection => {}
                            () = taken_back => tracing::debug!(%peer, "gave its place to a new connection"),
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        stop.cancel();
        connections.close();
        connections.wait().await;
    }
}

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, places: &Places) -> io::Result<(Place, TcpStream, SocketAddr)> {
    let (socket, peer) = listener.accept().await?;
    Ok((places.take().await, socket, peer))
}

impl std::fmt::Debug for FrontDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrontDoor").field("limits", &self.door.limits).finish_non_exhaustive()
    }
}
