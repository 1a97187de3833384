//! Well-formed requests that are refused, and the order of the checks: format, rate, permission, inbound.

use realtime_proto::app::RefusedSubscriptionPolicy;
use realtime_proto::{CloseCode, ErrorCode};
use realtime_session::Event;

use crate::support::*;

fn subscribe(topic: &str) -> Vec<u8> {
    text(&format!(r#"{{"type":"subscribe","data":{{"topic":"{topic}"}}}}"#))
}

fn unsubscribe(topic: &str) -> Vec<u8> {
    text(&format!(r#"{{"type":"unsubscribe","data":{{"topic":"{topic}"}}}}"#))
}

fn publish(topic: &str, more: &str) -> Vec<u8> {
    text(&format!(r#"{{"type":"publish","data":{{"topic":"{topic}","payload":[]{more}}}}}"#))
}

fn message(more: &str) -> Vec<u8> {
    text(&format!(r#"{{"type":"message","data":{{"payload":[]{more}}}}}"#))
}

/// Code, id and topic of a refusal.
fn refused(event: Event<'static>) -> (ErrorCode, Option<String>, Option<String>) {
    match event {
        Event::Refused { code, message, id, topic } => {
            assert!(!message.is_empty());
            (code, id.map(Into::into), topic.map(Into::into))
        }
        other => panic!("{other:?}"),
    }
}

fn on_topic(code: ErrorCode, topic: &str) -> (ErrorCode, Option<String>, Option<String>) {
    (code, None, Some(topic.to_owned()))
}

#[test]
fn public_topics_are_open_to_subscribers_and_writing_needs_the_permission() {
    let mut client = Client::new();
    client.permissions = permissions(&["realtime:publisher:write:topic:mine/*"]);
    for topic in ["main", "a", "Secure/x", "Priv/x", "secure", "priv"] {
        assert_eq!(client.one(&subscribe(topic)), Event::Subscribe { topic: topic.to_owned().into() });
        assert_eq!(client.one(&unsubscribe(topic)), Event::Unsubscribe { topic: topic.to_owned().into() });
        assert_eq!(
            refused(client.one(&publish(topic, ""))),
            on_topic(ErrorCode::PermissionDenied, topic),
            "{topic}"
        );
    }
    assert!(matches!(client.one(&publish("mine/a", "")), Event::Publish { .. }));
    assert_eq!(
        refused(client.one(&publish("a", r#","id":"m1""#))),
        (ErrorCode::PermissionDenied, Some("m1".into()), Some("a".into()))
    );
}

#[test]
fn secure_topics_need_the_subscriber_permission() {
    let mut client = Client::new();
    client.permissions = permissions(&["realtime:subscriber:read:topic:secure/mine*"]);
    assert!(matches!(client.one(&subscribe("secure/mine/1")), Event::Subscribe { .. }));
    for topic in ["secure/x", "secure/inbound", "secure/"] {
        assert_eq!(refused(client.one(&subscribe(topic))), on_topic(ErrorCode::PermissionDenied, topic));
        assert!(matches!(client.one(&unsubscribe(topic)), Event::Unsubscribe { .. }));
    }
}

#[test]
fn the_apps_policy_may_close_for_a_refused_secure_subscription() {
    let mut client = Client::new();
    client.policy.refused_subscription = RefusedSubscriptionPolicy::Close;
    assert_eq!(refused(client.one(&subscribe("priv/a"))), on_topic(ErrorCode::TopicForbidden, "priv/a"));
    let events = client.read(&[subscribe("secure/x"), subscribe("main")].concat());
    assert_eq!(events, [Event::Close(CloseCode::SecureTopicForbidden)]);
    assert_eq!(CloseCode::SecureTopicForbidden.code(), 1008);
    assert_eq!(CloseCode::SecureTopicForbidden.reason(), "Subscription to secure topic is forbidden!");
}

#[test]
fn private_topics_are_neither_subscribed_nor_left_but_may_be_written_to() {
    let mut client = Client::new();
    client.permissions =
        permissions(&["realtime:publisher:write:topic:*", "realtime:subscriber:read:topic:*"]);
    for topic in ["priv/acks", "priv/errors", "priv/alice", "priv/"] {
        let forbidden = on_topic(ErrorCode::TopicForbidden, topic);
        assert_eq!(refused(client.one(&subscribe(topic))), forbidden);
        assert_eq!(refused(client.one(&unsubscribe(topic))), forbidden);
    }
    assert!(matches!(client.one(&publish("priv/alice", "")), Event::Publish { .. }));
}

#[test]
fn no_event_of_the_server_can_be_forged() {
    let mut client = Client::new();
    for topic in ["secure/inbound", "priv/acks", "priv/errors"] {
        assert_eq!(refused(client.one(&publish(topic, ""))), on_topic(ErrorCode::TopicForbidden, topic));
    }
    for name in ["welcome", "ack", "presence", "error"] {
        let named = format!(r#","id":"m1","messageType":"{name}""#);
        assert_eq!(
            refused(client.one(&publish("t", &named))),
            (ErrorCode::PermissionDenied, Some("m1".into()), Some("t".into()))
        );
        assert_eq!(
            refused(client.one(&message(&named))),
            (ErrorCode::PermissionDenied, Some("m1".into()), None)
        );
    }
    assert!(matches!(client.one(&publish("t", r#","messageType":"Welcome""#)), Event::Publish { .. }));
}

#[test]
fn messages_need_a_target_and_no_permission() {
    let mut client = Client::new();
    client.permissions = permissions(&[]);
    assert!(matches!(client.one(&message("")), Event::Message { .. }));
    client.policy.inbound_enabled = false;
    assert_eq!(
        refused(client.one(&message(r#","id":"m1""#))),
        (ErrorCode::InboundDisabled, Some("m1".into()), None)
    );
}

#[test]
fn publishes_and_messages_share_one_rate_and_subscriptions_have_their_own() {
    let mut client = Client::new();
    client.policy.messages_per_second = 2;
    assert!(matches!(client.one(&publish("t", "")), Event::Publish { .. }));
    for _ in 0..3 {
        assert!(matches!(client.one(&message("")), Event::Message { .. }));
    }
    let limited = ErrorCode::RateLimited;
    assert_eq!(
        refused(client.one(&publish("t", r#","id":"m1""#))),
        (limited, Some("m1".into()), Some("t".into()))
    );
    assert_eq!(refused(client.one(&message(r#","id":"m2""#))), (limited, Some("m2".into()), None));
    for _ in 0..2 {
        assert!(matches!(client.one(&subscribe("a")), Event::Subscribe { .. }));
        assert!(matches!(client.one(&unsubscribe("a")), Event::Unsubscribe { .. }));
    }
    assert_eq!(refused(client.one(&subscribe("a"))), on_topic(limited, "a"));
    assert_eq!(refused(client.one(&unsubscribe("a"))), on_topic(limited, "a"));
    assert_eq!(client.one(&frame(FIN | PING, b"")), Event::Ping { payload: b"" }, "pings are free");
    client.now_ms = 500;
    assert!(matches!(client.one(&subscribe("a")), Event::Subscribe { .. }));
    assert!(matches!(client.one(&message("")), Event::Message { .. }));
    assert_eq!(refused(client.one(&message(""))).0, limited);
}

#[test]
fn the_order_is_format_rate_permission_inbound() {
    let mut client = Client::new();
    client.policy.messages_per_second = 1;
    client.policy.inbound_enabled = false;
    client.permissions = permissions(&[]);
    let server_type = message(r#","messageType":"ack""#);
    assert_eq!(refused(client.one(&server_type)).0, ErrorCode::PermissionDenied, "before inbound");
    assert_eq!(
        refused(client.one(&message(""))).0,
        ErrorCode::InboundDisabled,
        "refusals count for the rate"
    );
    assert_eq!(refused(client.one(&server_type)).0, ErrorCode::RateLimited, "before permission");
    let invalid = client.one(&message(r#","id":"""#));
    assert_eq!(invalid, Event::Close(CloseCode::InvalidMessage), "before the rate");
}
