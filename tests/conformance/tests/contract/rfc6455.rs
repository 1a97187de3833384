//! 2.3: limits of size, and violations of RFC 6455, told apart by their close codes.

use realtime_testkit::raw::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, RSV2, TEXT, encode};
use realtime_testkit::{RawSocket, Server, TestApp, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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
    assert_eq!(socket.expect_close().await.0, 1009);
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
async fn a_message_may_come_in_fragments_with_pings_between_them() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut socket = raw(&app).await;
    let text = r#"{"type":"subscribe","data":{"topic":"ä"}}"#.as_bytes();
    // Cuts through the letter of two bytes, too.
    let cut = text.iter().position(|b| *b == 0xc3).unwrap() + 1;
    socket.write_frame(TEXT, &text[..cut]).await;
    socket.write_frame(FIN | PING, b"between").await;
    socket.write_frame(CONTINUATION, b"").await;
    socket.write_frame(FIN | CONTINUATION, &text[cut..]).await;
    let pong = socket.expect_frame().await;
    assert_eq!((pong.first_byte, pong.payload.as_slice()), (FIN | PONG, &b"between"[..]));
    expect_welcome(&mut socket, "ä").await;
}

#[tokio::test]
async fn a_message_may_trickle_in_byte_by_byte() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut socket = raw(&app).await;
    socket.stream.set_nodelay(true).unwrap();
    for byte in encode(FIN | TEXT, br#"{"type":"subscribe","data":{"topic":"t"}}"#) {
        socket.write(&[byte]).await;
    }
    expect_welcome(&mut socket, "t").await;
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

#[tokio::test]
async fn a_ping_is_answered_with_its_payload() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut socket = raw(&app).await;
    for payload in [&b""[..], b"x", &[0xff; 125]] {
        socket.write_frame(FIN | PING, payload).await;
        let pong = socket.expect_frame().await;
        assert_eq!((pong.first_byte, pong.payload.as_slice()), (FIN | PONG, payload));
    }
    // A pong that nobody asked for is ignored.
    socket.write_frame(FIN | PONG, b"unasked").await;
    socket.write_frame(FIN | PING, b"still here").await;
    assert_eq!(socket.expect_frame().await.payload, b"still here");
}

#[tokio::test]
async fn violations_of_the_framing_close_with_1002() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let unmasked = [&[FIN | TEXT, 2][..], b"{}"].concat();
    let frame = |first: u8, payload: &[u8]| encode(first, payload);
    let two = |a: Vec<u8>, b: Vec<u8>| [a, b].concat();
    let violations: Vec<(&str, Vec<u8>)> = vec![
        ("not masked", unmasked),
        ("RSV1 without an extension", frame(FIN | RSV1 | TEXT, b"{}")),
        ("RSV2", frame(FIN | RSV2 | TEXT, b"{}")),
        ("RSV3", frame(FIN | 0x10 | TEXT, b"{}")),
        ("reserved opcode 3", frame(FIN | 3, b"{}")),
        ("reserved opcode 7", frame(FIN | 7, b"{}")),
        ("reserved opcode 11", frame(FIN | 11, b"")),
        ("reserved opcode 15", frame(FIN | 15, b"")),
        ("a ping in fragments", frame(PING, b"x")),
        ("a pong in fragments", frame(PONG, b"x")),
        ("a close in fragments", frame(CLOSE, b"")),
        ("a ping of 126 bytes", frame(FIN | PING, &[b'x'; 126])),
        ("a close of 126 bytes", frame(FIN | CLOSE, &[3; 126])),
        ("a continuation of nothing", frame(FIN | CONTINUATION, b"{}")),
        ("an open continuation of nothing", frame(CONTINUATION, b"{}")),
        ("a text inside a text", two(frame(TEXT, b"{"), frame(FIN | TEXT, b"}"))),
        ("a binary inside a text", two(frame(TEXT, b"{"), frame(FIN | BINARY, b"}"))),
        ("a close of one byte", frame(FIN | CLOSE, &[3])),
        ("close code 0", frame(FIN | CLOSE, &0_u16.to_be_bytes())),
        ("close code 999", frame(FIN | CLOSE, &999_u16.to_be_bytes())),
        ("close code 1004", frame(FIN | CLOSE, &1004_u16.to_be_bytes())),
        ("close code 1005", frame(FIN | CLOSE, &1005_u16.to_be_bytes())),
        ("close code 1006", frame(FIN | CLOSE, &1006_u16.to_be_bytes())),
        ("close code 1015", frame(FIN | CLOSE, &1015_u16.to_be_bytes())),
        ("close code 2999", frame(FIN | CLOSE, &2999_u16.to_be_bytes())),
        ("close code 5000", frame(FIN | CLOSE, &5000_u16.to_be_bytes())),
    ];
    for (what, bytes) in violations {
        let mut socket = raw(&app).await;
        socket.write(&bytes).await;
        assert_eq!(socket.expect_close().await.0, 1002, "{what}");
    }
}

#[tokio::test]
async fn text_that_is_not_utf_8_closes_with_1007() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let good = br#"{"type":"subscribe","data":{"topic":""#;
    let surrogate = &[0xed, 0xa0, 0x80][..];
    let texts: Vec<Vec<u8>> = vec![
        vec![0xff],
        vec![0xc3],
        [good, surrogate, &b"\"}}"[..]].concat(),
        [&good[..], &[0xc0, 0x80], b"\"}}"].concat(),
        [&good[..], &[0xf4, 0x90, 0x80, 0x80], b"\"}}"].concat(),
    ];
    for text in texts {
        let mut socket = raw(&app).await;
        socket.write_frame(FIN | TEXT, &text).await;
        assert_eq!(socket.expect_close().await.0, 1007, "{text:?}");
        let mut socket = raw(&app).await;
        socket.write_frame(TEXT, &text[..text.len() - 1]).await;
        socket.write_frame(FIN | CONTINUATION, &text[text.len() - 1..]).await;
        assert_eq!(socket.expect_close().await.0, 1007, "in fragments: {text:?}");
    }
    let mut socket = raw(&app).await;
    socket.write_frame(FIN | CLOSE, &[0x03, 0xe8, 0xff]).await;
    assert_eq!(socket.expect_close().await.0, 1007, "a close reason");
}

#[tokio::test]
async fn a_clients_close_is_answered_with_its_code() {
    let server = Server::start().await;
    let app = server.app().create().await;
    for (payload, code) in
        [(vec![], 1000), (vec![0x03, 0xe8], 1000), (vec![0x0b, 0xb8, b'b', b'y', b'e'], 3000)]
    {
        let mut socket = raw(&app).await;
        socket.write_frame(FIN | CLOSE, &payload).await;
        assert_eq!(socket.expect_close().await.0, code);
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

/// A client need not wait for the answer to its upgrade.
#[tokio::test]
async fn a_frame_that_comes_with_the_upgrade_request_is_read() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut stream = TcpStream::connect(app.address()).await.unwrap();
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        app.path(&app.token("early", &[]))
    );
    let mut bytes = head.into_bytes();
    bytes.extend(encode(FIN | TEXT, br#"{"type":"subscribe","data":{"topic":"early"}}"#));
    stream.write_all(&bytes).await.unwrap();
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
