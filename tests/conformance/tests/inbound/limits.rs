//! 6: format, rate, permission, `inbound_disabled`, quota, in this order, before anything is forwarded.

use realtime_testkit::aws::Received;
use serde_json::json;

use crate::world::{World, acked, message, sqs, status};

fn ids(received: &[Received]) -> Vec<String> {
    let messages = received.iter().filter(|received| status(received).is_none());
    messages.map(|received| received.json()["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_is_refused_is_not_forwarded() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_fifo_queue().await;
    world
        .server
        .change_settings(|settings| {
            settings["tiers"]["small"] = settings["tiers"]["free"].clone();
            settings["tiers"]["small"]["inboundMessagesPerMonth"] = json!(2);
            settings["tiers"]["slow"] = settings["tiers"]["free"].clone();
            settings["tiers"]["slow"]["messagesPerSecond"] = json!(1);
        })
        .await;
    let small = world.app(&url).set("tier", "small").create().await;
    let mut alice = small.connect("alice", &[]).await;
    // The server's own type: before the quota, and costs none.
    alice.send("message", json!({"payload": "x", "id": "0", "messageType": "presence"})).await;
    alice.expect_error("permission_denied").await;
    for id in ["1", "2"] {
        message(&mut alice, id).await;
        acked(&mut alice, id).await;
    }
    message(&mut alice, "3").await;
    assert_eq!(alice.expect_error("quota_exceeded").await["id"], "3");
    let slow = world.app(&url).set("tier", "slow").create().await;
    let mut bob = slow.connect("bob", &[]).await;
    for id in ["4", "5", "6"] {
        message(&mut bob, id).await;
    }
    // The refusal overtakes the acks.
    assert_eq!(bob.expect_error("rate_limited").await["id"], "6");
    acked(&mut bob, "4").await;
    acked(&mut bob, "5").await;
    alice.send_text(r#"{"type":"message","data":{"payload":1,"id":"7"}}"#).await;
    assert_eq!(alice.expect_close().await.0, 1008);
    bob.close().await;
    let received = world.backend.receive_some(&url, 8).await;
    let mut ids = ids(&received);
    ids.sort_unstable();
    assert_eq!((received.len(), ids), (8, ["1", "2", "4", "5"].map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn an_application_whose_forwarder_is_off_takes_no_messages() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    let mut off = sqs(&url, &world.moto.url());
    off["enabled"] = json!(false);
    let app = world.server.app().set("amazonSqsForwarder", off).create().await;
    let mut alice = app.connect("alice", &[]).await;
    message(&mut alice, "1").await;
    alice.expect_error("inbound_disabled").await;
    alice.close().await;
    assert!(world.backend.receive_all(&url).await.is_empty(), "no presence, either");
}
