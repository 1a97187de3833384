//! What shards and services hand to the mesh, bounded by count. While it is full, shards keep what they have and read
//! nothing from their clients, and services are refused. The mesh never waits for a peer with it, so that no client
//! waits for another node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use realtime_mesh::OwnSession;
use realtime_proto::{AppId, ConnectionId};
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
    /// A session has opened that is to be mirrored.
    SessionOpened { id: ConnectionId, session: OwnSession },
    /// A mirrored session has ended.
    SessionEnded(ConnectionId),
    /// For the peers that want it.
    Publish(Delivery),
    /// The same, answered by each of them.
    PublishWithReceipt(Delivery, oneshot::Sender<Answers>),
    /// For one peer or all.
    Call(Call, oneshot::Sender<Answers>),
    /// Answered once the peers have everything that was handed over before.
    Settle(oneshot::Sender<()>),
}

/// The queue; the mesh takes everything at once.
#[derive(Debug, Default)]
pub(crate) struct MeshInbox {
    queue: Mutex<Vec<ToMesh>>,
    waiting: AtomicUsize,
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

    /// Whether more may be pushed. Several who ask at once may exceed the bound together, by a batch each.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Acquire) < CAPACITY
    }

    /// Queues and wakes; leaves the batch empty.
    pub(crate) fn push(&self, batch: &mut Vec<ToMesh>) {
        self.waiting.fetch_add(batch.len(), Ordering::AcqRel);
        self.queue.lock().append(batch);
        self.filled.notify_one();
    }

    /// The same for one piece of work.
    pub(crate) fn push_one(&self, work: ToMesh) {
        self.push(&mut vec![work]);
    }

    /// Resolves when something may be queued.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Swaps the queue with an empty one.
    pub(super) fn take(&self, into: &mut Vec<ToMesh>) {
        std::mem::swap(&mut *self.queue.lock(), into);
        self.waiting.fetch_sub(into.len(), Ordering::AcqRel);
    }
}
