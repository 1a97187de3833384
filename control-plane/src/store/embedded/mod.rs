//! The store in one file on this machine (redb), for all-in-one mode and single-replica clusters.
//!
//! Owns the file, the writer thread and the leases. The change log lives in the same transactions as the data,
//! so that a watch from a held revision goes on after a restart. Lease times live in memory: after a restart
//! every lease found in the file gets [`RESTART_GRACE`].

mod file;
mod slot;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream;
use parking_lot::Mutex;
use realtime_proto::ids::{hex, random};
use redb::Database;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

use super::{ChangeStream, Changes, Commit, Condition, Entry, LeaseId, Listing, Op, Store, StoreError};
pub use file::OpenError;
use slot::{Opener, Slot};
use tables::LogLimits;
use writer::{Request, Write, Writer};

/// Name of the file in the data directory.
const FILE: &str = "control-plane.redb";
/// Value of the fact `format`; a file with another one is not ours, or of another release.
const FORMAT: &str = "realtime-control-plane/1";
/// Calls that wait for the writer; further callers wait for a place.
const QUEUE: usize = 256;
/// Holders of leases get this long to come back after a restart: nodes reconnect with a backoff of seconds,
/// and an outage of the control plane alone must not remove them.
const RESTART_GRACE: Duration = Duration::from_secs(30);
/// Enough for a node that was away for a while to get a delta; 16 MiB is 64 of the largest documents.
const LOG_LIMITS: LogLimits = LogLimits { events: 4096, bytes: 16 * 1024 * 1024 };
/// Log rows that a watch reads at a time.
const WATCH_BATCH: usize = 256;

/// The embedded backend.
pub struct EmbeddedStore {
    id: String,
    /// `None` once closed.
    open: Mutex<Option<Open>>,
}

/// What an open store holds.
struct Open {
    slot: Arc<Slot>,
    requests: mpsc::Sender<Request>,
    revision: watch::Receiver<u64>,
    writer: JoinHandle<()>,
}

/// Sizes that tests shrink.
#[derive(Debug, Clone, Copy)]
struct Tuning {
    log: LogLimits,
    restart_grace: Duration,
}

impl EmbeddedStore {
    /// Opens or creates the store in `directory` and starts the writer thread. Waits a bounded time for a
    /// predecessor to let go of the file.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the file, and never leaves a foreign file changed.
    pub async fn open(directory: &Path) -> Result<Self, OpenError> {
        Self::open_tuned(directory, Tuning { log: LOG_LIMITS, restart_grace: RESTART_GRACE }).await
    }

    async fn open_tuned(directory: &Path, tuning: Tuning) -> Result<Self, OpenError> {
        let directory = directory.to_owned();
        spawn_blocking(move || Self::open_blocking(&directory, tuning)).await.unwrap_or_else(|panic| {
            std::panic::resume_unwind(panic.into_panic());
        })
    }

    fn open_blocking(directory: &Path, tuning: Tuning) -> Result<Self, OpenError> {
        let path = file::prepare(directory, FILE, create)?;
        Self::start(path, Box::new(file::open), tuning)
    }

    /// Opens the file, which must exist; `open` is called again after every I/O error.
    fn start(path: PathBuf, open: Opener, tuning: Tuning) -> Result<Self, OpenError> {
        let slot = Arc::new(Slot::open(path, open)?);
        let bad = |why: String| OpenError::not_a_store(slot.path(), why);
        let database = slot.get().map_err(|e| bad(e.to_string()))?;
        let (announce, revision) =
            watch::channel(tables::revision(&database).map_err(|e| bad(e.to_string()))?);
        let leases = tables::leases(&database).map_err(|e| bad(e.to_string()))?;
        drop(database);
        let id = slot.id().to_owned();
        let (requests, queue) = mpsc::channel(QUEUE);
        let writing = Arc::clone(&slot);
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                // Its own runtime: transactions block, and lease times must not wait for busy workers.
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                match runtime {
                    Ok(runtime) => runtime.block_on(async {
                        Writer::new(writing, tuning.log, leases, tuning.restart_grace, announce)
                            .run(queue)
                            .await;
                    }),
                    Err(error) => tracing::error!(%error, "the store's writer cannot start"),
                }
            })
            .map_err(|source| OpenError::Io { path: slot.path().to_owned(), source })?;
        let open = Open { slot, requests, revision, writer };
        Ok(Self { id, open: Mutex::new(Some(open)) })
    }

    fn requests(&self) -> Result<mpsc::Sender<Request>, StoreError> {
        self.open.lock().as_ref().map(|open| open.requests.clone()).ok_or(StoreError::Closed)
    }

    fn reader(&self) -> Result<(Arc<Slot>, watch::Receiver<u64>), StoreError> {
        let open = self.open.lock();
        let open = open.as_ref().ok_or(StoreError::Closed)?;
        Ok((Arc::clone(&open.slot), open.revision.clone()))
    }

    async fn ask<T>(&self, request: impl FnOnce(writer::Reply<T>) -> Request) -> Result<T, StoreError> {
        let requests = self.requests()?;
        let (reply, answer) = oneshot::channel();
        requests.send(request(reply)).await.map_err(|_| StoreError::Closed)?;
        drop(requests);
        answer.await.map_err(|_| StoreError::Failed("the writer has gone".into()))?
    }
}

/// Makes the tables and the store's id.
fn create(database: &Database) -> Result<(), redb::Error> {
    let id = hex(&random::<16>());
    let txn = database.begin_write()?;
    tables::create(&txn)?;
    {
        let mut facts = txn.open_table(tables::FACTS)?;
        facts.insert("format", FORMAT)?;
        facts.insert("store_id", id.as_str())?;
    }
    txn.commit()?;
    Ok(())
}

/// Runs a read on a thread that may block.
async fn read<T: Send + 'static>(
    slot: Arc<Slot>,
    work: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    spawn_blocking(move || work(&*slot.get()?))
        .await
        .unwrap_or_else(|_| Err(StoreError::Failed("a read did not finish".into())))
}

#[async_trait]
impl Store for EmbeddedStore {
    fn id(&self) -> &str {
        &self.id
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = key.to_owned();
        read(self.reader()?.0, move |db| tables::get(db, &key).map_err(tables::failed)).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let prefix = prefix.to_owned();
        read(self.reader()?.0, move |db| tables::list(db, &prefix).map_err(tables::failed)).await
    }

    async fn watch(&self, prefix: &str, from: u64) -> Result<ChangeStream, StoreError> {
        let (slot, revision) = self.reader()?;
        let watcher = Watcher {
            // Weak: an idle watch must not keep the file open after `close`.
            slot: Arc::downgrade(&slot),
            revision,
            prefix: prefix.into(),
            next: from,
            ready: VecDeque::new(),
            ended: false,
        };
        Ok(stream::unfold(watcher, Watcher::step).boxed())
    }

    async fn commit(&self, conditions: Vec<Condition>, ops: Vec<Op>) -> Result<Commit, StoreError> {
        super::check_commit(&conditions, &ops)?;
        self.ask(|reply| Request::Write(Write::Commit { conditions, ops, reply })).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.ask(|reply| Request::Grant { ttl, reply }).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Request::KeepAlive { lease, reply }).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Request::Write(Write::Revoke { lease, reply })).await
    }

    async fn compact(&self, before: u64) -> Result<(), StoreError> {
        self.ask(|reply| Request::Write(Write::Forget { before, reply })).await
    }

    async fn close(&self) {
        let Some(Open { slot, requests, revision, writer }) = self.open.lock().take() else { return };
        drop((slot, requests, revision));
        if spawn_blocking(move || writer.join()).await.is_ok_and(|joined| joined.is_err()) {
            tracing::error!("the store's writer has panicked");
        }
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A watch: reads the log whenever the writer has announced a revision. Because the log is the source, a slow
/// reader costs no memory and loses nothing; if it is slower than the log is long, it is told so.
struct Watcher {
    slot: Weak<Slot>,
    revision: watch::Receiver<u64>,
    prefix: Arc<str>,
    next: u64,
    ready: VecDeque<Changes>,
    ended: bool,
}

impl Watcher {
    async fn step(mut self) -> Option<(Result<Changes, StoreError>, Self)> {
        if self.ended {
            return None;
        }
        let result = self.advance().await;
        self.ended = result.is_err();
        Some((result, self))
    }

    async fn advance(&mut self) -> Result<Changes, StoreError> {
        loop {
            if let Some(changes) = self.ready.pop_front() {
                return Ok(changes);
            }
            let slot = self.slot.upgrade().ok_or(StoreError::Closed)?;
            let (prefix, from) = (Arc::clone(&self.prefix), self.next);
            match read(slot, move |db| tables::changes(db, &prefix, from, WATCH_BATCH)).await? {
                Some(items) => {
                    self.next = items.last().map_or(from, |last| last.revision + 1);
                    self.ready = items.into();
                }
                None => {
                    self.revision.wait_for(|r| *r >= from).await.map_err(|_| StoreError::Closed)?;
                }
            }
        }
    }
}
