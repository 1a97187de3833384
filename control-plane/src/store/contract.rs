//! What every backend of [`Store`] must do. `store_contract!(make)` turns it into tests for one backend; `make`
//! is an async function that answers a fresh, empty store and a guard that keeps its files.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::{ChangeStream, Changes, Commit, Condition, Event, LeaseId, Op, Store, StoreError};

/// Longer than any backend needs; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// A lease that the test lets expire; etcd rounds up to its own minimum.
const SHORT: Duration = Duration::from_millis(200);
/// A lease that outlives the test.
const LONG: Duration = Duration::from_secs(600);

/// Makes one test of each behaviour, for the store that `$make().await` answers.
macro_rules! store_contract {
    ($make:path) => {
        $crate::store::contract::store_contract!($make:
            a_put_is_read_back_with_its_revision,
            revisions_grow_and_all_changes_of_a_commit_share_one,
            a_commit_that_changes_nothing_makes_no_revision,
            listing_is_ordered_and_keeps_to_the_prefix,
            conditions_guard_several_keys_and_a_conflict_changes_nothing,
            an_empty_prefix_is_a_condition,
            calls_that_break_the_rules_are_refused,
            only_one_of_many_racing_commits_wins,
            a_watch_yields_past_and_future_changes_in_order,
            a_watch_keeps_to_its_prefix_and_reports_progress,
            many_watches_see_the_same,
            a_lease_that_expires_takes_its_keys_along,
            a_lease_kept_alive_outlives_its_time,
            revoking_deletes_in_one_revision,
            another_put_replaces_the_lease,
            a_commit_with_a_dead_lease_is_refused,
            compacting_forgets_what_was_before_and_nothing_else,
            closing_ends_watches_and_refuses_calls,
        );
    };
    ($make:path: $($behaviour:ident,)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $behaviour() {
            let (store, _guard) = $make().await;
            $crate::store::contract::$behaviour(std::sync::Arc::new(store)).await;
        })*
    };
}
pub(crate) use store_contract;

async fn put(store: &dyn Store, key: &str, value: &str) -> u64 {
    committed(store.commit(vec![], vec![Op::put(key, value.to_owned())]).await)
}

fn committed(result: Result<Commit, StoreError>) -> u64 {
    match result.expect("the store works") {
        Commit::Committed { revision } => revision,
        Commit::Conflict => panic!("a conflict"),
    }
}

async fn next(watch: &mut ChangeStream) -> Changes {
    timeout(PATIENCE, watch.next()).await.expect("an item in time").expect("an open watch").expect("no error")
}

/// The next item with events.
async fn next_events(watch: &mut ChangeStream) -> Changes {
    loop {
        let changes = next(watch).await;
        if !changes.events.is_empty() {
            return changes;
        }
    }
}

fn summary(changes: &Changes) -> Vec<String> {
    let line = |event: &Event| match event {
        Event::Put(e) => format!("{}={}", e.key, String::from_utf8_lossy(&e.value)),
        Event::Delete { key } => format!("-{key}"),
    };
    changes.events.iter().map(line).collect()
}

async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.list(prefix).await.expect("a list").entries.into_iter().map(|e| e.key).collect()
}

pub(crate) async fn a_put_is_read_back_with_its_revision(store: Arc<dyn Store>) {
    assert_eq!(store.get("a").await, Ok(None));
    let first = put(&*store, "a", "1").await;
    let second = put(&*store, "a", "2").await;
    assert!(second > first && first > 0);
    let entry = store.get("a").await.expect("a get").expect("the key");
    assert_eq!((&entry.value[..], entry.revision, entry.lease), (&b"2"[..], second, None));
    put(&*store, "empty", "").await;
    assert!(store.get("empty").await.expect("a get").is_some_and(|e| e.value.is_empty()));
    assert!(!store.id().is_empty());
}

pub(crate) async fn revisions_grow_and_all_changes_of_a_commit_share_one(store: Arc<dyn Store>) {
    put(&*store, "c", "old").await;
    let ops = vec![Op::put("a", "1"), Op::put("b", "2"), Op::Delete("c".into())];
    let revision = committed(store.commit(vec![], ops).await);
    let listing = store.list("").await.expect("a list");
    assert_eq!(listing.revision, revision);
    assert_eq!(listing.entries.iter().map(|e| e.revision).collect::<Vec<_>>(), [revision, revision]);
}

pub(crate) async fn a_commit_that_changes_nothing_makes_no_revision(store: Arc<dyn Store>) {
    let revision = put(&*store, "a", "1").await;
    assert_eq!(committed(store.commit(vec![], vec![]).await), revision);
    assert_eq!(committed(store.commit(vec![], vec![Op::Delete("none".into())]).await), revision);
    assert_eq!(store.list("").await.expect("a list").revision, revision);
}

pub(crate) async fn listing_is_ordered_and_keeps_to_the_prefix(store: Arc<dyn Store>) {
    for key in ["b/2", "a/1", "b/1", "b", "b0", "b/ä", "c"] {
        put(&*store, key, "v").await;
    }
    assert_eq!(keys(&*store, "b/").await, ["b/1", "b/2", "b/ä"]);
    assert_eq!(keys(&*store, "").await.len(), 7);
    assert!(keys(&*store, "nothing").await.is_empty());
}

pub(crate) async fn conditions_guard_several_keys_and_a_conflict_changes_nothing(store: Arc<dyn Store>) {
    let a = put(&*store, "a", "1").await;
    let b = put(&*store, "b", "1").await;
    let both = |a, b| vec![Condition::Revision("a".into(), a), Condition::Revision("b".into(), b)];
    let change = || vec![Op::put("a", "2"), Op::Delete("b".into()), Op::put("c", "2")];
    assert_eq!(store.commit(both(a, b + 1), change()).await, Ok(Commit::Conflict));
    assert_eq!(store.commit(both(0, b), change()).await, Ok(Commit::Conflict));
    assert_eq!(keys(&*store, "").await, ["a", "b"]);
    assert_eq!(store.list("").await.expect("a list").revision, b, "a conflict makes no revision");
    committed(store.commit(both(a, b), change()).await);
    assert_eq!(keys(&*store, "").await, ["a", "c"]);
    let absent = |key: &str| vec![Condition::Absent(key.into())];
    assert_eq!(store.commit(absent("c"), vec![Op::put("c", "3")]).await, Ok(Commit::Conflict));
    committed(store.commit(absent("b"), vec![Op::put("b", "3")]).await);
    assert_eq!(
        store.commit(both(a, 9), vec![]).await,
        Ok(Commit::Conflict),
        "conditions hold without operations too"
    );
}

pub(crate) async fn an_empty_prefix_is_a_condition(store: Arc<dyn Store>) {
    put(&*store, "uses/b/x", "").await;
    let when = |prefix: &str| vec![Condition::PrefixEmpty(prefix.into())];
    assert_eq!(store.commit(when("uses/b/"), vec![Op::put("k", "1")]).await, Ok(Commit::Conflict));
    committed(store.commit(when("uses/a/"), vec![Op::put("k", "1")]).await);
    committed(store.commit(when("uses/c/"), vec![Op::put("k", "2")]).await);
    committed(store.commit(vec![], vec![Op::Delete("uses/b/x".into())]).await);
    committed(store.commit(when("uses/b/"), vec![Op::put("k", "3")]).await);
}

pub(crate) async fn calls_that_break_the_rules_are_refused(store: Arc<dyn Store>) {
    let twice = vec![Op::put("a", "1"), Op::Delete("a".into())];
    assert!(matches!(store.commit(vec![], twice).await, Err(StoreError::Invalid(_))));
    let many = (0..=super::MAX_COMMIT_PARTS).map(|i| Op::put(i.to_string(), "")).collect();
    assert!(matches!(store.commit(vec![], many).await, Err(StoreError::Invalid(_))));
    assert!(matches!(store.commit(vec![], vec![Op::put("", "1")]).await, Err(StoreError::Invalid(_))));
    assert!(keys(&*store, "").await.is_empty());
}

pub(crate) async fn only_one_of_many_racing_commits_wins(store: Arc<dyn Store>) {
    let revision = put(&*store, "a", "start").await;
    let racers = (0..50).map(|i| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let ops = vec![Op::put("a", i.to_string())];
            store.commit(vec![Condition::Revision("a".into(), revision)], ops).await
        })
    });
    let outcomes = futures_util::future::join_all(racers).await;
    let won: Vec<_> =
        outcomes.into_iter().map(|o| o.expect("no panic")).filter(|o| *o != Ok(Commit::Conflict)).collect();
    assert_eq!(won.len(), 1);
    let entry = store.get("a").await.expect("a get").expect("the key");
    assert_eq!(won[0], Ok(Commit::Committed { revision: entry.revision }));
}

pub(crate) async fn a_watch_yields_past_and_future_changes_in_order(store: Arc<dyn Store>) {
    let first = put(&*store, "a", "1").await;
    let second = committed(store.commit(vec![], vec![Op::put("b", "1"), Op::put("a", "2")]).await);
    let mut all = store.watch("", first).await.expect("a watch");
    let mut late = store.watch("", second + 1).await.expect("a watch");
    let third = committed(store.commit(vec![], vec![Op::Delete("b".into())]).await);
    for (revision, events) in [(first, vec!["a=1"]), (second, vec!["b=1", "a=2"]), (third, vec!["-b"])] {
        let mut changes = next_events(&mut all).await;
        // Within a revision any order will do.
        changes.events.sort_by_key(|e| std::cmp::Reverse(e.key().to_owned()));
        assert_eq!(
            (changes.revision, summary(&changes)),
            (revision, events.iter().map(|e| (*e).to_owned()).collect())
        );
    }
    assert_eq!(next_events(&mut late).await.revision, third);
    let Event::Put(entry) =
        &next_events(&mut store.watch("a", second).await.expect("a watch")).await.events[0]
    else {
        panic!("a put")
    };
    assert_eq!(entry.revision, second);
}

pub(crate) async fn a_watch_keeps_to_its_prefix_and_reports_progress(store: Arc<dyn Store>) {
    let start = put(&*store, "x/0", "").await;
    let mut watch = store.watch("y/", start).await.expect("a watch");
    let last = put(&*store, "x/1", "").await;
    loop {
        let changes = next(&mut watch).await;
        assert!(changes.events.is_empty());
        if changes.revision >= last {
            break;
        }
    }
    let hit = put(&*store, "y/1", "v").await;
    let changes = next_events(&mut watch).await;
    assert_eq!((changes.revision, summary(&changes)), (hit, vec!["y/1=v".to_owned()]));
}

pub(crate) async fn many_watches_see_the_same(store: Arc<dyn Store>) {
    let mut watches = Vec::new();
    for _ in 0..8 {
        watches.push(store.watch("k/", 1).await.expect("a watch"));
    }
    let writers = (0..300).map(|i| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { put(&*store, &format!("k/{}", i % 7), &i.to_string()).await })
    });
    let mut revisions: Vec<u64> =
        futures_util::future::join_all(writers).await.into_iter().map(|r| r.expect("no panic")).collect();
    revisions.sort_unstable();
    for watch in &mut watches {
        for expected in &revisions {
            assert_eq!(next_events(watch).await.revision, *expected);
        }
    }
}

pub(crate) async fn a_lease_that_expires_takes_its_keys_along(store: Arc<dyn Store>) {
    let lease = store.grant_lease(SHORT).await.expect("a lease");
    let with = |key: &str| Op::Put { key: key.into(), value: "v".into(), lease: Some(lease) };
    let revision =
        committed(store.commit(vec![], vec![with("l/1"), with("l/2"), Op::put("l/3", "stays")]).await);
    let mut watch = store.watch("l/", revision + 1).await.expect("a watch");
    let mut gone = Vec::new();
    while gone.len() < 2 {
        gone.extend(summary(&next_events(&mut watch).await));
    }
    gone.sort();
    assert_eq!(gone, ["-l/1", "-l/2"]);
    assert_eq!(keys(&*store, "l/").await, ["l/3"]);
    assert_eq!(store.keep_alive(lease).await, Err(StoreError::LeaseNotFound));
}

pub(crate) async fn a_lease_kept_alive_outlives_its_time(store: Arc<dyn Store>) {
    let kept = store.grant_lease(SHORT * 10).await.expect("a lease");
    let put = Op::Put { key: "kept".into(), value: "v".into(), lease: Some(kept) };
    let mut watch =
        store.watch("", committed(store.commit(vec![], vec![put]).await) + 1).await.expect("a watch");
    // Leases of the same length, one after another, measure the time that `kept` is kept beyond its own.
    for round in 0..4 {
        let clock = store.grant_lease(SHORT * 4).await.expect("a lease");
        let key = format!("clock/{round}");
        let put = Op::Put { key: key.clone(), value: "".into(), lease: Some(clock) };
        committed(store.commit(vec![], vec![put]).await);
        store.keep_alive(kept).await.expect("a live lease");
        while summary(&next_events(&mut watch).await) != [format!("-{key}")] {}
        store.keep_alive(kept).await.expect("a live lease");
    }
    assert_eq!(keys(&*store, "").await, ["kept"]);
}

pub(crate) async fn revoking_deletes_in_one_revision(store: Arc<dyn Store>) {
    let lease = store.grant_lease(LONG).await.expect("a lease");
    let with = |key: &str| Op::Put { key: key.into(), value: "v".into(), lease: Some(lease) };
    let revision = committed(store.commit(vec![], vec![with("a"), with("b")]).await);
    assert_eq!(store.get("a").await.expect("a get").and_then(|e| e.lease), Some(lease));
    store.revoke_lease(lease).await.expect("a live lease");
    assert!(keys(&*store, "").await.is_empty());
    let changes = next_events(&mut store.watch("", revision + 1).await.expect("a watch")).await;
    assert_eq!(changes.events.len(), 2);
    assert_eq!(store.revoke_lease(lease).await, Err(StoreError::LeaseNotFound));
    assert_eq!(store.keep_alive(lease).await, Err(StoreError::LeaseNotFound));
}

pub(crate) async fn another_put_replaces_the_lease(store: Arc<dyn Store>) {
    let old = store.grant_lease(LONG).await.expect("a lease");
    let new = store.grant_lease(LONG).await.expect("a lease");
    let with = |key: &str, lease| Op::Put { key: key.into(), value: "v".into(), lease };
    committed(
        store.commit(vec![], vec![with("a", Some(old)), with("b", Some(old)), with("c", Some(old))]).await,
    );
    committed(store.commit(vec![], vec![with("a", Some(new)), with("b", None)]).await);
    store.revoke_lease(old).await.expect("a live lease");
    assert_eq!(keys(&*store, "").await, ["a", "b"]);
    store.revoke_lease(new).await.expect("a live lease");
    assert_eq!(keys(&*store, "").await, ["b"]);
}

pub(crate) async fn a_commit_with_a_dead_lease_is_refused(store: Arc<dyn Store>) {
    let put =
        |lease| vec![Op::put("b", "v"), Op::Put { key: "a".into(), value: "v".into(), lease: Some(lease) }];
    assert_eq!(store.commit(vec![], put(LeaseId(77))).await, Err(StoreError::LeaseNotFound));
    let lease = store.grant_lease(LONG).await.expect("a lease");
    store.revoke_lease(lease).await.expect("a live lease");
    assert_eq!(store.commit(vec![], put(lease)).await, Err(StoreError::LeaseNotFound));
    assert!(keys(&*store, "").await.is_empty());
}

pub(crate) async fn compacting_forgets_what_was_before_and_nothing_else(store: Arc<dyn Store>) {
    let first = put(&*store, "a", "1").await;
    let second = put(&*store, "a", "2").await;
    let third = put(&*store, "b", "3").await;
    let mut following = store.watch("", third + 1).await.expect("a watch");
    store.compact(third).await.expect("it compacts");
    store.compact(second).await.expect("that is done already");
    for gone in [first, second] {
        let watched = store.watch("", gone).await;
        let error = match watched {
            Ok(mut watch) => {
                timeout(PATIENCE, watch.next()).await.expect("an item in time").expect("an item").err()
            }
            Err(error) => Some(error),
        };
        assert!(matches!(error, Some(StoreError::Compacted { .. })), "{error:?}");
    }
    let mut watch = store.watch("", third).await.expect("a watch");
    assert_eq!(summary(&next_events(&mut watch).await), ["b=3"]);
    assert_eq!(keys(&*store, "").await, ["a", "b"]);
    let fourth = put(&*store, "c", "4").await;
    for watch in [&mut watch, &mut following] {
        assert_eq!(next_events(watch).await.revision, fourth);
    }
}

pub(crate) async fn closing_ends_watches_and_refuses_calls(store: Arc<dyn Store>) {
    let revision = put(&*store, "a", "1").await;
    let mut watch = store.watch("", revision + 1).await.expect("a watch");
    store.close().await;
    store.close().await;
    let ended = timeout(PATIENCE, watch.next()).await.expect("an end in time");
    assert_eq!(ended, Some(Err(StoreError::Closed)));
    assert!(watch.next().await.is_none());
    assert_eq!(store.get("a").await, Err(StoreError::Closed));
    assert_eq!(store.commit(vec![], vec![]).await, Err(StoreError::Closed));
    assert_eq!(store.keep_alive(LeaseId(1)).await, Err(StoreError::Closed));
}
