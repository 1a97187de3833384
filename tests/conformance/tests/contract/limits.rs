//! 6: the limits of a tier, as clients and services meet them.

use std::time::Instant;

use realtime_testkit::{Client, Server, TestApp, eventually};
use serde_json::{Value, json};

use crate::{PUBLISH, READ};

/// An app in a tier of its own with one limit set; a session of it is subject to that limit.
pub(crate) async fn limited(server: &Server, limit: &str, value: u64) -> TestApp {
    server
        .change_settings(|settings| {
            settings["tiers"]["small"] = settings["tiers"]["unlimited"].clone();
            settings["tiers"]["small"][limit] = json!(value);
        })
        .await;
    let inbound = server.app().set("enableWebSocketInboundTopic", true);
    inbound.set("tier", "small").create().await
}

async fn send(client: &mut Client, kind: &str, data: Value) -> Option<String> {
    client.send(kind, data).await;
    let frame = client.frame().await;
    (frame.message_type() == "error").then(|| frame.data()["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn subscriptions_per_connection_are_limited_without_main_and_private_topics() {
    let server = Server::start().await;
    let app = limited(&server, "maxSubscriptionsPerConnection", 2).await;
    let mut client = app.connect("a", &[READ]).await;
    client.subscribe("one").await;
    client.subscribe("main").await;
    client.subscribe("one").await;
    client.subscribe("secure/two").await;
    client.send("subscribe", json!({"topic": "three"})).await;
    assert_eq!(client.expect_error("subscription_limit").await["topic"], "three");
    client.send("unsubscribe", json!({"topic": "one"})).await;
    client.subscribe("three").await;
}

#[tokio::test]
async fn distinct_topics_of_an_app_are_limited_without_main_and_private_topics() {
    let server = Server::start().await;
    let app = limited(&server, "maxTopics", 2).await;
    let mut a = app.connect("a", &[]).await;
    let mut b = app.connect("b", &[]).await;
    a.subscribe("one").await;
    b.subscribe("two").await;
    a.subscribe("two").await;
    b.send("subscribe", json!({"topic": "three"})).await;
    assert_eq!(b.expect_error("topic_limit").await["topic"], "three");
    // A topic that nobody holds any more does not count.
    a.send("unsubscribe", json!({"topic": "one"})).await;
    a.subscribe("two").await;
    eventually("the freed topic", async || {
        send(&mut b, "subscribe", json!({"topic": "three"})).await.is_none().then_some(())
    })
    .await;
}

/// A burst of twice the rate, for `publish` and `message` together; subscriptions have a bucket of their own.
#[tokio::test]
async fn messages_per_second_are_limited() {
    let server = Server::start().await;
    let app = limited(&server, "messagesPerSecond", 5).await;
    let mut client = app.connect("a", &[PUBLISH]).await;
    client.subscribe("t").await;
    let (start, mut refused) = (Instant::now(), 0);
    for n in 0..40 {
        let (kind, topic) = if n % 2 == 0 { ("publish", "t") } else { ("message", "ignored") };
        client.send(kind, json!({"topic": topic, "payload": "x", "id": format!("{n}")})).await;
    }
    // The bucket of subscriptions is still full: the answer comes after those of the forty.
    client.send("subscribe", json!({"topic": "fence"})).await;
    let mut published = 0;
    loop {
        let frame = client.frame().await;
        match (frame.topic(), frame.message_type()) {
            ("fence", "welcome") => break,
            ("t", "broadcast") => published += 1,
            ("priv/errors", "error") => {
                assert_eq!(frame.data()["code"], "rate_limited");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    let passed = 40 - refused;
    assert!((10..=refilled(10, 5, start)).contains(&passed), "{passed} of 40 passed");
    assert!((5..=passed).contains(&published), "{published} of 20 publishes passed");
}

/// What a full bucket lets through from `start` until now.
fn refilled(bucket: u64, per_second: u64, start: Instant) -> u64 {
    bucket + per_second * (start.elapsed().as_secs() + 1)
}

#[tokio::test]
async fn subscriptions_are_rate_limited_by_a_bucket_of_their_own() {
    let server = Server::start().await;
    let app = limited(&server, "messagesPerSecond", 5).await;
    let mut client = app.connect("a", &[PUBLISH]).await;
    let start = Instant::now();
    for n in 0..40 {
        client.send("subscribe", json!({"topic": format!("t{n}")})).await;
    }
    client.publish("main", "fence").await;
    let (mut welcomed, mut refused) = (0, 0);
    loop {
        let frame = client.frame().await;
        match frame.message_type() {
            "welcome" => welcomed += 1,
            "error" => refused += u64::from(frame.data()["code"] == "rate_limited"),
            _ => break,
        }
    }
    assert!((10..=refilled(10, 5, start)).contains(&welcomed), "{welcomed} welcomes");
    assert_eq!(welcomed + refused, 40);
}

/// Format before rate, rate before permission.
#[tokio::test]
async fn a_frames_checks_are_made_in_the_documented_order() {
    let server = Server::start().await;
    let app = limited(&server, "messagesPerSecond", 1).await;
    app.patch(&json!({"enableWebSocketInboundTopic": false})).await;
    let mut client = app.connect("a", &[]).await;
    let mut codes = Vec::new();
    for _ in 0..6 {
        client.publish("t", "x").await;
        codes.push(client.expect("priv/errors", "error").await["code"].as_str().unwrap().to_owned());
    }
    assert_eq!(codes.first().map(String::as_str), Some("permission_denied"));
    assert!(codes.contains(&"rate_limited".to_owned()), "{codes:?}");
    assert!(codes.iter().all(|code| code == "permission_denied" || code == "rate_limited"), "{codes:?}");
    // Rate before `inbound_disabled`, which the first message of a connection shows alone.
    let mut sender = app.connect("b", &[]).await;
    let mut codes = Vec::new();
    for _ in 0..6 {
        sender.send("message", json!({"payload": "x"})).await;
        codes.push(sender.expect("priv/errors", "error").await["code"].as_str().unwrap().to_owned());
    }
    assert_eq!(codes.first().map(String::as_str), Some("inbound_disabled"));
    assert!(codes.contains(&"rate_limited".to_owned()), "{codes:?}");
    assert!(codes.iter().all(|code| code == "inbound_disabled" || code == "rate_limited"), "{codes:?}");
    client.send_text("hello").await;
    assert_eq!(client.expect_close().await.0, 1008);
}

/// Each request has every later fault, too: permission, then `inbound_disabled`, then the quota.
#[tokio::test]
async fn permission_comes_before_inbound_disabled_before_the_quota() {
    let server = Server::start().await;
    let app = limited(&server, "inboundMessagesPerMonth", 1).await;
    server.change_settings(|settings| settings["tiers"]["small"]["apiUsageBytesPerMonth"] = json!(1)).await;
    let mut client = app.connect("a", &["realtime:publisher:write:topic:main", READ]).await;
    client.subscribe("secure/inbound").await;
    // The month's only message.
    assert_eq!(send(&mut client, "message", json!({"payload": "x"})).await, None);
    let (denied, disabled, over) = ("permission_denied", "inbound_disabled", "quota_exceeded");
    let publish = |topic: &str| json!({"topic": topic, "payload": "x"});
    let forged = json!({"payload": "x", "messageType": "ack"});
    for (inbound, kind, data, code) in [
        (true, "publish", publish("other"), denied),
        (true, "publish", publish("main"), over),
        (true, "message", forged.clone(), denied),
        (true, "message", json!({"payload": "x"}), over),
        (false, "message", forged, denied),
        (false, "message", json!({"payload": "x"}), disabled),
        (false, "publish", publish("main"), over),
    ] {
        app.patch(&json!({"enableWebSocketInboundTopic": inbound})).await;
        assert_eq!(
            send(&mut client, kind, data.clone()).await.as_deref(),
            Some(code),
            "{inbound} {kind} {data}"
        );
    }
}

/// 6: a burst of twice the rate, and then the rate: no message more than time has brought, none less.
#[tokio::test]
async fn a_burst_is_exactly_twice_the_rate() {
    const RATE: u64 = 50;
    let server = Server::start().await;
    let app = limited(&server, "messagesPerSecond", RATE).await;
    let mut client = app.connect("a", &[PUBLISH, READ]).await;
    client.send("unsubscribe", json!({"topic": "main"})).await;
    app.patch(&json!({"clientInboundAckEnabled": true})).await;
    let started = std::time::Instant::now();
    for n in 0..300 {
        // Both kinds take from one bucket.
        let data = json!({"topic": "main", "payload": "x"});
        client.send(if n % 2 == 0 { "publish" } else { "message" }, data).await;
    }
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..300 {
        let frame = client.frame().await;
        match frame.message_type() {
            "ack" => passed += 1,
            _ => {
                assert_eq!(frame.data()["code"], "rate_limited");
                refused += 1;
            }
        }
    }
    let brought = (started.elapsed().as_millis() as u64 * RATE).div_ceil(1000) + 1;
    assert!((2 * RATE..=2 * RATE + brought).contains(&passed), "{passed} passed, {brought} over the burst");
    assert_eq!(passed + refused, 300);
}

/// 6: 0 is no limit.
#[tokio::test]
async fn zero_is_no_limit() {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    server
        .change_settings(|settings| {
            for (name, limit) in settings["limits"].as_object_mut().unwrap() {
                // Without pings a test would wait for nothing.
                *limit = json!(if name == "idleTimeoutSeconds" { 30 } else { 0 });
            }
        })
        .await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(app.connect("one subject", &[PUBLISH]).await);
    }
    clients[0].publish("main", "x".repeat(100_000)).await;
    for client in &mut clients {
        client.expect("main", "broadcast").await;
    }
    for n in 0..200 {
        clients[1].subscribe(&format!("t{n}")).await;
    }
}
