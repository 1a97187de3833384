//! Key ids that a fresh key set did not have: a client that comes again and again with such a token causes one
//! fetch a minute, not one every ten seconds.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// How long an id counts as missing. Short: a publisher may show a new key after the first token signed with it.
pub(super) const MISSING_FOR: Duration = Duration::from_secs(60);

/// Ids remembered. Whoever sends random ones pushes the others out, and the time between two fetches on demand
/// bounds what that can cause.
const MAX_MISSING: usize = 1024;

/// The missing ids of one set, by their hash.
#[derive(Debug, Default)]
pub(super) struct Missing {
    hasher: RandomState,
    since: HashMap<u64, Instant>,
}

impl Missing {
    /// Whether the id was missing a short while ago.
    pub(super) fn has(&self, kid: &str, now: Instant) -> bool {
        self.since.get(&self.hasher.hash_one(kid)).is_some_and(|&since| is_current(since, now))
    }

    /// Notes that the set as fetched at `now` has no such id.
    pub(super) fn insert(&mut self, kid: &str, now: Instant) {
        if self.since.len() >= MAX_MISSING {
            self.since.retain(|_, since| is_current(*since, now));
        }
        if self.since.len() >= MAX_MISSING {
            self.since.clear();
        }
        self.since.insert(self.hasher.hash_one(kid), now);
    }
}

fn is_current(since: Instant, now: Instant) -> bool {
    now.duration_since(since) < MISSING_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_missing_for_a_while() {
        let (mut missing, now) = (Missing::default(), Instant::now());
        assert!(!missing.has("a", now));
        missing.insert("a", now);
        assert!(missing.has("a", now + MISSING_FOR - Duration::from_millis(1)) && !missing.has("b", now));
        assert!(!missing.has("a", now + MISSING_FOR));
    }

    #[test]
    fn random_ids_do_not_fill_the_memory() {
        let (mut missing, now) = (Missing::default(), Instant::now());
        for n in 0..10 * MAX_MISSING {
            missing.insert(&n.to_string(), now);
            assert!(missing.since.len() <= MAX_MISSING);
        }
        assert!(missing.has(&(10 * MAX_MISSING - 1).to_string(), now));
    }
}
