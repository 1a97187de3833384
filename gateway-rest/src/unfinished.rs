//! The memory of request bodies that have begun to arrive: so much for all callers together. A body that comes in one
//! piece, as nearly every publish does, takes nothing of it.
//!
//! Never here: how large one body may be, and how long it may take (`body`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use realtime_proto::{ApiError, ErrorCode};

/// For all unfinished bodies. 256 of the largest at one time, of which each may take 15 s: far more than anybody has
/// to configure, and little beside what as many connections may take.
const UNFINISHED_LIMIT: usize = 64 << 20;

/// What unfinished bodies hold. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct UnfinishedBodies(Arc<AtomicUsize>);

impl UnfinishedBodies {
    /// Bytes now; for metrics.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed) as u64
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
        if self.all.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            let why = "too many bodies are on their way; send this one again";
            return Err(ApiError::new(ErrorCode::Unavailable, why));
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
