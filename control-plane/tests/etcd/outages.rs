//! Control planes while etcd is away, and after it has come back.

use std::time::{Duration, Instant};

use realtime_control_plane::store::{EtcdOptions, EtcdPassword, EtcdUser};
use realtime_control_plane::{ControlPlane, ControlPlaneError, Peering, ReplicaConfig};
use realtime_proto::ErrorCode;
use realtime_proto::generated::discovery as wire;
use realtime_testkit::{Etcd, eventually};
use serde_json::json;

use crate::node::{Node, hello};
use crate::plane::{Plane, app, assert_refused, gate};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_etcd_reads_go_on_writes_are_refused_and_streams_live() {
    let mut etcd = Etcd::start().await;
    let plane = Plane::replica(&EtcdOptions::new([etcd.url()])).await;
    let created = plane.create(&app("one")).await.unwrap();
    let (mut node, _) = Node::up(&plane.channel, hello("n1")).await;
    etcd.kill();
    assert_eq!(plane.get("one").await.unwrap(), created);
    assert_eq!(plane.list_nodes().await.len(), 1);
    let started = Instant::now();
    let patch = json!({"description": "x"});
    let refused = tokio::join!(plane.patch("one", &patch), plane.drain("n1"));
    assert_refused(refused.0, ErrorCode::Unavailable, &[]);
    assert_refused(refused.1, ErrorCode::Unavailable, &[]);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    node.report(wire::NodeState::Ready, 42).await;
    eventually("what the node says", async || {
        plane.list_nodes().await.into_iter().find(|n| n.connections == 42)
    })
    .await;

    etcd.restart().await;
    let patched = eventually("a write", async || plane.patch("one", &patch).await.ok()).await;
    let delta = node.until(|u| u.revision.number >= patched.version).await;
    assert!(!delta.snapshot, "on the stream that it had, from where it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_waits_for_an_etcd_that_is_not_there_yet() {
    let mut etcd = Etcd::start().await;
    etcd.kill();
    let options = EtcdOptions { call_limit: Duration::from_millis(500), ..EtcdOptions::new([etcd.url()]) };
    let opening = tokio::spawn(async move { Plane::replica(&options).await });
    etcd.restart().await;
    let plane = opening.await.unwrap();
    plane.create(&app("one")).await.unwrap();
}

#[tokio::test]
async fn what_waiting_does_not_help_is_said_at_once() {
    let etcd = Etcd::start().await;
    let user = Some(EtcdUser { name: "root".into(), password: EtcdPassword::Text("secret".into()) });
    let options = EtcdOptions { user, ..EtcdOptions::new([etcd.url()]) };
    let config = ReplicaConfig::new(Peering::plain("127.0.0.1:1"));
    let error = ControlPlane::open_on_etcd(&options, &config, &gate()).await.unwrap_err();
    assert!(matches!(error, ControlPlaneError::Etcd(_)), "{error:?}");
    assert!(error.to_string().contains("etcd-user") && !error.to_string().contains("secret"), "{error}");
}
