//! A backend that reads an application's inbound stream over gRPC, at one node.

use realtime_proto::generated::pubsub as wire;
use realtime_testkit::server::OPERATOR_TOKEN;
use realtime_testkit::{Server, TestApp, within};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Request, Status, Streaming};
use wire::inbound_request::Kind as Say;
use wire::inbound_response::Kind as Heard;
use wire::pub_sub_client::PubSubClient;

/// Answers on their way: more than any test has messages.
const ANSWERS: usize = 1000;

/// HTTP/2's least, in bytes.
const NARROW: u32 = 65_535;

/// What a consumer gets.
#[derive(Debug)]
pub struct Delivered {
    /// To answer by.
    pub sequence: u64,
    /// As SQS queues get it.
    pub body: Value,
    /// Somebody else may have processed it.
    pub redelivered: bool,
}

/// See the module. It leaves when it is dropped.
#[derive(Debug)]
pub struct Consumer {
    answers: mpsc::Sender<wire::InboundRequest>,
    responses: Streaming<wire::InboundResponse>,
    /// What it was told at first.
    pub ready: wire::InboundReady,
}

impl Consumer {
    /// One of `group`, with an operator's token.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn join(node: &Server, app: &TestApp, group: &str, max_unanswered: u32) -> Self {
        Self::join_over(at(node), app, group, max_unanswered).await
    }

    /// The same, which is sent little that it does not read.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn join_narrow(node: &Server, app: &TestApp, group: &str, max_unanswered: u32) -> Self {
        Self::join_over(at(node).initial_stream_window_size(NARROW), app, group, max_unanswered).await
    }

    async fn join_over(endpoint: Endpoint, app: &TestApp, group: &str, max_unanswered: u32) -> Self {
        let (answers, requests) = mpsc::channel(ANSWERS);
        let start = wire::InboundStart { app_id: app.id().into(), group: group.into(), max_unanswered };
        answers.send(wire::InboundRequest { kind: Some(Say::Start(start)) }).await.expect("room");
        let mut request = Request::new(ReceiverStream::new(requests));
        let bearer = format!("Bearer {OPERATOR_TOKEN}").parse().expect("a token");
        request.metadata_mut().insert("authorization", bearer);
        let channel = within("the gRPC port", endpoint.connect()).await.expect("a connection");
        let mut client = PubSubClient::new(channel);
        let called = within("the stream", client.inbound(request)).await;
        let mut responses = called.expect("a stream").into_inner();
        let first = within("ready", responses.message()).await.expect("no error").expect("a response");
        let Some(Heard::Ready(ready)) = first.kind else { panic!("{first:?}") };
        Self { answers, responses, ready }
    }

    /// The next message or presence event.
    ///
    /// # Panics
    /// When the stream ends instead.
    pub async fn next(&mut self) -> Delivered {
        match within("a message", self.try_next()).await {
            Ok(Some(delivered)) => delivered,
            ended => panic!("the stream has ended: {ended:?}"),
        }
    }

    /// The same; `None`, or the error, at the stream's end.
    ///
    /// # Errors
    /// What the stream has ended with.
    ///
    /// # Panics
    /// When something else comes.
    pub async fn try_next(&mut self) -> Result<Option<Delivered>, Status> {
        let Some(response) = self.responses.message().await? else { return Ok(None) };
        let Some(Heard::Message(wire::InboundMessage { sequence, body_json, redelivered })) = response.kind
        else {
            panic!("{response:?}");
        };
        let body = serde_json::from_slice(&body_json).expect("JSON");
        Ok(Some(Delivered { sequence, body, redelivered }))
    }

    /// Has processed a message.
    ///
    /// # Panics
    /// When the stream has ended.
    pub async fn accept(&self, sequence: u64) {
        let answer = wire::InboundAnswer { accepted: vec![sequence], refused: Vec::new() };
        let answer = wire::InboundRequest { kind: Some(Say::Answer(answer)) };
        self.answers.send(answer).await.expect("the stream is open");
    }

    /// Takes and accepts presence events until the next message of a client.
    pub async fn next_message(&mut self) -> Delivered {
        loop {
            let delivered = self.next().await;
            if delivered.body["messageType"] != "presence" {
                return delivered;
            }
            self.accept(delivered.sequence).await;
        }
    }
}

fn at(node: &Server) -> Endpoint {
    Endpoint::from_shared(format!("http://{}", node.grpc_listen())).expect("an address")
}
