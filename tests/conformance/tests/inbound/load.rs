//! Clients that send messages at a steady rate, and write down what they hear of each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use realtime_testkit::{Client, Incoming, TestApp, unix_now};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Longer than any test.
const TOKEN_SECONDS: u64 = 600;
/// A message is answered after 30 s at the latest; reaching this means that it never is.
const ANSWERED_WITHIN: Duration = Duration::from_secs(45);

/// What has become of one client's messages, by id.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) acked: HashSet<String>,
    /// With the failure's text, or `inbound_disabled`.
    pub(crate) failed: HashMap<String, String>,
    pub(crate) unanswered: HashSet<String>,
    /// How the session ended, where it did.
    pub(crate) ended: Option<Incoming>,
}

/// The same of several clients.
impl Extend<Self> for Sent {
    fn extend<T: IntoIterator<Item = Self>>(&mut self, iter: T) {
        for one in iter {
            self.acked.extend(one.acked);
            self.failed.extend(one.failed);
            self.unanswered.extend(one.unanswered);
            self.ended = self.ended.take().or(one.ended);
        }
    }
}

impl Sent {
    fn hears(&mut self, incoming: Incoming) {
        let frame = match incoming {
            Incoming::Frame(frame) => frame,
            end => {
                self.ended = Some(end);
                return;
            }
        };
        let data = frame.data();
        let id = if frame.topic() == "priv/acks" { data } else { &data["id"] };
        let id = id.as_str().unwrap_or_else(|| panic!("{}", frame.json)).to_owned();
        assert!(self.unanswered.remove(&id), "answered twice: {}", frame.json);
        if frame.topic() == "priv/acks" {
            self.acked.insert(id);
        } else {
            // Of a forwarder that is switched off, the code says it all.
            match data["code"].as_str() {
                Some("forward_failed") => {
                    self.failed.insert(id, data["message"].as_str().expect("a text").to_owned())
                }
                Some("inbound_disabled") => self.failed.insert(id, "inbound_disabled".into()),
                _ => panic!("{data}"),
            };
        }
    }

    /// Takes what comes until a moment.
    async fn listen(&mut self, client: &mut Client, until: Instant, count: &Count) {
        let (acked, failed) = (self.acked.len(), self.failed.len());
        while self.ended.is_none()
            && let Some(incoming) = client.next_until(until).await
        {
            self.hears(incoming);
        }
        count.acked.fetch_add(self.acked.len() - acked, Ordering::Relaxed);
        count.failed.fetch_add(self.failed.len() - failed, Ordering::Relaxed);
    }
}

/// What all clients have heard so far.
#[derive(Debug, Default)]
struct Count {
    acked: AtomicUsize,
    failed: AtomicUsize,
}

/// Clients at work.
pub(crate) struct Load {
    count: Arc<Count>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Sent>>,
}

impl Load {
    /// So many clients, each with a message every so often.
    pub(crate) async fn start(app: &TestApp, clients: usize, pace: Duration) -> Self {
        let (stop, count) = (watch::Sender::new(false), Arc::<Count>::default());
        let mut tasks = Vec::new();
        for n in 0..clients {
            let exp = unix_now() + TOKEN_SECONDS;
            let token = app.sign(json!({"sub": format!("load-{n}"), "permissions": [], "exp": exp}));
            let client = app.connect_with(&token, "").await;
            tasks.push(tokio::spawn(send(client, n, pace, stop.subscribe(), Arc::clone(&count))));
        }
        Self { count, stop, tasks }
    }

    /// How many messages have failed so far.
    pub(crate) fn failures(&self) -> usize {
        self.count.failed.load(Ordering::Relaxed)
    }

    /// How many were acked so far.
    pub(crate) fn acks(&self) -> usize {
        self.count.acked.load(Ordering::Relaxed)
    }

    /// Sends no more, and waits until everything is answered or the sessions have ended.
    pub(crate) async fn stop(self) -> Sent {
        self.stop.send_replace(true);
        let mut all = Sent::default();
        for task in self.tasks {
            all.extend([task.await.expect("a client that ends in good order")]);
        }
        all
    }
}

async fn send(
    mut client: Client,
    number: usize,
    pace: Duration,
    stop: watch::Receiver<bool>,
    count: Arc<Count>,
) -> Sent {
    let mut sent = Sent::default();
    let mut next = Instant::now();
    let mut sequence = 0;
    while sent.ended.is_none() && !*stop.borrow() {
        let id = format!("{number}/{sequence}");
        sequence += 1;
        if !client.try_send("message", json!({"payload": "load", "id": id})).await {
            sent.listen(&mut client, Instant::now() + pace, &count).await;
            break;
        }
        sent.unanswered.insert(id);
        next += pace;
        sent.listen(&mut client, next, &count).await;
    }
    let deadline = Instant::now() + ANSWERED_WITHIN;
    while sent.ended.is_none() && !sent.unanswered.is_empty() {
        let incoming = client.next_until(deadline).await.expect("an answer to every message");
        sent.hears(incoming);
    }
    sent
}
