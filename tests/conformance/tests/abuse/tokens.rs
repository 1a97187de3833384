//! 2.1: tokens of every size.

use realtime_testkit::http::speak;
use realtime_testkit::{RawSocket, Server, TestApp};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::crowd::{connect_from, read_to_end};
use crate::measure::{Neighbour, frugal_server, three_times};

/// A valid token of at least this size.
fn token(app: &TestApp, bytes: usize) -> String {
    app.sign(json!({"sub": "u", "padding": "p".repeat(bytes * 3 / 4)}))
}

#[tokio::test]
async fn a_token_over_8_kib_is_401_and_a_head_over_16_kib_431() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut session = app.connect_raw(&token(&app, 7800), &[]).await;
    session.expect_frame().await;
    for bytes in [8300, 12_000, 15_000] {
        app.refused(&app.path(&token(&app, bytes)), &[]).await.expect_problem(401, "unauthenticated");
        let header = format!("Bearer {}", token(&app, bytes));
        app.refused(&app.path(""), &[("Authorization", &header)])
            .await
            .expect_problem(401, "unauthenticated");
    }
    for bytes in [20_000, 45_000] {
        app.refused(&app.path(&token(&app, bytes)), &[]).await.expect_problem(431, "headers_too_large");
        let header = format!("Bearer {}", token(&app, bytes));
        app.refused(&app.path(""), &[("Authorization", &header)])
            .await
            .expect_problem(431, "headers_too_large");
    }
}

#[tokio::test]
async fn tokens_of_100_kb_are_refused_again_and_again_and_leave_nothing() {
    let server = frugal_server().await;
    let app = server.app().create().await;
    let mut neighbour = Neighbour::of(&server).await;
    let large = token(&app, 100_000);
    let heads = [
        format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", app.path(&large)),
        format!("GET {} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {large}\r\n\r\n", app.path("")),
        format!("GET /api/topics/{} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {large}\r\n\r\n", app.id()),
    ];
    three_times(&server, async |_| {
        for head in heads.iter().cycle().take(60) {
            let mut stream = connect_from(server.listen(), 1).await;
            // The server may have had enough before all is sent.
            let _ = stream.write_all(head.as_bytes()).await;
            let answer = read_to_end(&mut stream).await;
            let answer = String::from_utf8_lossy(&answer);
            let refused = ["HTTP/1.1 431 ", "HTTP/1.1 414 "].iter().any(|status| answer.starts_with(status));
            assert!(answer.is_empty() || refused, "{answer}");
        }
        neighbour.may_come().await;
    })
    .await;
}

/// The HTTP API reads the same tokens: 401 over 8 KiB there too.
#[tokio::test]
async fn the_http_api_refuses_large_tokens_alike() {
    let server = Server::start().await;
    let app = server.app().create().await;
    for (bytes, status, code) in [(12_000, 401, "unauthenticated"), (20_000, 431, "headers_too_large")] {
        let request = server.request("GET", &format!("/api/topics/{}", app.id())).token(&token(&app, bytes));
        request.send().await.expect_problem(status, code);
    }
}

/// Header and claims are JSON like any other: nested, repeated and huge ones are malformed, not harmful.
#[tokio::test]
async fn hostile_json_in_a_token_is_401() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let claims = [
        r#"{"sub":"u","sub":"v"}"#.into(),
        r#"{"sub":"u","exp":1e999}"#.into(),
        r#"{"sub":"u","exp":-1}"#.into(),
        format!(r#"{{"sub":"u","exp":{}}}"#, "9".repeat(5000)),
        r#"{"sub":"\ud800"}"#.into(),
        format!(r#"{{"sub":"u","permissions":{}}}"#, nested(2900)),
        r#"{"sub":["u"]}"#.into(),
    ];
    for claims in claims {
        let token = app.signer.sign_text(&json!({"alg": app.signer.algorithm()}).to_string(), &claims);
        let refused = RawSocket::open(server.listen(), &app.path(&token), &[]).await.err();
        refused.unwrap_or_else(|| panic!("{claims:.80} is accepted")).expect_problem(401, "unauthenticated");
    }
    // What is not read is skipped, however deep.
    let claims = format!(r#"{{"sub":"u","x":{}}}"#, nested(2900));
    let token = app.signer.sign_text(&json!({"alg": app.signer.algorithm()}).to_string(), &claims);
    app.connect_with(&token, "").await.subscribe("t").await;
    let header = format!(r#"{{"alg":"{}","x":{}}}"#, app.signer.algorithm(), nested(2000));
    let token = app.signer.sign_text(&header, r#"{"sub":"u"}"#);
    let answers = speak(
        server.listen(),
        format!("GET {} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", app.path(&token)).as_bytes(),
    )
    .await;
    assert!(matches!(answers[0].status, 401 | 426), "{answers:?}");
    Neighbour::of(&server).await.may_come().await;
}
