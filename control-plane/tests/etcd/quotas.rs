//! Monthly usage over several replicas.

use std::time::{SystemTime, UNIX_EPOCH};

use realtime_control_plane::store::EtcdOptions;
use realtime_proto::Month;
use realtime_proto::generated::discovery as wire;
use realtime_testkit::Etcd;
use wire::stream_request::Kind as RequestKind;
use wire::stream_response::Kind as ResponseKind;

use crate::node::{Node, hello};
use crate::plane::Plane;

fn usage(api_bytes: u64) -> wire::Usage {
    let month = Month::at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).index();
    wire::Usage { app_id: "a".into(), month, api_bytes, inbound_messages: 0 }
}

/// Reports, and waits until the report counts at its replica.
async fn report(node: &mut Node, counted: wire::Usage, sequence: u64) {
    let counted = vec![counted];
    node.send(RequestKind::Usage(wire::UsageReport { counted, sequence })).await;
    while next_heard(node).await.received != sequence {}
}

async fn next_heard(node: &mut Node) -> wire::UsageElsewhere {
    loop {
        let nonce = match node.next().await {
            ResponseKind::Usage(heard) => return heard,
            ResponseKind::Delta(delta) => delta.nonce,
            ResponseKind::Snapshot(chunk) => chunk.nonce,
            _ => continue,
        };
        node.send(RequestKind::Ack(wire::Ack { nonce })).await;
    }
}

/// Waits until the node has heard that much of others.
async fn hears(node: &mut Node, api_bytes: u64) {
    loop {
        let heard = next_heard(node).await;
        if let Some(last) = heard.counted.last() {
            assert!(last.api_bytes <= api_bytes, "counted twice: {heard:?}");
            if last.api_bytes == api_bytes {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_hear_of_what_is_used_at_other_replicas_and_nothing_counts_twice() {
    let etcd = Etcd::start().await;
    let options = EtcdOptions::new([etcd.url()]);
    let (a, b) = (Plane::replica(&options).await, Plane::replica(&options).await);
    let (mut one, _) = Node::up(&a.channel, hello("n1")).await;
    let (mut two, _) = Node::up(&b.channel, hello("n2")).await;
    report(&mut one, usage(300), 1).await;
    hears(&mut two, 300).await;
    report(&mut two, usage(50), 1).await;
    hears(&mut one, 50).await;

    // It moves with its counts, which go on.
    let mut moved = Node::register(&b.channel, one.hello.clone()).await;
    report(&mut moved, usage(300), 2).await;
    report(&mut moved, usage(400), 3).await;
    hears(&mut two, 400).await;
    // Its last replica writes what it has heard, and so does the new one: together they are the same.
    a.stop().await;
    b.stop().await;
    let c = Plane::replica(&options).await;
    let mut new = Node::register(&c.channel, hello("n3")).await;
    hears(&mut new, 450).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_cannot_hear_each_other_learn_from_checkpoints() {
    let etcd = Etcd::start().await;
    let options = EtcdOptions::new([etcd.url()]);
    // Nobody can reach the one; it stops, and so writes.
    let unreachable = |config: realtime_control_plane::ReplicaConfig| {
        let peering = realtime_control_plane::Peering::plain("127.0.0.1:1");
        realtime_control_plane::ReplicaConfig { peering, ..config }
    };
    let a = Plane::replica_with(&options, unreachable).await;
    let b = Plane::replica(&options).await;
    let (mut two, _) = Node::up(&b.channel, hello("n2")).await;
    let (mut one, _) = Node::up(&a.channel, hello("n1")).await;
    report(&mut one, usage(300), 1).await;
    a.stop().await;
    hears(&mut two, 300).await;
}
