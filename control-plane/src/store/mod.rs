//! Where the control plane keeps what must survive: an ordered map from text keys to bytes with one revision
//! counter, in the shape of etcd, so that etcd and an embedded file serve alike.
//!
//! Guarantees that every backend gives, and that the contract suite in `contract.rs` checks:
//! - A commit is atomic, durable before it is answered, and gets a revision greater than all before it. All its
//!   changes carry that one revision.
//! - A commit that changes nothing (no operations, or deletions of absent keys only) makes no revision.
//! - Reads are linearizable: they see every commit that was answered before they began.
//! - A watch yields the changes of each revision at once, in revision order, without gaps; what is no longer
//!   kept is answered with [`StoreError::Compacted`], never skipped.
//! - A key put with a lease is deleted, through an ordinary commit, once the lease has expired or is revoked.
//!   Putting the key again replaces its lease. A restart of the store never shortens a lease.
//!
//! Never here: what the keys mean (those are documented in `keys.rs`).

#[cfg(test)]
mod contract;
mod embedded;
mod etcd;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

pub use embedded::{EmbeddedStore, OpenError};
pub use etcd::{EtcdError, EtcdOptions, EtcdPassword, EtcdStore, EtcdTls, EtcdUser};

/// Most conditions, and most operations, of one commit; etcd's default limit.
pub const MAX_COMMIT_PARTS: usize = 128;

/// The store as the control plane uses it.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Made at random when the store was first used; revisions are comparable only within it.
    fn id(&self) -> &str;

    /// The key's entry.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// All entries whose key begins with `prefix`, ordered by key, as of one revision.
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError>;

    /// The changes under `prefix` from revision `from` on, that one included. `from` may lie in the future.
    ///
    /// Items come in revision order; the events of one revision come in one item. An item without events only
    /// says that the store has reached its revision. The first error ends the stream.
    async fn watch(&self, prefix: &str, from: u64) -> Result<ChangeStream, StoreError>;

    /// If every condition holds, applies every operation. A key may occur in one operation only.
    async fn commit(&self, conditions: Vec<Condition>, ops: Vec<Op>) -> Result<Commit, StoreError>;

    /// Makes a lease that expires unless it is kept alive within `ttl`, over and over.
    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Starts the lease's time anew.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`] once it has expired or was revoked.
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends the lease and deletes its keys.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`] when it has expired or was revoked before.
    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Forgets the changes before a revision; watches from that one on still work.
    async fn compact(&self, before: u64) -> Result<(), StoreError>;

    /// Whether another store was found in its place: every call is refused then, until the process is started again.
    fn is_replaced(&self) -> bool {
        false
    }

    /// Ends watches, refuses further calls, and returns once everything the backend holds is released.
    async fn close(&self);
}

/// What [`Store::watch`] yields.
pub type ChangeStream = BoxStream<'static, Result<Changes, StoreError>>;

/// A lease's identity within its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub u64);

/// A key with its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value; may hold secrets, so `Debug` shows its length only.
    pub value: Bytes,
    /// The revision of the commit that put it.
    pub revision: u64,
    /// The lease it lives with.
    pub lease: Option<LeaseId>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("value_bytes", &self.value.len())
            .field("revision", &self.revision)
            .field("lease", &self.lease)
            .finish()
    }
}

/// Entries as of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The store's revision.
    pub revision: u64,
    /// Ordered by key.
    pub entries: Vec<Entry>,
}

/// What one revision changed under the watched prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The revision.
    pub revision: u64,
    /// Empty: the store has reached this revision, nothing under the prefix changed in it.
    pub events: Vec<Event>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The key has this entry now.
    Put(Entry),
    /// The key is gone.
    Delete {
        /// The key.
        key: String,
    },
}

impl Event {
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key } => key,
        }
    }
}

/// What must hold for a commit to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The key does not exist.
    Absent(String),
    /// The key exists and was last put in this revision.
    Revision(String, u64),
    /// No key begins with this prefix (etcd: a range compare of the create revision with 0).
    PrefixEmpty(String),
}

/// A change that a commit makes.
#[derive(Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes the key.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
        /// Deletes the key when this lease ends; `None`: it stays.
        lease: Option<LeaseId>,
    },
    /// Removes the key if it exists.
    Delete(String),
}

impl Op {
    /// A put without a lease.
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: None }
    }

    /// The key that it changes.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete(key) => key,
        }
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value, lease } => write!(f, "Put({key}, {} bytes, {lease:?})", value.len()),
            Self::Delete(key) => write!(f, "Delete({key})"),
        }
    }
}

/// The outcome of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// Done and durable. The commit's revision, or the store's where nothing changed.
    Committed {
        /// The revision.
        revision: u64,
    },
    /// A condition did not hold; nothing was changed.
    Conflict,
}

/// Why the store did not do it. No variant holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Changes of the wanted revisions are no longer kept: list again.
    #[error("changes up to revision {through} are no longer kept")]
    Compacted {
        /// The newest revision that is gone.
        through: u64,
    },
    /// The lease has expired or was revoked.
    #[error("the lease has ended")]
    LeaseNotFound,
    /// The call breaks the trait's rules.
    #[error("{0}")]
    Invalid(&'static str),
    /// The backend failed; whether a commit happened is unknown.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// Checks what [`Store::commit`] demands of its arguments, for every backend alike.
pub(crate) fn check_commit(conditions: &[Condition], ops: &[Op]) -> Result<(), StoreError> {
    if conditions.len() > MAX_COMMIT_PARTS || ops.len() > MAX_COMMIT_PARTS {
        return Err(StoreError::Invalid("a commit has at most 128 conditions and 128 operations"));
    }
    let mut keys: Vec<&str> = ops.iter().map(Op::key).collect();
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(StoreError::Invalid("a commit changes each key at most once"));
    }
    if keys.first() == Some(&"") {
        return Err(StoreError::Invalid("a key is not empty"));
    }
    Ok(())
}
