//! Rate limit of one connection: a token bucket in 8 bytes.

/// Nanoseconds in a second, and in a millisecond.
const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// A bucket that holds twice what a second refills. Kept as the time at which it will be full again: each token
/// taken moves that by one token's time, and it may not be further ahead than the whole bucket.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// Takes a token, if there is one; `per_second` 0 is unlimited. A refused call takes nothing.
    pub(crate) fn take(&mut self, now_ms: u64, per_second: u32) -> bool {
        let token = match SECOND.checked_div(u64::from(per_second)) {
            Some(token) => token,
            None => return true,
        };
        let now = now_ms.saturating_mul(MILLISECOND);
        let full_at = self.full_at.max(now).saturating_add(token);
        let fits = full_at - now <= 2 * u64::from(per_second) * token;
        if fits {
            self.full_at = full_at;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burst(bucket: &mut Bucket, now_ms: u64, per_second: u32) -> usize {
        (0..1_000_000).take_while(|_| bucket.take(now_ms, per_second)).count()
    }

    #[test]
    fn a_burst_is_twice_the_rate_at_any_time() {
        for rate in [1, 3, 7, 100, 999, 100_000] {
            for start in [0, 1, 123_456_789] {
                assert_eq!(
                    burst(&mut Bucket::default(), start, rate),
                    2 * rate as usize,
                    "{rate} at {start}"
                );
            }
        }
    }

    #[test]
    fn a_second_refills_the_rate_and_no_wait_more_than_the_bucket() {
        let mut bucket = Bucket::default();
        assert_eq!(burst(&mut bucket, 5, 100), 200);
        assert_eq!(burst(&mut bucket, 14, 100), 0);
        assert_eq!(burst(&mut bucket, 15, 100), 1);
        assert_eq!(burst(&mut bucket, 1_015, 100), 100);
        assert_eq!(burst(&mut bucket, 100_000, 100), 200);
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!(burst(&mut Bucket::default(), 0, 0), 1_000_000);
    }

    #[test]
    fn a_lower_rate_holds_at_the_latest_after_two_seconds() {
        let mut bucket = Bucket::default();
        assert_eq!(burst(&mut bucket, 0, 1000), 2000);
        assert_eq!(burst(&mut bucket, 2_000, 10), 20);
    }
}
