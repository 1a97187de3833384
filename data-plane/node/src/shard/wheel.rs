//! A timer wheel: one entry per connection at most, cancelled by being out of date.

use super::slab::Token;

/// Milliseconds per tick: the precision of every time-out on a shard.
pub(super) const TICK_MS: u64 = 100;
/// Ticks per turn of the wheel; later deadlines go round again.
const SLOTS: usize = 512;

/// Connections by the tick at which something is due.
pub(super) struct Wheel {
    slots: Vec<Vec<(Token, u64)>>,
    /// The next tick to look at.
    next: u64,
    len: usize,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS], next: 0, len: 0 }
    }

    /// The first tick that is not before `at_ms`.
    pub(super) fn tick(at_ms: u64) -> u64 {
        at_ms.div_ceil(TICK_MS)
    }

    /// Enters a connection; an entry is valid only while the connection still names this tick.
    pub(super) fn insert(&mut self, token: Token, tick: u64) {
        let tick = tick.max(self.next);
        self.slots[tick as usize % SLOTS].push((token, tick));
        self.len += 1;
    }

    /// Moves what is due at `now_ms` into `due`.
    pub(super) fn advance(&mut self, now_ms: u64, due: &mut Vec<(Token, u64)>) {
        let now = now_ms / TICK_MS;
        if self.len == 0 {
            self.next = self.next.max(now + 1);
            return;
        }
        // After a long sleep one full turn visits every slot.
        for tick in self.next..=now.min(self.next + SLOTS as u64 - 1) {
            let slot = &mut self.slots[tick as usize % SLOTS];
            let mut i = 0;
            while i < slot.len() {
                if slot[i].1 <= now {
                    due.push(slot.swap_remove(i));
                    self.len -= 1;
                } else {
                    i += 1;
                }
            }
            if slot.is_empty() && slot.capacity() > 64 {
                *slot = Vec::new();
            }
        }
        self.next = self.next.max(now + 1);
    }

    /// Milliseconds of the first tick that may have something due.
    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        (self.next..self.next + SLOTS as u64)
            .find(|tick| !self.slots[*tick as usize % SLOTS].is_empty())
            .map(|tick| tick * TICK_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(index: u32) -> Token {
        Token { index, generation: 0 }
    }

    #[test]
    fn entries_come_due_in_time_even_beyond_one_turn_and_after_a_sleep() {
        let mut wheel = Wheel::new();
        for (i, at_ms) in [(1, 50), (2, 1000), (3, 200_000)] {
            wheel.insert(token(i), Wheel::tick(at_ms));
        }
        let mut due = Vec::new();
        wheel.advance(99, &mut due);
        assert!(due.is_empty());
        wheel.advance(100, &mut due);
        assert_eq!(due.drain(..).map(|d| d.0).collect::<Vec<_>>(), [token(1)]);
        assert_eq!(wheel.next_deadline_ms(), Some(1000));
        wheel.advance(150_000, &mut due);
        assert_eq!(due.drain(..).map(|d| d.0).collect::<Vec<_>>(), [token(2)]);
        wheel.advance(199_999, &mut due);
        assert!(due.is_empty());
        wheel.advance(1_000_000, &mut due);
        assert_eq!(due.len(), 1);
        assert_eq!(wheel.next_deadline_ms(), None);
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_the_next_advance() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        wheel.advance(10_000, &mut due);
        wheel.insert(token(7), Wheel::tick(500));
        wheel.advance(10_100, &mut due);
        assert_eq!(due.len(), 1);
    }
}
