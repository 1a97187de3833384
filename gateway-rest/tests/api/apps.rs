//! The applications' configurations.

use axum::body::Body;
use realtime_auth::Caller;
use serde_json::json;

use crate::world::{ALL, APP, Call, SECRET, World, app_document, token};

#[tokio::test]
async fn an_app_is_created_read_changed_and_deleted() {
    let world = World::new();
    let created = world.send(Call::post("/api/apps").operator().json(app_document("new", json!({})))).await;
    assert_eq!(created.status, 201);
    assert_eq!((created.header("location"), created.header("etag")), ("/api/apps/new", "\"1\""));
    assert_eq!(created.header("content-type"), "application/json");
    assert_eq!(created.json()["appId"], "new");

    let read = world.send(Call::get("/api/apps/new").operator()).await;
    assert_eq!((read.status.as_u16(), read.header("etag")), (200, "\"1\""));
    assert_eq!(read.json(), created.json());

    let put = Call::put("/api/apps/new").operator().header("if-match", "\"1\"").json(read.json());
    let replaced = world.send(put).await;
    assert_eq!((replaced.status.as_u16(), replaced.header("etag")), (200, "\"2\""));

    let patch = Call::patch("/api/apps/new")
        .operator()
        .header("content-type", "application/merge-patch+json")
        .body(Body::from(r#"{"description":"d"}"#));
    let patched = world.send(patch).await;
    assert_eq!((patched.header("etag"), &patched.json()["description"]), ("\"3\"", &json!("d")));

    let deleted = world.send(Call::delete("/api/apps/new").operator()).await;
    assert_eq!((deleted.status.as_u16(), deleted.body.len()), (204, 0));
    assert_eq!(world.send(Call::get("/api/apps/new").operator()).await.refusal(), "404 app_not_found");
}

#[tokio::test]
async fn a_created_app_takes_publishes_at_once() {
    let world = World::new();
    world.send(Call::post("/api/apps").operator().json(app_document("new", json!({})))).await;
    let body = json!({"topic": "t", "message": 1});
    let answer = world.send(Call::post("/api/topics/new/publish").token(&token(ALL)).json(body)).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_generated_id_is_in_the_location() {
    let world = World::new();
    let mut document = app_document("x", json!({}));
    document.as_object_mut().unwrap().remove("appId");
    let created = world.send(Call::post("/api/apps").operator().json(document)).await;
    let id = created.json()["appId"].as_str().unwrap().to_owned();
    assert_eq!(created.header("location"), format!("/api/apps/{id}"));
}

#[tokio::test]
async fn a_write_needs_the_version_that_it_names() {
    let world = World::new();
    let patch = |tag: &str| {
        Call::patch("/api/apps/app").operator().header("if-match", tag).json(json!({"description": tag}))
    };
    assert_eq!(world.send(patch("\"9\"")).await.refusal(), "412 stale_version");
    assert_eq!(world.send(patch("W/\"1\"")).await.refusal(), "412 stale_version");
    assert_eq!(world.send(patch("\"0\"")).await.refusal(), "412 stale_version", "0 is no version");
    let malformed = world.send(patch("1")).await;
    assert_eq!(
        (malformed.refusal().as_str(), malformed.fields()),
        ("400 invalid_request", vec!["If-Match".into()])
    );
    assert_eq!(world.send(patch("\"1\", \"2\"")).await.refusal(), "400 invalid_request");
    assert_eq!(world.send(patch("\"1\"")).await.status, 200);
    assert_eq!(world.send(patch("*")).await.status, 200);
    let delete = |tag: &str| Call::delete("/api/apps/app").operator().header("if-match", tag);
    assert_eq!(world.send(delete("\"1\"")).await.refusal(), "412 stale_version");
    assert_eq!(world.send(delete("\"3\"")).await.status, 204);
}

#[tokio::test]
async fn the_list_holds_the_documents() {
    let world = World::new();
    world.app("b", json!({}));
    let page = world.send(Call::get("/api/apps?limit=1").operator()).await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next"]), (1, &json!("b")));
    let first = world.send(Call::get("/api/apps/app").operator()).await.json();
    assert_eq!(page["items"][0], first);
    let rest = world.send(Call::get("/api/apps?cursor=b").operator()).await.json();
    assert_eq!((&rest["items"][0]["appId"], &rest["next"]), (&json!("b"), &json!(null)));
}

#[tokio::test]
async fn an_apps_own_token_reads_and_changes_it_but_no_more() {
    let world = World::new();
    world.app("other", json!({}));
    let own = token(&["realtime:admin:manage:application"]);
    assert_eq!(world.send(Call::get("/api/apps/app").token(&own)).await.status, 200);
    let patch = Call::patch("/api/apps/app").token(&own).json(json!({"description": "d"}));
    assert_eq!(world.send(patch).await.status, 200);
    let callers = world.store.callers.lock().unwrap().clone();
    let own_calls =
        callers.iter().filter(|c| matches!(c, Caller::App { app_id, .. } if app_id.as_str() == APP));
    assert_eq!(own_calls.count(), 2, "the control plane learns who calls");

    let delete = world.send(Call::delete("/api/apps/app").token(&own)).await;
    assert_eq!(delete.refusal(), "403 permission_denied");
    let create = Call::post("/api/apps").token(&own).json(app_document("new", json!({})));
    assert_eq!(world.send(create).await.refusal(), "401 unauthenticated");
    assert_eq!(world.send(Call::get("/api/apps").token(&own)).await.refusal(), "401 unauthenticated");
    let reader = world.send(Call::get("/api/apps/app").token(&token(&[]))).await;
    assert_eq!(reader.refusal(), "403 permission_denied");
}

#[tokio::test]
async fn documents_that_do_not_fit_are_422_and_what_is_no_json_is_400() {
    let world = World::new();
    let post = |body: &str| Call::post("/api/apps").operator().json(body);
    assert_eq!(world.send(post("{")).await.refusal(), "400 invalid_request");
    assert_eq!(world.send(post("")).await.refusal(), "400 invalid_request");
    let unknown = app_document("new", json!({"colour": "red"})).to_string();
    let answer = world.send(post(&unknown)).await;
    assert_eq!((answer.refusal().as_str(), answer.fields()), ("422 unprocessable", vec!["colour".into()]));
    let taken = app_document(APP, json!({})).to_string();
    assert_eq!(world.send(post(&taken)).await.refusal(), "409 app_id_taken");
}

#[tokio::test]
async fn configurations_may_have_256_kib() {
    let world = World::new();
    let patch = |length: usize| {
        let text = r#"{"description":"d"}"#;
        let body = format!("{text}{}", " ".repeat(length - text.len()));
        Call::patch("/api/apps/app").operator().json(body)
    };
    assert_eq!(world.send(patch(256 * 1024)).await.status, 200);
    assert_eq!(world.send(patch(256 * 1024 + 1)).await.refusal(), "413 payload_too_large");
}

#[tokio::test]
async fn operators_reach_apps_that_the_gateway_has_not_heard_of() {
    let world = World::new();
    world.snapshots.send_modify(|snapshot| *snapshot = Some(Default::default()));
    assert_eq!(world.send(Call::get("/api/apps/app").operator()).await.status, 200);
    let other = world.send(Call::get("/api/apps/app").token(&token(ALL))).await;
    assert_eq!(other.refusal(), "404 app_not_found");
    let put = Call::put("/api/apps/nowhere").operator().body(Body::from("not JSON"));
    assert_eq!(world.send(put).await.refusal(), "404 app_not_found", "PUT never creates; 404 comes first");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_slow_to_be_in_force_is_answered_all_the_same() {
    let world = World::unconfigured();
    world.app(APP, json!({}));
    let answer = world.send(Call::patch("/api/apps/app").operator().json(json!({"description": "d"}))).await;
    assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, "\"2\""));
}

#[tokio::test]
async fn secrets_are_not_answered() {
    let world = World::new();
    let read = world.send(Call::get("/api/apps/app").operator()).await;
    assert!(!String::from_utf8_lossy(&read.body).contains(SECRET));
    assert_eq!(read.json()["adminKey"]["secretSet"], json!(true));
    let bad = app_document("new", json!({"tier": 5})).to_string();
    assert!(bad.contains(SECRET));
    // The secret in a refused document is not repeated either; every answer of these tests is searched for it.
    assert_eq!(world.send(Call::post("/api/apps").operator().json(bad)).await.refusal(), "422 unprocessable");
}
