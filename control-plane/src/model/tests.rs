//! The state's rules, and a follower whose store fails it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use realtime_auth::JwksCache;
use realtime_proto::{AppConfig, Settings};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{Model, State};
use crate::keys::{self, Subject};
use crate::secrets::SecretKeys;
use crate::store::{
    ChangeStream, Changes, Commit, Condition, EmbeddedStore, Entry, Event, LeaseId, Listing, Op, Store,
    StoreError,
};
use crate::usage::Usage;

/// An application's stored document.
pub(crate) fn stored(id: &str, description: &str) -> String {
    let key =
        json!({"source": "raw", "key": "a secret of thirty-two bytes or more", "algorithms": ["HS256"]});
    let document = json!({
        "appId": id, "name": format!("App {id}"), "description": description, "adminKey": key, "authKey": key,
    });
    AppConfig::create(&document, "2026-01-01T00:00:00.000Z").unwrap().to_stored().to_string()
}

pub(crate) fn entry(key: String, value: String, revision: u64) -> Entry {
    Entry { key, value: value.into(), revision, lease: None }
}

fn put(revision: u64, key: String, value: String) -> Changes {
    Changes { revision, events: vec![Event::Put(entry(key, value, revision))] }
}

fn subjects(names: &[&str]) -> Vec<Subject> {
    names.iter().map(|id| Subject::App((*id).to_owned())).collect()
}

#[test]
fn the_log_names_what_changed_after_a_revision() {
    let mut state = State::new(SecretKeys::default(), JwksCache::offline());
    state.replace(Listing { revision: 10, entries: vec![entry(keys::app("a"), stored("a", ""), 3)] });
    assert_eq!(state.changed_since(9), None, "before the listing nothing is known");
    assert!(state.changed_since(10).unwrap().is_empty());
    state.apply(&put(11, keys::app("b"), stored("b", "")));
    state.apply(&put(12, keys::app("b"), stored("b", "x")));
    state.apply(&Changes { revision: 13, events: vec![Event::Delete { key: keys::app("a") }] });
    state.apply(&put(14, keys::app_name("x"), "b".into()));
    assert_eq!(Vec::from_iter(state.changed_since(10).unwrap()), subjects(&["a", "b"]));
    assert_eq!(Vec::from_iter(state.changed_since(12).unwrap()), subjects(&["a"]));
    assert!(state.changed_since(13).unwrap().is_empty());
    assert_eq!((state.revision, state.apps.len()), (14, 1));
    assert_eq!(state.apps["b"].app.version, 12);
}

#[test]
fn the_log_is_bounded_and_forgets_whole_revisions() {
    let mut state = State::new(SecretKeys::default(), JwksCache::offline());
    let pair = |revision| Changes {
        revision,
        events: vec![Event::Delete { key: keys::app("a") }, Event::Delete { key: keys::app("b") }],
    };
    for revision in 1..=20_000 {
        state.apply(&pair(revision));
    }
    let oldest = (0..20_000).find(|revision| state.changed_since(*revision).is_some()).unwrap();
    assert!((1..20_000).contains(&oldest));
    assert_eq!(Vec::from_iter(state.changed_since(oldest).unwrap()), subjects(&["a", "b"]));
}

#[test]
fn a_document_that_does_not_validate_leaves_the_last_good_one() {
    let mut state = State::new(SecretKeys::default(), JwksCache::offline());
    state.apply(&put(1, keys::app("a"), stored("a", "good")));
    for (revision, bad) in (2..).zip(["not JSON".to_owned(), "{}".to_owned(), stored("b", "another's")]) {
        state.apply(&put(revision, keys::app("a"), bad));
    }
    assert_eq!(state.apps["a"].app.config.description, "good");
    assert_eq!((state.apps.len(), state.revision), (1, 4));
}

#[test]
fn an_application_whose_secrets_were_encrypted_anew_is_no_news() {
    let keys = SecretKeys::parse(&"01".repeat(32)).unwrap();
    let mut state = State::new(keys.clone(), JwksCache::offline());
    let plain = stored("a", "");
    state.apply(&put(1, keys::app("a"), plain.clone()));
    let before = Arc::clone(&state.apps["a"]);
    let config = AppConfig::from_stored(&serde_json::from_str(&plain).unwrap()).unwrap();
    let mut anew: serde_json::Value =
        serde_json::from_slice(&crate::secrets::stored(&config, &keys).unwrap()).unwrap();
    anew["versionKept"] = json!(1);
    state.apply(&put(2, keys::app("a"), anew.to_string()));
    assert!(state.changed_since(1).unwrap().is_empty());
    assert_eq!((state.revision, state.apps["a"].app.version), (2, 1));
    assert_eq!(state.apps["a"].for_nodes, before.for_nodes);
    // A document that cannot be decrypted is news, and so is the good one after it.
    anew["authKey"]["key"]["encrypted"] = json!("v1:0123456789abcdef:AAAA");
    state.apply(&put(3, keys::app("a"), anew.to_string()));
    assert_eq!(Vec::from_iter(state.changed_since(2).unwrap()), subjects(&["a"]));
    state.apply(&put(4, keys::app("a"), plain));
    assert_eq!(Vec::from_iter(state.changed_since(3).unwrap()), subjects(&["a"]));
}

#[test]
fn a_new_listing_drops_what_is_gone_and_keeps_what_is_the_same() {
    let mut state = State::new(SecretKeys::default(), JwksCache::offline());
    state.apply(&put(1, keys::app("same"), stored("same", "")));
    state.apply(&put(2, keys::app("gone"), stored("gone", "")));
    let before = Arc::clone(&state.apps["same"]);
    let same = entry(keys::app("same"), stored("same", ""), 1);
    let new = entry(keys::app("new"), stored("new", ""), 5);
    state.replace(Listing { revision: 5, entries: vec![new, same] });
    assert_eq!(state.apps.keys().map(|id| id.as_str()).collect::<Vec<_>>(), ["new", "same"]);
    assert!(Arc::ptr_eq(&before, &state.apps["same"]));
    assert_eq!(state.changed_since(2), None);
}

#[test]
fn a_new_listing_with_documents_that_do_not_validate_leaves_the_last_good_ones() {
    let mut state = State::new(SecretKeys::default(), JwksCache::offline());
    state.apply(&put(1, keys::SETTINGS.into(), Settings::default().to_json().to_string()));
    state.apply(&put(2, keys::app("a"), stored("a", "good")));
    let bad = [keys::SETTINGS.to_owned(), keys::app("a")].map(|key| entry(key, "not JSON".into(), 3));
    state.replace(Listing { revision: 3, entries: bad.into() });
    assert_eq!(state.settings.as_ref().map(|settings| settings.version), Some(1));
    assert_eq!(state.apps["a"].app.config.description, "good");
}

/// A store whose first watch has fallen behind.
#[derive(Debug)]
struct Behind {
    inner: EmbeddedStore,
    healthy: AtomicBool,
}

#[async_trait]
impl Store for Behind {
    fn id(&self) -> &str {
        self.inner.id()
    }
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.inner.get(key).await
    }
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.inner.list(prefix).await
    }
    async fn watch(&self, prefix: &str, from: u64) -> Result<ChangeStream, StoreError> {
        if self.healthy.swap(true, Ordering::Relaxed) {
            return self.inner.watch(prefix, from).await;
        }
        Ok(stream::iter([Err(StoreError::Compacted { through: from })]).boxed())
    }
    async fn commit(&self, conditions: Vec<Condition>, ops: Vec<Op>) -> Result<Commit, StoreError> {
        self.inner.commit(conditions, ops).await
    }
    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.inner.grant_lease(ttl).await
    }
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.keep_alive(lease).await
    }
    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.revoke_lease(lease).await
    }
    async fn compact(&self, before: u64) -> Result<(), StoreError> {
        self.inner.compact(before).await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}

#[tokio::test]
async fn a_follower_whose_watch_fell_behind_reads_everything_again() {
    let directory = TempDir::new().unwrap();
    let inner = EmbeddedStore::open(directory.path()).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(Behind { inner, healthy: AtomicBool::new(false) });
    let usage = Usage::open(Arc::clone(&store), "r").await.unwrap();
    let (model, follower) =
        Model::open(Arc::clone(&store), SecretKeys::default(), JwksCache::offline(), usage).await.unwrap();
    let missed = Op::put(keys::app("missed"), stored("missed", ""));
    store.commit(vec![], vec![missed]).await.unwrap();
    let stop = CancellationToken::new();
    let following = tokio::spawn(follower.run(stop.clone()));
    model.reached(1).await;
    assert!(model.app("missed").is_some());
    assert_eq!(model.read().changed_since(0), None, "streams must get snapshots");
    let later = Op::put(keys::app("later"), stored("later", ""));
    store.commit(vec![], vec![later]).await.unwrap();
    model.reached(2).await;
    assert!(model.app("later").is_some(), "and it follows again");
    stop.cancel();
    following.await.unwrap();
}
