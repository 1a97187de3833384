//! A client of another application with a queue of its own, who must not notice others' faults.

use std::time::Duration;

use realtime_testkit::{Client, TestApp, unix_now, within};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::PUBLISH;
use crate::world::{acked, message};

/// Between two attempts.
const PACE: Duration = Duration::from_millis(20);

/// How long something took, and when.
type Times = Vec<(Instant, Duration)>;

/// See the module.
pub(crate) struct Neighbour {
    /// How often it was served.
    served: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
    task: JoinHandle<(Times, Times)>,
}

impl Neighbour {
    /// The application's messages must have a target that works.
    pub(crate) async fn start(app: &TestApp) -> Self {
        let exp = unix_now() + 600;
        let token = app.sign(json!({"sub": "neighbour", "permissions": [PUBLISH], "exp": exp}));
        let client = app.connect_with(&token, "").await;
        let stop = watch::Sender::new(false);
        let (serve, served) = watch::channel(0);
        let task = tokio::spawn(measure(client, stop.subscribe(), serve));
        Self { served, stop, task }
    }

    /// Waits until it has been served so many times more.
    pub(crate) async fn is_served(&self, times: usize) {
        let mut served = self.served.clone();
        let due = *served.borrow() + times;
        let more = served.wait_for(|served| *served >= due);
        within("a neighbour who is served", more).await.expect("a neighbour who was served all the time");
    }

    /// The times from a publish to its ack, and from a message to its ack.
    pub(crate) async fn stop(self) -> (Times, Times) {
        self.stop.send_replace(true);
        self.task.await.expect("a neighbour who was served all the time")
    }
}

async fn measure(
    mut client: Client,
    stop: watch::Receiver<bool>,
    serve: watch::Sender<usize>,
) -> (Times, Times) {
    let (mut publishes, mut messages) = (Times::new(), Times::new());
    let mut next = Instant::now();
    while !*stop.borrow() {
        let begin = Instant::now();
        client.send("publish", json!({"topic": "t", "payload": "x", "id": "p"})).await;
        acked(&mut client, "p").await;
        publishes.push((begin, begin.elapsed()));
        let begin = Instant::now();
        message(&mut client, "m").await;
        acked(&mut client, "m").await;
        messages.push((begin, begin.elapsed()));
        serve.send_modify(|served| *served += 1);
        next += PACE;
        assert!(client.next_until(next).await.is_none(), "nothing else comes");
    }
    (publishes, messages)
}

/// The median of those that began between two moments.
pub(crate) fn median(times: &Times, from: Instant, until: Instant) -> Duration {
    let mut times: Vec<_> =
        times.iter().filter(|(at, _)| (from..until).contains(at)).map(|(_, time)| *time).collect();
    times.sort_unstable();
    *times.get(times.len() / 2).expect("some of that time")
}
