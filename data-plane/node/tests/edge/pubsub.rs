//! The PubSub service over real gRPC, and in process.

use realtime_auth::{Behalf, Caller};
use realtime_data_plane::{Cluster, PubSubService};
use realtime_proto::generated::pubsub as wire;
use realtime_proto::{ApiError, ErrorCode};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Status};
use wire::disconnect_request::Target;
use wire::pub_sub_client::PubSubClient;
use wire::pub_sub_server::{PubSub, PubSubServer};
use wire::publish_result::Result as WireResult;

use crate::fixture::{Node, OPERATOR_TOKEN, Setup, admin_token, app, token, within};
use crate::wire::{Client, Frame, opening, text};

const PUBLISH_ALL: &str = "realtime:publisher:write:topic:*";
const SUBSCRIBERS: &str = "realtime:admin:manage:subscribers";
const CONNECTIONS: &str = "realtime:admin:manage:connections";

/// A node with its gRPC port.
pub(crate) struct Served {
    pub(crate) node: Node,
    pub(crate) rpc: PubSubClient<Channel>,
    serving: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Served {
    pub(crate) async fn start(setup: Setup) -> Self {
        Self::until(setup, CancellationToken::new()).await
    }

    /// The same; its streams end with `stop`.
    pub(crate) async fn until(setup: Setup, stop: CancellationToken) -> Self {
        let node = Node::start(setup).await;
        let service = PubSubService::new(Cluster::alone(node.shards.clone()), node.gate.clone()).until(stop);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let incoming = TcpListenerStream::new(listener);
        let server = Server::builder().add_service(PubSubServer::new(service)).serve_with_incoming(incoming);
        let serving = tokio::spawn(async move { server.await.unwrap() });
        let rpc = PubSubClient::new(Endpoint::from_shared(url).unwrap().connect_lazy());
        Self { node, rpc, serving }
    }

    async fn publish(
        &mut self,
        token: &str,
        publish: wire::PublishRequest,
    ) -> Result<wire::PublishResponse, ApiError> {
        answer(within(self.rpc.publish(bearer(token, publish))).await)
    }

    /// A client that has its welcome.
    pub(crate) async fn session(&self, subject: &str) -> Session {
        let mut client = Client::connect(self.node.address).await;
        client.send(opening(&format!("/apps/a?access_token={}", token(subject)), "").as_bytes()).await;
        let welcome = client.json_after_upgrade().await;
        let id = welcome["data"]["connection"]["id"].as_str().unwrap().to_owned();
        Session { client, id }
    }
}

pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) id: String,
}

impl Session {
    async fn subscribe(&mut self, topic: &str) {
        self.client.send(&text(&json!({"type": "subscribe", "data": {"topic": topic}}))).await;
        assert_eq!(self.client.json().await["topic"], topic);
    }
}

pub(crate) fn bearer<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn answer<T>(answer: Result<tonic::Response<T>, Status>) -> Result<T, ApiError> {
    answer.map(tonic::Response::into_inner).map_err(|status| ApiError::from(&status))
}

fn publish(topic: &str, message: &str) -> wire::PublishRequest {
    wire::PublishRequest {
        app_id: "a".into(),
        topic: topic.into(),
        message_json: message.as_bytes().to_vec().into(),
        ..Default::default()
    }
}

fn code<T: std::fmt::Debug>(answer: Result<T, ApiError>) -> ErrorCode {
    answer.unwrap_err().code
}

#[tokio::test]
async fn a_publish_reaches_its_subscribers_as_posted() {
    let mut served = Served::start(Setup::default()).await;
    let mut session = served.session("s").await;
    session.subscribe("t").await;
    let token = admin_token(&[PUBLISH_ALL]);
    let published = served.publish(&token, publish("t", "{\"a\": [1]}")).await.unwrap();
    assert_eq!((published.id.len(), published.bytes, published.receipt), (32, 10, None));
    let broadcast = json!({"topic": "t", "messageType": "broadcast", "data": {"a": [1]}});
    assert_eq!(session.client.json().await, broadcast);

    let named = wire::PublishRequest {
        message_type: "greeting".into(),
        id: "7".into(),
        receipt: true,
        ..publish("t", "\"hi\"")
    };
    let published = served.publish(&token, named).await.unwrap();
    let receipt = wire::Receipt { nodes: 1, matched: 1, queued: 1, dropped: 0 };
    assert_eq!((published.id.as_str(), published.receipt), ("7", Some(receipt)));
    assert_eq!(session.client.json().await["messageType"], "greeting");

    let compressed = wire::PublishRequest { compress: true, ..publish("t", "1") };
    served.publish(&token, compressed).await.unwrap();
    assert!(matches!(session.client.frame().await, Frame::Other(0x82, _)), "not a plain binary frame");
}

#[tokio::test]
async fn callers_are_checked_in_the_order_of_the_http_api() {
    let apps = vec![
        app("a", json!({})),
        app("closed", json!({"adminSourceAddress": ["!127.0.0.1"]})),
        app("off", json!({"enabled": false})),
    ];
    let mut served = Served::start(Setup { apps, ..Setup::default() }).await;
    let to = |app_id: &str, publish: wire::PublishRequest| wire::PublishRequest {
        app_id: app_id.into(),
        ..publish
    };
    let (good, weak) = (admin_token(&[PUBLISH_ALL]), admin_token(&[]));
    let big = "1".repeat(5121);
    for (token, request, expected) in [
        ("bad", to("nobody", publish("", &big)), ErrorCode::AppNotFound),
        ("bad", to("Not An Id", publish("", &big)), ErrorCode::AppNotFound),
        ("bad", to("closed", publish("", &big)), ErrorCode::AddressForbidden),
        ("bad", to("off", publish("", &big)), ErrorCode::Unauthenticated),
        // A token of the clients' key is none of the services'.
        (&token("s"), publish("t", "1"), ErrorCode::Unauthenticated),
        (&weak, to("off", publish("", &big)), ErrorCode::PayloadTooLarge),
        (&weak, to("off", publish("", "1")), ErrorCode::InvalidRequest),
        (&weak, to("off", publish("t", "not json")), ErrorCode::InvalidRequest),
        (&weak, to("off", publish("t", "1")), ErrorCode::PermissionDenied),
        (&good, to("off", publish("secure/inbound", "1")), ErrorCode::TopicForbidden),
        (&good, to("off", publish("t", "1")), ErrorCode::AppDisabled),
        (OPERATOR_TOKEN, to("off", publish("t", "1")), ErrorCode::AppDisabled),
    ] {
        assert_eq!(code(served.publish(token, request.clone()).await), expected, "{token} {request:?}");
    }
    // Operators are not held to source addresses.
    assert!(served.publish(OPERATOR_TOKEN, to("closed", publish("t", "1"))).await.is_ok());
    let bare = answer(within(served.rpc.publish(publish("t", "1"))).await);
    assert_eq!(code(bare), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn events_of_the_server_cannot_be_forged() {
    let mut served = Served::start(Setup::default()).await;
    for topic in ["secure/inbound", "priv/acks", "priv/errors"] {
        for token in [&admin_token(&[PUBLISH_ALL]), OPERATOR_TOKEN] {
            assert_eq!(code(served.publish(token, publish(topic, "1")).await), ErrorCode::TopicForbidden);
        }
    }
    for message_type in ["welcome", "ack", "presence", "error"] {
        let forged = wire::PublishRequest { message_type: message_type.into(), ..publish("t", "1") };
        assert_eq!(code(served.publish(OPERATOR_TOKEN, forged).await), ErrorCode::PermissionDenied);
    }
}

#[tokio::test]
async fn the_message_limit_is_the_settings() {
    let settings = json!({"limits": {"maxMessageBytes": 10}});
    let mut served = Served::start(Setup { settings, ..Setup::default() }).await;
    assert!(served.publish(OPERATOR_TOKEN, publish("t", "1234567890")).await.is_ok());
    let error = code(served.publish(OPERATOR_TOKEN, publish("t", "12345678901")).await);
    assert_eq!(error, ErrorCode::PayloadTooLarge);
}

#[tokio::test]
async fn a_caller_checked_in_this_process_needs_no_token() {
    let node = Node::start(Setup::default()).await;
    let service = PubSubService::new(Cluster::alone(node.shards.clone()), node.gate.clone());
    let mut request = Request::new(publish("t", "1"));
    request.extensions_mut().insert(Caller::Operator { name: "ann".into() }.vouched());
    assert!(service.publish(request).await.is_ok());
    // Without one, and without a peer's address, nobody vouches for it.
    let request = bearer(OPERATOR_TOKEN, publish("t", "1"));
    assert_eq!(code(answer(service.publish(request).await)), ErrorCode::AddressForbidden);
}

/// A tier whose month has this many bytes of API usage.
fn month_of(bytes: u64) -> Setup {
    let settings = json!({"tiers": {"free": {"apiUsageBytesPerMonth": bytes}, "unlimited": {}}});
    Setup { settings, ..Setup::default() }
}

#[tokio::test]
async fn a_months_usage_is_refused_beyond_its_limit_entry_by_entry() {
    let mut served = Served::start(month_of(300)).await;
    let token = admin_token(&[PUBLISH_ALL, "realtime:admin:manage:subscribers"]);
    let publishes = vec![publish("t", "1234567890"), publish("t", &"1".repeat(300)), publish("t", "1")];
    let request = bearer(&token, wire::PublishBatchRequest { publishes });
    let results = answer(within(served.rpc.publish_batch(request)).await).unwrap().results;
    let codes: Vec<_> = results.into_iter().map(outcome).collect();
    assert_eq!(codes, ["ok", "quota_exceeded", "ok"]);
    let list = || wire::ListTopicsRequest { app_id: "a".into(), ..Default::default() };
    assert!(within(served.rpc.list_topics(bearer(&token, list()))).await.is_ok());
    let refused = answer(within(served.rpc.list_topics(bearer(&token, list()))).await).unwrap_err();
    assert_eq!(refused.code, ErrorCode::QuotaExceeded);
    assert!(refused.retry_after.is_some_and(|seconds| (1..=86_400).contains(&seconds)), "{refused:?}");
    assert!(within(served.rpc.list_topics(bearer(OPERATOR_TOKEN, list()))).await.is_ok());
}

#[tokio::test]
async fn a_gateway_says_for_whom_it_calls_and_operators_use_nothing_up() {
    let node = Node::start(month_of(10)).await;
    let service = PubSubService::new(Cluster::alone(node.shards.clone()), node.gate.clone());
    let publish = async |behalf| {
        let mut request = Request::new(publish("t", "1234567890"));
        request.extensions_mut().insert(Caller::Cluster { behalf });
        answer(service.publish(request).await).map(drop)
    };
    for _ in 0..3 {
        assert_eq!(publish(Behalf::Operator).await, Ok(()));
    }
    assert_eq!(publish(Behalf::App).await, Ok(()));
    assert_eq!(publish(Behalf::App).await.unwrap_err().code, ErrorCode::QuotaExceeded);
    assert_eq!(publish(Behalf::Operator).await, Ok(()));
}

#[tokio::test]
async fn entries_of_a_batch_succeed_and_fail_on_their_own_and_in_order() {
    let mut served = Served::start(Setup::default()).await;
    let mut session = served.session("s").await;
    session.subscribe("t").await;
    let publishes = vec![publish("t", "1"), publish("", "2"), publish("priv/acks", "3"), publish("t", "4")];
    let request = bearer(&admin_token(&[PUBLISH_ALL]), wire::PublishBatchRequest { publishes });
    let results = answer(within(served.rpc.publish_batch(request)).await).unwrap().results;
    let codes: Vec<_> = results.into_iter().map(outcome).collect();
    assert_eq!(codes, ["ok", "invalid_request", "topic_forbidden", "ok"]);
    assert_eq!(session.client.json().await["data"], 1);
    assert_eq!(session.client.json().await["data"], 4);
    let request = wire::PublishBatchRequest { publishes: vec![publish("t", "1"); 1001] };
    let refused = answer(within(served.rpc.publish_batch(bearer(OPERATOR_TOKEN, request))).await);
    assert_eq!(refused.unwrap_err().fields[0].field, "publishes");
}

fn outcome(result: wire::PublishResult) -> String {
    match result.result.unwrap() {
        WireResult::Published(_) => "ok".into(),
        WireResult::Failure(failure) => failure.code,
    }
}

#[tokio::test]
async fn a_publish_stream_answers_every_request_in_order_and_ends_with_the_client() {
    let mut served = Served::start(Setup::default()).await;
    let mut session = served.session("s").await;
    session.subscribe("t").await;
    let (requests, stream) = mpsc::channel(8);
    for (sequence, publish) in
        [(5, Some(publish("t", "1"))), (6, None), (7, Some(publish("t", "x"))), (8, Some(publish("t", "2")))]
    {
        requests.send(wire::PublishStreamRequest { sequence, publish }).await.unwrap();
    }
    let request = bearer(&admin_token(&[PUBLISH_ALL]), ReceiverStream::new(stream));
    let mut responses = answer(within(served.rpc.publish_stream(request)).await).unwrap();
    let mut answered = Vec::new();
    for _ in 0..4 {
        let response = within(responses.message()).await.unwrap().unwrap();
        answered.push((response.sequence, outcome(response.result.unwrap())));
    }
    let expected = [(5, "ok"), (6, "invalid_request"), (7, "invalid_request"), (8, "ok")];
    assert_eq!(answered, expected.map(|(sequence, outcome)| (sequence, outcome.to_owned())));
    assert_eq!(session.client.json().await["data"], 1);
    assert_eq!(session.client.json().await["data"], 2);
    drop(requests);
    assert!(within(responses.message()).await.unwrap().is_none());
}

#[tokio::test]
async fn unsubscribe_removes_what_matches_and_says_how_much() {
    let mut served = Served::start(Setup::default()).await;
    let mut session = served.session("s").await;
    for topic in ["news/a", "news/b", "other"] {
        session.subscribe(topic).await;
    }
    let request = |patterns: &[&str]| wire::UnsubscribeRequest {
        app_id: "a".into(),
        topic_patterns: patterns.iter().map(|p| (*p).to_owned()).collect(),
        subject: "s".into(),
    };
    let weak = bearer(&admin_token(&[CONNECTIONS]), request(&["*"]));
    assert_eq!(code(answer(within(served.rpc.unsubscribe(weak)).await)), ErrorCode::PermissionDenied);
    let empty = bearer(&admin_token(&[SUBSCRIBERS]), request(&[]));
    assert_eq!(code(answer(within(served.rpc.unsubscribe(empty)).await)), ErrorCode::InvalidRequest);
    let good = bearer(&admin_token(&[SUBSCRIBERS]), request(&["NEWS/*"]));
    assert_eq!(answer(within(served.rpc.unsubscribe(good)).await).unwrap().subscriptions, 2);
    let left = bearer(&admin_token(&[SUBSCRIBERS]), request(&["*"]));
    // `other` and `main`, never `priv/`.
    assert_eq!(answer(within(served.rpc.unsubscribe(left)).await).unwrap().subscriptions, 2);
}

#[tokio::test]
async fn disconnect_closes_one_a_subjects_or_all_with_4003() {
    let mut served = Served::start(Setup::default()).await;
    let request = |target| wire::DisconnectRequest { app_id: "a".into(), target };
    let good = admin_token(&[CONNECTIONS]);
    let unknown = Target::ConnectionId("0".repeat(32));
    for (token, target, expected) in [
        (&good, None, ErrorCode::InvalidRequest),
        (&good, Some(Target::All(false)), ErrorCode::InvalidRequest),
        (&good, Some(Target::Subject(String::new())), ErrorCode::InvalidRequest),
        (&good, Some(Target::ConnectionId("nonsense".into())), ErrorCode::NotFound),
        (&good, Some(unknown), ErrorCode::NotFound),
        (&admin_token(&[SUBSCRIBERS]), Some(Target::All(true)), ErrorCode::PermissionDenied),
    ] {
        let answer = answer(within(served.rpc.disconnect(bearer(token, request(target.clone())))).await);
        assert_eq!(code(answer), expected, "{target:?}");
    }
    for by in ["id", "subject", "all"] {
        let mut session = served.session("s").await;
        let target = match by {
            "id" => Target::ConnectionId(session.id.clone()),
            "subject" => Target::Subject("s".into()),
            _ => Target::All(true),
        };
        let closed = within(served.rpc.disconnect(bearer(&good, request(Some(target))))).await;
        assert_eq!(answer(closed).unwrap().connections, 1, "{by}");
        assert!(matches!(session.client.frame().await, Frame::Close(4003, _)));
        drop(session);
        served.node.eventually("the session ends", |node| node.shards.open_sessions() == 0).await;
    }
    let none = within(served.rpc.disconnect(bearer(&good, request(Some(Target::Subject("s".into())))))).await;
    assert_eq!(answer(none).unwrap().connections, 0);
}

#[tokio::test]
async fn connections_are_listed_page_by_page() {
    let mut served = Served::start(Setup::default()).await;
    let mut sessions = Vec::new();
    for subject in ["s1", "s2", "s3"] {
        let mut session = served.session(subject).await;
        session.subscribe("t").await;
        sessions.push(session);
    }
    let token = admin_token(&[CONNECTIONS]);
    let mut listed = Vec::new();
    let mut cursor = String::new();
    loop {
        let request =
            wire::ListConnectionsRequest { app_id: "a".into(), cursor, limit: 2, ..Default::default() };
        let page = answer(within(served.rpc.list_connections(bearer(&token, request))).await).unwrap();
        assert!(page.items.len() <= 2);
        listed.extend(page.items);
        cursor = page.next;
        if cursor.is_empty() {
            break;
        }
    }
    let mut expected: Vec<_> = sessions.iter().map(|session| session.id.as_str()).collect();
    expected.sort_unstable();
    assert_eq!(listed.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), expected);
    assert!(listed.iter().all(|c| c.remote_address == "127.0.0.1" && c.subscriptions == 1));
    let mut list = async |subject: &str, cursor: &str| {
        let (subject, cursor) = (subject.to_owned(), cursor.to_owned());
        let request = wire::ListConnectionsRequest { app_id: "a".into(), subject, cursor, limit: 0 };
        answer(within(served.rpc.list_connections(bearer(&token, request))).await)
    };
    let found = list("s2", "").await.unwrap().items;
    assert_eq!((found.len(), found[0].subject.as_str()), (1, "s2"));
    for cursor in ["?", "bm9wZQ"] {
        assert_eq!(list("", cursor).await.unwrap_err().fields[0].field, "cursor");
    }
}

#[tokio::test]
async fn topics_are_listed_by_prefix_page_by_page() {
    let mut served = Served::start(Setup::default()).await;
    let mut one = served.session("s1").await;
    let mut two = served.session("s2").await;
    for topic in ["n/a", "n/b", "n/c"] {
        one.subscribe(topic).await;
    }
    two.subscribe("n/b").await;
    let token = admin_token(&[SUBSCRIBERS]);
    let mut list = async |cursor: String| {
        let request = wire::ListTopicsRequest { app_id: "a".into(), prefix: "n/".into(), cursor, limit: 2 };
        answer(within(served.rpc.list_topics(bearer(&token, request))).await).unwrap()
    };
    let row = |topic: &str, subscribers| wire::Topic { topic: topic.into(), subscribers };
    let first = list(String::new()).await;
    assert_eq!(first.items, [row("n/a", 1), row("n/b", 2)]);
    let last = list(first.next).await;
    assert_eq!((last.items, last.next.as_str()), (vec![row("n/c", 1)], ""));
}

#[tokio::test]
async fn forwarders_are_tested_and_the_status_is_told_to_operators_and_the_applications_administrators() {
    let apps = vec![app("a", json!({})), app("off", json!({"enabled": false}))];
    let mut served = Served::start(Setup { apps, ..Setup::default() }).await;
    let _session = served.session("s").await;
    let (own, other) = (admin_token(&["realtime:admin:manage:application"]), admin_token(&[SUBSCRIBERS]));
    let status = |app_id: &str| wire::AppStatusRequest { app_id: app_id.into() };
    let test = |app_id: &str| wire::TestForwardersRequest { app_id: app_id.into(), version: 0 };
    for token in [&*own, OPERATOR_TOKEN] {
        let told = within(served.rpc.app_status(bearer(token, status("a")))).await.unwrap().into_inner();
        assert_eq!((told.enabled, told.nodes, told.connections), (true, 1, 1));
        let off = within(served.rpc.app_status(bearer(token, status("off")))).await.unwrap().into_inner();
        assert!(!off.enabled);
        let cases = [("a", ErrorCode::InboundDisabled), ("off", ErrorCode::AppDisabled)];
        for (app_id, expected) in cases.into_iter().chain([("nowhere", ErrorCode::AppNotFound)]) {
            let refused = answer(within(served.rpc.test_forwarders(bearer(token, test(app_id)))).await);
            assert_eq!(code(refused), expected, "{app_id}");
        }
    }
    let refused = answer(within(served.rpc.app_status(bearer(&other, status("a")))).await);
    assert_eq!(code(refused), ErrorCode::PermissionDenied);
    let refused = answer(within(served.rpc.test_forwarders(bearer(&other, test("off")))).await);
    assert_eq!(code(refused), ErrorCode::PermissionDenied);
}

/// A gateway may have heard of a change before the node has.
#[tokio::test]
async fn a_test_goes_by_no_older_configuration_than_its_gateway_has() {
    let node = Node::start(Setup::default()).await;
    let service = PubSubService::new(Cluster::alone(node.shards.clone()), node.gate.clone());
    let test = async |version| {
        let mut request = Request::new(wire::TestForwardersRequest { app_id: "a".into(), version });
        request.extensions_mut().insert(Caller::Cluster { behalf: Behalf::App });
        answer(within(service.test_forwarders(request)).await).unwrap_err()
    };
    assert_eq!(test(1).await.code, ErrorCode::InboundDisabled, "it is asked, and has no target");
    let late = test(2).await;
    assert_eq!((late.code, late.retry_after), (ErrorCode::Unavailable, Some(1)));
}
