//! Key sets behind URLs (JWKS): one process-wide cache that fetches each set once for all applications which name
//! its URL, keeps it fresh, and keeps the last good one while its endpoint fails.
//!
//! A set is fetched with the first token that needs it, never when a configuration is compiled. It has one task
//! from then on, until the last application that names its URL is gone. Never here: tokens, claims.

mod document;
mod fetch;
mod missing;
mod remote;
mod slots;
mod stats;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use realtime_proto::AppConfig;
use realtime_proto::FieldErrors;
use realtime_proto::app::KeySource;

pub use document::{Ignored, KeySet, MAX_SET_KEYS, NotAKeySet};
pub use stats::JwksStats;

use crate::keys::Keys;
use fetch::{Fetch, HttpFetcher, Target};
use remote::RemoteSet;
use slots::Slots;
use stats::Counters;
use waiting::WaitingRoom;

/// The process's key sets. Cheap to clone; all clones are the same cache.
#[derive(Clone)]
pub struct JwksCache {
    /// `None`: offline.
    shared: Option<Arc<Shared>>,
}

/// What the cache and its sets share.
struct Shared {
    fetcher: Arc<dyn Fetch>,
    /// Plain HTTP and addresses that are not public are fine.
    insecure: bool,
    /// By URL. Holds no set alive.
    sets: Mutex<HashMap<Box<str>, Weak<RemoteSet>>>,
    counters: Arc<Counters>,
    slots: Slots,
    waiting: WaitingRoom,
}

impl JwksCache {
    /// A cache that fetches over HTTPS from public addresses; with `allow_insecure` (`--allow-insecure-jwks`)
    /// also over plain HTTP and from any address.
    #[must_use]
    pub fn new(allow_insecure: bool) -> Self {
        Self::with_fetcher(Arc::new(HttpFetcher::new(allow_insecure)), allow_insecure)
    }

    /// Never fetches: tokens that need a key set are answered as before its first fetch. For processes that
    /// only check configurations.
    #[must_use]
    pub fn offline() -> Self {
        Self { shared: None }
    }

    fn with_fetcher(fetcher: Arc<dyn Fetch>, insecure: bool) -> Self {
        let (sets, counters) = (Mutex::default(), Arc::default());
        let (slots, waiting) = (Slots::new(), WaitingRoom::new());
        Self { shared: Some(Arc::new(Shared { fetcher, insecure, sets, counters, slots, waiting })) }
    }

    /// The set behind a URL: the one that exists, or a new one. `None`: offline.
    pub(crate) fn open(&self, uri: &str) -> Option<Arc<dyn Keys>> {
        Some(self.shared.as_ref()?.open(uri))
    }

    /// Whether the URLs of a configuration that is about to be written can ever be fetched, as far as can be
    /// told without resolving names. Those that `current` has already may stay. Offline there is nothing to say.
    ///
    /// # Errors
    /// Names `authKey.jwksUri` or `adminKey.jwksUri`.
    pub fn check(&self, config: &AppConfig, current: Option<&AppConfig>) -> Result<(), FieldErrors> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let mut errors = FieldErrors::default();
        let keys = [
            ("authKey.jwksUri", &config.auth_key, current.map(|c| &c.auth_key)),
            ("adminKey.jwksUri", &config.admin_key, current.map(|c| &c.admin_key)),
        ];
        for (field, key, current) in keys {
            let KeySource::Jwks { uri } = &key.source else { continue };
            if current.is_some_and(|current| current.source == key.source) {
                continue;
            }
            if let Err(problem) = Target::parse(uri, shared.insecure) {
                errors.push(field, problem);
            }
        }
        if errors.0.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// What the cache holds and has done.
    #[must_use]
    pub fn stats(&self) -> JwksStats {
        let Some(shared) = &self.shared else { return JwksStats::default() };
        // A set whose last owner goes meanwhile is dropped here, and takes the lock then.
        let sets: Vec<_> = shared.sets.lock().values().filter_map(Weak::upgrade).collect();
        let mut stats = shared.counters.stats();
        for set in &sets {
            set.describe(&mut stats);
        }
        stats
    }
}

impl Shared {
    fn open(self: &Arc<Self>, uri: &str) -> Arc<RemoteSet> {
        let mut sets = self.sets.lock();
        if let Some(set) = sets.get(uri).and_then(Weak::upgrade) {
            return set;
        }
        let set = Arc::new(RemoteSet::new(uri, Arc::clone(self)));
        sets.insert(uri.into(), Arc::downgrade(&set));
        set
    }

    /// Takes out a set that nobody has any more; its successor stays.
    fn forget(&self, uri: &str) {
        let mut sets = self.sets.lock();
        if sets.get(uri).is_some_and(|set| set.strong_count() == 0) {
            sets.remove(uri);
        }
    }
}

/// Shows how many sets there are; their URLs may hold secrets.
impl fmt::Debug for JwksCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets = self.shared.as_ref().map(|shared| shared.sets.lock().len());
        f.debug_struct("JwksCache").field("sets", &sets).finish()
    }
}
