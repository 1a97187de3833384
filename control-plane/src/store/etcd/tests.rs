//! The contract on a real etcd, and what only a store in another process can meet.

use realtime_testkit::Etcd;

use super::{EtcdOptions, EtcdStore};

crate::store::contract::store_contract!(fresh);

async fn fresh() -> (EtcdStore, Etcd) {
    let etcd = Etcd::start().await;
    let store = EtcdStore::connect(EtcdOptions::new([etcd.url()])).await.unwrap();
    (store, etcd)
}
