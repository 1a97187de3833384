//! 2.6: peers that are gone without a word.

use std::time::Duration;

use realtime_testkit::raw::{FIN, PING, PONG};
use realtime_testkit::{Server, eventually_equal};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::crowd::sessions;
use crate::measure::{Baseline, Neighbour};

/// The least that the settings allow.
const IDLE: Duration = Duration::from_secs(2);

/// The kernel of a peer that vanished acknowledges nothing; that of one whose program hangs does. To the server both
/// are silent, and both are found by the same rule.
#[tokio::test]
async fn silent_peers_are_closed_with_4010_and_those_that_answer_stay() {
    const SILENT: usize = 300;
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    server.change_settings(|settings| settings["limits"]["idleTimeoutSeconds"] = json!(IDLE.as_secs())).await;
    let mut neighbour = Neighbour::of(&server).await;
    let baseline = Baseline::take(&server).await;
    let started = Instant::now();
    let silent = sessions(&app, SILENT).await;
    let mut answering = app.connect_raw(&app.sign(json!({})), &[]).await;
    answering.expect_frame().await;
    let answers = tokio::spawn(async move {
        for _ in 0..4 {
            let ping = answering.read_frame().await.expect("a ping");
            assert_eq!(ping.first_byte, FIN | PING);
            answering.write_frame(FIN | PONG, &ping.payload).await;
        }
        answering
    });
    let silent: Vec<_> = silent
        .into_iter()
        .map(|mut socket| {
            tokio::spawn(async move {
                assert_eq!(socket.read_frame().await.expect("a ping").first_byte, FIN | PING);
                socket.expect_close().await.0
            })
        })
        .collect();
    for silent in silent {
        assert_eq!(silent.await.unwrap(), 4010);
    }
    assert!(started.elapsed() >= IDLE);
    drop(answers.await.unwrap());
    neighbour.is_served().await;
    let all = SILENT as u64;
    eventually_equal("time-outs", all, async || server.metric("realtime_idle_timeouts_total").await).await;
    baseline.returns(&server).await;
}

/// A peer that reads nothing, so that not even the close frame reaches it, is let go after the closing handshake's
/// time.
#[tokio::test]
async fn peers_that_never_answer_the_close_are_let_go() {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let baseline = Baseline::take(&server).await;
    server.change_settings(|settings| settings["limits"]["idleTimeoutSeconds"] = json!(IDLE.as_secs())).await;
    let gone = sessions(&app, 100).await;
    baseline.returns(&server).await;
    drop(gone);
}

/// Half a closing handshake: the client ends its side and goes on reading.
#[tokio::test]
async fn connections_that_end_one_side_alone_are_ended() {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let baseline = Baseline::take(&server).await;
    let mut half = sessions(&app, 200).await;
    for socket in &mut half {
        socket.stream.shutdown().await.unwrap();
    }
    baseline.returns(&server).await;
    drop(half);
}
