//! 2.6: who does not read loses the connection; who reads loses nothing.

use std::time::Duration;

use realtime_testkit::raw::CLOSE;
use realtime_testkit::{Client, Server};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::PUBLISH;
use crate::crowd::connect_from;
use crate::floods::narrow;
use crate::measure::{Baseline, Neighbour, frugal_server, three_times};

/// Longer than a socket that takes bytes ever makes a writer wait.
const BLOCKED_AFTER: Duration = Duration::from_millis(500);

/// The `n`th message, padded to 4 KB.
fn message(n: u64) -> serde_json::Value {
    json!([n, "x".repeat(4000)])
}

async fn read_message(client: &mut Client, n: u64) {
    let got = client.expect("t", "broadcast").await;
    assert_eq!(got["payload"][0], n, "in order and without a gap");
}

#[tokio::test]
async fn slow_readers_are_closed_with_4008_and_fast_ones_get_everything() {
    const SLOW: u64 = 3;
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let baseline = Baseline::take(&server).await;
    let mut fast = Vec::new();
    for n in 0..4 {
        fast.push(app.connect(&format!("fast{n}"), &[PUBLISH]).await);
        fast[n].subscribe("t").await;
    }
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut socket = narrow(&app, &app.sign(json!({}))).await;
        socket.write_text(r#"{"type":"subscribe","data":{"topic":"t"}}"#).await;
        socket.expect_frame().await;
        slow.push(socket);
    }
    let mut sent = 0;
    let mut most = 0;
    while server.metric("realtime_slow_consumers_total").await < SLOW {
        for n in sent..sent + 16 {
            fast[0].publish("t", message(n)).await;
        }
        for client in &mut fast {
            for n in sent..sent + 16 {
                read_message(client, n).await;
            }
        }
        sent += 16;
        most = most.max(server.metric("realtime_unsent_bytes").await);
        assert!(sent < 20_000, "the slow are never closed");
    }
    assert!(most <= SLOW * (65_536 + 2 * 4200), "{most} bytes kept for {SLOW} slow readers");
    // What their sockets had taken is theirs, in order; then they are told why.
    for mut socket in slow {
        let mut next = 0;
        let close = loop {
            let frame = socket.read_frame().await.expect("a close frame, not the end of the connection");
            if frame.opcode() == CLOSE {
                break frame.close();
            }
            let json: serde_json::Value = serde_json::from_slice(&frame.payload).unwrap();
            assert_eq!(json["data"]["payload"][0], next);
            next += 1;
        };
        assert_eq!(close, (4008, "Slow consumer".into()));
        assert!(next < sent, "it was not slow");
    }
    drop(fast);
    baseline.returns(&server).await;
}

/// Answers of the HTTP API that are not read stop the reading of further requests.
#[tokio::test]
async fn answers_that_are_not_read_cost_no_more_than_buffers() {
    const COUNT: usize = 40;
    let server = frugal_server().await;
    let mut neighbour = Neighbour::of(&server).await;
    let request = "GET /api/health/status HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1000);
    let before = server.resident_bytes();
    three_times(&server, async |_| {
        let mut blocked = Vec::new();
        for _ in 0..COUNT {
            let (stream, request) = (connect_from(server.listen(), 1).await, request.clone());
            blocked.push(tokio::spawn(async move {
                let mut stream = stream;
                while timeout(BLOCKED_AFTER, stream.write_all(request.as_bytes())).await.is_ok() {}
                stream
            }));
        }
        let mut streams = Vec::new();
        for blocked in blocked {
            streams.push(blocked.await.unwrap());
        }
        neighbour.may_come().await;
        let held = server.resident_bytes().saturating_sub(before);
        assert!(held <= (COUNT * 3 * 128 * 1024) as u64 + (8 << 20), "{held} bytes for {COUNT} connections");
    })
    .await;
}
