//! Whose node is killed is announced by another.

use std::collections::BTreeSet;

use realtime_testkit::aws::{ACCESS_KEY, REGION, SECRET};
use realtime_testkit::{Backend, Client, Cluster, Moto, Role};
use serde_json::json;

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

/// A standard queue drops nothing that comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn the_clients_of_a_killed_node_are_announced_to_a_queue_once() {
    let Some(moto) = Moto::shared().await else { return };
    let backend = Backend::new(moto);
    let url = backend.new_queue().await;
    let mut cluster = Cluster::builder().args(Role::DataPlane, &["--allow-insecure-endpoints"]).start().await;
    let forwarder = json!({"enabled": true, "queueUrl": url, "region": REGION, "endpointUrl": moto.url(),
        "accessKeyId": ACCESS_KEY, "secretAccessKey": SECRET});
    let app = cluster.app().set("enableWebSocketInboundTopic", true).set("clientInboundAckEnabled", true);
    let app = app.set("amazonSqsForwarder", forwarder).create().await;
    // Its presence on the inbound topic says when the guardian has done its work.
    let mut service = app.at(&cluster.nodes[0]).connect("service", &READ).await;
    service.subscribe("secure/inbound").await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(app.at(&cluster.nodes[2]).connect(&format!("client-{number}"), &[]).await);
    }
    for client in &mut clients {
        client.send("message", json!({"payload": "x", "id": "1"})).await;
        assert_eq!(client.expect("priv/acks", "ack").await, "1");
    }
    let ids: BTreeSet<_> = clients.iter().map(|client| client.id().to_owned()).collect();
    assert_eq!(backend.receive_some(&url, 1 + 2 * CLIENTS).await.len(), 1 + 2 * CLIENTS);
    cluster.nodes[2].kill();
    while service.frame().await.data()["payload"]["status"] != "disconnected" {}
    presence(&mut service, "disconnected", CLIENTS - 1).await;
    let received = backend.receive_some(&url, CLIENTS).await;
    let told: Vec<_> = received
        .iter()
        .map(|received| {
            let body = received.json();
            assert_eq!(
                (&body["messageType"], &body["payload"]),
                (&json!("presence"), &json!({"code": -1, "status": "disconnected"}))
            );
            body["client"]["connectionId"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!((told.len(), told.into_iter().collect()), (CLIENTS, ids));
    // A message of another node comes after everything that a second guardian would have told by now.
    let mut last = app.at(&cluster.nodes[1]).connect("last", &[]).await;
    last.send("message", json!({"payload": "x", "id": "last"})).await;
    assert_eq!(last.expect("priv/acks", "ack").await, "last");
    assert_eq!(backend.receive_some(&url, 2).await.len(), 2, "its presence, its message, and nothing else");
}
