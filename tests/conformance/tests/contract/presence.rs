//! 3: presence for every way in which a connection ends, in order.

use realtime_testkit::raw::{BINARY, FIN, PING, TEXT, encode};
use realtime_testkit::{Client, RawSocket, Server, TestApp, unix_now};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::{CONNECTIONS, PUBLISH, READ};

async fn backend(app: &TestApp) -> Client {
    let mut backend = app.connect("backend", &[READ]).await;
    backend.subscribe("secure/inbound").await;
    backend
}

/// The next event of presence: whose it is, and its status.
async fn presence(backend: &mut Client) -> (String, String) {
    let data = backend.expect("secure/inbound", "presence").await;
    let (id, status) = (&data["client"]["connectionId"], &data["payload"]["status"]);
    (id.as_str().unwrap().to_owned(), status.as_str().unwrap().to_owned())
}

/// One connection comes, and is gone.
async fn assert_came_and_went(backend: &mut Client, how: &str) {
    let (came, connected) = presence(backend).await;
    let (went, disconnected) = presence(backend).await;
    assert_eq!((connected.as_str(), disconnected.as_str()), ("connected", "disconnected"), "{how}");
    assert_eq!(came, went, "{how}");
}

async fn raw(app: &TestApp) -> RawSocket {
    let mut socket = app.connect_raw(&app.token("raw", &[]), &[]).await;
    socket.expect_frame().await;
    socket
}

#[tokio::test]
async fn a_client_that_closes_breaks_off_or_only_stops_writing_is_gone() {
    let server = Server::start().await;
    let app = server.app().set("enableWebSocketInboundTopic", true).create().await;
    let mut backend = backend(&app).await;
    app.connect("a", &[]).await.close().await;
    assert_came_and_went(&mut backend, "closed").await;
    drop(raw(&app).await);
    assert_came_and_went(&mut backend, "broken").await;
    let mut half = raw(&app).await;
    half.stream.shutdown().await.unwrap();
    assert_came_and_went(&mut backend, "half closed").await;
    // In the middle of a frame.
    let mut cut = raw(&app).await;
    cut.write(&encode(FIN | TEXT, br#"{"type":"subscribe","data":{"topic":"t"}}"#)[..20]).await;
    drop(cut);
    assert_came_and_went(&mut backend, "cut off").await;
}

#[tokio::test]
async fn a_client_that_the_server_closes_is_gone() {
    let server = Server::start().await;
    let app = server
        .app()
        .set("enableWebSocketInboundTopic", true)
        .set("refusedSubscriptionPolicy", "close")
        .set("disconnectOnTokenExpiry", true)
        .create()
        .await;
    let mut backend = backend(&app).await;
    let secure = json!({"type": "subscribe", "data": {"topic": "secure/x"}}).to_string();
    for (code, frame) in [
        (1002, encode(PING, b"")),
        (1007, encode(FIN | TEXT, b"\xff")),
        (1008, encode(FIN | BINARY, b"hello")),
        (1008, encode(FIN | TEXT, secure.as_bytes())),
        (1009, encode(FIN | TEXT, &[b' '; 5121])),
    ] {
        let mut socket = raw(&app).await;
        socket.write(&frame).await;
        assert_eq!(socket.expect_close().await.0, code);
        assert_came_and_went(&mut backend, &code.to_string()).await;
    }
    let mut closed = app.connect("a", &[]).await;
    let path = format!("/api/connections/{}/{}", app.id(), closed.id());
    app.api(&[CONNECTIONS], "DELETE", &path).send().await.expect(204);
    assert_eq!(closed.expect_close().await.0, 4003);
    assert_came_and_went(&mut backend, "4003").await;
    // Within the leeway it opens, and its time is over.
    let mut expired = app.connect_with(&app.sign(json!({"exp": unix_now() - 2})), "").await;
    assert_eq!(expired.expect_close().await, (4001, "Token expired".into()));
    assert_came_and_went(&mut backend, "4001").await;
}

#[tokio::test]
async fn a_replaced_connection_is_gone_before_the_next_one_comes() {
    let server = Server::start().await;
    let inbound = server.app().set("enableWebSocketInboundTopic", true);
    let app = inbound.set("connectionLimitPolicy", "replace").create().await;
    let mut backend = backend(&app).await;
    let mut last = app.connect("alice", &[]).await;
    assert_eq!(presence(&mut backend).await, (last.id().into(), "connected".into()));
    for _ in 0..3 {
        let next = app.connect("alice", &[]).await;
        assert_eq!(last.expect_close().await.0, 4009);
        assert_eq!(presence(&mut backend).await, (last.id().into(), "disconnected".into()));
        assert_eq!(presence(&mut backend).await, (next.id().into(), "connected".into()));
        last = next;
    }
}

/// A connection that never becomes a session has no presence; the dead holder's place is told free first.
#[tokio::test]
async fn who_is_refused_for_its_subject_never_came_and_a_dead_holder_is_gone_first() {
    let server = Server::start().await;
    let app = server.app().set("enableWebSocketInboundTopic", true).create().await;
    let mut backend = backend(&app).await;
    let alive = app.connect("alive", &[]).await;
    assert_eq!(presence(&mut backend).await, (alive.id().into(), "connected".into()));
    let path = app.path(&app.token("alive", &[]));
    let mut refused = Client::open_unwelcomed(app.address(), &path).await;
    assert_eq!(refused.expect_close().await.0, 4009);
    let mut dead = app.connect_raw(&app.token("dead", &[]), &[]).await;
    dead.expect_frame().await;
    let (held, connected) = presence(&mut backend).await;
    assert_eq!(connected, "connected", "nothing of the refused one before");
    let next = app.connect("dead", &[]).await;
    assert_eq!(presence(&mut backend).await, (held, "disconnected".into()));
    assert_eq!(presence(&mut backend).await, (next.id().into(), "connected".into()));
    backend.expect_nothing().await;
}

/// Presence comes before everything that the client has sent, its end after.
#[tokio::test]
async fn a_clients_messages_come_between_its_coming_and_its_going() {
    let server = Server::start().await;
    let app = server.app().set("enableWebSocketInboundTopic", true).create().await;
    let mut backend = backend(&app).await;
    for round in 0..5 {
        let mut client = app.connect("alice", &[]).await;
        for n in 0..5 {
            client.send("message", json!({"payload": [round, n]})).await;
        }
        client.close().await;
        assert_eq!(presence(&mut backend).await.1, "connected");
        for n in 0..5 {
            let data = backend.expect("secure/inbound", "broadcast").await;
            assert_eq!(data["payload"], json!([round, n]));
        }
        assert_eq!(presence(&mut backend).await.1, "disconnected");
    }
}

/// Nobody asked for presence, so nobody gets an ack or an error for it, nor for its own coming.
#[tokio::test]
async fn presence_is_plain_text_and_never_acked() {
    let server = Server::start().await;
    let inbound = server.app().set("enableWebSocketInboundTopic", true);
    let app = inbound.set("clientInboundAckEnabled", true).create().await;
    let mut backend = backend(&app).await;
    let mut client = app.connect("alice", &[PUBLISH]).await;
    let frame = backend.frame().await;
    assert!(!frame.binary);
    assert_eq!(frame.message_type(), "presence");
    client.expect_nothing().await;
    backend.expect_nothing().await;
    // A publish that names the topic's type is refused, and reaches nobody.
    let forged: Value = json!({"topic": "secure/inbound", "payload": "x", "messageType": "presence"});
    client.send("publish", forged).await;
    client.expect("priv/errors", "error").await;
    backend.expect_nothing().await;
}
