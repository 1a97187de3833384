//! How many sessions a drain may close now. Pure: time comes in as an argument.

/// A shard that was held up, or has passed sessions over, closes no more at once than falls due in so many
/// milliseconds, and catches up at 5/4 of the even pace: less than 1.5 times of it in any second, which is what those
/// who take the clients in can rely on. It may end later for that.
const AT_ONCE_MS: u64 = 100;

/// Counts in parts of a session.
#[derive(Debug)]
pub(super) struct Pace {
    /// Parts of one session.
    price: u64,
    /// Parts that a millisecond brings.
    income: u64,
    credit: u64,
    as_of_ms: u64,
}

impl Pace {
    /// Of so many sessions over a time.
    pub(super) fn new(now_ms: u64, over_ms: u64, total: usize) -> Self {
        let mut pace = Self { price: 4 * over_ms, income: 5 * total as u64, credit: 0, as_of_ms: now_ms };
        pace.credit = pace.most();
        pace
    }

    /// Sessions that may be closed now.
    pub(super) fn room(&mut self, now_ms: u64) -> usize {
        self.credit = self.most().min(self.credit + self.income * (now_ms - self.as_of_ms));
        self.as_of_ms = now_ms;
        self.credit.checked_div(self.price).map_or(usize::MAX, |room| room as usize)
    }

    /// So many were closed.
    pub(super) fn took(&mut self, sessions: usize) {
        self.credit = self.credit.saturating_sub(sessions as u64 * self.price);
    }

    /// When there is room for one more.
    pub(super) fn next_ms(&self) -> u64 {
        self.as_of_ms + self.price.saturating_sub(self.credit).div_ceil(self.income.max(1))
    }

    /// One session may go at any time: nobody waits for a lone one.
    fn most(&self) -> u64 {
        self.price.max(self.income * AT_ONCE_MS)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Closes as many as are left as fast as there is room; what any second saw at most, and how long all took.
    fn flat_out(over_ms: u64, total: usize) -> (usize, u64) {
        let mut pace = Pace::new(7, over_ms, total);
        let (mut left, mut now) = (total, 7);
        let mut last_second: VecDeque<(u64, usize)> = VecDeque::new();
        let mut most = 0;
        while left > 0 {
            let closed = pace.room(now).min(left);
            pace.took(closed);
            left -= closed;
            last_second.push_back((now, closed));
            while last_second.front().is_some_and(|(at, _)| at + 1000 <= now) {
                last_second.pop_front();
            }
            most = most.max(last_second.iter().map(|(_, closed)| closed).sum());
            now = pace.next_ms().max(now);
        }
        (most, now - 7)
    }

    #[test]
    fn in_no_second_there_is_room_for_more_than_half_as_much_again() {
        for (over_ms, total) in [(5_000, 667), (5_000, 20_000), (30_000, 10), (1_000, 3)] {
            let (most, took) = flat_out(over_ms, total);
            assert!(
                most <= (total * 1500 / over_ms as usize).max(1) + 1,
                "{most} of {total} over {over_ms} ms"
            );
            assert!(took <= over_ms * 4 / 5 + 2, "{total} took {took} of {over_ms} ms");
        }
    }

    #[test]
    fn a_drain_without_time_has_room_for_everybody() {
        assert_eq!(flat_out(0, 1000), (1000, 0));
        let mut nobody = Pace::new(0, 1000, 0);
        assert!(nobody.room(5) <= 1 && nobody.next_ms() >= 5);
    }
}
