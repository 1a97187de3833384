//! 2.1: tokens with forged signatures of the dearest algorithm.

use std::time::Duration;

use realtime_testkit::raw::RawSocket;
use realtime_testkit::{Algorithm, Server, Signer, TestApp, within};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};

use crate::crowd::{connect_from, crowd, reserve_sockets};
use crate::measure::{Neighbour, frugal_server, three_times};

/// Tokens of one application that may wait for their verification (docs/configuration.md).
const QUEUE_OF_AN_APP: u64 = 2048;

/// An app whose clients sign with ES512.
async fn es512(server: &Server) -> TestApp {
    server.app().set("tier", "unlimited").signer(Signer::generate(Algorithm::ES512)).create().await
}

/// Openings with tokens of another key, all different. One signature serves for all: it costs as much to find out.
fn forged(app: &TestApp, count: usize) -> Vec<String> {
    let token = Signer::generate(Algorithm::ES512).sign(&json!({"sub": "u"}));
    let (header, rest) = token.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let cheap = Signer::generate(Algorithm::HS256);
    (0..count)
        .map(|n| {
            let signed = cheap.sign(&json!({"sub": format!("u{n}")}));
            let claims = signed.split('.').nth(1).unwrap();
            format!(
                "GET {} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                app.path(&format!("{header}.{claims}.{signature}"))
            )
        })
        .collect()
}

/// The status of the refusal that comes next; a 503 says when to come back.
async fn refusal(stream: TcpStream) -> u16 {
    let refusal =
        within("a refusal", RawSocket::answered(stream)).await.expect_err("forged tokens open nothing");
    match refusal.status {
        401 => drop(refusal.expect_problem(401, "unauthenticated")),
        _ => drop(refusal.expect_problem_with_retry(503, "unavailable")),
    }
    refusal.status
}

/// More at one moment than may wait: the rest is sent away at once, another app's client is not.
#[tokio::test]
async fn a_burst_of_forged_tokens_is_refused_and_others_get_in() {
    const COUNT: usize = 4000;
    let server = frugal_server().await;
    let (flooded, quiet) = (es512(&server).await, es512(&server).await);
    let mut neighbour = Neighbour::of(&server).await;
    let forged = forged(&flooded, COUNT);
    let _sockets = reserve_sockets(COUNT).await;
    three_times(&server, async |round| {
        let before = server.metrics().await;
        let mut streams = crowd(COUNT, |_| {
            let address = server.listen().to_owned();
            async move { connect_from(&address, 2 + round).await }
        })
        .await;
        for (stream, request) in streams.iter_mut().zip(&forged) {
            stream.write_all(request.as_bytes()).await.unwrap();
        }
        assert!(server.metric("realtime_verifier_queue").await <= QUEUE_OF_AN_APP);
        quiet.connect(&format!("quiet{round}"), &[]).await.subscribe("t").await;
        neighbour.is_served().await;
        let answers: Vec<_> = streams.into_iter().map(|stream| tokio::spawn(refusal(stream))).collect();
        let mut busy = 0;
        for answer in answers {
            busy += u64::from(answer.await.unwrap() == 503);
        }
        let after = server.metrics().await;
        let counted = |name: &str| after[name] - before[name];
        assert_eq!(counted("realtime_verifier_queue_full_total"), busy);
        assert_eq!(counted("realtime_tokens_rejected_total"), COUNT as u64 - busy);
    })
    .await;
}

/// For seconds, on a hundred connections that are kept.
#[tokio::test]
async fn two_thousand_forged_tokens_a_second_keep_nobody_else_out() {
    const PER_TICK: usize = 20;
    const TICKS: usize = 300;
    let server = Server::start().await;
    let (flooded, quiet) = (es512(&server).await, es512(&server).await);
    let mut forged = forged(&flooded, PER_TICK * TICKS).into_iter();
    let address = server.listen().to_owned();
    let flood = tokio::spawn(async move {
        let mut pace = interval(Duration::from_millis(10));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answers = Vec::new();
        for _ in 0..TICKS {
            pace.tick().await;
            for request in forged.by_ref().take(PER_TICK) {
                let address = address.clone();
                answers.push(tokio::spawn(async move {
                    let mut stream = connect_from(&address, 1).await;
                    stream.write_all(request.as_bytes()).await.unwrap();
                    refusal(stream).await
                }));
            }
        }
        for answer in answers {
            answer.await.unwrap();
        }
    });
    let mut newcomers = 0;
    while !flood.is_finished() {
        newcomers += 1;
        quiet.connect(&format!("quiet{newcomers}"), &[]).await.subscribe("t").await;
    }
    flood.await.unwrap();
    assert!(newcomers > 10, "{newcomers} clients of another app got in");
}
