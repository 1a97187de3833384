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

    /// Hands the stream what has changed since the last time.
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

#[cfg(test)]
mod tests {
    use realtime_discovery::UsageTable;
    use realtime_proto::{AppId, Month, UsageCounts};
    use tokio::sync::watch;

    use super::*;

    /// The stream's ends of a reporter's link.
    struct Stream {
        counted: watch::Receiver<Counted>,
        elsewhere: watch::Sender<UsageTable>,
        received: watch::Sender<u64>,
    }

    fn reporter(elsewhere: UsageTable) -> (UsageReporter, Arc<UsageLedger>, Stream) {
        let (counted_in, counted) = watch::channel(Counted::default());
        let (elsewhere_in, elsewhere) = watch::channel(elsewhere);
        let (received_in, received) = watch::channel(0);
        let ledger = Arc::new(UsageLedger::new());
        let link = UsageLink { counted: counted_in, elsewhere, received };
        let stream = Stream { counted, elsewhere: elsewhere_in, received: received_in };
        (UsageReporter::new(ledger.clone(), link), ledger, stream)
    }

    fn table(api_bytes: u64) -> UsageTable {
        let key = (Month::at(unix_now()), AppId::parse("a").unwrap());
        [(key, UsageCounts { api_bytes, inbound_messages: 0 })].into()
    }

    #[tokio::test]
    async fn what_is_known_at_the_start_counts_at_once_and_the_rest_when_it_comes() {
        let (mut reporter, ledger, stream) = reporter(table(60));
        let quota = ledger.quota(&AppId::parse("a").unwrap());
        assert!(!quota.charge_bytes(100, 50));
        assert!(quota.charge_bytes(100, 10));
        let running = tokio::spawn(async move { reporter.run().await });
        stream.elsewhere.send_replace(table(80));
        while quota.charge_bytes(100, 30) {
            quota.refund_bytes(30);
            tokio::task::yield_now().await;
        }
        let mut counted = stream.counted;
        counted.wait_for(|counted| *counted.table == table(10)).await.unwrap();
        running.abort();
    }

    #[tokio::test]
    async fn the_last_report_is_waited_for() {
        let (reporter, ledger, mut stream) = reporter(UsageTable::new());
        assert!(ledger.quota(&AppId::parse("a").unwrap()).charge_bytes(100, 7));
        let settled = tokio::spawn(reporter.settle());
        let number = stream.counted.wait_for(|counted| *counted.table == table(7)).await.unwrap().number;
        assert!(!settled.is_finished());
        stream.received.send_replace(number);
        settled.await.unwrap();
    }

    #[tokio::test]
    async fn without_anything_counted_nothing_is_waited_for() {
        let (reporter, _, stream) = reporter(UsageTable::new());
        reporter.settle().await;
        assert_eq!(stream.counted.borrow().number, 0);
    }
}
