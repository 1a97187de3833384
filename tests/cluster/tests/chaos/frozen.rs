//! Processes that stand still: their sockets are open, and nothing answers.

use realtime_testkit::Cluster;
use rustix::process::Signal;
use serde_json::json;

/// The write that was under way may have been carried out, for all that anybody knows; the next one goes elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_replica_costs_one_write_at_most() {
    let cluster = Cluster::start().await;
    let app = cluster.app().create().await;
    let path = format!("/api/apps/{}", app.id());
    let patch = async |description: &str| {
        cluster.operator("PATCH", &path).json(&json!({"description": description})).send().await
    };
    // The gateway asks the first of its replicas.
    patch("before").await.expect(200);
    cluster.control_planes[0].signal(Signal::STOP);
    patch("lost").await.expect_problem_with_retry(503, "unavailable");
    for number in 0..5 {
        let description = format!("number {number}");
        assert_eq!(patch(&description).await.expect(200)["description"], *description);
    }
}
