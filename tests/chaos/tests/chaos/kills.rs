//! SIGKILL under load, for each kind of process in turn.

use std::time::Duration;

use realtime_cluster_tests::{Load, Recorder, Sent, TOPIC, alone, by, heard_everywhere, operator};
use realtime_testkit::cluster::metric;
use realtime_testkit::{Cluster, Server, TestApp, eventually};
use serde_json::json;
use tokio::time::Instant;

/// A dead node is out of membership, everywhere.
const OUT_WITHIN: Duration = Duration::from_secs(10);
/// A process has its stream at another replica.
const FAIL_OVER_WITHIN: Duration = Duration::from_secs(2);
/// Messages of each publisher that show that all goes on.
const A_WHILE: u64 = 100;

/// A cluster, an application whose publishers get acks, and a subscriber at every node.
async fn start(gateways: usize) -> (Cluster, TestApp, Vec<Recorder>) {
    let cluster = Cluster::builder().gateways(gateways).start().await;
    let app = cluster.app().set("tier", "unlimited").set("clientInboundAckEnabled", true).create().await;
    cluster.in_force().await;
    let recorders = subscribe(&cluster, &app).await;
    (cluster, app, recorders)
}

async fn subscribe(cluster: &Cluster, app: &TestApp) -> Vec<Recorder> {
    let mut recorders = Vec::new();
    for (i, node) in cluster.nodes.iter().enumerate() {
        recorders.push(Recorder::open(&app.at(node), &format!("subscriber-{i}"), TOPIC).await);
    }
    heard_everywhere(app, &cluster.nodes, &recorders).await;
    recorders
}

/// Waits until these subscribers have got so many more messages, of everybody.
async fn goes_on(recorders: &[Recorder], publishers: u64) {
    for recorder in recorders {
        let mut count = recorder.count();
        let due = *count.borrow() + A_WHILE * publishers;
        let more = count.wait_for(|count| *count >= due);
        realtime_testkit::within("messages to go on", more).await.expect("an open session");
    }
}

/// Everybody's acknowledged messages have reached these subscribers, once and in order.
async fn complete(recorders: &[Recorder], sent: &[Sent]) {
    for recorder in recorders {
        assert!(recorder.is_open(), "a session has ended");
        for sent in sent {
            assert!(!sent.acknowledged.is_empty(), "{} has published nothing", sent.name);
            recorder.has_all(&sent.name, &sent.acknowledged).await;
        }
    }
}

/// The same where a node has gone meanwhile.
async fn complete_without_a_node(recorders: &[Recorder], sent: &[Sent]) {
    for recorder in recorders {
        assert!(recorder.is_open(), "a session has ended");
        for sent in sent {
            assert!(!sent.acknowledged.is_empty(), "{} has published nothing", sent.name);
            recorder.has_all_of(sent).await;
        }
    }
}

/// No session of these publishers has ended, and nobody was refused.
fn undisturbed(sent: &[Sent]) {
    for Sent { name, refusals, ended, .. } in sent {
        assert!(!ended, "the session of {name} has ended");
        assert!(refusals.is_empty(), "{name} was refused {} times: {}", refusals.len(), refusals[0]);
    }
}

/// Changes the application and waits until that is in force everywhere. Asks again where the answer is 503: a call that
/// was under way when a replica died may have been carried out or not, and doing it twice is the same.
async fn configure(cluster: &Cluster, app: &TestApp, description: &str) {
    eventually("a write that is taken", async || {
        let patch = cluster.operator("PATCH", &format!("/api/apps/{}", app.id()));
        let answer = patch.json(&json!({ "description": description })).send().await;
        if answer.status == 503 {
            return None;
        }
        Some(answer.expect(200))
    })
    .await;
    cluster.in_force().await;
}

/// A write while the control plane cannot take it.
async fn refused(cluster: &Cluster, app: &TestApp) {
    let patch = cluster.operator("PATCH", &format!("/api/apps/{}", app.id()));
    let answer = patch.json(&json!({"description": "refused"})).send().await;
    answer.expect_problem_with_retry(503, "unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_costs_its_own_sessions_alone_and_takes_part_again() {
    let _alone = alone().await;
    let (mut cluster, app, mut recorders) = start(1).await;
    let load = Load::everywhere(&cluster, &app, "before").await;
    goes_on(&recorders, 4).await;
    let killed = Instant::now();
    cluster.nodes[1].kill();
    for replica in &cluster.control_planes {
        by("the dead node out of the list", killed, OUT_WITHIN, async || {
            operator::node_ids(replica).await == Some(vec!["node-0".to_owned(), "node-2".to_owned()])
        })
        .await;
    }
    for survivor in [&cluster.nodes[0], &cluster.nodes[2]] {
        by("the dead node out of the mesh", killed, OUT_WITHIN, async || {
            metric(survivor, "realtime_peers_unlinked").await == Some(0)
        })
        .await;
        assert_eq!(metric(survivor, "realtime_peers_linked").await, Some(1));
    }
    drop(recorders.remove(1));
    goes_on(&recorders, 3).await;
    let mut sent = load.stop().await;
    let dead = sent.remove(1);
    assert!(dead.ended, "{} goes on", dead.name);
    complete_without_a_node(&recorders, &sent).await;
    // What was under way at the moment; whether it was carried out, nobody knows.
    let gateway = sent.pop().expect("the gateway's publisher");
    assert!(gateway.refusals.len() <= 1, "{:?}", gateway.refusals);
    undisturbed(&sent);

    cluster.nodes[1].start_again().await;
    cluster.settled().await;
    recorders.push(Recorder::open(&app.at(&cluster.nodes[1]), "subscriber-1", TOPIC).await);
    heard_everywhere(&app, &cluster.nodes, &recorders).await;
    let load = Load::everywhere(&cluster, &app, "after").await;
    goes_on(&recorders, 4).await;
    let sent = load.stop().await;
    undisturbed(&sent);
    complete(&recorders, &sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_hands_its_processes_to_another_where_they_were() {
    let _alone = alone().await;
    let (mut cluster, app, recorders) = start(1).await;
    let load = Load::everywhere(&cluster, &app, "load").await;
    // Whoever was at the second one from the start is moved by the second kill.
    for killed in [0, 1] {
        let before = streams(&cluster).await;
        let at = Instant::now();
        cluster.control_planes[killed].kill();
        // A change reaches everybody by a stream that lives.
        configure(&cluster, &app, &format!("while {killed} is away")).await;
        let took = at.elapsed();
        assert!(took < FAIL_OVER_WITHIN, "everybody has another replica after {took:?}");
        calm(&cluster, &before, 1).await;
        cluster.control_planes[killed].start_again().await;
    }
    goes_on(&recorders, 4).await;
    let sent = load.stop().await;
    undisturbed(&sent);
    complete(&recorders, &sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_replica_everything_goes_on_and_configuration_flows_again_after_it() {
    let _alone = alone().await;
    let (mut cluster, app, recorders) = start(1).await;
    let load = Load::everywhere(&cluster, &app, "load").await;
    let before = streams(&cluster).await;
    for replica in &mut cluster.control_planes {
        replica.kill();
    }
    goes_on(&recorders, 4).await;
    refused(&cluster, &app).await;
    // Long enough for the nodes' leases to run out.
    eventually("no member in etcd", async || {
        cluster.etcd.keys("/realtime/nodes/").await.is_empty().then_some(())
    })
    .await;
    goes_on(&recorders, 4).await;
    for replica in &mut cluster.control_planes {
        replica.start_again().await;
    }
    for process in processes(&cluster) {
        eventually("a stream again", async || {
            Stream::of(process).await.filter(|stream| stream.connected).map(drop)
        })
        .await;
    }
    configure(&cluster, &app, "after the outage").await;
    // The first replica that is back may leave its processes to the second once.
    calm(&cluster, &before, 2).await;
    for node in &cluster.nodes {
        assert_eq!(metric(node, "realtime_peers_linked").await, Some(2));
    }
    goes_on(&recorders, 4).await;
    let sent = load.stop().await;
    undisturbed(&sent);
    complete(&recorders, &sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_etcd_delivery_goes_on_and_writes_are_refused_until_it_is_back() {
    let _alone = alone().await;
    let (mut cluster, app, recorders) = start(1).await;
    configure(&cluster, &app, "before the outage").await;
    let load = Load::everywhere(&cluster, &app, "load").await;
    let before = streams(&cluster).await;
    cluster.etcd.kill();
    goes_on(&recorders, 4).await;
    refused(&cluster, &app).await;
    goes_on(&recorders, 4).await;
    cluster.etcd.restart().await;
    let kept = cluster.operator("GET", &format!("/api/apps/{}", app.id())).send().await.expect(200);
    assert_eq!(kept["description"], "before the outage");
    configure(&cluster, &app, "after the outage").await;
    goes_on(&recorders, 4).await;
    let sent = load.stop().await;
    undisturbed(&sent);
    complete(&recorders, &sent).await;
    calm(&cluster, &before, 1).await;
    for replica in &cluster.control_planes {
        assert_eq!(operator::node_ids(replica).await.map(|ids| ids.len()), Some(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_is_noticed_by_its_own_callers_alone() {
    let _alone = alone().await;
    let (mut cluster, app, recorders) = start(2).await;
    let load = Load::everywhere(&cluster, &app, "before").await;
    goes_on(&recorders, 5).await;
    cluster.gateways[1].kill();
    goes_on(&recorders, 4).await;
    let mut sent = load.stop().await;
    let dead = sent.pop().expect("the dead gateway's publisher");
    assert!(!dead.refusals.is_empty());
    undisturbed(&sent);
    complete(&recorders, &sent).await;
    cluster.gateways[1].start_again().await;
    cluster.settled().await;
    let load = Load::everywhere(&cluster, &app, "after").await;
    goes_on(&recorders, 5).await;
    let sent = load.stop().await;
    undisturbed(&sent);
    complete(&recorders, &sent).await;
}

/// Whoever has a stream to the control plane.
fn processes(cluster: &Cluster) -> impl Iterator<Item = &Server> {
    cluster.nodes.iter().chain(&cluster.gateways)
}

/// What a process has heard from the control plane.
#[derive(Debug)]
struct Stream {
    connected: bool,
    streams: u64,
    snapshots: u64,
}

impl Stream {
    async fn of(process: &Server) -> Option<Self> {
        Some(Self {
            connected: metric(process, "realtime_control_plane_connected").await? == 1,
            streams: metric(process, "realtime_control_plane_streams_total").await?,
            snapshots: metric(process, "realtime_config_snapshots_total").await?,
        })
    }
}

async fn streams(cluster: &Cluster) -> Vec<Stream> {
    let mut streams = Vec::new();
    for process in processes(cluster) {
        streams.push(Stream::of(process).await.expect("metrics"));
    }
    streams
}

/// Nobody has opened more than so many streams since, or read everything again.
async fn calm(cluster: &Cluster, before: &[Stream], more: u64) {
    for ((process, before), now) in processes(cluster).zip(before).zip(streams(cluster).await) {
        assert_eq!(now.snapshots, before.snapshots, "{} has read everything again", process.listen());
        assert!(now.streams <= before.streams + more, "{}: {now:?} after {before:?}", process.listen());
    }
}
