//! One link: what it still has to send, what its peer has confirmed.

use std::collections::VecDeque;

use realtime_proto::generated::peer as wire;
use wire::item::Kind;

use crate::hash::TopicHash;
use crate::limits::MeshLimits;
use crate::local::{Change, LocalInterest};

/// What an item costs besides its texts, about.
const ITEM_BYTES: usize = 32;

/// A peer breaks the protocol; the link must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Updates must count up from 1.
    #[error("update {got} in place of {expected}")]
    Order {
        /// The number that is next.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// It confirms or acknowledges what was never sent.
    #[error("a confirmation of what was not sent")]
    Unsent,
    /// A Hello after the first message.
    #[error("an item that has no place here")]
    Unexpected,
}

/// Sends and remembers.
#[derive(Debug)]
pub(crate) struct Link {
    /// The rest of the whole set; `None` once it is sent.
    whole: Option<Whole>,
    changes: Vec<Change>,
    /// Number of the last interest update that was sent.
    sent: u64,
    /// Updates that are not confirmed yet: number, version.
    unconfirmed: VecDeque<(u64, u64)>,
    /// The version of our interest that the peer has confirmed.
    confirmed: u64,
    /// Number of the peer's last update, and whether we have told it.
    heard: u64,
    told: u64,
    /// Number of the peer's last update of its mirror, and whether we have told it.
    mirror_heard: u64,
    mirror_told: u64,
    /// One at most for each process that is mirrored somewhere.
    claims: VecDeque<wire::Claim>,
    controls: VecDeque<Kind>,
    publishes: VecDeque<wire::Publish>,
    queued_bytes: usize,
    sent_publishes: u64,
    acknowledged: u64,
    received: u64,
    reported: u64,
    report_due: bool,
    limits: MeshLimits,
}

#[derive(Debug)]
struct Whole {
    topics: std::vec::IntoIter<TopicHash>,
    begun: bool,
    version: u64,
}

impl Whole {
    fn of(local: &LocalInterest) -> Self {
        let topics: Vec<_> = local.topics().collect();
        Self { topics: topics.into_iter(), begun: false, version: local.version() }
    }
}

impl Link {
    /// A fresh link: first of all it tells the whole interest.
    pub(crate) fn new(local: &LocalInterest, limits: MeshLimits) -> Self {
        Self {
            whole: Some(Whole::of(local)),
            changes: Vec::new(),
            sent: 0,
            unconfirmed: VecDeque::new(),
            confirmed: 0,
            heard: 0,
            told: 0,
            mirror_heard: 0,
            mirror_told: 0,
            claims: VecDeque::new(),
            controls: VecDeque::new(),
            publishes: VecDeque::new(),
            queued_bytes: 0,
            sent_publishes: 0,
            acknowledged: 0,
            received: 0,
            reported: 0,
            report_due: false,
            limits,
        }
    }

    /// The version of our interest that the peer goes by.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Notes a change for the peer. A peer that does not keep up gets the whole set anew instead of a longer and
    /// longer list.
    pub(crate) fn change(&mut self, change: Change, local: &LocalInterest) {
        self.changes.push(change);
        if self.changes.len() > 2 * self.limits.hashes + local.len() {
            self.changes = Vec::new();
            self.whole = Some(Whole::of(local));
        }
    }

    /// Queues a publish; `false`: no room.
    pub(crate) fn publish(&mut self, publish: wire::Publish) -> bool {
        let bytes = size(&publish);
        if self.queued_bytes + bytes > self.limits.queue_bytes && !self.publishes.is_empty() {
            return false;
        }
        self.queued_bytes += bytes;
        self.publishes.push_back(publish);
        true
    }

    /// Queues a request or an answer; `false`: no room.
    pub(crate) fn control(&mut self, kind: Kind) -> bool {
        if self.controls.len() >= self.limits.controls {
            return false;
        }
        self.controls.push_back(kind);
        true
    }

    pub(crate) fn queued_publishes(&self) -> u64 {
        self.publishes.len() as u64
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Publishes that were sent and not acknowledged.
    pub(crate) fn in_flight(&self) -> u64 {
        self.sent_publishes - self.acknowledged
    }

    /// Lets the next message tell what was received, even if there is nothing else to send.
    pub(crate) fn report(&mut self) {
        self.report_due = self.received != self.reported;
    }

    pub(crate) fn count_received(&mut self) {
        self.received += 1;
    }

    /// The peer's update has this number.
    pub(crate) fn hear(&mut self, number: u64) -> Result<(), Violation> {
        count_up(&mut self.heard, number)
    }

    /// The peer's update of its mirror has this number.
    pub(crate) fn hear_mirror(&mut self, number: u64) -> Result<(), Violation> {
        count_up(&mut self.mirror_heard, number)
    }

    /// Queues a claim, in place of an older one of the same process.
    pub(crate) fn claim(&mut self, claim: wire::Claim) {
        self.claims.retain(|older| older.incarnation != claim.incarnation);
        self.claims.push_back(claim);
    }

    /// The peer has confirmed our updates up to this number.
    pub(crate) fn confirm(&mut self, number: u64) -> Result<(), Violation> {
        if number > self.sent {
            return Err(Violation::Unsent);
        }
        while let Some((_, version)) = self.unconfirmed.front().filter(|(sent, _)| *sent <= number) {
            self.confirmed = *version;
            self.unconfirmed.pop_front();
        }
        Ok(())
    }

    pub(crate) fn acknowledge(&mut self, publishes: u64) -> Result<(), Violation> {
        if publishes > self.sent_publishes {
            return Err(Violation::Unsent);
        }
        self.acknowledged = self.acknowledged.max(publishes);
        Ok(())
    }

    /// The next message, `None` when there is nothing to say. `mirror` is the next update of the mirror, about a
    /// quarter of a message at most. It goes first, so that a session's end comes with the event that tells of it, and
    /// leaves room for publishes. Interest and answers come next: subscribers and callers wait for them, publishes only
    /// for their like.
    pub(crate) fn transmit(
        &mut self,
        local: &LocalInterest,
        mirror: Option<wire::Mirror>,
    ) -> Option<wire::LinkMessage> {
        let mut bytes = mirror.as_ref().map_or(0, |_| self.limits.message_bytes / 4);
        let mut items: Vec<_> =
            mirror.into_iter().map(|update| wire::Item { kind: Some(Kind::Mirror(update)) }).collect();
        while bytes < self.limits.message_bytes
            && let Some((kind, size)) = self.next_item(local)
        {
            bytes += size;
            items.push(wire::Item { kind: Some(kind) });
        }
        if self.received != self.reported && (self.report_due || !items.is_empty()) {
            self.reported = self.received;
            self.report_due = false;
            items
                .push(wire::Item { kind: Some(Kind::Received(wire::Received { publishes: self.received })) });
        }
        (!items.is_empty()).then_some(wire::LinkMessage { items })
    }

    fn next_item(&mut self, local: &LocalInterest) -> Option<(Kind, usize)> {
        if self.told != self.heard {
            self.told = self.heard;
            return Some((Kind::Confirmed(wire::Confirmed { number: self.heard }), ITEM_BYTES));
        }
        if self.mirror_told != self.mirror_heard {
            self.mirror_told = self.mirror_heard;
            return Some((Kind::Mirrored(wire::Mirrored { number: self.mirror_heard }), ITEM_BYTES));
        }
        if let Some(claim) = self.claims.pop_front() {
            let bytes = ITEM_BYTES + claim.incarnation.len();
            return Some((Kind::Claim(claim), bytes));
        }
        if let Some(interest) = self.next_interest(local) {
            let bytes = ITEM_BYTES + 8 * (interest.added.len() + interest.removed.len());
            return Some((Kind::Interest(interest), bytes));
        }
        if let Some(control) = self.controls.pop_front() {
            // Pages of lists are the largest, about 100 KiB.
            return Some((control, self.limits.message_bytes / 4));
        }
        let publish = self.publishes.pop_front()?;
        let bytes = size(&publish);
        self.queued_bytes -= bytes;
        self.sent_publishes += 1;
        Some((Kind::Publish(publish), bytes))
    }

    fn next_interest(&mut self, local: &LocalInterest) -> Option<wire::Interest> {
        let mut interest = wire::Interest::default();
        let version;
        if let Some(whole) = &mut self.whole {
            interest.begin = !whole.begun;
            whole.begun = true;
            interest.added.extend(whole.topics.by_ref().take(self.limits.hashes).map(|TopicHash(hash)| hash));
            interest.complete = whole.topics.len() == 0;
            // A part of the set is no version of it.
            version = if interest.complete { whole.version } else { 0 };
            if interest.complete {
                self.whole = None;
            }
        } else if self.changes.is_empty() {
            return None;
        } else {
            self.take_changes(&mut interest);
            let later =
                self.changes.iter().filter(|change| matches!(change, Change::Added(_))).count() as u64;
            version = local.version() - later;
        }
        self.sent += 1;
        interest.number = self.sent;
        self.unconfirmed.push_back((self.sent, version.max(self.confirmed)));
        Some(interest)
    }

    /// Takes changes, of several of one topic the last: order counts for nothing within an update.
    fn take_changes(&mut self, interest: &mut wire::Interest) {
        let mut last = hashbrown::HashMap::new();
        let mut taken = 0;
        for change in self.changes.iter().take(self.limits.hashes) {
            let (hash, added) = match change {
                Change::Added(hash) => (hash, true),
                Change::Removed(hash) => (hash, false),
            };
            last.insert(*hash, added);
            taken += 1;
        }
        self.changes.drain(..taken);
        for (TopicHash(hash), added) in last {
            if added { &mut interest.added } else { &mut interest.removed }.push(hash);
        }
    }
}

/// Takes the number that is next.
fn count_up(last: &mut u64, number: u64) -> Result<(), Violation> {
    let expected = *last + 1;
    if number != expected {
        return Err(Violation::Order { expected, got: number });
    }
    *last = number;
    Ok(())
}

fn size(publish: &wire::Publish) -> usize {
    ITEM_BYTES + publish.app_id.len() + publish.topic.len() + publish.json.len()
}
