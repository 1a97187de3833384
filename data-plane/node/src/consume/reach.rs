//! How a node reaches the others for its consumers: who they are, and a connection to each, which all consumers share.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use realtime_discovery::Snapshot;
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::peers::Connect;

/// See the module.
pub(crate) struct Reach {
    own: Arc<str>,
    connect: Connect,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// By address.
    channels: Mutex<HashMap<String, Channel>>,
}

impl Reach {
    pub(crate) fn new(
        own: Arc<str>,
        connect: Connect,
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    ) -> Self {
        Self { own, connect, snapshots, channels: Mutex::default() }
    }

    /// What tells of members.
    pub(super) fn snapshots(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.snapshots.clone()
    }

    /// The other nodes, with their addresses for peers.
    pub(super) fn others(
        &self,
        snapshots: &mut watch::Receiver<Option<Arc<Snapshot>>>,
    ) -> HashMap<Arc<str>, String> {
        let snapshot = snapshots.borrow_and_update().clone();
        let members = snapshot.iter().flat_map(|snapshot| snapshot.members.values());
        let others = members.filter(|member| *member.node_id != *self.own && !member.peer.is_empty());
        others.map(|member| (member.node_id.as_str().into(), member.peer.clone())).collect()
    }

    /// A connection to a node; one that has broken connects again by itself.
    pub(super) async fn channel(&self, address: &str) -> Result<Channel, String> {
        if let Some(channel) = self.channels.lock().get(address) {
            return Ok(channel.clone());
        }
        let channel = (self.connect)(address).await?;
        // Of two that were opened at once the first one stays.
        Ok(self.channels.lock().entry(address.to_owned()).or_insert(channel).clone())
    }

    /// Nobody answers there any more: the node may have another address when it is back.
    pub(super) fn forget(&self, address: &str) {
        self.channels.lock().remove(address);
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").field("own", &self.own).finish_non_exhaustive()
    }
}
