//! What the cache tells about itself, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::document::Ignored;
use super::fetch::FetchError;

/// What a cache holds now, and what it has done since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JwksStats {
    /// Sets that applications name.
    pub sets: u64,
    /// Those of them whose latest fetch failed.
    pub failing: u64,
    /// Usable keys in all sets.
    pub keys: u64,
    /// Keys in all sets that were passed over.
    pub ignored: Ignored,
    /// For each set that has been fetched, its host and the seconds since; of two on one host, both.
    pub ages: Vec<(String, u64)>,
    /// Fetches that ended, either way.
    pub fetches: u64,
    /// Those that failed, by the kind of failure; every kind is there.
    pub failures: Vec<(&'static str, u64)>,
    /// Callers sent away because too many were waiting for a set.
    pub crowded: u64,
}

/// Counts over all sets, those that are gone included.
#[derive(Debug, Default)]
pub(super) struct Counters {
    fetches: AtomicU64,
    failures: [AtomicU64; FetchError::REASONS.len()],
    crowded: AtomicU64,
}

impl Counters {
    /// A fetch has ended.
    pub(super) fn fetched(&self, failure: Option<&FetchError>) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let place = failure.and_then(|f| FetchError::REASONS.iter().position(|reason| *reason == f.reason()));
        if let Some(place) = place {
            self.failures[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A caller was sent away.
    pub(super) fn crowded(&self) {
        self.crowded.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters; the sets are still to describe themselves.
    pub(super) fn stats(&self) -> JwksStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        JwksStats {
            fetches: read(&self.fetches),
            failures: FetchError::REASONS.into_iter().zip(self.failures.iter().map(read)).collect(),
            crowded: read(&self.crowded),
            ..JwksStats::default()
        }
    }
}
