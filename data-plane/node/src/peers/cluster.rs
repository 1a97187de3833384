//! What is asked of the whole cluster: this node's own part and every peer's, added up. A part that is missing makes
//! the answer partial, with the sum so far and the names of the nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use realtime_proto::generated::peer as wire;
use realtime_proto::{ApiError, AppId, ConnectionId, ErrorCode, PatternSet};
use tokio::sync::{oneshot, watch};
use wire::request::Kind;
use wire::response::Kind as Answer;

use super::calls::{Answers, Call, Recipients};
use super::inbox::{MeshInbox, ToMesh};
use super::{Figures, figures_of_app};
use crate::consume::{Consumption, Reach, Wanted};
use crate::shard::admin::smallest;
use crate::shards::{full, stopped};
use crate::{ConnectionInfo, Publication, Receipt, Shards, Target};

/// Seconds until a caller with a partial answer should ask again: a dead member is out within ten.
const PARTIAL_RETRY_SECONDS: u32 = 10;

/// The cluster, as services see it from one of its nodes; of a node without peers, that node.
#[derive(Debug, Clone)]
pub struct Cluster {
    shards: Arc<Shards>,
    mesh: Option<MeshHandle>,
    /// This node's id.
    node: Arc<str>,
}

/// The mesh, as the cluster asks it.
#[derive(Debug, Clone)]
pub(super) struct MeshHandle {
    pub(super) inbox: Arc<MeshInbox>,
    pub(super) figures: watch::Receiver<Figures>,
    pub(super) reach: Arc<Reach>,
}

/// A receipt over the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterReceipt {
    /// Nodes that the publish reached, this one included.
    pub nodes: u32,
    /// Over all of them.
    pub sum: Receipt,
}

impl Cluster {
    pub(super) fn new(shards: Arc<Shards>, mesh: Option<MeshHandle>) -> Self {
        Self { shards, mesh, node: Arc::default() }
    }

    /// A node without peers.
    #[must_use]
    pub fn alone(shards: Arc<Shards>) -> Self {
        Self::new(shards, None)
    }

    /// With the id by which answers call this node.
    #[must_use]
    pub fn named(self, node: &str) -> Self {
        Self { node: node.into(), ..self }
    }

    /// This node's shards.
    #[must_use]
    pub fn shards(&self) -> &Arc<Shards> {
        &self.shards
    }

    /// The mesh's figures; all 0 on a node without peers.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.mesh.as_ref().map(|mesh| *mesh.figures.borrow()).unwrap_or_default()
    }

    /// Hands a publish to the local shards and to the queues of the peers that want it.
    ///
    /// # Errors
    /// As [`Shards::publish`].
    pub fn publish(&self, publication: Publication) -> Result<(), ApiError> {
        self.shards.publish(publication)
    }

    /// The same, answered by every shard of every node that it went to.
    ///
    /// # Errors
    /// As [`Shards::publish`]. The publish is done even where a peer does not say what became of it: that peer does
    /// not count among the receipt's nodes.
    pub async fn publish_with_receipt(&self, publication: Publication) -> Result<ClusterReceipt, ApiError> {
        self.check_room()?;
        let (delivery, local) = self.shards.publish_for_receipt(publication)?;
        let remote = self.ask(|caller| ToMesh::PublishWithReceipt(delivery, caller));
        let (local, remote) = tokio::join!(Shards::sum_receipts(local), remote);
        let mut receipt = ClusterReceipt { nodes: 1, sum: local? };
        // A mesh that has ended knows nothing; the publish is done, and a refusal would have it sent again.
        for answer in remote.unwrap_or_default().responses {
            let Answer::Receipt(wire::Receipt { matched, queued, dropped }) = answer else { continue };
            receipt.nodes += 1;
            receipt.sum.matched += matched;
            receipt.sum.queued += queued;
            receipt.sum.dropped += dropped;
        }
        Ok(receipt)
    }

    /// A consumer of what the application's clients send, wherever they are.
    ///
    /// # Errors
    /// As [`Consumption::start`].
    pub(crate) fn consume(&self, wanted: Wanted) -> Result<Consumption, ApiError> {
        let reach = self.mesh.as_ref().map(|mesh| Arc::clone(&mesh.reach));
        Consumption::start(&self.shards, reach, wanted)
    }

    /// Unsubscribes a subject's connections from matching topics; returns the number of subscriptions removed.
    ///
    /// # Errors
    /// `partial` where a node has not answered.
    pub async fn unsubscribe(
        &self,
        app: &AppId,
        subject: &str,
        patterns: &[String],
        compiled: PatternSet,
    ) -> Result<u64, ApiError> {
        let asked = wire::Unsubscribe { topic_patterns: patterns.to_vec(), subject: subject.to_owned() };
        let remote = self.call(Recipients::All, app, Kind::Unsubscribe(asked));
        let (local, remote) = tokio::join!(self.shards.unsubscribe(app, subject, compiled), remote);
        sum(local?, &remote?)
    }

    /// Closes connections with 4003; returns how many.
    ///
    /// # Errors
    /// `partial` where a node has not answered.
    pub async fn disconnect(&self, app: &AppId, target: Target) -> Result<u64, ApiError> {
        let (to, asked) = match &target {
            // The id says whose it is.
            Target::Connection(id) if self.shards.owns(*id) => {
                return self.shards.disconnect(app, target).await;
            }
            Target::Connection(id) => {
                let one = wire::disconnect::Target::ConnectionId(id.to_string());
                (Recipients::Owner(id.prefix()), one)
            }
            Target::Subject(subject) => (Recipients::All, wire::disconnect::Target::Subject(subject.clone())),
            Target::All => (Recipients::All, wire::disconnect::Target::All(true)),
        };
        let remote = self.call(to, app, Kind::Disconnect(wire::Disconnect { target: Some(asked) }));
        let (local, remote) = tokio::join!(self.shards.disconnect(app, target), remote);
        sum(local?, &remote?)
    }

    /// Connections of an app in id order, after `after`, at most `limit`; `subject` filters.
    ///
    /// # Errors
    /// `partial` where a node has not answered: a page with gaps would look whole.
    pub async fn connections(
        &self,
        app: &AppId,
        subject: Option<&str>,
        after: Option<ConnectionId>,
        limit: usize,
    ) -> Result<Vec<ConnectionInfo>, ApiError> {
        let asked = wire::ListConnections {
            subject: subject.unwrap_or_default().to_owned(),
            after: after.map(|after| after.to_string()).unwrap_or_default(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        let remote = self.call(Recipients::All, app, Kind::ListConnections(asked));
        let local = self.shards.connections(app, subject, after, limit);
        let (local, remote) = tokio::join!(local, remote);
        let (mut rows, remote) = (local?, remote?);
        for answer in &remote.responses {
            let Answer::Connections(page) = answer else { continue };
            rows.extend(page.items.iter().filter_map(connection));
        }
        complete(&remote.missing, rows.len() as u64)?;
        smallest(&mut rows, limit, |row| row.id);
        Ok(rows)
    }

    /// Topics of an app (not `priv/`) with their subscriber counts, in name order, after `after`, at most `limit`.
    ///
    /// # Errors
    /// `partial` where a node has not answered.
    pub async fn topics(
        &self,
        app: &AppId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, u64)>, ApiError> {
        let asked = wire::ListTopics {
            prefix: prefix.to_owned(),
            after: after.unwrap_or_default().to_owned(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        let remote = self.call(Recipients::All, app, Kind::ListTopics(asked));
        let (local, remote) = tokio::join!(self.shards.topics(app, prefix, after, limit), remote);
        let remote = remote?;
        // The first `limit` names of all nodes together are among the first `limit` of each.
        let mut sums: BTreeMap<String, u64> = local?.into_iter().collect();
        for answer in &remote.responses {
            let Answer::Topics(page) = answer else { continue };
            for row in &page.items {
                *sums.entry(row.topic.clone()).or_insert(0) += row.subscribers;
            }
        }
        complete(&remote.missing, sums.len() as u64)?;
        Ok(sums.into_iter().take(limit).collect())
    }

    /// How an application fares, and on how many nodes.
    ///
    /// # Errors
    /// `partial` where a node has not answered, with the connections of the others as the sum.
    pub(crate) async fn app_figures(&self, app: &AppId) -> Result<(u32, wire::AppFigures), ApiError> {
        let remote = self.call(Recipients::All, app, Kind::AppStatus(wire::AppStatus {})).await?;
        let mut all = vec![figures_of_app::here(&self.shards, &self.node, app)];
        all.extend(remote.responses.into_iter().filter_map(|answer| match answer {
            Answer::AppFigures(figures) => Some(figures),
            _ => None,
        }));
        let nodes = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let sum = figures_of_app::merged(all);
        complete(&remote.missing, sum.connections)?;
        Ok((nodes, sum))
    }

    async fn call(&self, to: Recipients, app: &AppId, kind: Kind) -> Result<Answers, ApiError> {
        self.check_room()?;
        let request = wire::Request { number: 0, app_id: app.to_string(), kind: Some(kind) };
        self.ask(|caller| ToMesh::Call(Call { to, request }, caller)).await
    }

    /// Puts one question to the mesh.
    async fn ask(&self, work: impl FnOnce(oneshot::Sender<Answers>) -> ToMesh) -> Result<Answers, ApiError> {
        let Some(inbox) = self.peers() else { return Ok(Answers::default()) };
        let (caller, answers) = oneshot::channel();
        inbox.push_one(work(caller));
        answers.await.map_err(|_| stopped())
    }

    fn check_room(&self) -> Result<(), ApiError> {
        if self.peers().is_none_or(MeshInbox::has_room) { Ok(()) } else { Err(full()) }
    }

    /// The mesh, if there is anybody in it.
    fn peers(&self) -> Option<&MeshInbox> {
        self.mesh.as_ref().map(|mesh| &*mesh.inbox).filter(|inbox| inbox.has_peers())
    }
}

/// The local part and the peers', if nothing is missing.
fn sum(local: u64, remote: &Answers) -> Result<u64, ApiError> {
    let counts = remote.responses.iter().map(|answer| match answer {
        Answer::Count(count) => *count,
        _ => 0,
    });
    let sum = local + counts.sum::<u64>();
    complete(&remote.missing, sum)?;
    Ok(sum)
}

/// `partial` where somebody is missing.
fn complete(missing: &[Arc<str>], sum: u64) -> Result<(), ApiError> {
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let detail = format!("no answer from {}; asking again is safe", missing.join(", "));
    let error = ApiError::new(ErrorCode::Partial, detail).retry_after(PARTIAL_RETRY_SECONDS);
    Err(ApiError { partial: Some((missing, sum)), ..error })
}

/// A peer's row; one that does not read is left out, as a newer release's may be.
fn connection(row: &wire::Connection) -> Option<ConnectionInfo> {
    Some(ConnectionInfo {
        id: ConnectionId::parse(&row.id)?,
        subject: row.subject.as_str().into(),
        remote_address: row.remote_address.parse().ok()?,
        connected_at_ms: row.connected_at_ms,
        subscriptions: row.subscriptions,
    })
}
