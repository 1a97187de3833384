//! How long to wait before the next attempt at the stream: exponential with full jitter, once for a round of all
//! replicas. With a wait before each of them, one replica of three that comes back after an outage might have to wait
//! half a minute for some of its nodes.
//!
//! Never here: sleeping; the caller owns time and randomness.

use std::time::Duration;

/// Bound of the first wait: a control plane that restarts in place is back within a second, and a replica that
/// went away leaves others that answer at once.
const FIRST_BOUND: Duration = Duration::from_millis(200);
/// Bound of every later wait: with 10,000 nodes and full jitter, a replica that comes back meets about 2,000 streams
/// a second, and a node is never more than this behind it.
const LAST_BOUND: Duration = Duration::from_secs(10);
/// A stream that lived this long was sound: its loss is a new outage, not the next failure of the same one. A
/// server that accepts streams and drops them at once therefore still meets growing waits.
const SOUND_AFTER: Duration = Duration::from_secs(10);

/// What has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// An attempt: there was no stream.
    Attempt,
    /// A stream that was open for so long.
    Stream(Duration),
}

/// Counts failures in a row.
#[derive(Debug)]
pub(crate) struct Backoff {
    replicas: usize,
    /// Attempts since the last wait.
    attempts: usize,
    /// Waits in a row.
    failures: u32,
}

impl Backoff {
    /// For so many replicas, which are asked in turn.
    pub(crate) fn new(replicas: usize) -> Self {
        Self { replicas, attempts: 0, failures: 0 }
    }

    /// Notes a failure; returns how long to wait, uniformly between nothing and the bound, or not at all while there
    /// are replicas left to ask. `random` is a uniform random number.
    pub(crate) fn failed(&mut self, failure: Failure, random: u64) -> Duration {
        match failure {
            Failure::Attempt => {
                self.attempts += 1;
                if self.attempts < self.replicas {
                    return Duration::ZERO;
                }
            }
            // All nodes of a replica lose their streams at one time: the wait spreads them.
            Failure::Stream(lived) => {
                if lived >= SOUND_AFTER {
                    self.failures = 0;
                }
            }
        }
        self.attempts = 0;
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
        let mut backoff = Backoff::new(1);
        let waits: Vec<_> = (0..8).map(|_| backoff.failed(Failure::Attempt, u64::MAX).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        for _ in 0..100 {
            assert_eq!(backoff.failed(Failure::Attempt, u64::MAX), LAST_BOUND);
        }
    }

    #[test]
    fn jitter_covers_the_whole_range() {
        assert_eq!(Backoff::new(1).failed(Failure::Attempt, 0), Duration::ZERO);
        let middle = Backoff::new(1).failed(Failure::Attempt, u64::MAX / 2);
        assert!((99..=100).contains(&middle.as_millis()), "{middle:?}");
    }

    #[test]
    fn all_replicas_are_asked_between_two_waits() {
        let mut backoff = Backoff::new(3);
        let lost = Failure::Stream(SOUND_AFTER);
        let failures = [lost, Failure::Attempt, Failure::Attempt, Failure::Attempt, Failure::Attempt];
        let waits = failures.map(|failure| backoff.failed(failure, u64::MAX).as_millis());
        assert_eq!(waits, [200, 0, 0, 400, 0]);
        // What is lost in the middle of a round begins another one.
        let waits = [lost, Failure::Attempt, Failure::Attempt, Failure::Attempt]
            .map(|failure| backoff.failed(failure, u64::MAX).as_millis());
        assert_eq!(waits, [200, 0, 0, 400]);
    }

    #[test]
    fn only_a_stream_that_lived_starts_over() {
        let mut backoff = Backoff::new(1);
        backoff.failed(Failure::Attempt, 0);
        let short = Failure::Stream(SOUND_AFTER - Duration::from_millis(1));
        assert_eq!(backoff.failed(short, u64::MAX), FIRST_BOUND * 2);
        assert_eq!(backoff.failed(Failure::Stream(SOUND_AFTER), u64::MAX), FIRST_BOUND);
    }
}
