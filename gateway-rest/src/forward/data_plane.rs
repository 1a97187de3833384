//! `realtime.pubsub.v1.PubSub` through the nodes' peer ports.

use std::fmt;
use std::sync::Arc;

use realtime_auth::{Behalf, Caller};
use realtime_discovery::Snapshot;
use realtime_proto::generated::pubsub as wire;
use tokio::sync::watch;
use tokio_stream::Pending;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use wire::pub_sub_client::PubSubClient;
use wire::pub_sub_server::PubSub;

use super::attempt::{Effect, offer};
use super::members::Members;
use super::{Counters, Dial};

/// Names the targets for people.
const NODES: &str = "the data plane";

/// The data plane, as a gateway sees it: any node does for most calls, and the publishes of one topic go through one
/// node, so that those that are awaited arrive in order.
pub struct DataPlane {
    members: Members,
    counters: Arc<Counters>,
}

impl DataPlane {
    /// The nodes that the snapshots name.
    #[must_use]
    pub fn new(
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        dial: Dial,
        counters: Arc<Counters>,
    ) -> Self {
        Self { members: Members::new(snapshots, dial), counters }
    }
}

/// The request's message, and the metadata by which the node knows on whose behalf it is asked.
fn vouched<T>(request: Request<T>) -> Result<(MetadataMap, T), Status> {
    let behalf = match request.extensions().get::<Caller>().map(Caller::vouched) {
        Some(Caller::Cluster { behalf }) => behalf,
        Some(Caller::Operator { .. } | Caller::App { .. }) | None => {
            return Err(Status::internal("the caller was not checked"));
        }
    };
    let mut metadata = MetadataMap::new();
    metadata.insert(Behalf::METADATA, MetadataValue::from_static(behalf.name()));
    Ok((metadata, request.into_inner()))
}

fn client(channel: Channel) -> PubSubClient<Channel> {
    PubSubClient::new(channel)
}

#[tonic::async_trait]
impl PubSub for DataPlane {
    type PublishStreamStream = Pending<Result<wire::PublishStreamResponse, Status>>;
    type InboundStream = Pending<Result<wire::InboundResponse, Status>>;

    async fn publish(
        &self,
        request: Request<wire::PublishRequest>,
    ) -> Result<Response<wire::PublishResponse>, Status> {
        let (metadata, message) = vouched(request)?;
        let nodes = self.members.for_topic(&message.app_id, &message.topic);
        offer((NODES, Effect::Changes), nodes, &metadata, message, &self.counters, |channel, request| {
            Box::pin(async move { client(channel).publish(request).await })
        })
        .await
    }

    async fn publish_batch(
        &self,
        _: Request<wire::PublishBatchRequest>,
    ) -> Result<Response<wire::PublishBatchResponse>, Status> {
        Err(Status::unimplemented("the HTTP API has no batches"))
    }

    async fn publish_stream(
        &self,
        _: Request<Streaming<wire::PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        Err(Status::unimplemented("the HTTP API has no streams"))
    }

    async fn inbound(
        &self,
        _: Request<Streaming<wire::InboundRequest>>,
    ) -> Result<Response<Self::InboundStream>, Status> {
        Err(Status::unimplemented("the HTTP API has no streams"))
    }

    async fn unsubscribe(
        &self,
        request: Request<wire::UnsubscribeRequest>,
    ) -> Result<Response<wire::UnsubscribeResponse>, Status> {
        let (metadata, message) = vouched(request)?;
        offer(
            (NODES, Effect::Changes),
            self.members.any(),
            &metadata,
            message,
            &self.counters,
            |channel, request| Box::pin(async move { client(channel).unsubscribe(request).await }),
        )
        .await
    }

    async fn disconnect(
        &self,
        request: Request<wire::DisconnectRequest>,
    ) -> Result<Response<wire::DisconnectResponse>, Status> {
        let (metadata, message) = vouched(request)?;
        offer(
            (NODES, Effect::Changes),
            self.members.any(),
            &metadata,
            message,
            &self.counters,
            |channel, request| Box::pin(async move { client(channel).disconnect(request).await }),
        )
        .await
    }

    async fn list_connections(
        &self,
        request: Request<wire::ListConnectionsRequest>,
    ) -> Result<Response<wire::ListConnectionsResponse>, Status> {
        let (metadata, message) = vouched(request)?;
        offer(
            (NODES, Effect::Reads),
            self.members.any(),
            &metadata,
            message,
            &self.counters,
            |channel, request| Box::pin(async move { client(channel).list_connections(request).await }),
        )
        .await
    }

    async fn list_topics(
        &self,
        request: Request<wire::ListTopicsRequest>,
    ) -> Result<Response<wire::ListTopicsResponse>, Status> {
        let (metadata, message) = vouched(request)?;
        offer(
            (NODES, Effect::Reads),
            self.members.any(),
            &metadata,
            message,
            &self.counters,
            |channel, request| Box::pin(async move { client(channel).list_topics(request).await }),
        )
        .await
    }

    async fn test_forwarders(
        &self,
        request: Request<wire::TestForwardersRequest>,
    ) -> Result<Response<wire::TestForwardersResponse>, Status> {
        let (metadata, message) = vouched(request)?;
        offer(
            // Each is one more message for whoever consumes them.
            (NODES, Effect::Changes),
            self.members.any(),
            &metadata,
            message,
            &self.counters,
            |channel, request| Box::pin(async move { client(channel).test_forwarders(request).await }),
        )
        .await
    }

    async fn app_status(
        &self,
        request: Request<wire::AppStatusRequest>,
    ) -> Result<Response<wire::AppStatusResponse>, Status> {
        let (metadata, message) = vouched(request)?;
        offer(
            (NODES, Effect::Reads),
            self.members.any(),
            &metadata,
            message,
            &self.counters,
            |channel, request| Box::pin(async move { client(channel).app_status(request).await }),
        )
        .await
    }
}

impl fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataPlane").finish_non_exhaustive()
    }
}
