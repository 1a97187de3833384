//! Processes that stand still: their sockets are open, and nothing answers.

use std::time::Duration;

use realtime_cluster_tests::{Load, Recorder, TOPIC, alone, by, heard_everywhere, operator};
use realtime_testkit::cluster::metric;
use realtime_testkit::{Cluster, eventually_equal};
use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

/// A process has its stream at another replica.
const FAIL_OVER_WITHIN: Duration = Duration::from_secs(2);
/// A dead node is out of membership, everywhere.
const OUT_WITHIN: Duration = Duration::from_secs(10);

/// The write that was under way may have been carried out, for all that anybody knows; the next one goes elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_replica_costs_one_write_at_most() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    let app = cluster.app().create().await;
    let path = format!("/api/apps/{}", app.id());
    let mut lost = 0;
    // The gateway asks one of them.
    for frozen in [0, 1] {
        cluster.control_planes[frozen].signal(Signal::STOP);
        for number in 0..5 {
            let description = format!("number {number} of {frozen}");
            let patch = cluster.operator("PATCH", &path).json(&json!({"description": description}));
            let answer = patch.send().await;
            if number == 0 && answer.status == 503 {
                answer.expect_problem_with_retry(503, "unavailable");
                lost += 1;
            } else {
                assert_eq!(answer.expect(200)["description"], *description);
            }
        }
        cluster.control_planes[frozen].signal(Signal::CONT);
    }
    assert!(lost > 0, "nobody has asked a frozen replica");
}

/// Whoever has its stream there, by chance, hears of a change at the other one all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_replica_is_left_in_time() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    let app = cluster.app().create().await;
    cluster.in_force().await;
    for frozen in [0, 1] {
        let mut other =
            operator::admin(&cluster.control_planes[1 - frozen]).await.expect("a replica that answers");
        cluster.control_planes[frozen].signal(Signal::STOP);
        let since = Instant::now();
        let change = json!({"description": format!("while {frozen} stands still")});
        let version = other.patch_app(app.id(), &change, 0).await.expect("a write that is taken").version;
        for process in cluster.nodes.iter().chain(&cluster.gateways) {
            by("the change in force", since, FAIL_OVER_WITHIN, async || {
                metric(process, "realtime_config_revision").await >= Some(version)
            })
            .await;
        }
        cluster.control_planes[frozen].signal(Signal::CONT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_is_out_and_goes_on_with_its_sessions_when_it_wakes_up() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    let app = cluster.app().set("tier", "unlimited").set("clientInboundAckEnabled", true).create().await;
    cluster.in_force().await;
    let mut recorders = Vec::new();
    for (i, node) in cluster.nodes.iter().enumerate() {
        recorders.push(Recorder::open(&app.at(node), &format!("subscriber-{i}"), TOPIC).await);
    }
    heard_everywhere(&app, &cluster.nodes, &recorders).await;
    let mut load = Load::new();
    for i in [0, 2] {
        load.client(&format!("awake-{i}"), &app.at(&cluster.nodes[i])).await;
    }
    load.http("caller", cluster.gateway(), &app);
    let mut count = recorders[1].count();
    realtime_testkit::within("load", count.wait_for(|count| *count > 100)).await.expect("an open session");

    cluster.nodes[1].signal(Signal::STOP);
    let frozen = Instant::now();
    for replica in &cluster.control_planes {
        by("the frozen node out of the list", frozen, OUT_WITHIN, async || {
            operator::node_ids(replica).await == Some(vec!["node-0".to_owned(), "node-2".to_owned()])
        })
        .await;
    }
    for survivor in [&cluster.nodes[0], &cluster.nodes[2]] {
        by("the frozen node out of the mesh", frozen, OUT_WITHIN, async || {
            metric(survivor, "realtime_peers_unlinked").await == Some(0)
        })
        .await;
        assert_eq!(metric(survivor, "realtime_peers_linked").await, Some(1));
    }
    let sent = load.stop().await;
    for sent in &sent {
        assert!(!sent.ended, "the session of {} has ended", sent.name);
        for recorder in [&recorders[0], &recorders[2]] {
            recorder.has_all_of(sent).await;
        }
    }
    // What was under way at the moment; whether it was carried out, nobody knows.
    assert!(sent.iter().map(|sent| sent.refusals.len()).sum::<usize>() <= 1, "{sent:?}");

    cluster.nodes[1].signal(Signal::CONT);
    cluster.settled().await;
    for replica in &cluster.control_planes {
        eventually_equal("all members", Some(3), async || Some(operator::node_ids(replica).await?.len()))
            .await;
    }
    // Its links are young: what its subscriber wants has to be known again.
    heard_everywhere(&app, &cluster.nodes, &recorders).await;
    let load = Load::everywhere(&cluster, &app, "after").await;
    let mut count = recorders[1].count();
    let due = *count.borrow() + 400;
    realtime_testkit::within("load", count.wait_for(|count| *count > due)).await.expect("an open session");
    for sent in load.stop().await {
        assert!(!sent.ended && sent.refusals.is_empty(), "{}: {:?}", sent.name, sent.refusals.first());
        for recorder in &recorders {
            recorder.has_all(&sent.name, &sent.acknowledged).await;
        }
    }
    // Of what it has slept through some was on its way; nothing came twice or late.
    for sent in &sent {
        recorders[1].has_all(&sent.name, &[]).await;
    }
}
