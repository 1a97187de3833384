//! 5: a change is in force without a restart, and touches nobody else.

use realtime_testkit::{Server, eventually};
use serde_json::json;

use crate::PUBLISH;

#[tokio::test]
async fn a_change_reaches_open_sessions_of_the_app() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[PUBLISH]).await;
    client.send("message", json!({"payload": "x"})).await;
    client.expect_error("inbound_disabled").await;
    app.patch(&json!({"enableWebSocketInboundTopic": true, "clientInboundAckEnabled": true})).await;
    eventually("the ack", async || {
        client.send("message", json!({"payload": "x"})).await;
        (client.frame().await.message_type() == "ack").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_change_of_one_app_touches_no_session_of_another() {
    let server = Server::start().await;
    let (app, other) = (server.app().create().await, server.app().create().await);
    let mut own = app.connect("a", &[]).await;
    let mut bystander = other.connect("a", &[PUBLISH]).await;
    let id = bystander.id().to_owned();
    for round in 0..20 {
        app.patch(&json!({"description": format!("{round}"), "enabled": round % 2 == 1})).await;
        bystander.publish("main", json!([round])).await;
        assert_eq!(bystander.expect("main", "broadcast").await["payload"], json!([round]));
    }
    assert_eq!(own.expect_close().await.0, 4004);
    bystander.subscribe(&format!("still/{id}")).await;
    // The last change left the app enabled.
    eventually("the enabled app", async || {
        realtime_testkit::RawSocket::open(app.address(), &app.path(&app.token("b", &[])), &[]).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_new_app_takes_sessions_at_once() {
    let server = Server::start().await;
    for _ in 0..5 {
        let app = server.app().create().await;
        app.connect("a", &[]).await;
    }
}
