//! 4: health, publishing and unsubscribing over HTTP.

use realtime_testkit::{Server, TestApp};
use serde_json::{Value, json};

use crate::{PUBLISH, SUBSCRIBERS};

fn unsubscribe_path(app: &TestApp) -> String {
    format!("/api/topics/{}/unsubscribe", app.id())
}

async fn unsubscribe(app: &TestApp, patterns: &[&str], subject: &str) -> Value {
    let body = json!({"topicPatterns": patterns, "subject": subject});
    let request = app.api(&[SUBSCRIBERS], "POST", &unsubscribe_path(app)).json(&body);
    request.send().await.expect(200)["subscriptions"].clone()
}

#[tokio::test]
async fn the_health_status_is_open_to_all() {
    let server = Server::start().await;
    let health = server.request("GET", "/api/health/status").send().await.expect(200);
    assert_eq!(health["status"], "ok");
}

#[tokio::test]
async fn a_publish_answers_with_its_id_and_the_bytes_of_the_message_as_posted() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let path = format!("/api/topics/{}/publish", app.id());
    for (message, bytes) in [(r#"{"hello":"world"}"#, 17), (r#"{ "a" : 1 }"#, 11), ("\"ä\"", 4), ("null", 4)]
    {
        let body = format!(r#"{{"topic":"main","message":{message},"id":"52"}}"#);
        let request = app.api(&[PUBLISH], "POST", &path).body("application/json", body);
        assert_eq!(request.send().await.expect(200), json!({"id": "52", "bytes": bytes}));
    }
    let answer = app.publish(&json!({"topic": "main", "message": 1})).await.expect(200);
    assert!(answer["id"].as_str().is_some_and(|id| !id.is_empty()), "{answer}");
    assert_eq!(answer["bytes"], 1);
}

#[tokio::test]
async fn the_content_type_may_have_parameters() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let path = format!("/api/topics/{}/publish", app.id());
    let body = r#"{"topic":"main","message":1}"#;
    for media in ["application/json; charset=utf-8", "Application/JSON"] {
        app.api(&[PUBLISH], "POST", &path).body(media, body).send().await.expect(200);
    }
}

#[tokio::test]
async fn bodies_of_a_publish_may_have_5120_bytes() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let path = format!("/api/topics/{}/publish", app.id());
    let body = |length: usize| {
        let head = r#"{"topic":"main","message":""#;
        format!("{head}{}\"}}", "x".repeat(length - head.len() - 2))
    };
    let send = |length| app.api(&[PUBLISH], "POST", &path).body("application/json", body(length)).send();
    send(5120).await.expect(200);
    send(5121).await.expect_problem(413, "payload_too_large");
    send(300_000).await.expect_problem(413, "payload_too_large");
}

#[tokio::test]
async fn a_body_that_does_not_fit_is_400() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let path = format!("/api/topics/{}/publish", app.id());
    let long = "t".repeat(256);
    let bodies = [
        String::new(),
        "hello".into(),
        "[]".into(),
        "{}".into(),
        json!({"topic": "t"}).to_string(),
        json!({"message": 1}).to_string(),
        json!({"topic": "", "message": 1}).to_string(),
        json!({"topic": long, "message": 1}).to_string(),
        json!({"topic": "a\nb", "message": 1}).to_string(),
        json!({"topic": 1, "message": 1}).to_string(),
        json!({"topic": "t", "message": 1, "compress": "yes"}).to_string(),
        json!({"topic": "t", "message": 1, "id": ""}).to_string(),
        json!({"topic": "t", "message": 1, "id": 7}).to_string(),
        json!({"topic": "t", "message": 1, "id": "i".repeat(129)}).to_string(),
        json!({"topic": "t", "message": 1, "messageType": ""}).to_string(),
        json!({"topic": "t", "message": 1, "messageType": "m".repeat(129)}).to_string(),
        r#"{"topic":"t","topic":"u","message":1}"#.into(),
        r#"{"topic":"t","message":1} {}"#.into(),
    ];
    for body in bodies {
        let answer = app.api(&[PUBLISH], "POST", &path).body("application/json", body.clone()).send().await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        answer.expect_problem(400, "invalid_request");
    }
    // The documents' own idea of an absent option.
    let nulls = json!({"topic": "t", "message": 1, "compress": null, "id": null, "messageType": null});
    app.publish(&nulls).await.expect(200);
}

#[tokio::test]
async fn publishing_needs_the_permission_for_the_topic() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let path = format!("/api/topics/{}/publish", app.id());
    let permitted = "realtime:publisher:write:topic:secure/*";
    let publish = |topic: &str| {
        app.api(&[permitted], "POST", &path).json(&json!({"topic": topic, "message": 1})).send()
    };
    publish("secure/a").await.expect(200);
    publish("main").await.expect_problem(403, "permission_denied");
    publish("secure/inbound").await.expect_problem(403, "topic_forbidden");
}

#[tokio::test]
async fn a_subject_is_unsubscribed_from_matching_topics() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut alice = app.connect("user0@example.com", &[crate::READ]).await;
    let mut bob = app.connect("bob", &[crate::READ]).await;
    for client in [&mut alice, &mut bob] {
        for topic in ["secure/logs/1", "secure/logs/2", "secure/other"] {
            client.subscribe(topic).await;
        }
    }
    assert_eq!(unsubscribe(&app, &["secure/logs/*"], "user0@example.com").await, 2);
    assert_eq!(unsubscribe(&app, &["secure/logs/*"], "user0@example.com").await, 0);
    assert_eq!(unsubscribe(&app, &["*"], "nobody").await, 0);
    app.publish(&json!({"topic": "secure/logs/1", "message": 1})).await.expect(200);
    bob.expect("secure/logs/1", "broadcast").await;
    alice.expect_nothing().await;
    app.publish(&json!({"topic": "secure/other", "message": 1})).await.expect(200);
    alice.expect("secure/other", "broadcast").await;
}

#[tokio::test]
async fn main_may_be_left_by_pattern_private_topics_never() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut alice = app.connect("alice", &[]).await;
    alice.subscribe("t").await;
    assert_eq!(unsubscribe(&app, &["*"], "alice").await, 2, "`t` and `main`");
    app.publish(&json!({"topic": "main", "message": 1})).await.expect(200);
    app.publish(&json!({"topic": "priv/alice", "message": 2})).await.expect(200);
    assert_eq!(alice.expect("priv/alice", "broadcast").await, 2);
    alice.subscribe("main").await;
}

#[tokio::test]
async fn negated_patterns_spare_topics() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut alice = app.connect("alice", &[]).await;
    for topic in ["a/1", "a/2"] {
        alice.subscribe(topic).await;
    }
    assert_eq!(unsubscribe(&app, &["a/*", "!a/2"], "alice").await, 1);
    app.publish(&json!({"topic": "a/2", "message": 1})).await.expect(200);
    alice.expect("a/2", "broadcast").await;
}

#[tokio::test]
async fn an_unsubscribe_takes_1_to_50_patterns_and_a_subject() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let patterns = |count: usize| vec!["p*"; count];
    let send = |body: Value| app.api(&[SUBSCRIBERS], "POST", &unsubscribe_path(&app)).json(&body).send();
    send(json!({"topicPatterns": patterns(50), "subject": "a"})).await.expect(200);
    for body in [
        json!({"topicPatterns": [], "subject": "a"}),
        json!({"topicPatterns": patterns(51), "subject": "a"}),
        json!({"topicPatterns": "a", "subject": "a"}),
        json!({"topicPatterns": [1], "subject": "a"}),
        json!({"topicPatterns": ["a"]}),
        json!({"topicPatterns": ["a"], "subject": 1}),
        json!({"topicPatterns": ["a"], "subject": ""}),
        json!({"subject": "a"}),
        json!([]),
    ] {
        let answer = send(body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    let wide = json!({"topicPatterns": ["a"], "subject": "a", "pad": "x".repeat(10_000)});
    assert!(send(wide).await.status != 413, "up to 16 KiB");
    let too_wide = json!({"topicPatterns": ["a"], "subject": "a", "pad": "x".repeat(17_000)});
    send(too_wide).await.expect_problem(413, "payload_too_large");
    let denied = app.api(&[PUBLISH], "POST", &unsubscribe_path(&app));
    let denied = denied.json(&json!({"topicPatterns": ["a"], "subject": "a"})).send().await;
    denied.expect_problem(403, "permission_denied");
}

/// 4: `message` may be any JSON value, and arrives as it was posted.
#[tokio::test]
async fn a_message_is_any_json_value_byte_for_byte() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let path = format!("/api/topics/{}/publish", app.id());
    let mut raw = app.connect_raw(&app.token("a", &[]), &[]).await;
    raw.expect_frame().await;
    for message in [
        "0",
        "-1.50e+2",
        "true",
        "null",
        r#""""#,
        r#""\u00e4 \/""#,
        "[ 1 , [] ]",
        r#"{ "b":1, "a" : {} }"#,
        // Grammatical, though strict parsers refuse them.
        r#""\ud800""#,
        "1e999",
        r#"{"a":1,"a":2}"#,
    ] {
        let body = format!(r#"{{"topic": "main", "message": {message} }}"#);
        let answer = app.api(&[PUBLISH], "POST", &path).body("application/json", body).send().await;
        assert_eq!(answer.expect(200)["bytes"], message.len());
        let frame = String::from_utf8(raw.expect_frame().await.payload).unwrap();
        assert!(frame.ends_with(&format!(r#""data":{message}}}"#)), "{frame}");
    }
}

/// 4: with `?receipt=true` also `receipt`.
#[tokio::test]
async fn a_receipt_counts_the_subscribers() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let _clients = [app.connect("a", &[]).await, app.connect("b", &[]).await];
    let publish = |query: &str, topic: &str| {
        let path = format!("/api/topics/{}/publish{query}", app.id());
        app.api(&[PUBLISH], "POST", &path).json(&json!({"topic": topic, "message": 1})).send()
    };
    let receipt = |matched: u64| json!({"nodes": 1, "matched": matched, "queued": matched, "dropped": 0});
    assert_eq!(publish("?receipt=true", "main").await.expect(200)["receipt"], receipt(2));
    assert_eq!(publish("?receipt=true", "priv/a").await.expect(200)["receipt"], receipt(1));
    assert_eq!(publish("?receipt=true", "nobody").await.expect(200)["receipt"], receipt(0));
    assert_eq!(publish("?receipt=false", "main").await.expect(200).get("receipt"), None);
    publish("?receipt=1", "main").await.expect_problem(400, "invalid_request");
}
