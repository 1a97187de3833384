//! Who is a member: processes with one id, addresses that change, nodes that go in good order.

use std::time::Duration;

use realtime_cluster_tests::{Load, PUBLISHER, Recorder, TOPIC, alone, by, heard_everywhere, operator};
use realtime_testkit::cluster::metric;
use realtime_testkit::{Cluster, eventually};
use tokio::time::Instant;

/// A node that has drained is out of membership by its own word. Its lease would have run for 4.7 s at least.
const LEAVES_WITHIN: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_one_id_the_newer_stays_wherever_it_is() {
    let _alone = alone().await;
    let mut cluster = Cluster::start().await;
    let app = cluster.app().set("tier", "unlimited").set("clientInboundAckEnabled", true).create().await;
    let mut recorders = Vec::new();
    for i in [0, 2] {
        recorders.push(Recorder::open(&app.at(&cluster.nodes[i]), &format!("subscriber-{i}"), TOPIC).await);
    }
    heard_everywhere(&app, &cluster.nodes, &recorders).await;
    let mut load = Load::new();
    for i in [0, 2] {
        load.client(&format!("client-{i}"), &app.at(&cluster.nodes[i])).await;
    }
    load.http("caller", cluster.gateway(), &app);
    let twin = cluster.twin(1).await;
    let mut older = std::mem::replace(&mut cluster.nodes[1], twin);
    assert_eq!(older.exit_status().await.code(), Some(1), "{}", older.log());
    let why = "another process has registered under this node's name (--node-id) and takes its place";
    assert!(older.log().contains(why), "{}", older.log());
    let newer = &cluster.nodes[1];
    assert_ne!(newer.peer_listen(), older.peer_listen());
    assert_ne!(newer.listen(), older.listen());
    cluster.settled().await;
    for replica in &cluster.control_planes {
        eventually("the newer one in the list", async || {
            let nodes = operator::nodes(replica).await?;
            let listed = nodes.iter().find(|node| node.id == "node-1")?;
            (nodes.len() == 3 && listed.peer == newer.peer_listen() && listed.listen == newer.listen())
                .then_some(())
        })
        .await;
    }
    // The newer one has sessions, hears everybody and is heard.
    recorders.push(Recorder::open(&app.at(newer), "subscriber-1", TOPIC).await);
    heard_everywhere(&app, &cluster.nodes, &recorders).await;
    let mut publisher = app.at(newer).connect("publisher", &[PUBLISHER]).await;
    publisher.publish(TOPIC, "~newer/0~").await;
    for recorder in &recorders {
        recorder.has_all("newer", &[0]).await;
    }
    let sent = load.stop().await;
    for recorder in &recorders[..2] {
        for sent in &sent {
            recorder.has_all_of(sent).await;
        }
    }
    assert!(sent.iter().all(|sent| !sent.ended), "{:?}", sent.iter().map(|s| s.ended).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_stopped_is_out_at_once_and_nothing_is_lost_on_its_way() {
    let _alone = alone().await;
    let mut cluster = Cluster::start().await;
    let app = cluster.app().set("tier", "unlimited").set("clientInboundAckEnabled", true).create().await;
    let recorder = Recorder::open(&app, "subscriber", TOPIC).await;
    let leaving = Recorder::open(&app.at(&cluster.nodes[2]), "leaving", TOPIC).await;
    heard_everywhere(&app, &cluster.nodes, std::slice::from_ref(&recorder)).await;
    let mut load = Load::new();
    load.client("client", &app).await;
    load.http("caller", cluster.gateway(), &app);
    let mut count = recorder.count();
    realtime_testkit::within("load", count.wait_for(|count| *count > 100)).await.expect("an open session");
    cluster.nodes[2].terminate();
    assert!(cluster.nodes[2].exit_status().await.success(), "{}", cluster.nodes[2].log());
    let stopped = Instant::now();
    assert!(!leaving.is_open());
    for replica in &cluster.control_planes {
        by("the stopped node out of the list", stopped, LEAVES_WITHIN, async || {
            operator::node_ids(replica).await == Some(vec!["node-0".to_owned(), "node-1".to_owned()])
        })
        .await;
    }
    for node in &cluster.nodes[..2] {
        by("the stopped node out of the mesh", stopped, LEAVES_WITHIN, async || {
            metric(node, "realtime_peers_linked").await == Some(1)
                && metric(node, "realtime_peers_unlinked").await == Some(0)
        })
        .await;
        assert_eq!(operator::lost(node).await, 0, "lost by {}", node.listen());
    }
    let sent = load.stop().await;
    for sent in &sent {
        assert!(!sent.ended && sent.refusals.is_empty(), "{}: {:?}", sent.name, sent.refusals.first());
        recorder.has_all_of(sent).await;
    }
}
