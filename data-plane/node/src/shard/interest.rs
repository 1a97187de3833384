//! What the mesh is told of this shard's subscribers, and the welcomes that wait until the peers know of them: a
//! welcome promises every publish that is accepted anywhere after it (docs/contract.md 2.2).
//!
//! A node without peers has no mesh: nothing is told and nothing waits.

use std::collections::VecDeque;
use std::sync::Arc;

use realtime_proto::{AppId, topic};

use super::hub::Hub;
use super::slab::Token;
use crate::peers::ToMesh;
use crate::runtime::AppRuntime;

/// How long a welcome waits for the peers at most (docs/contract.md 2.2).
const WELCOME_WITHIN_MS: u64 = 250;

/// A welcome that waits.
struct Waiting {
    ticket: u64,
    deadline_ms: u64,
    token: Token,
    slot: u32,
    topic: Arc<str>,
}

/// The shard's side of the mesh.
#[derive(Default)]
pub(super) struct Interest {
    /// The last ticket given out.
    given: u64,
    /// The peers know of everything up to this one.
    confirmed: u64,
    /// For the mesh, in the order in which it happened; handed over at the end of the turn.
    pub(super) outbox: Vec<ToMesh>,
    /// In the order of their tickets, and of their deadlines.
    waiting: VecDeque<Waiting>,
}

impl Interest {
    /// The last ticket given out: whoever waits for it waits for everything that the mesh was told.
    pub(super) fn last_ticket(&self) -> u64 {
        self.given
    }

    /// When the first waiting welcome goes without its confirmation.
    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        self.waiting.front().map(|waiting| waiting.deadline_ms)
    }

    /// A topic has its first subscriber here; the ticket that its welcomes wait for.
    pub(super) fn subscribed(&mut self, shard: u8, slot: u32, app: AppId, topic: Arc<str>) -> u64 {
        self.given += 1;
        self.outbox.push(ToMesh::Subscribed { shard, ticket: self.given, slot, app, topic });
        self.given
    }

    /// A topic has lost its last subscriber here.
    pub(super) fn unsubscribed(&mut self, slot: u32, topic: Arc<str>) {
        self.outbox.push(ToMesh::Unsubscribed { slot, topic });
    }

    fn pop(&mut self, ready: impl FnOnce(&Waiting) -> bool) -> Option<Waiting> {
        self.waiting.front().filter(|waiting| ready(waiting))?;
        self.waiting.pop_front()
    }
}

/// The private topic of a subject.
fn private(subject: &str) -> Arc<str> {
    [topic::PRIVATE_PREFIX, subject].concat().into()
}

impl Hub {
    /// A topic has its first subscriber here; 0: nobody waits for a welcome.
    pub(super) fn topic_came(&mut self, app: &AppRuntime, name: &Arc<str>) -> u64 {
        if self.shared.mesh.is_none() {
            return 0;
        }
        self.interest.subscribed(self.number, app.slot, app.app.config.app_id.clone(), name.clone())
    }

    /// A topic has lost its last subscriber here.
    pub(super) fn topic_went(&mut self, slot: u32, name: &Arc<str>) {
        if self.shared.mesh.is_some() {
            self.interest.unsubscribed(slot, name.clone());
        }
    }

    /// The connection is in its subject's list; the ticket that its first welcome waits for. Publishes on
    /// `priv/{connectionId}` find their node by the id: a connection without a subject of its own tells nothing.
    pub(super) fn subject_came(&mut self, index: u32, app: &AppRuntime) -> u64 {
        if self.shared.mesh.is_none() {
            return 0;
        }
        let Some(connection) = self.connections.get(index).filter(|c| c.identity.subject.is_some()) else {
            return 0;
        };
        if self.subjects.older(index, &self.connections).is_some() {
            return self.interest.last_ticket();
        }
        let topic = private(&connection.subject);
        self.interest.subscribed(self.number, app.slot, app.app.config.app_id.clone(), topic)
    }

    /// The connection has left its subject's list.
    pub(super) fn subject_left(&mut self, index: u32) {
        if self.shared.mesh.is_none() {
            return;
        }
        let Some(connection) = self.connections.get(index).filter(|c| c.identity.subject.is_some()) else {
            return;
        };
        let (slot, subject) = (connection.slot, connection.subject.clone());
        if self.subjects.newest(slot, &subject, &self.connections).is_none() {
            self.interest.unsubscribed(slot, private(&subject));
        }
    }

    /// Sends the welcome once the peers know of everything up to the ticket, or after 250 ms.
    pub(super) fn welcome_after(&mut self, ticket: u64, index: u32, app: &AppRuntime, name: &str) {
        if ticket <= self.interest.confirmed {
            return self.welcome(index, app, name);
        }
        let Some(token) = self.connections.token(index) else { return };
        // Behind whoever waits already, though its own ticket may be an older one: tickets come in one order.
        let last = self.interest.waiting.back().map_or(0, |waiting| waiting.ticket);
        let waiting = Waiting {
            ticket: ticket.max(last),
            deadline_ms: self.now_ms + WELCOME_WITHIN_MS,
            token,
            slot: app.slot,
            topic: name.into(),
        };
        self.interest.waiting.push_back(waiting);
    }

    /// The peers know of everything up to the ticket.
    pub(super) fn confirm(&mut self, ticket: u64) {
        self.interest.confirmed = self.interest.confirmed.max(ticket);
        while let Some(waiting) = self.interest.pop(|waiting| waiting.ticket <= ticket) {
            self.welcome_now(&waiting);
        }
    }

    /// Sends welcomes that have waited long enough for peers that do not answer.
    pub(super) fn welcome_overdue(&mut self) {
        let now = self.now_ms;
        while let Some(waiting) = self.interest.pop(|waiting| waiting.deadline_ms <= now) {
            self.cells.unconfirmed_welcomes += 1;
            self.welcome_now(&waiting);
        }
    }

    fn welcome_now(&mut self, waiting: &Waiting) {
        let open = self.connections.is_live(waiting.token)
            && self.connections.get(waiting.token.index).is_some_and(|connection| connection.is_open());
        if open && let Some(app) = self.table.by_slot(waiting.slot).cloned() {
            self.welcome(waiting.token.index, &app, &waiting.topic);
        }
    }
}
