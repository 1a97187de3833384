//! This node as a ward: its own sessions that are mirrored, and what its guardian has been told of them.

use std::collections::VecDeque;

use hashbrown::HashMap;
use realtime_proto::ConnectionId;
use realtime_proto::generated::peer as wire;

use crate::limits::MeshLimits;
use crate::link::Violation;
use crate::mesh::LinkId;
use crate::session::OwnSession;

/// What an ended session takes of an update.
const ENDED_BYTES: usize = 18;

/// A change that the guardian has not been told.
#[derive(Debug, Clone, Copy)]
enum Change {
    Opened(ConnectionId),
    Ended(ConnectionId),
}

/// The peer that mirrors this node, as long as its link lasts.
#[derive(Debug)]
struct Guardian {
    link: LinkId,
    /// The rest of the whole set; `None` once it is sent.
    whole: Option<Whole>,
    changes: VecDeque<Change>,
    /// Number of the last update that was sent.
    sent: u64,
    confirmed: u64,
    /// Number of the update that completed the set.
    completed: u64,
}

/// The ids of a set that is being sent. What has ended meanwhile is passed over, what has opened is a change.
#[derive(Debug)]
struct Whole {
    ids: std::vec::IntoIter<ConnectionId>,
    begun: bool,
}

/// Own sessions.
#[derive(Debug)]
pub(crate) struct Ward {
    open: HashMap<ConnectionId, OwnSession>,
    bytes: usize,
    /// Sessions that found no room.
    unmirrored: u64,
    /// Counts whole sets begun.
    epoch: u64,
    guardian: Option<Guardian>,
    limits: MeshLimits,
}

impl Ward {
    pub(crate) fn new(limits: MeshLimits) -> Self {
        Self { open: HashMap::new(), bytes: 0, unmirrored: 0, epoch: 0, guardian: None, limits }
    }

    /// Takes a session in, unless there is no room.
    pub(crate) fn opened(&mut self, id: ConnectionId, session: OwnSession) {
        let bytes = session.bytes();
        if self.bytes + bytes > self.limits.session_bytes {
            self.unmirrored += 1;
            return;
        }
        if self.open.insert(id, session).is_none() {
            self.bytes += bytes;
            self.note(Change::Opened(id));
        }
    }

    pub(crate) fn ended(&mut self, id: ConnectionId) {
        if let Some(session) = self.open.remove(&id) {
            self.bytes -= session.bytes();
            self.note(Change::Ended(id));
        }
    }

    /// A guardian that does not keep up gets the whole set anew instead of a longer and longer list.
    fn note(&mut self, change: Change) {
        let Some(guardian) = &mut self.guardian else { return };
        guardian.changes.push_back(change);
        if guardian.changes.len() > 2 * self.limits.hashes + self.open.len() {
            let link = guardian.link;
            self.appoint(link);
        }
    }

    /// Whether there is something to mirror and nobody who does.
    pub(crate) fn wants_guardian(&self) -> bool {
        self.guardian.is_none() && !self.open.is_empty()
    }

    /// Begins the whole set for the peer of this link.
    pub(crate) fn appoint(&mut self, link: LinkId) {
        self.epoch += 1;
        let ids: Vec<ConnectionId> = self.open.keys().copied().collect();
        let whole = Some(Whole { ids: ids.into_iter(), begun: false });
        let before = self.guardian.take().filter(|before| before.link == link);
        let (sent, confirmed) = before.map_or((0, 0), |before| (before.sent, before.confirmed));
        let changes = VecDeque::new();
        self.guardian = Some(Guardian { link, whole, changes, sent, confirmed, completed: u64::MAX });
    }

    /// The link is broken.
    pub(crate) fn lost(&mut self, link: LinkId) {
        self.guardian.take_if(|guardian| guardian.link == link);
    }

    /// What the peer of this link is told next, if it is the guardian.
    pub(crate) fn next_update(&mut self, link: LinkId) -> Option<wire::Mirror> {
        let Self { open, epoch, guardian, limits, .. } = self;
        let guardian = guardian.as_mut().filter(|guardian| guardian.link == link)?;
        let mut update = wire::Mirror { epoch: *epoch, ..wire::Mirror::default() };
        let mut bytes = 0;
        if let Some(whole) = &mut guardian.whole {
            update.begin = !std::mem::replace(&mut whole.begun, true);
            while bytes < limits.mirror_bytes
                && let Some(id) = whole.ids.next()
            {
                bytes += add(&mut update, open, id);
            }
            if whole.ids.len() == 0 {
                update.complete = true;
                guardian.completed = guardian.sent + 1;
                guardian.whole = None;
            }
        } else if guardian.changes.is_empty() {
            return None;
        } else {
            while bytes < limits.mirror_bytes
                && let Some(change) = guardian.changes.pop_front()
            {
                bytes += match change {
                    Change::Opened(id) => add(&mut update, open, id),
                    Change::Ended(id) => {
                        update.ended.push(id.0.to_vec().into());
                        ENDED_BYTES
                    }
                };
            }
        }
        guardian.sent += 1;
        update.number = guardian.sent;
        Some(update)
    }

    /// The peer of this link has taken the updates up to this number.
    pub(crate) fn confirm(&mut self, link: LinkId, number: u64) -> Result<(), Violation> {
        let guardian = self.guardian.as_mut().filter(|guardian| guardian.link == link);
        let guardian = guardian.filter(|guardian| number <= guardian.sent).ok_or(Violation::Unsent)?;
        guardian.confirmed = guardian.confirmed.max(number);
        Ok(())
    }

    /// The guardian's link, once it has confirmed a whole set.
    pub(crate) fn guardian(&self) -> Option<LinkId> {
        let complete = |guardian: &&Guardian| guardian.confirmed >= guardian.completed;
        self.guardian.as_ref().filter(complete).map(|guardian| guardian.link)
    }

    /// What the guardian has not confirmed yet: changes, updates, what is left of the set.
    pub(crate) fn pending(&self) -> u64 {
        let Some(guardian) = &self.guardian else { return 0 };
        let rest = guardian.whole.as_ref().map_or(0, |whole| whole.ids.len() + 1);
        (guardian.changes.len() + rest) as u64 + guardian.sent - guardian.confirmed
    }

    /// Sessions that are mirrored, or would be if there were a peer.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn unmirrored(&self) -> u64 {
        self.unmirrored
    }
}

/// Adds a session to an update, if it is still open; returns what it takes.
fn add(update: &mut wire::Mirror, open: &HashMap<ConnectionId, OwnSession>, id: ConnectionId) -> usize {
    let Some(session) = open.get(&id) else { return 0 };
    update.opened.push(session.to_wire(id));
    session.bytes()
}
