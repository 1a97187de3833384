//! The keys of secrets in etcd are given, lost and replaced under running nodes.

use std::path::Path;

use realtime_cluster_tests::alone;
use realtime_testkit::server::Role;
use realtime_testkit::{Cluster, TestApp, eventually};
use serde_json::json;

use crate::configuration::{key, refused_everywhere, serves};

/// What the application's document is in etcd.
async fn stored(cluster: &Cluster, app: &TestApp) -> String {
    String::from_utf8(cluster.etcd.get(&key(app)).await).expect("a document")
}

/// Every replica with other keys, one after another.
async fn restart_with(cluster: &mut Cluster, file: &Path, keys: &[&str]) {
    std::fs::write(file, keys.join("\n")).expect("a file");
    for replica in &mut cluster.control_planes {
        replica.start_again().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_secrets_are_given_lost_and_replaced_and_no_session_notices() {
    let _alone = alone().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("secrets.key");
    let (old, new) = ("01".repeat(32), "02".repeat(32));
    std::fs::write(&file, format!("plain\n{old}\n")).expect("a file");
    let flag = ["--secrets-key", file.to_str().expect("UTF-8")];
    let mut cluster = Cluster::builder().args(Role::ControlPlane, &flag).start().await;
    let app = cluster.app().create().await;
    let mut session = app.connect("subscriber", &[]).await;
    session.subscribe("news").await;
    let (secret, path) = (app.signer.verification_key(), format!("/api/apps/{}", app.id()));
    let version = cluster.operator("GET", &path).send().await.expect(200)["version"].clone();
    assert!(stored(&cluster, &app).await.contains(&secret));
    assert!(cluster.control_planes[0].log().contains("secrets are stored in the clear"));

    restart_with(&mut cluster, &file, &[&old]).await;
    let encrypted = eventually("an encrypted document", async || {
        Some(stored(&cluster, &app).await).filter(|document| !document.contains(&secret))
    })
    .await;
    refused_everywhere(&cluster, &[]).await;
    serves(&cluster, &app, &mut session, "encrypted").await;
    assert_eq!(cluster.operator("GET", &path).send().await.expect(200)["version"], version);

    restart_with(&mut cluster, &file, &[&new]).await;
    refused_everywhere(&cluster, &[(app.id(), "--secrets-key")]).await;
    serves(&cluster, &app, &mut session, "lost").await;
    let kept = cluster.operator("PATCH", &path).json(&json!({"description": "new"})).send().await;
    assert_eq!(kept.status, 422, "{}", kept.text());
    assert!(kept.text().contains("authKey.key") && kept.text().contains("--secrets-key"), "{}", kept.text());
    for replica in &cluster.control_planes {
        let log = replica.log();
        let named =
            |line: &str| line.contains(&format!("apps/{}", app.id())) && line.contains("--secrets-key");
        assert!(log.lines().any(named) && !log.contains(&secret), "{log}");
    }
    assert_eq!(stored(&cluster, &app).await, encrypted, "as it was");

    restart_with(&mut cluster, &file, &[&new, &old]).await;
    refused_everywhere(&cluster, &[]).await;
    eventually("the document under the new key", async || {
        (stored(&cluster, &app).await != encrypted).then_some(())
    })
    .await;
    restart_with(&mut cluster, &file, &[&new]).await;
    refused_everywhere(&cluster, &[]).await;
    serves(&cluster, &app, &mut session, "replaced").await;
    assert_eq!(cluster.operator("GET", &path).send().await.expect(200)["version"], version);
}
