//! What a topic costs that one node has subscribers for: there, and at each other node that knows of it.

use realtime_testkit::{Cluster, eventually};
use serde_json::json;

use crate::replication::session;

const TOPICS: u64 = 100_000;
/// Subscribes that are sent at one time; their welcomes wait for the other nodes together.
const BURST: u64 = 500;

pub(crate) async fn measure() {
    let cluster = Cluster::start().await;
    let app = cluster.app().set("tier", "unlimited").create().await;
    let mut subscriber = session(&app, "subscriber", None).await;
    let figures = || -> Vec<_> {
        cluster.nodes.iter().map(|node| (node.resident_bytes(), node.cpu_time().as_secs_f64())).collect()
    };
    let before = figures();
    for burst in 0..TOPICS / BURST {
        for number in burst * BURST..(burst + 1) * BURST {
            let topic = format!("rooms/{number:08}");
            subscriber.write_text(&json!({"type": "subscribe", "data": {"topic": topic}}).to_string()).await;
        }
        for _ in 0..BURST {
            subscriber.expect_frame().await;
        }
    }
    eventually("all topics told", async || {
        (cluster.nodes[0].metric("realtime_mesh_topics").await >= TOPICS).then_some(())
    })
    .await;
    let after = figures();
    println!("| a topic with a subscriber, of {TOPICS} | memory | CPU |\n|---|---|---|");
    for (name, node) in [("at its node, the subscription included", 0), ("at another node", 1)] {
        let bytes = after[node].0.saturating_sub(before[node].0) / TOPICS;
        let micros = (after[node].1 - before[node].1) * 1e6 / TOPICS as f64;
        println!("| {name} | {bytes} B | {micros:.2} µs |");
    }
}
