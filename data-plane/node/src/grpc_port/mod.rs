//! The connections of a gRPC port: so many, each with a handshake that has to end.
//!
//! A connection has spoken once HTTP/2's preface has come; until then it has a time limit. It is a caller's once a call
//! over it has been authenticated, or its handshake has done so. Until then it may be anybody's who opens sockets:
//! where all places are taken, it gives way to a newcomer. Afterwards it keeps its place for as long as it answers the
//! server's pings; services hold their channels for days without a call.
//!
//! Never here: what is called on the connections, who may, and their pings: the gRPC server that takes them, and its
//! services, own these.

mod stream;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::transport::server::Connected;
use tower::util::MapRequestLayer;

use crate::metrics::{GRPC_CONNECTIONS, GRPC_FAILURES, GRPC_REFUSALS};
use crate::places::{Place, Places};
use crate::tls::{Acceptor, Transport};

pub use stream::GrpcStream;

/// After a failed `accept` (out of descriptors, mostly), as on the public port.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections of a port, ready to speak gRPC.
pub type Incoming<C> = ReceiverStream<io::Result<GrpcStream<C>>>;

/// What makes a connection of an accepted socket.
pub trait Handshake: Clone + Send + Sync + 'static {
    /// A stream of plain bytes.
    type Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Shakes hands. Takes as long as the client does: the port bounds it.
    fn accept(&self, socket: TcpStream) -> impl Future<Output = io::Result<Self::Connection>> + Send;

    /// Whether that has told who the client is.
    fn authenticates(&self, _connection: &Self::Connection) -> bool {
        false
    }
}

/// Puts into a request's extensions what is known of its connection.
pub type ConnectionLayer = MapRequestLayer<fn(http::Request<Body>) -> http::Request<Body>>;

/// With services, whose clients have no certificates: TLS where there is an acceptor.
impl Handshake for Option<Acceptor> {
    type Connection = Transport;

    async fn accept(&self, socket: TcpStream) -> io::Result<Transport> {
        match self {
            None => Ok(Transport::Plain(socket)),
            Some(acceptor) => {
                let stream = acceptor.accept(socket).await.map_err(io::Error::other)?;
                Ok(Transport::Tls(Box::new(stream)))
            }
        }
    }
}

/// Bounds of a gRPC port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrpcPortLimits {
    /// Connections at one time, those that have not spoken yet included.
    pub connections: usize,
    /// From the acceptance to the end of HTTP/2's preface, the TLS handshake included.
    pub handshake_within: Duration,
}

impl Default for GrpcPortLimits {
    fn default() -> Self {
        Self {
            // A thousand processes with a few channels each: far more than one node has services. With the public
            // port's connections it stays near the 20,000 descriptors that systems often allow.
            connections: 4096,
            // As on the public port; the preface comes with the end of the TLS handshake.
            handshake_within: Duration::from_secs(10),
        }
    }
}

/// A gRPC port before it accepts.
pub struct GrpcPort<H> {
    handshake: H,
    limits: GrpcPortLimits,
    connections: GrpcConnections,
}

/// Reads what the port counts; for metrics.
#[derive(Debug, Clone)]
pub struct GrpcConnections {
    places: Arc<Places>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    refused: AtomicU64,
    failed: AtomicU64,
}

impl GrpcConnections {
    fn new(limits: GrpcPortLimits) -> Self {
        Self { places: Arc::new(Places::new(limits.connections)), counters: Arc::default() }
    }

    /// Connections now and what has become of others, by metric name.
    #[must_use]
    pub fn counters(&self) -> [(&'static str, u64); 3] {
        [
            (GRPC_CONNECTIONS, self.places.taken() as u64),
            (GRPC_REFUSALS, self.counters.refused.load(Ordering::Relaxed)),
            (GRPC_FAILURES, self.counters.failed.load(Ordering::Relaxed)),
        ]
    }
}

/// Why a connection did not get to speak.
#[derive(Debug, thiserror::Error)]
enum Turned {
    #[error("it took too long")]
    Late,
    #[error("it gave its place to a new connection")]
    GaveWay,
    #[error("{0}")]
    Failed(#[from] io::Error),
}

impl<H: Handshake> GrpcPort<H> {
    /// A port whose connections shake hands in this way.
    pub fn new(handshake: H) -> Self {
        let limits = GrpcPortLimits::default();
        Self { handshake, limits, connections: GrpcConnections::new(limits) }
    }

    /// Other bounds than the defaults.
    #[must_use]
    pub fn with_limits(self, limits: GrpcPortLimits) -> Self {
        Self { limits, connections: GrpcConnections::new(limits), ..self }
    }

    /// What the port counts.
    #[must_use]
    pub fn connections(&self) -> GrpcConnections {
        self.connections.clone()
    }

    /// For the server on the port's connections; without it no connection becomes a caller's.
    #[must_use]
    pub fn layer(&self) -> ConnectionLayer
    where
        H::Connection: Connected,
    {
        MapRequestLayer::new(stream::with_caller::<<H::Connection as Connected>::ConnectInfo>)
    }

    /// Accepts connections for as long as somebody takes them: the connections, and the work, which ends when they
    /// are dropped.
    pub fn accept(
        self,
        listener: TcpListener,
    ) -> (Incoming<H::Connection>, impl Future<Output = ()> + Send + use<H>) {
        let (sender, receiver) = mpsc::channel(1);
        (ReceiverStream::new(receiver), self.run(listener, sender))
    }

    async fn run(self, listener: TcpListener, sender: mpsc::Sender<io::Result<GrpcStream<H::Connection>>>) {
        let Self { handshake, limits, connections } = self;
        let mut handshakes = JoinSet::new();
        loop {
            let socket = tokio::select! {
                () = sender.closed() => return,
                Some(_) = handshakes.join_next() => continue,
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => socket,
                    Err(error) => {
                        tracing::warn!(%error, "accepting on the gRPC port");
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let Some(place) = connections.places.take_now().await else {
                connections.counters.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let ready = ready(socket, handshake.clone(), place, limits.handshake_within);
            let (sender, counters) = (sender.clone(), Arc::clone(&connections.counters));
            handshakes.spawn(async move {
                match ready.await {
                    // Where the server has stopped meanwhile, the client sees the connection end.
                    Ok((connection, place)) => {
                        drop(sender.send(Ok(GrpcStream::new(connection, place, counters))).await);
                    }
                    Err(why) => {
                        counters.failed.fetch_add(1, Ordering::Relaxed);
                        tracing::debug!(%why, "turned a connection to the gRPC port away");
                    }
                }
            });
        }
    }
}

/// The connection once it has said that it speaks HTTP/2.
async fn ready<H: Handshake>(
    socket: TcpStream,
    handshake: H,
    place: Place,
    within: Duration,
) -> Result<(H::Connection, Place), Turned> {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let shaken = async { stream::after_preface(handshake.accept(socket).await?).await };
    let connection = tokio::select! {
        shaken = timeout(within, shaken) => shaken.map_err(|_| Turned::Late)??,
        () = place.taken_back() => return Err(Turned::GaveWay),
    };
    if handshake.authenticates(&connection) {
        place.keep();
    }
    Ok((connection, place))
}

impl<H> std::fmt::Debug for GrpcPort<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcPort").field("limits", &self.limits).finish_non_exhaustive()
    }
}
