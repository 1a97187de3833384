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

use serde::{Deserialize, Serialize};
use tonic::transport::Endpoint;

use crate::store::Entry;

pub(crate) use follow::follow_all;
pub(crate) use register::Registration;
pub use service::ReplicaService;

/// Makes the way to another replica from its address, which is `host:port`: adds the scheme and the cluster's
/// certificates. Asked for each connection anew.
pub type Dial = Arc<dyn Fn(&str) -> Result<Endpoint, String> + Send + Sync>;

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
            Endpoint::from_shared(format!("http://{address}")).map_err(|e| format!("{address}: {e}"))
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
