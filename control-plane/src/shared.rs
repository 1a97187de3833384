//! What all services of one control plane hold together. Cheap to clone.

use std::sync::Arc;

use bytes::Bytes;
use realtime_auth::Gate;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::membership::Membership;
use crate::model::Model;
use crate::registry::Registry;
use crate::secrets::SecretKeys;
use crate::store::Store;
use crate::usage::Usage;

/// One control plane's insides.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) model: Model,
    pub(crate) membership: Membership,
    pub(crate) registry: Registry,
    pub(crate) usage: Usage,
    pub(crate) gate: Arc<Gate>,
    /// By which secrets are encrypted in the store.
    pub(crate) secrets: SecretKeys,
    /// The store's id as receivers hear it.
    pub(crate) view: Arc<str>,
    /// What nodes hash topics with.
    pub(crate) interest_key: Bytes,
    /// Ends streams and the follower.
    pub(crate) stop: CancellationToken,
    /// Owns their tasks.
    pub(crate) tasks: TaskTracker,
}
