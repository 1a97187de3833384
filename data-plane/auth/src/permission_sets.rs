//! Compiled permission lists, shared: a thousand tokens with one list cost one compilation and one copy.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use realtime_proto::{PermissionCase, Permissions, Texts};

/// Dead entries are looked for when the table has doubled since the last time, and never below this size.
const SMALLEST_SWEEP: usize = 64;

/// The sets of one application. Holds none alive: a set lives as long as a session or a remembered token has it.
#[derive(Debug)]
pub(crate) struct PermissionSets {
    case: PermissionCase,
    hasher: RandomState,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_hash: HashMap<u64, Vec<Weak<Permissions>>>,
    entries: usize,
    sweep_at: usize,
}

impl PermissionSets {
    pub(crate) fn new(case: PermissionCase) -> Self {
        let table = Table { sweep_at: SMALLEST_SWEEP, ..Table::default() };
        Self { case, hasher: RandomState::new(), table: Mutex::new(table) }
    }

    /// The compiled set of an equal list, made where nobody has one. Equal means the same order too.
    pub(crate) fn share(&self, list: Texts) -> Arc<Permissions> {
        let hash = self.hasher.hash_one(&list);
        if let Some(set) = self.table.lock().find(hash, &list) {
            return set;
        }
        // Compiled outside the lock; of two that race the first one stays.
        let made = Arc::new(Permissions::new(list, self.case));
        let mut table = self.table.lock();
        if let Some(set) = table.find(hash, made.list()) {
            return set;
        }
        table.insert(hash, &made);
        made
    }

    #[cfg(test)]
    fn entries(&self) -> usize {
        self.table.lock().entries
    }
}

impl Table {
    fn find(&self, hash: u64, list: &Texts) -> Option<Arc<Permissions>> {
        self.by_hash.get(&hash)?.iter().filter_map(Weak::upgrade).find(|set| set.list() == list)
    }

    fn insert(&mut self, hash: u64, set: &Arc<Permissions>) {
        if self.entries >= self.sweep_at {
            self.sweep();
        }
        self.by_hash.entry(hash).or_default().push(Arc::downgrade(set));
        self.entries += 1;
    }

    fn sweep(&mut self) {
        self.by_hash.retain(|_, sets| {
            sets.retain(|set| set.strong_count() > 0);
            !sets.is_empty()
        });
        self.entries = self.by_hash.values().map(Vec::len).sum();
        self.sweep_at = (self.entries * 2).max(SMALLEST_SWEEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Texts {
        items.iter().collect()
    }

    #[test]
    fn equal_lists_share_one_set_and_others_do_not() {
        let sets = PermissionSets::new(PermissionCase::Insensitive);
        let a = sets.share(list(&["x", "y"]));
        assert!(Arc::ptr_eq(&a, &sets.share(list(&["x", "y"]))));
        assert!(!Arc::ptr_eq(&a, &sets.share(list(&["y", "x"]))));
        assert!(!Arc::ptr_eq(&a, &sets.share(list(&["xy"]))));
    }

    #[test]
    fn lists_whose_hashes_collide_stay_apart() {
        let mut table = Table::default();
        let of = |items| Arc::new(Permissions::new(list(items), PermissionCase::Insensitive));
        let (a, b) = (of(&["a"]), of(&["b"]));
        table.insert(7, &a);
        table.insert(7, &b);
        assert!(Arc::ptr_eq(&a, &table.find(7, a.list()).unwrap()));
        assert!(Arc::ptr_eq(&b, &table.find(7, b.list()).unwrap()));
        assert!(table.find(7, &list(&["c"])).is_none());
    }

    #[test]
    fn sets_that_nobody_holds_are_forgotten() {
        let sets = PermissionSets::new(PermissionCase::Insensitive);
        let kept = sets.share(list(&["kept"]));
        for i in 0..10 * SMALLEST_SWEEP {
            drop(sets.share(list(&[&i.to_string()])));
        }
        assert!(sets.entries() <= SMALLEST_SWEEP + 1);
        assert!(Arc::ptr_eq(&kept, &sets.share(list(&["kept"]))));
    }
}
