//! The drain: every session is closed with 1001, spread evenly over a time, those with outstanding messages last.

use std::time::Duration;

use realtime_proto::CloseCode;
use tokio::sync::oneshot;

use super::connection::{Connection, Ending};
use super::hub::Hub;
use super::pace::Pace;

/// How soon a drain looks again at sessions that it has passed over: they wait for targets, which take about as long.
const DEFERRED_MS: u64 = 50;

/// A drain under way.
pub(super) struct Drain {
    started_ms: u64,
    over_ms: u64,
    total: usize,
    closed: usize,
    /// The next index to look at.
    cursor: u32,
    /// Sessions are due that have outstanding messages: they are looked at again then.
    deferred_until: u64,
    pace: Pace,
    /// The time is over, and what was outstanding then has been answered.
    gave_up: bool,
    /// Dropped when nothing is left, or when the drain is called off: either way the waiters go on.
    /// Several where a drain was asked for while one was under way.
    done: Vec<oneshot::Sender<()>>,
}

impl Drain {
    /// How many sessions should be closed by now. The first goes at once: nobody waits for a lone one.
    fn due(&self, now_ms: u64) -> usize {
        if self.is_over(now_ms) {
            return self.total;
        }
        let elapsed = now_ms - self.started_ms;
        self.total.min((self.total as u64 * elapsed / self.over_ms) as usize + 1)
    }

    /// The time is over: whatever is left goes, as fast as it may.
    fn is_over(&self, now_ms: u64) -> bool {
        now_ms - self.started_ms >= self.over_ms
    }

    /// When the next session is due, if there is one.
    pub(super) fn next_ms(&self) -> Option<u64> {
        if self.closed >= self.total {
            return None;
        }
        let next = self.closed as u64 * self.over_ms;
        let next = self.started_ms + next.div_ceil(self.total.max(1) as u64);
        let next = next.max(self.deferred_until.min(self.started_ms + self.over_ms));
        Some(next.max(self.pace.next_ms()))
    }
}

impl Hub {
    /// Starts to close every session, spread evenly over the time.
    pub(super) fn start_drain(&mut self, over: Duration, done: oneshot::Sender<()>) {
        let total = self.connections.len();
        // Whoever waits for an earlier drain waits for the same end, at the new pace.
        let mut waiters = self.drain.take().map_or_else(Vec::new, |earlier| earlier.done);
        if total > 0 {
            waiters.push(done);
        }
        self.drain = Some(Drain {
            started_ms: self.now_ms,
            over_ms: over.as_millis() as u64,
            total,
            closed: 0,
            cursor: 0,
            deferred_until: 0,
            pace: Pace::new(self.now_ms, over.as_millis() as u64, total),
            gave_up: false,
            done: waiters,
        });
    }

    pub(super) fn cancel_drain(&mut self) {
        self.drain = None;
    }

    /// Closes as many sessions as are due. Those with outstanding messages come last: once they have their answers, or
    /// when the time is over. Then everything outstanding is given up at once, though its sessions may still be closed
    /// one after the other: whoever stops the process has to wait for no answer any longer.
    pub(super) fn run_drain(&mut self) {
        let now = self.now_ms;
        let is_over = |drain: &&mut Drain| drain.is_over(now) && !drain.gave_up;
        if let Some(drain) = self.drain.as_mut().filter(is_over) {
            drain.gave_up = true;
            self.outstanding
                .connections()
                .into_iter()
                .for_each(|index| self.abandon_outstanding(index, true));
        }
        let Some(drain) = &mut self.drain else { return };
        let due = drain.due(self.now_ms).saturating_sub(drain.closed);
        let missing = due.min(drain.pace.room(self.now_ms));
        if missing == 0 || (self.now_ms < drain.deferred_until && !drain.is_over(self.now_ms)) {
            return;
        }
        let (from, last) = (drain.cursor, drain.is_over(self.now_ms));
        let goes = |index: u32, c: &Connection| c.ending.is_none() && (last || !self.outstanding.has(index));
        let next: Vec<u32> = self
            .connections
            .iter_from(if last { 0 } else { from })
            .filter(|(i, c)| goes(*i, c))
            .map(|(i, _)| i)
            .take(missing)
            .collect();
        if next.len() < missing {
            // Some have left by themselves, and some are passed over: from the beginning again.
            drain.cursor = 0;
            drain.deferred_until = self.now_ms + DEFERRED_MS;
        } else {
            drain.cursor = next.last().map_or(from, |last| last + 1);
        }
        drain.pace.took(next.len());
        let nobody_else = last && next.len() < missing;
        drain.closed = if nobody_else { drain.total } else { drain.closed + next.len() };
        for index in next {
            self.end(index, Ending::Close(CloseCode::Draining));
        }
    }

    /// Tells who waits for a drain that nothing is left: no connection, and nothing that they said.
    pub(super) fn finish_drain(&mut self) {
        let done = self.connections.len() == 0 && !self.is_stalled();
        if let Some(drain) = self.drain.as_mut().filter(|_| done) {
            drain.done.clear();
        }
    }
}
