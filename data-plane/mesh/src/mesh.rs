//! The mesh as one node sees it: members, links to them, and where a publish goes.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use realtime_proto::generated::peer as wire;
use realtime_proto::topic::PRIVATE_PREFIX;
use realtime_proto::{ConnectionId, NodePrefix};
use wire::item::Kind;

use crate::guard::Guard;
use crate::hash::{InterestKey, TopicHash};
use crate::limits::MeshLimits;
use crate::link::{Link, Violation};
use crate::local::{Change, LocalInterest, Origin};
use crate::loss::Losses;
use crate::remote::{PeerIndex, RemoteInterest};
use crate::ward::Ward;

/// Another node, as discovery names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Node id.
    pub id: Arc<str>,
    /// Of its process.
    pub incarnation: Arc<str>,
    /// Of its connections.
    pub prefix: NodePrefix,
}

/// A link: the peer's place, and which of its links it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkId {
    pub(crate) peer: PeerIndex,
    generation: u32,
}

/// An origin's tickets up to this one are confirmed by every linked peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// Who asked.
    pub origin: Origin,
    /// The highest of its confirmed tickets.
    pub ticket: u64,
}

/// What an item from a peer asks of this node.
#[derive(Debug, Clone, PartialEq)]
pub enum Inbound {
    /// To be handed to the node's own subscribers.
    Publish(wire::Publish),
    /// To be answered.
    Request(wire::Request),
    /// Answers a request or a publish with a receipt.
    Response(wire::Response),
}

/// A peer, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Node id.
    pub id: Arc<str>,
    /// Whether there is a link.
    pub linked: bool,
    /// Whether discovery names it.
    pub member: bool,
    /// Bytes of publishes that wait for it.
    pub queued_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Peer {
    /// As of its link, or of discovery while there is none.
    pub(crate) node: Member,
    member: bool,
    pub(crate) link: Option<Link>,
    generation: u32,
}

/// The core of the mesh.
#[derive(Debug)]
pub struct Mesh {
    pub(crate) key: InterestKey,
    pub(crate) own: NodePrefix,
    limits: MeshLimits,
    local: LocalInterest,
    remote: RemoteInterest,
    /// Places are used again once nothing refers to them.
    peers: Vec<Option<Peer>>,
    /// Peers by the prefix of their connections.
    owners: HashMap<NodePrefix, PeerIndex>,
    /// Peers that have not said yet what they want: they are sent everything.
    unknown: Vec<PeerIndex>,
    losses: Losses,
    /// Link generations are never used again, whatever place they are for.
    generations: u32,
    released: Vec<(Origin, u64)>,
    pub(crate) ward: Ward,
    pub(crate) guard: Guard,
}

impl Mesh {
    /// A node alone. `own` is the prefix of its connections.
    #[must_use]
    pub fn new(own: NodePrefix, key: InterestKey, limits: MeshLimits) -> Self {
        Self {
            key,
            own,
            limits,
            local: LocalInterest::default(),
            remote: RemoteInterest::default(),
            peers: Vec::new(),
            owners: HashMap::new(),
            unknown: Vec::new(),
            losses: Losses::default(),
            generations: 0,
            released: Vec::new(),
            ward: Ward::new(limits),
            guard: Guard::new(limits.session_bytes),
        }
    }

    /// Takes over what discovery says about the other nodes. A node that is gone stays as long as its link: it may
    /// be only the control plane that has lost sight of it.
    pub fn set_members(&mut self, members: impl IntoIterator<Item = Member>) {
        self.live_mut().for_each(|peer| peer.member = false);
        let mut incarnations = HashSet::new();
        for member in members {
            incarnations.insert(Arc::clone(&member.incarnation));
            let index = self.find(&member.id).unwrap_or_else(|| self.insert(member.clone()));
            let Some(peer) = self.peer_mut(index) else { continue };
            peer.member = true;
            // A link knows better who is at its other end.
            if peer.link.is_none() && peer.node != member {
                if peer.node.incarnation != member.incarnation {
                    self.forget_interest(index);
                }
                self.rename(index, member);
            }
        }
        self.guard.set_members(incarnations);
        self.drop_gone();
    }

    /// A link has come up: both sides have said hello. One to the same node that is still there is replaced; its
    /// losses are counted, and nothing that arrives by it counts any more.
    pub fn connected(&mut self, node: Member) -> LinkId {
        let index = self.find(&node.id).unwrap_or_else(|| self.insert(node.clone()));
        self.count_break(index);
        self.generations += 1;
        let (mut link, generation) = (Link::new(&self.local, self.limits), self.generations);
        self.guard.claims().for_each(|claim| link.claim(claim));
        self.rename(index, node);
        if let Some(peer) = self.peer_mut(index) {
            peer.generation = generation;
            peer.link = Some(link);
        }
        // Whatever it wanted before, it says anew.
        self.forget_interest(index);
        self.choose_guardian();
        LinkId { peer: index, generation: self.generations }
    }

    /// A link has broken. What it was known to want is kept, to tell what it loses.
    pub fn disconnected(&mut self, id: LinkId) {
        if self.link_mut(id).is_some() {
            self.count_break(id.peer);
            self.drop_gone();
            self.release();
            self.choose_guardian();
        }
    }

    /// Whether the id is that of a link in use.
    #[must_use]
    pub fn is_connected(&self, id: LinkId) -> bool {
        self.peer(id.peer).is_some_and(|peer| peer.generation == id.generation && peer.link.is_some())
    }

    /// A shard has its first subscriber of a topic. Its ticket, greater than all before it from this shard, is
    /// confirmed once every linked peer sends what is published on the topic.
    pub fn subscribed(&mut self, origin: Origin, ticket: u64, app_id: &[u8], topic: &[u8]) {
        let hash = TopicHash::new(&self.key, app_id, topic);
        let change = self.local.add(origin, ticket, hash);
        self.tell(change);
        self.release();
    }

    /// A shard's last subscriber of a topic has left.
    pub fn unsubscribed(&mut self, app_id: &[u8], topic: &[u8]) {
        let hash = TopicHash::new(&self.key, app_id, topic);
        let change = self.local.remove(hash);
        self.tell(change);
    }

    /// Queues a publish for every peer that wants it; `queued` is told the links. What cannot be queued is counted
    /// among the losses.
    pub fn publish(&mut self, publish: &wire::Publish, mut queued: impl FnMut(LinkId)) {
        let Self { key, remote, peers, unknown, losses, .. } = self;
        let mut queue = |index: PeerIndex| {
            let Some(peer) = peers[usize::from(index)].as_mut() else { return };
            let Some(link) = &mut peer.link else {
                losses.unreachable += 1;
                return;
            };
            if link.publish(publish.clone()) {
                queued(LinkId { peer: index, generation: peer.generation });
            } else {
                losses.queue_full += 1;
            }
        };
        match owner(&publish.topic) {
            Some(prefix) if prefix == self.own => return,
            // No live member's prefix: a subject that looks like a connection, wherever it may be.
            Some(prefix) => {
                if let Some(index) = self.owners.get(&prefix) {
                    return queue(*index);
                }
            }
            None => {}
        }
        let hash = TopicHash::new(key, &publish.app_id, &publish.topic);
        // A peer may have said a part already of what it wants.
        let known = remote.peers(hash).iter().copied().filter(|peer| !unknown.contains(peer));
        known.chain(unknown.iter().copied()).for_each(&mut queue);
    }

    /// Queues a request or an answer; `false` when the link is gone or its queue full.
    pub fn send(&mut self, id: LinkId, item: Kind) -> bool {
        self.link_mut(id).is_some_and(|link| link.control(item))
    }

    /// Takes an item that has arrived; returns what it asks of the node. An item of a link that has been replaced
    /// is passed over.
    ///
    /// # Errors
    /// When the peer breaks the protocol: the link must be closed then.
    pub fn receive(&mut self, id: LinkId, item: wire::Item) -> Result<Option<Inbound>, Violation> {
        let Some(link) = self.link_mut(id) else { return Ok(None) };
        match item.kind {
            // Of a newer release, in whose cluster this node is until it is replaced, too.
            None => {}
            Some(Kind::Hello(_)) => return Err(Violation::Unexpected),
            Some(Kind::Publish(publish)) => {
                link.count_received();
                return Ok(Some(Inbound::Publish(publish)));
            }
            Some(Kind::Request(request)) => return Ok(Some(Inbound::Request(request))),
            Some(Kind::Response(response)) => return Ok(Some(Inbound::Response(response))),
            Some(Kind::Received(received)) => link.acknowledge(received.publishes)?,
            Some(Kind::Confirmed(confirmed)) => {
                link.confirm(confirmed.number)?;
                self.release();
            }
            Some(Kind::Interest(interest)) => {
                link.hear(interest.number)?;
                self.learn(id.peer, &interest);
            }
            Some(Kind::Mirror(update)) => self.mirror(id, update)?,
            Some(Kind::Mirrored(mirrored)) => self.ward.confirm(id, mirrored.number)?,
            Some(Kind::Claim(claim)) => {
                if let Some(beats) = self.guard.hear(&claim)
                    && let Some(link) = self.link_mut(id)
                {
                    link.claim(beats);
                }
            }
        }
        Ok(None)
    }

    /// What a link sends next; `None`: nothing now.
    pub fn transmit(&mut self, id: LinkId) -> Option<wire::LinkMessage> {
        let local = &self.local;
        let peer = self.peers.get_mut(usize::from(id.peer))?.as_mut()?;
        let link = peer.link.as_mut().filter(|_| peer.generation == id.generation)?;
        link.transmit(local, self.ward.next_update(id))
    }

    /// Lets every link tell soon what it has received. To be called some ten times a second.
    pub fn report_received(&mut self) {
        self.live_mut().filter_map(|peer| peer.link.as_mut()).for_each(Link::report);
    }

    /// Takes the confirmations since the last call, one an origin.
    pub fn confirmations(&mut self) -> impl Iterator<Item = Confirmation> {
        self.released.drain(..).map(|(origin, ticket)| Confirmation { origin, ticket })
    }

    /// Links in use.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, &Member)> {
        self.indexed().filter(|(_, peer)| peer.link.is_some()).map(|(index, peer)| {
            let id = LinkId { peer: index, generation: peer.generation };
            (id, &peer.node)
        })
    }

    /// Members without a link: what asks the whole cluster misses them.
    pub fn unreachable(&self) -> impl Iterator<Item = &Member> {
        self.indexed().filter(|(_, peer)| peer.member && peer.link.is_none()).map(|(_, peer)| &peer.node)
    }

    /// Every peer, for operators.
    pub fn status(&self) -> impl Iterator<Item = PeerStatus> {
        self.indexed().map(|(_, peer)| PeerStatus {
            id: Arc::clone(&peer.node.id),
            linked: peer.link.is_some(),
            member: peer.member,
            queued_bytes: peer.link.as_ref().map_or(0, Link::queued_bytes),
        })
    }

    /// Publishes that wait for linked peers, or that these have not acknowledged.
    #[must_use]
    pub fn pending(&self) -> u64 {
        let links = self.peers.iter().flatten().filter_map(|peer| peer.link.as_ref());
        links.map(|link| link.queued_publishes() + link.in_flight()).sum()
    }

    /// What was lost so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// Topics that this node has told its peers of.
    #[must_use]
    pub fn local_topics(&self) -> usize {
        self.local.len()
    }

    /// Topics that a linked peer is known to want; `None` while that is not known.
    #[must_use]
    pub fn topics_of(&self, id: LinkId) -> Option<usize> {
        let known = self.is_connected(id) && !self.unknown.contains(&id.peer);
        known.then(|| self.remote.count(id.peer))
    }

    /// The peer's update.
    fn learn(&mut self, index: PeerIndex, interest: &wire::Interest) {
        if interest.begin {
            self.forget_interest(index);
        }
        for hash in &interest.removed {
            self.remote.remove(index, TopicHash(*hash));
        }
        for hash in &interest.added {
            self.remote.add(index, TopicHash(*hash));
        }
        if interest.complete {
            self.unknown.retain(|unknown| *unknown != index);
        }
    }

    /// The peer is sent everything until it has said what it wants.
    fn forget_interest(&mut self, index: PeerIndex) {
        self.remote.clear(index);
        if !self.unknown.contains(&index) {
            self.unknown.push(index);
        }
    }

    /// Tells every link of a change of the node's own interest.
    fn tell(&mut self, change: Option<Change>) {
        let Some(change) = change else { return };
        let Self { local, peers, .. } = self;
        let links = peers.iter_mut().flatten().filter_map(|peer| peer.link.as_mut());
        links.for_each(|link| link.change(change, local));
    }

    /// Confirms what every link has confirmed.
    fn release(&mut self) {
        let links = self.peers.iter().flatten().filter_map(|peer| peer.link.as_ref());
        let version = links.map(Link::confirmed).min().unwrap_or(u64::MAX);
        self.local.release(version, &mut self.released);
    }

    /// Takes the peer's link away, if it has one, and counts what goes with it.
    fn count_break(&mut self, index: PeerIndex) {
        let Some(peer) = self.peer_mut(index) else { return };
        let Some(link) = peer.link.take() else { return };
        let id = LinkId { peer: index, generation: peer.generation };
        let incarnation = Arc::clone(&peer.node.incarnation);
        self.losses.queued += link.queued_publishes();
        self.losses.in_flight += link.in_flight();
        self.ward.lost(id);
        self.guard.interrupted(&incarnation);
    }

    /// A peer goes once discovery has dropped it *and* its link is broken.
    fn drop_gone(&mut self) {
        for index in 0..self.peers.len() {
            let gone = self.peers[index].as_ref().is_some_and(|peer| !peer.member && peer.link.is_none());
            if gone && let Some(peer) = self.peers[index].take() {
                let index = index as PeerIndex;
                self.owners.retain(|_, owner| *owner != index);
                self.remote.clear(index);
                self.unknown.retain(|unknown| *unknown != index);
                drop(peer);
            }
        }
    }

    fn insert(&mut self, node: Member) -> PeerIndex {
        let free = self.peers.iter().position(Option::is_none).unwrap_or_else(|| {
            self.peers.push(None);
            self.peers.len() - 1
        });
        let index = free as PeerIndex;
        self.owners.insert(node.prefix, index);
        self.peers[free] = Some(Peer { node, member: false, link: None, generation: 0 });
        self.forget_interest(index);
        index
    }

    /// The peer is this process now.
    fn rename(&mut self, index: PeerIndex, node: Member) {
        self.owners.retain(|_, owner| *owner != index);
        self.owners.insert(node.prefix, index);
        if let Some(peer) = self.peer_mut(index) {
            peer.node = node;
        }
    }

    fn find(&self, id: &str) -> Option<PeerIndex> {
        self.indexed().find(|(_, peer)| *peer.node.id == *id).map(|(index, _)| index)
    }

    fn indexed(&self) -> impl Iterator<Item = (PeerIndex, &Peer)> {
        (0..).zip(&self.peers).filter_map(|(index, peer)| peer.as_ref().map(|peer| (index, peer)))
    }

    pub(crate) fn live_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.iter_mut().flatten()
    }

    fn peer(&self, index: PeerIndex) -> Option<&Peer> {
        self.peers.get(usize::from(index))?.as_ref()
    }

    pub(crate) fn peer_mut(&mut self, index: PeerIndex) -> Option<&mut Peer> {
        self.peers.get_mut(usize::from(index))?.as_mut()
    }

    fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        let peer = self.peer_mut(id.peer).filter(|peer| peer.generation == id.generation)?;
        peer.link.as_mut()
    }
}

/// The prefix of the node that owns the connection which `priv/{connectionId}` names.
fn owner(topic: &[u8]) -> Option<NodePrefix> {
    let id = topic.strip_prefix(PRIVATE_PREFIX.as_bytes())?;
    let id = std::str::from_utf8(id).ok().and_then(ConnectionId::parse)?;
    Some(id.prefix())
}
