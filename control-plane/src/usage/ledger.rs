//! The counts, by month, application and incarnation. Pure: no store, no tasks, no clock.
//!
//! Invariants: an incarnation's count never shrinks; every change has a version of its own, greater than all
//! before it.

use std::collections::BTreeMap;

use realtime_proto::{AppId, Month, UsageCounts};

/// What was counted for an application in a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) month: Month,
    pub(crate) app_id: AppId,
    pub(crate) counts: UsageCounts,
}

/// One incarnation's count.
#[derive(Debug, Clone, Copy)]
struct Entry {
    counts: UsageCounts,
    changed: u64,
}

/// An application's month.
#[derive(Debug, Default)]
struct Page {
    entries: BTreeMap<String, Entry>,
    changed: u64,
}

/// A page as it goes into a checkpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unwritten {
    pub(super) month: Month,
    pub(super) app_id: AppId,
    /// By incarnation.
    pub(super) counts: BTreeMap<String, UsageCounts>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pages: BTreeMap<(Month, AppId), Page>,
    version: u64,
    /// Everything up to this version is in the store.
    written: u64,
}

impl Ledger {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Takes what an incarnation has counted, in whatever order it comes.
    pub(super) fn merge(&mut self, month: Month, app_id: &AppId, incarnation: &str, counts: UsageCounts) {
        let page = self.pages.entry((month, app_id.clone())).or_default();
        let held = page.entries.get(incarnation).map_or_else(UsageCounts::default, |entry| entry.counts);
        let newer = held.newer(counts);
        if newer != held {
            self.version += 1;
            page.changed = self.version;
            page.entries.insert(incarnation.to_owned(), Entry { counts: newer, changed: self.version });
        }
    }

    /// What others than `incarnation` have counted, where that has changed after `version`.
    pub(super) fn elsewhere(&self, incarnation: &str, version: u64) -> Vec<Row> {
        let row = |((month, app_id), page): (&(Month, AppId), &Page)| {
            let others = || page.entries.iter().filter(|(name, _)| name.as_str() != incarnation);
            others().any(|(_, entry)| entry.changed > version).then(|| Row {
                month: *month,
                app_id: app_id.clone(),
                counts: others().fold(UsageCounts::default(), |sum, (_, entry)| sum.plus(entry.counts)),
            })
        };
        self.pages.iter().filter(|(_, page)| page.changed > version).filter_map(row).collect()
    }

    /// What is not in the store yet.
    pub(super) fn unwritten(&self) -> Vec<Unwritten> {
        let changed = self.pages.iter().filter(|(_, page)| page.changed > self.written);
        let page = |((month, app_id), page): (&(Month, AppId), &Page)| Unwritten {
            month: *month,
            app_id: app_id.clone(),
            counts: page.entries.iter().map(|(name, entry)| (name.clone(), entry.counts)).collect(),
        };
        changed.map(page).collect()
    }

    /// Notes that everything up to a version is in the store.
    pub(super) fn written(&mut self, version: u64) {
        self.written = self.written.max(version);
    }

    /// Forgets the months before `oldest`.
    pub(super) fn forget_before(&mut self, oldest: Month) {
        self.pages.retain(|(month, _), _| *month >= oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month(index: u32) -> Month {
        Month::from_index(24_000 + index).unwrap()
    }

    fn app(id: &str) -> AppId {
        AppId::parse(id).unwrap()
    }

    fn bytes(api_bytes: u64) -> UsageCounts {
        UsageCounts { api_bytes, inbound_messages: 0 }
    }

    /// Bytes that `incarnation` hears of, by application.
    fn heard(ledger: &Ledger, incarnation: &str, version: u64) -> Vec<(String, u64)> {
        let rows = ledger.elsewhere(incarnation, version);
        rows.into_iter().map(|row| (row.app_id.as_str().to_owned(), row.counts.api_bytes)).collect()
    }

    #[test]
    fn incarnations_add_up_and_repeated_or_late_reports_count_nothing_twice() {
        let mut ledger = Ledger::default();
        for (incarnation, count) in [("i", 10), ("j", 5), ("i", 30), ("i", 10), ("i", 30)] {
            ledger.merge(month(0), &app("a"), incarnation, bytes(count));
        }
        assert_eq!(heard(&ledger, "new", 0), [("a".into(), 35)]);
        assert_eq!(heard(&ledger, "i", 0), [("a".into(), 5)]);
        assert_eq!(heard(&ledger, "j", 0), [("a".into(), 30)]);
        assert_eq!(ledger.version(), 3, "what changes nothing is no change");
    }

    #[test]
    fn an_incarnation_hears_only_of_what_others_have_changed() {
        let mut ledger = Ledger::default();
        ledger.merge(month(0), &app("a"), "i", bytes(1));
        ledger.merge(month(0), &app("b"), "j", bytes(2));
        let version = ledger.version();
        assert_eq!(heard(&ledger, "i", version), []);
        ledger.merge(month(0), &app("a"), "i", bytes(9));
        assert_eq!(heard(&ledger, "i", version), []);
        assert_eq!(heard(&ledger, "j", version), [("a".into(), 9)]);
    }

    #[test]
    fn only_what_has_changed_is_written_and_what_changed_meanwhile_is_written_next() {
        let mut ledger = Ledger::default();
        ledger.merge(month(0), &app("a"), "i", bytes(1));
        let version = ledger.version();
        assert_eq!(ledger.unwritten().len(), 1);
        ledger.merge(month(0), &app("b"), "i", bytes(2));
        ledger.written(version);
        let unwritten =
            Unwritten { month: month(0), app_id: app("b"), counts: [("i".to_owned(), bytes(2))].into() };
        assert_eq!(ledger.unwritten(), [unwritten]);
        ledger.written(ledger.version());
        assert_eq!(ledger.unwritten(), []);
    }

    #[test]
    fn months_are_counted_apart_and_old_ones_forgotten() {
        let mut ledger = Ledger::default();
        for n in 0..3 {
            ledger.merge(month(n), &app("a"), "i", bytes(1));
        }
        assert_eq!(ledger.elsewhere("new", 0).len(), 3);
        ledger.forget_before(month(2));
        let months: Vec<_> = ledger.elsewhere("new", 0).into_iter().map(|row| row.month).collect();
        assert_eq!(months, [month(2)]);
    }
}
