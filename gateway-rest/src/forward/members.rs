//! The nodes that discovery names, each with a channel that lives as long as the node's place does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use realtime_discovery::Snapshot;
use realtime_proto::generated::discovery::{Member, NodeState};
use tokio::sync::watch;
use tonic::transport::Channel;

use super::Dial;
use super::attempt::Target;
use super::choice::Seed;

/// How long a node that could not be reached is asked last. A dead one is no member any more within 10 s, and each
/// attempt at a host that answers nothing takes a second.
const AVOID: Duration = Duration::from_secs(5);

/// A node that takes calls.
#[derive(Debug)]
pub(super) struct Node {
    id: String,
    incarnation: String,
    address: String,
    seed: Seed,
    channel: Channel,
    avoid_until: Mutex<Option<Instant>>,
}

impl Node {
    fn is(&self, member: &Member) -> bool {
        (&self.id, &self.incarnation, &self.address) == (&member.node_id, &member.incarnation, &member.peer)
    }

    fn is_avoided(&self, now: Instant) -> bool {
        self.avoid_until.lock().is_some_and(|until| now < until)
    }
}

impl Target for Arc<Node> {
    fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn unreachable(&self) {
        *self.avoid_until.lock() = Some(Instant::now() + AVOID);
    }
}

/// The nodes as of a snapshot.
#[derive(Debug, Default)]
struct Known {
    snapshot: Option<Arc<Snapshot>>,
    ready: Vec<Arc<Node>>,
}

/// The nodes in force.
pub(super) struct Members {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    dial: Dial,
    known: Mutex<Known>,
    turn: AtomicUsize,
}

impl Members {
    pub(super) fn new(snapshots: watch::Receiver<Option<Arc<Snapshot>>>, dial: Dial) -> Self {
        Self { snapshots, dial, known: Mutex::default(), turn: AtomicUsize::new(0) }
    }

    /// The nodes in the order in which a topic's publishes are offered to them.
    pub(super) fn for_topic(&self, app_id: &str, topic: &str) -> Vec<Arc<Node>> {
        let topic = Seed::of_topic(app_id, topic);
        let mut nodes = self.ready();
        nodes.sort_by_cached_key(|node| std::cmp::Reverse(node.seed.score(topic)));
        avoided_last(nodes)
    }

    /// The nodes, each first in its turn.
    pub(super) fn any(&self) -> Vec<Arc<Node>> {
        let mut nodes = self.ready();
        if !nodes.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % nodes.len();
            nodes.rotate_left(turn);
        }
        avoided_last(nodes)
    }

    fn ready(&self) -> Vec<Arc<Node>> {
        let snapshot = self.snapshots.borrow().clone();
        let mut known = self.known.lock();
        let same = match (&known.snapshot, &snapshot) {
            (Some(known), Some(now)) => Arc::ptr_eq(known, now),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !same {
            // Without any member, the store has just lost all leases at once: the nodes are coming back, most likely
            // where they were. One that is not there is a call that goes on to the next.
            if snapshot.as_ref().is_some_and(|snapshot| !snapshot.members.is_empty()) {
                known.ready = self.follow(&known.ready, snapshot.as_deref());
            }
            known.snapshot = snapshot;
        }
        known.ready.clone()
    }

    /// The nodes of a snapshot; those that were known keep their channels.
    fn follow(&self, known: &[Arc<Node>], snapshot: Option<&Snapshot>) -> Vec<Arc<Node>> {
        let members = snapshot.into_iter().flat_map(|snapshot| snapshot.members.values());
        let ready = members.filter(|member| takes_calls(member));
        ready
            .filter_map(|member| match known.iter().find(|node| node.is(member)) {
                Some(node) => Some(Arc::clone(node)),
                None => self.node(member),
            })
            .collect()
    }

    fn node(&self, member: &Member) -> Option<Arc<Node>> {
        match (self.dial)(&member.peer) {
            Ok(channel) => Some(Arc::new(Node {
                id: member.node_id.clone(),
                incarnation: member.incarnation.clone(),
                address: member.peer.clone(),
                seed: Seed::of_node(&member.node_id),
                channel,
                avoid_until: Mutex::new(None),
            })),
            Err(error) => {
                tracing::error!(node = member.node_id, address = member.peer, error, "no way to a node");
                None
            }
        }
    }
}

/// Whether a gateway sends calls to this member.
pub(crate) fn takes_calls(member: &Member) -> bool {
    member.state() != NodeState::Draining && !member.peer.is_empty()
}

/// The order is kept otherwise.
fn avoided_last(mut nodes: Vec<Arc<Node>>) -> Vec<Arc<Node>> {
    let now = Instant::now();
    nodes.sort_by_key(|node| node.is_avoided(now));
    nodes
}
