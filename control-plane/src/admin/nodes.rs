//! `realtime.admin.v1.Nodes`: the members, and draining them.

use realtime_proto::generated::admin as wire;
use realtime_proto::{ApiError, ErrorCode};
use tonic::{Request, Response, Status};
use wire::nodes_server::Nodes;

use super::caller::{audit, audit_read, operator};
use crate::registry::{Command, NotSent};
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
                rejections: status.rejections,
            }
        };
        state.members.iter().map(node).collect()
    }

    fn command(&self, node_id: &str, command: Command) -> Result<(), ApiError> {
        if !self.shared.model.read().members.contains_key(node_id) {
            return Err(ApiError::new(ErrorCode::NotFound, "no such node"));
        }
        let detail = match self.shared.registry.send(node_id, command) {
            Ok(()) => return Ok(()),
            Err(NotSent::NoStream) => "the node is not connected to this control plane at the moment",
            Err(NotSent::Full) => "the node has not taken earlier commands yet",
        };
        Err(ApiError::new(ErrorCode::Unavailable, detail).retry_after(1))
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
        audit(&caller, "Nodes.Drain", node_id, self.command(node_id, Command::Drain))?;
        Ok(Response::new(wire::DrainResponse {}))
    }

    async fn undrain(
        &self,
        request: Request<wire::UndrainRequest>,
    ) -> Result<Response<wire::UndrainResponse>, Status> {
        let caller = operator(&self.shared, &request)?;
        let node_id = &request.get_ref().node_id;
        audit(&caller, "Nodes.Undrain", node_id, self.command(node_id, Command::Undrain))?;
        Ok(Response::new(wire::UndrainResponse {}))
    }
}
