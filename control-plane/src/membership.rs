//! Members: data-plane nodes that are registered under a lease. A node has one member key; each incarnation
//! has a connection-id prefix that no other live member has.
//!
//! Of two incarnations of one node id the newer one wins: the one that registers for the first time. One that
//! comes back and finds another in its place is the older.
//!
//! A re-registration, on whichever replica, takes a new lease; the old one runs out without keys. A lost stream
//! revokes nothing. So a member's lease tells which of its streams is the last one.
//!
//! What an operator wants of a node is part of its member key: it reaches the node over whichever replica has its
//! stream, at once or when it comes back, and ends with the incarnation.

#[cfg(test)]
mod simulation;

use std::sync::Arc;
use std::time::Duration;

use realtime_proto::NodePrefix;
use realtime_proto::generated::discovery as wire;
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use crate::keys;
use crate::store::{Commit, Condition, Entry, LeaseId, Op, Store, StoreError};

/// Attempts against concurrent registrations of the same id, or prefixes that are taken.
const ATTEMPTS: usize = 16;

/// Keep-alives per life of a lease: two may be lost.
const KEEP_ALIVES_PER_TTL: u32 = 3;

/// Whether a node takes sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum NodeState {
    Ready,
    Draining,
}

impl NodeState {
    /// What a node says about itself; a release that says nothing is ready.
    pub(crate) fn from_wire(state: wire::NodeState) -> Self {
        match state {
            wire::NodeState::Draining => Self::Draining,
            wire::NodeState::Ready | wire::NodeState::Unspecified => Self::Ready,
        }
    }

    fn to_wire(self) -> wire::NodeState {
        match self {
            Self::Ready => wire::NodeState::Ready,
            Self::Draining => wire::NodeState::Draining,
        }
    }

    /// The name in `Nodes.List`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// The value of a member key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    incarnation: String,
    prefix: String,
    listen: String,
    peer: String,
    state: NodeState,
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wanted: Option<Wanted>,
}

/// An operator's last word on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) state: NodeState,
    /// Counts the words, so that the same one may be said again.
    pub(crate) number: u64,
}

/// A member as of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// When it was last written.
    pub(crate) revision: u64,
    lease: Option<LeaseId>,
    document: Document,
}

impl Member {
    /// Reads a member key's entry.
    pub(crate) fn read(entry: &Entry) -> Result<Self, String> {
        let document = serde_json::from_slice(&entry.value).map_err(|e| e.to_string())?;
        Ok(Self { revision: entry.revision, lease: entry.lease, document })
    }

    pub(crate) fn incarnation(&self) -> &str {
        &self.document.incarnation
    }

    pub(crate) fn state(&self) -> NodeState {
        self.document.state
    }

    pub(crate) fn listen(&self) -> &str {
        &self.document.listen
    }

    pub(crate) fn peer(&self) -> &str {
        &self.document.peer
    }

    pub(crate) fn wanted(&self) -> Option<Wanted> {
        self.document.wanted
    }

    /// Whether a registration is the one that it lives by.
    pub(crate) fn is_by(&self, registration: Registration) -> bool {
        self.lease == Some(registration.lease)
    }

    /// The member as discovery tells it.
    pub(crate) fn to_wire(&self, node_id: &str) -> wire::Member {
        wire::Member {
            node_id: node_id.to_owned(),
            incarnation: self.document.incarnation.clone(),
            connection_id_prefix: self.document.prefix.clone(),
            listen: self.document.listen.clone(),
            peer: self.document.peer.clone(),
            state: self.document.state.to_wire().into(),
        }
    }
}

/// A node that wants to be a member.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) id: String,
    pub(crate) incarnation: String,
    pub(crate) listen: String,
    pub(crate) peer: String,
    pub(crate) version: String,
    pub(crate) state: NodeState,
    /// What this incarnation was given before.
    pub(crate) prefix: Option<NodePrefix>,
}

/// A registration that holds as long as its lease is kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) prefix: NodePrefix,
    pub(crate) lease: LeaseId,
    /// The commit's; a later registration has a greater one.
    pub(crate) revision: u64,
}

/// Why a node is no member.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MembershipError {
    /// A newer incarnation has the id.
    #[error("another process has registered under this node id")]
    Superseded,
    /// Its lease has run out.
    #[error("the membership has expired")]
    Expired,
    /// It has registered again.
    #[error("the node has opened another stream")]
    Replaced,
    /// There is no such member.
    #[error("no such node")]
    Unknown,
    /// Others were faster too often.
    #[error("too many concurrent registrations")]
    Contended,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Registers nodes in the store.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    store: Arc<dyn Store>,
    ttl: Duration,
}

impl Membership {
    pub(crate) fn new(store: Arc<dyn Store>, ttl: Duration) -> Self {
        Self { store, ttl }
    }

    /// Makes the candidate a member, under a new lease.
    pub(crate) async fn register(&self, candidate: &Candidate) -> Result<Registration, MembershipError> {
        let lease = self.store.grant_lease(self.ttl).await?;
        let result = self.register_with(candidate, lease).await;
        // Nothing hangs on it. After a failure of the store something may: the node is about to come back, and is
        // not to disappear for that time. The lease runs out by itself.
        if matches!(&result, Err(MembershipError::Superseded | MembershipError::Contended)) {
            let _ = self.store.revoke_lease(lease).await;
        }
        result
    }

    async fn register_with(
        &self,
        candidate: &Candidate,
        lease: LeaseId,
    ) -> Result<Registration, MembershipError> {
        let mut refused = None;
        for _ in 0..ATTEMPTS {
            let held = self.member(&candidate.id).await?;
            let same = held.as_ref().filter(|m| m.document.incarnation == candidate.incarnation);
            if held.is_some() && same.is_none() && candidate.prefix.is_some() {
                return Err(MembershipError::Superseded);
            }
            let known = same.and_then(|m| NodePrefix::parse(&m.document.prefix)).or(candidate.prefix);
            let prefix = known.filter(|p| refused != Some(*p)).unwrap_or_else(NodePrefix::generate);
            let Some(condition) = self.prefix_condition(candidate, prefix).await? else {
                refused = Some(prefix);
                continue;
            };
            let (conditions, ops) = registration(candidate, held.as_ref(), prefix, condition, lease)?;
            if let Commit::Committed { revision } = self.store.commit(conditions, ops).await? {
                return Ok(Registration { prefix, lease, revision });
            }
        }
        Err(MembershipError::Contended)
    }

    /// What must hold for the candidate to have the prefix; `None`: another has it.
    async fn prefix_condition(
        &self,
        candidate: &Candidate,
        prefix: NodePrefix,
    ) -> Result<Option<Condition>, StoreError> {
        let key = keys::node_prefix(prefix);
        Ok(match self.store.get(&key).await? {
            None => Some(Condition::Absent(key)),
            Some(entry) if entry.value == owner(candidate) => Some(Condition::Revision(key, entry.revision)),
            Some(_) => None,
        })
    }

    async fn member(&self, id: &str) -> Result<Option<Member>, StoreError> {
        let Some(entry) = self.store.get(&keys::node(id)).await? else { return Ok(None) };
        Member::read(&entry).map(Some).map_err(StoreError::Failed)
    }

    /// Keeps the registration alive until it has expired.
    pub(crate) async fn keep(self, registration: Registration) -> MembershipError {
        let mut ticks = interval((self.ttl / KEEP_ALIVES_PER_TTL).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.store.keep_alive(registration.lease).await {
                Ok(()) => {}
                Err(StoreError::LeaseNotFound) => return MembershipError::Expired,
                // The next one may get through; if none does, the membership expires.
                Err(error) => tracing::debug!(%error, "a lease could not be kept alive"),
            }
        }
    }

    /// Ends a registration. A later one of the same node stays: it has a lease of its own.
    pub(crate) async fn leave(&self, registration: Registration) {
        match self.store.revoke_lease(registration.lease).await {
            Ok(()) | Err(StoreError::LeaseNotFound) => {}
            // Nobody keeps it alive any more.
            Err(error) => tracing::warn!(%error, "a member that leaves stays until its lease has run out"),
        }
    }

    /// Writes a member's state, as long as it lives by this registration.
    pub(crate) async fn set_state(
        &self,
        candidate: &Candidate,
        registration: Registration,
        state: NodeState,
    ) -> Result<(), MembershipError> {
        self.change(&candidate.id, |member| {
            if member.document.incarnation != candidate.incarnation {
                return Err(MembershipError::Superseded);
            }
            if !member.is_by(registration) {
                return Err(MembershipError::Replaced);
            }
            Ok(Document { state, ..member.document.clone() })
        })
        .await
        .map_err(|error| match error {
            MembershipError::Unknown => MembershipError::Expired,
            error => error,
        })
    }

    /// Notes what an operator wants of a member, whatever was wanted before.
    pub(crate) async fn want(&self, id: &str, state: NodeState) -> Result<(), MembershipError> {
        self.change(id, |member| {
            let number = member.document.wanted.map_or(0, |wanted| wanted.number) + 1;
            Ok(Document { wanted: Some(Wanted { state, number }), ..member.document.clone() })
        })
        .await
    }

    /// Changes a member's document; its lease stays.
    async fn change(
        &self,
        id: &str,
        decide: impl Fn(&Member) -> Result<Document, MembershipError>,
    ) -> Result<(), MembershipError> {
        for _ in 0..ATTEMPTS {
            let member = self.member(id).await?.ok_or(MembershipError::Unknown)?;
            let document = decide(&member)?;
            if document == member.document {
                return Ok(());
            }
            let key = keys::node(id);
            let condition = Condition::Revision(key.clone(), member.revision);
            let put = Op::Put { key, value: document_bytes(&document)?, lease: member.lease };
            match self.store.commit(vec![condition], vec![put]).await {
                Ok(Commit::Committed { .. }) => return Ok(()),
                Ok(Commit::Conflict) => {}
                Err(StoreError::LeaseNotFound) => return Err(MembershipError::Unknown),
                Err(error) => return Err(error.into()),
            }
        }
        Err(MembershipError::Contended)
    }
}

/// The commit that puts the candidate in the place of whoever is there.
fn registration(
    candidate: &Candidate,
    held: Option<&Member>,
    prefix: NodePrefix,
    prefix_condition: Condition,
    lease: LeaseId,
) -> Result<(Vec<Condition>, Vec<Op>), StoreError> {
    let same = held.filter(|member| member.document.incarnation == candidate.incarnation);
    let document = Document {
        incarnation: candidate.incarnation.clone(),
        prefix: prefix.to_string(),
        listen: candidate.listen.clone(),
        peer: candidate.peer.clone(),
        state: candidate.state,
        version: candidate.version.clone(),
        wanted: same.and_then(Member::wanted),
    };
    let (key, value) = (keys::node(&candidate.id), document_bytes(&document)?);
    let (prefix_key, owner) = (keys::node_prefix(prefix), owner(candidate).into());
    let condition = match held {
        Some(member) => Condition::Revision(key.clone(), member.revision),
        None => Condition::Absent(key.clone()),
    };
    let mut ops = vec![
        Op::Put { key, value, lease: Some(lease) },
        Op::Put { key: prefix_key, value: owner, lease: Some(lease) },
    ];
    let old = held.and_then(|member| NodePrefix::parse(&member.document.prefix));
    ops.extend(old.filter(|old| *old != prefix).map(|old| Op::Delete(keys::node_prefix(old))));
    Ok((vec![condition, prefix_condition], ops))
}

fn owner(candidate: &Candidate) -> String {
    format!("{}/{}", candidate.id, candidate.incarnation)
}

fn document_bytes(document: &Document) -> Result<bytes::Bytes, StoreError> {
    let bytes = serde_json::to_vec(document).map_err(|e| StoreError::Failed(e.to_string()))?;
    Ok(bytes.into())
}
