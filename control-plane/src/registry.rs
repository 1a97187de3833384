//! What the nodes last said, whichever replica they said it to, and who has the place of a node's stream here. Kept
//! in memory: nodes repeat what they say when they connect again, replicas when they follow each other again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use realtime_proto::generated::{admin, replica as wire};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::membership::{Candidate, MembershipError};

/// What a node last said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// The revision that it answered last.
    pub(crate) revision: u64,
    pub(crate) connections: u64,
    /// What it does not have in force, as it said with its last answer: application and reason.
    pub(crate) rejections: Vec<(String, String)>,
}

/// Shared by the discovery streams, the Nodes service and the replicas' exchange.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    nodes: Arc<Mutex<HashMap<String, Slot>>>,
    /// Grows with every status that changes.
    version: watch::Sender<u64>,
}

#[derive(Debug)]
struct Slot {
    incarnation: String,
    /// The store's revision of the registration: of two streams, on whichever replicas, the later one counts.
    registered: u64,
    status: Status,
    source: Source,
}

/// Where a status comes from.
#[derive(Debug)]
enum Source {
    /// A stream of this replica's, which may have ended.
    Here {
        /// Cancelled when a later stream takes the place, and when the stream ends.
        displaced: CancellationToken,
        /// The version of the last change.
        changed: u64,
    },
    /// Another replica.
    Elsewhere,
}

/// A stream's place. Dropping it leaves the status for readers.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Registry,
    node_id: String,
    registered: u64,
}

impl Default for Registry {
    fn default() -> Self {
        Self { nodes: Arc::default(), version: watch::Sender::new(0) }
    }
}

impl Registry {
    /// Takes the place of a node's stream; an earlier stream's token is cancelled. `None`: a later registration
    /// has the place.
    pub(crate) fn enter(
        &self,
        node_id: &str,
        incarnation: &str,
        registered: u64,
    ) -> Option<(Place, CancellationToken)> {
        let displaced = CancellationToken::new();
        let mut nodes = self.nodes.lock();
        let before = nodes.get(node_id);
        if before.is_some_and(|slot| slot.registered > registered) {
            tracing::debug!(node_id, "a later registration has the place");
            return None;
        }
        let known = before.filter(|slot| slot.incarnation == incarnation).map(|slot| slot.status.clone());
        let source = Source::Here { displaced: displaced.clone(), changed: self.next_version() };
        let incarnation = incarnation.to_owned();
        let slot = Slot { incarnation, registered, status: known.unwrap_or_default(), source };
        if let Some(before) = nodes.insert(node_id.to_owned(), slot) {
            before.displace();
        }
        let place = Place { registry: self.clone(), node_id: node_id.to_owned(), registered };
        Some((place, displaced))
    }

    /// Why a later registration means the end for a stream: another incarnation's is another node.
    pub(crate) fn displaced(&self, candidate: &Candidate) -> MembershipError {
        let nodes = self.nodes.lock();
        match nodes.get(&candidate.id) {
            Some(slot) if slot.incarnation != candidate.incarnation => MembershipError::Superseded,
            Some(_) | None => MembershipError::Replaced,
        }
    }

    /// Takes what a node has said to another replica.
    pub(crate) fn learn(&self, heard: wire::NodeStatus) {
        let status = Status {
            revision: heard.revision,
            connections: heard.connections,
            rejections: heard.rejections.into_iter().map(|r| (r.app_id, r.reason)).collect(),
        };
        let slot = Slot {
            incarnation: heard.incarnation,
            registered: heard.registered,
            status,
            source: Source::Elsewhere,
        };
        let mut nodes = self.nodes.lock();
        // Registrations on two replicas never have one revision: with the same one, it is that replica again.
        if nodes.get(&heard.node_id).is_none_or(|held| held.registered <= slot.registered)
            && let Some(before) = nodes.insert(heard.node_id, slot)
        {
            before.displace();
        }
    }

    /// What nodes have said here after a version, and the version now.
    pub(crate) fn heard_since(&self, version: u64) -> (Vec<wire::NodeStatus>, u64) {
        let nodes = self.nodes.lock();
        let heard = nodes
            .iter()
            .filter(|(_, slot)| matches!(slot.source, Source::Here { changed, .. } if changed > version));
        (heard.map(|(id, slot)| slot.to_wire(id)).collect(), *self.version.borrow())
    }

    /// Changes whenever a status does.
    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// What the nodes have said, by id and incarnation.
    pub(crate) fn statuses(&self) -> BTreeMap<(String, String), Status> {
        let nodes = self.nodes.lock();
        nodes.iter().map(|(id, slot)| ((id.clone(), slot.incarnation.clone()), slot.status.clone())).collect()
    }

    /// Forgets nodes that are no members; whose stream is open is about to be one.
    pub(crate) fn forget_unless(&self, is_member: impl Fn(&str) -> bool) {
        self.nodes.lock().retain(|id, slot| slot.has_stream() || is_member(id));
    }

    /// Only with `nodes` locked: versions and statuses change together.
    fn next_version(&self) -> u64 {
        self.version.send_modify(|version| *version += 1);
        *self.version.borrow()
    }
}

impl Slot {
    fn displace(&self) {
        if let Source::Here { displaced, .. } = &self.source {
            displaced.cancel();
        }
    }

    /// A stream that ends, or loses its place, cancels its token.
    fn has_stream(&self) -> bool {
        matches!(&self.source, Source::Here { displaced, .. } if !displaced.is_cancelled())
    }

    fn to_wire(&self, node_id: &str) -> wire::NodeStatus {
        let rejection = |(app_id, reason): &(String, String)| wire::Rejection {
            app_id: app_id.clone(),
            reason: reason.clone(),
        };
        wire::NodeStatus {
            node_id: node_id.to_owned(),
            incarnation: self.incarnation.clone(),
            registered: self.registered,
            revision: self.status.revision,
            connections: self.status.connections,
            rejections: self.status.rejections.iter().map(rejection).collect(),
        }
    }
}

impl Status {
    /// As the Nodes service tells it.
    pub(crate) fn rejections(self) -> Vec<admin::Rejection> {
        self.rejections.into_iter().map(|(app_id, reason)| admin::Rejection { app_id, reason }).collect()
    }
}

impl Place {
    /// Notes what the node says; nothing once another stream has the place.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        let mut nodes = self.registry.nodes.lock();
        if let Some(slot) = nodes.get_mut(&self.node_id)
            && slot.registered == self.registered
            && let Source::Here { changed, .. } = &mut slot.source
        {
            let before = slot.status.clone();
            change(&mut slot.status);
            if slot.status != before {
                *changed = self.registry.next_version();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(slot) = self.registry.nodes.lock().get(&self.node_id)
            && slot.registered == self.registered
        {
            slot.displace();
        }
    }
}
