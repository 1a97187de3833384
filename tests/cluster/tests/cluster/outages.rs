//! The control plane away: running nodes and gateways go on, and nobody is taken for gone afterwards.

use std::time::Duration;

use realtime_testkit::cluster::metric;
use realtime_testkit::etcd::free_port;
use realtime_testkit::{Client, Cluster, Request, Role, TestApp, eventually, eventually_equal};
use serde_json::json;
use tokio::time::Instant;

/// A change through the gateway. One that meets the end of the replica may be answered 503.
async fn change(cluster: &Cluster, app: &TestApp) {
    let path = format!("/api/apps/{}", app.id());
    eventually("a change", async || {
        let answer = cluster.operator("PATCH", &path).json(&json!({"description": "changed"})).send().await;
        assert!(answer.status == 200 || answer.status == 503, "{}", answer.text());
        (answer.status == 200).then_some(())
    })
    .await;
}

/// One message from one node and one through the gateway reach a subscriber on another node.
async fn delivers(app: &TestApp, publisher: &mut Client, subscriber: &mut Client) {
    publisher.publish("news", "of a client").await;
    subscriber.expect("news", "broadcast").await;
    app.publish(&json!({"topic": "news", "message": "of a service"})).await.expect(200);
    assert_eq!(subscriber.expect("news", "broadcast").await, "of a service");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_gateways_move_to_another_replica() {
    let mut cluster = Cluster::start().await;
    let app = cluster.app().create().await;
    cluster.control_planes[0].kill();
    let killed = Instant::now();
    change(&cluster, &app).await;
    cluster.in_force().await;
    // Two seconds, and a machine that is busy with other tests.
    assert!(killed.elapsed() < Duration::from_secs(4), "{:?}", killed.elapsed());
    cluster.control_planes[0].start_again().await;
    cluster.control_planes[1].kill();
    change(&cluster, &app).await;
    cluster.in_force().await;
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_all_replicas_takes_nobody_out() {
    let mut cluster = Cluster::start().await;
    let app = cluster.app().create().await;
    let mut publisher =
        app.at(&cluster.nodes[0]).connect("publisher", &["realtime:publisher:write:topic:*"]).await;
    let mut subscriber = app.at(&cluster.nodes[1]).connect("subscriber", &[]).await;
    subscriber.subscribe("news").await;
    for replica in &mut cluster.control_planes {
        replica.kill();
    }
    eventually("the end of all leases", async || {
        delivers(&app, &mut publisher, &mut subscriber).await;
        cluster.etcd.keys("/realtime/nodes/").await.is_empty().then_some(())
    })
    .await;
    cluster.control_planes[0].start_again().await;
    // Until all have registered again; meanwhile nobody is missed.
    eventually("all members", async || {
        delivers(&app, &mut publisher, &mut subscriber).await;
        let linked = metric(&cluster.nodes[0], "realtime_peers_linked").await;
        assert_eq!(linked, Some(2));
        (cluster.members(&cluster.control_planes[0]).await.len() == 3).then_some(())
    })
    .await;
    app.patch(&json!({"description": "after the outage"})).await;
    cluster.in_force().await;
    subscriber.expect_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_waits_for_etcd_and_says_that_it_is_not_ready() {
    let admin = format!("127.0.0.1:{}", free_port());
    let builder = Cluster::builder().control_planes(1).nodes(1);
    let mut cluster = builder.args(Role::ControlPlane, &["--admin-listen", &admin]).start().await;
    let ready = async || {
        let answer = Request::new(&admin, "GET", "/readyz").exchange().await;
        answer.ok().map(|answer| (answer.status, answer.text().trim().to_owned()))
    };
    assert_eq!(ready().await, Some((200, "ready".into())));
    cluster.etcd.kill();
    cluster.control_planes[0].spawn_again();
    eventually_equal("the wait for etcd", Some((503, "not ready: waiting for the store".into())), &ready)
        .await;
    cluster.etcd.restart().await;
    cluster.control_planes[0].ready().await;
    assert_eq!(ready().await, Some((200, "ready".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_whose_store_was_replaced_is_not_ready() {
    let mut cluster = Cluster::builder().control_planes(1).nodes(0).gateways(0).start().await;
    let admin = cluster.control_planes[0].admin_listen().to_owned();
    let ready = async || {
        let answer = Request::new(&admin, "GET", "/readyz").send().await;
        (answer.status, answer.text().trim().to_owned())
    };
    assert_eq!(ready().await, (200, "ready".into()));
    // The key of the store's id. Watches that begin anew see it.
    cluster.etcd.put("/realtime", b"another store").await;
    cluster.etcd.restart().await;
    let reason = "not ready: another store has taken the place of this one's; restart the control plane";
    eventually_equal("the replaced store", (503, reason.to_owned()), &ready).await;
}
