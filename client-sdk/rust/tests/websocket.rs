//! The WebSocket client against a server: sessions, reconnects, close codes, acks.

// `support` is a module of this binary alone; `pub` in it says what the tests use.
#![allow(unreachable_pub, clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use realtime_client::{ConnectionId, Outgoing, Refusal, Retry, SendError, TokenError, TokenSource};
use serde_json::json;
use support::{ID, connect, event, server};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message as Frame;

fn hello() -> Outgoing {
    Outgoing::json("hello").unwrap().id("7")
}

#[tokio::test(start_paused = true)]
async fn a_session_carries_subscriptions_publishes_and_messages() {
    let (options, mut server) = server();
    let (client, mut events) = connect(options);
    let mut peer = server.welcome().await;
    assert_eq!((peer.path.as_str(), peer.authorization.as_str()), ("/apps/demo", "Bearer token-1"));
    assert_eq!(event(&mut events).await, format!("connected {ID}"));
    assert_eq!(client.connected().await, Ok(ConnectionId::parse(ID).unwrap()));

    client.subscribe("news").await.unwrap();
    assert_eq!(peer.request().await, json!({"type": "subscribe", "data": {"topic": "news"}}));
    peer.welcome("news").await;
    assert_eq!(event(&mut events).await, "welcome news");

    client.publish("news", hello()).await.unwrap();
    assert_eq!(
        peer.request().await,
        json!({"type": "publish", "data": {"topic": "news", "payload": "hello", "id": "7"}})
    );
    peer.send("news", "broadcast", json!({"n": 1})).await;
    assert_eq!(event(&mut events).await, r#"news broadcast {"n":1}"#);

    client.message(hello()).await.unwrap();
    assert_eq!(peer.request().await, json!({"type": "message", "data": {"payload": "hello", "id": "7"}}));
    client.unsubscribe("news").await.unwrap();
    assert_eq!(peer.request().await, json!({"type": "unsubscribe", "data": {"topic": "news"}}));
}

#[tokio::test(start_paused = true)]
async fn binary_frames_are_read_like_text() {
    let (options, mut server) = server();
    let (_client, mut events) = connect(options);
    let mut peer = server.welcome().await;
    event(&mut events).await;
    let frame = r#"{"topic":"t","messageType":"broadcast","data":[1]}"#;
    futures_util::SinkExt::send(&mut peer.socket, Frame::binary(frame)).await.unwrap();
    assert_eq!(event(&mut events).await, "t broadcast [1]");
}

#[tokio::test(start_paused = true)]
async fn after_a_reconnect_every_topic_is_subscribed_again() {
    let (options, mut server) = server();
    let (client, mut events) = connect(options);
    let peer = server.welcome().await;
    for topic in ["a", "b", "gone"] {
        client.subscribe(topic).await.unwrap();
    }
    client.unsubscribe("gone").await.unwrap();
    client.unsubscribe("main").await.unwrap();
    event(&mut events).await;
    peer.close(1001, "Node is draining").await;
    assert_eq!(event(&mut events).await, r#"disconnected Some(1001) "Node is draining" again"#);

    let mut peer = server.welcome().await;
    for (kind, topic) in [("unsubscribe", "main"), ("subscribe", "a"), ("subscribe", "b")] {
        assert_eq!(peer.request().await, json!({"type": kind, "data": {"topic": topic}}));
    }
    client.publish("x", hello()).await.unwrap();
    assert_eq!(peer.request().await["type"], "publish");
}

#[tokio::test(start_paused = true)]
async fn topics_subscribed_while_away_are_subscribed_on_return() {
    let (options, mut server) = server();
    let (client, _events) = connect(options);
    client.subscribe("early").await.unwrap();
    let mut peer = server.welcome().await;
    assert_eq!(peer.request().await["data"]["topic"], "early");
}

#[tokio::test(start_paused = true)]
async fn subscriptions_refused_for_their_rate_are_sent_again() {
    let (options, mut server) = server();
    let (client, mut events) = connect(options);
    let mut peer = server.welcome().await;
    event(&mut events).await;
    client.subscribe("a").await.unwrap();
    peer.request().await;
    let before = Instant::now();
    peer.send("priv/errors", "error", json!({"code": "rate_limited", "message": "slow down", "topic": "a"}))
        .await;
    assert_eq!(event(&mut events).await, r#"refused rate_limited None Some("a")"#);
    assert_eq!(peer.request().await, json!({"type": "subscribe", "data": {"topic": "a"}}));
    assert!(before.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_made_again() {
    let (options, mut server) = server();
    let (_client, mut events) = connect(options);
    drop(server.welcome().await);
    event(&mut events).await;
    assert!(event(&mut events).await.starts_with("disconnected None"));
    server.welcome().await;
    assert_eq!(event(&mut events).await, format!("connected {ID}"));
}

#[tokio::test(start_paused = true)]
async fn closes_that_say_no_end_the_client() {
    for (code, reason) in [(1008, "Invalid message format!"), (1009, ""), (4004, ""), (4009, "")] {
        let (options, mut server) = server();
        let (client, mut events) = connect(options);
        let peer = server.welcome().await;
        event(&mut events).await;
        peer.close(code, reason).await;
        assert_eq!(event(&mut events).await, format!("disconnected Some({code}) {reason:?} final"));
        assert!(events.next().await.is_none());
        assert!(server.is_left_alone().await);
        let gone = SendError::Closed { code: Some(code), reason: reason.into() };
        assert_eq!(client.publish("t", hello()).await, Err(gone.clone()));
        assert_eq!(client.subscribe("t").await, Err(gone));
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_administrators_close_it_comes_back_once_after_five_seconds() {
    let (options, mut server) = server();
    let (_client, mut events) = connect(options);
    let peer = server.welcome().await;
    event(&mut events).await;
    let closed = Instant::now();
    peer.close(4003, "Closed by an administrator").await;
    assert!(event(&mut events).await.ends_with("again"));
    let peer = server.welcome().await;
    assert!(closed.elapsed() >= Duration::from_secs(5));
    event(&mut events).await;
    peer.close(4003, "Closed by an administrator").await;
    assert!(event(&mut events).await.ends_with("final"));
    assert!(server.is_left_alone().await);
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_replaced_by_the_provider_and_ends_a_client_without_one() {
    let (options, mut server) = server();
    let (_client, mut events) = connect(options);
    let peer = server.welcome().await;
    event(&mut events).await;
    peer.close(4001, "Token expired").await;
    assert!(event(&mut events).await.ends_with("final"));

    let (options, mut server) = support::server();
    let asked = Arc::new(AtomicU32::new(0));
    let counter = asked.clone();
    let (_client, mut events) =
        connect(
            options.token(TokenSource::provider(move || {
                let n = counter.fetch_add(1, Ordering::Relaxed);
                async move {
                    if n == 1 { Err(TokenError("issuer away".into())) } else { Ok(format!("token-{n}")) }
                }
            })),
        );
    let peer = server.welcome().await;
    assert_eq!(peer.authorization, "Bearer token-0");
    event(&mut events).await;
    peer.close(4001, "Token expired").await;
    assert!(event(&mut events).await.ends_with("again"));
    assert_eq!(event(&mut events).await, r#"disconnected None "no token: issuer away" again"#);
    assert_eq!(server.welcome().await.authorization, "Bearer token-2");
}

#[tokio::test(start_paused = true)]
async fn refused_openings_count_as_their_status() {
    let (options, mut server) = server();
    let (_client, mut events) = connect(options);
    let before = Instant::now();
    server.refuse("503 Service Unavailable\r\nretry-after: 20", r#"{"detail":"draining"}"#).await;
    assert_eq!(event(&mut events).await, r#"disconnected Some(4503) "draining" again"#);
    server.refuse("404 Not Found", r#"{"title":"No such application"}"#).await;
    assert!(before.elapsed() >= Duration::from_secs(20));
    assert_eq!(event(&mut events).await, r#"disconnected Some(4404) "No such application" final"#);
}

#[tokio::test(start_paused = true)]
async fn refusals_in_close_form_are_obeyed_too() {
    let (options, mut server) = server();
    let (_client, mut events) = connect(options);
    server.accept().await.close(4403, "app disabled").await;
    assert_eq!(event(&mut events).await, r#"disconnected Some(4403) "app disabled" final"#);
}

#[tokio::test(start_paused = true)]
async fn attempts_can_be_limited() {
    let (options, mut server) = server();
    let (client, mut events) = connect(options.retry(Retry { attempts: Some(2), ..Retry::default() }));
    server.refuse("502 Bad Gateway", "").await;
    assert!(event(&mut events).await.ends_with("again"));
    server.refuse("502 Bad Gateway", "").await;
    assert!(event(&mut events).await.ends_with("final"));
    assert!(matches!(client.connected().await, Err(SendError::Closed { code: Some(4502), .. })));
}

#[tokio::test(start_paused = true)]
async fn an_acked_publish_waits_for_its_ack_or_its_refusal() {
    let (options, mut server) = server();
    let (client, mut events) = connect(options);
    let mut peer = server.welcome().await;
    event(&mut events).await;

    let (published, ()) = tokio::join!(client.publish_acked("t", hello()), async {
        peer.request().await;
        peer.send("priv/acks", "ack", json!({"data": "7"})).await;
    });
    assert_eq!(published, Ok("7".into()));
    assert_eq!(event(&mut events).await, "ack 7");

    let (sent, ()) = tokio::join!(client.message_acked(hello()), async {
        peer.request().await;
        peer.send("priv/errors", "error", json!({"code": "inbound_disabled", "message": "off", "id": "7"}))
            .await;
    });
    let refusal =
        Refusal { code: "inbound_disabled".into(), message: "off".into(), id: Some("7".into()), topic: None };
    assert_eq!(sent, Err(SendError::Refused(refusal)));

    let (lost, ()) = tokio::join!(client.publish_acked("t", hello()), async {
        peer.request().await;
        drop(peer);
    });
    assert_eq!(lost, Err(SendError::Unconfirmed));
}

#[tokio::test(start_paused = true)]
async fn an_ack_that_never_comes_is_not_waited_for_for_ever() {
    let (options, mut server) = server();
    let (client, _events) = connect(options.ack_timeout(Duration::from_secs(3)));
    let mut peer = server.welcome().await;
    let (lost, _) = tokio::join!(client.publish_acked("t", hello()), peer.request());
    assert_eq!(lost, Err(SendError::Unconfirmed));
}

#[tokio::test(start_paused = true)]
async fn publishes_wait_for_the_connection_but_not_for_ever() {
    let (options, mut server) = server();
    let (client, _events) = connect(options);
    assert_eq!(client.publish("t", hello()).await, Err(SendError::Disconnected));
    let (published, peer) = tokio::join!(client.publish("t", hello()), server.welcome());
    assert_eq!(published, Ok("7".into()));
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_and_then_given_up() {
    let (options, mut server) = server();
    let (_client, mut events) = connect(options);
    let mut peer = server.welcome().await;
    event(&mut events).await;
    // Answers the first ping, as long as it reads.
    let answered = Instant::now();
    let ping = peer.socket.next().await.unwrap().unwrap();
    assert!(matches!(ping, Frame::Ping(_)));
    futures_util::SinkExt::flush(&mut peer.socket).await.unwrap();
    assert!(answered.elapsed() >= Duration::from_secs(30));
    // Then no more: it reads nothing, and nothing is answered.
    assert_eq!(event(&mut events).await, r#"disconnected None "no sign of life from the server" again"#);
    assert!(answered.elapsed() >= Duration::from_secs(90));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stays_away_stops_the_socket_and_loses_nothing() {
    let (options, mut server) = server();
    let (_client, mut events) = connect(options.event_queue(1));
    let mut peer = server.welcome().await;
    for n in 0..5 {
        peer.send("t", "broadcast", json!(n)).await;
    }
    tokio::time::advance(Duration::from_secs(300)).await;
    event(&mut events).await;
    for n in 0..5 {
        assert_eq!(event(&mut events).await, format!("t broadcast {n}"));
    }
}

#[tokio::test(start_paused = true)]
async fn closing_says_goodbye() {
    let (options, mut server) = server();
    let (client, mut events) = connect(options);
    let mut peer = server.welcome().await;
    event(&mut events).await;
    let (frame, ()) = tokio::join!(
        async {
            let frame = peer.socket.next().await.unwrap().unwrap();
            while let Some(Ok(_)) = peer.socket.next().await {}
            frame
        },
        client.close()
    );
    assert!(matches!(frame, Frame::Close(Some(close)) if u16::from(close.code) == 1000));
    assert!(events.next().await.is_none());
    assert!(server.is_left_alone().await);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_closes_the_connection() {
    let (options, mut server) = server();
    let (client, mut events) = connect(options);
    let mut peer = server.welcome().await;
    event(&mut events).await;
    let other = client.clone();
    drop(client);
    other.subscribe("t").await.unwrap();
    peer.request().await;
    drop(other);
    assert!(matches!(peer.socket.next().await, Some(Ok(Frame::Close(_)))));
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_events_nobody_wants_goes_on() {
    let (options, mut server) = server();
    let (client, events) = connect(options.event_queue(1));
    drop(events);
    let mut peer = server.welcome().await;
    for _ in 0..3 {
        peer.send("t", "broadcast", json!("x")).await;
    }
    let (published, ()) = tokio::join!(client.publish_acked("t", hello()), async {
        peer.request().await;
        peer.send("priv/acks", "ack", json!("7")).await;
    });
    assert_eq!(published, Ok("7".into()));
}
