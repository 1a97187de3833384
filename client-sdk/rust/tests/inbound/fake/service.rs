//! The service's trait: one call is the test's, the others are not there.

use realtime_proto::generated::pubsub as wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::pub_sub_server::PubSub;

use super::{Call, decided};

/// Tells the test of every call.
pub struct Calls {
    pub name: &'static str,
    pub calls: mpsc::UnboundedSender<Call>,
}

type Answer<T> = Result<Response<T>, Status>;

fn absent<T>() -> Answer<T> {
    Err(Status::unimplemented("not of these tests"))
}

#[tonic::async_trait]
impl PubSub for Calls {
    type InboundStream = ReceiverStream<Result<wire::InboundResponse, Status>>;
    type PublishStreamStream = ReceiverStream<Result<wire::PublishStreamResponse, Status>>;

    async fn inbound(
        &self,
        request: Request<Streaming<wire::InboundRequest>>,
    ) -> Answer<Self::InboundStream> {
        decided(self.name, &self.calls, request).await
    }

    async fn publish(&self, _: Request<wire::PublishRequest>) -> Answer<wire::PublishResponse> {
        absent()
    }

    async fn publish_batch(
        &self,
        _: Request<wire::PublishBatchRequest>,
    ) -> Answer<wire::PublishBatchResponse> {
        absent()
    }

    async fn publish_stream(
        &self,
        _: Request<Streaming<wire::PublishStreamRequest>>,
    ) -> Answer<Self::PublishStreamStream> {
        absent()
    }

    async fn unsubscribe(&self, _: Request<wire::UnsubscribeRequest>) -> Answer<wire::UnsubscribeResponse> {
        absent()
    }

    async fn disconnect(&self, _: Request<wire::DisconnectRequest>) -> Answer<wire::DisconnectResponse> {
        absent()
    }

    async fn list_connections(
        &self,
        _: Request<wire::ListConnectionsRequest>,
    ) -> Answer<wire::ListConnectionsResponse> {
        absent()
    }

    async fn list_topics(&self, _: Request<wire::ListTopicsRequest>) -> Answer<wire::ListTopicsResponse> {
        absent()
    }

    async fn test_forwarders(
        &self,
        _: Request<wire::TestForwardersRequest>,
    ) -> Answer<wire::TestForwardersResponse> {
        absent()
    }

    async fn app_status(&self, _: Request<wire::AppStatusRequest>) -> Answer<wire::AppStatusResponse> {
        absent()
    }
}
