//! What shards and services hand to the mesh, bounded by count. Publishes beyond it are dropped and counted, for no
//! client waits for another node; calls beyond it are refused. That subscribers came and went is never dropped: a
//! shard keeps it while there is no room, and reads nothing from its clients meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use realtime_proto::AppId;
use tokio::sync::{Notify, oneshot};

use super::calls::{Answers, Call};
use crate::shard::inbox::Delivery;

/// As many as a shard's inbox holds.
const CAPACITY: usize = crate::shard::inbox::INBOX_CAPACITY;

/// Work for the mesh.
#[derive(Debug)]
pub(crate) enum ToMesh {
    /// A shard has its first subscriber of a topic; answered with the ticket.
    Subscribed { shard: u8, ticket: u64, slot: u32, app: AppId, topic: Arc<str> },
    /// A shard's last subscriber of a topic has left.
    Unsubscribed { slot: u32, topic: Arc<str> },
    /// For the peers that want it.
    Publish(Delivery),
    /// The same, answered by each of them.
    PublishWithReceipt(Delivery, oneshot::Sender<Answers>),
    /// For one peer or all.
    Call(Call, oneshot::Sender<Answers>),
    /// Answered once the peers have everything that was handed over before.
    Settle(oneshot::Sender<()>),
}

impl ToMesh {
    fn is_publish(&self) -> bool {
        matches!(self, Self::Publish(_) | Self::PublishWithReceipt(..))
    }

    /// Whether it may be turned away.
    fn is_droppable(&self) -> bool {
        self.is_publish() || matches!(self, Self::Call(..))
    }

    fn is_change(&self) -> bool {
        matches!(self, Self::Subscribed { .. } | Self::Unsubscribed { .. })
    }
}

/// The queue; the mesh takes everything at once.
#[derive(Debug, Default)]
pub(crate) struct MeshInbox {
    queue: Mutex<Vec<ToMesh>>,
    /// Publishes and calls in it.
    droppable: AtomicUsize,
    /// Changes of the subscribers in it.
    changes: AtomicUsize,
    dropped: AtomicU64,
    /// Whether there is anybody to send publishes to.
    has_peers: AtomicBool,
    filled: Notify,
}

impl MeshInbox {
    /// Whether publishes can have receivers elsewhere.
    #[inline]
    pub(crate) fn has_peers(&self) -> bool {
        self.has_peers.load(Ordering::Acquire)
    }

    pub(super) fn set_has_peers(&self, has_peers: bool) {
        self.has_peers.store(has_peers, Ordering::Release);
    }

    /// Whether a shard may hand over what came and went.
    pub(crate) fn has_room(&self) -> bool {
        self.changes.load(Ordering::Acquire) < CAPACITY
    }

    /// Queues and wakes; leaves the batch empty. Whoever waits for an answer to what is dropped is told at once.
    pub(crate) fn push(&self, batch: &mut Vec<ToMesh>) {
        let droppable = batch.iter().filter(|work| work.is_droppable()).count();
        if self.droppable.fetch_add(droppable, Ordering::AcqRel) + droppable > CAPACITY {
            self.droppable.fetch_sub(droppable, Ordering::AcqRel);
            let publishes = batch.iter().filter(|work| work.is_publish()).count();
            self.dropped.fetch_add(publishes as u64, Ordering::Relaxed);
            batch.retain(|work| !work.is_droppable());
        }
        let changes = batch.iter().filter(|work| work.is_change()).count();
        self.changes.fetch_add(changes, Ordering::AcqRel);
        self.queue.lock().append(batch);
        self.filled.notify_one();
    }

    /// The same for one piece of work.
    pub(crate) fn push_one(&self, work: ToMesh) {
        self.push(&mut vec![work]);
    }

    /// Publishes dropped because the mesh did not keep up.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Resolves when something may be queued.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Swaps the queue with an empty one.
    pub(super) fn take(&self, into: &mut Vec<ToMesh>) {
        std::mem::swap(&mut *self.queue.lock(), into);
        let count = |which: fn(&ToMesh) -> bool| into.iter().filter(|work| which(work)).count();
        self.droppable.fetch_sub(count(ToMesh::is_droppable), Ordering::AcqRel);
        self.changes.fetch_sub(count(ToMesh::is_change), Ordering::AcqRel);
    }
}
