//! The inbound stream of a node alone, over real gRPC.

use realtime_proto::generated::pubsub as wire;
use realtime_proto::{ApiError, ErrorCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use wire::inbound_request::Kind as Say;
use wire::inbound_response::Kind as Heard;

use crate::fixture::{OPERATOR_TOKEN, Setup, admin_token, app, within};
use crate::pubsub::{Served, Session, bearer};
use crate::wire::text;

const READ: &str = "realtime:subscriber:read:topic:secure/inbound";

/// A consumer's stream that has begun.
struct Stream {
    answers: mpsc::Sender<wire::InboundRequest>,
    responses: Streaming<wire::InboundResponse>,
}

fn setup() -> Setup {
    let streams = json!({"enableInboundStream": true, "clientInboundAckEnabled": true, "tier": "unlimited"});
    Setup { apps: vec![app("a", streams), app("b", json!({}))], ..Setup::default() }
}

fn start(app_id: &str, max_unanswered: u32) -> wire::InboundStart {
    wire::InboundStart { app_id: app_id.into(), group: String::new(), max_unanswered }
}

async fn open(served: &mut Served, token: &str, first: Say) -> Result<Stream, Status> {
    let (answers, requests) = mpsc::channel(16);
    answers.send(wire::InboundRequest { kind: Some(first) }).await.unwrap();
    let called = served.rpc.inbound(bearer(token, ReceiverStream::new(requests)));
    Ok(Stream { answers, responses: within(called).await?.into_inner() })
}

async fn refused(served: &mut Served, token: &str, first: Say) -> ApiError {
    match open(served, token, first).await {
        Ok(_) => panic!("it has begun"),
        Err(status) => ApiError::from(&status),
    }
}

impl Stream {
    async fn ready(served: &mut Served, start: wire::InboundStart) -> Self {
        let mut stream = open(served, OPERATOR_TOKEN, Say::Start(start)).await.unwrap();
        let ready = wire::InboundReady { nodes: 1, missing_nodes: Vec::new() };
        assert_eq!(stream.heard().await, Ok(Heard::Ready(ready)));
        stream
    }

    async fn heard(&mut self) -> Result<Heard, ErrorCode> {
        let heard = within(self.responses.message()).await;
        heard.map(|heard| heard.unwrap().kind.unwrap()).map_err(|status| ApiError::from(&status).code)
    }

    async fn next(&mut self) -> (u64, Value) {
        match self.heard().await {
            Ok(Heard::Message(message)) => {
                (message.sequence, serde_json::from_slice(&message.body_json).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    async fn answer(&self, accepted: &[u64], refused: &[u64]) {
        let answer = wire::InboundAnswer { accepted: accepted.to_vec(), refused: refused.to_vec() };
        self.answers.send(wire::InboundRequest { kind: Some(Say::Answer(answer)) }).await.unwrap();
    }
}

impl Session {
    async fn say(&mut self, id: &str) {
        let message = json!({"type": "message", "data": {"payload": "p", "id": id}});
        self.client.send(&text(&message)).await;
    }
}

#[tokio::test]
async fn a_full_window_holds_messages_back_and_each_client_gets_its_own_answer() {
    let mut served = Served::start(setup()).await;
    let mut stream = Stream::ready(&mut served, start("a", 1)).await;
    let (mut one, mut two) = (served.session("one").await, served.session("two").await);
    for expected in 1..=2 {
        let (sequence, body) = stream.next().await;
        assert_eq!((sequence, &body["messageType"]), (expected, &json!("presence")));
        stream.answer(&[sequence], &[]).await;
    }
    one.say("m1").await;
    let (third, body) = stream.next().await;
    assert_eq!(body["id"], "m1");
    two.say("m2").await;
    // Whatever else is said is passed over.
    stream.answer(&[99], &[1]).await;
    stream.answer(&[], &[third]).await;
    let error = one.client.json().await;
    assert_eq!((&error["topic"], &error["data"]["id"]), (&json!("priv/errors"), &json!("m1")));
    assert_eq!(error["data"]["code"], "forward_failed");
    let (fourth, body) = stream.next().await;
    assert_eq!((fourth, &body["id"]), (4, &json!("m2")));
    assert_eq!(body["client"]["connectionId"], *two.id);
    stream.answer(&[fourth], &[]).await;
    assert_eq!(two.client.json().await, json!({"topic": "priv/acks", "messageType": "ack", "data": "m2"}));
}

#[tokio::test]
async fn a_stream_is_begun_by_whoever_may_read_it_where_it_is_on() {
    let mut served = Served::start(setup()).await;
    let reader = admin_token(&[READ]);
    assert!(open(&mut served, &reader, Say::Start(start("a", 0))).await.is_ok());
    let writer = admin_token(&["realtime:publisher:write:topic:*"]);
    let group = wire::InboundStart { group: "g".repeat(65), ..start("a", 0) };
    for (token, first, code, field) in [
        (&*writer, Say::Start(start("a", 0)), ErrorCode::PermissionDenied, ""),
        ("nonsense", Say::Start(start("a", 0)), ErrorCode::Unauthenticated, ""),
        (&*reader, Say::Start(start("c", 0)), ErrorCode::AppNotFound, ""),
        (&*reader, Say::Start(start("b", 0)), ErrorCode::InboundDisabled, ""),
        (&*reader, Say::Start(group), ErrorCode::InvalidRequest, "group"),
        (&*reader, Say::Start(start("a", 4097)), ErrorCode::InvalidRequest, "max_unanswered"),
        (&*reader, Say::Answer(wire::InboundAnswer::default()), ErrorCode::InvalidRequest, "start"),
    ] {
        let refusal = refused(&mut served, token, first).await;
        assert_eq!(refusal.code, code, "{refusal:?}");
        assert_eq!(refusal.fields.first().map_or("", |field| &*field.field), field, "{refusal:?}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_reason() {
    let stop = CancellationToken::new();
    let mut served = Served::until(setup(), stop.clone()).await;
    let mut twice = Stream::ready(&mut served, start("a", 0)).await;
    twice.answers.send(wire::InboundRequest { kind: Some(Say::Start(start("a", 0))) }).await.unwrap();
    assert_eq!(twice.heard().await, Err(ErrorCode::InvalidRequest));
    let mut stopped = Stream::ready(&mut served, start("a", 0)).await;
    let (mut switched, settings) = (Stream::ready(&mut served, start("a", 0)).await, json!({}));
    stop.cancel();
    assert_eq!(stopped.heard().await, Err(ErrorCode::Draining));
    assert_eq!(switched.heard().await, Err(ErrorCode::Draining));

    let mut served = Served::start(setup()).await;
    switched = Stream::ready(&mut served, start("a", 0)).await;
    served.node.configure(&[app("a", json!({"enableInboundStream": false}))], &settings);
    assert_eq!(switched.heard().await, Err(ErrorCode::InboundDisabled));
}
