//! The nodes whose discovery streams this replica serves: the way to send them commands, and what they last
//! said. Kept in memory: what a node says is repeated when it connects again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use realtime_proto::generated::admin::Rejection;
use tokio::sync::mpsc;

/// Commands that wait for a stream: drains and undrains of one node by hand.
const COMMANDS: usize = 8;

/// What an operator asks of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Drain,
    Undrain,
}

/// What a node last said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    /// The revision that it answered last.
    pub(crate) revision: u64,
    pub(crate) connections: u64,
    /// What it does not have in force, as it said with its last answer.
    pub(crate) rejections: Vec<Rejection>,
}

/// Shared by the discovery streams and the Nodes service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    nodes: Arc<Mutex<HashMap<String, Slot>>>,
}

#[derive(Debug)]
struct Slot {
    incarnation: String,
    /// The store's revision of the registration: of two streams the later one counts.
    registered: u64,
    /// `None` while no stream is open.
    commands: Option<mpsc::Sender<Command>>,
    status: Status,
}

/// A stream's place. Dropping it leaves the status for readers, and no way to send commands.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Registry,
    node_id: String,
    registered: u64,
}

/// Why a command did not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotSent {
    /// This replica has no stream of the node's.
    NoStream,
    /// The node does not take what waits for it.
    Full,
}

impl Registry {
    /// Takes the place of a node's stream; an earlier stream's receiver ends. `None`: a later registration has
    /// the place.
    pub(crate) fn enter(
        &self,
        node_id: &str,
        incarnation: &str,
        registered: u64,
    ) -> Option<(Place, mpsc::Receiver<Command>)> {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let mut nodes = self.nodes.lock();
        let before = nodes.remove(node_id);
        if let Some(later) = before.as_ref().filter(|slot| slot.registered > registered) {
            tracing::debug!(node_id, later.registered, "a later registration has the place");
            nodes.extend(before.map(|slot| (node_id.to_owned(), slot)));
            return None;
        }
        let status = before.filter(|slot| slot.incarnation == incarnation).map(|slot| slot.status);
        let slot = Slot {
            incarnation: incarnation.to_owned(),
            registered,
            commands: Some(commands),
            status: status.unwrap_or_default(),
        };
        nodes.insert(node_id.to_owned(), slot);
        let place = Place { registry: self.clone(), node_id: node_id.to_owned(), registered };
        Some((place, receiver))
    }

    /// Whether another incarnation has the node's place.
    pub(crate) fn is_other(&self, node_id: &str, incarnation: &str) -> bool {
        self.nodes.lock().get(node_id).is_some_and(|slot| slot.incarnation != incarnation)
    }

    /// Sends a command to a node's stream.
    pub(crate) fn send(&self, node_id: &str, command: Command) -> Result<(), NotSent> {
        let nodes = self.nodes.lock();
        let commands = nodes.get(node_id).and_then(|slot| slot.commands.as_ref()).ok_or(NotSent::NoStream)?;
        commands.try_send(command).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => NotSent::Full,
            mpsc::error::TrySendError::Closed(_) => NotSent::NoStream,
        })
    }

    /// What the nodes have said, by id and incarnation.
    pub(crate) fn statuses(&self) -> BTreeMap<(String, String), Status> {
        let nodes = self.nodes.lock();
        nodes.iter().map(|(id, slot)| ((id.clone(), slot.incarnation.clone()), slot.status.clone())).collect()
    }

    /// Forgets nodes that have no stream and are no members.
    pub(crate) fn forget_unless(&self, is_member: impl Fn(&str) -> bool) {
        self.nodes.lock().retain(|id, slot| slot.commands.is_some() || is_member(id));
    }
}

impl Place {
    /// Notes what the node says; nothing once another stream has the place.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        if let Some(slot) = self.registry.nodes.lock().get_mut(&self.node_id)
            && slot.registered == self.registered
        {
            change(&mut slot.status);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(slot) = self.registry.nodes.lock().get_mut(&self.node_id)
            && slot.registered == self.registered
        {
            slot.commands = None;
        }
    }
}
