//! How long a change of an application takes until all nodes go by it.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use realtime_testkit::{Cluster, RawSocket, TestApp};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::times;

const NODES: usize = 10;
const APPS: usize = 1_000;
const CHANGES: usize = 200;
/// Between two looks at a node.
const POLL: Duration = Duration::from_millis(1);

pub(crate) async fn measure() {
    let cluster = Cluster::builder().nodes(NODES).start().await;
    let app = cluster.app().create().await;
    create(&cluster, APPS - 1).await;
    let (mut answered, mut in_force) = (Vec::new(), Vec::new());
    for change in 0..CHANGES {
        let enabled = change % 2 == 1;
        let started = Instant::now();
        app.patch(&json!({"enabled": enabled})).await;
        answered.push(started.elapsed());
        for node in &cluster.nodes {
            while is_enabled(&app.at(node)).await != enabled {
                sleep(POLL).await;
            }
        }
        in_force.push(started.elapsed());
    }
    println!(
        "| a change of one of {APPS} applications, {NODES} nodes | {} |\n|---|---|---|---|---|",
        times::COLUMNS
    );
    println!("| to its answer | {} |", times::row(answered));
    println!("| until it is in force on every node | {} |", times::row(in_force));
}

/// Whether a node refuses a session for its missing token, and not because the application is disabled.
async fn is_enabled(app: &TestApp) -> bool {
    let refusal = RawSocket::open(app.address(), &app.path(""), &[]).await.expect_err("no token, no session");
    refusal.status != 403
}

/// Creates so many applications through the gateway.
pub(crate) async fn create(cluster: &Cluster, apps: usize) {
    /// At one time.
    const CREATING: usize = 32;
    let signer = realtime_testkit::Signer::generate(realtime_testkit::Algorithm::HS256);
    let key = signer.key_config();
    let creations = stream::iter(0..apps).map(|number| {
        let app = json!({"name": format!("app {number}"), "authKey": key, "adminKey": key});
        let request = cluster.operator("POST", "/api/apps").json(&app);
        async move { request.send().await.expect(201) }
    });
    creations.buffer_unordered(CREATING).for_each(|_| async {}).await;
}
