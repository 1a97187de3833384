//! Subscriptions in numbers.

use realtime_testkit::eventually_equal;
use realtime_testkit::raw::{FIN, RawSocket, TEXT, encode};
use serde_json::json;

use crate::measure::{Neighbour, frugal_server, three_times};

fn request(kind: &str, topic: usize) -> Vec<u8> {
    encode(
        FIN | TEXT,
        json!({"type": kind, "data": {"topic": format!("topic/{topic}")}}).to_string().as_bytes(),
    )
}

/// Subscribes to topics from `first` on and takes every welcome.
async fn subscribe(socket: &mut RawSocket, first: usize, count: usize) {
    for start in (first..first + count).step_by(500) {
        let topics = start..(first + count).min(start + 500);
        socket.write(&topics.clone().flat_map(|topic| request("subscribe", topic)).collect::<Vec<_>>()).await;
        for topic in topics {
            let welcome = String::from_utf8(socket.expect_frame().await.payload).unwrap();
            assert!(
                welcome.starts_with(&format!(r#"{{"topic":"topic/{topic}","messageType":"welcome""#)),
                "{welcome}"
            );
        }
    }
}

#[tokio::test]
async fn a_hundred_thousand_subscribes_and_unsubscribes_leave_nothing() {
    const TOPICS: usize = 5000;
    /// In three rounds more than a hundred thousand of each.
    const TIMES: usize = 7;
    let server = frugal_server().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    three_times(&server, async |_| {
        // With `main`, which the metric may show a little later than the client its welcome.
        let before = server.metric("realtime_subscriptions").await + 1;
        let mut socket = app.connect_raw(&app.sign(json!({})), &[]).await;
        socket.expect_frame().await;
        eventually_equal("subscriptions", before, async || server.metric("realtime_subscriptions").await)
            .await;
        for _ in 0..TIMES {
            subscribe(&mut socket, 0, TOPICS).await;
            let subscribed = before + TOPICS as u64;
            eventually_equal("subscriptions", subscribed, async || {
                server.metric("realtime_subscriptions").await
            })
            .await;
            socket
                .write(&(0..TOPICS).flat_map(|topic| request("unsubscribe", topic)).collect::<Vec<_>>())
                .await;
            eventually_equal("subscriptions", before, async || server.metric("realtime_subscriptions").await)
                .await;
        }
        neighbour.is_served().await;
    })
    .await;
}

/// All go with the connection that has them.
#[tokio::test]
async fn a_connection_with_tens_of_thousands_of_topics_goes_in_one_piece() {
    const TOPICS: usize = 20_000;
    let server = frugal_server().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    three_times(&server, async |_| {
        let mut socket = app.connect_raw(&app.sign(json!({})), &[]).await;
        socket.expect_frame().await;
        subscribe(&mut socket, 0, TOPICS).await;
        eventually_equal("topics", true, async || server.metric("realtime_topics").await >= TOPICS as u64)
            .await;
        neighbour.is_served().await;
        drop(socket);
        neighbour.is_served().await;
    })
    .await;
}

/// 6: the limits of a tier bound what one connection, and what one app, can make the server remember.
#[tokio::test]
async fn floods_of_topics_end_at_the_limits_of_the_tier() {
    let server = frugal_server().await;
    server
        .change_settings(|settings| {
            let tiers = &mut settings["tiers"];
            tiers["small"] = tiers["unlimited"].clone();
            tiers["small"]["maxSubscriptionsPerConnection"] = json!(40);
            tiers["small"]["maxTopics"] = json!(100);
        })
        .await;
    let app = server.app().set("tier", "small").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    three_times(&server, async |_| {
        let (mut welcomed, mut refused) = (0, Vec::new());
        let mut sockets = Vec::new();
        for n in 0..4 {
            let mut socket = app.connect_raw(&app.sign(json!({})), &[]).await;
            socket.expect_frame().await;
            let topics = n * 1000..n * 1000 + 500;
            socket
                .write(&topics.clone().flat_map(|topic| request("subscribe", topic)).collect::<Vec<_>>())
                .await;
            for _ in topics {
                let answer: serde_json::Value =
                    serde_json::from_slice(&socket.expect_frame().await.payload).unwrap();
                match answer["messageType"].as_str().unwrap() {
                    "welcome" => welcomed += 1,
                    _ => refused.push(answer["data"]["code"].as_str().unwrap().to_owned()),
                }
            }
            sockets.push(socket);
        }
        assert_eq!(welcomed, 100, "distinct topics of the app");
        for code in ["subscription_limit", "topic_limit"] {
            assert!(refused.iter().any(|c| c == code), "{code}");
        }
        neighbour.is_served().await;
    })
    .await;
}
