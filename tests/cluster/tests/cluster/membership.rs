//! Who belongs to the cluster, and who no longer.

use realtime_testkit::{Cluster, Role, Server, eventually, eventually_equal};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_has_left_when_it_ends() {
    let mut cluster = Cluster::builder().args(Role::DataPlane, &["--drain-seconds", "0"]).start().await;
    let mut node = cluster.nodes.remove(0);
    node.terminate();
    assert!(node.exit_status().await.success(), "{}", node.log());
    for replica in &cluster.control_planes {
        eventually_equal("the members", vec![Cluster::node_id(1), Cluster::node_id(2)], || {
            cluster.member_ids(replica)
        })
        .await;
    }
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_with_one_id_the_newer_one_stays() {
    let mut cluster = Cluster::builder().nodes(2).start().await;
    let app = cluster.app().create().await;
    let mut client = app.connect("client", &[]).await;
    let urls = cluster.control_plane_urls();
    let args = ["--listen", "127.0.0.1:0", "--control-plane", &urls, "--node-id", &Cluster::node_id(0)];
    let newer = Server::of(Role::DataPlane).args(&args).start().await;
    let mut older = std::mem::replace(&mut cluster.nodes[0], newer);
    assert_eq!(older.exit_status().await.code(), Some(1));
    assert!(older.log().contains("another process has registered under this node's name"), "{}", older.log());
    assert_eq!(client.drain_to_close().await.0, 1001);
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_is_out_within_ten_seconds() {
    let mut cluster = Cluster::start().await;
    cluster.nodes[2].kill();
    let survivors = &cluster.control_planes[0];
    eventually("the dead node's end", async || {
        let ids = cluster.member_ids(survivors).await;
        (ids == [Cluster::node_id(0), Cluster::node_id(1)]).then_some(())
    })
    .await;
    // Its place is free.
    cluster.nodes[2].start_again().await;
    cluster.settled().await;
}
