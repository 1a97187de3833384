//! What the tests of clusters share: numbered messages, those who send them and those who write down what comes, light
//! clients by the thousand, consumers of the inbound stream, and what operators see.
//!
//! Never here: checks of one test alone; how processes are started and killed (the test kit).

pub mod consumer;
pub mod crowd;
pub mod load;
pub mod numbered;
pub mod operator;
pub mod recorder;

pub use consumer::Consumer;
pub use crowd::Crowd;
pub use load::{Load, Sent, Way};
pub use recorder::{Recorder, heard_everywhere};

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

/// Publishes anything.
pub const PUBLISHER: &str = "realtime:publisher:write:topic:*";
/// The topic that everybody uses.
pub const TOPIC: &str = "news";

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(10);

/// Tests that measure time run one after the other: two cores are few for three clusters.
///
/// The guard is the caller's until its test ends.
pub async fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::const_new(());
    ONE.lock().await
}

/// Waits until a condition holds; returns how long after `since` that was.
///
/// # Panics
/// Naming `what` and the limit, when it does not hold in time.
pub async fn by(
    what: &str,
    since: Instant,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) -> Duration {
    loop {
        if condition().await {
            return since.elapsed();
        }
        assert!(since.elapsed() < limit, "{what}: not within {limit:?}");
        sleep(POLL).await;
    }
}
