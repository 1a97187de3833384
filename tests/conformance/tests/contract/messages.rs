//! 2.2: the frames that carry messages, and refusals of well-formed requests.

use std::collections::BTreeSet;

use realtime_testkit::Server;
use serde_json::{Value, json};

use crate::{PUBLISH, READ};

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_publish_over_http_reaches_subscribers_as_posted() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("alice", &[]).await;
    client.subscribe("news").await;
    for message in
        [json!({"hello": "world"}), json!("text"), json!([1, 2]), json!(1.5), json!(true), json!(null)]
    {
        app.publish(&json!({"topic": "news", "message": message})).await.expect(200);
        let frame = client.frame().await;
        assert!(!frame.binary);
        assert_eq!(frame.json, json!({"topic": "news", "messageType": "broadcast", "data": message}));
    }
}

#[tokio::test]
async fn a_clients_publish_names_the_client_without_its_permissions() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut alice = app.connect("alice", &[PUBLISH]).await;
    let mut bob = app.connect("bob", &[]).await;
    bob.subscribe("chat").await;
    alice.send("publish", json!({"topic": "chat", "payload": {"a": [1]}, "id": "52"})).await;
    let client = json!({"connectionId": alice.id(), "subject": "alice"});
    let data = json!({"client": client, "payload": {"a": [1]}, "id": "52"});
    let frame = bob.frame().await;
    assert_eq!(frame.json, json!({"topic": "chat", "messageType": "broadcast", "data": data}));
    alice.expect_nothing().await;
}

#[tokio::test]
async fn a_publish_without_an_id_gets_one() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut alice = app.connect("alice", &[PUBLISH]).await;
    alice.subscribe("chat").await;
    let mut seen = BTreeSet::new();
    for id in [json!(null), json!(null)] {
        alice.send("publish", json!({"topic": "chat", "payload": "x", "id": id})).await;
        let data = alice.expect("chat", "broadcast").await;
        assert_eq!(members(&data), ["client", "id", "payload"].into());
        seen.insert(data["id"].as_str().expect("an id").to_owned());
    }
    alice.publish("chat", "y").await;
    seen.insert(alice.expect("chat", "broadcast").await["id"].as_str().expect("an id").to_owned());
    assert_eq!(seen.len(), 3, "each its own");
    assert!(seen.iter().all(|id| !id.is_empty()));
}

#[tokio::test]
async fn a_publisher_that_subscribes_receives_its_own_message() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut alice = app.connect("alice", &[PUBLISH]).await;
    alice.publish("main", "hello").await;
    assert_eq!(alice.expect("main", "broadcast").await["payload"], "hello");
}

#[tokio::test]
async fn the_message_type_of_a_publish_replaces_broadcast() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut alice = app.connect("alice", &[PUBLISH]).await;
    alice.subscribe("chat").await;
    alice.send("publish", json!({"topic": "chat", "payload": "x", "messageType": "typing"})).await;
    alice.expect("chat", "typing").await;
    let posted = json!({"topic": "chat", "message": 1, "messageType": "typing"});
    app.publish(&posted).await.expect(200);
    assert_eq!(alice.expect("chat", "typing").await, json!(1));
}

/// The pattern of the published SDKs' `reply`.
#[tokio::test]
async fn a_responder_answers_on_the_requesters_private_topic() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut requester = app.connect("requester", &[PUBLISH]).await;
    let mut responder = app.connect("responder", &[PUBLISH]).await;
    responder.subscribe("questions").await;
    requester.send("publish", json!({"topic": "questions", "payload": "2+2", "id": "q1"})).await;
    let question = responder.expect("questions", "broadcast").await;
    let reply_to = format!("priv/{}", question["client"]["connectionId"].as_str().unwrap());
    let answer = json!({"data": 4, "status": "ok", "id": question["id"]});
    responder.send("publish", json!({"topic": reply_to, "payload": answer, "messageType": "response"})).await;
    let response = requester.expect(&reply_to, "response").await;
    assert_eq!(response["payload"], json!({"data": 4, "status": "ok", "id": "q1"}));
}

#[tokio::test]
async fn message_types_of_the_server_cannot_be_forged() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut alice = app.connect("alice", &[PUBLISH]).await;
    for forged in ["welcome", "ack", "presence", "error"] {
        let data = json!({"topic": "main", "payload": "x", "id": "7", "messageType": forged});
        alice.send("publish", data).await;
        assert_eq!(alice.expect_error("permission_denied").await["id"], "7");
        let posted = app.publish(&json!({"topic": "main", "message": 1, "messageType": forged})).await;
        posted.expect_problem(403, "permission_denied");
    }
    alice.expect_nothing().await;
}

#[tokio::test]
async fn nobody_publishes_on_the_servers_topics() {
    let server = Server::start().await;
    let app = server.app().set("enableWebSocketInboundTopic", true).create().await;
    let mut alice = app.connect("alice", &[PUBLISH, READ]).await;
    for topic in ["secure/inbound", "priv/acks", "priv/errors"] {
        alice.send("publish", json!({"topic": topic, "payload": "x", "id": "7"})).await;
        let error = alice.expect_error("topic_forbidden").await;
        assert_eq!((&error["id"], &error["topic"]), (&json!("7"), &json!(topic)));
        let body = json!({"topic": topic, "message": 1});
        app.publish(&body).await.expect_problem(403, "topic_forbidden");
        let path = format!("/api/topics/{}/publish", app.id());
        let by_operator = server.operator("POST", &path).json(&body).send().await;
        by_operator.expect_problem(403, "topic_forbidden");
    }
    alice.expect_nothing().await;
}

#[tokio::test]
async fn a_publish_without_the_permission_is_refused_and_the_session_goes_on() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut alice = app.connect("alice", &["realtime:publisher:write:topic:chat/*"]).await;
    alice.send("publish", json!({"topic": "main", "payload": "x", "id": "7"})).await;
    let error = alice.expect_error("permission_denied").await;
    assert_eq!(members(&error), ["code", "id", "message", "topic"].into());
    assert_eq!((&error["id"], &error["topic"]), (&json!("7"), &json!("main")));
    alice.subscribe("chat/1").await;
    alice.publish("chat/1", "allowed").await;
    alice.expect("chat/1", "broadcast").await;
}

#[tokio::test]
async fn messages_of_one_publisher_arrive_in_order() {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut alice = app.connect("alice", &[PUBLISH]).await;
    let mut bob = app.connect("bob", &[]).await;
    bob.subscribe("chat").await;
    for number in 0..500 {
        alice.publish("chat", json!([number])).await;
    }
    for number in 0..500 {
        assert_eq!(bob.expect("chat", "broadcast").await["payload"], json!([number]));
    }
}

#[tokio::test]
async fn awaited_publishes_over_http_arrive_in_order() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut bob = app.connect("bob", &[]).await;
    bob.subscribe("chat").await;
    for number in 0..50 {
        app.publish(&json!({"topic": "chat", "message": number})).await.expect(200);
    }
    for number in 0..50 {
        assert_eq!(bob.expect("chat", "broadcast").await, json!(number));
    }
}

/// A welcome is a promise: whatever is accepted after it arrives.
#[tokio::test]
async fn a_publish_after_the_welcome_always_arrives() {
    let server = Server::start().await;
    let app = server.app().create().await;
    for round in 0..20 {
        let mut client = app.connect(&format!("user{round}"), &[]).await;
        app.publish(&json!({"topic": "main", "message": round})).await.expect(200);
        assert_eq!(client.expect("main", "broadcast").await, json!(round));
        let private = format!("priv/user{round}");
        app.publish(&json!({"topic": private, "message": round})).await.expect(200);
        assert_eq!(client.expect(&private, "broadcast").await, json!(round));
        let topic = format!("t{round}");
        client.subscribe(&topic).await;
        app.publish(&json!({"topic": topic, "message": round})).await.expect(200);
        assert_eq!(client.expect(&topic, "broadcast").await, json!(round));
    }
}

#[tokio::test]
async fn apps_are_isolated_from_each_other() {
    let server = Server::start().await;
    let (a, b) = (server.app().create().await, server.app().create().await);
    let mut in_a = a.connect("alice", &[PUBLISH]).await;
    let mut in_b = b.connect("alice", &[]).await;
    in_b.subscribe("t").await;
    in_a.publish("t", "x").await;
    in_a.expect_nothing().await;
    a.publish(&json!({"topic": "t", "message": 1})).await.expect(200);
    a.publish(&json!({"topic": "main", "message": 1})).await.expect(200);
    in_b.expect_nothing().await;
}
