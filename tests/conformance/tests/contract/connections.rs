//! 4: connections and topics over HTTP.

use realtime_testkit::{Client, Server, TestApp, eventually};
use serde_json::{Value, json};

use crate::{CONNECTIONS, PUBLISH, SUBSCRIBERS};

async fn connections(app: &TestApp, query: &str) -> Value {
    let path = format!("/api/connections/{}{query}", app.id());
    app.api(&[CONNECTIONS], "GET", &path).send().await.expect(200)
}

async fn topics(app: &TestApp, query: &str) -> Value {
    let path = format!("/api/topics/{}{query}", app.id());
    app.api(&[SUBSCRIBERS], "GET", &path).send().await.expect(200)
}

#[tokio::test]
async fn connections_are_listed_with_what_is_known_of_them() {
    let server = Server::start().await;
    let app = server.app().create().await;
    assert_eq!(connections(&app, "").await["items"], json!([]));
    let mut alice = app.connect("alice", &[]).await;
    let _bob = app.connect("bob", &[]).await;
    alice.subscribe("t").await;
    let all = connections(&app, "").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 2, "{all}");
    assert_eq!(all["next"], json!(null), "{all}");
    let one = connections(&app, "?subject=alice").await["items"].clone();
    let [item] = one.as_array().unwrap().as_slice() else { panic!("{one}") };
    assert_eq!((&item["id"], &item["subject"]), (&json!(alice.id()), &json!("alice")));
    assert_eq!((&item["remoteAddress"], &item["subscriptions"].is_u64()), (&json!("127.0.0.1"), &true));
    let at = item["connectedAt"].as_str().expect("a time");
    assert!(at.len() == 24 && at.ends_with('Z') && at.as_bytes()[10] == b'T', "{at}");
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut clients = Vec::new();
    for n in 0..120 {
        clients.push(app.connect(&format!("user{n}"), &[]).await);
        clients[n].send("subscribe", json!({"topic": format!("topic/{n:03}")})).await;
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.expect(&format!("topic/{n:03}"), "welcome").await;
    }
    for (list, member) in [("connections", "id"), ("topics", "topic")] {
        let (mut seen, mut query) = (Vec::new(), String::new());
        loop {
            let page = match list {
                "connections" => connections(&app, &query).await,
                _ => topics(&app, &query).await,
            };
            let items = page["items"].as_array().unwrap();
            seen.extend(items.iter().map(|item| item[member].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => query = format!("?cursor={}", percent(next)),
                None => break,
            }
        }
        // With `main`, where everybody is.
        let expected = if list == "connections" { 120 } else { 121 };
        let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), expected, "{list}: nothing is missed");
        assert_eq!(distinct.len(), seen.len(), "{list}: nothing twice");
    }
}

/// Percent-encodes a query's value.
fn percent(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).into() } else { format!("%{b:02X}") })
        .collect()
}

#[tokio::test]
async fn topics_are_listed_with_their_subscribers() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut alice = app.connect("alice", &[]).await;
    let mut bob = app.connect("bob", &[]).await;
    alice.subscribe("chat/1").await;
    bob.subscribe("chat/1").await;
    bob.subscribe("chat/2").await;
    bob.subscribe("other").await;
    let listed = topics(&app, "?prefix=chat/").await;
    let expected = json!([{"topic": "chat/1", "subscribers": 2}, {"topic": "chat/2", "subscribers": 1}]);
    assert_eq!(listed["items"], expected);
    assert_eq!(listed["next"], json!(null));
    let private = topics(&app, "?prefix=priv/").await;
    assert_eq!(private["items"], json!([]), "private topics are nobody's business");
    bob.close().await;
    eventually("the topics that are left", async || {
        let left = topics(&app, "?prefix=chat/").await;
        (left["items"] == json!([{"topic": "chat/1", "subscribers": 1}])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_not_there_is_404() {
    let server = Server::start().await;
    let (app, other) = (server.app().create().await, server.app().create().await);
    let theirs = other.connect("a", &[]).await;
    let unknown = format!("{}{}", &theirs.id()[..8], "0".repeat(24));
    for id in [theirs.id(), unknown.as_str(), "x", "0123", &theirs.id().to_uppercase()] {
        let path = format!("/api/connections/{}/{id}", app.id());
        app.api(&[CONNECTIONS], "DELETE", &path).send().await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn all_connections_of_an_app_or_of_one_subject_are_closed() {
    let server = Server::start().await;
    let (app, other) = (server.app().create().await, server.app().create().await);
    let mut clients: Vec<Client> = Vec::new();
    for n in 0..3 {
        clients.push(app.connect(&format!("user{n}"), &[]).await);
    }
    let mut bystander = other.connect("user0", &[]).await;
    let delete = |query: &str| {
        let path = format!("/api/connections/{}{query}", app.id());
        app.api(&[CONNECTIONS], "DELETE", &path).send()
    };
    assert_eq!(delete("?subject=user0").await.expect(200), json!({"connections": 1}));
    assert_eq!(clients[0].expect_close().await.0, 4003);
    clients[1].expect_nothing().await;
    assert_eq!(delete("").await.expect(200), json!({"connections": 2}));
    assert_eq!(clients[1].expect_close().await.0, 4003);
    assert_eq!(clients[2].expect_close().await.0, 4003);
    assert_eq!(delete("").await.expect(200), json!({"connections": 0}));
    bystander.subscribe("t").await;
}

#[tokio::test]
async fn each_call_needs_its_permission() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let client = app.connect("a", &[]).await;
    let one = format!("/api/connections/{}/{}", app.id(), client.id());
    let all = format!("/api/connections/{}", app.id());
    let topics = format!("/api/topics/{}", app.id());
    for (method, path, wrong) in [
        ("DELETE", &one, SUBSCRIBERS),
        ("DELETE", &all, SUBSCRIBERS),
        ("GET", &all, PUBLISH),
        ("GET", &topics, CONNECTIONS),
    ] {
        app.api(&[wrong], method, path).send().await.expect_problem(403, "permission_denied");
        app.api(&[], method, path).send().await.expect_problem(403, "permission_denied");
    }
}
