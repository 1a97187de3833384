//! Tokens that have verified, remembered until they expire, so that a service that publishes with one token
//! pays for a hash and a look-up.
//!
//! Bounded in bytes: two generations of equal size per stripe; a full young one becomes the old one, whose entries
//! go unless they are used again meanwhile. Rejected tokens are not remembered: whoever sends many of them would
//! only push out good ones, and the verification pool already bounds what they cost.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::claims::LEEWAY_SECONDS;
use crate::identity::Identity;
use crate::verifier::Sha256;

/// Independent locks, so that threads seldom meet. A power of two.
const STRIPES: usize = 16;

/// What an entry takes where neither the subject nor the permissions are unusual: the key, the identity, their places
/// in the maps. Those with longer ones count for what they take, as if nobody shared them.
const USUAL_BYTES: usize = 512;

/// What a verdict depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The key and policy that verified it.
    pub(crate) verifier: Sha256,
    /// [`crate::Keys::generation`], read before the keys were: a token is never remembered beyond its key.
    pub(crate) generation: u64,
    /// The token's hash.
    pub(crate) token: Sha256,
}

type Generation = HashMap<Key, Arc<Identity>>;

/// The remembered tokens.
pub(crate) struct TokenCache {
    stripes: [Mutex<Stripe>; STRIPES],
    /// Bytes per generation and stripe; zero: remembers nothing.
    generation: usize,
}

#[derive(Default)]
struct Stripe {
    young: Generation,
    young_bytes: usize,
    old: Generation,
}

impl TokenCache {
    /// Remembers up to about `capacity` tokens of the usual size; zero: none.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { stripes: Default::default(), generation: capacity.div_ceil(2 * STRIPES) * USUAL_BYTES }
    }

    /// The identity of a token that has verified and not expired since.
    pub(crate) fn get(&self, key: &Key, now: u64) -> Option<Arc<Identity>> {
        let mut stripe = self.stripe(key).lock();
        if let Some(identity) = stripe.young.get(key) {
            if is_current(identity, now) {
                return Some(Arc::clone(identity));
            }
            stripe.remove(key);
            return None;
        }
        let identity = stripe.old.remove(key).filter(|identity| is_current(identity, now))?;
        stripe.insert(*key, Arc::clone(&identity), self.generation);
        Some(identity)
    }

    /// Remembers a verified token.
    pub(crate) fn insert(&self, key: Key, identity: Arc<Identity>) {
        if self.generation > 0 {
            self.stripe(&key).lock().insert(key, identity, self.generation);
        }
    }

    fn stripe(&self, key: &Key) -> &Mutex<Stripe> {
        &self.stripes[usize::from(key.token[0]) % STRIPES]
    }
}

impl Stripe {
    fn insert(&mut self, key: Key, identity: Arc<Identity>, limit: usize) {
        if self.young_bytes >= limit {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += weight(&identity);
        if let Some(replaced) = self.young.insert(key, identity) {
            self.young_bytes -= weight(&replaced);
        }
    }

    /// Forgets an entry of the young generation.
    fn remove(&mut self, key: &Key) {
        if let Some(removed) = self.young.remove(key) {
            self.young_bytes -= weight(&removed);
        }
    }
}

/// Memory that an entry keeps.
fn weight(identity: &Identity) -> usize {
    let subject = identity.subject.as_deref().map_or(0, str::len);
    USUAL_BYTES.max(subject + identity.permissions.heap_bytes() + USUAL_BYTES / 2)
}

/// The same comparison as for a fresh token.
fn is_current(identity: &Identity, now: u64) -> bool {
    identity.expires_at.is_none_or(|exp| now < exp.saturating_add(LEEWAY_SECONDS))
}

/// Shows how many tokens are remembered, and none of them.
impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: usize = self
            .stripes
            .iter()
            .map(|stripe| {
                let stripe = stripe.lock();
                stripe.young.len() + stripe.old.len()
            })
            .sum();
        f.debug_struct("TokenCache").field("entries", &entries).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use realtime_proto::{PermissionCase, Permissions};

    use super::*;

    fn key(n: u8) -> Key {
        // One stripe, so that generations can be followed.
        let mut token = [0; 32];
        token[1] = n;
        Key { verifier: [0; 32], generation: 0, token }
    }

    fn identity(expires_at: Option<u64>) -> Arc<Identity> {
        Arc::new(Identity { subject: None, permissions: Arc::default(), expires_at })
    }

    #[test]
    fn an_entry_lasts_as_long_as_the_token_and_the_leeway() {
        let cache = TokenCache::new(64);
        cache.insert(key(1), identity(Some(100)));
        assert!(cache.get(&key(1), 104).is_some());
        assert!(cache.get(&key(1), 105).is_none());
        assert!(cache.get(&key(1), 104).is_none(), "an expired entry is gone");
        cache.insert(key(2), identity(None));
        assert!(cache.get(&key(2), u64::MAX).is_some());
    }

    #[test]
    fn another_key_set_or_policy_misses() {
        let cache = TokenCache::new(64);
        cache.insert(key(1), identity(None));
        assert!(cache.get(&Key { verifier: [1; 32], ..key(1) }, 0).is_none());
        assert!(cache.get(&Key { generation: 1, ..key(1) }, 0).is_none());
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let cache = TokenCache::new(2 * STRIPES * 4); // four per generation
        cache.insert(key(0), identity(None));
        for n in 1..=200 {
            cache.insert(key(n), identity(None));
            assert!(cache.get(&key(0), 0).is_some(), "used after {n}");
        }
        let stripe = cache.stripes[0].lock();
        assert!(stripe.young.len() + stripe.old.len() <= 8);
        drop(stripe);
        assert!(cache.get(&key(1), 0).is_none(), "the unused went");
    }

    #[test]
    fn long_lists_count_for_what_they_take() {
        let cache = TokenCache::new(2 * STRIPES * 100);
        let long = |n: u8| {
            let list: Vec<String> = (0..2000).map(|i| format!("{n} {i}")).collect();
            let permissions = Arc::new(Permissions::new(list.into(), PermissionCase::Insensitive));
            Arc::new(Identity { subject: None, permissions, expires_at: None })
        };
        let weights: usize = (0..100).map(|n| weight(&long(n))).sum();
        (0..100).for_each(|n| cache.insert(key(n), long(n)));
        let stripe = cache.stripes[0].lock();
        let entries = stripe.young.len() + stripe.old.len();
        let held = entries * weights / 100;
        assert!(entries >= 2 && held <= 2 * cache.generation + 2 * weights / 100, "{entries}, {held} bytes");
    }

    #[test]
    fn without_capacity_nothing_is_remembered() {
        let cache = TokenCache::new(0);
        cache.insert(key(1), identity(None));
        assert!(cache.get(&key(1), 0).is_none());
    }
}
