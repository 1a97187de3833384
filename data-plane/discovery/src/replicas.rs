//! The control plane's replicas. One of them has the stream; after a failure the next one is asked.
//!
//! Never here: balancing. A stream stays where it is until it ends.

use realtime_proto::generated::discovery::discovery_client::DiscoveryClient;
use realtime_proto::ids::random;
use tonic::transport::Channel;

/// Channels to the replicas, at least one. Each must connect when it is used, and again after a connection was lost.
#[derive(Debug)]
pub struct Replicas {
    channels: Vec<Channel>,
    next: usize,
}

impl Replicas {
    /// These replicas. Whom to ask first is left to chance, so that clients spread over them.
    #[must_use]
    pub fn new(first: Channel, others: impl IntoIterator<Item = Channel>) -> Self {
        let channels: Vec<_> = std::iter::once(first).chain(others).collect();
        let next = u32::from_le_bytes(random()) as usize % channels.len();
        Self { channels, next }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.channels.len()
    }

    /// The replica whose turn it is.
    pub(crate) fn client(&self) -> DiscoveryClient<Channel> {
        DiscoveryClient::new(self.channels[self.next].clone())
    }

    /// It has failed: it is the next one's turn.
    pub(crate) fn move_on(&mut self) {
        self.next = (self.next + 1) % self.channels.len();
    }
}

impl From<Channel> for Replicas {
    fn from(only: Channel) -> Self {
        Self::new(only, [])
    }
}
