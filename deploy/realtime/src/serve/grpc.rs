//! The gRPC port: PubSub for services, Apps, Settings and Nodes for operators. Never Discovery, which carries
//! secrets and stays inside the process.

use std::future::Future;
use std::time::Duration;

use realtime_data_plane::grpc_port::Incoming;
use realtime_data_plane::tls::Transport;
use realtime_proto::generated::admin::apps_server::{Apps, AppsServer};
use realtime_proto::generated::admin::nodes_server::{Nodes, NodesServer};
use realtime_proto::generated::admin::settings_server::{Settings, SettingsServer};
use realtime_proto::generated::pubsub::pub_sub_server::{PubSub, PubSubServer};

/// Dead peers are noticed within half a minute; shorter would wake idle mobile links for nothing.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests of one connection at a time, streams included.
const STREAMS_PER_CONNECTION: u32 = 256;

/// Serves until `shutdown` resolves; requests in flight are finished.
pub(super) async fn serve(
    incoming: Incoming<Transport>,
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
