//! The shards from outside: real sockets in, real frames out. What needs HTTP or gRPC is tested elsewhere.

mod mesh;
mod node;
mod peer;
mod presence;

use std::time::Duration;

use realtime_data_plane::{Cluster, Publication, Target};
use realtime_proto::{PatternSet, PermissionCase};
use serde_json::{Value, json};

use node::{Client, Node};

#[test]
fn a_publish_is_encoded_once_per_variant_however_many_receive_it() {
    let node = Node::start(2);
    let mut clients: Vec<Client> = (0..40)
        .map(|n| {
            let mut client = node.arrive(Some(&format!("s{n}")), n % 2 == 0);
            assert_eq!(client.json()["messageType"], "welcome");
            client.subscribe("t");
            client
        })
        .collect();
    let before = node.counter("realtime_encodings_total");
    node.shards
        .publish(Publication { compress: true, ..node.publication("t", r#""x""#) })
        .expect("published");
    node.shards.publish(node.publication("t", r#""last""#)).expect("published");
    for (n, client) in clients.iter_mut().enumerate() {
        let (first, _) = client.frame();
        assert_eq!(first, if n % 2 == 0 { 0xc2 } else { 0x82 }, "binary, compressed where negotiated");
        assert_eq!(client.json(), json!({"topic": "t", "messageType": "broadcast", "data": "last"}));
    }
    let expected = before + 3; // plain and deflated of the first, plain of the second
    node.eventually("the count of encodings", |n| n.counter("realtime_encodings_total") >= expected);
    assert_eq!(node.counter("realtime_encodings_total"), expected);
    assert_eq!(node.counter("realtime_deliveries_total"), 80);
}

#[test]
fn publishes_cross_shards_in_order() {
    let node = Node::start(3);
    let mut publisher = node.client("publisher");
    let mut clients: Vec<Client> = (0..12)
        .map(|n| {
            let mut client = node.client(&format!("s{n}"));
            client.subscribe("t");
            client
        })
        .collect();
    for n in 0..500 {
        publisher
            .send(json!({"type": "publish", "data": {"topic": "t", "payload": [n], "id": format!("{n}")}}));
    }
    for client in &mut clients {
        for n in 0..500 {
            let message = client.json();
            assert_eq!(message["data"]["payload"], json!([n]));
            assert_eq!(message["data"]["client"]["subject"], "publisher");
        }
    }
}

#[test]
fn private_topics_reach_the_connection_or_the_subject_on_whatever_shard() {
    let mut node = Node::start(3);
    node.settings(json!({"limits": {"connectionsPerSubject": 0}}));
    let mut clients: Vec<(String, Client)> = (0..6)
        .map(|_| {
            let mut client = node.arrive(Some("same"), false);
            (client.json()["data"]["connection"]["id"].as_str().expect("an id").to_owned(), client)
        })
        .collect();
    for (id, _) in &clients {
        node.shards.publish(node.publication(&format!("priv/{id}"), r#""mine""#)).expect("published");
    }
    node.shards.publish(node.publication("priv/same", r#""ours""#)).expect("published");
    for (id, client) in &mut clients {
        assert_eq!(
            client.json(),
            json!({"topic": format!("priv/{id}"), "messageType": "broadcast", "data": "mine"})
        );
        assert_eq!(client.json()["data"], "ours");
    }
}

#[test]
fn a_burst_never_closes_a_healthy_reader() {
    let node = Node::start(1);
    let mut client = node.client("reader");
    client.subscribe("t");
    // Six times what may be left unsent, and no more than an untuned socket takes.
    for n in 0..100 {
        let message = format!("\"{n} {}\"", "x".repeat(4000));
        node.shards.publish(node.publication("t", &message)).expect("published");
    }
    for n in 0..100 {
        let message = client.json();
        assert!(message["data"].as_str().is_some_and(|d| d.starts_with(&format!("{n} "))), "message {n}");
    }
}

#[test]
fn a_reader_that_takes_nothing_is_closed_with_4008_and_the_others_go_on() {
    let node = Node::start(1);
    let mut slow = node.client("slow");
    slow.subscribe("t");
    let mut fast = node.client("fast");
    fast.subscribe("t");
    let message = format!("\"{}\"", "x".repeat(5000));
    let mut sent = 0;
    while node.counter("realtime_slow_consumers_total") == 0 {
        node.shards.publish(node.publication("t", &message)).expect("published");
        sent += 1;
        assert_eq!(fast.json()["topic"], "t");
        assert!(sent < 10_000, "the socket takes for ever");
    }
    assert_eq!(slow.close_code(), 4008);
    node.shards.publish(node.publication("t", r#""after""#)).expect("published");
    while fast.json()["data"] != "after" {}
    assert_eq!(node.shards.open_sessions(), 1);
}

#[tokio::test]
async fn receipts_lists_and_disconnects_count_over_all_shards() {
    let node = Node::start(3);
    let mut clients: Vec<Client> = (0..9)
        .map(|n| {
            let mut client = node.client(&format!("s{n}"));
            client.subscribe("t");
            client.subscribe(&format!("own/{n}"));
            client
        })
        .collect();
    let app = node.publication("t", "0").app;
    let cluster = Cluster::alone(node.shards.clone());
    let receipt = cluster.publish_with_receipt(node.publication("t", "1")).await.expect("a receipt").sum;
    assert_eq!((receipt.matched, receipt.queued, receipt.dropped), (9, 9, 0));
    let topics = node.shards.topics(&app, "", None, 100).await.expect("topics");
    assert_eq!(topics.len(), 11);
    assert_eq!(topics[0], ("main".to_owned(), 9));
    assert_eq!(topics[10], ("t".to_owned(), 9));
    let page = node.shards.topics(&app, "own/", Some("own/3"), 2).await.expect("a page");
    assert_eq!(page, [("own/4".to_owned(), 1), ("own/5".to_owned(), 1)]);
    let first = node.shards.connections(&app, None, None, 4).await.expect("a page");
    let rest = node.shards.connections(&app, None, Some(first[3].id), 100).await.expect("the rest");
    assert_eq!((first.len(), rest.len()), (4, 5));
    assert!(first.iter().chain(&rest).is_sorted_by_key(|c| c.id));
    assert!(first.iter().all(|c| c.subscriptions == 2));

    let patterns = PatternSet::new(["own/*"], PermissionCase::Insensitive);
    assert_eq!(node.shards.unsubscribe(&app, "s3", patterns).await, Ok(1));
    assert_eq!(node.shards.disconnect(&app, Target::Subject("s4".into())).await, Ok(1));
    assert_eq!(clients[4].close_code(), 4003);
    let other = first.iter().find(|c| *c.subject != *"s4").expect("another subject");
    assert_eq!(node.shards.disconnect(&app, Target::Connection(other.id)).await, Ok(1));
    assert_eq!(node.shards.disconnect(&app, Target::Connection(other.id)).await, Ok(0));
    node.shards.disconnect(&app, Target::All).await.expect("disconnected");
    node.eventually("the sessions to end", |n| n.shards.open_sessions() == 0);
}

#[test]
fn disabling_an_app_closes_its_sessions_with_4004() {
    let mut node = Node::start(2);
    let mut client = node.client("s");
    node.app(json!({"enabled": false}));
    assert_eq!(client.close_code(), 4004);
    node.app(json!({}));
    node.client("s");
}

/// A stream brings what is in force, not what was in between.
#[test]
fn an_app_that_was_created_or_enabled_again_between_two_configurations_has_closed_its_sessions() {
    let mut node = Node::start(2);
    let mut client = node.client("s");
    node.app(json!({"description": "a change is no end"}));
    client.subscribe("t");
    node.put(None, json!({}));
    assert_eq!(client.close_code(), 4004, "created again");
    let mut client = node.client("s");
    let held = node.snapshot.apps["a"].config.clone();
    let mut disabled = held.to_public(1);
    disabled["enabled"] = json!(false);
    let disabled = held.replace(&disabled, "2026-01-02T00:00:00.000Z").expect("a configuration");
    node.put(Some(&disabled), json!({"enabled": true}));
    assert_eq!(client.close_code(), 4004, "enabled again");
    node.client("s");
}

#[test]
fn the_oldest_connection_of_a_subject_stays_if_it_answers_and_goes_if_not() {
    let node = Node::start(2);
    let mut holder = node.client("s");
    let mut second = node.arrive(Some("s"), false);
    let (ping, _) = holder.frame();
    assert_eq!(ping, 0x89);
    holder.send_raw(0x8a, b"");
    assert_eq!(second.close_code(), 4009);

    let mut third = node.arrive(Some("s"), false);
    assert_eq!(holder.frame().0, 0x89);
    assert_eq!(third.json()["messageType"], "welcome", "the holder did not answer");
    assert_eq!(holder.close_code(), 4010);
}

#[test]
fn the_policy_replace_closes_the_oldest_at_once() {
    let mut node = Node::start(2);
    node.app(json!({"connectionLimitPolicy": "replace"}));
    let mut first = node.client("s");
    let _second = node.client("s");
    assert_eq!(first.close_code(), 4009);
    node.eventually("one session", |n| n.shards.open_sessions() == 1);
}

#[test]
fn a_replaced_connection_is_reported_gone_before_its_successor_is_reported_connected() {
    let mut node = Node::start(2);
    node.app(json!({"connectionLimitPolicy": "replace", "enableWebSocketInboundTopic": true}));
    let mut backend = node.client("backend");
    backend.subscribe("secure/inbound");
    for _ in 0..5 {
        let old = node.client("s");
        let _new = node.client("s");
        let events: Vec<Value> = (0..3).map(|_| backend.json()["data"].take()).collect();
        let statuses: Vec<&Value> = events.iter().map(|event| &event["payload"]["status"]).collect();
        assert_eq!(statuses, ["connected", "disconnected", "connected"]);
        let id = |n: usize| &events[n]["client"]["connectionId"];
        assert!(id(0) == id(1) && id(1) != id(2));
        drop(old);
        let app = node.publication("t", "0").app;
        node.shards.publish(node.publication("priv/backend", "0")).expect("published");
        assert_eq!(backend.json()["topic"], "priv/backend", "nothing is reported twice");
        let closing = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        closing.block_on(node.shards.disconnect(&app, Target::Subject("s".into()))).expect("closed");
        assert_eq!(backend.json()["data"]["payload"]["status"], "disconnected");
    }
}

#[test]
fn an_idle_connection_is_pinged_then_closed_with_4010() {
    let mut node = Node::start(1);
    node.settings(json!({"limits": {"idleTimeoutSeconds": 1}}));
    let mut client = node.client("s");
    assert_eq!(client.frame().0, 0x89);
    client.send_raw(0x8a, b"");
    assert_eq!(client.frame().0, 0x89, "an answer buys time");
    assert_eq!(client.close_code(), 4010);
}

#[test]
fn an_idle_limit_that_was_lifted_holds_again_when_it_is_set_again() {
    let mut node = Node::start(1);
    node.settings(json!({"limits": {"idleTimeoutSeconds": 1}}));
    let mut client = node.client("s");
    assert_eq!(client.frame().0, 0x89);
    node.settings(json!({"limits": {"idleTimeoutSeconds": 0}}));
    let mut second = node.arrive(Some("s"), false);
    assert_eq!(client.frame().0, 0x89, "the probe");
    client.send_raw(0x8a, b"");
    assert_eq!(second.close_code(), 4009);
    // The time at which it would have been closed passes: a holder that does not answer is given longer.
    let mut quiet = node.client("quiet");
    let mut next = node.arrive(Some("quiet"), false);
    assert_eq!(next.json()["messageType"], "welcome", "the probe took two seconds");
    assert_eq!(quiet.close_code(), 4010);
    assert_eq!(node.shards.open_sessions(), 2, "nobody was closed for being idle");

    node.settings(json!({"limits": {"idleTimeoutSeconds": 1}}));
    assert_eq!(client.close_code(), 4010);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_drain_changes_the_pace_and_both_wait_for_the_last_session() {
    let node = Node::start(1);
    let mut client = node.client("s");
    let shards = node.shards.clone();
    let slow = tokio::spawn(async move { shards.drain(Duration::from_secs(3600)).await });
    // An arrival is turned away once the drain is under way; before, it is a session that the drain closes.
    while node.arrive(None, false).frame().0 != 0x88 {}
    let shards = node.shards.clone();
    let fast = tokio::spawn(async move { shards.drain(Duration::ZERO).await });
    assert_eq!(client.close_code(), 1001);
    assert!(!slow.is_finished() && !fast.is_finished(), "the client has not hung up");
    drop(client);
    slow.await.expect("drained");
    fast.await.expect("drained");
    assert_eq!(node.shards.open_sessions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_closes_every_session_with_1001_and_can_be_called_off() {
    let node = Node::start(2);
    let mut clients: Vec<Client> = (0..20).map(|n| node.client(&format!("s{n}"))).collect();
    node.shards.drain(Duration::from_millis(300)).await;
    for client in &mut clients {
        assert_eq!(client.close_code(), 1001);
    }
    assert_eq!(node.shards.open_sessions(), 0);
    assert_eq!(node.arrive(Some("late"), false).close_code(), 1001);
    node.shards.cancel_drain();
    node.client("after");
}

#[test]
fn presence_and_messages_reach_the_inbound_topic_and_are_acked() {
    let mut node = Node::start(2);
    node.app(json!({"enableWebSocketInboundTopic": true, "clientInboundAckEnabled": true}));
    let mut backend = node.client("backend");
    backend.subscribe("secure/inbound");
    let mut client = node.client("client");
    let connected = backend.json();
    assert_eq!(connected["messageType"], "presence");
    assert_eq!(connected["data"]["payload"], json!({"code": 0, "status": "connected"}));
    client.send(json!({"type": "message", "data": {"payload": {"a": 1}, "id": "52"}}));
    let message = backend.json();
    assert_eq!((&message["topic"], &message["messageType"]), (&json!("secure/inbound"), &json!("broadcast")));
    assert_eq!((&message["data"]["payload"], &message["data"]["id"]), (&json!({"a": 1}), &json!("52")));
    assert_eq!(message["data"]["client"]["permissions"].as_array().map(Vec::len), Some(2));
    assert_eq!(client.json(), json!({"topic": "priv/acks", "messageType": "ack", "data": "52"}));
    drop(client);
    assert_eq!(backend.json()["data"]["payload"], json!({"code": -1, "status": "disconnected"}));
}

#[test]
fn limits_of_topics_and_subscriptions_are_answered_with_an_error_frame() {
    let mut node = Node::start(2);
    let tier = json!({"maxConnections": 3, "maxSubscriptionsPerConnection": 2, "maxTopics": 3,
        "messagesPerSecond": 0, "apiUsageBytesPerMonth": 0, "inboundMessagesPerMonth": 0});
    node.settings(json!({"tiers": {"unlimited": tier}}));
    let (mut one, mut two) = (node.client("one"), node.client("two"));
    one.subscribe("a");
    one.subscribe("b");
    one.subscribe("b");
    one.send(json!({"type": "subscribe", "data": {"topic": "c"}}));
    assert_eq!(one.json()["data"]["code"], "subscription_limit");
    two.subscribe("c");
    two.send(json!({"type": "subscribe", "data": {"topic": "d"}}));
    assert_eq!(two.json()["data"]["code"], "topic_limit");
    one.send(json!({"type": "unsubscribe", "data": {"topic": "a"}}));
    two.subscribe("b");
    node.client("three");
    let app = node.shards.app("a").expect("the app");
    node.eventually("a free place", |n| n.shards.check_limits(&app).is_ok());
}
