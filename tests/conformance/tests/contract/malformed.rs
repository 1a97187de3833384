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
        (
            "a duplicate unknown key beside type",
            r#"{"x":1,"type":"subscribe","x":1,"data":{"topic":"a"}}"#.into(),
        ),
        (
            "a duplicate key in an escape",
            r#"{"type":"subscribe","t\u0079pe":"subscribe","data":{"topic":"a"}}"#.into(),
        ),
        (
            "a duplicate topic in an escape",
            r#"{"type":"subscribe","data":{"topic":"a","t\u006fpic":"a"}}"#.into(),
        ),
        ("a duplicate id", r#"{"type":"message","data":{"payload":"x","id":"a","id":"a"}}"#.into()),
        ("a duplicate id, null", r#"{"type":"message","data":{"payload":"x","id":null,"id":"a"}}"#.into()),
        (
            "a duplicate messageType",
            r#"{"type":"message","data":{"payload":"x","messageType":"a","messageType":"a"}}"#.into(),
        ),
        (
            "a duplicate compress",
            r#"{"type":"message","data":{"payload":"x","compress":true,"compress":true}}"#.into(),
        ),
        (
            "a duplicate key that this type has not",
            r#"{"type":"subscribe","data":{"topic":"a","payload":1,"payload":1}}"#.into(),
        ),
        ("a byte order mark", "\u{feff}{\"type\":\"subscribe\",\"data\":{\"topic\":\"a\"}}".into()),
        ("a raw control character", "{\"type\":\"subscribe\",\"data\":{\"topic\":\"a\nb\"}}".into()),
        ("an unknown escape", r#"{"type":"subscribe","data":{"topic":"\x61"}}"#.into()),
        ("single quotes", "{'type':'subscribe','data':{'topic':'a'}}".into()),
        ("a bad number in a payload", r#"{"type":"message","data":{"payload":[01]}}"#.into()),
        ("a NaN in a payload", r#"{"type":"message","data":{"payload":[NaN]}}"#.into()),
        (
            "a payload of 101 levels",
            format!(r#"{{"type":"message","data":{{"payload":{}{}}}}}"#, "[".repeat(101), "]".repeat(101)),
        ),
        ("a payload cut short", r#"{"type":"message","data":{"payload":[1,]}}"#.into()),
        ("a bad unknown value", r#"{"type":"subscribe","data":{"topic":"a"},"x":tru}"#.into()),
        ("a type null", json!({"type": null, "data": {"topic": "a"}}).to_string()),
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
        for id in [json!(1), json!(true), json!({}), json!([]), json!(""), json!("i".repeat(129)), wide()] {
            frames.push(("a bad id", build("id", id)));
        }
        for kind in [
            json!(1),
            json!(true),
            json!({}),
            json!(""),
            json!("m".repeat(129)),
            wide(),
            json!("a\u{1f}"),
            json!("\u{7f}"),
            json!("\u{85}"),
        ] {
            frames.push(("a bad messageType", build("messageType", kind)));
        }
        for compress in [json!(1), json!("true"), json!({}), json!([])] {
            frames.push(("a bad compress", build("compress", compress)));
        }
    }
    frames
}

/// 129 bytes in fewer characters.
fn wide() -> Value {
    json!(format!("{}x", "ä".repeat(64)))
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
    // Bytes count, not characters.
    let topic = format!("{}x", "ä".repeat(127));
    client.subscribe(&topic).await;
    let (id, kind) = ("\u{1F600}".repeat(32), "ä".repeat(64));
    client.send("publish", json!({"topic": topic, "payload": "x", "id": id, "messageType": kind})).await;
    assert_eq!(client.expect(&topic, &kind).await["id"], id);
}

/// Ids are the client's own affair: only their length is limited.
#[tokio::test]
async fn an_id_may_have_any_characters() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[PUBLISH]).await;
    for id in [" ", "\u{0}", "a\nb", "\u{7f}", "\"\\/"] {
        client.send("publish", json!({"topic": "main", "payload": "x", "id": id})).await;
        assert_eq!(client.expect("main", "broadcast").await["id"], id);
    }
}

/// It may nest a hundred levels, and its keys are its sender's own.
#[tokio::test]
async fn inside_a_payload_anything_goes_that_is_json() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut socket = app.connect_raw(&app.token("a", &[PUBLISH]), &[]).await;
    socket.expect_frame().await;
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    for payload in [deep.as_str(), r#"{"a":1,"a":2,"type":"x"}"#, "[1e999,-0,1.0]"] {
        socket
            .write_text(&format!(r#"{{"type":"publish","data":{{"topic":"main","payload":{payload}}}}}"#))
            .await;
        let frame = String::from_utf8(socket.expect_frame().await.payload).unwrap();
        assert!(frame.contains(&format!(r#""payload":{payload},"id":""#)), "{frame}");
    }
}

/// A `message` has no topic: one in it is a key like any unknown one, and so is what a `subscribe` does not have.
#[tokio::test]
async fn keys_of_other_types_are_unknown_keys() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[]).await;
    for topic in [json!(7), json!(""), json!("secure/inbound"), json!(null)] {
        client.send("message", json!({"payload": "x", "topic": topic})).await;
        client.expect_error("inbound_disabled").await;
    }
    client.send("subscribe", json!({"topic": "t", "id": 7, "messageType": "", "compress": "x"})).await;
    client.expect("t", "welcome").await;
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
