//! 2.1: one connection per subject and node.

use realtime_testkit::raw::{FIN, PING, PONG};
use realtime_testkit::{Client, Server, TestApp, eventually};
use serde_json::json;

async fn unwelcomed(app: &TestApp, subject: &str) -> Client {
    Client::open_unwelcomed(app.address(), &app.path(&app.token(subject, &[]))).await
}

#[tokio::test]
async fn a_second_connection_of_a_living_subject_is_closed_with_4009() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut first = app.connect("alice", &[]).await;
    let mut second = unwelcomed(&app, "alice").await;
    let reason = "Connection limit of the subject".into();
    assert_eq!(second.expect_close().await, (4009, reason), "closed before any welcome");
    first.subscribe("t").await;
}

#[tokio::test]
async fn subjects_of_other_apps_are_others() {
    let server = Server::start().await;
    let (a, b) = (server.app().create().await, server.app().create().await);
    let mut in_a = a.connect("alice", &[]).await;
    let mut in_b = b.connect("alice", &[]).await;
    in_a.subscribe("t").await;
    in_b.subscribe("t").await;
}

/// The oldest holder is pinged and has two seconds.
#[tokio::test]
async fn a_dead_holder_gives_way() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut dead = app.connect_raw(&app.token("alice", &[]), &[]).await;
    dead.expect_frame().await;
    let mut next = unwelcomed(&app, "alice").await;
    let ping = dead.read_frame().await.expect("a ping");
    assert_eq!(ping.opcode(), PING);
    assert_eq!(dead.expect_close().await, (4010, "Idle or dead".into()));
    next.expect("main", "welcome").await;
    next.subscribe("t").await;
}

#[tokio::test]
async fn an_answered_ping_keeps_the_holder() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut holder = app.connect_raw(&app.token("alice", &[]), &[]).await;
    holder.expect_frame().await;
    let mut next = unwelcomed(&app, "alice").await;
    let ping = holder.read_frame().await.expect("a ping");
    assert_eq!(ping.opcode(), PING);
    holder.write_frame(FIN | PONG, &ping.payload).await;
    assert_eq!(next.expect_close().await.0, 4009);
    holder.write_text(r#"{"type":"subscribe","data":{"topic":"t"}}"#).await;
    holder.expect_frame().await;
}

#[tokio::test]
async fn with_replace_the_oldest_is_closed_at_once() {
    let server = Server::start().await;
    let app = server.app().set("connectionLimitPolicy", "replace").create().await;
    let mut first = app.connect("alice", &[]).await;
    let mut second = app.connect("alice", &[]).await;
    assert_eq!(first.expect_close().await, (4009, "Connection limit of the subject".into()));
    second.subscribe("t").await;
}

#[tokio::test]
async fn the_settings_may_allow_more_connections_per_subject() {
    let server = Server::start().await;
    let app = server.app().create().await;
    server.change_settings(|settings| settings["limits"]["connectionsPerSubject"] = json!(2)).await;
    let mut first = app.connect("alice", &[]).await;
    let mut second = eventually("a second connection", || async {
        let mut second = unwelcomed(&app, "alice").await;
        matches!(second.next().await, realtime_testkit::Incoming::Frame(_)).then_some(second)
    })
    .await;
    let mut third = unwelcomed(&app, "alice").await;
    assert_eq!(third.expect_close().await.0, 4009);
    first.subscribe("t").await;
    second.subscribe("t").await;
    // Both are the subject.
    app.publish(&json!({"topic": "priv/alice", "message": 1})).await.expect(200);
    first.expect("priv/alice", "broadcast").await;
    second.expect("priv/alice", "broadcast").await;
}

/// Not the latest: of two holders the one that came first is asked, or goes.
#[tokio::test]
async fn it_is_the_oldest_that_is_pinged_or_replaced() {
    let server = Server::start().await;
    let asked = server.app().create().await;
    let replaced = server.app().set("connectionLimitPolicy", "replace").create().await;
    server.change_settings(|settings| settings["limits"]["connectionsPerSubject"] = json!(2)).await;

    let mut oldest = asked.connect_raw(&asked.token("alice", &[]), &[]).await;
    oldest.expect_frame().await;
    let mut second = asked.connect("alice", &[]).await;
    let mut third = unwelcomed(&asked, "alice").await;
    assert_eq!(oldest.read_frame().await.expect("a ping").opcode(), PING);
    // Any frame is a sign of life.
    oldest.write_text(r#"{"type":"subscribe","data":{"topic":"t"}}"#).await;
    assert_eq!(third.expect_close().await.0, 4009);
    oldest.expect_frame().await;
    second.subscribe("t").await;

    let mut oldest = replaced.connect("alice", &[]).await;
    let mut second = replaced.connect("alice", &[]).await;
    let mut third = replaced.connect("alice", &[]).await;
    assert_eq!(oldest.expect_close().await.0, 4009);
    second.subscribe("t").await;
    third.subscribe("t").await;
}

#[tokio::test]
async fn connections_without_a_subject_are_never_counted() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(app.connect_with(&app.sign(json!({})), "").await);
    }
    for client in &mut clients {
        client.subscribe("t").await;
        // It is its own subject.
        let topic = format!("priv/{}", client.id());
        app.publish(&json!({"topic": topic, "message": 1})).await.expect(200);
        client.expect(&topic, "broadcast").await;
    }
}

/// `priv/X` is a connection where X looks like an id of a live member, and else a subject.
#[tokio::test]
async fn a_private_topic_is_a_connections_by_its_form_and_else_a_subjects() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let alice = app.connect("alice", &[]).await;
    let prefix = &alice.id()[..8];
    let flipped = if prefix.starts_with('0') { "1" } else { "0" };
    let zeros = "0".repeat(24);
    let subjects = [
        format!("{flipped}{}{zeros}", &prefix[1..]),
        format!("{prefix}{}", &zeros[1..]),
        format!("{prefix}{zeros}0"),
        format!("{prefix}{}g", &zeros[1..]),
        format!("{prefix}{}A", &zeros[1..]),
    ];
    for subject in subjects {
        let mut client = app.connect(&subject, &[]).await;
        let topic = format!("priv/{subject}");
        app.publish(&json!({"topic": topic, "message": 1})).await.expect(200);
        client.expect(&topic, "broadcast").await;
    }
    // The form of an id of this node, but no connection's: nobody gets it, though a subject is so called.
    let lookalike = format!("{prefix}{zeros}");
    let mut client = app.connect(&lookalike, &[]).await;
    app.publish(&json!({"topic": format!("priv/{lookalike}"), "message": 1})).await.expect(200);
    client.expect_nothing().await;
}

#[tokio::test]
async fn a_place_is_free_again_after_the_holder_has_left() {
    let server = Server::start().await;
    let app = server.app().create().await;
    app.connect("alice", &[]).await.close().await;
    let mut next = app.connect("alice", &[]).await;
    next.subscribe("t").await;
}
