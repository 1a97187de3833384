//! Whether members that the control plane no longer names may be alive all the same: leases run out while nobody keeps
//! them alive, and after an outage some processes are back sooner than others. Pure: time comes in as an argument.

use std::time::Duration;

use tokio::time::Instant;

/// A stream that was away for less has missed no more than a change of replica, over which leases live on: they are
/// kept alive every 2.3 s and run out after 7 s.
const OUTAGE: Duration = Duration::from_secs(4);
/// From the first stream after an outage on, until members that have not come back count as gone. Their attempts are up
/// to 10 s apart, and a control plane that comes back has all of them to register.
const REGISTER_WITHIN: Duration = Duration::from_secs(30);

/// The time without a stream, and the time after it.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    lost_at: Option<Instant>,
    over_at: Option<Instant>,
}

impl Outage {
    /// A stream has ended, or an attempt at one.
    pub(crate) fn lost(&mut self, now: Instant) {
        self.lost_at.get_or_insert(now);
    }

    /// There is a stream.
    pub(crate) fn opened(&mut self, now: Instant) {
        if self.lost_at.take().is_some_and(|lost| now.duration_since(lost) >= OUTAGE) {
            self.over_at = Some(now + REGISTER_WITHIN);
        }
    }

    /// Until when members that are not named are kept; `None`: they are not.
    pub(crate) fn over_at(&self) -> Option<Instant> {
        self.over_at
    }

    /// That time has come.
    pub(crate) fn over(&mut self) {
        self.over_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_outage_keeps_members() {
        let start = Instant::now();
        let mut outage = Outage::default();
        outage.opened(start);
        assert_eq!(outage.over_at(), None);
        outage.lost(start);
        outage.opened(start + OUTAGE / 2);
        assert_eq!(outage.over_at(), None);
        // It begins with the first failure and is not made shorter by further ones.
        outage.lost(start);
        outage.lost(start + OUTAGE / 2);
        outage.opened(start + OUTAGE);
        assert_eq!(outage.over_at(), Some(start + OUTAGE + REGISTER_WITHIN));
        outage.over();
        assert_eq!(outage.over_at(), None);
    }
}
