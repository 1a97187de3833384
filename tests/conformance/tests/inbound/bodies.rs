//! What targets get, to the byte.

use realtime_testkit::aws::{Received, deduplication_id};
use realtime_testkit::token::random_hex;
use realtime_testkit::{Client, TestApp};
use serde_json::json;

use crate::READ;
use crate::world::{World, acked, message, of, sns, status};

/// The body of a message, as the contract words it; `more` follows the id.
fn body(connection: &str, subject: &str, permissions: &str, payload: &str, id: &str, more: &str) -> String {
    format!(
        r#"{{"client":{{"connectionId":"{connection}","subject":"{subject}","permissions":{permissions}}},"payload":{payload},"id":"{id}"{more}}}"#
    )
}

/// Of presence.
fn presence(connection: &str, subject: &str, permissions: &str, payload: &str) -> String {
    format!(
        r#"{{"client":{{"connectionId":"{connection}","subject":"{subject}","permissions":{permissions}}},"subProtocol":1,"payload":{payload},"messageType":"presence"}}"#
    )
}

fn bodies(received: &[Received]) -> Vec<&str> {
    received.iter().map(|received| received.body.as_str()).collect()
}

#[tokio::test]
async fn a_queue_gets_every_form_of_payload_as_the_client_wrote_it() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    let app = world.app(&url).create().await;
    let mut alice = app.connect("alice", &["p:1", "p:2"]).await;
    let payloads = [
        r#"{"object":{"nested":[1,-2.50,1e400,12345678901234567890123]},"null":null,"flag":true}"#,
        r#"["array",[],{}]"#,
        r#""a string""#,
        r#""""#,
        r#""é😀 \"quoted\" \\ \/ \u0000 \u001f & <xml> ]]>""#,
        "{}",
        "[]",
    ];
    let mut expected = Vec::new();
    for (n, payload) in payloads.iter().enumerate() {
        let id = format!("m{n}");
        alice.send_text(format!(r#"{{"type":"message","data":{{"payload":{payload},"id":"{id}"}}}}"#)).await;
        acked(&mut alice, &id).await;
        expected.push(body(alice.id(), "alice", r#"["p:1","p:2"]"#, payload, &id, ""));
    }
    let connected = r#"{"code":0,"status":"connected"}"#;
    expected.push(presence(alice.id(), "alice", r#"["p:1","p:2"]"#, connected));
    let received = world.backend.receive_some(&url, expected.len()).await;
    let mut bodies = bodies(&received);
    bodies.sort_unstable();
    expected.sort_unstable();
    assert_eq!(bodies, expected);
    assert!(received.iter().all(|received| received.group.is_none()), "a standard queue has no groups");
}

/// Characters that XML, and so AWS, does not know.
#[tokio::test]
async fn what_aws_cannot_store_arrives_with_the_same_meaning() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    let app = world.app(&url).create().await;
    let mut alice = app.connect("alice\u{fffe}", &[]).await;
    let payload = json!({"text\u{ffff}": "\u{fffe}\u{ffff}\u{fffd}\u{10ffff}"});
    alice.send("message", json!({"payload": payload, "id": "\u{ffff}"})).await;
    acked(&mut alice, "\u{ffff}").await;
    let received = world.backend.receive_some(&url, 2).await;
    let received = received.iter().find(|received| status(received).is_none()).unwrap();
    assert!(!received.body.contains(['\u{fffe}', '\u{ffff}']), "{}", received.body);
    assert_eq!(received.json()["payload"], payload);
    assert_eq!(
        (&received.json()["id"], &received.json()["client"]["subject"]),
        (&json!("\u{ffff}"), &json!("alice\u{fffe}"))
    );
}

#[tokio::test]
async fn what_a_client_leaves_out_is_made_up_or_left_out() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_fifo_queue().await;
    let app = world.app(&url).create().await;
    let mut nobody = app.connect_with(&app.sign(json!({})), "").await;
    nobody.send("message", json!({"payload": "x"})).await;
    let id = nobody.expect("priv/acks", "ack").await.as_str().unwrap().to_owned();
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()), "{id}");
    nobody
        .send("message", json!({"payload": "y", "id": "2", "messageType": "order", "compress": true}))
        .await;
    acked(&mut nobody, "2").await;
    let connection = nobody.id().to_owned();
    nobody.close().await;
    let received = world.backend.receive_some(&url, 4).await;
    // Without a subject in the token, the connection is its own.
    let expected = [
        presence(&connection, &connection, "[]", r#"{"code":0,"status":"connected"}"#),
        body(&connection, &connection, "[]", r#""x""#, &id, ""),
        body(&connection, &connection, "[]", r#""y""#, "2", r#","messageType":"order""#),
        presence(&connection, &connection, "[]", r#"{"code":-1,"status":"disconnected"}"#),
    ];
    assert_eq!(bodies(&received), expected);
    for (received, of) in received.iter().zip(["connected", &id, "2", "disconnected"]) {
        assert_eq!(received.group.as_deref(), Some(connection.as_str()));
        assert_eq!(received.deduplication, Some(deduplication_id(&connection, of)), "{of}");
    }
}

#[tokio::test]
async fn every_target_gets_a_message_and_the_client_one_ack() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    let (arn, copies) = world.backend.topic(&format!("t-{}", random_hex::<8>())).await;
    let app = world.app(&url).set("amazonSnsForwarder", sns(&arn, &world.moto.url()));
    let app = app.set("enableWebSocketInboundTopic", true).create().await;
    let mut service = app.connect("service", &[READ]).await;
    service.subscribe("secure/inbound").await;
    let mut alice = app.connect("alice", &["p"]).await;
    let data = json!({"payload": {"x": [1]}, "messageType": "order", "compress": true, "id": "7"});
    alice.send("message", data).await;
    acked(&mut alice, "7").await;
    alice.expect_nothing().await;
    let (id, client) = (
        alice.id().to_owned(),
        json!({"connectionId": alice.id(), "subject": "alice", "permissions": ["p"]}),
    );
    alice.close().await;
    assert_eq!(service.expect("secure/inbound", "presence").await["payload"]["status"], "connected");
    let frame = service.frame().await;
    assert!(frame.binary, "sent with `compress`");
    let data = json!({"client": client, "payload": {"x": [1]}, "id": "7"});
    assert_eq!(frame.json, json!({"topic": "secure/inbound", "messageType": "order", "data": data}));
    assert_eq!(service.expect("secure/inbound", "presence").await["payload"]["status"], "disconnected");
    let mut expected = [
        presence(&id, "alice", r#"["p"]"#, r#"{"code":0,"status":"connected"}"#),
        body(&id, "alice", r#"["p"]"#, r#"{"x":[1]}"#, "7", r#","messageType":"order""#),
        presence(&id, "alice", r#"["p"]"#, r#"{"code":-1,"status":"disconnected"}"#),
    ];
    expected.sort_unstable();
    for url in [&url, &copies] {
        // The service's coming is told, too.
        let received = world.backend.receive_some(url, expected.len() + 1).await;
        let mut bodies: Vec<_> = of(&received, &id).iter().map(|received| received.body.as_str()).collect();
        bodies.sort_unstable();
        assert_eq!(bodies, expected, "{url}");
    }
}

const MESSAGES: usize = 25;

/// Sends all messages without waiting, and takes all acks.
async fn send_all(mut client: Client) -> String {
    for n in 0..MESSAGES {
        message(&mut client, &format!("m{n}")).await;
    }
    for n in 0..MESSAGES {
        acked(&mut client, &format!("m{n}")).await;
    }
    let id = client.id().to_owned();
    client.close().await;
    id
}

async fn assert_order(world: &World, app: &TestApp, urls: &[&str]) {
    let mut sending = Vec::new();
    for n in 0..4 {
        let client = app.connect(&format!("client-{n}"), &[]).await;
        sending.push(tokio::spawn(send_all(client)));
    }
    let mut ids = Vec::new();
    for sending in sending {
        ids.push(sending.await.unwrap());
    }
    let messages = (0..MESSAGES).map(|n| format!("m{n}"));
    let messages: Vec<_> =
        ["connected".to_owned()].into_iter().chain(messages).chain(["disconnected".to_owned()]).collect();
    for url in urls {
        let received = world.backend.receive_some(url, ids.len() * messages.len()).await;
        assert_eq!(received.len(), ids.len() * messages.len(), "none twice");
        for id in &ids {
            let of_one = received.iter().filter(|received| received.group.as_ref() == Some(id));
            let told = of_one.map(|received| {
                let id = received.json()["id"].as_str().map(str::to_owned);
                status(received).or(id).unwrap()
            });
            assert_eq!(told.collect::<Vec<_>>(), messages, "{url}");
        }
    }
}

#[tokio::test]
async fn fifo_targets_get_each_connections_events_in_order_and_once() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_fifo_queue().await;
    let (arn, copies) = world.backend.topic(&format!("t-{}.fifo", random_hex::<8>())).await;
    let app = world.app(&url).set("amazonSnsForwarder", sns(&arn, &world.moto.url())).create().await;
    assert_order(&world, &app, &[&url, &copies]).await;
}

/// A client that has seen no ack sends again.
#[tokio::test]
async fn a_message_sent_again_is_acked_again_and_in_a_fifo_queue_once() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_fifo_queue().await;
    let app = world.app(&url).create().await;
    let mut alice = app.connect("alice", &[]).await;
    let mut bob = app.connect("bob", &[]).await;
    for client in [&mut alice, &mut bob] {
        for _ in 0..3 {
            message(client, "same").await;
        }
        for _ in 0..3 {
            acked(client, "same").await;
        }
    }
    alice.close().await;
    bob.close().await;
    let received = world.backend.receive_some(&url, 6).await;
    assert_eq!(received.len(), 6, "each one's presence twice, and the message once");
    assert_eq!(received.iter().filter(|received| received.json()["id"] == "same").count(), 2);
}
