//! HTTP/2 on the TLS port: the same routes, its own bounds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use realtime_auth::ClientAddress;
use realtime_data_plane::{Fallback, FrontDoorLimits};
use realtime_testkit::route::Route;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tower::util::BoxCloneSyncService;

use crate::fixture::{AUTHORITY, Node, Setup, token, within};

type Body = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

fn empty() -> Body {
    Empty::new().boxed()
}

/// Answers with method, path, client address and body, once `gate` lets it.
fn echo(gate: Arc<Semaphore>) -> Fallback {
    BoxCloneSyncService::new(tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            let address = request.extensions().get::<ClientAddress>().unwrap().0;
            let head = format!("{} {} {address} ", request.method(), request.uri().path());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let answer = [head.as_bytes(), &body].concat();
            Ok(Response::new(Full::new(Bytes::from(answer)).map_err(|never| match never {}).boxed()))
        }
    }))
}

fn setup(permits: usize) -> Setup {
    Setup { tls: true, fallback: Some(echo(Arc::new(Semaphore::new(permits)))), ..Setup::default() }
}

/// A client's side of one connection, and how it ends.
struct Http2 {
    requests: SendRequest<Body>,
    ended: JoinHandle<hyper::Result<()>>,
}

async fn connect(node: &Node) -> Http2 {
    let route = Route { tls: Some(AUTHORITY.client(&["h2"])), proxied_from: None };
    let stream = within(route.connect(&node.address.to_string())).await.unwrap();
    let (requests, connection) = within(handshake(TokioExecutor::new(), TokioIo::new(stream))).await.unwrap();
    Http2 { requests, ended: tokio::spawn(connection) }
}

fn request(method: &str, target: &str, body: Body) -> Request<Body> {
    let uri = format!("https://h{target}");
    Request::builder().method(method).uri(uri).version(Version::HTTP_2).body(body).unwrap()
}

impl Http2 {
    async fn ask(&mut self, request: Request<Body>) -> (http::response::Parts, Vec<u8>) {
        let (head, body) = within(self.requests.send_request(request)).await.unwrap().into_parts();
        (head, within(body.collect()).await.unwrap().to_bytes().to_vec())
    }

    async fn problem(&mut self, request: Request<Body>) -> (u16, Value) {
        let (head, body) = self.ask(request).await;
        assert_eq!(head.headers["content-type"], "application/problem+json");
        for name in ["connection", "upgrade", "transfer-encoding"] {
            assert!(!head.headers.contains_key(name), "{name} has no place in HTTP/2");
        }
        (head.status.as_u16(), serde_json::from_slice(&body).unwrap())
    }
}

#[tokio::test]
async fn the_fallback_serves_many_requests_at_once_with_the_clients_address() {
    let settings = json!({"trustedProxies": ["127.0.0.1"]});
    let node = Node::start(Setup { settings, ..setup(Semaphore::MAX_PERMITS) }).await;
    let mut client = connect(&node).await;
    // Before its settings have come, a client does not know how many requests the server takes at once.
    client.ask(request("GET", "/apps/a", empty())).await;
    let answers = (0..200).map(|n| {
        let mut sender = client.requests.clone();
        async move {
            let body = Full::new(Bytes::from(vec![b'x'; n * 20])).boxed();
            let mut request = request("POST", &format!("/api/{n}"), body);
            request.headers_mut().insert("x-forwarded-for", "192.0.2.7".parse().unwrap());
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.version(), Version::HTTP_2);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, format!("POST /api/{n} 192.0.2.7 {}", "x".repeat(n * 20)));
        }
    });
    within(futures_util::future::join_all(answers)).await;
}

#[tokio::test]
async fn a_websocket_is_told_to_come_over_http_1_1() {
    let node = Node::start(setup(0)).await;
    let mut client = connect(&node).await;
    let target = format!("/apps/a?access_token={}", token("s"));
    let (status, problem) = client.problem(request("GET", &target, empty())).await;
    assert_eq!((status, &problem["code"]), (426, &json!("upgrade_required")));
    assert!(problem["detail"].as_str().unwrap().contains("HTTP/1.1"), "{problem}");
    let (status, _) = client.problem(request("POST", &target, empty())).await;
    assert_eq!(status, 405);
}

#[tokio::test]
async fn headers_have_the_bound_that_they_have_everywhere() {
    let node = Node::start(setup(Semaphore::MAX_PERMITS)).await;
    let mut client = connect(&node).await;
    let padded = |bytes: usize| {
        let mut request = request("GET", "/api/x", empty());
        request.headers_mut().insert("x-padding", "p".repeat(bytes).parse().unwrap());
        request
    };
    // As on the wire of HTTP/1.1: request line, and each header with its line's end.
    let frame = "GET /api/x HTTP/1.1\r\n".len() + "x-padding: \r\n".len();
    assert_eq!(client.ask(padded(16 * 1024 - frame)).await.0.status, 200);
    let (status, problem) = client.problem(padded(16 * 1024 - frame + 1)).await;
    assert_eq!((status, &problem["code"]), (431, &json!("headers_too_large")));
    // Far over it there is no more than the status, and the connection goes on.
    assert_eq!(client.ask(padded(100 * 1024)).await.0.status, 431);
    assert_eq!(client.ask(padded(1)).await.0.status, 200);
}

#[tokio::test]
async fn idle_connections_are_ended_and_busy_ones_are_not() {
    let limits = FrontDoorLimits { headers_within: Duration::from_millis(300), ..FrontDoorLimits::default() };
    let gate = Arc::new(Semaphore::new(0));
    let node = Node::start(Setup { limits, fallback: Some(echo(Arc::clone(&gate))), ..setup(0) }).await;
    let (idle, mut busy) = (connect(&node).await, connect(&node).await);
    let answer = busy.requests.send_request(request("GET", "/api/x", empty()));
    assert!(within(idle.ended).await.unwrap().is_ok(), "a GOAWAY, and the end");
    gate.add_permits(1);
    assert_eq!(within(answer).await.unwrap().status(), 200);
    assert!(within(busy.ended).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_stop_lets_requests_finish() {
    let gate = Arc::new(Semaphore::new(0));
    let mut node = Node::start(Setup { fallback: Some(echo(Arc::clone(&gate))), ..setup(0) }).await;
    let mut client = connect(&node).await;
    let answer = tokio::spawn(client.requests.send_request(request("GET", "/api/x", empty())));
    // Settings were exchanged once this is refused at the front door, which has no gate: the other is under way.
    assert_eq!(client.ask(request("GET", "/apps/a", empty())).await.0.status, 426);
    node.stop();
    gate.add_permits(1);
    assert_eq!(within(answer).await.unwrap().unwrap().status(), 200);
    assert!(within(client.ended).await.unwrap().is_ok());
    node.stopped().await;
}

/// Frames as a hostile client writes them.
struct Frames(realtime_testkit::Connection);

impl Frames {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    const CONTINUATION: u8 = 9;

    async fn connect(node: &Node) -> Self {
        let route = Route { tls: Some(AUTHORITY.client(&["h2"])), proxied_from: None };
        let mut stream = within(route.connect(&node.address.to_string())).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut frames = Self(stream);
        assert!(frames.send(Self::SETTINGS, 0, 0, &[]).await);
        frames
    }

    /// `false`: the connection has ended.
    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat()).await.is_ok() && self.0.flush().await.is_ok()
    }

    /// The server's next frame: kind and payload; `None`: the connection has ended.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[3], payload))
    }

    /// The payload of the server's next frame of this kind.
    async fn expect(&mut self, kind: u8) -> Option<Vec<u8>> {
        loop {
            let (found, payload) = self.next().await?;
            if found == kind {
                return Some(payload);
            }
        }
    }

    /// The error code of the server's GOAWAY; `None`: the connection ended without.
    async fn goaway(mut self) -> Option<u32> {
        let payload = self.expect(Self::GOAWAY).await?;
        Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()))
    }
}

/// `GET https://h/api/x`, as HPACK's static table and literals have it.
const HEAD: &[u8] = b"\x82\x87\x04\x06/api/x\x01\x01h";

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection() {
    let node = Node::start(setup(0)).await;
    let mut frames = Frames::connect(&node).await;
    // END_STREAM and END_HEADERS; CANCEL.
    for stream in (1..20_001).step_by(2) {
        let sent = frames.send(Frames::HEADERS, 5, stream, HEAD).await
            && frames.send(Frames::RST_STREAM, 0, stream, &[0, 0, 0, 8]).await;
        if !sent {
            break;
        }
    }
    // ENHANCE_YOUR_CALM, unless the end of the connection overtakes it.
    assert!(matches!(within(frames.goaway()).await, Some(0xb) | None));
    // Others do not notice.
    let mut other = connect(&node).await;
    assert_eq!(other.ask(request("GET", "/apps/a", empty())).await.0.status, 426);
}

#[tokio::test]
async fn headers_without_end_end_the_connection() {
    let node = Node::start(setup(0)).await;
    let mut frames = Frames::connect(&node).await;
    assert!(frames.send(Frames::HEADERS, 0, 1, HEAD).await);
    // Literal headers without indexing, a kilobyte each.
    let header = [&b"\x00\x01a\x7f\xea\x06"[..], &[b'x'; 1001]].concat();
    for _ in 0..10_000 {
        if !frames.send(Frames::CONTINUATION, 0, 1, &header).await {
            break;
        }
    }
    assert!(matches!(within(frames.goaway()).await, Some(1..) | None));
}

#[tokio::test]
async fn extended_connect_is_not_offered() {
    let node = Node::start(setup(0)).await;
    let mut frames = Frames::connect(&node).await;
    let settings = within(frames.expect(Frames::SETTINGS)).await.unwrap();
    let ids: Vec<_> = settings.chunks(6).map(|s| u16::from_be_bytes([s[0], s[1]])).collect();
    assert!(!ids.is_empty() && !ids.contains(&8), "{ids:?}");
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    let node = Node::start(setup(Semaphore::MAX_PERMITS)).await;
    let mut frames = Frames::connect(&node).await;
    let host = b"\x00\x04host\x01h";
    let nameless = &HEAD[..HEAD.len() - 3];
    // The status is an entry of HPACK's static table: 200, 400.
    for (stream, head, status) in [
        (1, HEAD.to_vec(), 0x88),
        (3, [nameless, host].concat(), 0x88),
        (5, [HEAD, host].concat(), 0x88),
        (7, nameless.to_vec(), 0x8c),
        (9, [HEAD, host, host].concat(), 0x8c),
    ] {
        assert!(frames.send(Frames::HEADERS, 5, stream, &head).await);
        let answer = within(frames.expect(Frames::HEADERS)).await.unwrap();
        assert_eq!(answer[0], status, "stream {stream}");
    }
}

/// One header that comes in frames of 16 KiB, as clients send it: 431 up to about 112 KiB, and the connection goes on.
#[tokio::test]
async fn a_head_in_more_frames_than_clients_need_ends_the_connection() {
    let node = Node::start(setup(0)).await;
    // Literal without indexing, name and value not compressed; the value's length (RFC 7541, 5.1) has three bytes.
    let head = |value: usize| {
        let rest = value - 127;
        let length = [0x7f, 0x80 | (rest & 127) as u8, 0x80 | (rest >> 7 & 127) as u8, (rest >> 14) as u8];
        [HEAD, b"\x00\x01a", &length, &vec![b'x'; value]].concat()
    };
    for (kib, refused) in [(63, true), (100, true), (200, false)] {
        let mut frames = Frames::connect(&node).await;
        let head = head(kib * 1024);
        let mut parts = head.chunks(16 * 1024).peekable();
        // END_STREAM; the last frame has END_HEADERS.
        let (mut kind, mut flags) = (Frames::HEADERS, 1);
        while let Some(part) = parts.next() {
            flags |= if parts.peek().is_none() { 4 } else { 0 };
            if !frames.send(kind, flags, 1, part).await {
                break;
            }
            (kind, flags) = (Frames::CONTINUATION, 0);
        }
        if refused {
            let answer = within(frames.expect(Frames::HEADERS)).await.unwrap();
            // A literal for `:status`, which the static table has at 8; the value is Huffman's for 431.
            assert_eq!(answer[..5], [0x48, 0x83, 0x69, 0x90, 0xff], "{kib} KiB");
            assert!(frames.send(Frames::PING, 0, 0, b"goes on!").await);
            assert_eq!(within(frames.expect(Frames::PING)).await.unwrap(), b"goes on!");
        } else {
            // ENHANCE_YOUR_CALM, unless the end of the connection overtakes it.
            assert!(matches!(within(frames.goaway()).await, Some(0xb) | None), "{kib} KiB");
        }
    }
}
