//! Monthly quotas on this node: every application's counters, their month, and what is told about them.
//!
//! The ledger owns the counters of all applications for the life of the process: disabling, deleting or creating
//! an application again does not set them back. Sessions and services charge; one task ([`UsageReporter`]) keeps
//! the time, reports and learns.
//!
//! Never here: the limits (the tier's), the sums over nodes and restarts (the control plane's).

mod quota;
mod reporter;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use hashbrown::HashMap;
use parking_lot::Mutex;
use realtime_discovery::UsageTable;
use realtime_proto::{AppId, Month};

pub(crate) use quota::AppQuota;
pub use reporter::UsageReporter;

/// The time as quotas see it: set once a second, so that a charge costs no look at a clock.
#[derive(Debug)]
pub(crate) struct Calendar {
    unix_seconds: AtomicU64,
    month: AtomicU32,
}

impl Calendar {
    fn at(unix_seconds: u64) -> Self {
        let month = Month::at(unix_seconds).index();
        Self { unix_seconds: AtomicU64::new(unix_seconds), month: AtomicU32::new(month) }
    }

    #[inline]
    fn month_index(&self) -> u32 {
        self.month.load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        self.unix_seconds.load(Ordering::Relaxed)
    }
}

/// The counters of all applications.
#[derive(Debug)]
pub struct UsageLedger {
    calendar: Arc<Calendar>,
    apps: Mutex<HashMap<AppId, Arc<AppQuota>>>,
}

impl UsageLedger {
    pub(crate) fn new() -> Self {
        Self { calendar: Arc::new(Calendar::at(unix_now())), apps: Mutex::default() }
    }

    /// Sets the time, in seconds since the Unix epoch. The month that it falls into is the one that counts; a
    /// month that counts for the first time begins with nothing used.
    pub fn set_time(&self, unix_seconds: u64) {
        let month = Month::at(unix_seconds);
        self.calendar.unix_seconds.store(unix_seconds, Ordering::Relaxed);
        if self.calendar.month.swap(month.index(), Ordering::AcqRel) == month.index() {
            return;
        }
        tracing::info!(%month, "another month counts");
        let mut apps = self.apps.lock();
        for quota in apps.values() {
            quota.turn_to(month);
        }
        // What no application in force shares and nobody has used is forgotten.
        apps.retain(|_, quota| Arc::strong_count(quota) > 1 || !quota.is_unused());
    }

    /// Takes what all but this process have counted.
    pub fn learn(&self, elsewhere: &UsageTable) {
        for ((month, app_id), counts) in elsewhere {
            self.quota(app_id).learn(*month, *counts);
        }
    }

    /// What this process has counted since its start, by month and application.
    #[must_use]
    pub fn counted(&self) -> UsageTable {
        let apps = self.apps.lock();
        let rows = apps.iter().flat_map(|(app_id, quota)| {
            quota.counted().into_iter().map(|(month, counts)| ((month, app_id.clone()), counts))
        });
        rows.collect()
    }

    /// The counters of an application.
    pub(crate) fn quota(&self, app_id: &AppId) -> Arc<AppQuota> {
        let mut apps = self.apps.lock();
        let quota =
            apps.entry(app_id.clone()).or_insert_with(|| Arc::new(AppQuota::new(self.calendar.clone())));
        Arc::clone(quota)
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use realtime_proto::UsageCounts;

    use super::*;

    /// 2026-11-23.
    const NOVEMBER: u64 = 1_795_469_237;
    const DECEMBER: u64 = NOVEMBER + 30 * 86_400;

    fn ledger() -> UsageLedger {
        let ledger = UsageLedger::new();
        ledger.set_time(NOVEMBER);
        ledger
    }

    fn app(id: &str) -> AppId {
        AppId::parse(id).unwrap()
    }

    fn row(at: u64, id: &str, api_bytes: u64) -> ((Month, AppId), UsageCounts) {
        ((Month::at(at), app(id)), UsageCounts { api_bytes, inbound_messages: 0 })
    }

    #[test]
    fn a_new_month_begins_with_nothing_used_and_the_old_one_is_still_reported() {
        let ledger = ledger();
        let quota = ledger.quota(&app("a"));
        assert!(quota.charge_bytes(100, 100));
        assert!(!quota.charge_bytes(100, 1));
        ledger.set_time(DECEMBER);
        assert!(quota.charge_bytes(100, 30));
        assert_eq!(ledger.counted(), [row(NOVEMBER, "a", 100), row(DECEMBER, "a", 30)].into());
    }

    #[test]
    fn a_clock_that_goes_back_meets_the_month_as_it_was_left() {
        let ledger = ledger();
        let quota = ledger.quota(&app("a"));
        assert!(quota.charge_bytes(100, 60));
        ledger.set_time(DECEMBER);
        assert!(quota.charge_bytes(100, 30));
        ledger.set_time(NOVEMBER);
        assert!(!quota.charge_bytes(100, 50));
        assert!(quota.charge_bytes(100, 40));
        assert_eq!(ledger.counted(), [row(NOVEMBER, "a", 100), row(DECEMBER, "a", 30)].into());
    }

    #[test]
    fn counters_outlive_the_application_in_the_month_and_nothing_keeps_them_longer() {
        let ledger = ledger();
        assert!(ledger.quota(&app("a")).charge_bytes(100, 60));
        assert!(!ledger.quota(&app("a")).charge_bytes(100, 60), "counted again from nothing");
        ledger.set_time(DECEMBER);
        assert_eq!(ledger.counted(), [row(NOVEMBER, "a", 60)].into());
        ledger.set_time(DECEMBER + 31 * 86_400);
        assert_eq!(ledger.counted(), [].into());
        assert!(ledger.apps.lock().is_empty());
    }

    #[test]
    fn what_was_counted_elsewhere_uses_the_quota_up_and_is_not_reported_as_our_own() {
        let ledger = ledger();
        let quota = ledger.quota(&app("a"));
        assert!(quota.charge_bytes(100, 10));
        ledger.learn(&[row(NOVEMBER, "a", 70), row(DECEMBER, "a", 99)].into());
        assert!(!quota.charge_bytes(100, 21));
        assert!(quota.charge_bytes(100, 20));
        ledger.learn(&[row(NOVEMBER, "a", 50)].into());
        assert!(!quota.charge_bytes(100, 1), "less from elsewhere gives nothing back");
        assert_eq!(ledger.counted(), [row(NOVEMBER, "a", 30)].into());
        ledger.set_time(DECEMBER);
        assert!(quota.charge_bytes(100, 1));
        assert!(!quota.charge_bytes(100, 1), "December's was learned in November");
    }
}
