//! gRPC ports: serving services on the connections that a port accepts.

use std::time::Duration;

use realtime_data_plane::GrpcPort;
use realtime_data_plane::grpc_port::Handshake;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use super::tasks::Tasks;

/// Dead callers are noticed within half a minute; shorter would wake idle mobile links for nothing.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests of one connection at a time, streams included.
const STREAMS_PER_CONNECTION: u32 = 256;

/// A server for callers from anywhere.
pub(super) fn public_server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION))
}

/// Serves until the tasks stop; requests in flight are finished.
pub(super) fn serve<H>(
    listener: TcpListener,
    port: GrpcPort<H>,
    (server, services): (Server, Routes),
    tasks: &mut Tasks,
) where
    H: Handshake,
    H::Connection: Connected,
{
    let services = server.layer(port.layer()).add_routes(services);
    let (incoming, accepting) = port.accept(listener);
    tasks.spawn_until_stop("gRPC listener", accepting);
    let served = services.serve_with_incoming_shutdown(incoming, tasks.stopping());
    tasks.spawn("gRPC port", async {
        if let Err(error) = served.await {
            tracing::error!(%error, "the gRPC port");
        }
    });
}
