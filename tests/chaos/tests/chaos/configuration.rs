//! Configurations that nobody should have written never take anything down.

use realtime_cluster_tests::{PUBLISHER, alone, operator};
use realtime_testkit::cluster::metric;
use realtime_testkit::{Client, Cluster, TestApp, eventually};
use serde_json::{Value, json};

/// The key of an application in etcd.
pub(crate) fn key(app: &TestApp) -> String {
    format!("/realtime/apps/{}", app.id())
}

/// What a node lists as refused: application and reason.
async fn refused(cluster: &Cluster, replica: usize, node: usize) -> Option<Vec<(String, String)>> {
    let nodes = operator::nodes(&cluster.control_planes[replica]).await?;
    let node = nodes.into_iter().find(|listed| listed.id == Cluster::node_id(node))?;
    Some(node.rejections.into_iter().map(|refused| (refused.app_id, refused.reason)).collect())
}

/// Waits until every node lists just this as refused, whichever replica is asked.
pub(crate) async fn refused_everywhere(cluster: &Cluster, expected: &[(&str, &str)]) {
    for replica in 0..cluster.control_planes.len() {
        for node in 0..cluster.nodes.len() {
            eventually(&format!("{expected:?} refused by node {node}"), async || {
                let refused = refused(cluster, replica, node).await?;
                let fits = refused.len() == expected.len()
                    && expected.iter().all(|(app, reason)| {
                        refused.iter().any(|(id, why)| id == app && why.contains(reason))
                    });
                fits.then_some(())
            })
            .await;
        }
    }
}

/// The sessions are there, and new ones are opened at every node.
pub(crate) async fn serves(cluster: &Cluster, app: &TestApp, session: &mut Client, round: &str) {
    for (i, node) in cluster.nodes.iter().enumerate() {
        let mut publisher = app.at(node).connect(&format!("{round}-{i}"), &[PUBLISHER]).await;
        publisher.publish("news", format!("{round} {i}")).await;
        let data = session.expect("news", "broadcast").await;
        assert_eq!(data["payload"], format!("{round} {i}"));
    }
    let answer = app.publish(&json!({"topic": "news", "message": round})).await;
    answer.expect(200);
    assert_eq!(session.expect("news", "broadcast").await, round);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_when_it_is_written() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    let app = cluster.app().create().await;
    let mut session = app.connect("subscriber", &[]).await;
    session.subscribe("news").await;
    let path = format!("/api/apps/{}", app.id());
    for (change, field) in [
        (json!({"tier": "none such"}), "tier"),
        (json!({"authKey": {"source": "raw", "key": "k", "algorithms": ["none"]}}), "authKey"),
        (json!({"unheard": 1}), "unheard"),
    ] {
        let answer = cluster.operator("PATCH", &path).json(&change).send().await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert!(answer.text().contains(field), "{}", answer.text());
    }
    let other = cluster.app().set("name", "another").create().await;
    let answer = cluster.operator("PATCH", &path).json(&json!({"name": "another"})).send().await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    drop(other);
    refused_everywhere(&cluster, &[]).await;
    serves(&cluster, &app, &mut session, "as before").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_in_the_store_is_shown_and_the_last_good_one_stays_in_force() {
    let _alone = alone().await;
    let mut cluster = Cluster::start().await;
    let mut broken = Vec::new();
    for _ in 0..3 {
        let app = cluster.app().create().await;
        let mut session = app.connect("subscriber", &[]).await;
        session.subscribe("news").await;
        broken.push((app, session));
    }
    let [no_json, no_key, twin] = [0, 1, 2].map(|i| broken[i].0.clone());
    let good = cluster.etcd.get(&key(&no_json)).await;
    let mut document: Value = serde_json::from_slice(&cluster.etcd.get(&key(&no_key)).await).expect("JSON");
    document["authKey"]["algorithms"] = json!(["none"]);
    cluster.etcd.put(&key(&no_json), b"\xff{").await;
    cluster.etcd.put(&key(&no_key), document.to_string().as_bytes()).await;
    // One application under the id of another.
    cluster.etcd.put(&key(&twin), &good).await;
    let expected = [(no_json.id(), "not JSON"), (no_key.id(), "authKey"), (twin.id(), "appId")];
    refused_everywhere(&cluster, &expected).await;
    for (app, session) in &mut broken {
        serves(&cluster, app, session, "broken").await;
    }
    // Replicas that have never had the good ones take them from nobody.
    for replica in &mut cluster.control_planes {
        replica.start_again().await;
    }
    refused_everywhere(&cluster, &expected).await;
    for node in cluster.nodes.iter().chain(&cluster.gateways) {
        assert_eq!(metric(node, "realtime_config_refused").await, Some(3));
    }
    for (app, session) in &mut broken {
        serves(&cluster, app, session, "unknown").await;
    }
    // A good one takes its place without a restart of anything.
    let mut mended: Value = serde_json::from_slice(&good).expect("JSON");
    mended["description"] = json!("mended");
    cluster.etcd.put(&key(&no_json), mended.to_string().as_bytes()).await;
    refused_everywhere(&cluster, &expected[1..]).await;
    let path = format!("/api/apps/{}", no_json.id());
    let document = cluster.operator("GET", &path).send().await.expect(200);
    assert_eq!(document["description"], "mended");
    // And what cannot be mended can be removed.
    for app in [&no_key, &twin] {
        app.delete().await;
    }
    refused_everywhere(&cluster, &[]).await;
    let (app, session) = &mut broken[0];
    serves(&cluster, app, session, "mended").await;
}
