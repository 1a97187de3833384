//! One application's counters.
//!
//! The two in use are plain atomics that hold everything used in the month, here and elsewhere: a charge is one
//! compare-and-swap, so that a node is exact for its own count whatever runs at once. What elsewhere counted, and
//! what other months held, is on the pages under a mutex, which no charge takes but the first of a month.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use realtime_proto::{Month, UsageCounts};

use super::Calendar;

/// What is known of a month.
#[derive(Debug, Clone, Copy, Default)]
struct Page {
    /// Counted by others; within `AppQuota`'s counters if the month is the one that counts.
    elsewhere: UsageCounts,
    /// Counted here; up to date if the month is not the one that counts.
    own: UsageCounts,
}

/// What an application has used.
#[derive(Debug)]
pub(crate) struct AppQuota {
    calendar: Arc<Calendar>,
    /// Index of the month that the counters are of. Changes under the mutex only.
    month: AtomicU32,
    api_bytes: AtomicU64,
    inbound_messages: AtomicU64,
    pages: Mutex<BTreeMap<Month, Page>>,
}

impl AppQuota {
    pub(super) fn new(calendar: Arc<Calendar>) -> Self {
        Self {
            month: AtomicU32::new(calendar.month_index()),
            calendar,
            api_bytes: AtomicU64::new(0),
            inbound_messages: AtomicU64::new(0),
            pages: Mutex::default(),
        }
    }

    /// Uses up bytes of API usage, if that many are left under the limit; else nothing.
    #[inline]
    pub(crate) fn charge_bytes(&self, limit: u64, bytes: u64) -> bool {
        self.keep_month();
        charge(&self.api_bytes, limit, bytes)
    }

    /// Uses up one inbound message, if one is left under the limit.
    #[inline]
    pub(crate) fn charge_message(&self, limit: u64) -> bool {
        self.keep_month();
        charge(&self.inbound_messages, limit, 1)
    }

    /// Gives back what was charged for something that was not done after all. Should a report have gone out in
    /// between, the control plane keeps the greater count.
    pub(crate) fn refund_bytes(&self, bytes: u64) {
        let _ = self
            .api_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(bytes)));
    }

    /// Seconds until the month ends.
    pub(crate) fn seconds_left(&self) -> u64 {
        let now = self.calendar.now();
        Month::at(now).seconds_left(now)
    }

    #[inline]
    fn keep_month(&self) {
        let month = self.calendar.month_index();
        if self.month.load(Ordering::Acquire) != month {
            self.begin(month);
        }
    }

    #[cold]
    fn begin(&self, month: u32) {
        if let Some(month) = Month::from_index(month) {
            self.turn_to(month);
        }
    }

    /// Goes on with another month's page.
    pub(super) fn turn_to(&self, month: Month) {
        let mut pages = self.pages.lock();
        let Some(left) = self.counting().filter(|left| *left != month) else { return };
        let begins = pages.get(&month).copied().unwrap_or_default();
        let begins_with = begins.elsewhere.plus(begins.own);
        let used = UsageCounts {
            api_bytes: self.api_bytes.swap(begins_with.api_bytes, Ordering::AcqRel),
            inbound_messages: self.inbound_messages.swap(begins_with.inbound_messages, Ordering::AcqRel),
        };
        self.month.store(month.index(), Ordering::Release);
        let page = pages.entry(left).or_default();
        page.own = less(used, page.elsewhere);
        // Last month's end is still to be reported; a month to come, another clock has told of.
        pages.retain(|kept, _| *kept >= month.previous());
    }

    /// Takes what others have counted; never less than before.
    pub(super) fn learn(&self, month: Month, counts: UsageCounts) {
        let mut pages = self.pages.lock();
        let page = pages.entry(month).or_default();
        let more = less(page.elsewhere.newer(counts), page.elsewhere);
        page.elsewhere = page.elsewhere.plus(more);
        if self.counting() == Some(month) {
            self.api_bytes.fetch_add(more.api_bytes, Ordering::AcqRel);
            self.inbound_messages.fetch_add(more.inbound_messages, Ordering::AcqRel);
        }
    }

    /// What was counted here, by month.
    pub(super) fn counted(&self) -> Vec<(Month, UsageCounts)> {
        let pages = self.pages.lock();
        let counting = self.counting();
        let mut counted: Vec<_> = pages
            .iter()
            .filter(|(month, _)| counting != Some(**month))
            .map(|(month, page)| (*month, page.own))
            .collect();
        if let Some(month) = counting {
            let used = UsageCounts {
                api_bytes: self.api_bytes.load(Ordering::Acquire),
                inbound_messages: self.inbound_messages.load(Ordering::Acquire),
            };
            let elsewhere = pages.get(&month).copied().unwrap_or_default().elsewhere;
            counted.push((month, less(used, elsewhere)));
        }
        counted.retain(|(_, counts)| !counts.is_zero());
        counted
    }

    /// Whether nothing is known that would be lost with it.
    pub(super) fn is_unused(&self) -> bool {
        self.counted().is_empty() && self.pages.lock().values().all(|page| page.elsewhere.is_zero())
    }

    fn counting(&self) -> Option<Month> {
        Month::from_index(self.month.load(Ordering::Acquire))
    }
}

#[inline]
fn charge(used: &AtomicU64, limit: u64, cost: u64) -> bool {
    let fits = |used: u64| used.checked_add(cost).filter(|sum| *sum <= limit);
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
}

fn less(all: UsageCounts, part: UsageCounts) -> UsageCounts {
    UsageCounts {
        api_bytes: all.api_bytes.saturating_sub(part.api_bytes),
        inbound_messages: all.inbound_messages.saturating_sub(part.inbound_messages),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota() -> Arc<AppQuota> {
        Arc::new(AppQuota::new(Arc::new(Calendar::at(1_795_469_237))))
    }

    #[test]
    fn what_does_not_fit_is_refused_and_costs_nothing() {
        let quota = quota();
        assert!(quota.charge_bytes(1000, 800));
        assert!(!quota.charge_bytes(1000, 256));
        assert!(quota.charge_bytes(1000, 200));
        assert!(!quota.charge_bytes(1000, 1));
        assert!(!quota.charge_bytes(u64::MAX, u64::MAX), "a sum that overflows fits");
        quota.refund_bytes(200);
        assert!(quota.charge_bytes(1000, 200));
    }

    #[test]
    fn messages_and_bytes_are_counted_apart() {
        let quota = quota();
        assert!(quota.charge_message(2) && quota.charge_message(2));
        assert!(!quota.charge_message(2));
        assert!(quota.charge_bytes(2, 2));
        let counts = UsageCounts { api_bytes: 2, inbound_messages: 2 };
        assert_eq!(quota.counted().into_iter().map(|(_, counts)| counts).collect::<Vec<_>>(), [counts]);
    }

    #[test]
    fn the_limit_is_exact_whatever_charges_at_once() {
        let quota = quota();
        let charging = || (0..1000).filter(|_| quota.charge_bytes(1500, 1)).count();
        let sum: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(charging)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(sum, 1500);
    }
}
