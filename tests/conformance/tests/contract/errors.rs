//! 2.2: what is well formed but refused: each code of the `error` frame, with the id and the topic of the request.

use realtime_testkit::{Client, Server};
use serde_json::{Value, json};

use crate::limits::limited;
use crate::{PUBLISH, READ};

/// The refusal that comes next names exactly what the request named, and the session goes on.
async fn assert_names(client: &mut Client, code: &str, id: Option<&str>, topic: Option<&str>) {
    let error = client.expect_error(code).await;
    let mut expected = json!({"code": code, "message": error["message"]});
    for (member, value) in [("id", id), ("topic", topic)] {
        if let Some(value) = value {
            expected[member] = json!(value);
        }
    }
    assert_eq!(error, expected);
}

async fn assert_refused(client: &mut Client, kind: &str, data: Value, code: &str) {
    client.send(kind, data.clone()).await;
    // A topic in a `message` is a key like any unknown one.
    let topic = data["topic"].as_str().filter(|_| kind != "message");
    assert_names(client, code, data["id"].as_str(), topic).await;
}

#[tokio::test]
async fn permission_denied_is_for_topics_and_for_the_servers_message_types() {
    let server = Server::start().await;
    let app = server.app().set("enableWebSocketInboundTopic", true).create().await;
    let mut client = app.connect("a", &["realtime:publisher:write:topic:mine"]).await;
    let code = "permission_denied";
    assert_refused(&mut client, "subscribe", json!({"topic": "secure/x"}), code).await;
    for topic in ["t", "main", "secure/x", "priv/x"] {
        assert_refused(&mut client, "publish", json!({"topic": topic, "payload": "x", "id": "7"}), code)
            .await;
        assert_refused(&mut client, "publish", json!({"topic": topic, "payload": "x"}), code).await;
    }
    for forged in ["welcome", "ack", "presence", "error"] {
        let data = json!({"topic": "mine", "payload": "x", "id": "7", "messageType": forged});
        assert_refused(&mut client, "publish", data.clone(), code).await;
        assert_refused(&mut client, "message", data, code).await;
        assert_refused(&mut client, "message", json!({"payload": "x", "messageType": forged}), code).await;
    }
    // Only these four, in this case.
    client.subscribe("mine").await;
    for allowed in ["Welcome", "acks", "broadcast", "response", "Error"] {
        client.send("publish", json!({"topic": "mine", "payload": "x", "messageType": allowed})).await;
        client.expect("mine", allowed).await;
    }
}

#[tokio::test]
async fn topic_forbidden_is_for_private_subscriptions_and_the_servers_topics() {
    let server = Server::start().await;
    let app = server.app().create().await;
    // With every permission there is, and with none: the topic is refused for itself.
    for permissions in [&[PUBLISH, READ][..], &[]] {
        let mut client = app.connect_with(&app.sign(json!({"permissions": permissions})), "").await;
        for kind in ["subscribe", "unsubscribe"] {
            assert_refused(&mut client, kind, json!({"topic": "priv/x"}), "topic_forbidden").await;
        }
        for topic in ["secure/inbound", "priv/acks", "priv/errors"] {
            let data = json!({"topic": topic, "payload": "x", "id": "7"});
            assert_refused(&mut client, "publish", data, "topic_forbidden").await;
            assert_refused(
                &mut client,
                "publish",
                json!({"topic": topic, "payload": "x"}),
                "topic_forbidden",
            )
            .await;
        }
    }
}

#[tokio::test]
async fn inbound_disabled_is_for_messages_while_nobody_takes_them() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[PUBLISH]).await;
    assert_refused(&mut client, "message", json!({"payload": "x", "id": "7"}), "inbound_disabled").await;
    assert_refused(&mut client, "message", json!({"payload": "x", "topic": "t"}), "inbound_disabled").await;
    client.publish("main", "x").await;
    client.expect("main", "broadcast").await;
}

#[tokio::test]
async fn limits_of_subscriptions_and_topics_name_the_topic() {
    let server = Server::start().await;
    for (limit, code) in
        [("maxSubscriptionsPerConnection", "subscription_limit"), ("maxTopics", "topic_limit")]
    {
        let app = limited(&server, limit, 1).await;
        let mut client = app.connect("a", &[READ]).await;
        client.subscribe("one").await;
        assert_refused(&mut client, "subscribe", json!({"topic": "two"}), code).await;
        assert_refused(&mut client, "subscribe", json!({"topic": "secure/two"}), code).await;
        client.subscribe("one").await;
        client.subscribe("main").await;
    }
}

#[tokio::test]
async fn used_up_quotas_name_the_publish_and_the_message() {
    let server = Server::start().await;
    let publish = json!({"topic": "main", "payload": "xx", "id": "7"});
    let app = limited(&server, "apiUsageBytesPerMonth", 3).await;
    let mut client = app.connect("a", &[PUBLISH]).await;
    assert_refused(&mut client, "publish", publish, "quota_exceeded").await;
    let app = limited(&server, "inboundMessagesPerMonth", 1).await;
    let mut client = app.connect("a", &[READ]).await;
    client.subscribe("secure/inbound").await;
    client.send("message", json!({"payload": "x"})).await;
    client.expect("secure/inbound", "broadcast").await;
    assert_refused(&mut client, "message", json!({"payload": "x", "id": "7"}), "quota_exceeded").await;
}

/// One a second, with a burst of two: of twenty sent in a row some are refused.
#[tokio::test]
async fn rate_limited_names_whatever_came_too_fast() {
    let server = Server::start().await;
    let app = limited(&server, "messagesPerSecond", 1).await;
    let cases = [
        ("publish", json!({"topic": "main", "payload": "x", "id": "7"}), Some("7"), Some("main")),
        ("message", json!({"payload": "x", "id": "7"}), Some("7"), None),
        ("subscribe", json!({"topic": "t"}), None, Some("t")),
        ("unsubscribe", json!({"topic": "t"}), None, Some("t")),
    ];
    for (kind, data, id, topic) in cases {
        let mut client = app.connect_with(&app.sign(json!({"permissions": [PUBLISH]})), "").await;
        for _ in 0..20 {
            client.send(kind, data.clone()).await;
        }
        // What was not refused is answered before, if at all.
        let error = loop {
            let frame = client.frame().await;
            if frame.message_type() == "error" {
                break frame.data().clone();
            }
        };
        let named = (error["code"].as_str(), error["id"].as_str(), error["topic"].as_str());
        assert_eq!(named, (Some("rate_limited"), id, topic), "{kind}: {error}");
    }
}
