//! A message past the queues, for whoever wants to know whether a configuration works: one call to each target, with
//! clients of its own. Neither a full queue nor an open circuit is in its way, and neither hears of it; it counts in no
//! metric.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use realtime_proto::{AppConfig, AppId};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::failure::{Class, Failure};
use crate::forwarders::Forwarders;
use crate::limits::TEST_TIMEOUT;
use crate::message::{Message, TargetKind};
use crate::sender::Sender;
use crate::target::Destination;

/// What a target has answered to a test message.
pub type TestResult = (TargetKind, Result<(), Failure>);

impl Forwarders {
    /// Sends a message to every target that the configuration enables, once, all at the same time, and says what each
    /// has answered, in the order of [`TargetKind::ALL`]; empty where none is enabled. Ready within ten seconds.
    /// Dropping the future ends the calls. `None`: a test of this application is under way; one at a time bounds what
    /// they cost.
    pub async fn test(&self, config: &AppConfig, message: Message) -> Option<Vec<TestResult>> {
        let _under_way = UnderWay::begin(&self.under_test, &config.app_id)?;
        let message = Arc::new(message);
        let (mut results, mut calls) = (Vec::new(), JoinSet::new());
        for kind in TargetKind::ALL {
            let Some(to) = Destination::of(config, kind) else { continue };
            results.push((kind, Err(Failure::broken_down())));
            let sender = to.sender(kind, &config.app_id, &*self.connect, &self.consumers);
            let (place, message, late) =
                (results.len() - 1, Arc::clone(&message), self.limits.pace(kind).late);
            calls.spawn(async move {
                let sent = timeout(TEST_TIMEOUT, async { send(&*sender?, message).await }).await;
                (place, sent.unwrap_or_else(|_| Err(Failure::new(late))))
            });
        }
        while let Some(ended) = calls.join_next().await {
            // One that has panicked leaves what stands there.
            if let Ok((place, result)) = ended {
                results[place].1 = result;
            }
        }
        Some(results)
    }
}

/// Applications with a test under way.
pub(crate) type UnderTest = Mutex<HashSet<AppId>>;

/// An application's place among them; given back when dropped.
struct UnderWay<'a> {
    all: &'a UnderTest,
    app: &'a AppId,
}

impl<'a> UnderWay<'a> {
    fn begin(all: &'a UnderTest, app: &'a AppId) -> Option<Self> {
        let first = all.lock().insert(app.clone());
        // Made only then: it takes the place back when it is dropped.
        first.then(|| Self { all, app })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.all.lock().remove(self.app);
    }
}

async fn send(sender: &dyn Sender, message: Arc<Message>) -> Result<(), Failure> {
    let results = sender.send(&[message]).await?;
    let unmentioned = || Failure::because(Class::Unavailable, "its answer leaves the message out");
    results.into_iter().next().unwrap_or_else(|| Err(unmentioned()))
}
