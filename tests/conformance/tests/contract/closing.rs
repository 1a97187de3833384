//! 2.6: liveness, and why the server closes sessions.

use realtime_testkit::raw::{FIN, PING, PONG};
use realtime_testkit::{Server, eventually};
use serde_json::json;

use crate::{APPLICATION, CONNECTIONS, PUBLISH, READ};

#[tokio::test]
async fn an_idle_connection_is_pinged_and_then_closed_with_4010() {
    let server = Server::start().await;
    let app = server.app().create().await;
    server.change_settings(|settings| settings["limits"]["idleTimeoutSeconds"] = json!(2)).await;
    let mut idle = app.connect_raw(&app.token("idle", &[]), &[]).await;
    idle.expect_frame().await;
    let ping = idle.read_frame().await.expect("a ping");
    assert_eq!(ping.opcode(), PING);
    assert_eq!(idle.expect_close().await, (4010, "Idle or dead".into()));
}

#[tokio::test]
async fn a_connection_that_answers_pings_stays() {
    let server = Server::start().await;
    let app = server.app().create().await;
    server.change_settings(|settings| settings["limits"]["idleTimeoutSeconds"] = json!(1)).await;
    let mut idle = app.connect_raw(&app.token("idle", &[]), &[]).await;
    let mut alive = app.connect_raw(&app.token("alive", &[]), &[]).await;
    alive.expect_frame().await;
    // While the other goes, this one answers.
    let closed = async { idle.expect_close().await.0 };
    let answering = async {
        for _ in 0..4 {
            let ping = alive.read_frame().await.expect("a ping");
            assert_eq!(ping.opcode(), PING);
            alive.write_frame(FIN | PONG, &ping.payload).await;
        }
    };
    let (code, ()) = tokio::join!(closed, answering);
    assert_eq!(code, 4010);
    alive.write_text(r#"{"type":"subscribe","data":{"topic":"t"}}"#).await;
    alive.expect_frame().await;
}

/// Whatever a client sends is a sign of life: it need not answer pings.
#[tokio::test]
async fn a_connection_that_sends_anything_stays() {
    let server = Server::start().await;
    let app = server.app().create().await;
    server.change_settings(|settings| settings["limits"]["idleTimeoutSeconds"] = json!(2)).await;
    let mut talking = app.connect_raw(&app.token("talking", &[]), &[]).await;
    talking.expect_frame().await;
    assert_eq!(talking.read_frame().await.expect("a ping").opcode(), PING);
    talking.write_text(r#"{"type":"subscribe","data":{"topic":"t"}}"#).await;
    talking.expect_frame().await;
    assert_eq!(talking.read_frame().await.expect("a ping").opcode(), PING);
    talking.write_frame(FIN | PING, b"alive").await;
    let pong = talking.read_frame().await.expect("a pong");
    assert_eq!((pong.opcode(), pong.payload.as_slice()), (PONG, &b"alive"[..]));
    assert_eq!(talking.read_frame().await.expect("a ping, not the end").opcode(), PING);
}

/// The operator's, not the application owner's, whatever permissions its token has.
#[tokio::test]
async fn an_application_cannot_change_the_limits() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let settings = server.operator("GET", "/api/settings").send().await.expect(200);
    for method in ["GET", "PUT"] {
        let call = app.api(&["*", APPLICATION], method, "/api/settings").json(&settings);
        call.send().await.expect_problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_consumer_that_takes_nothing_is_closed_with_4008() {
    let server = Server::start().await;
    let inbound = server.app().set("enableWebSocketInboundTopic", true);
    let app = inbound.set("tier", "unlimited").create().await;
    let mut slow = app.connect_raw(&app.token("slow", &[]), &[]).await;
    let mut publisher = app.connect("publisher", &[PUBLISH]).await;
    publisher.send("unsubscribe", json!({"topic": "main"})).await;
    let mut backend = app.connect("backend", &[READ]).await;
    backend.send("unsubscribe", json!({"topic": "main"})).await;
    backend.subscribe("secure/inbound").await;
    let path = format!("/api/connections/{}?subject=slow", app.id());
    let payload = "x".repeat(4000);
    // Fills what the kernel buffers for the two ends, then what the server may keep.
    eventually("the end of the slow consumer", async || {
        for _ in 0..200 {
            publisher.publish("main", payload.as_str()).await;
        }
        let listed = app.api(&[CONNECTIONS], "GET", &path).send().await.expect(200);
        listed["items"].as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
    assert_eq!(slow.expect_close().await, (4008, "Slow consumer".into()));
    assert_eq!(backend.expect("secure/inbound", "presence").await["payload"]["status"], "disconnected");
    publisher.expect_nothing().await;
}

/// What is queued within a turn is written before it counts.
#[tokio::test]
async fn a_burst_never_closes_a_reader_that_takes_it() {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut reader = app.connect("reader", &[]).await;
    let mut publisher = app.connect("publisher", &[PUBLISH]).await;
    publisher.send("unsubscribe", json!({"topic": "main"})).await;
    let payload = "x".repeat(4000);
    for _ in 0..200 {
        publisher.publish("main", payload.as_str()).await;
    }
    for _ in 0..200 {
        reader.expect("main", "broadcast").await;
    }
}

#[tokio::test]
async fn an_administrator_closes_a_connection_with_4003() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[]).await;
    let path = format!("/api/connections/{}/{}", app.id(), client.id());
    app.api(&[CONNECTIONS], "DELETE", &path).send().await.expect(204);
    assert_eq!(client.expect_close().await, (4003, "Closed by an administrator".into()));
    app.api(&[CONNECTIONS], "DELETE", &path).send().await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn disabling_an_app_closes_its_sessions_with_4004_and_no_others() {
    let server = Server::start().await;
    let (app, other) = (server.app().create().await, server.app().create().await);
    let mut client = app.connect("a", &[]).await;
    let mut bystander = other.connect("a", &[]).await;
    app.patch(&json!({"enabled": false})).await;
    assert_eq!(client.expect_close().await, (4004, "Application deleted or disabled".into()));
    app.patch(&json!({"enabled": true})).await;
    eventually("the enabled app", || async {
        let path = app.path(&app.token("a", &[]));
        realtime_testkit::RawSocket::open(app.address(), &path, &[]).await.ok()
    })
    .await;
    bystander.subscribe("t").await;
}

#[tokio::test]
async fn deleting_an_app_closes_its_sessions_with_4004_and_no_others() {
    let server = Server::start().await;
    let (app, other) = (server.app().create().await, server.app().create().await);
    let mut client = app.connect("a", &[]).await;
    let mut bystander = other.connect("a", &[]).await;
    let path = app.path(&app.token("a", &[]));
    app.delete().await;
    assert_eq!(client.expect_close().await, (4004, "Application deleted or disabled".into()));
    app.refused(&path, &[]).await.expect_problem(404, "app_not_found");
    bystander.subscribe("t").await;
}
