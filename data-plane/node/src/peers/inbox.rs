//! What shards and services hand to the mesh. Publishes are bounded by count: beyond it they are dropped and counted,
//! for no client waits for another node. What subscribers came and went is never dropped: it is as much as there are
//! topics.

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
}

/// The queue; the mesh takes everything at once.
#[derive(Debug, Default)]
pub(crate) struct MeshInbox {
    queue: Mutex<Vec<ToMesh>>,
    publishes: AtomicUsize,
    dropped: AtomicU64,
    /// Whether there is anybody to send publishes to.
    has_peers: AtomicBool,
    filled: Notify,
}

impl MeshInbox {
    /// Whether publishes can have receivers elsewhere.
    #[inline]
    pub(crate) fn has_peers(&self) -> bool {
        self.has_peers.load(Ordering::Relaxed)
    }

    pub(super) fn set_has_peers(&self, has_peers: bool) {
        self.has_peers.store(has_peers, Ordering::Relaxed);
    }

    /// Queues and wakes; leaves the batch empty.
    pub(crate) fn push(&self, batch: &mut Vec<ToMesh>) {
        let publishes = batch.iter().filter(|work| matches!(work, ToMesh::Publish(_))).count();
        if self.publishes.fetch_add(publishes, Ordering::AcqRel) + publishes > CAPACITY {
            self.publishes.fetch_sub(publishes, Ordering::AcqRel);
            self.dropped.fetch_add(publishes as u64, Ordering::Relaxed);
            batch.retain(|work| !matches!(work, ToMesh::Publish(_)));
        }
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
        let publishes = into.iter().filter(|work| matches!(work, ToMesh::Publish(_))).count();
        self.publishes.fetch_sub(publishes, Ordering::AcqRel);
    }
}
