//! Whatever is published anywhere reaches every subscriber everywhere once, in order.

use std::collections::HashMap;

use realtime_testkit::{Client, Cluster};
use serde_json::{Value, json};

const EVERYTHING: [&str; 1] = ["realtime:publisher:write:topic:*"];
/// Messages of each publisher.
const MESSAGES: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn everybody_gets_everything_once_and_in_order() {
    let cluster = Cluster::start().await;
    let app = cluster.app().create().await;
    let mut subscribers = Vec::new();
    let mut publishers = Vec::new();
    for node in &cluster.nodes {
        let mut subscriber = app.at(node).connect("subscriber", &[]).await;
        subscriber.subscribe("news").await;
        subscribers.push(subscriber);
        publishers.push(app.at(node).connect("publisher", &EVERYTHING).await);
    }
    let names: Vec<String> = (0..=publishers.len()).map(|i| format!("publisher-{i}")).collect();
    for number in 0..MESSAGES {
        for (publisher, name) in publishers.iter_mut().zip(&names) {
            publisher.publish("news", json!({"from": name, "number": number})).await;
        }
        let payload = json!({"from": names[publishers.len()], "number": number});
        app.publish(&json!({"topic": "news", "message": payload})).await.expect(200);
    }
    for subscriber in &mut subscribers {
        let expected = names.iter().map(|name| (name.clone(), (0..MESSAGES).collect())).collect();
        assert_eq!(received(subscriber, MESSAGES * names.len() as u64).await, expected);
        subscriber.expect_nothing().await;
    }
}

/// The numbers of the next messages, by who has sent them.
async fn received(subscriber: &mut Client, count: u64) -> HashMap<String, Vec<u64>> {
    let mut numbers: HashMap<String, Vec<u64>> = HashMap::new();
    for _ in 0..count {
        let data = subscriber.expect("news", "broadcast").await;
        // Clients' messages come in an envelope.
        let data = data.get("payload").unwrap_or(&data);
        let from = data["from"].as_str().map(ToOwned::to_owned);
        let number = data["number"].as_u64();
        let (Some(from), Some(number)) = (from, number) else { panic!("a message was due, not {data}") };
        numbers.entry(from).or_default().push(number);
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_sums_up_the_whole_cluster() {
    let cluster = Cluster::start().await;
    let app = cluster.app().create().await;
    let mut subscribers = Vec::new();
    for node in &cluster.nodes {
        let mut subscriber = app.at(node).connect("subscriber", &[]).await;
        subscriber.subscribe("news").await;
        subscribers.push(subscriber);
    }
    let path = format!("/api/topics/{}/publish?receipt=true", app.id());
    let publish = app.api(&EVERYTHING, "POST", &path).json(&json!({"topic": "news", "message": "hello"}));
    let receipt: Value = publish.send().await.expect(200);
    assert_eq!(receipt["receipt"]["matched"], subscribers.len(), "{receipt}");
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.expect("news", "broadcast").await, "hello");
    }
}
