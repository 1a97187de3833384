//! What a subscribe costs that waits until the other nodes know of its topic.

use realtime_testkit::{Client, Cluster};
use tokio::time::Instant;

use crate::times;

const TOPICS: usize = 2_000;

pub(crate) async fn measure() {
    let cluster = Cluster::start().await;
    let app = cluster.app().set("tier", "unlimited").create().await;
    let (mut first, mut second) = (app.connect("first", &[]).await, app.connect("second", &[]).await);
    println!("| from a subscribe to its welcome, 3 nodes | {} |\n|---|---|---|---|---|", times::COLUMNS);
    println!("| a topic new to its node | {} |", times::row(subscribe(&mut first).await));
    println!("| a topic that its node has | {} |", times::row(subscribe(&mut second).await));
}

async fn subscribe(client: &mut Client) -> Vec<std::time::Duration> {
    let mut times = Vec::new();
    for number in 0..TOPICS {
        let started = Instant::now();
        client.subscribe(&format!("topic-{number}")).await;
        times.push(started.elapsed());
    }
    times
}
