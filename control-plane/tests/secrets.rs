//! Secrets at rest, on the embedded store and on etcd: what lies in the store, and what nodes and callers see.
#![allow(clippy::unwrap_used)]

#[path = "services/node.rs"]
#[allow(dead_code)] // The services' tests use more of both.
mod node;
#[path = "services/plane.rs"]
#[allow(dead_code)]
mod plane;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use realtime_control_plane::store::{EmbeddedStore, EtcdOptions, EtcdStore, Op, Store, StoreError};
use realtime_control_plane::{ControlPlaneConfig, ReplicaConfig, SecretKeys, encrypted_app};
use realtime_proto::ErrorCode;
use realtime_proto::app::SecretField;
use realtime_proto::generated::admin as wire;
use realtime_testkit::{Etcd, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

use node::{Node, hello};
use plane::{
    ADMIN_SECRET, AUTH_SECRET, MANAGE_APPLICATION, Plane, answer, app, app_token, assert_refused, document,
    key,
};

const AWS_SECRET: &str = "hush-hush-aws-secret-access-key";
const SECRETS: [&str; 3] = [ADMIN_SECRET, AUTH_SECRET, AWS_SECRET];
const FIELDS: [&str; 3] = ["authKey.key", "adminKey.key", "amazonSqsForwarder.secretAccessKey"];

/// Keys as files have them.
const OLD: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const NEW: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

/// A store that outlives its control planes.
enum Kept {
    Directory(TempDir),
    Etcd(Etcd),
}

impl Kept {
    async fn on_etcd() -> Self {
        Self::Etcd(Etcd::start().await)
    }

    async fn in_a_directory() -> Self {
        Self::Directory(TempDir::new().unwrap())
    }

    /// A control plane with these keys; with none if there is no text.
    async fn start(&self, keys: &str) -> Plane {
        let secrets = match keys {
            "" => SecretKeys::default(),
            keys => SecretKeys::parse(keys).unwrap(),
        };
        match self {
            Self::Directory(directory) => {
                Plane::open(ControlPlaneConfig { secrets, ..ControlPlaneConfig::new(directory.path()) }).await
            }
            Self::Etcd(etcd) => {
                let options = EtcdOptions::new([etcd.url()]);
                Plane::replica_with(&options, |config| ReplicaConfig { secrets, ..config }).await
            }
        }
    }

    /// The store itself, for as long as no control plane runs on a directory.
    async fn store(&self) -> Box<dyn Store> {
        match self {
            Self::Directory(directory) => Box::new(EmbeddedStore::open(directory.path()).await.unwrap()),
            Self::Etcd(etcd) => Box::new(EtcdStore::connect(EtcdOptions::new([etcd.url()])).await.unwrap()),
        }
    }

    /// An application's document as it lies there.
    async fn stored(&self, app_id: &str) -> Value {
        let store = self.store().await;
        let entry = store.get(&format!("apps/{app_id}")).await.unwrap().unwrap();
        store.close().await;
        document(&entry.value)
    }

    /// Every byte of the file, or every value of etcd.
    async fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Directory(directory) => std::fs::read(directory.path().join("control-plane.redb")).unwrap(),
            Self::Etcd(etcd) => {
                let mut client = etcd_client::Client::connect([etcd.url()], None).await.unwrap();
                let all = etcd_client::GetOptions::new().with_all_keys();
                let answer = client.get("", Some(all)).await.unwrap();
                answer.kvs().iter().flat_map(|kv| kv.value().to_vec()).collect()
            }
        }
    }

    /// Waits until a document was encrypted anew, which the API does not show.
    async fn rewritten(&self) {
        let is_there = async || holds(&self.bytes().await, "versionKept").then_some(());
        eventually("a document that was encrypted anew", is_there).await;
    }

    /// Puts a document there past the control plane.
    async fn put(&self, app_id: &str, document: &Value) {
        let store = self.store().await;
        let put = Op::put(format!("apps/{app_id}"), document.to_string());
        store.commit(vec![], vec![put]).await.unwrap();
        store.close().await;
    }
}

/// Makes a test of a behaviour for each store.
macro_rules! on_both_stores {
    ($($behaviour:ident,)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() { super::$behaviour(super::Kept::in_a_directory().await).await; })*
        }
        mod etcd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() { super::$behaviour(super::Kept::on_etcd().await).await; })*
        }
    };
}
on_both_stores!(
    no_secret_lies_in_the_store_and_a_restart_and_a_write_without_it_keep_it,
    a_store_in_the_clear_is_encrypted_at_the_next_start_and_nobody_sees_a_change,
    a_key_is_replaced_by_another_and_then_needed_no_more,
    without_its_key_an_application_is_named_and_never_overwritten_until_new_secrets_come,
    a_secret_that_was_moved_to_another_place_is_refused,
    a_write_while_documents_are_encrypted_anew_is_not_undone,
);

fn with_secrets(app_id: &str) -> Value {
    let mut document = app(app_id);
    document["amazonSqsForwarder"] = json!({
        "queueUrl": "https://sqs.eu-west-1.amazonaws.com/1/q", "region": "eu-west-1",
        "accessKeyId": "AKIA", "secretAccessKey": AWS_SECRET,
    });
    document
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What a node that comes up gets of the application; every secret in it.
async fn seen_by_a_node(plane: &Plane) -> Value {
    let (_node, update) = Node::up(&plane.channel, hello("n1")).await;
    let seen = update.apps["demo"].clone();
    let secrets =
        [&seen["adminKey"]["key"], &seen["authKey"]["key"], &seen["amazonSqsForwarder"]["secretAccessKey"]];
    assert_eq!(secrets, SECRETS.map(|secret| json!(secret)).each_ref());
    seen
}

/// The id of the key that a stored secret is encrypted with.
fn key_id(stored: &Value, field: SecretField) -> String {
    field.envelope(stored).unwrap().split(':').nth(1).unwrap().to_owned()
}

async fn no_secret_lies_in_the_store_and_a_restart_and_a_write_without_it_keep_it(kept: Kept) {
    let plane = kept.start(OLD).await;
    let created = plane.create(&with_secrets("demo")).await.unwrap();
    let patched = plane.patch("demo", &json!({"description": "kept"})).await.unwrap();
    let mut replacement = document(&patched.document_json);
    replacement["description"] = json!("kept again");
    let replaced = plane.replace(&replacement, patched.version).await.unwrap();
    for answered in [&created, &replaced, &plane.get("demo").await.unwrap()] {
        let text = String::from_utf8(answered.document_json.to_vec()).unwrap();
        assert!(SECRETS.iter().all(|secret| !text.contains(secret)), "{text}");
    }
    seen_by_a_node(&plane).await;
    plane.stop().await;

    let bytes = kept.bytes().await;
    assert!(holds(&bytes, "The app demo") && holds(&bytes, "AKIA"), "the rest is readable");
    for secret in SECRETS {
        assert!(!holds(&bytes, secret), "{secret}");
    }
    let plane = kept.start(OLD).await;
    assert_eq!(plane.get("demo").await.unwrap(), replaced);
    seen_by_a_node(&plane).await;
    let get = wire::GetAppRequest { app_id: "demo".into() };
    answer(plane.apps().get(app_token(get, &[MANAGE_APPLICATION])).await).expect("its admin's tokens verify");
}

async fn a_store_in_the_clear_is_encrypted_at_the_next_start_and_nobody_sees_a_change(kept: Kept) {
    let plane = kept.start("").await;
    let created = plane.create(&with_secrets("demo")).await.unwrap();
    let seen = seen_by_a_node(&plane).await;
    plane.stop().await;
    assert_eq!(SecretField::AUTH_KEY.text(&kept.stored("demo").await), Some(AUTH_SECRET));

    let plane = kept.start(OLD).await;
    let (mut node, _) = Node::up(&plane.channel, hello("watching")).await;
    kept.rewritten().await;
    assert_eq!(plane.get("demo").await.unwrap(), created, "the same version");
    assert_eq!(seen_by_a_node(&plane).await, seen);
    // The next thing that the node hears of is the next thing that has happened.
    plane.create(&app("later")).await.unwrap();
    let update = node.until(|update| update.apps.contains_key("later")).await;
    assert!(!update.snapshot && update.apps.get("demo").is_none_or(|again| *again == seen), "{update:?}");
    plane.stop().await;
    let stored = kept.stored("demo").await;
    assert!(SECRETS.iter().all(|secret| !stored.to_string().contains(secret)), "{stored}");
    if let Kept::Directory(_) = kept {
        let store = kept.store().await;
        let history = store.watch("apps/", 1).await.unwrap().next().await.unwrap();
        assert!(matches!(history, Err(StoreError::Compacted { .. })), "{history:?}");
        store.close().await;
    }

    let plane = kept.start(OLD).await;
    assert_eq!(plane.get("demo").await.unwrap(), created, "whatever the store's revision");
    seen_by_a_node(&plane).await;
    let replaced = plane.replace(&document(&created.document_json), created.version).await.unwrap();
    assert!(replaced.version > created.version);
    let stale = plane.replace(&document(&created.document_json), created.version).await;
    assert_refused(stale, ErrorCode::StaleVersion, &[]);
}

async fn a_key_is_replaced_by_another_and_then_needed_no_more(kept: Kept) {
    let plane = kept.start(OLD).await;
    let created = plane.create(&with_secrets("demo")).await.unwrap();
    plane.stop().await;
    let before = key_id(&kept.stored("demo").await, SecretField::AUTH_KEY);

    let plane = kept.start(&format!("{NEW}\n{OLD}")).await;
    seen_by_a_node(&plane).await;
    let other = plane.create(&with_secrets("other")).await.unwrap();
    kept.rewritten().await;
    plane.stop().await;
    let stored = kept.stored("demo").await;
    let now = key_id(&stored, SecretField::AUTH_KEY);
    assert_ne!(now, before);
    for field in [SecretField::AUTH_KEY, SecretField::ADMIN_KEY, SecretField::SQS] {
        assert_eq!(key_id(&stored, field), now, "all of them, and one key has one id");
    }

    let plane = kept.start(NEW).await;
    assert_eq!(plane.get("demo").await.unwrap(), created);
    assert_eq!(plane.get("other").await.unwrap(), other);
    seen_by_a_node(&plane).await;
}

async fn without_its_key_an_application_is_named_and_never_overwritten_until_new_secrets_come(kept: Kept) {
    let plane = kept.start(OLD).await;
    let created = plane.create(&with_secrets("demo")).await.unwrap();
    plane.create(&app("deleted")).await.unwrap();
    plane.stop().await;
    let stored = kept.stored("demo").await;

    for (keys, why) in [("", "there is no --secrets-key"), (NEW, "which is not in --secrets-key")] {
        // Told to nodes, those too that have come from a replica that could decrypt it; they refuse it and say so.
        let plane = kept.start(OLD).await;
        let (node, _) = Node::up(&plane.channel, hello("n1")).await;
        plane.stop().await;
        let plane = kept.start(keys).await;
        let (node, update) = Node::up(&plane.channel, node.hello).await;
        let told = realtime_proto::AppConfig::from_stored(&update.apps["demo"]).unwrap_err().to_string();
        assert!(told.contains("authKey.key: is encrypted") && told.contains("--secrets-key"), "{told}");
        // For whoever is no operator it is not there.
        let get = wire::GetAppRequest { app_id: "demo".into() };
        let got = answer(plane.apps().get(app_token(get, &[MANAGE_APPLICATION])).await);
        assert_refused(got, ErrorCode::AppNotFound, &[]);
        assert_eq!(plane.get("demo").await.unwrap(), created);
        let kept_secrets = plane.patch("demo", &json!({"description": "new"})).await;
        let error = kept_secrets.clone().unwrap_err();
        assert!(error.fields.iter().all(|field| field.message.contains(why)), "{error}");
        assert_refused(kept_secrets, ErrorCode::Unprocessable, &FIELDS);
        assert_refused(plane.create(&app("demo")).await, ErrorCode::AppIdTaken, &[]);
        plane.stop().await;
        assert_eq!(kept.stored("demo").await, stored, "as it was");
        // The right key changes nothing in the store, and is news all the same.
        let plane = kept.start(OLD).await;
        let (_node, update) = Node::up(&plane.channel, node.hello).await;
        assert_eq!(update.apps["demo"]["authKey"]["key"], AUTH_SECRET);
        plane.stop().await;
    }

    let plane = kept.start(NEW).await;
    let one = plane.patch("demo", &json!({"authKey": {"key": AUTH_SECRET}})).await;
    assert_refused(one, ErrorCode::Unprocessable, &FIELDS[1..]);
    let mended = plane.replace(&with_secrets("demo"), created.version).await.unwrap();
    assert!(mended.version > created.version);
    seen_by_a_node(&plane).await;
    plane.delete("deleted", 0).await.unwrap();
    plane.create(&app("deleted")).await.expect("id and name are free again");
    plane.stop().await;
    let plane = kept.start(NEW).await;
    assert_eq!(plane.get("demo").await.unwrap(), mended);
}

async fn a_secret_that_was_moved_to_another_place_is_refused(kept: Kept) {
    let plane = kept.start(OLD).await;
    let mut watched = app("watched");
    watched["adminKey"] = key("a secret that its thief does not know");
    plane.create(&watched).await.unwrap();
    plane.create(&app("thief")).await.unwrap();
    plane.stop().await;
    let (watched, thief) = (kept.stored("watched").await, kept.stored("thief").await);
    let stolen = SecretField::ADMIN_KEY.envelope(&watched).unwrap().to_owned();
    let mut elsewhere = thief.clone();
    SecretField::ADMIN_KEY.set_envelope(&mut elsewhere, stolen.clone());
    kept.put("thief", &elsewhere).await;
    let mut exchanged = watched.clone();
    SecretField::AUTH_KEY.set_envelope(&mut exchanged, stolen);
    kept.put("watched", &exchanged).await;

    let plane = kept.start(OLD).await;
    for (app_id, field) in [("thief", "adminKey.key"), ("watched", "authKey.key")] {
        let refused = plane.patch(app_id, &json!({"description": "new"})).await;
        let why = refused.clone().unwrap_err().to_string();
        assert!(why.contains("for another application or attribute"), "{why}");
        assert_refused(refused, ErrorCode::Unprocessable, &[field]);
    }
    plane.patch("thief", &json!({"adminKey": {"key": ADMIN_SECRET}})).await.expect("mended");
}

async fn a_write_while_documents_are_encrypted_anew_is_not_undone(kept: Kept) {
    let ids: Vec<String> = (0..40).map(|i| format!("app-{i}")).collect();
    let plane = kept.start("").await;
    for id in &ids {
        plane.create(&app(id)).await.unwrap();
    }
    plane.stop().await;
    let plane = kept.start(OLD).await;
    // From the last one on, against the direction of the other.
    let change = json!({"description": "changed"});
    let changes = ids.iter().rev().map(|id| plane.patch(id, &change));
    let changed: Vec<_> = join_all(changes).await.into_iter().map(Result::unwrap).collect();
    for app in &changed {
        assert_eq!(plane.get(&app.app_id).await.unwrap(), *app);
    }
    plane.stop().await;
    for id in [&ids[0], &ids[20], &ids[39]] {
        let stored = kept.stored(id).await;
        assert_eq!(stored["description"], "changed");
        assert!(SecretField::AUTH_KEY.envelope(&stored).is_some(), "{stored}");
    }
    let plane = kept.start(OLD).await;
    for app in &changed {
        assert_eq!(plane.get(&app.app_id).await.unwrap(), *app);
    }
}

#[tokio::test]
async fn a_store_tells_whether_it_has_encrypted_secrets() {
    let kept = Kept::in_a_directory().await;
    let (clear, secret) = ("in-the-clear", "secret");
    for (keys, app_id, found) in [("", clear, None), (OLD, secret, Some(secret))] {
        let plane = kept.start(keys).await;
        plane.create(&app(app_id)).await.unwrap();
        plane.delete(clear, 0).await.ok();
        plane.stop().await;
        let store = kept.store().await;
        assert_eq!(encrypted_app(&*store).await.unwrap().as_deref(), found);
        store.close().await;
    }
}
