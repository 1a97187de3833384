//! How long a change of configuration takes to be in force, as its user sees it. A measurement, not a test: prints
//! percentiles over the changes, for each number of applications, and asserts nothing.
//!
//! ```sh
//! cargo build --release --workspace --bins --examples
//! REALTIME_BIN=target/release/realtime target/release/examples/change_latency 300 1 1000 10000
//! ```
//!
//! Arguments: changes of each kind, then the numbers of applications.

#![allow(clippy::unwrap_used, reason = "a measurement that fails reports by panicking")]

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use realtime_proto::generated::admin::PatchAppRequest;
use realtime_proto::generated::admin::apps_client::AppsClient;
use realtime_testkit::server::OPERATOR_TOKEN;
use realtime_testkit::{Client, Request, Server, TestApp};
use serde_json::{Value, json};
use tonic::transport::Channel;

/// Applications that are created at a time: they share transactions of the store.
const CREATING: usize = 64;

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse().expect("a number"));
    let changes = numbers.next().unwrap_or(200);
    let sizes: Vec<usize> = numbers.collect();
    println!("milliseconds                                            p50    p90    p99    max   changes");
    for apps in if sizes.is_empty() { vec![1] } else { sizes } {
        measure(apps, changes).await;
    }
}

/// One server with so many applications, one of which is changed.
async fn measure(apps: usize, changes: usize) {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let others = stream::iter(1..apps).map(|n| another(&server, n));
    others.buffer_unordered(CREATING).collect::<Vec<()>>().await;
    let mut grpc = AppsClient::connect(format!("http://{}", server.grpc_listen())).await.expect("gRPC");

    let mut times = Vec::new();
    for n in 0..changes {
        let started = Instant::now();
        app.patch(&json!({"description": n.to_string()})).await;
        times.push(started.elapsed());
    }
    report(apps, "PATCH over HTTP to its answer", &mut times);

    let mut session = app.connect("session", &[]).await;
    let (mut to_answer, mut from_answer) = (Vec::new(), Vec::new());
    for n in 0..changes {
        let on = n % 2 == 0;
        let started = Instant::now();
        patch(&mut grpc, &app, &json!({"enableWebSocketInboundTopic": on, "clientInboundAckEnabled": on}))
            .await;
        to_answer.push(started.elapsed());
        let stored = Instant::now();
        while answers_with_an_ack(&mut session).await != on {}
        from_answer.push(stored.elapsed());
    }
    report(apps, "Patch over gRPC to its answer (stored)", &mut to_answer);
    report(apps, "from there to an open session's effect", &mut from_answer);

    let (mut closed, mut opened) = (Vec::new(), Vec::new());
    for _ in 0..changes {
        let started = Instant::now();
        patch(&mut grpc, &app, &json!({"enabled": false})).await;
        let (code, _) = session.drain_to_close().await;
        assert_eq!(code, 4004);
        closed.push(started.elapsed());
        let started = Instant::now();
        patch(&mut grpc, &app, &json!({"enabled": true})).await;
        session = reopened(&app).await;
        opened.push(started.elapsed());
    }
    report(apps, "disabling, sent to 4004 received", &mut closed);
    report(apps, "enabling, sent to a session's welcome", &mut opened);

    let mut settings = Vec::new();
    for n in 0..changes {
        let started = Instant::now();
        server.change_settings(|document| document["telemetryRetentionDays"] = json!(1 + n % 2)).await;
        settings.push(started.elapsed());
    }
    report(apps, "settings, GET and PUT to the answer", &mut settings);
}

async fn another(server: &Server, n: usize) {
    let key = json!({"source": "raw", "key": format!("secret of {n}"), "algorithms": ["HS256"]});
    let document =
        json!({"appId": format!("app-{n}"), "name": format!("app {n}"), "authKey": key, "adminKey": key});
    let request = Request::new(server.listen(), "POST", "/api/apps").token(OPERATOR_TOKEN);
    let created = request.json(&document).send().await;
    assert_eq!(created.status, 201, "{}", created.text());
}

async fn patch(grpc: &mut AppsClient<Channel>, app: &TestApp, change: &Value) {
    let patch_json = change.to_string().into();
    let mut request =
        tonic::Request::new(PatchAppRequest { app_id: app.id().to_owned(), patch_json, if_version: 0 });
    let bearer = format!("Bearer {OPERATOR_TOKEN}").parse().expect("a header");
    request.metadata_mut().insert("authorization", bearer);
    grpc.patch(request).await.expect("the change");
}

/// Sends a message: acked while inbound messaging is on, else refused.
async fn answers_with_an_ack(session: &mut Client) -> bool {
    session.send("message", json!({"payload": "x"})).await;
    session.frame().await.message_type() == "ack"
}

/// A session as soon as the application takes one.
async fn reopened(app: &TestApp) -> Client {
    let path = app.path(&app.token("session", &[]));
    while realtime_testkit::RawSocket::open(app.address(), &path, &[]).await.is_err() {}
    Client::open(app.address(), &app.path(&app.token("another", &[]))).await
}

fn report(apps: usize, what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let ms = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!(
        "{apps:>6} apps, {what:<38} {:>6.1} {:>6.1} {:>6.1} {:>6.1}   {}",
        ms(0.5),
        ms(0.9),
        ms(0.99),
        ms(1.0),
        times.len()
    );
}
