//! A target's circuit breaker. Pure.
//!
//! Sound: calls go out side by side. After a failed call the target is *failing*: one call at a time, a probe, after a
//! growing wait. It goes on taking messages for a while, and refuses them at once when it has failed for longer or when
//! the failure is one that lasts: it is *open*. Any success makes it sound again.
//!
//! Calls that were under way when the target began to fail often fail together; each call carries the round in which
//! it began, and of a round only the first failure counts.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::{Jitter, lasting_wait, wait};
use crate::failure::{Failure, Scope};
use crate::limits::Limits;

/// See the module.
#[derive(Debug)]
pub(crate) struct Health {
    round: u64,
    failing: Option<Failing>,
    jitter: Jitter,
    open_after: Duration,
    longest_wait: Duration,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    /// In a row.
    failures: u32,
    /// When the next probe may go out.
    retry_at: Instant,
    probing: bool,
    last: Failure,
}

impl Health {
    pub(crate) const fn new(limits: &Limits, jitter: Jitter) -> Self {
        let (open_after, longest_wait) = (limits.open_after, limits.longest_wait);
        Self { round: 0, failing: None, jitter, open_after, longest_wait }
    }

    /// Notes that a call begins; returns its round.
    pub(crate) fn begin(&mut self) -> u64 {
        if let Some(failing) = &mut self.failing {
            failing.probing = true;
        }
        self.round
    }

    /// A call was answered. What AWS refused for itself counts as an answer.
    pub(crate) fn succeeded(&mut self) {
        if self.failing.take().is_some() {
            self.round += 1;
        }
    }

    /// A call of a round failed. Returns whether that counts: not where the target has failed, has worked or has been
    /// configured anew since the call began.
    pub(crate) fn failed(&mut self, round: u64, failure: &Failure, now: Instant) -> bool {
        if round != self.round {
            return false;
        }
        self.round += 1;
        let failures = self.failing.as_ref().map_or(0, |failing| failing.failures).saturating_add(1);
        let random = self.jitter.next();
        let pause = match failure.class().scope() {
            Scope::Lasting => lasting_wait(failures, self.longest_wait, random),
            Scope::Passing | Scope::Message => wait(failures, self.longest_wait, random),
        };
        let since = self.failing.as_ref().map_or(now, |failing| failing.since);
        let (retry_at, last) = (now + pause, failure.clone());
        self.failing = Some(Failing { since, failures, retry_at, probing: false, last });
        true
    }

    /// The configuration has changed: what was wrong may be mended, and calls under way say nothing any more.
    pub(crate) fn forget(&mut self) {
        self.failing = None;
        self.round += 1;
    }

    /// A wait for one message's own retry.
    pub(crate) fn pause(&mut self, attempts: u32) -> Duration {
        wait(attempts, self.longest_wait, self.jitter.next())
    }

    /// Whether a call may begin, with so many under way of so many allowed.
    pub(crate) fn allows_call(&self, calls: usize, allowed: usize, now: Instant) -> bool {
        match &self.failing {
            None => calls < allowed,
            Some(failing) => !failing.probing && now >= failing.retry_at,
        }
    }

    /// When a probe may go out that may not yet.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.failing.as_ref().filter(|failing| !failing.probing).map(|failing| failing.retry_at)
    }

    /// Whether it is failing.
    pub(crate) const fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// What it fails with.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failing.as_ref().map(|failing| &failing.last)
    }

    /// The failure for which nothing new is taken.
    pub(crate) fn open(&self, now: Instant) -> Option<&Failure> {
        let failing = self.failing.as_ref()?;
        let lasting = failing.last.class().scope() == Scope::Lasting;
        (lasting || now >= failing.since + self.open_after).then_some(&failing.last)
    }
}
