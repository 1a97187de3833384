//! Usage on one node's stream: its reports in, what others have counted out.

use std::time::Duration;

use realtime_proto::generated::discovery as wire;
use realtime_proto::{AppId, Month, UsageCounts};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use wire::stream_response::Kind as ResponseKind;

use crate::usage::{Row, Usage};

/// The contract's shortest time between messages of what has changed.
const EVERY: Duration = Duration::from_secs(1);
/// Rows in one message: at most 100 bytes each, so that a message stays below 1 MiB.
const ROWS: usize = 4096;

/// One stream's part in usage.
#[derive(Debug)]
pub(super) struct Feed {
    usage: Usage,
    incarnation: String,
    versions: watch::Receiver<u64>,
    /// The version that the node knows, but for its own part.
    told: u64,
    next: Instant,
    /// The sequence to confirm with the next message.
    received: u64,
}

impl Feed {
    /// A feed whose first messages tell everything.
    pub(super) fn new(usage: Usage, incarnation: &str) -> Self {
        let versions = usage.versions();
        Self {
            usage,
            incarnation: incarnation.to_owned(),
            versions,
            told: 0,
            next: Instant::now(),
            received: 0,
        }
    }

    /// Takes the node's report.
    pub(super) fn report(&mut self, report: &wire::UsageReport) {
        let rows: Vec<Row> = report.counted.iter().filter_map(row).collect();
        self.usage.report(&self.incarnation, &rows);
        if report.sequence != 0 {
            self.received = report.sequence;
        }
    }

    /// Returns once there may be something to tell. Cancelled, it is asked again.
    pub(super) async fn due(&mut self) {
        if self.received != 0 {
            return;
        }
        let told = self.told;
        if self.versions.wait_for(|version| *version > told).await.is_err() {
            std::future::pending::<()>().await;
        }
        sleep_until(self.next).await;
    }

    /// What is to be told now.
    pub(super) fn messages(&mut self) -> Vec<ResponseKind> {
        let now = Instant::now();
        let mut rows = Vec::new();
        if now >= self.next && *self.versions.borrow() > self.told {
            (rows, self.told) = self.usage.elsewhere(&self.incarnation, self.told);
            self.next = now + EVERY;
        }
        let mut messages: Vec<_> = rows
            .chunks(ROWS)
            .map(|rows| wire::UsageElsewhere { counted: rows.iter().map(to_wire).collect(), received: 0 })
            .collect();
        let received = std::mem::take(&mut self.received);
        match messages.last_mut() {
            Some(last) => last.received = received,
            None if received != 0 => messages.push(wire::UsageElsewhere { counted: Vec::new(), received }),
            None => {}
        }
        messages.into_iter().map(ResponseKind::Usage).collect()
    }
}

/// A row, unless it is of a kind that this release does not know.
fn row(usage: &wire::Usage) -> Option<Row> {
    let counts = UsageCounts { api_bytes: usage.api_bytes, inbound_messages: usage.inbound_messages };
    Some(Row::new(Month::from_index(usage.month)?, AppId::parse(&usage.app_id).ok()?, counts))
}

fn to_wire(row: &Row) -> wire::Usage {
    wire::Usage {
        app_id: row.app_id.as_str().to_owned(),
        month: row.month.index(),
        api_bytes: row.counts.api_bytes,
        inbound_messages: row.counts.inbound_messages,
    }
}
