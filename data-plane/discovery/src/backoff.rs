//! How long to wait before the next attempt at the stream: exponential with full jitter.
//!
//! Never here: sleeping; the caller owns time and randomness.

use std::time::Duration;

/// Bound of the first wait: a control plane that restarts in place is back within a second, and a replica that
/// went away leaves others that answer at once.
const FIRST_BOUND: Duration = Duration::from_millis(200);
/// Bound of every later wait: with 10,000 nodes and full jitter, a control plane that comes back meets about
/// 2,000 streams a second, and a node is never more than this behind it.
const LAST_BOUND: Duration = Duration::from_secs(10);
/// A stream that lived this long was sound: its loss is a new outage, not the next failure of the same one. A
/// server that accepts streams and drops them at once therefore still meets growing waits.
const SOUND_AFTER: Duration = Duration::from_secs(10);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Notes that a stream (or the attempt to open one) ended after `lived`; returns how long to wait, uniformly
    /// between nothing and the bound. `random` is a uniform random number.
    pub(crate) fn failed(&mut self, lived: Duration, random: u64) -> Duration {
        if lived >= SOUND_AFTER {
            self.failures = 0;
        }
        let bound = FIRST_BOUND.saturating_mul(1 << self.failures.min(16)).min(LAST_BOUND);
        self.failures = self.failures.saturating_add(1);
        let share = u128::from(random) * bound.as_nanos() / u128::from(u64::MAX);
        Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_up_to_the_last_one() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.failed(Duration::ZERO, u64::MAX).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        for _ in 0..100 {
            assert_eq!(backoff.failed(Duration::ZERO, u64::MAX), LAST_BOUND);
        }
    }

    #[test]
    fn jitter_covers_the_whole_range() {
        assert_eq!(Backoff::default().failed(Duration::ZERO, 0), Duration::ZERO);
        let middle = Backoff::default().failed(Duration::ZERO, u64::MAX / 2);
        assert!((99..=100).contains(&middle.as_millis()), "{middle:?}");
    }

    #[test]
    fn only_a_stream_that_lived_starts_over() {
        let mut backoff = Backoff::default();
        backoff.failed(Duration::ZERO, 0);
        assert_eq!(backoff.failed(SOUND_AFTER - Duration::from_millis(1), u64::MAX), FIRST_BOUND * 2);
        assert_eq!(backoff.failed(SOUND_AFTER, u64::MAX), FIRST_BOUND);
    }
}
