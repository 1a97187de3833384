//! How long a node takes from its start until it serves, with many applications.

use realtime_testkit::Cluster;
use tokio::time::Instant;

use crate::change::create;
use crate::times;

const APPS: usize = 10_000;
const STARTS: usize = 10;

pub(crate) async fn measure() {
    let mut cluster = Cluster::builder().nodes(1).start().await;
    create(&cluster, APPS).await;
    cluster.in_force().await;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let started = Instant::now();
        cluster.nodes[0].start_again().await;
        starts.push(started.elapsed());
    }
    println!("| a node's start with {APPS} applications | {} |\n|---|---|---|---|---|", times::COLUMNS);
    println!("| until it serves | {} |", times::row(starts));
}
