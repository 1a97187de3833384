//! A consumer's end of the stream.

use std::fmt;
use std::sync::{Arc, Weak};

use realtime_proto::AppId;
use tokio::sync::mpsc;

use super::{Consumers, Verdict};
use crate::message::Message;

/// A message or presence event for a consumer.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Counts up from 1 for each consumer.
    pub sequence: u64,
    /// A consumer that has left had it before, and may have processed it.
    pub redelivered: bool,
    message: Arc<Message>,
}

impl Delivery {
    /// As SNS and SQS get it.
    #[must_use]
    pub fn body(&self) -> &str {
        self.message.body()
    }
}

/// Bodies are the clients' own.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

/// A message on its way to a consumer, as long as somebody waits for the answer.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) sequence: u64,
    pub(super) redelivered: bool,
    pub(super) message: Weak<Message>,
}

/// A consumer. It leaves when it is dropped.
#[derive(Debug)]
pub struct Consumer {
    app: AppId,
    group: Box<str>,
    number: u64,
    incoming: mpsc::Receiver<Handed>,
    consumers: Arc<Consumers>,
}

impl Consumer {
    pub(crate) fn join(consumers: &Arc<Consumers>, app: &AppId, group: &str, window: usize) -> Option<Self> {
        let (number, incoming) = consumers.join(app, group, window)?;
        let (app, group, consumers) = (app.clone(), group.into(), Arc::clone(consumers));
        Some(Self { app, group, number, incoming, consumers })
    }

    /// The next message. One that has been given up meanwhile is passed over: its client knows. May be dropped while it
    /// waits.
    pub async fn next(&mut self) -> Delivery {
        while let Some(Handed { sequence, redelivered, message }) = self.incoming.recv().await {
            if let Some(message) = message.upgrade() {
                return Delivery { sequence, redelivered, message };
            }
            // Its place in the window is free again.
            let _ = self.refuse(sequence);
        }
        // The other end is kept as long as this one.
        std::future::pending().await
    }

    /// Acknowledges a message; `false`: it is not one of those that this consumer has.
    #[must_use]
    pub fn accept(&self, sequence: u64) -> bool {
        self.consumers.settle(&self.app, &self.group, self.number, sequence, Verdict::Accepted)
    }

    /// Refuses a message, whose client is told so; `false` as above.
    #[must_use]
    pub fn refuse(&self, sequence: u64) -> bool {
        self.consumers.settle(&self.app, &self.group, self.number, sequence, Verdict::Refused)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.consumers.leave(&self.app, &self.group, self.number);
    }
}
