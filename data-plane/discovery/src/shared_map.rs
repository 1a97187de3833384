//! A map whose copies share what they have in common: a copy costs the same however many entries there are, a change
//! copies one bucket, and two maps are told apart without a look at what they share. With ten thousand
//! applications a change of one would otherwise copy, compare and drop ten thousand entries, several times over.
//!
//! Rejected: a persistent tree from a library, for which one use is too little.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Index;
use std::sync::Arc;

/// A change copies a bucket, a copy the list of them: at ten thousand entries the two cost about the same.
const BUCKETS: usize = 256;

type Bucket<K, V> = Arc<HashMap<K, V>>;

/// The map. Values are meant to be handles.
#[derive(Clone)]
pub struct SharedMap<K, V> {
    buckets: Box<[Bucket<K, V>]>,
    len: usize,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        let empty: Bucket<K, V> = Arc::default();
        Self { buckets: vec![empty; BUCKETS].into(), len: 0 }
    }
}

impl<K, V> SharedMap<K, V> {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.buckets.iter().flat_map(|bucket| bucket.iter())
    }

    /// Values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Hash + Eq, V> SharedMap<K, V> {
    /// The value of a key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.buckets[place(key)].get(key)
    }

    /// Whether there is such a key.
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Every key whose value may differ from the one in `before`, with both values. What the two maps share is
    /// passed by; a key that shares its bucket with a change comes along.
    pub fn differences<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
        let pairs = self.buckets.iter().zip(&before.buckets);
        pairs.filter(|(now, before)| !Arc::ptr_eq(now, before)).flat_map(|(now, before)| {
            let gone = before.iter().filter(|(key, _)| !now.contains_key(key));
            let gone = gone.map(|(key, value)| (key, Some(value), None));
            now.iter().map(|(key, value)| (key, before.get(key), Some(value))).chain(gone)
        })
    }
}

impl<K: Hash + Eq + Clone, V: Clone> SharedMap<K, V> {
    /// Sets the value of a key; returns the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = Arc::make_mut(&mut self.buckets[place(&key)]).insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Removes a key; returns its value.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let bucket = &mut self.buckets[place(key)];
        let before = if bucket.contains_key(key) { Arc::make_mut(bucket).remove(key) } else { None };
        self.len -= usize::from(before.is_some());
        before
    }

    /// Keeps the entries that the condition names.
    pub fn retain(&mut self, condition: impl Fn(&K, &V) -> bool) {
        let dropped = self.iter().filter(|(key, value)| !condition(key, value));
        let dropped: Vec<K> = dropped.map(|(key, _)| key.clone()).collect();
        for key in &dropped {
            self.remove(key);
        }
    }
}

/// The bucket of a key: the same in every map, so that maps can be compared bucket by bucket. Keys are chosen by
/// operators, so nobody gains by filling one bucket.
fn place<Q: Hash + ?Sized>(key: &Q) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish() as usize % BUCKETS
}

impl<K: Hash + Eq + Borrow<Q>, Q: Hash + Eq + ?Sized, V> Index<&Q> for SharedMap<K, V> {
    type Output = V;

    fn index(&self, key: &Q) -> &V {
        &self.buckets[place(key)][key]
    }
}

impl<K: Hash + Eq + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A map and a model of it after the same random-looking changes.
    fn changed(map: &mut SharedMap<u32, u32>, model: &mut BTreeMap<u32, u32>, seed: u32) {
        for n in 0..200u32 {
            let key = n.wrapping_mul(2_654_435_761).wrapping_add(seed) % 500;
            if (n + seed).is_multiple_of(3) {
                assert_eq!(map.remove(&key), model.remove(&key));
            } else {
                assert_eq!(map.insert(key, n), model.insert(key, n));
            }
        }
    }

    fn sorted(map: &SharedMap<u32, u32>) -> BTreeMap<u32, u32> {
        map.iter().map(|(key, value)| (*key, *value)).collect()
    }

    #[test]
    fn it_is_a_map_and_copies_do_not_change_with_it() {
        let (mut map, mut model) = (SharedMap::default(), BTreeMap::new());
        for seed in 0..20 {
            let (copy, copied) = (map.clone(), model.clone());
            changed(&mut map, &mut model, seed);
            assert_eq!(sorted(&copy), copied);
            assert_eq!(sorted(&map), model);
            assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
        }
        map.retain(|key, _| key.is_multiple_of(2));
        model.retain(|key, _| key.is_multiple_of(2));
        assert_eq!((sorted(&map), map.len()), (model.clone(), model.len()));
        assert!(model.iter().all(|(key, value)| map.get(key) == Some(value) && map[key] == *value));
        assert!(!map.contains_key(&1));
    }

    #[test]
    fn differences_are_what_makes_one_map_of_the_other_and_little_more() {
        let (mut map, mut model) = (SharedMap::default(), BTreeMap::new());
        changed(&mut map, &mut model, 1);
        assert_eq!(map.differences(&map.clone()).count(), 0);
        for seed in 2..20 {
            let (before, mut rebuilt) = (map.clone(), model.clone());
            changed(&mut map, &mut model, seed);
            for (key, old, new) in map.differences(&before) {
                assert_eq!((old, new), (before.get(key), map.get(key)));
                match new {
                    Some(value) => rebuilt.insert(*key, *value),
                    None => rebuilt.remove(key),
                };
            }
            assert_eq!(rebuilt, model);
        }
        let before = map.clone();
        map.insert(7, 7);
        assert!(map.differences(&before).count() < 50, "one bucket, not the map");
    }
}
