//! What was not delivered to peers, by reason.

/// Publishes lost on their way to a peer, each counted once for each peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// A member without a link: what it was known to want, or everything before that was known.
    pub unreachable: u64,
    /// The link's queue was full.
    pub queue_full: u64,
    /// They waited in the queue of a link that broke.
    pub queued: u64,
    /// They were sent over a link that broke before the peer said that it had them. It may have.
    pub in_flight: u64,
}

impl Losses {
    /// All reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.unreachable + self.queue_full + self.queued + self.in_flight
    }
}
