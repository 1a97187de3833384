//! The discovery stream as its contract says it.

use std::time::Instant;

use realtime_proto::generated::discovery as wire;
use serde_json::json;
use tonic::Code;
use wire::stream_request::Kind as RequestKind;
use wire::stream_response::Kind as ResponseKind;

use crate::node::{Node, hello};
use crate::plane::{ADMIN_SECRET, AUTH_SECRET, Plane, app};

#[tokio::test]
async fn a_stream_that_does_not_begin_with_a_good_hello_is_refused() {
    let plane = Plane::start().await;
    let mut node = Node::open_silent(&plane.channel, hello("n1")).await;
    node.send(RequestKind::Ack(wire::Ack { nonce: 1 })).await;
    assert_eq!(node.end().await, Code::InvalidArgument);
    let bad = [
        wire::Hello { role: 0, ..hello("n1") },
        wire::Hello { id: String::new(), ..hello("n1") },
        wire::Hello { incarnation: String::new(), ..hello("n1") },
        wire::Hello { connection_id_prefix: "ABCDEF01".into(), ..hello("n1") },
        wire::Hello { id: "n\n1".into(), ..hello("n1") },
    ];
    for hello in bad {
        let mut node = Node::open(&plane.channel, hello).await;
        assert_eq!(node.end().await, Code::InvalidArgument);
    }
    let (node, _) = Node::up(&plane.channel, hello("n1")).await;
    node.send(RequestKind::Hello(node.hello.clone())).await;
    assert_eq!({ node }.end().await, Code::InvalidArgument, "a second hello");
    assert!(plane.list_nodes().await.iter().all(|n| n.id == "n1"));
}

#[tokio::test]
async fn a_node_gets_its_prefix_and_then_everything() {
    let plane = Plane::start().await;
    plane.create(&app("one")).await.unwrap();
    plane.create(&app("two")).await.unwrap();
    let (node, snapshot) = Node::up(&plane.channel, hello("n1")).await;
    let prefix = &node.hello.connection_id_prefix;
    assert!(prefix.len() == 8 && prefix.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
    assert!(snapshot.snapshot);
    assert_eq!(snapshot.app_ids(), ["one", "two"]);
    assert_eq!(snapshot.apps["one"]["authKey"]["key"], AUTH_SECRET);
    assert!(snapshot.settings.is_some());
    let own = &snapshot.members["n1"];
    assert_eq!((&own.incarnation, &own.connection_id_prefix), (&node.hello.incarnation, prefix));
    assert_eq!((own.listen.as_str(), own.peer.as_str()), ("n1.example:8080", "n1.example:7071"));
    assert_eq!(own.state(), wire::NodeState::Ready);
}

#[tokio::test]
async fn changes_come_as_deltas_in_revision_order() {
    let plane = Plane::start().await;
    let (mut node, snapshot) = Node::up(&plane.channel, hello("n1")).await;
    let created = plane.create(&app("one")).await.unwrap();
    let delta = node.update().await;
    assert!(!delta.snapshot && delta.revision.number > snapshot.revision.number);
    assert_eq!(delta.revision.number, created.version);
    assert_eq!(delta.app_ids(), ["one"]);
    assert!(delta.settings.is_none() && delta.members.is_empty());
    node.ack(&delta).await;

    plane.patch("one", &json!({"enabled": false})).await.unwrap();
    let delta = node.update().await;
    assert_eq!(delta.apps["one"]["enabled"], false);
    node.ack(&delta).await;

    plane.put_settings(&json!({"telemetryRetentionDays": 7}), 0).await.unwrap();
    let delta = node.update().await;
    assert_eq!(delta.settings.as_ref().unwrap()["telemetryRetentionDays"], 7);
    assert!(delta.apps.is_empty(), "settings do not touch apps");
    node.ack(&delta).await;

    plane.delete("one", 0).await.unwrap();
    let delta = node.update().await;
    assert_eq!((delta.removed.as_slice(), delta.apps.len()), (&["one".to_owned()][..], 0));
}

#[tokio::test]
async fn one_update_is_in_flight_and_changes_meanwhile_come_together() {
    let plane = Plane::start().await;
    let mut node = Node::register(&plane.channel, hello("n1")).await;
    let snapshot = node.update().await;
    for id in ["one", "two", "gone"] {
        plane.create(&app(id)).await.unwrap();
    }
    for description in ["a", "b", "newest"] {
        plane.patch("one", &json!({ "description": description })).await.unwrap();
    }
    plane.delete("gone", 0).await.unwrap();
    let newest = plane.patch("two", &json!({"description": "last"})).await.unwrap().version;
    // The command is the next message: no update has overtaken the missing answer.
    plane.drain("n1").await.unwrap();
    assert!(matches!(node.next().await, ResponseKind::Command(_)));
    node.ack(&snapshot).await;
    let delta = node.update().await;
    assert!(delta.revision.number >= newest);
    assert_eq!(delta.app_ids(), ["one", "two"]);
    assert_eq!(delta.apps["one"]["description"], "newest");
    assert_eq!(delta.removed, ["gone"]);
}

#[tokio::test]
async fn an_answer_to_nothing_ends_the_stream() {
    let plane = Plane::start().await;
    let (node, snapshot) = Node::up(&plane.channel, hello("n1")).await;
    node.send(RequestKind::Ack(wire::Ack { nonce: snapshot.nonce })).await;
    assert_eq!({ node }.end().await, Code::InvalidArgument, "answered twice");
}

#[tokio::test]
async fn a_receiver_that_holds_the_newest_revision_gets_an_empty_delta() {
    let plane = Plane::start().await;
    plane.create(&app("one")).await.unwrap();
    let gateway = wire::Hello { role: wire::Role::Gateway.into(), ..hello("g1") };
    let (node, first) = Node::up(&plane.channel, gateway).await;
    let (_node, again) = Node::up(&plane.channel, node.hello.clone()).await;
    assert!(!again.snapshot && again.apps.is_empty() && again.settings.is_none() && again.removed.is_empty());
    assert_eq!(again.revision, first.revision);
}

#[tokio::test]
async fn a_held_revision_is_resumed_after_a_restart_of_the_control_plane() {
    let plane = Plane::start().await;
    for id in ["same", "changed", "gone"] {
        plane.create(&app(id)).await.unwrap();
    }
    let (mut node, _) = Node::up(&plane.channel, hello("n1")).await;
    let held = node.hello.clone();
    plane.patch("changed", &json!({"description": "while away"})).await.unwrap();
    plane.delete("gone", 0).await.unwrap();
    plane.create(&app("new")).await.unwrap();
    let plane = plane.restart().await;
    assert_eq!(node.end().await, Code::Unavailable, "a stopping control plane says so");

    let (mut node, delta) = Node::up(&plane.channel, held.clone()).await;
    assert!(!delta.snapshot, "the change log has survived");
    assert_eq!(delta.app_ids(), ["changed", "new"]);
    assert_eq!(delta.removed, ["gone"]);
    assert_eq!(node.hello.connection_id_prefix, held.connection_id_prefix, "an incarnation keeps its prefix");
    plane.create(&app("later")).await.unwrap();
    assert_eq!(node.until(|u| !u.apps.is_empty()).await.app_ids(), ["later"]);
}

#[tokio::test]
async fn another_stores_revision_means_a_snapshot() {
    let plane = Plane::start().await;
    plane.create(&app("one")).await.unwrap();
    let held = Some(wire::Revision { store_id: "another".into(), number: 1 });
    let (_node, update) = Node::up(&plane.channel, wire::Hello { held, ..hello("n1") }).await;
    assert!(update.snapshot);
    assert_eq!(update.app_ids(), ["one"]);
}

#[tokio::test]
async fn a_control_plane_behind_the_receiver_waits_and_never_sends_older() {
    let plane = Plane::start().await;
    let (node, snapshot) = Node::up(&plane.channel, hello("n1")).await;
    let ahead = wire::Revision { number: snapshot.revision.number + 4, ..snapshot.revision };
    let mut later = wire::Hello { held: Some(ahead.clone()), ..node.hello.clone() };
    later.role = wire::Role::Gateway.into();
    let mut gateway = Node::register(&plane.channel, later).await;
    for id in ["a", "b", "c", "d", "e", "f"] {
        plane.create(&app(id)).await.unwrap();
    }
    let update = gateway.update().await;
    assert!(!update.snapshot && update.revision.number >= ahead.number, "{update:?}");
    gateway.ack(&update).await;
    if !update.apps.contains_key("f") {
        gateway.until(|u| u.apps.contains_key("f")).await;
    }
}

#[tokio::test]
async fn a_gateway_is_no_member_and_gets_no_secret_that_it_does_not_need() {
    let plane = Plane::start().await;
    let mut document = app("one");
    document["amazonSnsForwarder"] = json!({
        "enabled": true, "topicArn": "arn:aws:sns:eu-west-1:123456789012:t", "region": "eu-west-1",
        "accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "the AWS secret",
    });
    plane.create(&document).await.unwrap();
    let (_node, _) = Node::up(&plane.channel, hello("n1")).await;
    let hello = wire::Hello { role: wire::Role::Gateway.into(), ..hello("g1") };
    let (mut gateway, snapshot) = Node::up(&plane.channel, hello).await;
    assert_eq!(gateway.hello.connection_id_prefix, "");
    assert_eq!(snapshot.members.keys().collect::<Vec<_>>(), ["n1"], "it finds the nodes");
    plane.patch("one", &json!({"description": "x"})).await.unwrap();
    let delta = gateway.update().await;
    for document in [&snapshot.apps["one"], &delta.apps["one"]] {
        let text = document.to_string();
        assert!(text.contains(ADMIN_SECRET));
        assert!(
            !text.contains(AUTH_SECRET) && !text.contains("the AWS secret") && !text.contains("AKIA"),
            "{text}"
        );
    }
    assert_eq!(plane.list_nodes().await.len(), 1);
}

#[tokio::test]
async fn a_change_reaches_a_connected_node_well_under_100_ms() {
    let plane = Plane::start().await;
    plane.create(&app("one")).await.unwrap();
    let (mut node, _) = Node::up(&plane.channel, hello("n1")).await;
    let mut times = Vec::new();
    for i in 0..21 {
        let asked = Instant::now();
        let patch = json!({ "description": i.to_string() });
        let (patched, delta) = tokio::join!(plane.patch("one", &patch), node.update());
        times.push(asked.elapsed());
        patched.unwrap();
        node.ack(&delta).await;
    }
    times.sort();
    // The median: a busy machine may hold up single ones.
    assert!(times[10].as_millis() < 100, "{times:?}");
}
