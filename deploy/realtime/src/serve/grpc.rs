//! The gRPC port: PubSub for services, Apps, Settings and Nodes for operators. Never Discovery, which carries
//! secrets and stays inside the process.

use std::future::Future;
use std::io;
use std::time::Duration;

use realtime_data_plane::tls::{Acceptor, Transport};
use realtime_proto::generated::admin::apps_server::{Apps, AppsServer};
use realtime_proto::generated::admin::nodes_server::{Nodes, NodesServer};
use realtime_proto::generated::admin::settings_server::{Settings, SettingsServer};
use realtime_proto::generated::pubsub::pub_sub_server::{PubSub, PubSubServer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

/// Dead peers are noticed within half a minute; shorter would wake idle mobile links for nothing.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests of one connection at a time, streams included.
const STREAMS_PER_CONNECTION: u32 = 256;

/// TLS handshakes at one time; further connections wait in the backlog.
const HANDSHAKES: usize = 256;
/// As on the public port.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// After a failed `accept` (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections of a listener, ready to speak gRPC.
pub(super) type Incoming = ReceiverStream<io::Result<Transport>>;

/// Accepts connections for as long as somebody takes them, with TLS where there is an acceptor: the connections, and
/// the work, which ends when they are dropped.
pub(super) fn incoming(
    listener: TcpListener,
    acceptor: Option<Acceptor>,
) -> (Incoming, impl Future<Output = ()> + Send) {
    let (sender, receiver) = mpsc::channel(1);
    let work = async move {
        let mut handshakes = JoinSet::new();
        loop {
            tokio::select! {
                () = sender.closed() => return,
                Some(_) = handshakes.join_next() => {}
                accepted = listener.accept(), if handshakes.len() < HANDSHAKES => match accepted {
                    Ok((socket, _)) => {
                        handshakes.spawn(hand_on(socket, acceptor.clone(), sender.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accepting on the gRPC port");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    };
    (ReceiverStream::new(receiver), work)
}

async fn hand_on(socket: TcpStream, acceptor: Option<Acceptor>, sender: mpsc::Sender<io::Result<Transport>>) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let transport = match acceptor {
        None => Transport::Plain(socket),
        Some(acceptor) => match timeout(HANDSHAKE_WITHIN, acceptor.accept(socket)).await {
            Ok(Ok(stream)) => Transport::Tls(Box::new(stream)),
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake on the gRPC port"),
            Err(_) => return tracing::debug!("a TLS handshake on the gRPC port took too long"),
        },
    };
    // The server has stopped meanwhile: the client sees the connection end.
    let _ = sender.send(Ok(transport)).await;
}

/// Serves until `shutdown` resolves; requests in flight are finished.
pub(super) async fn serve(
    incoming: Incoming,
    pubsub: impl PubSub,
    apps: impl Apps,
    settings: impl Settings,
    nodes: impl Nodes,
    shutdown: impl Future<Output = ()> + Send,
) {
    let served = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION))
        .add_service(PubSubServer::new(pubsub))
        .add_service(AppsServer::new(apps))
        .add_service(SettingsServer::new(settings))
        .add_service(NodesServer::new(nodes))
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the gRPC port");
    }
}
