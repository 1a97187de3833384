//! 5: keys from a JWKS endpoint; 4: 503 while a set was never fetched.

use futures_util::future::join_all;
use realtime_proto::generated::admin::{GetAppRequest, PatchAppRequest};
use realtime_testkit::key_endpoint::QUERY_SECRET;
use realtime_testkit::{
    Algorithm, Answer, KeyEndpoint, RawSocket, Request, Response, Server, Signer, TestApp, eventually,
    unix_now,
};
use serde_json::{Value, json};
use tonic::Code;

use crate::grpc_client::{Grpc, answer, call};

/// A server that may fetch from this machine.
async fn server() -> Server {
    Server::builder().args(&["--allow-insecure-jwks"]).start().await
}

/// An application whose both keys come from the endpoint.
async fn app(server: &Server, endpoint: &KeyEndpoint) -> TestApp {
    let key = endpoint.key_config();
    server.app().set("authKey", key.clone()).set("adminKey", key).create().await
}

fn claims() -> Value {
    json!({"aud": "realtime", "permissions": [crate::PUBLISH], "exp": unix_now() + 60})
}

/// `None`: the session opened.
async fn open(app: &TestApp, token: &str) -> Option<Response> {
    RawSocket::open(app.address(), &app.path(token), &[]).await.err()
}

async fn opens(app: &TestApp, token: &str) {
    if let Some(refusal) = open(app, token).await {
        panic!("refused: {} {}", refusal.status, refusal.text());
    }
}

async fn is_unauthenticated(app: &TestApp, token: &str) {
    app.refused(&app.path(token), &[]).await.expect_problem(401, "unauthenticated");
}

async fn is_unavailable(app: &TestApp, token: &str) {
    let refusal = app.refused(&app.path(token), &[]).await;
    refusal.expect_problem(503, "unavailable");
    let seconds: u64 = refusal.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=60).contains(&seconds));
}

async fn metric(server: &Server, series: &str) -> u64 {
    let text = Request::new(server.admin_listen(), "GET", "/metrics").send().await.text();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
}

#[tokio::test]
async fn every_asymmetric_algorithm_verifies_for_clients_and_the_api() {
    let signers: Vec<_> = Algorithm::ALL[3..].iter().map(|&algorithm| Signer::generate(algorithm)).collect();
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk(Some(&signer.algorithm()))).collect();
    let endpoint = KeyEndpoint::start(Answer::keys(&keys)).await;
    let server = server().await;
    let app = app(&server, &endpoint).await;
    for signer in &signers {
        let kid = signer.algorithm();
        let token = signer.sign_with_kid(&kid, &claims());
        opens(&app, &token).await;
        opens(&app, &signer.sign(&claims())).await;
        let path = format!("/api/topics/{}/publish", app.id());
        let publish = server.request("POST", &path).token(&token).json(&json!({"topic": "t", "message": 1}));
        publish.send().await.expect(200);
        let forged = Signer::generate(if kid == "ES512" { Algorithm::ES512 } else { Algorithm::ES256 });
        is_unauthenticated(&app, &forged.sign_with_kid(&kid, &claims())).await;
    }
    // Public keys are no secrets.
    let pem = signers[0].verification_key();
    is_unauthenticated(&app, &Signer::hmac(Algorithm::HS256, &pem).sign(&claims())).await;
    assert_eq!(endpoint.requests(), 1, "for clients and the API, with and without key id");
}

/// Without `algorithms`, `alg` and `kid` every key is tried that fits.
#[tokio::test]
async fn keys_without_alg_and_tokens_without_kid_fit_by_their_kind() {
    let signers =
        [Algorithm::PS384, Algorithm::ES512, Algorithm::ES512, Algorithm::EdDSA].map(Signer::generate);
    let bare = |signer: &Signer| {
        let mut jwk = signer.jwk(None);
        jwk.as_object_mut().unwrap().retain(|name, _| name != "alg" && name != "use");
        jwk
    };
    let mut keys = vec![
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}),
        json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
        json!("no key"),
    ];
    keys.extend(signers.iter().map(bare));
    let endpoint = KeyEndpoint::start(Answer::keys(&keys)).await;
    let server = server().await;
    let app = app(&server, &endpoint).await;
    for signer in &signers {
        opens(&app, &signer.sign(&claims())).await;
        // A key without an id is none with another.
        is_unauthenticated(&app, &signer.sign_with_kid("another", &claims())).await;
    }
    assert_eq!(metric(&server, "realtime_jwks_keys").await, 4);
    assert_eq!(metric(&server, "realtime_jwks_ignored_keys{reason=\"kind\"}").await, 1);
    assert_eq!(metric(&server, "realtime_jwks_ignored_keys{reason=\"malformed\"}").await, 2);
}

#[tokio::test]
async fn audience_and_issuer_are_required_where_they_are_configured() {
    let signer = Signer::generate(Algorithm::ES256);
    let endpoint = KeyEndpoint::start(Answer::keys(&[signer.jwk(None)])).await;
    let server = server().await;
    let mut key = endpoint.key_config();
    key["issuer"] = json!(["https://id.example"]);
    let app = server.app().set("authKey", key.clone()).create().await;
    opens(&app, &signer.sign(&json!({"aud": ["other", "realtime"], "iss": "https://id.example"}))).await;
    for claims in [
        json!({"aud": "realtime"}),
        json!({"aud": "realtime", "iss": "https://other.example"}),
        json!({"iss": "https://id.example"}),
        json!({"aud": "other", "iss": "https://id.example"}),
    ] {
        is_unauthenticated(&app, &signer.sign(&claims)).await;
    }
    key.as_object_mut().unwrap().remove("audience");
    let document = json!({"name": "without audience", "authKey": key, "adminKey": endpoint.key_config()});
    let answer = server.operator("POST", "/api/apps").json(&document).send().await;
    let problem = answer.expect_problem(422, "unprocessable");
    assert_eq!(problem["errors"][0]["field"], "authKey.audience");
}

#[tokio::test]
async fn a_set_that_was_never_fetched_is_503_with_retry_after_until_it_is_there() {
    let signer = Signer::generate(Algorithm::ES256);
    let endpoint = KeyEndpoint::start(Answer::unavailable()).await;
    let server = server().await;
    let app = app(&server, &endpoint).await;
    let token = signer.sign(&claims());
    is_unavailable(&app, &token).await;
    let publish = format!("/api/topics/{}/publish", app.id());
    let answer = server.request("POST", &publish).token(&token).json(&json!({"topic": "t", "message": 1}));
    let answer = answer.send().await;
    answer.expect_problem(503, "unavailable");
    assert!(answer.header("retry-after").is_some());
    // What is wrong whatever the keys are is said at once.
    is_unauthenticated(&app, &signer.sign(&json!({"aud": "other"}))).await;
    endpoint.answer(Answer::keys(&[signer.jwk(None)]));
    eventually("the first key set", async || open(&app, &token).await.is_none().then_some(())).await;
}

#[tokio::test]
async fn a_new_key_is_found_by_its_id_and_a_withdrawn_one_verifies_no_more() {
    let (old, new) = (Signer::generate(Algorithm::ES256), Signer::generate(Algorithm::ES256));
    let endpoint = KeyEndpoint::start(Answer::keys(&[old.jwk(Some("old"))])).await;
    let server = server().await;
    let app = app(&server, &endpoint).await;
    let old_token = old.sign_with_kid("old", &claims());
    let mut session = app.connect_with(&old_token, "").await;
    opens(&app, &old_token).await;
    endpoint.answer(Answer::keys(&[new.jwk(Some("new"))]));
    // At most every ten seconds.
    let new_token = new.sign_with_kid("new", &claims());
    eventually("the new key", async || open(&app, &new_token).await.is_none().then_some(())).await;
    assert_eq!(endpoint.requests(), 2);
    is_unauthenticated(&app, &old_token).await;
    session.subscribe("still/open").await;
}

#[tokio::test]
async fn old_keys_stay_while_the_endpoint_fails_and_it_is_told() {
    let signer = Signer::generate(Algorithm::EdDSA);
    let endpoint = KeyEndpoint::start(Answer::keys(&[signer.jwk(Some("k"))])).await;
    let server = server().await;
    let app = app(&server, &endpoint).await;
    opens(&app, &signer.sign_with_kid("k", &claims())).await;
    endpoint.answer(Answer::unavailable());
    let other = signer.sign_with_kid("perhaps a new one", &claims());
    eventually("the outage to be noticed", async || {
        let refusal = open(&app, &other).await.unwrap();
        (refusal.status == 503).then_some(())
    })
    .await;
    is_unavailable(&app, &other).await;
    opens(&app, &signer.sign_with_kid("k", &claims())).await;
    assert_eq!(metric(&server, "realtime_jwks_sets").await, 1);
    assert_eq!(metric(&server, "realtime_jwks_failing_sets").await, 1);
    assert!(metric(&server, "realtime_jwks_failures_total{reason=\"status\"}").await >= 1);
    assert!(
        metric(&server, &format!("realtime_jwks_age_seconds{{host=\"{}\"}}", endpoint.host())).await >= 9
    );
    endpoint.answer(Answer::keys(&[signer.jwk(Some("k"))]));
    eventually("the end of the outage", async || {
        (metric(&server, "realtime_jwks_failing_sets").await == 0).then_some(())
    })
    .await;
    let log = server.log();
    assert_eq!(log.matches("fetching the key set fails").count(), 1, "{log}");
    assert_eq!(log.matches("the key set can be fetched again").count(), 1, "{log}");
    let metrics = Request::new(server.admin_listen(), "GET", "/metrics").send().await.text();
    assert!(!log.contains(QUERY_SECRET) && !metrics.contains(QUERY_SECRET));
}

#[tokio::test]
async fn what_is_no_key_set_within_the_limits_is_none() {
    let signer = Signer::generate(Algorithm::ES256);
    let keys = [signer.jwk(None)];
    let elsewhere = KeyEndpoint::start(Answer::keys(&keys)).await;
    let redirect = format!("Location: {}", elsewhere.url());
    let mut large = json!({"keys": keys});
    large["padding"] = json!("x".repeat(256 * 1024));
    let head = format!("X: {}", "x".repeat(64 * 1024));
    let good = json!({"keys": keys}).to_string();
    let cases = [
        ("status", Answer::new("302 Found", &[&redirect], "")),
        ("status", Answer::new("307 Temporary Redirect", &[&redirect], "")),
        ("status", Answer::new("404 Not Found", &[], &good)),
        ("status", Answer::new("201 Created", &[], &good)),
        ("too_large", Answer::new("200 OK", &[], &large.to_string())),
        ("http", Answer::new("200 OK", &[&head], &good)),
        ("http", Answer::Bytes(b"no http\r\n\r\n".to_vec())),
        ("http", Answer::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"keys\":[]}".to_vec())),
        ("http", Answer::Bytes(Vec::new())),
        ("document", Answer::new("200 OK", &[], "<html></html>")),
        ("document", Answer::new("200 OK", &[], &json!(keys).to_string())),
        ("timeout", Answer::Silence),
    ];
    let server = server().await;
    let token = signer.sign(&claims());
    let refused = cases.into_iter().map(async |(reason, answer)| {
        let endpoint = KeyEndpoint::start(answer).await;
        let app = app(&server, &endpoint).await;
        is_unavailable(&app, &token).await;
        // It may have been asked again meanwhile.
        let failures = metric(&server, &format!("realtime_jwks_failures_total{{reason=\"{reason}\"}}")).await;
        assert!(failures >= 1, "{reason}");
        assert!(endpoint.requests() >= 1);
    });
    join_all(refused).await;
    assert_eq!(elsewhere.requests(), 0, "a redirect was followed");
}

#[tokio::test]
async fn https_is_trusted_as_the_system_says_and_the_flag_changes_nothing_about_it() {
    let signer = Signer::generate(Algorithm::ES384);
    let endpoint = KeyEndpoint::start_tls(Answer::keys(&[signer.jwk(None)])).await;
    let token = signer.sign(&claims());
    let wary = server().await;
    is_unavailable(&app(&wary, &endpoint).await, &token).await;
    assert!(metric(&wary, "realtime_jwks_failures_total{reason=\"tls\"}").await >= 1);
    assert_eq!(endpoint.requests(), 0);
    let file = wary.home().join("company.pem");
    std::fs::write(&file, endpoint.certificate()).unwrap();
    let trusting =
        Server::builder().args(&["--allow-insecure-jwks"]).env("SSL_CERT_FILE", file.to_str().unwrap());
    let trusting = trusting.start().await;
    opens(&app(&trusting, &endpoint).await, &token).await;
}

#[tokio::test]
async fn without_the_flag_only_public_addresses_are_asked() {
    let signer = Signer::generate(Algorithm::ES256);
    let server = Server::start().await;
    // What the URL itself shows is told to whoever writes it.
    let plain = KeyEndpoint::start(Answer::keys(&[signer.jwk(None)])).await;
    let refused = [
        "https://169.254.169.254/keys",
        "https://[::ffff:127.0.0.1]/",
        "https://id.example:0/keys",
        "https://id.example:65536/keys",
        &plain.url(),
    ];
    for uri in refused {
        let mut key = plain.key_config();
        key["jwksUri"] = json!(uri);
        let document =
            json!({"name": "a", "authKey": key, "adminKey": Signer::generate(Algorithm::HS256).key_config()});
        let answer = server.operator("POST", "/api/apps").json(&document).send().await;
        let problem = answer.expect_problem(422, "unprocessable");
        assert_eq!(problem["errors"][0]["field"], "authKey.jwksUri", "{problem}");
    }
    // What its name resolves to is found out when it is fetched.
    let named = KeyEndpoint::start_tls(Answer::keys(&[signer.jwk(None)])).await;
    assert!(named.url().starts_with("https://localhost:"));
    let app = app(&server, &named).await;
    is_unavailable(&app, &signer.sign(&claims())).await;
    assert!(metric(&server, "realtime_jwks_failures_total{reason=\"refused\"}").await >= 1);
    assert_eq!((plain.requests(), named.requests()), (0, 0));
}

#[tokio::test]
async fn many_clients_with_unknown_keys_cause_one_request() {
    let signer = Signer::generate(Algorithm::ES256);
    let endpoint = KeyEndpoint::start(Answer::Silence).await;
    let server = server().await;
    let app = app(&server, &endpoint).await;
    let tokens: Vec<_> = (0..300).map(|n| signer.sign_with_kid(&format!("unknown {n}"), &claims())).collect();
    let storm = join_all(tokens.iter().map(|token| open(&app, token)));
    let answer = async {
        eventually("the request", async || (endpoint.requests() == 1).then_some(())).await;
        eventually("the storm", async || {
            (metric(&server, "realtime_http_connections").await >= 300).then_some(())
        })
        .await;
        endpoint.answer(Answer::keys(&[signer.jwk(Some("known"))]));
    };
    let (refusals, ()) = tokio::join!(storm, answer);
    assert!(refusals.into_iter().all(|refusal| refusal.is_some_and(|refusal| refusal.status == 401)));
    opens(&app, &signer.sign_with_kid("known", &claims())).await;
    assert_eq!(endpoint.requests(), 1);
}

#[tokio::test]
async fn applications_with_one_url_share_a_set_and_the_last_one_ends_it() {
    let signer = Signer::generate(Algorithm::ES256);
    let endpoint = KeyEndpoint::start(Answer::keys(&[signer.jwk(None)])).await;
    let server = server().await;
    let (first, second) = (app(&server, &endpoint).await, app(&server, &endpoint).await);
    for app in [&first, &second] {
        opens(app, &signer.sign(&claims())).await;
        app.patch(&json!({"description": "changed"})).await;
        opens(app, &signer.sign(&claims())).await;
    }
    assert_eq!((endpoint.requests(), metric(&server, "realtime_jwks_sets").await), (1, 1));
    first.delete().await;
    let mut raw = signer.key_config();
    raw["jwksUri"] = Value::Null;
    second.patch(&json!({"authKey": raw, "adminKey": raw})).await;
    eventually("the end of the set", async || {
        (metric(&server, "realtime_jwks_sets").await == 0).then_some(())
    })
    .await;
    opens(&second, &signer.sign(&claims())).await;
}

/// 7: the gRPC services take the tokens of the HTTP API.
#[tokio::test]
async fn a_token_of_the_key_set_manages_its_application_over_grpc() {
    let signer = Signer::generate(Algorithm::ES256);
    let endpoint = KeyEndpoint::start(Answer::unavailable()).await;
    let server = server().await;
    let (app, mut apps) = (app(&server, &endpoint).await, Grpc::connect(&server).await.apps);
    let token = |signer: &Signer, permission| {
        let claims = json!({"aud": "realtime", "permissions": [permission], "exp": unix_now() + 60});
        signer.sign_with_kid("current", &claims)
    };
    let get = || GetAppRequest { app_id: app.id().into() };
    let patch = |name: &str| {
        let patch_json = json!({"name": name}).to_string().into();
        PatchAppRequest { app_id: app.id().into(), patch_json, if_version: 0 }
    };
    let owner = token(&signer, crate::APPLICATION);
    let refused = answer(apps.get(call(&owner, get()))).await.unwrap_err();
    assert_eq!((refused.status, refused.code()), (Code::Unavailable, "unavailable"), "never fetched");
    endpoint.answer(Answer::keys(&[signer.jwk(Some("current"))]));
    eventually("the first key set", async || answer(apps.clone().get(call(&owner, get()))).await.ok()).await;
    let patched = answer(apps.patch(call(&owner, patch("renamed")))).await.unwrap();
    let got = answer(apps.get(call(&owner, get()))).await.unwrap();
    let document: Value = serde_json::from_slice(&got.document_json).unwrap();
    assert_eq!((&document["name"], got.version), (&json!("renamed"), patched.version));
    let forged = token(&Signer::generate(Algorithm::ES256), crate::APPLICATION);
    let refused = answer(apps.patch(call(&forged, patch("forged")))).await.unwrap_err();
    assert_eq!((refused.status, refused.code()), (Code::Unauthenticated, "unauthenticated"));
    let service = token(&signer, crate::PUBLISH);
    let refused = answer(apps.patch(call(&service, patch("service")))).await.unwrap_err();
    assert_eq!((refused.status, refused.code()), (Code::PermissionDenied, "permission_denied"));
}
