//! What clients hear of their messages, and when.

use realtime_testkit::aws::{ACCESS_KEY, REGION, SECRET};
use realtime_testkit::{Fault, FaultProxy, eventually};
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::time::Instant;

use crate::world::{World, acked, failed, message, sqs_error, status};
use crate::{PUBLISH, READ};

#[tokio::test]
async fn an_ack_comes_once_aws_has_the_message_and_holds_up_no_publish() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    let proxy = FaultProxy::to(world.moto.address()).await;
    proxy.meets(Fault::Hold);
    let app = world.app_over(&url, &proxy.url()).set("enableWebSocketInboundTopic", true).create().await;
    let mut service = app.connect("service", &[READ]).await;
    service.subscribe("secure/inbound").await;
    let mut plain = app.connect("plain", &[PUBLISH]).await;
    let mut enveloped = app.connect_with(&app.token("enveloped", &[PUBLISH]), "&ack_format=envelope").await;
    for (client, ack) in [(&mut plain, json!("p")), (&mut enveloped, json!({"data": "p"}))] {
        message(client, "m").await;
        client.send("publish", json!({"topic": "t", "payload": "x", "id": "p"})).await;
        assert_eq!(client.expect("priv/acks", "ack").await, ack, "the publish's");
        client.expect_nothing().await;
    }
    // Where nothing is acked, it is there at once.
    for _ in 0..2 {
        assert_eq!(service.expect("secure/inbound", "presence").await["payload"]["status"], "connected");
    }
    for _ in 0..2 {
        assert_eq!(service.expect("secure/inbound", "broadcast").await["id"], "m");
    }
    assert!(world.backend.receive_all(&url).await.is_empty(), "nothing has passed");
    proxy.meets(Fault::None);
    assert_eq!(plain.expect("priv/acks", "ack").await, "m");
    assert_eq!(enveloped.expect("priv/acks", "ack").await, json!({"data": "m"}));
    let received = world.backend.receive_some(&url, 5).await;
    assert_eq!(received.iter().filter(|received| received.json()["id"] == "m").count(), 2);
}

/// A failure's text is for clients: AWS's own sentences name accounts and roles.
#[tokio::test]
async fn what_no_target_takes_is_told_with_its_id_and_without_the_owners_secrets() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    let proxy = FaultProxy::to(world.moto.address()).await;
    let told =
        format!("User: arn:aws:sts::123456789012:assumed-role/boss with {ACCESS_KEY} and {SECRET} may not");
    let nowhere = format!("{}/123456789012/nowhere", world.moto.url());
    for (fault, queue, words) in [
        (Fault::None, &nowhere, "the target does not exist"),
        (
            sqs_error("400 Bad Request", "AccessDenied", &told),
            &url,
            "the credentials may not send to this target",
        ),
        (
            sqs_error("403 Forbidden", "InvalidClientTokenId", &told),
            &url,
            "AWS does not accept the credentials",
        ),
        (sqs_error("400 Bad Request", "InvalidMessageContents", &told), &url, "AWS refuses the message"),
    ] {
        proxy.meets(fault);
        let app = world.app_over(queue, &proxy.url()).create().await;
        let mut alice = app.connect("alice", &[PUBLISH]).await;
        message(&mut alice, "7").await;
        let text = failed(&mut alice, "7").await;
        assert_eq!(text, words);
        alice.send("message", json!({"payload": "x"})).await;
        let data = alice.expect_error("forward_failed").await;
        assert_eq!(data["id"].as_str().map(str::len), Some(32), "the generated id: {data}");
        for part in [ACCESS_KEY, SECRET, "123456789012", "arn:", "boss", REGION] {
            assert!(!format!("{text}{data}").contains(part), "{part} in {text}, {data}");
        }
        // The session goes on.
        alice.send("publish", json!({"topic": "t", "payload": "x", "id": "p"})).await;
        acked(&mut alice, "p").await;
        alice.expect_nothing().await;
    }
    let log = world.server.log();
    assert!(log.contains("a forwarder fails"), "the operator hears of it: {log}");
    assert!(!log.contains(SECRET) && !log.contains(ACCESS_KEY), "{log}");
}

/// What waits is tried again until its time is over; what comes once the target has been failing for a while is refused
/// at once.
#[tokio::test]
async fn a_target_that_refuses_connections_is_tried_again_and_then_refuses_at_once() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    // Bound, and nobody listens there.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    let app = world.app_over(&url, &endpoint).create().await;
    let mut alice = app.connect("alice", &[]).await;
    let begin = Instant::now();
    let mut number = 0;
    let text = eventually("a message that is refused", async || {
        number += 1;
        message(&mut alice, &number.to_string()).await;
        // What waits has no answer yet.
        let answer = alice.next_until(Instant::now() + std::time::Duration::from_millis(200)).await?;
        let data = match answer {
            realtime_testkit::Incoming::Frame(frame) => frame.json["data"].clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!((&data["code"], &data["id"]), (&json!("forward_failed"), &json!(number.to_string())));
        Some(data["message"].as_str().unwrap().to_owned())
    })
    .await;
    assert_eq!(text, "no connection to the endpoint");
    assert!(begin.elapsed().as_secs() >= 4, "after {:?}", begin.elapsed());
}

#[tokio::test]
async fn without_acks_a_failure_is_told_all_the_same() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    let proxy = FaultProxy::to(world.moto.address()).await;
    let app = world.app_over(&url, &proxy.url()).set("clientInboundAckEnabled", false).create().await;
    let mut alice = app.connect("alice", &[]).await;
    message(&mut alice, "1").await;
    let received = world.backend.receive_some(&url, 2).await;
    assert!(received.iter().any(|received| received.json()["id"] == "1"));
    alice.expect_nothing().await;
    proxy.meets(sqs_error("400 Bad Request", "AccessDenied", ""));
    message(&mut alice, "2").await;
    failed(&mut alice, "2").await;
    alice.expect_nothing().await;
}

/// One of two targets fails: no ack. The other has it.
#[tokio::test]
async fn a_message_that_one_of_two_targets_refuses_is_not_acked() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    let nowhere = format!("arn:aws:sns:{REGION}:123456789012:nowhere");
    let app = world.app(&url).set("amazonSnsForwarder", crate::world::sns(&nowhere, &world.moto.url()));
    let app = app.create().await;
    let mut alice = app.connect("alice", &[]).await;
    message(&mut alice, "1").await;
    assert_eq!(failed(&mut alice, "1").await, "the target does not exist");
    let received = world.backend.receive_some(&url, 2).await;
    assert!(received.iter().any(|received| status(received).is_none() && received.json()["id"] == "1"));
    alice.expect_nothing().await;
}
