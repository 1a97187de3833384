//! Where a receiver stands: what it holds, what is on its way to it, and therefore what comes next. Pure.
//!
//! Invariants: one update is in flight at a time, and none leads to an older revision than one that the
//! receiver holds; changes during the flight come together in the next update.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::update::{self, Audience, Update};
use crate::keys::Subject;
use crate::model::State;

/// What a receiver held when it said hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing that helps: nothing at all, another store's, or older than any log.
    Nothing,
    /// A revision of this store, seen with other keys for secrets: all may be different, but nothing goes back.
    OtherView { number: u64 },
    /// A revision of this store, with what has changed since, up to the second revision, where that had to be
    /// looked up.
    Revision { number: u64, changed: BTreeSet<Subject>, through: u64 },
}

/// One receiver's position.
#[derive(Debug)]
pub(super) struct Position {
    audience: Audience,
    /// The revision of the last update that was sent or held, and what the next one names besides the model's
    /// log. `None`: the next one is a snapshot.
    base: Option<(u64, BTreeSet<Subject>)>,
    /// Never send older than this.
    least: u64,
    /// Whether the first update has gone out; it goes even if it changes nothing, so that the receiver knows
    /// where it stands.
    begun: bool,
    in_flight: Option<InFlight>,
    nonce: u64,
}

/// An update without an answer yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) nonce: u64,
    pub(super) revision: u64,
    /// When the answer is overdue.
    pub(super) deadline: Instant,
}

impl Position {
    pub(super) fn new(audience: Audience, held: Held) -> Self {
        let (base, least) = match held {
            Held::Nothing => (None, 0),
            Held::OtherView { number } => (None, number),
            Held::Revision { number, changed, through } => (Some((through.max(number), changed)), number),
        };
        Self { audience, base, least, begun: false, in_flight: None, nonce: 0 }
    }

    /// The next update, if the receiver is ready for one and there is one.
    pub(super) fn next(&mut self, state: &State, store_id: &str, deadline: Instant) -> Option<Update> {
        if self.in_flight.is_some() || state.revision < self.least {
            return None;
        }
        let nonce = self.nonce + 1;
        let delta = match self.changed(state) {
            Some(changed) if self.begun && changed.is_empty() => return None,
            Some(changed) => update::delta(state, store_id, self.audience, nonce, &changed),
            None => None,
        };
        let update = delta.unwrap_or_else(|| update::snapshot(state, store_id, self.audience, nonce));
        self.nonce = nonce;
        self.begun = true;
        self.base = Some((update.revision, BTreeSet::new()));
        self.least = update.revision;
        self.in_flight = Some(InFlight { nonce, revision: update.revision, deadline });
        Some(update)
    }

    /// What has changed since the base, where that is known.
    fn changed(&self, state: &State) -> Option<BTreeSet<Subject>> {
        let (base, extra) = self.base.as_ref()?;
        let mut changed = state.changed_since(*base)?;
        changed.extend(extra.iter().cloned());
        Some(changed)
    }

    /// What waits for an answer.
    pub(super) fn in_flight(&self) -> Option<InFlight> {
        self.in_flight
    }

    /// Takes an answer's nonce; the revision that it answers. `None`: no update has that nonce.
    pub(super) fn answered(&mut self, nonce: u64) -> Option<u64> {
        let answered = self.in_flight.take_if(|update| update.nonce == nonce)?;
        Some(answered.revision)
    }
}
