//! Monthly usage over all nodes and restarts: what nodes report is added up in memory, told to the other nodes,
//! and written to the store once a minute.
//!
//! Every count is kept by the incarnation that counted it, and is that incarnation's sum. So reports may repeat,
//! and checkpoints of several replicas merge, without anything being counted twice, and nodes that live on give
//! back what a crash of the control plane lost. The price is an entry of some 50 bytes for each start of a node
//! that used the application in the month; differences with sequence numbers would need the same entries for as
//! long as any replica might see a report again.
//!
//! Never here: limits and refusals (the nodes').

mod checkpoint;
mod ledger;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use realtime_proto::{AppId, Month, UsageCounts};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::store::{Entry, Store, StoreError};
use ledger::Ledger;
pub(crate) use ledger::{Reported, Row};

/// Between checkpoints: bounds the writes (one per application in use), and what a crash of the whole system
/// loses.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// The usage of all applications, cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Usage {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn Store>,
    /// In the keys of this replica's checkpoints.
    replica: String,
    ledger: Mutex<Ledger>,
    /// The ledger's version.
    version: watch::Sender<u64>,
    /// One checkpoint at a time; the month in which old ones were last removed.
    writing: tokio::sync::Mutex<Option<Month>>,
}

impl Usage {
    /// Reads the checkpoints of all replicas.
    pub(crate) async fn open(store: Arc<dyn Store>, replica: &str) -> Result<Self, StoreError> {
        let mut ledger = Ledger::default();
        checkpoint::load(&*store, &mut ledger, replica, this_month()).await?;
        let shared = Shared {
            store,
            replica: replica.to_owned(),
            version: watch::Sender::new(ledger.version()),
            ledger: Mutex::new(ledger),
            writing: tokio::sync::Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Takes what an incarnation has counted.
    pub(crate) fn report(&self, incarnation: &str, rows: &[Row]) {
        let mut ledger = self.shared.ledger.lock();
        for row in rows.iter().filter(|row| is_near(row.month, &row.app_id)) {
            ledger.report(row.month, &row.app_id, incarnation, row.counts);
        }
        self.announce(&ledger);
    }

    /// Takes what incarnations have reported to another replica.
    pub(crate) fn learn(&self, reported: &[Reported]) {
        let mut ledger = self.shared.ledger.lock();
        for page in reported.iter().filter(|page| is_near(page.month, &page.app_id)) {
            for (incarnation, counts) in &page.counts {
                ledger.learn(page.month, &page.app_id, incarnation, *counts);
            }
        }
        self.announce(&ledger);
    }

    /// Takes what another replica has written: of replicas that cannot hear each other, the store is the link.
    pub(crate) fn learn_checkpoint(&self, entry: &Entry) {
        let mut ledger = self.shared.ledger.lock();
        checkpoint::learn(&mut ledger, entry, &self.shared.replica, this_month());
        self.announce(&ledger);
    }

    /// What incarnations have reported here after a version, and the version now.
    pub(crate) fn reported_since(&self, version: u64) -> (Vec<Reported>, u64) {
        let ledger = self.shared.ledger.lock();
        (ledger.reported_since(version), ledger.version())
    }

    fn announce(&self, ledger: &Ledger) {
        let now = ledger.version();
        self.shared.version.send_if_modified(|version| std::mem::replace(version, now) != now);
    }

    /// What others than `incarnation` have counted, as far as it has changed after `version`; and the version
    /// that it is now.
    pub(crate) fn elsewhere(&self, incarnation: &str, version: u64) -> (Vec<Row>, u64) {
        let ledger = self.shared.ledger.lock();
        (ledger.elsewhere(incarnation, version), ledger.version())
    }

    /// Changes whenever something is counted.
    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// Writes checkpoints until `stop`. The last one is [`Self::checkpoint`]'s, once nobody reports any more.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let start = tokio::time::Instant::now() + CHECKPOINT_EVERY;
        let mut ticks = interval_at(start, CHECKPOINT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            // What it has begun is done again by the last one.
            stop.run_until_cancelled(self.checkpoint()).await;
        }
    }

    /// Writes what has changed since the last one, and clears months away that count no more. What could not be
    /// written is written the next time.
    pub(crate) async fn checkpoint(&self) {
        let shared = &*self.shared;
        let mut cleared_in = shared.writing.lock().await;
        let month = this_month();
        let (pages, version) = {
            let mut ledger = shared.ledger.lock();
            ledger.forget_before(month.previous());
            (ledger.unwritten(), ledger.version())
        };
        match checkpoint::write(&*shared.store, &shared.replica, &pages).await {
            Ok(()) => shared.ledger.lock().written(version),
            Err(error) => {
                tracing::warn!(%error, "usage could not be written; the next checkpoint has it");
                return;
            }
        }
        if *cleared_in != Some(month) {
            match checkpoint::clear(&*shared.store, month.previous()).await {
                Ok(()) => *cleared_in = Some(month),
                Err(error) => tracing::warn!(%error, "old usage could not be removed"),
            }
        }
    }
}

/// What was counted for an application in a month.
impl Row {
    pub(crate) fn new(month: Month, app_id: AppId, counts: UsageCounts) -> Self {
        Self { month, app_id, counts }
    }
}

/// A node with a clock of its own must not fill months that are never cleared away.
fn is_near(month: Month, app_id: &AppId) -> bool {
    let now = this_month();
    let near = (now.previous()..=now.next()).contains(&month);
    if !near {
        tracing::warn!(%month, app = %app_id, "usage of another month is not counted");
    }
    near
}

fn this_month() -> Month {
    Month::at(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::time::Instant;

    use super::*;
    use crate::store::EmbeddedStore;

    #[tokio::test(start_paused = true)]
    async fn what_was_reported_is_written_when_its_minute_is_over() {
        let directory = tempfile::TempDir::new().unwrap();
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(directory.path()).await.unwrap());
        let usage = Usage::open(store.clone(), "1").await.unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(usage.clone().run(stop.clone()));
        let counts = UsageCounts { api_bytes: 7, inbound_messages: 0 };
        let row = Row::new(this_month(), AppId::parse("a").unwrap(), counts);
        let started = Instant::now();
        usage.report("i", std::slice::from_ref(&row));
        // Paused time runs on while the disk works: how late it is written says nothing.
        let mut changes = store.watch("usage/", 1).await.unwrap();
        while changes.next().await.unwrap().unwrap().events.is_empty() {}
        assert!(started.elapsed() >= CHECKPOINT_EVERY, "{:?}", started.elapsed());
        let again = Usage::open(store, "1").await.unwrap();
        assert_eq!(again.elsewhere("new", 0).0, [row]);
        stop.cancel();
        running.await.unwrap();
    }
}
