//! 2.5: permessage-deflate and binary frames.

use realtime_testkit::deflate::{self, deflate};
use realtime_testkit::raw::{BINARY, CONTINUATION, FIN, PING, RSV1, TEXT};
use realtime_testkit::{RawFrame, RawSocket, Server, TestApp};
use serde_json::{Value, json};

use crate::PUBLISH;

const OFFER: (&str, &str) = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits");
const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

async fn negotiated(app: &TestApp, subject: &str) -> RawSocket {
    let mut socket = app.connect_raw(&app.token(subject, &[PUBLISH]), &[OFFER]).await;
    assert_eq!(socket.header("sec-websocket-extensions"), Some(ANSWER));
    let welcome = socket.expect_frame().await;
    assert_eq!(welcome.first_byte, FIN | TEXT, "a welcome is plain text");
    socket
}

fn inflate(frame: &RawFrame) -> Value {
    assert_eq!(frame.first_byte, FIN | RSV1 | BINARY, "compressed and binary");
    serde_json::from_slice(&deflate::inflate(&frame.payload)).unwrap()
}

#[tokio::test]
async fn a_compressed_publish_is_binary_for_all_and_deflated_where_negotiated() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut deflated = negotiated(&app, "deflated").await;
    let mut plain = app.connect("plain", &[]).await;
    let message = json!({"text": "again and again ".repeat(40)});
    let expected = json!({"topic": "main", "messageType": "broadcast", "data": message});
    for _ in 0..3 {
        app.publish(&json!({"topic": "main", "message": message, "compress": true})).await.expect(200);
        let frame = deflated.expect_frame().await;
        assert!(frame.payload.len() < 200, "{} bytes", frame.payload.len());
        // Each frame stands for itself: no context is kept between messages.
        assert_eq!(inflate(&frame), expected);
        let frame = plain.frame().await;
        assert!(frame.binary, "binary, though not compressed");
        assert_eq!(frame.json, expected);
    }
    app.publish(&json!({"topic": "main", "message": message, "compress": false})).await.expect(200);
    assert_eq!(deflated.expect_frame().await.first_byte, FIN | TEXT);
    assert!(!plain.frame().await.binary);
}

#[tokio::test]
async fn a_client_may_ask_for_compression() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut deflated = negotiated(&app, "deflated").await;
    let mut plain = app.connect("plain", &[PUBLISH]).await;
    plain.send("publish", json!({"topic": "main", "payload": "x", "id": "7", "compress": true})).await;
    assert_eq!(inflate(&deflated.expect_frame().await)["data"]["id"], "7");
    assert!(plain.frame().await.binary);
}

/// `compress` is a message's own: acks, errors and welcomes stay text, however the request came.
#[tokio::test]
async fn the_servers_own_frames_are_never_compressed() {
    let server = Server::start().await;
    let app = server.app().set("clientInboundAckEnabled", true).create().await;
    let mut socket = negotiated(&app, "a").await;
    for (text, message_type) in [
        (r#"{"type":"subscribe","data":{"topic":"t","compress":true}}"#, "welcome"),
        (r#"{"type":"publish","data":{"topic":"nobody","payload":"x","compress":true}}"#, "ack"),
        (r#"{"type":"message","data":{"payload":"x","compress":true}}"#, "error"),
    ] {
        socket.write_frame(FIN | RSV1 | BINARY, &deflate(text.as_bytes())).await;
        let frame = socket.expect_frame().await;
        assert_eq!(frame.first_byte, FIN | TEXT, "{message_type}");
        let json: Value = serde_json::from_slice(&frame.payload).unwrap();
        assert_eq!(json["messageType"], message_type);
    }
}

#[tokio::test]
async fn a_client_may_send_compressed_frames_and_plain_ones() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut socket = negotiated(&app, "a").await;
    for (first_byte, topic) in [(RSV1 | TEXT, "a"), (RSV1 | BINARY, "b"), (TEXT, "c")] {
        let text = json!({"type": "subscribe", "data": {"topic": topic}}).to_string();
        let bytes = if first_byte & RSV1 == 0 { text.into_bytes() } else { deflate(text.as_bytes()) };
        socket.write_frame(FIN | first_byte, &bytes).await;
        let welcome: Value = serde_json::from_slice(&socket.expect_frame().await.payload).unwrap();
        assert_eq!(welcome["topic"], topic);
    }
    // In fragments only the first says that it is compressed.
    let bytes = deflate(br#"{"type":"subscribe","data":{"topic":"d"}}"#);
    socket.write_frame(RSV1 | TEXT, &bytes[..5]).await;
    socket.write_frame(FIN | CONTINUATION, &bytes[5..]).await;
    let welcome: Value = serde_json::from_slice(&socket.expect_frame().await.payload).unwrap();
    assert_eq!(welcome["topic"], "d");
}

#[tokio::test]
async fn inflating_stops_at_the_limit() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let padded = |length: usize| {
        let head = r#"{"type":"subscribe","data":{"topic":"t"},"pad":""#;
        format!("{head}{}\"}}", "x".repeat(length - head.len() - 2))
    };
    let mut socket = negotiated(&app, "a").await;
    socket.write_frame(FIN | RSV1 | TEXT, &deflate(padded(5120).as_bytes())).await;
    socket.expect_frame().await;
    socket.write_frame(FIN | RSV1 | TEXT, &deflate(padded(5121).as_bytes())).await;
    assert_eq!(socket.expect_close().await.0, 1009);
    // Three megabytes in three kilobytes.
    let mut socket = negotiated(&app, "b").await;
    let bomb = deflate(padded(3 * 1024 * 1024).as_bytes());
    assert!(bomb.len() < 5120);
    socket.write_frame(FIN | RSV1 | TEXT, &bomb).await;
    assert_eq!(socket.expect_close().await.0, 1009);
}

#[tokio::test]
async fn the_compression_bit_has_its_place() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let bytes = deflate(br#"{"type":"subscribe","data":{"topic":"d"}}"#);
    let mut socket = negotiated(&app, "a").await;
    socket.write_frame(RSV1 | TEXT, &bytes[..5]).await;
    socket.write_frame(FIN | RSV1 | CONTINUATION, &bytes[5..]).await;
    assert_eq!(socket.expect_close().await.0, 1002, "on a continuation");
    let mut socket = negotiated(&app, "b").await;
    socket.write_frame(FIN | RSV1 | PING, b"").await;
    assert_eq!(socket.expect_close().await.0, 1002, "on a ping");
}

#[tokio::test]
async fn inflated_text_is_checked_like_any_other() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut socket = negotiated(&app, "a").await;
    socket.write_frame(FIN | RSV1 | TEXT, &deflate(b"\xff\xfe")).await;
    assert_eq!(socket.expect_close().await, (1007, "Text is not UTF-8".into()));
    let mut socket = negotiated(&app, "b").await;
    socket.write_frame(FIN | RSV1 | TEXT, &deflate(b"hello")).await;
    assert_eq!(socket.expect_close().await, (1008, "Invalid message format!".into()));
}

#[tokio::test]
async fn an_offer_that_cannot_be_met_is_declined() {
    let server = Server::start().await;
    let app = server.app().create().await;
    for offer in [
        "permessage-deflate; server_max_window_bits=10",
        "permessage-deflate; unknown=1",
        "x-webkit-deflate-frame",
    ] {
        let headers = [("Sec-WebSocket-Extensions", offer)];
        let socket = app.connect_raw(&app.sign(json!({})), &headers).await;
        assert_eq!(socket.header("sec-websocket-extensions"), None, "{offer}");
    }
    for offer in [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        "foo, permessage-deflate; client_max_window_bits=12",
    ] {
        let headers = [("Sec-WebSocket-Extensions", offer)];
        let socket = app.connect_raw(&app.sign(json!({})), &headers).await;
        let answer = socket.header("sec-websocket-extensions").unwrap_or_default();
        assert!(answer.starts_with(ANSWER), "{offer}: {answer}");
    }
}
