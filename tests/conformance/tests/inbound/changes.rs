//! The configuration of forwarders changes under traffic.

use std::collections::HashSet;
use std::time::Duration;

use realtime_testkit::aws::{ACCESS_KEY, SECRET};
use realtime_testkit::{FaultProxy, Incoming, TestApp, eventually};
use serde_json::{Value, json};

use crate::load::Load;
use crate::world::{World, acked, message, sqs, sqs_error};

/// Until this endpoint has had so many requests more.
async fn in_use(proxy: &FaultProxy) {
    let due = proxy.requests() + 5;
    eventually("requests to an endpoint", async || (proxy.requests() >= due).then_some(())).await;
}

async fn ids(world: &World, url: &str) -> Vec<String> {
    let received = world.backend.receive_all(url).await;
    received.iter().filter_map(|received| received.json()["id"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_credentials_endpoint_and_queue_under_traffic_lose_nothing_that_was_acked() {
    let Some(world) = World::start().await else { return };
    let urls = [world.backend.new_queue().await, world.backend.new_queue().await];
    let proxies = [FaultProxy::to(world.moto.address()).await, FaultProxy::to(world.moto.address()).await];
    let app = world.app_over(&urls[0], &proxies[0].url()).create().await;
    let load = Load::start(&app, 5, Duration::from_millis(10)).await;
    in_use(&proxies[0]).await;
    for (n, proxy) in [1, 0, 1].into_iter().enumerate() {
        let key = format!("AKIACHANGED{n}");
        let change = json!({"accessKeyId": key, "secretAccessKey": "another"});
        app.patch(&json!({"amazonSqsForwarder": change})).await;
        eventually("the new credentials", async || {
            proxies[1 - proxy].last_head().contains(&key.to_lowercase()).then_some(())
        })
        .await;
        app.patch(&json!({"amazonSqsForwarder": sqs(&urls[0], &proxies[proxy].url())})).await;
        in_use(&proxies[proxy]).await;
    }
    app.patch(&json!({"amazonSqsForwarder": sqs(&urls[1], &proxies[0].url())})).await;
    in_use(&proxies[0]).await;
    // A queue that does not exist, and back.
    let nowhere = format!("{}/123456789012/nowhere", world.moto.url());
    app.patch(&json!({"amazonSqsForwarder": sqs(&nowhere, &proxies[1].url())})).await;
    eventually("messages that fail", async || (load.failures() > 0).then_some(())).await;
    app.patch(&json!({"amazonSqsForwarder": sqs(&urls[1], &proxies[0].url())})).await;
    in_use(&proxies[0]).await;
    let sent = load.stop().await;
    assert!(sent.ended.is_none() && sent.unanswered.is_empty());
    let (before, after) = (ids(&world, &urls[0]).await, ids(&world, &urls[1]).await);
    assert!(before.len() > 50 && after.len() > 20, "{} and {}", before.len(), after.len());
    let there: HashSet<_> = before.into_iter().chain(after).collect();
    let lost: Vec<_> = sent.acked.difference(&there).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), sent.acked.len());
    assert!(sent.failed.values().all(|text| text == "the target does not exist"), "{:?}", sent.failed);
    assert!(!sent.failed.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarder_that_is_switched_off_or_goes_with_its_application_loses_nothing_that_was_acked() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    let proxy = FaultProxy::to(world.moto.address()).await;
    let app = world.app_over(&url, &proxy.url()).create().await;
    let load = Load::start(&app, 5, Duration::from_millis(10)).await;
    in_use(&proxy).await;
    app.patch(&json!({"amazonSqsForwarder": {"enabled": false}})).await;
    eventually("messages that are refused", async || (load.failures() > 0).then_some(())).await;
    app.patch(&json!({"amazonSqsForwarder": {"enabled": true}})).await;
    in_use(&proxy).await;
    app.delete().await;
    let sent = load.stop().await;
    assert!(matches!(sent.ended, Some(Incoming::Closed { code: 4004, .. })), "{:?}", sent.ended);
    let there: HashSet<_> = ids(&world, &url).await.into_iter().collect();
    let lost: Vec<_> = sent.acked.difference(&there).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), sent.acked.len());
    assert!(sent.acked.len() > 20, "{} were acked", sent.acked.len());
    assert!(sent.failed.values().any(|text| text == "inbound_disabled"), "{:?}", sent.failed);
}

async fn get(world: &World, app: &TestApp) -> Value {
    world.server.operator("GET", &format!("/api/apps/{}", app.id())).send().await.expect(200)
}

#[tokio::test]
async fn a_put_without_the_secret_goes_on_with_the_one_that_is_there() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    let proxy = FaultProxy::to(world.moto.address()).await;
    let app = world.app_over(&url, &proxy.url()).create().await;
    let mut alice = app.connect("alice", &[]).await;
    let got = get(&world, &app).await;
    let forwarder = &got["amazonSqsForwarder"];
    assert_eq!((&forwarder["secretSet"], &forwarder["accessKeyId"]), (&json!(true), &json!(ACCESS_KEY)));
    assert!(!got.to_string().contains(SECRET), "{got}");
    for enabled in [false, true] {
        let mut document = get(&world, &app).await;
        document["amazonSqsForwarder"]["enabled"] = json!(enabled);
        let path = format!("/api/apps/{}", app.id());
        world.server.operator("PUT", &path).json(&document).send().await.expect(200);
        if enabled {
            // The change reaches the node after the answer.
            eventually("messages that are taken again", async || {
                message(&mut alice, "1").await;
                (alice.frame().await.topic() == "priv/acks").then_some(())
            })
            .await;
        }
    }
    assert!(proxy.last_head().contains(&ACCESS_KEY.to_lowercase()), "{}", proxy.last_head());
    let received = world.backend.receive_some(&url, 2).await;
    assert!(received.iter().any(|received| received.json()["id"] == "1"));
}

/// What was sent with wrong credentials and waits for no answer is told; the next goes with the right ones.
#[tokio::test]
async fn corrected_credentials_are_in_use_at_once() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    let proxy = FaultProxy::to(world.moto.address()).await;
    proxy.meets(sqs_error("403 Forbidden", "InvalidClientTokenId", ""));
    let app = world.app_over(&url, &proxy.url()).create().await;
    let mut alice = app.connect("alice", &[]).await;
    message(&mut alice, "1").await;
    alice.expect_error("forward_failed").await;
    app.patch(&json!({"amazonSqsForwarder": sqs(&url, &world.moto.url())})).await;
    eventually("a message that is taken", async || {
        message(&mut alice, "2").await;
        (alice.frame().await.topic() == "priv/acks").then_some(())
    })
    .await;
    // It is not held up by what was wrong before.
    message(&mut alice, "3").await;
    acked(&mut alice, "3").await;
}
