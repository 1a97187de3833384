//! Whose node is killed is announced by another.

use std::collections::BTreeSet;

use realtime_testkit::{Client, Cluster};

const READ: [&str; 1] = ["realtime:subscriber:read:topic:*"];
const CLIENTS: usize = 10;

/// Of the next so many events of presence, whose they are; none comes twice.
async fn presence(backend: &mut Client, status: &str, count: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    while ids.len() < count {
        let data = backend.expect("secure/inbound", "presence").await;
        assert_eq!(data["payload"]["status"], status, "{data}");
        let id = data["client"]["connectionId"].as_str().expect("an id").to_owned();
        assert!(ids.insert(id), "twice: {data}");
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_of_a_killed_node_are_announced_to_every_other_node_once() {
    let mut cluster = Cluster::start().await;
    let app = cluster.app().set("enableWebSocketInboundTopic", true).create().await;
    let mut clients = Vec::new();
    let mut backend = app.at(&cluster.nodes[0]).connect("backend", &READ).await;
    backend.subscribe("secure/inbound").await;
    for number in 0..CLIENTS {
        clients.push(app.at(&cluster.nodes[2]).connect(&format!("client-{number}"), &[]).await);
    }
    let came = presence(&mut backend, "connected", CLIENTS).await;
    let mut other = app.at(&cluster.nodes[1]).connect("backend", &READ).await;
    other.subscribe("secure/inbound").await;
    assert_eq!(presence(&mut backend, "connected", 1).await.len(), 1);
    cluster.nodes[2].kill();
    assert_eq!(presence(&mut backend, "disconnected", CLIENTS).await, came);
    assert_eq!(presence(&mut other, "disconnected", CLIENTS).await, came);
    backend.expect_nothing().await;
    other.expect_nothing().await;
}
