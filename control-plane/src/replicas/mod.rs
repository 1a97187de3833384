//! The control plane's replicas on one store. Each is registered under a lease, with the address at which the others
//! reach it, and follows every other: so all of them know what every node has said and counted.
//!
//! What replicas tell each other does not go through the store, which keeps every version of everything: it is about
//! the present, comes again by itself, and would be written every second. Of usage, the store has checkpoints.
//!
//! Never here: what nodes say (`registry`, `usage`), who may call (the transport's).

mod follow;
mod register;
mod service;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tonic::transport::{Channel, Endpoint};

use crate::store::Entry;

pub(crate) use follow::follow_all;
pub(crate) use register::Registration;
pub use service::ReplicaService;

/// Makes the channel to another replica from its address, which is `host:port`. It connects when it is used, and notices
/// a replica that has vanished without a word within a few seconds. The error says what is wrong with the address.
pub type Dial = Arc<dyn Fn(&str) -> Result<Channel, String> + Send + Sync>;

/// A connection within a cluster is made within milliseconds.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// A replica that has vanished without a word is noticed after twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// How replicas reach each other.
#[derive(Clone)]
pub struct Peering {
    /// Where the others reach this replica, `host:port`.
    pub address: String,
    /// The way to another.
    pub dial: Dial,
}

impl Peering {
    /// Without certificates: for tests, and networks that are trusted.
    #[must_use]
    pub fn plain(address: impl Into<String>) -> Self {
        let dial = |address: &str| {
            let endpoint = Endpoint::from_shared(format!("http://{address}"));
            let endpoint = endpoint.map_err(|e| format!("{address}: {e}"))?.connect_timeout(CONNECT_LIMIT);
            let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE);
            Ok(endpoint.connect_lazy())
        };
        Self { address: address.into(), dial: Arc::new(dial) }
    }
}

impl fmt::Debug for Peering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peering").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The value of a replica's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replica {
    pub(crate) address: String,
    /// Random, new for each start of the process.
    pub(crate) incarnation: String,
    pub(crate) version: String,
}

impl Replica {
    /// Reads a replica key's entry.
    pub(crate) fn read(entry: &Entry) -> Result<Self, String> {
        serde_json::from_slice(&entry.value).map_err(|e| e.to_string())
    }
}
