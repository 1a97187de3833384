//! This replica's view of the store: one task follows the store's changes and owns the writing side; admin
//! reads and discovery streams read, and wake up by the revision.
//!
//! Never here: writes to the store. A writer that wants to read its own write waits for [`Model::reached`].

mod state;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use parking_lot::{RwLock, RwLockReadGuard};
use realtime_auth::{App, JwksCache};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use state::{AppEntry, State};

use crate::store::{ChangeStream, Store, StoreError};

/// How long a writer waits to see its own write. The store's watch answers within milliseconds; longer means
/// an outage, in which the write stands all the same.
const READ_YOUR_WRITE: Duration = Duration::from_secs(2);
/// Between attempts to follow a store that fails. Short: readers are stale meanwhile; the store is one of few.
const RETRY: Duration = Duration::from_millis(500);

/// The reading side, cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: RwLock<State>,
    revision: watch::Sender<u64>,
}

/// The task that moves a model along.
pub(crate) struct Follower {
    model: Model,
    store: Arc<dyn Store>,
}

impl Model {
    /// Reads the whole store; its applications are compiled with `jwks`. The model moves once the follower runs.
    pub(crate) async fn open(store: Arc<dyn Store>, jwks: JwksCache) -> Result<(Self, Follower), StoreError> {
        let shared = Shared { state: RwLock::new(State::new(jwks)), revision: watch::Sender::new(0) };
        let model = Self { shared: Arc::new(shared) };
        model.replace(&*store).await?;
        Ok((model.clone(), Follower { model, store }))
    }

    /// The state now. Held for a moment only, never across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.shared.state.read()
    }

    /// The application, if there is one.
    pub(crate) fn app(&self, app_id: &str) -> Option<Arc<App>> {
        self.read().apps.get(app_id).map(|entry| Arc::clone(&entry.app))
    }

    /// Changes whenever the state does.
    pub(crate) fn revisions(&self) -> watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }

    /// Waits, within bounds, until the model shows a revision.
    pub(crate) async fn reached(&self, revision: u64) {
        let mut revisions = self.revisions();
        if timeout(READ_YOUR_WRITE, revisions.wait_for(|held| *held >= revision)).await.is_err() {
            tracing::warn!(revision, "the model lags behind a write");
        }
    }

    async fn replace(&self, store: &dyn Store) -> Result<(), StoreError> {
        let listing = store.list("").await?;
        let revision = listing.revision;
        self.shared.state.write().replace(listing);
        self.shared.revision.send_replace(revision);
        Ok(())
    }
}

impl Follower {
    /// Follows the store until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow_for_good() => {}
        }
    }

    async fn follow_for_good(&self) {
        loop {
            let error = match self.changes().await {
                Ok(changes) => self.follow(changes).await,
                Err(error) => error,
            };
            tracing::warn!(%error, "following the store's changes failed; going on with what is held");
            if let StoreError::Compacted { .. } = error {
                match self.model.replace(&*self.store).await {
                    Ok(()) => continue,
                    Err(error) => tracing::warn!(%error, "reading the store failed"),
                }
            }
            sleep(RETRY).await;
        }
    }

    async fn changes(&self) -> Result<ChangeStream, StoreError> {
        let from = self.model.read().revision + 1;
        self.store.watch("", from).await
    }

    async fn follow(&self, mut changes: ChangeStream) -> StoreError {
        let shared = &self.model.shared;
        loop {
            match changes.next().await {
                Some(Ok(changes)) => {
                    shared.state.write().apply(&changes);
                    shared.revision.send_replace(changes.revision);
                }
                Some(Err(error)) => return error,
                None => return StoreError::Failed("the watch ended".into()),
            }
        }
    }
}
