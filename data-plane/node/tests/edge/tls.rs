//! The front door behind TLS.

use std::time::Duration;

use realtime_data_plane::FrontDoorLimits;
use realtime_testkit::route::secure;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{AUTHORITY, Node, Setup, token, within};
use crate::wire::{Client, Frame, opening, text};

fn setup() -> Setup {
    Setup { tls: true, ..Setup::default() }
}

fn target(subject: &str) -> String {
    format!("/apps/a?access_token={}", token(subject))
}

#[tokio::test]
async fn a_session_opens_speaks_and_ends_in_good_order() {
    let node = Node::start(setup()).await;
    let mut client = Client::secure(node.address).await;
    // A frame may come with the request, in the same record.
    let mut bytes = opening(&target("s"), "").into_bytes();
    bytes.extend(text(&json!({"type": "subscribe", "data": {"topic": "t"}})));
    client.send(&bytes).await;
    assert_eq!(client.json_after_upgrade().await["messageType"], "welcome");
    assert_eq!(client.json().await["topic"], "t");
    client.send(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await;
    assert_eq!(client.frame().await, Frame::Close(1000, String::new()));
    // Reading would be an error, were there no `close_notify`.
    assert!(client.end().await.is_empty());
    assert_eq!(node.counted("realtime_tls_handshakes_total"), 1);
    assert_eq!(node.counted("realtime_tls_handshake_failures_total"), 0);
}

#[tokio::test]
async fn a_refusal_closes_over_tls_too() {
    let node = Node::start(setup()).await;
    let mut client = Client::secure(node.address).await;
    client.send(opening("/apps/a?refusals=close", "").as_bytes()).await;
    assert_eq!(client.response().await.status, 101);
    assert_eq!(client.frame().await, Frame::Close(4401, "unauthenticated".into()));
    assert!(client.end().await.is_empty());
}

/// Several openings at once pass the check, and the shards find out.
#[tokio::test]
async fn a_connection_limit_reached_while_opening_closes_over_tls() {
    let settings = json!({"limits": {"nodeMaxConnections": 1}});
    let node = Node::start(Setup { settings, ..setup() }).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::secure(node.address).await);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(opening(&format!("{}&refusals=close", target(&format!("s{n}"))), "").as_bytes()).await;
    }
    let mut welcomed = 0;
    for client in &mut clients {
        assert_eq!(client.response().await.status, 101);
        match client.frame().await {
            Frame::Text(welcome) => {
                assert_eq!(welcome["messageType"], "welcome");
                welcomed += 1;
            }
            other => assert_eq!(other, Frame::Close(4429, "connection_limit".into())),
        }
    }
    assert_eq!(welcomed, 1);
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_told_so_and_other_noise_is_hung_up_on() {
    let node = Node::start(setup()).await;
    for request in [opening(&target("s"), ""), "POST /api/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()] {
        let mut client = Client::connect(node.address).await;
        client.send(request.as_bytes()).await;
        let response = client.response().await;
        assert_eq!(response.refusal(), (400, "invalid_request".into()));
        assert!(String::from_utf8_lossy(&response.body).contains("https:// or wss://"));
        assert!(client.end().await.is_empty());
    }
    let mut noise = Client::connect(node.address).await;
    noise.send(b"\x00\x01\x02").await;
    assert!(noise.end().await.is_empty());
    assert_eq!(node.counted("realtime_tls_handshake_failures_total"), 3);
}

#[tokio::test]
async fn handshakes_that_do_not_end_are_ended() {
    let limits =
        FrontDoorLimits { handshake_within: Duration::from_millis(300), ..FrontDoorLimits::default() };
    let node = Node::start(Setup { limits, ..setup() }).await;
    let silent = Client::connect(node.address).await;
    // The beginning of a client's hello, and no more.
    let mut slow = Client::connect(node.address).await;
    slow.send(&[0x16, 3, 1, 2, 0, 1, 0]).await;
    assert!(silent.end().await.is_empty());
    assert!(slow.end().await.is_empty());
    assert_eq!(node.counted("realtime_tls_handshake_failures_total"), 2);
    let mut prompt = Client::secure(node.address).await;
    prompt.send(opening(&target("s"), "").as_bytes()).await;
    assert_eq!(prompt.json_after_upgrade().await["messageType"], "welcome");
}

#[tokio::test]
async fn a_handshake_byte_by_byte_succeeds() {
    let node = Node::start(setup()).await;
    let (near, far) = tokio::io::duplex(1);
    let mut socket = TcpStream::connect(node.address).await.unwrap();
    let relay = tokio::spawn(async move {
        socket.set_nodelay(true).unwrap();
        let (mut far_read, mut far_write) = tokio::io::split(far);
        let (mut read, mut write) = socket.split();
        tokio::join!(tokio::io::copy(&mut far_read, &mut write), tokio::io::copy(&mut read, &mut far_write))
    });
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(AUTHORITY.client(&["http/1.1"]));
    let mut client = Client::over(within(connector.connect(name, near)).await.unwrap());
    client.send(opening(&target("s"), "").as_bytes()).await;
    assert_eq!(client.json_after_upgrade().await["messageType"], "welcome");
    relay.abort();
}

#[tokio::test]
async fn the_client_chooses_the_protocol_and_an_unknown_one_is_refused() {
    let node = Node::start(setup()).await;
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Ok(Some(&b"h2"[..]))),
        (&["http/1.1"], Ok(Some(b"http/1.1"))),
        (&[], Ok(None)),
        (&["h3", "spdy/3"], Err(())),
    ] {
        let socket = TcpStream::connect(node.address).await.unwrap();
        let stream = within(secure(socket, &AUTHORITY.client(offered))).await;
        let agreed = match &stream {
            Ok(stream) => Ok(stream.get_ref().1.alpn_protocol()),
            Err(error) => {
                assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
                Err(())
            }
        };
        assert_eq!(agreed, chosen, "{offered:?}");
    }
}

#[tokio::test]
async fn a_client_that_comes_back_resumes() {
    let node = Node::start(setup()).await;
    let config = AUTHORITY.client(&["http/1.1"]);
    for kind in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
        let socket = TcpStream::connect(node.address).await.unwrap();
        let mut stream = within(secure(socket, &config)).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind));
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 404"));
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_without_touching_what_is_open() {
    use realtime_data_plane::tls::{Certificate, Tls};
    use realtime_testkit::Authority;
    let issue = |authority: &Authority| {
        let pair = authority.issue();
        Certificate::from_pem(pair.chain.as_bytes(), pair.key.as_bytes()).unwrap()
    };
    let (old, new) = (Authority::new(), Authority::new());
    let tls = Tls::new(issue(&old)).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connect = async |authority: &Authority| {
        let socket = TcpStream::connect(address).await.unwrap();
        let (accepted, client) = (listener.accept().await.unwrap().0, authority.client(&["http/1.1"]));
        let acceptor = tls.http();
        let (server, client) =
            within(async { tokio::join!(acceptor.accept(accepted), secure(socket, &client)) }).await;
        server.ok().zip(client.ok())
    };
    let (mut server, mut client) = connect(&old).await.expect("trusted");
    assert!(connect(&new).await.is_none());
    tls.replace(issue(&new));
    assert!(connect(&old).await.is_none());
    assert!(connect(&new).await.is_some());
    client.write_all(b"still there").await.unwrap();
    let mut heard = [0; 11];
    within(server.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"still there");
}

#[tokio::test]
async fn a_stop_ends_idle_tls_connections_and_handshakes_and_keeps_sessions() {
    let mut node = Node::start(setup()).await;
    let mut session = Client::secure(node.address).await;
    session.send(opening(&target("s"), "").as_bytes()).await;
    session.json_after_upgrade().await;
    let idle = Client::secure(node.address).await;
    let shaking = Client::connect(node.address).await;
    node.stop();
    assert!(idle.end().await.is_empty());
    assert!(shaking.end().await.is_empty());
    session.send(&text(&json!({"type": "subscribe", "data": {"topic": "t"}}))).await;
    assert_eq!(session.json().await["topic"], "t");
    drop(session);
    node.stopped().await;
}
