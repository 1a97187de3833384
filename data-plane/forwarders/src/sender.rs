//! The seam between scheduling and AWS.

use std::sync::Arc;

use async_trait::async_trait;
use realtime_proto::app::Forwarder;

use crate::failure::Failure;
use crate::message::{Message, TargetKind};

/// Entries of one call (AWS's limit, SNS and SQS alike).
pub(crate) const MAX_BATCH_ENTRIES: usize = 10;
/// Bodies of one call, and so a body, in bytes. AWS takes 262,144; SQS takes more today, SNS does not.
pub(crate) const MAX_BATCH_BYTES: usize = 256 * 1024;

/// Sends to one target.
#[async_trait]
pub(crate) trait Sender: Send + Sync {
    /// One call, of at most [`MAX_BATCH_ENTRIES`] and [`MAX_BATCH_BYTES`]. The answer has an entry for each message,
    /// in their order; or the call failed as a whole.
    async fn send(&self, messages: &[Arc<Message>]) -> Result<Vec<Result<(), Failure>>, Failure>;
}

/// Makes senders.
pub(crate) trait Connect: Send + Sync {
    /// A sender for a forwarder. Connects to nothing yet.
    fn connect(&self, kind: TargetKind, forwarder: &Forwarder) -> Result<Arc<dyn Sender>, Failure>;
}
