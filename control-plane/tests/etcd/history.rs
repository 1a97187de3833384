//! Long histories and large ones: listings in pages, answers in pieces, and what has been compacted.

use bytes::Bytes;
use realtime_control_plane::store::{EtcdOptions, EtcdStore, Op, Store, StoreError};
use realtime_testkit::Etcd;

use crate::watching::{committed, connect, next, next_keys, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_and_histories_larger_than_an_answer_come_whole() {
    const COUNT: usize = 300;
    let etcd = Etcd::start().await;
    let store = connect(&etcd).await;
    let value = Bytes::from(vec![b'x'; 100 * 1024]);
    let first = put(&store, "k/", "").await + 1;
    let key = |i: usize| format!("k/{i:03}");
    for i in 0..COUNT / 2 {
        // Of each revision, half in one piece and half in the next, sooner or later.
        let pair = [2 * i, 2 * i + 1].map(|i| Op::put(key(i), value.clone()));
        committed(store.commit(vec![], pair.into()).await);
    }
    let mut watch = store.watch("k/", first).await.unwrap();
    for i in 0..COUNT / 2 {
        assert_eq!(next_keys(&mut watch).await, [key(2 * i), key(2 * i + 1)], "a revision at once");
    }
    let keys: Vec<_> = store.list("k/0").await.unwrap().entries.into_iter().map(|e| e.key).collect();
    assert_eq!(keys, (0..100).map(key).collect::<Vec<_>>());
    assert_eq!(store.list("").await.unwrap().entries.len(), COUNT + 1);
}

#[tokio::test]
async fn what_has_been_compacted_is_said_and_what_is_kept_comes() {
    let etcd = Etcd::start().await;
    let store = connect(&etcd).await;
    let first = put(&store, "a", "1").await;
    put(&store, "a", "2").await;
    let kept = put(&store, "b", "1").await;
    put(&store, "c", "1").await;
    store.compact(kept).await.unwrap();
    store.compact(kept).await.expect("again is no error");
    let gone = StoreError::Compacted { through: kept - 1 };
    assert_eq!(next(&mut store.watch("", first).await.unwrap()).await, Err(gone.clone()));
    assert_eq!(next(&mut store.watch("", kept - 1).await.unwrap()).await, Err(gone));
    let mut watch = store.watch("", kept).await.unwrap();
    assert_eq!(next_keys(&mut watch).await, ["b"]);
    assert_eq!(next_keys(&mut watch).await, ["c"]);
    assert_eq!(store.list("").await.unwrap().entries.len(), 3, "what is there stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_etcd_says_so_and_can_be_read() {
    let etcd = Etcd::start_with(&["--quota-backend-bytes", "3000000"]).await;
    let store = EtcdStore::connect(EtcdOptions::new([etcd.url()])).await.unwrap();
    let value = Bytes::from(vec![b'x'; 256 * 1024]);
    let error = loop {
        match store.commit(vec![], vec![Op::put("a", value.clone())]).await {
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("quota") && error.contains("compact"), "{error}");
    assert!(store.get("a").await.unwrap().is_some());
}
