//! The counts, by month, application and incarnation. Pure: no store, no tasks, no clock.
//!
//! Invariants: an incarnation's count never shrinks; every change has a version of its own, greater than all
//! before it. What incarnations have reported here is this replica's to write and to tell others; what was heard
//! from other replicas is theirs.

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
    /// The version of the last change by a report; 0: it was never reported here.
    reported: u64,
}

/// An application's month.
#[derive(Debug, Default)]
struct Page {
    entries: BTreeMap<String, Entry>,
    changed: u64,
    /// The version of the last change by a report.
    reported: u64,
}

/// A page as it goes into a checkpoint, or to other replicas.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) month: Month,
    pub(crate) app_id: AppId,
    /// By incarnation.
    pub(crate) counts: BTreeMap<String, UsageCounts>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pages: BTreeMap<(Month, AppId), Page>,
    version: u64,
    /// All reports up to this version are in the store.
    written: u64,
}

impl Ledger {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Takes what an incarnation has reported here, in whatever order it comes.
    pub(super) fn report(&mut self, month: Month, app_id: &AppId, incarnation: &str, counts: UsageCounts) {
        self.merge(month, app_id, incarnation, counts, true);
    }

    /// Takes what another replica has heard, in whatever order it comes.
    pub(super) fn learn(&mut self, month: Month, app_id: &AppId, incarnation: &str, counts: UsageCounts) {
        self.merge(month, app_id, incarnation, counts, false);
    }

    fn merge(&mut self, month: Month, app_id: &AppId, incarnation: &str, counts: UsageCounts, here: bool) {
        let page = self.pages.entry((month, app_id.clone())).or_default();
        let held = page.entries.get(incarnation).copied();
        let mut entry = held.unwrap_or(Entry { counts: UsageCounts::default(), changed: 0, reported: 0 });
        let newer = entry.counts.newer(counts);
        // A node that has moved here: what its last replica heard is ours to keep from now on.
        let first_here = here && entry.reported == 0;
        if newer == entry.counts && !first_here {
            return;
        }
        self.version += 1;
        if newer != entry.counts {
            (entry.counts, entry.changed, page.changed) = (newer, self.version, self.version);
        }
        if here {
            (entry.reported, page.reported) = (self.version, self.version);
        }
        page.entries.insert(incarnation.to_owned(), entry);
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

    /// What has been reported here and is not in the store yet: whole pages.
    pub(super) fn unwritten(&self) -> Vec<Reported> {
        self.reported(|page| page.reported > self.written, |_| true)
    }

    /// What has been reported here after a version.
    pub(super) fn reported_since(&self, version: u64) -> Vec<Reported> {
        self.reported(|page| page.reported > version, |entry| entry.reported > version)
    }

    fn reported(&self, pages: impl Fn(&Page) -> bool, entries: impl Fn(&Entry) -> bool) -> Vec<Reported> {
        let chosen = |entry: &Entry| entry.reported > 0 && entries(entry);
        let page = |((month, app_id), page): (&(Month, AppId), &Page)| Reported {
            month: *month,
            app_id: app_id.clone(),
            counts: page
                .entries
                .iter()
                .filter(|(_, entry)| chosen(entry))
                .map(|(name, entry)| (name.clone(), entry.counts))
                .collect(),
        };
        self.pages.iter().filter(|(_, held)| pages(held)).map(page).collect()
    }

    /// Notes that all reports up to a version are in the store.
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
            ledger.report(month(0), &app("a"), incarnation, bytes(count));
        }
        assert_eq!(heard(&ledger, "new", 0), [("a".into(), 35)]);
        assert_eq!(heard(&ledger, "i", 0), [("a".into(), 5)]);
        assert_eq!(heard(&ledger, "j", 0), [("a".into(), 30)]);
        assert_eq!(ledger.version(), 3, "what changes nothing is no change");
    }

    #[test]
    fn an_incarnation_hears_only_of_what_others_have_changed() {
        let mut ledger = Ledger::default();
        ledger.report(month(0), &app("a"), "i", bytes(1));
        ledger.report(month(0), &app("b"), "j", bytes(2));
        let version = ledger.version();
        assert_eq!(heard(&ledger, "i", version), []);
        ledger.report(month(0), &app("a"), "i", bytes(9));
        assert_eq!(heard(&ledger, "i", version), []);
        assert_eq!(heard(&ledger, "j", version), [("a".into(), 9)]);
    }

    #[test]
    fn only_what_has_changed_is_written_and_what_changed_meanwhile_is_written_next() {
        let mut ledger = Ledger::default();
        ledger.report(month(0), &app("a"), "i", bytes(1));
        let version = ledger.version();
        assert_eq!(ledger.unwritten().len(), 1);
        ledger.report(month(0), &app("b"), "i", bytes(2));
        ledger.written(version);
        let unwritten =
            Reported { month: month(0), app_id: app("b"), counts: [("i".to_owned(), bytes(2))].into() };
        assert_eq!(ledger.unwritten(), [unwritten]);
        ledger.written(ledger.version());
        assert_eq!(ledger.unwritten(), []);
    }

    #[test]
    fn what_was_heard_elsewhere_counts_and_is_neither_written_nor_told_here() {
        let mut ledger = Ledger::default();
        ledger.learn(month(0), &app("a"), "i", bytes(10));
        ledger.report(month(0), &app("a"), "j", bytes(5));
        assert_eq!(heard(&ledger, "new", 0), [("a".into(), 15)]);
        let reported = |incarnation: &str, count| Reported {
            month: month(0),
            app_id: app("a"),
            counts: [(incarnation.to_owned(), bytes(count))].into(),
        };
        assert_eq!(ledger.unwritten(), [reported("j", 5)]);
        assert_eq!(ledger.reported_since(0), [reported("j", 5)]);
        let version = ledger.version();
        ledger.written(version);
        // Its node comes here, with nothing new: from now on it is this replica's.
        ledger.report(month(0), &app("a"), "i", bytes(10));
        assert_eq!(heard(&ledger, "new", version), [], "nobody hears of it again");
        assert_eq!(ledger.reported_since(version), [reported("i", 10)]);
        assert_eq!(ledger.unwritten()[0].counts.len(), 2, "a page is written whole");
        let version = ledger.version();
        ledger.learn(month(0), &app("a"), "i", bytes(9));
        ledger.report(month(0), &app("a"), "i", bytes(10));
        assert_eq!(ledger.version(), version);
    }

    #[test]
    fn months_are_counted_apart_and_old_ones_forgotten() {
        let mut ledger = Ledger::default();
        for n in 0..3 {
            ledger.report(month(n), &app("a"), "i", bytes(1));
        }
        assert_eq!(ledger.elsewhere("new", 0).len(), 3);
        ledger.forget_before(month(2));
        let months: Vec<_> = ledger.elsewhere("new", 0).into_iter().map(|row| row.month).collect();
        assert_eq!(months, [month(2)]);
    }
}
