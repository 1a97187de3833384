//! What a server holds, before and after; and a client of another application, who must not notice.

use realtime_testkit::{Client, Server, TestApp, eventually, eventually_equal};
use serde_json::{Value, json};

use crate::PUBLISH;

/// What a server holds for its callers. Each must be where it was when they have gone.
const HELD: [&str; 10] = [
    "realtime_sessions",
    "realtime_connections",
    "realtime_http_connections",
    "realtime_topics",
    "realtime_subscriptions",
    "realtime_unsent_bytes",
    "realtime_unfinished_bytes",
    "realtime_unfinished_body_bytes",
    "realtime_inbox_publishes",
    "realtime_verifier_queue",
];

/// What of it only passes through.
const PASSING: [&str; 6] = [
    "realtime_http_connections",
    "realtime_unsent_bytes",
    "realtime_unfinished_bytes",
    "realtime_unfinished_body_bytes",
    "realtime_inbox_publishes",
    "realtime_verifier_queue",
];

/// Memory that may come between the first and the third time of the same abuse, besides half of what came with the
/// first: what an allocator could not give back it uses again, in holes that fit less well each time. What is held
/// on to comes with each time alike, and is then four times that half.
const MARGIN: u64 = 6 << 20;

/// Files between two looks: the connection that asks for the metrics, and one on its way out.
const PASSING_FILES: usize = 2;

/// A server whose memory is what it uses: the C library's allocator otherwise keeps what was freed, in an arena for
/// each thread and up to sizes that it finds out by itself, and hides whether the server has let go.
pub(crate) async fn frugal_server() -> Server {
    let kib = |kib: u32| (kib * 1024).to_string();
    Server::builder()
        .env("MALLOC_ARENA_MAX", "1")
        .env("MALLOC_MMAP_THRESHOLD_", &kib(64))
        .env("MALLOC_TRIM_THRESHOLD_", &kib(64))
        .start()
        .await
}

/// What a server held at one moment.
pub(crate) struct Baseline {
    held: Vec<(&'static str, u64)>,
    files: usize,
}

impl Baseline {
    /// Looks once nothing of earlier requests is left. Sessions that are open then are neighbours'.
    pub(crate) async fn take(server: &Server) -> Self {
        let held = eventually("a quiet server", async || {
            let held = held(server).await;
            let passes = |(name, value): &(&str, u64)| PASSING.contains(name) && *value != 0;
            (!held.iter().any(passes)).then_some(held)
        })
        .await;
        Self { held, files: server.open_files() }
    }

    /// Waits until the server holds just that again.
    pub(crate) async fn returns(&self, server: &Server) {
        eventually_equal("what the server holds", self.held.clone(), async || held(server).await).await;
        eventually("the server's files", async || {
            (server.open_files() <= self.files + PASSING_FILES).then_some(())
        })
        .await;
    }
}

async fn held(server: &Server) -> Vec<(&'static str, u64)> {
    let metrics = server.metrics().await;
    HELD.iter().map(|name| (*name, metrics[*name])).collect()
}

/// Does the same three times: afterwards everything is where it was, and the memory does not grow from time to time.
pub(crate) async fn three_times(server: &Server, mut round: impl AsyncFnMut(u8)) {
    let baseline = Baseline::take(server).await;
    let mut resident = vec![server.resident_bytes()];
    for n in 0..3 {
        round(n).await;
        baseline.returns(server).await;
        resident.push(server.resident_bytes());
    }
    let (first, later) = (resident[1].saturating_sub(resident[0]), resident[3].saturating_sub(resident[1]));
    assert!(later <= first / 2 + MARGIN, "memory before, and after each time: {resident:?}");
}

/// A client of an application that has nothing to do with the abuse.
pub(crate) struct Neighbour {
    app: TestApp,
    client: Client,
    sent: u64,
}

impl Neighbour {
    pub(crate) async fn of(server: &Server) -> Self {
        let app = server.app().set("tier", "unlimited").create().await;
        let mut client = app.connect("neighbour", &[PUBLISH]).await;
        client.subscribe("neighbours").await;
        let mut neighbour = Self { app, client, sent: 0 };
        // A shard notes what it holds after its turn: what is answered in the next one is in the metrics.
        neighbour.is_served().await;
        neighbour
    }

    /// How often it has published.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Publishes and gets it, as if nothing were wrong.
    pub(crate) async fn is_served(&mut self) {
        self.sent += 1;
        self.client.publish("neighbours", json!([self.sent])).await;
        let got = self.client.expect("neighbours", "broadcast").await;
        assert_eq!(got["payload"], json!([self.sent]));
    }

    /// The same for one that comes just now, with its HTTP API.
    pub(crate) async fn may_come(&mut self) {
        let mut newcomer = self.app.connect("newcomer", &[]).await;
        newcomer.subscribe("neighbours").await;
        self.is_served().await;
        newcomer.expect("neighbours", "broadcast").await;
        self.app.publish(&json!({"topic": "neighbours", "message": self.sent})).await.expect(200);
        for client in [&mut self.client, &mut newcomer] {
            assert_eq!(client.expect("neighbours", "broadcast").await, json!(self.sent));
        }
        newcomer.close().await;
    }
}

/// The code of a problem document, or the status where the answer has none.
pub(crate) fn code(answer: &realtime_testkit::Response) -> Value {
    serde_json::from_slice(&answer.body)
        .map_or(json!(answer.status), |problem: Value| problem["code"].clone())
}
