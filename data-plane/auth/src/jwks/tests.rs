//! The schedule of fetches, on a clock that the tests move.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use realtime_proto::app::Algorithm;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep, timeout};

use super::fetch::{FETCH_TIMEOUT, Fetch, FetchError, Fetched};
use super::missing::MISSING_FOR;
use super::remote::{DEMAND_INTERVAL, REFRESH_INTERVAL};
use super::slots::{CONCURRENT_FETCHES, SLOW_FETCHES};
use super::waiting::MAX_WAITING;
use super::{JwksCache, KeySet};
use crate::keys::{Keys, KeysError};

const URI: &str = "https://id.example/keys";
const SECOND: Duration = Duration::from_secs(1);

/// An endpoint that says what the test has set, or fails, and notes when it was asked.
#[derive(Debug)]
struct Endpoint {
    /// `None`: fails.
    keys: Mutex<Option<Vec<Value>>>,
    max_age: Mutex<Option<Duration>>,
    asked: Mutex<Vec<(String, Instant)>>,
    open: watch::Sender<bool>,
    /// URLs with this in their name are not answered.
    held: watch::Sender<String>,
}

impl Endpoint {
    fn new(kids: &[&str]) -> Arc<Self> {
        let endpoint = Self {
            keys: Mutex::default(),
            max_age: Mutex::default(),
            asked: Mutex::default(),
            open: watch::Sender::new(true),
            held: watch::Sender::new("nobody".to_owned()),
        };
        endpoint.has(kids);
        Arc::new(endpoint)
    }

    fn has(&self, kids: &[&str]) {
        *self.keys.lock() = Some(kids.iter().map(|kid| key(kid)).collect());
    }

    fn fails(&self) {
        *self.keys.lock() = None;
    }

    fn hold(&self, name: &str) {
        self.held.send_replace(name.to_owned());
    }

    /// Requests that wait for their answer.
    fn held(&self) -> usize {
        self.held.receiver_count()
    }

    fn asked(&self) -> usize {
        self.asked.lock().len()
    }

    /// The seconds between the requests so far.
    fn pauses(&self) -> Vec<f64> {
        let asked = self.asked.lock();
        asked.windows(2).map(|pair| (pair[1].1 - pair[0].1).as_secs_f64()).collect()
    }
}

#[async_trait]
impl Fetch for Endpoint {
    async fn fetch(&self, uri: &str) -> Result<Fetched, FetchError> {
        self.asked.lock().push((uri.to_owned(), Instant::now()));
        // The sender is this value's own.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
        let mut held = self.held.subscribe();
        let answered = held.wait_for(|name| !uri.contains(name.as_str()));
        if timeout(FETCH_TIMEOUT, answered).await.is_err() {
            return Err(FetchError::Timeout);
        }
        let keys = self.keys.lock().clone().ok_or(FetchError::Timeout)?;
        Ok(Fetched { body: json!({"keys": keys}).to_string().into(), max_age: *self.max_age.lock() })
    }
}

/// The key of RFC 8037, appendix A.2, under an id.
fn key(kid: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

fn open(endpoint: &Arc<Endpoint>) -> (JwksCache, Arc<dyn Keys>) {
    let cache = JwksCache::with_fetcher(Arc::clone(endpoint) as Arc<dyn Fetch>, false);
    let keys = cache.open(URI).unwrap();
    (cache, keys)
}

/// So many callers at once.
fn wait(keys: &Arc<dyn Keys>, callers: usize) -> Vec<JoinHandle<Result<usize, KeysError>>> {
    let callers = std::iter::repeat_n(keys, callers).map(Arc::clone);
    callers.map(|keys| tokio::spawn(async move { find(&keys, "a").await })).collect()
}

/// How many keys a token with this id meets.
async fn find(keys: &Arc<dyn Keys>, kid: &str) -> Result<usize, KeysError> {
    keys.find(Algorithm::EdDSA, Some(kid)).await.map(|found| found.len())
}

#[tokio::test(start_paused = true)]
async fn a_set_is_fetched_with_the_first_token_and_for_all_that_wait() {
    let endpoint = Endpoint::new(&["a"]);
    let (_cache, keys) = open(&endpoint);
    sleep(SECOND).await;
    assert_eq!(endpoint.asked(), 0, "compiling fetches nothing");
    endpoint.open.send_replace(false);
    let waiting = wait(&keys, 100);
    sleep(SECOND).await;
    endpoint.open.send_replace(true);
    for caller in waiting {
        assert_eq!(caller.await.unwrap(), Ok(1));
    }
    assert_eq!(endpoint.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn applications_with_one_url_share_the_set_and_the_last_one_ends_it() {
    let endpoint = Endpoint::new(&["a"]);
    let (cache, first) = open(&endpoint);
    assert_eq!(find(&first, "a").await, Ok(1));
    let second = cache.open(URI).unwrap();
    drop(first);
    assert_eq!(find(&second, "a").await, Ok(1));
    assert_eq!((endpoint.asked(), cache.stats().sets), (1, 1), "as with a recompiled application");
    let other = cache.open("https://id.example/other").unwrap();
    assert_eq!(find(&other, "a").await, Ok(1));
    assert_eq!((endpoint.asked(), cache.stats().sets), (2, 2));
    drop((second, other));
    assert_eq!(cache.stats().sets, 0);
    advance(10 * REFRESH_INTERVAL).await;
    sleep(SECOND).await;
    assert_eq!(endpoint.asked(), 2, "nobody refreshes what nobody has");
    assert_eq!(Arc::strong_count(&endpoint), 2, "no task is left: the test and the cache have it");
    let again = cache.open(URI).unwrap();
    assert_eq!(find(&again, "a").await, Ok(1));
    assert_eq!(endpoint.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_id_causes_a_fetch_every_ten_seconds_at_most() {
    let endpoint = Endpoint::new(&["a"]);
    let (_cache, keys) = open(&endpoint);
    assert_eq!(find(&keys, "a").await, Ok(1));
    endpoint.has(&["a", "b"]);
    assert_eq!(find(&keys, "b").await, Ok(0), "too soon after the first fetch");
    assert_eq!(endpoint.asked(), 1);
    advance(DEMAND_INTERVAL).await;
    assert_eq!(find(&keys, "b").await, Ok(1), "a new key is found at once");
    for n in 0..100 {
        assert_eq!(find(&keys, &format!("random {n}")).await, Ok(0));
        advance(SECOND / 2).await;
    }
    assert_eq!(endpoint.asked(), 2 + 4, "in the fifty seconds after the second");
    assert!(endpoint.pauses().iter().all(|pause| *pause >= 10.0), "{:?}", endpoint.pauses());
}

#[tokio::test(start_paused = true)]
async fn an_id_that_was_missing_causes_no_fetch_for_a_minute() {
    let endpoint = Endpoint::new(&["a"]);
    let (_cache, keys) = open(&endpoint);
    assert_eq!(find(&keys, "a").await, Ok(1));
    advance(DEMAND_INTERVAL).await;
    assert_eq!(find(&keys, "b").await, Ok(0));
    assert_eq!(endpoint.asked(), 2);
    advance(MISSING_FOR - SECOND).await;
    assert_eq!(find(&keys, "b").await, Ok(0));
    assert_eq!(endpoint.asked(), 2);
    // Another token's fetch brings it before.
    endpoint.has(&["a", "b"]);
    assert_eq!(find(&keys, "c").await, Ok(0));
    assert_eq!(find(&keys, "b").await, Ok(1));
    assert_eq!(endpoint.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_set_is_refreshed_behind_its_readers_and_a_withdrawn_key_goes() {
    let endpoint = Endpoint::new(&["a", "b"]);
    let (cache, keys) = open(&endpoint);
    assert_eq!(find(&keys, "a").await, Ok(1));
    let generation = keys.generation();
    sleep(REFRESH_INTERVAL + SECOND).await;
    assert_eq!((endpoint.asked(), keys.generation()), (2, generation), "equal keys are the same generation");
    assert!(cache.stats().ages[0].1 < REFRESH_INTERVAL.as_secs() / 2, "the age is that of the latest fetch");
    endpoint.has(&["b"]);
    endpoint.open.send_replace(false);
    sleep(REFRESH_INTERVAL).await;
    assert_eq!(endpoint.asked(), 3);
    assert_eq!(find(&keys, "a").await, Ok(1), "what is held serves while the next is on its way");
    endpoint.open.send_replace(true);
    sleep(SECOND).await;
    assert_eq!(find(&keys, "a").await, Ok(0));
    assert!(keys.generation() > generation);
}

#[tokio::test(start_paused = true)]
async fn an_endpoints_max_age_counts_within_bounds() {
    for (max_age, shortest, longest) in [(5, 54.0, 60.0), (300, 270.0, 300.0), (86_400, 3240.0, 3600.0)] {
        let endpoint = Endpoint::new(&["a"]);
        *endpoint.max_age.lock() = Some(Duration::from_secs(max_age));
        let (_cache, keys) = open(&endpoint);
        assert_eq!(find(&keys, "a").await, Ok(1));
        sleep(Duration::from_secs(20_000)).await;
        let pauses = endpoint.pauses();
        assert!(
            pauses.iter().all(|pause| (shortest..=longest + 0.1).contains(pause)),
            "{max_age}: {pauses:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn old_keys_stay_while_the_endpoint_fails() {
    let endpoint = Endpoint::new(&["a"]);
    let (cache, keys) = open(&endpoint);
    assert_eq!(find(&keys, "a").await, Ok(1));
    let generation = keys.generation();
    endpoint.fails();
    sleep(100 * REFRESH_INTERVAL).await;
    assert_eq!((find(&keys, "a").await, keys.generation()), (Ok(1), generation));
    assert_eq!(find(&keys, "b").await, Err(KeysError::Outdated), "perhaps a new key: nobody can tell");
    let stats = cache.stats();
    assert_eq!((stats.failing, stats.fetches), (1, endpoint.asked() as u64));
    assert!(stats.failures.contains(&("timeout", stats.fetches - 1)), "{stats:?}");
    let pauses = endpoint.pauses();
    let doubling = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0];
    for (pause, most) in pauses[1..].iter().zip(doubling) {
        assert!((0.9 * most..=most + 0.1).contains(pause), "{:?}", &pauses[..10]);
    }
    endpoint.has(&["a", "b"]);
    sleep(60 * SECOND).await;
    assert_eq!((find(&keys, "b").await, cache.stats().failing), (Ok(1), 0));
}

#[tokio::test(start_paused = true)]
async fn a_set_that_was_never_fetched_says_so_and_tries_again() {
    let endpoint = Endpoint::new(&[]);
    endpoint.fails();
    let (cache, keys) = open(&endpoint);
    assert_eq!(find(&keys, "a").await, Err(KeysError::NotFetched));
    let asked = endpoint.asked();
    for _ in 0..100 {
        assert_eq!(
            find(&keys, "a").await,
            Err(KeysError::NotFetched),
            "and nobody waits for the next attempt"
        );
    }
    assert_eq!(endpoint.asked(), asked);
    assert!(cache.stats().ages.is_empty());
    sleep(1000 * SECOND).await;
    endpoint.has(&["a"]);
    // Attempts are a minute apart now; a token asks for one where ten seconds have passed.
    let asked = endpoint.asked();
    sleep(DEMAND_INTERVAL).await;
    assert_eq!(find(&keys, "a").await, Ok(1));
    assert_eq!(endpoint.asked(), asked + 1);
}

#[tokio::test(start_paused = true)]
async fn waiting_is_bounded_in_number_and_time() {
    let endpoint = Endpoint::new(&["a"]);
    endpoint.open.send_replace(false);
    let (cache, keys) = open(&endpoint);
    // As many as are left.
    let waiting = wait(&keys, MAX_WAITING / 2);
    sleep(SECOND).await;
    assert_eq!(find(&keys, "a").await, Err(KeysError::Crowded));
    assert_eq!(cache.stats().crowded, 1);
    let start = Instant::now();
    for caller in waiting {
        assert_eq!(caller.await.unwrap(), Err(KeysError::NotFetched));
    }
    assert!(start.elapsed() <= 6 * SECOND, "{:?}", start.elapsed());
    assert_eq!(find(&keys, "a").await, Err(KeysError::NotFetched), "the places are free again");
}

#[tokio::test(start_paused = true)]
async fn callers_of_slow_sets_leave_places_for_those_of_others() {
    let endpoint = Endpoint::new(&["a"]);
    endpoint.hold("slow");
    let cache = JwksCache::with_fetcher(Arc::clone(&endpoint) as Arc<dyn Fetch>, false);
    let set = |name: &str| cache.open(&format!("https://{name}.example/")).unwrap();
    let slow: Vec<_> = (0..4).map(|n| set(&format!("slow{n}"))).collect();
    let waiting: Vec<_> = slow.iter().flat_map(|keys| wait(keys, MAX_WAITING)).collect();
    sleep(SECOND).await;
    assert!(cache.stats().crowded > 3 * MAX_WAITING as u64);
    assert_eq!(find(&slow[0], "a").await, Err(KeysError::Crowded));
    // Another set waits for its first fetch and for an unknown key, and has what it needs.
    let other = set("other");
    for caller in wait(&other, MAX_WAITING / 32) {
        assert_eq!(caller.await.unwrap(), Ok(1));
    }
    for caller in waiting {
        assert!(caller.await.unwrap().is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn slow_sets_wait_for_each_other_and_others_for_none_of_them() {
    let endpoint = Endpoint::new(&["a"]);
    endpoint.hold("slow");
    let cache = JwksCache::with_fetcher(Arc::clone(&endpoint) as Arc<dyn Fetch>, false);
    let set = |name: &str| cache.open(&format!("https://{name}.example/")).unwrap();
    let slow: Vec<_> = (0..2 * CONCURRENT_FETCHES).map(|n| set(&format!("slow{n}"))).collect();
    let waiting: Vec<_> = slow.iter().flat_map(|keys| wait(keys, 1)).collect();
    sleep(SECOND).await;
    // While they are new, nobody knows: a set has to wait until some have failed, and is not said to fail for it.
    assert_eq!(endpoint.asked(), CONCURRENT_FETCHES);
    let early = set("early");
    let start = Instant::now();
    assert_eq!(find(&early, "a").await, Err(KeysError::NotFetched), "its callers wait in vain");
    assert!(start.elapsed() <= 6 * SECOND);
    sleep(2 * FETCH_TIMEOUT).await;
    assert_eq!(find(&early, "a").await, Ok(1));
    assert_eq!(cache.stats().failures.iter().map(|(_, count)| count).sum::<u64>() + 1, cache.stats().fetches);
    for caller in waiting {
        assert!(caller.await.unwrap().is_err());
    }
    // Known as slow they have their lane, however many they are, and another set is fetched at once.
    sleep(3 * FETCH_TIMEOUT).await;
    for n in 0..20 {
        assert!(endpoint.held() <= SLOW_FETCHES, "{}", endpoint.held());
        let (start, other) = (Instant::now(), set(&format!("other{n}")));
        assert_eq!(find(&other, "a").await, Ok(1));
        assert_eq!(start.elapsed(), Duration::ZERO);
        sleep(SECOND).await;
    }
    // One that is quick again leaves the lane.
    endpoint.hold("nobody");
    sleep(200 * SECOND).await;
    assert_eq!(cache.stats().failing, 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_without_key_id_is_answered_from_what_is_held() {
    let endpoint = Endpoint::new(&["a", "b"]);
    let (_cache, keys) = open(&endpoint);
    assert_eq!(keys.find(Algorithm::EdDSA, None).await.unwrap().len(), 2);
    advance(DEMAND_INTERVAL).await;
    assert_eq!(keys.find(Algorithm::ES256, None).await.unwrap().len(), 0);
    assert_eq!(keys.find(Algorithm::ES256, Some("a")).await.unwrap().len(), 0, "the id is known");
    assert_eq!(endpoint.asked(), 1);
}

#[test]
fn offline_nothing_is_fetched() {
    assert!(JwksCache::offline().open(URI).is_none());
    assert_eq!(JwksCache::offline().stats(), super::JwksStats::default());
}

#[test]
fn the_order_of_keys_changes_no_set() {
    let set = |kids: &[&str]| {
        let keys: Vec<_> = kids.iter().map(|kid| key(kid)).collect();
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
    };
    assert!(set(&["a", "b"]).same_keys(&set(&["b", "a"])));
    assert!(!set(&["a", "b"]).same_keys(&set(&["a"])));
    assert!(!set(&["ab"]).same_keys(&set(&["a"])));
}
