//! What the way to another node adds to a message's latency.

use std::time::Duration;

use realtime_testkit::Cluster;
use realtime_testkit::raw::{FIN, TEXT, encode};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::replication::session;
use crate::times;

const MESSAGES: usize = 2_000;
const PAUSE: Duration = Duration::from_millis(2);

pub(crate) async fn measure() {
    let cluster = Cluster::start().await;
    let app = cluster.app().set("tier", "unlimited").create().await;
    let mut publisher = session(&app, "publisher", None).await;
    let text = json!({"type": "publish", "data": {"topic": "news", "payload": "x".repeat(128)}});
    let frame = encode(FIN | TEXT, text.to_string().as_bytes());
    println!("| from a publish to the subscriber's frame | {} |\n|---|---|---|---|---|", times::COLUMNS);
    for (name, node) in [("same node", 0), ("another node", 1), ("same node", 0), ("another node", 1)] {
        let mut subscriber = session(&app.at(&cluster.nodes[node]), "subscriber", Some("news")).await;
        let mut latencies = Vec::new();
        for _ in 0..MESSAGES {
            let sent = Instant::now();
            publisher.write(&frame).await;
            subscriber.expect_frame().await;
            latencies.push(sent.elapsed());
            sleep(PAUSE).await;
        }
        println!("| {name} | {} |", times::row(latencies));
    }
}
