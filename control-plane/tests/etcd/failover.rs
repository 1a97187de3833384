//! Members that die and members that hang: calls and watches go on at others.

use std::time::{Duration, Instant};

use realtime_control_plane::store::{EtcdError, EtcdOptions, EtcdStore, Store, StoreError};
use realtime_testkit::{Etcd, EtcdCluster, eventually};

use crate::watching::{connect, follow_numbers, next, next_keys, put, write_numbers};

/// The members' URLs, the one with this index first: it is asked first.
fn first(cluster: &EtcdCluster, index: usize) -> EtcdOptions {
    let mut urls = cluster.urls();
    urls.rotate_left(index);
    EtcdOptions::new(urls)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_member_that_serves_us_is_killed_leader_or_not() {
    const NUMBERS: usize = 400;
    for leader in [true, false] {
        let mut cluster = EtcdCluster::start(3).await;
        let led_by = cluster.leader().await;
        let asked = if leader { led_by } else { (led_by + 1) % 3 };
        let store = EtcdStore::connect(first(&cluster, asked)).await.unwrap();
        let from = store.list("").await.unwrap().revision + 1;
        let (_, resumed, ()) =
            tokio::join!(write_numbers(&store, NUMBERS), follow_numbers(&store, from, NUMBERS), async {
                let other = connect(&cluster.members[(asked + 1) % 3]).await;
                eventually("a quarter", async || {
                    other.get(&format!("n/{}", NUMBERS / 4)).await.ok().flatten()
                })
                .await;
                cluster.members[asked].kill();
            });
        assert!(resumed > 0, "the watch was at the member that was killed");
        assert_eq!(store.list("n/").await.unwrap().entries.len(), NUMBERS);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_hangs_is_left_for_another() {
    let cluster = EtcdCluster::start(3).await;
    let asked = (cluster.leader().await + 1) % 3;
    let store = EtcdStore::connect(first(&cluster, asked)).await.unwrap();
    let mut watch = store.watch("", put(&store, "before", "").await + 1).await.unwrap();
    cluster.members[asked].pause();
    let started = Instant::now();
    let revision = put(&store, "during", "").await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(matches!(next(&mut watch).await, Err(StoreError::Failed(_))), "a silent watch ends");
    let started = Instant::now();
    let mut watch = store.watch("", revision).await.unwrap();
    assert_eq!(next_keys(&mut watch).await, ["during"]);
    // It is not asked again for each call.
    put(&store, "after", "").await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    cluster.members[asked].resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_calls_fail_in_time_and_watches_end() {
    let mut cluster = EtcdCluster::start(3).await;
    let store = EtcdStore::connect(first(&cluster, 0)).await.unwrap();
    let mut watch = store.watch("", put(&store, "a", "1").await + 1).await.unwrap();
    cluster.members[1].kill();
    cluster.members[2].kill();
    let started = Instant::now();
    assert!(matches!(store.get("a").await, Err(StoreError::Failed(_))), "no stale reads");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert!(matches!(next(&mut watch).await, Err(StoreError::Failed(_))));
    cluster.members[1].restart().await;
    eventually("a majority", async || store.get("a").await.ok().flatten()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_etcd_loses_neither_changes_nor_leases() {
    let mut etcd = Etcd::start().await;
    let store = connect(&etcd).await;
    let id = store.id().to_owned();
    let lease = store.grant_lease(Duration::from_secs(5)).await.unwrap();
    let from = put(&store, "first", "").await + 1;
    let mut watch = store.watch("", from).await.unwrap();
    etcd.kill();
    let started = Instant::now();
    let refused = store.get("first").await;
    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert!(matches!(next(&mut watch).await, Err(StoreError::Failed(_))));
    etcd.restart().await;
    store.keep_alive(lease).await.expect("the lease has begun anew");
    put(&store, "second", "").await;
    assert_eq!(next_keys(&mut store.watch("", from).await.unwrap()).await, ["second"]);
    assert_eq!(connect(&etcd).await.id(), id);
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_said_within_the_limit() {
    let mut etcd = Etcd::start().await;
    etcd.kill();
    let limit = Duration::from_secs(1);
    let started = Instant::now();
    let options = EtcdOptions { call_limit: limit, ..EtcdOptions::new([etcd.url()]) };
    let error = EtcdStore::connect(options).await.unwrap_err();
    assert!(started.elapsed() < 2 * limit, "{:?}", started.elapsed());
    assert!(error.may_pass() && error.to_string().contains(&etcd.url()), "{error}");
    assert!(matches!(error, EtcdError::Unreachable(_)));
}

#[tokio::test]
async fn another_store_in_the_place_of_ours_is_noticed() {
    let etcd = Etcd::start().await;
    let store = connect(&etcd).await;
    let from = put(&store, "a", "1").await + 1;
    let mut raw = etcd_client::Client::connect([etcd.url()], None).await.unwrap();
    raw.put("/realtime", "another store", None).await.unwrap();
    let refused = store.watch("", from).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("another store"), "{refused}");
    assert_eq!(store.get("a").await, Err(refused), "and nothing is done in it");
    assert_eq!(connect(&etcd).await.id(), "another store");
}

#[tokio::test]
async fn stores_under_different_prefixes_do_not_see_each_other() {
    let etcd = Etcd::start().await;
    let at = |prefix: &str| EtcdOptions { prefix: prefix.into(), ..EtcdOptions::new([etcd.url()]) };
    let one = EtcdStore::connect(at("/one")).await.unwrap();
    let other = EtcdStore::connect(at("/one-more/")).await.unwrap();
    assert_ne!(one.id(), other.id());
    let mut watch = one.watch("", 1).await.unwrap();
    put(&other, "a", "other").await;
    assert!(one.list("").await.unwrap().entries.is_empty());
    put(&one, "a", "one").await;
    assert_eq!(next_keys(&mut watch).await, ["a"]);
    assert_eq!(&other.get("a").await.unwrap().unwrap().value[..], b"other");
}
