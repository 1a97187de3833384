//! 2.1: refusals before the upgrade, their order, and their form for browsers.

use realtime_testkit::{Algorithm, Client, RawSocket, Server, Signer, TestApp, eventually, unix_now};
use serde_json::json;

/// Waits until the refusal is the one of this code: settings and configurations reach the node on a stream.
async fn eventually_refused(app: &TestApp, path: &str, headers: &[(&str, &str)], status: u16, code: &str) {
    eventually(code, || async {
        let opened = RawSocket::open(app.address(), path, headers).await;
        opened.err().filter(|refusal| refusal.status == status && refusal.json()["code"] == code)
    })
    .await
    .expect_problem(status, code);
}

#[tokio::test]
async fn a_plain_request_is_told_to_upgrade() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let path = app.path(&app.token("a", &[]));
    server.request("GET", &path).send().await.expect_problem(426, "upgrade_required");
}

/// What follows the head are frames: a proxy in front must not take them for a body, nor a body for frames.
#[tokio::test]
async fn a_handshake_with_a_body_opens_no_session() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let path = app.path(&app.token("a", &[]));
    for body in [("Content-Length", "5"), ("Transfer-Encoding", "chunked")] {
        app.refused(&path, &[body]).await.expect_problem(400, "invalid_request");
    }
    app.connect_raw(&app.token("a", &[]), &[("Content-Length", "0")]).await.expect_frame().await;
}

#[tokio::test]
async fn an_unknown_app_is_404() {
    let server = Server::start().await;
    let app = server.app().create().await;
    for id in ["unknown", "UPPER", "a%20b"] {
        let path = format!("/apps/{id}?access_token={}", app.token("a", &[]));
        app.refused(&path, &[]).await.expect_problem(404, "app_not_found");
    }
}

#[tokio::test]
async fn a_disabled_app_is_403() {
    let server = Server::start().await;
    let app = server.app().set("enabled", false).create().await;
    let path = app.path(&app.token("a", &[]));
    eventually_refused(&app, &path, &[], 403, "app_disabled").await;
}

#[tokio::test]
async fn an_origin_that_is_not_listed_is_403() {
    let server = Server::start().await;
    let app = server.app().set("allowedOrigins", json!(["https://good.example"])).create().await;
    let path = app.path(&app.token("a", &[]));
    let refusal = app.refused(&path, &[("Origin", "https://evil.example")]).await;
    refusal.expect_problem(403, "origin_forbidden");
    let mut socket = app.connect_raw(&app.token("a", &[]), &[("Origin", "https://good.example")]).await;
    socket.expect_frame().await;
}

#[tokio::test]
async fn any_origin_may_come_where_none_is_listed() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut socket = app.connect_raw(&app.token("a", &[]), &[("Origin", "https://any.example")]).await;
    socket.expect_frame().await;
}

#[tokio::test]
async fn a_source_address_that_is_not_allowed_is_403() {
    let server = Server::start().await;
    for denied in [json!(["10.0.0.0/8"]), json!(["!127.0.0.1"]), json!(["0.0.0.0/0", "!127.0.0.0/8"])] {
        let app = server.app().set("clientSourceAddress", denied).create().await;
        let path = app.path(&app.token("a", &[]));
        app.refused(&path, &[]).await.expect_problem(403, "address_forbidden");
    }
    for allowed in [json!([]), json!(["127.0.0.1"]), json!(["!10.0.0.0/8"]), json!(["0.0.0.0/0"])] {
        let app = server.app().set("clientSourceAddress", allowed).create().await;
        app.connect("a", &[]).await;
    }
}

#[tokio::test]
async fn a_missing_malformed_expired_or_wrongly_signed_token_is_401() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let other = Signer::generate(Algorithm::HS256);
    let good = app.token("a", &[]);
    let (message, _) = good.rsplit_once('.').unwrap();
    let tokens = [
        String::new(),
        "x".into(),
        "a.b.c".into(),
        format!("{message}."),
        message.into(),
        app.sign(json!({"sub": "a", "exp": unix_now() - 30})),
        app.sign(json!({"sub": "a", "nbf": unix_now() + 30})),
        app.sign(json!({"sub": "a", "exp": "soon"})),
        other.sign(&json!({"sub": "a", "exp": unix_now() + 60})),
        app.signer.sign_with_header(&json!({"alg": "none"}), &json!({"sub": "a"})),
        app.signer.sign(&json!("no object")),
    ];
    for token in tokens {
        app.refused(&app.path(&token), &[]).await.expect_problem(401, "unauthenticated");
    }
    let empty = format!("/apps/{}?access_token=", app.id());
    app.refused(&empty, &[]).await.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_refusal_never_repeats_the_token() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let token = app.sign(json!({"sub": "a", "exp": unix_now() - 30}));
    let refusal = app.refused(&app.path(&token), &[]).await;
    assert!(!refusal.text().contains(&token));
    assert!(!server.log().contains(&token), "the log holds the token");
}

/// A good token of exactly this length.
fn token_of(app: &TestApp, bytes: usize) -> String {
    let exp = unix_now() + 60;
    // Base64url makes four of three bytes: some lengths need a longer header.
    let sizes =
        (0..4).flat_map(|header| (bytes * 3 / 4 - 200..bytes * 3 / 4).map(move |claims| (header, claims)));
    let tokens = sizes.map(|(header, claims)| {
        let header = json!({"alg": "HS256", "x": "x".repeat(header)});
        app.signer.sign_with_header(&header, &json!({"sub": "a", "exp": exp, "pad": "x".repeat(claims)}))
    });
    tokens.into_iter().find(|token| token.len() == bytes).expect("a token of this length")
}

#[tokio::test]
async fn a_token_may_have_8_kib_and_no_byte_more() {
    let server = Server::start().await;
    let app = server.app().create().await;
    app.connect_with(&token_of(&app, 8192), "").await.close().await;
    let long = token_of(&app, 8193);
    app.refused(&app.path(&long), &[]).await.expect_problem(401, "unauthenticated");
    let bearer = format!("Bearer {long}");
    let refusal = app.refused(&app.path(""), &[("Authorization", &bearer)]).await;
    refusal.expect_problem(401, "unauthenticated");
}

/// A header that makes request line and headers exactly this long.
fn padding(app: &TestApp, path: &str, bytes: usize) -> String {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Padding: \r\n",
        app.address()
    );
    "x".repeat(bytes - head.len())
}

#[tokio::test]
async fn request_line_and_headers_may_have_16_kib_and_no_byte_more() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let path = app.path(&app.token("a", &[]));
    let fits = padding(&app, &path, 16 * 1024);
    app.connect_raw(&app.token("a", &[]), &[("X-Padding", &fits)]).await.expect_frame().await;
    let over = padding(&app, &path, 16 * 1024 + 1);
    app.refused(&path, &[("X-Padding", &over)]).await.expect_problem(431, "headers_too_large");
    // It is the first of all checks, and nothing that a close frame could tell.
    let unknown = "/apps/unknown?refusals=close";
    let over = padding(&app, unknown, 16 * 1024 + 1);
    app.refused(unknown, &[("X-Padding", &over)]).await.expect_problem(431, "headers_too_large");
    // The request line counts like the headers.
    let long = format!("{path}&x={}", "x".repeat(16 * 1024));
    app.refused(&long, &[]).await.expect_problem(431, "headers_too_large");
}

#[tokio::test]
async fn the_connection_limit_of_the_app_is_429_with_a_time_to_wait() {
    let server = Server::start().await;
    let app = server.app().create().await;
    server.change_settings(|settings| settings["tiers"]["free"]["maxConnections"] = json!(1)).await;
    let first = app.connect("a", &[]).await;
    let path = app.path(&app.token("b", &[]));
    eventually_refused(&app, &path, &[], 429, "connection_limit").await;
    app.refused(&path, &[]).await.expect_problem_with_retry(429, "connection_limit");
    first.close().await;
    eventually("the freed place", || async { RawSocket::open(app.address(), &path, &[]).await.ok() }).await;
}

#[tokio::test]
async fn the_connection_limit_of_the_node_is_429_with_a_time_to_wait() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let _first = app.connect("a", &[]).await;
    server.change_settings(|settings| settings["limits"]["nodeMaxConnections"] = json!(1)).await;
    let path = app.path(&app.token("b", &[]));
    eventually_refused(&app, &path, &[], 429, "connection_limit").await;
    app.refused(&path, &[]).await.expect_problem_with_retry(429, "connection_limit");
}

/// Each request fails two neighbouring checks; the earlier one answers.
#[tokio::test]
async fn checks_are_made_in_the_documented_order() {
    let server = Server::start().await;
    let app = server
        .app()
        .set("enabled", false)
        .set("allowedOrigins", json!(["https://good.example"]))
        .set("clientSourceAddress", json!(["10.0.0.0/8"]))
        .create()
        .await;
    server.request("GET", "/apps/unknown").send().await.expect_problem(426, "upgrade_required");
    let evil = [("Origin", "https://evil.example")];
    let path = app.path("");
    app.refused("/apps/unknown", &evil).await.expect_problem(404, "app_not_found");
    eventually_refused(&app, &path, &evil, 403, "app_disabled").await;
    app.patch(&json!({"enabled": true})).await;
    eventually_refused(&app, &path, &evil, 403, "origin_forbidden").await;
    let good = [("Origin", "https://good.example")];
    app.refused(&path, &good).await.expect_problem(403, "address_forbidden");
    app.patch(&json!({"clientSourceAddress": []})).await;
    eventually_refused(&app, &path, &good, 401, "unauthenticated").await;
    server.change_settings(|settings| settings["limits"]["nodeMaxConnections"] = json!(1)).await;
    let _first = app.connect_raw(&app.token("a", &[]), &good).await;
    eventually_refused(&app, &app.path(&app.token("b", &[])), &good, 429, "connection_limit").await;
    app.refused(&path, &good).await.expect_problem(401, "unauthenticated");
}

/// Draining comes before all but the size of the request: even before the question whether an upgrade is asked for.
#[tokio::test]
async fn a_draining_node_answers_503_before_anything_else() {
    let server = Server::builder().args(&["--drain-seconds", "600"]).start().await;
    let app = server.app().set("enabled", false).create().await;
    let busy = server.app().create().await;
    let _sessions = [busy.connect("a", &[]).await, busy.connect("b", &[]).await];
    server.terminate();
    let path = busy.path(&busy.token("c", &[]));
    eventually_refused(&busy, &path, &[], 503, "draining").await;
    let plain = server.request("GET", &path).send().await;
    plain.expect_problem_with_retry(503, "draining");
    for path in ["/apps/unknown", &app.path("")] {
        let refusal = app.refused(path, &[("Origin", "https://evil.example")]).await;
        refusal.expect_problem_with_retry(503, "draining");
    }
    let padding = "x".repeat(16 * 1024);
    let refusal = app.refused(&path, &[("X-Padding", &padding)]).await;
    refusal.expect_problem(431, "headers_too_large");
    assert_closed(&app, &format!("{path}&refusals=close"), &[], 4503, "draining").await;
}

/// Only a refusal that time mends says when to come back.
#[tokio::test]
async fn a_refusal_for_good_names_no_time_to_wait() {
    let server = Server::start().await;
    let app = server.app().set("allowedOrigins", json!(["https://good.example"])).create().await;
    let evil = [("Origin", "https://evil.example")];
    let refusals = [
        server.request("GET", &app.path("")).send().await,
        app.refused("/apps/unknown", &[]).await,
        app.refused(&app.path(""), &evil).await,
        app.refused(&app.path("x"), &[]).await,
    ];
    for (refusal, status) in refusals.iter().zip([426, 404, 403, 401]) {
        assert_eq!((refusal.status, refusal.header("retry-after")), (status, None));
    }
    assert_eq!(refusals[0].header("upgrade"), Some("websocket"));
    assert_eq!(refusals[3].header("www-authenticate"), Some("Bearer"));
}

/// The refusal upgrades, negotiates nothing, and closes: the reason is the error's code.
async fn assert_closed(app: &TestApp, path: &str, headers: &[(&str, &str)], code: u16, reason: &str) {
    let offer = [("Sec-WebSocket-Extensions", "permessage-deflate")];
    let headers: Vec<_> = headers.iter().chain(&offer).copied().collect();
    let mut socket = RawSocket::open(app.address(), path, &headers).await.expect("an upgrade");
    assert_eq!(socket.header("sec-websocket-extensions"), None);
    assert_eq!(socket.expect_close_next().await, (code, reason.into()), "{path}");
}

#[tokio::test]
async fn every_refusal_that_upgrades_has_its_close_code() {
    let server = Server::start().await;
    let app = server
        .app()
        .set("allowedOrigins", json!(["https://good.example"]))
        .set("clientSourceAddress", json!(["127.0.0.1"]))
        .create()
        .await;
    let path = format!("{}&refusals=close", app.path(&app.token("a", &[])));
    let (good, evil) = ([("Origin", "https://good.example")], [("Origin", "https://evil.example")]);
    assert_closed(&app, "/apps/unknown?refusals=close", &[], 4404, "app_not_found").await;
    assert_closed(&app, &path, &evil, 4403, "origin_forbidden").await;
    app.patch(&json!({"clientSourceAddress": ["!127.0.0.1"]})).await;
    assert_closed(&app, &path, &good, 4403, "address_forbidden").await;
    app.patch(&json!({"clientSourceAddress": []})).await;
    let untold = format!("/apps/{}?refusals=close", app.id());
    assert_closed(&app, &untold, &good, 4401, "unauthenticated").await;
    server.change_settings(|settings| settings["tiers"]["free"]["maxConnections"] = json!(1)).await;
    let _first = app.connect_raw(&app.token("b", &[]), &good).await;
    assert_closed(&app, &path, &good, 4429, "connection_limit").await;
    app.patch(&json!({"enabled": false})).await;
    assert_closed(&app, &path, &good, 4403, "app_disabled").await;
    // Any other word asks for the status.
    let status = path.replace("refusals=close", "refusals=Close");
    app.refused(&status, &good).await.expect_problem(403, "app_disabled");
    // What is not well-formed as an opening cannot be closed either.
    let no_key = [("Sec-WebSocket-Key", "short")];
    app.refused(&path, &no_key).await.expect_problem(400, "invalid_request");
}

#[tokio::test]
async fn browsers_get_the_refusal_as_a_close_code() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let disabled = server.app().set("enabled", false).create().await;
    let good = app.token("a", &[]);
    for (path, code) in [
        (format!("/apps/unknown?refusals=close&access_token={good}"), 4404),
        (format!("/apps/{}?refusals=close", app.id()), 4401),
        (format!("/apps/{}?access_token=x&refusals=close", app.id()), 4401),
        (format!("{}&refusals=close", disabled.path(&disabled.token("a", &[]))), 4403),
    ] {
        let mut client = Client::open_unwelcomed(app.address(), &path).await;
        assert_eq!(client.expect_close().await.0, code, "{path}");
    }
    server.change_settings(|settings| settings["limits"]["nodeMaxConnections"] = json!(1)).await;
    let _first = app.connect("a", &[]).await;
    let path = app.path(&app.token("b", &[]));
    eventually_refused(&app, &path, &[], 429, "connection_limit").await;
    let mut client = Client::open_unwelcomed(app.address(), &format!("{path}&refusals=close")).await;
    assert_eq!(client.expect_close().await.0, 4429);
    // What is no upgrade cannot be closed either.
    let plain = format!("/apps/{}?refusals=close", app.id());
    server.request("GET", &plain).send().await.expect_problem(426, "upgrade_required");
}
