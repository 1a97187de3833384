//! 2.1: many connections of one subject.

use realtime_testkit::raw::{CLOSE, FIN, PING, PONG, RawSocket};

use crate::crowd::crowd;
use crate::measure::{Neighbour, frugal_server, three_times};

/// The holder answers its ping, so it stays; four may wait for that, and all others go at once.
#[tokio::test]
async fn a_rush_of_one_subject_leaves_its_first_connection() {
    const COUNT: usize = 300;
    let server = frugal_server().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    three_times(&server, async |_| {
        let token = app.token("alice", &[]);
        let mut holder = app.connect_raw(&token, &[]).await;
        holder.expect_frame().await;
        let holder = tokio::spawn(async move {
            while let Some(frame) = holder.read_frame().await {
                if frame.opcode() != PING {
                    break;
                }
                holder.write_frame(FIN | PONG, &frame.payload).await;
            }
        });
        let path = app.path(&token);
        let closes = crowd(COUNT, |_| {
            let (address, path) = (server.listen().to_owned(), path.clone());
            async move {
                let mut socket = RawSocket::open(&address, &path, &[]).await.unwrap();
                let frame = socket.expect_frame().await;
                assert_eq!(frame.opcode(), CLOSE, "no welcome: {frame:?}");
                frame.close().0
            }
        })
        .await;
        assert_eq!(closes, [4009; COUNT]);
        assert!(!holder.is_finished(), "the first connection has ended");
        holder.abort();
        neighbour.may_come().await;
    })
    .await;
}

#[tokio::test]
async fn a_rush_of_one_subject_with_replace_leaves_its_last_connection() {
    const COUNT: usize = 300;
    let server = frugal_server().await;
    let app = server.app().set("tier", "unlimited").set("connectionLimitPolicy", "replace").create().await;
    let mut neighbour = Neighbour::of(&server).await;
    three_times(&server, async |_| {
        let path = app.path(&app.token("alice", &[]));
        let mut sockets = crowd(COUNT, |_| {
            let (address, path) = (server.listen().to_owned(), path.clone());
            async move {
                let mut socket = RawSocket::open(&address, &path, &[]).await.unwrap();
                assert_ne!(socket.expect_frame().await.opcode(), CLOSE, "each is welcome at first");
                socket
            }
        })
        .await;
        // All but one are told that they go; none may be left that thinks it stays.
        let mut last = app.connect("alice", &[]).await;
        for socket in &mut sockets {
            assert_eq!(socket.expect_frame().await.close().0, 4009);
        }
        last.subscribe("t").await;
        neighbour.may_come().await;
    })
    .await;
}
