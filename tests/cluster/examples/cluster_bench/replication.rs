//! CPU time of a publish that goes to other nodes, single and in a stream.

use std::time::Duration;

use realtime_testkit::raw::{FIN, TEXT, encode};
use realtime_testkit::{Cluster, RawSocket, Server, TestApp};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

const PAYLOAD_BYTES: usize = 128;
const SINGLE: u64 = 2_000;
/// Between two single publishes.
const PAUSE: Duration = Duration::from_millis(2);
const STREAM: u64 = 200_000;
/// Publishes that may be on their way in a stream, and how many are sent at one time.
const WINDOW: u64 = 512;
const BURST: u64 = 64;

pub(crate) async fn measure() {
    let cluster = Cluster::start().await;
    let app = cluster.app().set("tier", "unlimited").create().await;
    println!(
        "| publishes of {PAYLOAD_BYTES} B | peers | CPU of the publisher's node | of each peer | publishes a message between nodes |"
    );
    println!("|---|---|---|---|---|");
    for (name, messages, single) in [("single", SINGLE, true), ("a stream", STREAM, false)] {
        for peers in 0..cluster.nodes.len() {
            let topic = format!("{name}-{peers}");
            let mut load = Load::new(&app, &cluster.nodes[..=peers], &topic).await;
            load.run(messages / 10, single).await;
            let before = Figures::of(&cluster).await;
            load.run(messages, single).await;
            let after = Figures::of(&cluster).await;
            let micros =
                |node: usize| (after.cpu[node] - before.cpu[node]).as_secs_f64() * 1e6 / messages as f64;
            let each = match peers {
                0 => "–".to_owned(),
                _ => format!("{:.2} µs", (1..=peers).map(micros).sum::<f64>() / peers as f64),
            };
            let batch = match after.batches - before.batches {
                0 => "–".to_owned(),
                batches => format!("{:.1}", (after.replicated - before.replicated) as f64 / batches as f64),
            };
            println!("| {name} | {peers} | {:.2} µs | {each} | {batch} |", micros(0));
        }
    }
}

/// A publisher on the first node and a subscriber on each.
struct Load {
    publisher: RawSocket,
    subscribers: Vec<RawSocket>,
    frame: Vec<u8>,
}

impl Load {
    async fn new(app: &TestApp, nodes: &[Server], topic: &str) -> Self {
        let mut subscribers = Vec::new();
        for node in nodes {
            subscribers.push(session(&app.at(node), "subscriber", Some(topic)).await);
        }
        let publisher = session(&app.at(&nodes[0]), "publisher", None).await;
        let text = json!({"type": "publish", "data": {"topic": topic, "payload": "x".repeat(PAYLOAD_BYTES)}});
        Self { publisher, subscribers, frame: encode(FIN | TEXT, text.to_string().as_bytes()) }
    }

    /// Publishes so many, and waits until every subscriber has all of them.
    async fn run(&mut self, messages: u64, single: bool) {
        let (mut sent, mut received) = (0, 0);
        let mut due = Instant::now();
        while received < messages {
            if single {
                due += PAUSE;
                sleep_until(due).await;
                self.publisher.write(&self.frame).await;
                sent += 1;
            } else {
                while sent < messages && sent - received <= WINDOW - BURST {
                    let burst = BURST.min(messages - sent);
                    self.publisher.write(&self.frame.repeat(burst as usize)).await;
                    sent += burst;
                }
            }
            let due = if single { 1 } else { BURST.min(sent - received) };
            for subscriber in &mut self.subscribers {
                for _ in 0..due {
                    subscriber.expect_frame().await;
                }
            }
            received += due;
        }
    }
}

/// An open session, subscribed to a topic.
pub(crate) async fn session(app: &TestApp, subject: &str, topic: Option<&str>) -> RawSocket {
    let token = app.token(subject, &["realtime:publisher:write:topic:*"]);
    let mut session = app.connect_raw(&token, &[]).await;
    session.expect_frame().await;
    if let Some(topic) = topic {
        session.write_text(&json!({"type": "subscribe", "data": {"topic": topic}}).to_string()).await;
        session.expect_frame().await;
    }
    session
}

struct Figures {
    cpu: Vec<Duration>,
    replicated: u64,
    batches: u64,
}

impl Figures {
    async fn of(cluster: &Cluster) -> Self {
        // Figures are copied for readers every 100 ms.
        tokio::time::sleep(Duration::from_millis(250)).await;
        let metrics = cluster.nodes[0].metrics().await;
        Self {
            cpu: cluster.nodes.iter().map(Server::cpu_time).collect(),
            replicated: metrics["realtime_mesh_replicated_total"],
            batches: metrics["realtime_mesh_messages_total"],
        }
    }
}
