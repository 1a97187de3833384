//! A network that is cut between two nodes, in namespaces of the test's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use realtime_cluster_tests::operator::lost;
use realtime_testkit::cluster::metric;
use realtime_testkit::{
    Client, Cluster, Network, Request, Server, eventually, eventually_equal, in_own_network,
};
use serde_json::{Value, json};

const EVERYTHING: [&str; 1] = ["realtime:publisher:write:topic:*"];
/// Within which interest is right again after the wire is mended (issue: a cluster on etcd).
const MENDED_WITHIN: Duration = Duration::from_secs(5);
/// Publishes into the partition.
const MESSAGES: u64 = 50;

#[test]
fn both_sides_of_a_cut_serve_count_what_is_lost_and_find_each_other_again() {
    in_own_network("both_sides_of_a_cut_serve_count_what_is_lost_and_find_each_other_again", cut_and_mended);
}

async fn cut_and_mended() {
    let network = Arc::new(Network::new(3).await);
    let cluster = Cluster::builder().network(&network).start().await;
    let app = cluster.app().create().await;
    let nodes = [&cluster.nodes[0], &cluster.nodes[1], &cluster.nodes[2]];
    let mut subscribers = Vec::new();
    let mut publishers = Vec::new();
    for node in nodes {
        let mut subscriber = app.at(node).connect("subscriber", &[]).await;
        subscriber.subscribe("news").await;
        subscribers.push(subscriber);
        publishers.push(app.at(node).connect("publisher", &EVERYTHING).await);
    }
    // One at the second node alone, which leaves while the first cannot hear it.
    let mut leaver = app.at(nodes[1]).connect("leaver", &[]).await;
    leaver.subscribe("left").await;
    publishers[0].publish("left", json!("before")).await;
    assert_eq!(payload(&mut leaver, "left").await, "before");

    network.cut(0, 1);
    for publisher in &mut publishers {
        publisher.publish("news", json!("cut")).await;
    }
    // Each side has its own messages and the third node's, which has everybody's.
    assert_eq!(payloads(&mut subscribers[0], 2).await, ["cut", "cut"]);
    assert_eq!(payloads(&mut subscribers[1], 2).await, ["cut", "cut"]);
    assert_eq!(payloads(&mut subscribers[2], 3).await, ["cut", "cut", "cut"]);
    // The silence is noticed, and what was on its way is counted on both sides.
    for node in &nodes[..2] {
        eventually_equal("one link left", Some(1), || metric(node, "realtime_peers_linked")).await;
        assert!(lost(node).await >= 1);
    }
    let before = [lost(nodes[0]).await, lost(nodes[1]).await];
    for number in 0..MESSAGES {
        publishers[0].publish("news", json!({"number": number})).await;
        publishers[1].publish("news", json!({"number": number})).await;
    }
    for (subscriber, sides) in [(0, 1), (1, 1), (2, 2)] {
        let mut numbers = payloads(&mut subscribers[subscriber], sides * MESSAGES as usize).await;
        numbers.sort_by_key(|payload| payload["number"].as_u64());
        let expected: Vec<_> = (0..MESSAGES).flat_map(|n| vec![json!({"number": n}); sides]).collect();
        assert_eq!(numbers, expected);
    }
    for (node, before) in nodes.into_iter().zip(before) {
        eventually_equal("what is lost", before + MESSAGES, async || lost(node).await).await;
    }
    leaver.close().await;
    let mut latecomer = app.at(nodes[1]).connect("latecomer", &[]).await;
    latecomer.subscribe("late").await;
    // Everything that the first node has published so far.
    let mut published = 2 + MESSAGES;
    eventually_equal("all publishes", published, async || routed(nodes[0]).await.0).await;

    network.mend(0, 1);
    let mended = Instant::now();
    for node in &nodes[..2] {
        eventually_equal("both links", Some(2), || metric(node, "realtime_peers_linked")).await;
    }
    // The first node sends what somebody wants now, and nothing that nobody wants any more.
    eventually("right interest", async || {
        let (_, before) = routed(nodes[0]).await;
        for topic in ["left", "late"] {
            publishers[0].publish(topic, json!("after")).await;
        }
        assert_eq!(payload(&mut latecomer, "late").await, "after");
        published += 2;
        eventually_equal("both publishes", published, async || routed(nodes[0]).await.0).await;
        (routed(nodes[0]).await.1 == before + 1).then_some(())
    })
    .await;
    let took = mended.elapsed();
    assert!(took < MENDED_WITHIN, "interest was right after {took:?}");
    let before = [lost(nodes[0]).await, lost(nodes[1]).await];
    publishers[0].publish("news", json!("mended")).await;
    publishers[1].publish("news", json!("mended")).await;
    for subscriber in &mut subscribers {
        assert_eq!(payloads(subscriber, 2).await, ["mended", "mended"]);
    }
    assert_eq!([lost(nodes[0]).await, lost(nodes[1]).await], before);
}

/// The payload of the next message on a topic.
async fn payload(subscriber: &mut Client, topic: &str) -> Value {
    subscriber.expect(topic, "broadcast").await["payload"].clone()
}

/// Those of the next messages on `news`.
async fn payloads(subscriber: &mut Client, count: usize) -> Vec<Value> {
    let mut payloads = Vec::new();
    for _ in 0..count {
        payloads.push(payload(subscriber, "news").await);
    }
    payloads
}

/// Publishes that a node has looked up for the others, and those that it has queued for them, as of one moment.
async fn routed(node: &Server) -> (u64, u64) {
    let text = metrics(node).await;
    (sum(&text, "realtime_mesh_routed_total"), sum(&text, "realtime_mesh_replicated_total"))
}

async fn metrics(node: &Server) -> String {
    Request::new(node.admin_listen(), "GET", "/metrics").send().await.text()
}

/// The sum of a metric over its labels.
fn sum(metrics: &str, name: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
