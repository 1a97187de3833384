//! A store in memory under the simulation's hand: every call waits twice, before and after it does its work, so that
//! others come in between; it may fail before it, or lose its answer after it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::store::{
    ChangeStream, Commit, Condition, Entry, LeaseId, Listing, Op, Store, StoreError, check_commit,
};

/// SplitMix64.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Less than `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[derive(Debug)]
struct State {
    random: Random,
    /// Milliseconds.
    now: u64,
    revision: u64,
    last_lease: u64,
    entries: BTreeMap<String, Entry>,
    /// Until when, and for how long at a time.
    leases: BTreeMap<LeaseId, (u64, u64)>,
    /// One call in so many fails; 0: none.
    failing: u64,
}

/// The store.
#[derive(Debug)]
pub(super) struct SimulatedStore(Mutex<State>);

impl SimulatedStore {
    pub(super) fn new(seed: u64, failing: u64) -> Self {
        Self(Mutex::new(State {
            random: Random::new(seed),
            now: 0,
            revision: 0,
            last_lease: 0,
            entries: BTreeMap::new(),
            leases: BTreeMap::new(),
            failing,
        }))
    }

    /// Nothing fails any more.
    pub(super) fn heal(&self) {
        self.0.lock().failing = 0;
    }

    /// Time passes, and leases run out.
    pub(super) fn pass(&self, time: u64) {
        let mut state = self.0.lock();
        state.now += time;
        let now = state.now;
        let ended: Vec<LeaseId> =
            state.leases.iter().filter(|(_, (until, _))| *until <= now).map(|(lease, _)| *lease).collect();
        ended.into_iter().for_each(|lease| state.end(lease));
    }

    /// What is kept, for checks.
    pub(super) fn entries(&self) -> BTreeMap<String, Entry> {
        self.0.lock().entries.clone()
    }

    /// As the trait's, at once and without fail.
    pub(super) fn keep(&self, lease: LeaseId) -> bool {
        let mut state = self.0.lock();
        let now = state.now;
        let kept = state.leases.get_mut(&lease);
        kept.map(|(until, ttl)| *until = now + *ttl).is_some()
    }

    async fn call<T>(&self, work: impl FnOnce(&mut State) -> Result<T, StoreError>) -> Result<T, StoreError> {
        pause().await;
        self.fails("nothing was done")?;
        let done = work(&mut self.0.lock());
        pause().await;
        self.fails("the answer was lost")?;
        done
    }

    fn fails(&self, why: &str) -> Result<(), StoreError> {
        let mut state = self.0.lock();
        let failing = state.failing;
        if failing != 0 && state.random.below(failing) == 0 {
            return Err(StoreError::Failed(why.to_owned()));
        }
        Ok(())
    }
}

/// Lets others come in between: ready when it is polled for the second time.
async fn pause() {
    let mut polled = false;
    poll_fn(|_| if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl State {
    fn end(&mut self, lease: LeaseId) {
        self.leases.remove(&lease);
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.lease != Some(lease));
        self.revision += u64::from(self.entries.len() < before);
    }

    fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Absent(key) => !self.entries.contains_key(key),
            Condition::Revision(key, revision) => {
                self.entries.get(key).is_some_and(|entry| entry.revision == *revision)
            }
            Condition::PrefixEmpty(prefix) => !self.entries.keys().any(|key| key.starts_with(prefix)),
        }
    }

    fn commit(&mut self, conditions: &[Condition], ops: Vec<Op>) -> Result<Commit, StoreError> {
        check_commit(conditions, &ops)?;
        if !conditions.iter().all(|condition| self.holds(condition)) {
            return Ok(Commit::Conflict);
        }
        let wanted: BTreeSet<LeaseId> = ops
            .iter()
            .filter_map(|op| match op {
                Op::Put { lease, .. } => *lease,
                Op::Delete(_) => None,
            })
            .collect();
        if wanted.iter().any(|lease| !self.leases.contains_key(lease)) {
            return Err(StoreError::LeaseNotFound);
        }
        self.revision += 1;
        for op in ops {
            match op {
                Op::Put { key, value, lease } => {
                    let entry = Entry { key: key.clone(), value, revision: self.revision, lease };
                    self.entries.insert(key, entry);
                }
                Op::Delete(key) => {
                    self.entries.remove(&key);
                }
            }
        }
        Ok(Commit::Committed { revision: self.revision })
    }
}

#[async_trait]
impl Store for SimulatedStore {
    fn id(&self) -> &str {
        "simulated"
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.call(|state| Ok(state.entries.get(key).cloned())).await
    }

    async fn list(&self, _: &str) -> Result<Listing, StoreError> {
        Err(StoreError::Invalid("membership lists nothing"))
    }

    async fn watch(&self, _: &str, _: u64) -> Result<ChangeStream, StoreError> {
        Err(StoreError::Invalid("membership watches nothing"))
    }

    async fn commit(&self, conditions: Vec<Condition>, ops: Vec<Op>) -> Result<Commit, StoreError> {
        self.call(|state| state.commit(&conditions, ops)).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let ttl = ttl.as_millis() as u64;
        self.call(|state| {
            state.last_lease += 1;
            let lease = LeaseId(state.last_lease);
            state.leases.insert(lease, (state.now + ttl, ttl));
            Ok(lease)
        })
        .await
    }

    async fn keep_alive(&self, _: LeaseId) -> Result<(), StoreError> {
        Err(StoreError::Invalid("the simulation keeps leases alive by itself"))
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.call(|state| {
            if !state.leases.contains_key(&lease) {
                return Err(StoreError::LeaseNotFound);
            }
            state.end(lease);
            Ok(())
        })
        .await
    }

    async fn compact(&self, _: u64) -> Result<(), StoreError> {
        Err(StoreError::Invalid("membership forgets no history"))
    }

    async fn close(&self) {}
}
