//! 5: secrets are write-only, and a document without one keeps it only where nothing about its use changes.

use realtime_testkit::{Algorithm, Response, Server, Signer, TestApp};
use serde_json::{Value, json};

use crate::apps::path;
use crate::{APPLICATION, KEYS};

const QUEUE: &str = "https://sqs.eu-central-1.amazonaws.com/123456789012/q";

fn sqs() -> Value {
    json!({
        "enabled": true, "queueUrl": QUEUE, "region": "eu-central-1", "accessKeyId": "AKIAEXAMPLE",
        "secretAccessKey": "aws-secret-access-key", "endpointUrl": "http://127.0.0.1:9",
    })
}

fn sns() -> Value {
    json!({
        "enabled": true, "topicArn": "arn:aws:sns:eu-central-1:123456789012:t", "region": "eu-central-1",
        "accessKeyId": "AKIAEXAMPLE", "secretAccessKey": "aws-secret-access-key",
    })
}

async fn put(server: &Server, app: &TestApp, document: &Value) -> Response {
    server.operator("PUT", &path(app)).json(document).send().await
}

async fn patch(server: &Server, app: &TestApp, change: &Value) -> Response {
    server.operator("PATCH", &path(app)).json(change).send().await
}

fn assert_field(answer: &Response, field: &str) {
    let problem = answer.expect_problem(422, "unprocessable");
    let named = problem["errors"].as_array().unwrap();
    assert!(named.iter().any(|e| e["field"].as_str().unwrap().starts_with(field)), "{field}: {problem}");
}

#[tokio::test]
async fn put_takes_what_get_answered_with_every_attribute_set() {
    let server = Server::start().await;
    let app = server
        .app()
        .set("description", "all of it")
        .set("clientSourceAddress", json!(["127.0.0.0/8", "!10.0.0.1"]))
        .set("adminSourceAddress", json!(["0.0.0.0/0"]))
        .set("allowedOrigins", json!(["https://a.example"]))
        .set("connectionLimitPolicy", "replace")
        .set("permissionCase", "sensitive")
        .set("amazonSqsForwarder", sqs())
        .set("amazonSnsForwarder", sns())
        .create()
        .await;
    let got = server.operator("GET", &path(&app)).send().await.expect(200);
    let mut replaced = put(&server, &app, &got).await.expect(200);
    let mut expected = got.clone();
    for document in [&mut replaced, &mut expected] {
        document["updatedAt"] = Value::Null;
        document["version"] = Value::Null;
    }
    assert_eq!(replaced, expected);
    assert_eq!(replaced["amazonSqsForwarder"]["secretSet"], true);
    // The keys, too, are what they were.
    app.connect("a", &[]).await;
    let by_app = app.api(&[APPLICATION], "GET", &path(&app)).send().await;
    by_app.expect(200);
}

#[tokio::test]
async fn an_hmac_secret_is_kept_within_its_family_and_asked_for_otherwise() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut session_key = server.operator("GET", &path(&app)).send().await.json()["authKey"].clone();
    assert_eq!(session_key.get("key"), None);
    session_key["issuer"] = json!([]);
    session_key["algorithms"] = json!(["HS256", "HS512"]);
    patch(&server, &app, &json!({"authKey": session_key})).await.expect(200);
    app.connect("kept", &[]).await;
    // Another family, and another source, and from there back: nothing is left to keep.
    let other_family = json!({"authKey": {"algorithms": ["ES256"]}});
    assert_field(&patch(&server, &app, &other_family).await, "authKey.key");
    let key_set = json!({
        "source": "jwks", "jwksUri": "https://id.example/jwks", "audience": "a", "algorithms": null,
    });
    patch(&server, &app, &json!({"authKey": key_set})).await.expect(200);
    let back = json!({"source": "raw", "algorithms": ["HS256"], "jwksUri": null, "audience": null});
    assert_field(&patch(&server, &app, &json!({"authKey": back})).await, "authKey.key");
    let next = Signer::generate(Algorithm::HS256);
    patch(&server, &app, &json!({"authKey": null})).await.expect_problem(422, "unprocessable");
    let mut key = next.key_config();
    key["jwksUri"] = Value::Null;
    key["audience"] = Value::Null;
    patch(&server, &app, &json!({"authKey": key})).await.expect(200);
    app.refused(&app.path(&app.token("a", &[])), &[]).await.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn an_aws_secret_never_goes_to_another_place_than_where_its_owner_sent_it() {
    let server = Server::start().await;
    let app = server.app().set("amazonSqsForwarder", sqs()).create().await;
    let got = server.operator("GET", &path(&app)).send().await.json();
    for (member, value) in [
        ("queueUrl", json!("https://sqs.eu-central-1.amazonaws.com/210987654321/q")),
        ("endpointUrl", json!("http://127.0.0.1:10")),
        ("accessKeyId", json!("AKIAANOTHER")),
    ] {
        let mut moved = got.clone();
        moved["amazonSqsForwarder"][member] = value.clone();
        assert_field(&put(&server, &app, &moved).await, "amazonSqsForwarder");
        let change = json!({"amazonSqsForwarder": {member: value}});
        assert_field(&patch(&server, &app, &change).await, "amazonSqsForwarder");
        // With its secret it may go anywhere.
        moved["amazonSqsForwarder"]["secretAccessKey"] = json!("another-secret");
        put(&server, &app, &moved).await.expect(200);
        moved["amazonSqsForwarder"] = sqs();
        put(&server, &app, &moved).await.expect(200);
    }
    // What says nothing of its place keeps it.
    let off = patch(&server, &app, &json!({"amazonSqsForwarder": {"enabled": false}})).await.expect(200);
    assert_eq!(off["amazonSqsForwarder"]["secretSet"], true);
}

#[tokio::test]
async fn an_absent_object_resets_and_a_null_secret_drops_it() {
    let server = Server::start().await;
    let app = server.app().set("amazonSqsForwarder", sqs()).set("amazonSnsForwarder", sns()).create().await;
    let mut got = server.operator("GET", &path(&app)).send().await.json();
    got.as_object_mut().unwrap().remove("amazonSnsForwarder");
    let replaced = put(&server, &app, &got).await.expect(200);
    assert_eq!(replaced["amazonSnsForwarder"], json!({}));
    let drop = json!({"amazonSqsForwarder": {"secretAccessKey": null, "accessKeyId": null}});
    let dropped = patch(&server, &app, &drop).await.expect(200);
    assert_eq!(dropped["amazonSqsForwarder"].get("secretSet"), None);
    assert_eq!(dropped["amazonSqsForwarder"]["queueUrl"], QUEUE);
    let reset = patch(&server, &app, &json!({"amazonSqsForwarder": null})).await.expect(200);
    assert_eq!(reset["amazonSqsForwarder"], json!({}));
}

/// 4: with `realtime:admin:manage:keys` besides, an application's own token may do all of it but spend the
/// operator's credentials or reach into the operator's network.
#[tokio::test]
async fn keys_addresses_and_forwarders_need_a_permission_of_their_own() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let key = Signer::generate(Algorithm::ES256).key_config();
    let mut own = sqs();
    own.as_object_mut().unwrap().remove("endpointUrl");
    let all = json!({
        "authKey": key, "adminSourceAddress": ["127.0.0.1"], "amazonSqsForwarder": own,
        "amazonSnsForwarder": sns(), "description": "x",
    });
    let refused = app.api(&[APPLICATION], "PATCH", &path(&app)).json(&all).send().await;
    let problem = refused.expect_problem(403, "permission_denied");
    let named: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|e| e["field"].clone()).collect();
    assert_eq!(named, ["authKey", "adminSourceAddress", "amazonSnsForwarder", "amazonSqsForwarder"]);
    // The permission for keys alone is not enough, either.
    let alone = app.api(&[KEYS], "PATCH", &path(&app)).json(&all).send().await;
    alone.expect_problem(403, "permission_denied");
    let owner = || app.api(&[APPLICATION, KEYS], "PATCH", &path(&app));
    owner().json(&all).send().await.expect(200);
    for (change, field) in [
        (json!({"amazonSqsForwarder": {"accessKeyId": null, "secretAccessKey": null}}), "amazonSqsForwarder"),
        (json!({"amazonSqsForwarder": sqs()}), "amazonSqsForwarder.endpointUrl"),
        (json!({"tier": "unlimited"}), "tier"),
    ] {
        let problem = owner().json(&change).send().await.expect_problem(403, "permission_denied");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    // Everything else needs no more than `manage:application`, the addresses of clients included.
    let rest = json!({
        "enabled": true, "name": "mine", "clientSourceAddress": ["127.0.0.1"], "allowedOrigins": [],
        "enableWebSocketInboundTopic": true, "permissionCase": "sensitive",
    });
    app.api(&[APPLICATION], "PATCH", &path(&app)).json(&rest).send().await.expect(200);
    // What is sent unchanged is no change.
    let got = app.api(&[APPLICATION], "GET", &path(&app)).send().await.json();
    app.api(&[APPLICATION], "PUT", &path(&app)).json(&got).send().await.expect(200);
}
