//! Presence that survives a node's death: sessions mirrored at a peer.

use std::time::Duration;

use serde_json::json;

use crate::mesh::{Mesh, Peer, name};
use crate::node::Client;

/// The next event of presence; whose it is.
pub(crate) fn presence_of(backend: &mut Client, status: &str) -> String {
    let event = backend.json();
    assert_eq!((&event["topic"], &event["messageType"]), (&json!("secure/inbound"), &json!("presence")));
    assert_eq!(event["data"]["payload"]["status"], status, "{event}");
    event["data"]["client"]["subject"].as_str().expect("a subject").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sessions_of_a_dead_node_are_announced_once_by_its_guardian_and_as_the_node_would_have() {
    const SESSIONS: usize = 20;
    let mut mesh = Mesh::start(3).await;
    let early = mesh.client(2, "early");
    mesh.nodes.iter_mut().for_each(|peer| peer.node.app(json!({"enableWebSocketInboundTopic": true})));
    // Its application's inbound messaging was switched on while it was open.
    mesh.figures(&mesh.nodes[2], |figures| figures.mirror.mirrored == 1).await;
    let mut backend = mesh.client(0, "backend");
    backend.subscribe("secure/inbound");
    let mut clients: Vec<Client> = (0..SESSIONS).map(|n| mesh.client(2, &format!("s{n:02}"))).collect();
    for n in 0..SESSIONS {
        assert_eq!(presence_of(&mut backend, "connected"), format!("s{n:02}"));
    }
    // The backend's is one of them.
    let guarded =
        || mesh.nodes.iter().map(|peer| peer.peers.figures().borrow().mirror.guarded).sum::<usize>();
    mesh.nodes[0].node.eventually("every mirror", |_| guarded() == SESSIONS + 2);
    // One ends by itself.
    drop(clients.pop());
    assert_eq!(presence_of(&mut backend, "disconnected"), format!("s{:02}", SESSIONS - 1));
    mesh.nodes[0].node.eventually("the mirror without it", |_| guarded() == SESSIONS + 1);
    // Its links break before its sessions end.
    let dead = mesh.nodes.pop().expect("a node");
    drop((dead._serving, dead.peers));
    mesh.figures(&mesh.nodes[0], |figures| figures.unlinked == 1).await;
    let mut members = mesh.members();
    members.remove(&name(2));
    mesh.tell(members);
    let mut gone: Vec<String> = (0..SESSIONS).map(|_| presence_of(&mut backend, "disconnected")).collect();
    gone.sort();
    let mut expected: Vec<String> = (0..SESSIONS - 1).map(|n| format!("s{n:02}")).collect();
    expected.insert(0, "early".into());
    assert_eq!(gone, expected);
    let announced = || mesh.nodes.iter().map(|peer| peer.peers.figures().borrow().departed).sum::<u64>();
    mesh.nodes[0].node.eventually("the count", |_| announced() == SESSIONS as u64);
    // Nothing comes twice.
    let from = &mesh.nodes[0];
    from.cluster.publish(from.node.publication("priv/backend", "9")).expect("published");
    assert_eq!(backend.json()["data"], 9);
    drop((early, clients));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_in_order_leaves_nothing_to_announce() {
    let mut mesh = Mesh::start(2).await;
    mesh.nodes.iter_mut().for_each(|peer| peer.node.app(json!({"enableWebSocketInboundTopic": true})));
    let mut backend = mesh.client(0, "backend");
    backend.subscribe("secure/inbound");
    let _clients: Vec<Client> = (0..9).map(|n| mesh.client(1, &format!("s{n}"))).collect();
    (0..9).for_each(|_| drop(presence_of(&mut backend, "connected")));
    mesh.figures(&mesh.nodes[0], |figures| figures.mirror.guarded == 9).await;
    let Peer { node, peers, .. } = mesh.nodes.remove(1);
    node.shards.drain(Duration::from_millis(1)).await;
    peers.stop().await;
    mesh.figures(&mesh.nodes[0], |figures| figures.mirror.guarded == 0).await;
    (0..9).for_each(|_| drop(presence_of(&mut backend, "disconnected")));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_mirrored_as_long_as_their_application_has_inbound_messaging() {
    let mut mesh = Mesh::start(2).await;
    let _client = mesh.client(0, "s");
    mesh.nodes[0].node.app(json!({"enableInboundStream": true}));
    mesh.figures(&mesh.nodes[1], |figures| figures.mirror.guarded == 1).await;
    mesh.nodes[0].node.app(json!({}));
    mesh.figures(&mesh.nodes[1], |figures| figures.mirror.guarded == 0).await;
}
