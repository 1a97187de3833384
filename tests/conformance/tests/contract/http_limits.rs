//! 4: bodies exactly at and just over their limits, and the order of checks on every kind of call.

use realtime_testkit::{Request, Server, TestApp, eventually};
use serde_json::{Value, json};

use crate::apps::{minimal, path};
use crate::{APPLICATION, CONNECTIONS, PUBLISH, SUBSCRIBERS};

const UNSUBSCRIBE_LIMIT: usize = 16 * 1024;
const CONFIGURATION_LIMIT: usize = 256 * 1024;

/// A document as JSON text of exactly so many bytes, filled up with white space.
fn padded(document: &Value, bytes: usize) -> String {
    let text = document.to_string();
    format!("{text}{}", " ".repeat(bytes - text.len()))
}

#[tokio::test]
async fn bodies_may_be_as_long_as_their_limit_and_no_byte_longer() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let unsubscribe = json!({"topicPatterns": ["a"], "subject": "a"});
    let unsubscribe_path = format!("/api/topics/{}/unsubscribe", app.id());
    let publish_path = format!("/api/topics/{}/publish", app.id());
    let publish = json!({"topic": "t", "message": 1});
    let patch = json!({"description": "x"});
    let got = server.operator("GET", &path(&app)).send().await.expect(200);
    let settings = server.operator("GET", "/api/settings").send().await.expect(200);
    let cases = [
        ("POST", publish_path.as_str(), &publish, 5_120, 200),
        ("POST", &unsubscribe_path, &unsubscribe, UNSUBSCRIBE_LIMIT, 200),
        ("POST", "/api/apps", &minimal("padded"), CONFIGURATION_LIMIT, 201),
        ("PUT", &path(&app), &got, CONFIGURATION_LIMIT, 200),
        ("PATCH", &path(&app), &patch, CONFIGURATION_LIMIT, 200),
        ("PUT", "/api/settings", &settings, CONFIGURATION_LIMIT, 200),
    ];
    for (method, path, document, limit, status) in cases {
        let send = |bytes| {
            let request = server.operator(method, path);
            request.body("application/json", padded(document, bytes)).send()
        };
        assert_eq!(send(limit).await.status, status, "{method} {path}");
        send(limit + 1).await.expect_problem(413, "payload_too_large");
    }
}

/// One kind of call, and the refusals that it can be given, in the documented order.
struct Call<'a> {
    method: &'a str,
    path: String,
    /// A good body; `None`: the call has none.
    body: Option<Value>,
    limit: usize,
    permission: &'a str,
    /// Whether a disabled application refuses it.
    sessions: bool,
}

impl Call<'_> {
    fn at(&self, app_id: &str) -> String {
        self.path.replace("APP", app_id)
    }
}

/// 404 app · 403 address · 401 · 415 · 413 · 400 · 403 permission · 403 app disabled: each request has the fault that
/// is named and every later one, so that each neighbouring pair is told apart.
async fn assert_order(server: &Server, call: &Call<'_>) {
    let app =
        server.app().set("enabled", false).set("adminSourceAddress", json!(["10.0.0.0/8"])).create().await;
    let huge = " ".repeat(call.limit + 1);
    let path = call.at(app.id());
    let faulty = |request: Request, media: &str, body: &str| {
        // `X-App-Id` is the fault that a call without a body can have.
        let request = request.header("X-App-Id", "another");
        match call.body {
            Some(_) => request.body(media, body),
            None => request,
        }
    };
    let unknown = server.request(call.method, &call.at("unknown"));
    faulty(unknown, "text/plain", &huge).send().await.expect_problem(404, "app_not_found");
    let bare = || faulty(server.request(call.method, &path), "text/plain", &huge).send();
    bare().await.expect_problem(403, "address_forbidden");
    app.patch(&json!({"adminSourceAddress": []})).await;
    bare().await.expect_problem(401, "unauthenticated");
    let nothing = || app.api(&[], call.method, &path);
    if call.body.is_some() {
        let answer = faulty(nothing(), "text/plain", &huge).send().await;
        answer.expect_problem(415, "unsupported_media_type");
        let answer = faulty(nothing(), "application/json", &huge).send().await;
        answer.expect_problem(413, "payload_too_large");
        let answer = faulty(nothing(), "application/json", "hello").send().await;
        answer.expect_problem(400, "invalid_request");
        nothing().body("application/json", "hello").send().await.expect_problem(400, "invalid_request");
    }
    let good = |request: Request| match &call.body {
        Some(body) => request.json(body),
        None => request,
    };
    good(nothing()).header("X-App-Id", "another").send().await.expect_problem(400, "invalid_request");
    good(nothing()).send().await.expect_problem(403, "permission_denied");
    let permitted = good(app.api(&[call.permission], call.method, &path)).send().await;
    if call.sessions {
        permitted.expect_problem(403, "app_disabled");
    } else {
        assert_eq!(permitted.status, 200, "{}", permitted.text());
    }
}

#[tokio::test]
async fn every_call_makes_its_checks_in_the_documented_order() {
    let server = Server::start().await;
    let call = |method, path: &str, body, limit, permission, sessions| Call {
        method,
        path: path.to_owned(),
        body,
        limit,
        permission,
        sessions,
    };
    let publish = json!({"topic": "t", "message": 1});
    let unsubscribe = json!({"topicPatterns": ["a"], "subject": "a"});
    let one = format!("/api/connections/APP/{}", "0".repeat(32));
    for call in [
        call("POST", "/api/topics/APP/publish", Some(publish), 5_120, PUBLISH, true),
        call("POST", "/api/topics/APP/unsubscribe", Some(unsubscribe), UNSUBSCRIBE_LIMIT, SUBSCRIBERS, true),
        call("GET", "/api/connections/APP", None, 0, CONNECTIONS, true),
        call("DELETE", "/api/connections/APP", None, 0, CONNECTIONS, true),
        call("DELETE", &one, None, 0, CONNECTIONS, true),
        call("DELETE", "/api/connections/APP/malformed", None, 0, CONNECTIONS, true),
        call("GET", "/api/topics/APP", None, 0, SUBSCRIBERS, false),
        call("GET", "/api/apps/APP", None, 0, APPLICATION, false),
        call("PATCH", "/api/apps/APP", Some(json!({})), CONFIGURATION_LIMIT, APPLICATION, false),
    ] {
        assert_order(&server, &call).await;
    }
}

/// 403 app disabled · 429; the month's quota is the last check.
#[tokio::test]
async fn the_quota_comes_after_everything_else() {
    let server = Server::start().await;
    let app = crate::limits::limited(&server, "apiUsageBytesPerMonth", 1).await;
    app.patch(&json!({"enabled": false})).await;
    let list = || app.api(&[CONNECTIONS], "GET", &format!("/api/connections/{}", app.id())).send();
    list().await.expect_problem(403, "app_disabled");
    app.patch(&json!({"enabled": true})).await;
    list().await.expect_problem_with_retry(429, "quota_exceeded");
}

/// For documents: 403 permission · 412 · 422 · 403 fields · 409.
#[tokio::test]
async fn documents_are_judged_after_the_caller_and_the_version() {
    let server = Server::start().await;
    let taken = server.app().set("name", "taken").create().await;
    let app = server.app().create().await;
    let faulty = json!({"name": "taken", "tier": "platinum", "surprise": 1});
    let patch = |permissions: &[&str], etag: &str, change: &Value| {
        let request = app.api(permissions, "PATCH", &path(&app)).header("If-Match", etag);
        request.json(change).send()
    };
    patch(&[], "\"1\"", &faulty).await.expect_problem(403, "permission_denied");
    for stale in ["\"1\"", "\"x\"", "W/\"1\""] {
        patch(&[APPLICATION], stale, &faulty).await.expect_problem(412, "stale_version");
    }
    patch(&[APPLICATION], "*", &faulty).await.expect_problem(422, "unprocessable");
    let mine = json!({"name": "taken", "tier": "unlimited"});
    let problem = patch(&[APPLICATION], "*", &mine).await.expect_problem(403, "permission_denied");
    assert_eq!(problem["errors"][0]["field"], "tier");
    patch(&[APPLICATION], "*", &json!({"name": "taken"})).await.expect_problem(409, "name_taken");
    for malformed in ["1", "\"1", "\"1\", \"2\""] {
        patch(&[APPLICATION], malformed, &faulty).await.expect_problem(400, "invalid_request");
    }
    taken.delete().await;
    patch(&[APPLICATION], "*", &json!({"name": "taken"})).await.expect(200);
}

/// Calls of operators have no application: 401 · 415 · 413 · 400 · 412 · 422 · 409.
#[tokio::test]
async fn operators_calls_make_their_checks_in_the_documented_order() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let huge = " ".repeat(CONFIGURATION_LIMIT + 1);
    for (method, path) in [("POST", "/api/apps"), ("PUT", "/api/settings")] {
        let send = |token: &str, media: &str, body: &str| {
            let request = server.request(method, path).token(token).header("If-Match", "\"1\"");
            request.body(media, body).send()
        };
        let by_app = app.token("owner", &[APPLICATION, crate::KEYS]);
        for token in ["wrong", by_app.as_str()] {
            send(token, "text/plain", &huge).await.expect_problem(401, "unauthenticated");
        }
        let operator = realtime_testkit::server::OPERATOR_TOKEN;
        send(operator, "text/plain", &huge).await.expect_problem(415, "unsupported_media_type");
        send(operator, "application/json", &huge).await.expect_problem(413, "payload_too_large");
        send(operator, "application/json", "{").await.expect_problem(400, "invalid_request");
    }
    let put = |etag: &str| {
        let faulty = json!({"tiers": {"free": {}}, "surprise": 1});
        server.operator("PUT", "/api/settings").header("If-Match", etag).json(&faulty).send()
    };
    put("\"1").await.expect_problem(400, "invalid_request");
    put("\"x\"").await.expect_problem(412, "stale_version");
    put("*").await.expect_problem(422, "unprocessable");
    let used: TestApp = server.app().set("tier", "unlimited").create().await;
    let without = server.operator("PUT", "/api/settings").json(&json!({"tiers": {"free": {}}}));
    without.send().await.expect_problem(409, "tier_in_use");
    eventually("the app in its tier", async || {
        let got = server.operator("GET", &path(&used)).send().await;
        (got.json()["tier"] == "unlimited").then_some(())
    })
    .await;
}

/// 4: an operator passes every call and is noted with its name; the token itself is nowhere.
#[tokio::test]
async fn what_operators_do_is_audited() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let before = server.log().matches("audit").count();
    server.operator("GET", &format!("/api/connections/{}", app.id())).send().await.expect(200);
    let publish = server.operator("POST", &format!("/api/topics/{}/publish", app.id()));
    publish.json(&json!({"topic": "t", "message": 1})).send().await.expect(200);
    server.operator("PATCH", &path(&app)).json(&json!({"description": "x"})).send().await.expect(200);
    server.operator("GET", "/api/settings").send().await.expect(200);
    eventually("four records", async || {
        let log = server.log();
        let records: Vec<_> = log.lines().filter(|line| line.contains("audit")).skip(before).collect();
        (records.len() >= 4 && records.iter().all(|record| record.contains("operator"))).then_some(())
    })
    .await;
    assert!(!server.log().contains(realtime_testkit::server::OPERATOR_TOKEN));
}
