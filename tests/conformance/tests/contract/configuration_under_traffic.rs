//! 5: what clients and services meet at the moment in which a configuration changes. A change over HTTP is in
//! force when its answer comes, so nothing here waits for it.

use std::cell::{Cell, RefCell};

use futures_util::future::join_all;
use realtime_testkit::{Algorithm, Client, Incoming, RawSocket, Server, Signer, TestApp, eventually};
use serde_json::{Value, json};

use crate::PUBLISH;
use crate::grpc_client::{Grpc, answer};

/// Publishes a session makes, or services, before a change is tried.
const WARM: usize = 20;
/// And after it.
const AFTER: usize = 10;

async fn open(app: &TestApp, token: &str) -> Result<RawSocket, realtime_testkit::Response> {
    RawSocket::open(app.address(), &app.path(token), &[]).await
}

/// A client that publishes one message after another, each when the one before is acked; the close code.
async fn publish_until_closed(mut client: Client, published: &Cell<usize>) -> u16 {
    while client.try_send("publish", json!({"topic": "main", "payload": "x"})).await {
        match client.next().await {
            Incoming::Frame(frame) => assert_eq!(frame.message_type(), "ack", "{}", frame.json),
            Incoming::Closed { code, .. } => return code,
            Incoming::Lost(why) => panic!("the connection ended without a close frame: {why}"),
        }
        published.set(published.get() + 1);
    }
    client.drain_to_close().await.0
}

/// A service that publishes until it is told to stop; its answers, equal neighbours once.
async fn publish_until(app: &TestApp, stop: &Cell<bool>, published: &Cell<usize>) -> Vec<String> {
    let mut answers: Vec<String> = Vec::new();
    while !stop.get() {
        let answer = app.publish(&json!({"topic": "main", "message": 1})).await;
        published.set(published.get() + 1);
        let text = match answer.status {
            200 => "200".to_owned(),
            status => format!("{status} {}", answer.json()["code"].as_str().unwrap()),
        };
        if answers.last() != Some(&text) {
            answers.push(text);
        }
    }
    answers
}

async fn until(what: &str, counter: &Cell<usize>, at_least: usize) {
    eventually(what, async || (counter.get() >= at_least).then_some(())).await;
}

/// Ends an application that receives and publishes over WebSocket and HTTP: every session gets 4004 and nothing
/// after it, and services read the refusal from then on.
async fn end_under_traffic(
    server: &Server,
    app: &TestApp,
    end: impl Future<Output = ()>,
    refusal: (u16, &str),
) {
    let (mut subscribers, mut publishers) = (Vec::new(), Vec::new());
    for n in 0..10 {
        subscribers.push(app.connect_raw(&app.token(&format!("subscriber {n}"), &[]), &[]).await);
    }
    for n in 0..3 {
        let mut client = app.connect(&format!("publisher {n}"), &[PUBLISH]).await;
        client.send("unsubscribe", json!({"topic": "main"})).await;
        publishers.push(client);
    }
    let (stop, by_clients, by_services) = (Cell::new(false), Cell::new(0), Cell::new(0));
    let change = async {
        until("clients that publish", &by_clients, WARM).await;
        until("services that publish", &by_services, WARM).await;
        end.await;
        app.publish(&json!({"topic": "main", "message": 1})).await.expect_problem(refusal.0, refusal.1);
        app.refused(&app.path(&app.token("late", &[])), &[]).await.expect_problem(refusal.0, refusal.1);
        until("services after the end", &by_services, by_services.get() + AFTER).await;
        stop.set(true);
    };
    let closed = join_all(subscribers.iter_mut().map(RawSocket::expect_close));
    let publishing = join_all(publishers.into_iter().map(|client| publish_until_closed(client, &by_clients)));
    let services = join_all((0..3).map(|_| publish_until(app, &stop, &by_services)));
    let (closed, publishing, services, ()) = tokio::join!(closed, publishing, services, change);
    assert!(closed.iter().all(|(code, _)| *code == 4004), "{closed:?}");
    assert_eq!(publishing, [4004; 3]);
    for answers in services {
        assert_eq!(answers, ["200".to_owned(), format!("{} {}", refusal.0, refusal.1)]);
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

async fn busy_app(server: &Server) -> TestApp {
    server.app().set("tier", "unlimited").set("clientInboundAckEnabled", true).create().await
}

#[tokio::test]
async fn disabling_an_app_under_traffic_closes_every_session_with_4004_and_nothing_follows() {
    let server = Server::start().await;
    let app = busy_app(&server).await;
    for _ in 0..3 {
        let disable = async { drop(app.patch(&json!({"enabled": false})).await) };
        end_under_traffic(&server, &app, disable, (403, "app_disabled")).await;
        app.patch(&json!({"enabled": true})).await;
    }
    app.connect("again", &[]).await.expect_nothing().await;
}

#[tokio::test]
async fn deleting_an_app_under_traffic_closes_every_session_with_4004_and_nothing_follows() {
    let server = Server::start().await;
    let app = busy_app(&server).await;
    end_under_traffic(&server, &app, app.delete(), (404, "app_not_found")).await;
}

/// However little time lies between: nothing of the old application is left in the new one of its id.
#[tokio::test]
async fn an_app_that_is_deleted_and_created_again_at_once_is_another_one() {
    let server = Server::start().await;
    let client = Grpc::connect(&server).await;
    let bystander = server.app().create().await;
    for round in 0..8 {
        let old = server.app().set("appId", "same").set("name", "same").create().await;
        let mut session = old.connect("a", &[PUBLISH]).await;
        session.subscribe("t").await;
        // The tokens have passed, so they may be remembered.
        old.publish(&json!({"topic": "t", "message": 1})).await.expect(200);
        session.expect("t", "broadcast").await;
        let again = async {
            client.delete("same", 0).await.unwrap();
            server.app().set("appId", "same").set("name", "same").create().await
        };
        // Other changes in flight hide the moment in between from the node.
        let noise =
            join_all(
                (0..10).map(|n| {
                    let (client, id) = (client.clone(), bystander.id().to_owned());
                    async move {
                        client.patch(&id, &json!({"description": format!("{round} {n}")}), 0).await.unwrap()
                    }
                }),
            );
        let (new, _) = tokio::join!(again, noise);
        assert_eq!(session.expect_close().await.0, 4004);
        old.refused(&old.path(&old.token("a", &[])), &[]).await.expect_problem(401, "unauthenticated");
        let publish = old.publish(&json!({"topic": "t", "message": 1})).await;
        publish.expect_problem(401, "unauthenticated");
        let mut session = new.connect("a", &[]).await;
        new.publish(&json!({"topic": "main", "message": 2})).await.expect(200);
        assert_eq!(session.expect("main", "broadcast").await, 2);
        let listed = server.operator("GET", "/api/connections/same").send().await.expect(200);
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed}");
        new.delete().await;
    }
}

/// Also where both reach the node as one change.
#[tokio::test]
async fn an_app_that_is_disabled_and_enabled_at_once_has_closed_its_sessions() {
    let server = Server::start().await;
    let (app, client) = (server.app().create().await, Grpc::connect(&server).await);
    let bystander = server.app().create().await;
    for round in 0..8 {
        let mut session = app.connect("a", &[]).await;
        let both = async {
            client.patch(app.id(), &json!({"enabled": false}), 0).await.unwrap();
            app.patch(&json!({"enabled": true})).await
        };
        let noise =
            join_all(
                (0..10).map(|n| {
                    let (client, id) = (client.clone(), bystander.id().to_owned());
                    async move {
                        client.patch(&id, &json!({"description": format!("{round} {n}")}), 0).await.unwrap()
                    }
                }),
            );
        tokio::join!(both, noise);
        assert_eq!(session.expect_close().await.0, 4004);
        app.connect("a", &[]).await.close().await;
    }
}

/// What is asked again and again while a key changes: whether it passed, and whether the change had been answered
/// when it was asked and had begun when it was answered.
#[derive(Debug)]
struct Attempt {
    passed: bool,
    after: bool,
    before: bool,
}

async fn attempts(
    (begun, done, stop): (&Cell<bool>, &Cell<bool>, &Cell<bool>),
    count: &Cell<usize>,
    mut attempt: impl AsyncFnMut() -> bool,
) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    while !stop.get() {
        let after = done.get();
        let passed = attempt().await;
        attempts.push(Attempt { passed, after, before: !begun.get() });
        count.set(count.get() + 1);
    }
    attempts
}

/// With the old key everything passes before the change and nothing after it; with the new one it is the reverse.
fn assert_exchanged(old: &[Attempt], new: &[Attempt]) {
    for (attempts, passes_before) in [(old, true), (new, false)] {
        for attempt in attempts {
            assert!(!attempt.before || attempt.passed == passes_before, "{attempt:?}");
            assert!(!attempt.after || attempt.passed != passes_before, "{attempt:?}");
        }
        assert!(attempts.iter().any(|a| a.before) && attempts.iter().any(|a| a.after));
    }
}

#[tokio::test]
async fn a_new_auth_key_holds_for_new_sessions_and_open_ones_stay() {
    let server = Server::start().await;
    let app = busy_app(&server).await;
    let next = Signer::generate(Algorithm::ES256);
    let mut session = app.connect("stays", &[PUBLISH]).await;
    // One token each, so that a remembered verdict would let it in.
    let (old, new) = (app.sign(json!({})), next.sign(&json!({})));
    let (begun, done, stop, count) = (Cell::new(false), Cell::new(false), Cell::new(false), Cell::new(0));
    let (moments, app_ref) = ((&begun, &done, &stop), &app);
    let opens = |token: &str| {
        let token = token.to_owned();
        async move || match open(app_ref, &token).await {
            Ok(_) => true,
            Err(refusal) => {
                refusal.expect_problem(401, "unauthenticated");
                false
            }
        }
    };
    let change = async {
        until("sessions with both keys", &count, WARM).await;
        begun.set(true);
        app.patch(&json!({"authKey": next.key_config()})).await;
        done.set(true);
        until("sessions after the change", &count, count.get() + WARM).await;
        stop.set(true);
    };
    let (old, new, ()) =
        tokio::join!(attempts(moments, &count, opens(&old)), attempts(moments, &count, opens(&new)), change);
    assert_exchanged(&old, &new);
    session.publish("main", "still here").await;
    session.expect("main", "broadcast").await;
}

#[tokio::test]
async fn a_new_admin_key_holds_for_the_next_call() {
    let server = Server::start().await;
    let app = busy_app(&server).await;
    let next = Signer::generate(Algorithm::HS512);
    let claims = json!({"permissions": [PUBLISH]});
    let (old, new) = (app.sign(claims.clone()), next.sign(&claims));
    let (begun, done, stop, count) = (Cell::new(false), Cell::new(false), Cell::new(false), Cell::new(0));
    let (moments, path) = ((&begun, &done, &stop), format!("/api/topics/{}/publish", app.id()));
    let publishes = |token: &str| {
        let request = server.request("POST", &path).token(token).json(&json!({"topic": "t", "message": 1}));
        async move || match request.clone().send().await {
            answer if answer.status == 200 => true,
            refusal => {
                refusal.expect_problem(401, "unauthenticated");
                false
            }
        }
    };
    let change = async {
        until("publishes with both keys", &count, WARM).await;
        begun.set(true);
        app.patch(&json!({"adminKey": next.key_config()})).await;
        done.set(true);
        until("publishes after the change", &count, count.get() + WARM).await;
        stop.set(true);
    };
    let (old, new, ()) = tokio::join!(
        attempts(moments, &count, publishes(&old)),
        attempts(moments, &count, publishes(&new)),
        change
    );
    assert_exchanged(&old, &new);
}

/// The documented way: both keys for a while. No client with either valid token is ever sent away.
#[tokio::test]
async fn keys_are_rotated_without_sending_anybody_away() {
    let server = Server::start().await;
    let (old, new) = (Signer::generate(Algorithm::ES256), Signer::generate(Algorithm::ES256));
    let mut both = new.key_config();
    both["key"] = json!(format!("{}{}", old.verification_key(), new.verification_key()));
    let app = server.app().set("tier", "unlimited").set("authKey", old.key_config()).create().await;
    let (old_ends, new_begins, stop) = (Cell::new(false), Cell::new(false), Cell::new(false));
    let (count, refusals) = (Cell::new(0), RefCell::new(Vec::new()));
    let opening = async |signer: &Signer, begins: &Cell<bool>, ends: &Cell<bool>| {
        while !begins.get() && !ends.get() {
            tokio::task::yield_now().await;
        }
        while !ends.get() {
            if let Err(refusal) = open(&app, &signer.sign(&json!({}))).await {
                refusals.borrow_mut().push(refusal);
            }
            count.set(count.get() + 1);
        }
    };
    let rotation = async {
        until("sessions with the old key", &count, WARM).await;
        app.patch(&json!({"authKey": both})).await;
        new_begins.set(true);
        until("sessions with both keys", &count, count.get() + 2 * WARM).await;
        old_ends.set(true);
        until("the last with the old key", &count, count.get() + 4).await;
        app.patch(&json!({"authKey": new.key_config()})).await;
        until("sessions with the new key", &count, count.get() + WARM).await;
        stop.set(true);
    };
    let at_once = Cell::new(true);
    tokio::join!(opening(&old, &at_once, &old_ends), opening(&new, &new_begins, &stop), rotation);
    assert!(refusals.borrow().is_empty(), "{:?}", refusals.borrow().first());
    app.refused(&app.path(&old.sign(&json!({}))), &[]).await.expect_problem(401, "unauthenticated");
}

/// 7: a stream lives long, and each of its requests is checked against what is in force then.
#[tokio::test]
async fn every_request_of_a_publish_stream_meets_the_configuration_of_its_moment() {
    use realtime_proto::generated::pubsub::PublishStreamRequest;
    use realtime_proto::generated::pubsub::publish_result::Result as Published;

    let server = Server::start().await;
    let (app, mut client) = (server.app().create().await, Grpc::connect(&server).await);
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    let requests_stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let call = crate::grpc_client::call(&app.token("service", &[PUBLISH]), requests_stream);
    let mut responses = answer(client.pubsub.publish_stream(call)).await.unwrap();
    let mut sequence = 0;
    let mut publish = async || {
        sequence += 1;
        let publish = Some(crate::grpc_client::publish(app.id(), "main"));
        requests.send(PublishStreamRequest { sequence, publish }).await.unwrap();
        let response = realtime_testkit::within("the answer", responses.message()).await.unwrap().unwrap();
        assert_eq!(response.sequence, sequence);
        match response.result.unwrap().result.unwrap() {
            Published::Published(_) => "ok".to_owned(),
            Published::Failure(failure) => failure.code,
        }
    };
    assert_eq!(publish().await, "ok");
    let key = app.signer.key_config();
    let other = Signer::generate(Algorithm::HS256).key_config();
    for (change, code) in [
        (json!({"adminSourceAddress": ["10.0.0.0/8"]}), "address_forbidden"),
        (json!({"adminSourceAddress": []}), "ok"),
        (json!({"adminKey": other}), "unauthenticated"),
        (json!({"adminKey": key}), "ok"),
        (json!({"enabled": false}), "app_disabled"),
        (json!({"enabled": true}), "ok"),
    ] {
        app.patch(&change).await;
        assert_eq!(publish().await, code, "{change}");
    }
    app.delete().await;
    assert_eq!(publish().await, "app_not_found");
}

/// Neither of its own changes nor of the settings' does a session lose anything.
#[tokio::test]
async fn messages_arrive_whole_and_in_order_while_configuration_and_settings_change() {
    let server = Server::start().await;
    let app = busy_app(&server).await;
    let mut reader = app.connect("reader", &[]).await;
    let mut publisher = app.connect("publisher", &[PUBLISH]).await;
    publisher.send("unsubscribe", json!({"topic": "main"})).await;
    let (stop, sent) = (Cell::new(false), Cell::new(0));
    let publishing = async {
        while !stop.get() {
            publisher.publish("main", json!([sent.get()])).await;
            publisher.expect("priv/acks", "ack").await;
            sent.set(sent.get() + 1);
        }
    };
    let changing = async {
        for round in 0..20 {
            let before = sent.get();
            let description = json!({"description": format!("{round}"), "clientInboundAckFormat": "id"});
            app.patch(&description).await;
            server
                .change_settings(|settings| {
                    settings["limits"]["idleTimeoutSeconds"] = json!(20 + round % 2);
                    settings["tiers"]["unlimited"]["maxTopics"] = json!(round % 2);
                })
                .await;
            until("publishes between changes", &sent, before + 5).await;
        }
        stop.set(true);
    };
    tokio::join!(publishing, changing);
    for n in 0..sent.get() {
        let data: Value = reader.expect("main", "broadcast").await;
        assert_eq!(data["payload"], json!([n]));
    }
    reader.expect_nothing().await;
}
