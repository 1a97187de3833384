//! 5: tokens with key ids that no key set has.

use realtime_testkit::raw::RawSocket;
use realtime_testkit::{Algorithm, Answer, KeyEndpoint, Server, Signer, eventually, within};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::crowd::{connect_from, crowd, reserve_sockets};
use crate::measure::Neighbour;

/// Between two fetches that tokens cause, in seconds (docs/configuration.md).
const DEMAND_INTERVAL: u64 = 10;

/// Ten thousand clients at one moment: one fetch serves all who may wait for it, the others are told to come again, and
/// clients of other applications notice nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_clients_with_unknown_keys_causes_one_fetch() {
    const COUNT: usize = 10_000;
    let _sockets = reserve_sockets(COUNT).await;
    let signer = Signer::generate(Algorithm::ES256);
    let endpoint = KeyEndpoint::start(Answer::Silence).await;
    let server = Server::builder().args(&["--allow-insecure-jwks"]).start().await;
    let key = endpoint.key_config();
    let app =
        server.app().set("authKey", key.clone()).set("adminKey", key).set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    // A signature is looked at once there is a key, so that any will do.
    let cheap = Signer::generate(Algorithm::HS256);
    let requests: Vec<String> = (0..COUNT)
        .map(|n| {
            let header = json!({"alg": "ES256", "kid": n.to_string()});
            let token = cheap.sign_with_header(&header, &json!({"aud": "realtime"}));
            format!(
                "GET {} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                app.path(&token)
            )
        })
        .collect();
    let mut streams = crowd(COUNT, |_| {
        let address = app.address().to_owned();
        async move { connect_from(&address, 2).await }
    })
    .await;
    let started = Instant::now();
    for (stream, request) in streams.iter_mut().zip(&requests) {
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    eventually("the request", async || (endpoint.requests() > 0).then_some(())).await;
    endpoint.answer(Answer::keys(&[signer.jwk(Some("known"))]));
    neighbour.may_come().await;
    let answers: Vec<_> = streams
        .into_iter()
        .map(|stream| {
            tokio::spawn(async {
                let refusal = within("a refusal", RawSocket::answered(stream)).await;
                let refusal = refusal.expect_err("nobody has these keys");
                match refusal.status {
                    401 => drop(refusal.expect_problem(401, "unauthenticated")),
                    _ => drop(refusal.expect_problem_with_retry(503, "unavailable")),
                }
                refusal.status
            })
        })
        .collect();
    let mut unauthenticated = 0;
    for answer in answers {
        unauthenticated += usize::from(answer.await.unwrap() == 401);
    }
    assert!(unauthenticated > COUNT / 4, "{unauthenticated} of {COUNT} have waited for the fetch");
    // A machine that takes longer may have caused the next one.
    let due = 1 + started.elapsed().as_secs() / DEMAND_INTERVAL;
    let fetched = endpoint.requests() as u64;
    assert!((1..=due).contains(&fetched), "{fetched} fetches, {due} at most");
    let token = signer.sign_with_kid("known", &json!({"aud": "realtime"}));
    app.connect_with(&token, "").await.subscribe("t").await;
}
