//! Limits and times of all targets of a process.

use std::time::Duration;

use crate::failure::Class;
use crate::message::TargetKind;
use crate::sender::MAX_BATCH_ENTRIES;

/// Messages of one target that wait or are in flight: with AWS's usual 20 ms and 32 calls at a time, less than a
/// second's work.
const MAX_QUEUED_MESSAGES: usize = 10_000;
/// Their bytes: the queue above filled with messages of 1.6 KiB.
const MAX_QUEUED_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of all targets together: sixteen full queues.
const MAX_TOTAL_BYTES: usize = 256 * 1024 * 1024;
/// What a target may always hold, however full the rest is: others' broken targets must not cost it its messages.
const MAX_GUARANTEED_BYTES: usize = 128 * 1024;
/// Calls to one target at a time: 5,000 messages a second in batches of ten with answers after 60 ms.
const MAX_CALLS: usize = 32;
/// Messages that the consumers of one application may have from one node: a thousand a second that each take a second.
const MAX_STREAM_CALLS: usize = 1024;
/// From acceptance to the answer (docs/contract.md 3).
const LIFETIME: Duration = Duration::from_secs(30);
/// For one call: AWS answers within tens of milliseconds, and a message shall have several attempts in its time.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a message waits for others to share its call while another call is under way.
const BATCH_WAIT: Duration = Duration::from_millis(20);
/// Failing for so long, a target takes nothing new: its clients hear of it at once, not after half a minute.
/// Shorter, and a restart or a burst of throttling would refuse messages that a retry gets through.
const OPEN_AFTER: Duration = Duration::from_secs(5);
/// Longest wait between two attempts at a failing target, so that a message has several in its time and a target that
/// is back is noticed soon.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// For a test message, to each target at the same time: somebody waits for the answer. Longer than a call has, so that
/// a target that messages just reach passes.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(10);
/// What a target whose application is gone, or whose forwarder was switched off, has left for what it holds.
const RETIRE_TIME: Duration = Duration::from_secs(5);

/// Limits and times. [`Limits::default`] is what nodes use; tests shorten them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Messages of one target that wait or are in flight.
    pub queued_messages: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Bytes of all targets together.
    pub total_bytes: usize,
    /// Bytes that a target may hold whatever the others hold.
    pub guaranteed_bytes: usize,
    /// Calls to one target at a time.
    pub calls: usize,
    /// From acceptance to the answer.
    pub lifetime: Duration,
    /// For one call.
    pub call_timeout: Duration,
    /// Waiting for a batch to become full.
    pub batch_wait: Duration,
    /// Failing for so long, a target takes nothing new.
    pub open_after: Duration,
    /// Bound of the waits between two attempts at a failing target.
    pub longest_wait: Duration,
    /// For what a target holds that is no longer configured.
    pub retire_time: Duration,
}

/// How a target is emptied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Calls at a time.
    pub(crate) calls: usize,
    /// Messages of a call.
    pub(crate) entries: usize,
    /// Waiting for a call to be full.
    pub(crate) batch_wait: Duration,
    /// For one call.
    pub(crate) call_timeout: Duration,
    /// What a message is told that has waited for all of its time.
    pub(crate) late: Class,
}

impl Limits {
    /// AWS has costly calls of ten messages; consumers get each message when it comes, and have all of its time.
    pub(crate) const fn pace(&self, kind: TargetKind) -> Pace {
        match kind {
            TargetKind::Sns | TargetKind::Sqs => Pace {
                calls: self.calls,
                entries: MAX_BATCH_ENTRIES,
                batch_wait: self.batch_wait,
                call_timeout: self.call_timeout,
                late: Class::Timeout,
            },
            TargetKind::Stream => Pace {
                calls: MAX_STREAM_CALLS,
                entries: 1,
                batch_wait: Duration::ZERO,
                call_timeout: self.lifetime,
                late: Class::Unacknowledged,
            },
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queued_messages: MAX_QUEUED_MESSAGES,
            queued_bytes: MAX_QUEUED_BYTES,
            total_bytes: MAX_TOTAL_BYTES,
            guaranteed_bytes: MAX_GUARANTEED_BYTES,
            calls: MAX_CALLS,
            lifetime: LIFETIME,
            call_timeout: CALL_TIMEOUT,
            batch_wait: BATCH_WAIT,
            open_after: OPEN_AFTER,
            longest_wait: LONGEST_WAIT,
            retire_time: RETIRE_TIME,
        }
    }
}
