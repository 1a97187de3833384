//! This node as a guardian: the mirrors that it holds of others, and which of them it may announce.
//!
//! A node that loses its guardian's link takes another, and the first may not hear of that before the node dies. Which of
//! two mirrors counts is decided by their epochs: of complete ones the greatest. Everybody remembers the greatest that it
//! has heard of, so that a holder that is cut off from the other still finds a witness.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::hash_map::IntoIter;
use hashbrown::{HashMap, HashSet};
use realtime_proto::generated::peer as wire;
use realtime_proto::{AppId, ConnectionId};

use crate::mesh::Member;
use crate::session::{Departed, MirroredSession, id};

/// How long a holder waits between its claim and its announcement: a healthy peer contradicts within milliseconds, a
/// busy one within some hundred.
const CONTRADICTED_WITHIN_MS: u64 = 1000;
/// A process that discovery has never named is no process that it has dropped. A mirror of one whose link is broken is
/// forgotten unannounced after this: far longer than discovery lags.
const UNNAMED_FOR_MS: u64 = 60_000;
/// Processes of which the greatest epoch is remembered, besides the members: many restarts of a large cluster.
const MAX_EPOCHS: usize = 4096;

/// The sessions of one process.
#[derive(Debug)]
struct Mirror {
    incarnation: Arc<str>,
    epoch: u64,
    complete: bool,
    sessions: HashMap<ConnectionId, MirroredSession>,
    bytes: usize,
    /// Discovery has named the process.
    named: bool,
    /// Since when the process has neither link nor membership.
    gone_since_ms: Option<u64>,
}

/// The mirrors.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    mirrors: Vec<Mirror>,
    /// By incarnation, the greatest epoch of which there is, or was, a complete mirror somewhere.
    epochs: HashMap<Arc<str>, u64>,
    /// Incarnations of the members; `None`: discovery has said nothing yet.
    members: Option<HashSet<Arc<str>>>,
    departing: VecDeque<IntoIter<ConnectionId, MirroredSession>>,
    /// Bytes of sessions that one mirror may hold.
    limit: usize,
}

impl Guard {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    pub(crate) fn set_members(&mut self, incarnations: HashSet<Arc<str>>) {
        for mirror in &mut self.mirrors {
            mirror.named |= incarnations.contains(&mirror.incarnation);
        }
        self.members = Some(incarnations);
    }

    /// A peer's update about itself. Returns the claim, if the mirror is complete with it.
    pub(crate) fn update(&mut self, peer: &Member, update: wire::Mirror) -> Option<wire::Claim> {
        if update.begin {
            self.begin(peer, update.epoch);
        }
        let own =
            |mirror: &&mut Mirror| mirror.incarnation == peer.incarnation && mirror.epoch == update.epoch;
        // A mirror that has been superseded needs no updates.
        let mirror = self.mirrors.iter_mut().find(own)?;
        update.ended.iter().filter_map(|bytes| id(bytes)).for_each(|id| mirror.remove(id));
        let mut app: Option<AppId> = None;
        for session in update.opened {
            let Some((id, session)) = MirroredSession::parse(session, app.as_ref()) else { continue };
            app = Some(session.app.clone());
            mirror.insert(id, session, self.limit);
        }
        if !update.complete {
            return None;
        }
        mirror.complete = true;
        let claim = mirror.claim();
        self.learn(&peer.incarnation, update.epoch);
        Some(claim)
    }

    /// An earlier mirror counts until the new one is complete.
    fn begin(&mut self, peer: &Member, epoch: u64) {
        self.interrupted(&peer.incarnation);
        let named = self.members.as_ref().is_some_and(|members| members.contains(&peer.incarnation));
        self.mirrors.push(Mirror {
            incarnation: Arc::clone(&peer.incarnation),
            epoch,
            complete: false,
            sessions: HashMap::new(),
            bytes: 0,
            named,
            gone_since_ms: None,
        });
    }

    /// The process's link is broken: what is not complete never will be.
    pub(crate) fn interrupted(&mut self, incarnation: &str) {
        self.mirrors.retain(|mirror| mirror.complete || *mirror.incarnation != *incarnation);
    }

    /// A peer's claim. Returns one that beats it, if this node knows of any.
    pub(crate) fn hear(&mut self, claim: &wire::Claim) -> Option<wire::Claim> {
        match self.epochs.get(&*claim.incarnation) {
            Some(&epoch) if epoch > claim.epoch => {
                Some(wire::Claim { incarnation: claim.incarnation.clone(), epoch })
            }
            _ => {
                self.learn(&Arc::from(&*claim.incarnation), claim.epoch);
                None
            }
        }
    }

    /// There is a complete mirror of this epoch: older ones are void.
    fn learn(&mut self, incarnation: &Arc<str>, epoch: u64) {
        self.mirrors.retain(|mirror| mirror.incarnation != *incarnation || mirror.epoch >= epoch);
        if self.epochs.len() >= MAX_EPOCHS {
            let members = self.members.as_ref();
            self.epochs.retain(|known, _| members.is_some_and(|members| members.contains(known)));
        }
        self.epochs.insert(Arc::clone(incarnation), epoch);
    }

    /// The claims of all complete mirrors.
    pub(crate) fn claims(&self) -> impl Iterator<Item = wire::Claim> {
        self.mirrors.iter().filter(|mirror| mirror.complete).map(Mirror::claim)
    }

    /// Looks which processes are gone by now; those of `linked` are not. `claim` gets what is to be claimed.
    pub(crate) fn settle(
        &mut self,
        now_ms: u64,
        linked: &HashSet<Arc<str>>,
        mut claim: impl FnMut(wire::Claim),
    ) {
        let Some(members) = &self.members else { return };
        let departing = &mut self.departing;
        self.mirrors.retain_mut(|mirror| {
            let incarnation = &mirror.incarnation;
            if linked.contains(incarnation) || members.contains(incarnation) {
                mirror.gone_since_ms = None;
                return true;
            }
            let Some(since_ms) = mirror.gone_since_ms else {
                mirror.gone_since_ms = Some(now_ms);
                claim(mirror.claim());
                return true;
            };
            let wait_ms = if mirror.named { CONTRADICTED_WITHIN_MS } else { UNNAMED_FOR_MS };
            let wait = now_ms < since_ms + wait_ms;
            if !wait && mirror.named {
                departing.push_back(std::mem::take(&mut mirror.sessions).into_iter());
            }
            wait
        });
    }

    /// The next session to announce.
    pub(crate) fn next_departed(&mut self) -> Option<Departed> {
        loop {
            if let Some((id, session)) = self.departing.front_mut()?.next() {
                return Some(Departed { id, session });
            }
            self.departing.pop_front();
        }
    }

    /// Sessions that are still to be announced.
    pub(crate) fn departing(&self) -> usize {
        self.departing.iter().map(ExactSizeIterator::len).sum()
    }

    /// Sessions of others that this node holds.
    pub(crate) fn sessions(&self) -> usize {
        self.mirrors.iter().map(|mirror| mirror.sessions.len()).sum()
    }
}

impl Mirror {
    fn claim(&self) -> wire::Claim {
        wire::Claim { incarnation: self.incarnation.to_string(), epoch: self.epoch }
    }

    /// The ward keeps to the same limit, and counts what it leaves out.
    fn insert(&mut self, id: ConnectionId, session: MirroredSession, limit: usize) {
        self.remove(id);
        if self.bytes + session.bytes() <= limit {
            self.bytes += session.bytes();
            self.sessions.insert(id, session);
        }
    }

    fn remove(&mut self, id: ConnectionId) {
        if let Some(session) = self.sessions.remove(&id) {
            self.bytes -= session.bytes();
        }
    }
}
