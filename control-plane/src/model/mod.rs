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
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use state::{AppEntry, State};

use crate::keys::Subject;
use crate::secrets::SecretKeys;
use crate::store::{ChangeStream, Event, Store, StoreError};
use crate::usage::Usage;

/// How long a writer waits to see its own write. The store's watch answers within milliseconds; longer means
/// an outage, in which the write stands all the same.
const READ_YOUR_WRITE: Duration = Duration::from_secs(2);
/// Between attempts to follow a store that fails. Short: readers are stale meanwhile; the store is one of few.
/// After a stream that has lived this long, the first attempt comes at once.
const RETRY: Duration = Duration::from_millis(500);
/// Between two warnings of one outage.
const WARN_AGAIN: Duration = Duration::from_secs(60);

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
    /// Hears of the other replicas' checkpoints.
    usage: Usage,
}

impl Model {
    /// Reads the whole store; its applications are decrypted with `secrets` and compiled with `jwks`. The model moves
    /// once the follower runs.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        secrets: SecretKeys,
        jwks: JwksCache,
        usage: Usage,
    ) -> Result<(Self, Follower), StoreError> {
        let state = RwLock::new(State::new(secrets, jwks));
        let shared = Shared { state, revision: watch::Sender::new(0) };
        let model = Self { shared: Arc::new(shared) };
        let follower = Follower { model: model.clone(), store, usage };
        follower.replace().await?;
        Ok((model, follower))
    }

    /// The state now. Held for a moment only, never across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.shared.state.read()
    }

    /// The application, if there is one.
    pub(crate) fn app(&self, app_id: &str) -> Option<Arc<App>> {
        self.read().apps.get(app_id).map(|entry| Arc::clone(&entry.app))
    }

    /// Whether the store has an application of this id of which this replica knows nothing that is usable.
    pub(crate) fn has_only_unusable(&self, app_id: &str) -> bool {
        let state = self.read();
        let subject = Subject::App(app_id.to_owned());
        !state.apps.contains_key(app_id) && state.unusable.contains_key(&subject)
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
        let mut outage = Outage::default();
        loop {
            let started = Instant::now();
            let error = match self.changes().await {
                Ok(changes) => self.follow(changes, &mut outage).await,
                Err(error) => error,
            };
            outage.warn(&error);
            if let StoreError::Compacted { .. } = error {
                match self.replace().await {
                    Ok(()) => continue,
                    Err(error) => outage.warn(&error),
                }
            }
            if started.elapsed() < RETRY {
                sleep(RETRY).await;
            }
        }
    }

    async fn changes(&self) -> Result<ChangeStream, StoreError> {
        let from = self.model.read().revision + 1;
        self.store.watch("", from).await
    }

    async fn follow(&self, mut changes: ChangeStream, outage: &mut Outage) -> StoreError {
        let shared = &self.model.shared;
        loop {
            match changes.next().await {
                Some(Ok(changes)) => {
                    outage.over();
                    shared.state.write().apply(&changes);
                    for event in &changes.events {
                        if let Event::Put(entry) = event {
                            self.usage.learn_checkpoint(entry);
                        }
                    }
                    shared.revision.send_replace(changes.revision);
                }
                Some(Err(error)) => return error,
                None => return StoreError::Failed("the watch ended".into()),
            }
        }
    }

    /// Reads the whole store anew.
    async fn replace(&self) -> Result<(), StoreError> {
        let listing = self.store.list("").await?;
        let (shared, revision) = (&self.model.shared, listing.revision);
        for entry in &listing.entries {
            self.usage.learn_checkpoint(entry);
        }
        shared.state.write().replace(listing);
        shared.revision.send_replace(revision);
        Ok(())
    }
}

/// Says once that the store fails, and again from time to time.
#[derive(Default)]
struct Outage {
    warned: Option<Instant>,
}

impl Outage {
    fn warn(&mut self, error: &StoreError) {
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_AGAIN) {
            tracing::warn!(%error, "following the store's changes failed; going on with what is held");
            self.warned = Some(Instant::now());
        }
    }

    fn over(&mut self) {
        if self.warned.take().is_some() {
            tracing::info!("following the store's changes again");
        }
    }
}
