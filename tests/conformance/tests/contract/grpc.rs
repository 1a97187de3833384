//! 7: the gRPC services have the permissions, limits and costs of the HTTP API, and one table of errors.

use realtime_proto::generated::admin::{
    CreateAppRequest, DeleteAppRequest, GetAppRequest, GetSettingsRequest, ListAppsRequest,
    ReplaceAppRequest, ReplaceSettingsRequest,
};
use realtime_proto::generated::pubsub::disconnect_request::Target;
use realtime_proto::generated::pubsub::publish_result::Result as Published;
use realtime_proto::generated::pubsub::{
    DisconnectRequest, ListConnectionsRequest, ListTopicsRequest, PublishBatchRequest, PublishRequest,
    PublishStreamRequest, UnsubscribeRequest,
};
use realtime_testkit::server::OPERATOR_TOKEN;
use realtime_testkit::{Algorithm, Server, Signer, TestApp, eventually, within};
use serde_json::{Value, json};
use tonic::Code;

use crate::apps::{minimal, path};
use crate::grpc_client::{Grpc, Refused, answer, call, channel, publish};
use crate::limits::limited;
use crate::{APPLICATION, CONNECTIONS, KEYS, PUBLISH, SUBSCRIBERS};

fn assert_refused<T: std::fmt::Debug>(result: Result<T, Refused>, status: Code, code: &str) -> Refused {
    let refused = result.expect_err(code);
    assert_eq!((refused.status, refused.code()), (status, code), "{refused:?}");
    refused
}

fn unsubscribe(app: &TestApp, patterns: &[&str], subject: &str) -> UnsubscribeRequest {
    let topic_patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    UnsubscribeRequest { app_id: app.id().into(), topic_patterns, subject: subject.into() }
}

fn disconnect(app: &TestApp, target: Target) -> DisconnectRequest {
    DisconnectRequest { app_id: app.id().into(), target: Some(target) }
}

fn connections(app: &TestApp) -> ListConnectionsRequest {
    ListConnectionsRequest { app_id: app.id().into(), ..Default::default() }
}

fn topics(app: &TestApp) -> ListTopicsRequest {
    ListTopicsRequest { app_id: app.id().into(), ..Default::default() }
}

#[tokio::test]
async fn a_publish_reaches_subscribers_as_over_http() {
    let server = Server::start().await;
    let (app, mut grpc) = (server.app().create().await, Grpc::connect(&server).await);
    let mut client = app.connect("a", &[]).await;
    let token = app.token("service", &[PUBLISH]);
    let request = PublishRequest {
        message_json: r#"{ "a" : 1 }"#.into(),
        message_type: "note".into(),
        id: "52".into(),
        receipt: true,
        compress: true,
        ..publish(app.id(), "main")
    };
    let published = answer(grpc.pubsub.publish(call(&token, request))).await.unwrap();
    assert_eq!((published.id.as_str(), published.bytes), ("52", 11));
    let receipt = published.receipt.unwrap();
    assert_eq!((receipt.nodes, receipt.matched, receipt.queued, receipt.dropped), (1, 1, 1, 0));
    let frame = client.frame().await;
    assert!(frame.binary, "as asked for by `compress`");
    assert_eq!(frame.json, json!({"topic": "main", "messageType": "note", "data": {"a": 1}}));
    let plain = answer(grpc.pubsub.publish(call(&token, publish(app.id(), "main")))).await.unwrap();
    assert!(!plain.id.is_empty() && plain.receipt.is_none());
    assert_eq!(client.expect("main", "broadcast").await, 1);
}

/// In order, and each entry on its own.
#[tokio::test]
async fn batches_and_streams_publish_in_order() {
    let server = Server::start().await;
    let (app, mut grpc) = (server.app().create().await, Grpc::connect(&server).await);
    let mut client = app.connect("a", &[]).await;
    let token = app.token("service", &["realtime:publisher:write:topic:main"]);
    let numbered = |n: usize| {
        let topic = if n % 5 == 4 { "other" } else { "main" };
        PublishRequest { message_json: n.to_string().into(), ..publish(app.id(), topic) }
    };
    let code = |result: Option<Published>| match result.unwrap() {
        Published::Published(_) => "ok".to_owned(),
        Published::Failure(failure) => failure.code,
    };
    let expected = |n: usize| if n % 5 == 4 { "permission_denied" } else { "ok" };
    let batch = PublishBatchRequest { publishes: (0..50).map(numbered).collect() };
    let results = answer(grpc.pubsub.publish_batch(call(&token, batch))).await.unwrap().results;
    assert_eq!(results.len(), 50);
    for (n, result) in results.into_iter().enumerate() {
        assert_eq!(code(result.result), expected(n));
    }
    let requests: Vec<_> = (50..100)
        .map(|n| PublishStreamRequest { sequence: n as u64, publish: Some(numbered(n)) })
        .chain([PublishStreamRequest { sequence: 100, publish: None }])
        .collect();
    let stream = call(&token, tokio_stream::iter(requests));
    let mut responses = answer(grpc.pubsub.publish_stream(stream)).await.unwrap();
    for n in 50..=100 {
        let response = within("a response", responses.message()).await.unwrap().unwrap();
        let expected = if n == 100 { "invalid_request" } else { expected(n) };
        assert_eq!(response.sequence, n as u64);
        assert_eq!(code(response.result.unwrap().result), expected);
    }
    assert!(within("the end", responses.message()).await.unwrap().is_none(), "it ends with the requests");
    for n in (0..100).filter(|n| n % 5 != 4) {
        assert_eq!(client.expect("main", "broadcast").await, n);
    }
    let too_many = PublishBatchRequest { publishes: vec![numbered(0); 1001] };
    let refused = answer(grpc.pubsub.publish_batch(call(&token, too_many))).await;
    assert_refused(refused, Code::InvalidArgument, "invalid_request");
}

/// Each request fails the check named and all later ones.
#[tokio::test]
async fn a_publishs_checks_are_made_in_the_order_of_the_http_api() {
    let server = Server::start().await;
    let app = limited(&server, "apiUsageBytesPerMonth", 1).await;
    let grpc = Grpc::connect(&server).await;
    app.patch(&json!({"enabled": false, "adminSourceAddress": ["10.0.0.0/8"]})).await;
    let large = || PublishRequest { message_json: vec![b'x'; 6000].into(), ..publish(app.id(), "") };
    let malformed = || PublishRequest { message_json: "x".into(), ..publish(app.id(), "") };
    let send = async |token: &str, request: PublishRequest| {
        answer(grpc.pubsub.clone().publish(call(token, request))).await
    };
    let unknown = PublishRequest { app_id: "unknown".into(), ..large() };
    assert_refused(send("x", unknown).await, Code::NotFound, "app_not_found");
    assert_refused(send("x", large()).await, Code::PermissionDenied, "address_forbidden");
    app.patch(&json!({"adminSourceAddress": []})).await;
    assert_refused(send("x", large()).await, Code::Unauthenticated, "unauthenticated");
    let (nothing, all) = (app.token("a", &[]), app.token("a", &[PUBLISH]));
    assert_refused(send(&nothing, large()).await, Code::OutOfRange, "payload_too_large");
    let refused = assert_refused(send(&nothing, malformed()).await, Code::InvalidArgument, "invalid_request");
    let fields: Vec<_> = refused.detail.fields.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(fields, ["topic", "message_json"]);
    let good = || PublishRequest { message_json: "12".into(), ..publish(app.id(), "t") };
    assert_refused(send(&nothing, good()).await, Code::PermissionDenied, "permission_denied");
    assert_refused(send(&all, good()).await, Code::FailedPrecondition, "app_disabled");
    app.patch(&json!({"enabled": true})).await;
    let refused = assert_refused(send(&all, good()).await, Code::ResourceExhausted, "quota_exceeded");
    assert!(refused.detail.retry_after_seconds > 0);
    for topic in ["secure/inbound", "priv/acks", "priv/errors"] {
        let refused = send(&all, publish(app.id(), topic)).await;
        assert_refused(refused, Code::PermissionDenied, "topic_forbidden");
    }
    for message_type in ["welcome", "ack", "presence", "error"] {
        let forged = PublishRequest { message_type: message_type.into(), ..publish(app.id(), "t") };
        assert_refused(send(OPERATOR_TOKEN, forged).await, Code::PermissionDenied, "permission_denied");
    }
}

#[tokio::test]
async fn every_call_needs_the_permission_of_its_http_form() {
    let server = Server::start().await;
    let (app, grpc) = (server.app().create().await, Grpc::connect(&server).await);
    let (all, someone) = (Target::All(true), Target::Subject("nobody".into()));
    let calls = async |token: &str| {
        let mut pubsub = grpc.pubsub.clone();
        let results = [
            answer(pubsub.unsubscribe(call(token, unsubscribe(&app, &["*"], "a")))).await.map(drop),
            answer(pubsub.list_topics(call(token, topics(&app)))).await.map(drop),
            answer(pubsub.disconnect(call(token, disconnect(&app, all.clone())))).await.map(drop),
            answer(pubsub.disconnect(call(token, disconnect(&app, someone.clone())))).await.map(drop),
            answer(pubsub.list_connections(call(token, connections(&app)))).await.map(drop),
        ];
        results.map(|result| match result {
            Ok(()) => true,
            Err(refused) => {
                assert_eq!((refused.status, refused.code()), (Code::PermissionDenied, "permission_denied"));
                false
            }
        })
    };
    for (permissions, allowed) in [
        (&[][..], [false; 5]),
        (&[PUBLISH, APPLICATION, KEYS], [false; 5]),
        (&[SUBSCRIBERS], [true, true, false, false, false]),
        (&[CONNECTIONS], [false, false, true, true, true]),
    ] {
        assert_eq!(calls(&app.token("service", permissions)).await, allowed, "{permissions:?}");
    }
    assert_eq!(calls(OPERATOR_TOKEN).await, [true; 5]);
}

#[tokio::test]
async fn calls_cost_what_they_cost_over_http_and_operators_pay_nothing() {
    let server = Server::start().await;
    let app = limited(&server, "apiUsageBytesPerMonth", 5 * 256 + 11).await;
    let mut grpc = Grpc::connect(&server).await;
    let token = app.token("service", &[PUBLISH, SUBSCRIBERS, CONNECTIONS]);
    for _ in 0..10 {
        answer(grpc.pubsub.list_topics(call(OPERATOR_TOKEN, topics(&app)))).await.unwrap();
    }
    let request =
        |bytes: usize| PublishRequest { message_json: "1".repeat(bytes).into(), ..publish(app.id(), "t") };
    let batch = PublishBatchRequest { publishes: vec![request(5), request(2000), request(5)] };
    let results = answer(grpc.pubsub.publish_batch(call(&token, batch))).await.unwrap().results;
    let failed: Vec<_> = results.iter().map(|r| matches!(r.result, Some(Published::Failure(_)))).collect();
    assert_eq!(failed, [false, true, false], "what is refused costs nothing");
    answer(grpc.pubsub.unsubscribe(call(&token, unsubscribe(&app, &["*"], "a")))).await.unwrap();
    answer(grpc.pubsub.list_topics(call(&token, topics(&app)))).await.unwrap();
    answer(grpc.pubsub.list_connections(call(&token, connections(&app)))).await.unwrap();
    answer(grpc.pubsub.disconnect(call(&token, disconnect(&app, Target::All(true))))).await.unwrap();
    let unknown = disconnect(&app, Target::ConnectionId("0".repeat(32)));
    let refused = answer(grpc.pubsub.disconnect(call(&token, unknown.clone()))).await;
    assert_refused(refused, Code::NotFound, "not_found");
    let refused = answer(grpc.pubsub.disconnect(call(&token, unknown))).await;
    assert_refused(refused, Code::ResourceExhausted, "quota_exceeded");
    answer(grpc.pubsub.publish(call(&token, request(1)))).await.unwrap();
    let refused = answer(grpc.pubsub.publish(call(&token, request(1)))).await;
    assert_refused(refused, Code::ResourceExhausted, "quota_exceeded");
}

#[tokio::test]
async fn subscriptions_and_connections_are_administered_as_over_http() {
    let server = Server::start().await;
    let (app, mut grpc) = (server.app().create().await, Grpc::connect(&server).await);
    let mut alice = app.connect("alice", &[]).await;
    let mut bob = app.connect("bob", &[]).await;
    alice.subscribe("chat/1").await;
    bob.subscribe("chat/1").await;
    let token = app.token("service", &[SUBSCRIBERS, CONNECTIONS]);
    let filter = ListTopicsRequest { prefix: "chat/".into(), ..topics(&app) };
    let listed = answer(grpc.pubsub.list_topics(call(&token, filter))).await.unwrap();
    assert_eq!(listed.items.len(), 1);
    assert_eq!((listed.items[0].topic.as_str(), listed.items[0].subscribers), ("chat/1", 2));
    let request = unsubscribe(&app, &["chat/*"], "alice");
    assert_eq!(answer(grpc.pubsub.unsubscribe(call(&token, request))).await.unwrap().subscriptions, 1);
    let page = ListConnectionsRequest { limit: 1, ..connections(&app) };
    let first = answer(grpc.pubsub.list_connections(call(&token, page.clone()))).await.unwrap();
    let page = ListConnectionsRequest { cursor: first.next.clone(), ..page };
    let second = answer(grpc.pubsub.list_connections(call(&token, page))).await.unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next.as_str()), (1, 1, ""));
    let mut subjects = [&first.items[0].subject, &second.items[0].subject];
    subjects.sort();
    assert_eq!(subjects, ["alice", "bob"]);
    let bad = ListConnectionsRequest { cursor: "?".into(), ..connections(&app) };
    let refused = answer(grpc.pubsub.list_connections(call(&token, bad))).await;
    let refused = assert_refused(refused, Code::InvalidArgument, "invalid_request");
    assert_eq!(refused.detail.fields[0].field, "cursor");
    let one = disconnect(&app, Target::ConnectionId(alice.id().into()));
    assert_eq!(answer(grpc.pubsub.disconnect(call(&token, one.clone()))).await.unwrap().connections, 1);
    assert_eq!(alice.expect_close().await.0, 4003);
    let gone = answer(grpc.pubsub.disconnect(call(&token, one))).await;
    assert_refused(gone, Code::NotFound, "not_found");
    let malformed = disconnect(&app, Target::ConnectionId("x".into()));
    let refused = answer(grpc.pubsub.disconnect(call(&token, malformed))).await;
    assert_refused(refused, Code::NotFound, "not_found");
    for none in [Some(Target::All(false)), Some(Target::Subject(String::new())), None] {
        let request = DisconnectRequest { app_id: app.id().into(), target: none };
        let refused = answer(grpc.pubsub.disconnect(call(&token, request))).await;
        assert_refused(refused, Code::InvalidArgument, "invalid_request");
    }
    bob.expect_nothing().await;
}

/// One table maps error codes to both statuses: the same fault has the same code over both.
#[tokio::test]
async fn configuration_faults_have_the_codes_of_the_http_api() {
    let server = Server::start().await;
    let (app, grpc) = (server.app().set("name", "taken").create().await, Grpc::connect(&server).await);
    let same = |status: u16, code: &str, answer: &realtime_testkit::Response| {
        answer.expect_problem(status, code);
    };
    let mut document = minimal("taken");
    same(409, "name_taken", &server.operator("POST", "/api/apps").json(&document).send().await);
    assert_refused(grpc.create(&document).await, Code::AlreadyExists, "name_taken");
    document["name"] = json!("free");
    document["appId"] = json!(app.id());
    same(409, "app_id_taken", &server.operator("POST", "/api/apps").json(&document).send().await);
    assert_refused(grpc.create(&document).await, Code::AlreadyExists, "app_id_taken");
    document["surprise"] = json!(1);
    document["tier"] = json!("platinum");
    let over_http = server.operator("POST", "/api/apps").json(&document).send().await;
    let fields = over_http.expect_problem(422, "unprocessable")["errors"].clone();
    let refused = assert_refused(grpc.create(&document).await, Code::InvalidArgument, "unprocessable");
    let over_grpc: Vec<Value> =
        refused.detail.fields.iter().map(|f| json!({"field": f.field, "message": f.message})).collect();
    assert_eq!(fields, json!(over_grpc));
    let change = json!({"description": "x"});
    let stale = server.operator("PATCH", &path(&app)).header("If-Match", "\"1\"").json(&change);
    same(412, "stale_version", &stale.send().await);
    assert_refused(grpc.patch(app.id(), &change, 1).await, Code::Aborted, "stale_version");
    assert_refused(grpc.patch("unknown", &change, 0).await, Code::NotFound, "app_not_found");
    let text = CreateAppRequest { document_json: "hello".into() };
    let refused = answer(grpc.apps.clone().create(call(OPERATOR_TOKEN, text))).await;
    assert_refused(refused, Code::InvalidArgument, "invalid_request");
    let large = CreateAppRequest { document_json: vec![b' '; 256 * 1024 + 1].into() };
    let refused = answer(grpc.apps.clone().create(call(OPERATOR_TOKEN, large))).await;
    assert_refused(refused, Code::OutOfRange, "payload_too_large");
    let settings =
        ReplaceSettingsRequest { document_json: r#"{"tiers":{"unlimited":{}}}"#.into(), if_version: 0 };
    let refused = answer(grpc.settings.clone().replace(call(OPERATOR_TOKEN, settings))).await;
    assert_refused(refused, Code::FailedPrecondition, "tier_in_use");
}

#[tokio::test]
async fn versions_and_documents_are_those_of_the_http_api() {
    let server = Server::start().await;
    let (app, grpc) = (server.app().create().await, Grpc::connect(&server).await);
    let over_http = server.operator("GET", &path(&app)).send().await;
    let get = GetAppRequest { app_id: app.id().into() };
    let got = answer(grpc.apps.clone().get(call(OPERATOR_TOKEN, get))).await.unwrap();
    assert_eq!(over_http.header("etag"), Some(format!("\"{}\"", got.version).as_str()));
    assert_eq!(over_http.json(), serde_json::from_slice::<Value>(&got.document_json).unwrap());
    let changed = grpc.patch(app.id(), &json!({"description": "x"}), got.version).await.unwrap();
    assert!(changed.version > got.version);
    let over_http = server.operator("GET", "/api/settings").send().await;
    let got = answer(grpc.settings.clone().get(call(OPERATOR_TOKEN, GetSettingsRequest {}))).await.unwrap();
    assert_eq!(over_http.header("etag"), Some(format!("\"{}\"", got.version).as_str()));
    assert_eq!(over_http.json(), serde_json::from_slice::<Value>(&got.document_json).unwrap());
}

#[tokio::test]
async fn an_app_token_manages_its_own_app_as_over_http() {
    let server = Server::start().await;
    let (app, other) = (server.app().create().await, server.app().create().await);
    let grpc = Grpc::connect(&server).await;
    let token = app.token("owner", &[APPLICATION]);
    let get = |app: &TestApp| GetAppRequest { app_id: app.id().into() };
    let got = answer(grpc.apps.clone().get(call(&token, get(&app)))).await.unwrap();
    let refused = answer(grpc.apps.clone().get(call(&token, get(&other)))).await;
    assert_refused(refused, Code::Unauthenticated, "unauthenticated");
    let nothing = app.token("owner", &[]);
    let refused = answer(grpc.apps.clone().get(call(&nothing, get(&app)))).await;
    assert_refused(refused, Code::PermissionDenied, "permission_denied");
    let replace = |change: Value| {
        let mut document: Value = serde_json::from_slice(&got.document_json).unwrap();
        for (name, value) in change.as_object().unwrap() {
            document[name] = value.clone();
        }
        let document_json = document.to_string().into();
        ReplaceAppRequest { app_id: app.id().into(), document_json, if_version: 0 }
    };
    let mut apps = grpc.apps.clone();
    let key = Signer::generate(Algorithm::ES256).key_config();
    let refused =
        answer(apps.replace(call(&token, replace(json!({"tier": "unlimited", "authKey": key}))))).await;
    let refused = assert_refused(refused, Code::PermissionDenied, "permission_denied");
    let fields: Vec<_> = refused.detail.fields.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(fields, ["tier", "authKey"]);
    let keys = app.token("owner", &[APPLICATION, KEYS]);
    answer(apps.replace(call(&keys, replace(json!({"authKey": key}))))).await.unwrap();
    let delete = DeleteAppRequest { app_id: app.id().into(), if_version: 0 };
    let refused = answer(apps.delete(call(&keys, delete))).await;
    assert_refused(refused, Code::PermissionDenied, "permission_denied");
    let refused = answer(apps.list(call(&keys, ListAppsRequest::default()))).await;
    assert_refused(refused, Code::Unauthenticated, "unauthenticated");
    let refused = answer(grpc.settings.clone().get(call(&keys, GetSettingsRequest {}))).await;
    assert_refused(refused, Code::Unauthenticated, "unauthenticated");
}

#[tokio::test]
async fn nodes_are_listed_and_drained_by_operators_only() {
    use realtime_proto::generated::admin::nodes_client::NodesClient;
    use realtime_proto::generated::admin::{DrainRequest, ListNodesRequest, UndrainRequest};
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut nodes = NodesClient::new(channel(&server).await);
    let owner = app.token("owner", &[APPLICATION, KEYS]);
    let refused = answer(nodes.list(call(&owner, ListNodesRequest {}))).await;
    assert_refused(refused, Code::Unauthenticated, "unauthenticated");
    let listed = answer(nodes.list(call(OPERATOR_TOKEN, ListNodesRequest {}))).await.unwrap();
    let [node] = listed.items.as_slice() else { panic!("{listed:?}") };
    assert_eq!((node.listen.as_str(), node.state.as_str()), (server.listen(), "ready"));
    let drain = |node_id: &str| DrainRequest { node_id: node_id.into() };
    let refused = answer(nodes.drain(call(&owner, drain(&node.id)))).await;
    assert_refused(refused, Code::Unauthenticated, "unauthenticated");
    let refused = answer(nodes.drain(call(OPERATOR_TOKEN, drain("unknown")))).await;
    assert_refused(refused, Code::NotFound, "not_found");
    answer(nodes.drain(call(OPERATOR_TOKEN, drain(&node.id)))).await.unwrap();
    let path = app.path(&app.token("a", &[]));
    let opens = async || realtime_testkit::RawSocket::open(app.address(), &path, &[]).await;
    eventually("the drain", async || opens().await.err().filter(|refusal| refusal.status == 503)).await;
    let undrain = UndrainRequest { node_id: node.id.clone() };
    answer(nodes.undrain(call(OPERATOR_TOKEN, undrain))).await.unwrap();
    eventually("the end of the drain", async || opens().await.ok()).await;
}

/// What is between the processes of a cluster is not for whoever has a token.
#[tokio::test]
async fn the_discovery_service_is_not_served_to_services() {
    use realtime_proto::generated::discovery::StreamRequest;
    use realtime_proto::generated::discovery::discovery_client::DiscoveryClient;
    let server = Server::start().await;
    let mut client = DiscoveryClient::new(channel(&server).await);
    let hello = call(OPERATOR_TOKEN, tokio_stream::iter([StreamRequest::default()]));
    let refused = within("the answer", client.stream(hello)).await.map(drop).expect_err("a refusal");
    assert_eq!(refused.code(), Code::Unimplemented);
}
