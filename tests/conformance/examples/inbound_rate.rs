//! What a client's message to `secure/inbound` costs: clients send at a rate and get acks, consumers follow the topic.
//! A measurement, not a test: prints rate, acks' times and the server's CPU for each message. The server has core 0,
//! clients and consumers core 1.
//!
//! ```sh
//! cargo build --release --workspace --bin realtime --example inbound_rate
//! REALTIME_BIN=target/release/realtime target/release/examples/inbound_rate [MESSAGES A SECOND [CONSUMERS [SECONDS]]]
//! ```

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring program: a panic is the report")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use realtime_testkit::process::pin_to_core;
use realtime_testkit::raw::PING;
use realtime_testkit::{RawSocket, Server, TestApp};
use serde_json::json;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

const READ: &str = "realtime:subscriber:read:topic:secure/inbound";
/// Each sends a hundredth of the messages, and waits for each one's ack, which takes a fraction of its beat.
const CLIENTS: u32 = 100;
/// Of 128 bytes, as in the other measurements.
const PAYLOAD_BYTES: usize = 128;
/// For connections and caches to come up to speed.
const WARM_UP: Duration = Duration::from_secs(2);

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u32>().expect("a number"));
    let rate = arguments.next().unwrap_or(5000);
    let consumers = arguments.next().unwrap_or(10);
    let seconds = arguments.next().unwrap_or(10);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    // The server inherits the core of the thread that starts it.
    pin_to_core(0);
    let server = runtime.block_on(Server::start());
    pin_to_core(1);
    runtime.block_on(measure(&server, rate, consumers, Duration::from_secs(seconds.into())));
}

async fn measure(server: &Server, rate: u32, consumers: u32, time: Duration) {
    let app = server.app().set("tier", "unlimited").set("enableWebSocketInboundTopic", true);
    let app = app.set("clientInboundAckEnabled", true).create().await;
    let (received, times) = (Arc::new(AtomicU64::new(0)), Arc::new(Times::default()));
    let mut tasks = JoinSet::new();
    for n in 0..consumers {
        let mut socket = app.connect_raw(&app.token(&format!("consumer-{n}"), &[READ]), &[]).await;
        socket.expect_frame().await;
        socket.write_text(r#"{"type":"subscribe","data":{"topic":"secure/inbound"}}"#).await;
        tasks.spawn(consume(socket, Arc::clone(&received)));
    }
    for n in 0..CLIENTS {
        let socket = open(&app, n).await;
        tasks.spawn(send(socket, Duration::from_secs(1) * CLIENTS / rate, Arc::clone(&times)));
    }
    tokio::time::sleep(WARM_UP).await;
    times.lock().unwrap().clear();
    let (before, cpu, begin) = (received.load(Ordering::Relaxed), server.cpu_time(), Instant::now());
    tokio::time::sleep(time).await;
    let (cpu, elapsed) = (server.cpu_time() - cpu, begin.elapsed());
    let delivered = received.load(Ordering::Relaxed) - before;
    let mut times = std::mem::take(&mut *times.lock().unwrap());
    times.sort_unstable();
    let acked = times.len();
    let part = |hundredths: usize| times[(acked * hundredths / 100).min(acked - 1)];
    println!("{acked} messages acked, {:.0} a second", acked as f64 / elapsed.as_secs_f64());
    println!("{delivered} deliveries to {consumers} consumers");
    println!("from a message to its ack: p50 {:?}, p99 {:?}", part(50), part(99));
    println!("the server's CPU: {:.1} µs a message", cpu.as_secs_f64() * 1e6 / acked as f64);
    println!("                  {:.0} % of a core", cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0);
}

/// From a message to its ack.
type Times = Mutex<Vec<Duration>>;

async fn open(app: &TestApp, number: u32) -> RawSocket {
    let token = app.sign(json!({"sub": format!("client-{number}"), "permissions": []}));
    let mut socket = app.connect_raw(&token, &[]).await;
    socket.expect_frame().await;
    socket
}

/// Counts what comes.
async fn consume(mut socket: RawSocket, received: Arc<AtomicU64>) {
    while let Some(frame) = socket.next_frame().await {
        received.fetch_add(u64::from(frame.opcode() != PING), Ordering::Relaxed);
    }
}

/// Sends on the beat, and catches up where an ack was late.
async fn send(mut socket: RawSocket, pace: Duration, times: Arc<Times>) {
    let payload = "x".repeat(PAYLOAD_BYTES);
    let text = format!(r#"{{"type":"message","data":{{"payload":"{payload}","id":"1"}}}}"#);
    let mut beat = interval(pace);
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        beat.tick().await;
        let begin = Instant::now();
        socket.write_text(&text).await;
        let frame = socket.expect_frame().await;
        assert!(frame.payload.starts_with(br#"{"topic":"priv/acks""#));
        times.lock().unwrap().push(begin.elapsed());
    }
}
