//! 6: monthly quotas, as clients and services meet them, and what lives on of them.

use realtime_testkit::{Client, Server, TestApp};
use serde_json::{Value, json};

use crate::limits::limited;
use crate::{CONNECTIONS, PUBLISH, READ, SUBSCRIBERS};

const BYTES: &str = "apiUsageBytesPerMonth";
const MESSAGES: &str = "inboundMessagesPerMonth";

/// A message of so many bytes as JSON text.
fn text(bytes: usize) -> Value {
    json!("x".repeat(bytes - 2))
}

fn publish(bytes: usize) -> Value {
    json!({"topic": "t", "message": text(bytes)})
}

/// Sends a frame whose answer is a frame: the error's code, or nothing.
async fn refusal(client: &mut Client, kind: &str, data: Value) -> Option<String> {
    client.send(kind, data).await;
    let frame = client.frame().await;
    (frame.message_type() == "error").then(|| frame.data()["code"].as_str().unwrap().to_owned())
}

async fn publish_frame(client: &mut Client, bytes: usize) -> Option<String> {
    refusal(client, "publish", json!({"topic": "main", "payload": text(bytes)})).await
}

fn over() -> Option<String> {
    Some("quota_exceeded".into())
}

#[tokio::test]
async fn the_months_api_usage_is_exact_over_publishes_of_both_kinds_and_other_calls() {
    let server = Server::start().await;
    let app = limited(&server, BYTES, 1000).await;
    let mut client = app.connect("a", &[PUBLISH]).await;
    app.publish(&publish(400)).await.expect(200);
    assert_eq!(publish_frame(&mut client, 400).await, None);
    let path = format!("/api/connections/{}", app.id());
    let list = || app.api(&[CONNECTIONS], "GET", &path).send();
    list().await.expect_problem(429, "quota_exceeded");
    app.publish(&publish(201)).await.expect_problem(429, "quota_exceeded");
    assert_eq!(publish_frame(&mut client, 201).await, over());
    // What was refused has cost nothing.
    app.publish(&publish(200)).await.expect(200);
    assert_eq!(publish_frame(&mut client, 3).await, over());
    // An operator token ignores quotas.
    server.operator("GET", &path).send().await.expect(200);
    let topics = format!("/api/topics/{}", app.id());
    server.operator("POST", &format!("{topics}/publish")).json(&publish(400)).send().await.expect(200);
}

#[tokio::test]
async fn every_call_costs_its_256_bytes_and_an_operators_costs_nothing() {
    let server = Server::start().await;
    let app = limited(&server, BYTES, 5 * 256).await;
    let (topics, connections) =
        (format!("/api/topics/{}", app.id()), format!("/api/connections/{}", app.id()));
    server.operator("GET", &topics).send().await.expect(200);
    app.api(&[SUBSCRIBERS], "GET", &topics).send().await.expect(200);
    let patterns = json!({"topicPatterns": ["*"], "subject": "nobody"});
    let unsubscribe =
        || app.api(&[SUBSCRIBERS], "POST", &format!("{topics}/unsubscribe")).json(&patterns).send();
    unsubscribe().await.expect(200);
    app.api(&[CONNECTIONS], "GET", &connections).send().await.expect(200);
    app.api(&[CONNECTIONS], "DELETE", &connections).send().await.expect(200);
    let one = format!("{connections}/{}", "0".repeat(32));
    app.api(&[CONNECTIONS], "DELETE", &one).send().await.expect_problem(404, "not_found");
    app.api(&[CONNECTIONS], "DELETE", &one).send().await.expect_problem(429, "quota_exceeded");
    let refused = unsubscribe().await;
    let wait: u32 = refused.header("retry-after").expect("when the month ends").parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    refused.expect_problem(429, "quota_exceeded");
}

#[tokio::test]
async fn the_months_inbound_messages_are_limited_and_cost_no_api_usage() {
    let server = Server::start().await;
    let app = limited(&server, MESSAGES, 3).await;
    let mut client = app.connect("a", &[READ, PUBLISH]).await;
    client.subscribe("secure/inbound").await;
    for _ in 0..3 {
        assert_eq!(refusal(&mut client, "message", json!({"payload": "x"})).await, None);
    }
    client.send("message", json!({"payload": "x", "id": "mine"})).await;
    assert_eq!(client.expect_error("quota_exceeded").await["id"], "mine");
    // Presence is no message, and a publish is none either.
    let _other = app.connect("b", &[]).await;
    client.expect("secure/inbound", "presence").await;
    assert_eq!(publish_frame(&mut client, 10).await, None);
}

/// Permission and `inbound_disabled` come before the quota.
#[tokio::test]
async fn the_quota_is_the_last_check() {
    let server = Server::start().await;
    let app = limited(&server, BYTES, 5).await;
    let mut client = app.connect("a", &[]).await;
    assert_eq!(publish_frame(&mut client, 6).await.as_deref(), Some("permission_denied"));
    let path = format!("/api/topics/{}/publish", app.id());
    app.api(&[], "POST", &path).json(&publish(6)).send().await.expect_problem(403, "permission_denied");
    app.publish(&publish(6)).await.expect_problem(429, "quota_exceeded");
    app.patch(&json!({"enabled": false})).await;
    app.publish(&publish(6)).await.expect_problem(403, "app_disabled");

    let app = limited(&server, MESSAGES, 1).await;
    let mut client = app.connect("a", &[READ]).await;
    client.subscribe("secure/inbound").await;
    assert_eq!(refusal(&mut client, "message", json!({"payload": "x"})).await, None);
    assert_eq!(refusal(&mut client, "message", json!({"payload": "x"})).await, over());
    app.patch(&json!({"enableWebSocketInboundTopic": false})).await;
    realtime_testkit::eventually("the new configuration", async || {
        let code = refusal(&mut client, "message", json!({"payload": "x"})).await;
        (code.as_deref() == Some("inbound_disabled")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_used_stays_used_when_the_app_is_disabled_and_enabled_or_created_again() {
    let server = Server::start().await;
    let app = limited(&server, BYTES, 1000).await;
    app.publish(&publish(900)).await.expect(200);
    app.patch(&json!({"enabled": false})).await;
    app.patch(&json!({"enabled": true})).await;
    app.publish(&publish(200)).await.expect_problem(429, "quota_exceeded");
    let id = app.id().to_owned();
    app.delete().await;
    let again = server.app().set("tier", "small").set("appId", id).create().await;
    again.publish(&publish(200)).await.expect_problem(429, "quota_exceeded");
    again.publish(&publish(100)).await.expect(200);
}

/// A higher limit holds at once; in a tier without one nothing is counted.
#[tokio::test]
async fn a_tiers_limit_can_be_raised_and_taken_away() {
    let server = Server::start().await;
    let app = limited(&server, BYTES, 100).await;
    app.publish(&publish(100)).await.expect(200);
    app.publish(&publish(100)).await.expect_problem(429, "quota_exceeded");
    server.change_settings(|settings| settings["tiers"]["small"][BYTES] = json!(200)).await;
    realtime_testkit::eventually("the new limit", async || {
        (app.publish(&publish(100)).await.status == 200).then_some(())
    })
    .await;
    app.publish(&publish(3)).await.expect_problem(429, "quota_exceeded");
    app.patch(&json!({"tier": "unlimited"})).await;
    for _ in 0..5 {
        app.publish(&publish(100)).await.expect(200);
    }
}

#[tokio::test]
async fn what_is_left_of_the_month_survives_a_restart() {
    let mut server = Server::builder().args(&["--drain-seconds", "1"]).start().await;
    let app = limited(&server, BYTES, 1000).await;
    app.publish(&publish(300)).await.expect(200);
    let post = |server: &Server, app: &TestApp, bytes| {
        let path = format!("/api/topics/{}/publish", app.id());
        server.request("POST", &path).token(&app.token("service", &[PUBLISH])).json(&publish(bytes)).send()
    };
    for _ in 0..2 {
        server.terminate();
        assert!(server.exit_status().await.success(), "{}", server.log());
        server = server.restart().await;
        post(&server, &app, 300).await.expect(200);
    }
    post(&server, &app, 101).await.expect_problem(429, "quota_exceeded");
    post(&server, &app, 100).await.expect(200);
    post(&server, &app, 3).await.expect_problem(429, "quota_exceeded");
}
