//! 3: inbound messages, acks, presence.

use realtime_testkit::{Client, Server, TestApp};
use serde_json::{Value, json};

use crate::{PUBLISH, READ};

async fn inbound_app(server: &Server) -> TestApp {
    server.app().set("enableWebSocketInboundTopic", true).create().await
}

/// A service that follows `secure/inbound`; its own presence is already read.
async fn backend(app: &TestApp) -> Client {
    let mut backend = app.connect("backend", &[READ]).await;
    backend.subscribe("secure/inbound").await;
    backend
}

#[tokio::test]
async fn a_message_arrives_on_the_inbound_topic_with_the_clients_permissions() {
    let server = Server::start().await;
    let app = inbound_app(&server).await;
    let mut backend = backend(&app).await;
    let mut alice = app.connect("alice", &["some:permission"]).await;
    backend.expect("secure/inbound", "presence").await;
    alice.send("message", json!({"payload": "hello", "id": "52"})).await;
    let client = json!({"connectionId": alice.id(), "subject": "alice", "permissions": ["some:permission"]});
    let data = json!({"client": client, "payload": "hello", "id": "52"});
    let expected = json!({"topic": "secure/inbound", "messageType": "broadcast", "data": data});
    assert_eq!(backend.frame().await.json, expected);
    alice.expect_nothing().await;
}

#[tokio::test]
async fn a_message_may_have_its_own_type_and_be_compressed() {
    let server = Server::start().await;
    let app = inbound_app(&server).await;
    let mut backend = backend(&app).await;
    let mut alice = app.connect("alice", &[]).await;
    backend.expect("secure/inbound", "presence").await;
    alice.send("message", json!({"payload": {"a": 1}, "messageType": "order", "compress": true})).await;
    let frame = backend.frame().await;
    assert!(frame.binary);
    assert_eq!((frame.message_type(), &frame.data()["payload"]), ("order", &json!({"a": 1})));
    assert!(frame.data()["id"].as_str().is_some_and(|id| !id.is_empty()));
    alice.send("message", json!({"payload": "x", "messageType": "presence", "id": "7"})).await;
    assert_eq!(alice.expect_error("permission_denied").await["id"], "7");
}

#[tokio::test]
async fn a_message_without_any_target_is_refused() {
    let server = Server::start().await;
    let app = server.app().set("clientInboundAckEnabled", true).create().await;
    let mut alice = app.connect("alice", &[]).await;
    alice.send("message", json!({"payload": "x", "id": "7"})).await;
    assert_eq!(alice.expect_error("inbound_disabled").await["id"], "7");
    alice.expect_nothing().await;
}

/// A target that does not take it: no ack, and those that took it have it.
#[tokio::test]
async fn a_message_that_one_target_does_not_take_is_forward_failed_and_not_acked() {
    let server = Server::start().await;
    let inbound = server.app().set("enableWebSocketInboundTopic", true).set("enableInboundStream", true);
    let app = inbound.set("clientInboundAckEnabled", true).create().await;
    let mut backend = backend(&app).await;
    let mut alice = app.connect("alice", &[PUBLISH]).await;
    backend.expect("secure/inbound", "presence").await;
    alice.send("message", json!({"payload": "x", "id": "7"})).await;
    // The ack of a publish does not wait behind it.
    alice.send("publish", json!({"topic": "nobody", "payload": "x", "id": "8"})).await;
    let mut answers = [alice.frame().await, alice.frame().await];
    answers.sort_by_key(|frame| frame.topic().to_owned());
    assert_eq!((answers[0].topic(), answers[0].data()), ("priv/acks", &json!("8")));
    assert_eq!(answers[1].data()["code"], "forward_failed");
    assert_eq!((&answers[1].data()["id"], &answers[1].data()["topic"]), (&json!("7"), &json!(null)));
    assert_eq!(backend.expect("secure/inbound", "broadcast").await["id"], "7");
    alice.expect_nothing().await;
}

#[tokio::test]
async fn the_inbound_topic_needs_the_permission_to_read_it() {
    let server = Server::start().await;
    let app = inbound_app(&server).await;
    let mut alice = app.connect("alice", &[PUBLISH]).await;
    alice.send("subscribe", json!({"topic": "secure/inbound"})).await;
    alice.expect_error("permission_denied").await;
}

#[tokio::test]
async fn publishes_and_messages_are_acked_with_their_ids() {
    let server = Server::start().await;
    let inbound = server.app().set("enableWebSocketInboundTopic", true);
    let app = inbound.set("clientInboundAckEnabled", true).create().await;
    let mut alice = app.connect("alice", &[PUBLISH]).await;
    for kind in ["publish", "message"] {
        alice.send(kind, json!({"topic": "nobody", "payload": "x", "id": "528c3s4-3d8y"})).await;
        let expected = json!({"topic": "priv/acks", "messageType": "ack", "data": "528c3s4-3d8y"});
        assert_eq!(alice.frame().await.json, expected, "{kind}");
        alice.send(kind, json!({"topic": "nobody", "payload": "x"})).await;
        let id = alice.expect("priv/acks", "ack").await;
        assert!(id.as_str().is_some_and(|id| !id.is_empty()), "the generated id: {id}");
    }
}

#[tokio::test]
async fn what_is_refused_is_not_acked() {
    let server = Server::start().await;
    let app = server.app().set("clientInboundAckEnabled", true).create().await;
    let mut alice = app.connect("alice", &[]).await;
    alice.send("publish", json!({"topic": "t", "payload": "x", "id": "1"})).await;
    alice.expect_error("permission_denied").await;
    alice.send("subscribe", json!({"topic": "t"})).await;
    alice.expect("t", "welcome").await;
    alice.expect_nothing().await;
}

#[tokio::test]
async fn nothing_is_acked_unless_the_app_says_so() {
    let server = Server::start().await;
    let app = inbound_app(&server).await;
    let mut alice = app.connect("alice", &[PUBLISH]).await;
    for kind in ["publish", "message"] {
        alice.send(kind, json!({"topic": "nobody", "payload": "x", "id": "1"})).await;
    }
    alice.expect_nothing().await;
}

/// The published SDKs read the envelope.
#[tokio::test]
async fn acks_come_in_an_envelope_where_the_app_or_the_session_says_so() {
    let server = Server::start().await;
    let plain = server.app().set("clientInboundAckEnabled", true).create().await;
    let builder = server.app().set("clientInboundAckEnabled", true);
    let enveloped = builder.set("clientInboundAckFormat", "envelope").create().await;
    let token = plain.token("a", &[PUBLISH]);
    let mut by_session = plain.connect_with(&token, "&ack_format=envelope").await;
    let mut by_app = enveloped.connect("a", &[PUBLISH]).await;
    let mut bare = plain.connect("b", &[PUBLISH]).await;
    for (client, expected) in [
        (&mut by_session, json!({"data": "7"})),
        (&mut by_app, json!({"data": "7"})),
        (&mut bare, json!("7")),
    ] {
        client.send("publish", json!({"topic": "t", "payload": "x", "id": "7"})).await;
        assert_eq!(client.expect("priv/acks", "ack").await, expected);
    }
}

fn presence(client: &Value, code: i32, status: &str) -> Value {
    let data = json!({"client": client, "subProtocol": 1, "payload": {"code": code, "status": status}});
    json!({"topic": "secure/inbound", "messageType": "presence", "data": data})
}

#[tokio::test]
async fn presence_tells_of_every_coming_and_going_in_order() {
    let server = Server::start().await;
    let app = inbound_app(&server).await;
    let mut backend = backend(&app).await;
    let alice = app.connect("alice", &["p:1", "p:2"]).await;
    let client = json!({"connectionId": alice.id(), "subject": "alice", "permissions": ["p:1", "p:2"]});
    assert_eq!(backend.frame().await.json, presence(&client, 0, "connected"));
    alice.close().await;
    assert_eq!(backend.frame().await.json, presence(&client, -1, "disconnected"));
}

#[tokio::test]
async fn presence_tells_of_connections_that_end_without_a_close() {
    let server = Server::start().await;
    let app = inbound_app(&server).await;
    let mut backend = backend(&app).await;
    // The connection breaks.
    drop(app.connect_raw(&app.token("alice", &[]), &[]).await);
    // The server closes it.
    let mut bob = app.connect("bob", &[]).await;
    bob.send_text("hello").await;
    bob.expect_close().await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let data = backend.expect("secure/inbound", "presence").await;
        seen.push((data["client"]["subject"].clone(), data["payload"]["code"].clone()));
    }
    for subject in ["alice", "bob"] {
        let codes: Vec<_> = seen.iter().filter(|(s, _)| s == subject).map(|(_, code)| code.clone()).collect();
        assert_eq!(codes, [json!(0), json!(-1)], "{subject}: {seen:?}");
    }
}

#[tokio::test]
async fn there_is_no_presence_while_inbound_messaging_is_off() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut backend = backend(&app).await;
    app.connect("alice", &[]).await.close().await;
    backend.expect_nothing().await;
}
