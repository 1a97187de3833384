//! More frames than anybody asked for.

use realtime_testkit::raw::{FIN, PING, PONG, RawSocket, TEXT, encode};
use realtime_testkit::{Server, TestApp, eventually_equal};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::PUBLISH;
use crate::measure::{Neighbour, frugal_server, three_times};

/// A session whose kernel buffers what the client does not read as little as it can.
pub(crate) async fn narrow(app: &TestApp, token: &str) -> RawSocket<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(app.address().parse().unwrap()).await.unwrap();
    let mut socket = RawSocket::upgrade(stream, &app.path(token), &[]).await.unwrap();
    socket.expect_frame().await;
    socket
}

/// Writes the same again and again, reading nothing, until the server ends the connection; meanwhile what the server
/// keeps for it stays below `limits.maxUnsentBytes` and what one read of 64 KiB may bring on top.
async fn flood_unread(server: &Server, mut socket: RawSocket<TcpStream>, bytes: Vec<u8>) {
    let flood = tokio::spawn(async move { while socket.stream.write_all(&bytes).await.is_ok() {} });
    let mut most = 0;
    while !flood.is_finished() {
        most = most.max(server.metric("realtime_unsent_bytes").await);
    }
    flood.await.unwrap();
    assert!(most <= 65_536 + 2 * 65_536, "{most} bytes were kept");
}

/// 2.6: pongs that are not read count like everything else that the socket does not take.
#[tokio::test]
async fn pings_whose_answers_are_not_read_end_in_4008() {
    let server = frugal_server().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    for (payload, frames) in [(&[b'p'; 125][..], 500), (&[][..], 5000)] {
        let closed = server.metric("realtime_slow_consumers_total").await;
        three_times(&server, async |_| {
            let socket = narrow(&app, &app.sign(json!({}))).await;
            flood_unread(&server, socket, encode(FIN | PING, payload).repeat(frames)).await;
            neighbour.is_served().await;
        })
        .await;
        assert_eq!(server.metric("realtime_slow_consumers_total").await, closed + 3);
    }
}

#[tokio::test]
async fn pings_whose_answers_are_read_are_all_answered_in_order() {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut socket = app.connect_raw(&app.sign(json!({})), &[]).await;
    socket.expect_frame().await;
    for batch in 0..20u16 {
        let mut bytes = Vec::new();
        for n in 0..500u16 {
            bytes.extend(encode(FIN | PING, &(batch * 500 + n).to_be_bytes()));
        }
        socket.write(&bytes).await;
        for n in 0..500u16 {
            let pong = socket.expect_frame().await;
            assert_eq!(
                (pong.first_byte, pong.payload),
                (FIN | PONG, (batch * 500 + n).to_be_bytes().to_vec())
            );
        }
    }
}

#[tokio::test]
async fn pongs_that_nobody_asked_for_are_taken_and_forgotten() {
    let server = frugal_server().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    three_times(&server, async |_| {
        let mut socket = app.connect_raw(&app.sign(json!({})), &[]).await;
        socket.expect_frame().await;
        let pongs = encode(FIN | PONG, b"unasked").repeat(1000);
        for _ in 0..50 {
            socket.write(&pongs).await;
        }
        neighbour.is_served().await;
        socket.write_frame(FIN | PING, b"there?").await;
        assert_eq!(socket.expect_frame().await.payload, b"there?");
    })
    .await;
}

/// 6: what is over the rate is refused one by one, however much it is; the session stays.
#[tokio::test]
async fn a_flood_of_publishes_over_the_rate_is_refused_frame_by_frame() {
    const COUNT: usize = 5000;
    let server = Server::start().await;
    let app = server.app().create().await;
    let mut neighbour = Neighbour::of(&server).await;
    let mut socket = app.connect_raw(&app.token("flooding", &[PUBLISH]), &[]).await;
    socket.expect_frame().await;
    socket.write_text(r#"{"type":"subscribe","data":{"topic":"t"}}"#).await;
    socket.expect_frame().await;
    let publish = encode(FIN | TEXT, br#"{"type":"publish","data":{"topic":"t","payload":"x"}}"#);
    let (mut published, mut refused) = (0, 0);
    for _ in 0..COUNT / 100 {
        socket.write(&publish.repeat(100)).await;
        for _ in 0..100 {
            let frame = String::from_utf8(socket.expect_frame().await.payload).unwrap();
            let limited = frame.contains(r#""code":"rate_limited""#);
            published += usize::from(frame.contains(r#""messageType":"broadcast""#));
            refused += usize::from(limited);
        }
    }
    assert_eq!(published + refused, COUNT);
    assert!(refused > COUNT / 2, "{published} passed");
    neighbour.is_served().await;
}

#[tokio::test]
async fn refusals_that_are_not_read_end_in_4008() {
    let server = frugal_server().await;
    let app = server.app().create().await;
    let mut neighbour = Neighbour::of(&server).await;
    three_times(&server, async |_| {
        let socket = narrow(&app, &app.sign(json!({}))).await;
        let refused = encode(FIN | TEXT, br#"{"type":"publish","data":{"topic":"t","payload":"x"}}"#);
        flood_unread(&server, socket, refused.repeat(500)).await;
        neighbour.is_served().await;
    })
    .await;
    assert_eq!(server.metric("realtime_slow_consumers_total").await, 3);
}

/// A topic's flood is bounded at each subscriber by what it reads; the rest of the server goes on.
#[tokio::test]
async fn a_publisher_without_a_rate_limit_does_not_starve_other_apps() {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    let mut flooding = app.connect_raw(&app.token("flooding", &[PUBLISH]), &[]).await;
    flooding.expect_frame().await;
    let frame =
        encode(FIN | TEXT, br#"{"type":"publish","data":{"topic":"nobody","payload":"x"}}"#).repeat(1000);
    let flood = tokio::spawn(async move {
        for _ in 0..50 {
            flooding.write(&frame).await;
        }
        flooding
    });
    while !flood.is_finished() {
        neighbour.is_served().await;
    }
    drop(flood.await.unwrap());
    eventually_equal("the publishes", 50_000 + neighbour.sent(), async || {
        server.metric("realtime_publishes_total").await
    })
    .await;
}
