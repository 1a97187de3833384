//! 5: keys and tokens.

use realtime_testkit::{Algorithm, RawSocket, Server, Signer, TestApp, eventually, unix_now};
use serde_json::{Value, json};

async fn opens(app: &TestApp, token: &str) -> bool {
    RawSocket::open(app.address(), &app.path(token), &[]).await.is_ok()
}

async fn refused(app: &TestApp, token: &str) {
    app.refused(&app.path(token), &[]).await.expect_problem(401, "unauthenticated");
}

fn claims() -> Value {
    json!({"permissions": [crate::PUBLISH], "exp": unix_now() + 60})
}

#[tokio::test]
async fn every_documented_algorithm_verifies_for_clients_and_the_api() {
    let server = Server::start().await;
    for algorithm in Algorithm::ALL {
        let app = server.app().signer(Signer::generate(algorithm)).create().await;
        let mut client = app.connect("alice", &[]).await;
        app.publish(&json!({"topic": "main", "message": 1})).await.expect(200);
        client.expect("main", "broadcast").await;
        let good = app.signer.sign(&claims());
        let (message, signature) = good.rsplit_once('.').unwrap();
        let middle = signature.len() / 2;
        let other = if signature.as_bytes()[middle] == b'A' { "B" } else { "A" };
        let tampered = format!("{message}.{}{other}{}", &signature[..middle], &signature[middle + 1..]);
        refused(&app, &tampered).await;
        refused(&app, &Signer::generate(algorithm).sign(&claims())).await;
    }
}

#[tokio::test]
async fn the_algorithm_comes_from_the_configuration() {
    let server = Server::start().await;
    let app = server.app().signer(Signer::generate(Algorithm::ES256)).create().await;
    let pem = app.signer.verification_key();
    refused(&app, &Signer::hmac(Algorithm::HS256, &pem).sign(&claims())).await;
    refused(&app, &Signer::hmac(Algorithm::HS256, pem.trim_end()).sign(&claims())).await;
    refused(&app, &app.signer.sign_with_header(&json!({"alg": "none"}), &claims())).await;
    refused(&app, &app.signer.sign_with_header(&json!({"alg": "ES384"}), &claims())).await;
    refused(&app, &app.signer.sign_with_header(&json!({"typ": "JWT"}), &claims())).await;
    let hs512_only = Signer::generate(Algorithm::HS512);
    let app = server.app().signer(hs512_only).create().await;
    let secret = app.signer.verification_key();
    refused(&app, &Signer::hmac(Algorithm::HS256, &secret).sign(&claims())).await;
}

#[tokio::test]
async fn a_configured_issuer_and_audience_must_be_there() {
    let server = Server::start().await;
    let signer = Signer::generate(Algorithm::HS256);
    let mut key = signer.key_config();
    key["issuer"] = json!(["https://a.example", "https://b.example"]);
    key["audience"] = json!("realtime");
    let app = server.app().signer(signer).set("authKey", key).create().await;
    let cases = [
        (json!({"iss": "https://b.example", "aud": "realtime"}), true),
        (json!({"iss": "https://a.example", "aud": ["other", "realtime"]}), true),
        (json!({"iss": "https://c.example", "aud": "realtime"}), false),
        (json!({"aud": "realtime"}), false),
        (json!({"iss": "https://a.example", "aud": "other"}), false),
        (json!({"iss": "https://a.example"}), false),
        (json!({"iss": "https://a.example", "aud": []}), false),
        (json!({"iss": 7, "aud": "realtime"}), false),
    ];
    for (claims, good) in cases {
        assert_eq!(opens(&app, &app.sign(claims.clone())).await, good, "{claims}");
    }
}

#[tokio::test]
async fn times_count_with_a_leeway_of_five_seconds() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let now = unix_now();
    let cases = [
        (json!({}), true),
        (json!({"exp": now - 2}), true),
        (json!({"exp": now - 10}), false),
        (json!({"nbf": now + 2}), true),
        (json!({"nbf": now + 20}), false),
        (json!({"exp": now + 60, "iat": now + 1000}), true),
    ];
    for (claims, good) in cases {
        assert_eq!(opens(&app, &app.signer.sign(&claims)).await, good, "{claims}");
    }
}

/// For rotation: any of the keys verifies.
#[tokio::test]
async fn a_key_may_hold_several_pem_blocks() {
    let server = Server::start().await;
    let (old, new) = (Signer::generate(Algorithm::ES256), Signer::generate(Algorithm::ES256));
    let mut key = new.key_config();
    key["key"] = json!(format!("{}{}", old.verification_key(), new.verification_key()));
    let app = server.app().set("authKey", key).create().await;
    assert!(opens(&app, &old.sign(&claims())).await);
    assert!(opens(&app, &new.sign(&claims())).await);
    // The old key goes: its tokens are refused, the new ones still pass.
    app.patch(&json!({"authKey": new.key_config()})).await;
    eventually("the new key alone", async || (!opens(&app, &old.sign(&claims())).await).then_some(())).await;
    assert!(opens(&app, &new.sign(&claims())).await);
}

/// A verified token may be remembered, but not beyond a change of the key.
#[tokio::test]
async fn a_token_that_has_passed_is_refused_once_its_key_is_gone() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let token = app.signer.sign(&json!({}));
    assert!(opens(&app, &token).await);
    let next = Signer::generate(Algorithm::HS256);
    app.patch(&json!({"authKey": next.key_config()})).await;
    eventually("the new key", async || (!opens(&app, &token).await).then_some(())).await;
    assert!(opens(&app, &next.sign(&json!({}))).await);
}

#[tokio::test]
async fn an_unusable_key_is_422_and_named() {
    let server = Server::start().await;
    let es256 = Signer::generate(Algorithm::ES256);
    let private = format!("-----BEGIN {0}-----\nMC4CAQA=\n-----END {0}-----\n", "PRIVATE KEY");
    let raw = |key: Value, algorithms: Value| json!({"source": "raw", "key": key, "algorithms": algorithms, "issuer": []});
    let good = es256.verification_key();
    let cases = [
        (raw(json!(private), json!(["ES256"])), "authKey.key"),
        (raw(json!("no key"), json!(["ES256"])), "authKey.key"),
        (raw(json!(7), json!(["ES256"])), "authKey.key"),
        (raw(json!(""), json!(["HS256"])), "authKey.key"),
        (raw(json!(good), json!([])), "authKey.algorithms"),
        (raw(json!(good), json!(["ES257"])), "authKey.algorithms"),
        (json!({"source": "raw", "key": good, "issuer": []}), "authKey.algorithms"),
        (json!({"source": "raw", "algorithms": ["ES256"], "issuer": []}), "authKey.key"),
        (json!({"source": "file", "key": good, "algorithms": ["ES256"]}), "authKey.source"),
        (json!({"key": good, "algorithms": ["ES256"]}), "authKey.source"),
        (json!("key"), "authKey"),
    ];
    for (key, field) in cases {
        let document = json!({"name": "a", "authKey": key, "adminKey": es256.key_config()});
        let answer = server.operator("POST", "/api/apps").json(&document).send().await;
        let problem = answer.expect_problem(422, "unprocessable");
        let named = problem["errors"].as_array().unwrap().iter();
        let named: Vec<_> = named.map(|e| e["field"].as_str().unwrap()).collect();
        assert!(named.iter().any(|name| name.starts_with(field)), "{field} is not in {named:?} for {key}");
    }
    // A PEM is never usable with HS*, and fits its own curve only.
    for algorithms in [json!(["HS256"]), json!(["ES256", "HS256"]), json!(["ES512"]), json!(["RS256"])] {
        let document = json!({
            "name": "a", "authKey": raw(json!(good), algorithms), "adminKey": es256.key_config(),
        });
        server
            .operator("POST", "/api/apps")
            .json(&document)
            .send()
            .await
            .expect_problem(422, "unprocessable");
    }
}

/// What a header or a claim rules out costs no signature check, and the refusal says what it was.
#[tokio::test]
async fn header_and_claims_are_checked_before_the_signature() {
    let server = Server::start().await;
    let signer = Signer::generate(Algorithm::ES256);
    let mut key = signer.key_config();
    key["issuer"] = json!(["https://a.example"]);
    key["audience"] = json!("realtime");
    let app = server.app().signer(signer).set("authKey", key).create().await;
    let stranger = Signer::generate(Algorithm::ES256);
    let good = json!({"iss": "https://a.example", "aud": "realtime", "exp": unix_now() + 60});
    let with = |claim: &str, value: Value| {
        let mut claims = good.clone();
        claims[claim] = value;
        stranger.sign(&claims)
    };
    for (token, reason) in [
        (Signer::generate(Algorithm::HS256).sign(&good), "algorithm"),
        (with("exp", json!(unix_now() - 60)), "expired"),
        (with("nbf", json!(unix_now() + 60)), "not valid yet"),
        (with("iss", json!("https://b.example")), "issuer"),
        (with("aud", json!("other")), "audience"),
        (stranger.sign(&good), "signature"),
    ] {
        let problem = app.refused(&app.path(&token), &[]).await.expect_problem(401, "unauthenticated");
        assert!(problem["detail"].as_str().unwrap().contains(reason), "{reason}: {problem}");
    }
}
