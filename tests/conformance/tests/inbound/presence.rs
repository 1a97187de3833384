//! Presence in a queue, for every way in which a connection ends; each connection's messages come between its coming and
//! its going.

use std::time::Duration;

use realtime_testkit::{Client, RawSocket, TestApp, eventually, unix_now};
use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};

use crate::world::{World, acked, message, status, told};
use crate::{CONNECTIONS, PUBLISH};

/// The least that the settings allow.
const IDLE: Duration = Duration::from_secs(2);

/// A session whose bytes the test reads itself; its id.
async fn raw(app: &TestApp) -> (RawSocket<TcpStream>, String) {
    let socket = TcpSocket::new_v4().unwrap();
    // So that what is not read fills it soon.
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(app.address().parse().unwrap()).await.unwrap();
    let mut socket = RawSocket::upgrade(stream, &app.path(&app.sign(json!({}))), &[]).await.unwrap();
    let welcome: serde_json::Value = serde_json::from_slice(&socket.expect_frame().await.payload).unwrap();
    let id = welcome["data"]["connection"]["id"].as_str().unwrap().to_owned();
    (socket, id)
}

/// Sends two messages.
async fn two(client: &mut Client) {
    for id in ["1", "2"] {
        message(client, id).await;
    }
    for id in ["1", "2"] {
        acked(client, id).await;
    }
}

/// The same, and reads nothing.
async fn two_raw(socket: &mut RawSocket<TcpStream>) {
    for id in ["1", "2"] {
        socket.write_text(&format!(r#"{{"type":"message","data":{{"payload":"x","id":"{id}"}}}}"#)).await;
    }
}

/// Connections that end in every way that takes no time, and how.
async fn endings(app: &TestApp) -> Vec<(&'static str, String)> {
    let mut ended = Vec::new();
    let mut alice = app.connect("alice", &[]).await;
    two(&mut alice).await;
    ended.push(("closed by the client", alice.id().to_owned()));
    alice.close().await;

    let (mut read, id) = raw(app).await;
    two_raw(&mut read).await;
    for _ in 0..2 {
        read.expect_frame().await;
    }
    ended.push(("its process is gone", id));
    drop(read);
    // The kernel resets a connection that is closed with something unread.
    let (mut unread, id) = raw(app).await;
    two_raw(&mut unread).await;
    ended.push(("its process is gone with answers unread", id));
    drop(unread);

    let mut killed = app.connect("killed", &[]).await;
    two(&mut killed).await;
    let path = format!("/api/connections/{}/{}", app.id(), killed.id());
    app.api(&[CONNECTIONS], "DELETE", &path).send().await.expect(204);
    assert_eq!(killed.expect_close().await.0, 4003);
    ended.push(("4003", killed.id().to_owned()));

    let mut first = app.connect("twice", &[]).await;
    two(&mut first).await;
    let mut second = app.connect("twice", &[]).await;
    assert_eq!(first.expect_close().await.0, 4009);
    ended.push(("4009", first.id().to_owned()));
    two(&mut second).await;
    second.send_text("hello").await;
    assert_eq!(second.expect_close().await.0, 1008);
    ended.push(("1008", second.id().to_owned()));
    ended
}

/// A connection that does not read is closed with 4008.
async fn slow_consumer(world: &World, app: &TestApp) -> String {
    let (mut slow, id) = raw(app).await;
    two_raw(&mut slow).await;
    slow.write_text(r#"{"type":"subscribe","data":{"topic":"flood"}}"#).await;
    let mut publisher = app.connect("publisher", &[PUBLISH]).await;
    publisher.subscribe("flood").await;
    let before = world.server.metric("realtime_slow_consumers_total").await;
    while world.server.metric("realtime_slow_consumers_total").await == before {
        for n in 0..16 {
            publisher
                .send("publish", json!({"topic": "flood", "payload": "x".repeat(4000), "id": n.to_string()}))
                .await;
        }
        for _ in 0..32 {
            publisher.frame().await;
        }
    }
    id
}

#[tokio::test]
async fn every_way_in_which_a_connection_ends_is_told_after_its_messages() {
    let Some(mut world) = World::with(crate::world::builder().args(&["--drain-seconds", "1"])).await else {
        return;
    };
    let url = world.backend.new_fifo_queue().await;
    let app = world.app(&url).set("connectionLimitPolicy", "replace").set("disconnectOnTokenExpiry", true);
    let app = app.create().await;
    let mut ended = endings(&app).await;
    ended.push(("4008", slow_consumer(&world, &app).await));
    // Within the leeway it opens, and its time is over.
    let mut expired = app.connect_with(&app.sign(json!({"exp": unix_now() - 2})), "").await;
    assert_eq!(expired.expect_close().await.0, 4001);
    let expired = expired.id().to_owned();

    world.server.change_settings(|all| all["limits"]["idleTimeoutSeconds"] = json!(IDLE.as_secs())).await;
    let (mut silent, id) = raw(&app).await;
    two_raw(&mut silent).await;
    assert_eq!(silent.expect_close().await.0, 4010);
    ended.push(("4010", id));

    let mut last = app.connect("last", &[]).await;
    two(&mut last).await;
    world.server.terminate();
    assert_eq!(last.expect_close().await.0, 1001);
    ended.push(("1001", last.id().to_owned()));
    assert!(world.server.exit_status().await.success());

    let received = world.backend.receive_all(&url).await;
    for (how, id) in ended {
        assert_eq!(told(&received, &id), ["connected", "1", "2", "disconnected"], "{how}");
    }
    assert_eq!(told(&received, &expired), ["connected", "disconnected"], "4001");
}

#[tokio::test]
async fn the_connections_of_an_application_that_is_disabled_or_deleted_are_told_to_have_ended() {
    let Some(world) = World::start().await else { return };
    for delete in [false, true] {
        let url = world.backend.new_fifo_queue().await;
        let app = world.app(&url).create().await;
        let mut clients = Vec::new();
        for n in 0..10 {
            clients.push(app.connect(&format!("client-{n}"), &[]).await);
        }
        two(&mut clients[0]).await;
        match delete {
            true => app.delete().await,
            false => drop(app.patch(&json!({"enabled": false})).await),
        }
        for client in &mut clients {
            assert_eq!(client.expect_close().await.0, 4004);
        }
        let received = world.backend.receive_some(&url, 2 * clients.len() + 2).await;
        assert_eq!(told(&received, clients[0].id()), ["connected", "1", "2", "disconnected"]);
        for client in &clients[1..] {
            assert_eq!(told(&received, client.id()), ["connected", "disconnected"], "deleted: {delete}");
        }
        if !delete {
            app.patch(&json!({"enabled": true})).await;
            let mut again = eventually("an application that is on again", async || {
                let path = app.path(&app.token("again", &[]));
                RawSocket::open(app.address(), &path, &[]).await.ok()
            })
            .await;
            again.expect_frame().await;
            drop(again);
            let received = world.backend.receive_some(&url, 2).await;
            let statuses: Vec<_> = received.iter().filter_map(status).collect();
            assert_eq!(statuses, ["connected", "disconnected"], "in its next life");
        }
    }
}
