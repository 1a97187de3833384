//! 4: who may call the API, and the order of its checks.

use realtime_testkit::{Algorithm, Server, Signer, TestApp, eventually, unix_now};
use serde_json::{Value, json};

use crate::{APPLICATION, CONNECTIONS, PUBLISH};

fn publish_path(app: &TestApp) -> String {
    format!("/api/topics/{}/publish", app.id())
}

fn good_body() -> Value {
    json!({"topic": "main", "message": 1})
}

#[tokio::test]
async fn a_missing_malformed_expired_or_wrongly_signed_token_is_401() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let other = Signer::generate(Algorithm::HS256);
    let tokens = [
        "x".to_owned(),
        other.sign(&json!({"permissions": [PUBLISH]})),
        app.sign(json!({"permissions": [PUBLISH], "exp": unix_now() - 30})),
        app.sign(json!({"permissions": [PUBLISH], "nbf": unix_now() + 30})),
    ];
    for token in tokens {
        let answer =
            server.request("POST", &publish_path(&app)).token(&token).json(&good_body()).send().await;
        answer.expect_problem(401, "unauthenticated");
    }
    let answer = server.request("POST", &publish_path(&app)).json(&good_body()).send().await;
    answer.expect_problem(401, "unauthenticated");
    let basic = server.request("POST", &publish_path(&app)).header("Authorization", "Basic eDp5");
    basic.json(&good_body()).send().await.expect_problem(401, "unauthenticated");
}

/// The app's two keys are not one: clients' tokens are no good for the API.
#[tokio::test]
async fn the_api_verifies_with_the_admin_key_only() {
    let server = Server::start().await;
    let admin = Signer::generate(Algorithm::HS256);
    let app = server.app().set("adminKey", admin.key_config()).create().await;
    let claims = json!({"permissions": [PUBLISH], "sub": "a"});
    let path = publish_path(&app);
    let by_client = server.request("POST", &path).token(&app.sign(claims.clone())).json(&good_body());
    by_client.send().await.expect_problem(401, "unauthenticated");
    server.request("POST", &path).token(&admin.sign(&claims)).json(&good_body()).send().await.expect(200);
    app.refused(&app.path(&admin.sign(&claims)), &[]).await.expect_problem(401, "unauthenticated");
    app.connect_with(&app.sign(claims), "").await;
}

#[tokio::test]
async fn an_operator_passes_every_check_of_the_app() {
    let server = Server::start().await;
    let app = server.app().set("adminSourceAddress", json!(["10.0.0.0/8"])).create().await;
    server.operator("POST", &publish_path(&app)).json(&good_body()).send().await.expect(200);
    let path = format!("/api/connections/{}", app.id());
    server.operator("GET", &path).send().await.expect(200);
}

/// 404 app · 403 address · 401 · 415 · 413 · 400 body · 403 permission · 403 app disabled · 429: each
/// request fails the check named and all later ones.
#[tokio::test]
async fn checks_are_made_in_the_documented_order() {
    let server = Server::start().await;
    let app =
        server.app().set("adminSourceAddress", json!(["10.0.0.0/8"])).set("enabled", false).create().await;
    let path = publish_path(&app);
    let huge = "x".repeat(20_000);
    let unknown = server.request("POST", "/api/topics/unknown/publish").body("text/plain", huge.clone());
    unknown.send().await.expect_problem(404, "app_not_found");
    let bare = || server.request("POST", &path).body("text/plain", huge.clone()).send();
    eventually("the app at the gateway", async || (bare().await.status != 404).then_some(())).await;
    bare().await.expect_problem(403, "address_forbidden");
    app.patch(&json!({"adminSourceAddress": []})).await;
    eventually("the open addresses", async || (bare().await.status == 401).then_some(())).await;
    bare().await.expect_problem(401, "unauthenticated");
    let with = |permissions: &[&str]| app.api(permissions, "POST", &path);
    with(&[]).body("text/plain", huge.clone()).send().await.expect_problem(415, "unsupported_media_type");
    with(&[]).body("application/json", huge).send().await.expect_problem(413, "payload_too_large");
    with(&[]).body("application/json", "hello").send().await.expect_problem(400, "invalid_request");
    with(&[]).json(&good_body()).send().await.expect_problem(403, "permission_denied");
    with(&[PUBLISH]).json(&good_body()).send().await.expect_problem(403, "app_disabled");
    server
        .change_settings(|settings| {
            settings["tiers"]["tiny"] = json!({"apiUsageBytesPerMonth": 1});
        })
        .await;
    app.patch(&json!({"tier": "tiny"})).await;
    with(&[PUBLISH]).json(&good_body()).send().await.expect_problem(403, "app_disabled");
}

#[tokio::test]
async fn the_calls_on_a_disabled_apps_sessions_are_403() {
    let server = Server::start().await;
    let app = server.app().create().await;
    app.patch(&json!({"enabled": false})).await;
    let publish = || app.api(&[PUBLISH], "POST", &publish_path(&app)).json(&good_body()).send();
    eventually("the disabled app", async || (publish().await.status == 403).then_some(())).await;
    publish().await.expect_problem(403, "app_disabled");
    let unsubscribe =
        app.api(&[crate::SUBSCRIBERS], "POST", &format!("/api/topics/{}/unsubscribe", app.id()));
    let body = json!({"topicPatterns": ["*"], "subject": "a"});
    unsubscribe.json(&body).send().await.expect_problem(403, "app_disabled");
    let path = format!("/api/connections/{}", app.id());
    app.api(&[CONNECTIONS], "GET", &path).send().await.expect_problem(403, "app_disabled");
    app.api(&[CONNECTIONS], "DELETE", &path).send().await.expect_problem(403, "app_disabled");
    // Its configuration can still be read, and so enabled again.
    app.api(&[APPLICATION], "GET", &format!("/api/apps/{}", app.id())).send().await.expect(200);
}

#[tokio::test]
async fn the_header_with_the_app_id_must_be_the_paths_on_every_call() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let unsubscribe = json!({"topicPatterns": ["a"], "subject": "a"});
    let calls = [
        ("POST", publish_path(&app), Some(good_body())),
        ("POST", format!("/api/topics/{}/unsubscribe", app.id()), Some(unsubscribe)),
        ("GET", format!("/api/topics/{}", app.id()), None),
        ("GET", format!("/api/connections/{}", app.id()), None),
        ("DELETE", format!("/api/connections/{}?subject=a", app.id()), None),
        ("GET", format!("/api/apps/{}", app.id()), None),
        ("PATCH", format!("/api/apps/{}", app.id()), Some(json!({}))),
        ("DELETE", format!("/api/apps/{}", app.id()), None),
    ];
    for (method, path, body) in calls {
        let send = |id: &str| {
            let request = server.operator(method, &path).header("X-App-Id", id);
            match &body {
                Some(body) => request.json(body),
                None => request,
            }
            .send()
        };
        send("another").await.expect_problem(400, "invalid_request");
        let answer = send(app.id()).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn unknown_paths_are_404_and_other_methods_405() {
    let server = Server::start().await;
    let app = server.app().create().await;
    for path in ["/", "/api", "/api/nothing", "/api/topics", "/apps"] {
        let answer = server.operator("GET", path).send().await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        answer.expect_problem(404, "not_found");
    }
    let publish = publish_path(&app);
    for (method, path) in [("GET", publish.as_str()), ("PUT", &publish), ("DELETE", "/api/settings")] {
        server.operator(method, path).send().await.expect_problem(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn operator_calls_need_the_operators_token() {
    let server = Server::start().await;
    let app = server.app().create().await;
    for path in ["/api/apps", "/api/settings"] {
        server.request("GET", path).send().await.expect_problem(401, "unauthenticated");
        server.request("GET", path).token("wrong").send().await.expect_problem(401, "unauthenticated");
        let by_app = app.api(&[APPLICATION, crate::KEYS], "GET", path).send().await;
        by_app.expect_problem(401, "unauthenticated");
    }
}

/// 5: `allowedOrigins` is for CORS, too.
#[tokio::test]
async fn pages_of_allowed_origins_may_call_the_api() {
    let server = Server::start().await;
    let open = server.app().create().await;
    let listed = server.app().set("allowedOrigins", json!(["https://good.example"])).create().await;
    let preflight = |app: &TestApp, origin: &str| {
        server
            .request("OPTIONS", &publish_path(app))
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization,content-type")
            .send()
    };
    for (app, origin) in [(&open, "https://any.example"), (&listed, "https://good.example")] {
        let answer = preflight(app, origin).await;
        assert!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text());
        let allowed = answer.header("access-control-allow-origin").unwrap_or_default();
        assert!(allowed == origin || allowed == "*", "{allowed}");
        let headers = answer.header("access-control-allow-headers").unwrap_or_default().to_ascii_lowercase();
        assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
        let request = app.api(&[PUBLISH], "POST", &publish_path(app)).header("Origin", origin);
        let answer = request.json(&good_body()).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.header("access-control-allow-origin").is_some());
    }
    let answer = preflight(&listed, "https://evil.example").await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
