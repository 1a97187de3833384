//! The consumer of the inbound stream against servers: deliveries, answers, reconnects, tokens, ends.

// `fake` is a module of this binary alone; `pub` in it says what the tests use.
#![allow(unreachable_pub, clippy::unwrap_used)]

mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fake::{ID, servers};
use realtime_client::inbound::{Event, Message, Ready};
use realtime_client::{Delivery, ErrorCode, Inbound, InboundOptions, Retry, TokenError, TokenSource};
use tokio::time::{Instant, timeout};

fn connect(options: InboundOptions) -> Inbound {
    Inbound::connect(options).unwrap()
}

async fn next(inbound: &mut Inbound) -> Delivery {
    inbound.next().await.unwrap()
}

fn message(delivery: &Delivery) -> &Message {
    match &delivery.event {
        Event::Message(message) => message,
        Event::Presence(presence) => panic!("{presence:?}"),
    }
}

async fn ended(inbound: &mut Inbound) -> ErrorCode {
    inbound.next().await.unwrap_err().code
}

#[tokio::test(start_paused = true)]
async fn a_consumer_says_what_it_wants_and_hears_that_it_is_ready() {
    let (options, mut servers) = servers(&["a"]);
    let mut inbound = connect(options.group("workers").max_unanswered(7));
    let call = servers.call().await;
    assert_eq!((call.server, &*call.authorization), ("a", "Bearer token-1"));
    let peer = call.ready().await;
    assert_eq!((&*peer.start.app_id, &*peer.start.group), ("demo", "workers"));
    assert_eq!(peer.start.max_unanswered, 7);
    let ready = Ready { server: "http://a".into(), nodes: 2, missing_nodes: vec!["n3".into()] };
    assert_eq!(inbound.ready().await, Ok(ready));
}

#[tokio::test(start_paused = true)]
async fn messages_and_presence_come_typed() {
    let (options, mut servers) = servers(&["a"]);
    let mut inbound = connect(options);
    let peer = servers.ready().await;
    peer.message(1, "m1").await;
    let client = format!(r#"{{"connectionId":"{ID}","subject":"alice","permissions":["p"]}}"#);
    let payload = r#"{"code":-1,"status":"disconnected"}"#;
    peer.body(
        2,
        &format!(r#"{{"client":{client},"subProtocol":1,"payload":{payload},"messageType":"presence"}}"#),
    )
    .await;
    let delivery = next(&mut inbound).await;
    assert!(!delivery.redelivered);
    let message = message(&delivery);
    assert_eq!((&*message.id, message.message_type.as_deref()), ("m1", None));
    assert_eq!(message.json::<String>().unwrap(), "hello");
    assert_eq!(message.client.connection_id.to_string(), ID);
    assert_eq!((&*message.client.subject, &*message.client.permissions), ("alice", &["p".to_owned()][..]));
    let other = next(&mut inbound).await;
    match &other.event {
        Event::Presence(presence) => {
            assert_eq!((&*presence.client.subject, presence.is_connected), ("alice", false));
        }
        Event::Message(message) => panic!("{message:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_answered_one_by_one_and_from_any_task() {
    let (options, mut servers) = servers(&["a"]);
    let mut inbound = connect(options);
    let mut peer = servers.ready().await;
    peer.message(1, "m1").await;
    peer.message(2, "m2").await;
    next(&mut inbound).await.accept();
    assert_eq!(peer.answers().await, Some((vec![1], vec![])));
    let Delivery { receipt, .. } = next(&mut inbound).await;
    tokio::spawn(async move { receipt.refuse() }).await.unwrap();
    assert_eq!(peer.answers().await, Some((vec![], vec![2])));
}

#[tokio::test(start_paused = true)]
async fn answers_at_hand_share_a_request() {
    const MESSAGES: u64 = 200;
    let (options, mut servers) = servers(&["a"]);
    let mut inbound = connect(options);
    let mut peer = servers.ready().await;
    let mut deliveries = Vec::new();
    for sequence in 1..=MESSAGES {
        peer.message(sequence, "m").await;
        deliveries.push(next(&mut inbound).await);
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        if number % 10 == 3 { delivery.refuse() } else { delivery.accept() }
    }
    let (mut accepted, mut refused, mut requests) = (Vec::new(), Vec::new(), 0);
    while accepted.len() + refused.len() < MESSAGES as usize {
        let (more, others) = peer.answers().await.unwrap();
        accepted.extend(more);
        refused.extend(others);
        requests += 1;
    }
    assert!(requests <= 3, "{requests} requests");
    assert_eq!(refused, (0..20).map(|n| 10 * n + 4).collect::<Vec<u64>>());
    assert!(accepted.len() == 180 && accepted.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_does_not_read_is_not_sent_more_than_it_holds() {
    let (options, mut servers) = servers(&["a"]);
    let mut inbound = connect(options);
    let mut peer = servers.ready().await;
    for sequence in 1..=200 {
        peer.message(sequence, "m").await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    // Answers go on, and nothing is lost.
    for sequence in 1..=200 {
        next(&mut inbound).await.accept();
        assert_eq!(peer.answers().await, Some((vec![sequence], vec![])));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_receipt_is_dropped_stays_unanswered_until_the_server_has_given_it_up() {
    let (options, mut servers) = servers(&["a"]);
    let mut inbound = connect(options);
    let mut peer = servers.ready().await;
    peer.message(1, "m1").await;
    peer.message(2, "m2").await;
    let dropped = Instant::now();
    drop(next(&mut inbound).await);
    next(&mut inbound).await.accept();
    assert_eq!(peer.answers().await, Some((vec![2], vec![])));
    assert_eq!(dropped.elapsed(), Duration::ZERO);
    assert_eq!(peer.answers().await, Some((vec![], vec![1])));
    assert_eq!(dropped.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_refused_and_the_stream_goes_on() {
    let (options, mut servers) = servers(&["a"]);
    let mut inbound = connect(options);
    let mut peer = servers.ready().await;
    peer.body(1, r#"{"from":"the future"}"#).await;
    peer.message(2, "m2").await;
    assert_eq!(message(&next(&mut inbound).await).id, "m2");
    assert_eq!(peer.answers().await, Some((vec![], vec![1])));
}

#[tokio::test(start_paused = true)]
async fn a_draining_node_is_left_for_the_next_one_where_unanswered_messages_come_again() {
    let (options, mut servers) = servers(&["a", "b"]);
    let mut inbound = connect(options);
    let peer = servers.ready().await;
    for (sequence, id) in [(1, "m1"), (2, "m2"), (3, "unread")] {
        peer.message(sequence, id).await;
    }
    let (held, dropped) = (next(&mut inbound).await, next(&mut inbound).await);
    drop(dropped);
    let before = Instant::now();
    peer.end(ErrorCode::Draining).await;
    let call = servers.call().await;
    assert_eq!(call.server, "b");
    assert!(before.elapsed() <= Duration::from_millis(250));
    let mut peer = call.ready().await;
    assert_eq!(inbound.ready().await.unwrap().server, "http://b");
    // The answer is one to the old stream, and so to nothing; what nobody has read is not shown.
    assert!(held.receipt.is_void());
    held.accept();
    peer.message_again(1, "m1").await;
    let again = next(&mut inbound).await;
    assert!(again.redelivered && !again.receipt.is_void());
    assert_eq!(message(&again).id, "m1");
    again.accept();
    assert_eq!(peer.answers().await, Some((vec![1], vec![])));
}

#[tokio::test(start_paused = true)]
async fn servers_that_do_not_answer_or_break_are_passed_over() {
    let (options, mut servers) = servers(&["away", "a", "b"]);
    let mut inbound = connect(options);
    let call = servers.call().await;
    assert_eq!(call.server, "a");
    let _peer = call.ready().await;
    inbound.ready().await.unwrap();
    servers.break_connections();
    let call = servers.call().await;
    assert_eq!(call.server, "b");
    call.refuse(ErrorCode::Unavailable);
    let call = servers.call().await;
    assert_eq!(call.server, "a");
    let _peer = call.ready().await;
    inbound.ready().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let (options, mut servers) = servers(&["a", "b"]);
    let mut inbound = connect(options);
    let before = Instant::now();
    let _silent = servers.call().await;
    let call = servers.call().await;
    assert_eq!(call.server, "b");
    assert!(before.elapsed() >= Duration::from_secs(15));
    let peer = call.ready().await;
    // Nor is a stream that ends without a word the end.
    drop(peer);
    let _peer = servers.ready().await;
    inbound.ready().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_is_left_within_ten_seconds() {
    let (options, mut servers) = servers(&["a", "b"]);
    let mut inbound = connect(options);
    let peer = servers.ready().await;
    peer.message(1, "m1").await;
    let delivery = next(&mut inbound).await;
    // Silence alone is none: pings are answered.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!delivery.receipt.is_void());
    servers.freeze_connections();
    let frozen = Instant::now();
    let call = servers.call().await;
    assert_eq!(call.server, "b");
    assert!(frozen.elapsed() <= Duration::from_millis(10_250), "{:?}", frozen.elapsed());
    assert!(delivery.receipt.is_void());
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_asked_for_once_more() {
    let (options, mut servers) = servers(&["a"]);
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    let provider = TokenSource::provider(move || {
        let number = counter.fetch_add(1, Ordering::Relaxed);
        async move {
            if number == 1 { Err(TokenError("issuer away".into())) } else { Ok(format!("token-{number}")) }
        }
    });
    let options = options.token(provider);
    let mut inbound = connect(options);
    let call = servers.call().await;
    assert_eq!(call.authorization, "Bearer token-0");
    call.refuse(ErrorCode::Unauthenticated);
    // The provider's own failures pass.
    let call = servers.call().await;
    assert_eq!(call.authorization, "Bearer token-2");
    // A stream has stood: the next refusal is a new affair.
    call.ready().await.end(ErrorCode::Unauthenticated).await;
    let call = servers.call().await;
    assert_eq!(call.authorization, "Bearer token-3");
    call.refuse(ErrorCode::Unauthenticated);
    assert_eq!(ended(&mut inbound).await, ErrorCode::Unauthenticated);
    assert!(servers.are_left_alone().await);
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn a_fixed_token_that_is_refused_is_the_end() {
    let (options, mut servers) = servers(&["a", "b"]);
    let mut inbound = connect(options);
    servers.call().await.refuse(ErrorCode::Unauthenticated);
    assert_eq!(ended(&mut inbound).await, ErrorCode::Unauthenticated);
    assert!(servers.are_left_alone().await);
}

#[tokio::test(start_paused = true)]
async fn errors_that_do_not_pass_end_the_consumer() {
    for code in [ErrorCode::PermissionDenied, ErrorCode::InboundDisabled, ErrorCode::AppNotFound] {
        // At the beginning …
        let (options, mut servers) = servers(&["a", "b"]);
        let mut inbound = connect(options.clone());
        servers.call().await.refuse(code);
        assert_eq!(inbound.ready().await.unwrap_err().code, code);
        assert_eq!(ended(&mut inbound).await, code);
        assert_eq!(ended(&mut inbound).await, code);
        // … and under way, after what came before.
        let mut inbound = connect(options);
        let peer = servers.ready().await;
        peer.message(1, "m1").await;
        let delivery = next(&mut inbound).await;
        peer.end(code).await;
        assert_eq!(ended(&mut inbound).await, code);
        assert!(delivery.receipt.is_void());
        assert!(servers.are_left_alone().await);
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_can_be_limited() {
    let (options, mut servers) = servers(&["away"]);
    let mut inbound = connect(options.retry(Retry { attempts: Some(3), ..Retry::default() }));
    let error = inbound.next().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.detail.contains("http://away"), "{error}");
    assert!(servers.are_left_alone().await);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_consumer_ends_its_stream() {
    let (options, mut servers) = servers(&["a"]);
    let mut inbound = connect(options);
    let mut peer = servers.ready().await;
    peer.message(1, "m1").await;
    let delivery = next(&mut inbound).await;
    drop(inbound);
    assert_eq!(peer.answers().await, None);
    assert!(delivery.receipt.is_void());
    assert!(servers.are_left_alone().await);
}

#[tokio::test(start_paused = true)]
async fn closing_takes_the_last_answers_along() {
    let (options, mut servers) = servers(&["a"]);
    let mut inbound = connect(options);
    let mut peer = servers.ready().await;
    for sequence in 1..=3 {
        peer.message(sequence, "m").await;
    }
    next(&mut inbound).await.accept();
    next(&mut inbound).await.refuse();
    let _unanswered = next(&mut inbound).await;
    let (answers, ()) = tokio::join!(
        async {
            let answers = peer.answers().await;
            assert_eq!(peer.answers().await, None, "the consumer says no more");
            drop(peer);
            answers
        },
        inbound.close()
    );
    assert_eq!(answers, Some((vec![1], vec![2])));
    assert!(servers.are_left_alone().await);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_nobody_for_ever() {
    // For a server that does not end the stream …
    let (options, mut servers) = servers(&["a"]);
    let mut inbound = connect(options.clone());
    let _peer = servers.ready().await;
    inbound.ready().await.unwrap();
    let before = Instant::now();
    inbound.close().await;
    assert_eq!(before.elapsed(), Duration::from_secs(5));
    // … or before there is one.
    let inbound = connect(options);
    let _call = servers.call().await;
    let before = Instant::now();
    inbound.close().await;
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn waiting_may_be_given_up_and_taken_up_again() {
    let (options, mut servers) = servers(&["a"]);
    let mut inbound = connect(options);
    assert!(timeout(Duration::from_secs(1), inbound.ready()).await.is_err());
    let peer = servers.ready().await;
    assert!(timeout(Duration::from_secs(1), inbound.next()).await.is_err());
    peer.message(1, "m1").await;
    assert_eq!(message(&next(&mut inbound).await).id, "m1");
}

#[tokio::test]
async fn malformed_options_are_told_at_once_and_tokens_never() {
    for servers in [&[][..], &["127.0.0.1:7070"], &["http://a", "ftp://b"]] {
        let options = InboundOptions::new(servers.iter().copied(), "demo", "hush");
        assert!(!format!("{options:?}").contains("hush"));
        assert_eq!(Inbound::connect(options).unwrap_err().code, ErrorCode::InvalidRequest);
    }
    let options = InboundOptions::new(["https://a"], "demo", "t").ca("no certificate");
    assert_eq!(Inbound::connect(options).unwrap_err().code, ErrorCode::InvalidRequest);
}
