//! All nodes are replaced one after the other, with thousands of clients on them.

use std::collections::HashSet;
use std::time::Duration;

use realtime_cluster_tests::{Crowd, Load, Recorder, TOPIC, alone, by, heard_everywhere, operator};
use realtime_testkit::{Cluster, Role, TestApp, eventually_equal};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Clients that come back.
const CLIENTS: usize = 2_000;
/// Over how long a node closes its sessions.
const DRAIN: Duration = Duration::from_secs(5);
/// A node that has drained is out of membership by its own word. Its lease would have run for 4.7 s at least.
const LEAVES_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks at what a node has closed.
const LOOK: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_nothing_that_was_acknowledged_and_closes_evenly() {
    let _alone = alone().await;
    let drain = DRAIN.as_secs().to_string();
    let mut cluster = Cluster::builder().args(Role::DataPlane, &["--drain-seconds", &drain]).start().await;
    let app = cluster.app().set("tier", "unlimited").set("clientInboundAckEnabled", true).create().await;
    let places: Vec<TestApp> = cluster.nodes.iter().map(|node| app.at(node)).collect();
    let mut crowd = Crowd::start(places, CLIENTS);
    whole(&mut crowd).await;
    // Publishes through the gateway all the time.
    let mut service = Load::new();
    // Connected all the time: it opens its next session elsewhere before its node goes.
    let mut watcher = Vec::new();
    for node in 0..cluster.nodes.len() {
        let elsewhere = (node + 1) % cluster.nodes.len();
        let name = format!("watcher-{node}");
        watcher.push(Recorder::open(&app.at(&cluster.nodes[elsewhere]), &name, TOPIC).await);
        heard_everywhere(&app, &cluster.nodes, &watcher[node..]).await;
        if node == 0 {
            service.http("service", cluster.gateway(), &app);
        }
        let load = Load::everywhere(&cluster, &app, &format!("round-{node}")).await;
        restart(&mut cluster, &mut crowd, node).await;
        for sent in load.stop().await {
            watcher[node].has_all_of(&sent).await;
            assert!(sent.refusals.is_empty(), "{}: {:?}", sent.name, sent.refusals.first());
        }
        assert!(watcher[node].is_open());
        whole(&mut crowd).await;
    }
    for sent in service.stop().await {
        assert!(sent.refusals.is_empty(), "{}: {:?}", sent.name, sent.refusals.first());
        // One watcher after the other was there.
        eventually_equal("publishes that nobody has seen", Vec::new(), async || {
            let seen: HashSet<u64> =
                watcher.iter().flat_map(|recorder| recorder.numbers(&sent.name)).collect();
            sent.acknowledged.iter().copied().filter(|number| !seen.contains(number)).collect::<Vec<_>>()
        })
        .await;
    }
}

/// Waits until every client has a session.
async fn whole(crowd: &mut Crowd) {
    eventually_equal("all clients connected", CLIENTS, async || crowd.open().iter().sum()).await;
    crowd.is_whole();
}

/// Stops a node as an operator does, and starts it again.
async fn restart(cluster: &mut Cluster, crowd: &mut Crowd, node: usize) {
    let sessions = crowd.open()[node];
    let earlier = crowd.closed();
    crowd.send_to(node, false);
    let looks = tokio::spawn(look_at(cluster.nodes[node].admin_listen().to_owned()));
    cluster.nodes[node].terminate();
    assert!(cluster.nodes[node].exit_status().await.success(), "{}", cluster.nodes[node].log());
    let stopped = Instant::now();
    for replica in &cluster.control_planes {
        by("the stopped node out of the list", stopped, LEAVES_WITHIN, async || {
            let ids = operator::node_ids(replica).await;
            ids.is_some_and(|ids| !ids.contains(&Cluster::node_id(node)))
        })
        .await;
    }
    eventually_equal("sessions closed", sessions, async || crowd.closed() - earlier).await;
    is_even(&looks.await.expect("looks"), sessions);
    cluster.nodes[node].start_again().await;
    cluster.settled().await;
    crowd.send_to(node, true);
}

/// What a node has closed at a moment between the two.
struct Look {
    asked: Instant,
    answered: Instant,
    closed: u64,
}

/// Asks a node until it is gone. Not its clients: on a busy machine they hear late, and of many at once.
async fn look_at(admin: String) -> Vec<Look> {
    let mut looks = Vec::new();
    let mut pace = interval(LOOK);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = pace.tick().await;
        let Some(closed) = operator::sum(&admin, "realtime_sessions_closed_total").await else {
            return looks;
        };
        looks.push(Look { asked, answered: Instant::now(), closed });
    }
}

/// In no second has it closed more than half as much again as evenly.
fn is_even(looks: &[Look], sessions: usize) {
    let most = sessions as u64 * 3 / 2 / DRAIN.as_secs();
    let mut seen = 0;
    for (i, first) in looks.iter().enumerate() {
        // Between the two moments is a second at most.
        let within = |look: &&Look| look.answered - first.asked <= Duration::from_secs(1);
        for later in looks[i + 1..].iter().take_while(within) {
            let closed = later.closed - first.closed;
            assert!(closed <= most, "{closed} of {sessions} in a second, not {most}");
            seen = seen.max(closed);
        }
    }
    assert!(seen > most / 3, "nobody has seen the node drain: {seen} of {sessions} in a second");
}
