//! What request bodies may take that do not come at once, for all callers together: the memory of those that have begun
//! to arrive, and the places of those that take their time. A body that comes in one piece, as nearly every publish
//! does, takes nothing of either.
//!
//! Never here: how large one body may be, and how long it may take (`body`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use realtime_proto::{ApiError, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// For all unfinished bodies. 256 of the largest at one time, of which each may take 15 s: far more than anybody has
/// to configure, and little beside what as many connections may take.
const UNFINISHED_LIMIT: usize = 64 << 20;

/// Bodies that take their time. Each holds a connection of the public port for as long, which gives way to nobody: with
/// those that wait for key sets, three quarters of them, so that a quarter remains whatever callers do.
const MAX_SLOW: usize = 4096;

/// What unfinished bodies hold. Cloning shares it.
#[derive(Debug, Clone)]
pub struct UnfinishedBodies {
    bytes: Arc<AtomicUsize>,
    slow: Arc<Semaphore>,
}

impl Default for UnfinishedBodies {
    fn default() -> Self {
        Self { bytes: Arc::default(), slow: Arc::new(Semaphore::new(MAX_SLOW)) }
    }
}

impl UnfinishedBodies {
    /// Bytes now; for metrics.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed) as u64
    }

    /// The right to take one's time, until it is dropped. 503: too many do.
    pub(crate) fn take_time(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.slow).try_acquire_owned().map_err(|_| too_many())
    }

    /// For a body of which nothing has come yet.
    pub(crate) fn begin(&self) -> Unfinished {
        Unfinished { all: self.clone(), bytes: 0 }
    }
}

/// The part of one body. Given back when dropped.
pub(crate) struct Unfinished {
    all: UnfinishedBodies,
    bytes: usize,
}

impl Unfinished {
    /// The body holds this much now. 503: it may not.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), ApiError> {
        let more = bytes.saturating_sub(self.bytes);
        let fits = |held: usize| held.checked_add(more).filter(|&held| held <= UNFINISHED_LIMIT);
        if self.all.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return Err(too_many());
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn too_many() -> ApiError {
    ApiError::new(ErrorCode::Unavailable, "too many bodies are on their way; send this one again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_may_take_their_time_and_places_come_back() {
        let all = UnfinishedBodies::default();
        let mut slow: Vec<_> = (0..MAX_SLOW).map(|_| all.clone().take_time().unwrap()).collect();
        assert_eq!(all.take_time().unwrap_err().code, ErrorCode::Unavailable);
        slow.pop();
        assert!(all.take_time().is_ok());
    }

    #[test]
    fn what_all_hold_together_is_bounded_and_given_back() {
        let all = UnfinishedBodies::default();
        let (mut first, mut second) = (all.begin(), all.begin());
        first.grow_to(UNFINISHED_LIMIT - 10).unwrap();
        second.grow_to(10).unwrap();
        second.grow_to(10).unwrap();
        assert_eq!(second.grow_to(11).unwrap_err().code, ErrorCode::Unavailable);
        assert_eq!(all.bytes(), UNFINISHED_LIMIT as u64);
        drop(first);
        second.grow_to(11).unwrap();
        assert_eq!(all.bytes(), 11);
        drop(second);
        assert_eq!(all.bytes(), 0);
    }
}
