//! The contract suite on the embedded backend, and what only a file can get wrong.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, io};

use futures_util::StreamExt as _;
use redb::StorageBackend;
use redb::backends::FileBackend;
use tempfile::TempDir;

use super::{EmbeddedStore, FILE, OpenError, RESTART_GRACE, Tuning};
use crate::store::contract::store_contract;
use crate::store::embedded::tables::LogLimits;
use crate::store::{Commit, Op, Store as _, StoreError};

async fn fresh() -> (EmbeddedStore, TempDir) {
    let directory = TempDir::new().unwrap();
    (EmbeddedStore::open(directory.path()).await.unwrap(), directory)
}

store_contract!(fresh);

async fn put(store: &EmbeddedStore, key: &str, value: Vec<u8>) -> u64 {
    match store.commit(vec![], vec![Op::put(key, value)]).await.unwrap() {
        Commit::Committed { revision } => revision,
        Commit::Conflict => panic!("a conflict"),
    }
}

async fn tuned(directory: &Path, log: LogLimits, restart_grace: Duration) -> EmbeddedStore {
    EmbeddedStore::open_tuned(directory, Tuning { log, restart_grace }).await.unwrap()
}

const SMALL_LOG: LogLimits = LogLimits { events: 10, bytes: 10_000 };

#[tokio::test]
async fn data_revision_id_and_change_log_survive_a_restart() {
    let (store, directory) = fresh().await;
    let id = store.id().to_owned();
    let first = put(&store, "a", b"1".to_vec()).await;
    put(&store, "b", b"2".to_vec()).await;
    store.close().await;
    let store = EmbeddedStore::open(directory.path()).await.unwrap();
    assert_eq!(store.id(), id);
    assert_eq!(store.list("").await.unwrap().entries.len(), 2);
    let mut watch = store.watch("", first).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, first);
    assert_eq!(watch.next().await.unwrap().unwrap().revision, first + 1);
    assert_eq!(put(&store, "c", vec![]).await, first + 2);
}

#[tokio::test]
async fn two_stores_have_two_ids() {
    let ((a, _a), (b, _b)) = (fresh().await, fresh().await);
    assert_ne!(a.id(), b.id());
}

#[tokio::test]
async fn what_the_log_no_longer_holds_is_answered_with_compacted() {
    let directory = TempDir::new().unwrap();
    let store = tuned(directory.path(), SMALL_LOG, RESTART_GRACE).await;
    for i in 0..30_u8 {
        put(&store, "k", vec![i]).await;
    }
    let mut watch = store.watch("", 20).await.unwrap();
    assert_eq!(watch.next().await, Some(Err(StoreError::Compacted { through: 20 })));
    assert!(watch.next().await.is_none());
    let mut watch = store.watch("", 21).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, 21);
    // Large values shorten it by bytes, a revision leaves as a whole, and the newest always stays.
    put(&store, "large", vec![0; 8_000]).await;
    let ops = vec![Op::put("x", vec![0; 9_000]), Op::put("y", vec![0; 9_000])];
    store.commit(vec![], ops).await.unwrap();
    let mut watch = store.watch("", 31).await.unwrap();
    assert_eq!(watch.next().await, Some(Err(StoreError::Compacted { through: 31 })));
    let mut watch = store.watch("", 32).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().events.len(), 2);
}

#[tokio::test]
async fn keys_with_a_lease_get_a_new_chance_after_a_restart_and_then_go() {
    let directory = TempDir::new().unwrap();
    let store = tuned(directory.path(), SMALL_LOG, RESTART_GRACE).await;
    let mut leases = Vec::new();
    for key in ["kept", "lost"] {
        let lease = store.grant_lease(Duration::from_secs(600)).await.unwrap();
        store
            .commit(vec![], vec![Op::Put { key: key.into(), value: "v".into(), lease: Some(lease) }])
            .await
            .unwrap();
        leases.push(lease);
    }
    store.close().await;
    let store = tuned(directory.path(), SMALL_LOG, Duration::from_millis(300)).await;
    assert!(store.get("lost").await.unwrap().is_some());
    // The holder of `kept` comes back with a lease of its own.
    let lease = store.grant_lease(Duration::from_secs(600)).await.unwrap();
    store
        .commit(vec![], vec![Op::Put { key: "kept".into(), value: "v".into(), lease: Some(lease) }])
        .await
        .unwrap();
    let mut watch = store.watch("lost", 4).await.unwrap();
    let gone = watch.next().await.unwrap().unwrap();
    assert_eq!(gone.events.len(), 1);
    assert!(store.get("kept").await.unwrap().is_some());
    assert_eq!(store.keep_alive(leases[0]).await, Err(StoreError::LeaseNotFound));
}

#[tokio::test]
async fn only_the_owner_can_read_the_file_and_a_new_directory() {
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("data");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    EmbeddedStore::open(&directory).await.unwrap().close().await;
    assert_eq!((mode(&directory), mode(&directory.join(FILE))), (0o700, 0o600));
    // A file that was made readable, by a copy for instance, is closed again.
    fs::set_permissions(directory.join(FILE), fs::Permissions::from_mode(0o644)).unwrap();
    EmbeddedStore::open(&directory).await.unwrap().close().await;
    assert_eq!(mode(&directory.join(FILE)), 0o600);
}

#[tokio::test]
async fn a_file_of_something_else_is_named_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join(FILE);
    for content in [vec![], b"{\"apps\":[]}".to_vec(), vec![0; 70_000], vec![b'x'; 70_000]] {
        fs::write(&path, &content).unwrap();
        let error = EmbeddedStore::open(directory.path()).await.unwrap_err();
        assert!(matches!(&error, OpenError::NotAStore { .. }), "{error}");
        assert!(error.to_string().contains(FILE), "{error}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[tokio::test]
async fn another_programs_database_is_refused() {
    let directory = TempDir::new().unwrap();
    let database = redb::Database::create(directory.path().join(FILE)).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap();
    txn.commit().unwrap();
    drop(database);
    let error = EmbeddedStore::open(directory.path()).await.unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_not_a_panic() {
    let (store, directory) = fresh().await;
    for i in 0..50 {
        put(&store, &format!("key/{i}"), vec![7; 2_000]).await;
    }
    store.close().await;
    let path = directory.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(EmbeddedStore::open(directory.path()).await, Err(OpenError::NotAStore { .. })));
    let mut flipped = whole.clone();
    for byte in flipped.iter_mut().skip(8_192).step_by(97) {
        *byte ^= 0x55;
    }
    fs::write(&path, &flipped).unwrap();
    assert!(matches!(EmbeddedStore::open(directory.path()).await, Err(OpenError::NotAStore { .. })));
    fs::write(&path, &whole).unwrap();
    assert!(EmbeddedStore::open(directory.path()).await.is_ok());
}

#[tokio::test]
async fn a_store_in_use_is_named_and_a_leaving_holder_waited_for() {
    let (store, directory) = fresh().await;
    put(&store, "a", vec![1]).await;
    let path = directory.path().to_owned();
    let successor = tokio::spawn(async move { EmbeddedStore::open(&path).await });
    tokio::task::yield_now().await;
    store.close().await;
    let successor = successor.await.unwrap().unwrap();
    assert!(successor.get("a").await.unwrap().is_some());
    let error = EmbeddedStore::open(directory.path()).await.unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
}

#[tokio::test]
async fn commits_that_wait_together_get_a_revision_each() {
    let (store, _directory) = fresh().await;
    let commits = (0..200).map(|i| store.commit(vec![], vec![Op::put(format!("k/{i:03}"), vec![])]));
    let mut revisions = Vec::new();
    for commit in futures_util::future::join_all(commits).await {
        let Commit::Committed { revision } = commit.unwrap() else { panic!("a conflict") };
        revisions.push(revision);
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn stores_that_are_made_at_once_are_one() {
    let directory = TempDir::new().unwrap();
    // What a killed first start has left.
    fs::write(directory.path().join(format!("{FILE}.new")), vec![0; 70_000]).unwrap();
    let opened = (0..4).map(|_| async {
        let store = EmbeddedStore::open(directory.path()).await.unwrap();
        let id = store.id().to_owned();
        store.close().await;
        id
    });
    let ids = futures_util::future::join_all(opened).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// A disk that can be full.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room().and_then(|()| self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room().and_then(|()| self.file.write(offset, data))
    }
}

#[tokio::test]
async fn a_store_on_a_full_disk_goes_on_once_there_is_room() {
    let (store, directory) = fresh().await;
    put(&store, "kept", b"1".to_vec()).await;
    store.close().await;
    let full = Arc::new(AtomicBool::new(false));
    let disk = Arc::clone(&full);
    let open = move |path: &Path| {
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let disk = Disk { file: FileBackend::new(file).unwrap(), full: Arc::clone(&disk) };
        redb::Builder::new()
            .create_with_backend(disk)
            .map_err(|e| OpenError::NotAStore { path: path.to_owned(), reason: e.to_string() })
    };
    let tuning = Tuning { log: SMALL_LOG, restart_grace: RESTART_GRACE };
    let store = EmbeddedStore::start(directory.path().join(FILE), Box::new(open), tuning).unwrap();
    let mut watch = store.watch("new", 2).await.unwrap();
    full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let refused = store.commit(vec![], vec![Op::put("lost", vec![0; 100_000])]).await;
        assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    }
    full.store(false, Ordering::SeqCst);
    let written = async {
        while store.commit(vec![], vec![Op::put("new", "1")]).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), written).await.unwrap();
    assert_eq!(store.get("kept").await.unwrap().unwrap().value, "1");
    assert!(store.get("lost").await.unwrap().is_none());
    assert_eq!(watch.next().await.unwrap().unwrap().events.len(), 1);
}
