//! 2.4: permission lists made to be slow or large, as long as a token may be.

use realtime_testkit::{Client, Server, TestApp, within};
use serde_json::{Value, json};

use crate::PUBLISH;
use crate::measure::{Neighbour, frugal_server, three_times};

/// The longest topic, of the letter that hostile patterns are made of.
fn topic() -> String {
    "a".repeat(255)
}

/// As many of `pattern`'s permissions to publish as fit a token of 8 KiB.
fn filled(pattern: impl Fn(usize) -> String) -> Value {
    let mut list = Vec::new();
    let mut bytes = 0;
    for n in 0.. {
        let permission = format!("realtime:publisher:write:topic:{}", pattern(n));
        bytes += permission.len() + 3;
        if bytes > 5900 {
            break;
        }
        list.push(permission);
    }
    json!(list)
}

/// Lists none of which permits publishing on [`topic`].
fn hostile() -> Vec<(&'static str, Value)> {
    let long = |pattern: &str, times: usize, end: &str| format!("{}{end}", pattern.repeat(times));
    vec![
        ("one pattern of thousands of wildcards", filled(|_| long("*a", 2900, "*b"))),
        ("wildcards alone, and an end that never comes", filled(|_| long("*", 5800, "b"))),
        ("many patterns that go back and forth", filled(|_| long("*a", 120, "*b"))),
        ("long parts that almost fit", filled(|n| format!("*{}b*{}", "a".repeat(120), n))),
        ("as many patterns as fit", filled(|n| format!("*{}", n % 10))),
        ("negations", filled(|n| if n == 0 { "*".into() } else { format!("!{}b{n}", "*a".repeat(60)) })),
        ("a negation that excludes all", filled(|n| if n == 0 { "!*a*a*a".into() } else { "*a*".into() })),
        ("thousands of words", json!(vec!["x"; 1450])),
        ("thousands of words in a text", json!("x ".repeat(2900))),
        ("escapes", json!([format!("realtime:publisher:write:topic:{}", long("\\", 2800, "b"))])),
    ]
}

/// Publishes on the topic that no list permits: all are refused, one by one.
async fn publish_in_vain(client: &mut Client, count: usize) {
    for _ in 0..count {
        client.publish(&topic(), "x").await;
    }
    for _ in 0..count {
        let refused = within("a refusal", client.frame()).await;
        assert_eq!(refused.data()["code"], "permission_denied");
    }
}

async fn connect(app: &TestApp, permissions: &Value) -> Client {
    let token = app.sign(json!({"permissions": permissions}));
    assert!((7000..=8192).contains(&token.len()), "{} bytes", token.len());
    app.connect_with(&token, "").await
}

#[tokio::test]
async fn hostile_patterns_are_refused_and_hold_up_nobody() {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    for (what, permissions) in hostile() {
        let mut client = connect(&app, &permissions).await;
        if what.starts_with("negations") {
            // Everything that is not excluded is included: here it is.
            client.publish(&topic(), "x").await;
            client.expect_nothing().await;
            continue;
        }
        let (_, ()) = tokio::join!(publish_in_vain(&mut client, 300), async {
            for _ in 0..10 {
                neighbour.is_served().await;
            }
        });
    }
}

/// Lists that are all different share nothing; what they take goes with their sessions.
#[tokio::test]
async fn sessions_with_lists_of_8_kib_give_their_memory_back() {
    const COUNT: usize = 200;
    let server = frugal_server().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    three_times(&server, async |round| {
        let mut clients = Vec::new();
        for n in 0..COUNT {
            // The tokens, which the server remembers for as long as they are good, are the same each time.
            let words = format!("{n} {}", "x ".repeat(2890));
            let token = app.sign(json!({"permissions": words, "exp": 9_000_000_000u64}));
            clients.push(app.connect_with(&token, "").await);
        }
        assert!(server.metric("realtime_sessions").await > COUNT as u64, "{round}");
        neighbour.is_served().await;
    })
    .await;
}

/// Tokens that have verified are remembered within a bound of bytes, however long their lists are.
#[tokio::test]
async fn a_flood_of_good_tokens_with_long_lists_is_remembered_within_a_bound() {
    const COUNT: usize = 3000;
    let server = frugal_server().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let before = server.resident_bytes();
    for n in 0..COUNT {
        let words = format!("{n} {}", "x ".repeat(2890));
        let token = app.sign(json!({"permissions": words, "exp": 9_000_000_000u64}));
        let api = server.request("GET", &format!("/api/topics/{}", app.id())).token(&token);
        api.send().await.expect_problem(403, "permission_denied");
    }
    let held = server.resident_bytes().saturating_sub(before);
    assert!(held < (64 << 20), "{held} bytes for {COUNT} tokens");
    // And still the list decides.
    let mut client = app.connect("u", &[PUBLISH]).await;
    client.subscribe("t").await;
    client.publish("t", "x").await;
    client.expect("t", "broadcast").await;
}
