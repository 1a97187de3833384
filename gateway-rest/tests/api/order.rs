//! The order of checks: for every pair of faults in one request, the answer is that of the earlier one.

use axum::body::Body;
use axum::http::Method;
use realtime_proto::{ApiError, ErrorCode};
use serde_json::json;

use crate::world::{ALL, APP, Call, World, token};

/// In the order of docs/contract.md 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    UnknownApp,
    Address,
    Token,
    MediaType,
    Size,
    Body,
    Permission,
    Disabled,
    Quota,
}
use Fault::*;

impl Fault {
    fn refusal(self) -> &'static str {
        match self {
            UnknownApp => "404 app_not_found",
            Address => "403 address_forbidden",
            Token => "401 unauthenticated",
            MediaType => "415 unsupported_media_type",
            Size => "413 payload_too_large",
            Body => "400 invalid_request",
            Permission => "403 permission_denied",
            Disabled => "403 app_disabled",
            Quota => "429 quota_exceeded",
        }
    }
}

/// A call that can have faults.
struct Subject {
    method: Method,
    path: fn(&str) -> String,
    /// Empty: takes none.
    body: String,
    limit: usize,
    faults: &'static [Fault],
}

fn call(subject: &Subject, faults: &[Fault]) -> Call {
    let has = |fault| faults.contains(&fault);
    let app = match (has(UnknownApp), has(Address), has(Disabled)) {
        (true, _, _) => "nowhere",
        (_, true, true) => "far-and-disabled",
        (_, true, false) => "far",
        (_, false, true) => "disabled",
        (_, false, false) => APP,
    };
    let permissions = if has(Permission) { &["realtime:publisher:write:topic:other"][..] } else { ALL };
    let token = if has(Token) { "not.a.token".into() } else { token(permissions) };
    let mut path = (subject.path)(app);
    if subject.body.is_empty() {
        if has(Body) {
            path.push_str("?subject=%zz&limit=x");
        }
        return Call::new(subject.method.clone(), &path).token(&token);
    }
    let mut body = if has(Body) { "{".to_owned() } else { subject.body.clone() };
    if has(Size) {
        body.push_str(&" ".repeat(subject.limit));
    }
    let media_type = if has(MediaType) { "text/plain" } else { "application/json" };
    Call::new(subject.method.clone(), &path)
        .token(&token)
        .header("content-type", media_type)
        .body(Body::from(body))
}

async fn check(subject: Subject) {
    let world = World::new();
    world.app("far", json!({"adminSourceAddress": ["198.51.100.0/24"]}));
    world.app("disabled", json!({"enabled": false}));
    world.app("far-and-disabled", json!({"enabled": false, "adminSourceAddress": ["198.51.100.0/24"]}));
    assert!(world.send(call(&subject, &[])).await.status.is_success(), "without a fault");
    for (i, &earlier) in subject.faults.iter().enumerate() {
        for &later in &subject.faults[i..] {
            let quota = (later == Quota).then(|| ApiError::new(ErrorCode::QuotaExceeded, "over the quota"));
            *world.node.refusal.lock().unwrap() = quota;
            let answer = world.send(call(&subject, &[earlier, later])).await;
            assert_eq!(answer.refusal(), earlier.refusal(), "{earlier:?} and {later:?}");
        }
    }
}

#[tokio::test]
async fn publish_checks_in_the_documented_order() {
    check(Subject {
        method: Method::POST,
        path: |app| format!("/api/topics/{app}/publish"),
        body: json!({"topic": "t", "message": 1}).to_string(),
        limit: 5_120,
        faults: &[UnknownApp, Address, Token, MediaType, Size, Body, Permission, Disabled, Quota],
    })
    .await;
}

#[tokio::test]
async fn unsubscribe_checks_in_the_documented_order() {
    check(Subject {
        method: Method::POST,
        path: |app| format!("/api/topics/{app}/unsubscribe"),
        body: json!({"topicPatterns": ["*"], "subject": "ann"}).to_string(),
        limit: 16 * 1024,
        faults: &[UnknownApp, Address, Token, MediaType, Size, Body, Permission, Disabled, Quota],
    })
    .await;
}

#[tokio::test]
async fn connections_check_in_the_documented_order() {
    for method in [Method::GET, Method::DELETE] {
        check(Subject {
            method,
            path: |app| format!("/api/connections/{app}"),
            body: String::new(),
            limit: 0,
            faults: &[UnknownApp, Address, Token, Body, Permission, Disabled, Quota],
        })
        .await;
    }
    check(Subject {
        method: Method::DELETE,
        path: |app| format!("/api/connections/{app}/0123456789abcdef0123456789abcdef"),
        body: String::new(),
        limit: 0,
        faults: &[UnknownApp, Address, Token, Permission, Disabled, Quota],
    })
    .await;
}

#[tokio::test]
async fn the_topic_list_checks_in_the_documented_order() {
    check(Subject {
        method: Method::GET,
        path: |app| format!("/api/topics/{app}"),
        body: String::new(),
        limit: 0,
        faults: &[UnknownApp, Address, Token, Permission, Quota],
    })
    .await;
}

#[tokio::test]
async fn configurations_check_in_the_documented_order() {
    check(Subject {
        method: Method::PATCH,
        path: |app| format!("/api/apps/{app}"),
        body: json!({"description": "d"}).to_string(),
        limit: 256 * 1024,
        faults: &[UnknownApp, Address, Token, MediaType, Size, Body, Permission],
    })
    .await;
}

#[tokio::test]
async fn an_operator_passes_addresses_and_permissions_but_no_other_check() {
    let world = World::new();
    world.app("far", json!({"adminSourceAddress": ["198.51.100.0/24"]}));
    world.app("disabled", json!({"enabled": false}));
    let publish = |app: &str| {
        let body = json!({"topic": "t", "message": 1});
        Call::post(&format!("/api/topics/{app}/publish")).operator().json(body)
    };
    assert_eq!(world.send(publish("far")).await.status, 200);
    assert_eq!(world.send(publish("disabled")).await.refusal(), "403 app_disabled");
    assert_eq!(world.send(publish("nowhere")).await.refusal(), "404 app_not_found");
}

#[tokio::test]
async fn the_test_of_forwarders_checks_in_the_documented_order() {
    check(Subject {
        method: Method::POST,
        path: |app| format!("/api/apps/{app}/forwarders/test"),
        body: "{}".to_owned(),
        limit: 256 * 1024,
        faults: &[UnknownApp, Address, Token, MediaType, Size, Body, Permission, Disabled],
    })
    .await;
}
