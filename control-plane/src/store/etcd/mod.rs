//! The store in etcd, for clusters: any number of control-plane replicas over one etcd of any number of members.
//!
//! Keys are below a prefix; the prefix itself is the key of the store's id, which the first replica ever writes.
//! Calls are linearizable and go to another member where one fails (`endpoints`); a commit that was not answered
//! is looked into (`txn`); a watch ends when its member fails, and whoever follows resumes it, at another member,
//! after the last revision that it has seen.
//!
//! Etcd keeps every version of every key until it is told to forget: see [`Store::compact`] and `compaction.rs`.

mod endpoints;
mod error;
mod options;
mod read;
#[cfg(test)]
mod tests;
mod txn;
mod watch;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnOpResponse};
use futures_util::StreamExt as _;
use futures_util::stream;
use realtime_proto::ids::{hex, random};
use tokio_util::sync::CancellationToken;

use super::{ChangeStream, Commit, Condition, Entry, LeaseId, Listing, Op, Store, StoreError};
use endpoints::{CallError, Endpoints};
pub use error::EtcdError;
use error::Verdict;
pub use options::{EtcdOptions, EtcdPassword, EtcdTls, EtcdUser};
use txn::{full, to_etcd};
use watch::{Opened, Watcher};

/// The backend on etcd.
pub struct EtcdStore {
    id: String,
    base: String,
    root: String,
    endpoints: Arc<Endpoints>,
    closed: CancellationToken,
    /// Another store has been found under the prefix.
    foreign: AtomicBool,
}

impl EtcdStore {
    /// Opens the store; makes it, with a random id, if it is new. One try, bounded by the options' call limit.
    ///
    /// # Errors
    /// [`EtcdError`] names the option that is wrong; [`EtcdError::may_pass`] tells whether to try again.
    pub async fn connect(options: EtcdOptions) -> Result<Self, EtcdError> {
        options.check()?;
        let (base, root) = (options.base().to_owned(), options.root());
        let endpoints = Arc::new(Endpoints::new(options));
        let id = claim(&endpoints, &base).await.map_err(|error| match error {
            CallError::Option(error) => error,
            CallError::Verdict(Verdict::Refused(reason)) => EtcdError::Refused(reason),
            CallError::Verdict(Verdict::Elsewhere(reason)) => EtcdError::Unreachable(reason),
            CallError::Verdict(Verdict::Answer(error)) => EtcdError::Unreachable(error.to_string()),
        })?;
        let id = String::from_utf8(id).ok().filter(|id| !id.is_empty()).ok_or_else(|| {
            EtcdError::option("etcd-prefix", format!("the key {base} is not ours: it holds no store's id"))
        })?;
        let closed = CancellationToken::new();
        Ok(Self { id, base, root, endpoints, closed, foreign: AtomicBool::new(false) })
    }

    /// Asks etcd, until the store is closed.
    async fn ask<T, F>(
        &self,
        work: impl Fn(endpoints::Connection, u32) -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, etcd_client::Error>> + Send,
    {
        self.bounded(self.endpoints.call(work)).await
    }

    async fn bounded<T>(&self, call: impl Future<Output = Result<T, CallError>>) -> Result<T, StoreError> {
        if self.is_replaced() {
            return Err(self.foreign_store());
        }
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(StoreError::Closed),
            answer = call => answer.map_err(|error| match error {
                CallError::Verdict(Verdict::Answer(error)) => error,
                CallError::Verdict(Verdict::Refused(reason) | Verdict::Elsewhere(reason)) => StoreError::Failed(reason),
                CallError::Option(error) => StoreError::Failed(error.to_string()),
            }),
        }
    }

    fn foreign_store(&self) -> StoreError {
        StoreError::Failed(format!("another store is under {} now; restart the control plane", self.base))
    }
}

/// The store's id: what is there, or a new one.
async fn claim(endpoints: &Endpoints, base: &str) -> Result<Vec<u8>, CallError> {
    let fresh = hex(&random::<16>());
    let answer = endpoints
        .call(|mut connection, _| {
            let txn = Txn::new()
                .when([Compare::create_revision(base, CompareOp::Equal, 0)])
                .and_then([TxnOp::put(base, fresh.as_str(), None)])
                .or_else([TxnOp::get(base, None)]);
            async move { connection.kv.txn(txn).await }
        })
        .await?;
    // An earlier attempt without an answer may have put it: then this one has found it.
    Ok(match answer.op_responses().first() {
        Some(TxnOpResponse::Get(found)) => found.kvs().first().map(|kv| kv.value().to_vec()),
        Some(_) | None => Some(fresh.into_bytes()),
    }
    .unwrap_or_default())
}

#[async_trait]
impl Store for EtcdStore {
    fn id(&self) -> &str {
        &self.id
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = full(&self.root, key);
        let answer = self
            .ask(|mut connection, _| {
                let key = key.clone();
                async move { connection.kv.get(key, None).await }
            })
            .await?;
        Ok(read::entries(&self.root, &answer).next())
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.bounded(read::list(&self.endpoints, &self.root, prefix)).await
    }

    async fn watch(&self, prefix: &str, from: u64) -> Result<ChangeStream, StoreError> {
        let opened = self
            .ask(|connection, _| watch::open(connection, self.base.clone(), self.id.clone(), from))
            .await?;
        let Opened::Watching(stream, member) = opened else {
            self.foreign.store(true, Ordering::Relaxed);
            return Err(self.foreign_store());
        };
        let (endpoints, root) = (Arc::clone(&self.endpoints), self.root.clone());
        let watcher = Watcher::new(*stream, endpoints, member, root, prefix, self.closed.clone());
        Ok(stream::unfold(watcher, Watcher::step).boxed())
    }

    async fn commit(&self, conditions: Vec<Condition>, ops: Vec<Op>) -> Result<Commit, StoreError> {
        super::check_commit(&conditions, &ops)?;
        let (answer, again) = self
            .ask(|mut connection, attempts| {
                let again = attempts > 0;
                let txn = txn::txn(&self.root, &conditions, &ops, again);
                async move { Ok((connection.kv.txn(txn).await?, again)) }
            })
            .await?;
        txn::outcome(&ops, &answer, again)
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        // Etcd's leases last whole seconds.
        let seconds = i64::try_from(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).unwrap_or(i64::MAX);
        let answer = self
            .ask(|mut connection, _| async move { connection.lease.grant(seconds.max(1), None).await })
            .await?;
        Ok(LeaseId(answer.id().unsigned_abs()))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|mut connection, _| async move { connection.lease.keep_alive(to_etcd(lease)).await })
            .await
            .map(drop)
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|mut connection, _| async move { connection.lease.revoke(to_etcd(lease)).await })
            .await
            .map(drop)
    }

    async fn compact(&self, before: u64) -> Result<(), StoreError> {
        let revision = i64::try_from(before).unwrap_or(i64::MAX);
        let compacted =
            self.ask(|mut connection, _| async move { connection.kv.compact(revision, None).await }).await;
        match compacted {
            // Somebody was faster.
            Ok(_) | Err(StoreError::Compacted { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn is_replaced(&self) -> bool {
        self.foreign.load(Ordering::Relaxed)
    }

    async fn close(&self) {
        self.closed.cancel();
        self.endpoints.close_all().await;
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore")
            .field("id", &self.id)
            .field("root", &self.root)
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}
