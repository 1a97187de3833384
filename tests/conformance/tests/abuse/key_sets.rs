//! 5: tokens with key ids that no key set has.

use realtime_testkit::raw::RawSocket;
use realtime_testkit::{Algorithm, Answer, KeyEndpoint, Server, Signer, eventually};
use serde_json::json;
use tokio::time::Instant;

use crate::crowd::{connect_from, crowd};
use crate::measure::Neighbour;

/// Between two fetches that tokens cause, in seconds (docs/configuration.md).
const DEMAND_INTERVAL: u64 = 10;

/// One fetch serves all, those who come while it is under way and those who come after it; clients of other
/// applications notice nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_clients_with_unknown_keys_causes_one_fetch() {
    const COUNT: usize = 10_000;
    let signer = Signer::generate(Algorithm::ES256);
    let endpoint = KeyEndpoint::start(Answer::Silence).await;
    let server = Server::builder().args(&["--allow-insecure-jwks"]).start().await;
    let key = endpoint.key_config();
    let app = server.app().set("authKey", key.clone()).set("adminKey", key).create().await;
    let mut neighbour = Neighbour::of(&server).await;
    // A signature is looked at once there is a key, so that any will do.
    let cheap = Signer::generate(Algorithm::HS256);
    let paths = (0..COUNT).map(|n| {
        let header = json!({"alg": "ES256", "kid": n.to_string()});
        app.path(&cheap.sign_with_header(&header, &json!({"aud": "realtime"})))
    });
    let (paths, address): (Vec<_>, _) = (paths.collect(), app.address().to_owned());
    let started = Instant::now();
    let storm = tokio::spawn(crowd(COUNT, move |n| {
        let (address, path) = (address.clone(), paths[n].clone());
        async move {
            let stream = connect_from(&address, 2).await;
            let refusal = RawSocket::upgrade(stream, &path, &[]).await.expect_err("nobody has this key");
            refusal.expect_problem(401, "unauthenticated");
        }
    }));
    eventually("the request", async || (endpoint.requests() > 0).then_some(())).await;
    endpoint.answer(Answer::keys(&[signer.jwk(Some("known"))]));
    while !storm.is_finished() {
        neighbour.may_come().await;
    }
    storm.await.unwrap();
    // Of a machine that takes longer, the tokens may cause the next one.
    let due = 1 + started.elapsed().as_secs() / DEMAND_INTERVAL;
    let fetched = endpoint.requests() as u64;
    assert!((1..=due).contains(&fetched), "{fetched} fetches, {due} at most");
    let token = signer.sign_with_kid("known", &json!({"aud": "realtime"}));
    app.connect_with(&token, "").await.subscribe("t").await;
}
