//! 2.1: what a session begins with, and who gets one.

use std::collections::BTreeSet;

use realtime_testkit::{Client, RawSocket, Server, eventually, unix_now};
use serde_json::{Value, json};

use crate::PUBLISH;

fn is_connection_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[tokio::test]
async fn a_session_begins_with_the_welcome_on_main() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = Client::open_unwelcomed(app.address(), &app.path(&app.token("alice", &[]))).await;
    let frame = client.frame().await;
    assert!(!frame.binary);
    let id = frame.json["data"]["connection"]["id"].as_str().expect("an id").to_owned();
    assert!(is_connection_id(&id), "{id}");
    let connection = json!({"id": id, "appId": app.id(), "remoteAddress": "127.0.0.1"});
    let expected = json!({"topic": "main", "messageType": "welcome", "data": {"connection": connection}});
    assert_eq!(frame.json, expected);
    client.expect_nothing().await;
}

#[tokio::test]
async fn the_token_may_come_in_the_authorization_header() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let bearer = format!("Bearer {}", app.token("alice", &[]));
    let opened = RawSocket::open(app.address(), &app.path(""), &[("Authorization", &bearer)]).await;
    let mut socket = opened.expect("an upgrade");
    let welcome: Value = serde_json::from_slice(&socket.expect_frame().await.payload).unwrap();
    assert_eq!(welcome["messageType"], "welcome");
}

/// The parameter counts, even an empty one.
#[tokio::test]
async fn a_token_in_the_url_counts_before_the_header() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let bearer = format!("Bearer {}", app.token("header", &[]));
    let both = [("Authorization", bearer.as_str())];
    for token in ["", "x"] {
        let path = format!("/apps/{}?access_token={token}", app.id());
        app.refused(&path, &both).await.expect_problem(401, "unauthenticated");
    }
    app.connect_raw(&app.token("url", &[]), &[("Authorization", "Bearer x")]).await.expect_frame().await;
    let other_scheme = [("Authorization", "Basic eDp5")];
    // Of two headers a proxy may have judged the other one.
    let two = [("Authorization", bearer.as_str()), ("Authorization", bearer.as_str())];
    for headers in [&other_scheme[..], &two] {
        app.refused(&app.path(""), headers).await.expect_problem(401, "unauthenticated");
    }
}

/// 1: sessions are at `/apps/{appId}` and nowhere else.
#[tokio::test]
async fn other_paths_open_no_session() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let token = app.token("a", &[]);
    let id = app.id();
    for path in ["/apps/".to_owned(), format!("/apps/{id}/"), format!("/apps/{id}/x"), format!("/apps//{id}")]
    {
        let refusal = app.refused(&format!("{path}?access_token={token}"), &[]).await;
        refusal.expect_problem(404, "app_not_found");
    }
    for path in
        ["/".to_owned(), "/apps".to_owned(), format!("/APPS/{id}"), format!("/{id}"), format!("/x/apps/{id}")]
    {
        let refusal = app.refused(&format!("{path}?access_token={token}"), &[]).await;
        refusal.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn connection_ids_share_the_prefix_of_one_start_of_a_node() {
    let mut server = Server::start().await;
    let app = server.app().create().await;
    let (a, b) = (app.connect("a", &[]).await, app.connect("b", &[]).await);
    assert_ne!(a.id(), b.id());
    assert_eq!(a.id()[..8], b.id()[..8]);
    server.kill();
    let server = server.restart().await;
    let path = app.path(&app.token("a", &[]));
    let again = eventually("the app after the restart", || async {
        RawSocket::open(server.listen(), &path, &[]).await.ok()
    });
    let welcome: Value = serde_json::from_slice(&again.await.expect_frame().await.payload).unwrap();
    let id = welcome["data"]["connection"]["id"].as_str().expect("an id");
    assert_ne!(id[..8], a.id()[..8], "a new start has a new prefix");
}

#[tokio::test]
async fn a_token_without_a_subject_has_the_connection_id_as_its_subject() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect_with(&app.sign(json!({"permissions": [PUBLISH]})), "").await;
    let id = client.id().to_owned();
    client.subscribe("t").await;
    client.publish("t", "x").await;
    let data = client.expect("t", "broadcast").await;
    assert_eq!(data["client"], json!({"connectionId": id, "subject": id}));
}

#[tokio::test]
async fn subjects_are_texts_of_1_to_250_bytes_without_control_characters() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let long = "x".repeat(251);
    let wide = "ä".repeat(126);
    let bad = [
        json!(7),
        json!(null),
        json!(true),
        json!(["a"]),
        json!({"sub": "a"}),
        json!(wide),
        json!("\u{0}"),
        json!(""),
        json!(long),
        json!("a\nb"),
        json!("a\u{7f}b"),
        json!("a\u{85}b"),
        json!("acks"),
        json!("errors"),
    ];
    for subject in bad {
        let path = app.path(&app.sign(json!({"sub": subject})));
        app.refused(&path, &[]).await.expect_problem(401, "unauthenticated");
    }
    let wide = "ä".repeat(125);
    for subject in
        ["x".repeat(250), wide, "user0@example.com".into(), "ä ö/*".into(), "Acks".into(), "main".into()]
    {
        app.connect(&subject, &[]).await.close().await;
    }
}

/// `exp` counts with a leeway of 5 s, and only when the session opens.
#[tokio::test]
async fn a_session_outlives_its_token() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect_with(&app.sign(json!({"sub": "a", "exp": unix_now() - 2})), "").await;
    client.subscribe("t").await;
}

/// Not a second longer: what counts is the clock when the session opens.
#[tokio::test]
async fn six_seconds_after_its_expiry_a_token_opens_nothing() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let late = app.path(&app.sign(json!({"sub": "a", "exp": unix_now() - 6})));
    app.refused(&late, &[]).await.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_session_ends_with_its_token_where_the_app_says_so() {
    let server = Server::start().await;
    let app = server.app().set("disconnectOnTokenExpiry", true).create().await;
    let exp = unix_now() + 2;
    let mut client = app.connect_with(&app.sign(json!({"sub": "a", "exp": exp})), "").await;
    let mut lasting = app.connect_with(&app.signer.sign(&json!({"sub": "b"})), "").await;
    assert_eq!(client.expect_close().await, (4001, "Token expired".into()));
    assert!(unix_now() >= exp, "not before the time");
    lasting.subscribe("t").await;
}

/// 2.2: a welcome has no other members, on a topic either.
#[tokio::test]
async fn a_subscription_is_answered_with_a_welcome_of_the_same_connection() {
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut client = app.connect("alice", &[]).await;
    client.send("subscribe", json!({"topic": "chat/1"})).await;
    let expected = json!({"topic": "chat/1", "messageType": "welcome", "data": client.welcome()});
    assert_eq!(client.frame().await.json, expected);
    let members: BTreeSet<_> = client.welcome()["connection"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["appId", "id", "remoteAddress"].map(String::from).into());
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_forwarded_address_is_the_clients() {
    let server = Server::start().await;
    let app = server.app().create().await;
    server
        .change_settings(|settings| settings["trustedProxies"] = json!(["127.0.0.0/8", "10.0.0.0/8"]))
        .await;
    for (header, value, expected) in [
        ("X-Forwarded-For", "203.0.113.9", "203.0.113.9"),
        ("X-Forwarded-For", "198.51.100.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("X-Forwarded-For", "::ffff:203.0.113.9", "203.0.113.9"),
        ("X-Forwarded-For", "not an address", "127.0.0.1"),
        ("Forwarded", "for=203.0.113.9;proto=https, for=10.0.0.1", "203.0.113.9"),
        ("Forwarded", "for=\"[2001:db8::9]:4711\"", "2001:db8::9"),
    ] {
        eventually("the forwarded address", || async {
            let mut socket = app.connect_raw(&app.sign(json!({})), &[(header, value)]).await;
            let welcome: Value = serde_json::from_slice(&socket.expect_frame().await.payload).unwrap();
            (welcome["data"]["connection"]["remoteAddress"] == expected).then_some(())
        })
        .await;
    }
    // An unlisted proxy is believed nothing.
    server.change_settings(|settings| settings["trustedProxies"] = json!([])).await;
    eventually("the socket's address", || async {
        let mut socket = app.connect_raw(&app.sign(json!({})), &[("X-Forwarded-For", "203.0.113.9")]).await;
        let welcome: Value = serde_json::from_slice(&socket.expect_frame().await.payload).unwrap();
        (welcome["data"]["connection"]["remoteAddress"] == "127.0.0.1").then_some(())
    })
    .await;
}
