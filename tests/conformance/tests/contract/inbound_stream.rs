//! 3: the inbound stream over gRPC, consumed with the Rust SDK.

use std::time::Duration;

use realtime_client::inbound::{Event, Message};
use realtime_client::{Delivery, ErrorCode, Inbound, InboundOptions, Retry};
use realtime_testkit::server::OPERATOR_TOKEN;
use realtime_testkit::{Client, Server, TestApp, within};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::PUBLISH;

/// The program of docs/inbound-stream.md. Its `main` is cargo's.
#[allow(dead_code)]
#[path = "../../../../client-sdk/rust/examples/inbound.rs"]
mod example;

/// Permits consuming.
const CONSUME: &str = "realtime:subscriber:read:topic:secure/inbound";
/// Longest time until a stream hears that it was switched off: it looks once a second, and the machine may be busy.
const SOON: Duration = Duration::from_secs(3);

async fn streamed(server: &Server) -> TestApp {
    server.app().set("enableInboundStream", true).set("clientInboundAckEnabled", true).create().await
}

fn grpc_url(server: &Server) -> String {
    let scheme = if server.ca().is_some() { "https" } else { "http" };
    format!("{scheme}://{}", server.grpc_listen())
}

/// Tries once.
fn options(server: &Server, app: &TestApp, token: &str) -> InboundOptions {
    options_for(server, app.id(), token)
}

fn options_for(server: &Server, app_id: &str, token: &str) -> InboundOptions {
    let once = Retry { attempts: Some(1), ..Retry::default() };
    let options = InboundOptions::new([grpc_url(server)], app_id, token).retry(once);
    match server.ca() {
        Some((pem, _)) => options.ca(pem),
        None => options,
    }
}

async fn consume(server: &Server, app: &TestApp) -> Inbound {
    ready(options(server, app, OPERATOR_TOKEN)).await
}

async fn ready(options: InboundOptions) -> Inbound {
    let mut inbound = Inbound::connect(options).unwrap();
    let ready = within("a stream", inbound.ready()).await.unwrap();
    assert_eq!((ready.nodes, ready.missing_nodes.len()), (1, 0));
    inbound
}

async fn refused(options: InboundOptions) -> ErrorCode {
    let mut inbound = Inbound::connect(options).unwrap();
    within("a refusal", inbound.ready()).await.unwrap_err().code
}

async fn next(inbound: &mut Inbound) -> Delivery {
    within("a delivery", inbound.next()).await.unwrap()
}

async fn ended(inbound: &mut Inbound) -> ErrorCode {
    within("the end", inbound.next()).await.unwrap_err().code
}

fn message(delivery: &Delivery) -> &Message {
    match &delivery.event {
        Event::Message(message) => message,
        Event::Presence(presence) => panic!("{presence:?}"),
    }
}

/// Accepts a presence event, which must come next; who, and whether it is there.
async fn presence(inbound: &mut Inbound) -> (String, bool) {
    let delivery = next(inbound).await;
    let Event::Presence(presence) = &delivery.event else { panic!("{delivery:?}") };
    let told = (presence.client.connection_id.to_string(), presence.is_connected);
    delivery.accept();
    told
}

/// A client whose coming was told and accepted.
async fn connected(app: &TestApp, inbound: &mut Inbound, subject: &str) -> Client {
    let client = app.connect(subject, &["p"]).await;
    assert_eq!(presence(inbound).await, (client.id().to_owned(), true));
    client
}

async fn say(client: &mut Client, id: &str) {
    client.send("message", json!({"payload": {"n": 1}, "id": id, "messageType": "order"})).await;
}

#[tokio::test]
async fn an_accepted_message_is_acked_and_a_refused_one_is_not() {
    let server = Server::start().await;
    let app = streamed(&server).await;
    let mut inbound = consume(&server, &app).await;
    let mut client = connected(&app, &mut inbound, "alice").await;
    say(&mut client, "m1").await;
    let delivery = next(&mut inbound).await;
    let got = message(&delivery);
    assert_eq!(
        (got.payload.get(), &*got.id, got.message_type.as_deref()),
        (r#"{"n":1}"#, "m1", Some("order"))
    );
    assert_eq!(got.client.connection_id.to_string(), client.id());
    assert_eq!((&*got.client.subject, &*got.client.permissions), ("alice", &["p".to_owned()][..]));
    assert!(!delivery.redelivered);
    client.expect_nothing().await;
    delivery.accept();
    assert_eq!(client.expect("priv/acks", "ack").await, "m1");
    say(&mut client, "m2").await;
    next(&mut inbound).await.refuse();
    assert_eq!(client.expect_error("forward_failed").await["id"], "m2");
}

#[tokio::test]
async fn without_a_consumer_a_message_fails_soon() {
    let server = Server::start().await;
    let app = streamed(&server).await;
    let mut client = app.connect("a", &[]).await;
    say(&mut client, "m1").await;
    assert_eq!(client.expect_error("forward_failed").await["id"], "m1");
    // A group whose last consumer has left is waited for, but not for ever.
    let mut inbound = consume(&server, &app).await;
    say(&mut client, "m2").await;
    next(&mut inbound).await.accept();
    assert_eq!(client.expect("priv/acks", "ack").await, "m2");
    inbound.close().await;
    say(&mut client, "m3").await;
    assert_eq!(client.expect_error("forward_failed").await["id"], "m3");
}

#[tokio::test]
async fn what_a_consumer_leaves_unanswered_goes_to_the_next_one() {
    let server = Server::start().await;
    let app = streamed(&server).await;
    let mut first = consume(&server, &app).await;
    let mut client = connected(&app, &mut first, "a").await;
    say(&mut client, "m1").await;
    let unanswered = next(&mut first).await;
    drop(first);
    let mut second = consume(&server, &app).await;
    let again = next(&mut second).await;
    assert!(again.redelivered && message(&again).id == "m1");
    // The answer over a stream that has ended is none.
    unanswered.refuse();
    again.accept();
    assert_eq!(client.expect("priv/acks", "ack").await, "m1");
}

#[tokio::test]
async fn one_connection_s_messages_come_in_order_and_consumers_share_them() {
    const MESSAGES: usize = 50;
    let server = Server::start().await;
    let app = streamed(&server).await;
    let (mut one, mut two) = (consume(&server, &app).await, consume(&server, &app).await);
    let mut client = app.connect("a", &[]).await;
    for number in 0..MESSAGES {
        say(&mut client, &number.to_string()).await;
    }
    let mut ids = Vec::new();
    while ids.len() < MESSAGES {
        let delivery = within("a delivery", async {
            tokio::select! {
                delivery = one.next() => delivery.unwrap(),
                delivery = two.next() => delivery.unwrap(),
            }
        })
        .await;
        if let Event::Message(message) = &delivery.event {
            ids.push(message.id.clone());
        }
        delivery.accept();
    }
    assert_eq!(ids, (0..MESSAGES).map(|number| number.to_string()).collect::<Vec<_>>());
    // Each has its ack once; in which order is not promised.
    let mut acks = Vec::new();
    for _ in 0..MESSAGES {
        acks.push(client.expect("priv/acks", "ack").await.as_str().unwrap().to_owned());
    }
    acks.sort_unstable();
    ids.sort_unstable();
    assert_eq!(acks, ids);
}

#[tokio::test]
async fn clients_that_come_and_go_are_told() {
    let server = Server::start().await;
    let app = streamed(&server).await;
    let mut inbound = consume(&server, &app).await;
    let client = connected(&app, &mut inbound, "a").await;
    let id = client.id().to_owned();
    client.close().await;
    assert_eq!(presence(&mut inbound).await, (id, false));
}

#[tokio::test]
async fn a_consumer_needs_to_read_the_inbound_topic() {
    let server = Server::start().await;
    let app = streamed(&server).await;
    let with = |permissions: &[&str]| options(&server, &app, &app.token("service", permissions));
    for permissions in [&[][..], &[PUBLISH], &["realtime:subscriber:read:topic:secure/other"]] {
        assert_eq!(refused(with(permissions)).await, ErrorCode::PermissionDenied, "{permissions:?}");
    }
    let expired = app.sign(json!({"sub": "service", "permissions": [CONSUME], "exp": 1}));
    assert_eq!(refused(options(&server, &app, &expired)).await, ErrorCode::Unauthenticated);
    let elsewhere = options_for(&server, "nowhere", OPERATOR_TOKEN);
    assert_eq!(refused(elsewhere).await, ErrorCode::AppNotFound);
    ready(with(&[CONSUME])).await;
}

#[tokio::test]
async fn a_stream_ends_when_it_is_switched_off() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let consuming = || options(&server, &app, OPERATOR_TOKEN);
    assert_eq!(refused(consuming()).await, ErrorCode::InboundDisabled);
    app.patch(&json!({"enableInboundStream": true})).await;
    let mut inbound = ready(consuming()).await;
    app.patch(&json!({"enableInboundStream": false})).await;
    let before = Instant::now();
    assert_eq!(ended(&mut inbound).await, ErrorCode::InboundDisabled);
    assert!(before.elapsed() < SOON, "after {:?}", before.elapsed());
    app.patch(&json!({"enableInboundStream": true})).await;
    let mut inbound = ready(consuming()).await;
    app.delete().await;
    assert_eq!(ended(&mut inbound).await, ErrorCode::AppNotFound);
}

/// Deleted and created again it may even be another owner's.
#[tokio::test]
async fn a_consumer_does_not_stay_with_an_application_that_was_off_for_a_moment() {
    let server = Server::start().await;
    let app = streamed(&server).await;
    let mut inbound = consume(&server, &app).await;
    app.patch(&json!({"enabled": false})).await;
    app.patch(&json!({"enabled": true})).await;
    // The stream may have looked in between.
    let code = ended(&mut inbound).await;
    assert!(matches!(code, ErrorCode::Unavailable | ErrorCode::AppDisabled), "{code:?}");
    let mut inbound = consume(&server, &app).await;
    connected(&app, &mut inbound, "a").await;
}

#[tokio::test]
async fn a_server_that_stops_tells_consumers_of_its_last_session_first() {
    let mut server = Server::builder().args(&["--drain-seconds", "1"]).start().await;
    let app = streamed(&server).await;
    let mut inbound = consume(&server, &app).await;
    let mut clients = Vec::new();
    for number in 0..3 {
        clients.push(connected(&app, &mut inbound, &format!("user{number}")).await);
    }
    let before = Instant::now();
    server.terminate();
    let mut left = Vec::new();
    while left.len() < clients.len() {
        let (id, is_connected) = presence(&mut inbound).await;
        assert!(!is_connected);
        left.push(id);
    }
    assert!(clients.iter().all(|client| left.iter().any(|id| id == client.id())));
    assert_eq!(ended(&mut inbound).await, ErrorCode::Draining);
    assert!(server.exit_status().await.success(), "{}", server.log());
    // The drain's second, and no waiting for the stream.
    assert!(before.elapsed() < Duration::from_secs(5), "after {:?}", before.elapsed());
}

/// Nobody answers what is there, nor takes it.
#[tokio::test]
async fn a_consumer_that_does_nothing_does_not_hold_up_a_server_that_stops() {
    let mut server = Server::builder().args(&["--drain-seconds", "1"]).start().await;
    let app = streamed(&server).await;
    let inbound = consume(&server, &app).await;
    let mut client = app.connect("a", &[]).await;
    say(&mut client, "m1").await;
    let before = Instant::now();
    server.terminate();
    assert!(server.exit_status().await.success(), "{}", server.log());
    assert!(before.elapsed() < Duration::from_secs(12), "after {:?}", before.elapsed());
    drop(inbound);
}

/// docs/inbound-stream.md: its program answers a client on `priv/{connectionId}`.
#[tokio::test]
async fn the_documented_program_answers_its_clients() {
    let document = include_str!("../../../../docs/inbound-stream.md");
    assert!(
        document.contains(include_str!("../../../../client-sdk/rust/examples/inbound.rs")),
        "not as documented"
    );
    let server = Server::of(realtime_testkit::Role::Serve).start().await;
    let app = streamed(&server).await;
    let token = app.token("backend", &[CONSUME, "realtime:publisher:write:topic:priv/*"]);
    let (stop, stopped) = oneshot::channel::<()>();
    let (url, id) = (grpc_url(&server), app.id().to_owned());
    let program =
        tokio::spawn(async move { example::serve(&url, &id, &token, async { drop(stopped.await) }).await });
    let mut client = app.connect("a", &[]).await;
    // It comes within the time that a message waits for the first consumer.
    say(&mut client, "m1").await;
    let (first, second) = (client.frame().await, client.frame().await);
    let (answer, ack) = if first.message_type() == "ack" { (second, first) } else { (first, second) };
    assert_eq!((answer.topic(), answer.message_type()), (&*format!("priv/{}", client.id()), "response"));
    let response = json!({"data": {"youSaid": {"n": 1}}, "status": 200, "id": "m1"});
    assert_eq!(answer.data(), &json!({"payload": response}));
    assert_eq!((ack.message_type(), ack.data()), ("ack", &json!("m1")));
    stop.send(()).unwrap();
    within("the program's end", program).await.unwrap().unwrap();
}
