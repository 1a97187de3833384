//! How many key sets are fetched at one time, so that slow endpoints hold up each other and nobody else.
//!
//! A set whose endpoint was slow or failed is fetched in a lane of its own, which is narrower than the whole; a set
//! that has never been fetched is trusted until it has shown otherwise. Of one application there are two sets at
//! most, each fetched once at a time, so that the whole is out of one application's reach.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Fetches at one time, over all sets: each may hold a descriptor, and a thread that resolves a name. So many new
/// sets may hang at once (after a restart, say) before another has to wait: [`super::fetch::FETCH_TIMEOUT`] at most,
/// and by then they are known to be slow.
pub(super) const CONCURRENT_FETCHES: usize = 128;
/// Those of them for sets that were slow: the others always find a slot. Few also because a resolver that hangs
/// keeps its thread when its fetch has long ended.
pub(super) const SLOW_FETCHES: usize = 32;
/// A fetch that takes longer is slow: identity providers answer well within.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// All slots.
pub(super) struct Slots {
    all: Semaphore,
    slow: Semaphore,
}

/// What a set's latest fetch was like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Pace {
    /// Quick, or there was none.
    #[default]
    Quick,
    /// It failed or took its time.
    Slow,
}

impl Pace {
    /// Of a fetch that took so long.
    pub(super) fn of(took: Duration, failed: bool) -> Self {
        if failed || took > SLOW_AFTER { Self::Slow } else { Self::Quick }
    }
}

/// The right to fetch, until it is dropped.
pub(super) struct Slot<'s> {
    _lane: Option<SemaphorePermit<'s>>,
    _slot: Option<SemaphorePermit<'s>>,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self { all: Semaphore::new(CONCURRENT_FETCHES), slow: Semaphore::new(SLOW_FETCHES) }
    }

    /// Waits for a slot, in the order of asking. The lane comes first: who waits there holds nothing of the whole.
    pub(super) async fn take(&self, pace: Pace) -> Slot<'_> {
        // Neither is ever closed; a fetch without a slot would only be one too many.
        let lane = match pace {
            Pace::Quick => None,
            Pace::Slow => self.slow.acquire().await.ok(),
        };
        Slot { _lane: lane, _slot: self.all.acquire().await.ok() }
    }
}
