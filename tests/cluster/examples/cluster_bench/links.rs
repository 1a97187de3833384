//! What links cost that carry nothing but signs of life.

use std::time::Duration;

use realtime_testkit::{Cluster, Server};
use tokio::time::sleep;

const SECONDS: u32 = 5;

pub(crate) async fn measure() {
    println!("| idle nodes | CPU of each node | memory of each node |\n|---|---|---|");
    for nodes in [2, 10] {
        let cluster = Cluster::builder().nodes(nodes).start().await;
        let cpu = || cluster.nodes.iter().map(Server::cpu_time).sum::<Duration>();
        let before = cpu();
        sleep(Duration::from_secs(1) * SECONDS).await;
        let millis = (cpu() - before).as_secs_f64() * 1e3 / f64::from(SECONDS) / nodes as f64;
        let bytes = cluster.nodes.iter().map(Server::resident_bytes).sum::<u64>() / nodes as u64;
        println!("| {nodes} | {millis:.2} ms a second | {:.1} MB |", bytes as f64 / 1e6);
    }
}
