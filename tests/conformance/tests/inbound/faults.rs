//! Faults on the way to AWS under 500 messages a second: nothing acked is lost, everything else is told, the server's
//! memory is bounded, and other applications do not notice.

use std::collections::HashSet;
use std::time::Duration;

use realtime_testkit::{Fault, FaultProxy, TestApp, eventually};
use tokio::time::{Instant, interval};

use crate::load::{Load, Sent};
use crate::neighbour::{Neighbour, median};
use crate::world::{World, sqs_error, status};

/// With a message each 20 ms, 500 a second.
const CLIENTS: usize = 10;
const PACE: Duration = Duration::from_millis(20);
/// What waits for a target is 16 MiB at most; these tests' messages take far less, 5 s of them and their answers.
const MOST_GROWTH: u64 = 32 << 20;
/// What waits, as the server accounts for it.
const QUEUED_BYTES: &str = "realtime_forwarder_queued_bytes";
/// 10,000 messages of this kind, which no queue exceeds, weigh less.
const MOST_QUEUED: u64 = 16 << 20;

/// An application under load whose way to AWS is a proxy, and a neighbour whose is not.
struct Trial {
    world: World,
    url: String,
    proxy: FaultProxy,
    load: Load,
    neighbour: Neighbour,
    resident: u64,
    most: u64,
    most_queued: u64,
}

impl Trial {
    async fn start(clients: usize) -> Option<Self> {
        let world = World::start().await?;
        let url = world.backend.new_queue().await;
        let proxy = FaultProxy::to(world.moto.address()).await;
        let app = world.app_over(&url, &proxy.url()).create().await;
        let neighbour = Neighbour::start(&Self::other(&world).await).await;
        let load = Load::start(&app, clients, PACE).await;
        let mut trial = Self { world, url, proxy, load, neighbour, resident: 0, most: 0, most_queued: 0 };
        // Connections and buffers of a server at work are no growth.
        trial.goes_on(Duration::from_secs(1)).await;
        trial.resident = trial.world.server.resident_bytes();
        trial.most = trial.resident;
        Some(trial)
    }

    async fn other(world: &World) -> TestApp {
        let url = world.backend.new_queue().await;
        world.app(&url).create().await
    }

    /// Lets time pass under load, and looks at the memory.
    async fn goes_on(&mut self, time: Duration) {
        let mut looks = interval(Duration::from_millis(250));
        let begin = Instant::now();
        while begin.elapsed() < time {
            looks.tick().await;
            self.most = self.most.max(self.world.server.resident_bytes());
            self.most_queued = self.most_queued.max(self.world.server.metric(QUEUED_BYTES).await);
        }
    }

    async fn meets(&mut self, fault: Fault, time: Duration) {
        self.proxy.meets(fault);
        self.goes_on(time).await;
    }

    /// The endpoint works again; waits until the server has found that out, for which it has pauses of up to 5 s.
    async fn recovers(&mut self) {
        self.proxy.meets(Fault::None);
        let due = self.load.acks() + 100;
        eventually("acks again", async || (self.load.acks() >= due).then_some(())).await;
    }

    /// Ends the load, and holds the server to its word.
    async fn ends(self, sound: (Instant, Instant), broken: (Instant, Instant)) -> Sent {
        let (publishes, messages) = self.neighbour.stop().await;
        let sent = self.load.stop().await;
        assert!(sent.ended.is_none(), "a session has ended: {:?}", sent.ended);
        assert!(sent.unanswered.is_empty());
        let received = self.world.backend.receive_all(&self.url).await;
        let there: HashSet<_> = received
            .iter()
            .filter(|received| status(received).is_none())
            .map(|received| received.json()["id"].as_str().unwrap().to_owned())
            .collect();
        let lost: Vec<_> = sent.acked.difference(&there).collect();
        assert!(lost.is_empty(), "{} of {} acked messages are lost: {lost:?}", lost.len(), sent.acked.len());
        let grown = self.most - self.resident;
        assert!(grown < MOST_GROWTH, "{grown} bytes");
        assert!((1..MOST_QUEUED).contains(&self.most_queued), "{} bytes waited", self.most_queued);
        let server = &self.world.server;
        eventually("an empty queue", async || (server.metric(QUEUED_BYTES).await == 0).then_some(())).await;
        for (what, times) in [("publish", &publishes), ("message", &messages)] {
            let [sound, broken] = [sound, broken].map(|(from, until)| median(times, from, until));
            assert!(
                broken < 3 * sound + Duration::from_millis(5),
                "a neighbour's {what}: {sound:?}, {broken:?}"
            );
        }
        sent
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_every_kind_lose_nothing_that_was_acked() {
    let Some(mut trial) = Trial::start(CLIENTS / 2).await else { return };
    let begin = Instant::now();
    let second = Duration::from_secs(1);
    trial.goes_on(second).await;
    let breaks = Instant::now();
    let all = [
        Fault::answer("500 Internal Server Error", "oops"),
        sqs_error("400 Bad Request", "RequestThrottled", "Slow down"),
        Fault::Reset,
        Fault::LostAnswer,
    ];
    for fault in all {
        trial.meets(fault, second).await;
        trial.recovers().await;
    }
    // A permission is taken away, and given back.
    trial.proxy.meets(sqs_error("400 Bad Request", "AccessDenied", "no"));
    let due = trial.load.failures() + 100;
    eventually("messages that are denied", async || (trial.load.failures() >= due).then_some(())).await;
    trial.recovers().await;
    // No answer for longer than a call may take.
    trial.meets(Fault::Silence, 6 * second).await;
    let ends = Instant::now();
    trial.recovers().await;
    let sent = trial.ends((begin, breaks), (breaks, ends)).await;
    assert!(sent.acked.len() > 1000, "{} were acked", sent.acked.len());
    let denied =
        sent.failed.values().filter(|text| *text == "the credentials may not send to this target").count();
    assert!(denied >= 100, "{denied} were denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_dies_for_thirty_seconds_loses_nothing_that_was_acked() {
    let Some(mut trial) = Trial::start(CLIENTS).await else { return };
    let begin = Instant::now();
    trial.goes_on(Duration::from_secs(1)).await;
    let breaks = Instant::now();
    trial.proxy.refuses().await;
    trial.goes_on(Duration::from_secs(30)).await;
    let ends = Instant::now();
    trial.proxy.listens();
    trial.recovers().await;
    trial.goes_on(Duration::from_secs(1)).await;
    let sent = trial.ends((begin, breaks), (breaks, ends)).await;
    // Five seconds' messages wait for the endpoint, some of them in vain; all others are refused at once.
    assert!(sent.acked.len() > 1000, "{} were acked", sent.acked.len());
    let refused = sent.failed.values().filter(|text| *text == "no connection to the endpoint").count();
    assert!(refused > 5000, "{refused} were refused");
}
