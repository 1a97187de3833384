//! A subscriber that writes down what comes: by sender, in the order of arrival.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use realtime_testkit::raw::{CLOSE, FIN, PING, PONG, RawFrame, encode};
use realtime_testkit::{RawSocket, Server, TestApp, eventually};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{PUBLISHER, Sent, TOPIC, Way, numbered};

/// A subscriber of one topic on one node. Dropping it drops the connection.
#[derive(Debug)]
pub struct Recorder {
    name: String,
    seen: Arc<Mutex<HashMap<String, Vec<u64>>>>,
    count: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Opens a session where the app's sessions are opened, subscribes, and begins to write.
    ///
    /// # Panics
    /// When the session or the subscription is refused.
    pub async fn open(app: &TestApp, name: &str, topic: &str) -> Self {
        let mut socket = app.connect_raw(&app.token(name, &[]), &[]).await;
        expect_welcome(&mut socket, "main").await;
        socket.write_text(&format!(r#"{{"type":"subscribe","data":{{"topic":"{topic}"}}}}"#)).await;
        expect_welcome(&mut socket, topic).await;
        let (count_in, count) = watch::channel(0);
        let seen = Arc::default();
        let task = tokio::spawn(record(socket, Arc::clone(&seen), count_in));
        Self { name: name.to_owned(), seen, count, task }
    }

    /// Moves with the messages that have come.
    #[must_use]
    pub fn count(&self) -> watch::Receiver<u64> {
        self.count.clone()
    }

    /// Whether the session is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.task.is_finished()
    }

    /// What has come from one sender.
    #[must_use]
    pub fn numbers(&self, from: &str) -> Vec<u64> {
        self.seen().get(from).cloned().unwrap_or_default()
    }

    /// Waits until everything of `expected`, in ascending order, has come from a sender, and checks that each number
    /// came once and in order. Others, whose answers the sender has missed, may be among them.
    ///
    /// # Panics
    /// Naming what is missing, doubled or out of order.
    pub async fn has_all(&self, from: &str, expected: &[u64]) {
        if let Some(last) = expected.last() {
            let what = format!("{}: message {last} of {from}", self.name);
            eventually(&what, async || {
                let seen = self.seen();
                let came = seen.get(from).and_then(|numbers| numbers.last());
                (came >= Some(last)).then_some(())
            })
            .await;
        }
        let numbers = self.numbers(from);
        if let Some(pair) = numbers.windows(2).find(|pair| pair[0] >= pair[1]) {
            panic!("{}: of {from}, {} came after {}", self.name, pair[1], pair[0]);
        }
        self.misses_none(from, expected, &numbers);
    }

    /// The same of everything that was acknowledged, while nodes come and go: in order where that is promised then.
    ///
    /// # Panics
    /// Naming what is missing, doubled or out of order.
    pub async fn has_all_of(&self, sent: &Sent) {
        match sent.way {
            Way::Session => self.has_all(&sent.name, &sent.acknowledged).await,
            Way::Gateway => self.has_each(&sent.name, &sent.acknowledged).await,
        }
    }

    async fn has_each(&self, from: &str, expected: &[u64]) {
        let what = format!("{}: {} messages of {from}", self.name, expected.len());
        let sorted = || {
            let mut numbers = self.numbers(from);
            numbers.sort_unstable();
            numbers
        };
        // What is missing after all is named below.
        let came = async || {
            let numbers = sorted();
            let last = expected.last().is_none_or(|last| numbers.binary_search(last).is_ok());
            (last && numbers.len() >= expected.len()).then_some(())
        };
        eventually(&what, came).await;
        let numbers = sorted();
        if let Some(pair) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
            panic!("{}: of {from}, {} came twice", self.name, pair[0]);
        }
        self.misses_none(from, expected, &numbers);
    }

    /// Checks that all of it is among the numbers, which are sorted.
    fn misses_none(&self, from: &str, expected: &[u64], numbers: &[u64]) {
        let missing: Vec<&u64> = expected.iter().filter(|n| numbers.binary_search(n).is_err()).collect();
        assert!(
            missing.is_empty(),
            "{}: of {from}, {} of {} are missing, the first is {}, the last {}",
            self.name,
            missing.len(),
            expected.len(),
            missing[0],
            missing[missing.len() - 1]
        );
    }

    /// Nothing but this has come from a sender.
    ///
    /// # Panics
    /// When more has.
    pub fn has_only(&self, from: &str, expected: &[u64]) {
        assert_eq!(self.numbers(from).len(), expected.len(), "{}: messages of {from}", self.name);
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, Vec<u64>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until what is published on any node reaches all of these subscribers. A welcome waits for the other nodes a
/// quarter of a second at most, and on a busy machine they may take longer.
///
/// # Panics
/// When something never reaches one.
pub async fn heard_everywhere(app: &TestApp, nodes: &[Server], recorders: &[Recorder]) {
    static PROBES: AtomicUsize = AtomicUsize::new(0);
    for node in nodes {
        let name = format!("probe-{}", PROBES.fetch_add(1, Ordering::Relaxed));
        let mut socket = app.at(node).connect_raw(&app.token(&name, &[PUBLISHER]), &[]).await;
        expect_welcome(&mut socket, "main").await;
        eventually("a publish to be heard everywhere", async || {
            let payload = numbered::json(&name, 0);
            let publish = format!(r#"{{"type":"publish","data":{{"topic":"{TOPIC}","payload":{payload}}}}}"#);
            socket.write_text(&publish).await;
            recorders.iter().all(|recorder| !recorder.numbers(&name).is_empty()).then_some(())
        })
        .await;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn expect_welcome(socket: &mut RawSocket, topic: &str) {
    let mut frame = socket.expect_frame().await;
    // While a welcome waits for other nodes, what is published comes already.
    while numbered::find(&frame.payload).is_some() {
        frame = socket.expect_frame().await;
    }
    let text = String::from_utf8_lossy(&frame.payload);
    let due = [format!(r#""topic":"{topic}""#), r#""messageType":"welcome""#.to_owned()];
    assert!(due.iter().all(|part| text.contains(part)), "the welcome on {topic} was due, not {text}");
}

/// Answers what the protocol asks of a client; `false` where the session has ended.
pub(crate) async fn answer(socket: &mut RawSocket, frame: &RawFrame) -> bool {
    let (first_byte, ended) = match frame.opcode() {
        PING => (PONG, false),
        CLOSE => (CLOSE, true),
        _ => return true,
    };
    // A server that has gone meanwhile is noticed by the next read.
    let _ = socket.stream.write_all(&encode(FIN | first_byte, &frame.payload)).await;
    let _ = socket.stream.flush().await;
    !ended
}

async fn record(
    mut socket: RawSocket,
    seen: Arc<Mutex<HashMap<String, Vec<u64>>>>,
    count: watch::Sender<u64>,
) {
    while let Some(frame) = socket.next_frame().await {
        if !answer(&mut socket, &frame).await {
            return;
        }
        let Some((from, number)) = numbered::find(&frame.payload) else { continue };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get_mut(from) {
            Some(numbers) => numbers.push(number),
            None => {
                seen.insert(from.to_owned(), vec![number]);
            }
        }
        drop(seen);
        count.send_modify(|count| *count += 1);
    }
}
