//! Monthly usage, as nodes report it and hear of each other's.

use std::time::{SystemTime, UNIX_EPOCH};

use realtime_proto::Month;
use realtime_proto::generated::discovery as wire;
use wire::stream_request::Kind as RequestKind;
use wire::stream_response::Kind as ResponseKind;

use crate::node::{Node, hello};
use crate::plane::{Plane, app};

fn this_month() -> u32 {
    Month::at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).index()
}

fn usage(api_bytes: u64, inbound_messages: u64) -> wire::Usage {
    wire::Usage { app_id: "a".into(), month: this_month(), api_bytes, inbound_messages }
}

/// Reports and waits until the report counts.
async fn report(node: &mut Node, counted: Vec<wire::Usage>, sequence: u64) {
    node.send(RequestKind::Usage(wire::UsageReport { counted, sequence })).await;
    while heard(node).await.received != sequence {}
}

/// What the node hears next of others.
async fn heard(node: &mut Node) -> wire::UsageElsewhere {
    loop {
        match node.next().await {
            ResponseKind::Usage(usage) => return usage,
            ResponseKind::Delta(delta) => {
                node.send(RequestKind::Ack(wire::Ack { nonce: delta.nonce })).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A node that has just connected: what it is told before its first update.
async fn told_first(plane: &Plane, id: &str) -> Vec<wire::Usage> {
    let mut node = Node::register(&plane.channel, hello(id)).await;
    match node.next().await {
        ResponseKind::Usage(usage) => usage.counted,
        ResponseKind::Snapshot(_) => Vec::new(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_report_that_comes_again_after_a_reconnect_counts_once() {
    let plane = Plane::start().await;
    let (mut node, _) = Node::up(&plane.channel, hello("n1")).await;
    report(&mut node, vec![usage(300, 2)], 1).await;
    report(&mut node, vec![usage(500, 3)], 2).await;
    let again = node.hello.clone();
    drop(node);
    let mut node = Node::register(&plane.channel, again).await;
    let ResponseKind::Delta(delta) = node.next().await else { panic!("told of its own usage, or not held") };
    node.send(RequestKind::Ack(wire::Ack { nonce: delta.nonce })).await;
    report(&mut node, vec![usage(500, 3)], 3).await;
    assert_eq!(told_first(&plane, "n2").await, [usage(500, 3)]);
}

#[tokio::test]
async fn nodes_hear_of_each_others_usage_and_not_of_their_own() {
    let plane = Plane::start().await;
    let (mut one, _) = Node::up(&plane.channel, hello("n1")).await;
    report(&mut one, vec![usage(300, 0)], 1).await;
    let mut two = Node::register(&plane.channel, hello("n2")).await;
    assert_eq!(heard(&mut two).await.counted, [usage(300, 0)]);
    let update = two.update().await;
    two.ack(&update).await;
    report(&mut two, vec![usage(50, 7)], 1).await;
    assert_eq!(heard(&mut one).await.counted, [usage(50, 7)]);
    report(&mut one, vec![usage(400, 1)], 2).await;
    assert_eq!(heard(&mut two).await.counted, [usage(400, 1)]);
}

#[tokio::test]
async fn usage_survives_a_restart_that_the_nodes_survive_or_not() {
    let plane = Plane::start().await;
    let (mut gone, _) = Node::up(&plane.channel, hello("n1")).await;
    let (mut stays, _) = Node::up(&plane.channel, hello("n2")).await;
    report(&mut gone, vec![usage(300, 2)], 1).await;
    report(&mut stays, vec![usage(40, 0)], 1).await;
    let plane = plane.restart().await;
    assert_eq!(told_first(&plane, "n3").await, [usage(340, 2)]);
    // The node that lives on has counted further meanwhile.
    let mut stays = Node::register(&plane.channel, stays.hello.clone()).await;
    assert_eq!(heard(&mut stays).await.counted, [usage(300, 2)]);
    let update = stays.update().await;
    stays.ack(&update).await;
    report(&mut stays, vec![usage(60, 0)], 2).await;
    assert_eq!(told_first(&plane, "n4").await, [usage(360, 2)]);
}

#[tokio::test]
async fn what_is_written_of_usage_is_no_update_of_the_configuration() {
    let plane = Plane::start().await;
    plane.create(&app("a")).await.unwrap();
    let (mut node, before) = Node::up(&plane.channel, hello("n1")).await;
    report(&mut node, vec![usage(300, 2)], 1).await;
    let plane = plane.restart().await;
    // The shutdown has written usage. What comes to a node that holds the last configuration names no app.
    let mut node = Node::register(&plane.channel, node.hello.clone()).await;
    let update = node.update().await;
    assert!(!update.snapshot && update.apps.is_empty() && update.removed.is_empty(), "{update:?}");
    assert!(update.settings.is_none(), "{update:?}");
    assert!(update.revision.number > before.revision.number);
}

#[tokio::test]
async fn usage_of_far_months_and_from_gateways_is_not_counted() {
    let plane = Plane::start().await;
    let (mut node, _) = Node::up(&plane.channel, hello("n1")).await;
    let far = |month| wire::Usage { month, ..usage(1, 1) };
    let rows = vec![far(this_month() + 2), far(this_month() - 2), far(u32::MAX), usage(7, 0)];
    report(&mut node, rows, 1).await;
    let role = wire::Role::Gateway.into();
    let (gateway, _) = Node::up(&plane.channel, wire::Hello { role, ..hello("g") }).await;
    let counted = vec![usage(100, 100)];
    gateway.send(RequestKind::Usage(wire::UsageReport { counted, sequence: 1 })).await;
    report(&mut node, vec![usage(8, 0)], 2).await;
    assert_eq!(told_first(&plane, "n2").await, [usage(8, 0)]);
}
