//! What monthly quotas count (docs/contract.md 6), and what a call costs.
//!
//! Counts are sums that only grow within a month, kept apart by who counted. Of two reports of one counter the
//! greater is the newer, so that merging needs no order and repeating counts nothing twice.

/// Bytes of API usage that an administrative call costs: unsubscribe, closing and listing connections, listing
/// topics. A publish costs its message's length.
pub const CALL_COST: u64 = 256;

/// What was used in a month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageCounts {
    /// Against `apiUsageBytesPerMonth`.
    pub api_bytes: u64,
    /// Against `inboundMessagesPerMonth`.
    pub inbound_messages: u64,
}

impl UsageCounts {
    /// Of two reports of the same counter, the newer.
    #[must_use]
    pub fn newer(self, other: Self) -> Self {
        Self {
            api_bytes: self.api_bytes.max(other.api_bytes),
            inbound_messages: self.inbound_messages.max(other.inbound_messages),
        }
    }

    /// What two counters have counted together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            api_bytes: self.api_bytes.saturating_add(other.api_bytes),
            inbound_messages: self.inbound_messages.saturating_add(other.inbound_messages),
        }
    }

    /// Whether nothing was used.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_and_late_reports_of_a_counter_change_nothing_and_counters_add_up() {
        let counts = |api_bytes, inbound_messages| UsageCounts { api_bytes, inbound_messages };
        let newest = counts(5, 7).newer(counts(3, 6)).newer(counts(5, 7));
        assert_eq!(newest, counts(5, 7));
        assert_eq!(newest.plus(counts(1, u64::MAX)), counts(6, u64::MAX));
        assert!(UsageCounts::default().is_zero() && !newest.is_zero());
    }
}
