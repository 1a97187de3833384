//! Presence that survives a node's death: a node mirrors its sessions to a peer, its guardian, which announces their
//! ends once discovery has dropped the node and no link leads to it.

use std::sync::Arc;

use hashbrown::HashSet;
use realtime_proto::ConnectionId;
use realtime_proto::generated::peer as wire;

use crate::hash::suits;
use crate::link::Violation;
use crate::mesh::{LinkId, Mesh};
use crate::session::{Departed, OwnSession};

/// The figures of mirrored sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MirrorFigures {
    /// Sessions of this node that its guardian has, but for the latest changes; 0 without a guardian.
    pub mirrored: usize,
    /// Sessions of this node that found no room in the mirror.
    pub unmirrored: u64,
    /// Sessions of other nodes that this one holds.
    pub guarded: usize,
}

impl Mesh {
    /// A session has opened whose end is to be announced even if this node dies.
    pub fn session_opened(&mut self, id: ConnectionId, session: OwnSession) {
        self.ward.opened(id, session);
        self.choose_guardian();
    }

    /// A session has ended, or its end is not to be announced any more.
    pub fn session_ended(&mut self, id: ConnectionId) {
        self.ward.ended(id);
    }

    /// Looks whose nodes are gone; to be called some ten times a second. `now_ms` may count from anywhere.
    pub fn settle_departures(&mut self, now_ms: u64) {
        let linked: HashSet<Arc<str>> = self.links().map(|(_, node)| Arc::clone(&node.incarnation)).collect();
        let mut claims = Vec::new();
        self.guard.settle(now_ms, &linked, |claim| claims.push(claim));
        claims.iter().for_each(|claim| self.claim(claim));
    }

    /// Takes the next session that went with its node and is to be announced by this one.
    pub fn next_departed(&mut self) -> Option<Departed> {
        self.guard.next_departed()
    }

    /// The peer that has all of this node's mirrored sessions, but for the latest changes.
    #[must_use]
    pub fn guardian(&self) -> Option<LinkId> {
        self.ward.guardian()
    }

    /// Changes that the guardian has not confirmed, and sessions still to be announced.
    #[must_use]
    pub fn presence_pending(&self) -> u64 {
        self.ward.pending() + self.guard.departing() as u64
    }

    /// What is mirrored.
    #[must_use]
    pub fn mirror_figures(&self) -> MirrorFigures {
        MirrorFigures {
            mirrored: self.ward.guardian().map_or(0, |_| self.ward.len()),
            unmirrored: self.ward.unmirrored(),
            guarded: self.guard.sessions(),
        }
    }

    /// A guardian is kept as long as its link lasts, and chosen when there is something to mirror: by then a node that
    /// has started knows its peers.
    pub(crate) fn choose_guardian(&mut self) {
        if !self.ward.wants_guardian() {
            return;
        }
        let best = self.links().max_by_key(|(_, node)| suits(&self.key, self.own, node.prefix));
        if let Some(link) = best.map(|(link, _)| link) {
            self.ward.appoint(link);
        }
    }

    /// A peer's update of its mirror.
    pub(crate) fn mirror(&mut self, id: LinkId, update: wire::Mirror) -> Result<(), Violation> {
        let Some(peer) = self.peer_mut(id.peer) else { return Ok(()) };
        if let Some(link) = &mut peer.link {
            link.hear_mirror(update.number)?;
        }
        let node = peer.node.clone();
        if let Some(claim) = self.guard.update(&node, update) {
            self.claim(&claim);
        }
        Ok(())
    }

    /// Tells every peer of a claim.
    fn claim(&mut self, claim: &wire::Claim) {
        let links = self.live_mut().filter_map(|peer| peer.link.as_mut());
        links.for_each(|link| link.claim(claim.clone()));
    }
}
