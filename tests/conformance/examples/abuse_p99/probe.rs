//! The client that has nothing to do with the abuse, and how long it waits for its own messages.

use std::fmt;
use std::time::{Duration, Instant};

use realtime_testkit::raw::{FIN, PING, PONG, RawSocket};
use realtime_testkit::{Server, TestApp};
use tokio::time::{MissedTickBehavior, interval};

/// Between two messages: often enough for a p99 in seconds, seldom enough to be no load.
const PACE: Duration = Duration::from_millis(4);

pub(crate) struct Probe {
    _app: TestApp,
    socket: RawSocket,
}

/// Round trips.
pub(crate) struct Times {
    p50: Duration,
    pub(crate) p99: Duration,
    longest: Duration,
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(f, "{:.2} ms | {:.2} ms | {:.1} ms", ms(self.p50), ms(self.p99), ms(self.longest))
    }
}

impl Probe {
    pub(crate) async fn of(server: &Server) -> Self {
        let app = server.app().set("tier", "unlimited").create().await;
        let token = app.token("probe", &["realtime:publisher:write:topic:*"]);
        let mut socket = app.connect_raw(&token, &[]).await;
        socket.expect_frame().await;
        socket.write_text(r#"{"type":"subscribe","data":{"topic":"probe"}}"#).await;
        socket.expect_frame().await;
        Self { _app: app, socket }
    }

    /// Publishes and waits for it, again and again.
    pub(crate) async fn measure(&mut self, time: Duration) -> Times {
        let started = Instant::now();
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut trips = Vec::new();
        while started.elapsed() < time {
            pace.tick().await;
            let sent = Instant::now();
            self.socket.write_text(r#"{"type":"publish","data":{"topic":"probe","payload":"there?"}}"#).await;
            loop {
                let frame = self.socket.read_frame().await.expect("the session goes on");
                if frame.opcode() != PING {
                    break;
                }
                self.socket.write_frame(FIN | PONG, &frame.payload).await;
            }
            trips.push(sent.elapsed());
        }
        trips.sort_unstable();
        let at = |share: f64| trips[((trips.len() - 1) as f64 * share) as usize];
        Times { p50: at(0.5), p99: at(0.99), longest: at(1.0) }
    }
}
