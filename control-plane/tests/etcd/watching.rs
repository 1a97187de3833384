//! What the tests of the store share: writing one key after another, and following as a control plane does.

use std::time::Duration;

use futures_util::StreamExt as _;
use realtime_control_plane::store::{
    ChangeStream, Changes, Commit, Condition, EtcdOptions, EtcdStore, Event, Op, Store, StoreError,
};
use realtime_testkit::Etcd;
use tokio::time::timeout;

/// Only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) async fn connect(etcd: &Etcd) -> EtcdStore {
    EtcdStore::connect(EtcdOptions::new([etcd.url()])).await.unwrap()
}

pub(crate) fn committed(result: Result<Commit, StoreError>) -> u64 {
    match result.unwrap() {
        Commit::Committed { revision } => revision,
        Commit::Conflict => panic!("a conflict"),
    }
}

pub(crate) async fn put(store: &dyn Store, key: &str, value: &str) -> u64 {
    committed(store.commit(vec![], vec![Op::put(key, value.to_owned())]).await)
}

/// Writes `n/0`, `n/1`, … up to `count`, each only once and after the one before, whatever fails meanwhile.
pub(crate) async fn write_numbers(store: &dyn Store, count: usize) {
    for n in 0..count {
        let key = format!("n/{n}");
        loop {
            let absent = vec![Condition::Absent(key.clone())];
            match store.commit(absent, vec![Op::put(&key, n.to_string())]).await {
                Ok(Commit::Committed { .. }) => break,
                Ok(Commit::Conflict) => panic!("{key} is ours alone"),
                // Unknown: then look.
                Err(_) => {
                    if let Ok(Some(_)) = store.get(&key).await {
                        break;
                    }
                }
            }
        }
    }
}

/// Follows from revision `from` until `count` keys below `n/` have come, resuming after each failure; how often it
/// has resumed. The keys come in order, each once.
pub(crate) async fn follow_numbers(store: &dyn Store, mut from: u64, count: usize) -> usize {
    let mut seen = 0;
    let mut resumed = 0;
    let following = async {
        while seen < count {
            let Ok(mut watch) = store.watch("n/", from).await else { continue };
            while seen < count {
                let Some(Ok(changes)) = watch.next().await else {
                    resumed += 1;
                    break;
                };
                assert!(changes.revision >= from, "revision {} again", changes.revision);
                from = changes.revision + 1;
                for event in &changes.events {
                    assert_eq!(event.key(), format!("n/{seen}"), "a gap");
                    seen += 1;
                }
            }
        }
    };
    timeout(PATIENCE, following).await.expect("all changes in time");
    resumed
}

pub(crate) async fn next(watch: &mut ChangeStream) -> Result<Changes, StoreError> {
    timeout(PATIENCE, watch.next()).await.expect("an item in time").expect("an item")
}

/// The keys that the next item puts.
pub(crate) async fn next_keys(watch: &mut ChangeStream) -> Vec<String> {
    let put = |event: Event| match event {
        Event::Put(entry) => entry.key,
        Event::Delete { key } => panic!("{key} was deleted"),
    };
    next(watch).await.unwrap().events.into_iter().map(put).collect()
}
