//! The callers that wait for a fetch, over all key sets.
//!
//! A set may have as many of them as places are left free. One with a slow endpoint takes half of all so, and the
//! next one always finds some; as callers come and go, the busy ones end up with equal parts, and one such part is
//! free. Rejected: a fixed part for each of the sets, which would be a handful where there are thousands, most of
//! which never have anybody wait.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Callers that wait, over all sets: half of the connections that a front door holds, so that the other half remains
/// for those who need no fetch, whatever endpoints do.
pub(super) const MAX_WAITING: usize = 8192;

/// The places of all sets.
pub(super) struct WaitingRoom(Semaphore);

/// Those who wait for one set.
#[derive(Default)]
pub(super) struct Waiting(AtomicUsize);

/// A caller's place while it waits.
pub(super) struct Waiter<'w> {
    own: &'w Waiting,
    _place: SemaphorePermit<'w>,
}

impl WaitingRoom {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(MAX_WAITING))
    }

    /// A place for one more caller of a set; `None`: the set has as many as are left, or none is.
    pub(super) fn enter<'w>(&'w self, own: &'w Waiting) -> Option<Waiter<'w>> {
        // Callers that enter in the same moment may pass the share by a few, never the whole.
        if own.0.load(Ordering::Relaxed) >= self.0.available_permits() {
            return None;
        }
        let place = self.0.try_acquire().ok()?;
        own.0.fetch_add(1, Ordering::Relaxed);
        Some(Waiter { own, _place: place })
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.own.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_as_many_as_are_left_and_places_come_back() {
        let room = WaitingRoom::new();
        let sets = [Waiting::default(), Waiting::default(), Waiting::default()];
        let enter_all = |set| std::iter::from_fn(|| room.enter(set)).collect::<Vec<_>>();
        let held = sets.each_ref().map(enter_all);
        assert_eq!(held.each_ref().map(Vec::len), [MAX_WAITING / 2, MAX_WAITING / 4, MAX_WAITING / 8]);
        assert!(room.enter(&sets[0]).is_none());
        let [first, second, third] = held;
        drop((second, third));
        assert!(room.enter(&sets[1]).is_some());
        drop(first);
        assert_eq!(room.0.available_permits(), MAX_WAITING);
        assert_eq!(enter_all(&sets[0]).len(), MAX_WAITING / 2);
    }
}
