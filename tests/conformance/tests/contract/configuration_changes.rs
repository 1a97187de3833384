//! 5 and 6: what a change means for sessions that are open, and for those that come. Changes over HTTP are in
//! force when they are answered.

use realtime_testkit::{Client, RawSocket, Server, TestApp, unix_now};
use serde_json::{Value, json};

use crate::apps::path;
use crate::limits::limited;
use crate::{APPLICATION, PUBLISH, READ};

/// Changes one limit of the tier of [`limited`].
async fn limit(server: &Server, name: &str, value: u64) {
    server.change_settings(|settings| settings["tiers"]["small"][name] = json!(value)).await;
}

/// Changes one limit of every connection.
async fn set(server: &Server, name: &str, value: u64) {
    server.change_settings(|settings| settings["limits"][name] = json!(value)).await;
}

async fn refused(app: &TestApp, subject: &str, headers: &[(&str, &str)], status: u16, code: &str) {
    app.refused(&app.path(&app.token(subject, &[])), headers).await.expect_problem(status, code);
}

/// Whether the session still receives.
async fn is_open(client: &mut Client) {
    client.expect_nothing().await;
}

#[tokio::test]
async fn a_changed_client_address_list_holds_for_new_sessions_and_open_ones_stay() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut session = app.connect("stays", &[PUBLISH]).await;
    app.patch(&json!({"clientSourceAddress": ["10.0.0.0/8"]})).await;
    refused(&app, "new", &[], 403, "address_forbidden").await;
    is_open(&mut session).await;
    session.publish("main", "x").await;
    session.expect("main", "broadcast").await;
    app.patch(&json!({"clientSourceAddress": ["!10.0.0.0/8"]})).await;
    app.connect("new", &[]).await;
}

#[tokio::test]
async fn a_changed_admin_address_list_holds_for_the_next_call() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let read = || app.api(&[APPLICATION], "GET", &path(&app)).send();
    read().await.expect(200);
    app.patch(&json!({"adminSourceAddress": ["10.0.0.0/8"]})).await;
    read().await.expect_problem(403, "address_forbidden");
    app.connect("clients have a list of their own", &[]).await;
    app.patch(&json!({"adminSourceAddress": ["127.0.0.1"]})).await;
    read().await.expect(200);
}

#[tokio::test]
async fn changed_origins_hold_for_new_sessions_and_open_ones_stay() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let evil = [("Origin", "https://evil.example")];
    let mut session = app.connect_raw(&app.token("stays", &[]), &evil).await;
    session.expect_frame().await;
    app.patch(&json!({"allowedOrigins": ["https://good.example"]})).await;
    refused(&app, "new", &evil, 403, "origin_forbidden").await;
    app.connect_raw(&app.token("new", &[]), &[("Origin", "https://good.example")]).await;
    session.write_text(r#"{"type":"subscribe","data":{"topic":"t"}}"#).await;
    session.expect_frame().await;
}

#[tokio::test]
async fn a_lower_connection_limit_closes_nobody_and_lets_nobody_in() {
    let server = Server::start().await;
    let app = limited(&server, "maxConnections", 0).await;
    let mut sessions = Vec::new();
    for n in 0..4 {
        sessions.push(app.connect(&format!("{n}"), &[]).await);
    }
    limit(&server, "maxConnections", 2).await;
    for session in &mut sessions {
        is_open(session).await;
    }
    for _ in 0..2 {
        refused(&app, "new", &[], 429, "connection_limit").await;
        sessions.pop().unwrap().close().await;
    }
    refused(&app, "new", &[], 429, "connection_limit").await;
    sessions.pop().unwrap().close().await;
    let path = app.path(&app.token("new", &[]));
    let opened = async || RawSocket::open(app.address(), &path, &[]).await.ok();
    realtime_testkit::eventually("the freed place", opened).await;
}

#[tokio::test]
async fn lower_limits_of_topics_and_subscriptions_take_nothing_away() {
    let server = Server::start().await;
    let app = limited(&server, "maxTopics", 0).await;
    let mut session = app.connect("a", &[]).await;
    for topic in ["one", "two", "three"] {
        session.subscribe(topic).await;
    }
    for (name, code) in
        [("maxTopics", "topic_limit"), ("maxSubscriptionsPerConnection", "subscription_limit")]
    {
        limit(&server, name, 1).await;
        session.send("subscribe", json!({"topic": "four"})).await;
        session.expect_error(code).await;
        // What it has, it may ask for again.
        session.subscribe("three").await;
        app.publish(&json!({"topic": "one", "message": 1})).await.expect(200);
        session.expect("one", "broadcast").await;
        limit(&server, name, 0).await;
    }
    session.subscribe("four").await;
}

/// The bucket of an open session, too.
#[tokio::test]
async fn a_changed_rate_holds_for_open_sessions() {
    let server = Server::start().await;
    let app = limited(&server, "messagesPerSecond", 0).await;
    let mut session = app.connect("a", &[PUBLISH]).await;
    let refused = async |session: &mut Client| {
        for _ in 0..40 {
            session.publish("main", "x").await;
        }
        let mut refused = 0;
        for _ in 0..40 {
            refused += usize::from(session.frame().await.message_type() == "error");
        }
        refused
    };
    assert_eq!(refused(&mut session).await, 0);
    limit(&server, "messagesPerSecond", 1).await;
    assert!(refused(&mut session).await >= 30);
    app.patch(&json!({"tier": "unlimited"})).await;
    assert_eq!(refused(&mut session).await, 0);
}

#[tokio::test]
async fn a_changed_limit_of_message_bytes_holds_for_open_sessions() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut session = app.connect("a", &[PUBLISH]).await;
    set(&server, "maxMessageBytes", 20_000).await;
    session.publish("main", "x".repeat(10_000)).await;
    session.expect("main", "broadcast").await;
    set(&server, "maxMessageBytes", 100).await;
    session.publish("main", "x".repeat(200)).await;
    assert_eq!(session.expect_close().await.0, 1009);
    let publish = app.publish(&json!({"topic": "main", "message": "x".repeat(200)})).await;
    publish.expect_problem(413, "payload_too_large");
}

#[tokio::test]
async fn changed_limits_per_subject_hold_for_new_sessions() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut first = app.connect("a", &[]).await;
    set(&server, "connectionsPerSubject", 2).await;
    let mut second = app.connect("a", &[]).await;
    set(&server, "connectionsPerSubject", 1).await;
    for session in [&mut first, &mut second] {
        is_open(session).await;
    }
    let path = app.path(&app.token("a", &[]));
    let mut third = Client::open_unwelcomed(app.address(), &path).await;
    assert_eq!(third.expect_close().await.0, 4009);
    // Where the newest wins, it takes the place of all that are too many now.
    app.patch(&json!({"connectionLimitPolicy": "replace"})).await;
    let _fourth = app.connect("a", &[]).await;
    for session in [&mut first, &mut second] {
        assert_eq!(session.expect_close().await.0, 4009);
    }
}

#[tokio::test]
async fn the_form_of_acks_and_refused_subscriptions_changes_for_open_sessions() {
    let server = Server::start().await;
    let app = server.app().set("clientInboundAckEnabled", true).create().await;
    let mut session = app.connect("a", &[PUBLISH]).await;
    session.send("unsubscribe", json!({"topic": "main"})).await;
    let ack = async |session: &mut Client| {
        session.send("publish", json!({"topic": "t", "payload": "x", "id": "1"})).await;
        session.expect("priv/acks", "ack").await
    };
    assert_eq!(ack(&mut session).await, "1");
    app.patch(&json!({"clientInboundAckFormat": "envelope"})).await;
    assert_eq!(ack(&mut session).await, json!({"data": "1"}));
    app.patch(&json!({"clientInboundAckFormat": "id"})).await;
    assert_eq!(ack(&mut session).await, "1");
    session.send("subscribe", json!({"topic": "secure/x"})).await;
    session.expect_error("permission_denied").await;
    app.patch(&json!({"refusedSubscriptionPolicy": "close"})).await;
    session.send("subscribe", json!({"topic": "secure/x"})).await;
    assert_eq!(session.expect_close().await.0, 1008);
}

/// What an open session may do was settled when it was opened.
#[tokio::test]
async fn permission_case_changes_for_new_sessions_and_the_next_call() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let upper = "realtime:publisher:write:topic:NEWS/*";
    let mut session = app.connect("stays", &[upper]).await;
    let publish = || {
        let request = app.api(&[upper], "POST", &format!("/api/topics/{}/publish", app.id()));
        request.json(&json!({"topic": "news/1", "message": 1})).send()
    };
    publish().await.expect(200);
    app.patch(&json!({"permissionCase": "sensitive"})).await;
    publish().await.expect_problem(403, "permission_denied");
    session.subscribe("news/1").await;
    session.publish("news/1", "x").await;
    session.expect("news/1", "broadcast").await;
    let mut new = app.connect("new", &[upper]).await;
    new.publish("news/1", "x").await;
    new.expect_error("permission_denied").await;
    new.publish("NEWS/1", "x").await;
    is_open(&mut new).await;
}

#[tokio::test]
async fn sessions_whose_token_has_expired_end_when_the_app_begins_to_ask_for_it() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut expired = app.connect_with(&app.sign(json!({"sub": "a", "exp": unix_now() - 2})), "").await;
    let mut lasting = app.connect("b", &[]).await;
    app.patch(&json!({"disconnectOnTokenExpiry": true})).await;
    assert_eq!(expired.expect_close().await.0, 4001);
    is_open(&mut lasting).await;
}

#[tokio::test]
async fn inbound_messaging_and_presence_change_for_open_sessions() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut backend = app.connect("backend", &[READ]).await;
    backend.subscribe("secure/inbound").await;
    let mut session = app.connect("a", &[]).await;
    let message: Value = json!({"payload": "x"});
    session.send("message", message.clone()).await;
    session.expect_error("inbound_disabled").await;
    app.patch(&json!({"enableWebSocketInboundTopic": true})).await;
    session.send("message", message.clone()).await;
    backend.expect("secure/inbound", "broadcast").await;
    session.close().await;
    backend.expect("secure/inbound", "presence").await;
    app.patch(&json!({"enableWebSocketInboundTopic": false})).await;
    let mut session = app.connect("a", &[]).await;
    session.send("message", message).await;
    session.expect_error("inbound_disabled").await;
    backend.expect_nothing().await;
}

/// 6: the node's limit, lowered below what is open.
#[tokio::test]
async fn a_lower_limit_of_the_node_closes_nobody() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let (mut a, mut b) = (app.connect("a", &[]).await, app.connect("b", &[]).await);
    set(&server, "nodeMaxConnections", 1).await;
    refused(&app, "c", &[], 429, "connection_limit").await;
    is_open(&mut a).await;
    is_open(&mut b).await;
    set(&server, "nodeMaxConnections", 3).await;
    app.connect("c", &[]).await;
}
