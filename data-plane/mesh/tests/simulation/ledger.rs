//! Publishes on their way, by the life that sent them: each arrives, or is counted as lost.

use std::collections::BTreeMap;

use realtime_mesh::Losses;

/// What became of one life's publishes.
#[derive(Debug, Default)]
struct Account {
    queued: u64,
    arrived: u64,
}

/// The accounts of all lives.
#[derive(Debug, Default)]
pub(crate) struct Ledger(BTreeMap<u64, Account>);

impl Ledger {
    /// A publish was queued for so many peers.
    pub(crate) fn queued(&mut self, life: u64, peers: usize) {
        self.0.entry(life).or_default().queued += peers as u64;
    }

    /// One of them has a publish of that life.
    pub(crate) fn arrived(&mut self, life: u64) {
        self.0.entry(life).or_default().arrived += 1;
    }

    /// Nothing is on its way any more. Of what was in flight when a link broke, some has arrived besides.
    pub(crate) fn check(&self, life: u64, lost: Losses) {
        let Some(Account { queued, arrived }) = self.0.get(&life) else { return };
        let missing = queued.checked_sub(*arrived).expect("what was queued at most");
        assert!(
            missing <= lost.queued + lost.in_flight,
            "{missing} of {queued} are lost, counted are {lost:?}"
        );
        assert!(missing >= lost.queued, "{missing} of {queued} are lost, counted are {lost:?}");
    }
}
