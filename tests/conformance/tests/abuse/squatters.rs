//! Connections that take the gRPC port's places from operators.

use realtime_proto::generated::admin::apps_client::AppsClient;
use realtime_proto::generated::admin::{GetAppRequest, ListAppsRequest};
use realtime_testkit::server::OPERATOR_TOKEN;
use realtime_testkit::{Server, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use crate::crowd::{connect_from, crowd, reserve_sockets};

/// The places of the port (docs/configuration.md).
const PLACES: usize = 4096;
/// HTTP/2's preface and empty SETTINGS.
const SPOKEN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn channel(server: &Server) -> AppsClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc_listen())).unwrap();
    AppsClient::new(within("a channel", endpoint.connect()).await.unwrap())
}

async fn lists(apps: &mut AppsClient<Channel>) {
    let mut request = Request::new(ListAppsRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {OPERATOR_TOKEN}").parse().unwrap());
    within("the list", apps.list(request)).await.expect("the operator is let in");
}

#[tokio::test]
async fn operators_get_in_though_every_place_of_the_grpc_port_is_taken() {
    let _sockets = reserve_sockets(PLACES).await;
    let server = Server::start().await;
    let mut early = channel(&server).await;
    lists(&mut early).await;
    // Each is answered: what it speaks is HTTP/2.
    let squat = async |count| {
        crowd(count, |_| {
            let address = server.grpc_listen().to_owned();
            async move {
                let mut stream = connect_from(&address, 1).await;
                stream.write_all(SPOKEN).await.unwrap();
                within("SETTINGS", stream.read_exact(&mut [0; 9])).await.unwrap();
                stream
            }
        })
        .await
    };
    let squatters = squat(PLACES).await;
    assert_eq!(server.metric("realtime_grpc_connections").await, PLACES as u64);
    let mut late = channel(&server).await;
    lists(&mut late).await;
    // Nor does a call keep a place that no operator has made.
    let mut stranger = channel(&server).await;
    let asked = within("an answer", stranger.get(GetAppRequest::default())).await;
    assert!(matches!(asked.unwrap_err().code(), Code::Unauthenticated | Code::NotFound));
    let more = squat(PLACES / 4).await;
    for apps in [&mut early, &mut late] {
        lists(apps).await;
    }
    assert_eq!(server.metric("realtime_grpc_connections_refused_total").await, 0);
    drop((squatters, more));
}
