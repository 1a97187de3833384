//! 2.3: limits of size, and what RFC 6455 asks besides the cases of `tests/autobahn`.

use realtime_testkit::raw::{BINARY, CONTINUATION, FIN, TEXT, encode};
use realtime_testkit::route::connect;
use realtime_testkit::{RawSocket, Server, TestApp, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::PUBLISH;

async fn raw(app: &TestApp) -> RawSocket {
    let mut socket = app.connect_raw(&app.sign(json!({"permissions": [PUBLISH]})), &[]).await;
    socket.expect_frame().await;
    socket
}

/// A valid frame of exactly `length` bytes.
fn subscription_of(length: usize) -> String {
    let head = r#"{"type":"subscribe","data":{"topic":"t"},"pad":""#;
    let tail = r#""}"#;
    format!("{head}{}{tail}", "x".repeat(length - head.len() - tail.len()))
}

async fn expect_welcome(socket: &mut RawSocket, topic: &str) {
    let frame: Value = serde_json::from_slice(&socket.expect_frame().await.payload).unwrap();
    assert_eq!((&frame["messageType"], &frame["topic"]), (&json!("welcome"), &json!(topic)), "{frame}");
}

#[tokio::test]
async fn a_message_of_5120_bytes_is_taken_and_one_more_byte_closes_with_1009() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut socket = raw(&app).await;
    socket.write_text(&subscription_of(5120)).await;
    expect_welcome(&mut socket, "t").await;
    socket.write_text(&subscription_of(5121)).await;
    assert_eq!(socket.expect_close().await, (1009, "Message too big".into()));
}

#[tokio::test]
async fn a_header_that_announces_too_much_is_enough_for_1009() {
    let server = Server::start().await;
    let app = server.app().create().await;
    for length in [5121_u64, u64::MAX >> 1] {
        let mut socket = raw(&app).await;
        let mut head = vec![FIN | TEXT, 0xff];
        head.extend(length.to_be_bytes());
        head.extend([1, 2, 3, 4]);
        if length <= u64::from(u16::MAX) {
            head = vec![FIN | TEXT, 0xfe];
            head.extend(u16::try_from(length).unwrap().to_be_bytes());
            head.extend([1, 2, 3, 4]);
        }
        socket.write(&head).await;
        assert_eq!(socket.expect_close().await.0, 1009, "{length}");
    }
}

#[tokio::test]
async fn fragments_add_up_to_the_limit() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let text = subscription_of(5120);
    let mut socket = raw(&app).await;
    let (first, rest) = text.as_bytes().split_at(3000);
    socket.write_frame(TEXT, first).await;
    socket.write_frame(FIN | CONTINUATION, rest).await;
    expect_welcome(&mut socket, "t").await;
    socket.write_frame(TEXT, first).await;
    socket.write_frame(CONTINUATION, rest).await;
    socket.write_frame(FIN | CONTINUATION, b" ").await;
    assert_eq!(socket.expect_close().await.0, 1009);
}

#[tokio::test]
async fn many_messages_may_come_at_once() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut socket = raw(&app).await;
    let frames: Vec<u8> = (0..20)
        .flat_map(|n| {
            let text = json!({"type": "subscribe", "data": {"topic": format!("t{n}")}}).to_string();
            encode(FIN | TEXT, text.as_bytes())
        })
        .collect();
    socket.write(&frames).await;
    for n in 0..20 {
        expect_welcome(&mut socket, &format!("t{n}")).await;
    }
}

/// A length in more bytes than it needs.
fn stretched(length: &[u8]) -> Vec<u8> {
    [&[FIN | TEXT][..], length, &[0; 4], b"{}"].concat()
}

#[tokio::test]
async fn frames_that_are_not_masked_or_have_a_wrong_length_close_with_1002() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let violations = [
        ("not masked", [&[FIN | TEXT, 2][..], b"{}"].concat()),
        ("a length of 2 in two bytes", stretched(&[0xfe, 0, 2])),
        ("a length of 2 in eight bytes", stretched(&[0xff, 0, 0, 0, 0, 0, 0, 0, 2])),
        ("a length over 63 bits", stretched(&[0xff, 0x80, 0, 0, 0, 0, 0, 0, 2])),
        ("a binary inside a text", [encode(TEXT, b"{"), encode(FIN | BINARY, b"}")].concat()),
    ];
    for (what, bytes) in violations {
        let mut socket = raw(&app).await;
        socket.write(&bytes).await;
        assert_eq!(socket.expect_close_next().await, (1002, "Protocol error".into()), "{what}");
    }
}

#[tokio::test]
async fn the_upgrade_needs_the_version_and_key_of_rfc_6455() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let path = app.path(&app.token("a", &[]));
    for headers in [[("Sec-WebSocket-Version", "8")], [("Sec-WebSocket-Key", "short")], [("Upgrade", "h2c")]]
    {
        let refusal = app.refused(&path, &headers).await;
        assert!((400..500).contains(&refusal.status), "{headers:?}: {}", refusal.status);
    }
}

/// Whoever stands between may go by the one or by the other.
#[tokio::test]
async fn a_version_or_a_content_type_given_twice_is_400_and_named() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let upgrade = app.path(&app.token("a", &[]));
    for version in ["13", "8"] {
        let versions = [("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Version", version)];
        let problem = app.refused(&upgrade, &versions).await.expect_problem(400, "invalid_request");
        assert!(problem.to_string().contains("Sec-WebSocket-Version"), "{problem}");
    }
    for media in ["application/json", "text/plain"] {
        let publish = app.api(&[crate::PUBLISH], "POST", &format!("/api/topics/{}/publish", app.id()));
        let publish = publish.body("application/json", r#"{"topic":"t","message":1}"#);
        let problem =
            publish.header("Content-Type", media).send().await.expect_problem(400, "invalid_request");
        assert_eq!(problem["errors"][0]["field"], "Content-Type", "{problem}");
    }
}

/// A client need not wait for the answer to its upgrade.
#[tokio::test]
async fn a_frame_that_comes_with_the_upgrade_request_is_read() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut stream = connect(app.address()).await.unwrap();
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        app.path(&app.token("early", &[]))
    );
    let mut bytes = head.into_bytes();
    bytes.extend(encode(FIN | TEXT, br#"{"type":"subscribe","data":{"topic":"early"}}"#));
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    within("the two welcomes", async {
        while !String::from_utf8_lossy(&answer).contains(r#"{"topic":"early","messageType":"welcome""#) {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "the connection ended");
        }
    })
    .await;
    let text = String::from_utf8_lossy(&answer);
    let main = text.find(r#"{"topic":"main""#).expect("the session's own welcome");
    assert!(main < text.find(r#"{"topic":"early""#).unwrap(), "the session's welcome comes first");
}
