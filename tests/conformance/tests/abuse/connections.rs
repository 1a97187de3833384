//! Connections in numbers.

use realtime_testkit::Request;
use realtime_testkit::raw::{CLOSE, RawSocket};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::crowd::{connect_from, crowd, reserve_sockets, session_from};
use crate::measure::{Neighbour, frugal_server, three_times};

/// Each time from another address, whose ports are all free; dropped in turn by a plain end and by a reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_sessions_come_and_go_three_times() {
    const COUNT: usize = 10_000;
    let _sockets = reserve_sockets(COUNT).await;
    let server = frugal_server().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    let token = app.sign(json!({"exp": realtime_testkit::unix_now() + 600}));
    let others = server.metric("realtime_sessions").await;
    three_times(&server, async |round| {
        let sockets = crowd(COUNT, |n| {
            let (address, path) = (app.address().to_owned(), app.path(&token));
            async move {
                let mut socket = session_from(&address, &path, 2 + round).await;
                socket.expect_frame().await;
                if n % 2 == 0 {
                    socket.stream.set_zero_linger().unwrap();
                }
                socket
            }
        })
        .await;
        assert_eq!(server.metric("realtime_sessions").await, others + COUNT as u64);
        neighbour.is_served().await;
        drop(sockets);
        neighbour.may_come().await;
    })
    .await;
}

/// Resets at every stage of a connection's life.
#[tokio::test]
async fn storms_of_resets_leave_nothing() {
    const COUNT: usize = 2000;
    let server = frugal_server().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    let path = app.path(&app.sign(json!({})));
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    three_times(&server, async |round| {
        crowd(COUNT, |n| {
            let (address, head) = (server.listen().to_owned(), head.clone());
            async move {
                let mut stream = connect_from(&address, 2 + round).await;
                stream.set_zero_linger().unwrap();
                let bytes = match n % 4 {
                    0 => 0,
                    1 => head.len() / 2,
                    _ => head.len(),
                };
                stream.write_all(&head.as_bytes()[..bytes]).await.unwrap();
                if n % 4 == 3 {
                    stream.read_exact(&mut [0; 12]).await.unwrap();
                }
            }
        })
        .await;
        neighbour.may_come().await;
    })
    .await;
}

/// One request of several on a connection.
async fn ask(stream: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 2048];
    let read = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn thousands_of_idle_http_connections_leave_room_for_users() {
    const COUNT: usize = 4000;
    let _sockets = reserve_sockets(COUNT).await;
    let server = frugal_server().await;
    let mut neighbour = Neighbour::of(&server).await;
    three_times(&server, async |round| {
        let idle = crowd(COUNT, |_| {
            let address = server.listen().to_owned();
            async move {
                let mut stream = connect_from(&address, 2 + round).await;
                assert!(ask(&mut stream, "/api/health/status").await.starts_with("HTTP/1.1 200 "));
                stream
            }
        })
        .await;
        assert_eq!(server.metric("realtime_http_connections").await, COUNT as u64);
        neighbour.may_come().await;
        drop(idle);
    })
    .await;
}

#[tokio::test]
async fn connections_that_are_refused_again_and_again_leave_nothing() {
    const COUNT: usize = 2000;
    let server = frugal_server().await;
    let app = server.app().create().await;
    let mut neighbour = Neighbour::of(&server).await;
    three_times(&server, async |_| {
        let refused = crowd(COUNT, |n| {
            let token = app.token("user", &[]);
            // Wrongly signed, no token at all, expired, cut off.
            let token = match n % 4 {
                0 => format!("{}{}", &token[..token.len() - 8], "AAAAAAAA"),
                1 => "x.y.z".into(),
                2 => app.sign(json!({"sub": "user", "exp": 1})),
                _ => token[..token.len() / 2].to_owned(),
            };
            let request = Request::new(server.listen(), "GET", &app.path(&token))
                .header("Upgrade", "websocket")
                .header("Connection", "Upgrade")
                .header("Sec-WebSocket-Version", "13")
                .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
            async move { request.send().await }
        })
        .await;
        for refusal in refused {
            refusal.expect_problem(401, "unauthenticated");
        }
        neighbour.may_come().await;
    })
    .await;
}

/// 2.1: over the app's limit further ones are told when to come back; a place that is left is free.
#[tokio::test]
async fn a_rush_over_the_connection_limit_is_429_and_the_limit_is_kept() {
    const LIMIT: usize = 50;
    let server = frugal_server().await;
    server
        .change_settings(|settings| {
            settings["tiers"]["small"] = settings["tiers"]["unlimited"].clone();
            settings["tiers"]["small"]["maxConnections"] = json!(LIMIT);
        })
        .await;
    let app = server.app().set("tier", "small").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    three_times(&server, async |_| {
        let path = app.path(&app.sign(json!({})));
        let opened = crowd(4 * LIMIT, |_| {
            let (address, path) = (server.listen().to_owned(), path.clone());
            async move { RawSocket::open(&address, &path, &[]).await }
        })
        .await;
        let mut welcomed = 0;
        for opened in opened {
            match opened {
                // Of those that come in the same moment some learn it only after their upgrade.
                Ok(mut socket) => match socket.expect_frame().await {
                    frame if frame.opcode() == CLOSE => assert_eq!(frame.close().0, 4429),
                    _ => welcomed += 1,
                },
                Err(refusal) => drop(refusal.expect_problem_with_retry(429, "connection_limit")),
            }
        }
        // A socket that was dropped above left its place to the next.
        assert!(welcomed >= LIMIT, "{welcomed} of {LIMIT}");
        neighbour.may_come().await;
    })
    .await;
    RawSocket::open(server.listen(), &app.path(&app.sign(json!({}))), &[])
        .await
        .unwrap()
        .expect_frame()
        .await;
}
