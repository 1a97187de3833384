//! What is forwarded, and the ids of FIFO targets (docs/contract.md 3).

use std::fmt;

use aws_lc_rs::digest;
use realtime_proto::ConnectionId;
use realtime_proto::ids::hex;

/// What a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// An SNS topic.
    Sns,
    /// An SQS queue.
    Sqs,
    /// The consumers of the gRPC inbound stream.
    Stream,
}

impl TargetKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sns, Self::Sqs, Self::Stream];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sns => "sns",
            Self::Sqs => "sqs",
            Self::Stream => "stream",
        }
    }
}

/// A message or presence event, with its body as AWS shall get it.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    connection: ConnectionId,
    /// The message's id, or the status.
    deduplication: Box<str>,
    body: String,
}

impl Message {
    /// A client's message; `id` is the client's, or the one that it was given.
    #[must_use]
    pub fn inbound(connection: ConnectionId, id: &str, body: String) -> Self {
        Self { connection, deduplication: id.into(), body }
    }

    /// A presence event.
    #[must_use]
    pub fn presence(connection: ConnectionId, connected: bool, body: String) -> Self {
        let status = if connected { "connected" } else { "disconnected" };
        Self { connection, deduplication: status.into(), body }
    }

    /// Whose it is. Order is kept among the messages of one connection.
    pub(crate) const fn connection(&self) -> ConnectionId {
        self.connection
    }

    pub(crate) fn body(&self) -> &str {
        &self.body
    }

    /// The group of FIFO targets: the connection id.
    pub(crate) fn group_id(&self) -> String {
        self.connection.to_string()
    }

    /// The deduplication id of FIFO targets: hex SHA-256 of connection id, newline, message id or status.
    pub(crate) fn deduplication_id(&self) -> String {
        let text = format!("{}\n{}", self.connection, self.deduplication);
        hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    }

    /// What it takes of a queue's memory.
    pub(crate) fn weight(&self) -> usize {
        /// The entry in the queue, its places in the lists, and the channel of its answer.
        const ENTRY: usize = 512;
        self.body.len() + self.deduplication.len() + ENTRY
    }
}

/// Shows whose it is; bodies are the clients' own.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = (&self.connection.to_string(), self.body.len());
        write!(f, "Message({}, {} bytes)", shown.0, shown.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `printf '0a1b2c3d4e5f60718293a4b5c6d7e8f9\nm1' | sha256sum`.
    #[test]
    fn fifo_ids_are_those_of_the_contract() {
        let connection = ConnectionId::parse("0a1b2c3d4e5f60718293a4b5c6d7e8f9").unwrap();
        let message = Message::inbound(connection, "m1", String::new());
        assert_eq!(message.group_id(), "0a1b2c3d4e5f60718293a4b5c6d7e8f9");
        assert_eq!(
            message.deduplication_id(),
            "5a8f020cdc98891ce1a988124df2c3e5be32ed0ac54577440c51413956191fa7"
        );
        let left = Message::presence(connection, false, String::new());
        assert_eq!(
            left.deduplication_id(),
            "1c6d15dbbf4a22e10425ab82a830d9196f9bc1e6275a3a14e9bd19a5bfaabae1"
        );
        assert_ne!(
            Message::presence(connection, true, String::new()).deduplication_id(),
            left.deduplication_id()
        );
    }
}
