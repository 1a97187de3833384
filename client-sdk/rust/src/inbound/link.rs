//! One stream: opening it, serving it, and its end as a value. Never retries.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use realtime_proto::generated::pubsub as wire;
use realtime_proto::{ApiError, ErrorCode};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::{Endpoint, Uri};
use wire::inbound_request::Kind as Say;
use wire::inbound_response::Kind as Heard;

use super::answers::{Answer, Answers, Receipt};
use super::event::{self, Delivery};
use super::handle::Ready;
use super::options::InboundOptions;
use crate::grpc::{self, Channel, PubSubClient};
use crate::ws::host_and_port;

/// From the question for a token to the server's first word. The server may wait a second for other nodes.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// How often the server is asked for a sign of life, and how long the answer may take: a group whose only consumer
/// hangs on a dead node is waited for 30 s at most, message by message.
const PING_EVERY: Duration = Duration::from_secs(5);
const PONG_WITHIN: Duration = Duration::from_secs(5);
/// How long the last answers and the end of a stream may take that is closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A server that can be connected to.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: String,
    endpoint: Endpoint,
}

impl Server {
    /// `invalid_request` for a malformed address or CA.
    pub(super) fn new(address: &str, ca: Option<&[u8]>) -> Result<Self, ApiError> {
        let endpoint = grpc::endpoint(address, ca)?
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN);
        Ok(Self { address: address.to_owned(), endpoint })
    }
}

/// A stream that is ready.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) ready: Ready,
    requests: mpsc::Sender<wire::InboundRequest>,
    responses: Streaming<wire::InboundResponse>,
}

/// Opens a stream: resolves once the server has said that it is ready.
pub(super) async fn open(options: &InboundOptions, server: &Server) -> Result<Link, ApiError> {
    let opening = timeout(OPEN_TIMEOUT, begin(options, server)).await;
    opening.unwrap_or_else(|_| Err(unavailable(format!("{}: no stream in time", server.address))))
}

async fn begin(options: &InboundOptions, server: &Server) -> Result<Link, ApiError> {
    let token = options.token.get().await.map_err(|error| unavailable(error.to_string()))?;
    let dial = Arc::clone(&options.dial);
    let connector = tower::service_fn(move |uri: Uri| {
        let dial = Arc::clone(&dial);
        async move {
            let (host, port) = host_and_port(&uri);
            dial.dial(host, port).await.map(TokioIo::new)
        }
    });
    let channel = server.endpoint.connect_with_connector(connector).await.map_err(|error| {
        unavailable(format!("cannot reach {}: {}", server.address, grpc::innermost(&error)))
    })?;
    let start = wire::InboundStart {
        app_id: options.app.clone(),
        group: options.group.clone(),
        max_unanswered: options.max_unanswered,
    };
    let first = tokio_stream::once(wire::InboundRequest { kind: Some(Say::Start(start)) });
    // Answers gather before it while the server reads none.
    let (requests, outgoing) = mpsc::channel(1);
    let mut client = PubSubClient::new(Channel::over(channel, Some(&token))?);
    let mut responses = client.inbound(first.chain(ReceiverStream::new(outgoing))).await?;
    loop {
        match responses.message().await {
            Ok(Some(wire::InboundResponse { kind: Some(Heard::Ready(ready)) })) => {
                let wire::InboundReady { nodes, missing_nodes } = ready;
                let ready = Ready { server: server.address.clone(), nodes, missing_nodes };
                return Ok(Link { ready, requests, responses });
            }
            // Nothing else comes before it, unless from a newer release.
            Ok(Some(_)) => {}
            Ok(None) => return Err(ended()),
            Err(status) => return Err(grpc::refusal(&status)),
        }
    }
}

impl Link {
    /// Brings deliveries to the application, and its answers to the server, until the stream ends; `None`: it was
    /// closed by this side, after the answers that were there.
    pub(super) async fn serve(
        self,
        max_unanswered: usize,
        deliveries: &mpsc::Sender<Delivery>,
        closing: &CancellationToken,
    ) -> Option<ApiError> {
        let Self { requests, mut responses, .. } = self;
        // One for each message that the server may leave unanswered.
        let (answered, incoming) = mpsc::channel(max_unanswered);
        let mut answers = Answers::new(requests, incoming);
        tokio::select! {
            error = read(&mut responses, deliveries, answered) => Some(error),
            // Nobody takes answers any more: the stream is at its end, even if nobody takes its messages.
            () = answers.send() => Some(rest(&mut responses).await),
            () = closing.cancelled() => {
                let _ = timeout(CLOSE_WITHIN, async {
                    answers.finish().await;
                    rest(&mut responses).await
                })
                .await;
                None
            }
        }
    }
}

/// Reads a message once there is room for it.
async fn read(
    responses: &mut Streaming<wire::InboundResponse>,
    deliveries: &mpsc::Sender<Delivery>,
    answered: mpsc::Sender<Answer>,
) -> ApiError {
    loop {
        let Ok(place) = deliveries.reserve().await else {
            // The handle is gone, and this task with it.
            return std::future::pending().await;
        };
        let message = match responses.message().await {
            Ok(Some(wire::InboundResponse { kind: Some(Heard::Message(message)) })) => message,
            Ok(Some(_)) => continue,
            Ok(None) => return ended(),
            Err(status) => return grpc::refusal(&status),
        };
        let receipt = Receipt::new(message.sequence, answered.clone());
        match event::read(&message.body_json) {
            Ok(event) => place.send(Delivery { event, redelivered: message.redelivered, receipt }),
            Err(error) => {
                // Of a newer release, which this one must not say that it has processed.
                tracing::warn!(%error, "a message that cannot be read is refused");
                receipt.refuse();
            }
        }
    }
}

/// What a stream ends with; its messages are for somebody else.
async fn rest(responses: &mut Streaming<wire::InboundResponse>) -> ApiError {
    loop {
        match responses.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return ended(),
            Err(status) => return grpc::refusal(&status),
        }
    }
}

fn ended() -> ApiError {
    unavailable("the server has ended the stream".to_owned())
}

fn unavailable(detail: String) -> ApiError {
    ApiError::new(ErrorCode::Unavailable, detail)
}
