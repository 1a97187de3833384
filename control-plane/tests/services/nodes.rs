//! Membership, what nodes say about themselves, and draining.

use std::time::Duration;

use realtime_proto::ErrorCode;
use realtime_proto::generated::{admin, discovery as wire};
use serde_json::json;
use tempfile::TempDir;
use tonic::Code;
use wire::stream_request::Kind as RequestKind;
use wire::stream_response::Kind as ResponseKind;

use crate::node::{Node, hello};
use crate::plane::{Plane, app, assert_refused};

/// Lists nodes until one looks as wanted: what a node says is noted a moment after it has said it.
async fn eventually(plane: &Plane, wanted: impl Fn(&admin::Node) -> bool) -> admin::Node {
    let search = async {
        loop {
            if let Some(node) = plane.list_nodes().await.into_iter().find(&wanted) {
                return node;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), search).await.expect("the node as wanted")
}

#[tokio::test]
async fn nodes_are_listed_with_what_they_said() {
    let plane = Plane::start().await;
    let (node, snapshot) = Node::up(&plane.channel, hello("n1")).await;
    node.report(wire::NodeState::Ready, 42).await;
    let listed = eventually(&plane, |n| n.connections == 42).await;
    assert_eq!((listed.id.as_str(), listed.state.as_str()), ("n1", "ready"));
    assert_eq!((listed.listen.as_str(), listed.peer.as_str()), ("n1.example:8080", "n1.example:7071"));
    assert_eq!(listed.revision, snapshot.revision.number);
    assert!(listed.rejections.is_empty());
}

#[tokio::test]
async fn what_a_node_refuses_is_listed_until_it_no_longer_does() {
    let plane = Plane::start().await;
    let (mut node, _) = Node::up(&plane.channel, hello("n1")).await;
    plane.create(&app("one")).await.unwrap();
    let update = node.update().await;
    node.nack(&update, "one", "authKey.key: unreadable").await;
    let listed = eventually(&plane, |n| !n.rejections.is_empty()).await;
    assert_eq!(listed.revision, update.revision.number);
    assert_eq!(listed.rejections[0].app_id, "one");
    assert_eq!(listed.rejections[0].reason, "authKey.key: unreadable");
    // A refusal does not stop the stream.
    plane.patch("one", &json!({"description": "better"})).await.unwrap();
    let update = node.update().await;
    assert_eq!(update.app_ids(), ["one"]);
    node.ack(&update).await;
    eventually(&plane, |n| n.rejections.is_empty() && n.revision == update.revision.number).await;
}

#[tokio::test]
async fn members_learn_of_each_other_and_of_states() {
    let plane = Plane::start().await;
    let (mut first, _) = Node::up(&plane.channel, hello("n1")).await;
    let (second, snapshot) = Node::up(&plane.channel, hello("n2")).await;
    assert_eq!(snapshot.members.len(), 2);
    let update = first.until(|u| u.members.contains_key("n2")).await;
    let prefix = &update.members["n2"].connection_id_prefix;
    assert_eq!(prefix, &second.hello.connection_id_prefix);
    assert_ne!(prefix, &first.hello.connection_id_prefix);
    second.report(wire::NodeState::Draining, 0).await;
    let update = first.until(|u| u.members.contains_key("n2")).await;
    assert_eq!(update.members["n2"].state(), wire::NodeState::Draining);
    eventually(&plane, |n| n.id == "n2" && n.state == "draining").await;
    second.report(wire::NodeState::Ready, 0).await;
    let update = first.until(|u| u.members.contains_key("n2")).await;
    assert_eq!(update.members["n2"].state(), wire::NodeState::Ready);
}

#[tokio::test]
async fn a_member_without_a_stream_leaves_when_its_lease_has_run_out() {
    let plane = Plane::start_with(TempDir::new().unwrap(), Duration::from_millis(600)).await;
    let (mut staying, _) = Node::up(&plane.channel, hello("staying")).await;
    let (leaving, _) = Node::up(&plane.channel, hello("leaving")).await;
    staying.until(|u| u.members.contains_key("leaving")).await;
    drop(leaving);
    staying.until(|u| u.removed == ["leaving"]).await;
    let left: Vec<_> = plane.list_nodes().await.into_iter().map(|n| n.id).collect();
    assert_eq!(left, ["staying"], "a stream keeps its member alive");
    // Its prefix may be used again, and it may come back with it.
    let (_again, snapshot) = Node::up(&plane.channel, hello("leaving")).await;
    assert_eq!(snapshot.members.len(), 2);
}

#[tokio::test]
async fn a_member_that_says_farewell_is_out_at_once_and_its_stream_goes_on() {
    let plane = Plane::start().await;
    let (mut staying, _) = Node::up(&plane.channel, hello("staying")).await;
    let (mut leaving, _) = Node::up(&plane.channel, hello("leaving")).await;
    staying.until(|u| u.members.contains_key("leaving")).await;
    leaving.send(RequestKind::Leave(wire::Leave {})).await;
    // The lease would last longer than this waits.
    staying.until(|u| u.removed == ["leaving"]).await;
    leaving.until(|u| u.removed == ["leaving"]).await;
    // What it says as a member means nothing any more, and what it has counted is still taken.
    leaving.report(wire::NodeState::Draining, 0).await;
    let report = wire::UsageReport { counted: Vec::new(), sequence: 7 };
    leaving.send(RequestKind::Usage(report)).await;
    let confirmed = |kind| matches!(kind, ResponseKind::Usage(usage) if usage.received == 7);
    while !confirmed(leaving.next().await) {}
    assert_eq!(plane.list_nodes().await.len(), 1);
}

#[tokio::test]
async fn the_newer_of_two_incarnations_wins_and_the_older_cannot_come_back() {
    let plane = Plane::start().await;
    let (mut older, _) = Node::up(&plane.channel, hello("n1")).await;
    let (newer, snapshot) = Node::up(&plane.channel, hello("n1")).await;
    assert_eq!(older.end().await, Code::AlreadyExists);
    assert_ne!(newer.hello.connection_id_prefix, older.hello.connection_id_prefix);
    assert_eq!(snapshot.members["n1"].incarnation, newer.hello.incarnation);
    let mut again = Node::open(&plane.channel, older.hello.clone()).await;
    assert_eq!(again.end().await, Code::AlreadyExists);
    newer.report(wire::NodeState::Ready, 3).await;
    eventually(&plane, |n| n.connections == 3).await;
}

#[tokio::test]
async fn a_second_stream_of_one_incarnation_takes_over_with_the_same_prefix() {
    let plane = Plane::start().await;
    let (mut first, _) = Node::up(&plane.channel, hello("n1")).await;
    let (second, _) = Node::up(&plane.channel, first.hello.clone()).await;
    assert_eq!(first.end().await, Code::Aborted, "not ALREADY_EXISTS, which would stop the node");
    assert_eq!(second.hello.connection_id_prefix, first.hello.connection_id_prefix);
    // Even when it does not know that it was registered.
    let forgetful = wire::Hello { connection_id_prefix: String::new(), ..second.hello.clone() };
    let (third, _) = Node::up(&plane.channel, forgetful).await;
    assert_eq!(third.hello.connection_id_prefix, first.hello.connection_id_prefix);
}

#[tokio::test]
async fn a_prefix_that_another_member_has_is_replaced() {
    let plane = Plane::start().await;
    let (first, _) = Node::up(&plane.channel, hello("n1")).await;
    let prefix = first.hello.connection_id_prefix.clone();
    let claims = wire::Hello { connection_id_prefix: prefix.clone(), ..hello("n2") };
    let (second, _) = Node::up(&plane.channel, claims).await;
    assert_ne!(second.hello.connection_id_prefix, prefix);
}

#[tokio::test]
async fn members_survive_a_restart_until_they_come_back() {
    let plane = Plane::start().await;
    let (node, _) = Node::up(&plane.channel, hello("n1")).await;
    let plane = plane.restart().await;
    let listed = plane.list_nodes().await;
    assert_eq!(listed.len(), 1, "an outage of the control plane removes nobody at once");
    let (_node, _) = Node::up(&plane.channel, node.hello.clone()).await;
}

#[tokio::test]
async fn what_an_operator_wants_waits_for_a_node_that_is_away() {
    let plane = Plane::start().await;
    let (node, _) = Node::up(&plane.channel, hello("n1")).await;
    let plane = plane.restart().await;
    plane.drain("n1").await.unwrap();
    let mut back = Node::register(&plane.channel, node.hello.clone()).await;
    assert_eq!(back.command().await, wire::NodeState::Draining);
    back.report(wire::NodeState::Draining, 0).await;
    eventually(&plane, |n| n.state == "draining").await;
    // It has obeyed: on another stream the word is not repeated, and a new process has not heard it.
    let state = wire::NodeState::Draining.into();
    let mut again = Node::register(&plane.channel, wire::Hello { state, ..back.hello.clone() }).await;
    let update = again.update().await;
    again.ack(&update).await;
    plane.undrain("n1").await.unwrap();
    assert_eq!(again.command().await, wire::NodeState::Ready);
    plane.drain("n1").await.unwrap();
    assert_eq!(again.command().await, wire::NodeState::Draining);
    let mut new = Node::register(&plane.channel, hello("n1")).await;
    assert!(new.update().await.snapshot);
}

#[tokio::test]
async fn drain_and_undrain_reach_the_node() {
    let plane = Plane::start().await;
    let (mut node, _) = Node::up(&plane.channel, hello("n1")).await;
    assert_refused(plane.drain("n2").await, ErrorCode::NotFound, &[]);
    assert_refused(plane.undrain("n2").await, ErrorCode::NotFound, &[]);
    plane.drain("n1").await.unwrap();
    assert_eq!(node.command().await, wire::NodeState::Draining);
    // Before the node has said that it drains, and again: each word counts.
    plane.undrain("n1").await.unwrap();
    assert_eq!(node.command().await, wire::NodeState::Ready);
    plane.undrain("n1").await.unwrap();
    assert_eq!(node.command().await, wire::NodeState::Ready);
}

#[tokio::test]
async fn a_member_that_only_registers_again_is_no_news_to_others() {
    let plane = Plane::start().await;
    let (mut watching, _) = Node::up(&plane.channel, hello("n1")).await;
    let (moving, _) = Node::up(&plane.channel, hello("n2")).await;
    watching.until(|u| u.members.contains_key("n2")).await;
    let (_moved, _) = Node::up(&plane.channel, moving.hello.clone()).await;
    plane.create(&app("later")).await.unwrap();
    let update = watching.update().await;
    assert!(update.members.is_empty() && update.apps.contains_key("later"), "{update:?}");
}
