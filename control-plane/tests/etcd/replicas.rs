//! Several control planes over one etcd are as one: for nodes, which move between them, and for operators.

use std::time::Duration;

use futures_util::future::join_all;
use realtime_control_plane::ReplicaConfig;
use realtime_control_plane::store::EtcdOptions;
use realtime_proto::ErrorCode;
use realtime_proto::generated::replica::FollowRequest;
use realtime_proto::generated::replica::replica_client::ReplicaClient;
use realtime_proto::generated::{admin, discovery as wire};
use realtime_testkit::{Etcd, eventually};
use serde_json::json;
use tonic::Code;

use crate::node::{Node, hello};
use crate::plane::{Plane, answer, app, assert_refused, document, operator, replace};
use crate::watching::connect;

async fn two() -> (Etcd, Plane, Plane) {
    let etcd = Etcd::start().await;
    let options = EtcdOptions::new([etcd.url()]);
    let (a, b) = tokio::join!(Plane::replica(&options), Plane::replica(&options));
    (etcd, a, b)
}

/// What a replica lists of a node, once it is as wanted.
async fn listed(plane: &Plane, wanted: impl Fn(&admin::Node) -> bool) -> admin::Node {
    eventually("a node as wanted", async || plane.list_nodes().await.into_iter().find(&wanted)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_lists_every_node_with_what_it_has_said() {
    let (etcd, a, b) = two().await;
    let (mut node, _) = Node::up(&a.channel, hello("n1")).await;
    b.create(&app("one")).await.unwrap();
    let update = node.update().await;
    node.nack(&update, "one", "authKey.key: unreadable").await;
    node.report(wire::NodeState::Ready, 42).await;
    let there = listed(&b, |n| n.connections == 42 && !n.rejections.is_empty()).await;
    assert_eq!(there.revision, update.revision.number);
    assert_eq!(a.list_nodes().await, std::slice::from_ref(&there));
    let c = Plane::replica(&EtcdOptions::new([etcd.url()])).await;
    listed(&c, |n| *n == there).await;

    // It moves; whoever hears it last is right, also for the replica that it has left.
    let (moved, _) = Node::up(&b.channel, node.hello.clone()).await;
    assert_eq!(node.end().await, Code::Aborted, "one stream in the whole cluster");
    moved.report(wire::NodeState::Ready, 7).await;
    for plane in [&a, &b, &c] {
        listed(plane, |n| n.connections == 7).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_reach_a_node_over_whichever_replica_has_it() {
    let (_etcd, a, b) = two().await;
    let (mut node, _) = Node::up(&a.channel, hello("n1")).await;
    listed(&b, |n| n.id == "n1").await;
    b.drain("n1").await.unwrap();
    assert_eq!(node.command().await, wire::NodeState::Draining);
    node.report(wire::NodeState::Draining, 0).await;
    listed(&b, |n| n.state == "draining").await;
    // Its replica stops before the next word; the node finds it at the other one.
    a.stop().await;
    assert_eq!(node.end().await, Code::Unavailable);
    b.undrain("n1").await.unwrap();
    let state = wire::NodeState::Draining.into();
    let mut node = Node::register(&b.channel, wire::Hello { state, ..node.hello.clone() }).await;
    assert_eq!(node.command().await, wire::NodeState::Ready);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_goes_on_at_another_replica_with_a_delta() {
    let (etcd, a, b) = two().await;
    for id in ["same", "changed", "gone"] {
        a.create(&app(id)).await.unwrap();
    }
    let (mut node, _) = Node::up(&a.channel, hello("n1")).await;
    let held = node.hello.clone();
    let (mut peer, _) = Node::up(&b.channel, hello("n2")).await;
    a.patch("changed", &json!({"description": "while away"})).await.unwrap();
    a.delete("gone", 0).await.unwrap();
    a.stop().await;
    assert_eq!(node.end().await, Code::Unavailable);

    let (node, delta) = Node::up(&b.channel, held.clone()).await;
    assert!(!delta.snapshot);
    assert_eq!((delta.app_ids(), delta.removed.as_slice()), (vec!["changed"], &["gone".to_owned()][..]));
    assert_eq!(node.hello.connection_id_prefix, held.connection_id_prefix);
    // Nobody was told that it had gone, nor that it has come: it never had.
    b.create(&app("later")).await.unwrap();
    let seen = peer.until(|u| u.apps.contains_key("later")).await;
    assert!(seen.members.is_empty() && !seen.removed.contains(&"n1".to_owned()), "{seen:?}");
    drop(node);

    // A replica that has only just started reads in etcd what it has not seen itself.
    let c = Plane::replica(&EtcdOptions::new([etcd.url()])).await;
    let (_node, delta) = Node::up(&c.channel, held).await;
    assert!(!delta.snapshot);
    assert_eq!(delta.app_ids(), ["changed", "later"]);
    assert_eq!(delta.removed, ["gone"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_of_others_in_the_same_etcd_keep_nobody_waiting() {
    let (etcd, a, _b) = two().await;
    let mut raw = etcd_client::Client::connect([etcd.url()], None).await.unwrap();
    raw.put("/of-somebody-else", "1", None).await.unwrap();
    let (node, _) = Node::up(&a.channel, hello("n1")).await;
    raw.put("/of-somebody-else", "2", None).await.unwrap();
    let c = Plane::replica(&EtcdOptions::new([etcd.url()])).await;
    let (moved, delta) = Node::up(&c.channel, node.hello.clone()).await;
    assert!(!delta.snapshot, "{delta:?}");
    drop(node);
    raw.put("/of-somebody-else", "3", None).await.unwrap();
    let (_moved, delta) = Node::up(&a.channel, moved.hello.clone()).await;
    assert!(!delta.snapshot, "{delta:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_holds_what_has_been_compacted_gets_everything() {
    let etcd = Etcd::start().await;
    let options = EtcdOptions::new([etcd.url()]);
    let often = |config| ReplicaConfig { compact_every: Some(Duration::from_millis(200)), ..config };
    let (a, b) = tokio::join!(Plane::replica_with(&options, often), Plane::replica_with(&options, often));
    a.create(&app("one")).await.unwrap();
    let (mut staying, _) = Node::up(&b.channel, hello("staying")).await;
    let (node, _) = Node::up(&a.channel, hello("n1")).await;
    let held = node.hello.held.clone().unwrap().number;
    let store = connect(&etcd).await;
    eventually("a compaction", async || {
        use futures_util::StreamExt as _;
        use realtime_control_plane::store::Store as _;
        let first = store.watch("", held + 1).await.unwrap().next().await.unwrap();
        first.is_err().then_some(())
    })
    .await;
    let c = Plane::replica(&options).await;
    let (_node, update) = Node::up(&c.channel, node.hello.clone()).await;
    assert!(update.snapshot && update.apps.contains_key("one"));
    // Whoever follows is not disturbed.
    a.create(&app("two")).await.unwrap();
    let update = staying.until(|u| u.apps.contains_key("two")).await;
    assert!(!update.snapshot);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_concurrent_writes_at_different_replicas_exactly_one_wins() {
    let (_etcd, a, b) = two().await;
    let version = a.create(&app("demo")).await.unwrap().version;
    let planes = [&a, &b];
    let replaced = join_all((0..12).map(|i| {
        let mut document = app("demo");
        document["description"] = json!(format!("writer {i}"));
        let mut apps = planes[i % 2].apps();
        async move { answer(apps.replace(operator(replace(&document, version))).await) }
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = replaced.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    lost.into_iter().for_each(|loser| assert_refused(loser, ErrorCode::StaleVersion, &[]));

    let named = |i: usize| {
        let mut document = app(&format!("app-{i}"));
        document["name"] = json!("the same");
        document
    };
    let documents: Vec<_> = (0..8).map(named).collect();
    let created = join_all(documents.iter().enumerate().map(|(i, d)| planes[i % 2].create(d))).await;
    assert_eq!(created.iter().filter(|r| r.is_ok()).count(), 1);
    for loser in created.into_iter().filter(Result::is_err) {
        assert_refused(loser, ErrorCode::NameTaken, &[]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_patches_at_different_replicas_all_get_through() {
    let (_etcd, a, b) = two().await;
    a.create(&app("demo")).await.unwrap();
    eventually("the app at both", async || b.get("demo").await.ok()).await;
    let patches = [
        json!({"description": "d"}),
        json!({"enableInboundStream": true}),
        json!({"disconnectOnTokenExpiry": true}),
        json!({"clientInboundAckEnabled": true}),
    ];
    let planes = [&a, &b];
    for result in join_all(patches.iter().enumerate().map(|(i, p)| planes[i % 2].patch("demo", p))).await {
        result.unwrap();
    }
    for plane in planes {
        eventually("all patches", async || {
            let shown = document(&plane.get("demo").await.unwrap().document_json);
            let all = |patch: &serde_json::Value| {
                patch.as_object().unwrap().iter().all(|(name, value)| shown[name] == *value)
            };
            patches.iter().all(all).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newer_of_two_incarnations_wins_wherever_it_registers() {
    let (_etcd, a, b) = two().await;
    let (mut older, _) = Node::up(&a.channel, hello("n1")).await;
    let (newer, snapshot) = Node::up(&b.channel, hello("n1")).await;
    assert_eq!(older.end().await, Code::AlreadyExists);
    assert_eq!(snapshot.members["n1"].incarnation, newer.hello.incarnation);
    let mut again = Node::open(&a.channel, older.hello.clone()).await;
    assert_eq!(again.end().await, Code::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_stream_leaves_everywhere() {
    let etcd = Etcd::start().await;
    let options = EtcdOptions::new([etcd.url()]);
    let short = |config| ReplicaConfig { member_ttl: Duration::from_secs(1), ..config };
    let (a, b) = tokio::join!(Plane::replica_with(&options, short), Plane::replica_with(&options, short));
    let (mut staying, _) = Node::up(&b.channel, hello("staying")).await;
    let (leaving, _) = Node::up(&a.channel, hello("leaving")).await;
    staying.until(|u| u.members.contains_key("leaving")).await;
    drop(leaving);
    staying.until(|u| u.removed == ["leaving"]).await;
    for plane in [&a, &b] {
        eventually("its end", async || {
            (plane.list_nodes().await.iter().map(|n| n.id.as_str()).collect::<Vec<_>>() == ["staying"])
                .then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_of_another_store_are_not_told_anything() {
    let (_etcd, a, _b) = two().await;
    let mut replica = ReplicaClient::new(a.channel.clone());
    let stranger = FollowRequest { replica: "stranger".into(), store_id: "another".into() };
    assert_eq!(replica.follow(stranger).await.unwrap_err().code(), Code::FailedPrecondition);
}
