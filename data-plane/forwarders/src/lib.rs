//! Inbound messages and presence to the SNS topics, SQS queues and stream consumers of applications (docs/contract.md
//! 3).
//!
//! [`Forwarders`] has a queue for each application and target, and a task that empties it. What was forwarded is
//! answered once: with success only after AWS, or the consumers, have accepted it, otherwise with the reason, at most 30 s later.
//!
//! Invariants:
//! - Nothing is answered with success that AWS has not confirmed by its id, or a consumer by its number; something may
//!   be sent twice.
//! - A FIFO target, and the stream, has at most one message of a connection in flight, so that none is overtaken over retries.
//! - Every queue is bounded; who is too much is refused at once. A target that fails holds up nobody else's.
//! - No secret is in any error, log line or status.
//!
//! A node calls [`Forwarders::configure`] before its shards judge by a configuration and [`Forwarders::remove`] after
//! the application's sessions are closed; [`Forwarders::forward`] for each message and presence event, with the body of
//! `realtime_session::encode`; [`Forwarders::drain`] when it stops, before the last sessions are closed. Who wants to
//! know whether a configuration works calls [`Forwarders::test`], which goes past the queues.
//!
//! Layers: `queue` and `health` decide and have no clock and no I/O; `target` is the task around them; `aws` speaks to
//! AWS, `stream` to consumers. Never here: the bodies (`realtime-session` writes them), sessions, `secure/inbound`, acks.

mod aws;
mod backoff;
mod failure;
mod forwarders;
mod health;
mod limits;
mod message;
mod queue;
mod sender;
mod stats;
mod stream;
mod target;
mod test_message;
#[cfg(test)]
mod tests;

pub use aws::AmbientCredentials;
pub use failure::{Class, Failure};
pub use forwarders::{Forwarders, Options};
pub use limits::Limits;
pub use message::{Message, TargetKind};
pub use stats::{KindStats, LATENCY_BOUNDS, LastError, Stats, TargetState, TargetStatus};
pub use stream::{Consumer, Delivery};
pub use test_message::TestResult;
