//! 2.3: what a client's frame may look like, and that everything else closes the session.

use realtime_testkit::Server;
use serde_json::{Value, json};

use crate::PUBLISH;

/// Frames that fail validation, by what is wrong with them.
fn malformed() -> Vec<(&'static str, String)> {
    let frame = |kind: &str, data: Value| json!({"type": kind, "data": data}).to_string();
    let publish = |member: &str, value: Value| {
        let mut data = json!({"topic": "t", "payload": "x"});
        data[member] = value;
        frame("publish", data)
    };
    let message = |member: &str, value: Value| {
        let mut data = json!({"payload": "x"});
        data[member] = value;
        frame("message", data)
    };
    let mut frames = vec![
        ("not JSON", "hello".into()),
        ("nothing", String::new()),
        ("blank", "  ".into()),
        ("an array", "[]".into()),
        ("a text", "\"subscribe\"".into()),
        ("a number", "1".into()),
        ("null", "null".into()),
        (
            "two objects",
            r#"{"type":"subscribe","data":{"topic":"a"}}{"type":"subscribe","data":{"topic":"b"}}"#.into(),
        ),
        ("cut short", r#"{"type":"subscribe","data":{"topic":"a"}"#.into()),
        ("a trailing comma", r#"{"type":"subscribe","data":{"topic":"a"},}"#.into()),
        ("a comment", r#"{"type":"subscribe",/* */"data":{"topic":"a"}}"#.into()),
        ("an unpaired surrogate", r#"{"type":"subscribe","data":{"topic":"\ud800"}}"#.into()),
        ("a duplicate key", r#"{"type":"subscribe","type":"subscribe","data":{"topic":"a"}}"#.into()),
        ("a duplicate data", r#"{"type":"subscribe","data":{"topic":"a"},"data":{"topic":"a"}}"#.into()),
        ("a duplicate topic", r#"{"type":"subscribe","data":{"topic":"a","topic":"a"}}"#.into()),
        (
            "a duplicate payload",
            r#"{"type":"publish","data":{"topic":"a","payload":"1","payload":"2"}}"#.into(),
        ),
        ("a duplicate unknown key", r#"{"type":"subscribe","data":{"topic":"a","x":1,"x":2}}"#.into()),
        ("no type", json!({"data": {"topic": "a"}}).to_string()),
        ("an unknown type", frame("shout", json!({"topic": "a"}))),
        ("a type in capitals", frame("Subscribe", json!({"topic": "a"}))),
        ("a type of the server", frame("broadcast", json!({"topic": "a"}))),
        ("a type that is no text", json!({"type": 1, "data": {"topic": "a"}}).to_string()),
        ("no data", json!({"type": "subscribe"}).to_string()),
        ("data null", json!({"type": "subscribe", "data": null}).to_string()),
        ("data a text", json!({"type": "subscribe", "data": "topic"}).to_string()),
        ("data an array", json!({"type": "subscribe", "data": []}).to_string()),
        ("message without data", json!({"type": "message"}).to_string()),
        ("message without payload", frame("message", json!({}))),
        ("publish without payload", frame("publish", json!({"topic": "t"}))),
        ("publish without topic", frame("publish", json!({"payload": "x"}))),
    ];
    let long_topic = "t".repeat(256);
    let wide_topic = "ä".repeat(128);
    for kind in ["subscribe", "unsubscribe"] {
        frames.push(("no topic", frame(kind, json!({}))));
        for topic in bad_topics(&long_topic, &wide_topic) {
            frames.push(("a bad topic", frame(kind, json!({"topic": topic}))));
        }
    }
    for topic in bad_topics(&long_topic, &wide_topic) {
        frames.push(("a bad topic to publish on", publish("topic", topic)));
    }
    for build in [&publish as &dyn Fn(&str, Value) -> String, &message] {
        for payload in [json!(1), json!(1.5), json!(true), json!(false), json!(null)] {
            frames.push(("a bad payload", build("payload", payload)));
        }
        for id in [json!(1), json!(true), json!({}), json!([]), json!(""), json!("i".repeat(129))] {
            frames.push(("a bad id", build("id", id)));
        }
        for kind in [
            json!(1),
            json!(true),
            json!({}),
            json!(""),
            json!("m".repeat(129)),
            json!("a\u{1f}"),
            json!("\u{7f}"),
        ] {
            frames.push(("a bad messageType", build("messageType", kind)));
        }
        for compress in [json!(1), json!("true"), json!({}), json!([])] {
            frames.push(("a bad compress", build("compress", compress)));
        }
    }
    frames
}

fn bad_topics(long: &str, wide: &str) -> Vec<Value> {
    vec![
        json!(null),
        json!(1),
        json!(true),
        json!(["a"]),
        json!({"a": 1}),
        json!(""),
        json!(long),
        json!(wide),
        json!("a\nb"),
        json!("\u{0}"),
        json!("a\u{7f}"),
        json!("a\u{9f}"),
    ]
}

#[tokio::test]
async fn every_malformed_frame_closes_the_session_with_1008() {
    let server = Server::start().await;
    let app = server.app().set("enableWebSocketInboundTopic", true).create().await;
    let token = app.sign(json!({"permissions": [PUBLISH]}));
    for (what, text) in malformed() {
        let mut client = app.connect_with(&token, "").await;
        client.send_text(text.clone()).await;
        let close = client.expect_close().await;
        assert_eq!(close, (1008, "Invalid message format!".into()), "{what}: {text}");
    }
}

#[tokio::test]
async fn a_malformed_binary_frame_closes_the_session_with_1008() {
    let server = Server::start().await;
    let app = server.app().create().await;
    for bytes in [&b"hello"[..], b"", b"{\"type\":\"\xff\"}", &[0, 1, 2]] {
        let mut client = app.connect_with(&app.sign(json!({})), "").await;
        client.send_binary(bytes).await;
        assert_eq!(client.expect_close().await, (1008, "Invalid message format!".into()), "{bytes:?}");
    }
}

#[tokio::test]
async fn what_follows_a_malformed_frame_is_not_processed() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut watcher = app.connect("watcher", &[]).await;
    let mut client = app.connect("client", &[PUBLISH]).await;
    client.send_text("hello").await;
    // The server may have closed the connection before this is written.
    let frame = json!({"type": "publish", "data": {"topic": "main", "payload": "late"}}).to_string();
    let mut raw = app.connect_raw(&app.token("raw", &[PUBLISH]), &[]).await;
    raw.expect_frame().await;
    let mut bytes = realtime_testkit::raw::encode(0x81, b"hello");
    bytes.extend(realtime_testkit::raw::encode(0x81, frame.as_bytes()));
    raw.write(&bytes).await;
    assert_eq!(raw.expect_close().await.0, 1008);
    assert_eq!(client.expect_close().await.0, 1008);
    watcher.expect_nothing().await;
}

#[tokio::test]
async fn unknown_keys_and_null_for_optional_fields_are_fine() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[PUBLISH]).await;
    for text in [
        json!({"type": "subscribe", "data": {"topic": "t", "more": {"x": [1]}}, "more": null}),
        json!({"type": "subscribe", "data": {"topic": "t", "payload": 7}}),
    ] {
        client.send_text(text.to_string()).await;
        client.expect("t", "welcome").await;
    }
    let nulls = json!({"topic": "t", "payload": "x", "id": null, "messageType": null, "compress": null});
    client.send("publish", nulls).await;
    client.expect("t", "broadcast").await;
}

#[tokio::test]
async fn payloads_are_objects_arrays_and_texts_even_the_empty_one() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[PUBLISH]).await;
    client.subscribe("t").await;
    for payload in [
        json!(""),
        json!("x"),
        json!({}),
        json!({"a": null}),
        json!([]),
        json!([1, [true]]),
        json!("ä\u{1F600}\n"),
    ] {
        client.publish("t", payload.clone()).await;
        assert_eq!(client.expect("t", "broadcast").await["payload"], payload);
    }
}

#[tokio::test]
async fn names_of_the_longest_length_are_fine() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[PUBLISH]).await;
    let topic = "t".repeat(255);
    client.subscribe(&topic).await;
    let (id, kind) = ("i".repeat(128), "m".repeat(128));
    client.send("publish", json!({"topic": topic, "payload": "x", "id": id, "messageType": kind})).await;
    assert_eq!(client.expect(&topic, &kind).await["id"], id);
}

#[tokio::test]
async fn binary_frames_are_read_like_text() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[]).await;
    client.send_binary(r#"{"type":"subscribe","data":{"topic":"t"}}"#).await;
    client.expect("t", "welcome").await;
}

#[tokio::test]
async fn escapes_in_names_are_read() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[]).await;
    client.send_text(r#"{"\u0074ype":"subscr\u0069be","data":{"topic":"\u0061\/b"}}"#).await;
    client.expect("a/b", "welcome").await;
}
