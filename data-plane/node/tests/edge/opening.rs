//! Every refusal of docs/contract.md 2.1, and what a client gets that passes.

use realtime_auth::{GateConfig, issue};
use realtime_proto::app::Algorithm;
use serde_json::json;

use crate::fixture::{AUTH_SECRET, Node, Setup, app, sign, token, unix_now, within};
use crate::wire::{ACCEPT, Client, Frame, HttpResponse, KEY, opening, text};

fn target(id: &str) -> String {
    format!("/apps/{id}?access_token={}", token("s"))
}

async fn open(node: &Node, target: &str, more: &str) -> HttpResponse {
    Client::ask(node.address, &opening(target, more)).await
}

async fn assert_refused(node: &Node, target: &str, more: &str, status: u16, code: &str) -> HttpResponse {
    let response = open(node, target, more).await;
    assert_eq!(response.refusal(), (status, code.to_owned()), "{target} {more}");
    response
}

#[tokio::test]
async fn a_node_without_configuration_refuses_with_503() {
    let node = Node::without_configuration(&Setup::default()).await;
    let response = assert_refused(&node, &target("a"), "", 503, "unavailable").await;
    assert!(response.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
}

#[tokio::test]
async fn a_draining_node_refuses_with_503_and_an_undrained_one_does_not() {
    let node = Node::start(Setup::default()).await;
    node.draining.send_replace(true);
    let response = assert_refused(&node, &target("a"), "", 503, "draining").await;
    assert!(response.header("retry-after").is_some());
    node.draining.send_replace(false);
    assert_eq!(open(&node, &target("a"), "").await.status, 101);
}

#[tokio::test]
async fn what_asks_for_no_upgrade_is_told_to() {
    let node = Node::start(Setup::default()).await;
    for request in [
        "GET /apps/a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "GET /apps/nobody HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        opening("/apps/a", "").replace("Upgrade: WebSocket", "Upgrade: h2c"),
        opening("/apps/a", "").replace("Connection: keep-alive, Upgrade", "Connection: keep-alive"),
        opening("/apps/a", "").replace("HTTP/1.1", "HTTP/1.0"),
        opening("/apps/a", "").replace("Version: 13", "Version: 8"),
        opening("/apps/a", "").replace("Sec-WebSocket-Version: 13\r\n", ""),
    ] {
        let response = Client::ask(node.address, &request).await;
        assert_eq!(response.refusal(), (426, "upgrade_required".into()), "{request}");
        assert_eq!(response.header("sec-websocket-version"), Some("13"));
        assert_eq!(response.header("upgrade"), Some("websocket"));
    }
}

#[tokio::test]
async fn other_methods_are_not_allowed() {
    let node = Node::start(Setup::default()).await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request = opening("/apps/a", "Content-Length: 0\r\n").replacen("GET", method, 1);
        let response = Client::ask(node.address, &request).await;
        assert_eq!(response.refusal(), (405, "method_not_allowed".into()), "{method}");
        assert_eq!(response.header("allow"), Some("GET"));
    }
    let mut client = Client::connect(node.address).await;
    client.send(b"HEAD /apps/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    let answer = String::from_utf8(client.end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_bad_key_is_a_bad_request() {
    let node = Node::start(Setup::default()).await;
    let line = format!("Sec-WebSocket-Key: {KEY}\r\n");
    for replacement in ["", "Sec-WebSocket-Key: c2hvcnQ=\r\n", "Sec-WebSocket-Key: !\r\n", &line.repeat(2)] {
        let request = opening(&target("a"), "").replace(&line, replacement);
        let response = Client::ask(node.address, &request).await;
        assert_eq!(response.refusal(), (400, "invalid_request".into()), "{replacement}");
    }
}

#[tokio::test]
async fn unknown_and_malformed_apps_are_not_found() {
    let node = Node::start(Setup::default()).await;
    for id in ["nobody", "A", "", "a/", "a/b", "%61", &"x".repeat(65)] {
        assert_refused(&node, &target(id), "", 404, "app_not_found").await;
    }
}

#[tokio::test]
async fn a_disabled_app_is_refused_until_it_is_enabled() {
    let disabled = app("a", json!({"enabled": false}));
    let node = Node::start(Setup { apps: vec![disabled], ..Setup::default() }).await;
    assert_refused(&node, &target("a"), "", 403, "app_disabled").await;
    node.configure(&[app("a", json!({}))], &json!({}));
    assert_eq!(open(&node, &target("a"), "").await.status, 101);
}

#[tokio::test]
async fn only_listed_origins_pass_where_there_is_a_list() {
    let listed = app("listed", json!({"allowedOrigins": ["https://a.example"]}));
    let node = Node::start(Setup { apps: vec![listed, app("any", json!({}))], ..Setup::default() }).await;
    for origin in ["https://b.example", "null", "http://a.example", "\u{e4}"] {
        let header = format!("Origin: {origin}\r\n");
        assert_refused(&node, &target("listed"), &header, 403, "origin_forbidden").await;
    }
    for (id, header) in
        [("listed", "Origin: https://a.example\r\n"), ("any", "Origin: https://b.example\r\n")]
    {
        assert_eq!(open(&node, &target(id), header).await.status, 101, "{id} {header}");
    }
}

#[tokio::test]
async fn a_refused_source_address_is_forbidden_before_its_token_is_looked_at() {
    let denying = app("a", json!({"clientSourceAddress": ["!127.0.0.1"]}));
    let node = Node::start(Setup { apps: vec![denying], ..Setup::default() }).await;
    assert_refused(&node, &target("a"), "", 403, "address_forbidden").await;
    assert_refused(&node, "/apps/a", "", 403, "address_forbidden").await;
}

#[tokio::test]
async fn tokens_that_are_missing_or_bad_are_unauthorized() {
    let node = Node::start(Setup::default()).await;
    let expired = sign(AUTH_SECRET, &json!({"sub": "s", "exp": unix_now() - 60}));
    let forged = sign("another secret, not the app's one", &json!({"sub": "s"}));
    let reserved = sign(AUTH_SECRET, &json!({"sub": "acks"}));
    let oversized = sign(AUTH_SECRET, &json!({"sub": "s", "x": "x".repeat(8 * 1024)}));
    for token in ["", "no-token", "a.b.c", &expired, &forged, &reserved, &oversized] {
        let response =
            assert_refused(&node, &format!("/apps/a?access_token={token}"), "", 401, "unauthenticated").await;
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
        let body = String::from_utf8(response.body).unwrap();
        assert!(token.len() < 9 || !body.contains(token), "the answer quotes the token");
    }
    assert_refused(&node, "/apps/a", "", 401, "unauthenticated").await;
    assert_refused(&node, "/apps/a", "Authorization: Basic YTpi\r\n", 401, "unauthenticated").await;
}

#[tokio::test]
async fn a_token_may_come_in_the_query_escaped_or_not_or_in_a_header() {
    let node = Node::start(Setup::default()).await;
    let token = token("s");
    let escaped = token.replace('.', "%2E").replace('e', "%65");
    for target in [format!("/apps/a?access_token={token}"), format!("/apps/a?x=1&access_token={escaped}")] {
        let mut client = Client::connect(node.address).await;
        client.send(opening(&target, "").as_bytes()).await;
        assert_eq!(client.response().await.status, 101, "{target}");
        drop(client);
        node.eventually("the session ends", |node| node.shards.open_sessions() == 0).await;
    }
    let header = format!("Authorization: bearer {token}\r\n");
    assert_eq!(open(&node, "/apps/a", &header).await.status, 101);
}

#[tokio::test]
async fn over_the_connection_limit_is_429_until_a_place_is_free() {
    let settings = json!({"limits": {"nodeMaxConnections": 1}});
    let node = Node::start(Setup { settings, ..Setup::default() }).await;
    let mut first = Client::connect(node.address).await;
    first.send(opening(&target("a"), "").as_bytes()).await;
    assert_eq!(first.response().await.status, 101);
    assert_eq!(first.json().await["messageType"], "welcome");
    let response = assert_refused(&node, &target("a"), "", 429, "connection_limit").await;
    assert!(response.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    drop(first);
    node.eventually("the session ends", |node| node.shards.open_sessions() == 0).await;
    assert_eq!(open(&node, &target("a"), "").await.status, 101);
}

/// Openings at once, more than the one thread that verifies them has room for.
async fn flood(node: &Node, private_pem: &str) -> Vec<HttpResponse> {
    let mut clients = Vec::new();
    for subject in 0..32 {
        let claims = json!({"sub": subject.to_string()}).to_string();
        let token = issue::sign(Algorithm::ES512, private_pem, &claims, None).unwrap();
        let request = opening(&format!("/apps/a?access_token={token}"), "");
        clients.push((Client::connect(node.address).await, request));
    }
    for (client, request) in &mut clients {
        client.send(request.as_bytes()).await;
    }
    let mut responses = Vec::new();
    for (client, _) in &mut clients {
        responses.push(client.response().await);
    }
    responses
}

/// A reached connection limit is said before it: of two faults the earlier check's.
#[tokio::test]
async fn a_full_verification_pool_is_503_where_no_limit_is_reached() {
    let keys = issue::generate(Algorithm::ES512);
    let auth_key = json!({"source": "raw", "key": keys.public_pem, "algorithms": ["ES512"], "issuer": []});
    let gate = GateConfig { verifier_threads: 1, verifier_queue: 1, token_cache: 0 };
    let apps = vec![app("a", json!({"authKey": auth_key})), app("b", json!({}))];
    let node = Node::start(Setup { apps: apps.clone(), gate, ..Setup::default() }).await;
    let refused = within(async {
        loop {
            let refused = flood(&node, &keys.private_pem).await.into_iter().find(|r| r.status != 101);
            if let Some(refused) = refused {
                return refused;
            }
        }
    });
    let refused = refused.await;
    assert_eq!(refused.refusal(), (503, "unavailable".into()));
    assert!(refused.header("retry-after").is_some());

    node.eventually("the sessions end", |node| node.shards.open_sessions() == 0).await;
    let mut only = Client::connect(node.address).await;
    only.send(opening(&target("b"), "").as_bytes()).await;
    assert_eq!(only.json_after_upgrade().await["messageType"], "welcome");
    node.configure(&apps, &json!({"limits": {"nodeMaxConnections": 1}}));
    for refused in flood(&node, &keys.private_pem).await {
        assert_eq!(refused.refusal(), (429, "connection_limit".into()));
        assert!(refused.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn heads_over_16_kib_or_100_headers_are_431() {
    let node = Node::start(Setup::default()).await;
    let long = format!("X-Long: {}\r\n", "x".repeat(16 * 1024));
    assert_refused(&node, &target("a"), &long, 431, "headers_too_large").await;
    let many: String = (0..101).map(|i| format!("x-{i}: 1\r\n")).collect();
    assert_refused(&node, &target("a"), &many, 431, "headers_too_large").await;
    assert_refused(&node, &format!("/apps/a?x={}", "x".repeat(16 * 1024)), "", 431, "headers_too_large")
        .await;
    let fits = format!("X-Long: {}\r\n", "x".repeat(14 * 1024));
    assert_eq!(open(&node, &target("a"), &fits).await.status, 101);
    // Beyond what is read at all, the status stands alone.
    let huge: String = (0..80).map(|i| format!("x-{i}: {}\r\n", "x".repeat(1024))).collect();
    assert_eq!(open(&node, &target("a"), &huge).await.status, 431);
}

#[tokio::test]
async fn the_checks_come_in_the_documented_order() {
    // Everything is wrong; then one thing after the other is put right.
    let wrong = app(
        "a",
        json!({"enabled": false, "allowedOrigins": ["https://a.example"], "clientSourceAddress": ["10.0.0.1"]}),
    );
    let enabled = |more| {
        let mut document = wrong.clone();
        document["enabled"] = json!(true);
        for name in more {
            document[name] = json!([]);
        }
        document
    };
    let settings = json!({"limits": {"nodeMaxConnections": 1}});
    let node = Node::start(Setup { settings: settings.clone(), ..Setup::default() }).await;
    let mut only = Client::connect(node.address).await;
    only.send(opening(&target("a"), "").as_bytes()).await;
    assert_eq!(only.json_after_upgrade().await["messageType"], "welcome");

    let origin = "Origin: https://b.example\r\n";
    let plain = format!("GET /apps/b HTTP/1.1\r\nHost: h\r\n{origin}\r\n");
    node.draining.send_replace(true);
    assert_eq!(Client::ask(node.address, &plain).await.refusal(), (503, "draining".into()));
    node.draining.send_replace(false);
    assert_eq!(Client::ask(node.address, &plain).await.refusal(), (426, "upgrade_required".into()));
    assert_refused(&node, "/apps/b", origin, 404, "app_not_found").await;
    let second = |mut document: serde_json::Value| {
        document["appId"] = json!("b");
        document["name"] = json!("b");
        [app("a", json!({})), document]
    };
    node.configure(&second(wrong.clone()), &settings);
    assert_refused(&node, "/apps/b", origin, 403, "app_disabled").await;
    node.configure(&second(enabled(vec![])), &settings);
    assert_refused(&node, "/apps/b", origin, 403, "origin_forbidden").await;
    node.configure(&second(enabled(vec!["allowedOrigins"])), &settings);
    assert_refused(&node, "/apps/b", origin, 403, "address_forbidden").await;
    node.configure(&second(enabled(vec!["allowedOrigins", "clientSourceAddress"])), &settings);
    assert_refused(&node, "/apps/b", origin, 401, "unauthenticated").await;
    assert_refused(&node, &target("b"), origin, 429, "connection_limit").await;
    drop(only);
    node.eventually("the session ends", |node| node.shards.open_sessions() == 0).await;
    assert_eq!(open(&node, &target("b"), origin).await.status, 101);
}

#[tokio::test]
async fn with_refusals_close_the_refusal_is_a_close_code() {
    let apps = vec![app("a", json!({})), app("off", json!({"enabled": false}))];
    let node = Node::start(Setup { apps, ..Setup::default() }).await;
    for (id, code, reason) in
        [("nobody", 4404, "app_not_found"), ("off", 4403, "app_disabled"), ("a", 4401, "unauthenticated")]
    {
        let mut client = Client::connect(node.address).await;
        let request = opening(
            &format!("/apps/{id}?refusals=close"),
            "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        );
        client.send(request.as_bytes()).await;
        let response = client.response().await;
        assert_eq!((response.status, response.header("sec-websocket-accept")), (101, Some(ACCEPT)));
        assert_eq!(client.frame().await, Frame::Close(code, reason.into()));
        client.send(&[0x88, 0x80, 0, 0, 0, 0]).await;
        assert!(client.end().await.is_empty());
    }
    node.draining.send_replace(true);
    let mut client = Client::connect(node.address).await;
    client.send(opening("/apps/a?refusals=close", "").as_bytes()).await;
    assert_eq!(client.response().await.status, 101);
    assert_eq!(client.frame().await, Frame::Close(4503, "draining".into()));
    drop(client);
    // What asks for no upgrade cannot be upgraded.
    node.draining.send_replace(false);
    let plain = "GET /apps/a?refusals=close HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(Client::ask(node.address, plain).await.refusal(), (426, "upgrade_required".into()));
    node.eventually("refused connections go", |node| node.http.open() == 0).await;
}

#[tokio::test]
async fn an_opened_session_is_a_shards_and_speaks_at_once() {
    let node = Node::start(Setup::default()).await;
    let mut client = Client::connect(node.address).await;
    // The first frame rides with the request: it is read ahead, and must not be lost.
    let more = "Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    let mut request = opening(&target("a"), more).into_bytes();
    request.extend(text(&json!({"type": "subscribe", "data": {"topic": "t"}})));
    client.send(&request).await;
    let response = client.response().await;
    assert_eq!((response.status, response.header("sec-websocket-accept")), (101, Some(ACCEPT)));
    assert_eq!(response.header("sec-websocket-protocol"), None);
    let extension = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(response.header("sec-websocket-extensions"), Some(extension));
    let welcome = client.json().await;
    assert_eq!((&welcome["topic"], &welcome["messageType"]), (&json!("main"), &json!("welcome")));
    let connection = &welcome["data"]["connection"];
    assert_eq!((&connection["appId"], &connection["remoteAddress"]), (&json!("a"), &json!("127.0.0.1")));
    assert_eq!(client.json().await["topic"], "t");
    node.eventually("the session leaves the HTTP side", |node| node.http.open() == 0).await;
    assert_eq!(node.shards.open_sessions(), 1);
}

#[tokio::test]
async fn no_extension_is_answered_where_none_can_be_accepted() {
    let node = Node::start(Setup::default()).await;
    for offer in ["", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n"] {
        let mut client = Client::connect(node.address).await;
        client.send(opening(&target("a"), offer).as_bytes()).await;
        let response = client.response().await;
        assert_eq!((response.status, response.header("sec-websocket-extensions")), (101, None));
        drop(client);
        node.eventually("the session ends", |node| node.shards.open_sessions() == 0).await;
    }
}

#[tokio::test]
async fn a_listed_proxy_tells_the_clients_address_and_nobody_else() {
    let settings = json!({"trustedProxies": ["127.0.0.1"]});
    let restricted = app("restricted", json!({"clientSourceAddress": ["192.0.2.0/24"]}));
    let apps = vec![restricted, app("a", json!({}))];
    let node = Node::start(Setup { apps: apps.clone(), settings, ..Setup::default() }).await;
    for (header, address) in [
        ("X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
        ("X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 192.0.2.7, 127.0.0.1\r\n", "192.0.2.7"),
        ("Forwarded: for=\"[2001:db8::1]:99\"\r\n", "2001:db8::1"),
        ("X-Forwarded-For: ::ffff:192.0.2.7\r\n", "192.0.2.7"),
        ("X-Forwarded-For: nonsense\r\n", "127.0.0.1"),
        // What is no text neither hides what the proxy added nor lets the client's own header count.
        ("X-Forwarded-For: \u{ff}, 192.0.2.7\r\nForwarded: for=203.0.113.9\r\n", "192.0.2.7"),
        ("X-Forwarded-For: \u{ff}\r\nForwarded: for=203.0.113.9\r\n", "127.0.0.1"),
    ] {
        let mut client = Client::connect(node.address).await;
        client.send(opening(&target("a"), header).as_bytes()).await;
        let welcome = client.json_after_upgrade().await;
        assert_eq!(welcome["data"]["connection"]["remoteAddress"], address, "{header}");
        drop(client);
        node.eventually("the session ends", |node| node.shards.open_sessions() == 0).await;
    }
    let forwarded = "X-Forwarded-For: 192.0.2.7\r\n";
    assert_eq!(open(&node, &target("restricted"), forwarded).await.status, 101);
    node.configure(&apps, &json!({}));
    assert_refused(&node, &target("restricted"), forwarded, 403, "address_forbidden").await;
}

#[tokio::test]
async fn ack_format_in_the_url_asks_for_enveloped_acks() {
    let acking = app("a", json!({"clientInboundAckEnabled": true}));
    let node = Node::start(Setup { apps: vec![acking], ..Setup::default() }).await;
    for (query, data) in [("", json!("7")), ("&ack_format=envelope", json!({"data": "7"}))] {
        let mut client = Client::connect(node.address).await;
        client.send(opening(&format!("{}{query}", target("a")), "").as_bytes()).await;
        assert_eq!(client.json_after_upgrade().await["messageType"], "welcome");
        let publish = json!({"type": "publish", "data": {"topic": "t", "payload": "x", "id": "7"}});
        client.send(&text(&publish)).await;
        let ack = client.json().await;
        assert_eq!((&ack["topic"], &ack["data"]), (&json!("priv/acks"), &data));
        drop(client);
        node.eventually("the session ends", |node| node.shards.open_sessions() == 0).await;
    }
}
