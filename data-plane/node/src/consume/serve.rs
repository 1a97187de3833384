//! `realtime.peer.v1.Peer.Consume`: what this node's clients send, for a consumer that another node has.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use realtime_forwarders::{Consumer, Delivery};
use realtime_proto::AppId;
use realtime_proto::generated::peer as wire;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use wire::consume_request::Kind as Heard;
use wire::consume_response::Kind as Say;

use crate::Shards;

/// A peer says at once whom it consumes for.
const START_WITHIN: Duration = Duration::from_secs(5);

/// What the call answers.
pub(crate) type Responses =
    Pin<Box<dyn Stream<Item = Result<wire::ConsumeResponse, Status>> + Send + 'static>>;

/// Begins the stream; it ends when the caller goes, or with `stop`.
pub(crate) async fn serve(
    shards: &Arc<Shards>,
    mut requests: Streaming<wire::ConsumeRequest>,
    stop: CancellationToken,
) -> Result<Responses, Status> {
    let first = timeout(START_WITHIN, requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no start"))??;
    let Some(Heard::Start(wire::ConsumeStart { app_id, group, window })) = first.and_then(|first| first.kind)
    else {
        return Err(Status::invalid_argument("the first request is not a start"));
    };
    let app = AppId::parse(&app_id).map_err(|_| Status::invalid_argument("app_id: malformed"))?;
    let consumer = shards.forwarders().and_then(|all| all.consume(&app, &group, window as usize));
    let consumer = consumer.ok_or_else(|| Status::resource_exhausted("too many consumers or groups"))?;
    let serving = Serving { consumer, requests, stop, is_ready: false };
    Ok(Box::pin(stream::unfold(serving, async |mut serving| Some((serving.next().await?, serving)))))
}

struct Serving {
    consumer: Consumer,
    requests: Streaming<wire::ConsumeRequest>,
    stop: CancellationToken,
    is_ready: bool,
}

impl Serving {
    /// The next response; `None`: the stream has ended.
    async fn next(&mut self) -> Option<Result<wire::ConsumeResponse, Status>> {
        if !std::mem::replace(&mut self.is_ready, true) {
            return Some(Ok(said(Say::Ready(wire::ConsumeReady {}))));
        }
        loop {
            tokio::select! {
                // Answers first: they make room.
                biased;
                () = self.stop.cancelled() => return None,
                request = self.requests.message() => match request.ok()??.kind {
                    Some(Heard::Answer(wire::ConsumeAnswer { sequence, accepted })) => {
                        let consumer = &self.consumer;
                        // One that it does not have was answered before, and is passed over.
                        let _ = if accepted { consumer.accept(sequence) } else { consumer.refuse(sequence) };
                    }
                    Some(Heard::Start(_)) => {
                        return Some(Err(Status::invalid_argument("a second start")));
                    }
                    None => {}
                },
                delivery = self.consumer.next() => return Some(Ok(said(message(&delivery)))),
            }
        }
    }
}

fn message(delivery: &Delivery) -> Say {
    let body_json = Bytes::copy_from_slice(delivery.body().as_bytes());
    let (sequence, redelivered) = (delivery.sequence, delivery.redelivered);
    Say::Message(wire::ConsumeMessage { sequence, body_json, redelivered })
}

fn said(kind: Say) -> wire::ConsumeResponse {
    wire::ConsumeResponse { kind: Some(kind) }
}
