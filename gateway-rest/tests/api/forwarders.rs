//! Test messages and the status of an application.

use axum::body::Body;
use serde_json::json;

use crate::world::{Call, World, token};

const TEST: &str = "/api/apps/app/forwarders/test";
const STATUS: &str = "/api/apps/app/status";
const APPLICATION: &[&str] = &["realtime:admin:manage:application"];

#[tokio::test]
async fn a_test_says_what_each_target_has_answered() {
    let world = World::new();
    let answer = world.send(Call::post(TEST).token(&token(APPLICATION))).await;
    let expected = json!({"id": "of the message", "results": [
        {"target": "sns", "ok": false, "class": "denied", "error": "no \"right\""},
        {"target": "sqs", "ok": true},
    ]});
    assert_eq!((answer.status.as_u16(), answer.json()), (200, expected));
    let seen = world.node.tests.lock().unwrap().pop().unwrap();
    assert_eq!((seen.app_id.as_str(), seen.version), ("app", 1), "by the configuration that the gateway has");
    let by_operator = world.send(Call::post(TEST).operator()).await;
    assert_eq!(by_operator.status, 200);
}

#[tokio::test]
async fn a_test_takes_no_body_or_an_empty_object() {
    let world = World::new();
    let post = || Call::post(TEST).token(&token(APPLICATION));
    for nothing in
        [post(), post().json("{}"), post().json(" {\n} "), post().header("content-type", "application/json")]
    {
        assert_eq!(world.send(nothing).await.status, 200);
    }
    let members = world.send(post().json(json!({"target": "sqs", "body": null}))).await;
    assert_eq!(members.refusal(), "422 unprocessable");
    assert_eq!(members.fields(), ["body", "target"]);
    for no_object in ["[]", "1", "null", "\"sqs\""] {
        assert_eq!(world.send(post().json(no_object)).await.refusal(), "422 unprocessable", "{no_object}");
    }
    assert_eq!(world.send(post().json("{")).await.refusal(), "400 invalid_request");
    let form = post().header("content-type", "text/plain").body(Body::from("{}"));
    assert_eq!(world.send(form).await.refusal(), "415 unsupported_media_type");
    assert_eq!(world.node.tests.lock().unwrap().len(), 4, "no other one was sent");
}

#[tokio::test]
async fn the_status_shows_each_targets_state_queue_and_last_error() {
    let world = World::new();
    for call in [Call::get(STATUS).token(&token(APPLICATION)), Call::get(STATUS).operator()] {
        let answer = world.send(call).await;
        let last_error = json!({"class": "network", "message": "no connection",
            "at": "2023-09-17T15:26:35.666Z", "node": "node-1"});
        let expected = json!({"appId": "app", "enabled": true, "nodes": 2, "connections": 4, "forwarders": [
            {"target": "sns", "state": "ok", "queued": 3, "lastError": null},
            {"target": "sqs", "state": "failing", "queued": 3, "lastError": last_error},
            {"target": "new", "state": "open", "queued": 3, "lastError": null},
        ]});
        assert_eq!((answer.status.as_u16(), answer.json()), (200, expected));
    }
}

#[tokio::test]
async fn both_need_the_permission_for_the_application() {
    let world = World::new();
    world.app("disabled", json!({"enabled": false}));
    let others = token(&["realtime:admin:manage:connections", "realtime:admin:manage:subscribers"]);
    for call in [Call::post(TEST), Call::get(STATUS)] {
        assert_eq!(world.send(call.token(&others)).await.refusal(), "403 permission_denied");
    }
    for call in [Call::post("/api/apps/no/forwarders/test"), Call::get("/api/apps/no/status")] {
        assert_eq!(world.send(call.operator()).await.refusal(), "404 app_not_found");
    }
    let disabled = world.send(Call::post("/api/apps/disabled/forwarders/test").operator()).await;
    assert_eq!(disabled.refusal(), "403 app_disabled");
    let status = world.send(Call::get("/api/apps/disabled/status").operator()).await;
    assert_eq!(status.status, 200, "the application is there, and has a status");
    let elsewhere = world.send(Call::get(STATUS).operator().header("x-app-id", "other")).await;
    assert_eq!(elsewhere.refusal(), "400 invalid_request");
}
