//! More messages than a target takes.

use std::time::Duration;

use realtime_testkit::raw::{FIN, TEXT, decode, encode};
use realtime_testkit::{Fault, FaultProxy, RawSocket, TestApp, unix_now, within};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::neighbour::{Neighbour, median};
use crate::world::{World, sqs_error};

/// What may wait for one target.
const WAITING: usize = 10_000;
/// What comes besides.
const MORE: usize = 20_000;
/// Each that waits is a body of 200 bytes, 512 for its entry, its task and its place in the shard's list.
const MOST_GROWTH: u64 = 48 << 20;

/// How many of each answer a client has heard.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Heard {
    full: usize,
    denied: usize,
}

impl Heard {
    fn add(&mut self, payload: &[u8]) {
        let text = std::str::from_utf8(payload).unwrap();
        assert!(text.contains(r#""code":"forward_failed""#), "{text}");
        match text {
            _ if text.contains("too many messages wait for this target") => self.full += 1,
            _ if text.contains("the credentials may not send to this target") => self.denied += 1,
            _ => panic!("{text}"),
        }
    }
}

/// Sends all this without waiting for any answer, and says what it hears.
async fn flood(app: &TestApp, messages: usize) -> watch::Receiver<Heard> {
    let token = app.sign(json!({"sub": "flood", "exp": unix_now() + 600}));
    let stream = TcpStream::connect(app.address()).await.unwrap();
    let mut socket = RawSocket::upgrade(stream, &app.path(&token), &[]).await.unwrap();
    socket.expect_frame().await;
    let (mut reading, mut writing) = socket.stream.into_split();
    let one = encode(FIN | TEXT, br#"{"type":"message","data":{"payload":"flood"}}"#);
    tokio::spawn(async move {
        writing.write_all(&one.repeat(messages)).await.unwrap();
        // Open until the server is gone.
        std::future::pending::<()>().await;
    });
    let (tell, heard) = watch::channel(Heard::default());
    tokio::spawn(async move {
        let mut bytes = Vec::new();
        while reading.read_buf(&mut bytes).await.is_ok_and(|n| n > 0) {
            let (mut all, mut used) = (tell.borrow().clone(), 0);
            while let Some((frame, length)) = decode(&bytes[used..]) {
                used += length;
                if frame.opcode() == TEXT {
                    all.add(&frame.payload);
                }
            }
            bytes.drain(..used);
            tell.send_replace(all);
        }
    });
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_at_a_target_that_takes_nothing_is_refused_and_costs_others_nothing() {
    let Some(world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    let proxy = FaultProxy::to(world.moto.address()).await;
    proxy.meets(Fault::Hold);
    let app = world.app_over(&url, &proxy.url()).create().await;
    let other = world.app(&world.backend.new_queue().await).create().await;
    let (neighbour, begin) = (Neighbour::start(&other).await, Instant::now());
    neighbour.is_served(30).await;
    let (quiet, before) = (Instant::now(), world.server.resident_bytes());
    // The client's own presence waits, too.
    let mut heard = flood(&app, WAITING - 1 + MORE).await;
    let due = Heard { full: MORE, denied: 0 };
    within("the refusals", heard.wait_for(|heard| *heard == due)).await.unwrap();
    let grown = world.server.resident_bytes().saturating_sub(before);
    assert!(grown < MOST_GROWTH, "{grown} bytes for {WAITING} messages that wait");
    // Refused for good: what waits is told, and more is refused at once.
    proxy.meets(sqs_error("400 Bad Request", "AccessDenied", ""));
    let due = Heard { full: MORE, denied: WAITING - 1 };
    within("the failures", heard.wait_for(|heard| *heard == due)).await.unwrap();
    let end = Instant::now();
    let (publishes, messages) = neighbour.stop().await;
    for (what, times) in [("publish", &publishes), ("message", &messages)] {
        let (quiet, flooded) = (median(times, begin, quiet), median(times, quiet, end));
        assert!(
            flooded < 3 * quiet + Duration::from_millis(50),
            "a neighbour's {what}: {quiet:?}, {flooded:?}"
        );
    }
}
