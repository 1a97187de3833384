//! Keeps the ledger's time, reports what it has counted, and tells it what was counted elsewhere.

use std::sync::Arc;
use std::time::Duration;

use realtime_discovery::{Counted, UsageLink};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{UsageLedger, unix_now};

/// How late a new month may begin, and how late what was used may be told. The stream reports no more often.
const EVERY: Duration = Duration::from_secs(1);
/// How long the last report may take: the second between two reports, and the answer.
const SETTLE: Duration = Duration::from_secs(3);

/// The task between a ledger and the discovery stream.
#[derive(Debug)]
pub struct UsageReporter {
    ledger: Arc<UsageLedger>,
    link: UsageLink,
}

impl UsageReporter {
    /// Tells the ledger at once what was counted elsewhere, as far as that is known.
    #[must_use]
    pub fn new(ledger: Arc<UsageLedger>, mut link: UsageLink) -> Self {
        ledger.learn(&link.elsewhere.borrow_and_update());
        Self { ledger, link }
    }

    /// Reports and learns for ever. Cancelled at any time, it loses nothing.
    pub async fn run(&mut self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Without the discovery stream's task there is nothing more to learn, and counting goes on.
        let mut learning = true;
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.ledger.set_time(unix_now());
                    self.report();
                }
                changed = self.link.elsewhere.changed(), if learning => {
                    learning = changed.is_ok();
                    self.ledger.learn(&self.link.elsewhere.borrow_and_update());
                }
            }
        }
    }

    /// Reports what is left to report and waits, within bounds, until the control plane has it.
    pub async fn settle(mut self) {
        self.report();
        let number = self.link.counted.borrow().number;
        let received = self.link.received.wait_for(|received| *received >= number);
        if !matches!(timeout(SETTLE, received).await, Ok(Ok(_))) {
            tracing::warn!("the control plane did not take the last usage report");
        }
    }

    fn report(&self) {
        let table = self.ledger.counted();
        self.link.counted.send_if_modified(|told| {
            let news = *told.table != table;
            if news {
                *told = Counted { number: told.number + 1, table: Arc::new(table) };
            }
            news
        });
    }
}
