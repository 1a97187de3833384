//! SIGTERM with messages that no target has accepted yet.

use std::time::Duration;

use realtime_testkit::{Client, Fault, FaultProxy, TestApp, eventually};
use tokio::time::Instant;

use crate::world::{World, acked, failed, message, told};

/// What the server gives a drain.
const DRAIN: Duration = Duration::from_secs(2);
/// What it gives what is left for AWS afterwards.
const FLUSH: Duration = Duration::from_secs(5);
/// For everything that is not waiting, on a busy machine.
const MARGIN: Duration = Duration::from_secs(2);

struct Trial {
    world: World,
    url: String,
    proxy: FaultProxy,
    /// They have sent messages that the proxy holds.
    busy: Vec<Client>,
    idle: Vec<Client>,
}

impl Trial {
    async fn start() -> Option<Self> {
        let seconds = DRAIN.as_secs().to_string();
        let world = World::with(crate::world::builder().args(&["--drain-seconds", &seconds])).await?;
        let url = world.backend.new_fifo_queue().await;
        let proxy = FaultProxy::to(world.moto.address()).await;
        proxy.meets(Fault::Hold);
        let app = world.app_over(&url, &proxy.url()).create().await;
        let mut busy = open(&app, "busy", 3).await;
        let idle = open(&app, "idle", 9).await;
        for client in &mut busy {
            for id in ["1", "2", "3"] {
                message(client, id).await;
            }
            // They have been read.
            client.expect_nothing().await;
        }
        Some(Self { world, url, proxy, busy, idle })
    }
}

/// The server closes it, because it stops; the client hangs up, as clients do.
async fn closed(mut client: Client) {
    assert_eq!(client.expect_close().await.0, 1001);
}

async fn open(app: &TestApp, name: &str, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for n in 0..count {
        clients.push(app.connect(&format!("{name}-{n}"), &[]).await);
    }
    clients
}

#[tokio::test]
async fn a_draining_server_gives_up_what_its_target_does_not_take_and_says_so() {
    let Some(mut trial) = Trial::start().await else { return };
    let begin = Instant::now();
    trial.world.server.terminate();
    for client in trial.idle {
        closed(client).await;
    }
    for mut client in trial.busy {
        for id in ["1", "2", "3"] {
            failed(&mut client, id).await;
        }
        closed(client).await;
    }
    let told = begin.elapsed();
    assert!(told >= DRAIN, "they had the whole time: {told:?}");
    assert!(trial.world.server.exit_status().await.success());
    let end = begin.elapsed();
    assert!(end < DRAIN + FLUSH + MARGIN, "{end:?}");
}

#[tokio::test]
async fn a_draining_server_acks_what_its_target_takes_in_time_and_tells_it_of_the_ends() {
    let Some(mut trial) = Trial::start().await else { return };
    let ids = |clients: &[Client]| clients.iter().map(|client| client.id().to_owned()).collect::<Vec<_>>();
    let (busy, idle) = (ids(&trial.busy), ids(&trial.idle));
    let begin = Instant::now();
    trial.world.server.terminate();
    // Who waits for nothing goes, and nobody else.
    let last = trial.idle.split_off(1);
    for client in trial.idle {
        closed(client).await;
    }
    trial.proxy.meets(Fault::None);
    for mut client in trial.busy {
        for id in ["1", "2", "3"] {
            acked(&mut client, id).await;
        }
        closed(client).await;
    }
    for client in last {
        closed(client).await;
    }
    assert!(trial.world.server.exit_status().await.success());
    let end = begin.elapsed();
    assert!(end < DRAIN + MARGIN, "nothing was left to wait for: {end:?}");
    let received = trial.world.backend.receive_all(&trial.url).await;
    for id in busy {
        assert_eq!(told(&received, &id), ["connected", "1", "2", "3", "disconnected"]);
    }
    for id in idle {
        assert_eq!(told(&received, &id), ["connected", "disconnected"]);
    }
}

/// A server without sessions ends, though presence waits for a target that takes nothing.
#[tokio::test]
async fn what_is_left_for_a_target_that_is_gone_holds_up_no_end() {
    let Some(mut world) = World::start().await else { return };
    let url = world.backend.new_queue().await;
    let proxy = FaultProxy::to(world.moto.address()).await;
    proxy.meets(Fault::Hold);
    let app = world.app_over(&url, &proxy.url()).create().await;
    app.connect("alice", &[]).await.close().await;
    eventually("a call on its way", async || (proxy.requests() > 0).then_some(())).await;
    let begin = Instant::now();
    world.server.terminate();
    assert!(world.server.exit_status().await.success());
    assert!(begin.elapsed() < FLUSH + MARGIN, "{:?}", begin.elapsed());
}
