//! Steady load: publishers that send their next message once the last one was acknowledged, until they are told to stop.

use std::time::Duration;

use realtime_testkit::{Cluster, RawSocket, Request, Server, TestApp, unix_now};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::recorder::{answer, expect_welcome};
use crate::{PUBLISHER, TOPIC, numbered};

/// Between two messages of a client: load, and two cores left to answer in time.
const CLIENT_PACE: Duration = Duration::from_millis(5);
/// Between two messages over HTTP: each takes a connection and a token.
const HTTP_PACE: Duration = Duration::from_millis(20);
/// Longer than any test.
const TOKEN_SECONDS: u64 = 600;

/// How somebody publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By a session at one node: what it publishes stays in order.
    Session,
    /// By a gateway, which goes from one node to another when nodes come and go: order is promised only while none does.
    Gateway,
}

/// What one publisher has done.
#[derive(Debug)]
pub struct Sent {
    /// As its messages name it.
    pub name: String,
    /// How it published.
    pub way: Way,
    /// The numbers of the messages that were acknowledged.
    pub acknowledged: Vec<u64>,
    /// What was answered in place of an acknowledgement.
    pub refusals: Vec<String>,
    /// Its session has ended by itself.
    pub ended: bool,
}

impl Sent {
    fn new(name: String, way: Way) -> Self {
        Self { name, way, acknowledged: Vec::new(), refusals: Vec::new(), ended: false }
    }
}

/// Publishers at work.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Sent>>,
}

impl Load {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self { stop: watch::Sender::new(false), tasks: Vec::new() }
    }

    /// A client at every node, named after it, and somebody at every gateway. The app must acknowledge.
    pub async fn everywhere(cluster: &Cluster, app: &TestApp, round: &str) -> Self {
        let mut load = Self::new();
        for (i, node) in cluster.nodes.iter().enumerate() {
            load.client(&format!("{round}-node-{i}"), &app.at(node)).await;
        }
        for (i, gateway) in cluster.gateways.iter().enumerate() {
            load.http(&format!("{round}-gateway-{i}"), gateway, app);
        }
        load
    }

    /// A client where the app's sessions are opened.
    pub async fn client(&mut self, name: &str, app: &TestApp) {
        let mut socket = app.connect_raw(&app.token(name, &[PUBLISHER]), &[]).await;
        expect_welcome(&mut socket, "main").await;
        self.tasks.push(tokio::spawn(client(name.to_owned(), socket, self.stop.subscribe())));
    }

    /// Somebody who publishes over HTTP.
    pub fn http(&mut self, name: &str, gateway: &Server, app: &TestApp) {
        let path = format!("/api/topics/{}/publish", app.id());
        let exp = unix_now() + TOKEN_SECONDS;
        let token = app.sign(json!({"sub": name, "permissions": [PUBLISHER], "exp": exp}));
        let request = gateway.request("POST", &path).token(&token);
        self.tasks.push(tokio::spawn(http(name.to_owned(), request, self.stop.subscribe())));
    }

    /// What all of them have done, in the order in which they began.
    ///
    /// # Panics
    /// When one of them has panicked.
    pub async fn stop(self) -> Vec<Sent> {
        self.stop.send_replace(true);
        let mut sent = Vec::new();
        for task in self.tasks {
            sent.push(task.await.expect("a publisher that ends in good order"));
        }
        sent
    }
}

impl Default for Load {
    fn default() -> Self {
        Self::new()
    }
}

async fn client(name: String, mut socket: RawSocket, stop: watch::Receiver<bool>) -> Sent {
    let mut sent = Sent::new(name, Way::Session);
    let mut pace = interval(CLIENT_PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        pace.tick().await;
        if *stop.borrow() {
            break;
        }
        let payload = numbered::json(&sent.name, number);
        let text = format!(
            r#"{{"type":"publish","data":{{"topic":"{TOPIC}","payload":{payload},"id":"{number}"}}}}"#
        );
        if !published(&mut socket, &text, number, &mut sent).await {
            sent.ended = true;
            break;
        }
    }
    sent
}

/// Publishes and waits for the answer; `false` where the session has ended.
async fn published(socket: &mut RawSocket, text: &str, number: u64, sent: &mut Sent) -> bool {
    use realtime_testkit::raw::{FIN, TEXT, encode};
    use tokio::io::AsyncWriteExt as _;
    if socket.stream.write_all(&encode(FIN | TEXT, text.as_bytes())).await.is_err() {
        return false;
    }
    while let Some(frame) = socket.read_frame().await {
        if !answer(socket, &frame).await {
            return false;
        }
        let text = String::from_utf8_lossy(&frame.payload);
        if text.contains(r#""topic":"priv/acks""#) {
            assert!(text.contains(&format!(r#""{number}""#)), "the ack of {number} was due, not {text}");
            sent.acknowledged.push(number);
            return true;
        }
        if text.contains(r#""topic":"priv/errors""#) {
            sent.refusals.push(text.into_owned());
            return true;
        }
    }
    false
}

async fn http(name: String, request: Request, stop: watch::Receiver<bool>) -> Sent {
    let mut sent = Sent::new(name, Way::Gateway);
    let mut pace = interval(HTTP_PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        pace.tick().await;
        if *stop.borrow() {
            break;
        }
        let body = format!(r#"{{"topic":"{TOPIC}","message":{}}}"#, numbered::json(&sent.name, number));
        match request.clone().body("application/json", body).exchange().await {
            Ok(answer) if answer.status == 200 => sent.acknowledged.push(number),
            Ok(answer) => sent.refusals.push(answer.text()),
            Err(error) => sent.refusals.push(error.to_string()),
        }
    }
    sent
}
