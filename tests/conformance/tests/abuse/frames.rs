//! RFC 6455 and 7692: frames that no honest client sends. Each ends its own connection and nothing else.

use realtime_testkit::deflate::deflate;
use realtime_testkit::raw::{BINARY, CLOSE, CONTINUATION, FIN, PING, RSV1, RSV2, RawSocket, TEXT, encode};
use realtime_testkit::{Server, TestApp, eventually_equal};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::crowd::{connect_from, crowd, read_to_end, sessions};
use crate::measure::{Baseline, Neighbour, frugal_server, three_times};

/// Bytes that violate the protocol, and the close code that answers them.
fn violations() -> Vec<(&'static str, Vec<u8>, u16)> {
    let unmasked = |first: u8, payload: &[u8]| {
        let mut frame = vec![first, u8::try_from(payload.len()).unwrap()];
        frame.extend(payload);
        frame
    };
    let long = |first: u8, length: u64| {
        let mut frame = vec![first, 0x80 | 127];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame
    };
    vec![
        ("an unmasked text", unmasked(FIN | TEXT, b"{}"), 1002),
        ("an unmasked ping", unmasked(FIN | PING, b""), 1002),
        ("an unmasked close", unmasked(FIN | CLOSE, b"\x03\xe8"), 1002),
        ("a reserved bit", encode(FIN | RSV2 | TEXT, b"{}"), 1002),
        ("compression that was not negotiated", encode(FIN | RSV1 | TEXT, b"{}"), 1002),
        ("a reserved opcode", encode(FIN | 3, b"{}"), 1002),
        ("a ping of 126 bytes", encode(FIN | PING, &[b'x'; 126]), 1002),
        ("a ping in parts", encode(PING, b"x"), 1002),
        ("a continuation of nothing", encode(FIN | CONTINUATION, b"{}"), 1002),
        ("a length of 2^62", long(FIN | BINARY, 1 << 62), 1009),
        ("a length of 2^63", long(FIN | BINARY, 1 << 63), 1002),
        ("a text that is not UTF-8", encode(FIN | TEXT, b"\xc0\xaf"), 1007),
        ("a message that is no JSON", encode(FIN | TEXT, b"]"), 1008),
        ("a close of one byte", encode(FIN | CLOSE, b"\x03"), 1002),
        ("a request after the upgrade", b"GET /api/health/status HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 1002),
        ("a TLS hello after the upgrade", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 1002),
    ]
}

#[tokio::test]
async fn violations_close_their_connections_and_are_counted() {
    const EACH: usize = 20;
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    let violations = violations();
    let baseline = Baseline::take(&server).await;
    for (what, bytes, code) in &violations {
        for mut socket in sessions(&app, EACH).await {
            socket.write(bytes).await;
            assert_eq!(socket.expect_close().await.0, *code, "{what}");
        }
    }
    neighbour.is_served().await;
    let all = (EACH * violations.len()) as u64;
    eventually_equal("violations", all, async || server.metric("realtime_violations_total").await).await;
    baseline.returns(&server).await;
}

/// What comes in one piece with the request for the upgrade is the session's first frames.
#[tokio::test]
async fn what_follows_the_upgrade_request_is_read_as_frames() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let subscribe = encode(FIN | TEXT, br#"{"type":"subscribe","data":{"topic":"t"}}"#);
    for (following, last) in [(subscribe, None), (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Some(1002))] {
        let mut stream = connect_from(server.listen(), 1).await;
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            app.path(&app.sign(json!({})))
        );
        stream.write_all(&[head.as_bytes(), &following].concat()).await.unwrap();
        let mut socket = RawSocket::answered(stream).await.unwrap();
        socket.expect_frame().await;
        match last {
            Some(code) => assert_eq!(socket.expect_close().await.0, code),
            None => {
                assert!(String::from_utf8_lossy(&socket.expect_frame().await.payload).contains("welcome"))
            }
        }
    }
}

const OFFER: (&str, &str) = ("Sec-WebSocket-Extensions", "permessage-deflate");

/// 2.3: inflating stops at the limit of a message.
#[tokio::test]
async fn deflate_bombs_are_1009_and_inflate_to_the_limit_alone() {
    let server = frugal_server().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    let (small, large) = (deflate(&vec![0; 5 << 20]), deflate(&vec![0; 64 << 20]));
    assert!(small.len() < 6000, "{}: it is the inflated size that is refused", small.len());
    let before = server.resident_bytes();
    three_times(&server, async |_| {
        for n in 0..30 {
            let mut socket = app.connect_raw(&app.sign(json!({})), &[OFFER]).await;
            match n % 3 {
                0 => socket.write_frame(FIN | RSV1 | TEXT, &small).await,
                1 => {
                    let (first, second) = small.split_at(small.len() / 2);
                    socket.write_frame(RSV1 | BINARY, first).await;
                    socket.write_frame(FIN | CONTINUATION, second).await;
                }
                _ => socket.write(&encode(FIN | RSV1 | BINARY, &large)[..8000]).await,
            }
            assert_eq!(socket.expect_close().await.0, 1009);
        }
        neighbour.is_served().await;
        let held = server.resident_bytes().saturating_sub(before);
        assert!(held < (5 << 20), "{held} bytes");
    })
    .await;
}

/// A message may come in any number of frames, empty ones too; it is its bytes that are kept.
#[tokio::test]
async fn fragments_without_end_keep_no_more_than_a_message() {
    let server = frugal_server().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    three_times(&server, async |_| {
        let mut socket = app.connect_raw(&app.sign(json!({})), &[]).await;
        socket.expect_frame().await;
        socket.write_frame(TEXT, b"{").await;
        let empty = encode(CONTINUATION, b"").repeat(10_000);
        for _ in 0..10 {
            socket.write(&empty).await;
        }
        // A ping may come between: its answer says that all has been read.
        socket.write_frame(FIN | PING, b"read").await;
        assert_eq!(socket.expect_frame().await.payload, b"read");
        eventually_equal("a message's beginning", true, async || {
            (1..1024).contains(&server.metric("realtime_unfinished_bytes").await)
        })
        .await;
        neighbour.is_served().await;
        socket.write(&encode(CONTINUATION, b" ").repeat(5200)).await;
        assert_eq!(socket.expect_close().await.0, 1009);
    })
    .await;
}

#[tokio::test]
async fn unfinished_messages_are_accounted_and_go_with_their_connections() {
    const COUNT: usize = 500;
    const BYTES: usize = 5000;
    let server = frugal_server().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    let begun = &encode(FIN | TEXT, &[b' '; BYTES + 100])[..BYTES + 8];
    three_times(&server, async |_| {
        let mut sockets = sessions(&app, COUNT).await;
        for socket in &mut sockets {
            socket.write(begun).await;
        }
        eventually_equal("unfinished messages", true, async || {
            server.metric("realtime_unfinished_bytes").await >= (COUNT * BYTES) as u64
        })
        .await;
        let held = server.metric("realtime_unfinished_bytes").await;
        assert!(held <= (COUNT * (2 * BYTES + 256)) as u64, "{held} bytes");
        neighbour.is_served().await;
    })
    .await;
}

/// 2.1: who is refused in WebSocket form and does not close, or goes on talking, is cut off.
#[tokio::test]
async fn refused_clients_that_do_not_close_are_cut_off() {
    let server = frugal_server().await;
    let app = server.app().create().await;
    three_times(&server, async |_| {
        let path = format!("{}?refusals=close", app.path(""));
        let mut refused = crowd(50, |_| {
            let (address, path) = (server.listen().to_owned(), path.clone());
            async move { RawSocket::open(&address, &path, &[]).await.unwrap() }
        })
        .await;
        for socket in &mut refused {
            let close = socket.read_frame().await.expect("a close frame").close();
            assert_eq!(close, (4401, "unauthenticated".into()));
        }
        // Nobody closes; some talk.
        for socket in refused.iter_mut().take(10) {
            let _ = socket.stream.write_all(&[0; 10_000]).await;
        }
        for mut socket in refused {
            read_to_end(&mut socket.stream).await;
        }
    })
    .await;
}

/// Connections of an app whose every frame is a violation do not disturb it.
#[tokio::test]
async fn a_broken_client_does_not_disturb_its_own_app() {
    let server = Server::start().await;
    let app: TestApp = server.app().set("tier", "unlimited").create().await;
    let mut healthy = app.connect("healthy", &[crate::PUBLISH]).await;
    healthy.subscribe("t").await;
    for _ in 0..50 {
        let mut broken = app.connect_raw(&app.sign(json!({})), &[]).await;
        broken.write_text(r#"{"type":"subscribe","data":{"topic":"t"}}"#).await;
        broken.write(b"\xff\xff\xff\xff").await;
        assert_eq!(broken.expect_close().await.0, 1002);
        healthy.publish("t", "x").await;
        assert_eq!(healthy.expect("t", "broadcast").await["payload"], "x");
    }
}
