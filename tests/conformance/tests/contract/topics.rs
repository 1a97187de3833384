//! 2.4: who may subscribe to what, and publish where.

use realtime_testkit::Server;
use serde_json::{Value, json};

use crate::{PUBLISH, READ};

#[tokio::test]
async fn everyone_may_subscribe_to_public_topics() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[]).await;
    for topic in ["t", "a/b/c", "Secure/x", "Priv/x", "secure", "priv", "ä ö", "*", "!x"] {
        client.subscribe(topic).await;
    }
}

#[tokio::test]
async fn secure_topics_need_the_permission_to_read_them() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut without = app.connect("without", &[PUBLISH]).await;
    without.send("subscribe", json!({"topic": "secure/logs/1"})).await;
    let error = without.expect_error("permission_denied").await;
    assert_eq!(error["topic"], "secure/logs/1");
    let mut with = app.connect("with", &["realtime:subscriber:read:topic:secure/logs/*"]).await;
    with.subscribe("secure/logs/1").await;
    with.send("subscribe", json!({"topic": "secure/other"})).await;
    with.expect_error("permission_denied").await;
    app.publish(&json!({"topic": "secure/logs/1", "message": 1})).await.expect(200);
    with.expect("secure/logs/1", "broadcast").await;
    without.expect_nothing().await;
}

#[tokio::test]
async fn a_refused_secure_subscription_closes_the_session_where_the_app_says_so() {
    let server = Server::start().await;
    let app = server.app().set("refusedSubscriptionPolicy", "close").create().await;
    let mut client = app.connect("a", &[]).await;
    client.send("subscribe", json!({"topic": "priv/x"})).await;
    client.expect_error("topic_forbidden").await;
    client.send("subscribe", json!({"topic": "secure/x"})).await;
    assert_eq!(client.expect_close().await, (1008, "Subscription to secure topic is forbidden!".into()));
}

#[tokio::test]
async fn every_connection_has_its_two_private_topics() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut alice = app.connect("alice", &[]).await;
    let mut bob = app.connect("bob", &[PUBLISH]).await;
    for topic in [format!("priv/{}", alice.id()), "priv/alice".into()] {
        app.publish(&json!({"topic": topic, "message": "from a service"})).await.expect(200);
        assert_eq!(alice.expect(&topic, "broadcast").await, "from a service");
        bob.publish(&topic, "from bob").await;
        assert_eq!(alice.expect(&topic, "broadcast").await["payload"], "from bob");
    }
    bob.expect_nothing().await;
}

#[tokio::test]
async fn publishing_on_a_private_topic_needs_the_permission() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut alice = app.connect("alice", &["realtime:publisher:write:topic:chat"]).await;
    alice.publish("priv/alice", "x").await;
    alice.expect_error("permission_denied").await;
}

#[tokio::test]
async fn private_topics_take_no_subscriptions_from_clients() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut alice = app.connect("alice", &[PUBLISH, READ]).await;
    let own = format!("priv/{}", alice.id());
    for topic in ["priv/bob", "priv/alice", "priv/acks", "priv/errors", "priv/", own.as_str()] {
        for kind in ["subscribe", "unsubscribe"] {
            alice.send(kind, json!({"topic": topic})).await;
            assert_eq!(alice.expect_error("topic_forbidden").await["topic"], topic, "{kind}");
        }
    }
    app.publish(&json!({"topic": own, "message": 1})).await.expect(200);
    alice.expect(&own, "broadcast").await;
}

#[tokio::test]
async fn a_client_may_leave_main_and_come_back() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[]).await;
    client.send("unsubscribe", json!({"topic": "main"})).await;
    client.expect_nothing().await;
    app.publish(&json!({"topic": "main", "message": 1})).await.expect(200);
    client.expect_nothing().await;
    client.subscribe("main").await;
    app.publish(&json!({"topic": "main", "message": 2})).await.expect(200);
    assert_eq!(client.expect("main", "broadcast").await, 2);
}

#[tokio::test]
async fn an_unsubscribed_topic_is_silent_and_unsubscribing_twice_is_fine() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[]).await;
    client.subscribe("t").await;
    client.send("unsubscribe", json!({"topic": "t"})).await;
    client.send("unsubscribe", json!({"topic": "t"})).await;
    client.send("unsubscribe", json!({"topic": "never"})).await;
    client.expect_nothing().await;
    app.publish(&json!({"topic": "t", "message": 1})).await.expect(200);
    client.expect_nothing().await;
}

#[tokio::test]
async fn subscribing_twice_is_one_subscription() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[]).await;
    client.subscribe("t").await;
    client.subscribe("t").await;
    app.publish(&json!({"topic": "t", "message": 1})).await.expect(200);
    client.expect("t", "broadcast").await;
    client.expect_nothing().await;
    client.send("unsubscribe", json!({"topic": "t"})).await;
    client.expect_nothing().await;
    app.publish(&json!({"topic": "t", "message": 1})).await.expect(200);
    client.expect_nothing().await;
}

#[tokio::test]
async fn publishing_on_a_secure_topic_needs_the_publishers_permission_and_no_other() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut reader = app.connect("reader", &[READ]).await;
    reader.subscribe("secure/x").await;
    let mut writer = app.connect("writer", &[PUBLISH]).await;
    writer.publish("secure/x", "hello").await;
    assert_eq!(reader.expect("secure/x", "broadcast").await["payload"], "hello");
    reader.publish("secure/x", "hello").await;
    reader.expect_error("permission_denied").await;
}

/// The prefixes are case-sensitive: what only looks protected is an ordinary topic, for publishers too.
#[tokio::test]
async fn what_only_looks_like_a_prefix_is_public() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("a", &[PUBLISH]).await;
    for topic in ["Secure/inbound", "Priv/acks", "PRIV/a", "privx/a", "securex", "secure", "priv", " priv/a"]
    {
        client.subscribe(topic).await;
        client.publish(topic, "x").await;
        client.expect(topic, "broadcast").await;
        client.send("unsubscribe", json!({"topic": topic})).await;
    }
    client.expect_nothing().await;
}

/// Each action has its own patterns; a negated one excludes whatever the others include.
#[tokio::test]
async fn a_publishers_patterns_are_its_own() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let write = |pattern: &str| format!("realtime:publisher:write:topic:{pattern}");
    let cases: [(&[String], &str, bool); 7] = [
        (&[write("t/*")], "t/1", true),
        (&[write("T/*")], "t/1", true),
        (&[write("t/*")], "u", false),
        (&[write("*"), write("!priv/*")], "priv/a", false),
        (&[write("!priv/*"), write("*")], "t", true),
        (&[READ.into()], "t", false),
        (&["realtime:publisher:write:topic".into()], "t", false),
    ];
    for (permissions, topic, allowed) in cases {
        let token = app.sign(json!({"permissions": permissions}));
        let mut client = app.connect_with(&token, "").await;
        client.publish(topic, "x").await;
        if !allowed {
            assert_eq!(client.expect_error("permission_denied").await["topic"], topic, "{permissions:?}");
        }
        client.expect_nothing().await;
    }
}

/// The semantics of the npm module `matcher`.
#[tokio::test]
async fn patterns_have_the_semantics_of_the_documented_module() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let cases: [(&[&str], &str, bool); 16] = [
        (&["secure/*"], "secure/a/b", true),
        (&["secure/*"], "secure/", true),
        (&["secure/a"], "secure/a", true),
        (&["secure/a"], "secure/ab", false),
        (&["*"], "secure/x", true),
        (&["SECURE/A*"], "secure/abc", true),
        (&["secure/a*z"], "secure/a/b/z", true),
        (&["secure/a*z"], "secure/a/b/y", false),
        (&["secure/*", "!secure/a"], "secure/a", false),
        (&["!secure/a", "secure/*"], "secure/b", true),
        (&["!secure/a"], "secure/b", true),
        (&["!secure/a"], "secure/a", false),
        (&["secure/\\*"], "secure/*", true),
        (&["secure/\\*"], "secure/x", false),
        (&["secure/?"], "secure/x", false),
        (&[], "secure/x", false),
    ];
    for (patterns, topic, allowed) in cases {
        let permissions: Vec<_> =
            patterns.iter().map(|p| format!("realtime:subscriber:read:topic:{p}")).collect();
        let mut client = app.connect_with(&app.sign(json!({"permissions": permissions})), "").await;
        client.send("subscribe", json!({"topic": topic})).await;
        let frame = client.frame().await;
        let expected = if allowed { "welcome" } else { "error" };
        assert_eq!(frame.message_type(), expected, "{patterns:?} on {topic}: {}", frame.json);
    }
}

#[tokio::test]
async fn case_counts_where_the_app_says_so() {
    let server = Server::start().await;
    let app = server.app().set("permissionCase", "sensitive").create().await;
    let mut client = app.connect("a", &["realtime:subscriber:read:topic:secure/A*"]).await;
    client.subscribe("secure/Abc").await;
    client.send("subscribe", json!({"topic": "secure/abc"})).await;
    client.expect_error("permission_denied").await;
}

/// `permissions`, else `scp`, else `scope`; the first claim that is present decides.
#[tokio::test]
async fn permissions_come_from_the_first_claim_that_is_present() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let both = format!("other {READ}");
    let cases: [(Value, bool); 9] = [
        (json!({"permissions": [READ]}), true),
        (json!({"permissions": both}), true),
        (json!({"scp": [READ]}), true),
        (json!({"scp": both}), true),
        (json!({"scope": both}), true),
        (json!({"scope": [READ]}), true),
        (json!({"permissions": [], "scp": [READ], "scope": both}), false),
        (json!({"permissions": "", "scope": both}), false),
        (json!({"scp": [], "scope": both}), false),
    ];
    for (claims, allowed) in cases {
        let mut client = app.connect_with(&app.sign(claims.clone()), "").await;
        client.send("subscribe", json!({"topic": "secure/x"})).await;
        let expected = if allowed { "welcome" } else { "error" };
        assert_eq!(client.frame().await.message_type(), expected, "{claims}");
    }
}

/// A claim that is there decides, and so must make sense.
#[tokio::test]
async fn a_permission_claim_of_another_type_is_401() {
    let server = Server::start().await;
    let app = server.app().create().await;
    for claim in ["permissions", "scp", "scope"] {
        for value in
            [json!(7), json!(true), json!({"a": READ}), json!([READ, 7]), json!([[READ]]), json!([null])]
        {
            let path = app.path(&app.sign(json!({claim: value})));
            app.refused(&path, &[]).await.expect_problem(401, "unauthenticated");
        }
    }
    // One that another decides over is not looked at.
    let mut client = app.connect_with(&app.sign(json!({"permissions": [READ], "scp": 7})), "").await;
    client.subscribe("secure/x").await;
}
