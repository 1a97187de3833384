//! What nodes and the control plane tell each other about monthly quotas: the node what it has counted, the
//! control plane what was counted elsewhere.
//!
//! Never here: counting, limits, and what becomes of counts (the node's and the control plane's).

use std::collections::BTreeMap;
use std::sync::Arc;

use realtime_proto::generated::discovery as wire;
use realtime_proto::{AppId, Month, UsageCounts};
use tokio::sync::watch;
use wire::stream_request::Kind as RequestKind;

/// Rows in one message: at most 100 bytes each, so that a message stays below 1 MiB.
const ROWS: usize = 4096;
/// Months that are kept of what was counted elsewhere: the one that counts, its predecessor, whose end is still
/// being reported, and the next one, where another clock is ahead.
const MONTHS: usize = 3;

/// Counts by month and application.
pub type UsageTable = BTreeMap<(Month, AppId), UsageCounts>;

/// What this process has counted since its start.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// Greater with each new table; 0: nothing counted yet.
    pub number: u64,
    /// Sums, not differences.
    pub table: Arc<UsageTable>,
}

/// The ends of the exchange that belong to the node.
#[derive(Debug)]
pub struct UsageLink {
    /// Set to report; sent when it changes, at most once a second, and whole on each new stream.
    pub counted: watch::Sender<Counted>,
    /// What all but this process have counted. Known before the first snapshot is published.
    pub elsewhere: watch::Receiver<UsageTable>,
    /// The number of the last table that the control plane has confirmed.
    pub received: watch::Receiver<u64>,
}

/// The client's ends.
#[derive(Debug)]
pub(crate) struct UsageOutlets {
    pub(crate) counted: watch::Receiver<Counted>,
    pub(crate) elsewhere: watch::Sender<UsageTable>,
    pub(crate) received: watch::Sender<u64>,
}

pub(crate) fn link() -> (UsageLink, UsageOutlets) {
    let (counted_in, counted) = watch::channel(Counted::default());
    let (elsewhere_in, elsewhere) = watch::channel(UsageTable::new());
    let (received_in, received) = watch::channel(0);
    let link = UsageLink { counted: counted_in, elsewhere, received };
    (link, UsageOutlets { counted, elsewhere: elsewhere_in, received: received_in })
}

impl UsageOutlets {
    /// Takes what the control plane says. A replica that has not heard of everything yet says less: the greater
    /// stays.
    pub(crate) fn heard(&self, heard: wire::UsageElsewhere) {
        let rows: Vec<_> = heard.counted.iter().filter_map(row).collect();
        if !rows.is_empty() {
            self.elsewhere.send_modify(|table| {
                for (key, counts) in rows {
                    let held = table.entry(key).or_default();
                    *held = held.newer(counts);
                }
                forget_old(table);
            });
        }
        if heard.received != 0 {
            self.received.send_replace(heard.received);
        }
    }
}

/// A row, unless it is of a kind that this release does not know.
fn row(usage: &wire::Usage) -> Option<((Month, AppId), UsageCounts)> {
    let key = (Month::from_index(usage.month)?, AppId::parse(&usage.app_id).ok()?);
    Some((key, UsageCounts { api_bytes: usage.api_bytes, inbound_messages: usage.inbound_messages }))
}

fn forget_old(table: &mut UsageTable) {
    let mut months: Vec<Month> = table.keys().map(|(month, _)| *month).collect();
    months.dedup();
    if let Some(oldest) = months.iter().rev().nth(MONTHS - 1) {
        table.retain(|(month, _), _| month >= oldest);
    }
}

/// What of `counted` is news to a server that was told `told`, as messages.
pub(crate) fn report(told: &UsageTable, counted: &Counted) -> Vec<RequestKind> {
    let news = counted.table.iter().filter(|(key, counts)| told.get(key) != Some(counts));
    let rows: Vec<_> = news
        .map(|((month, app_id), counts)| wire::Usage {
            app_id: app_id.as_str().to_owned(),
            month: month.index(),
            api_bytes: counts.api_bytes,
            inbound_messages: counts.inbound_messages,
        })
        .collect();
    let mut messages: Vec<_> =
        rows.chunks(ROWS).map(|rows| wire::UsageReport { counted: rows.to_vec(), sequence: 0 }).collect();
    match messages.last_mut() {
        Some(last) => last.sequence = counted.number,
        None => messages.push(wire::UsageReport { counted: Vec::new(), sequence: counted.number }),
    }
    messages.into_iter().map(RequestKind::Usage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(app_id: &str, month: u32, api_bytes: u64) -> wire::Usage {
        wire::Usage { app_id: app_id.into(), month, api_bytes, inbound_messages: 0 }
    }

    fn heard(rows: Vec<wire::Usage>, received: u64) -> wire::UsageElsewhere {
        wire::UsageElsewhere { counted: rows, received }
    }

    #[test]
    fn what_a_replica_that_lags_says_takes_nothing_back() {
        let (link, outlets) = link();
        outlets.heard(heard(vec![usage("a", 24_322, 5), usage("Not An Id", 24_322, 5)], 0));
        outlets.heard(heard(vec![usage("a", 24_322, 3)], 7));
        let table = link.elsewhere.borrow().clone();
        assert_eq!(table.values().map(|counts| counts.api_bytes).collect::<Vec<_>>(), [5]);
        assert_eq!(*link.received.borrow(), 7);
    }

    #[test]
    fn only_the_newest_months_are_kept() {
        let (link, outlets) = link();
        for month in 24_300..24_310 {
            outlets.heard(heard(vec![usage("a", month, 1), usage("b", month, 1)], 0));
        }
        let months: Vec<_> = link.elsewhere.borrow().keys().map(|(month, _)| month.index()).collect();
        assert_eq!(months, [24_307, 24_307, 24_308, 24_308, 24_309, 24_309]);
    }

    #[test]
    fn a_report_names_what_has_changed_in_bounded_messages_of_which_the_last_asks_for_an_answer() {
        let app = |n| AppId::parse(&format!("app-{n}")).unwrap();
        let month = Month::from_index(24_322).unwrap();
        let counts = |api_bytes| UsageCounts { api_bytes, inbound_messages: 0 };
        let told: UsageTable = (0..5000).map(|n| ((month, app(n)), counts(1))).collect();
        let everything = Counted { number: 8, table: Arc::new(told.clone()) };
        let sizes = |messages: Vec<RequestKind>| -> Vec<_> {
            let size = |message| match message {
                RequestKind::Usage(report) => (report.counted.len(), report.sequence),
                other => panic!("{other:?}"),
            };
            messages.into_iter().map(size).collect()
        };
        assert_eq!(sizes(report(&UsageTable::new(), &everything)), [(4096, 0), (904, 8)]);
        let mut changed = told.clone();
        changed.insert((month, app(7)), counts(2));
        let changed = Counted { number: 9, table: Arc::new(changed) };
        assert_eq!(sizes(report(&told, &changed)), [(1, 9)]);
        assert_eq!(sizes(report(&told, &everything)), [(0, 8)]);
    }
}
