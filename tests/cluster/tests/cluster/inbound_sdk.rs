//! The Rust SDK as the consumer of a whole cluster whose nodes come and go.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use realtime_client::inbound::Event;
use realtime_client::{Inbound, InboundOptions};
use realtime_testkit::server::OPERATOR_TOKEN;
use realtime_testkit::{Client, within};
use serde_json::json;
use tokio::sync::watch;

use crate::inbound::{all_acked, builder, streamed};

/// Messages of each client that are on their way at a time.
const AT_A_TIME: usize = 25;

/// Where the consumer is, and the messages that it has accepted.
struct Consuming {
    server: watch::Receiver<String>,
    seen: Arc<Mutex<BTreeSet<String>>>,
}

/// Accepts everything until the test ends.
async fn consume(mut inbound: Inbound, server: watch::Sender<String>, seen: Arc<Mutex<BTreeSet<String>>>) {
    loop {
        let delivery = inbound.next().await.expect("nothing is final");
        server.send_replace(inbound.ready().await.expect("nothing is final").server);
        if let Event::Message(message) = &delivery.event {
            seen.lock().unwrap().insert(message.id.clone());
        }
        delivery.accept();
    }
}

/// Sends messages of every client, does something, and waits for all acks: none may be missing, and what is acked was
/// seen.
async fn send_around(clients: &mut [Client], consuming: &Consuming, round: &str, act: impl FnOnce()) {
    let id = |client: usize, number: usize| format!("{round}-{client}-{number}");
    for (client, socket) in clients.iter_mut().enumerate() {
        for number in 0..AT_A_TIME {
            socket.send("message", json!({"payload": "hello", "id": id(client, number)})).await;
        }
    }
    act();
    for (client, socket) in clients.iter_mut().enumerate() {
        let ids: BTreeSet<_> = (0..AT_A_TIME).map(|number| id(client, number)).collect();
        all_acked(socket, ids.clone()).await;
        assert!(consuming.seen.lock().unwrap().is_superset(&ids));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_goes_on_at_another_node_and_every_message_is_acked_and_seen() {
    let mut cluster = builder().start().await;
    let app = streamed(&cluster).await;
    let addresses: Vec<_> =
        cluster.nodes.iter().map(|node| format!("http://{}", node.grpc_listen())).collect();
    // A small window: most messages wait at the clients' node while the consumer changes.
    let options = InboundOptions::new(addresses.clone(), app.id(), OPERATOR_TOKEN).max_unanswered(8);
    let mut inbound = Inbound::connect(options).unwrap();
    let ready = within("a stream", inbound.ready()).await.unwrap();
    assert_eq!((ready.server, ready.nodes), (addresses[0].clone(), 3));
    let (server, followed) = watch::channel(String::new());
    let consuming = Consuming { server: followed, seen: Arc::default() };
    let task = tokio::spawn(consume(inbound, server, Arc::clone(&consuming.seen)));
    let mut clients = Vec::new();
    for number in 0..4 {
        clients.push(app.at(&cluster.nodes[2]).connect(&format!("client-{number}"), &[]).await);
    }
    send_around(&mut clients, &consuming, "quiet", || {}).await;
    assert_eq!(*consuming.server.borrow(), addresses[0]);
    // One that dies, and one that is stopped.
    send_around(&mut clients, &consuming, "killed", || cluster.nodes[0].kill()).await;
    assert_eq!(*consuming.server.borrow(), addresses[1]);
    send_around(&mut clients, &consuming, "stopped", || cluster.nodes[1].terminate()).await;
    send_around(&mut clients, &consuming, "after", || {}).await;
    assert_eq!(*consuming.server.borrow(), addresses[2]);
    assert_eq!(consuming.seen.lock().unwrap().len(), 4 * clients.len() * AT_A_TIME);
    assert!(!task.is_finished());
    task.abort();
}
