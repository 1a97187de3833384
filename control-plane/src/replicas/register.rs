//! This replica's own key, and the lease that it lives by.

use std::sync::Arc;
use std::time::Duration;

use realtime_proto::ids::{hex, random};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Replica;
use crate::keys;
use crate::model::Model;
use crate::store::{Commit, LeaseId, Op, Store, StoreError};

/// Keep-alives per life of the lease: two may be lost.
const KEEP_ALIVES_PER_TTL: u32 = 3;

/// A replica's place among the others.
#[derive(Debug)]
pub(crate) struct Registration {
    store: Arc<dyn Store>,
    name: String,
    replica: Replica,
    ttl: Duration,
    lease: Option<LeaseId>,
}

impl Registration {
    pub(crate) fn new(store: Arc<dyn Store>, name: &str, address: &str, ttl: Duration) -> Self {
        let replica = Replica {
            address: address.to_owned(),
            incarnation: hex(&random::<8>()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Self { store, name: name.to_owned(), replica, ttl, lease: None }
    }

    /// Takes the place, from a predecessor of the name if need be. Answers the commit's revision.
    pub(crate) async fn enter(&mut self) -> Result<u64, StoreError> {
        let lease = self.store.grant_lease(self.ttl).await?;
        let value = serde_json::to_vec(&self.replica).map_err(|e| StoreError::Failed(e.to_string()))?;
        let put = Op::Put { key: keys::replica(&self.name), value: value.into(), lease: Some(lease) };
        match self.store.commit(Vec::new(), vec![put]).await? {
            Commit::Committed { revision } => {
                self.lease = Some(lease);
                Ok(revision)
            }
            Commit::Conflict => Err(StoreError::Invalid("a commit without conditions met a conflict")),
        }
    }

    /// Keeps the place until `stop`, then gives it up.
    pub(crate) async fn keep(mut self, model: Model, stop: CancellationToken) {
        let mut ticks = interval((self.ttl / KEEP_ALIVES_PER_TTL).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            match stop.run_until_cancelled(self.keep_alive()).await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "the replica's registration could not be kept alive");
                }
                None => break,
            }
            warned = self.check(&model, warned);
        }
        if let Some(lease) = self.lease {
            // The others would learn of it when the lease has run out.
            let _ = self.store.revoke_lease(lease).await;
        }
    }

    async fn keep_alive(&mut self) -> Result<(), StoreError> {
        let kept = match self.lease {
            Some(lease) => self.store.keep_alive(lease).await,
            None => Err(StoreError::LeaseNotFound),
        };
        match kept {
            Err(StoreError::LeaseNotFound) => {
                self.lease = None;
                self.enter().await.map(drop)
            }
            other => other,
        }
    }

    /// Two replicas of one name overwrite each other's checkpoints of usage.
    fn check(&self, model: &Model, warned: bool) -> bool {
        let holder = model.read().replicas.get(&self.name).cloned();
        let other = holder.is_some_and(|holder| holder.incarnation != self.replica.incarnation);
        if other && !warned {
            tracing::error!(
                replica = self.name,
                "another replica has this name: names must differ, or usage is lost"
            );
        }
        other
    }
}
