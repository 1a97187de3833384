//! The gRPC port's connections before and after they speak.

use std::net::SocketAddr;
use std::time::Duration;

use realtime_data_plane::grpc_port::GrpcConnections;
use realtime_data_plane::{Cluster, GrpcPort, GrpcPortLimits, PubSubService};
use realtime_proto::generated::pubsub::pub_sub_client::PubSubClient;
use realtime_proto::generated::pubsub::pub_sub_server::PubSubServer;
use realtime_proto::generated::pubsub::{ListTopicsRequest, PublishRequest, PublishStreamRequest};
use realtime_testkit::route::secure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Server};
use tonic::{Code, Request};

use crate::fixture::{AUTHORITY, Node, OPERATOR_TOKEN, Setup, TLS, admin_token, within};
use crate::wire::Client;

const CONNECTIONS: &str = "realtime_grpc_connections";
const REFUSED: &str = "realtime_grpc_connections_refused_total";
const FAILED: &str = "realtime_grpc_handshake_failures_total";

/// Ends nothing before a test does.
const LIMITS: GrpcPortLimits = GrpcPortLimits { connections: 8, handshake_within: Duration::from_secs(3600) };

/// A node's PubSub service behind a gRPC port.
struct Port {
    address: SocketAddr,
    secure: bool,
    connections: GrpcConnections,
    node: Node,
    stop: oneshot::Sender<()>,
    accepting: JoinHandle<()>,
    serving: JoinHandle<()>,
}

impl Port {
    async fn start(secure: bool, limits: GrpcPortLimits) -> Self {
        let node = Node::start(Setup::default()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let port = GrpcPort::new(secure.then(|| TLS.grpc())).with_limits(limits);
        let connections = port.connections();
        let layer = port.layer();
        let (incoming, accepting) = port.accept(listener);
        let (stop, stopped) = oneshot::channel();
        let cluster = Cluster::alone(node.shards.clone());
        let service = PubSubServer::new(PubSubService::new(cluster, node.gate.clone()));
        let served = Server::builder().layer(layer).add_service(service).serve_with_incoming_shutdown(
            incoming,
            async {
                let _ = stopped.await;
            },
        );
        let serving = tokio::spawn(async move { served.await.unwrap() });
        let accepting = tokio::spawn(accepting);
        Self { address, secure, connections, node, stop, accepting, serving }
    }

    async fn counted(&self, name: &str, value: u64) {
        let read =
            || self.connections.counters().into_iter().find(|(counted, _)| *counted == name).unwrap().1;
        self.node.eventually(&format!("{name} to be {value}"), |_| read() == value).await;
    }

    async fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        let scheme = if self.secure { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.address)).unwrap();
        if self.secure {
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(AUTHORITY.pem()));
            endpoint = endpoint.tls_config(tls).unwrap();
        }
        within(endpoint.connect()).await
    }

    /// A connection over which a call was answered.
    async fn client(&self) -> PubSubClient<Channel> {
        let mut client = PubSubClient::new(self.channel().await.unwrap());
        works(&mut client).await;
        client
    }

    /// Connections that never say a word.
    async fn silent(&self, count: usize) -> Vec<Client> {
        let mut silent = Vec::new();
        for _ in 0..count {
            silent.push(Client::connect(self.address).await);
        }
        silent
    }
}

/// A call that is answered.
fn call() -> Request<ListTopicsRequest> {
    let mut request = Request::new(ListTopicsRequest { app_id: "a".into(), ..Default::default() });
    let bearer = format!("Bearer {OPERATOR_TOKEN}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

async fn works(client: &mut PubSubClient<Channel>) {
    assert!(within(client.list_topics(call())).await.is_ok());
}

#[tokio::test]
async fn silent_connections_give_way_and_hold_nobody_up() {
    for secure in [false, true] {
        let port = Port::start(secure, LIMITS).await;
        let silent = port.silent(3 * LIMITS.connections).await;
        // The first ones had to make room for the last.
        port.counted(FAILED, 2 * LIMITS.connections as u64).await;
        let mut client = port.client().await;
        port.counted(CONNECTIONS, LIMITS.connections as u64).await;
        port.counted(REFUSED, 0).await;
        works(&mut client).await;
        drop(silent);
        port.counted(CONNECTIONS, 1).await;
        drop(client);
        port.counted(CONNECTIONS, 0).await;
    }
}

/// HTTP/2's preface, SETTINGS and a PING.
const SPOKEN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x08\x06\0\0\0\0\0ping-me!";

#[tokio::test]
async fn who_speaks_and_calls_nothing_gives_way_like_the_silent() {
    let port = Port::start(false, LIMITS).await;
    let mut early = port.client().await;
    let mut squatters = Vec::new();
    for n in 1..3 * LIMITS.connections {
        let mut squatter = Client::connect(port.address).await;
        if n % 2 == 0 {
            squatter.send(SPOKEN).await;
            squatter.read_until(b"ping-me!").await;
        } else {
            squatter.send(&SPOKEN[..24]).await;
        }
        squatters.push(squatter);
    }
    port.counted(CONNECTIONS, LIMITS.connections as u64).await;
    let mut clients = Vec::new();
    for _ in 1..LIMITS.connections {
        clients.push(port.client().await);
    }
    // The longest first, until there were none left; those who had called have stayed.
    for squatter in squatters {
        squatter.end().await;
    }
    works(&mut early).await;
    for client in &mut clients {
        works(client).await;
    }
    port.counted(FAILED, 3 * LIMITS.connections as u64 - 1).await;
    port.counted(CONNECTIONS, LIMITS.connections as u64).await;
    port.counted(REFUSED, 0).await;
}

#[tokio::test]
async fn calls_without_a_good_token_keep_no_place() {
    let port = Port::start(false, GrpcPortLimits { connections: 2, ..LIMITS }).await;
    let stranger = || async { PubSubClient::new(port.channel().await.unwrap()) };
    let forged = || {
        let mut request = call();
        request.metadata_mut().insert("authorization", "Bearer forged".parse().unwrap());
        request
    };
    let mut strangers = [stranger().await, stranger().await];
    assert_eq!(within(strangers[0].list_topics(forged())).await.unwrap_err().code(), Code::Unauthenticated);
    // A stream is taken up before anything on it is looked at.
    let publish = PublishRequest { app_id: "a".into(), topic: "t".into(), ..Default::default() };
    let first = PublishStreamRequest { sequence: 1, publish: Some(publish) };
    let requests = tokio_stream::iter([first]).chain(tokio_stream::pending());
    let mut answers = within(strangers[1].publish_stream(requests)).await.unwrap().into_inner();
    assert!(within(answers.message()).await.unwrap().is_some());
    let mut clients = [port.client().await, port.client().await];
    assert!(within(answers.message()).await.is_err(), "it gave way");
    for client in &mut clients {
        works(client).await;
    }
    port.counted(FAILED, 2).await;
    assert!(Client::connect(port.address).await.end().await.is_empty());
}

/// However many connections an application's callers have, operators get in.
#[tokio::test]
async fn applications_callers_keep_three_quarters_of_the_places() {
    let port = Port::start(false, LIMITS).await;
    let asks = async |client: &mut PubSubClient<Channel>| {
        let mut request = call();
        let token = admin_token(&["realtime:admin:manage:subscribers"]);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        assert!(within(client.list_topics(request)).await.is_ok());
    };
    let mut callers = Vec::new();
    for _ in 0..LIMITS.connections {
        let mut caller = PubSubClient::new(port.channel().await.unwrap());
        asks(&mut caller).await;
        callers.push(caller);
    }
    let mut operators = [port.client().await, port.client().await];
    port.counted(FAILED, 2).await;
    port.counted(REFUSED, 0).await;
    for caller in &mut callers[..6] {
        asks(caller).await;
    }
    for operator in &mut operators {
        works(operator).await;
    }
    assert!(Client::connect(port.address).await.end().await.is_empty());
    port.counted(REFUSED, 1).await;
    port.counted(FAILED, 2).await;
}

/// A client that reads nothing keeps the server from waiting for what it sends.
#[tokio::test]
async fn who_does_not_read_gives_way_as_well() {
    let port = Port::start(false, GrpcPortLimits { connections: 1, ..LIMITS }).await;
    let mut squatter = TcpStream::connect(port.address).await.unwrap();
    squatter.write_all(SPOKEN).await.unwrap();
    let pings = b"\0\0\x08\x06\0\0\0\0\0ping-me!".repeat(4096);
    // Until nothing more is taken, or the server has enough of it.
    while let Ok(Ok(())) = timeout(Duration::from_millis(200), squatter.write_all(&pings)).await {}
    port.client().await;
    port.counted(CONNECTIONS, 1).await;
}

#[tokio::test]
async fn connections_of_callers_keep_their_places_and_one_too_many_is_refused() {
    let port = Port::start(false, GrpcPortLimits { connections: 2, ..LIMITS }).await;
    let (mut first, mut second) = (port.client().await, port.client().await);
    for refused in 1..4 {
        assert!(Client::connect(port.address).await.end().await.is_empty());
        port.counted(REFUSED, refused).await;
    }
    works(&mut first).await;
    works(&mut second).await;
    drop(first);
    port.counted(CONNECTIONS, 1).await;
    port.client().await;
}

#[tokio::test]
async fn handshake_and_preface_have_one_limit_in_time() {
    let limits = GrpcPortLimits { handshake_within: Duration::from_millis(300), ..LIMITS };
    for secure_port in [false, true] {
        let port = Port::start(secure_port, limits).await;
        let silent = Client::connect(port.address).await;
        // The beginning of a client's hello, or of the preface, and no more.
        let mut slow = Client::connect(port.address).await;
        slow.send(if secure_port { &[0x16, 3, 1, 2, 0, 1, 0] } else { b"PRI * HTTP/2.0\r\n\r\nSM\r\n" })
            .await;
        assert!(silent.end().await.is_empty() && slow.end().await.is_empty());
        let mut failed = 2;
        if secure_port {
            let socket = TcpStream::connect(port.address).await.unwrap();
            let mut shaken = within(secure(socket, &AUTHORITY.client(&["h2"]))).await.unwrap();
            let mut rest = Vec::new();
            // With or without the TLS connection's end in good order.
            let _ = within(shaken.read_to_end(&mut rest)).await;
            assert!(rest.is_empty());
            failed += 1;
        }
        port.counted(FAILED, failed).await;
        // Who speaks is not concerned, while another's time runs out.
        let mut client = port.client().await;
        assert!(Client::connect(port.address).await.end().await.is_empty());
        works(&mut client).await;
        port.counted(CONNECTIONS, 1).await;
    }
}

#[tokio::test]
async fn what_is_no_http_2_is_told_so_at_once() {
    let port = Port::start(false, LIMITS).await;
    for (n, noise) in
        [&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..], b"PRI * HTTP/1.1", &[0x16, 3, 1]].into_iter().enumerate()
    {
        let mut client = Client::connect(port.address).await;
        client.send(noise).await;
        let answer = String::from_utf8(client.end().await).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("\r\n\r\nthis port speaks gRPC\n"),
            "{answer}"
        );
        port.counted(FAILED, n as u64 + 1).await;
    }
    port.counted(CONNECTIONS, 0).await;
}

#[tokio::test]
async fn a_preface_byte_by_byte_is_taken() {
    let port = Port::start(false, LIMITS).await;
    let mut client = Client::connect(port.address).await;
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        client.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    // SETTINGS, and a PING, which is answered.
    client.send(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    client.send(&[&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], b"ping-me!"].concat()).await;
    client.read_until(b"ping-me!").await;
}

#[tokio::test]
async fn a_stop_ends_those_who_have_not_spoken() {
    let port = Port::start(true, LIMITS).await;
    let silent = port.silent(2).await;
    port.counted(CONNECTIONS, 2).await;
    port.stop.send(()).unwrap();
    within(port.serving).await.unwrap();
    within(port.accepting).await.unwrap();
    for client in silent {
        assert!(client.end().await.is_empty());
    }
}

#[tokio::test]
async fn metadata_over_16_kib_is_refused_and_the_connection_goes_on() {
    let port = Port::start(false, LIMITS).await;
    let mut client = port.client().await;
    let padded = |bytes: usize| {
        let mut request = call();
        request.metadata_mut().insert("x-padding", "p".repeat(bytes).parse().unwrap());
        request
    };
    assert!(within(client.list_topics(padded(15 * 1024))).await.is_ok());
    let refused = within(client.list_topics(padded(16 * 1024))).await.unwrap_err();
    assert!(refused.message().contains("431"), "{refused:?}");
    works(&mut client).await;
    port.counted(CONNECTIONS, 1).await;
}
