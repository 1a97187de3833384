//! Commits whose answers are lost: they have happened or not, and are never done twice.

use realtime_control_plane::store::{Commit, Condition, EtcdOptions, EtcdStore, Op, Store, StoreError};
use realtime_testkit::{Etcd, eventually};

use crate::plane::{Plane, app};
use crate::proxy::Proxy;
use crate::watching::{connect, put};

/// A store that asks over a proxy first and directly then.
async fn behind_proxy(etcd: &Etcd) -> (EtcdStore, Proxy) {
    let proxy = Proxy::to(&etcd.url()).await;
    let store = EtcdStore::connect(EtcdOptions::new([proxy.url(), etcd.url()])).await.unwrap();
    (store, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_an_answer_is_found_to_have_happened() {
    let etcd = Etcd::start().await;
    let (store, proxy) = behind_proxy(&etcd).await;
    let old = put(&store, "changed", "old").await;
    put(&store, "gone", "old").await;
    proxy.lose_answers();
    let conditions = vec![Condition::Absent("new".into()), Condition::Revision("changed".into(), old)];
    let ops = vec![Op::put("new", "1"), Op::put("changed", "2"), Op::Delete("gone".into())];
    let Ok(Commit::Committed { revision }) = store.commit(conditions, ops).await else {
        panic!("it has happened")
    };
    let listing = store.list("").await.unwrap();
    assert_eq!(listing.revision, revision, "once");
    assert_eq!(listing.entries.iter().map(|e| e.revision).collect::<Vec<_>>(), [revision, revision]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_an_answer_that_somebody_has_written_over_stays_unknown() {
    let etcd = Etcd::start().await;
    let (store, proxy) = behind_proxy(&etcd).await;
    let other = connect(&etcd).await;
    put(&store, "a", "1").await;
    proxy.lose_answers();
    let create = store.commit(vec![Condition::Absent("new".into())], vec![Op::put("new", "ours")]);
    let (outcome, ()) = tokio::join!(create, async {
        eventually("our write", async || other.get("new").await.unwrap()).await;
        put(&other, "new", "theirs").await;
    });
    assert!(matches!(&outcome, Err(StoreError::Failed(why)) if why.contains("unknown")), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_does_not_turn_the_creation_of_an_application_into_a_conflict() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(&etcd.url()).await;
    let plane = Plane::replica(&EtcdOptions::new([proxy.url(), etcd.url()])).await;
    proxy.lose_answers();
    let created = plane.create(&app("one")).await.expect("created, not taken by itself");
    assert_eq!(plane.get("one").await.unwrap(), created);
    plane.replace(&app("one"), created.version).await.expect("the version is right");
}
