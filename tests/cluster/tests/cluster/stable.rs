//! A hundred thousand messages through a cluster in which nothing happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use realtime_client::{Channel, PubSubClient};
use realtime_cluster_tests::{PUBLISHER, Recorder, TOPIC, heard_everywhere, numbered, operator};
use realtime_proto::generated::pubsub::PublishRequest;
use realtime_testkit::raw::{FIN, TEXT, encode};
use realtime_testkit::{Cluster, TestApp, within};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Of each client; there is one at every node.
const BY_CLIENT: u64 = 20_000;
/// Of each service over gRPC, one at every node.
const BY_SERVICE: u64 = 13_000;
/// Of each caller of a gateway, one at either.
const BY_HTTP: u64 = 500;
/// Messages in one write of a client, and in one call of a service.
const BATCH: u64 = 100;
/// Messages that may be on their way. Nobody is to be closed for reading slowly: this is less than a socket takes.
const ON_THEIR_WAY: u64 = 3_000;

/// Holds publishers back until subscribers have most of what was sent.
#[derive(Clone)]
struct Pace {
    sent: Arc<AtomicU64>,
    received: Vec<watch::Receiver<u64>>,
}

impl Pace {
    async fn before(&mut self, messages: u64) {
        let due = (self.sent.fetch_add(messages, Ordering::SeqCst) + messages).saturating_sub(ON_THEIR_WAY);
        for received in &mut self.received {
            let enough = received.wait_for(|received| *received >= due);
            within("subscribers to keep up", enough).await.expect("a subscriber that is there");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_messages_arrive_once_and_in_order_everywhere() {
    let cluster = Cluster::builder().gateways(2).start().await;
    let app = cluster.app().set("tier", "unlimited").create().await;
    // The other gateway may hear of it a moment later than the nodes.
    cluster.in_force().await;
    let mut subscribers = Vec::new();
    for (i, node) in cluster.nodes.iter().enumerate() {
        subscribers.push(Recorder::open(&app.at(node), &format!("subscriber-{i}"), TOPIC).await);
    }
    heard_everywhere(&app, &cluster.nodes, &subscribers).await;
    let pace = Pace { sent: Arc::default(), received: subscribers.iter().map(Recorder::count).collect() };
    let mut publishers = JoinSet::new();
    for (i, node) in cluster.nodes.iter().enumerate() {
        publishers.spawn(client(format!("client-{i}"), app.at(node), pace.clone()));
        let server = format!("http://{}", node.grpc_listen());
        publishers.spawn(service(format!("service-{i}"), app.clone(), server, pace.clone()));
    }
    for (i, gateway) in cluster.gateways.iter().enumerate() {
        let address = gateway.listen().to_owned();
        publishers.spawn(caller(format!("caller-{i}"), app.clone(), address, pace.clone()));
    }
    let mut sent = Vec::new();
    while let Some(publisher) = publishers.join_next().await {
        sent.push(publisher.expect("a publisher that ends in good order"));
    }
    assert_eq!(sent.iter().map(|(_, messages)| messages).sum::<u64>(), 100_000);
    for subscriber in &subscribers {
        for (name, messages) in &sent {
            let all: Vec<u64> = (0..*messages).collect();
            subscriber.has_all(name, &all).await;
            subscriber.has_only(name, &all);
        }
    }
    for node in &cluster.nodes {
        assert_eq!(operator::lost(node).await, 0, "lost by {}", node.listen());
        assert_eq!(node.metric("realtime_slow_consumers_total").await, 0, "closed by {}", node.listen());
    }
}

/// Publishes over WebSocket, many frames in one write.
async fn client(name: String, app: TestApp, mut pace: Pace) -> (String, u64) {
    let mut socket = app.connect_raw(&app.token(&name, &[PUBLISHER]), &[]).await;
    for first in (0..BY_CLIENT).step_by(BATCH as usize) {
        pace.before(BATCH).await;
        let frames = (first..first + BATCH).flat_map(|number| {
            let payload = numbered::json(&name, number);
            let text = format!(r#"{{"type":"publish","data":{{"topic":"{TOPIC}","payload":{payload}}}}}"#);
            encode(FIN | TEXT, text.as_bytes())
        });
        socket.write(&frames.collect::<Vec<u8>>()).await;
    }
    // Its end waits for nothing that it has sent.
    socket.write_frame(FIN | realtime_testkit::raw::CLOSE, &1000_u16.to_be_bytes()).await;
    socket.expect_close().await;
    (name, BY_CLIENT)
}

/// Publishes over a node's gRPC port.
async fn service(name: String, app: TestApp, server: String, mut pace: Pace) -> (String, u64) {
    let token = app.token(&name, &[PUBLISHER]);
    let channel = Channel::connect(&server, Some(&token)).await.expect("a connection");
    let mut service = PubSubClient::new(channel);
    for first in (0..BY_SERVICE).step_by(BATCH as usize) {
        pace.before(BATCH).await;
        let publishes = (first..first + BATCH).map(|number| PublishRequest {
            app_id: app.id().to_owned(),
            topic: TOPIC.to_owned(),
            message_json: numbered::json(&name, number).into(),
            ..PublishRequest::default()
        });
        let results = service.publish_batch(publishes.collect()).await.expect("an answer");
        for result in results {
            result.expect("a publish that is taken");
        }
    }
    (name, BY_SERVICE)
}

/// Publishes through a gateway.
async fn caller(name: String, app: TestApp, gateway: String, mut pace: Pace) -> (String, u64) {
    let path = format!("/api/topics/{}/publish", app.id());
    let token = app.sign(json!({"sub": name, "permissions": [PUBLISHER]}));
    let request = realtime_testkit::Request::new(&gateway, "POST", &path).token(&token);
    for number in 0..BY_HTTP {
        pace.before(1).await;
        let body = format!(r#"{{"topic":"{TOPIC}","message":{}}}"#, numbered::json(&name, number));
        request.clone().body("application/json", body).send().await.expect(200);
    }
    (name, BY_HTTP)
}
