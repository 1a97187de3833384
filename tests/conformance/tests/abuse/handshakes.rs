//! Connections that begin to speak HTTP and do not go on.

use std::time::Duration;

use realtime_testkit::{Server, eventually_equal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::crowd::{connect_from, crowd, read_to_end, reserve_sockets};
use crate::measure::{Neighbour, frugal_server, three_times};

/// The server's time for the headers of a request (docs/configuration.md).
const HEADERS_WITHIN: Duration = Duration::from_secs(30);

/// Beginnings of requests, the empty one included.
const BEGUN: [&str; 4] = [
    "",
    "GET /apps/x?access_token=",
    "GET /apps/x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n",
    "POST /api/topics/x/publish HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-Never: end",
];

async fn begin(address: String, n: usize) -> TcpStream {
    let mut stream = connect_from(&address, 1).await;
    stream.write_all(BEGUN[n % BEGUN.len()].as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn handshakes_that_never_finish_hold_up_nobody_and_leave_nothing() {
    const COUNT: usize = 1500;
    let _sockets = reserve_sockets(COUNT).await;
    let server = frugal_server().await;
    let mut neighbour = Neighbour::of(&server).await;
    three_times(&server, async |_| {
        let begun = crowd(COUNT, |n| begin(server.listen().to_owned(), n)).await;
        neighbour.may_come().await;
        eventually_equal("the unfinished handshakes", COUNT as u64, async || {
            server.metric("realtime_http_connections").await
        })
        .await;
        drop(begun);
    })
    .await;
}

/// A head that comes byte by byte has the same time as one that does not come.
#[tokio::test]
async fn headers_that_drip_are_cut_off_after_their_time() {
    let server = Server::start().await;
    let mut neighbour = Neighbour::of(&server).await;
    let started = Instant::now();
    let dripping = crowd(50, |_| {
        let address = server.listen().to_owned();
        async move { connect_from(&address, 1).await }
    })
    .await;
    let dripping = dripping.into_iter().map(|stream| tokio::spawn(drip(stream, started)));
    for dripping in dripping.collect::<Vec<_>>() {
        let lived = dripping.await.unwrap();
        assert!(lived >= HEADERS_WITHIN.mul_f32(0.9), "cut off after {lived:?}");
        assert!(lived <= HEADERS_WITHIN.mul_f32(2.0), "cut off after {lived:?}");
    }
    neighbour.may_come().await;
    eventually_equal("HTTP connections", 0, async || server.metric("realtime_http_connections").await).await;
}

/// Sends a byte at a time until the server has had enough; returns for how long it listened.
async fn drip(mut stream: TcpStream, started: Instant) -> Duration {
    let head = format!("GET /api/health/status HTTP/1.1\r\nHost: h\r\nX-Long: {}", "x".repeat(8000));
    let mut pace = interval(Duration::from_millis(100));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut reader, mut writer) = stream.split();
    let mut byte = [0];
    let dripping = async {
        for piece in head.as_bytes().chunks(1) {
            pace.tick().await;
            if writer.write_all(piece).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let cut = async {
        tokio::select! {
            // An end or a reset; an answer would be one byte.
            read = reader.read(&mut byte) => assert!(!matches!(read, Ok(1)), "an answer to half a request"),
            () = dripping => {}
        }
    };
    timeout(HEADERS_WITHIN * 3, cut).await.expect("the server has had enough at some time");
    started.elapsed()
}

/// What is no HTTP at all is told so where it can be, and cut off.
#[tokio::test]
async fn other_protocols_are_cut_off() {
    let server = Server::start().await;
    let hello: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let other: [&[u8]; 6] = [
        hello,
        b"\x00\x00\x00\x00",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\r\n\r\n\r\n\xff\xff\r\n\r\n",
        b"EHLO example.com\r\nMAIL FROM:<a@b>\r\n\r\n",
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    for bytes in other {
        let mut stream = connect_from(server.listen(), 1).await;
        stream.write_all(bytes).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 400 "), "{bytes:?}: {text}");
    }
    Neighbour::of(&server).await.may_come().await;
}
