//! What other threads hand to a shard. Bounded by count: a publish from a service is refused when full; a batch
//! of another shard is kept by its sender, which reads nothing from its clients until it is taken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use realtime_proto::{AppId, ConnectionId, PatternSet};
use realtime_session::Frame;
use tokio::sync::oneshot;

use super::inbound::Answer;
use super::poller::Waker;
use crate::operation::{Arrival, ConnectionInfo, Receipt, Target};
use crate::runtime::Reservation;
use crate::targets::Retiring;

/// Publishes and commands that may wait: some 10 ms of work for a shard at full speed.
pub(crate) const INBOX_CAPACITY: usize = 65_536;

/// A publish on its way to a shard's subscribers.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) slot: u32,
    pub(crate) topic: Arc<str>,
    pub(crate) frame: Frame,
}

/// A connection with its place under the limits.
#[derive(Debug)]
pub(crate) struct Adoption {
    pub(crate) arrival: Arrival,
    pub(crate) reservation: Reservation,
}

/// A page of a list.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) app: AppId,
    pub(crate) limit: usize,
}

/// Work for a shard.
#[derive(Debug)]
pub(crate) enum Command {
    Adopt(Box<Adoption>),
    Publish {
        delivery: Delivery,
        first: bool,
        receipt: Option<oneshot::Sender<Receipt>>,
    },
    Batch(Vec<Delivery>),
    /// The application table changed. Wakes: every turn begins with the newest table. What it carries is dropped once
    /// every shard has that table.
    Configure(Option<Arc<Retiring>>),
    /// What the targets of a client's message have answered. Bounded by their queues.
    Forwarded(Answer),
    /// The peers know of every topic up to this ticket.
    Confirmed(u64),
    Unsubscribe {
        app: AppId,
        subject: String,
        patterns: Arc<PatternSet>,
        reply: oneshot::Sender<u64>,
    },
    Disconnect {
        app: AppId,
        target: Target,
        reply: oneshot::Sender<u64>,
    },
    Connections {
        query: Query,
        subject: Option<String>,
        after: Option<ConnectionId>,
        reply: oneshot::Sender<Vec<ConnectionInfo>>,
    },
    Topics {
        query: Query,
        prefix: String,
        after: Option<String>,
        reply: oneshot::Sender<Vec<(String, u64)>>,
    },
    Drain {
        over: Duration,
        done: oneshot::Sender<()>,
    },
    CancelDrain,
    Stop,
}

/// The queue; its shard takes everything at once.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Mutex<VecDeque<Command>>,
    /// Publishes reserved or queued; commands do not count, they are few and bounded by their callers.
    publishes: AtomicUsize,
    waker: Waker,
}

impl Inbox {
    pub(super) fn new(waker: Waker) -> Self {
        Self { queue: Mutex::default(), publishes: AtomicUsize::new(0), waker }
    }

    /// Reserves room for `n` publishes; `false` when the inbox is full.
    pub(crate) fn reserve(&self, n: usize) -> bool {
        let before = self.publishes.fetch_add(n, Ordering::AcqRel);
        // A batch larger than the whole inbox is taken when the inbox is empty.
        if before > 0 && before + n > INBOX_CAPACITY {
            self.release(n);
            return false;
        }
        true
    }

    /// Gives reserved room back.
    pub(crate) fn release(&self, n: usize) {
        self.publishes.fetch_sub(n, Ordering::AcqRel);
    }

    /// Publishes that wait or have room reserved.
    pub(crate) fn publishes(&self) -> usize {
        self.publishes.load(Ordering::Relaxed)
    }

    /// Queues and wakes. Publishes have been reserved.
    pub(crate) fn push(&self, command: Command) {
        self.queue.lock().push_back(command);
        self.waker.wake();
    }

    /// Swaps the queue with an empty one.
    pub(super) fn take(&self, into: &mut VecDeque<Command>) {
        std::mem::swap(&mut *self.queue.lock(), into);
    }
}
