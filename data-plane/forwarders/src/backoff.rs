//! How long to wait after failures: exponential with full jitter. Pure; the caller owns time and randomness.

use std::time::Duration;

/// Bound of the first wait: throttling passes within this.
const FIRST_BOUND: Duration = Duration::from_millis(100);
/// Least wait where nothing helps but somebody who mends it: each attempt costs a message.
const LASTING_WAIT: Duration = Duration::from_secs(1);

/// The wait after so many failures in a row, uniformly between nothing and the bound, which grows to `longest`;
/// `random` is a uniform random number.
pub(crate) fn wait(failures: u32, longest: Duration, random: u64) -> Duration {
    let doubled = 1 << failures.saturating_sub(1).min(16);
    let bound = FIRST_BOUND.saturating_mul(doubled).min(longest);
    let share = u128::from(random) * bound.as_nanos() / u128::from(u64::MAX);
    Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
}

/// The same where the failure lasts.
pub(crate) fn lasting_wait(failures: u32, longest: Duration, random: u64) -> Duration {
    LASTING_WAIT + wait(failures, longest, random)
}

/// A source of jitter: splitmix64, which needs no system call under a lock.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(5);

    #[test]
    fn bounds_double_up_to_the_last_one() {
        let bounds: Vec<_> = (1..=8).map(|failures| wait(failures, LONGEST, u64::MAX).as_millis()).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(wait(u32::MAX, LONGEST, u64::MAX), LONGEST);
    }

    #[test]
    fn jitter_covers_the_whole_range() {
        assert_eq!(wait(3, LONGEST, 0), Duration::ZERO);
        let mut jitter = Jitter::seeded(7);
        let waits: Vec<_> = (0..1000).map(|_| wait(7, LONGEST, jitter.next()).as_millis()).collect();
        for tenth in 0..10 {
            let found = waits.iter().filter(|wait| **wait / 500 == tenth).count();
            assert!((50..200).contains(&found), "{found} of 1,000 in the tenth {tenth}");
        }
    }
}
