//! The discovery service: one task per stream, woken by the model's revision.
//!
//! Never here: keep-alive of connections and certificates (the transport's), what a member is (membership's).

mod hello;
mod position;
mod session;
#[cfg(test)]
mod tests;
mod update;
mod usage;

use std::time::Duration;

use realtime_proto::generated::discovery as wire;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::discovery_server::Discovery;

use crate::shared::Shared;
use session::Session;

/// Messages between a stream's task and the transport. Few: what waits here is memory of a slow receiver.
const OUTBOUND: usize = 4;
/// How long a slow receiver may keep its stream's task from telling it why the stream ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves `realtime.discovery.v1.Discovery`.
#[derive(Debug, Clone)]
pub struct DiscoveryService {
    shared: Shared,
}

impl DiscoveryService {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared }
    }
}

type Outbound = mpsc::Sender<Result<wire::StreamResponse, Status>>;

#[tonic::async_trait]
impl Discovery for DiscoveryService {
    type StreamStream = ReceiverStream<Result<wire::StreamResponse, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<wire::StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        if self.shared.stop.is_cancelled() {
            return Err(stopping());
        }
        let (out, responses) = mpsc::channel(OUTBOUND);
        // The task ends with the stream, or with the control plane, which waits for it.
        self.shared.tasks.spawn(serve(self.shared.clone(), request.into_inner(), out));
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

async fn serve(shared: Shared, requests: Streaming<wire::StreamRequest>, out: Outbound) {
    let stop = shared.stop.clone();
    let ended = tokio::select! {
        () = stop.cancelled() => Err(stopping()),
        () = out.closed() => return,
        ended = follow(shared, requests, out.clone()) => ended,
    };
    if let Err(status) = ended {
        tracing::info!(code = ?status.code(), reason = status.message(), "a discovery stream ends");
        // A receiver that does not listen does not learn it.
        let _ = timeout(FAREWELL, out.send(Err(status))).await;
    }
}

/// One stream from its hello to its end.
async fn follow(
    shared: Shared,
    mut requests: Streaming<wire::StreamRequest>,
    out: Outbound,
) -> Result<(), Status> {
    let hello = hello::receive(&mut requests).await?;
    Session::open(shared, hello).await?.run(requests, out).await
}

fn stopping() -> Status {
    Status::unavailable("the control plane is stopping")
}
