//! One key set: its task, which alone fetches, and the callers, which read what is held and wait where that
//! does not do.
//!
//! Invariants: one fetch at a time; at least [`DEMAND_INTERVAL`] between the starts of two that callers ask for;
//! a failed fetch changes no key; every wait of a caller is bounded in time and number.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use realtime_proto::app::Algorithm;
use realtime_proto::ids::random;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::document::KeySet;
use super::fetch::{FETCH_TIMEOUT, FetchError, Fetched, Target};
use super::missing::Missing;
use super::slots::Pace;
use super::stats::JwksStats;
use super::waiting::Waiting;
use crate::keys::{Keys, KeysError, VerifyingKey};

/// Between two fetches that tokens cause (docs/contract.md 5).
pub(super) const DEMAND_INTERVAL: Duration = Duration::from_secs(10);
/// Between two fetches otherwise, where the endpoint says nothing else: how long a key that was withdrawn may
/// still verify.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(600);
/// What an endpoint may say with `max-age`: less would be a load, more would keep a withdrawn key for too long.
const REFRESH_WITHIN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// After a failure, doubling up to [`LONGEST_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// An endpoint that is back is noticed within a minute; with the first token that needs it, within
/// [`DEMAND_INTERVAL`].
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// A second more than [`FETCH_TIMEOUT`]: a fetch that has a slot at once ends before. Where it has to wait for one,
/// its callers may be gone when it ends; it goes on, and serves the next ones.
const WAIT_TIMEOUT: Duration = Duration::from_secs(6);
const _: () = assert!(WAIT_TIMEOUT.as_secs() > FETCH_TIMEOUT.as_secs());

/// A key set behind a URL. Dropping it ends its task.
pub(super) struct RemoteSet {
    inner: Arc<Inner>,
    /// Started by the first caller.
    task: OnceLock<AbortHandle>,
}

/// What the task and the callers share.
struct Inner {
    uri: Box<str>,
    /// What may be shown of the URL.
    host: String,
    cache: Arc<Shared>,
    status: watch::Sender<Status>,
    /// A caller needs a fetch.
    demand: Notify,
    waiting: Waiting,
    missing: Mutex<Missing>,
}

/// How things stand.
struct Status {
    /// The latest that was fetched.
    keys: Option<Arc<KeySet>>,
    /// Of `keys`: another number whenever they have changed, over all sets of the process.
    generation: u64,
    /// When `keys` were fetched.
    fetched_at: Instant,
    /// When the latest fetch that has had its slot began.
    started_at: Instant,
    under_way: bool,
    /// Whether the latest fetch that ended failed.
    failing: bool,
    /// Fetches that have ended.
    ended: u64,
}

/// What a caller finds at first sight.
enum Look {
    Answer(Result<Arc<[VerifyingKey]>, KeysError>),
    /// Only a fetch can tell; so many have ended before it.
    AfterFetch(u64),
}

impl RemoteSet {
    pub(super) fn new(uri: &str, cache: Arc<Shared>) -> Self {
        let now = Instant::now();
        let status = Status {
            keys: None,
            // Not that of another set without keys: a token is remembered under what was read before its keys.
            generation: next_generation(),
            fetched_at: now,
            started_at: now,
            // The first caller starts the task, which begins with a fetch.
            under_way: true,
            failing: false,
            ended: 0,
        };
        let inner = Inner {
            uri: uri.into(),
            host: Target::label(uri),
            cache,
            status: watch::Sender::new(status),
            demand: Notify::new(),
            waiting: Waiting::default(),
            missing: Mutex::default(),
        };
        Self { inner: Arc::new(inner), task: OnceLock::new() }
    }

    /// Adds the set to the figures.
    pub(super) fn describe(&self, stats: &mut JwksStats) {
        let status = self.inner.status.borrow();
        stats.sets += 1;
        stats.failing += u64::from(status.failing);
        if let Some(keys) = &status.keys {
            let ignored = keys.ignored();
            stats.keys += keys.len() as u64;
            stats.ignored.purpose += ignored.purpose;
            stats.ignored.kind += ignored.kind;
            stats.ignored.malformed += ignored.malformed;
            stats.ignored.surplus += ignored.surplus;
            stats.ages.push((self.inner.host.clone(), status.fetched_at.elapsed().as_secs()));
        }
    }
}

#[async_trait]
impl Keys for RemoteSet {
    async fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<Arc<[VerifyingKey]>, KeysError> {
        self.task.get_or_init(|| tokio::spawn(Arc::clone(&self.inner).keep_fresh()).abort_handle());
        match self.inner.look(algorithm, kid) {
            Look::Answer(answer) => answer,
            Look::AfterFetch(ended) => self.inner.after_fetch(ended, algorithm, kid).await,
        }
    }

    fn generation(&self) -> u64 {
        self.inner.status.borrow().generation
    }
}

impl Drop for RemoteSet {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
        self.inner.cache.forget(&self.inner.uri);
    }
}

/// Shows the host; the URL may hold a secret.
impl fmt::Debug for RemoteSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteSet({})", self.inner.host)
    }
}

impl Inner {
    /// The caller's side: what is held, without waiting.
    fn look(&self, algorithm: Algorithm, kid: Option<&str>) -> Look {
        let status = self.status.borrow();
        let answer = status.answer(algorithm, kid);
        // Keys that are there serve, however old, while newer ones are on their way.
        let settled = match (&answer, kid) {
            (Ok(_), Some(kid)) => status.has(kid) || self.missing.lock().has(kid, Instant::now()),
            (Ok(_), None) => true,
            (Err(_), _) => false,
        };
        if settled {
            return Look::Answer(answer);
        }
        if !status.under_way {
            if status.started_at.elapsed() < DEMAND_INTERVAL {
                return Look::Answer(answer);
            }
            self.demand.notify_one();
        }
        Look::AfterFetch(status.ended)
    }

    /// Waits for the fetch that is under way or asked for, and looks again.
    async fn after_fetch(
        &self,
        ended: u64,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> Result<Arc<[VerifyingKey]>, KeysError> {
        let Some(_place) = self.cache.waiting.enter(&self.waiting) else {
            self.cache.counters.crowded();
            return Err(KeysError::Crowded);
        };
        let mut status = self.status.subscribe();
        let fetched = timeout(WAIT_TIMEOUT, status.wait_for(|status| status.ended > ended)).await;
        let Ok(Ok(status)) = fetched else {
            let held = self.status.borrow().keys.is_some();
            return Err(if held { KeysError::Outdated } else { KeysError::NotFetched });
        };
        let answer = status.answer(algorithm, kid);
        if let (Ok(_), Some(kid)) = (&answer, kid)
            && !status.has(kid)
        {
            self.missing.lock().insert(kid, Instant::now());
        }
        answer
    }

    /// The task: fetches at once, then whenever the set is due or a caller needs it.
    async fn keep_fresh(self: Arc<Self>) {
        let (mut failures, mut pace) = (0, Pace::default());
        loop {
            let wait = match self.fetch(&mut pace).await {
                Ok(max_age) => {
                    failures = 0;
                    let (shortest, longest) = REFRESH_WITHIN;
                    max_age.map_or(REFRESH_INTERVAL, |max_age| max_age.clamp(shortest, longest))
                }
                Err(()) => {
                    failures += 1;
                    backoff(failures)
                }
            };
            tokio::select! {
                () = sleep(spread(wait)) => {}
                () = self.demanded() => {}
            }
        }
    }

    /// Until a caller needs a fetch and may have one: a demand that an earlier fetch has served is void.
    async fn demanded(&self) {
        loop {
            self.demand.notified().await;
            if self.status.borrow().started_at.elapsed() >= DEMAND_INTERVAL {
                return;
            }
        }
    }

    /// One fetch and what follows from it. Success: the endpoint's `max-age`. Waiting for the slot is no part of it:
    /// neither of its time-out, nor of the pause until the next one.
    async fn fetch(&self, pace: &mut Pace) -> Result<Option<Duration>, ()> {
        self.begin(|status| status.under_way = true);
        let slot = self.cache.slots.take(*pace).await;
        let started_at = Instant::now();
        self.begin(|status| status.started_at = started_at);
        let fetched = self
            .cache
            .fetcher
            .fetch(&self.uri)
            .await
            .and_then(|Fetched { body, max_age }| Ok((KeySet::parse(&body)?, max_age)));
        drop(slot);
        *pace = Pace::of(started_at.elapsed(), fetched.is_err());
        self.cache.counters.fetched(fetched.as_ref().err());
        match fetched {
            Ok((keys, max_age)) => {
                self.succeeded(keys);
                Ok(max_age)
            }
            Err(error) => {
                self.failed(&error);
                Err(())
            }
        }
    }

    /// Notes something of a fetch's beginning, for which nobody waits.
    fn begin(&self, note: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            note(status);
            false
        });
    }

    fn succeeded(&self, keys: KeySet) {
        let (count, ignored) = (keys.len(), keys.ignored());
        let (mut changed, mut recovered) = (false, false);
        self.status.send_modify(|status| {
            changed = status.keys.as_ref().is_none_or(|held| !held.same_keys(&keys));
            recovered = status.failing;
            if changed {
                status.generation = next_generation();
            }
            status.keys = Some(Arc::new(keys));
            status.fetched_at = Instant::now();
            status.end(false);
        });
        let host = &self.host;
        if recovered {
            tracing::info!(host, "the key set can be fetched again");
        }
        if changed {
            tracing::info!(host, keys = count, ?ignored, "the key set has changed");
        }
    }

    fn failed(&self, error: &FetchError) {
        let (mut began, mut held) = (false, false);
        self.status.send_modify(|status| {
            began = !status.failing;
            held = status.keys.is_some();
            status.end(true);
        });
        let (host, reason) = (&self.host, error.reason());
        if began && held {
            tracing::warn!(host, reason, %error, "fetching the key set fails; the keys that are held stay");
        } else if began {
            tracing::warn!(host, reason, %error, "fetching the key set fails; its tokens are answered 503");
        } else {
            tracing::debug!(host, reason, %error, "fetching the key set still fails");
        }
    }
}

impl Status {
    fn has(&self, kid: &str) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.has(kid))
    }

    /// What can be said now. A key that is not there is said to be missing only by a set that could be fetched:
    /// otherwise it may be a new one, and a client that is told "unauthorized" would throw its token away.
    fn answer(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<Arc<[VerifyingKey]>, KeysError> {
        let keys = self.keys.as_ref().ok_or(KeysError::NotFetched)?;
        if self.failing && kid.is_some_and(|kid| !keys.has(kid)) {
            return Err(KeysError::Outdated);
        }
        Ok(keys.find(algorithm, kid))
    }

    fn end(&mut self, failing: bool) {
        self.under_way = false;
        self.failing = failing;
        self.ended += 1;
    }
}

fn next_generation() -> u64 {
    static GENERATIONS: AtomicU64 = AtomicU64::new(1);
    GENERATIONS.fetch_add(1, Ordering::Relaxed)
}

fn backoff(failures: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_BACKOFF)
}

/// Up to a tenth less, at random, so that the nodes of a cluster do not come together.
fn spread(wait: Duration) -> Duration {
    wait.mul_f64(1.0 - f64::from(u16::from_le_bytes(random())) / f64::from(u16::MAX) / 10.0)
}
