//! The one thread that writes: it owns the leases, gathers waiting commits into one durable transaction, and
//! answers only what is on disk. A failed transaction fails all its commits; the file is then opened anew, since redb
//! does nothing more after an I/O error, and the thread goes on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use realtime_proto::ids::random;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::slot::Slot;
use super::tables::{self, LogLimits};
use crate::store::{Commit, Condition, LeaseId, Op, StoreError};

/// Most calls that share one transaction: enough to amortize the sync, few enough to bound its latency.
const BATCH: usize = 64;
/// When a lease's keys could not be deleted.
const EXPIRY_RETRY: Duration = Duration::from_secs(1);

/// Between attempts to open the file again. Short: nothing can be read or written meanwhile.
const REOPEN_RETRY: Duration = Duration::from_secs(1);

/// Where a call's answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A call to the writer.
#[derive(Debug)]
pub(super) enum Request {
    Write(Write),
    Grant { ttl: Duration, reply: Reply<LeaseId> },
    KeepAlive { lease: LeaseId, reply: Reply<()> },
}

/// A call that needs the transaction.
#[derive(Debug)]
pub(super) enum Write {
    Commit { conditions: Vec<Condition>, ops: Vec<Op>, reply: Reply<Commit> },
    Revoke { lease: LeaseId, reply: Reply<()> },
    Forget { before: u64, reply: Reply<()> },
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    ttl: Duration,
    deadline: Instant,
}

/// The state of the writer thread.
pub(super) struct Writer {
    slot: Arc<Slot>,
    limits: LogLimits,
    leases: HashMap<LeaseId, Lease>,
    /// Tells watches that there is something new on disk.
    revision: watch::Sender<u64>,
    /// When to try to open the file again; `None`: it is open.
    reopen_at: Option<Instant>,
}

impl Writer {
    /// `found` are leases of keys in the file: their holders get `grace` to show up.
    pub(super) fn new(
        slot: Arc<Slot>,
        limits: LogLimits,
        found: Vec<LeaseId>,
        grace: Duration,
        revision: watch::Sender<u64>,
    ) -> Self {
        let lease = Lease { ttl: grace, deadline: Instant::now() + grace };
        let leases = found.into_iter().map(|id| (id, lease)).collect();
        Self { slot, limits, leases, revision, reopen_at: None }
    }

    /// Works until every sender of `requests` is gone and the queue is empty.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let expiry = self.leases.values().map(|l| l.deadline).min();
            // Calls first: a keep-alive that has arrived in time counts, however late it is read.
            tokio::select! {
                biased;
                received = requests.recv_many(&mut batch, BATCH) => match received {
                    0 => return,
                    _ => self.run_batch(batch.drain(..)),
                },
                () = sleep_until(expiry.unwrap_or_else(Instant::now)), if expiry.is_some() => self.expire(),
                () = sleep_until(self.reopen_at.unwrap_or_else(Instant::now)), if self.reopen_at.is_some() => {
                    self.reopen();
                }
            }
        }
    }

    fn run_batch(&mut self, requests: impl Iterator<Item = Request>) {
        let mut writes = Vec::new();
        for request in requests {
            match request {
                Request::Grant { ttl, reply } => answer(reply, Ok(self.grant(ttl))),
                Request::KeepAlive { lease, reply } => answer(reply, self.keep_alive(lease)),
                Request::Write(write) => writes.push(write),
            }
        }
        if !writes.is_empty() {
            self.write(writes);
        }
    }

    fn grant(&mut self, ttl: Duration) -> LeaseId {
        // Positive as an i64, as etcd's are.
        let id = LeaseId((u64::from_le_bytes(random()) >> 1).max(1));
        self.leases.insert(id, Lease { ttl, deadline: Instant::now() + ttl });
        id
    }

    fn keep_alive(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        let lease = self.leases.get_mut(&lease).ok_or(StoreError::LeaseNotFound)?;
        lease.deadline = Instant::now() + lease.ttl;
        Ok(())
    }

    /// One transaction for all of them, then their answers.
    fn write(&mut self, writes: Vec<Write>) {
        let outcomes = self
            .transact(|batch, leases| {
                writes.iter().map(|write| apply(batch, leases, write)).collect::<Result<Vec<_>, _>>()
            })
            .unwrap_or_else(|error| vec![Err(error); writes.len()]);
        for (write, outcome) in writes.into_iter().zip(outcomes) {
            match write {
                Write::Commit { reply, .. } => answer(reply, outcome),
                Write::Revoke { lease, reply } => {
                    if outcome.is_ok() {
                        self.leases.remove(&lease);
                    }
                    answer(reply, outcome.map(|_| ()));
                }
                Write::Forget { reply, .. } => answer(reply, outcome.map(|_| ())),
            }
        }
    }

    /// Ends the leases that are due; if that fails, tries again soon.
    fn expire(&mut self) {
        let now = Instant::now();
        let due: Vec<LeaseId> =
            self.leases.iter().filter(|(_, l)| l.deadline <= now).map(|(id, _)| *id).collect();
        let ended =
            self.transact(|batch, _| due.iter().try_for_each(|lease| batch.end_lease(*lease).map(|_| ())));
        if ended.is_ok() {
            self.leases.retain(|id, _| !due.contains(id));
        } else {
            for lease in self.leases.values_mut().filter(|l| l.deadline <= now) {
                lease.deadline = now + EXPIRY_RETRY;
            }
        }
    }

    /// Runs one transaction and announces what it has made.
    fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut tables::Batch<'_>, &HashMap<LeaseId, Lease>) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let database = self.slot.get()?;
        let result = tables::transact(&database, self.limits, |batch| work(batch, &self.leases));
        drop(database);
        match result {
            Ok((outcome, revision)) => {
                self.announce(revision);
                Ok(outcome)
            }
            Err(error) => {
                tracing::error!(%error, "a transaction of the store failed");
                self.reopen();
                Err(tables::failed(error))
            }
        }
    }

    /// Opens the file anew; if that fails, tries again soon.
    fn reopen(&mut self) {
        match self.slot.reopen() {
            Ok(()) => {
                tracing::info!("the store's file is open again");
                self.reopen_at = None;
            }
            Err(error) => {
                tracing::error!(%error, "the store's file cannot be opened again");
                self.reopen_at = Some(Instant::now() + REOPEN_RETRY);
                return;
            }
        }
        // The transaction may be on disk although it failed.
        if let Ok(Ok(revision)) = self.slot.get().map(|database| tables::revision(&database)) {
            self.announce(revision);
        }
    }

    fn announce(&self, revision: u64) {
        self.revision.send_if_modified(|held| std::mem::replace(held, revision) != revision);
    }
}

/// Applies one call. The outer error is the transaction's, the inner one the call's own.
fn apply(
    batch: &mut tables::Batch<'_>,
    leases: &HashMap<LeaseId, Lease>,
    write: &Write,
) -> Result<Result<Commit, StoreError>, redb::Error> {
    match write {
        Write::Commit { conditions, ops, .. } => {
            let live = |op: &Op| match op {
                Op::Put { lease: Some(lease), .. } => leases.contains_key(lease),
                Op::Put { lease: None, .. } | Op::Delete(_) => true,
            };
            if !ops.iter().all(live) {
                return Ok(Err(StoreError::LeaseNotFound));
            }
            batch.commit(conditions, ops).map(Ok)
        }
        // The lease itself goes when the transaction has succeeded.
        Write::Revoke { lease, .. } if leases.contains_key(lease) => batch.end_lease(*lease).map(Ok),
        Write::Revoke { .. } => Ok(Err(StoreError::LeaseNotFound)),
        Write::Forget { before, .. } => batch.forget(*before).map(Ok),
    }
}

/// The caller may have gone; then nobody wants the answer.
fn answer<T>(reply: Reply<T>, result: Result<T, StoreError>) {
    let _ = reply.send(result);
}
