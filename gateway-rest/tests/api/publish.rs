//! `POST /api/topics/{app}/publish`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use realtime_proto::{ApiError, ErrorCode};
use serde_json::json;

use crate::world::{ALL, Call, World, chunked, token};

const PATH: &str = "/api/topics/app/publish";

fn publish(body: impl ToString) -> Call {
    Call::post(PATH).token(&token(ALL)).json(body)
}

#[tokio::test]
async fn the_message_reaches_the_service_byte_for_byte() {
    let world = World::new();
    let message = "{\"b\":1.0, \"a\" :[1e3,\"\\u00e4ä\\/\"],\n\t\"b\":null}";
    let body = format!(
        r#" {{"id":"i-1","messageType":"chat","compress":true,"topic":"caf\u00e9/1","message": {message} }} "#
    );
    let answer = world.send(publish(body)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json(), json!({"id": "i-1", "bytes": message.len()}));
    let seen = world.node.publishes.lock().unwrap().pop().unwrap();
    assert_eq!(seen.message_json, message);
    assert_eq!((seen.app_id.as_str(), seen.topic.as_str()), ("app", "café/1"));
    assert_eq!((seen.compress, seen.message_type.as_str(), seen.receipt), (true, "chat", false));
}

#[tokio::test]
async fn absent_options_are_left_to_the_service() {
    let world = World::new();
    let answer = world.send(publish(r#"{"topic":"t","message":null,"unknown":{"a":1}}"#)).await;
    assert_eq!(answer.json(), json!({"id": "generated", "bytes": 4}));
    let seen = world.node.publishes.lock().unwrap().pop().unwrap();
    assert_eq!(seen.message_json, "null");
    assert!(!seen.compress && seen.message_type.is_empty() && seen.id.is_empty());
}

#[tokio::test]
async fn a_receipt_comes_only_where_asked_for() {
    let world = World::new();
    let with = |query: &str| {
        let body = json!({"topic": "t", "message": "m"});
        Call::post(&format!("{PATH}{query}")).token(&token(ALL)).json(body)
    };
    let receipt = json!({"nodes": 1, "matched": 4, "queued": 3, "dropped": 1});
    assert_eq!(world.send(with("?receipt=true")).await.json()["receipt"], receipt);
    assert_eq!(world.send(with("?receipt=false&other=%20")).await.json().get("receipt"), None);
    for query in ["?receipt=yes", "?receipt", "?receipt=true&receipt=true", "?receipt=%ff"] {
        let answer = world.send(with(query)).await;
        assert_eq!(answer.refusal(), "400 invalid_request", "{query}");
        assert_eq!(answer.fields(), ["receipt"], "{query}");
    }
}

#[tokio::test]
async fn a_bad_body_is_a_400_that_names_its_fields() {
    let world = World::new();
    let cases: [(&str, &[&str]); 9] = [
        ("", &[]),
        ("[]", &[]),
        ("{\"topic\":\"t\",\"message\":1", &[]),
        (r#"{"topic":"t"}"#, &["message"]),
        (r#"{"message":1}"#, &["topic"]),
        (
            r#"{"topic":7,"message":1,"compress":1,"id":1,"messageType":1}"#,
            &["topic", "compress", "messageType", "id"],
        ),
        (r#"{"topic":"t","topic":"t","message":1}"#, &["topic"]),
        (r#"{"topic":"t","message":1,"x":1,"x":1}"#, &[]),
        (r#"{"topic":"t","message":1,"id":""}"#, &["id"]),
    ];
    for (body, fields) in cases {
        let answer = world.send(publish(body)).await;
        assert_eq!(answer.refusal(), "400 invalid_request", "{body}");
        assert_eq!(answer.fields(), fields, "{body}");
    }
    assert!(world.node.publishes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_limit_is_5120_bytes_of_body() {
    let world = World::new();
    let body = |length: usize| {
        let frame = r#"{"topic":"t","message":""}"#.len();
        format!(r#"{{"topic":"t","message":"{}"}}"#, "x".repeat(length - frame))
    };
    assert_eq!(world.send(publish(body(5_120))).await.status, 200);
    assert_eq!(world.send(publish(body(5_121))).await.refusal(), "413 payload_too_large");
}

#[tokio::test]
async fn chunks_are_put_together_up_to_the_limit() {
    let world = World::new();
    let call =
        |body| Call::post(PATH).token(&token(ALL)).header("content-type", "application/json").body(body);
    let text = r#"{"topic":"chunks","message":[1,2,3]}"#;
    let chunks = text.as_bytes().chunks(5).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()));
    let body = Body::from_stream(tokio_stream::iter(chunks.collect::<Vec<_>>()));
    assert_eq!(world.send(call(body)).await.status, 200);
    assert_eq!(world.node.publishes.lock().unwrap().pop().unwrap().message_json, "[1,2,3]");

    let broken = [Ok(b"{\"topic\":".to_vec()), Err(std::io::Error::other("reset"))];
    let body = Body::from_stream(tokio_stream::iter(broken));
    assert_eq!(world.send(call(body)).await.refusal(), "400 invalid_request");
}

#[tokio::test(start_paused = true)]
async fn what_is_over_the_limit_is_thrown_away_within_bounds_so_that_the_sender_sees_why() {
    let world = World::new();
    let call = || Call::post(PATH).token(&token(ALL)).header("content-type", "application/json");
    let refused = async |call: Call| assert_eq!(world.send(call).await.refusal(), "413 payload_too_large");

    let (body, taken) = chunked(vec![b' '; 1_024], 1_000);
    refused(call().body(body)).await;
    assert_eq!(taken.load(Ordering::Relaxed), 1_000, "all of a megabyte");

    let (body, taken) = chunked(vec![b' '; 1 << 20], 1_000);
    refused(call().body(body)).await;
    assert!(taken.load(Ordering::Relaxed) < 12, "not all of a gigabyte");

    let (body, taken) = chunked(vec![b' '; 1_024], 1_000);
    refused(call().header("expect", "100-continue").body(body)).await;
    assert_eq!(taken.load(Ordering::Relaxed), 6, "nothing more of a sender that waits to be asked");

    let first = tokio_stream::once(Ok::<_, std::io::Error>(vec![b' '; 6_000]));
    let stalled = tokio_stream::StreamExt::chain(first, tokio_stream::pending());
    refused(call().body(Body::from_stream(stalled))).await;
}

#[tokio::test]
async fn a_body_is_not_read_before_the_caller_is_known() {
    let world = World::new();
    for refused in [
        Call::post(PATH),
        Call::post(PATH).token("not.a.token"),
        Call::post(PATH).token(&token(ALL)).header("content-type", "text/plain"),
        Call::post("/api/topics/nowhere/publish").operator(),
    ] {
        let (body, taken) = chunked("{}", 1);
        assert!(world.send(refused.body(body)).await.status.is_client_error());
        assert_eq!(taken.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_given_up() {
    let world = World::new();
    let stalled = Body::from_stream(tokio_stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let call = Call::post(PATH).token(&token(ALL)).header("content-type", "application/json").body(stalled);
    assert_eq!(world.send(call).await.refusal(), "400 invalid_request");
}

/// Each holds a connection of the public port for as long as it takes.
#[tokio::test(start_paused = true)]
async fn bodies_that_take_their_time_have_so_many_places_and_prompt_ones_need_none() {
    const PLACES: usize = 4096;
    let world = World::new();
    let call =
        |body| Call::post(PATH).token(&token(ALL)).header("content-type", "application/json").body(body);
    let stalled = || {
        let begun = tokio_stream::once(Ok::<_, std::io::Error>(b"{".to_vec()));
        Body::from_stream(tokio_stream::StreamExt::chain(begun, tokio_stream::pending()))
    };
    let slow: Vec<_> = (0..PLACES).map(|_| tokio::spawn(world.sending(call(stalled())))).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = world.send(call(stalled())).await;
    assert_eq!(refused.refusal(), "503 unavailable");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(world.send(publish(r#"{"topic":"t","message":1}"#)).await.status, 200);
    // Nor is anything thrown away for whoever would need a place for that.
    let (body, taken) = chunked(vec![b' '; 1_024], 1_000);
    assert_eq!(world.send(call(body)).await.refusal(), "413 payload_too_large");
    assert_eq!(taken.load(Ordering::Relaxed), 6);
    for slow in slow {
        assert_eq!(slow.await.unwrap().refusal(), "400 invalid_request", "after its time");
    }
    // They come back.
    let late = tokio::spawn(world.sending(call(stalled())));
    assert_eq!(late.await.unwrap().refusal(), "400 invalid_request");
}

#[tokio::test]
async fn the_media_type_is_json_with_any_parameters() {
    let world = World::new();
    let call = |media_type: Option<&str>| {
        let call = Call::post(PATH).token(&token(ALL)).body(Body::from(r#"{"topic":"t","message":1}"#));
        match media_type {
            Some(media_type) => call.header("content-type", media_type),
            None => call,
        }
    };
    for good in ["application/json", "Application/JSON; charset=utf-8", "application/json;x=y"] {
        assert_eq!(world.send(call(Some(good))).await.status, 200, "{good}");
    }
    for bad in [None, Some("text/plain"), Some("application/jsonx"), Some("application/merge-patch+json")] {
        assert_eq!(world.send(call(bad)).await.refusal(), "415 unsupported_media_type", "{bad:?}");
    }
    for (coding, status) in
        [("identity", 200), ("Identity", 200), ("gzip", 415), ("identity, br", 415), ("", 415)]
    {
        let coded = call(Some("application/json")).header("content-encoding", coding);
        assert_eq!(world.send(coded).await.status, status, "{coding}");
    }
    let empty = Call::post(PATH).token(&token(ALL));
    let typed = Call::post(PATH).token(&token(ALL)).header("content-type", "text/plain");
    assert_eq!(world.send(typed).await.refusal(), "415 unsupported_media_type");
    assert_eq!(world.send(empty).await.refusal(), "400 invalid_request");
}

#[tokio::test]
async fn the_token_needs_the_topic() {
    let world = World::new();
    let call = |topic: &str| {
        let token = token(&["realtime:publisher:write:topic:chat/*"]);
        Call::post(PATH).token(&token).json(json!({"topic": topic, "message": 1}))
    };
    assert_eq!(world.send(call("chat/1")).await.status, 200);
    assert_eq!(world.send(call("news")).await.refusal(), "403 permission_denied");
}

#[tokio::test]
async fn nobody_publishes_what_only_the_server_does() {
    let world = World::new();
    for token in [token(ALL), crate::world::OPERATOR.to_owned()] {
        for topic in ["secure/inbound", "priv/acks", "priv/errors"] {
            let call = Call::post(PATH).token(&token).json(json!({"topic": topic, "message": 1}));
            assert_eq!(world.send(call).await.refusal(), "403 topic_forbidden", "{topic}");
        }
        for name in ["welcome", "ack", "presence", "error"] {
            let body = json!({"topic": "t", "message": 1, "messageType": name});
            let call = Call::post(PATH).token(&token).json(body);
            assert_eq!(world.send(call).await.refusal(), "403 permission_denied", "{name}");
        }
    }
    assert!(world.node.publishes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_app_header_agrees_with_the_path() {
    let world = World::new();
    let call = |app: &str| publish(json!({"topic": "t", "message": 1})).header("x-app-id", app);
    assert_eq!(world.send(call("app")).await.status, 200);
    for other in [call("other"), call("app").header("x-app-id", "other")] {
        let answer = world.send(other).await;
        assert_eq!(
            (answer.refusal().as_str(), answer.fields()),
            ("400 invalid_request", vec!["X-App-Id".to_owned()])
        );
    }
}

#[tokio::test]
async fn refusals_of_the_service_come_back_as_problems() {
    let world = World::new();
    let partial = ApiError {
        partial: Some((vec!["n2".into()], 3)),
        ..ApiError::new(ErrorCode::Partial, "one node did not answer")
    };
    let cases = [
        (ApiError::new(ErrorCode::Unavailable, "queue full").retry_after(4), "503 unavailable", "4"),
        (ApiError::new(ErrorCode::Draining, "draining"), "503 draining", "1"),
        (ApiError::new(ErrorCode::QuotaExceeded, "over"), "429 quota_exceeded", ""),
        (partial, "503 partial", "1"),
    ];
    for (refusal, expected, retry_after) in cases {
        *world.node.refusal.lock().unwrap() = Some(refusal.clone());
        let answer = world.send(publish(json!({"topic": "t", "message": 1}))).await;
        assert_eq!(answer.refusal(), expected);
        assert_eq!(answer.header("retry-after"), retry_after);
        assert_eq!(answer.json()["detail"], refusal.detail);
        if refusal.code == ErrorCode::Partial {
            assert_eq!((&answer.json()["missingNodes"], &answer.json()["sum"]), (&json!(["n2"]), &json!(3)));
        }
    }
}

#[tokio::test]
async fn an_internal_error_says_nothing_about_the_inside() {
    let world = World::new();
    *world.node.refusal.lock().unwrap() = Some(ApiError::new(ErrorCode::Internal, "shard 3 at 0xdead"));
    let answer = world.send(publish(json!({"topic": "t", "message": 1}))).await;
    assert_eq!(answer.refusal(), "500 internal");
    assert_eq!(answer.json()["detail"], "internal error");
}

#[tokio::test]
async fn a_panic_is_a_500() {
    let world = World::new();
    let answer = world.send(publish(json!({"topic": "panic", "message": 1}))).await;
    assert_eq!(answer.refusal(), "500 internal");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_a_503() {
    let world = World::new();
    let answer = world.send(publish(json!({"topic": "hang", "message": 1}))).await;
    assert_eq!(answer.refusal(), "503 unavailable");
}
