//! The inbound stream of a whole cluster: consumers at any node, messages of clients at every node.

use std::collections::BTreeSet;

use realtime_cluster_tests::Consumer;
use realtime_testkit::cluster::ClusterBuilder;
use realtime_testkit::server::Role;
use realtime_testkit::{Client, Cluster, TestApp, eventually, within};
use serde_json::json;

/// Streams come to nodes' ports for services.
pub(crate) fn builder() -> ClusterBuilder {
    Cluster::builder().args(Role::DataPlane, &["--grpc-listen", "127.0.0.1:0"])
}

pub(crate) async fn streamed(cluster: &Cluster) -> TestApp {
    cluster.app().set("enableInboundStream", true).set("clientInboundAckEnabled", true).create().await
}

async fn say(client: &mut Client, id: &str) {
    client.send("message", json!({"payload": "hello", "id": id})).await;
}

async fn acked(client: &mut Client, id: &str) {
    all_acked(client, [id.to_owned()].into()).await;
}

/// Each of these once and nothing else. Messages are processed in their order; that their acks come so is not promised.
pub(crate) async fn all_acked(client: &mut Client, ids: BTreeSet<String>) {
    let mut acks = BTreeSet::new();
    while acks.len() < ids.len() {
        let ack = client.expect("priv/acks", "ack").await;
        let id = ack.as_str().expect("an id").to_owned();
        assert!(ids.contains(&id) && acks.insert(id), "{ack}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_at_one_node_gets_what_clients_at_every_node_send() {
    let cluster = builder().secure().start().await;
    let app = streamed(&cluster).await;
    let mut consumer = Consumer::join(&cluster.nodes[1], &app, "", 0).await;
    assert_eq!((consumer.ready.nodes, consumer.ready.missing_nodes.len()), (3, 0));
    for (number, node) in cluster.nodes.iter().enumerate() {
        let id = format!("m{number}");
        let mut client = app.at(node).connect(&format!("client-{number}"), &[]).await;
        let connected = consumer.next().await;
        assert_eq!(connected.body["payload"], json!({"code": 0, "status": "connected"}));
        // Of one connection nothing comes before that is answered.
        consumer.accept(connected.sequence).await;
        say(&mut client, &id).await;
        let message = consumer.next().await;
        assert_eq!(message.body["client"]["subject"], format!("client-{number}"));
        assert_eq!(message.body["client"]["connectionId"], client.id());
        assert_eq!((&message.body["payload"], &message.body["id"]), (&json!("hello"), &json!(id)));
        client.expect_nothing().await;
        consumer.accept(message.sequence).await;
        acked(&mut client, &id).await;
        client.close().await;
        let left = consumer.next().await;
        assert_eq!(left.body["payload"], json!({"code": -1, "status": "disconnected"}));
        consumer.accept(left.sequence).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_of_a_group_share_the_messages_and_each_group_gets_all() {
    const MESSAGES: usize = 60;
    let cluster = builder().start().await;
    let app = streamed(&cluster).await;
    let mut one = Consumer::join(&cluster.nodes[0], &app, "workers", 8).await;
    let mut two = Consumer::join(&cluster.nodes[1], &app, "workers", 8).await;
    let mut log = Consumer::join(&cluster.nodes[2], &app, "log", 0).await;
    let sending = async {
        let mut clients = Vec::new();
        for number in 0..6 {
            let node = &cluster.nodes[number % 3];
            clients.push(app.at(node).connect(&format!("client-{number}"), &[]).await);
        }
        for number in 0..MESSAGES {
            say(&mut clients[number % 6], &number.to_string()).await;
        }
        for (first, client) in clients.iter_mut().enumerate() {
            let ids = (first..MESSAGES).step_by(6).map(|number| number.to_string());
            all_acked(client, ids.collect()).await;
        }
        clients
    };
    let working = async {
        let (mut first, mut second) = (BTreeSet::new(), BTreeSet::new());
        while first.len() + second.len() < MESSAGES {
            let (delivered, by, seen) = tokio::select! {
                delivered = one.next() => (delivered, &one, &mut first),
                delivered = two.next() => (delivered, &two, &mut second),
            };
            by.accept(delivered.sequence).await;
            if let Some(id) = delivered.body["id"].as_str() {
                assert!(seen.insert(id.to_owned()) && !delivered.redelivered, "{delivered:?}");
            }
        }
        assert!(first.is_disjoint(&second) && !first.is_empty() && !second.is_empty());
        (one, two)
    };
    let logging = async {
        let mut seen = BTreeSet::new();
        while seen.len() < MESSAGES {
            let delivered = log.next_message().await;
            log.accept(delivered.sequence).await;
            assert!(seen.insert(delivered.body["id"].to_string()), "{delivered:?}");
        }
        log
    };
    within("all messages", async { tokio::join!(sending, working, logging) }).await;
}

/// Consumers share a connection between two nodes: what some leave unread, a megabyte each, must not fill it.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_do_not_read_hold_up_none_of_another_application() {
    const GROUPS: usize = 12;
    const CLIENTS: usize = 200;
    let cluster = builder().control_planes(1).nodes(2).start().await;
    let (lazy, sound) = (streamed(&cluster).await, streamed(&cluster).await);
    let mut unread = Vec::new();
    for number in 0..GROUPS {
        unread.push(Consumer::join_narrow(&cluster.nodes[0], &lazy, &number.to_string(), 4096).await);
    }
    let mut consumer = Consumer::join(&cluster.nodes[0], &sound, "", 0).await;
    // That they have come is told with their permissions.
    let permission = "x".repeat(5000);
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let subject = format!("client-{number}");
        clients.push(lazy.at(&cluster.nodes[1]).connect(&subject, &[&permission]).await);
    }
    let mut client = sound.at(&cluster.nodes[1]).connect("a", &[]).await;
    for number in 0..100 {
        let id = number.to_string();
        say(&mut client, &id).await;
        let delivered = consumer.next_message().await;
        assert_eq!(delivered.body["id"], id);
        consumer.accept(delivered.sequence).await;
        acked(&mut client, &id).await;
    }
    // Nobody else has left either.
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_node_s_consumer_had_goes_to_another_one_and_its_clients_are_announced() {
    let mut cluster = builder().start().await;
    let app = streamed(&cluster).await;
    let mut doomed = Consumer::join(&cluster.nodes[0], &app, "", 0).await;
    let mut client = app.at(&cluster.nodes[2]).connect("stays", &[]).await;
    let connected = doomed.next().await;
    doomed.accept(connected.sequence).await;
    let lost = app.at(&cluster.nodes[0]).connect("dies", &[]).await;
    let connected = doomed.next().await;
    assert_eq!(connected.body["client"]["connectionId"], lost.id());
    doomed.accept(connected.sequence).await;
    say(&mut client, "m").await;
    assert_eq!(doomed.next().await.body["id"], "m");
    let mut other = Consumer::join(&cluster.nodes[1], &app, "", 0).await;
    cluster.nodes[0].kill();
    let (mut again, mut left) = (None, None);
    while again.is_none() || left.is_none() {
        let delivered = other.next().await;
        other.accept(delivered.sequence).await;
        let kept = if delivered.body["id"] == "m" { &mut again } else { &mut left };
        assert!(kept.replace(delivered).is_none(), "twice");
    }
    assert!(again.is_some_and(|again| again.redelivered));
    let left = left.expect("an event").body;
    assert_eq!(left["payload"]["status"], "disconnected");
    assert_eq!(left["client"]["connectionId"], lost.id());
    acked(&mut client, "m").await;
    // The node is back, and its clients' messages come to a consumer that has been there all the time.
    cluster.nodes[0].start_again().await;
    let mut client = app.at(&cluster.nodes[0]).connect("new", &[]).await;
    say(&mut client, "again").await;
    let delivered = other.next_message().await;
    assert_eq!(delivered.body["id"], "again");
    other.accept(delivered.sequence).await;
    acked(&mut client, "again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_s_consumer_hears_of_its_last_session_before_the_stream_ends() {
    let mut cluster = builder().args(Role::DataPlane, &["--drain-seconds", "2"]).start().await;
    let app = streamed(&cluster).await;
    let mut consumer = Consumer::join(&cluster.nodes[0], &app, "", 0).await;
    let mut client = app.at(&cluster.nodes[0]).connect("a", &[]).await;
    let connected = consumer.next().await;
    consumer.accept(connected.sequence).await;
    cluster.nodes[0].terminate();
    assert_eq!(client.expect_close().await.0, 1001);
    let left = consumer.next().await;
    assert_eq!(left.body["payload"]["status"], "disconnected");
    consumer.accept(left.sequence).await;
    let ended = within("the end", consumer.try_next()).await.expect_err("an error");
    assert_eq!(ended.code(), tonic::Code::Unavailable, "{ended:?}");
    assert!(cluster.nodes[0].exit_status().await.success());
    // Elsewhere nothing of it is left behind: without a consumer a message fails.
    let mut client = app.at(&cluster.nodes[1]).connect("b", &[]).await;
    say(&mut client, "m").await;
    let error = eventually("the refusal", async || Some(client.expect_error("forward_failed").await)).await;
    assert_eq!(error["id"], "m");
}
