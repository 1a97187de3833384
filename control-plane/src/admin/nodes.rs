//! `realtime.admin.v1.Nodes`: the members, and draining them.

use realtime_proto::generated::admin as wire;
use realtime_proto::{ApiError, ErrorCode};
use tonic::{Request, Response, Status};
use wire::nodes_server::Nodes;

use super::caller::{audit, audit_read, operator};
use super::document::unavailable;
use crate::membership::{MembershipError, NodeState};
use crate::shared::Shared;

/// Serves `realtime.admin.v1.Nodes`.
#[derive(Debug, Clone)]
pub struct NodesService {
    shared: Shared,
}

impl NodesService {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    fn items(&self) -> Vec<wire::Node> {
        let mut statuses = self.shared.registry.statuses();
        let state = self.shared.model.read();
        let node = |(id, member): (&String, &std::sync::Arc<crate::membership::Member>)| {
            let status = statuses.remove(&(id.clone(), member.incarnation().to_owned())).unwrap_or_default();
            wire::Node {
                id: id.clone(),
                listen: member.listen().to_owned(),
                peer: member.peer().to_owned(),
                state: member.state().name().to_owned(),
                revision: status.revision,
                connections: status.connections,
                rejections: status.rejections(),
            }
        };
        state.members.iter().map(node).collect()
    }

    /// The node hears of it over the replica that has its stream, or when it comes back.
    async fn want(&self, node_id: &str, state: NodeState) -> Result<(), ApiError> {
        self.shared.membership.want(node_id, state).await.map_err(|error| match error {
            MembershipError::Unknown => ApiError::new(ErrorCode::NotFound, error.to_string()),
            MembershipError::Store(error) => unavailable(error),
            MembershipError::Superseded
            | MembershipError::Expired
            | MembershipError::Replaced
            | MembershipError::Contended => {
                ApiError::new(ErrorCode::Unavailable, error.to_string()).retry_after(1)
            }
        })
    }
}

#[tonic::async_trait]
impl Nodes for NodesService {
    async fn list(
        &self,
        request: Request<wire::ListNodesRequest>,
    ) -> Result<Response<wire::ListNodesResponse>, Status> {
        let caller = operator(&self.shared, &request)?;
        let nodes = wire::ListNodesResponse { items: self.items() };
        audit_read(&caller, "Nodes.List", "", Ok(nodes)).map(Response::new)
    }

    async fn drain(
        &self,
        request: Request<wire::DrainRequest>,
    ) -> Result<Response<wire::DrainResponse>, Status> {
        let caller = operator(&self.shared, &request)?;
        let node_id = &request.get_ref().node_id;
        audit(&caller, "Nodes.Drain", node_id, self.want(node_id, NodeState::Draining).await)?;
        Ok(Response::new(wire::DrainResponse {}))
    }

    async fn undrain(
        &self,
        request: Request<wire::UndrainRequest>,
    ) -> Result<Response<wire::UndrainResponse>, Status> {
        let caller = operator(&self.shared, &request)?;
        let node_id = &request.get_ref().node_id;
        audit(&caller, "Nodes.Undrain", node_id, self.want(node_id, NodeState::Ready).await)?;
        Ok(Response::new(wire::UndrainResponse {}))
    }
}
